use super::*;
use crate::{Body, BoxError, key::ByHeader, principal::Carried};
use http::{Extensions, HeaderMap, Request, Response, StatusCode, header};
use std::future::{pending, ready};
use tokio_test::{assert_pending, assert_ready_ok, task};
use tower::{Layer, ServiceExt, limit::ConcurrencyLimit, service_fn, util::BoxCloneSyncService};

type Http = BoxCloneSyncService<Request<Body>, Response<Body>, BoxError>;

fn says(text: &'static str) -> Http {
    BoxCloneSyncService::new(service_fn(move |_| {
        ready(Ok(Response::new(Body::from(text))))
    }))
}

fn halves() -> Split<Http> {
    Split::new("halves", [("a", 5_000, says("a")), ("b", 5_000, says("b"))]).unwrap()
}

fn of(name: &str) -> Request<Body> {
    let mut request = Request::new(Body::empty());
    let principal = Principal::new(name).with_scopes(["test"]);
    request.extensions_mut().insert(principal);
    request
}

async fn variant<S>(service: S, request: Request<Body>) -> String
where
    S: Service<Request<Body>, Response = Response<Body>, Error: std::fmt::Debug>,
{
    let response = service.oneshot(request).await.unwrap();
    let value = response.headers().get("x-gateway-variant");
    value.map_or_else(String::new, |value| value.to_str().unwrap().to_owned())
}

#[test]
fn bad_input_names_the_variant() {
    let fault = |variants: &[(&str, u32)]| {
        let variants = variants.iter().map(|&(name, weight)| (name, weight, ()));
        Split::new("x", variants).unwrap_err()
    };
    for (variants, named, words) in [
        (&[][..], None, "there is no variant"),
        (&[("a", 9_000), ("a", 1_000)], Some("a"), "taken"),
        (&[("a", 9_000), ("b c", 1_000)], Some("b c"), "letters"),
        (&[("", 10_000)], Some(""), "letters"),
        (
            &[("a", 9_000), ("b", 10_001)],
            Some("b"),
            "more than 10,000",
        ),
        (&[("a", 9_000), ("b", 900)], None, "a 9000, b 900"),
    ] {
        let error = fault(variants);
        assert_eq!(error.variant(), named);
        assert!(error.to_string().contains(words), "{error}");
    }
    let many = (0..257).map(|nth| (format!("v{nth}"), u32::from(nth == 0) * 10_000, ()));
    assert_eq!(Split::new("x", many).unwrap_err().variant(), Some("v256"));
    assert!(Split::relative("x", [("a", 1, ()), ("b", 2, ())]).is_ok());
    let split = Split::new("x", [("a", 10_000, ())]).unwrap();
    assert!(split.clone().cookie("a b").is_err() && split.override_cookie("").is_err());
}

#[tokio::test]
async fn a_caller_stays_where_it_is_and_of_many_each_variant_has_its_share() {
    let split = halves();
    let mut a = 0;
    for nth in 0..1_000 {
        let name = nth.to_string();
        let first = variant(split.clone(), of(&name)).await;
        assert_eq!(variant(split.clone(), of(&name)).await, first);
        a += u32::from(first == "a");
    }
    assert!((430..570).contains(&a), "{a}");
    let calls: u64 = split.handle().variants().iter().map(|it| it.calls).sum();
    assert_eq!(calls, 2_000);
}

#[tokio::test]
async fn weights_change_at_once_or_not_at_all() {
    let split = halves();
    let handle = split.handle();
    for weights in [
        &[("a", 1), ("b", 1)][..],
        &[("a", 5_000), ("c", 5_000)],
        &[("a", 5_000), ("a", 5_000)],
    ] {
        assert!(handle.set_weights(weights.iter().copied()).is_err());
    }
    assert!(handle.switch_to("c").unwrap_err().variant() == Some("c"));
    let weights = || {
        handle
            .variants()
            .iter()
            .map(|it| it.weight)
            .collect::<Vec<_>>()
    };
    assert_eq!(weights(), [5_000, 5_000], "as it was");
    handle.switch_to("b").unwrap();
    assert_eq!(weights(), [0, 10_000]);
    for nth in 0..100 {
        assert_eq!(variant(split.clone(), of(&nth.to_string())).await, "b");
    }
}

#[test]
fn while_weights_change_each_pick_is_of_one_plan() {
    let split = Split::new("x", [("a", 10_000, ()), ("b", 0, ()), ("c", 0, ())]).unwrap();
    let (handle, shared) = (split.handle(), split.shared);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for nth in 0..300 {
                handle.switch_to(["a", "c"][nth % 2]).unwrap();
            }
        });
        for _ in 0..200_000 {
            assert_ne!(
                shared.pick(bucket::any()),
                1,
                "nobody is ever given this one"
            );
        }
    });
}

#[tokio::test]
async fn without_a_key_any_may_answer_or_none() {
    let split = halves();
    let mut seen = std::collections::HashSet::new();
    for _ in 0..100 {
        seen.insert(variant(split.clone(), Request::new(Body::empty())).await);
    }
    assert_eq!(seen.len(), 2);
    let refusing = split.refuse_without_key();
    let refused = refusing
        .clone()
        .oneshot(Request::new(Body::empty()))
        .await
        .unwrap();
    assert_eq!(refused.status(), StatusCode::UNAUTHORIZED);
    assert!(refused.headers().contains_key(header::WWW_AUTHENTICATE));
    assert!(!refused.headers().contains_key("x-gateway-variant"));
    assert_ne!(variant(refusing, of("alice")).await, "");
}

#[tokio::test]
async fn a_browser_keeps_its_variant_by_a_cookie() {
    let split = halves().cookie("visit").unwrap().refuse_without_key();
    for tls in [false, true] {
        let mut first = Request::new(Body::empty());
        if tls {
            first.extensions_mut().insert(TlsInfo::new());
        }
        let response = split.clone().oneshot(first).await.unwrap();
        let line = response.headers()[header::SET_COOKIE].to_str().unwrap();
        let (cookie, rest) = line.split_once("; ").unwrap();
        assert!(rest.starts_with("Path=/; Max-Age=2592000; HttpOnly; SameSite=Lax"));
        assert_eq!(rest.ends_with("; Secure"), tls, "{line}");
        let named = &response.headers()["x-gateway-variant"];
        for _ in 0..20 {
            let again = Request::get("/").header("cookie", format!("a=1; {cookie}"));
            let response = split
                .clone()
                .oneshot(again.body(Body::empty()).unwrap())
                .await
                .unwrap();
            assert_eq!(&response.headers()["x-gateway-variant"], named);
            assert!(!response.headers().contains_key(header::SET_COOKIE));
        }
    }
    let strange = Request::get("/")
        .header("cookie", "visit=mine")
        .body(Body::empty());
    let response = split.clone().oneshot(strange.unwrap()).await.unwrap();
    assert!(
        response.headers().contains_key(header::SET_COOKIE),
        "not one of ours"
    );
    let response = split.oneshot(of("alice")).await.unwrap();
    assert!(
        !response.headers().contains_key(header::SET_COOKIE),
        "she has a key"
    );
}

/// Answers with the override header as it came.
fn mirror() -> Http {
    BoxCloneSyncService::new(service_fn(|request: Request<Body>| {
        let mut response = Response::new(Body::empty());
        if let Some(value) = request.headers().get("x-gateway-variant") {
            response.headers_mut().insert("x-seen", value.clone());
        }
        ready(Ok(response))
    }))
}

#[tokio::test]
async fn who_may_chooses_and_nobody_else() {
    let split = Split::new("x", [("stable", 10_000, mirror()), ("canary", 0, mirror())]).unwrap();
    let asks = |name: &str, header: &str| {
        let mut request = of(name);
        request
            .headers_mut()
            .insert("x-gateway-variant", header.parse().unwrap());
        request
    };
    let response = split
        .clone()
        .oneshot(asks("alice", "canary"))
        .await
        .unwrap();
    assert_eq!(
        response.headers()["x-gateway-variant"],
        "stable",
        "off by default"
    );
    assert!(
        !response.headers().contains_key("x-seen"),
        "nor does a service see it"
    );

    let split = split
        .overridable_when(HasScope::new("test"))
        .override_cookie("v")
        .unwrap();
    assert_eq!(
        variant(split.clone(), asks("alice", "canary")).await,
        "canary"
    );
    assert_eq!(variant(split.clone(), of("alice")).await, "stable");
    let wrong = split
        .clone()
        .oneshot(asks("alice", "cannary"))
        .await
        .unwrap();
    assert_eq!(wrong.status(), StatusCode::BAD_REQUEST);
    let mut twice = asks("alice", "canary");
    twice
        .headers_mut()
        .append("x-gateway-variant", "stable".parse().unwrap());
    assert_eq!(
        split.clone().oneshot(twice).await.unwrap().status(),
        StatusCode::BAD_REQUEST
    );
    for (cookie, expected) in [("v=canary", "canary"), ("v=gone", "stable")] {
        let mut request = of("alice");
        request
            .headers_mut()
            .insert("cookie", cookie.parse().unwrap());
        assert_eq!(variant(split.clone(), request).await, expected);
    }
    let mut nobody = asks("bob", "canary");
    nobody.extensions_mut().insert(Principal::new("bob"));
    assert_eq!(variant(split, nobody).await, "stable");
}

#[tokio::test]
async fn the_variant_is_told_in_the_facts_and_in_a_header_or_none() {
    let split = halves().key(ByHeader::new("x-user"));
    let request = || {
        let mut request = Request::new(Body::empty());
        request
            .headers_mut()
            .insert("x-user", "alice".parse().unwrap());
        let exchange = Exchange::enter(&mut request);
        (request, exchange)
    };
    let (asked, exchange) = request();
    let told = variant(split.clone(), asked).await;
    assert_eq!(exchange.facts().variant.as_deref(), Some(&*told));
    let (asked, exchange) = request();
    assert_eq!(variant(split.clone().header(None), asked).await, "");
    assert!(exchange.facts().variant.is_some());
    let named = split.header(HeaderName::from_static("x-arm"));
    let response = named.oneshot(request().0).await.unwrap();
    assert_eq!(response.headers()["x-arm"], *told);
}

#[tokio::test]
async fn a_limit_inside_of_a_variant_holds_and_holds_up_no_other() {
    let stuck = ConcurrencyLimit::new(
        service_fn(|_: Request<Body>| pending::<Result<Response<Body>, BoxError>>()),
        1,
    );
    let split = Split::new(
        "x",
        [
            ("stuck", 10_000, BoxCloneSyncService::new(stuck)),
            ("free", 0, says("free")),
        ],
    )
    .unwrap();
    let handle = split.handle();
    let mut split = split;
    let mut first = task::spawn(split.call(of("alice")));
    assert_pending!(first.poll());
    let mut second = task::spawn(split.call(of("alice")));
    assert_pending!(second.poll());
    handle.switch_to("free").unwrap();
    assert_ready_ok!(task::spawn(split.call(of("alice"))).poll());
    assert_pending!(second.poll());
    // Dropped half-way: its place is free.
    drop(first);
    assert!(second.is_woken());
    assert_pending!(second.poll());
}

/// What is no HTTP.
#[derive(Debug, Default)]
struct Note(Carried);

impl Extensible for Note {
    fn headers(&self) -> &HeaderMap {
        &self.0.headers
    }
    fn headers_mut(&mut self) -> &mut HeaderMap {
        &mut self.0.headers
    }
    fn extensions(&self) -> &Extensions {
        &self.0.extensions
    }
    fn extensions_mut(&mut self) -> &mut Extensions {
        &mut self.0.extensions
    }
}

impl Reject<String> for Note {
    fn reject(rejection: Rejection) -> Result<Self, String> {
        Err(rejection.kind().code().to_owned())
    }
}

#[tokio::test]
async fn any_service_is_split() {
    let service = service_fn(|note: Note| ready(Ok::<_, String>(note)));
    let split = Split::relative("x", [("a", 1, service), ("b", 1, service)]).unwrap();
    let note = split.clone().oneshot(Note::default()).await.unwrap();
    assert!(note.headers().contains_key("x-gateway-variant"));
    let refused = split.refuse_without_key().oneshot(Note::default()).await;
    assert_eq!(refused.unwrap_err(), "missing_api_key");
}

/// A router may call `Layer::layer` once for each request.
#[tokio::test]
async fn the_split_is_one_whoever_clones_it() {
    let split = halves();
    let layer = tower::layer::layer_fn(move |()| split.clone());
    layer.layer(()).handle().switch_to("b").unwrap();
    for nth in 0..20 {
        assert_eq!(variant(layer.layer(()), of(&nth.to_string())).await, "b");
    }
}

#[tokio::test]
async fn over_axum() {
    let router =
        |text: &'static str| axum::Router::new().route("/", axum::routing::get(async move || text));
    let split = Split::new(
        "x",
        [("old", 0, router("old")), ("new", 10_000, router("new"))],
    )
    .unwrap();
    let app = axum::Router::new().fallback_service(split);
    let response = app
        .oneshot(Request::new(axum::body::Body::empty()))
        .await
        .unwrap();
    assert_eq!(response.headers()["x-gateway-variant"], "new");
}
