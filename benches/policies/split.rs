//! Which variant, and which calls have a copy.

use crate::call::{plain, row};
use tower::Layer;
use tower_gateway::{mirror::MirrorLayer, split::Split};

pub(crate) async fn run() {
    let Ok(split) = Split::new("bench", [("a", 9_500, plain()), ("b", 500, plain())]) else {
        panic!("no split");
    };
    row("split by principal, header told", split.clone()).await;
    row("split by principal", split.header(None)).await;
    let mirror = MirrorLayer::new(plain(), 0);
    row("mirror, none of the share", mirror.layer(plain())).await;
}
