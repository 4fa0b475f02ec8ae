//! The idle connections to one host, and who waits for one.

use super::{Shared, connection::Connection};
use http::{HeaderValue, uri::Authority};
use std::{
    collections::VecDeque,
    sync::{Mutex, MutexGuard, PoisonError, Weak},
};
use tokio::{sync::oneshot, time::Instant};

/// Where connections to one host come to rest.
pub(super) struct Host {
    pub(super) authority: Authority,
    /// What `Host` says if the request does not.
    pub(super) header: Option<HeaderValue>,
    pool: Weak<Shared>,
    places: Mutex<Places>,
}

#[derive(Default)]
struct Places {
    /// Since when each, the latest at the end.
    idle: Vec<(Instant, Box<Connection>)>,
    /// Who has begun to make a connection, and takes one that comes free before.
    waiting: VecDeque<oneshot::Sender<Box<Connection>>>,
}

impl Host {
    pub(super) fn new(
        authority: Authority,
        header: Option<HeaderValue>,
        pool: Weak<Shared>,
    ) -> Self {
        Self {
            authority,
            header,
            pool,
            places: Mutex::default(),
        }
    }

    /// The connection that was used last, if there is one that is fit.
    pub(super) fn take(&self, shared: &Shared) -> Option<Box<Connection>> {
        loop {
            let (since, mut connection) = self.lock().idle.pop()?;
            let fresh = since.elapsed() < shared.idle_timeout;
            // One that stirred was most likely closed.
            if fresh && connection.comes_to_rest() {
                return Some(connection);
            }
        }
    }

    /// To be told of the next connection that comes free.
    pub(super) fn wait(&self) -> oneshot::Receiver<Box<Connection>> {
        let (told, waits) = oneshot::channel();
        let waiting = &mut self.lock().waiting;
        waiting.retain(|other| !other.is_closed());
        waiting.push_back(told);
        waits
    }

    /// Takes back a connection at rest, for the next call.
    pub(super) fn put(&self, mut connection: Box<Connection>) {
        let Some(shared) = self.pool.upgrade() else {
            return;
        };
        let mut places = self.lock();
        while let Some(waiting) = places.waiting.pop_front() {
            match waiting.send(connection) {
                Ok(()) => return,
                Err(same) => connection = same,
            }
        }
        if places.idle.len() >= shared.max_idle {
            return;
        }
        let bell = connection.bell.clone();
        bell.wakes_nobody();
        places.idle.push((Instant::now(), connection));
        drop(places);
        shared.keep();
        if bell.rang() {
            shared.keeper.notify_one();
        }
    }

    /// Whether no connection is idle and nobody waits for one.
    pub(super) fn is_empty(&self) -> bool {
        let places = self.lock();
        places.idle.is_empty() && places.waiting.iter().all(oneshot::Sender::is_closed)
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.lock().idle.len()
    }

    /// Lets go of what is too old or was closed.
    pub(super) fn sweep(&self, shared: &Shared) {
        let mut places = self.lock();
        places.idle.retain_mut(|(since, connection)| {
            connection.bell.ring();
            since.elapsed() < shared.idle_timeout && connection.comes_to_rest()
        });
        places.waiting.retain(|waiting| !waiting.is_closed());
    }

    // What is in it is valid after every statement.
    fn lock(&self) -> MutexGuard<'_, Places> {
        self.places.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
