use super::*;
use crate::{Principal, authorize::Ask, client_addr::ClientAddr};
use http::Request;
use std::time::{Duration, SystemTime};

fn request() -> Request<()> {
    let alice = Principal::new("alice")
        .with_tenant("acme")
        .with_roles(["staff", "lead"])
        .with_scopes(["chat"])
        .with_attribute("level", ["gold"]);
    Request::get("/reports/7?x=1")
        .header("host", "API.example.com:8080")
        .header("x-role", "user")
        .header("x-role", "admin")
        .header("x-odd", http::HeaderValue::from_bytes(b"caf\xe9").unwrap())
        .extension(alice)
        .extension(ClientAddr([203, 0, 113, 7].into()))
        .body(())
        .unwrap()
}

fn evaluate(text: &str) -> Option<bool> {
    let expression = Expression::new(text).unwrap_or_else(|error| panic!("{text}: {error}"));
    let request = request();
    // A Thursday, noon.
    let now = SystemTime::UNIX_EPOCH + Duration::from_secs(12 * 60 * 60);
    let asked = request.ask().with_route(Some("/reports/{id}".into()));
    expression.evaluate(&asked.with_now(now))
}

#[test]
fn every_variable_can_be_read() {
    for text in [
        r#"principal.id == "alice" && principal.tenant == "acme""#,
        r#""staff" in principal.roles && !("admin" in principal.roles)"#,
        r#"principal.roles.exists(role, role.startsWith("le"))"#,
        r#"size(principal.scopes) == 1 && principal.scopes[0] == "chat""#,
        r#"principal.attributes.level == ["gold"]"#,
        r#""gold" in principal["attributes"]["level"]"#,
        r#"!has(principal.team) && has(principal.tenant)"#,
        r#"!has(principal.attributes.region) && has(principal.attributes.level)"#,
        r#"request.method == "GET" && request.route == "/reports/{id}""#,
        r#"request.path == "/reports/7" && request.host == "api.example.com""#,
        r#"request.headers["x-role"] == ["user", "admin"]"#,
        r#"request.headers["x-role"].all(role, role in ["user", "admin"])"#,
        r#""x-odd" in request.headers && !("x-none" in request.headers)"#,
        r#"client.address == "203.0.113.7""#,
        r#"now.getHours() == 12 && now.getDayOfWeek() == 4"#,
        r#"now.getHours("Europe/Berlin") == 13"#,
        r#"now < timestamp("1970-01-02T00:00:00Z")"#,
        r#"principal.id == "bob" ? false : true"#,
        r#"model == "fast" || true"#,
        "true",
    ] {
        assert_eq!(evaluate(text), Some(true), "{text}");
    }
}

#[test]
fn what_fails_or_is_no_boolean_is_not_evaluated() {
    for text in [
        r#"principal.team == "red""#,
        r#"principal.attributes.region == ["eu"]"#,
        r#"request.headers["x-none"] == []"#,
        "principal.roles",
        "1",
        r#""true""#,
        "1 / 0 == 1",
        "9223372036854775807 + 1 > 0",
        "principal.scopes[7] == \"\"",
        "principal.scopes[-1] == \"\"",
        r#"principal.id > 1"#,
        r#"int(principal.id) == 1"#,
        r#"timestamp("rubbish") == now"#,
        r#"model == "fast""#,
        "request",
        r#"principal.id.size"#,
        r#"{"a": 1, "a": 2} == {}"#,
        "-(-9223372036854775807 - 1) == 0",
        r#"duration("1000000000h") > duration("1s")"#,
        r#"now + duration("87600000h") > now"#,
        r#"now.getHours("No/Where") == 1"#,
        r#"string(b"\xff") == "x""#,
    ] {
        assert_eq!(evaluate(text), None, "{text}");
    }
}

#[test]
fn without_a_principal_an_expression_on_it_fails() {
    let request = Request::new(());
    let says = |text: &str| Expression::new(text).unwrap().evaluate(&request.ask());
    assert_eq!(says(r#"principal.id == "alice""#), None);
    assert_eq!(says("has(principal.id)"), None);
    assert_eq!(says("client.address == \"\""), None);
    assert_eq!(says("now.getHours() == 1"), None);
    assert_eq!(says(r#"request.method == "GET""#), Some(true));
}

#[test]
fn more_than_can_be_seen_is_not_known() {
    let says = |scopes: usize, text: &str| {
        let who = Principal::new("alice").with_scopes((0..scopes).map(|n| format!("s{n}")));
        let request = Request::get("/").extension(who).body(()).unwrap();
        Expression::new(text).unwrap().evaluate(&request.ask())
    };
    let text = r#""s7" in principal.scopes"#;
    assert_eq!(says(128, text), Some(true));
    assert_eq!(says(129, text), None);
    assert_eq!(says(129, "has(principal.scopes)"), None, "not even that");
    assert_eq!(says(129, r#"principal.id == "alice""#), Some(true));
}

#[test]
fn a_fault_says_where_it_is() {
    let long = format!("\"{}\" == \"\"", "a".repeat(5000));
    let deep = format!("{}true{}", "(".repeat(200), ")".repeat(200));
    let many = vec!["true"; 400].join(" && ");
    let sum = format!("{} == 1", vec!["1"; 100].join(" + "));
    for (text, detail, position) in [
        ("", "", None),
        ("request.method ==", "", Some((1, 18))),
        ("request.method == \"GET", "", Some((1, 19))),
        ("true &&\n &&", "", Some((2, 2))),
        (
            "principal.id == nobody",
            "there is no variable `nobody`",
            Some((1, 17)),
        ),
        (
            "true &&\n  user.id == 1",
            "there is no variable `user`",
            Some((2, 3)),
        ),
        (
            "principal.id.matches(\"a+\")",
            "there is no function `matches`",
            Some((1, 21)),
        ),
        ("optional.of(1).hasValue()", "there is no function", None),
        (
            "[1].all(x, [2].all(y, x == y))",
            "a macro stands within another one",
            None,
        ),
        (
            "[1].all(model, model == 1)",
            "`model` is the name of a variable",
            None,
        ),
        (&sum, "it is nested more than 32 deep", None),
        ("Thing{a: 1} == 1", "there are no messages", None),
        (&long, "it has more than 4096 bytes", None),
        (&deep, "", None),
        (&many, "it has more than 256 nodes", None),
    ] {
        let error = Expression::new(text).expect_err(text);
        let told = error.to_string();
        assert!(told.contains(detail), "{text:.40}: {told}");
        if position.is_some() {
            assert_eq!(error.position(), position, "{text:.40}: {told}");
        }
    }
}

#[test]
fn it_knows_what_it_reads() {
    let reads = |text: &str| Expression::new(text).unwrap().0.reads;
    assert!(reads("model == \"a\"").model && !reads("principal.id == \"model\"").model);
    assert!(reads("[1].exists(x, model == \"a\")").model);
    assert!(reads("now.getHours() > 1").now && reads("request.method == \"\"").request);
}

#[test]
fn the_deepest_and_the_widest_can_be_evaluated() {
    let sum = format!("{} == 30", vec!["1"; 30].join(" + "));
    assert_eq!(evaluate(&sum), Some(true));
    let many = ["principal.roles.exists(r, r == \"lead\")"; 8].join(" && ");
    assert_eq!(evaluate(&many), Some(true));
}
