//! A gateway on a real socket, before an upstream and a vendor: what anyone may read, what only who has a
//! key may, addresses that are let in, a quota. What is sent to it is sent as it is written.

use http::{HeaderValue, Request};
use std::net::SocketAddr;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};
use tower::{Layer, util::MapRequestLayer};
use tower_gateway::{
    Body, Principal,
    address_list::{AddressListLayer, Addresses},
    auth::{ApiKeys, AuthLayer},
    client_addr::{ByClientAddr, ClientAddr, ClientAddrLayer},
    gateway::{Gateway, Server, Slot},
    key::{ByPrincipal, FirstOf},
    llm::Provider,
    proxy::Proxy,
    rate_limit::{Quota, RateLimitLayer},
    testing::{MockUpstream, Recorded, Reply},
};

pub(super) const KEY: &str = "a-secret-of-alice";

pub(super) struct Site {
    address: SocketAddr,
    pub(super) upstream: MockUpstream,
    pub(super) vendor: MockUpstream,
    run: tokio::task::JoinHandle<std::io::Result<()>>,
}

impl Drop for Site {
    fn drop(&mut self) {
        self.run.abort();
    }
}

/// What came back, and what arrived.
#[derive(Debug)]
pub(super) struct Told {
    pub(super) status: u16,
    pub(super) head: String,
    pub(super) got: Option<Recorded>,
}

impl Told {
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        self.got.as_ref()?.header(name)
    }
}

impl Site {
    /// The peer is trusted as a proxy, and 203.0.113.66 is not let in.
    pub(super) async fn start() -> Self {
        let upstream = MockUpstream::start(Reply::status(200)).await.unwrap();
        let vendor = MockUpstream::start(Reply::json(200, "{}")).await.unwrap();
        let keys = || ApiKeys::new().add("alice", KEY);
        let proxy = || Proxy::to(upstream.url()).unwrap();
        let guarded = || AuthLayer::new(keys()).or_outer().layer(proxy());
        let below = format!("{}/below", upstream.url());
        let stripped = Proxy::to(below).unwrap().strip_prefix("/api");
        let outer = AuthLayer::new(keys()).optional().failure_limit(None);
        let addresses = Addresses::new().deny(["203.0.113.66"]).unwrap();
        let quota = RateLimitLayer::new(Quota::per_minute(1_000_000));
        // Tells the upstream what was found out.
        let shows = MapRequestLayer::new(|mut request: Request<Body>| {
            let client = request.extensions().get().map(ClientAddr::to_string);
            let who = Principal::of(&request).map(|who| who.id().to_string());
            for (name, text) in [("x-seen-client", client), ("x-seen-who", who)] {
                let text = text.unwrap_or_else(|| "nobody".to_owned());
                let value = HeaderValue::try_from(text).unwrap();
                request.headers_mut().insert(name, value);
            }
            request
        });
        let proxies = ClientAddrLayer::new().trusted_proxies(["127.0.0.1"]);
        let gateway = Gateway::builder()
            .client_addr(proxies.unwrap())
            .layer_at(Slot::Limits, AddressListLayer::new(addresses))
            .layer_at(Slot::Auth, outer)
            .layer_at(
                Slot::RateLimit,
                quota.key(FirstOf(ByPrincipal, ByClientAddr)),
            )
            .layer(shows)
            .vendor(Provider::custom("lab", vendor.url()).unwrap())
            .route("/public", proxy())
            .route("/public/{*rest}", proxy())
            .route("/api/{*rest}", stripped)
            .route("/admin", guarded())
            .route("/admin/{*rest}", guarded())
            .build()
            .unwrap();
        let server = Server::bind(gateway, "127.0.0.1:0").unwrap();
        let address = server.local_addr().unwrap();
        let run = tokio::spawn(server.run_until(std::future::pending()));
        Self {
            address,
            upstream,
            vendor,
            run,
        }
    }

    /// Sends these bytes on a connection of their own, and reads until it is closed.
    pub(super) async fn raw(&self, bytes: &[u8]) -> String {
        let mut socket = TcpStream::connect(self.address).await.unwrap();
        socket.write_all(bytes).await.unwrap();
        let mut answer = Vec::new();
        // A connection that is closed with bytes unread may be reset behind the answer.
        let _ = socket.read_to_end(&mut answer).await;
        String::from_utf8_lossy(&answer).into_owned()
    }

    /// A request of these bytes, its last on the connection.
    pub(super) async fn ask(
        &self,
        method: &str,
        target: &str,
        headers: &[(&str, &str)],
        body: &str,
    ) -> Told {
        let before = self.upstream.count();
        let host = target.strip_prefix("http://").map_or("gate", |rest| {
            rest.split(['/', '?']).next().unwrap_or_default()
        });
        let mut text = format!("{method} {target} HTTP/1.1\r\nHost: {host}\r\n");
        let listed = headers.iter().any(|(name, _)| *name == "Connection");
        if !listed {
            text.push_str("Connection: close\r\n");
        }
        for (name, value) in headers {
            text.push_str(&format!("{name}: {value}\r\n"));
        }
        text.push_str("\r\n");
        text.push_str(body);
        let answer = self.raw(text.as_bytes()).await;
        let head = answer.split("\r\n\r\n").next().unwrap_or_default();
        let status = answer.get(9..12).and_then(|status| status.parse().ok());
        let arrived = self.upstream.count() > before;
        Told {
            status: status.unwrap_or(0),
            head: head.to_ascii_lowercase(),
            got: arrived.then(|| self.upstream.last().unwrap()),
        }
    }
}
