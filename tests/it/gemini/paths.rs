//! Paths, and errors in the form of the protocol.

use super::*;
use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::Full;

#[tokio::test]
async fn paths_answer_in_the_dialect() {
    let get = |path: &str| Request::get(path).body(Full::default()).unwrap();
    let list = document(&call(Simulator::new(), get("/v1beta/models?pageSize=5")).await);
    assert_eq!(list["models"][0]["name"], "models/a");
    let one = document(&call(Simulator::new(), get("/v1beta/models/b%2Fc")).await);
    assert_eq!(one["name"], "models/b/c");
    // Google's own client asks for another version, and is known by its headers.
    let mut stable = get("/v1/models");
    stable
        .headers_mut()
        .insert("x-goog-api-key", "k".parse().unwrap());
    assert_eq!(document(&call(Simulator::new(), stable).await), list);
    let is = |answer: &Response<Bytes>, status: u16, name: &str| {
        let error = &document(answer)["error"];
        assert_eq!(
            (answer.status().as_u16(), &error["code"]),
            (status, &json!(status))
        );
        assert_eq!(error["status"], name);
    };
    for path in [
        "/v1beta/files",
        "/v1alpha/models/a:generateContent",
        "/upload/v1beta/files",
        "/v1beta/models/no",
        "/v1beta/models/a:predict",
        "/v1beta",
    ] {
        is(&call(Simulator::new(), get(path)).await, 404, "NOT_FOUND");
    }
    for method in [
        "predict",
        "generatecontent",
        "x",
        "bidiGenerateContent",
        "8b",
    ] {
        let request = post(&format!("/v1beta/models/a:{method}"), hello(json!({})));
        is(&call(Simulator::new(), request).await, 404, "NOT_FOUND");
    }
    let wrong = call(Simulator::new(), post("/v1beta/models/a", "{}")).await;
    assert_eq!(wrong.status(), StatusCode::METHOD_NOT_ALLOWED);
    assert_eq!(wrong.headers()["allow"], "GET, HEAD");
    let wrong = call(Simulator::new(), get("/v1beta/models/a:generateContent")).await;
    assert_eq!(wrong.headers()["allow"], "POST");
    for (body, field) in [
        (json!({}), "contents"),
        (
            json!({"contents": [{"role": "nobody", "parts": [{"text": "a"}]}]}),
            "contents[0].role",
        ),
        (
            json!({"contents": [{"parts": [{"text": 5}]}]}),
            "contents[0].parts[0].text",
        ),
        (
            json!({"contents": [{"parts": [{"text": "a"}]}], "generationConfig": {"temperature": "hot"}}),
            "generationConfig.temperature",
        ),
    ] {
        let answer = call(
            Simulator::new(),
            post("/v1beta/models/a:generateContent", body),
        )
        .await;
        is(&answer, 400, "INVALID_ARGUMENT");
        let details = document(&answer)["error"]["details"].clone();
        let mut violations = details.as_array().unwrap().iter();
        let violation = violations.find_map(|one| one["fieldViolations"][0]["field"].as_str());
        assert_eq!(violation, Some(field), "{details}");
    }
}
