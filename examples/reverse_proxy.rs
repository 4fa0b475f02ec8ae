//! A reverse proxy: `UPSTREAM=http://127.0.0.1:3000 cargo run --example reverse_proxy`.
//!
//! `ADDR` is where it listens, 127.0.0.1:8080 by default.

use hyper_util::{
    rt::{TokioExecutor, TokioIo, TokioTimer},
    server::conn::auto,
    service::TowerToHyperService,
};
use std::{env, error::Error, net::SocketAddr, time::Duration};
use tokio::net::TcpListener;
use tower::ServiceBuilder;
use tower_gateway::{
    client_addr::{ClientAddrLayer, PeerAddr},
    proxy::Proxy,
};

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let address: SocketAddr = match env::var("ADDR") {
        Ok(address) => address.parse().map_err(|error| format!("ADDR: {error}"))?,
        Err(_) => ([127, 0, 0, 1], 8080).into(),
    };
    let upstream = env::var("UPSTREAM").map_err(|error| format!("UPSTREAM: {error}"))?;
    let proxy = Proxy::to(upstream).map_err(|error| format!("UPSTREAM: {error}"))?;

    let listener = TcpListener::bind(address)
        .await
        .map_err(|error| format!("ADDR: {address}: {error}"))?;
    println!("listening on http://{}", listener.local_addr()?);
    let mut server = auto::Builder::new(TokioExecutor::new());
    server
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(Duration::from_secs(10));
    loop {
        let (socket, peer) = match listener.accept().await {
            Ok(accepted) => accepted,
            Err(error) => {
                // Out of file descriptors, most likely: others have to end first.
                eprintln!("accept: {error}");
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        // Else the end of a stream may wait for 40 ms.
        let _ = socket.set_nodelay(true);
        let service = ServiceBuilder::new()
            .map_request(move |mut request: http::Request<hyper::body::Incoming>| {
                request.extensions_mut().insert(PeerAddr(peer));
                request
            })
            .layer(ClientAddrLayer::new())
            .service(proxy.clone());
        let server = server.clone();
        tokio::spawn(async move {
            let service = TowerToHyperService::new(service);
            let connection = server.serve_connection_with_upgrades(TokioIo::new(socket), service);
            if let Err(error) = connection.await {
                eprintln!("{peer}: {error}");
            }
        });
    }
}
