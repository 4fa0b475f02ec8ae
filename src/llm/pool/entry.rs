//! One of those that a name stands for.

use super::{
    attempt::{Limits, guarded},
    call::Call,
};
use crate::{
    circuit_breaker::CircuitBreakerLayer,
    llm::{
        AnyModel, ChatRequest, ChatResponse, Error, Simulator,
        catalog::{ModelFacts, Money},
    },
};
use std::{
    any::Any,
    fmt,
    future::poll_fn,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};
use tower_layer::Layer;
use tower_service::Service;

/// The answer that is waited for.
pub(super) type Answering = Pin<Box<dyn Future<Output = Result<ChatResponse, Error>> + Send>>;

type Wrap = Arc<dyn Fn(EntryService) -> EntryService + Send + Sync>;
type Condition = Arc<dyn Fn(&Call<'_>) -> bool + Send + Sync>;

/// A chat service of a [pool](super::Pool), and what is known of it.
///
/// Any chat service becomes one with the defaults below: weight 1, priority 0, a circuit of its own, and
/// for a [`Provider`](crate::llm::Provider) its name and the model that it is bound to.
#[derive(Clone)]
#[must_use]
pub struct Entry {
    service: EntryService,
    /// Around its circuit, the first one innermost.
    layers: Vec<Wrap>,
    /// As it was given, for who wants to know what it is.
    #[cfg(feature = "gateway")]
    given: Arc<dyn Any + Send + Sync>,
    pub(super) name: Option<Arc<str>>,
    pub(super) vendor: Option<Arc<str>>,
    /// What it is bound to, or asked for.
    pub(super) model: Option<Arc<str>>,
    /// Whether the request must be told the model.
    pub(super) renames: bool,
    pub(super) facts: Option<Arc<ModelFacts>>,
    pub(super) weight: u32,
    pub(super) priority: u32,
    pub(super) region: Option<Arc<str>>,
    pub(super) most: Option<Money>,
    condition: Option<Condition>,
    pub(super) circuit: Option<CircuitBreakerLayer>,
    /// Whether nobody has said which circuit.
    pub(super) has_own_circuit: bool,
}

impl Entry {
    /// A service of weight 1 and priority 0, with a [circuit](CircuitBreakerLayer) of its own. That opens
    /// when 50 % of the last 20 calls have failed, but not for fewer than 5; for 5 seconds first, and twice
    /// as long each time that one of its 2 probes fails, up to 60. It has the name of the entry.
    pub fn new<S: AnyModel>(service: S) -> Self {
        let given: Arc<dyn Any + Send + Sync> = Arc::new(service.clone());
        let (vendor, model) = told(&*given);
        Self {
            service: EntryService::new(service),
            layers: Vec::new(),
            #[cfg(feature = "gateway")]
            given,
            name: None,
            vendor,
            model,
            renames: false,
            facts: None,
            weight: 1,
            priority: 0,
            region: None,
            most: None,
            condition: None,
            circuit: Some(circuit()),
            has_own_circuit: true,
        }
    }

    /// Names it, for the [handle](super::Handle), the log and who asks for an
    /// [explanation](super#explain). By default `provider/model`, or its place. A second one of the same
    /// name has its place behind it: `name#2`.
    pub fn name(mut self, name: impl Into<Arc<str>>) -> Self {
        self.name = Some(name.into());
        self
    }

    /// Names who serves it, under which name the catalog knows its facts.
    pub fn vendor(mut self, vendor: impl Into<Arc<str>>) -> Self {
        self.vendor = Some(vendor.into());
        self
    }

    /// Asks it for this model. A provider that is [bound](crate::llm::Provider::model) to one stays so.
    pub fn model(mut self, model: impl Into<Arc<str>>) -> Self {
        self.model = Some(model.into());
        self.renames = true;
        self
    }

    /// Says what is known of it, in the place of what the catalog says. Its price holds.
    pub fn facts(mut self, facts: ModelFacts) -> Self {
        self.facts = Some(Arc::new(facts));
        self
    }

    /// Sets its share among those of its priority. 0: only when no other is left.
    pub fn weight(mut self, weight: u32) -> Self {
        self.weight = weight;
        self
    }

    /// Sets when it is asked: those of 0 first, those of 1 when all of 0 are out or have failed, and so on.
    pub fn priority(mut self, priority: u32) -> Self {
        self.priority = priority;
        self
    }

    /// Says where it is, in any words: `eu`, `us-east-1`. See [`Needs::region`](super::Needs::region).
    pub fn region(mut self, region: impl Into<Arc<str>>) -> Self {
        self.region = Some(region.into());
        self
    }

    /// Does not ask it for calls that may cost more than this: by their input as it is estimated, and as
    /// much output as is asked for, or else as the model has at the most. If it is not known how much that
    /// is 512 tokens are taken for it. If nobody knows what it costs, it is never asked.
    pub fn max_price(mut self, most: Money) -> Self {
        self.most = Some(most);
        self
    }

    /// Asks it only for calls of which this is true. Several must all be.
    pub fn when(mut self, holds: impl Fn(&Call<'_>) -> bool + Send + Sync + 'static) -> Self {
        self.condition = Some(match self.condition {
            None => Arc::new(holds),
            Some(before) => Arc::new(move |call| before(call) && holds(call)),
        });
        self
    }

    /// The same by an expression, which must answer `true`. It has the variables of
    /// [`authorize`](crate::authorize::Expression), where `model` is the name of the pool, and `tokens`,
    /// about how many the input has, an integer, and `metadata`, a map of the texts that the client says of
    /// its call. One that cannot be evaluated does not hold.
    ///
    /// # Errors
    ///
    /// What is wrong with the expression, and where.
    #[cfg(feature = "cel")]
    #[cfg_attr(docsrs, doc(cfg(feature = "cel")))]
    pub fn when_expression(self, text: &str) -> Result<Self, crate::authorize::InvalidExpression> {
        use crate::authorize::{Ask as _, Expression};
        let expression = Expression::of_call(text)?;
        Ok(self.when(move |call| {
            let mut asked = call.request().ask();
            if expression.reads_now() {
                asked = asked.with_now(std::time::SystemTime::now());
            }
            if expression.reads_tokens() {
                asked = asked.with_tokens(call.tokens());
            }
            let metadata = match expression.reads_metadata() {
                true => call.all_metadata(),
                false => Vec::new(),
            };
            expression.evaluate(&asked.with_metadata(&metadata)) == Some(true)
        }))
    }

    /// Puts a layer around the service, outside of its circuit and the pool's timers: retries of this one
    /// endpoint, a limit on what is asked of it. Each of its calls is then one for the circuit, a probe of a
    /// half-open one is one call, and each has as long as the pool lets one call take. The layer that is
    /// added last stands outermost.
    pub fn layer<L>(mut self, layer: &L) -> Self
    where
        L: Layer<EntryService> + Clone + Send + Sync + 'static,
        L::Service: AnyModel,
    {
        let layer = layer.clone();
        self.layers
            .push(Arc::new(move |inner| EntryService::new(layer.layer(inner))));
        self
    }

    /// What a pool with these limits calls.
    pub(super) fn build(&self, limits: Limits) -> EntryService {
        let inner = guarded(self.service.clone(), limits, self.circuit.as_ref());
        self.layers.iter().fold(inner, |inner, wrap| wrap(inner))
    }

    /// Whether something further out may call it more than once.
    pub(super) fn is_layered(&self) -> bool {
        !self.layers.is_empty()
    }

    /// Sets when it is left alone for a while; `None`: never. A layer that other entries have too is one
    /// circuit for all of them.
    pub fn circuit(mut self, circuit: impl Into<Option<CircuitBreakerLayer>>) -> Self {
        self.circuit = circuit.into();
        self.has_own_circuit = false;
        self
    }

    /// As it was given, before layers.
    #[cfg(feature = "gateway")]
    pub(crate) fn given(&self) -> &dyn Any {
        &*self.given
    }

    #[cfg(feature = "gateway")]
    pub(crate) fn breaker(&self) -> Option<&CircuitBreakerLayer> {
        self.circuit.as_ref()
    }

    pub(super) fn holds(&self, call: &Call<'_>) -> bool {
        self.condition.as_ref().is_none_or(|holds| holds(call))
    }

    /// What it is called, at this place of a pool.
    pub(super) fn called(&self, at: usize) -> Arc<str> {
        match (&self.name, &self.vendor, &self.model) {
            (Some(name), ..) => name.clone(),
            (None, Some(vendor), Some(model)) => format!("{vendor}/{model}").into(),
            (None, Some(vendor), None) => vendor.clone(),
            (None, None, Some(model)) => model.clone(),
            (None, None, None) => format!("entry {}", at + 1).into(),
        }
    }
}

/// Another can take the call: it opens sooner than where there is none, and closes sooner.
fn circuit() -> CircuitBreakerLayer {
    CircuitBreakerLayer::new()
        .window(20)
        .minimum_calls(5)
        .probes(2)
        .cool_down(Duration::from_secs(5))
        .cool_down_up_to(Duration::from_secs(60))
}

/// What a service tells of itself: who serves it, and the model that it is bound to.
fn told(service: &dyn Any) -> (Option<Arc<str>>, Option<Arc<str>>) {
    #[cfg(feature = "client")]
    if let Some(provider) = service.downcast_ref::<crate::llm::Provider>() {
        return (
            Some(provider.name().into()),
            provider.pinned_model().cloned(),
        );
    }
    let simulator = service.is::<Simulator>();
    (simulator.then(|| "simulator".into()), None)
}

impl<S: AnyModel> From<S> for Entry {
    fn from(service: S) -> Self {
        Self::new(service)
    }
}

impl fmt::Debug for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Entry")
            .field("name", &self.name)
            .field("vendor", &self.vendor)
            .field("model", &self.model)
            .field("weight", &self.weight)
            .field("priority", &self.priority)
            .field("region", &self.region)
            .finish_non_exhaustive()
    }
}

/// Any chat service, whatever its type.
#[derive(Clone)]
pub struct EntryService(Arc<dyn Fn(ChatRequest) -> Answering + Send + Sync>);

impl EntryService {
    fn new<S: AnyModel>(service: S) -> Self {
        Self(Arc::new(move |request| {
            // Whatever is waited for is waited for by the one that is called.
            let mut service = service.clone();
            Box::pin(async move {
                poll_fn(|cx| service.poll_ready(cx)).await?;
                service.call(request).await
            })
        }))
    }

    /// The same of one that need not be waited for.
    pub(super) fn ready<S: AnyModel>(service: S) -> Self {
        Self(Arc::new(move |request| {
            Box::pin(service.clone().call(request))
        }))
    }
}

impl Service<ChatRequest> for EntryService {
    type Response = ChatResponse;
    type Error = Error;
    type Future = Answering;

    // That is waited for when it is called.
    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: ChatRequest) -> Answering {
        (self.0)(request)
    }
}

impl fmt::Debug for EntryService {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EntryService").finish_non_exhaustive()
    }
}
