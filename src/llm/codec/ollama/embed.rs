//! Vectors.

use super::usage;
use crate::{
    Rejection,
    llm::{
        ChatRequest, Embed, EmbedInput, Error, Event, Start, VendorError, VendorFault,
        codec::{Encoded, Losses, Names},
    },
    rejection::Kind,
};
use serde_json::{Map, Value};

/// Fields of the vendor that others have not, taken from clients of any protocol.
const OWN: [&str; 3] = ["truncate", "options", "keep_alive"];

/// The request.
pub(super) fn write(request: &ChatRequest, embed: &Embed) -> Result<Encoded, Rejection> {
    let mut losses = Losses::default();
    let mut out = Map::new();
    for (key, value) in &embed.extra {
        match &**key {
            own if OWN.contains(&own) => {
                out.insert(key.clone(), value.clone());
            }
            // The form of the answer is made here.
            "encoding_format" => {}
            _ if value.is_null() => {}
            _ => losses.add(key, "The provider's protocol has no such field."),
        }
    }
    let texts = embed.inputs.iter().map(|input| match input {
        EmbedInput::Text(text) => Ok(Value::from(&**text)),
        EmbedInput::Tokens(_) => Err(Rejection::new(Kind::UnsupportedParameter)
            .with_param("input")
            .with_detail("The provider takes texts, not tokens.")),
    });
    let texts: Vec<_> = texts.collect::<Result<_, _>>()?;
    out.insert("model".into(), (&**request.model()).into());
    out.insert("input".into(), texts.into());
    if let Some(dimensions) = embed.dimensions {
        out.insert("dimensions".into(), dimensions.into());
    }
    Ok(Encoded {
        body: Value::from(out).to_string().into(),
        losses: losses.into_vec(),
        names: Names::default(),
    })
}

/// Reads vectors, in their order; of older servers, the one.
pub(super) fn decode(mut fields: Map<String, Value>, events: &mut Vec<Event>) -> Result<(), Error> {
    let malformed = || VendorError::new(VendorFault::Malformed);
    let model = match fields.remove("model") {
        Some(Value::String(model)) => model,
        _ => String::new(),
    };
    events.push(Event::Start(Start::new("", model, 0)));
    let all = match (fields.remove("embeddings"), fields.remove("embedding")) {
        (Some(Value::Array(all)), _) => all,
        (_, Some(one)) => vec![one],
        _ => return Err(malformed().into()),
    };
    for (index, one) in (0..).zip(&all) {
        let numbers = one.as_array().ok_or_else(malformed)?;
        let numbers = numbers.iter().filter_map(Value::as_f64);
        let vector = numbers.map(|number| number as f32).collect();
        events.push(Event::Embedding { index, vector });
    }
    events.extend(usage::take(&mut fields).map(Event::Usage));
    Ok(())
}
