//! Rerank, in the one shape that vendors have for it: Cohere's, which others took over with fields of
//! their own beside.

use super::{
    Encode, Encoded, Losses, Names, fault,
    value::{Fields, Path, document},
};
use crate::{
    Rejection,
    llm::{
        ChatRequest, Completion, Document, Error, Event, Rerank, Start, Usage, VendorError,
        VendorFault, rerank::Ranked,
    },
};
use bytes::BytesMut;
use serde_json::{Map, Value, json};

/// More are no list of documents to choose from.
const MOST_RESULTS: usize = 100_000;

/// Reads a request.
pub(super) fn parse(body: &[u8]) -> Result<Rerank, Rejection> {
    let root = Path::Root;
    let mut fields = Fields::new(document(body)?, root)?;
    fields.take("model");
    let query = fields.required("query")?;
    let path = root.key("documents");
    let documents = fields.array("documents")?.into_iter().enumerate();
    let documents = documents.map(|(index, one)| match one {
        Value::String(text) => Ok(Document::Text(text)),
        Value::Object(fields) => Ok(Document::Fields(fields)),
        _ => Err(path.index(index).fault("Expected a string or an object.")),
    });
    let documents: Vec<_> = documents.collect::<Result<_, _>>()?;
    if documents.is_empty() {
        return Err(path.fault("At least one document is required."));
    }
    let top_n = fields.at_least_one("top_n", u32::MAX, "Expected a whole number of at least 1.")?;
    Ok(Rerank {
        query,
        documents,
        top_n,
        return_documents: fields.bool("return_documents")?,
        extra: fields.rest()?,
    })
}

/// Writes one. Cohere's newer version takes `texts` alone, and gives none back.
pub(super) fn write(request: &ChatRequest, texts: bool) -> Result<Encoded, Rejection> {
    let rerank = request.reranking()?;
    let mut losses = Losses::default();
    let mut out = rerank.extra.clone();
    let mut documents = Vec::with_capacity(rerank.documents.len());
    for (index, document) in rerank.documents.iter().enumerate() {
        documents.push(match (document, document.as_text()) {
            (_, Some(text)) if texts => text.into(),
            (Document::Text(text), _) => Value::from(&**text),
            (Document::Fields(fields), _) if texts => {
                let why = "The provider takes texts: its fields are one, as JSON.";
                losses.add(format_args!("documents[{index}]"), why);
                Value::from(fields.clone()).to_string().into()
            }
            (Document::Fields(fields), _) => fields.clone().into(),
        });
    }
    out.insert("model".into(), (&**request.model()).into());
    out.insert("query".into(), (&*rerank.query).into());
    out.insert("documents".into(), documents.into());
    if let Some(top_n) = rerank.top_n {
        out.insert("top_n".into(), top_n.into());
    }
    if let Some(wanted) = rerank.return_documents.filter(|_| !texts) {
        out.insert("return_documents".into(), wanted.into());
    }
    Ok(Encoded {
        body: Value::from(out).to_string().into(),
        losses: losses.into_vec(),
        names: Names::default(),
    })
}

/// What was used: tokens, all of them read, and the searches that are billed.
pub(super) fn usage(whole: &Value) -> Option<Usage> {
    let count = |place: &str| {
        let number = whole.pointer(place)?.as_number()?;
        let float = || number.as_f64().map(|float| float as u64);
        number.as_u64().or_else(float)
    };
    let tokens = [
        "/usage/total_tokens",
        "/usage/prompt_tokens",
        "/meta/tokens/input_tokens",
        "/meta/billed_units/input_tokens",
    ];
    let tokens = tokens.iter().find_map(|place| count(place));
    let searches = count("/meta/billed_units/search_units");
    if tokens.is_none() && searches.is_none() {
        return None;
    }
    let mut usage = Usage::new(tokens.unwrap_or(0), 0);
    usage.searches = searches;
    Some(usage)
}

/// Reads an answer. The order is the vendor's.
pub(super) fn decode(mut whole: Value, events: &mut Vec<Event>) -> Result<(), Error> {
    if whole.get("error").is_some_and(|error| !error.is_null()) {
        return Err(fault::within(&whole).into());
    }
    let text = |key: &str| whole[key].as_str().unwrap_or_default().to_owned();
    events.push(Event::Start(Start::new(text("id"), text("model"), 0)));
    let used = usage(&whole);
    let results = ["results", "data"];
    let results = results.iter().find_map(|key| match whole.get_mut(*key) {
        Some(Value::Array(all)) => Some(std::mem::take(all)),
        _ => None,
    });
    let malformed = || VendorError::new(VendorFault::Malformed);
    let results = results.ok_or_else(malformed)?;
    for result in results.into_iter().take(MOST_RESULTS) {
        let Value::Object(mut fields) = result else {
            return Err(malformed().into());
        };
        let index = fields.remove("index").and_then(|index| index.as_u64());
        let index = index.and_then(|index| u32::try_from(index).ok());
        let scores = ["relevance_score", "score"];
        let score = scores.iter().find_map(|key| fields.remove(*key)?.as_f64());
        let mut ranked = Ranked::new(index.ok_or_else(malformed)?, score.ok_or_else(malformed)?);
        fields.retain(|_, value| !value.is_null());
        ranked.extra = fields;
        events.push(Event::Ranked(ranked));
    }
    events.extend(used.map(Event::Usage));
    Ok(())
}

/// Writes an answer in one piece, with the fields of all who took the shape over: each client finds
/// its own.
pub(super) struct Answer {
    model: String,
    completion: Completion,
}

impl Answer {
    pub(super) fn new(model: &str) -> Self {
        Self {
            model: model.to_owned(),
            completion: Completion::default(),
        }
    }
}

impl Encode for Answer {
    fn events(&mut self, events: Vec<Event>, _: &mut BytesMut) {
        self.completion.extend(events);
    }

    fn finish(&mut self, out: &mut BytesMut) {
        let Completion {
            start,
            ranking,
            usage,
            ..
        } = std::mem::take(&mut self.completion);
        let results = ranking.into_iter().map(|ranked| {
            let mut fields = ranked.extra;
            fields.insert("index".into(), ranked.index.into());
            fields.insert("relevance_score".into(), ranked.score.into());
            Value::from(fields)
        });
        let model = match start.model.is_empty() {
            true => &self.model,
            false => &start.model,
        };
        let id = match start.id.is_empty() {
            true => format!("rerank-{}", crate::exchange::fresh_id()),
            false => start.id,
        };
        let mut billed = Map::new();
        let mut whole = json!({
            "id": id, "object": "list", "model": model, "results": results.collect::<Vec<_>>(),
        });
        if let Some(usage) = usage {
            let tokens = usage.total();
            if let Some(searches) = usage.searches {
                billed.insert("search_units".into(), searches.into());
            }
            if tokens > 0 || usage.searches.is_none() {
                whole["usage"] = json!({"prompt_tokens": tokens, "total_tokens": tokens});
                whole["meta"]["tokens"] = json!({"input_tokens": tokens});
            }
        }
        whole["meta"]["api_version"] = json!({"version": "2"});
        whole["meta"]["billed_units"] = billed.into();
        out.extend_from_slice(whole.to_string().as_bytes());
    }
}

/// Gives documents back, or takes them away, as the request wants it, whatever the vendor does.
pub(crate) fn completed(rerank: &Rerank) -> Option<impl FnMut(Event) -> Event + Send + 'static> {
    let wanted = rerank.return_documents?;
    let documents: Vec<_> = match wanted {
        true => rerank.documents.clone(),
        false => Vec::new(),
    };
    Some(move |mut event| {
        if let Event::Ranked(ranked) = &mut event {
            match documents.get(ranked.index as usize) {
                Some(document) => {
                    ranked.extra.insert("document".into(), document.to_value());
                }
                None if !wanted => {
                    ranked.extra.remove("document");
                }
                None => {}
            }
        }
        event
    })
}
