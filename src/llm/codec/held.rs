//! The part of a piece that has come of a stream, until the rest of it does.

use super::sse::TooLong;
use bytes::{Bytes, BytesMut};

/// What was held back of the chunks so far: the beginning of one piece.
#[derive(Debug, Default)]
pub(crate) struct Held(BytesMut);

impl Held {
    /// Takes a chunk in which the last whole piece ends at `end`; 0 if none does. Gives all that is whole,
    /// in the very bytes that came: without a copy, if nothing was held.
    ///
    /// # Errors
    ///
    /// If more than `limit` is held then. It is gone.
    pub(crate) fn push(
        &mut self,
        mut chunk: Bytes,
        end: usize,
        limit: usize,
    ) -> Result<Option<Bytes>, TooLong> {
        let rest = chunk.split_off(end);
        let whole = match (end, self.0.is_empty()) {
            (0, _) => None,
            (_, true) => Some(chunk),
            (_, false) => {
                self.0.extend_from_slice(&chunk);
                Some(self.0.split().freeze())
            }
        };
        self.0.extend_from_slice(&rest);
        if self.0.len() > limit {
            self.0 = BytesMut::new();
            return Err(TooLong { limit });
        }
        Ok(whole)
    }

    /// What is held, where the stream has ended.
    pub(crate) fn take(&mut self) -> Option<Bytes> {
        (!self.0.is_empty()).then(|| self.0.split().freeze())
    }
}
