//! When an answer is over.
//!
//! What must last as long as an exchange (a concurrency permit, a usage record, a breaker's verdict)
//! travels in the answer, and settles exactly once: at its end, at its first error, or when it is
//! dropped. The followers of one answer are a list, so that an event costs the same under five of
//! them as under one.

use crate::{BoxError, Reject, Rejection};
use std::{
    convert::Infallible,
    fmt,
    task::{Context, Poll},
};

/// When an answer is over, how it ended, and whether it may be ended.
///
/// Implemented for every `http::Response<B>` whose `B` is a body of [`Bytes`](bytes::Bytes), and for
/// chat answers. An answer that is whole when it arrives calls `end` at once with
/// [`End::Complete`], and drops `cut`.
#[diagnostic::on_unimplemented(
    message = "nothing says when an answer of `Result<{Self}, {E}>` is over",
    label = "no `Follow<{E}>` for `{Self}`",
    note = "an `http::Response<B>` can be followed if `B: http_body::Body<Data = Bytes> + Send + 'static`",
    note = "for a response of your own, write `impl Follow<{E}> for {Self}` with `type Followed = Self`"
)]
pub trait Follow<E>: Sized {
    /// The answer with a follower in it: `http::Response<Body>` for every `http::Response<B>`, and
    /// else most often `Self`.
    type Followed: Reject<E>;

    /// Calls `end` exactly once, when the answer is over.
    ///
    /// What the answer was made of is dropped before, so that a permit is not free before its
    /// connection is.
    #[must_use]
    fn follow(self, end: impl FnOnce(End<'_, E>) + Send + 'static) -> Self::Followed;

    /// As [`follow`](Self::follow), and says how many bytes of data went out, where an answer is made
    /// of bytes.
    #[must_use]
    fn follow_bytes(
        self,
        end: impl FnOnce(End<'_, E>, Option<u64>) + Send + 'static,
    ) -> Self::Followed {
        self.follow(move |ended| end(ended, None))
    }

    /// The same answer, as it is when someone follows it, though nobody does.
    #[must_use]
    fn unfollowed(self) -> Self::Followed {
        self.follow(|_| {})
    }

    /// Lets `cut` end the answer before its time.
    ///
    /// It is polled whenever the answer has nothing to give, and told whether something came since
    /// the last time. When it is ready the answer ends with its rejection: followers further in see
    /// [`End::Dropped`], those further out the rejection.
    #[must_use]
    fn cut(
        self,
        cut: impl FnMut(&mut Context<'_>, bool) -> Poll<Rejection> + Send + 'static,
    ) -> Self::Followed;

    /// As [`cut`](Self::cut), for what must end an answer that always has something to give, too: `cut` is
    /// polled before every piece. By default it is polled as of `cut`.
    #[must_use]
    fn cut_between(
        self,
        cut: impl FnMut(&mut Context<'_>, bool) -> Poll<Rejection> + Send + 'static,
    ) -> Self::Followed {
        self.cut(cut)
    }
}

/// How an answer ended.
#[derive(Debug)]
pub enum End<'a, E> {
    /// All of it went out.
    Complete,
    /// It broke off with an error of the service.
    Failed(&'a E),
    /// It broke off with an error of its body, which has a type of its own. A rejection of a policy
    /// can be found by downcast.
    Broken(&'a BoxError),
    /// The caller hung up, or a policy further out ended it.
    Dropped,
}

impl<E> Clone for End<'_, E> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<E> Copy for End<'_, E> {}

impl<'a> End<'a, Infallible> {
    /// The same for a service with another error.
    pub(crate) fn of<E>(self) -> End<'a, E> {
        match self {
            Self::Complete => End::Complete,
            Self::Failed(never) => match *never {},
            Self::Broken(error) => End::Broken(error),
            Self::Dropped => End::Dropped,
        }
    }
}

type Follower<E, X> = Box<dyn FnOnce(End<'_, E>, &X) + Send>;
type Cutter = Box<dyn FnMut(&mut Context<'_>, bool) -> Poll<Rejection> + Send>;

/// The followers of one answer, called once each, innermost first, and those who may cut it.
///
/// `X` is what is known of the answer when it is over. They stand in one list, in the order in which they
/// came: whoever cuts an answer is further out than those before it.
pub(crate) struct Followers<E, X = ()> {
    all: Vec<Stands<E, X>>,
    moved: bool,
}

enum Stands<E, X> {
    Follower(Follower<E, X>),
    Cutter {
        cut: Cutter,
        /// Whether it is asked before every piece.
        between: bool,
    },
}

/// Who remains to be told that the answer was cut.
pub(crate) struct Cut {
    pub(crate) rejection: Rejection,
    inside: usize,
}

impl<E, X> Followers<E, X> {
    pub(crate) const fn new() -> Self {
        Self {
            all: Vec::new(),
            moved: true,
        }
    }

    pub(crate) fn push(&mut self, end: impl FnOnce(End<'_, E>, &X) + Send + 'static) {
        self.all.push(Stands::Follower(Box::new(end)));
    }

    pub(crate) fn push_cut(
        &mut self,
        cut: impl FnMut(&mut Context<'_>, bool) -> Poll<Rejection> + Send + 'static,
    ) {
        self.place(false, Box::new(cut));
    }

    /// One that is asked before every piece.
    pub(crate) fn push_cut_between(
        &mut self,
        cut: impl FnMut(&mut Context<'_>, bool) -> Poll<Rejection> + Send + 'static,
    ) {
        self.place(true, Box::new(cut));
    }

    fn place(&mut self, between: bool, cut: Cutter) {
        // It has not been asked before: to it, the wait begins now.
        self.moved = true;
        self.all.push(Stands::Cutter { cut, between });
    }

    #[cfg(feature = "llm")]
    pub(crate) fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    /// A piece of the answer came.
    pub(crate) fn moved(&mut self) {
        self.moved = true;
    }

    /// Asks those who may cut. To be called only while the answer has nothing to give, so that a
    /// late piece is not lost to a timer that fired meanwhile.
    pub(crate) fn poll_cut(&mut self, cx: &mut Context<'_>) -> Poll<Cut> {
        let moved = std::mem::take(&mut self.moved);
        self.ask(cx, moved, false)
    }

    /// Asks those who may cut an answer that has something to give. To be called before every piece.
    pub(crate) fn poll_cut_between(&mut self, cx: &mut Context<'_>) -> Poll<Cut> {
        self.ask(cx, self.moved, true)
    }

    fn ask(&mut self, cx: &mut Context<'_>, moved: bool, only_between: bool) -> Poll<Cut> {
        for (inside, stands) in self.all.iter_mut().enumerate() {
            if let Stands::Cutter { cut, between } = stands
                && (*between || !only_between)
                && let Poll::Ready(rejection) = cut(cx, moved)
            {
                return Poll::Ready(Cut { rejection, inside });
            }
        }
        Poll::Pending
    }

    /// Tells those further in than the one who cut that the caller hung up.
    pub(crate) fn end_inside(&mut self, cut: &Cut, about: &X) {
        let outside = self.all.split_off(cut.inside);
        let inside = std::mem::replace(&mut self.all, outside);
        tell(inside, End::Dropped, about);
        // Nobody is to cut it again.
        self.all
            .retain(|stands| matches!(stands, Stands::Follower(_)));
    }

    /// Tells everyone who was not told before.
    pub(crate) fn end(&mut self, end: End<'_, E>, about: &X) {
        tell(std::mem::take(&mut self.all), end, about);
    }
}

fn tell<E, X>(all: Vec<Stands<E, X>>, end: End<'_, E>, about: &X) {
    for stands in all {
        match stands {
            Stands::Follower(follower) => follower(end, about),
            Stands::Cutter { cut, .. } => drop(cut),
        }
    }
}

impl<E, X> fmt::Debug for Followers<E, X> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let is_end = |stands: &&Stands<E, X>| matches!(stands, Stands::Follower(_));
        let ends = self.all.iter().filter(is_end).count();
        f.debug_struct("Followers")
            .field("ends", &ends)
            .field("cutters", &(self.all.len() - ends))
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{sync::mpsc, task::Waker};

    #[test]
    fn whoever_may_cut_an_answer_that_was_polled_is_told_that_it_moved() {
        let mut followers = Followers::<Infallible>::new();
        let (told, heard) = mpsc::channel();
        let push = |followers: &mut Followers<_>, name| {
            let told = told.clone();
            followers.push_cut(move |_, moved| {
                told.send((name, moved)).unwrap();
                Poll::Pending
            });
        };
        let cx = &mut Context::from_waker(Waker::noop());
        push(&mut followers, "early");
        assert!(followers.poll_cut(cx).is_pending());
        assert!(followers.poll_cut(cx).is_pending());
        push(&mut followers, "late");
        assert!(followers.poll_cut(cx).is_pending());
        assert_eq!(
            heard.try_iter().collect::<Vec<_>>(),
            [
                ("early", true),
                ("early", false),
                ("early", true),
                ("late", true)
            ]
        );
    }
}
