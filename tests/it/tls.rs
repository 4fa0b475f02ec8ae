//! A gateway that ends TLS, on a real socket.

pub(crate) mod caller;
mod names;

use bytes::Bytes;
use http::{Request, Response, Version};
use rcgen::{CertifiedKey, generate_simple_self_signed};
use std::{convert::Infallible, env, fs, net::SocketAddr, path::PathBuf, process, time::Duration};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    sync::oneshot,
    time::timeout,
};
use tower_gateway::{
    Body,
    client::Client,
    collect,
    gateway::{Gateway, Server, Tls},
    proxy::Proxy,
    testing::{MockUpstream, Reply},
    tls::TlsInfo,
};

/// No test waits longer.
const SOON: Duration = Duration::from_secs(10);

/// The files of one test, gone with it.
struct Files(PathBuf, Vec<u8>);

impl Files {
    fn new(name: &str) -> Self {
        let folder = env::temp_dir().join(format!("tower-gateway-it-tls-{}-{name}", process::id()));
        fs::create_dir_all(&folder).unwrap();
        let CertifiedKey { cert, signing_key } =
            generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        fs::write(folder.join("cert.pem"), cert.pem()).unwrap();
        fs::write(folder.join("key.pem"), signing_key.serialize_pem()).unwrap();
        Self(folder, cert.pem().into_bytes())
    }

    fn tls(&self) -> Tls {
        Tls::files(self.0.join("cert.pem"), self.0.join("key.pem")).unwrap()
    }

    fn client(&self) -> Client {
        Client::new().trust_pem(&self.1).unwrap()
    }
}

impl Drop for Files {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

async fn upstream() -> MockUpstream {
    MockUpstream::start(Reply::bytes(200, "text/plain", "up"))
        .await
        .unwrap()
}

/// Where it listens, and what ends it.
async fn start(
    set: impl FnOnce(Server) -> Server,
    upstream: &MockUpstream,
) -> (
    SocketAddr,
    oneshot::Sender<()>,
    tokio::task::JoinHandle<std::io::Result<()>>,
) {
    let told = tower::service_fn(async |request: Request<Body>| {
        let tls = request.extensions().get::<TlsInfo>().cloned();
        let text = format!("{tls:?}");
        Ok::<_, Infallible>(Response::new(Body::from(Bytes::from(text))))
    });
    let gateway = Gateway::builder()
        .route("/told", told)
        .route("/up", Proxy::to(upstream.url()).unwrap())
        .build()
        .unwrap();
    let server = set(Server::bind(gateway, "127.0.0.1:0").unwrap());
    let addr = server.local_addr().unwrap();
    let (stop, stopped) = oneshot::channel::<()>();
    let run = tokio::spawn(server.run_until(async move {
        let _ = stopped.await;
    }));
    (addr, stop, run)
}

async fn get(client: &Client, addr: SocketAddr, path: &str) -> (Version, Bytes) {
    let uri = format!("https://localhost:{}{path}", addr.port());
    let request = Request::get(uri).body(Body::empty()).unwrap();
    let response = timeout(SOON, client.send(request)).await.unwrap().unwrap();
    let version = response.version();
    (
        version,
        collect(response.into_body(), 1 << 16).await.unwrap(),
    )
}

#[tokio::test]
async fn both_versions_of_http_are_spoken_and_a_service_is_told_of_tls() {
    let (files, upstream) = (Files::new("versions"), upstream().await);
    let (addr, stop, run) = start(|server| server.tls(files.tls()), &upstream).await;
    for (client, version, alpn) in [
        (files.client(), Version::HTTP_2, "h2"),
        (files.client().http1_only(), Version::HTTP_11, "http/1.1"),
    ] {
        let (spoken, told) = get(&client, addr, "/told").await;
        assert_eq!(spoken, version);
        let told = String::from_utf8(told.into()).unwrap();
        assert!(told.contains(alpn) && told.contains("localhost"), "{told}");
        get(&client, addr, "/up").await;
        let received = upstream.last().unwrap();
        assert_eq!(received.header("x-forwarded-proto"), Some("https"));
    }
    stop.send(()).unwrap();
    timeout(SOON, run)
        .await
        .expect("it drains")
        .unwrap()
        .unwrap();
}

#[tokio::test]
async fn what_comes_without_tls_is_closed() {
    let (files, upstream) = (Files::new("without"), upstream().await);
    let (addr, _stop, _run) = start(|server| server.tls(files.tls()), &upstream).await;
    let mut stream = TcpStream::connect(addr).await.unwrap();
    stream
        .write_all(b"GET /told HTTP/1.1\r\nhost: a\r\n\r\n")
        .await
        .unwrap();
    let mut answer = Vec::new();
    let _ = timeout(SOON, stream.read_to_end(&mut answer))
        .await
        .expect("closed in time");
    assert!(!answer.starts_with(b"HTTP"), "an alert at most: {answer:?}");
}

#[tokio::test]
async fn a_handshake_that_does_not_go_on_is_closed_in_time() {
    let (files, upstream) = (Files::new("slow"), upstream().await);
    let set = |server: Server| {
        server
            .tls(files.tls())
            .header_time(Duration::from_millis(200))
    };
    let (addr, _stop, _run) = start(set, &upstream).await;
    // The head of a record of a handshake, and no more.
    for begin in [&b""[..], b"\x16\x03\x01\x02\x00"] {
        let mut stream = TcpStream::connect(addr).await.unwrap();
        stream.write_all(begin).await.unwrap();
        let mut answer = Vec::new();
        let _ = timeout(SOON, stream.read_to_end(&mut answer))
            .await
            .expect("closed in time");
    }
    get(&files.client(), addr, "/told").await;
}

#[tokio::test]
async fn a_certificate_that_is_renewed_is_shown_without_a_restart() {
    let (files, upstream) = (Files::new("renewed"), upstream().await);
    let tls = files.tls();
    let (addr, _stop, _run) = start(|server| server.tls(tls.clone()), &upstream).await;
    let kept = files.client();
    get(&kept, addr, "/told").await;
    let renewed = generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    fs::write(files.0.join("cert.pem"), renewed.cert.pem()).unwrap();
    fs::write(files.0.join("key.pem"), renewed.signing_key.serialize_pem()).unwrap();
    tls.reload().unwrap();
    // Who is connected stays so; who comes anew is shown the new one.
    get(&kept, addr, "/told").await;
    let client = Client::new()
        .trust_pem(renewed.cert.pem().as_bytes())
        .unwrap();
    get(&client, addr, "/told").await;
}
