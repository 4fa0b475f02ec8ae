//! Vectors of hashed words, after Weinberger et al., "Feature Hashing for Large Scale Multitask
//! Learning" (2009).

use super::{Hash, refused, tokens};
use crate::llm::{ChatRequest, EmbedInput, Error, Event, Start, Usage};

const DIMENSIONS: u32 = 256;
const MOST_DIMENSIONS: u32 = 4096;
const MOST_INPUTS: usize = 2048;
/// The most numbers of one answer: 4 MiB of them.
const MOST_NUMBERS: usize = 1 << 20;

pub(super) fn events(request: &ChatRequest) -> Result<Vec<Event>, Error> {
    let embed = request.embedding()?;
    let dimensions = embed.dimensions.unwrap_or(DIMENSIONS);
    if !(1..=MOST_DIMENSIONS).contains(&dimensions) {
        return Err(refused("dimensions", "Expected a number from 1 to 4096.").into());
    }
    if !(1..=MOST_INPUTS).contains(&embed.inputs.len()) {
        return Err(refused("input", "Expected from 1 to 2048 inputs.").into());
    }
    if embed.inputs.len() * dimensions as usize > MOST_NUMBERS {
        let detail = "Expected at most 1048576 numbers in all: fewer inputs, or fewer dimensions.";
        return Err(refused("input", detail).into());
    }
    let model = &**request.model();
    let mut events = vec![Event::Start(Start::new("", model, super::answer::CREATED))];
    let mut count = 0;
    for (index, input) in (0_u32..).zip(&embed.inputs) {
        let vector = match input {
            EmbedInput::Text(text) if !text.is_empty() => {
                count += tokens(text).count();
                of_text(text, dimensions)
            }
            EmbedInput::Tokens(tokens) if !tokens.is_empty() => {
                count += tokens.len();
                let mut vector = Vector::new(dimensions);
                for token in tokens {
                    vector.add(&token.to_le_bytes(), 1.0);
                }
                vector.unit()
            }
            _ => {
                let path = format!("input[{index}]");
                return Err(refused(path, "Expected an input that is not empty.").into());
            }
        };
        events.push(Event::Embedding { index, vector });
    }
    events.push(Event::Usage(Usage::new(count as u64, 0)));
    Ok(events)
}

/// Words, and at half their weight the letter triples of words, so that "run" is near to "running".
pub(super) fn of_text(text: &str, dimensions: u32) -> Vec<f32> {
    let mut vector = Vector::new(dimensions);
    let text = text.to_lowercase();
    let words = text.split(|char: char| !char.is_alphanumeric());
    for word in words.filter(|word| !word.is_empty()) {
        vector.add(word.as_bytes(), 1.0);
        let starts: Vec<_> = word.char_indices().map(|(at, _)| at).collect();
        let ends = starts.iter().skip(3).copied().chain([word.len()]);
        if starts.len() > 3 {
            for (start, end) in starts.iter().zip(ends) {
                vector.add(&word.as_bytes()[*start..end], 0.5);
            }
        }
    }
    vector.unit()
}

struct Vector(Vec<f32>);

impl Vector {
    fn new(dimensions: u32) -> Self {
        Self(vec![0.0; dimensions as usize])
    }

    /// Four dimensions each, so that two features rarely meet in all of theirs.
    fn add(&mut self, feature: &[u8], weight: f32) {
        let mut bits = Hash::of(feature).finish();
        for _ in 0..4 {
            let sign = if bits & 1 == 0 { weight } else { -weight };
            let at = (bits >> 1) as usize % self.0.len();
            self.0[at] += sign;
            bits = bits.rotate_right(16);
        }
    }

    fn unit(mut self) -> Vec<f32> {
        let length = self.0.iter().map(|x| x * x).sum::<f32>().sqrt();
        if length > 0.0 {
            self.0.iter_mut().for_each(|x| *x /= length);
        } else {
            // No word, or words that cancel each other out.
            self.0[0] = 1.0;
        }
        self.0
    }
}
