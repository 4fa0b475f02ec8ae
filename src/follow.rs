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
/// `X` is what is known of the answer when it is over. Boxed, so that an answer without followers
/// carries one pointer.
pub(crate) struct Followers<E, X = ()>(Option<Box<Lists<E, X>>>);

struct Lists<E, X> {
    ends: Vec<Follower<E, X>>,
    cutters: Vec<Placed>,
    moved: bool,
}

struct Placed {
    /// How many followers stand further in.
    inside: usize,
    /// Whether it is asked before every piece.
    between: bool,
    cut: Cutter,
}

/// Who remains to be told that the answer was cut.
pub(crate) struct Cut {
    pub(crate) rejection: Rejection,
    inside: usize,
}

impl<E, X> Lists<E, X> {
    fn poll(
        &mut self,
        cx: &mut Context<'_>,
        moved: bool,
        asked: impl Fn(&Placed) -> bool,
    ) -> Poll<Cut> {
        for placed in self.cutters.iter_mut().filter(|placed| asked(placed)) {
            if let Poll::Ready(rejection) = (placed.cut)(cx, moved) {
                let inside = placed.inside;
                return Poll::Ready(Cut { rejection, inside });
            }
        }
        Poll::Pending
    }
}

impl<E, X> Followers<E, X> {
    pub(crate) const fn new() -> Self {
        Self(None)
    }

    fn lists(&mut self) -> &mut Lists<E, X> {
        self.0.get_or_insert_with(|| {
            Box::new(Lists {
                ends: Vec::new(),
                cutters: Vec::new(),
                moved: true,
            })
        })
    }

    pub(crate) fn push(&mut self, end: impl FnOnce(End<'_, E>, &X) + Send + 'static) {
        self.lists().ends.push(Box::new(end));
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
        let lists = self.lists();
        // It has not been asked before: to it, the wait begins now.
        lists.moved = true;
        lists.cutters.push(Placed {
            inside: lists.ends.len(),
            between,
            cut,
        });
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_none()
    }

    /// A piece of the answer came.
    pub(crate) fn moved(&mut self) {
        if let Some(lists) = &mut self.0 {
            lists.moved = true;
        }
    }

    /// Asks those who may cut. To be called only while the answer has nothing to give, so that a
    /// late piece is not lost to a timer that fired meanwhile.
    pub(crate) fn poll_cut(&mut self, cx: &mut Context<'_>) -> Poll<Cut> {
        let Some(lists) = &mut self.0 else {
            return Poll::Pending;
        };
        let moved = std::mem::take(&mut lists.moved);
        lists.poll(cx, moved, |_| true)
    }

    /// Asks those who may cut an answer that has something to give. To be called before every piece.
    pub(crate) fn poll_cut_between(&mut self, cx: &mut Context<'_>) -> Poll<Cut> {
        let Some(lists) = &mut self.0 else {
            return Poll::Pending;
        };
        let moved = lists.moved;
        lists.poll(cx, moved, |placed| placed.between)
    }

    /// Tells those further in than the one who cut that the caller hung up.
    pub(crate) fn end_inside(&mut self, cut: &Cut, about: &X) {
        if let Some(lists) = &mut self.0 {
            lists.cutters.clear();
            for follower in lists.ends.drain(..cut.inside) {
                follower(End::Dropped, about);
            }
        }
    }

    /// Tells everyone who was not told before.
    pub(crate) fn end(&mut self, end: End<'_, E>, about: &X) {
        if let Some(lists) = self.0.take() {
            drop(lists.cutters);
            for follower in lists.ends {
                follower(end, about);
            }
        }
    }
}

impl<E, X> fmt::Debug for Followers<E, X> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (ends, cutters) = self
            .0
            .as_ref()
            .map_or((0, 0), |lists| (lists.ends.len(), lists.cutters.len()));
        f.debug_struct("Followers")
            .field("ends", &ends)
            .field("cutters", &cutters)
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
