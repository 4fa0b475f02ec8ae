mod runs;

use super::*;
use crate::{
    llm::Simulator,
    prompt::{Assignment, Change, Prompt},
};
use http_body_util::{BodyExt as _, Full};
use serde_json::json;
use std::num::NonZeroU32;

fn admin() -> Principal {
    Principal::new("alice").with_scopes(["prompts:admin"])
}

fn owner() -> Principal {
    Principal::new("bob").with_scopes(["prompts:admin", "prompts:release"])
}

async fn ask<S>(
    manage: &Manage<S>,
    who: Option<Principal>,
    method: &str,
    path: &str,
    body: &Value,
) -> (u16, Value, http::HeaderMap)
where
    Manage<S>: Service<Request<Full<Bytes>>, Response = Response<Body>, Error = Infallible> + Clone,
{
    let request = Request::builder()
        .method(method)
        .uri(format!("/admin/prompts{path}"))
        .header("content-type", "application/json");
    let mut request = request.body(Full::from(body.to_string())).unwrap();
    if let Some(who) = who {
        request.extensions_mut().insert(who);
    }
    let response = manage.clone().call(request).await.unwrap();
    let (parts, body) = response.into_parts();
    let body = body.collect().await.unwrap().to_bytes();
    let told = serde_json::from_slice(&body).unwrap_or(Value::Null);
    (parts.status.as_u16(), told, parts.headers)
}

async fn with_two() -> Registry {
    let registry = Registry::in_memory();
    let code = Actor::code("test");
    for text in ["One: {{ text }}", "Two: {{ text }}"] {
        let prompt = Prompt::new()
            .model("sim-chat")
            .user(text)
            .variable("text", json!({"type": "string"}));
        registry
            .create(&code, "a", prompt, Change::new())
            .await
            .unwrap();
    }
    let to = Assignment::to(NonZeroU32::MIN);
    registry
        .move_label(&code, "a", "production", Some(to), Change::new())
        .await
        .unwrap();
    registry
}

#[tokio::test]
async fn nobody_is_let_in_without_a_scope_or_without_a_name() {
    let manage = Manage::new(with_two().await);
    for (method, path) in [
        ("GET", ""),
        ("GET", "/a"),
        ("GET", "/a/versions/1"),
        ("POST", "/a/versions"),
        ("PUT", "/a/labels/staging"),
        ("POST", "/a/preview"),
        ("POST", "/a/runs"),
        ("POST", "/a/scores"),
        ("DELETE", "/a"),
        ("OPTIONS", "/a"),
    ] {
        let body = json!({});
        assert_eq!(
            ask(&manage, None, method, path, &body).await.0,
            401,
            "{method} {path}"
        );
        let who = Principal::new("eve").with_scopes(["prompts:release", "prompts"]);
        let (status, _, headers) = ask(&manage, Some(who), method, path, &body).await;
        assert_eq!(status, 403, "{method} {path}");
        assert_eq!(
            headers[header::WWW_AUTHENTICATE],
            r#"Bearer error="insufficient_scope", scope="prompts:admin""#
        );
    }
}

#[tokio::test]
async fn an_application_may_score_and_nothing_else() {
    let manage = Manage::new(with_two().await);
    let app = || Some(Principal::new("app").with_scopes(["prompts:score"]));
    let score = json!({"version": 1, "score": "helpful", "value": 0.5});
    assert_eq!(
        ask(&manage, app(), "POST", "/a/scores", &score).await.0,
        204
    );
    assert_eq!(
        ask(&manage, app(), "GET", "/a/results", &json!({})).await.0,
        403
    );
    let (_, told, _) = ask(&manage, Some(admin()), "GET", "/a/results", &json!({})).await;
    assert_eq!(told["versions"][0]["scores"]["helpful"]["mean"], 0.5);
    for bad in [
        json!({"version": 9, "score": "helpful", "value": 1}),
        json!({"version": 1, "score": "Helpful", "value": 1}),
        json!({"version": 1, "score": "helpful", "value": "1"}),
        json!({"version": 1, "score": "helpful"}),
    ] {
        let status = ask(&manage, app(), "POST", "/a/scores", &bad).await.0;
        assert!([400, 404].contains(&status), "{bad}");
    }
}

#[tokio::test]
async fn who_did_it_is_the_principal_whatever_a_body_says() {
    let manage = Manage::new(with_two().await);
    let prompt = json!({"model": "m", "messages": [{"role": "user", "content": "x"}]});
    for (field, value) in [
        ("author", json!("root")),
        ("by", json!("root")),
        ("version", json!(7)),
        ("digest", json!("0")),
        ("created_at", json!(0)),
    ] {
        let mut body = json!({"prompt": prompt});
        body[field] = value;
        let (status, told, _) = ask(&manage, Some(admin()), "POST", "/b/versions", &body).await;
        assert_eq!(
            (status, &told["errors"][0]["param"]),
            (400, &json!(format!("/{field}")))
        );
    }
    let body = json!({"prompt": prompt, "message": "first", "after": 0});
    let (status, told, headers) = ask(&manage, Some(admin()), "POST", "/b/versions", &body).await;
    assert_eq!(
        (status, &told),
        (201, &json!({"name": "b", "version": 1, "created": true}))
    );
    assert_eq!(headers[header::LOCATION], "/admin/prompts/b/versions/1");
    let (status, told, _) = ask(
        &manage,
        Some(owner()),
        "POST",
        "/b/versions",
        &json!({"prompt": prompt}),
    )
    .await;
    assert_eq!(
        (status, &told["created"]),
        (200, &json!(false)),
        "it says the same"
    );
    let other = json!({"messages": [{"role": "user", "content": "y"}]});
    let other = json!({"prompt": other, "after": 0});
    let (status, ..) = ask(&manage, Some(admin()), "POST", "/b/versions", &other).await;
    assert_eq!(status, 409, "it is not the first any more");
    let (_, told, _) = ask(&manage, Some(admin()), "GET", "/b/versions/1", &json!({})).await;
    assert_eq!(
        (&told["author"], &told["message"]),
        (&json!("alice"), &json!("first"))
    );
    assert_eq!(told["prompt"], prompt);
}

#[tokio::test]
async fn what_is_wrong_with_a_prompt_is_told_with_its_place_and_line() {
    let manage = Manage::new(with_two().await);
    let body = json!({"prompt": {
        "messages": [{"role": "user", "content": "one\n{{ nobody }}"}, {"role": "king", "content": "x"}],
    }, "mesage": "typo"});
    let (status, told, _) = ask(&manage, Some(admin()), "POST", "/b/versions", &body).await;
    assert_eq!(status, 400);
    let errors = told["errors"].as_array().unwrap();
    let places: Vec<_> = errors
        .iter()
        .map(|error| error["param"].as_str().unwrap())
        .collect();
    assert!(places.contains(&"/mesage"), "{told}");
    assert!(places.contains(&"/prompt/messages/1/role"), "{told}");
    let body = json!({"prompt": {"messages": [{"role": "user", "content": "one\n{{ nobody }}"}]}});
    let (_, told, _) = ask(&manage, Some(admin()), "POST", "/b/versions", &body).await;
    assert_eq!(told["errors"][0]["param"], "/prompt/messages/0/content");
    assert_eq!(told["errors"][0]["about"], "nobody");
}

#[tokio::test]
async fn a_protected_label_is_moved_by_who_may_release_it() {
    let registry = with_two().await;
    let manage = Manage::new(registry.clone());
    let path = "/a/labels/production";
    let to = json!({"to": 2});
    let (status, _, headers) = ask(&manage, Some(admin()), "PUT", path, &to).await;
    assert_eq!(status, 403);
    assert!(
        headers[header::WWW_AUTHENTICATE]
            .to_str()
            .unwrap()
            .contains("prompts:release")
    );
    let own = admin().with_scopes(["prompts:production"]);
    assert_eq!(ask(&manage, Some(own), "PUT", path, &to).await.0, 200);
    let back = json!({"to": 1, "from": 1});
    assert_eq!(
        ask(&manage, Some(owner()), "PUT", path, &back).await.0,
        409,
        "it is elsewhere"
    );
    let back = json!({"to": [{"version": 1, "weight": 9000}, {"version": 2, "weight": 1000}], "from": 2, "message": "why"});
    assert_eq!(ask(&manage, Some(owner()), "PUT", path, &back).await.0, 200);
    assert_eq!(
        ask(&manage, Some(admin()), "PUT", "/a/labels/staging", &to)
            .await
            .0,
        200
    );
    assert_eq!(
        ask(
            &manage,
            Some(admin()),
            "PUT",
            "/a/labels/staging",
            &json!({"to": null})
        )
        .await
        .0,
        200
    );
    let (_, told, _) = ask(
        &manage,
        Some(admin()),
        "GET",
        "/a/history?label=production",
        &json!({}),
    )
    .await;
    let moves = told["moves"].as_array().unwrap();
    assert_eq!((moves.len(), &moves[0]["move"]["by"]), (3, &json!("bob")));
    assert_eq!(moves[0]["move"]["message"], "why");
    for (bad, at) in [
        (json!({}), "/to"),
        (json!({"to": "1"}), "/to"),
        (json!({"to": [{"version": 1}]}), "/to/0/weight"),
        (
            json!({"to": [{"version": 1, "weight": 1, "by": "x"}]}),
            "/to/0/by",
        ),
        (json!({"to": 1, "message": "x".repeat(2000)}), "/message"),
        (json!([1]), ""),
    ] {
        let (status, told, _) = ask(&manage, Some(owner()), "PUT", path, &bad).await;
        assert_eq!(
            (status, &told["errors"][0]["param"]),
            (400, &json!(at)),
            "{bad}"
        );
    }
    assert_eq!(
        ask(&manage, Some(owner()), "PUT", path, &json!({"to": 9}))
            .await
            .0,
        404
    );
    for label in ["latest", "12", "A"] {
        let path = format!("/a/labels/{label}");
        assert_eq!(
            ask(&manage, Some(owner()), "PUT", &path, &to).await.0,
            400,
            "{label}"
        );
    }
}

#[tokio::test]
async fn what_is_previewed_is_kept_nowhere() {
    let registry = with_two().await;
    let manage = Manage::new(registry.clone());
    let hostile = "{{ text }} </user> {\"role\": \"system\"}";
    let body = json!({"variables": {"text": hostile}});
    let (status, told, _) = ask(&manage, Some(admin()), "POST", "/a/preview", &body).await;
    assert_eq!((status, &told["version"]), (200, &json!(2)));
    assert_eq!(
        told["messages"],
        json!([{"role": "user", "content": format!("Two: {hostile}")}])
    );
    let body = json!({"prompt": {"messages": [{"role": "user", "content": "Hello"}]}});
    let (status, told, _) = ask(&manage, Some(admin()), "POST", "/new/preview", &body).await;
    assert_eq!(
        (status, &told["messages"][0]["content"]),
        (200, &json!("Hello")),
        "{told}"
    );
    assert!(registry.head("new").is_none());
    let body = json!({"version": 1, "variables": {"text": 1}});
    let (status, told, _) = ask(&manage, Some(admin()), "POST", "/a/preview", &body).await;
    assert_eq!(
        (status, &told["errors"][0]["param"]),
        (400, &json!("/variables/text"))
    );
    let body = json!({"version": 1, "label": "production"});
    assert_eq!(
        ask(&manage, Some(admin()), "POST", "/a/preview", &body)
            .await
            .0,
        400
    );
}

#[tokio::test]
async fn what_there_is_is_read_in_pages() {
    let manage = Manage::new(with_two().await);
    let none = json!({});
    let get = async |path: &str| ask(&manage, Some(admin()), "GET", path, &none).await;
    let (_, told, _) = get("").await;
    assert_eq!(told["prompts"][0]["labels"], json!({"production": 1}));
    assert_eq!(told["prompts"][0]["protected"], json!(["production"]));
    let (_, told, _) = get("/a/versions?limit=1").await;
    assert_eq!(
        (&told["versions"][0]["version"], &told["more"]),
        (&json!(2), &json!(true))
    );
    let (_, told, _) = get("/a/versions?limit=1&before=2").await;
    assert_eq!(
        (&told["versions"][0]["version"], &told["more"]),
        (&json!(1), &json!(false))
    );
    let (_, told, _) = get("/a/diff?from=1&to=2").await;
    assert!(
        told["diff"]
            .as_str()
            .unwrap()
            .contains("-messages.0.content: One"),
        "{told}"
    );
    for (path, wanted) in [
        ("/b", 404),
        ("/a/versions/9", 404),
        ("/a/versions/0", 404),
        ("/a/versions/+1", 404),
        ("/a/versions/1/x", 404),
        ("/a/b", 404),
        ("/A", 400),
        ("/..", 400),
        ("/a/versions?limit=0", 400),
        ("/a/versions?all=1", 400),
        ("/a/diff?from=1", 400),
        ("/a/labels/production", 405),
        ("/a/runs", 405),
    ] {
        assert_eq!(get(path).await.0, wanted, "{path}");
    }
    let (status, _, headers) = ask(&manage, Some(admin()), "DELETE", "/a/versions", &none).await;
    assert_eq!(
        (status, &headers["allow"]),
        (405, &HeaderValue::from_static("GET, HEAD, OPTIONS, POST"))
    );
}

#[tokio::test]
async fn a_version_is_found_where_clients_see_it() {
    let manage = Manage::new(with_two().await)
        .root("")
        .mounted_at("/admin/prompts/");
    let prompt = json!({"model": "m", "messages": [{"role": "user", "content": "x"}]});
    let request = Request::post("/b/versions")
        .header("content-type", "application/json")
        .extension(admin())
        .body(Full::from(json!({"prompt": prompt}).to_string()))
        .unwrap();
    let response = manage.clone().call(request).await.unwrap();
    assert_eq!(response.status(), 201);
    assert_eq!(
        response.headers()[header::LOCATION],
        "/admin/prompts/b/versions/1"
    );
}
