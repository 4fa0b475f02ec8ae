//! One copy, on its way.

use super::{Config, Report, X_GATEWAY_MIRRORED, shared::Permit};
use crate::{BoxError, Extensible, describe::Status, identity::Vouched, reissue::Reissue};
use bytes::Buf;
use http::{Extensions, HeaderValue, Response, StatusCode};
use http_body::Body as HttpBody;
use std::{fmt, future::poll_fn, mem, pin::pin, sync::Arc, time::Duration};
use tokio::{
    runtime::Handle,
    sync::oneshot,
    time::{Instant, timeout},
};
use tower_service::Service;

/// An answer that can be read to its end, for nobody.
#[diagnostic::on_unimplemented(
    message = "nothing says how `{Self}` is read to its end",
    note = "for a response that is whole when it arrives, write `impl Exhaust for {Self} {{}}`"
)]
pub trait Exhaust: Sized {
    /// Reads it to its end, or up to about so many bytes. `false`: it broke off.
    ///
    /// By default it is whole when it arrives.
    fn exhaust(self, limit: usize) -> impl Future<Output = bool> + Send
    where
        Self: Send,
    {
        let _ = limit;
        async { true }
    }
}

impl<B> Exhaust for Response<B>
where
    B: HttpBody<Data: Send, Error: Into<BoxError>> + Send,
{
    async fn exhaust(self, limit: usize) -> bool
    where
        Self: Send,
    {
        let mut body = pin!(self.into_body());
        let mut read = 0_usize;
        while read <= limit {
            match poll_fn(|cx| body.as_mut().poll_frame(cx)).await {
                None => break,
                Some(Err(_)) => return false,
                Some(Ok(frame)) => {
                    let bytes = frame.data_ref().map_or(0, Buf::remaining);
                    read = read.saturating_add(bytes);
                }
            }
        }
        true
    }
}

/// How one of the two was answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Answered {
    /// The status, if it has one.
    pub status: Option<StatusCode>,
    /// The code of the error, if it is one of the gateway or of a model.
    pub code: Option<&'static str>,
    /// Whether it was an answer, whatever it says, and not an error of the service.
    pub ok: bool,
    /// How long after it was sent its head came.
    pub after: Duration,
}

impl Answered {
    pub(super) fn of<R: Status<E>, E>(answer: Result<&R, &E>, since: Instant) -> Self {
        Self {
            status: R::status(answer),
            code: R::code(answer),
            ok: answer.is_ok(),
            after: Instant::now().saturating_duration_since(since),
        }
    }
}

/// How a call and its copy were answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Compared {
    /// The call, by the service.
    pub main: Answered,
    /// The copy, by the shadow.
    pub shadow: Answered,
    /// Whether the shadow's answer came to its end, or to the limit.
    pub complete: bool,
}

pub(super) type Compare = dyn Fn(&Compared) + Send + Sync;

/// Takes an extension of one type over to a copy.
#[derive(Clone, Copy)]
pub(super) struct Carry(fn(&mut Extensions, &mut Extensions));

impl Carry {
    pub(super) fn of<X: Clone + Send + Sync + 'static>() -> Self {
        Self(|from, to| {
            if let Some(carried) = from.remove::<X>() {
                to.insert(carried);
            }
        })
    }
}

impl fmt::Debug for Carry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Carry")
    }
}

/// What a copy is made of, which it is in a task of its own.
pub(super) struct Copied<T, Req: Reissue> {
    config: Arc<Config<T>>,
    permit: Permit,
    copy: Req::Copy,
}

impl<T, Req> Copied<T, Req>
where
    T: Service<Req, Error: Send, Future: Send> + Clone + Send + Sync + 'static,
    T::Response: Exhaust + Status<T::Error> + Send,
    Req: Extensible + Reissue,
{
    pub(super) fn new(config: Arc<Config<T>>, permit: Permit, copy: Req::Copy) -> Self {
        Self {
            config,
            permit,
            copy,
        }
    }

    /// Sends it, and says whom to tell of the answer that the call got.
    pub(super) fn send(mut self) -> Option<Report> {
        let runtime = Handle::try_current().ok()?;
        self.permit.sent();
        let (tell, told) = oneshot::channel();
        let since = Instant::now();
        runtime.spawn(self.run(told));
        Some(Report { since, tell })
    }

    async fn run(self, told: oneshot::Receiver<Answered>) {
        let Self {
            config,
            mut permit,
            copy,
        } = self;
        let since = Instant::now();
        let call = async {
            let mut req = Req::again(&copy);
            config.prepare(&mut req);
            let mut service = config.shadow.clone();
            let ready = poll_fn(|cx| service.poll_ready(cx)).await;
            let answer = match ready {
                Ok(()) => service.call(req).await,
                Err(error) => Err(error),
            };
            let answered = Answered::of(answer.as_ref(), since);
            let complete = match answer {
                Ok(response) => response.exhaust(config.answer_limit).await,
                Err(_) => false,
            };
            (answered, complete)
        };
        let Ok((shadow, complete)) = timeout(config.timeout, call).await else {
            tracing::debug!("a mirrored call took too long");
            return;
        };
        if complete {
            permit.answered();
        } else {
            tracing::debug!(code = shadow.code, "a mirrored call failed");
        }
        // Its room is taken as long as it waits for the other one.
        if let Some(compare) = &config.compare
            && let Ok(Ok(main)) = timeout(config.timeout, told).await
        {
            compare(&Compared {
                main,
                shadow,
                complete,
            });
        }
    }
}

impl<T> Config<T> {
    /// Makes a copy of what is the same request once more.
    fn prepare(&self, req: &mut impl Extensible) {
        let mut before = mem::take(req.extensions_mut());
        for Carry(carry) in &self.carry {
            carry(&mut before, req.extensions_mut());
        }
        // A proxy would take it for what a caller says of itself.
        Vouched::new([X_GATEWAY_MIRRORED]).add(req);
        let value = HeaderValue::from_static("true");
        req.headers_mut().insert(X_GATEWAY_MIRRORED, value);
    }
}
