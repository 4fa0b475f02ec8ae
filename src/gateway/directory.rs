//! Which name stands for which service.

use crate::{
    Exchange, Rejection,
    llm::{
        ChatRequest, ChatResponse, Error,
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
use tokio::{sync::Mutex as AsyncMutex, time::Instant};
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
    pub(super) fn new(name: Arc<str>, service: ChatService, list: List, complete: bool) -> Self {
        Self {
            name,
            service,
            list,
            complete,
            listed: Mutex::default(),
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
                listed.models = Arc::new(models.into_iter().map(Arc::from).collect());
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
/// In this order: a name that was given with `.model(…)`; `vendor/name`; a vendor that lists the name;
/// the only vendor there is, unless its list is known to be complete. Else there is no such model.
#[derive(Clone)]
pub(super) struct Directory(Arc<Inner>);

struct Inner {
    named: BTreeMap<Arc<str>, ChatService>,
    vendors: Vec<Arc<Vendor>>,
}

/// Where a call goes.
struct Found {
    service: ChatService,
    /// The name that the vendor knows, if it is another.
    rename: Option<String>,
    /// Whether the name is one of those that are offered, and so fit for a label.
    offered: bool,
}

impl Directory {
    pub(super) fn new(named: BTreeMap<Arc<str>, ChatService>, vendors: Vec<Vendor>) -> Self {
        let vendors = vendors.into_iter().map(Arc::new).collect();
        Self(Arc::new(Inner { named, vendors }))
    }

    /// Asks every vendor whose list is old, and waits for the answers.
    pub(super) async fn refresh(&self) {
        let mut asked = tokio::task::JoinSet::new();
        for vendor in &self.0.vendors {
            if !vendor.is_fresh() {
                let vendor = vendor.clone();
                asked.spawn(async move { vendor.refresh().await });
            }
        }
        while asked.join_next().await.is_some() {}
    }

    /// Asks in the background. Nobody waits.
    fn refresh_soon(&self) {
        if self.0.vendors.iter().any(|vendor| !vendor.is_fresh()) {
            let directory = self.clone();
            tokio::spawn(async move { directory.refresh().await });
        }
    }

    fn find(&self, model: &str) -> Option<Found> {
        if let Some(service) = self.0.named.get(model) {
            return Some(Found {
                service: service.clone(),
                rename: None,
                offered: true,
            });
        }
        let vendors = &self.0.vendors;
        if let Some((name, rest)) = model.split_once('/')
            && let Some(vendor) = vendors.iter().find(|vendor| *vendor.name == *name)
        {
            return Some(Found {
                service: vendor.service.clone(),
                rename: Some(rest.to_owned()),
                offered: vendor.models().contains(rest),
            });
        }
        let listed = vendors
            .iter()
            .find(|vendor| vendor.models().contains(model));
        let vendor = listed.or_else(|| {
            vendors
                .first()
                .filter(|only| vendors.len() == 1 && !only.complete)
        })?;
        Some(Found {
            service: vendor.service.clone(),
            rename: None,
            offered: listed.is_some(),
        })
    }

    async fn call(self, mut request: ChatRequest) -> Result<ChatResponse, Error> {
        if request.model().is_empty() {
            return Err(Rejection::new(Kind::InvalidRequest)
                .with_param("model")
                .with_detail("Expected the name of a model.")
                .into());
        }
        let mut found = self.find(request.model());
        if found.is_none() {
            // Nobody may have asked the vendors yet.
            let _ = tokio::time::timeout(PATIENCE, self.refresh()).await;
            found = self.find(request.model());
        }
        let Found {
            mut service,
            rename,
            offered,
        } = found.ok_or_else(|| Rejection::new(Kind::ModelNotFound).with_param("model"))?;
        let model = request.model().clone();
        if let Some(name) = rename {
            request.set_model(&name);
        }
        let exchange = Exchange::of(&request).cloned();
        if offered && let Some(exchange) = &exchange {
            exchange.update(|facts| facts.model = Some(model.clone()));
        }
        poll_fn(|cx| service.poll_ready(cx)).await?;
        let answer = service.call(request).await?;
        // A vendor that answers to a name offers it.
        if !offered && let Some(exchange) = &exchange {
            exchange.update(|facts| facts.model = Some(model));
        }
        Ok(answer)
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
            let known = |vendor: &Arc<Vendor>| !vendor.models().is_empty();
            if self.0.vendors.iter().all(known) {
                self.refresh_soon();
            } else {
                let _ = tokio::time::timeout(PATIENCE, self.refresh()).await;
            }
            let named = self.0.named.keys();
            let mut models: Vec<_> = named
                .map(|name| Model::new(name.clone(), "gateway"))
                .collect();
            let mut taken: HashSet<_> = self.0.named.keys().cloned().collect();
            for vendor in &self.0.vendors {
                let listed = vendor.models();
                let mut listed: Vec<_> = listed.iter().cloned().collect();
                listed.sort_unstable();
                for name in listed {
                    let id = if taken.insert(name.clone()) {
                        name
                    } else {
                        format!("{}/{name}", vendor.name).into()
                    };
                    models.push(Model::new(id, vendor.name.clone()));
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
