//! One name for several models: who is asked is chosen for each call, and another one when that fails.
//!
//! ```text
//!            ┌ can it?  may it?  is it out? ┐   ┌ by the strategy ┐   ┌ until one has begun to answer ┐
//!  call ──▶ all entries ───────────▶ candidates ──────────▶ in order ──▶ first ── fails ──▶ next ──▶ …
//! ```
//!
//! # Example
//!
//! ```
//! use tower::ServiceExt;
//! use tower_gateway::llm::{ChatRequest, Simulator, VendorFault};
//! use tower_gateway::llm::pool::{Entry, Pool};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), tower_gateway::llm::Error> {
//! let full = Simulator::new().faults(u64::MAX, VendorFault::RateLimited);
//! let pool = Pool::new()
//!     .entry(Entry::new(full).name("first"))
//!     .entry(Entry::new(Simulator::new().answer("Paris")).name("second").weight(3))
//!     .entry(Entry::new(Simulator::new()).name("spare").priority(1));
//!
//! let question = ChatRequest::new().for_model("fast").user("The capital of France?");
//! assert_eq!(pool.clone().oneshot(question.clone()).await?.text().await?, "Paris");
//!
//! // The first one is left alone now for as long as its vendor said, or for 10 seconds.
//! let handle = pool.handle();
//! assert!(handle.entry("first").unwrap().cooling.is_some());
//! handle.drain("second");
//! let answer = pool.oneshot(question).await?.text().await?;
//! assert!(answer.starts_with("This is the simulator."));
//! # Ok(())
//! # }
//! ```
//!
//! Several services in a row are a pool, too: `Pool::from_iter([first, second])` asks the first, and the
//! second when that fails. A gateway offers them with
//! [`model`](crate::gateway::GatewayBuilder::model), and any pool with
//! [`pool`](crate::gateway::GatewayBuilder::pool).
//!
//! # Who can
//!
//! The first that holds drops an entry. What nobody knows of a model drops it not.
//!
//! | verdict | because |
//! |---|---|
//! | `condition` | its [condition](Entry::when) does not hold |
//! | `region` | the call [needs](Pool::needs) another [region](Entry::region) |
//! | `kind` | the model is not for this: vectors, conversations, ranks |
//! | `tools`, `structured_output`, `ability` | it is known that it cannot do this |
//! | `modality` | it does not take the pictures, sounds or documents of the call |
//! | `window` | the call is longer than its window, as [estimated](Call::tokens) |
//! | `price` | it costs more than the [entry](Entry::max_price) or the [call](Needs::max_price) allows, or nobody knows |
//! | `drained` | the [handle](Handle::drain) has taken it out |
//! | `cooling_down` | its vendor has said 429, or its key or its account was refused twice in a row. See [below](#who-is-left-alone) |
//! | `circuit_open` | its [circuit](crate::circuit_breaker) lets no call through. This is found out when it is its turn, and is no attempt |
//!
//! What is known of a model are its [facts](Entry::facts), else what the [catalog](Pool::catalog) has for
//! the entry's [vendor](Entry::vendor) and [model](Entry::model). A request whose bytes go on as they came
//! is parsed here only if some entry lacks something that the request may ask for, or if prices or the
//! conversation decide.
//!
//! # In which order
//!
//! By [`Strategy`], within the same [priority](Entry::priority): [`Failover`](Strategy::Failover),
//! [`Weighted`](Strategy::Weighted), [`LeastBusy`](Strategy::LeastBusy),
//! [`LowestLatency`](Strategy::LowestLatency), [`LowestPrice`](Strategy::LowestPrice),
//! [`CheapestCapable`](Strategy::CheapestCapable), [`Sticky`](Strategy::Sticky). Conditions lead calls
//! where they belong whatever the strategy:
//!
//! ```
//! use tower::ServiceExt;
//! use tower_gateway::{Extensible, Principal, llm::{ChatRequest, Simulator}};
//! use tower_gateway::llm::pool::{Entry, Pool};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), tower_gateway::llm::Error> {
//! let paid = Entry::new(Simulator::new().answer("large"))
//!     .when(|call| call.principal().is_some_and(|who| who.has_scope("paid")));
//! let long = Entry::new(Simulator::new().answer("long")).when(|call| call.tokens() > 500);
//! let pool = Pool::new().entry(paid).entry(long).entry(Simulator::new().answer("small"));
//!
//! let ask = async |request| pool.clone().oneshot(request).await?.text().await;
//! assert_eq!(ask(ChatRequest::new().user("Hello")).await?, "small");
//! assert_eq!(ask(ChatRequest::new().user("Hello ".repeat(1000))).await?, "long");
//! let mut request = ChatRequest::new().user("Hello");
//! request.extensions_mut().insert(Principal::new("alice").with_scopes(["paid"]));
//! assert_eq!(ask(request).await?, "large");
//! # Ok(())
//! # }
//! ```
//!
//! # When another one is asked
//!
//! Every answer is held back until its first content, so that a stream that is refused, stalls or breaks
//! off before it has shown anything falls over, and nothing is said twice. After that it stands: what
//! breaks off then ends with one error, and counts against the entry's circuit.
//!
//! | the entry | then |
//! |---|---|
//! | cannot be reached, is overloaded, at its limit, failing, answers with nothing or rubbish | the next one |
//! | is too slow: by default 60 seconds to the first content of a [stream](Pool::first_content); to an answer [in one piece](Pool::whole_within) as long as its service takes; and its share of the time that is left | the next one |
//! | refuses the gateway's key, or has no money left | the next one; the second time in a row it is left alone for a minute |
//! | does not know the model, takes no request of this size, or cannot say what is asked in its protocol | the next one |
//! | says that the conversation is too long | the next one with a larger window |
//! | finds fault with the request, or with what was said in it | the answer stands, unless it is to [fall over](Pool::fall_over_on) |
//! | fails after it took a file that came while it was passed on | the answer stands: there is nothing left to send |
//!
//! Where the exchange has a [`Deadline`], the time up to it is shared evenly by those that are left, so that
//! one that is silent leaves time for the next. To have taken more than its share counts against an entry's
//! circuit if that was 10 seconds or more: a caller with little time opens no circuit for others.
//!
//! All calls draw on one [`Deadline`]: one attempt is reserved for each candidate that
//! was not asked yet, so that retries further in do not use them up. Every call of a vendor may be
//! billed; it is counted in [`Facts::attempts`](crate::exchange::Facts::attempts).
//!
//! Retries of one endpoint stand [inside](Entry::layer) of the pool: `entry.layer(&RetryLayer::new())` with a
//! [`RetryLayer`](crate::retry::RetryLayer). They stand around the entry's circuit and the pool's timers: each
//! attempt counts for itself, and one that is silent is made again. A [fallback](crate::fallback) from pool
//! to pool stands outside. An entry may itself be a pool, or a balance over endpoints.
//!
//! # Who is left alone
//!
//! | the vendor | for |
//! |---|---|
//! | says 429, or that it is overloaded, and when it may be asked again | as long as it says, an hour at most |
//! | says 429, and not when | 10 seconds |
//! | refuses the key or the account, twice in a row with no answer in between | 60 seconds |
//!
//! A fault may be that of one request: larger than a vendor takes in a minute, or with something in it that a
//! key may not do. It visits one entry after the other, and is not to take them away from everybody. So when
//! no other is left, or the others have failed, those whose vendor has named no time are asked all the same,
//! the soonest end first. One that then answers is in again.
//!
//! # What is shared
//!
//! How the entries do is shared by all clones of a pool, and shown and set by its [handle](Pool::handle):
//! some 100 bytes for each entry, and nothing for callers or conversations. A setter on a pool that has
//! clones makes a new one, which shares nothing with it but circuits that were
//! [given](Entry::circuit). A pool is of one process: others find out for themselves. Who has a conversation is the same in all of them.
//!
//! # Cancellation
//!
//! A call that is dropped, before or after it began to answer, is no longer in flight, and is nobody's
//! failure. One that had not begun for longer than its entry takes on average is one that takes that long to
//! [`LowestLatency`](Strategy::LowestLatency): so a silent one is left by those, too, who do not wait.
//!
//! # Explain
//!
//! What became of each candidate is told without content in
//! [`Facts::candidates`](crate::exchange::Facts::candidates), from there in the [span](crate::trace#the-span)
//! of the request, and as an event of `tracing` (`DEBUG`, "a pool was asked"). What a call costs is told where
//! prices decide, or where someone asks. Over HTTP all of it is shown to callers with the scope
//! `gateway:explain` that send `x-gateway-explain: true`: see
//! [`Serve::explain_scope`](crate::llm::serve::Serve::explain_scope).
//!
//! # When nobody is left
//!
//! | | error |
//! |---|---|
//! | someone was asked | that of the last one |
//! | someone is left alone for a time that its vendor has named | [`Kind::UpstreamRateLimited`], or [`Kind::UpstreamOverloaded`] if that is what it said, with the time until the first may be asked. [`Kind::CircuitOpen`] if an [operator](Handle::cool) named it |
//! | circuits are open, or entries drained | [`Kind::CircuitOpen`] |
//! | the conversation is too long for all | [`Kind::InvalidRequest`] |
//! | else | [`Kind::NotSupported`] |

mod attempt;
mod average;
mod call;
mod entry;
mod handle;
mod needs;
mod order;
mod pick;
mod state;
#[cfg(test)]
mod tests;
mod trail;
mod verdict;
mod walk;

pub(super) use self::pick::Explain;
use self::{attempt::Limits, order::Fnv, state::State, verdict::Verdict};
pub use self::{
    call::Call,
    entry::{Entry, EntryService},
    handle::{Handle, Status},
    needs::Needs,
    order::Strategy,
};
use super::{ChatRequest, ChatResponse, Error, VendorFault, catalog::Catalog};
use crate::key::Key;
use std::{
    fmt,
    hash::{Hash, Hasher},
    pin::Pin,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicU64, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};
use tokio::time::Instant;
use tower_service::Service;

#[cfg(doc)]
use crate::{deadline::Deadline, rejection::Kind};

/// Several models under one name.
///
/// See the [module docs](self) for an example.
#[derive(Clone)]
#[must_use]
pub struct Pool(Arc<Inner>);

type Wanted = Arc<dyn Fn(&Call<'_>) -> Needs + Send + Sync>;
type Conversation = Arc<dyn Fn(&ChatRequest) -> Option<u64> + Send + Sync>;

struct Inner {
    entries: Vec<Entry>,
    /// Of the same length, as are `hashes` and `states`.
    names: Vec<Arc<str>>,
    hashes: Vec<u64>,
    states: Vec<State>,
    strategy: Strategy,
    needs: Option<Wanted>,
    conversation: Option<Conversation>,
    catalog: Option<Catalog>,
    besides: Vec<VendorFault>,
    limits: Limits,
    /// What is called: each with its timers, its circuit and its layers. Built when the first call comes.
    services: OnceLock<Vec<EntryService>>,
    /// Whether some entry has layers.
    is_layered: bool,
    /// Whether some entry has a price that is not to be exceeded.
    limits_prices: bool,
    /// When it was made.
    since: Instant,
    rolls: AtomicU64,
}

impl Pool {
    /// A pool of nobody yet, which asks its entries in the order in which they are added, and waits 60
    /// seconds for the first content of a stream.
    pub fn new() -> Self {
        Self(Arc::new(Inner {
            entries: Vec::new(),
            names: Vec::new(),
            hashes: Vec::new(),
            states: Vec::new(),
            strategy: Strategy::Failover,
            needs: None,
            conversation: None,
            catalog: None,
            besides: Vec::new(),
            limits: Limits {
                first: Some(Duration::from_secs(60)),
                idle: None,
                whole: None,
            },
            services: OnceLock::new(),
            is_layered: false,
            limits_prices: false,
            since: Instant::now(),
            rolls: AtomicU64::new(chance()),
        }))
    }

    /// Adds a service, or an [`Entry`] of more words.
    pub fn entry(self, entry: impl Into<Entry>) -> Self {
        let entry = entry.into();
        self.set(|inner| inner.add(entry))
    }

    /// Sets in which order those are asked that can take a call.
    pub fn strategy(self, strategy: Strategy) -> Self {
        self.set(|inner| inner.strategy = strategy)
    }

    /// Sends the same conversation to the same entry, as [`Strategy::Sticky`], and knows it by this key:
    /// a header, say. A call without one goes anywhere. By default a conversation is known by the
    /// principal, the model's name, and all texts to the end of the first that the person said.
    pub fn sticky_by<K>(self, key: K) -> Self
    where
        K: Key<ChatRequest> + Send + Sync + 'static,
    {
        self.set(|inner| {
            inner.strategy = Strategy::Sticky;
            inner.conversation = Some(Arc::new(move |request| {
                let mut hash = Fnv::default();
                key.key(request)?.hash(&mut hash);
                Some(hash.finish())
            }));
        })
    }

    /// Sets what a call needs beside what is in it: a region that its caller must have, a price that it
    /// must not exceed.
    ///
    /// ```
    /// use tower_gateway::llm::{Simulator, pool::{Entry, Needs, Pool}};
    ///
    /// let pool = Pool::new()
    ///     .entry(Entry::new(Simulator::new()).region("us"))
    ///     .entry(Entry::new(Simulator::new()).region("eu"))
    ///     .needs(|call| match call.principal().and_then(|who| who.attribute("region")) {
    ///         Some([region]) => Needs::new().region(region.clone()),
    ///         _ => Needs::new(),
    ///     });
    /// ```
    pub fn needs(self, needs: impl Fn(&Call<'_>) -> Needs + Send + Sync + 'static) -> Self {
        self.set(|inner| inner.needs = Some(Arc::new(needs)))
    }

    /// Sets where facts and prices come from. By default from the gateway, if it is in one, else what is
    /// [built in](Catalog::builtin).
    pub fn catalog(self, catalog: Catalog) -> Self {
        self.set(|inner| inner.catalog = Some(catalog))
    }

    /// Asks the next one also after these, such as [`VendorFault::ContentFilter`].
    pub fn fall_over_on(self, faults: impl IntoIterator<Item = VendorFault>) -> Self {
        let faults: Vec<_> = faults.into_iter().collect();
        self.set(|inner| inner.besides = faults)
    }

    /// Sets how long a stream may take to its first content: 60 seconds by default. `None`: as long as its
    /// service takes.
    pub fn first_content(self, limit: impl Into<Option<Duration>>) -> Self {
        self.set(|inner| inner.limits.first = limit.into())
    }

    /// Sets how long a stream may have nothing to say once it has begun. Then it ends with an error. By
    /// default as long as its service takes: 300 seconds with a provider.
    pub fn idle(self, limit: impl Into<Option<Duration>>) -> Self {
        self.set(|inner| inner.limits.idle = limit.into())
    }

    /// Sets how long an answer in one piece may take. By default as long as its service takes: 600 seconds
    /// with a provider.
    pub fn whole_within(self, limit: impl Into<Option<Duration>>) -> Self {
        self.set(|inner| inner.limits.whole = limit.into())
    }

    /// The handle, which shows how the entries do and takes them out and in.
    #[must_use]
    pub fn handle(&self) -> Handle {
        Handle(self.0.clone())
    }

    /// Its entries.
    #[cfg(feature = "gateway")]
    pub(crate) fn entries(&self) -> &[Entry] {
        &self.0.entries
    }

    fn set(self, set: impl FnOnce(&mut Inner)) -> Self {
        let mut inner = Arc::try_unwrap(self.0).unwrap_or_else(|shared| shared.anew());
        set(&mut inner);
        inner.services = OnceLock::new();
        Self(Arc::new(inner))
    }
}

impl Inner {
    fn add(&mut self, mut entry: Entry) {
        let at = self.entries.len();
        let called = entry.called(at);
        let name = match self.names.contains(&called) {
            true => format!("{called}#{}", at + 1).into(),
            false => called,
        };
        if entry.has_own_circuit {
            // A setter makes a fresh one, as befits another pool.
            entry.circuit = entry.circuit.map(|circuit| circuit.name(name.clone()));
        }
        let mut hash = Fnv::default();
        name.hash(&mut hash);
        self.hashes.push(hash.finish());
        self.names.push(name);
        self.states.push(State::default());
        self.is_layered |= entry.is_layered();
        self.limits_prices |= entry.most.is_some();
        self.entries.push(entry);
    }

    fn services(&self) -> &[EntryService] {
        self.services.get_or_init(|| {
            let entries = self.entries.iter();
            entries.map(|entry| entry.build(self.limits)).collect()
        })
    }

    /// The same, of which nothing is known yet.
    fn anew(&self) -> Self {
        let mut anew = Self {
            entries: Vec::new(),
            names: Vec::new(),
            hashes: Vec::new(),
            states: Vec::new(),
            strategy: self.strategy,
            needs: self.needs.clone(),
            conversation: self.conversation.clone(),
            catalog: self.catalog.clone(),
            besides: self.besides.clone(),
            limits: self.limits,
            services: OnceLock::new(),
            is_layered: false,
            limits_prices: false,
            since: Instant::now(),
            rolls: AtomicU64::new(self.rolls.load(Ordering::Relaxed)),
        };
        // Each with a circuit of its own, unless it was given.
        self.entries
            .iter()
            .for_each(|entry| anew.add(entry.clone()));
        anew
    }
}

/// Pools that are made at the same time do not roll the same.
fn chance() -> u64 {
    use std::hash::{BuildHasher, RandomState};
    RandomState::new().hash_one(0)
}

impl Default for Pool {
    fn default() -> Self {
        Self::new()
    }
}

/// Asked in their order.
impl<E: Into<Entry>> FromIterator<E> for Pool {
    fn from_iter<I: IntoIterator<Item = E>>(entries: I) -> Self {
        entries.into_iter().fold(Self::new(), Self::entry)
    }
}

impl fmt::Debug for Pool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pool")
            .field("entries", &self.0.names)
            .field("strategy", &self.0.strategy)
            .finish_non_exhaustive()
    }
}

impl Service<ChatRequest> for Pool {
    type Response = ChatResponse;
    type Error = Error;
    type Future = ResponseFuture;

    // Whether one is ready says nothing of the call, which may go to another.
    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: ChatRequest) -> ResponseFuture {
        ResponseFuture(Box::pin(walk::walk(self.0.clone(), request)))
    }
}

/// Response future of [`Pool`].
#[must_use = "nobody is asked unless it is polled"]
pub struct ResponseFuture(entry::Answering);

impl Future for ResponseFuture {
    type Output = Result<ChatResponse, Error>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        self.0.as_mut().poll(cx)
    }
}

impl fmt::Debug for ResponseFuture {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ResponseFuture").finish_non_exhaustive()
    }
}
