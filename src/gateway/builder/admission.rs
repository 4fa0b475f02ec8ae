//! Who is let in, from where, and how often.

use super::GatewayBuilder;
use crate::{
    Body,
    address_list::AddressListLayer,
    auth::{
        ApiKeys, AuthLayer, Authenticate, client_cert::ClientCertLayer, signature::SignatureLayer,
        stored::StoredKeys,
    },
    authorize::Policy,
    gateway::{authorized::Authorized, directory::ChatService, settled::HttpService, slot::Slot},
    key::ByPrincipal,
    llm::{self, ChatRequest, ChatResponse},
    rate_limit::{Buckets, RateLimit, RateLimitLayer},
};
use http::{Request, Response};
use std::{any::TypeId, convert::Infallible};
use tower_service::Service;

/// What is called where one layer would undo the work of another.
const AUTH: &str = "auth";

impl GatewayBuilder {
    /// Lets in whoever shows one of these keys. Without it, or another of these, everyone is let in.
    pub fn api_keys(mut self, keys: ApiKeys) -> Self {
        if let Err(faults) = keys.check() {
            self.fault("api_keys", faults.to_string());
        }
        self.auth_at("api_keys", &keys.into())
    }

    /// Lets in whoever shows a key that is in a [store](crate::auth::stored).
    pub fn stored_keys(mut self, keys: StoredKeys) -> Self {
        self.stored.push(keys.clone());
        self.auth_at("stored_keys", &keys.into())
    }

    /// Lets in whomever this knows: stored keys, tokens (`Jwt`, `Introspection`), a closure, or
    /// [`AnyOf`](crate::auth::AnyOf) several; or an [`AuthLayer`] of it with settings of its own, such as a
    /// scope that is required, or [`optional`](AuthLayer::optional).
    ///
    /// ```
    /// use tower_gateway::{
    ///     auth::{AnyOf, ApiKeys, AuthLayer, Credential},
    ///     gateway::Gateway,
    ///     llm::Simulator,
    ///     rejection::Kind,
    /// };
    ///
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let tickets = |_: Credential| async { Err(Kind::InvalidCredentials.into()) };
    /// # let keys = ApiKeys::new().add("alice", "the key that alice has");
    /// let layer = AuthLayer::new(AnyOf::new(keys, tickets)).require_scope("chat");
    /// let gateway = Gateway::builder().auth(layer).simulator(Simulator::new()).build()?;
    /// assert!(gateway.describe().contains("Auth         AuthLayer"));
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// The first call stands outermost. A layer after another one must say what whom that one has let in is
    /// worth to it: [`or_outer`](AuthLayer::or_outer) or [`and_outer`](AuthLayer::and_outer).
    pub fn auth<A>(self, layer: impl Into<AuthLayer<A>>) -> Self
    where
        A: Authenticate<Future: Send + 'static> + Send + Sync + 'static,
    {
        self.auth_at(AUTH, &layer.into())
    }

    fn auth_at<A>(mut self, at: &'static str, layer: &AuthLayer<A>) -> Self
    where
        A: Authenticate<Future: Send + 'static> + Send + Sync + 'static,
    {
        let first = self.called.insert(AUTH);
        if !first && !layer.heeds_outer() {
            let mend = "somebody is asked for already, and would be forgotten: let one layer know both by \
                        `AnyOf`, or say `or_outer` or `and_outer` of this one";
            self.fault(at, mend);
        }
        self.gauges.auth(layer);
        self.layer_at(Slot::Auth, layer.clone())
    }

    /// Lets in whoever came by a [certificate](crate::auth::client_cert), or takes what there is to know of
    /// it for [tokens that are bound to it](ClientCertLayer::for_tokens). To be called before
    /// [`auth`](Self::auth).
    ///
    /// Proxies that tell of certificates in `X-Forwarded-Client-Cert` must be trusted by
    /// [`client_addr`](Self::client_addr) too, which stands further out and believes strangers nothing.
    pub fn client_certificates(mut self, layer: ClientCertLayer) -> Self {
        let first = !self.called.contains(AUTH);
        self.outermost("client_certificates");
        if first && !layer.lets_in() {
            // Whoever asks next is the first who does.
            self.called.remove(AUTH);
        }
        self.layer_at(Slot::Auth, layer)
    }

    /// Lets in whoever has [signed](crate::auth::signature) the request. To be called before
    /// [`auth`](Self::auth).
    pub fn signed_requests(mut self, layer: SignatureLayer) -> Self {
        self.outermost("signed_requests");
        self.gauges.signatures(&layer);
        self.layer_at(Slot::Auth, layer)
    }

    fn outermost(&mut self, at: &'static str) {
        if !self.called.insert(AUTH) {
            let mend = "call it before all others that let somebody in, and let these say `or_outer` or \
                        `and_outer`";
            self.fault(at, mend);
        }
    }

    /// Lets in [these addresses](crate::address_list), before anybody is asked who they are. Health checks
    /// are answered to all.
    pub fn address_list(self, layer: AddressListLayer) -> Self {
        self.layer_at(Slot::Limits, layer)
    }

    /// Lets each caller do what this policy allows, and nothing else: calls of routes and of models, by the
    /// templates given to [`route`](Self::route) and those of
    /// [the models' protocols](crate::llm::serve). A path that matches none is not allowed by any rule that
    /// names routes.
    ///
    /// Rules that need a model are decided around the models, in front of all
    /// [layers of one's own](Self::chat_layer) there, and models that a caller may not use are in no list.
    /// Where a layer of one's own leads a request to another route than it came for, the policy decides on
    /// that as well.
    pub fn authorize(mut self, policy: Policy) -> Self {
        self.once("authorize", "put all rules into one `Policy`");
        self.gauges.authorize(policy.stats());
        let authorized = Authorized::new(policy);
        let layer = authorized.outer();
        self.authorized = Some(authorized);
        self.layer_at(Slot::Authorize, layer)
    }

    /// Lets each principal call so often, or whomever a [`RateLimitLayer`] counts by, in this process or
    /// with a store that several share. Callers without a name share one quota.
    ///
    /// ```
    /// use tower_gateway::{
    ///     client_addr::ByClientAddr,
    ///     gateway::Gateway,
    ///     llm::Simulator,
    ///     rate_limit::{Quota, RateLimitLayer},
    /// };
    ///
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let by_address = RateLimitLayer::new(Quota::per_second(50)).key(ByClientAddr);
    /// let gateway = Gateway::builder()
    ///     .rate_limit(by_address)
    ///     .rate_limit(RateLimitLayer::all([Quota::per_minute(600), Quota::per_month(100_000)]))
    ///     .simulator(Simulator::new())
    ///     .build()?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// Several quotas of one key belong in one layer, which takes from all of them or from none. Layers by
    /// different keys stand in the order of the calls, and an outer one stays charged for what an inner one
    /// refuses. The route and the model are not known here yet: see
    /// [`chat_rate_limit`](Self::chat_rate_limit).
    pub fn rate_limit<K, C, B>(mut self, layer: impl Into<RateLimitLayer<K, C, B>>) -> Self
    where
        K: Clone + Send + Sync + 'static,
        C: Clone + Send + Sync + 'static,
        B: Buckets + Clone + Send + Sync + 'static,
        RateLimit<HttpService, K, C, B>: Service<
                Request<Body>,
                Response = Response<Body>,
                Error = Infallible,
                Future: Send + 'static,
            >,
    {
        if TypeId::of::<K>() == TypeId::of::<ByPrincipal>() {
            self.once("rate_limit", "give all quotas to one `RateLimitLayer::all`");
        }
        let layer = layer.into();
        self.gauges.rate_limit(layer.stats());
        self.layer_at(Slot::RateLimit, layer)
    }

    /// The same around the models, where their names are known: by
    /// [`ByModel`](crate::llm::ByModel), and with costs in tokens.
    pub fn chat_rate_limit<K, C, B>(mut self, layer: RateLimitLayer<K, C, B>) -> Self
    where
        K: Clone + Send + Sync + 'static,
        C: Clone + Send + Sync + 'static,
        B: Buckets + Clone + Send + Sync + 'static,
        RateLimit<ChatService, K, C, B>: Service<
                ChatRequest,
                Response = ChatResponse,
                Error = llm::Error,
                Future: Send + 'static,
            >,
    {
        self.gauges.rate_limit(layer.stats());
        self.chat_layer(layer)
    }
}
