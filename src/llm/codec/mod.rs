//! One codec for each wire protocol, used in both directions.

#[allow(dead_code, reason = "the codecs read and write it")]
pub(crate) mod sse;
