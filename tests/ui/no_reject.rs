use std::{
    io,
    task::{Context, Poll},
};
use tower_gateway::{End, Follow, Rejection};

struct Reply;

impl Follow<io::Error> for Reply {
    type Followed = Self;

    fn follow(self, end: impl FnOnce(End<'_, io::Error>) + Send + 'static) -> Self {
        end(End::Complete);
        self
    }

    fn cut(self, _: impl FnMut(&mut Context<'_>, bool) -> Poll<Rejection> + Send + 'static) -> Self {
        self
    }
}

fn main() {}
