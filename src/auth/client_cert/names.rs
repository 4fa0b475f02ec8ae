//! The names in a certificate: RFC 5280 §4.2.1.6. What is read here was verified by whoever ended TLS.

/// One element of DER, X.690 §8.1.
struct Element<'a> {
    tag: u8,
    content: &'a [u8],
}

/// Takes the first element off. Lengths of more than four bytes, and tags of more than one, are in no
/// certificate.
fn take<'a>(der: &mut &'a [u8]) -> Option<Element<'a>> {
    let (&tag, rest) = der.split_first()?;
    let (&first, mut rest) = rest.split_first()?;
    let mut length = usize::from(first & 0x7f);
    if first & 0x80 != 0 {
        let bytes = length;
        if !(1..=4).contains(&bytes) {
            return None;
        }
        length = 0;
        for _ in 0..bytes {
            let (&byte, after) = rest.split_first()?;
            length = length << 8 | usize::from(byte);
            rest = after;
        }
    }
    let (content, rest) = rest.split_at_checked(length)?;
    *der = rest;
    Some(Element { tag, content })
}

fn expect<'a>(der: &mut &'a [u8], tag: u8) -> Option<&'a [u8]> {
    let element = take(der)?;
    (element.tag == tag).then_some(element.content)
}

const SEQUENCE: u8 = 0x30;
const OBJECT: u8 = 0x06;
const OCTETS: u8 = 0x04;
const BOOLEAN: u8 = 0x01;
/// Of the third field that is tagged, the extensions.
const EXTENSIONS: u8 = 0xa3;
/// 2.5.29.17.
const ALTERNATIVE_NAMES: &[u8] = &[0x55, 0x1d, 0x11];

/// The names of a certificate.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Names {
    pub(super) uris: Vec<String>,
    pub(super) hosts: Vec<String>,
    pub(super) emails: Vec<String>,
}

impl Names {
    /// The one that says most: a URI, of SPIFFE first, then a host, then an address of mail. `None` if there
    /// is none, or more than one of the kind that counts: then nobody can say who it is.
    pub(super) fn first(&self) -> Option<&str> {
        let spiffe = self.uris.iter().filter(|uri| uri.starts_with("spiffe://"));
        let kinds: [Vec<&String>; 4] = [
            spiffe.collect(),
            self.uris.iter().collect(),
            self.hosts.iter().collect(),
            self.emails.iter().collect(),
        ];
        let counts = kinds.into_iter().find(|names| !names.is_empty())?;
        match counts[..] {
            [one] => Some(one),
            _ => None,
        }
    }

    /// Of a certificate in DER. `None` if it cannot be read.
    pub(super) fn of(mut der: &[u8]) -> Option<Self> {
        let mut certificate = expect(&mut der, SEQUENCE)?;
        if !der.is_empty() {
            return None;
        }
        let mut signed = expect(&mut certificate, SEQUENCE)?;
        let mut names = Self::default();
        while !signed.is_empty() {
            let field = take(&mut signed)?;
            if field.tag == EXTENSIONS {
                let mut extensions = field.content;
                names.read(expect(&mut extensions, SEQUENCE)?)?;
            }
        }
        Some(names)
    }

    fn read(&mut self, mut extensions: &[u8]) -> Option<()> {
        while !extensions.is_empty() {
            let mut extension = expect(&mut extensions, SEQUENCE)?;
            let id = expect(&mut extension, OBJECT)?;
            let mut value = take(&mut extension)?;
            if value.tag == BOOLEAN {
                value = take(&mut extension)?;
            }
            if id != ALTERNATIVE_NAMES {
                continue;
            }
            if value.tag != OCTETS {
                return None;
            }
            let mut octets = value.content;
            let mut all = expect(&mut octets, SEQUENCE)?;
            while !all.is_empty() {
                let name = take(&mut all)?;
                let kind = match name.tag {
                    0x81 => &mut self.emails,
                    0x82 => &mut self.hosts,
                    0x86 => &mut self.uris,
                    _ => continue,
                };
                // RFC 5280 has them in ASCII; a NUL would end a name for some (CVE-2009-2408).
                if !name.content.iter().all(u8::is_ascii_graphic) || name.content.is_empty() {
                    return None;
                }
                kind.push(str::from_utf8(name.content).ok()?.to_owned());
            }
        }
        Some(())
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::auth::base64::{Form, decode};
    use proptest::prelude::*;

    /// Of `spiffe://acme.example/ns/billing`, a host and an address of mail; and of two hosts.
    pub(in super::super) const ONE: &str = "MIIBazCCAR2gAwIBAgIUHCH0g7lzz4NBL6LoTA+nMFJ9r1UwBQYDK2VwMBExDzANBgNVBAMMBmNsaWVudDAgFw0y\
        NjExMjEyMjIyMjdaGA8yMTI2MTAyODIyMjIyN1owETEPMA0GA1UEAwwGY2xpZW50MCowBQYDK2VwAyEAzNMXSW3E\
        vt5qfABXg0kxg5+sif4VgTvsSjvPIGxhXtCjgYQwgYEwUgYDVR0RBEswSYYgc3BpZmZlOi8vYWNtZS5leGFtcGxl\
        L25zL2JpbGxpbmeCE2NsaWVudC5hY21lLmV4YW1wbGWBEG9wc0BhY21lLmV4YW1wbGUwDAYDVR0TAQH/BAIwADAd\
        BgNVHQ4EFgQUZshlBixfBdhMJH2a0la5JJ23ViQwBQYDK2VwA0EAAcywoTkC6oKJxqiW0/1wW1TdSNawJMLJUkFg\
        msxA24aSYW+RpPh7372EmR91q05EKIw000e2RyudPHgNYOdgDQ==";
    const TWO: &str = "MIIBNTCB6KADAgECAhR7CcFdVFTai2td3xe7f+KHoupzyjAFBgMrZXAwETEPMA0GA1UEAwwGY2xpZW50MCAXDTI2\
        MTEyMTIyMjIyN1oYDzIxMjYxMDI4MjIyMjI3WjARMQ8wDQYDVQQDDAZjbGllbnQwKjAFBgMrZXADIQAQyZkhHt0c\
        3YueWIOrZkI5ohStT3lubAAC2sGxq+ITEqNQME4wHwYDVR0RBBgwFoIJYS5leGFtcGxlggliLmV4YW1wbGUwDAYD\
        VR0TAQH/BAIwADAdBgNVHQ4EFgQUuSOk3txR6zKvZKgPcSEESiKJgpUwBQYDK2VwA0EAKT/xUjaE0SFWsdEZ2tZW\
        6h5moGPONHz7Ut9TmuABAbBQ64Sxjmr/0aruYw7vHqvdspxpCti0OBHlrhtau/fcCA==";

    fn der(text: &str) -> Vec<u8> {
        decode(Form::Padded, text.as_bytes()).unwrap()
    }

    #[test]
    fn the_name_that_says_most_is_the_one() {
        let mut names = Names::of(&der(ONE)).unwrap();
        assert_eq!(names.first(), Some("spiffe://acme.example/ns/billing"));
        names.uris.push("https://other.example".into());
        assert_eq!(names.first(), Some("spiffe://acme.example/ns/billing"));
        names.uris.clear();
        assert_eq!(names.first(), Some("client.acme.example"));
        names.hosts.clear();
        assert_eq!(names.first(), Some("ops@acme.example"));
        names.emails.clear();
        assert_eq!(names.first(), None);
        assert_eq!(
            Names::of(&der(TWO)).unwrap().first(),
            None,
            "which of the two?"
        );
    }

    #[test]
    fn what_is_no_certificate_has_no_names() {
        let fine = der(ONE);
        for cut in 0..fine.len() {
            assert_eq!(Names::of(&fine[..cut]), None, "{cut}");
        }
        assert_eq!(Names::of(&[&fine[..], &[0]].concat()), None);
        let at = fine.windows(6).position(|it| it == b"spiffe").unwrap();
        let mut odd = fine;
        odd[at + 3] = 0;
        assert_eq!(Names::of(&odd), None);
    }

    proptest! {
        #[test]
        fn anything_may_be_asked_about(at in 0..367_usize, byte in any::<u8>()) {
            let mut der = der(ONE);
            der[at] = byte;
            let _ = Names::of(&der);
        }
    }
}
