//! Composable tower layers for API and AI gateways.
#![cfg_attr(docsrs, feature(doc_cfg))]

// Tier 0: vocabulary.
pub mod answer;
mod body;
#[cfg(feature = "client")]
pub mod client;
pub mod client_addr;
pub mod describe;
pub mod exchange;
mod follow;
pub mod key;
pub mod path;
pub mod principal;
mod problem;
pub mod rejection;

// Tier 1: policies.
pub mod access_log;
#[cfg(feature = "auth")]
pub mod auth;
pub mod circuit_breaker;
pub mod concurrency;
#[cfg(feature = "metrics")]
pub mod metrics;
#[cfg(feature = "rate-limit")]
pub mod rate_limit;
pub mod timeout;
pub mod trace;

// Tier 2: domains.
#[cfg(feature = "llm")]
pub mod llm;
#[cfg(feature = "client")]
pub mod proxy;
pub mod route;

// Tier 5: assembly.
#[cfg(feature = "gateway")]
pub mod gateway;
#[cfg(feature = "testing")]
pub mod testing;

#[doc(inline)]
pub use self::{
    answer::{Health, Reject},
    body::{Body, CollectError, collect},
    exchange::Exchange,
    follow::{End, Follow},
    principal::{Extensible, Principal},
    rejection::Rejection,
};

/// An error of any kind.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// The programs in the README compile.
#[cfg(all(doctest, feature = "gateway"))]
#[doc = include_str!("../README.md")]
struct Readme;
