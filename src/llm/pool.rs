//! One name for several services: each is asked in turn until one has begun to answer.
//!
//! The next one is asked when the answer's [`Remedy`] says that another may
//! do better: the vendor is down, overloaded, at its limit, or its circuit is open. What the caller
//! did wrong stands. With more than one service an answer is held back until its first content, so
//! that a stream that breaks off before it has shown anything falls over too; after that the answer
//! stands, and nothing is said twice.
//!
//! ```
//! use tower::ServiceExt;
//! use tower_gateway::llm::{ChatRequest, Simulator, VendorFault, pool::Pool};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), tower_gateway::llm::Error> {
//! let down = Simulator::new().faults(u64::MAX, VendorFault::Overloaded);
//! let pool = Pool::new(down).or(Simulator::new());
//! let request = ChatRequest::new().for_model("sim-chat").user("Hello");
//! assert!(!pool.oneshot(request).await?.text().await?.is_empty());
//! # Ok(())
//! # }
//! ```

use super::{ChatRequest, ChatResponse, Error};
use crate::{
    Health,
    answer::{Begin, Remedy},
};
use std::{
    future::poll_fn,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};
use tower_service::Service;

/// Services that stand for one another, in order.
///
/// See the [module docs](self) for an example.
#[derive(Clone, Debug)]
pub struct Pool<S> {
    services: Arc<[S]>,
}

impl<S: Clone> Pool<S> {
    /// A pool of one.
    #[must_use]
    pub fn new(first: S) -> Self {
        Self {
            services: Arc::new([first]),
        }
    }

    /// Adds one that is asked when those before it have failed.
    #[must_use]
    pub fn or(self, next: S) -> Self {
        let services = self.services.iter().cloned().chain([next]).collect();
        Self { services }
    }
}

impl<S> Service<ChatRequest> for Pool<S>
where
    S: Service<ChatRequest, Response = ChatResponse, Error = Error> + Clone + Send + Sync + 'static,
    S::Future: Send,
{
    type Response = ChatResponse;
    type Error = Error;
    type Future = Pin<Box<dyn Future<Output = Result<ChatResponse, Error>> + Send>>;

    // Whether one is ready says nothing of the call, which may go to another.
    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: ChatRequest) -> Self::Future {
        let services = self.services.clone();
        Box::pin(async move {
            let mut rest = &services[..];
            loop {
                let Some((first, others)) = rest.split_first() else {
                    return Err(crate::rejection::Kind::Internal.into());
                };
                let mut service = first.clone();
                let ready = poll_fn(|cx| service.poll_ready(cx)).await;
                if others.is_empty() {
                    ready?;
                    return service.call(request).await;
                }
                let answer = match ready {
                    Ok(()) => service.call(request.clone()).await,
                    Err(error) => Err(error),
                };
                let answer = match answer {
                    Ok(answer) => answer.begin().await,
                    Err(error) => Err(error),
                };
                if ChatResponse::remedy(answer.as_ref()) == Remedy::Nothing {
                    return answer;
                }
                rest = others;
            }
        })
    }
}
