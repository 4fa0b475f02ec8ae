//! A mock vendor in the words of Bedrock's Converse, written from the vendor's model of its service.

mod frame;
mod signature;

pub(super) use self::signature::Keys;

use self::signature::verified;
use super::{
    Recorded, Reply, Turn, Vendor,
    turn::{Answer, Asked, Kind, error, fragments, tokens},
    vendor::{input, no_model, reply_of},
};
use crate::exchange::Usage;
use bytes::Bytes;
use serde_json::{Value, json};

impl Vendor {
    pub(super) fn converse(&mut self, request: &Recorded, call: &Call) -> Option<Reply> {
        let given = request.header("authorization").unwrap_or_default();
        let given = given.strip_prefix("Bearer ").unwrap_or_default();
        if let Some(keys) = &self.signer
            && let Err(name) = verified(request, keys)
        {
            let message = "The request signature we calculated does not match.";
            let refused = Reply::json(403, json!({"message": message}));
            return Some(refused.header("x-amzn-errortype", name));
        }
        if self.key.as_deref().is_some_and(|key| key != given) {
            return Some(refused(reply_of(Turn::unauthorized(given))));
        }
        let body = request.json();
        let (model, stream) = match call {
            Call::Models => return Some(listed(&self.models)),
            Call::Profiles => return Some(profiles(&self.models)),
            Call::Count => {
                let asked = &body["input"]["converse"];
                let tokens = input(&asked["messages"]) + input(&asked["system"]);
                return Some(Reply::json(200, json!({"inputTokens": tokens})));
            }
            Call::Converse { model, stream } => (model, *stream),
        };
        let fault = match fault(&body) {
            Some(fault) => Some((400, error("", "", &fault))),
            None if self.strict && !self.models.contains(model) => Some(no_model(model)),
            None => None,
        };
        if let Some((status, error)) = fault {
            return Some(refused(Reply::json(status, error)));
        }
        // Scripts read the one dialect.
        let mut chat = request.clone();
        chat.body = as_chat(model, stream, &body).to_string().into();
        let turn = self.turns.next(&chat)?;
        self.calls += 1;
        let asked = Asked {
            id: format!("mock{:06}", self.calls),
            created: 0,
            model,
            chat: true,
            choices: 1,
            include_usage: true,
            input: input(&body["messages"]) + input(&body["system"]),
        };
        let reply = match &turn.kind {
            Kind::Reply(reply) => refused(reply.clone()),
            Kind::Answer(answer) => {
                let billed = answer.billed(&asked);
                self.count(billed);
                match stream {
                    true => streamed(answer, &asked, billed),
                    false => whole(answer, &asked, billed),
                }
            }
        };
        let id = format!("req_mock{:06}", self.calls);
        Some(turn.sent(reply.header("x-amzn-requestid", &id)))
    }
}

/// What is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Call {
    Converse { model: String, stream: bool },
    Count,
    Models,
    Profiles,
}

impl Call {
    /// `None`: it is for a vendor of another protocol.
    pub(super) fn of(request: &Recorded) -> Option<Self> {
        let route = request.route();
        if request.method == "GET" {
            return match route.rsplit('/').next()? {
                "foundation-models" => Some(Self::Models),
                "inference-profiles" => Some(Self::Profiles),
                _ => None,
            };
        }
        let (_, rest) = route.split_once("/model/")?;
        // A name with a slash in it has none on the wire.
        let (model, operation) = rest.split_once('/')?;
        let model = decoded(model);
        match operation {
            "converse" => Some(Self::Converse {
                model,
                stream: false,
            }),
            "converse-stream" => Some(Self::Converse {
                model,
                stream: true,
            }),
            "count-tokens" => Some(Self::Count),
            _ => None,
        }
    }
}

fn decoded(text: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = text.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        rest = after;
        let hex = after.get(..2).and_then(|two| std::str::from_utf8(two).ok());
        let byte = hex.and_then(|two| u8::from_str_radix(two, 16).ok());
        match (first, byte) {
            (b'%', Some(byte)) => {
                bytes.push(byte);
                rest = &after[2..];
            }
            _ => bytes.push(*first),
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// Fields of a request that the vendor knows. It refuses any other.
const KNOWN: [&str; 12] = [
    "messages",
    "system",
    "inferenceConfig",
    "toolConfig",
    "guardrailConfig",
    "additionalModelRequestFields",
    "promptVariables",
    "additionalModelResponseFieldPaths",
    "requestMetadata",
    "performanceConfig",
    "serviceTier",
    "outputConfig",
];

/// What the vendor would find fault with.
fn fault(body: &Value) -> Option<String> {
    let fields = body.as_object()?;
    if let Some(key) = fields.keys().find(|key| !KNOWN.contains(&&***key)) {
        return Some(format!("The field {key} is not known."));
    }
    let temperature = &body["inferenceConfig"]["temperature"];
    if temperature.as_f64().is_some_and(|it| it > 1.0) {
        return Some("temperature: must be at most 1".to_owned());
    }
    let tools = &body["toolConfig"]["tools"];
    if body.get("toolConfig").is_some() && tools.as_array().is_none_or(Vec::is_empty) {
        return Some("toolConfig.tools: must have one at least".to_owned());
    }
    for tool in tools.as_array().into_iter().flatten() {
        let spec = &tool["toolSpec"];
        if spec.is_object()
            && (!is_name(&spec["name"]) || spec["inputSchema"]["json"]["type"] != "object")
        {
            return Some("toolConfig.tools: a name or a schema is not valid".to_owned());
        }
        if spec["description"] == "" {
            return Some("toolConfig.tools: a description is empty".to_owned());
        }
    }
    for block in body["system"].as_array().into_iter().flatten() {
        if is_blank(block) {
            return Some("The text field in the SystemContentBlock is blank.".to_owned());
        }
    }
    let mut open: Vec<&str> = Vec::new();
    let mut last = "assistant";
    let mut titles: Vec<&str> = Vec::new();
    for (at, message) in body["messages"].as_array()?.iter().enumerate() {
        let role = message["role"].as_str().unwrap_or_default();
        if !["user", "assistant"].contains(&role) || role == last {
            return Some(
                "A conversation must alternate between user and assistant roles.".to_owned(),
            );
        }
        last = role;
        let Some(content) = message["content"].as_array().filter(|all| !all.is_empty()) else {
            return Some(format!("The content field at messages.{at} is empty."));
        };
        if content.iter().any(is_blank) {
            return Some(format!(
                "The text field in the ContentBlock at messages.{at} is blank."
            ));
        }
        let ids = |kind: &str| -> Vec<&str> {
            let blocks = content.iter().filter_map(|block| block.get(kind));
            blocks
                .filter_map(|block| block["toolUseId"].as_str())
                .collect()
        };
        let (calls, results) = (ids("toolUse"), ids("toolResult"));
        if !(calls.is_empty() && results.is_empty()) && tools.is_null() {
            return Some("The toolConfig field must be defined when using toolUse and toolResult content blocks.".to_owned());
        }
        if open.iter().any(|id| !results.contains(id))
            || results.iter().any(|id| !open.contains(id))
        {
            return Some(format!(
                "messages.{at}: toolUse and toolResult blocks do not pair"
            ));
        }
        open = calls;
        for block in content {
            if let Some(fault) = fault_of(block, &mut titles) {
                return Some(format!("messages.{at}: {fault}"));
            }
        }
        let has = |kind: &str| content.iter().any(|block| block.get(kind).is_some());
        if has("document") && !has("text") {
            return Some(format!("messages.{at}: a document needs a text beside it"));
        }
    }
    (!open.is_empty()).then(|| "messages: toolUse without toolResult".to_owned())
}

fn is_blank(block: &Value) -> bool {
    block["text"]
        .as_str()
        .is_some_and(|text| text.trim().is_empty())
}

fn is_name(name: &Value) -> bool {
    let plain = |char: char| char.is_ascii_alphanumeric() || matches!(char, '_' | '-');
    let name = name.as_str().unwrap_or_default();
    (1..=64).contains(&name.len()) && name.chars().all(plain)
}

fn fault_of<'a>(block: &'a Value, titles: &mut Vec<&'a str>) -> Option<&'static str> {
    if let Some(call) = block.get("toolUse") {
        let plain = |char: char| char.is_ascii_alphanumeric() || "_.:-".contains(char);
        let id = call["toolUseId"].as_str().unwrap_or_default();
        if !(1..=64).contains(&id.len()) || !id.chars().all(plain) {
            return Some("toolUseId is not valid");
        }
        if !is_name(&call["name"]) || !call["input"].is_object() {
            return Some("toolUse is not valid");
        }
    }
    if let Some(result) = block.get("toolResult") {
        let content = result["content"].as_array();
        if content.is_none_or(|all| all.is_empty() || all.iter().any(is_blank)) {
            return Some("the content of toolResult is blank");
        }
    }
    let thought = &block["reasoningContent"]["reasoningText"];
    if thought.is_object() && thought["signature"] != SIGNATURE {
        return Some("the signature of reasoningText is not valid");
    }
    for kind in ["image", "document"] {
        if let Some(block) = block.get(kind)
            && !block["source"]["bytes"].is_string()
        {
            return Some("there are no bytes");
        }
    }
    if let Some(document) = block.get("document") {
        let plain = |char: char| char.is_ascii_alphanumeric() || " -()[]".contains(char);
        let name = document["name"].as_str().unwrap_or_default();
        if name.is_empty() || !name.chars().all(plain) || titles.contains(&name) {
            return Some("the name of a document is not valid, or there twice");
        }
        titles.push(name);
    }
    None
}

/// As much of a request in OpenAI's words as scripts look at.
fn as_chat(model: &str, stream: bool, body: &Value) -> Value {
    let messages = body["messages"].as_array().into_iter().flatten();
    let messages = messages.map(|message| {
        let blocks = message["content"].as_array();
        let last = blocks.and_then(|blocks| blocks.last());
        let content = |blocks: &Value| match blocks.as_array() {
            Some(blocks) => blocks
                .iter()
                .filter(|block| block["text"].is_string())
                .cloned()
                .collect(),
            None => Value::Null,
        };
        match last.and_then(|last| last.get("toolResult")) {
            Some(result) => json!({"role": "tool", "content": content(&result["content"])}),
            _ => json!({"role": message["role"], "content": content(&message["content"])}),
        }
    });
    let messages: Vec<_> = messages.collect();
    let mut chat = json!({"model": model, "messages": messages, "stream": stream});
    let config = &body["toolConfig"];
    let tools = config["tools"].as_array().into_iter().flatten();
    let tools: Vec<_> = tools
        .filter_map(|tool| tool.get("toolSpec"))
        .map(|spec| {
            json!({"type": "function", "function": {
                "name": spec["name"], "parameters": spec["inputSchema"]["json"],
            }})
        })
        .collect();
    if !tools.is_empty() {
        chat["tools"] = tools.into();
    }
    if let Some(choice) = config["toolChoice"].get("tool") {
        chat["tool_choice"] = json!({"function": {"name": choice["name"]}});
    }
    let schema = &body["outputConfig"]["textFormat"]["structure"]["jsonSchema"]["schema"];
    if let Some(schema) = schema.as_str() {
        let schema: Value = serde_json::from_str(schema).unwrap_or_default();
        chat["response_format"] = json!({"type": "json_schema", "json_schema": {"schema": schema}});
    }
    chat
}

/// An error of OpenAI's as one of this vendor's.
fn refused(reply: Reply) -> Reply {
    let mut name = "ValidationException";
    let reply = reply.reworded(|status, body| {
        let error: Value = serde_json::from_slice(body).unwrap_or_default();
        let (status, told) = match status {
            401 => (403, "UnrecognizedClientException"),
            404 => (404, "ResourceNotFoundException"),
            429 => (429, "ThrottlingException"),
            503 => (503, "ServiceUnavailableException"),
            500.. => (500, "InternalServerException"),
            status => (status, name),
        };
        name = told;
        (
            status,
            json!({"message": error["error"]["message"]}).to_string(),
        )
    });
    let name = format!("{name}:http://internal.amazon.com/coral/com.amazon.bedrock/");
    reply.header("x-amzn-errortype", &name)
}

/// Lists of models: those that are called by their own names, and profiles of others.
fn listed(models: &[String]) -> Reply {
    let models = models.iter().map(|id| {
        json!({"modelId": id, "inferenceTypesSupported": ["ON_DEMAND"], "outputModalities": ["TEXT"]})
    });
    let all = json!({"modelSummaries": models.collect::<Vec<_>>()});
    Reply::json(200, all)
}

fn profiles(models: &[String]) -> Reply {
    let profiles = models.iter().map(|id| {
        json!({"inferenceProfileId": format!("us.{id}"), "status": "ACTIVE", "type": "SYSTEM_DEFINED"})
    });
    Reply::json(
        200,
        json!({"inferenceProfileSummaries": profiles.collect::<Vec<_>>()}),
    )
}

fn usage(billed: Usage) -> Value {
    let (read, written) = (
        billed.cache_read.unwrap_or(0),
        billed.cache_write.unwrap_or(0),
    );
    let input = billed.input.saturating_sub(read + written);
    let mut usage = json!({
        "inputTokens": input, "outputTokens": billed.output,
        "totalTokens": billed.input + billed.output, "serverToolUsage": {},
    });
    if billed.cache_read.is_some() || billed.cache_write.is_some() {
        usage["cacheReadInputTokens"] = read.into();
        usage["cacheWriteInputTokens"] = written.into();
    }
    usage
}

fn reason(answer: &Answer) -> &str {
    match answer.finish.as_deref() {
        Some("length") => "max_tokens",
        Some("content_filter") => "guardrail_intervened",
        Some(reason) => reason,
        None if !answer.refusal.is_empty() => "content_filtered",
        None if answer.calls.is_empty() => "end_turn",
        None => "tool_use",
    }
}

fn call_id(asked: &Asked<'_>, n: usize) -> String {
    format!("tooluse_{}_{n}", asked.id)
}

const SIGNATURE: &str = "bW9jaw==";

fn whole(answer: &Answer, asked: &Asked<'_>, billed: Usage) -> Reply {
    let mut content = Vec::new();
    if !answer.reasoning.is_empty() {
        let thought = json!({"text": answer.reasoning, "signature": SIGNATURE});
        content.push(json!({"reasoningContent": {"reasoningText": thought}}));
    }
    if !answer.text.is_empty() {
        content.push(json!({"text": answer.text}));
    }
    for (n, (name, arguments)) in answer.calls.iter().enumerate() {
        let input: Value = serde_json::from_str(arguments).unwrap_or_default();
        let call = json!({"toolUseId": call_id(asked, n), "name": name, "input": input});
        content.push(json!({"toolUse": call}));
    }
    let document = json!({
        "metrics": {"latencyMs": 42},
        "output": {"message": {"content": content, "role": "assistant"}},
        "stopReason": reason(answer),
        "usage": usage(billed),
    });
    Reply::json(200, document)
}

/// One frame is one piece. Only calls of tools have a start.
fn streamed(answer: &Answer, asked: &Asked<'_>, billed: Usage) -> Reply {
    let mut events = vec![("messageStart", json!({"role": "assistant"}))];
    let mut index = 0;
    let mut block = |start: Option<Value>, deltas: Vec<Value>| {
        if let Some(start) = start {
            let start = json!({"contentBlockIndex": index, "start": start});
            events.push(("contentBlockStart", start));
        }
        for delta in deltas {
            let delta = json!({"contentBlockIndex": index, "delta": delta});
            events.push(("contentBlockDelta", delta));
        }
        events.push(("contentBlockStop", json!({"contentBlockIndex": index})));
        index += 1;
    };
    if !answer.reasoning.is_empty() {
        let pieces = answer.batches(&tokens(&answer.reasoning)).into_iter();
        let pieces = pieces.map(|text| json!({"reasoningContent": {"text": text}}));
        let proof = json!({"reasoningContent": {"signature": SIGNATURE}});
        block(None, pieces.chain([proof]).collect());
    }
    if !answer.text.is_empty() {
        let pieces = answer.batches(&tokens(&answer.text)).into_iter();
        block(None, pieces.map(|text| json!({"text": text})).collect());
    }
    for (n, (name, arguments)) in answer.calls.iter().enumerate() {
        let start = json!({"toolUse": {"toolUseId": call_id(asked, n), "name": name}});
        let pieces = fragments(arguments);
        let pieces: Vec<&str> = pieces.iter().map(String::as_str).collect();
        let pieces = answer.batches(&pieces).into_iter();
        let pieces = pieces.map(|piece| json!({"toolUse": {"input": piece}}));
        block(Some(start), pieces.collect());
    }
    events.push(("messageStop", json!({"stopReason": reason(answer)})));
    let told = json!({"metrics": {"latencyMs": 42}, "usage": usage(billed)});
    events.push(("metadata", told));
    if let Some(after) = answer.fails_after {
        // The start comes before the first that says anything.
        events.truncate(after + 1);
    }
    let mut frames: Vec<Bytes> = events
        .into_iter()
        .enumerate()
        .map(|(n, (kind, mut payload))| {
            // Of a length that tells nothing of what is said.
            payload["p"] = "abcdefghijklmnopqrstuvwxyz"[..n * 7 % 26].into();
            frame::event(kind, &payload)
        })
        .collect();
    if answer.fails_after.is_some() {
        let words = json!({"message": "The system encountered an unexpected error."});
        frames.push(frame::exception("internalServerException", &words));
    }
    Reply::pieces("application/vnd.amazon.eventstream", frames)
}
