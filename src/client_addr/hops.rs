//! Who the client is, as a function of the peer and the headers.

use http::{HeaderMap, HeaderName, header};
use ipnet::{IpNet, Ipv4Net};
use std::{
    error::Error,
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

/// Which header the trusted proxies write. Exactly one family is ever read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum ForwardedHeader {
    /// `X-Forwarded-For`, a list. `X-Forwarded-Proto` and its kin belong to it.
    #[default]
    XForwardedFor,
    /// `Forwarded`, RFC 7239: the `for` of each element.
    Forwarded,
    /// `X-Real-IP`, one address. Two of them are taken for none.
    XRealIp,
}

impl ForwardedHeader {
    fn name(self) -> HeaderName {
        match self {
            Self::XForwardedFor => HeaderName::from_static("x-forwarded-for"),
            Self::Forwarded => header::FORWARDED,
            Self::XRealIp => HeaderName::from_static("x-real-ip"),
        }
    }
}

/// More than a chain of honest proxies has.
const MOST_HOPS: usize = 100;
/// More than a hundred IPv6 addresses take.
const MOST_BYTES: usize = 8 * 1024;

/// Whom to believe, and which header.
#[derive(Clone, Debug, Default)]
pub struct Config {
    trusted: Vec<IpNet>,
    hops: usize,
    header: ForwardedHeader,
}

impl Config {
    /// Believes nobody.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets which proxies are believed: networks such as `10.0.0.0/8`, or single addresses.
    ///
    /// # Errors
    ///
    /// [`InvalidNetwork`] with the first text that is neither.
    pub fn trusted_proxies(
        mut self,
        networks: impl IntoIterator<Item = impl AsRef<str>>,
    ) -> Result<Self, InvalidNetwork> {
        self.trusted = self::networks(networks)?;
        Ok(self)
    }

    /// Sets how many proxies are believed whatever their addresses, counted from the peer, which is
    /// the first.
    #[must_use]
    pub fn trusted_hops(mut self, hops: u8) -> Self {
        self.hops = hops.into();
        self
    }

    /// Sets which header the trusted proxies write.
    #[must_use]
    pub fn header(mut self, header: ForwardedHeader) -> Self {
        self.header = header;
        self
    }

    pub(super) fn family(&self) -> ForwardedHeader {
        self.header
    }

    /// Whether this is a trusted proxy, so many hops from here. The address is canonical, and the peer
    /// is hop zero.
    pub(super) fn trusts(&self, addr: IpAddr, hop: usize) -> bool {
        hop < self.hops || self.trusted.iter().any(|net| net.contains(&addr))
    }
}

/// Networks, or single addresses, in their text.
pub(crate) fn networks(
    texts: impl IntoIterator<Item = impl AsRef<str>>,
) -> Result<Vec<IpNet>, InvalidNetwork> {
    let all = texts.into_iter();
    all.map(|text| network(text.as_ref()).ok_or_else(|| InvalidNetwork(text.as_ref().into())))
        .collect()
}

/// A network in its canonical form, so that `::ffff:10.0.0.0/104` is `10.0.0.0/8`.
fn network(text: &str) -> Option<IpNet> {
    let text = text.trim();
    let net: IpNet = match text.parse::<IpAddr>() {
        Ok(addr) => addr.into(),
        Err(_) => text.parse().ok()?,
    };
    Some(match net {
        IpNet::V6(v6) if v6.prefix_len() >= 96 => match v6.addr().to_ipv4_mapped() {
            Some(v4) => Ipv4Net::new(v4, v6.prefix_len() - 96).ok()?.into(),
            None => net,
        },
        _ => net,
    })
}

/// A text that names neither a network nor an address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InvalidNetwork(Box<str>);

impl fmt::Display for InvalidNetwork {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{:?} is neither a network, such as 10.0.0.0/8, nor an address",
            self.0
        )
    }
}

impl Error for InvalidNetwork {}

/// Who the client is: a function of its arguments alone. See the [module docs](super) for the rules.
#[must_use]
pub fn resolve(peer: IpAddr, headers: &HeaderMap, config: &Config) -> IpAddr {
    let mut client = peer.to_canonical();
    if !config.trusts(client, 0) {
        return client;
    }
    let lines = headers.get_all(config.header.name());
    if config.header == ForwardedHeader::XRealIp {
        let mut lines = lines.iter();
        return match (lines.next(), lines.next()) {
            (Some(line), None) => address(line.as_bytes()).unwrap_or(client),
            _ => client,
        };
    }
    let parse = match config.header {
        ForwardedHeader::Forwarded => forwarded,
        _ => address,
    };
    let mut bytes = 0;
    let hops = lines
        .iter()
        .rev()
        .flat_map(|line| from_the_right(line.as_bytes()));
    for (nth, hop) in (1..=MOST_HOPS).zip(hops) {
        bytes += hop.len() + 1;
        let Some(addr) = parse(hop).filter(|_| bytes <= MOST_BYTES) else {
            break;
        };
        client = addr;
        if !config.trusts(client, nth) {
            break;
        }
    }
    client
}

/// The elements of a list, the last first.
///
/// Quotes are paired from the right as well: what a stranger wrote at the left, such as a quote that
/// is never closed, cannot reach into what a trusted proxy has appended.
fn from_the_right(line: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = Some(line);
    std::iter::from_fn(move || {
        let line = rest?;
        let mut quoted = false;
        let comma = line.iter().rposition(|byte| {
            quoted ^= *byte == b'"';
            *byte == b',' && !quoted
        });
        rest = comma.map(|at| &line[..at]);
        Some(comma.map_or(line, |at| &line[at + 1..]))
    })
}

/// The `for` of one element of `Forwarded`, if it has exactly one and that is an address.
fn forwarded(element: &[u8]) -> Option<IpAddr> {
    let mut quoted = false;
    let pairs = element.split(|byte| {
        quoted ^= *byte == b'"';
        *byte == b';' && !quoted
    });
    let mut node = None;
    for pair in pairs {
        let equals = pair.iter().position(|byte| *byte == b'=')?;
        if pair[..equals].trim_ascii().eq_ignore_ascii_case(b"for")
            && node.replace(pair[equals + 1..].trim_ascii()).is_some()
        {
            return None;
        }
    }
    let node = node?;
    address(match node.strip_prefix(b"\"") {
        Some(node) => node.strip_suffix(b"\"")?,
        None => node,
    })
}

/// An address without its port, brackets and zone, in its canonical form.
fn address(text: &[u8]) -> Option<IpAddr> {
    let text = std::str::from_utf8(text).ok()?.trim_ascii();
    if let Some(bracketed) = text.strip_prefix('[') {
        let (addr, port) = bracketed.split_once(']')?;
        let fine = port.is_empty() || port.strip_prefix(':').is_some_and(is_port);
        return ipv6(addr).filter(|_| fine);
    }
    match text.split_once(':') {
        None => text.parse::<Ipv4Addr>().ok().map(IpAddr::V4),
        Some((addr, port)) if !port.contains(':') => {
            let addr = addr.parse::<Ipv4Addr>().ok()?;
            is_port(port).then_some(IpAddr::V4(addr))
        }
        Some(_) => ipv6(text),
    }
}

fn ipv6(text: &str) -> Option<IpAddr> {
    let (addr, zone) = text.split_once('%').unwrap_or((text, "-"));
    let addr = addr.parse::<Ipv6Addr>().ok()?;
    // RFC 6874: nothing that could be the end of one hop and the beginning of another.
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
    let is_zone = !zone.is_empty() && zone.bytes().all(plain);
    is_zone.then(|| IpAddr::V6(addr).to_canonical())
}

/// A number, or what RFC 7239 section 6.3 allows in its place.
fn is_port(text: &str) -> bool {
    let hidden = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
    match text.strip_prefix('_') {
        Some(name) => !name.is_empty() && name.bytes().all(hidden),
        None => text.bytes().all(|byte| byte.is_ascii_digit()) && text.parse::<u16>().is_ok(),
    }
}

#[cfg(test)]
mod tests {
    use super::{ForwardedHeader::*, *};
    use http::HeaderValue;

    const TRUSTED: [&str; 4] = [
        "10.0.0.0/8",
        "192.168.1.1",
        "fd00::/8",
        "::ffff:172.16.0.0/108",
    ];

    fn config(header: ForwardedHeader) -> Config {
        Config::new()
            .trusted_proxies(TRUSTED)
            .unwrap()
            .header(header)
    }

    fn client(header: ForwardedHeader, peer: &str, lines: &[&str]) -> String {
        let mut headers = HeaderMap::new();
        for line in lines {
            headers.append(
                header.name(),
                HeaderValue::from_bytes(line.as_bytes()).unwrap(),
            );
        }
        resolve(peer.parse().unwrap(), &headers, &config(header)).to_string()
    }

    #[test]
    fn x_forwarded_for_is_walked_from_the_right() {
        for (peer, lines, expected) in [
            // A stranger is believed nothing.
            ("1.2.3.4", &["9.9.9.9"][..], "1.2.3.4"),
            ("::ffff:1.2.3.4", &["9.9.9.9"], "1.2.3.4"),
            ("192.168.1.2", &["9.9.9.9"], "192.168.1.2"),
            // Trusted proxies are, up to the first stranger.
            ("10.0.0.1", &[], "10.0.0.1"),
            ("10.0.0.1", &["9.9.9.9"], "9.9.9.9"),
            ("::ffff:10.0.0.1", &["9.9.9.9"], "9.9.9.9"),
            ("172.16.0.9", &["9.9.9.9"], "9.9.9.9"),
            ("192.168.1.1", &["9.9.9.9"], "9.9.9.9"),
            ("fd00::1", &["2001:db8::7"], "2001:db8::7"),
            ("10.0.0.1", &["6.6.6.6, 9.9.9.9, 10.0.0.2"], "9.9.9.9"),
            ("10.0.0.1", &["10.0.0.3, 6.6.6.6, 9.9.9.9"], "9.9.9.9"),
            // All lines are one list.
            (
                "10.0.0.1",
                &["6.6.6.6", "9.9.9.9, 10.0.0.3", "10.0.0.2"],
                "9.9.9.9",
            ),
            ("10.0.0.1", &["9.9.9.9", "6.6.6.6"], "6.6.6.6"),
            // All trusted: the outermost.
            ("10.0.0.1", &["10.0.0.4, 10.0.0.3", "10.0.0.2"], "10.0.0.4"),
            // What is no address ends the walk.
            ("10.0.0.1", &["9.9.9.9, unknown, 10.0.0.2"], "10.0.0.2"),
            ("10.0.0.1", &["9.9.9.9, _hidden"], "10.0.0.1"),
            ("10.0.0.1", &["9.9.9.9, localhost"], "10.0.0.1"),
            ("10.0.0.1", &["9.9.9.9,"], "10.0.0.1"),
            ("10.0.0.1", &["9.9.9.9,,10.0.0.2"], "10.0.0.2"),
            ("10.0.0.1", &[""], "10.0.0.1"),
            ("10.0.0.1", &["9.9.9.9", "", "10.0.0.2"], "10.0.0.2"),
            ("10.0.0.1", &["9.9.9.9\t10.0.0.2"], "10.0.0.1"),
            ("10.0.0.1", &["9.9.9"], "10.0.0.1"),
            ("10.0.0.1", &["09.9.9.9"], "10.0.0.1"),
            ("10.0.0.1", &["0x09.9.9.9"], "10.0.0.1"),
            ("10.0.0.1", &["151587081"], "10.0.0.1"),
            ("10.0.0.1", &["9.9.9.9/32"], "10.0.0.1"),
            ("10.0.0.1", &["\u{ff19}.9.9.9"], "10.0.0.1"),
            ("10.0.0.1", &["\"9.9.9.9\""], "10.0.0.1"),
            // Ports, brackets, zones, and IPv4 in IPv6.
            ("10.0.0.1", &["9.9.9.9:443"], "9.9.9.9"),
            ("10.0.0.1", &["9.9.9.9:"], "10.0.0.1"),
            ("10.0.0.1", &["9.9.9.9:65536"], "10.0.0.1"),
            ("10.0.0.1", &["9.9.9.9:+80"], "10.0.0.1"),
            ("10.0.0.1", &["[2001:db8::7]"], "2001:db8::7"),
            ("10.0.0.1", &["[2001:db8::7]:443"], "2001:db8::7"),
            ("10.0.0.1", &["[2001:db8::7]443"], "10.0.0.1"),
            ("10.0.0.1", &["[2001:db8::7"], "10.0.0.1"),
            ("10.0.0.1", &["fe80::7%eth0"], "fe80::7"),
            ("10.0.0.1", &["[fe80::7%25eth0]:1"], "fe80::7"),
            ("10.0.0.1", &["fe80::7%"], "10.0.0.1"),
            ("10.0.0.1", &["::7%';, [..e\" , 10.0.0.1"], "10.0.0.1"),
            ("10.0.0.1", &["::ffff:9.9.9.9"], "9.9.9.9"),
            ("10.0.0.1", &["9.9.9.9, ::ffff:10.0.0.2"], "9.9.9.9"),
            ("10.0.0.1", &["  9.9.9.9  "], "9.9.9.9"),
        ] {
            assert_eq!(
                client(XForwardedFor, peer, lines),
                expected,
                "{peer} {lines:?}"
            );
        }
    }

    #[test]
    fn forwarded_is_read_as_rfc_7239_writes_it() {
        for (lines, expected) in [
            (&["for=9.9.9.9"][..], "9.9.9.9"),
            (&["For=\"9.9.9.9:80\";proto=https;by=10.0.0.1"], "9.9.9.9"),
            (&["proto=https; for=9.9.9.9"], "9.9.9.9"),
            (&["for=\"[2001:db8::7]:4711\""], "2001:db8::7"),
            (&["for=\"[2001:db8::7]:_port\""], "2001:db8::7"),
            (&["for=9.9.9.9, for=10.0.0.2"], "9.9.9.9"),
            (&["for=6.6.6.6, for=9.9.9.9", "for=10.0.0.2"], "9.9.9.9"),
            (&["for=9.9.9.9;host=\"a,b;for=6.6.6.6\""], "9.9.9.9"),
            // Hidden, unknown, absent, twice, or rubbish: the last good hop.
            (&["for=9.9.9.9, for=unknown, for=10.0.0.2"], "10.0.0.2"),
            (&["for=9.9.9.9, for=_secret"], "10.0.0.1"),
            (&["for=9.9.9.9, proto=https"], "10.0.0.1"),
            (&["for=9.9.9.9;for=6.6.6.6"], "10.0.0.1"),
            (&["9.9.9.9"], "10.0.0.1"),
            (&["for=\"9.9.9.9"], "10.0.0.1"),
            (&["for=\"9.9\\.9.9\""], "10.0.0.1"),
            (&["for="], "10.0.0.1"),
            (&["for=2001:db8::7:"], "10.0.0.1"),
            (&[""], "10.0.0.1"),
            // A quote that a stranger left open does not swallow what the proxy appended.
            (&["for=\"6.6.6.6, for=9.9.9.9"], "9.9.9.9"),
            (&["for=\"6.6.6.6\\\", for=9.9.9.9, for=10.0.0.2"], "9.9.9.9"),
        ] {
            assert_eq!(client(Forwarded, "10.0.0.1", lines), expected, "{lines:?}");
        }
    }

    #[test]
    fn x_real_ip_is_one_address() {
        for (lines, expected) in [
            (&["9.9.9.9"][..], "9.9.9.9"),
            (&["[2001:db8::7]"], "2001:db8::7"),
            (&["9.9.9.9", "6.6.6.6"], "10.0.0.1"),
            (&["9.9.9.9, 6.6.6.6"], "10.0.0.1"),
            (&["10.0.0.2"], "10.0.0.2"),
            (&[], "10.0.0.1"),
        ] {
            assert_eq!(client(XRealIp, "10.0.0.1", lines), expected, "{lines:?}");
        }
        assert_eq!(client(XRealIp, "1.2.3.4", &["9.9.9.9"]), "1.2.3.4");
    }

    #[test]
    fn another_family_is_never_a_fallback() {
        let mut headers = HeaderMap::new();
        headers.insert("x-real-ip", HeaderValue::from_static("6.6.6.6"));
        headers.insert("forwarded", HeaderValue::from_static("for=6.6.6.6"));
        let peer = "10.0.0.1".parse().unwrap();
        assert_eq!(resolve(peer, &headers, &config(XForwardedFor)), peer);
    }

    #[test]
    fn a_chain_without_end_is_walked_a_hundred_hops() {
        let long = format!("9.9.9.9, {}10.1.1.1", "10.0.0.2, ".repeat(99));
        assert_eq!(client(XForwardedFor, "10.0.0.1", &[&long]), "10.0.0.2");
        let short = format!("9.9.9.9, {}10.1.1.1", "10.0.0.2, ".repeat(98));
        assert_eq!(client(XForwardedFor, "10.0.0.1", &[&short]), "9.9.9.9");
        let wide = format!(
            "9.9.9.9, {}10.0.0.3",
            "10.0.0.2 ".to_owned() + &" ".repeat(9000) + ", "
        );
        assert_eq!(client(XForwardedFor, "10.0.0.1", &[&wide]), "10.0.0.3");
    }

    #[test]
    fn hops_can_be_trusted_by_their_number() {
        let mut headers = HeaderMap::new();
        let chain = HeaderValue::from_static("6.6.6.6, 9.9.9.9, 8.8.8.8");
        headers.insert("x-forwarded-for", chain);
        for (hops, expected) in [
            (0, "7.7.7.7"),
            (1, "8.8.8.8"),
            (2, "9.9.9.9"),
            (9, "6.6.6.6"),
        ] {
            let config = Config::new().trusted_hops(hops);
            let client = resolve("7.7.7.7".parse().unwrap(), &headers, &config);
            assert_eq!(client.to_string(), expected, "{hops}");
        }
    }

    proptest::proptest! {
        #[test]
        fn what_a_stranger_wrote_never_counts(junk in "[ -~\\u{80}-\\u{ff}]{0,80}", line in 0..2) {
            for (header, tail) in [
                (XForwardedFor, "9.9.9.9, 10.0.0.2"),
                (Forwarded, "for=9.9.9.9;proto=https, for=\"10.0.0.2:80\""),
            ] {
                // What a proxy appends goes on the same line, or on one of its own.
                let lines = if line == 0 {
                    vec![format!("{junk}, {tail}")]
                } else {
                    vec![junk.clone(), tail.to_owned()]
                };
                let lines: Vec<_> = lines.iter().map(String::as_str).collect();
                proptest::prop_assert_eq!(client(header, "10.0.0.1", &lines), "9.9.9.9");
            }
        }
    }

    #[test]
    fn what_is_no_network_is_refused_by_name() {
        for text in [
            "",
            "10.0.0.0/33",
            "proxy.internal",
            "10.0.0.*",
            "10.0.0.0-10.0.0.9",
        ] {
            let error = Config::new()
                .trusted_proxies(["10.0.0.0/8", text])
                .unwrap_err();
            assert!(error.to_string().contains(&format!("{text:?}")), "{error}");
        }
    }
}
