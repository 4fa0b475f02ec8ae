//! The answer of a language model.

mod layers;

use super::{
    Delta, Error, Event,
    codec::{self, Framing},
    event::Completion,
    request::{Operation, Protocol},
};
use crate::{
    End, Rejection,
    exchange::Usage,
    follow::{Cut, Followers},
    principal::Carried,
    rejection::Kind,
};
use bytes::Bytes;
use futures_core::Stream;
use std::{
    collections::VecDeque,
    fmt,
    future::poll_fn,
    mem,
    pin::Pin,
    task::{Context, Poll, ready},
};

/// 1 MiB: as much as is held back of an answer that does not come to its content.
const MOST_HELD: usize = 1 << 20;

/// 64 MiB: as much of an answer as is held when all of it is wanted in one piece.
pub(super) const MOST_WHOLE: usize = 64 << 20;

/// The words that the bytes of an answer are in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct Spoken {
    /// Whose.
    pub protocol: Protocol,
    /// An event stream or one document.
    pub framing: Framing,
    /// Of what kind of answer.
    pub operation: Operation,
}

/// The whole events of one chunk: as they came from the wire and, if anyone asked, what they mean.
#[derive(Debug, Default)]
pub struct Batch {
    /// The bytes. `None`: made or rewritten here.
    raw: Option<Bytes>,
    /// Boxed, and most often nothing: most batches are their bytes.
    more: Option<Box<More>>,
}

#[derive(Debug, Default)]
struct More {
    events: Vec<Event>,
    usage: Option<Usage>,
}

impl Batch {
    /// Bytes, what they mean if that is wanted, and the usage that was found in passing.
    #[must_use]
    pub fn new(raw: Option<Bytes>, events: Vec<Event>, usage: Option<Usage>) -> Self {
        let more =
            (!events.is_empty() || usage.is_some()).then(|| Box::new(More { events, usage }));
        Self { raw, more }
    }

    /// The same, where more was used than it says.
    #[cfg(feature = "client")]
    pub(crate) fn with_usage(mut self, usage: Usage) -> Self {
        self.more.get_or_insert_default().usage = Some(usage);
        self
    }

    /// Events that were made here.
    #[must_use]
    pub fn made(events: Vec<Event>) -> Self {
        let usage = events.iter().rev().find_map(|event| match event {
            Event::Usage(usage) => Some(*usage),
            _ => None,
        });
        Self::new(None, events, usage)
    }

    /// The bytes on the wire, unless it was made or rewritten here.
    #[must_use]
    pub fn raw(&self) -> Option<&Bytes> {
        self.raw.as_ref()
    }

    /// Whether it says nothing, and only keeps a connection open: comments, and the pings of vendors.
    fn keeps_alive(&self) -> bool {
        self.more.is_none() && self.raw.as_ref().is_none_or(|raw| is_ping(raw))
    }

    /// The bytes, taken: what is left is what they mean.
    pub(crate) fn take_raw(&mut self) -> Option<Bytes> {
        self.raw.take()
    }

    /// What it means. Empty unless someone wanted events before the first poll.
    #[must_use]
    pub fn events(&self) -> &[Event] {
        self.more.as_deref().map_or(&[], |more| &more.events)
    }

    /// What it means, taken.
    #[must_use]
    pub fn into_events(self) -> Vec<Event> {
        self.more.map_or_else(Vec::new, |more| more.events)
    }

    /// About how many bytes it takes to hold what it says.
    pub(crate) fn size(&self) -> usize {
        let said = |event: &Event| match event {
            Event::Delta { delta, .. } => match delta {
                Delta::Text(text) | Delta::Reasoning(text) | Delta::Refusal(text) => text.len(),
                Delta::ToolCall { arguments, .. } => arguments.len(),
                _ => 0,
            },
            Event::Embedding { vector, .. } => size_of_val(&**vector),
            _ => 0,
        };
        match &self.raw {
            Some(raw) => raw.len(),
            None => {
                let events = self.events();
                size_of_val(events) + events.iter().map(said).sum::<usize>()
            }
        }
    }

    /// The usage, found in passing, whether or not events are wanted.
    #[must_use]
    pub fn usage(&self) -> Option<Usage> {
        self.more.as_deref().and_then(|more| more.usage)
    }
}

/// How much a reader wants of an answer. Wishes only grow.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Want {
    /// Bytes, and usage in passing.
    #[default]
    Bytes,
    /// Events too, until there was content.
    UntilContent,
    /// Events too.
    Events,
}

/// Where batches come from. To be implemented by providers.
pub trait Batches: Send {
    /// What words the bytes of batches are in. `None`: there are no bytes.
    fn spoken(&self) -> Option<Spoken>;

    /// From now on batches carry their events too, as far as is wanted. It is called before the first
    /// poll. Whoever wraps another source must pass it on, or has no events.
    fn want(&mut self, want: Want);

    /// The next batch.
    fn poll_batch(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Batch, Error>>>;
}

/// What is known of an answer when it is over, whoever read it.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct Summary {
    /// What the vendor says was used.
    pub usage: Option<Usage>,
    /// How many batches there were.
    pub batches: u64,
}

/// The answer of a language model: a head, and a stream of [batches](Batch).
///
/// The bytes of a vendor go through it untouched as long as nobody edits them. A reader that needs
/// to know what they mean says so before the first poll: [`inspect`](Self::inspect),
/// [`map`](Self::map), or simply polling it as a [`Stream`] of events. They are decoded once, for all
/// that asked.
pub struct ChatResponse(Box<Inner>);

/// In one box, for each layer passes it on.
struct Inner {
    head: Carried,
    source: Box<dyn Batches>,
    held: VecDeque<Batch>,
    queue: VecDeque<Event>,
    summary: Summary,
    followers: Followers<Error, Summary>,
}

impl Inner {
    /// Who was cut off by whom is told, and the source is let go.
    fn end_by(&mut self, cut: Cut) -> Option<Result<Batch, Error>> {
        self.source = Box::new(Over);
        self.followers.end_inside(&cut, &self.summary);
        Some(Err(cut.rejection.into()))
    }
}

impl ChatResponse {
    /// The answer of a source.
    #[must_use]
    pub fn new(source: impl Batches + 'static) -> Self {
        Self(Box::new(Inner {
            head: Carried::default(),
            source: Box::new(source),
            held: VecDeque::new(),
            queue: VecDeque::new(),
            summary: Summary::default(),
            followers: Followers::new(),
        }))
    }

    /// An answer that is made here.
    #[must_use]
    pub fn from_events(events: impl Stream<Item = Result<Event, Error>> + Send + 'static) -> Self {
        Self::new(Made(Box::pin(events)))
    }

    /// What words its bytes are in. `None`: there are no bytes, only events.
    #[must_use]
    pub fn spoken(&self) -> Option<Spoken> {
        self.0.source.spoken()
    }

    /// From now on batches carry their events too. To be called before the first poll.
    pub fn want(&mut self, want: Want) {
        self.0.source.want(want);
    }

    /// Shows every event to `see`. The bytes go through untouched.
    #[must_use]
    pub fn inspect(self, see: impl FnMut(&Event) + Send + 'static) -> Self {
        self.wrapped(|inner| Inspect { inner, see })
    }

    /// Rewrites events. Those batches that change are encoded anew, and of a protocol whose events refer
    /// to one another, all; what they held that has no place in the model of this crate is lost.
    #[must_use]
    pub fn map(self, map: impl FnMut(Event) -> Event + Send + 'static) -> Self {
        self.wrapped(|inner| Map { inner, map })
    }

    /// Lets go of what it was made of, and only then tells the followers.
    fn over(&mut self, end: End<'_, Error>) {
        let this = &mut *self.0;
        this.source = Box::new(Over);
        this.followers.end(end, &this.summary);
    }

    /// Ends it here: whoever reads it found it at fault, and the followers are told so.
    #[cfg(feature = "prompts")]
    pub(crate) fn fail(mut self, error: &Error) {
        self.over(End::Failed(error));
    }

    fn wrapped<B: Batches + 'static>(mut self, wrap: impl FnOnce(Self) -> B) -> Self {
        self.0.source.want(Want::Events);
        let head = mem::take(&mut self.0.head);
        let mut outer = Self::new(wrap(self));
        outer.0.head = head;
        outer
    }

    /// Like [`follow`](crate::Follow::follow), and also tells what the answer came to.
    #[must_use]
    pub fn settle(mut self, end: impl FnOnce(End<'_, Error>, &Summary) + Send + 'static) -> Self {
        self.0.followers.push(end);
        self
    }

    /// Holds back until there is content, so that an answer that shows none can still be an error.
    /// At most 1 MiB is held: an answer that says more before its content counts as begun.
    ///
    /// # Errors
    ///
    /// What the answer broke off with, or [`Kind::UpstreamMalformed`] if it ended without content.
    pub async fn primed(mut self) -> Result<Self, Error> {
        self.0.source.want(Want::UntilContent);
        let mut held = VecDeque::new();
        let mut size = 0;
        loop {
            let batch = poll_fn(|cx| self.poll_told(cx, true)).await;
            let batch = batch.unwrap_or_else(|| Err(unbegun()))?;
            let begun = batch.events().iter().any(Event::is_content);
            // Batches that are nothing but themselves take room, too.
            size += batch.size() + size_of::<Batch>();
            held.push_back(batch);
            if begun || size > MOST_HELD {
                held.append(&mut self.0.held);
                self.0.held = held;
                return Ok(self);
            }
        }
    }

    /// The next batch.
    pub fn poll_batch(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Batch, Error>>> {
        self.poll_told(cx, false)
    }

    /// The next batch. An end is told once: as a failure, if there was to be content before it.
    fn poll_told(
        &mut self,
        cx: &mut Context<'_>,
        before_content: bool,
    ) -> Poll<Option<Result<Batch, Error>>> {
        let this = &mut *self.0;
        if let Some(batch) = this.held.pop_front() {
            return Poll::Ready(Some(Ok(batch)));
        }
        let batch = match this.followers.poll_cut_between(cx) {
            Poll::Ready(cut) => this.end_by(cut),
            Poll::Pending => match this.source.poll_batch(cx) {
                Poll::Ready(None) if before_content => Some(Err(unbegun())),
                Poll::Ready(batch) => batch,
                Poll::Pending => {
                    let cut = ready!(this.followers.poll_cut(cx));
                    this.end_by(cut)
                }
            },
        };
        // A vendor that only pings has stalled: it is for those who wait that it does.
        if !matches!(&batch, Some(Ok(batch)) if batch.keeps_alive()) {
            this.followers.moved();
        }
        match &batch {
            Some(Ok(batch)) => {
                this.summary.batches += 1;
                this.summary.usage = batch.usage().or(this.summary.usage);
            }
            Some(Err(error)) => {
                this.source = Box::new(Over);
                this.followers.end(End::Failed(error), &this.summary);
            }
            None => {
                this.source = Box::new(Over);
                this.followers.end(End::Complete, &this.summary);
            }
        }
        Poll::Ready(batch)
    }

    /// Reads it to its end.
    ///
    /// # Errors
    ///
    /// What it broke off with, or [`Kind::UpstreamTooLarge`] if it has more than 64 MiB.
    pub async fn completion(mut self) -> Result<Completion, Error> {
        self.0.source.want(Want::Events);
        let mut completion = Completion::default();
        let mut size: usize = 0;
        while let Some(batch) = poll_fn(|cx| self.poll_batch(cx)).await {
            let batch = batch?;
            size = size.saturating_add(batch.size());
            if size > MOST_WHOLE {
                let error = Kind::UpstreamTooLarge.into();
                self.over(End::Failed(&error));
                return Err(error);
            }
            completion.extend(batch.into_events());
        }
        Ok(completion)
    }

    /// Reads it to its end, and returns the text of its first choice.
    ///
    /// # Errors
    ///
    /// What it broke off with.
    pub async fn text(self) -> Result<String, Error> {
        Ok(self.completion().await?.text())
    }
}

/// Whether these are server-sent events that are comments or pings, and nothing else.
fn is_ping(raw: &[u8]) -> bool {
    let mut named = false;
    raw.split(|byte| *byte == b'\n').all(|line| {
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        match line.split_first() {
            None => {
                named = false;
                true
            }
            Some((b':', _)) => true,
            Some((b'e', rest)) => {
                let event = rest.strip_prefix(b"vent:").map(<[u8]>::trim_ascii_start);
                named = matches!(event, Some(b"ping" | b"keepalive"));
                named
            }
            Some((b'd', _)) => named,
            Some(_) => false,
        }
    })
}

/// An answer that was to show content, and is over.
fn unbegun() -> Error {
    Rejection::new(Kind::UpstreamMalformed)
        .with_detail("The upstream's answer ended before it began.")
        .into()
}

impl Drop for ChatResponse {
    fn drop(&mut self) {
        if !self.0.followers.is_empty() {
            self.over(End::Dropped);
        }
    }
}

/// For programs: the events one by one.
impl Stream for ChatResponse {
    type Item = Result<Event, Error>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = self.get_mut();
        this.0.source.want(Want::Events);
        loop {
            if let Some(event) = this.0.queue.pop_front() {
                return Poll::Ready(Some(Ok(event)));
            }
            match ready!(this.poll_batch(cx)) {
                Some(Ok(batch)) => this.0.queue.extend(batch.into_events()),
                Some(Err(error)) => return Poll::Ready(Some(Err(error))),
                None => return Poll::Ready(None),
            }
        }
    }
}

impl fmt::Debug for ChatResponse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ChatResponse")
            .field("spoken", &self.spoken())
            .field("summary", &self.0.summary)
            .finish_non_exhaustive()
    }
}

struct Made<S>(Pin<Box<S>>);

impl<S: Stream<Item = Result<Event, Error>> + Send> Batches for Made<S> {
    fn spoken(&self) -> Option<Spoken> {
        None
    }

    fn want(&mut self, _: Want) {}

    fn poll_batch(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Batch, Error>>> {
        let event = ready!(self.0.as_mut().poll_next(cx));
        Poll::Ready(event.map(|event| event.map(|event| Batch::made(vec![event]))))
    }
}

/// What is left of an answer that is over.
struct Over;

impl Batches for Over {
    fn spoken(&self) -> Option<Spoken> {
        None
    }

    fn want(&mut self, _: Want) {}

    fn poll_batch(&mut self, _: &mut Context<'_>) -> Poll<Option<Result<Batch, Error>>> {
        Poll::Ready(None)
    }
}

struct Inspect<F> {
    inner: ChatResponse,
    see: F,
}

impl<F: FnMut(&Event) + Send> Batches for Inspect<F> {
    fn spoken(&self) -> Option<Spoken> {
        self.inner.spoken()
    }

    fn want(&mut self, want: Want) {
        self.inner.want(want);
    }

    fn poll_batch(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Batch, Error>>> {
        let batch = ready!(self.inner.poll_batch(cx));
        if let Some(Ok(batch)) = &batch {
            batch.events().iter().for_each(&mut self.see);
        }
        Poll::Ready(batch)
    }
}

struct Map<F> {
    inner: ChatResponse,
    map: F,
}

impl<F: FnMut(Event) -> Event + Send> Batches for Map<F> {
    fn spoken(&self) -> Option<Spoken> {
        // Where one event refers to another, all are written anew or none.
        let spoken = self.inner.spoken();
        spoken.filter(|spoken| codec::of(spoken.protocol).mixes())
    }

    fn want(&mut self, want: Want) {
        self.inner.want(want);
    }

    fn poll_batch(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Batch, Error>>> {
        let batch = ready!(self.inner.poll_batch(cx));
        Poll::Ready(batch.map(|batch| {
            batch.map(|batch| {
                let (raw, usage) = (batch.raw.clone(), batch.usage());
                let before = batch.into_events();
                let after: Vec<_> = before.iter().cloned().map(&mut self.map).collect();
                let same = before == after;
                Batch::new(raw.filter(|_| same), after, usage)
            })
        }))
    }
}
