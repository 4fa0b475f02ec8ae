//! Vectors: one for `embedContent`, several for `batchEmbedContents`.

use super::{target, usage};
use crate::{
    Rejection,
    llm::{
        ChatRequest, Completion, Embed, EmbedInput, Error, Event, Extra, Protocol, Start,
        codec::{
            Asked, Encoded, Losses, Names, skim,
            translation::put,
            value::{Fields, Path, document},
        },
    },
    rejection::Kind,
};
use bytes::Bytes;
use serde_json::{Map, Value, json};

/// Whether several vectors are asked for.
pub(super) fn is_batch(body: &[u8]) -> bool {
    let mut batch = false;
    let read = skim::object(body, |name, _| {
        batch |= name == b"requests";
        Some(())
    });
    match read {
        Some(_) => batch,
        None => {
            let whole = serde_json::from_slice::<Value>(body);
            whole.is_ok_and(|whole| whole.get("requests").is_some())
        }
    }
}

/// Reads what is to be embedded.
pub(super) fn parse(body: &[u8]) -> Result<Embed, Rejection> {
    let mut whole = document(body)?;
    let path = Path::Root;
    if whole.get("requests").is_none() {
        let mut embed = Embed::default();
        one(whole, path, &mut embed)?;
        return Ok(embed);
    }
    let path = path.key("requests");
    let all = path.array(whole["requests"].take())?;
    let mut embed = Embed::default();
    for (at, request) in all.into_iter().enumerate() {
        let before = (embed.dimensions, embed.extra.clone());
        one(request, path.index(at), &mut embed)?;
        if at > 0 && (embed.dimensions, &embed.extra) != (before.0, &before.1) {
            let path = path.index(at);
            return Err(path.fault("Differs from the first request in more than its content."));
        }
    }
    if embed.inputs.is_empty() {
        return Err(path.fault("At least one request is required."));
    }
    Ok(embed)
}

fn one(request: Value, path: Path<'_>, embed: &mut Embed) -> Result<(), Rejection> {
    let mut fields = Fields::new(super::request::camel(request, path)?, path)?;
    fields.take("model");
    let at = path.key("content");
    let content = fields.take("content");
    let content = content.ok_or_else(|| at.fault("An object is required."))?;
    let parts = match content {
        Value::String(text) => vec![json!({"text": text})],
        mut content => match content["parts"].take() {
            Value::Array(parts) => parts,
            part => vec![part],
        },
    };
    let texts: Option<Vec<_>> = parts.iter().map(|part| part["text"].as_str()).collect();
    let texts = texts.ok_or_else(|| at.fault("Only a text can be embedded here."))?;
    embed.inputs.push(EmbedInput::Text(texts.join("\n")));
    embed.dimensions = fields
        .count("outputDimensionality")?
        .map(|count| u32::try_from(count).unwrap_or(u32::MAX));
    embed.extra = fields.rest()?;
    Ok(())
}

/// The client's own bytes, with the model's name wherever it stands beside what is asked.
pub(super) fn renamed(body: &Bytes, model: &str) -> Result<Bytes, Rejection> {
    if memchr::memmem::find(body, b"\"model\"").is_none() {
        return Ok(body.clone());
    }
    let mut whole = document(body)?;
    let name = match target::bare(model) {
        tuned if tuned.starts_with("tunedModels/") => tuned.to_owned(),
        name => format!("models/{name}"),
    };
    let mut edited = false;
    let mut rename = |of: &mut Value| {
        if let Some(Value::String(said)) = of.get_mut("model")
            && target::bare(said) != target::bare(model)
        {
            said.clone_from(&name);
            edited = true;
        }
    };
    rename(&mut whole);
    for inner in ["generateContentRequest", "generate_content_request"] {
        if let Some(inner) = whole.get_mut(inner) {
            rename(inner);
        }
    }
    if let Some(Value::Array(all)) = whole.get_mut("requests") {
        all.iter_mut().for_each(rename);
    }
    Ok(match edited {
        true => whole.to_string().into(),
        false => body.clone(),
    })
}

/// What of it a vendor of this protocol is asked: always for a list.
pub(super) fn write(request: &ChatRequest, embed: &Embed) -> Result<Encoded, Rejection> {
    let mut losses = Losses::default();
    let foreign = request
        .origin()
        .is_some_and(|origin| origin != Protocol::Gemini);
    let mut kept = Extra::new();
    for (key, value) in &embed.extra {
        match &**key {
            // The form of the answer is made here.
            "encoding_format" if foreign => {}
            _ if foreign => losses.add(key, "The provider's protocol has no such field."),
            _ => {
                kept.insert(key.clone(), value.clone());
            }
        }
    }
    let name = format!("models/{}", target::bare(request.model()));
    let mut all = Vec::with_capacity(embed.inputs.len());
    for input in &embed.inputs {
        let EmbedInput::Text(text) = input else {
            return Err(Rejection::new(Kind::UnsupportedParameter)
                .with_param("input")
                .with_detail("The provider takes texts, not tokens."));
        };
        let mut one = Map::new();
        one.insert("model".into(), (&*name).into());
        one.insert("content".into(), json!({"parts": [{"text": text}]}));
        put(&mut one, "outputDimensionality", embed.dimensions);
        one.extend(kept.clone());
        all.push(Value::from(one));
    }
    Ok(Encoded {
        body: json!({"requests": all}).to_string().into(),
        losses: losses.into_vec(),
        names: Names::default(),
    })
}

/// Reads vectors, in their order.
pub(super) fn decode(whole: &Value, events: &mut Vec<Event>) -> Result<(), Error> {
    events.push(Event::Start(Start::default()));
    let all = match (&whole["embeddings"], &whole["embedding"]) {
        (Value::Array(all), _) => &all[..],
        (_, one) => std::slice::from_ref(one),
    };
    for (index, one) in (0..).zip(all) {
        let Some(values) = one["values"].as_array() else {
            let fault = crate::llm::VendorFault::Malformed;
            return Err(crate::llm::VendorError::new(fault).into());
        };
        let numbers = values.iter().filter_map(Value::as_f64);
        let vector = numbers.map(|number| number as f32).collect();
        events.push(Event::Embedding { index, vector });
    }
    events.extend(usage::read(&whole["usageMetadata"]).map(Event::Usage));
    Ok(())
}

/// Writes vectors.
pub(super) fn encode(completion: &Completion, asked: &Asked) -> Value {
    let vector = |vector: &Vec<f32>| json!({"values": vector});
    let mut all = completion.embeddings.iter().map(vector);
    let mut out = Map::new();
    match asked.single {
        true => out.insert("embedding".into(), all.next().unwrap_or_default()),
        false => out.insert("embeddings".into(), all.collect::<Vec<_>>().into()),
    };
    if let Some(usage) = &completion.usage {
        let told = json!({"promptTokenCount": usage.input, "totalTokenCount": usage.total()});
        out.insert("usageMetadata".into(), told);
    }
    out.into()
}
