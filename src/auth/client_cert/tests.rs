use super::*;
use bytes::Bytes;
use http::{Request, Response};
use std::convert::Infallible;
use tower::{ServiceExt, service_fn};

const PROXY: [u8; 4] = [10, 0, 0, 1];
const NAME: &str = "spiffe://acme.example/ns/billing";

fn certificate() -> Vec<u8> {
    decode(Form::Padded, names::tests::ONE.as_bytes()).unwrap()
}

fn layer(header: CertHeader) -> ClientCertLayer {
    ClientCertLayer::new()
        .trusted_proxies(["10.0.0.0/8", "2001:db8::1"], header)
        .unwrap()
}

fn from(peer: [u8; 4]) -> Request<()> {
    let mut request = Request::new(());
    request.extensions_mut().insert(PeerAddr((peer, 7).into()));
    request
}

fn with(mut request: Request<()>, name: &'static str, value: &str) -> Request<()> {
    request.headers_mut().append(name, value.parse().unwrap());
    request
}

/// The name of the caller, or the status.
async fn call(layer: &ClientCertLayer, request: Request<()>) -> Result<String, u16> {
    let inner = service_fn(async |request: Request<()>| {
        assert!(request.headers().is_empty(), "{:?}", request.headers());
        let name = Principal::of(&request).map_or("nobody".into(), |who| who.id().to_string());
        Ok::<_, Infallible>(Response::new(Bytes::from(name)))
    });
    let response = layer.layer(inner).oneshot(request).await.unwrap();
    match response.status().as_u16() {
        200 => Ok(String::from_utf8(response.into_body().to_vec()).unwrap()),
        status => Err(status),
    }
}

#[tokio::test]
async fn a_connection_says_whose_certificate_it_is() {
    let mut request = from([192, 0, 2, 1]);
    let tls = TlsInfo::new().peer_certificates([certificate()]);
    request.extensions_mut().insert(tls);
    request.extensions_mut().insert(Principal::new("admin"));
    let layer = ClientCertLayer::new().prefix("mtls:");
    assert_eq!(call(&layer, request).await, Ok(format!("mtls:{NAME}")));

    let mut request = from([192, 0, 2, 1]);
    let tls = TlsInfo::new().peer_certificates([vec![0x30, 0]]);
    request.extensions_mut().insert(tls);
    assert_eq!(call(&layer, request).await, Err(401));
    let mut request = from([192, 0, 2, 1]);
    request.extensions_mut().insert(Principal::new("admin"));
    request.extensions_mut().insert(TlsInfo::new());
    assert_eq!(call(&layer, request).await, Err(401));
    let mut request = from([192, 0, 2, 1]);
    request.extensions_mut().insert(Principal::new("admin"));
    assert_eq!(call(&layer.optional(), request).await, Ok("nobody".into()));
}

#[tokio::test]
async fn a_proxy_is_believed_if_it_is_trusted_and_in_one_header() {
    let rfc9440 = format!(":{}:", names::tests::ONE);
    let xfcc = format!("Hash=ab;URI={NAME}");
    for (header, name, value) in [
        (CertHeader::ClientCert, "client-cert", &rfc9440),
        (CertHeader::Xfcc, "x-forwarded-client-cert", &xfcc),
    ] {
        let layer = layer(header);
        let fine = || with(from(PROXY), name, value);
        assert_eq!(call(&layer, fine()).await, Ok(NAME.into()));
        assert_eq!(
            call(&layer, with(from([192, 0, 2, 1]), name, value)).await,
            Err(401)
        );
        assert_eq!(
            call(&layer, with(Request::new(()), name, value)).await,
            Err(401)
        );
        assert_eq!(
            call(&layer, with(fine(), name, value)).await,
            Err(400),
            "twice"
        );
        assert_eq!(
            call(&layer, with(from(PROXY), name, "nonsense")).await,
            Err(400)
        );
        assert_eq!(call(&layer, from(PROXY)).await, Err(401));
        // What the other header says, and what an alias says, nobody asks.
        for other in [
            "client_cert",
            "x_forwarded_client_cert",
            "client-cert-chain",
        ] {
            assert_eq!(
                call(&layer, with(from(PROXY), other, value)).await,
                Err(401)
            );
        }
        // The proxy's own certificate is not the caller's.
        let mut own = from(PROXY);
        own.extensions_mut()
            .insert(TlsInfo::new().peer_certificates([certificate()]));
        assert_eq!(call(&layer, own).await, Err(401));
    }
    let none = ClientCertLayer::new();
    assert_eq!(
        call(&none, with(from(PROXY), "client-cert", &rfc9440)).await,
        Err(401)
    );
    let no_der = with(from(PROXY), "client-cert", ":MAA=:");
    assert_eq!(call(&layer(CertHeader::ClientCert), no_der).await, Err(401));
    assert!(
        ClientCertLayer::new()
            .trusted_proxies(["ten"], CertHeader::Xfcc)
            .is_err()
    );
}
