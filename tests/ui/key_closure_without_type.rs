use http::Request;
use tower_gateway::key::Key;

/// As every policy does that has a `.key(…)`.
fn key(_: impl Key<Request<()>>) {}

fn main() {
    key(|req| Some(req.uri().path().to_owned()));
}
