//! A mock upstream and a mock vendor, for tests of gateways and of what stands behind one.
//!
//! Both are servers on a free port of 127.0.0.1. They answer by [script](Script), byte for byte, and
//! keep what they got. HTTP/1.1 is written by hand here, so that a script can also say what no
//! server library would: half a chunk, a head that never ends, a length that is a lie.
//!
//! # Example
//!
//! ```
//! use tower_gateway::testing::{MockUpstream, Reply};
//! use tokio::{io::{AsyncReadExt, AsyncWriteExt}, net::TcpStream};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> std::io::Result<()> {
//! let upstream = MockUpstream::start(vec![
//!     Reply::json(200, r#"{"ok":true}"#).header("x-request-id", "1"),
//!     Reply::stream(["one", "two"]).split_every(3).cut_after(9),
//! ])
//! .await?;
//!
//! let call = async || {
//!     let mut stream = TcpStream::connect(upstream.address()).await?;
//!     stream.write_all(b"GET /a?b=c HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").await?;
//!     let mut answer = String::new();
//!     stream.read_to_string(&mut answer).await?;
//!     std::io::Result::Ok(answer)
//! };
//! assert!(call().await?.ends_with("\r\ncontent-length: 11\r\n\r\n{\"ok\":true}"));
//! assert!(call().await?.ends_with("\r\n\r\n3\r\ndat\r\n3\r\na: \r\n3\r\none\r\n"));
//! assert!(call().await?.starts_with("HTTP/1.1 500"), "the script is over");
//!
//! assert_eq!(upstream.count(), 3);
//! assert_eq!(upstream.requests()[0].path, "/a?b=c");
//! # Ok(())
//! # }
//! ```
//!
//! # A vendor
//!
//! [`MockVendor`] speaks OpenAI's protocols (chat, completions, embeddings, models; responses),
//! Anthropic's (messages), Gemini's, Bedrock's (Converse), Cohere's and Ollama's, and ranks documents. It
//! refuses what the vendor would refuse. Its script is of [`Turn`]s, each streamed or not as the request
//! asks, and it knows the [truth](MockVendor::truth) of what each call cost.
//!
//! ```
//! use tower_gateway::testing::{MockVendor, Turn};
//! use std::time::Duration;
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> std::io::Result<()> {
//! let vendor = MockVendor::start(vec![
//!     Turn::text("Seven words, in events of any size.").tokens_per_event([0, 7, 1, 3]),
//!     Turn::rate_limited(Duration::from_secs(20)),
//!     Turn::text("Too late").on_wire(|reply| reply.pace(Duration::from_secs(1)).stall_after(200)),
//! ])
//! .await?;
//! assert!(vendor.base_url().ends_with("/v1"));
//! # Ok(())
//! # }
//! ```
//!
//! # What is exact
//!
//! Each piece of a body is one write on a socket without Nagle's delay. TCP may still hand two of them
//! to the reader at once: where the boundary itself matters, let it be a chunked body (each piece is
//! a chunk, and HTTP libraries hand out chunks one by one), or [pace](Reply::pace) it.
//!
//! # Time
//!
//! Delays are tokio's. Under a paused clock they pass at once, in the right order, as long as
//! everything runs on one thread.
//!
//! # Cancellation
//!
//! A client that closes its connection, or its sending half, before the answer is whole has
//! [hung up](MockUpstream::hang_ups). Dropping a mock closes its port and all its connections.

mod cohere;
mod connection;
mod converse;
mod embedding;
mod fitting;
mod gemini;
mod messages;
mod ollama;
mod recording;
mod reply;
mod rerank;
mod responses;
mod turn;
mod upstream;
mod vendor;

#[cfg(test)]
mod tests;

pub use self::{
    recording::{RecordedRequest, RecordedResponse, Recording, RecordingError},
    reply::Reply,
    turn::Turn,
    upstream::{ClosedPort, MockUpstream, Recorded, Script},
    vendor::{MockVendor, Vendor},
};
