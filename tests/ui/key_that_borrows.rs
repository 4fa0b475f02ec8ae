use http::Request;
use tower_gateway::key::Key;

/// As every policy does that has a `.key(…)`.
fn key(_: impl Key<Request<()>>) {}

fn main() {
    key(|req: &Request<()>| Some(req.uri().path()));
}
