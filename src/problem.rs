//! How policies answer over HTTP: with a problem document, RFC 9457.

pub(crate) use crate::retry_after::retry_after;
use crate::{
    Body, BoxError, End, Follow, Health, Reject, Rejection,
    answer::{Begin, Outcome, Remedy},
    rejection::Kind,
};
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Response, StatusCode, header};
use std::{
    any::Any,
    fmt::Write,
    task::{Context, Poll},
    time::Duration,
};

/// Answers with the status of the rejection, `Retry-After`, what headers it has, and an
/// `application/problem+json` body.
///
/// The rejection itself is left in the response's extensions, where layers further out find it:
/// to log it, to count it, or to say the same in the words of another protocol.
#[diagnostic::do_not_recommend]
impl<B: From<Bytes>, E> Reject<E> for Response<B> {
    fn reject(rejection: Rejection) -> Result<Self, E> {
        let mut response = Response::new(B::from(document(&rejection, None)));
        *response.status_mut() = rejection.kind().status();
        let headers = response.headers_mut();
        write_headers(&rejection, headers);
        headers.insert(header::CONTENT_TYPE, MEDIA_TYPE);
        response.extensions_mut().insert(rejection);
        Ok(response)
    }
}

pub(crate) const MEDIA_TYPE: HeaderValue = HeaderValue::from_static("application/problem+json");

/// Errors and 5xx are failures. 429 says nothing, for it is about the caller. All else is success.
/// Whatever is a [`Rejection`], as a response or as an error, says so itself.
impl<B, E: 'static> Health<E> for Response<B> {
    fn health(answer: Result<&Self, &E>) -> Outcome {
        match (rejection(answer), answer) {
            (Some(rejection), _) => rejection.into(),
            (None, Err(_)) => Outcome::Failure,
            (None, Ok(response)) => match response.status() {
                status if status.is_server_error() => Outcome::Failure,
                StatusCode::TOO_MANY_REQUESTS => Outcome::Neutral,
                _ => Outcome::Success,
            },
        }
    }

    fn remedy(answer: Result<&Self, &E>) -> Remedy {
        match (rejection(answer), answer) {
            (Some(rejection), _) => rejection.into(),
            (None, Err(_)) => Remedy::again(None),
            (None, Ok(response)) => match response.status().as_u16() {
                429 | 502 | 503 | 504 => Remedy::again(retry_after(response.headers())),
                _ => Remedy::Nothing,
            },
        }
    }

    fn is_unsent(answer: Result<&Self, &E>) -> bool {
        rejection(answer).is_some_and(Rejection::is_unsent)
    }

    fn retry_after(answer: Result<&Self, &E>) -> Option<Duration> {
        let told = || retry_after(answer.ok()?.headers());
        match rejection(answer) {
            Some(rejection) => rejection.retry_after(),
            None => told(),
        }
    }

    fn with_retry_after(mut answer: Result<Self, E>, after: Duration) -> Result<Self, E> {
        if let Ok(response) = &mut answer {
            let seconds = whole_seconds(after).into();
            response.headers_mut().insert(header::RETRY_AFTER, seconds);
            // Layers further out say the same in other words.
            let extensions = response.extensions_mut();
            if let Some(rejection) = extensions.remove::<Rejection>() {
                extensions.insert(rejection.with_retry_after(after));
            }
        }
        answer
    }

    fn is_local(answer: Result<&Self, &E>) -> bool {
        let Ok(response) = answer else { return true };
        let rejection = response.extensions().get::<Rejection>();
        rejection.is_some_and(|rejection| rejection.kind().is_local())
    }
}

/// What a policy or a client answered: a response, an error, or an error in a box.
pub(crate) fn rejection<'a, B, E: 'static>(
    answer: Result<&'a Response<B>, &'a E>,
) -> Option<&'a Rejection> {
    match answer {
        Ok(response) => response.extensions().get(),
        Err(error) => {
            let error: &dyn Any = error;
            let boxed = || error.downcast_ref::<BoxError>()?.downcast_ref();
            error.downcast_ref().or_else(boxed)
        }
    }
}

/// Begun with its head: what follows is the caller's at once.
impl<B, E> Begin<E> for Response<B> {}

/// Over with the last byte of its body.
// Else the compiler speaks of `http_body::Body`, and not of what `Follow` says of itself.
#[diagnostic::do_not_recommend]
impl<B, E> Follow<E> for Response<B>
where
    B: http_body::Body<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
{
    type Followed = Response<Body>;

    fn follow(self, end: impl FnOnce(End<'_, E>) + Send + 'static) -> Self::Followed {
        followable(self).map(|body| body.followed(move |ended| end(ended.of())))
    }

    fn follow_bytes(
        self,
        end: impl FnOnce(End<'_, E>, Option<u64>) + Send + 'static,
    ) -> Self::Followed {
        followable(self)
            .map(|body| body.followed_bytes(move |ended, sent| end(ended.of(), Some(sent))))
    }

    fn unfollowed(self) -> Self::Followed {
        self.map(Body::new)
    }

    fn cut(
        self,
        cut: impl FnMut(&mut Context<'_>, bool) -> Poll<Rejection> + Send + 'static,
    ) -> Self::Followed {
        self.map(|body| Body::new(body).cut(cut))
    }

    fn cut_between(
        self,
        cut: impl FnMut(&mut Context<'_>, bool) -> Poll<Rejection> + Send + 'static,
    ) -> Self::Followed {
        self.map(|body| Body::new(body).cut_between(cut))
    }
}

/// Some bodies do not know how long they are, where the head does.
fn followable<B>(response: Response<B>) -> Response<Body>
where
    B: http_body::Body<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
{
    let (head, body) = response.into_parts();
    let length = || {
        let length = head.headers.get(header::CONTENT_LENGTH)?;
        length.to_str().ok()?.parse().ok()
    };
    let body = Body::new(body).promise(length);
    Response::from_parts(head, body)
}

/// Rounded up: a caller that comes back early is only turned away again.
pub(crate) fn whole_seconds(delay: Duration) -> u64 {
    delay
        .as_secs()
        .saturating_add(u64::from(delay.subsec_nanos() > 0))
}

/// What a rejection says in headers, whatever the form of the body.
pub(crate) fn write_headers(rejection: &Rejection, headers: &mut HeaderMap) {
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    if let Some(delay) = rejection.retry_after() {
        headers.insert(header::RETRY_AFTER, whole_seconds(delay).into());
    }
    for (name, value) in rejection.headers() {
        headers.append(name, value.clone());
    }
}

/// With the type `about:blank` the title is the status phrase, as section 4.2.1 asks; `code` is the
/// member that programs read.
pub(crate) fn document(rejection: &Rejection, request_id: Option<&str>) -> Bytes {
    let kind = rejection.kind();
    let status = kind.status();
    let (kind_of_problem, title) = match kind {
        Kind::RateLimited if rejection.is_for_abnormal_usage() => (
            "https://iana.org/assignments/http-problem-types#abnormal-usage-detected",
            "Request not satisfied due to detection of abnormal request pattern",
        ),
        Kind::RateLimited => (
            "https://iana.org/assignments/http-problem-types#quota-exceeded",
            "Request cannot be satisfied as assigned quota has been exceeded",
        ),
        Kind::Overloaded => (
            "https://iana.org/assignments/http-problem-types#temporary-reduced-capacity",
            "Request cannot be satisfied due to temporary server capacity constraints",
        ),
        _ => ("about:blank", status.canonical_reason().unwrap_or_default()),
    };
    let mut out = format!(
        r#"{{"type":"{kind_of_problem}","title":"{title}","status":{},"detail":"{}","code":"{}""#,
        status.as_u16(),
        escaped(&rejection.message()),
        kind.code(),
    );
    if let Some(param) = rejection.param() {
        let _ = write!(out, r#","param":"{}""#, escaped(param));
    }
    if let Some(at) = rejection.position() {
        let _ = write!(out, r#","line":{},"column":{}"#, at.line, at.column);
    }
    let list = |out: &mut String, name: &str, items: &mut dyn Iterator<Item = String>| {
        let items: Vec<_> = items.collect();
        if !items.is_empty() {
            let _ = write!(out, r#","{name}":[{}]"#, items.join(","));
        }
    };
    list(
        &mut out,
        "errors",
        &mut rejection.faults().iter().map(|fault| {
            format!(
                r#"{{"param":"{}","detail":"{}"}}"#,
                escaped(&fault.param),
                escaped(fault.detail)
            )
        }),
    );
    list(
        &mut out,
        "violated-policies",
        &mut rejection
            .violated_policies()
            .map(|name| format!("\"{}\"", escaped(name))),
    );
    if let Some(id) = request_id {
        let _ = write!(out, r#","request_id":"{}""#, escaped(id));
    }
    out.push('}');
    out.into()
}

/// The text between the quotes of a JSON string.
pub(crate) fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for char in text.chars() {
        match char {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            control if control < ' ' => {
                let _ = write!(out, "\\u{:04x}", u32::from(control));
            }
            other => out.push(other),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::convert::Infallible;

    fn rejected(rejection: Rejection) -> Response<Bytes> {
        <Response<Bytes> as Reject<Infallible>>::reject(rejection).unwrap()
    }

    fn health(response: &Response<Bytes>) -> Outcome {
        <Response<Bytes> as Health<Infallible>>::health(Ok(response))
    }

    fn problem(rejection: &Rejection) -> serde_json::Value {
        serde_json::from_slice(&document(rejection, None)).unwrap()
    }

    #[test]
    fn a_rejection_is_a_problem_document() {
        let response = rejected(
            Rejection::new(Kind::CircuitOpen)
                .with_detail("Say \"later\",\n\\o/")
                .with_source("db-7.internal refused the connection"),
        );
        let problem: serde_json::Value = serde_json::from_slice(response.body()).unwrap();
        assert_eq!(
            problem,
            serde_json::json!({
                "type": "about:blank",
                "title": "Service Unavailable",
                "status": 503,
                "detail": "Say \"later\",\n\\o/",
                "code": "upstream_unavailable",
            }),
            "nothing else, and nothing of the source"
        );
        let headers = response.headers();
        assert_eq!(headers[header::CONTENT_TYPE], "application/problem+json");
        assert_eq!(headers[header::CACHE_CONTROL], "no-store");
        assert!(!headers.contains_key(header::RETRY_AFTER));
    }

    #[cfg(feature = "auth")]
    #[test]
    fn abnormal_usage_is_told_from_a_quota() {
        let abnormal = problem(&Rejection::new(Kind::RateLimited).for_abnormal_usage());
        assert_eq!(
            abnormal["type"],
            "https://iana.org/assignments/http-problem-types#abnormal-usage-detected"
        );
    }

    #[test]
    fn what_is_particular_has_members_of_its_own() {
        let quota = problem(&Rejection::new(Kind::RateLimited).with_violated_policy("per\"minute"));
        assert_eq!(
            quota["violated-policies"],
            serde_json::json!(["per\"minute"])
        );
        assert_eq!(
            quota["type"],
            "https://iana.org/assignments/http-problem-types#quota-exceeded"
        );

        let invalid = Rejection::new(Kind::InvalidRequest)
            .with_param("messages[0]")
            .with_position(3, 4)
            .with_fault("tools", "Expected an array.");
        let invalid = problem(&invalid);
        assert_eq!(
            (&invalid["line"], &invalid["column"]),
            (&3.into(), &4.into())
        );
        assert_eq!(invalid["param"], "messages[0]");
        assert_eq!(invalid["errors"][0]["param"], "tools");
    }

    #[test]
    fn retry_after_is_rounded_up() {
        let delay = Duration::from_millis(1001);
        let response = rejected(Rejection::new(Kind::RateLimited).with_retry_after(delay));
        assert_eq!(response.headers()[header::RETRY_AFTER], "2");
        assert_eq!(whole_seconds(Duration::MAX), u64::MAX);
    }

    #[test]
    fn a_rejection_is_judged_by_whom_it_blames() {
        assert_eq!(
            health(&rejected(Kind::CircuitOpen.into())),
            Outcome::Neutral
        );
        assert_eq!(health(&rejected(Kind::Timeout.into())), Outcome::Failure);
    }

    #[test]
    fn a_response_is_judged_by_its_status() {
        for (status, outcome) in [
            (200, Outcome::Success),
            (404, Outcome::Success),
            (429, Outcome::Neutral),
            (500, Outcome::Failure),
            (503, Outcome::Failure),
        ] {
            let response = Response::builder()
                .status(status)
                .body(Bytes::new())
                .unwrap();
            assert_eq!(health(&response), outcome, "{status}");
        }
    }

    #[test]
    fn a_foreign_retry_after_is_read_and_capped() {
        for (value, after) in [
            ("7", Some(Duration::from_secs(7))),
            ("99999999999", Some(Remedy::LONGEST)),
            ("-1", None),
            ("soon", None),
            (
                "Wed, 19 Aug 2026 14:34:39 GMT",
                Some(Duration::from_secs(30)),
            ),
            ("Wed, 19 Aug 2027 14:34:39 GMT", Some(Remedy::LONGEST)),
            ("Wed, 19 Aug 2026 14:00:00 GMT", Some(Duration::ZERO)),
        ] {
            let response = Response::builder()
                .status(503)
                .header(header::DATE, "Wed, 19 Aug 2026 14:34:09 GMT")
                .header(header::RETRY_AFTER, value)
                .body(Bytes::new())
                .unwrap();
            let remedy = <Response<Bytes> as Health<Infallible>>::remedy(Ok(&response));
            assert_eq!(remedy, Remedy::Again { after }, "{value}");
            let told = <Response<Bytes> as Health<Infallible>>::retry_after(Ok(&response));
            assert_eq!(told, after, "{value}");
        }
    }
}
