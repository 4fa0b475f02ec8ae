//! What is told of prompts.

use super::*;

#[tokio::test]
async fn a_prompt_says_what_it_takes_and_not_what_it_says() {
    let endpoints = Endpoints::new(registry().await).chat(Model::default());
    let (status, told) = ask(&endpoints, get("/prompts/mood")).await;
    assert_eq!(status, 200);
    assert_eq!(
        told,
        json!({
            "name": "mood",
            "version": 1,
            "label": "production",
            "answers": "json",
            "variables": {"text": {"schema": {"type": "string", "minLength": 1}, "required": true}},
            "variables_schema": {
                "type": "object",
                "properties": {"text": {"type": "string", "minLength": 1}},
                "required": ["text"],
                "additionalProperties": false,
            },
            "output_schema": mood(),
            "labels": {"production": 1},
        })
    );
    let (_, told) = ask(&endpoints, get("/prompts")).await;
    let names = |told: &Value| {
        let all = told["prompts"].as_array().unwrap().iter();
        all.map(|one| one["name"].as_str().unwrap().to_owned())
            .collect::<Vec<_>>()
    };
    assert_eq!(
        (names(&told), &told["more"]),
        (vec!["mood".into(), "text".into()], &json!(false))
    );
    let (_, told) = ask(&endpoints, get("/prompts?limit=1")).await;
    assert_eq!(
        (names(&told), &told["more"]),
        (vec!["mood".into()], &json!(true))
    );
    let (_, told) = ask(&endpoints, get("/prompts?limit=1&after=mood")).await;
    assert_eq!(
        (names(&told), &told["more"]),
        (vec!["text".into()], &json!(false))
    );
    let everything = Endpoints::new(registry().await)
        .latest()
        .chat(Model::default());
    let (_, told) = ask(&everything, get("/prompts")).await;
    assert_eq!(names(&told), ["hidden", "mood", "text"]);
}

#[tokio::test]
async fn the_document_says_what_there_is() {
    let endpoints = Endpoints::new(registry().await).chat(Model::default());
    let (status, document) = ask(&endpoints, get("/prompts/openapi.json")).await;
    assert_eq!((status, &document["openapi"]), (200, &json!("3.1.0")));
    let paths: Vec<_> = document["paths"]
        .as_object()
        .unwrap()
        .keys()
        .cloned()
        .collect();
    assert_eq!(
        paths,
        [
            "/prompts",
            "/prompts/openapi.json",
            "/prompts/mood",
            "/prompts/text"
        ]
    );
    let post = &document["paths"]["/prompts/mood"]["post"];
    assert_eq!(post["operationId"], "mood");
    let schemas = &document["components"]["schemas"];
    assert_eq!(schemas["MoodOutput"], mood());
    assert_eq!(schemas["MoodVariables"]["required"], json!(["text"]));
    assert_eq!(document["security"], json!([{"bearer": []}]));
    // Whatever is referred to is there.
    let text = document.to_string();
    for reference in text.split("\"$ref\":\"#").skip(1) {
        let pointer = reference.split('"').next().unwrap();
        assert!(document.pointer(pointer).is_some(), "{pointer}");
    }
    assert!(
        !text.contains("Operator."),
        "what a prompt says is nobody's business"
    );
    let open = Endpoints::new(registry().await)
        .without_security()
        .title("Mine")
        .chat(Model::default());
    let (_, document) = ask(&open, get("/prompts/openapi.json")).await;
    assert_eq!(
        (&document["security"], &document["info"]["title"]),
        (&Value::Null, &json!("Mine"))
    );
}

#[tokio::test]
async fn a_document_says_what_clients_see() {
    let of = async |root: &str, mount: &str| {
        let endpoints = Endpoints::new(registry().await)
            .root(root)
            .mounted_at(mount);
        let endpoints = endpoints.chat(Model::default());
        let path = format!("{}/openapi.json", root.trim_end_matches('/'));
        let (status, document) = ask(&endpoints, get(&path)).await;
        assert_eq!(status, 200, "{root} {mount}");
        let paths = document["paths"].as_object().unwrap().keys();
        paths.cloned().collect::<Vec<_>>()
    };
    let below = |at: &str| ["", "/openapi.json", "/mood", "/text"].map(|end| format!("{at}{end}"));
    assert_eq!(of("", "/prompts").await, below("/prompts"));
    assert_eq!(of("/", "/prompts/").await, below("/prompts"));
    assert_eq!(of("/prompts", "/api").await, below("/api/prompts"));
    assert_eq!(of("/ask/", "").await, below("/ask"));
    assert_eq!(of("", "").await, ["/", "/openapi.json", "/mood", "/text"]);
}

#[tokio::test]
async fn who_reads_html_gets_the_page_where_it_has_no_path_of_its_own() {
    let endpoints = Endpoints::new(registry().await)
        .root("")
        .chat(Model::default());
    let mut browser = get("/");
    let accept = HeaderValue::from_static("text/html,*/*;q=0.8");
    browser.headers_mut().insert("accept", accept);
    let (parts, _) = raw(&endpoints, browser).await;
    assert_eq!(parts.headers["content-type"], "text/html; charset=utf-8");
    assert_eq!(parts.headers["vary"], "accept");
    let (parts, body) = raw(&endpoints, get("/")).await;
    assert_eq!(parts.headers["content-type"], "application/json");
    assert_eq!(parts.headers["vary"], "accept");
    let told: Value = serde_json::from_slice(&body).unwrap();
    assert_eq!(told["prompts"].as_array().unwrap().len(), 2);
}
