//! Documents ranked by the words that they share with the question, in the words of Cohere and of Jina.

use super::vendor::input;
use serde_json::{Value, json};
use std::collections::BTreeSet;

fn words(text: &str) -> BTreeSet<String> {
    let words = text.split(|char: char| !char.is_alphanumeric());
    words
        .map(str::to_lowercase)
        .filter(|word| !word.is_empty())
        .collect()
}

/// The answer, and the tokens that were read. Cohere's newer version takes texts alone, gives no
/// documents back, and bills for searches; Jina's does as it is told, and counts tokens.
pub(super) fn answer(body: &Value, model: &str, cohere: bool) -> Result<(Value, u64), String> {
    let query = words(body["query"].as_str().unwrap_or_default());
    let documents = body["documents"].as_array().cloned().unwrap_or_default();
    if documents.is_empty() {
        return Err("invalid request: list of documents must not be empty".to_owned());
    }
    if cohere && !documents.iter().all(Value::is_string) {
        return Err(
            "invalid type: parameter documents is of type object but should be of type string"
                .to_owned(),
        );
    }
    let text = |document: &Value| match document {
        Value::String(text) => text.clone(),
        fields => fields["text"].as_str().unwrap_or_default().to_owned(),
    };
    let mut ranking: Vec<(usize, f64)> = Vec::new();
    for (index, document) in documents.iter().enumerate() {
        let shared = words(&text(document)).intersection(&query).count();
        let share = u32::try_from(shared).unwrap_or(0);
        let all = u32::try_from(query.len().max(1)).unwrap_or(1);
        ranking.push((index, f64::from(share) / f64::from(all)));
    }
    ranking.sort_by(|one, other| other.1.total_cmp(&one.1));
    let most = body["top_n"].as_u64().unwrap_or(u64::MAX);
    ranking.truncate(usize::try_from(most).unwrap_or(usize::MAX));
    let results = ranking.into_iter().map(|(index, score)| {
        let mut result = json!({"index": index, "relevance_score": score});
        if !cohere && body["return_documents"] != false {
            result["document"] = match &documents[index] {
                Value::String(text) => json!({ "text": text }),
                fields => fields.clone(),
            };
        }
        result
    });
    let results: Vec<_> = results.collect();
    let tokens = input(&body["query"]) + input(&body["documents"]);
    Ok(match cohere {
        true => {
            let meta =
                json!({"api_version": {"version": "2"}, "billed_units": {"search_units": 1}});
            (
                json!({"id": "mock-rerank", "results": results, "meta": meta}),
                0,
            )
        }
        false => {
            let usage = json!({"total_tokens": tokens});
            let whole =
                json!({"model": model, "object": "list", "usage": usage, "results": results});
            (whole, tokens)
        }
    })
}
