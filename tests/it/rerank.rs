//! Documents by how well they fit a question: in the shape of Cohere and Jina, whoever ranks them.

#![expect(
    clippy::needless_pass_by_value,
    reason = "`json!` values are handed over as they are written"
)]

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Full;
use serde_json::{Value, json};
use tower::{Service, ServiceExt};
use tower_gateway::{
    Body, Exchange,
    auth::ApiKeys,
    collect,
    gateway::Gateway,
    llm::{ChatRequest, ChatResponse, Document, Error, Provider, Rerank, Simulator, serve::Serve},
    rejection::Kind,
    testing::{MockUpstream, MockVendor, Reply, Turn, Vendor},
};

fn post(path: &str, body: &Value) -> Request<Full<Bytes>> {
    Request::post(path)
        .header("content-type", "application/json")
        .body(Full::new(Bytes::from(body.to_string())))
        .unwrap()
}

async fn call<S>(service: S, request: Request<Full<Bytes>>) -> Response<Bytes>
where
    S: Service<ChatRequest, Response = ChatResponse, Error = Error> + Clone + Send + 'static,
    S::Future: Send,
{
    let answer = Serve::new(service).oneshot(request).await.unwrap();
    let (parts, body): (_, Body) = answer.into_parts();
    Response::from_parts(parts, collect(body, 1 << 20).await.unwrap())
}

fn document(answer: &Response<Bytes>) -> Value {
    serde_json::from_slice(answer.body()).unwrap()
}

fn ask(more: Value) -> Value {
    let mut body = json!({
        "model": "mock-rerank", "query": "capital of France",
        "documents": ["Berlin is a city.", "Paris is the capital of France.", "France has cheese."],
    });
    body.as_object_mut()
        .unwrap()
        .extend(more.as_object().unwrap().clone());
    body
}

fn order(answer: &Value) -> Vec<u64> {
    let results = answer["results"].as_array().unwrap().iter();
    results
        .map(|result| result["index"].as_u64().unwrap())
        .collect()
}

fn cohere(vendor: &MockVendor) -> Provider {
    Provider::cohere("co-key-0123")
        .base_url(vendor.url())
        .unwrap()
}

/// Jina's shape: whoever speaks OpenAI's protocol otherwise.
fn jina(vendor: &MockVendor) -> Provider {
    Provider::custom("jina", vendor.base_url()).unwrap()
}

#[tokio::test]
async fn either_version_is_answered_by_vendors_of_either_shape() {
    for (provider, searches) in [
        (cohere as fn(&MockVendor) -> Provider, Some(1)),
        (jina, None),
    ] {
        for path in ["/v1/rerank", "/v2/rerank"] {
            let vendor = MockVendor::start(Turn::fitting).await.unwrap();
            let mut request = post(path, &ask(json!({"top_n": 2, "return_documents": true})));
            let exchange = Exchange::enter(&mut request);
            let answer = call(provider(&vendor), request).await;
            assert_eq!(answer.status(), 200, "{answer:?}");
            let told = document(&answer);
            assert_eq!(order(&told), [1, 2]);
            let first = &told["results"][0];
            assert_eq!(first["relevance_score"], 1.0);
            let text = json!({"text": "Paris is the capital of France."});
            assert_eq!(first["document"], text);
            // The counts of both stand there, each where its clients look.
            assert!(told["meta"]["api_version"]["version"].is_string());
            let units = &told["meta"]["billed_units"]["search_units"];
            assert_eq!(units.as_u64(), searches);
            let used = exchange.facts().usage.unwrap();
            assert_eq!((used.input, used.output), (vendor.total().input, 0));
            assert_eq!(used.searches, searches);
            if searches.is_none() {
                assert_eq!(told["usage"]["total_tokens"], vendor.total().input);
            }
            assert_eq!(exchange.facts().route.as_deref(), Some(path));
        }
    }
}

#[tokio::test]
async fn documents_are_given_back_as_they_came_and_only_if_they_are_wanted() {
    let documents = json!([{"text": "Paris, France", "id": 7}, "Berlin", {"text": "Rome"}]);
    for provider in [cohere as fn(&MockVendor) -> Provider, jina] {
        let vendor = MockVendor::start(Turn::fitting).await.unwrap();
        let body = ask(json!({"documents": documents, "return_documents": true}));
        let answer = call(provider(&vendor), post("/v1/rerank", &body)).await;
        let told = document(&answer);
        assert_eq!(told["results"][0]["document"], documents[0], "{told}");
        let body = ask(json!({"documents": documents, "return_documents": false}));
        let answer = call(provider(&vendor), post("/v1/rerank", &body)).await;
        assert_eq!(document(&answer)["results"][0].get("document"), None);
    }
    // Cohere takes texts: what is more than one is told.
    let vendor = MockVendor::start(Turn::fitting).await.unwrap();
    let body = ask(json!({"documents": documents}));
    let answer = call(cohere(&vendor), post("/v2/rerank", &body)).await;
    assert_eq!(answer.headers()["x-gateway-loss"], "documents[0]");
    let sent = vendor.last().unwrap().json();
    assert_eq!(sent["documents"][2], "Rome");
    assert!(sent["documents"][0].as_str().unwrap().contains("\"id\":7"));
    let refused = call(cohere(&vendor).strict(true), post("/v2/rerank", &body)).await;
    assert_eq!(refused.status(), 400);
    assert_eq!(document(&refused)["code"], "unsupported_parameter");
}

#[tokio::test]
async fn what_nobody_knows_goes_along_both_ways() {
    let result = json!({"index": 0, "relevance_score": 0.5, "relevant_spans": [{"start": 1}]});
    let answered = json!({"id": "x", "results": [result], "meta": {"billed_units": {"search_units": 3}}, "new": 1});
    let upstream = MockUpstream::start(Reply::json(200, &answered))
        .await
        .unwrap();
    let provider = Provider::cohere("co-key-0123")
        .base_url(upstream.url())
        .unwrap();
    let body = ask(json!({"max_tokens_per_doc": 9, "priority": 1}));
    let answer = call(provider, post("/v2/rerank", &body)).await;
    assert_eq!(document(&answer), answered);
    let sent = upstream.last().unwrap();
    assert_eq!((sent.path.as_str(), &sent.json()), ("/v2/rerank", &body));
}

#[tokio::test]
async fn faults_have_a_place_and_are_in_the_vendors_form() {
    let vendor = Vendor::new(Turn::fitting)
        .models(["own"])
        .start()
        .await
        .unwrap();
    for (body, param) in [
        (
            json!({"model": "m", "query": "q", "documents": []}),
            "documents",
        ),
        (
            json!({"model": "m", "query": "q", "documents": [7]}),
            "documents[0]",
        ),
        (json!({"model": "m", "documents": ["a"]}), "query"),
        (json!({"query": "q", "documents": ["a"]}), "model"),
        (
            json!({"model": "m", "query": "q", "documents": ["a"], "top_n": 0}),
            "top_n",
        ),
    ] {
        let answer = call(cohere(&vendor), post("/v2/rerank", &body)).await;
        let told = document(&answer);
        assert_eq!(
            (answer.status().as_u16(), &told["param"]),
            (400, &json!(param))
        );
        assert!(told["message"].is_string());
    }
    for provider in [cohere as fn(&MockVendor) -> Provider, jina] {
        let answer = call(provider(&vendor), post("/v1/rerank", &ask(json!({})))).await;
        assert_eq!(answer.status(), 404);
        assert_eq!(document(&answer)["code"], "model_not_found");
    }
    // A vendor that ranks nothing.
    let provider = Provider::anthropic("sk-ant-0123")
        .base_url(vendor.url())
        .unwrap();
    let answer = call(provider, post("/v1/rerank", &ask(json!({})))).await;
    assert_eq!(
        (answer.status().as_u16(), &document(&answer)["code"]),
        (404, &json!("not_supported"))
    );
    let answer = Serve::new(cohere(&vendor))
        .oneshot(Request::get("/v2/rerank").body(Body::empty()).unwrap())
        .await
        .unwrap();
    assert_eq!(answer.status(), 405);
}

#[tokio::test]
async fn the_simulator_ranks_by_the_words_that_are_shared() {
    let model = Simulator::new();
    let documents = [
        "Berlin is a city.",
        "Paris is the capital of France.",
        "The capitals",
    ];
    let rerank = Rerank::new("the capital of France", documents);
    let request = ChatRequest::rerank(rerank).for_model("sim-rerank");
    let answer = model.clone().oneshot(request.clone()).await.unwrap();
    let all = answer.completion().await.unwrap();
    let order: Vec<_> = all.ranking.iter().map(|ranked| ranked.index).collect();
    assert_eq!(order, [1, 2, 0]);
    assert!(
        all.ranking[0].score > 0.5 && all.ranking[2].score < 0.3,
        "{:?}",
        all.ranking
    );
    assert_eq!(all.usage.unwrap().searches, Some(1));
    assert_eq!(
        request.reranking().unwrap().documents[0],
        Document::Text("Berlin is a city.".into())
    );
    assert_eq!(request.chat().unwrap_err().kind(), Kind::NotSupported);
    let body = json!({"model": "sim-rerank", "query": "France", "documents": ["a", "France"], "top_n": 1, "return_documents": true});
    let answer = call(model, post("/v1/rerank", &body)).await;
    assert_eq!(
        document(&answer)["results"][0]["document"]["text"],
        "France"
    );
}

#[tokio::test]
async fn a_gateway_offers_it_beside_routes_of_its_own() {
    let gateway = Gateway::builder()
        .simulator(Simulator::new())
        .build()
        .unwrap();
    let mut body = ask(json!({}));
    body["model"] = "sim-rerank".into();
    let answer = gateway
        .clone()
        .oneshot(post("/v2/rerank", &body))
        .await
        .unwrap();
    assert_eq!(answer.status(), 200);
    let answer = gateway.oneshot(post("/v2/other", &body)).await.unwrap();
    assert_eq!(answer.status(), 404);
    // Policies that know nothing of it are heard in its words.
    let keys = ApiKeys::new().add("alice", "a-secret-of-alice");
    let guarded = Gateway::builder()
        .simulator(Simulator::new())
        .api_keys(keys);
    let guarded = guarded.build().unwrap();
    let answer = guarded.oneshot(post("/v2/rerank", &body)).await.unwrap();
    assert_eq!(answer.status(), 401);
    let told = collect(answer.into_body(), 1 << 20).await.unwrap();
    let told: Value = serde_json::from_slice(&told).unwrap();
    assert_eq!(told["code"], "missing_api_key");
    assert!(told["message"].is_string());
    let taken = Gateway::builder().simulator(Simulator::new());
    let nothing = tower::service_fn(|_: Request<Body>| async {
        Ok::<_, std::convert::Infallible>(Response::new(Body::empty()))
    });
    let refused = taken.route("/v2/rerank", nothing).build().unwrap_err();
    assert!(refused.to_string().contains("/v2/rerank"));
}
