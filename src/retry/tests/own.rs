//! Over a service whose requests and answers are of its own kind, and begin when they say so.

use super::*;
use crate::{
    answer::Outcome,
    principal::{Carried, Extensible},
    reissue::Kept,
};
use http::{Extensions, HeaderMap};

#[derive(Clone, Default)]
struct Question(Carried);

impl Extensible for Question {
    fn headers(&self) -> &HeaderMap {
        &self.0.headers
    }

    fn headers_mut(&mut self) -> &mut HeaderMap {
        &mut self.0.headers
    }

    fn extensions(&self) -> &Extensions {
        &self.0.extensions
    }

    fn extensions_mut(&mut self) -> &mut Extensions {
        &mut self.0.extensions
    }
}

impl Reissue for Question {
    type Copy = Self;

    fn is_idempotent(&self) -> bool {
        true
    }

    async fn keep(self, _: usize) -> Result<Kept<Self>, Rejection> {
        let copy = self.clone();
        Ok((self, Some(copy)))
    }

    fn again(copy: &Self) -> Self {
        copy.clone()
    }
}

/// Words, and after how many of them it breaks off.
#[derive(Debug, PartialEq)]
struct Speech {
    words: &'static [&'static str],
    breaks_after: Option<usize>,
}

impl Reject<Kind> for Speech {
    fn reject(rejection: Rejection) -> Result<Self, Kind> {
        Err(rejection.kind())
    }
}

impl Health<Kind> for Speech {
    fn health(answer: Result<&Self, &Kind>) -> Outcome {
        match answer {
            Ok(_) => Outcome::Success,
            Err(&kind) => Outcome::from(&kind.into()),
        }
    }
}

impl Begin<Kind> for Speech {
    async fn begin(self) -> Result<Self, Kind> {
        tokio::task::yield_now().await;
        match self.breaks_after {
            Some(0) => Err(Kind::BadGateway),
            _ => Ok(self),
        }
    }
}

#[tokio::test(start_paused = true)]
async fn what_breaks_off_before_its_first_word_is_asked_again_and_later_is_not() {
    for (breaks_after, calls) in [(0, 3), (1, 1)] {
        let count = Arc::new(AtomicU32::new(0));
        let counts = count.clone();
        let service = RetryLayer::new().layer(tower::service_fn(move |_: Question| {
            let last = counts.fetch_add(1, Ordering::Relaxed) == 2;
            let breaks_after = Some(breaks_after).filter(|_| !last);
            let words = &["in", "time"];
            async move {
                Ok::<_, Kind>(Speech {
                    words,
                    breaks_after,
                })
            }
        }));
        let speech = service.oneshot(Question::default()).await.unwrap();
        assert_eq!(speech.words, ["in", "time"]);
        assert_eq!(count.load(Ordering::Relaxed), calls);
    }
}

#[tokio::test(start_paused = true)]
async fn an_error_of_its_own_passes_through() {
    let service = RetryLayer::new()
        .retries(1)
        .layer(tower::service_fn(async |_: Question| {
            Err::<Speech, _>(Kind::Timeout)
        }));
    assert_eq!(
        service.oneshot(Question::default()).await,
        Err(Kind::Timeout)
    );
}
