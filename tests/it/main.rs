//! One binary, a module per policy: each over axum, over a response of its own, and dropped half-way.

#[cfg(all(feature = "gateway", feature = "testing"))]
mod abuse_load;
mod access_log;
mod address_list;
#[cfg(all(feature = "gateway", feature = "jwt", feature = "testing"))]
mod admission;
#[cfg(all(feature = "client", feature = "testing"))]
mod anthropic;
#[cfg(feature = "auth")]
mod auth;
#[cfg(feature = "authorize")]
mod authorize;
#[cfg(feature = "gateway")]
mod authorized;
mod balance;
mod bare;
#[cfg(all(feature = "bedrock", feature = "testing"))]
mod bedrock;
#[cfg(all(feature = "gateway", feature = "jwt", feature = "testing"))]
mod bound;
#[cfg(all(feature = "gateway", feature = "testing"))]
mod catalog;
#[cfg(all(feature = "gateway", feature = "testing"))]
mod chaos;
#[cfg(feature = "llm")]
mod chat;
mod circuit_breaker;
mod client_addr;
mod concurrency;
#[cfg(feature = "gateway")]
mod corpora;
#[cfg(feature = "llm")]
mod dialect;
#[cfg(all(feature = "gateway", feature = "testing"))]
mod directory;
#[cfg(all(feature = "gateway", feature = "testing"))]
mod edge;
#[cfg(all(feature = "authorize", feature = "client", feature = "testing"))]
mod external;
mod fallback;
mod follow;
#[cfg(feature = "gateway")]
mod gateway;
#[cfg(all(feature = "client", feature = "testing"))]
mod gemini;
mod guarded;
#[cfg(all(feature = "gateway", feature = "testing"))]
mod identity;
#[cfg(all(feature = "jwt", feature = "testing"))]
mod jwt;
#[cfg(feature = "rate-limit")]
mod limits_change;
mod load;
#[cfg(all(feature = "client", feature = "testing"))]
mod matrix;
#[cfg(feature = "metrics")]
mod metrics;
#[cfg(all(feature = "client", feature = "testing"))]
mod native;
#[cfg(all(feature = "gateway", feature = "testing"))]
mod once;
#[cfg(all(feature = "gateway", feature = "testing"))]
mod passed;
#[cfg(all(feature = "gateway", feature = "testing"))]
mod pool;
#[cfg(all(feature = "gateway", feature = "prompts"))]
mod prompt_endpoints;
#[cfg(all(feature = "prompts", any(feature = "sqlite", feature = "postgres")))]
mod prompt_stores;
#[cfg(all(feature = "gateway", feature = "prompts", feature = "testing"))]
mod prompts;
#[cfg(all(feature = "gateway", feature = "testing"))]
mod proofs;
#[cfg(all(feature = "client", feature = "testing"))]
mod provider;
#[cfg(feature = "client")]
mod proxy;
#[cfg(feature = "rate-limit")]
mod rate_limit;
#[cfg(all(feature = "client", feature = "testing"))]
mod recordings;
#[cfg(feature = "rate-limit-redis")]
mod redis_limit;
#[cfg(feature = "rate-limit-redis")]
#[path = "../support/redis.rs"]
mod redis_server;
#[cfg(all(feature = "gateway", feature = "testing"))]
mod rerank;
#[cfg(all(feature = "client", feature = "testing"))]
mod responses;
mod retry;
mod route;
#[cfg(all(feature = "client", feature = "testing"))]
mod serve;
#[cfg(all(feature = "client", feature = "testing"))]
mod served;
#[cfg(all(feature = "gateway", feature = "testing"))]
mod server;
#[cfg(feature = "postgres")]
mod services;
#[cfg(feature = "rate-limit")]
mod shared_limit;
#[cfg(feature = "auth")]
mod signature;
#[cfg(feature = "llm")]
mod simulator;
#[cfg(feature = "llm")]
mod split;
#[cfg(feature = "llm")]
mod stalls;
#[cfg(feature = "rate-limit")]
mod store_comes_back;
#[cfg(feature = "auth")]
mod stored;
mod telling;
mod timeout;
#[cfg(all(feature = "gateway", feature = "testing"))]
mod tls;
#[cfg(all(feature = "testing", feature = "tokens"))]
mod tokens;
mod trace;
#[cfg(feature = "llm")]
mod unserved;
#[cfg(all(feature = "gateway", feature = "testing"))]
mod upstreams;
#[cfg(all(feature = "gateway", feature = "testing"))]
mod vectors;
#[cfg(all(feature = "client", feature = "testing"))]
mod vendors;
