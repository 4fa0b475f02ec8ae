//! What proves a thought, between a client and two vendors that speak its protocol.

use axum::body::to_bytes;
use http::{HeaderMap, Request};
use serde_json::Value;
use tower::{Service, ServiceExt};
use tower_gateway::{
    Body,
    gateway::{Gateway, GatewayService},
    llm::{ChatRequest, ChatResponse, Event, Protocol, Provider, serve::Serve},
    testing::{MockUpstream, Reply},
};

/// A protocol: an answer with a proof in it, whole and streamed, and a request that brings it back.
struct Case {
    protocol: Protocol,
    /// Whole and streamed.
    paths: [&'static str; 2],
    document: &'static str,
    events: &'static [&'static str],
    /// The field of a proof, and what it holds.
    field: &'static str,
    proof: &'static str,
    /// With `MODEL`, `STREAM` and `PROOF` in it.
    request: &'static str,
}

const ANTHROPIC: Case = Case {
    protocol: Protocol::Anthropic,
    paths: ["/v1/messages", "/v1/messages"],
    document: r#"{"id":"msg_1","type":"message","role":"assistant","model":"m","content":[{"type":"thinking","thinking":"hm","signature":"EqQBCg\/proof=="},{"type":"tool_use","id":"toolu_1","name":"f","input":{"signature":"mine"}}],"stop_reason":"tool_use","usage":{"input_tokens":1,"output_tokens":1}}"#,
    events: &[
        "event: message_start\ndata: {\"type\":\"message_start\",\"message\":{\"id\":\"msg_1\",\"type\":\"message\",\"role\":\"assistant\",\"model\":\"m\",\"content\":[],\"usage\":{\"input_tokens\":1,\"output_tokens\":1}}}\n\n",
        "event: content_block_start\ndata: {\"type\":\"content_block_start\",\"index\":0,\"content_block\":{\"type\":\"thinking\",\"thinking\":\"\",\"signature\":\"\"}}\n\n",
        "event: content_block_delta\ndata: {\"type\":\"content_block_delta\",\"index\":0,\"delta\":{\"type\":\"thinking_delta\",\"thinking\":\"hm\"}     }\n\n",
        "event: content_block_delta\ndata: {\"type\":\"content_block_delta\",\"index\":0,\"delta\":{\"type\":\"signature_delta\",\"signature\":\"EqQBCg\\/proof==\"}}\n\n",
        "event: content_block_stop\ndata: {\"type\":\"content_block_stop\",\"index\":0}\n\n",
        "event: message_delta\ndata: {\"type\":\"message_delta\",\"delta\":{\"stop_reason\":\"end_turn\"},\"usage\":{\"output_tokens\":7}}\n\n",
        "event: message_stop\ndata: {\"type\":\"message_stop\"}\n\n",
    ],
    field: "signature",
    proof: "EqQBCg/proof==",
    request: r#"{"model":"MODEL","stream":STREAM,"max_tokens":2000,"thinking":{"type":"enabled","budget_tokens":1024},"messages":[{"role":"user","content":"tg1: is a word"},{"role":"assistant","content":[{"type":"thinking","thinking":"hm","signature":"PROOF"},{"type":"tool_use","id":"toolu_1","name":"f","input":{}}]},{"role":"user","content":[{"type":"tool_result","tool_use_id":"toolu_1","content":"x"}]}],"tools":[{"name":"f","input_schema":{"type":"object"}}],"unknown":1.50}"#,
};

const GEMINI: Case = Case {
    protocol: Protocol::Gemini,
    paths: [
        "/v1beta/models/MODEL:generateContent",
        "/v1beta/models/MODEL:streamGenerateContent?alt=sse",
    ],
    document: r#"{"candidates":[{"content":{"role":"model","parts":[{"functionCall":{"name":"f","args":{"thoughtSignature":"mine"}},"thoughtSignature":"cHJvb2Ytb2YtYQ\u003d\u003d"}]},"finishReason":"STOP","index":0}],"usageMetadata":{"promptTokenCount":1,"candidatesTokenCount":1,"totalTokenCount":2}}"#,
    events: &[
        "data: {\"candidates\":[{\"content\":{\"role\":\"model\",\"parts\":[{\"text\":\"hm\",\"thought\":true}]},\"index\":0}]}\r\n\r\n",
        "data: {\"candidates\":[{\"content\":{\"role\":\"model\",\"parts\":[{\"functionCall\":{\"name\":\"f\",\"args\":{}},\"thoughtSignature\":\"cHJvb2Ytb2YtYQ\\u003d\\u003d\"}]},\"finishReason\":\"STOP\",\"index\":0}],\"usageMetadata\":{\"promptTokenCount\":1,\"totalTokenCount\":2}}\r\n\r\n",
    ],
    field: "thoughtSignature",
    proof: "cHJvb2Ytb2YtYQ==",
    request: r#"{"contents":[{"role":"user","parts":[{"text":"Hi"}]},{"role":"model","parts":[{"functionCall":{"name":"f","args":{}},"thoughtSignature":"PROOF"}]},{"role":"user","parts":[{"functionResponse":{"name":"f","response":{"a":1}}}]}],"unknown":1.50}"#,
};

const RESPONSES: Case = Case {
    protocol: Protocol::Responses,
    paths: ["/v1/responses", "/v1/responses"],
    document: r#"{"id":"resp_1","object":"response","status":"completed","model":"m","output":[{"type":"reasoning","id":"rs_1","summary":[],"encrypted_content":"gAAAAproof"},{"type":"message","id":"msg_1","role":"assistant","status":"completed","content":[{"type":"output_text","text":"\"encrypted_content\":\"x\"","annotations":[]}]}],"usage":{"input_tokens":1,"output_tokens":1,"total_tokens":2}}"#,
    events: &[
        "event: response.created\ndata: {\"type\":\"response.created\",\"sequence_number\":0,\"response\":{\"id\":\"resp_1\",\"object\":\"response\",\"status\":\"in_progress\",\"model\":\"m\",\"output\":[]}}\n\n",
        "event: response.output_item.added\ndata: {\"type\":\"response.output_item.added\",\"sequence_number\":1,\"output_index\":0,\"item\":{\"type\":\"reasoning\",\"id\":\"rs_1\",\"summary\":[],\"encrypted_content\":\"gAAAAproof\"}}\n\n",
        "event: response.output_item.done\ndata: {\"type\":\"response.output_item.done\",\"sequence_number\":2,\"output_index\":0,\"item\":{\"type\":\"reasoning\",\"id\":\"rs_1\",\"summary\":[],\"encrypted_content\":\"gAAAAproof\"}}\n\n",
        "event: response.completed\ndata: {\"type\":\"response.completed\",\"sequence_number\":3,\"response\":{\"id\":\"resp_1\",\"object\":\"response\",\"status\":\"completed\",\"model\":\"m\",\"output\":[{\"type\":\"reasoning\",\"id\":\"rs_1\",\"summary\":[],\"encrypted_content\":\"gAAAAproof\"}],\"usage\":{\"input_tokens\":1,\"output_tokens\":1,\"total_tokens\":2}}}\n\n",
    ],
    field: "encrypted_content",
    proof: "gAAAAproof",
    request: r#"{"model":"MODEL","stream":STREAM,"store":false,"input":[{"role":"user","content":"Hi"},{"type":"reasoning","id":"rs_1","summary":[],"encrypted_content":"PROOF"},{"type":"message","role":"assistant","content":[{"type":"output_text","text":"Hello"}]},{"role":"user","content":"more"}],"unknown":1.50}"#,
};

const CHAT: Case = Case {
    protocol: Protocol::OpenAi,
    paths: ["/v1/chat/completions", "/v1/chat/completions"],
    document: r#"{"id":"c","object":"chat.completion","created":1,"model":"m","choices":[{"index":0,"message":{"role":"assistant","content":"Hi","reasoning_details":[{"type":"reasoning.encrypted","data":"gAAAAproof","format":"x","index":0}]},"finish_reason":"stop"}],"usage":{"prompt_tokens":1,"completion_tokens":1,"total_tokens":2}}"#,
    events: &[
        "data: {\"id\":\"c\",\"object\":\"chat.completion.chunk\",\"created\":1,\"model\":\"m\",\"choices\":[{\"index\":0,\"delta\":{\"role\":\"assistant\",\"reasoning_details\":[{\"type\":\"reasoning.encrypted\",\"data\":\"gAAAAproof\",\"format\":\"x\",\"index\":0}]}}]}\n\n",
        "data: {\"id\":\"c\",\"object\":\"chat.completion.chunk\",\"created\":1,\"model\":\"m\",\"choices\":[{\"index\":0,\"delta\":{\"content\":\"Hi\"},\"finish_reason\":\"stop\"}]}\n\n",
        "data: [DONE]\n\n",
    ],
    field: "data",
    proof: "gAAAAproof",
    request: r#"{"model":"MODEL","stream":STREAM,"stream_options":{"include_usage":true},"messages":[{"role":"user","content":"Hi"},{"role":"assistant","content":"Hi","reasoning_details":[{"type":"reasoning.encrypted","data":"PROOF","format":"x","index":0}]},{"role":"user","content":"more"}],"unknown":1.50}"#,
};

const CASES: [Case; 4] = [ANTHROPIC, GEMINI, RESPONSES, CHAT];
const MODEL: &str = "thinker-3-pro";

impl Case {
    fn reply(&self, stream: bool) -> Reply {
        match stream {
            true => Reply::pieces("text/event-stream", self.events.iter().copied()),
            false => Reply::json(200, self.document),
        }
    }

    /// The bytes of that.
    fn answer(&self, stream: bool) -> String {
        match stream {
            true => self.events.concat(),
            false => self.document.to_owned(),
        }
    }

    fn body(&self, model: &str, stream: bool, proof: &str) -> String {
        let body = self.request.replace("MODEL", model);
        let body = body.replace("STREAM", &stream.to_string());
        body.replace("PROOF", proof)
    }

    async fn vendor(&self, name: &str, stream: bool) -> (MockUpstream, Provider) {
        let upstream = MockUpstream::start(self.reply(stream)).await.unwrap();
        let provider = Provider::custom(name, upstream.url()).unwrap();
        (upstream, provider.speaking(self.protocol).model(MODEL))
    }

    fn ask(&self, model: &str, stream: bool, proof: &str) -> Request<Body> {
        let path = self.paths[usize::from(stream)].replace("MODEL", model);
        Request::post(path)
            .header("content-type", "application/json")
            .body(Body::from(self.body(model, stream, proof)))
            .unwrap()
    }

    /// The proofs in an answer, as a client reads them.
    fn proofs(&self, answer: &str) -> Vec<String> {
        let start = format!("\"{}\":", self.field);
        let after = answer.split(&start).skip(1);
        let text = |after: &str| {
            let mut values = serde_json::Deserializer::from_str(after).into_iter::<Value>();
            values.next()?.ok()?.as_str().map(str::to_owned)
        };
        let all = after.filter_map(text);
        all.filter(|text| !["", "mine"].contains(&&**text))
            .collect()
    }
}

async fn call(gateway: &GatewayService, request: Request<Body>) -> (HeaderMap, String) {
    let response = gateway.clone().oneshot(request).await.unwrap();
    let (parts, body) = response.into_parts();
    let body = to_bytes(axum::body::Body::new(body), 1 << 20);
    let body = String::from_utf8(body.await.unwrap().to_vec()).unwrap();
    assert_eq!(parts.status, 200, "{body}");
    (parts.headers, body)
}

fn sent(upstream: &MockUpstream) -> String {
    let body = upstream.last().unwrap().body;
    String::from_utf8(body.to_vec()).unwrap()
}

#[tokio::test]
async fn between_two_vendors_of_a_protocol_a_proof_goes_to_its_maker_alone() {
    for case in &CASES {
        for stream in [false, true] {
            let (a, first) = case.vendor("first", stream).await;
            let (b, second) = case.vendor("second", stream).await;
            let gateway = Gateway::builder()
                .model("a", [first])
                .model("b", [second])
                .build()
                .unwrap();
            let what = format!("{:?}, {stream}", case.protocol);
            // What a client brought from elsewhere is nobody's that is known.
            let (_, answer) = call(&gateway, case.ask("a", stream, case.proof)).await;
            assert_eq!(sent(&a), case.body(MODEL, stream, case.proof), "{what}");
            let proofs = case.proofs(&answer);
            let proof = &proofs[0];
            assert!(proofs.iter().all(|one| one == proof), "{what}: {answer}");
            let mark = proof.strip_suffix(case.proof).unwrap();
            assert!(!mark.is_empty(), "{what}: {answer}");
            assert_eq!(answer.replace(mark, ""), case.answer(stream), "{what}");

            let (headers, _) = call(&gateway, case.ask("a", stream, proof)).await;
            assert_eq!(sent(&a), case.body(MODEL, stream, case.proof), "{what}");
            assert!(!headers.contains_key("x-gateway-loss"), "{what}");

            let (headers, answer) = call(&gateway, case.ask("b", stream, proof)).await;
            let there = sent(&b);
            for secret in [case.proof, mark, "tg1:first", "tg2:"] {
                assert!(!there.contains(secret), "{what}: {there}");
            }
            assert!(there.contains("\"unknown\":1.5"), "{what}: {there}");
            assert!(headers.contains_key("x-gateway-loss"), "{what}");
            assert_ne!(&case.proofs(&answer)[0], proof, "{what}");
        }
    }
}

#[tokio::test]
async fn with_one_vendor_no_byte_is_changed() {
    for case in &CASES {
        for stream in [false, true] {
            let (a, provider) = case.vendor("first", stream).await;
            let other = Provider::openai("k")
                .base_url("http://127.0.0.1:9")
                .unwrap();
            let gateway = Gateway::builder()
                .model("a", [provider.clone()])
                .model("b", [provider.model("another")]);
            // It speaks another protocol, or two of which one is the same.
            let gateway = match case.protocol {
                Protocol::Responses | Protocol::OpenAi => gateway.build(),
                _ => gateway.vendor(other).build(),
            };
            let gateway = gateway.unwrap();
            let (_, answer) = call(&gateway, case.ask("a", stream, case.proof)).await;
            assert_eq!(answer, case.answer(stream));
            assert_eq!(sent(&a), case.body(MODEL, stream, case.proof));
            call(&gateway, case.ask("b", stream, case.proof)).await;
            assert!(sent(&a).contains(case.proof));
        }
    }
}

#[tokio::test]
async fn another_model_of_the_same_vendor_is_another_maker_where_proofs_are_bound() {
    for case in &CASES {
        let (a, provider) = case.vendor("first", false).await;
        let provider = provider.bind_reasoning(true);
        let gateway = Gateway::builder()
            .model("a", [provider.clone()])
            .model(
                "dated",
                [provider.clone().model(format!("{MODEL}-20260101"))],
            )
            .model("b", [provider.model("another")])
            .build()
            .unwrap();
        let (_, answer) = call(&gateway, case.ask("a", false, case.proof)).await;
        let proof = &case.proofs(&answer)[0];
        assert_ne!(proof, case.proof);
        call(&gateway, case.ask("dated", false, proof)).await;
        assert!(sent(&a).contains(case.proof));
        call(&gateway, case.ask("b", false, proof)).await;
        assert!(!sent(&a).contains(case.proof), "{}", sent(&a));
    }
}

#[tokio::test]
async fn whoever_says_that_his_vendors_are_one_has_their_proofs_unbound() {
    for case in &CASES {
        let (_a, first) = case.vendor("first", false).await;
        let (b, second) = case.vendor("second", false).await;
        let gateway = Gateway::builder()
            .model("a", [first.bind_reasoning(false)])
            .model("b", [second.bind_reasoning(false)])
            .build()
            .unwrap();
        let (_, answer) = call(&gateway, case.ask("a", false, case.proof)).await;
        assert_eq!(answer, case.document);
        call(&gateway, case.ask("b", false, case.proof)).await;
        assert_eq!(sent(&b), case.body(MODEL, false, case.proof));
    }
}

#[tokio::test]
async fn a_budget_for_thoughts_is_dropped_where_the_thought_before_a_call_was() {
    let (_a, first) = ANTHROPIC.vendor("first", false).await;
    let (b, second) = ANTHROPIC.vendor("second", false).await;
    let gateway = Gateway::builder()
        .model("a", [first])
        .model("b", [second])
        .build()
        .unwrap();
    let (_, answer) = call(&gateway, ANTHROPIC.ask("a", false, "x")).await;
    let proof = &ANTHROPIC.proofs(&answer)[0];
    let (headers, _) = call(&gateway, ANTHROPIC.ask("b", false, proof)).await;
    let body = b.last().unwrap().json();
    assert!(body.get("thinking").is_none(), "{body}");
    assert_eq!(body["messages"][1]["content"][0]["type"], "tool_use");
    assert_eq!(
        headers["x-gateway-loss"],
        "messages[1].content[0], thinking"
    );
}

/// The answer of a service to a client of the case's protocol.
async fn served<S>(service: S, case: &Case, stream: bool) -> String
where
    S: Service<ChatRequest, Response = ChatResponse> + Clone + Send + 'static,
    S::Error: Into<tower_gateway::llm::Error>,
    S::Future: Send,
{
    let response = Serve::new(service)
        .oneshot(case.ask("a", stream, "x"))
        .await;
    let body = axum::body::Body::new(response.unwrap().into_body());
    String::from_utf8(to_bytes(body, 1 << 20).await.unwrap().to_vec()).unwrap()
}

#[tokio::test]
async fn a_provider_by_itself_binds_if_it_is_told_to() {
    for case in &CASES {
        for stream in [false, true] {
            let (_upstream, provider) = case.vendor("first", stream).await;
            let answer = served(provider.clone(), case, stream).await;
            assert_eq!(answer, case.answer(stream));
            let bound = provider.bind_reasoning(true);
            let answer = served(bound.clone(), case, stream).await;
            let marked = case.proofs(&answer);
            assert!(!marked.contains(&case.proof.to_owned()), "{answer}");
            // What is written anew has the same proof.
            let mapped = bound.map_response(|answer| {
                answer.map(|mut event| {
                    if let Event::Start(start) = &mut event {
                        start.model.push('x');
                    }
                    event
                })
            });
            let answer = served(mapped, case, stream).await;
            assert!(case.proofs(&answer).contains(&marked[0]), "{answer}");
        }
    }
}

#[tokio::test]
async fn what_a_conversation_was_compacted_to_is_for_whoever_sealed_it() {
    let item = r#"{"type":"compaction","id":"cmp_1","encrypted_content":"gAAAAproof"}"#;
    let document = RESPONSES
        .document
        .replace("\"output\":[", &format!("\"output\":[{item},"));
    let a = MockUpstream::start(Reply::json(200, document))
        .await
        .unwrap();
    let first = Provider::custom("first", a.url()).unwrap();
    let first = first.speaking(Protocol::Responses).model(MODEL);
    let (b, second) = RESPONSES.vendor("second", false).await;
    let gateway = Gateway::builder()
        .model("a", [first])
        .model("b", [second])
        .build()
        .unwrap();
    let (_, answer) = call(&gateway, RESPONSES.ask("a", false, "x")).await;
    let answer: Value = serde_json::from_str(&answer).unwrap();
    let mark = answer["output"][0]["encrypted_content"].as_str().unwrap();
    assert_ne!(mark, "gAAAAproof");
    let request = |model: &str| {
        let body = format!(
            r#"{{"model":"{model}","store":false,"input":[{},{{"role":"user","content":"more"}}]}}"#,
            answer["output"][0]
        );
        Request::post("/v1/responses")
            .header("content-type", "application/json")
            .body(Body::from(body))
            .unwrap()
    };
    call(&gateway, request("a")).await;
    assert!(sent(&a).contains(item), "{}", sent(&a));
    call(&gateway, request("b")).await;
    assert!(!sent(&b).contains("gAAAAproof"), "{}", sent(&b));
}
