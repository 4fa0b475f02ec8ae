//! Which name stands for which service.

use crate::{
    Exchange, Extensible, Rejection,
    llm::{
        ChatRequest, ChatResponse, Error, Shared,
        catalog::Catalog,
        serve::{Model, Models},
    },
    rejection::Kind,
};
use std::{
    collections::{BTreeMap, HashSet},
    fmt,
    future::poll_fn,
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll},
    time::Duration,
};
use tokio::{
    sync::{Mutex as AsyncMutex, mpsc},
    time::Instant,
};
use tower::util::BoxCloneSyncService;
use tower_service::Service;

/// What a layer on the LLM plane wraps.
pub type ChatService = BoxCloneSyncService<ChatRequest, ChatResponse, Error>;

type BoxFuture<T> = Pin<Box<dyn Future<Output = T> + Send>>;

/// Asks a vendor what models it has.
pub(super) type List = Arc<dyn Fn() -> BoxFuture<Result<Vec<String>, Error>> + Send + Sync>;

/// How long a vendor's list is good for, and how long a failed attempt keeps from the next.
const FRESH: Duration = Duration::from_secs(10 * 60);
const RETRY: Duration = Duration::from_secs(30);
/// How long a request waits for the first list.
const PATIENCE: Duration = Duration::from_secs(5);

/// A vendor, and what it lists.
pub(super) struct Vendor {
    pub(super) name: Arc<str>,
    service: ChatService,
    list: List,
    /// Offered whatever it lists.
    known: &'static [&'static str],
    /// Whether it has no models but those it lists.
    complete: bool,
    listed: Mutex<Listed>,
    /// Held by the one who asks the vendor.
    asking: AsyncMutex<()>,
}

#[derive(Default)]
struct Listed {
    models: Arc<HashSet<Arc<str>>>,
    /// Until when nobody need ask.
    good_until: Option<Instant>,
}

impl Vendor {
    pub(super) fn new(
        name: Arc<str>,
        service: ChatService,
        list: List,
        known: &'static [&'static str],
        complete: bool,
    ) -> Self {
        Self {
            name,
            service,
            list,
            complete,
            listed: Mutex::new(Listed {
                models: Arc::new(known.iter().copied().map(Arc::from).collect()),
                good_until: None,
            }),
            known,
            asking: AsyncMutex::default(),
        }
    }

    fn models(&self) -> Arc<HashSet<Arc<str>>> {
        let listed = self.listed.lock().unwrap_or_else(PoisonError::into_inner);
        listed.models.clone()
    }

    fn is_fresh(&self) -> bool {
        let listed = self.listed.lock().unwrap_or_else(PoisonError::into_inner);
        listed
            .good_until
            .is_some_and(|until| Instant::now() < until)
    }

    fn was_asked(&self) -> bool {
        let listed = self.listed.lock().unwrap_or_else(PoisonError::into_inner);
        listed.good_until.is_some()
    }

    /// Asks the vendor, unless someone did lately. A list that cannot be had leaves the last one.
    async fn refresh(&self) {
        let _asking = self.asking.lock().await;
        if self.is_fresh() {
            return;
        }
        let answer = (self.list)().await;
        let mut listed = self.listed.lock().unwrap_or_else(PoisonError::into_inner);
        let good_for = match answer {
            Ok(models) => {
                let models = models.into_iter().map(Arc::from);
                let known = self.known.iter().copied().map(Arc::from);
                listed.models = Arc::new(models.chain(known).collect());
                FRESH
            }
            Err(error) => {
                tracing::warn!(vendor = &*self.name, %error, "cannot list the models of a vendor");
                RETRY
            }
        };
        listed.good_until = Some(Instant::now() + good_for);
    }
}

/// Finds the service for a model's name, and calls it.
///
/// In this order: a name that was given with `.model(…)`; `vendor/name`, unless only another vendor lists
/// that name, whole; a vendor that lists the name; the only vendor there is, unless its list is known to be complete. Else there is no such model.
#[derive(Clone)]
pub(super) struct Directory(Arc<Inner>);

struct Inner {
    named: BTreeMap<Arc<str>, ChatService>,
    vendors: Vec<Arc<Vendor>>,
    /// What is known of models, if it is not what is built in.
    catalog: Option<Catalog>,
    /// The protocols that several vendors speak.
    shared: Option<Shared>,
    /// Names that nobody lists and a vendor answered to: so many at the most.
    answered: Mutex<HashSet<Arc<str>>>,
}

/// How long the name of a model may be, in bytes.
const LONGEST_NAME: usize = 256;
/// How many names that nobody lists become labels.
const MOST_ANSWERED: usize = 64;

/// Where a call goes.
struct Found<'a> {
    service: &'a ChatService,
    /// Whose it is, if it is a vendor's.
    vendor: Option<&'a Arc<Vendor>>,
    /// The name that the vendor knows, if it is another.
    rename: Option<&'a str>,
    /// Whether the name is one of those that are offered, and so fit for a label.
    offered: bool,
}

impl Directory {
    pub(super) fn new(
        named: BTreeMap<Arc<str>, ChatService>,
        vendors: Vec<Vendor>,
        catalog: Option<Catalog>,
        shared: Option<Shared>,
    ) -> Self {
        Self(Arc::new(Inner {
            named,
            vendors: vendors.into_iter().map(Arc::new).collect(),
            catalog,
            shared,
            answered: Mutex::default(),
        }))
    }

    /// Asks every vendor whose list is old, and waits for the answers. Whoever stops waiting does not
    /// stop the asking.
    pub(super) async fn refresh(&self) {
        self.refresh_until(|| false).await;
    }

    /// The same, until that will do.
    async fn refresh_until(&self, enough: impl Fn() -> bool) {
        let (answered, mut answers) = mpsc::unbounded_channel();
        for vendor in self.0.vendors.iter().filter(|vendor| !vendor.is_fresh()) {
            let (vendor, answered) = (vendor.clone(), answered.clone());
            tokio::spawn(async move {
                vendor.refresh().await;
                let _ = answered.send(());
            });
        }
        drop(answered);
        while !enough() && answers.recv().await.is_some() {}
    }

    /// Asks in the background. Nobody waits.
    fn refresh_soon(&self) {
        if self.0.vendors.iter().any(|vendor| !vendor.is_fresh()) {
            let directory = self.clone();
            tokio::spawn(async move { directory.refresh().await });
        }
    }

    fn find<'a>(&'a self, model: &'a str) -> Option<Found<'a>> {
        if let Some(service) = self.0.named.get(model) {
            return Some(Found {
                service,
                vendor: None,
                rename: None,
                offered: true,
            });
        }
        let vendors = &self.0.vendors;
        if let Some((name, rest)) = model.split_once('/')
            && let Some(vendor) = vendors.iter().find(|vendor| *vendor.name == *name)
        {
            let own = vendor.models();
            let (whole, part) = (own.contains(model), own.contains(rest));
            if !whole && !part {
                // Another may have it under the whole of this name, as those do who sell what others make.
                // What it lists counts once the one that is named was asked, too.
                let asked = vendor.was_asked();
                let sells = |one: &&Arc<Vendor>| {
                    one.known.contains(&model) || asked && one.models().contains(model)
                };
                let seller = vendors.iter().find(sells);
                if let Some(seller) = seller {
                    return Some(Found {
                        service: &seller.service,
                        vendor: Some(seller),
                        rename: None,
                        offered: true,
                    });
                }
            }
            // Some vendors have models whose names begin with their own.
            let rename = (!whole || part).then_some(rest);
            return (part || !vendor.complete).then_some(Found {
                service: &vendor.service,
                vendor: Some(vendor),
                rename,
                offered: whole || part,
            });
        }
        let listed = vendors
            .iter()
            .find(|vendor| vendor.models().contains(model));
        let only = || {
            vendors
                .first()
                .filter(|only| vendors.len() == 1 && !only.complete)
        };
        let vendor = listed.or_else(only)?;
        Some(Found {
            service: &vendor.service,
            vendor: Some(vendor),
            rename: None,
            offered: listed.is_some(),
        })
    }

    async fn call(self, mut request: ChatRequest) -> Result<ChatResponse, Error> {
        let model = request.model().clone();
        if model.is_empty() || model.len() > LONGEST_NAME {
            return Err(Rejection::new(Kind::InvalidRequest)
                .with_param("model")
                .with_detail("Expected the name of a model, of at most 256 bytes.")
                .into());
        }
        let is_known = || self.find(&model).is_some();
        if !is_known() {
            // Nobody may have asked the vendors yet. One that hangs must not hold up the others.
            let _ = tokio::time::timeout(PATIENCE, self.refresh_until(is_known)).await;
        }
        let unknown = || Rejection::new(Kind::ModelNotFound).with_param("model");
        let found = self.find(&model).ok_or_else(unknown)?;
        let (mut service, offered) = (found.service.clone(), found.offered);
        if let Some(name) = found.rename {
            request.set_model(name);
        }
        if let Some(catalog) = &self.0.catalog {
            request.extensions_mut().insert(catalog.clone());
        }
        if let Some(shared) = self.0.shared {
            request.extensions_mut().insert(shared);
        }
        let exchange = Exchange::of(&request).cloned();
        if offered && let Some(exchange) = &exchange {
            exchange.update(|facts| facts.model = Some(model.clone()));
        }
        poll_fn(|cx| service.poll_ready(cx)).await?;
        let answer = service.call(request).await?;
        if !offered
            && self.has_answered_to(&model)
            && let Some(exchange) = &exchange
        {
            exchange.update(|facts| facts.model = Some(model));
        }
        Ok(answer)
    }

    /// A vendor that answers to a name offers it. One that answers to any must not fill the labels.
    fn has_answered_to(&self, model: &Arc<str>) -> bool {
        let mut answered = self
            .0
            .answered
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if answered.len() < MOST_ANSWERED && !answered.contains(model) {
            answered.insert(model.clone());
        }
        answered.contains(model)
    }

    /// Whether a plain name leads to this vendor.
    fn leads_to(&self, name: &str, vendor: &Arc<Vendor>) -> bool {
        let found = self.find(name).and_then(|found| found.vendor);
        found.is_some_and(|found| Arc::ptr_eq(found, vendor))
    }
}

impl Service<ChatRequest> for Directory {
    type Response = ChatResponse;
    type Error = Error;
    type Future = BoxFuture<Result<ChatResponse, Error>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: ChatRequest) -> Self::Future {
        Box::pin(self.clone().call(request))
    }
}

impl Models for Directory {
    /// Names of one's own first, then each vendor's in alphabetical order: plain where the plain name
    /// leads there, else as `vendor/name`.
    fn list(&self) -> Pin<Box<dyn Future<Output = Vec<Model>> + Send + '_>> {
        Box::pin(async {
            if self.0.vendors.iter().all(|vendor| vendor.was_asked()) {
                self.refresh_soon();
            } else {
                let _ = tokio::time::timeout(PATIENCE, self.refresh()).await;
            }
            let mut models = Vec::new();
            for name in self.0.named.keys() {
                models.push(Model::new(name.clone(), "gateway"));
            }
            let catalog = self.0.catalog.clone().unwrap_or_default();
            for vendor in &self.0.vendors {
                let mut listed: Vec<_> = vendor.models().iter().cloned().collect();
                listed.sort_unstable();
                for name in listed {
                    let known = catalog.get(&vendor.name, &name);
                    let id = if self.leads_to(&name, vendor) {
                        name
                    } else {
                        format!("{}/{name}", vendor.name).into()
                    };
                    models.push(Model::new(id, vendor.name.clone()).known(known));
                }
            }
            models
        })
    }
}

impl fmt::Debug for Directory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let vendors: Vec<_> = self.0.vendors.iter().map(|vendor| &*vendor.name).collect();
        f.debug_struct("Directory")
            .field("named", &self.0.named.keys())
            .field("vendors", &vendors)
            .finish()
    }
}
