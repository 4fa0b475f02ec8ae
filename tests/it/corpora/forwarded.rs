//! What a stranger says of who he is never counts, and whoever trusts this proxy finds the same
//! client behind it that it found itself.

use super::{Upstream, block_on};
use http::{HeaderMap, HeaderName, HeaderValue, Request, header};
use std::net::IpAddr;
use tower::{Layer, ServiceExt};
use tower_gateway::{
    Body,
    client_addr::{ClientAddr, ClientAddrLayer, Config, ForwardedHeader, PeerAddr, resolve},
    proxy::{Forwarding, Proxy},
};

const XFF: HeaderName = HeaderName::from_static("x-forwarded-for");
const TRUSTED: [&str; 3] = ["10.0.0.0/8", "fd00::/8", "::ffff:172.16.0.0/108"];

pub(super) fn check(input: &[u8]) {
    let [kind, lines @ ..] = input else {
        return;
    };
    let header = [
        ForwardedHeader::XForwardedFor,
        ForwardedHeader::Forwarded,
        ForwardedHeader::XRealIp,
    ][usize::from(kind % 3)];
    let name = match header {
        ForwardedHeader::XForwardedFor => XFF,
        ForwardedHeader::Forwarded => header::FORWARDED,
        ForwardedHeader::XRealIp => HeaderName::from_static("x-real-ip"),
    };
    let peer =
        ["10.0.0.1", "fd00::1", "::ffff:10.0.0.1", "203.0.113.9"][usize::from(kind >> 2) % 4];
    let peer: IpAddr = peer.parse().unwrap();
    let lines: Vec<_> = lines
        .split(|byte| *byte == b'\n')
        .filter_map(|line| HeaderValue::from_bytes(line).ok())
        .collect();
    let config = Config::new()
        .trusted_proxies(TRUSTED)
        .unwrap()
        .header(header);
    let with = |more: &[&HeaderValue]| {
        let mut headers = HeaderMap::new();
        for line in lines.iter().chain(more.iter().copied()) {
            headers.append(&name, line.clone());
        }
        headers
    };

    let headers = with(&[]);
    let client = resolve(peer, &headers, &config);
    assert_eq!(client, client.to_canonical());
    assert_eq!(
        resolve("203.0.113.9".parse().unwrap(), &headers, &config).to_string(),
        "203.0.113.9"
    );
    if headers.is_empty() {
        assert_eq!(client, peer.to_canonical());
    }

    // Behind what a proxy has appended, on a line of its own or on that of the stranger.
    let tail = match header {
        ForwardedHeader::XForwardedFor => Some("198.51.100.7, 10.0.0.2"),
        ForwardedHeader::Forwarded => Some("for=198.51.100.7;proto=https, for=\"[fd00::2]:80\""),
        ForwardedHeader::XRealIp => None,
    };
    if let Some(tail) = tail {
        let inside: IpAddr = "10.0.0.1".parse().unwrap();
        let own = with(&[&HeaderValue::from_static(tail)]);
        assert_eq!(resolve(inside, &own, &config).to_string(), "198.51.100.7");
        if let Some(last) = lines.last() {
            let joined = [last.as_bytes(), b", ", tail.as_bytes()].concat();
            let joined = HeaderValue::from_bytes(&joined).unwrap();
            let mut headers = with(&[]);
            headers.remove(&name);
            headers.append(&name, joined);
            assert_eq!(
                resolve(inside, &headers, &config).to_string(),
                "198.51.100.7"
            );
        }
    }

    through(peer, &name, &lines, header, client);
}

/// Through the layer and a proxy, to an upstream that trusts the proxy's address.
fn through(
    peer: IpAddr,
    name: &HeaderName,
    lines: &[HeaderValue],
    header: ForwardedHeader,
    client: IpAddr,
) {
    let upstream = Upstream::default();
    let proxy = Proxy::to("http://up.internal").unwrap();
    let proxy = proxy.client(upstream.clone()).forwarding(Forwarding::Both);
    let layer = ClientAddrLayer::new()
        .trusted_proxies(TRUSTED)
        .unwrap()
        .header(header);
    let mut request = Request::get("http://gate/").body(Body::empty()).unwrap();
    request.extensions_mut().insert(PeerAddr((peer, 1).into()));
    for line in lines {
        request.headers_mut().append(name, line.clone());
    }
    let found = upstream.clone();
    let _ = block_on(layer.layer(proxy).oneshot(request)).unwrap();
    let seen = found.take().expect("nothing here is refused");
    assert_eq!(seen.extensions().get(), Some(&ClientAddr(client)));

    // An honest chain is shorter.
    let commas = |line: &HeaderValue| line.as_bytes().iter().filter(|byte| **byte == b',').count();
    let bytes: usize = lines.iter().map(HeaderValue::len).sum();
    if bytes > 4000 || lines.iter().map(commas).sum::<usize>() + lines.len() > 90 {
        return;
    }
    let gateway = "10.0.0.9".parse().unwrap();
    for header in [ForwardedHeader::XForwardedFor, ForwardedHeader::Forwarded] {
        let config = Config::new()
            .trusted_proxies(TRUSTED)
            .unwrap()
            .header(header);
        let behind = resolve(gateway, seen.headers(), &config);
        assert_eq!(behind, client, "{header:?}: {:?}", seen.headers());
    }
}
