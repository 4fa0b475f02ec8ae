//! Vendors of language models.
