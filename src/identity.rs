//! Headers that services believe of a gateway, and that no caller gets to write.
//!
//! A service behind a gateway goes by `X-User-Id`, and by `X-Original-URL`, for it takes both for the word
//! of the gateway. So where callers come in, whatever of this kind they send is taken out, whether
//! authentication is on, off, optional, or there at all. Many servers read `_` as `-`, and so do these rules.
//!
//! ```
//! use http::{HeaderMap, Request};
//! use tower::{Layer, ServiceExt, service_fn};
//! use tower_gateway::identity::IdentityLayer;
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() {
//! let service = IdentityLayer::new().layer(service_fn(async |request: Request<()>| {
//!     Ok::<_, ()>(request.headers().clone())
//! }));
//! let request = Request::get("/")
//!     .header("x-user-id", "admin")
//!     .header("X_Original_URL", "/admin")
//!     .header("accept", "*/*")
//!     .body(())
//!     .unwrap();
//! let seen: HeaderMap = service.oneshot(request).await.unwrap();
//! assert_eq!(seen.keys().collect::<Vec<_>>(), ["accept"]);
//! # }
//! ```
//!
//! # Which they are
//!
//! | they tell | names |
//! |---|---|
//! | who calls | `x-user`, `x-user-*`, `x-auth-*`, `x-authenticated-*`, `x-consumer-*`, `x-anonymous-consumer`, `x-credential-*`, `x-gateway-*` but `x-gateway-explain`, `x-userinfo`, `x-remote-*`, `x-webauth-*`, `remote-user`, `remote-name`, `remote-email`, `remote-groups`, `x-forwarded-user`, `-email`, `-groups`, `-preferred-username`, `-access-token` |
//! | that the caller is one of us | `x-internal`, `x-internal-*` |
//! | which path is meant | `x-original-url`, `x-original-uri`, `x-rewrite-url`, `x-override-url` |
//! | which method is meant | `x-original-method`, `x-http-method`, `x-http-method-override`, `x-method-override` |
//!
//! From where a caller comes (`x-forwarded-for` and the like) is a question of its own, for
//! [`client_addr`](crate::client_addr).
//!
//! # Who may write them
//!
//! Layers further in. One that replaces such a header on every request says so by [`Vouched`]: then it is
//! passed on, and cannot be taken out by `Connection` either. A proxy in front of this server that writes
//! such headers, and past which nobody reaches it, is believed by [`keep`](IdentityLayer::keep).
//!
//! Nothing that it asks can be down, it refuses nothing, and it keeps nothing.

use crate::{
    admit::{Edit, Edited},
    principal::Extensible,
};
use http::{HeaderMap, HeaderName};
use std::sync::Arc;
use tower_layer::Layer;

/// Whether services take the header of this name for the word of a gateway.
#[must_use]
pub fn is_identity(name: &HeaderName) -> bool {
    is_identity_name(name.as_str())
}

pub(crate) fn is_identity_name(name: &str) -> bool {
    const BEGIN: [&str; 13] = [
        "amzn-oidc-",
        "goog-authenticated-user-",
        "goog-iap-jwt-",
        "ms-client-principal-",
        "user-",
        "auth-",
        "authenticated-",
        "consumer-",
        "credential-",
        "gateway-",
        "internal-",
        "remote-",
        "webauth-",
    ];
    const WHOLE: [&str; 18] = [
        "ms-client-principal",
        "user",
        "userinfo",
        "anonymous-consumer",
        "internal",
        "original-url",
        "original-uri",
        "original-method",
        "rewrite-url",
        "override-url",
        "http-method",
        "http-method-override",
        "method-override",
        "forwarded-user",
        "forwarded-email",
        "forwarded-groups",
        "forwarded-preferred-username",
        "forwarded-access-token",
    ];
    // What clouds and proxies of others say of whoever they have let in.
    const OTHERS: [&str; 3] = [
        "cf-access-authenticated-user-email",
        "cf-access-jwt-assertion",
        "tailscale-user-login",
    ];
    const REMOTE: [&str; 4] = ["user", "name", "email", "groups"];
    // Most names are told by their beginnings.
    match name.as_bytes() {
        [b'x', b'-' | b'_', ..] => {
            let rest = &name[2..];
            // A question to us, which says nothing of who asks.
            name != "x-gateway-explain"
                && (BEGIN.iter().any(|begin| begins(rest, begin))
                    || WHOLE.iter().any(|whole| alike(rest, whole)))
        }
        [b'r', b'e', b'm', b'o', b't', b'e', b'-' | b'_', ..] => {
            REMOTE.iter().any(|whole| alike(&name[7..], whole))
        }
        _ => OTHERS.iter().any(|whole| alike(name, whole)),
    }
}

/// Whether servers that read `_` as `-` take one name for the other.
pub(crate) fn alike(one: &str, other: &str) -> bool {
    one.len() == other.len() && begins(one, other)
}

fn begins(name: &str, begin: &str) -> bool {
    let dashed = |byte: u8| if byte == b'_' { b'-' } else { byte };
    let mut own = name.bytes().map(dashed);
    begin
        .bytes()
        .map(dashed)
        .all(|byte| own.next() == Some(byte))
}

/// Takes out all headers of which this is true.
pub(crate) fn remove_where(headers: &mut HeaderMap, out: impl Fn(&HeaderName) -> bool) {
    // Nearly always there are none, and nothing is allocated.
    let names: Vec<HeaderName> = headers.keys().filter(|name| out(name)).cloned().collect();
    for name in names {
        headers.remove(name);
    }
}

/// Takes out headers of these names, and what servers take for them.
#[cfg(any(feature = "auth", feature = "authorize"))]
pub(crate) fn remove(headers: &mut HeaderMap, names: &[HeaderName]) {
    let taken = |name: &HeaderName| {
        let mut names = names.iter();
        names.any(|known| alike(known.as_str(), name.as_str()))
    };
    remove_where(headers, taken);
}

/// Takes out what callers say of themselves, unless someone vouches for it, or it is kept.
pub(crate) fn strip(req: &mut impl Extensible, kept: impl Fn(&HeaderName) -> bool) {
    let claim = |name: &HeaderName| is_identity(name) && !kept(name);
    if !req.headers().keys().any(claim) {
        return;
    }
    let vouched = Vouched::of(req).cloned();
    let vouched = vouched.as_ref().map_or(&[][..], Vouched::names);
    remove_where(req.headers_mut(), |name| {
        claim(name) && !vouched.contains(name)
    });
}

/// A text as the value of a header, whatever is in it: what is not printable ASCII is escaped as in a
/// URI, and so are spaces and `%`, so that no two texts become one.
#[cfg(any(feature = "auth", all(feature = "authorize", feature = "client")))]
pub(crate) fn told(text: &str) -> http::HeaderValue {
    let mut out = String::with_capacity(text.len());
    push_told(&mut out, text);
    // It is printable ASCII.
    http::HeaderValue::try_from(out).unwrap_or_else(|_| http::HeaderValue::from_static(""))
}

/// The same for several, with a space between them.
#[cfg(any(feature = "auth", all(feature = "authorize", feature = "client")))]
pub(crate) fn told_all<'a>(texts: impl Iterator<Item = &'a str>) -> http::HeaderValue {
    let mut out = String::new();
    for text in texts {
        if !out.is_empty() {
            out.push(' ');
        }
        push_told(&mut out, text);
    }
    http::HeaderValue::try_from(out).unwrap_or_else(|_| http::HeaderValue::from_static(""))
}

#[cfg(any(feature = "auth", all(feature = "authorize", feature = "client")))]
fn push_told(out: &mut String, text: &str) {
    for byte in text.bytes() {
        if byte.is_ascii_graphic() && byte != b'%' {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
}

/// Names of headers for which a layer vouches: it replaces what callers send under them, on every request.
///
/// In the extensions of a request. What is vouched for is neither taken out further in, nor can a caller
/// have it taken out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Vouched(Arc<[HeaderName]>);

impl Vouched {
    /// Vouches for these.
    #[must_use]
    pub fn new(names: impl IntoIterator<Item = HeaderName>) -> Self {
        Self(names.into_iter().collect())
    }

    /// Vouches for these in a request, beside those for which others do.
    pub fn add(&self, carrier: &mut impl Extensible) {
        if self.0.is_empty() {
            return;
        }
        let all = match Self::of(carrier) {
            Some(others) if others != self => {
                let more = self.0.iter().filter(|name| !others.0.contains(name));
                Self::new(others.0.iter().chain(more).cloned())
            }
            _ => self.clone(),
        };
        carrier.extensions_mut().insert(all);
    }

    /// What is vouched for in a request.
    #[must_use]
    pub fn of(carrier: &impl Extensible) -> Option<&Self> {
        carrier.extensions().get()
    }

    /// The names.
    #[must_use]
    pub fn names(&self) -> &[HeaderName] {
        &self.0
    }
}

/// Applies [`Identity`] to a service.
///
/// See the [module docs](self) for an example.
#[derive(Clone, Debug)]
pub struct IdentityLayer {
    kept: Vouched,
}

impl IdentityLayer {
    /// Believes nobody.
    #[must_use]
    pub fn new() -> Self {
        Self {
            kept: Vouched::new([]),
        }
    }

    /// Believes headers of these names, as they are written here: with dashes, if a proxy in front writes
    /// them so. Whoever can reach this server past that proxy is believed as well.
    #[must_use]
    pub fn keep(self, names: impl IntoIterator<Item = HeaderName>) -> Self {
        let all = self.kept.names().iter().cloned().chain(names);
        Self {
            kept: Vouched::new(all),
        }
    }

    fn clean(&self, req: &mut impl Extensible) {
        // Whoever put it there, no layer of ours stands further out.
        self.kept.add(req);
        strip(req, |_| false);
    }
}

impl Default for IdentityLayer {
    fn default() -> Self {
        Self::new()
    }
}

impl<S> Layer<S> for IdentityLayer {
    type Service = Identity<S>;

    fn layer(&self, inner: S) -> Self::Service {
        Edited::new(inner, self.clone())
    }
}

impl<Req: Extensible> Edit<Req> for IdentityLayer {
    fn edit(&self, req: &mut Req) {
        self.clean(req);
    }
}

/// Takes out what callers say of themselves.
///
/// See the [module docs](self) for an example.
pub type Identity<S> = Edited<S, IdentityLayer>;

#[cfg(test)]
mod tests {
    use super::*;
    use http::Request;

    #[test]
    fn names_are_told_whatever_stands_between_their_words() {
        for name in [
            "x-user",
            "X-User-Id",
            "x_user_id",
            "x-user_id",
            "X-Auth-Request-Email",
            "x-consumer-username",
            "x-gateway-principal",
            "x-gateway_explain",
            "x-internal",
            "x-internal-token",
            "x_internal",
            "x-original-url",
            "X_Rewrite_URL",
            "x-forwarded-user",
            "x_forwarded-user",
            "remote-user",
            "REMOTE_USER",
            "x-remote-user",
            "x-http-method-override",
        ] {
            assert!(is_identity(&name.parse().unwrap()), "{name}");
        }
        for name in [
            "x-gateway-explain",
            "x-username",
            "x-userid",
            "user-agent",
            "x-forwarded-for",
            "x-authority",
            "x-request-id",
            "x-internals",
            "remote",
            "remote-users",
            "x",
            "x-",
            "authorization",
        ] {
            assert!(!is_identity(&name.parse().unwrap()), "{name}");
        }
    }

    #[test]
    fn what_is_vouched_for_stays_and_its_aliases_do_not() {
        let mut request = Request::builder()
            .header("x-user-id", "7")
            .header("x_user_id", "8")
            .header("x-user-role", "9")
            .body(())
            .unwrap();
        let kept = [HeaderName::from_static("x-user-id")];
        IdentityLayer::new().keep(kept).clean(&mut request);
        assert_eq!(request.headers().len(), 1);
        assert_eq!(request.headers()["x-user-id"], "7");
        Vouched::new([HeaderName::from_static("x-team")]).add(&mut request);
        assert_eq!(Vouched::of(&request).unwrap().names().len(), 2);
    }

    #[cfg(any(feature = "auth", all(feature = "authorize", feature = "client")))]
    #[test]
    fn abuse_10_no_text_breaks_out_of_a_header_and_no_two_become_one() {
        for (text, value) in [
            ("alice", "alice"),
            ("a\r\nx-admin: 1", "a%0D%0Ax-admin:%201"),
            ("a\0b", "a%00b"),
            ("100%", "100%25"),
            ("100%25", "100%2525"),
            ("é", "%C3%A9"),
            ("", ""),
        ] {
            assert_eq!(told(text), value);
        }
        let all = ["a b", "c"].into_iter();
        assert_eq!(told_all(all), "a%20b c");
    }
}
