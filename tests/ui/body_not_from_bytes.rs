use bytes::Bytes;
use http::Response;
use http_body_util::Empty;
use std::convert::Infallible;
use tower_gateway::Reject;

/// As every policy does that only refuses.
fn refuse<Res: Reject<Infallible>>(_: Res) {}

fn main() {
    refuse(Response::new(Empty::<Bytes>::new()));
}
