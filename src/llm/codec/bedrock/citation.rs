//! Where the vendor found what its model says, in the words that clients know: Anthropic's, whose models
//! say so first.

use serde_json::{Map, Value, json};

/// A citation as a client reads it; `None` if it points nowhere that anyone knows.
pub(super) fn read(citation: &Value) -> Option<Value> {
    let (kind, place) = citation.get("location")?.as_object()?.iter().next()?;
    let (kind, fields): (_, &[(&str, &str)]) = match &**kind {
        "documentChar" => (
            "char_location",
            &[
                ("documentIndex", "document_index"),
                ("start", "start_char_index"),
                ("end", "end_char_index"),
            ],
        ),
        "documentPage" => (
            "page_location",
            &[
                ("documentIndex", "document_index"),
                ("start", "start_page_number"),
                ("end", "end_page_number"),
            ],
        ),
        "documentChunk" => (
            "content_block_location",
            &[
                ("documentIndex", "document_index"),
                ("start", "start_block_index"),
                ("end", "end_block_index"),
            ],
        ),
        "searchResultLocation" => (
            "search_result_location",
            &[
                ("searchResultIndex", "search_result_index"),
                ("start", "start_block_index"),
                ("end", "end_block_index"),
            ],
        ),
        "web" => (
            "web_search_result_location",
            &[("url", "url"), ("domain", "domain")],
        ),
        _ => return None,
    };
    let sources = citation.get("sourceContent").and_then(Value::as_array);
    let cited: String = sources
        .into_iter()
        .flatten()
        .filter_map(|source| source.get("text")?.as_str())
        .collect();
    let mut out = Map::new();
    out.insert("type".into(), kind.into());
    out.insert("cited_text".into(), cited.into());
    for (theirs, ours) in fields {
        if let Some(value) = place.get(theirs) {
            out.insert((*ours).into(), value.clone());
        }
    }
    let title = match kind {
        "search_result_location" | "web_search_result_location" => "title",
        _ => "document_title",
    };
    out.insert(
        title.into(),
        citation.get("title").cloned().unwrap_or(json!(null)),
    );
    if let Some(source) = citation.get("source") {
        out.insert("source".into(), source.clone());
    }
    Some(out.into())
}
