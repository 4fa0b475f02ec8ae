//! Which answers are worth another attempt.

use crate::{
    answer::{Remedy, When},
    problem::{rejection, retry_after},
    rejection::Kind,
};
use http::{HeaderName, HeaderValue, Response, StatusCode};

/// A set of conditions for HTTP, any of which is enough.
///
/// | condition | in Envoy | what |
/// |---|---|---|
/// | [`unsent`](Self::unsent) | `connect-failure`, `refused-stream` | the upstream has not seen the request |
/// | [`reset`](Self::reset) | `reset-before-request`, `reset` | the upstream broke off before the head of an answer |
/// | [`gateway_errors`](Self::gateway_errors) | `gateway-error` | 502, 503, 504 |
/// | [`server_errors`](Self::server_errors) | `5xx` | any 5xx, and no answer |
/// | [`conflict`](Self::conflict) | `retriable-4xx` | 409 |
/// | [`statuses`](Self::statuses) | `retriable-status-codes` | those |
/// | [`header`](Self::header) | `retriable-headers` | an answer with that header |
/// | [`grpc`](Self::grpc) | `cancelled`, `unavailable` … | an answer of headers alone with that `grpc-status` |
///
/// What a policy of this crate refused goes by its kind even so: nobody is asked again because of an
/// open circuit, or for what is the caller's fault. `Retry-After` counts whatever the status.
///
/// ```
/// use tower_gateway::retry::{On, RetryLayer};
///
/// let layer = RetryLayer::new().when(On::new().unsent().gateway_errors().statuses([425]));
/// # use axum::Router;
/// # let _: Router = Router::new().layer(layer);
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct On {
    unsent: bool,
    reset: bool,
    gateway_errors: bool,
    server_errors: bool,
    statuses: Vec<u16>,
    headers: Vec<(HeaderName, Option<HeaderValue>)>,
    grpc: Vec<u16>,
}

impl On {
    /// None. Nothing is asked again.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Where the upstream certainly has not seen the request: no connection, HTTP/2's `REFUSED_STREAM`, a
    /// `GOAWAY` that leaves it out.
    #[must_use]
    pub fn unsent(mut self) -> Self {
        self.unsent = true;
        self
    }

    /// Where the upstream broke off, or the connection to it did, and there was no head of an answer.
    #[must_use]
    pub fn reset(mut self) -> Self {
        self.reset = true;
        self
    }

    /// After 502, 503 and 504, whether the upstream answers so or a policy does for it.
    #[must_use]
    pub fn gateway_errors(mut self) -> Self {
        self.gateway_errors = true;
        self
    }

    /// After any 5xx, and where there is no answer.
    #[must_use]
    pub fn server_errors(mut self) -> Self {
        self.server_errors = true;
        self
    }

    /// After 409, where that means to come back when others are done.
    #[must_use]
    pub fn conflict(self) -> Self {
        self.statuses([409])
    }

    /// After these statuses too.
    #[must_use]
    pub fn statuses(mut self, statuses: impl IntoIterator<Item = u16>) -> Self {
        self.statuses.extend(statuses);
        self
    }

    /// After answers with this header too: with this value, or with any.
    #[must_use]
    pub fn header(mut self, name: HeaderName, value: impl Into<Option<HeaderValue>>) -> Self {
        self.headers.push((name, value.into()));
        self
    }

    /// After these statuses of gRPC too, such as 14, `UNAVAILABLE`.
    ///
    /// Where they stand in the head, that is if there was nothing else to say; trailers are not read. A
    /// call of gRPC is a `POST`: see [`RetryLayer::assume_idempotent`](super::RetryLayer::assume_idempotent).
    #[must_use]
    pub fn grpc(mut self, codes: impl IntoIterator<Item = u16>) -> Self {
        self.grpc.extend(codes);
        self
    }

    fn holds_for<B>(&self, response: &Response<B>) -> bool {
        let status = response.status();
        let gateway = matches!(
            status,
            StatusCode::BAD_GATEWAY | StatusCode::SERVICE_UNAVAILABLE | StatusCode::GATEWAY_TIMEOUT
        );
        let headers = response.headers();
        let has = |(name, value): &(HeaderName, Option<HeaderValue>)| match value {
            Some(value) => headers.get_all(name).iter().any(|own| own == value),
            None => headers.contains_key(name),
        };
        let grpc = || {
            let code = headers.get("grpc-status")?.to_str().ok()?.parse().ok()?;
            Some(self.grpc.contains(&code))
        };
        self.gateway_errors && gateway
            || self.server_errors && status.is_server_error()
            || self.statuses.contains(&status.as_u16())
            || self.headers.iter().any(has)
            || !self.grpc.is_empty() && grpc().unwrap_or(false)
    }
}

impl<B, E: 'static> When<Response<B>, E> for On {
    fn remedy(&self, answer: Result<&Response<B>, &E>) -> Remedy {
        let rejection = rejection(answer);
        let unsent = rejection.is_some_and(|rejection| rejection.is_unsent());
        // Of what was not sent, `unsent` tells.
        let no_answer = match rejection {
            Some(rejection) => !unsent && rejection.kind() == Kind::BadGateway,
            None => answer.is_err(),
        };
        let holds = self.unsent && unsent
            || (self.reset || self.server_errors) && no_answer
            || self.server_errors && answer.is_err()
            || answer.is_ok_and(|response| self.holds_for(response));
        match (holds, rejection) {
            (false, _) => Remedy::Nothing,
            (true, Some(rejection)) => Remedy::from(rejection),
            (true, None) => {
                let headers = answer.ok().map(Response::headers);
                Remedy::again(headers.and_then(retry_after))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Reject, Rejection};
    use bytes::Bytes;
    use std::{convert::Infallible, time::Duration};

    type Answer = Result<Response<Bytes>, Rejection>;

    const AGAIN: Remedy = Remedy::Again { after: None };

    fn status(status: u16) -> Answer {
        Ok(Response::builder()
            .status(status)
            .body(Bytes::new())
            .unwrap())
    }

    fn remedy(on: &On, answer: &Answer) -> Remedy {
        on.remedy(answer.as_ref())
    }

    fn holding(on: &On) -> Vec<u16> {
        let all = [200, 404, 408, 409, 429, 500, 501, 502, 503, 504, 599];
        let holds = |code: &u16| remedy(on, &status(*code)) == AGAIN;
        all.into_iter().filter(holds).collect()
    }

    #[test]
    fn each_condition_is_its_own() {
        let on = On::new();
        assert_eq!(holding(&on), [0; 0]);
        assert_eq!(holding(&on.clone().unsent().reset()), [0; 0]);
        assert_eq!(holding(&on.clone().gateway_errors()), [502, 503, 504]);
        assert_eq!(
            holding(&on.clone().server_errors()),
            [500, 501, 502, 503, 504, 599]
        );
        assert_eq!(holding(&on.clone().conflict()), [409]);
        assert_eq!(holding(&on.clone().statuses([408, 429])), [408, 429]);

        let code = |code: &'static str| {
            Ok(Response::builder()
                .header("grpc-status", code)
                .body(Bytes::new())
                .unwrap())
        };
        let grpc = on.grpc([14, 8]);
        for (text, holds) in [
            ("14", AGAIN),
            ("8", AGAIN),
            ("0", Remedy::Nothing),
            ("x", Remedy::Nothing),
        ] {
            assert_eq!(remedy(&grpc, &code(text)), holds, "{text}");
        }
        let name = HeaderName::from_static("grpc-status");
        let any = On::new().header(name.clone(), None);
        assert_eq!(remedy(&any, &code("x")), AGAIN);
        let one = On::new().header(name, HeaderValue::from_static("3"));
        assert_eq!(remedy(&one, &code("3")), AGAIN);
        assert_eq!(remedy(&one, &code("4")), Remedy::Nothing);
    }

    #[test]
    fn what_was_not_sent_is_told_from_what_broke_off() {
        let (unsent, reset) = (On::new().unsent(), On::new().reset());
        let refused = Rejection::new(Kind::BadGateway).unsent();
        let broken = Rejection::new(Kind::BadGateway);
        for (rejection, of_unsent, of_reset) in [
            (refused, AGAIN, Remedy::Nothing),
            (broken, Remedy::Nothing, AGAIN),
        ] {
            let response = Response::<Bytes>::reject(rejection.clone());
            let response = response.map_err(|never: Infallible| match never {});
            for answer in [response, Err(rejection)] {
                assert_eq!(remedy(&unsent, &answer), of_unsent);
                assert_eq!(remedy(&reset, &answer), of_reset);
                assert_eq!(remedy(&On::new().server_errors(), &answer), AGAIN);
            }
        }
    }

    #[test]
    fn an_open_circuit_is_not_asked_again_whatever_is_said_of_503() {
        let open: Answer = Reject::<Rejection>::reject(Kind::CircuitOpen.into());
        assert_eq!(remedy(&On::new().statuses([503]), &open), Remedy::Elsewhere);
        let forbidden: Answer = Reject::<Rejection>::reject(Kind::Forbidden.into());
        assert_eq!(
            remedy(&On::new().statuses([403]), &forbidden),
            Remedy::Nothing
        );
    }

    #[test]
    fn a_delay_that_the_service_names_counts_whatever_the_status() {
        let mut answer = status(409).unwrap();
        answer.headers_mut().insert("retry-after", 7.into());
        let after = Some(Duration::from_secs(7));
        assert_eq!(
            remedy(&On::new().conflict(), &Ok(answer)),
            Remedy::Again { after }
        );
    }
}
