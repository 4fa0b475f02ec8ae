//! Which of these documents answers a question best.

use super::message::Extra;
use serde_json::Value;

/// What a rerank request asks: the typed view.
///
/// Vendors have one shape for it, which began with Cohere: Jina, Together, vLLM and others took it over.
/// So what this view does not know goes along to any of them.
#[derive(Clone, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct Rerank {
    /// What is looked for.
    pub query: String,
    /// What it is looked for in.
    pub documents: Vec<Document>,
    /// How many of the best are wanted. All of them, where nothing is said.
    pub top_n: Option<u32>,
    /// Whether the documents are wanted back. Where nothing is said, the vendor does as it is used to.
    pub return_documents: Option<bool>,
    /// Unknown fields, kept.
    pub extra: Extra,
}

impl Rerank {
    /// Looks for this in these texts.
    #[must_use]
    pub fn new<T: Into<String>>(
        query: impl Into<String>,
        documents: impl IntoIterator<Item = T>,
    ) -> Self {
        let documents = documents.into_iter();
        Self {
            query: query.into(),
            documents: documents.map(|text| Document::Text(text.into())).collect(),
            ..Self::default()
        }
    }
}

/// One document.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Document {
    /// A text.
    Text(String),
    /// Several fields, of which `text` is the most usual.
    Fields(Extra),
}

impl Document {
    /// The text of it, if it is nothing else.
    #[must_use]
    pub fn as_text(&self) -> Option<&str> {
        match self {
            Self::Text(text) => Some(text),
            Self::Fields(fields) => match fields.get("text") {
                Some(Value::String(text)) if fields.len() == 1 => Some(text),
                _ => None,
            },
        }
    }

    /// As it stands in an answer: always an object.
    #[must_use]
    pub fn to_value(&self) -> Value {
        match self {
            Self::Text(text) => serde_json::json!({"text": text}),
            Self::Fields(fields) => fields.clone().into(),
        }
    }
}

/// How well one document fits.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Ranked {
    /// Which of the documents, from 0.
    pub index: u32,
    /// How well it fits, most often from 0 to 1. Only its order means something.
    pub score: f64,
    /// Unknown fields, and `document` where it is given back.
    pub extra: Extra,
}

impl Ranked {
    /// This document, this well.
    #[must_use]
    pub fn new(index: u32, score: f64) -> Self {
        let extra = Extra::new();
        Self {
            index,
            score,
            extra,
        }
    }
}
