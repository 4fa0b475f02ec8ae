//! A tool that takes any text, as coding agents have it: a function to the vendor, and itself again to the
//! client.

use super::{call, protocols};
use bytes::Bytes;
use http::Response;
use serde_json::{Value, json};
use tower_gateway::testing::{Turn, Vendor};

const PATCH: &str = "*** Begin Patch\n*** Add File: \"gr\u{fc}\u{df}e\u{1f980}.rs\"\n+fn main() {}\n*** End Patch\n";

fn tool() -> Value {
    let format = json!({"type": "grammar", "syntax": "lark", "definition": "start: /a+/"});
    json!({"type": "custom", "name": "apply_patch", "description": "Edits files.", "format": format})
}

fn vendor() -> Vendor {
    Vendor::new(|_: &_| {
        let arguments = json!({"input": PATCH});
        Turn::tool_calls([("apply_patch", arguments), ("plain", json!({"input": "x"}))])
            .tokens_per_event([1, 3, 2])
    })
}

/// The events of a stream.
fn events(answer: &Response<Bytes>) -> Vec<Value> {
    let text = std::str::from_utf8(answer.body()).unwrap();
    let data = text.lines().filter_map(|line| line.strip_prefix("data: "));
    data.filter_map(|data| serde_json::from_str(data).ok())
        .collect()
}

#[tokio::test]
async fn a_patch_of_an_agent_comes_back_as_the_text_that_it_is() {
    for protocol in protocols() {
        let name = protocol.name;
        for stream in [false, true] {
            if name == "responses" {
                continue;
            }
            let vendor = vendor().start().await.unwrap();
            let plain =
                json!({"type": "function", "name": "plain", "parameters": {"type": "object"}});
            let mut body = json!({"model": protocol.models[0], "stream": stream, "input": "hi",
                "tools": [tool(), plain]});
            let ask = |body: &Value| ("/v1/responses".to_owned(), body.clone());
            let answer = call((protocol.provider)(&vendor), ask(&body)).await;
            assert_eq!(answer.status(), 200, "{name} {:?}", answer.body());
            assert_eq!(
                answer.headers()["x-gateway-loss"],
                "tools[0].format",
                "{name}"
            );
            let output = match stream {
                false => serde_json::from_slice::<Value>(answer.body()).unwrap()["output"].clone(),
                true => {
                    let all = events(&answer);
                    let of = |kind: &str| {
                        all.iter()
                            .filter(|event| event["type"] == kind)
                            .cloned()
                            .collect::<Vec<_>>()
                    };
                    let deltas = of("response.custom_tool_call_input.delta");
                    let text: String = deltas
                        .iter()
                        .map(|event| event["delta"].as_str().unwrap())
                        .collect();
                    assert_eq!(text, PATCH, "{name}");
                    let done = of("response.custom_tool_call_input.done");
                    assert_eq!(
                        (done.len(), &done[0]["input"]),
                        (1, &json!(PATCH)),
                        "{name}"
                    );
                    let added = of("response.output_item.added");
                    assert_eq!(added[0]["item"]["type"], "custom_tool_call");
                    assert_eq!(added[0]["item"]["id"], done[0]["item_id"]);
                    assert_eq!(
                        of("response.function_call_arguments.done").len(),
                        1,
                        "{name}"
                    );
                    all.last().unwrap()["response"]["output"].clone()
                }
            };
            assert_eq!(output[0]["type"], "custom_tool_call", "{name} {output}");
            assert_eq!(
                (&output[0]["name"], &output[0]["input"]),
                (&json!("apply_patch"), &json!(PATCH))
            );
            assert_eq!(output[1]["type"], "function_call", "{name} {output}");
            // And on: the vendor gets what it has called, and the answer to it.
            let results = [
                json!({"type": "custom_tool_call_output", "call_id": output[0]["call_id"], "output": "done"}),
                json!({"type": "function_call_output", "call_id": output[1]["call_id"], "output": "x"}),
            ];
            let mut input = vec![json!({"role": "user", "content": "hi"})];
            input.extend(output.as_array().unwrap().iter().cloned());
            input.extend(results);
            body["input"] = input.into();
            let answer = call((protocol.provider)(&vendor), ask(&body)).await;
            assert_eq!(answer.status(), 200, "{name} {:?}", answer.body());
            assert_eq!(
                answer.headers()["x-gateway-loss"],
                "tools[0].format",
                "{name}"
            );
            let sent = String::from_utf8(vendor.last().unwrap().body.to_vec()).unwrap();
            assert!(
                sent.contains("*** End Patch") && sent.contains("done"),
                "{name} {sent}"
            );
        }
    }
}

#[tokio::test]
async fn a_client_of_the_older_protocol_gets_it_in_its_own_form() {
    for protocol in protocols() {
        let name = protocol.name;
        if name == "openai" {
            continue;
        }
        for stream in [false, true] {
            let vendor = vendor().start().await.unwrap();
            let custom = json!({"name": "apply_patch", "format": {"type": "text"}});
            let plain = json!({"name": "plain", "parameters": {"type": "object"}});
            let body = json!({"model": protocol.models[0], "stream": stream,
                "messages": [{"role": "user", "content": "hi"}],
                "tools": [{"type": "custom", "custom": custom}, {"type": "function", "function": plain}]});
            let path = "/v1/chat/completions".to_owned();
            let answer = call((protocol.provider)(&vendor), (path, body)).await;
            assert_eq!(answer.status(), 200, "{name} {:?}", answer.body());
            assert!(!answer.headers().contains_key("x-gateway-loss"), "{name}");
            let all = match stream {
                true => events(&answer),
                false => vec![serde_json::from_slice(answer.body()).unwrap()],
            };
            let mut input = String::new();
            let mut kinds = Vec::new();
            for event in &all {
                let choice = &event["choices"][0];
                let said = if stream {
                    &choice["delta"]
                } else {
                    &choice["message"]
                };
                for call in said["tool_calls"].as_array().into_iter().flatten() {
                    kinds.extend(call["type"].as_str().map(str::to_owned));
                    input.push_str(call["custom"]["input"].as_str().unwrap_or_default());
                }
            }
            assert_eq!(
                (input.as_str(), &kinds[..]),
                (PATCH, &["custom".to_owned(), "function".to_owned()][..]),
                "{name}"
            );
        }
    }
}
