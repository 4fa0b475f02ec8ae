//! Answers in a protocol that no client speaks here.

use super::Encode;
use crate::llm::Event;
use bytes::BytesMut;

/// Writes nothing.
pub(super) struct Mute;

impl Encode for Mute {
    fn events(&mut self, _: Vec<Event>, _: &mut BytesMut) {}

    fn finish(&mut self, _: &mut BytesMut) {}
}
