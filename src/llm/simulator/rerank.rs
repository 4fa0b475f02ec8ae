//! Documents by how well they fit a question: the nearness of their vectors of words.

use super::{embedding::of_text, refused, tokens};
use crate::llm::{ChatRequest, Document, Error, Event, Ranked, Start, Usage, codec::rerank};

const DIMENSIONS: u32 = 256;
const MOST_DOCUMENTS: usize = 10_000;

pub(super) fn events(request: &ChatRequest) -> Result<Vec<Event>, Error> {
    let asked = request.reranking()?;
    if !(1..=MOST_DOCUMENTS).contains(&asked.documents.len()) {
        return Err(refused("documents", "Expected from 1 to 10000 documents.").into());
    }
    if asked.query.trim().is_empty() {
        return Err(refused("query", "Expected a question that is not empty.").into());
    }
    let question = of_text(&asked.query, DIMENSIONS);
    let mut count = tokens(&asked.query).count();
    let mut ranking = Vec::with_capacity(asked.documents.len());
    for (index, document) in (0_u32..).zip(&asked.documents) {
        let text = match document {
            Document::Text(text) => text.clone(),
            Document::Fields(_) => match document.as_text() {
                Some(text) => text.to_owned(),
                None => document.to_value().to_string(),
            },
        };
        count += tokens(&text).count();
        let vector = of_text(&text, DIMENSIONS);
        let both = question.iter().zip(&vector);
        let score: f64 = both.map(|(a, b)| f64::from(a * b)).sum();
        ranking.push(Ranked::new(index, score.clamp(0.0, 1.0)));
    }
    ranking.sort_by(|one, other| other.score.total_cmp(&one.score));
    let most = asked.top_n.map_or(usize::MAX, |most| most as usize);
    let mut complete = rerank::completed(asked);
    let model = &**request.model();
    let mut events = vec![Event::Start(Start::new("", model, super::answer::CREATED))];
    events.extend(ranking.into_iter().take(most).map(|ranked| {
        let event = Event::Ranked(ranked);
        match &mut complete {
            Some(complete) => complete(event),
            None => event,
        }
    }));
    let mut usage = Usage::new(count as u64, 0);
    usage.searches = Some(1);
    events.push(Event::Usage(usage));
    Ok(events)
}
