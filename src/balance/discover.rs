//! Where endpoints come from.
//!
//! A source is a [`Stream`] of whole sets of [`Endpoint`]s, and [`Endpoints::feed`] keeps a set to it:
//! those that stay keep their services, their calls and what is known of them; those that are new are
//! made by a closure; of those that went the calls that are out end as they would.
//!
//! | source | what it reads | when again |
//! |---|---|---|
//! | any [`Stream`] | | |
//! | [`File`] | lines of `name weight=2 priority=1` | when the file changed, looked at every 5 s |
//! | [`Lookups`] | what a closure finds | when that is not valid any more |
//! | `dns`, with the feature `dns` | addresses of a name: A and AAAA | when their TTL is over, within 5 s to 5 min |
//!
//! A source that fails, or that says nothing that makes sense, is logged as an error, and the last set that
//! was good stays. An empty set is none that makes sense: nobody is reached by it.
//!
//! ```
//! use tower_gateway::balance::{Balance, Endpoints, Strategy, discover::File};
//! # use tower_gateway::Body;
//! # use http::{Request, Response};
//! # use std::{convert::Infallible, time::Duration};
//! # use tower::{ServiceExt, service_fn};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let dir = std::env::temp_dir().join(format!("endpoints-{}", std::process::id()));
//! # std::fs::create_dir_all(&dir)?;
//! # let path = dir.join("endpoints");
//! # std::fs::write(&path, "# Two of them.\n10.0.0.1:8080\n10.0.0.2:8080 weight=3\n")?;
//! let endpoints = Endpoints::new(Strategy::SmoothWeighted);
//! let feed = endpoints.feed(File::new(&path), |endpoint| {
//!     let name = endpoint.name().to_string();
//!     service_fn(move |_: Request<Body>| {
//!         let name = name.clone();
//!         async { Ok::<_, Infallible>(Response::new(Body::from(name))) }
//!     })
//! });
//! tokio::spawn(feed);
//! # tokio::time::sleep(Duration::from_millis(10)).await;
//! assert_eq!(endpoints.status("10.0.0.2:8080").map(|status| status.weight), Some(3));
//! # let balance = Balance::new(endpoints);
//! # let answer = balance.oneshot(Request::new(Body::empty())).await?;
//! # assert_eq!(tower_gateway::collect(answer.into_body(), 99).await.unwrap(), "10.0.0.2:8080");
//! # std::fs::remove_dir_all(&dir)?;
//! # Ok(())
//! # }
//! ```

#[cfg(feature = "dns")]
mod dns;
mod file;
mod lookups;

#[cfg(feature = "dns")]
pub use self::dns::{dns, dns_by};
pub use self::{
    file::{File, InvalidLine, parse},
    lookups::{Found, Lookups},
};

use super::{Endpoint, Endpoints, check::changed};
use futures_core::Stream;
use std::{future::poll_fn, task::Poll};

impl<S: Send + 'static> Endpoints<S> {
    /// Keeps this set to those that a source names, each as it comes. Services for those that are new are
    /// made by `make`. See [`discover`](self).
    ///
    /// The future does the work and must be spawned. It ends with the stream, and when the last handle and
    /// the last balancer of the set are dropped.
    pub fn feed<T, I, M>(
        &self,
        sets: T,
        mut make: M,
    ) -> impl Future<Output = ()> + Send + use<S, T, I, M>
    where
        T: Stream<Item = I> + Send + 'static,
        I: IntoIterator<Item = Endpoint> + Send,
        M: FnMut(&Endpoint) -> S + Send + 'static,
    {
        let changes = self.shared().changes();
        let shared = self.downgrade();
        async move {
            let mut sets = Box::pin(sets);
            let mut change = Box::pin(changed(changes));
            poll_fn(move |cx| {
                while let Poll::Ready(news) = change.as_mut().poll(cx) {
                    let Some(changes) = news else {
                        return Poll::Ready(());
                    };
                    change.set(changed(changes));
                }
                while let Poll::Ready(set) = sets.as_mut().poll_next(cx) {
                    let (Some(set), Some(endpoints)) = (set, Self::upgrade(&shared)) else {
                        return Poll::Ready(());
                    };
                    endpoints.reconcile(set, &mut make);
                }
                Poll::Pending
            })
            .await;
        }
    }
}

#[cfg(test)]
mod tests;
