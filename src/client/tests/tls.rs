//! Over TLS. The certificate of the server is that of `localhost`, until 2126, by an authority that
//! nobody else trusts and whose key is lost.

use super::*;
use hyper::{body::Incoming, service::service_fn};
use hyper_util::{rt::TokioIo, server::conn::auto};
use rustls::{ServerConfig, crypto::aws_lc_rs, pki_types::PrivateKeyDer};
use tokio_rustls::TlsAcceptor;

const AUTHORITY: &[u8] = include_bytes!("authority.pem");
const CERTIFICATE: &[u8] = include_bytes!("server.pem");
const KEY: &[u8] = include_bytes!("server.key");

/// A server that says which version it was spoken to in.
async fn tls_server() -> u16 {
    let certificate = CertificateDer::from_pem_slice(CERTIFICATE).unwrap();
    let key = PrivateKeyDer::from_pem_slice(KEY).unwrap();
    let provider = Arc::new(aws_lc_rs::default_provider());
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate], key)
        .unwrap();
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        loop {
            let (socket, _) = listener.accept().await.unwrap();
            let Ok(stream) = acceptor.accept(socket).await else {
                continue;
            };
            let service = service_fn(async |request: Request<Incoming>| {
                let version = format!("{:?}", request.version());
                let host = request.headers().get("host").cloned();
                let mut response = Response::new(Body::from(version));
                response
                    .headers_mut()
                    .extend(host.map(|host| (header::VIA, host)));
                Ok::<_, Infallible>(response)
            });
            let builder = auto::Builder::new(TokioExecutor::new());
            let serving = builder.serve_connection(TokioIo::new(stream), service);
            let _ = serving.await;
        }
    });
    port
}

async fn version(client: Client, port: u16) -> Bytes {
    let uri = format!("https://localhost:{port}/");
    text(client.send(request(Method::GET, uri)).await.unwrap()).await
}

#[tokio::test]
async fn the_server_chooses_the_version_unless_it_is_set() {
    let trusting = || Client::new().trust_pem(AUTHORITY).unwrap();
    assert_eq!(version(trusting(), tls_server().await).await, "HTTP/2.0");
    let http1 = trusting().http1_only();
    assert_eq!(version(http1, tls_server().await).await, "HTTP/1.1");
    let http2 = trusting().http2_only();
    assert_eq!(version(http2, tls_server().await).await, "HTTP/2.0");
}

#[tokio::test]
async fn a_host_beside_that_of_the_uri_goes_by_http_1_or_not_at_all() {
    let send = async |client: Client, host: &'static str| {
        let port = tls_server().await;
        let mut request = request(Method::GET, format!("https://localhost:{port}/"));
        let host = HeaderValue::from_static(host);
        request.headers_mut().insert(header::HOST, host);
        let response = client.send(request).await.unwrap();
        let host = response.headers().get(header::VIA).cloned();
        (text(response).await, host)
    };
    let trusting = || Client::new().trust_pem(AUTHORITY).unwrap();
    let (version, host) = send(trusting(), "example.com").await;
    assert_eq!(version, "HTTP/1.1");
    assert_eq!(host.unwrap(), "example.com");
    let (version, host) = send(trusting().http2_only(), "example.com").await;
    assert_eq!((&*version, host), (&b"HTTP/2.0"[..], None));
}

#[tokio::test]
async fn a_certificate_by_a_stranger_or_for_another_is_refused() {
    let port = tls_server().await;
    // Where the system trusts nobody at all, TLS cannot be set up.
    let stranger = get(format_args!("https://localhost:{port}/"))
        .await
        .unwrap_err();
    let (kind, error) = told(&stranger);
    assert!(
        (kind, error) == (Kind::BadGateway, "tls_certificate_error")
            || (kind, error) == (Kind::Internal, "proxy_configuration_error")
    );

    let port = tls_server().await;
    let client = Client::new().trust_pem(AUTHORITY).unwrap();
    let uri = format!("https://127.0.0.1:{port}/");
    let another = client.send(request(Method::GET, uri)).await.unwrap_err();
    let refused = (Kind::BadGateway, "tls_certificate_error");
    assert_eq!(told(&another), refused);
}
