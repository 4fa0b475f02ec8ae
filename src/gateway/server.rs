//! A listener for a gateway.

mod clients;
mod protocols;

use self::{
    clients::Clients,
    protocols::{Protocols, begins, connection, tuned, until_closed},
};
use super::{
    GatewayService,
    connection::Arriving,
    flood::{Peers, Resets},
    tls::Tls,
};
use http::Request;
use std::{
    future::pending,
    io,
    net::{SocketAddr, ToSocketAddrs},
    pin::pin,
    sync::Arc,
    time::Duration,
};
use tokio::{
    net::TcpListener,
    sync::{Semaphore, watch},
    task::JoinSet,
};

/// Serves a gateway on a socket: HTTP/1.1 and HTTP/2, [with TLS](Self::tls) or without (h2c).
///
/// ```no_run
/// use tower_gateway::{gateway::{Gateway, Server}, llm::Simulator};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let gateway = Gateway::builder().simulator(Simulator::new()).build()?;
/// let server = Server::bind(gateway, "127.0.0.1:0")?.max_connections(1000);
/// println!("http://{}", server.local_addr()?);
/// server.run().await?;
/// # Ok(())
/// # }
/// ```
///
/// # Shutting down
///
/// [`run`](Self::run) ends with Ctrl-C or SIGTERM, [`run_until`](Self::run_until) when its future
/// does.
///
/// 1. `/health/ready` answers 503. For [`drain_delay`](Self::drain_delay) all else goes on as before,
///    so that whoever balances can find out.
/// 2. No connection is accepted any more, those that are idle are closed, and exchanges in flight have
///    [`drain_time`](Self::drain_time) to end.
/// 3. Then streams of models end with an error event, and calls that still wait for the head of an
///    answer, of models and of routes, are answered with 503 `draining`.
/// 4. What has not ended a second later is cut: streams of routes, and tunnels, whose two connections are
///    closed without a word of WebSocket.
/// 5. Which [keys of a store](super::GatewayBuilder::stored_keys) were used is written, in 10 seconds by
///    default ([`write_uses`](crate::auth::stored::StoredKeys::write_uses)).
///
/// # Clients that are slow, or ask for too much
///
/// | what | bound, and its default | then |
/// |---|---|---|
/// | slow in the first byte, the head, the next request of HTTP/1.1 | [`header_time`](Self::header_time), 30 s | closed |
/// | slow in the handshake of TLS | the same | closed |
/// | slow in the body of a request | [`body_rate`](Self::body_rate), 240 bytes a second after 5 s, until it is answered | 408, closed |
/// | slow in the body of a request for models | [2 minutes](crate::llm::serve) in all | 408, closed |
/// | silent in the body of another request | [60 s](super::GatewayBuilder::body_idle_timeout) for the next piece, until it is answered | 408, closed |
/// | slow in reading: not a byte more fits into the socket | [`write_time`](Self::write_time), 60 s | closed |
/// | slow in answering the pings of HTTP/2, from the preface on | 60 s between two, 20 s for the answer | closed |
/// | the bytes of a body | [32 MiB](super::GatewayBuilder::body_limit), streamed or not | 413, closed |
/// | the bytes of a URI | [`max_uri`](Self::max_uri), 16 KiB; 64 KiB of HTTP/1.1 are read for it | 414, closed |
/// | the number of headers | [`max_headers`](Self::max_headers), 100 | 431, closed |
/// | the bytes of the headers | [`max_header_bytes`](Self::max_header_bytes), 64 KiB; 400 KiB of HTTP/1.1 are read for them | 431, closed |
/// | the frames that one head of HTTP/2 is cut into | about as many as its bytes need | `GOAWAY` `ENHANCE_YOUR_CALM` |
/// | connections | [`max_connections`](Self::max_connections), 10,000 | the next one waits |
/// | connections of one client | [`max_connections_per_client`](Self::max_connections_per_client), no bound | closed |
/// | requests at once on a connection of HTTP/2 | 250 | refused by `RST_STREAM` |
/// | requests taken back before they were looked at | 20 on a connection of HTTP/2 | `GOAWAY` `ENHANCE_YOUR_CALM` |
/// | requests taken back within a second | more than half, of 500 or more on a connection | closed |
/// | streams that were reset for faults of the client | 1,024 on a connection | `GOAWAY` `ENHANCE_YOUR_CALM` |
/// | empty `DATA` frames | 100 more than others on a connection | `GOAWAY` `ENHANCE_YOUR_CALM` |
///
/// With HTTP/2 "closed" after a status closes the stream only. A client that reads slowly is served as long
/// as it reads at all: [`write_time`](Self::write_time) begins anew with each byte that fits into the socket,
/// and does not run while there is nothing to send, as between two events of a stream. A client of HTTP/2
/// that reads from its socket and gives one stream no room holds that stream, within 250 of a connection.
///
/// # Tunnels
///
/// A WebSocket that a [`Proxy`](crate::proxy::Proxy) forwards, or that a service of yours speaks, counts
/// among the [connections](Self::max_connections) until it is closed, and has the same bound on writing.
#[derive(Debug)]
pub struct Server {
    gateway: GatewayService,
    listener: std::net::TcpListener,
    admin: Option<std::net::TcpListener>,
    tls: Option<Tls>,
    max_connections: usize,
    per_client: Option<usize>,
    clients: Clients,
    write_time: Duration,
    drain_delay: Duration,
    drain_time: Duration,
}

impl Server {
    /// Binds the address. At most 10,000 connections, 30 seconds for the head of a request, 60 for a
    /// client that does not read, no delay and 30 seconds to drain, no admin listener.
    ///
    /// # Errors
    ///
    /// If the address cannot be resolved or bound.
    pub fn bind(gateway: GatewayService, addr: impl ToSocketAddrs) -> io::Result<Self> {
        Ok(Self {
            gateway,
            listener: listen(addr)?,
            admin: None,
            tls: None,
            max_connections: 10_000,
            per_client: None,
            clients: Clients::default(),
            write_time: Duration::from_secs(60),
            drain_delay: Duration::ZERO,
            drain_time: Duration::from_secs(30),
        })
    }

    /// Binds another address for `/metrics`. It asks for no credentials: keep it on a loopback
    /// address.
    ///
    /// # Errors
    ///
    /// If the address cannot be resolved or bound.
    pub fn admin(mut self, addr: impl ToSocketAddrs) -> io::Result<Self> {
        self.admin = Some(listen(addr)?);
        Ok(self)
    }

    /// The same, if the address is free.
    pub(super) fn admin_if_free(mut self, addr: SocketAddr) -> Self {
        self.admin = listen(addr).ok();
        self
    }

    /// Ends TLS here: what comes without it is closed. The admin listener stays without.
    #[must_use]
    pub fn tls(mut self, tls: Tls) -> Self {
        self.tls = Some(tls);
        self
    }

    /// Sets how many connections are open at once, tunnels among them. The next one waits to be
    /// accepted.
    #[must_use]
    pub fn max_connections(mut self, connections: usize) -> Self {
        self.max_connections = connections.clamp(1, Semaphore::MAX_PERMITS);
        self
    }

    /// Sets how long the head of a request may take to arrive, and the first byte of a connection.
    #[must_use]
    pub fn header_time(mut self, time: Duration) -> Self {
        self.clients.header_time = time.min(YEAR);
        self
    }

    /// Sets how long a client may take nothing of what there is to send, before its connection is
    /// closed. One that reads slowly is not closed: each byte that fits into the socket begins the time
    /// anew. It does not run while there is nothing to send.
    #[must_use]
    pub fn write_time(mut self, time: Duration) -> Self {
        self.write_time = time.min(YEAR);
        self
    }

    /// Sets for how long connections are accepted and requests answered as before after
    /// `/health/ready` has begun to answer 503: as long as whoever balances takes to find out. Zero by
    /// default, for those who are told.
    #[must_use]
    pub fn drain_delay(mut self, delay: Duration) -> Self {
        self.drain_delay = delay.min(YEAR);
        self
    }

    /// Sets how long exchanges in flight may take to end once the server shuts down.
    #[must_use]
    pub fn drain_time(mut self, time: Duration) -> Self {
        self.drain_time = time;
        self
    }

    /// Where it listens.
    ///
    /// # Errors
    ///
    /// If the system does not tell.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// Where it tells of itself, if it does.
    #[must_use]
    pub fn admin_addr(&self) -> Option<SocketAddr> {
        self.admin.as_ref()?.local_addr().ok()
    }

    /// Serves until Ctrl-C or SIGTERM.
    ///
    /// # Errors
    ///
    /// If the listener cannot be used.
    pub async fn run(self) -> io::Result<()> {
        self.run_until(asked_to_stop()).await
    }

    /// Serves until `stop` is ready.
    ///
    /// # Errors
    ///
    /// If the listener cannot be used.
    pub async fn run_until(self, stop: impl Future<Output = ()>) -> io::Result<()> {
        let listener = TcpListener::from_std(self.listener)?;
        let mut background = JoinSet::new();
        if let Some(admin) = self.admin {
            let admin = TcpListener::from_std(admin)?;
            let metrics = self.gateway.metrics_service();
            let bounds = Bounds {
                clients: self.clients,
                write_time: self.write_time,
                max_connections: 100,
                per_client: None,
                drain_time: Duration::ZERO,
            };
            background.spawn(accept(admin, None, bounds, metrics, pending(), || {}));
        }
        if let Some(tls) = self.tls.clone() {
            background.spawn(tls.watch());
        }
        let gateway = self.gateway.clone();
        background.spawn(async move { gateway.refresh_models().await });
        let last = self.gateway.clone();
        let (started, over) = (self.gateway.drain(), self.gateway.drain());
        let delay = self.drain_delay;
        let stop = async move {
            stop.await;
            started.start();
            if !delay.is_zero() {
                tokio::time::sleep(delay).await;
            }
        };
        let bounds = Bounds {
            clients: self.clients,
            write_time: self.write_time,
            max_connections: self.max_connections,
            per_client: self.per_client,
            drain_time: self.drain_time,
        };
        accept(listener, self.tls, bounds, self.gateway, stop, move || {
            over.end_streams()
        })
        .await;
        last.write_uses().await;
        Ok(())
    }
}

/// What a listener bounds.
#[derive(Clone, Copy)]
struct Bounds {
    clients: Clients,
    write_time: Duration,
    max_connections: usize,
    per_client: Option<usize>,
    drain_time: Duration,
}

/// The end of a bound must be an instant that the clock can tell.
const YEAR: Duration = Duration::from_secs(365 * 24 * 60 * 60);

/// How long streams may take to say that they are over.
const LAST_WORDS: Duration = Duration::from_secs(1);

fn listen(addr: impl ToSocketAddrs) -> io::Result<std::net::TcpListener> {
    let addrs: Vec<_> = addr.to_socket_addrs()?.collect();
    let listener = std::net::TcpListener::bind(&*addrs).map_err(|error| {
        io::Error::new(error.kind(), format!("cannot listen on {addrs:?}: {error}"))
    })?;
    listener.set_nonblocking(true)?;
    Ok(listener)
}

async fn asked_to_stop() {
    let interrupt = async {
        if tokio::signal::ctrl_c().await.is_err() {
            pending::<()>().await;
        }
    };
    #[cfg(unix)]
    {
        use tokio::signal::unix::{SignalKind, signal};
        if let Ok(mut terminate) = signal(SignalKind::terminate()) {
            tokio::select! {
                () = interrupt => {}
                _ = terminate.recv() => {}
            }
            return;
        }
    }
    interrupt.await;
}

/// Accepts until `stop`, and then waits for the connections. Those that do not end in time hear
/// `deadline`, and are cut soon after.
async fn accept<S, F>(
    listener: TcpListener,
    tls: Option<Tls>,
    bounds: Bounds,
    service: S,
    stop: impl Future<Output = ()>,
    deadline: impl FnOnce(),
) where
    S: tower_service::Service<
            Request<Arriving>,
            Response = http::Response<crate::Body>,
            Future = F,
        > + Clone
        + Send
        + 'static,
    S::Error: std::error::Error + Send + Sync + 'static,
    F: Future<Output = Result<S::Response, S::Error>> + Send + 'static,
{
    let http = Arc::new(Protocols::new(bounds.clients));
    let peers = bounds.per_client.map(Peers::new);
    let room = Arc::new(Semaphore::new(bounds.max_connections));
    let mut connections = JoinSet::new();
    let (closing, closed) = watch::channel(());
    let mut stop = pin!(stop);
    loop {
        let accepted = async {
            // The semaphore is never closed.
            let permit = room.clone().acquire_owned().await.ok();
            (listener.accept().await, permit)
        };
        let (accepted, permit) = tokio::select! {
            accepted = accepted => accepted,
            () = &mut stop => break,
        };
        while connections.try_join_next().is_some() {}
        let (stream, peer) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                // Out of descriptors, most often: there is room again when others close.
                tracing::warn!(%error, "cannot accept a connection");
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        let entered = match &peers {
            None => None,
            Some(peers) => match peers.enter(peer.ip()) {
                None => {
                    tracing::debug!(%peer, "a client has too many connections");
                    continue;
                }
                entered => entered,
            },
        };
        let (http, service, tls) = (http.clone(), service.clone(), tls.clone());
        let mut closed = closed.clone();
        connections.spawn(async move {
            let (begins, hold) = begins(tuned(stream), tls, bounds.write_time);
            let begun = tokio::select! {
                begun = tokio::time::timeout(bounds.clients.header_time, begins) => begun,
                // Nothing was asked yet.
                _ = closed.changed() => return,
            };
            let (wire, tls) = match begun {
                Ok(Ok(begun)) => begun,
                Ok(Err(error)) => {
                    tracing::debug!(%error, %peer, "a connection did not begin");
                    return;
                }
                Err(_) => return,
            };
            let resets = Arc::new(Resets::default());
            let connection = connection(&http, wire, (peer, tls), service, resets.clone());
            if let Err(error) = until_closed(connection, closed, &resets).await {
                tracing::debug!(%error, "a connection ended early");
            }
            // The socket of a tunnel is still open: it counts, and goes when this task does.
            hold.gone().await;
            drop((permit, entered));
        });
    }
    drop(closing);
    drop(listener);
    let ended = async { while connections.join_next().await.is_some() {} };
    if tokio::time::timeout(bounds.drain_time, ended)
        .await
        .is_err()
    {
        deadline();
        let all = async { while connections.join_next().await.is_some() {} };
        if tokio::time::timeout(LAST_WORDS, all).await.is_err() {
            tracing::warn!(
                connections = connections.len(),
                "cut what did not end in time"
            );
        }
    }
    connections.shutdown().await;
}

#[cfg(test)]
mod tests;
