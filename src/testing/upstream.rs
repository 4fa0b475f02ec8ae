//! A server that answers by script and keeps what it got.

use super::{Reply, connection};
use bytes::Bytes;
use http::{HeaderMap, Method};
use std::{
    collections::VecDeque,
    fmt, io,
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};
use tokio::{
    net::{TcpListener, TcpSocket},
    sync::Notify,
    task::AbortHandle,
};

/// How many requests are kept: the last ones.
const KEPT: usize = 10_000;

/// What comes next, given the request.
///
/// A closure answers each request by what it asks. A `Vec` is a queue: one item for each request, and
/// when it is empty a 500 that says so. A single item answers every request alike.
pub trait Script<T = Reply>: Send + 'static {
    /// What comes next; `None` when the script is over.
    fn next(&mut self, request: &Recorded) -> Option<T>;
}

impl<T, F: FnMut(&Recorded) -> T + Send + 'static> Script<T> for F {
    fn next(&mut self, request: &Recorded) -> Option<T> {
        Some(self(request))
    }
}

impl<T: Send + 'static> Script<T> for VecDeque<T> {
    fn next(&mut self, _: &Recorded) -> Option<T> {
        self.pop_front()
    }
}

impl<T: Send + 'static> Script<T> for Vec<T> {
    fn next(&mut self, _: &Recorded) -> Option<T> {
        (!self.is_empty()).then(|| self.remove(0))
    }
}

impl Script for Reply {
    fn next(&mut self, _: &Recorded) -> Option<Reply> {
        Some(self.clone())
    }
}

/// A request as it came.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Recorded {
    /// The method.
    pub method: Method,
    /// The target as sent: path and query, nothing decoded.
    pub path: String,
    /// The headers.
    pub headers: HeaderMap,
    /// The body, without its chunks.
    pub body: Bytes,
    /// The head as sent, to the empty line.
    pub head: Bytes,
    /// Which connection it came on, from 0.
    pub connection: usize,
}

impl Recorded {
    /// A header that is text, the first of its name.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    /// The path without its query.
    #[must_use]
    pub fn route(&self) -> &str {
        self.path.split('?').next().unwrap_or_default()
    }

    /// The body as JSON; `Null` if it is none.
    #[must_use]
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap_or_default()
    }
}

/// A server on a port of 127.0.0.1 that answers by [`Script`]. Dropping it closes everything.
///
/// See the [module docs](super) for an example.
pub struct MockUpstream {
    address: SocketAddr,
    state: Arc<State>,
    server: AbortHandle,
}

impl MockUpstream {
    /// Listens on any free port.
    ///
    /// # Errors
    ///
    /// That of the listener.
    pub async fn start(script: impl Script) -> io::Result<Self> {
        Self::start_at(SocketAddr::from(([127, 0, 0, 1], 0)), script).await
    }

    /// Listens there.
    ///
    /// # Errors
    ///
    /// That of the listener: the address is in use, most often.
    pub async fn start_at(address: SocketAddr, script: impl Script) -> io::Result<Self> {
        let listener = TcpListener::bind(address).await?;
        let address = listener.local_addr()?;
        let state = Arc::new(State {
            script: Mutex::new(Box::new(script)),
            seen: Mutex::default(),
            changed: Notify::new(),
        });
        let server = tokio::spawn(connection::accept(listener, state.clone())).abort_handle();
        Ok(Self {
            address,
            state,
            server,
        })
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// `http://` and the address, without a slash at the end.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// The requests so far, in the order in which they were complete. The last 10,000 are kept.
    #[must_use]
    pub fn requests(&self) -> Vec<Recorded> {
        self.state.seen().requests.iter().cloned().collect()
    }

    /// The last request.
    #[must_use]
    pub fn last(&self) -> Option<Recorded> {
        self.state.seen().requests.back().cloned()
    }

    /// How many requests were complete so far.
    #[must_use]
    pub fn count(&self) -> usize {
        self.state.seen().count
    }

    /// How many connections were taken so far.
    #[must_use]
    pub fn connections(&self) -> usize {
        self.state.seen().connections
    }

    /// How many answers the client did not wait to the end for.
    #[must_use]
    pub fn hang_ups(&self) -> usize {
        self.state.seen().hang_ups
    }

    /// How many requests could not be read.
    #[must_use]
    pub fn malformed(&self) -> usize {
        self.state.seen().malformed
    }

    /// Waits until `n` requests have been complete.
    pub async fn received(&self, n: usize) {
        self.until(|seen| seen.count >= n).await;
    }

    /// Waits until the client has hung up `n` times in the middle of an answer.
    pub async fn hung_up(&self, n: usize) {
        self.until(|seen| seen.hang_ups >= n).await;
    }

    async fn until(&self, done: impl Fn(&Seen) -> bool) {
        loop {
            // Made before the look, so that what changes in between is not missed.
            let changed = self.state.changed.notified();
            if done(&self.state.seen()) {
                return;
            }
            changed.await;
        }
    }
}

impl Drop for MockUpstream {
    fn drop(&mut self) {
        self.server.abort();
    }
}

impl fmt::Debug for MockUpstream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MockUpstream")
            .field("address", &self.address)
            .finish_non_exhaustive()
    }
}

/// An address where nobody listens: connections are refused at once.
///
/// It stays bound, so that no other server can come to listen there meanwhile.
#[derive(Debug)]
pub struct ClosedPort {
    address: SocketAddr,
    _socket: TcpSocket,
}

impl ClosedPort {
    /// Takes a free port.
    ///
    /// # Errors
    ///
    /// That of binding it.
    pub fn new() -> io::Result<Self> {
        let socket = TcpSocket::new_v4()?;
        socket.bind(SocketAddr::from(([127, 0, 0, 1], 0)))?;
        let address = socket.local_addr()?;
        Ok(Self {
            address,
            _socket: socket,
        })
    }

    /// The address.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// `http://` and the address, without a slash at the end.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }
}

/// What the connections share.
pub(super) struct State {
    script: Mutex<Box<dyn Script>>,
    seen: Mutex<Seen>,
    changed: Notify,
}

#[derive(Default)]
struct Seen {
    requests: VecDeque<Recorded>,
    count: usize,
    connections: usize,
    hang_ups: usize,
    malformed: usize,
}

impl State {
    /// Keeps the request and asks the script.
    pub(super) fn answer(&self, request: Recorded) -> Reply {
        let script = &mut self.script.lock().unwrap_or_else(PoisonError::into_inner);
        let reply = script.next(&request).unwrap_or_else(|| {
            let message = format!(
                "the script of the mock is over, and still there came {} {}",
                request.method, request.path
            );
            let error = serde_json::json!({ "error": { "message": message, "type": "mock" } });
            Reply::json(500, error)
        });
        self.change(|seen| {
            seen.count += 1;
            if seen.requests.len() == KEPT {
                seen.requests.pop_front();
            }
            seen.requests.push_back(request);
        });
        reply
    }

    pub(super) fn connected(&self) -> usize {
        let mut index = 0;
        self.change(|seen| {
            index = seen.connections;
            seen.connections += 1;
        });
        index
    }

    pub(super) fn hung_up(&self) {
        self.change(|seen| seen.hang_ups += 1);
    }

    pub(super) fn malformed(&self) {
        self.change(|seen| seen.malformed += 1);
    }

    fn change(&self, change: impl FnOnce(&mut Seen)) {
        change(&mut self.seen());
        self.changed.notify_waiters();
    }

    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
