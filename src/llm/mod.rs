//! Language models.

pub(crate) mod codec;
