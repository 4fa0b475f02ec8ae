//! Calling upstreams: a connection pool over hyper.
