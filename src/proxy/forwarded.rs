//! Who called whom, and how, for the upstream.

use http::{HeaderMap, HeaderName, HeaderValue, header, uri::Scheme};
use std::{fmt::Write, net::IpAddr};

/// In which headers the upstream is told of the caller.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Forwarding {
    /// `X-Forwarded-For`, `-Proto`, `-Host`, and `-Prefix` where one is stripped.
    #[default]
    XForwarded,
    /// `Forwarded` (RFC 7239).
    Standard,
    /// In all of them.
    Both,
    /// In none.
    Nothing,
}

/// Who calls, as far as it is known.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Caller {
    /// Who opened the connection.
    pub(super) peer: Option<IpAddr>,
    /// Who is the client. If it is known, someone further out has looked at the headers, and what is
    /// left of them can be relied on.
    pub(super) client: Option<IpAddr>,
}

/// What a request was before it was forwarded.
pub(super) struct Asked<'a> {
    pub(super) caller: Caller,
    pub(super) scheme: &'a Scheme,
    pub(super) host: &'a HeaderValue,
    pub(super) prefix: &'a str,
}

const FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
const PREFIX: HeaderName = HeaderName::from_static("x-forwarded-prefix");

impl Forwarding {
    /// Writes the headers. Those that nobody vouches for are gone after that.
    pub(super) fn write(self, headers: &mut HeaderMap, asked: &Asked<'_>) {
        strip(headers, asked.caller.client.is_some());
        let x = matches!(self, Self::XForwarded | Self::Both);
        let standard = matches!(self, Self::Standard | Self::Both);
        if x {
            asked.write_x(headers);
        }
        if standard {
            asked.write_standard(headers);
        }
        // A chain that stops short of us would make the caller of the last hop.
        if !x {
            headers.remove(FOR);
        }
        if !standard {
            headers.remove(header::FORWARDED);
        }
    }
}

impl Asked<'_> {
    /// The client first if the headers do not name it, and the peer.
    fn hops(&self, named: bool) -> impl Iterator<Item = IpAddr> {
        let Caller { peer, client } = self.caller;
        let client = client.filter(|_| !named).filter(|_| client != peer);
        client.into_iter().chain(peer)
    }

    fn write_x(&self, headers: &mut HeaderMap) {
        let mut chain = String::with_capacity(48);
        let separator = |chain: &String| if chain.is_empty() { "" } else { ", " };
        for line in headers.get_all(&FOR) {
            match line.to_str() {
                Ok(line) => {
                    let _ = write!(chain, "{}{line}", separator(&chain));
                }
                // The walk to the client ends at such a line. Without it, hops further out would
                // stand beside those that are believed.
                Err(_) => chain.clear(),
            }
        }
        for hop in self.hops(!chain.is_empty()) {
            chain.push_str(separator(&chain));
            push(&mut chain, hop);
        }
        if let Some(chain) = HeaderValue::try_from(chain)
            .ok()
            .filter(|it| !it.is_empty())
        {
            headers.insert(FOR, chain);
        }
        headers.entry(PROTO).or_insert_with(|| match self.scheme {
            scheme if *scheme == Scheme::HTTPS => HeaderValue::from_static("https"),
            _ => HeaderValue::from_static("http"),
        });
        headers.entry(HOST).or_insert_with(|| self.host.clone());
        if !self.prefix.is_empty()
            && let Ok(prefix) = HeaderValue::try_from(self.prefix)
        {
            headers.insert(PREFIX, prefix);
        }
    }

    fn write_standard(&self, headers: &mut HeaderMap) {
        let mut element = String::new();
        for hop in self.hops(headers.contains_key(header::FORWARDED)) {
            let separator = if element.is_empty() { "" } else { ", " };
            let _ = match hop {
                IpAddr::V4(hop) => write!(element, "{separator}for={hop}"),
                IpAddr::V6(hop) => write!(element, "{separator}for=\"[{hop}]\""),
            };
        }
        if element.is_empty() {
            element.push_str("for=unknown");
        }
        let _ = write!(element, ";proto={}", self.scheme);
        if let Ok(host) = self.host.to_str() {
            // A host has no quotes, or it would not have been taken for one.
            let _ = write!(element, ";host=\"{host}\"");
        }
        if let Ok(element) = HeaderValue::try_from(element) {
            headers.append(header::FORWARDED, element);
        }
    }
}

/// Writes an address. By hand what most are: to format it would be a sixth of what forwarding costs.
fn push(out: &mut String, address: IpAddr) {
    let IpAddr::V4(address) = address else {
        let _ = write!(out, "{address}");
        return;
    };
    for (nth, octet) in address.octets().into_iter().enumerate() {
        if nth > 0 {
            out.push('.');
        }
        let digit = |number: u8| char::from(b'0' + number % 10);
        if octet >= 100 {
            out.push(digit(octet / 100));
        }
        if octet >= 10 {
            out.push(digit(octet / 10));
        }
        out.push(digit(octet));
    }
}

/// Removes what anybody could have written: all of it, unless the common ones were looked at.
fn strip(headers: &mut HeaderMap, looked_at: bool) {
    let doubtful = |name: &&HeaderName| match name.as_str() {
        "x-client-ip" | "true-client-ip" | "cf-connecting-ip" => true,
        "forwarded" | "x-real-ip" => !looked_at,
        name => !looked_at && name.starts_with("x-forwarded-"),
    };
    let names: Vec<_> = headers.keys().filter(doubtful).cloned().collect();
    for name in names {
        headers.remove(name);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(
        forwarding: Forwarding,
        (client, peer): (Option<&str>, Option<&str>),
        headers: &[(&'static str, &'static str)],
    ) -> Vec<String> {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(*name, HeaderValue::from_static(value));
        }
        let address = |text: Option<&str>| text.map(|text| text.parse().unwrap());
        let asked = Asked {
            caller: Caller {
                peer: address(peer),
                client: address(client),
            },
            scheme: &Scheme::HTTP,
            host: &HeaderValue::from_static("gate:80"),
            prefix: "",
        };
        forwarding.write(&mut map, &asked);
        let line = |(name, value): (&HeaderName, &HeaderValue)| {
            format!("{name}: {}", value.to_str().unwrap())
        };
        let mut lines: Vec<_> = map.iter().map(line).collect();
        lines.sort();
        lines
    }

    #[test]
    fn an_address_is_written_as_everybody_does() {
        for address in [
            "0.0.0.0",
            "1.20.99.100",
            "255.10.9.109",
            "::1",
            "2001:db8::7",
        ] {
            let mut out = String::new();
            push(&mut out, address.parse().unwrap());
            assert_eq!(out, address);
        }
    }

    const FORGED: &[(&str, &str)] = &[
        ("x-forwarded-for", "127.0.0.1"),
        ("x-forwarded-proto", "https"),
        ("x-forwarded-port", "443"),
        ("forwarded", "for=127.0.0.1"),
        ("x-real-ip", "127.0.0.1"),
    ];

    #[test]
    fn abuse_3_what_nobody_vouches_for_is_replaced() {
        assert_eq!(
            written(Forwarding::XForwarded, (None, Some("192.0.2.1")), FORGED),
            [
                "x-forwarded-for: 192.0.2.1",
                "x-forwarded-host: gate:80",
                "x-forwarded-proto: http",
            ]
        );
        assert_eq!(
            written(Forwarding::Nothing, (None, Some("192.0.2.1")), FORGED),
            [""; 0]
        );
    }

    #[test]
    fn the_chain_of_trusted_proxies_goes_on() {
        let headers = [
            ("x-forwarded-for", "203.0.113.7"),
            ("x-forwarded-for", "10.0.0.2"),
            ("x-forwarded-proto", "https"),
            ("x-forwarded-host", "example.com"),
        ];
        assert_eq!(
            written(
                Forwarding::XForwarded,
                (Some("203.0.113.7"), Some("10.0.0.1")),
                &headers
            ),
            [
                "x-forwarded-for: 203.0.113.7, 10.0.0.2, 10.0.0.1",
                "x-forwarded-host: example.com",
                "x-forwarded-proto: https",
            ]
        );
    }

    #[test]
    fn nothing_further_out_than_a_line_that_is_no_text_is_passed_on() {
        let mut headers = HeaderMap::new();
        for line in [&b"127.0.0.1"[..], b"\xff", b"203.0.113.7"] {
            headers.append(FOR, HeaderValue::from_bytes(line).unwrap());
        }
        let asked = Asked {
            caller: Caller {
                peer: Some([10, 0, 0, 1].into()),
                client: Some([203, 0, 113, 7].into()),
            },
            scheme: &Scheme::HTTP,
            host: &HeaderValue::from_static("gate"),
            prefix: "",
        };
        Forwarding::XForwarded.write(&mut headers, &asked);
        assert_eq!(headers[FOR], "203.0.113.7, 10.0.0.1");
    }

    #[test]
    fn one_family_is_written_in_the_words_of_another() {
        assert_eq!(
            written(
                Forwarding::XForwarded,
                (Some("203.0.113.7"), Some("10.0.0.1")),
                &[("forwarded", "for=203.0.113.7")]
            )[0],
            "x-forwarded-for: 203.0.113.7, 10.0.0.1"
        );
    }

    #[test]
    fn the_standard_header_quotes_what_it_must() {
        assert_eq!(
            written(
                Forwarding::Standard,
                (Some("2001:db8::1"), Some("2001:db8::1")),
                &[]
            ),
            [r#"forwarded: for="[2001:db8::1]";proto=http;host="gate:80""#]
        );
        assert_eq!(
            written(Forwarding::Standard, (None, None), FORGED),
            [r#"forwarded: for=unknown;proto=http;host="gate:80""#]
        );
    }
}
