//! Calls over HTTP/1.1 by connections that are no tasks.
//!
//! A connection with a task of its own has two turns of the scheduler and three channels for each piece of
//! an answer. Here it is driven by whoever waits for the answer, or for the next piece of its body: what
//! has come is there in the same turn. Nobody drives a connection that is idle; it
//! [rings](crate::bell::Bell) if something comes, and then its keeper looks after it.
//!
//! One that has begun to answer while the body of the request is still going up must not wait for those
//! who read the answer: it becomes a task.
//!
//! A call that finds no idle connection makes one, and takes one that comes free before it is made.

mod connection;
mod host;

use self::{
    connection::{Answer, Connection},
    host::Host,
};
use super::{
    Config,
    connect::Connector,
    stream::{Outgoing, Sent},
};
use crate::{Body, BoxError};
use http::{
    HeaderValue, Request, Response, Uri, header,
    uri::{Authority, PathAndQuery, Scheme},
};
use hyper::client::conn::http1;
use std::{
    collections::HashMap,
    future::{Future, poll_fn},
    pin::{Pin, pin},
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
    task::Poll,
    time::Duration,
};
use tokio::{runtime::Handle, sync::Notify, task::JoinHandle};
use tower_service::Service;

/// The connections of one client. Clones share them.
#[derive(Clone)]
pub(super) struct Pool(Arc<Shared>);

struct Shared {
    connector: Connector,
    builder: http1::Builder,
    idle_timeout: Duration,
    max_idle: usize,
    hosts: Mutex<Hosts>,
    keeper: Arc<Notify>,
    keeping: Mutex<Option<JoinHandle<()>>>,
}

#[derive(Default)]
struct Hosts {
    /// The one that was asked for last: most clients have no other.
    last: Option<(Scheme, Arc<Host>)>,
    all: HashMap<(Scheme, Authority), Arc<Host>>,
    /// How many there may be until those that nobody uses are looked for.
    room: usize,
}

/// Why there is no answer.
pub(super) enum Failure {
    /// The URI names no host.
    Nowhere,
    Connecting(BoxError),
    Speaking {
        error: hyper::Error,
        /// Whether the connection had carried an answer before.
        used: bool,
        /// Whether nothing of the request was written.
        unwritten: bool,
    },
}

pub(super) type Calling = Pin<Box<dyn Future<Output = Result<Response<Body>, Failure>> + Send>>;

impl Pool {
    pub(super) fn new(config: &Config, connector: Connector) -> Self {
        let mut builder = http1::Builder::new();
        builder.max_buf_size(128 * 1024);
        Self(Arc::new(Shared {
            connector,
            builder,
            idle_timeout: config.idle_timeout,
            max_idle: config.max_idle_per_host,
            hosts: Mutex::default(),
            keeper: Arc::default(),
            keeping: Mutex::default(),
        }))
    }

    /// Sends a request. `sent` tells of its body, if it has one.
    pub(super) fn call(&self, mut request: Request<Outgoing>, sent: Option<Sent>) -> Calling {
        let mut parts = std::mem::take(request.uri_mut()).into_parts();
        let (Some(scheme), Some(authority)) = (parts.scheme.take(), parts.authority.take()) else {
            return Box::pin(std::future::ready(Err(Failure::Nowhere)));
        };
        let path = parts.path_and_query.take();
        *request.uri_mut() = path.unwrap_or(PathAndQuery::from_static("/")).into();
        let host = self.0.host(&scheme, authority);
        if !request.headers().contains_key(header::HOST)
            && let Some(name) = &host.header
        {
            request.headers_mut().insert(header::HOST, name.clone());
        }
        let shared = self.0.clone();
        // Not by a function: a future of one has its arguments twice.
        Box::pin(async move {
            loop {
                let (mut connection, used) = match host.take(&shared) {
                    Some(idle) => (idle, true),
                    None => Box::pin(shared.connection(&scheme, &host)).await?,
                };
                let mut answer = pin!(connection.send(request));
                let answer = poll_fn(|cx| connection.poll_with(cx, |cx| answer.as_mut().poll(cx)));
                match answer.await {
                    Ok(response) => {
                        let uploads = sent.is_some_and(|sent| !sent.is_over());
                        let connection = if uploads || !connection.has_flushed() {
                            connection.spawn(host.clone());
                            None
                        } else {
                            Some(connection)
                        };
                        return Ok(response.map(|body| Answer::body(body, connection, host)));
                    }
                    Err(mut error) => match error.take_message() {
                        // Nothing of it was written, and an idle connection may be closed at any time.
                        Some(same) if used => request = same,
                        message => {
                            let unwritten = message.is_some();
                            let error = error.into_error();
                            return Err(Failure::Speaking {
                                error,
                                used,
                                unwritten,
                            });
                        }
                    },
                }
            }
        })
    }
}

impl Shared {
    fn host(self: &Arc<Self>, scheme: &Scheme, authority: Authority) -> Arc<Host> {
        let hosts = &mut *lock(&self.hosts);
        // To the letter it mostly is the same, and letter by letter that takes longer to see.
        let same = |own: &Authority| own.as_str() == authority.as_str() || *own == authority;
        if let Some((last, host)) = &hosts.last
            && last == scheme
            && same(&host.authority)
        {
            return host.clone();
        }
        let key = (scheme.clone(), authority);
        let host = match hosts.all.get(&key) {
            Some(host) => host.clone(),
            None => {
                hosts.make_room();
                let authority = key.1.clone();
                let name = host_header(scheme, &authority);
                let host = Arc::new(Host::new(authority, name, Arc::downgrade(self)));
                hosts.all.insert(key, host.clone());
                host
            }
        };
        hosts.last = Some((scheme.clone(), host.clone()));
        host
    }

    /// A new connection, or one that comes free before there is one; and whether it was used before.
    async fn connection(
        self: &Arc<Self>,
        scheme: &Scheme,
        host: &Arc<Host>,
    ) -> Result<(Box<Connection>, bool), Failure> {
        let uri = Uri::builder()
            .scheme(scheme.clone())
            .authority(host.authority.clone())
            .path_and_query(PathAndQuery::from_static("/"))
            .build()
            .map_err(|_| Failure::Nowhere)?;
        let mut connector = self.connector.clone();
        let (builder, keeper) = (self.builder.clone(), self.keeper.clone());
        let mut making = Box::pin(async move {
            let stream = connector.call(uri).await.map_err(Failure::Connecting)?;
            let greeted = Connection::greet(&builder, stream, keeper).await;
            greeted.map_err(|error| Failure::Connecting(error.into()))
        });
        let mut free = Some(host.wait());
        let first = poll_fn(|cx| {
            if let Poll::Ready(made) = making.as_mut().poll(cx) {
                return Poll::Ready(made.map(|connection| (connection, false)));
            }
            let told = free.as_mut().map(|free| Pin::new(free).poll(cx));
            match told {
                Some(Poll::Ready(Ok(connection))) => return Poll::Ready(Ok((connection, true))),
                Some(Poll::Ready(Err(_))) => free = None,
                Some(Poll::Pending) | None => {}
            }
            Poll::Pending
        });
        let first = first.await;
        if let Ok((_, true)) = &first {
            // The other one was begun, and somebody will have a use for it.
            let home = host.clone();
            tokio::spawn(async move {
                if let Ok(connection) = making.await {
                    home.put(connection);
                }
            });
        }
        first
    }

    /// Sees to it that somebody looks after the connections that are idle.
    fn keep(self: &Arc<Self>) {
        let mut keeping = lock(&self.keeping);
        // It goes with its runtime, of which there may be several.
        if keeping.as_ref().is_some_and(|keeper| !keeper.is_finished()) {
            return;
        }
        if let Ok(runtime) = Handle::try_current() {
            let keeper = keeper(
                Arc::downgrade(self),
                self.keeper.clone(),
                self.idle_timeout.max(SHORTEST),
            );
            *keeping = Some(runtime.spawn(keeper));
        }
    }

    fn sweep(&self) {
        let hosts: Vec<_> = lock(&self.hosts).all.values().cloned().collect();
        for host in hosts {
            host.sweep(self);
        }
    }
}

/// No client knows more hosts than this that it has no connection to.
const MOST_UNUSED: usize = 64;

impl Hosts {
    /// Forgets those that nobody uses, once there are twice as many as were left the last time.
    fn make_room(&mut self) {
        if self.all.len() < self.room.max(MOST_UNUSED) {
            return;
        }
        self.last = None;
        self.all
            .retain(|_, host| Arc::strong_count(host) > 1 || !host.is_empty());
        self.room = self.all.len() * 2;
    }
}

/// More often than this nobody looks for connections that are too old.
const SHORTEST: Duration = Duration::from_millis(100);

/// Looks after idle connections, when one stirs and when they may be too old, as long as there is a pool.
async fn keeper(pool: Weak<Shared>, stirs: Arc<Notify>, often: Duration) {
    loop {
        let _ = tokio::time::timeout(often, stirs.notified()).await;
        match pool.upgrade() {
            Some(pool) => pool.sweep(),
            None => return,
        }
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        self.keeper.notify_one();
    }
}

/// The name of a host, with its port if that is not the one of the scheme.
fn host_header(scheme: &Scheme, authority: &Authority) -> Option<HeaderValue> {
    let usual = if *scheme == Scheme::HTTPS { 443 } else { 80 };
    let name = match authority.port_u16().filter(|port| *port != usual) {
        Some(port) => HeaderValue::try_from(format!("{}:{port}", authority.host())),
        None => HeaderValue::from_str(authority.host()),
    };
    name.ok()
}

// What is in them is valid after every statement.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
