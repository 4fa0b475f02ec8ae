//! What went wrong, in the words of RFC 9209.

use super::{
    connect::{TlsUnavailable, Unresolved, Used},
    http1::Failure,
};
use crate::{BoxError, Rejection, rejection::Kind};
use http::{Extensions, HeaderName, HeaderValue};
use hyper_util::client::legacy;
use std::{error::Error, io, iter};

macro_rules! status {
    ($error:literal) => {
        Some(concat!("tower-gateway; error=", $error))
    };
}

/// What a call failed with.
pub(super) enum Fault {
    Http1(Failure),
    Pooled(legacy::Error),
}

impl Fault {
    /// Whether a connection failed that had served before, in a way that says nothing of the server.
    pub(super) fn is_worn(&self) -> bool {
        let (error, used): (&(dyn Error + 'static), _) = match self {
            Self::Http1(Failure::Speaking { error, used, .. }) => (error, *used),
            Self::Http1(_) => return false,
            Self::Pooled(error) => (error, was_used(error)),
        };
        let hyper = causes(error).find_map(|cause| cause.downcast_ref::<hyper::Error>());
        let says_nothing =
            |error: &hyper::Error| !error.is_parse() && !error.is_user() && !error.is_timeout();
        used && hyper.is_some_and(says_nothing)
    }
}

impl From<Fault> for Rejection {
    fn from(fault: Fault) -> Self {
        match fault {
            Fault::Http1(Failure::Nowhere) => {
                let rejection = Rejection::new(Kind::Internal);
                rejection.with_source("the URI names no host").unsent()
            }
            Fault::Http1(Failure::Connecting(error)) => told(connecting(&*error), error).unsent(),
            Fault::Http1(Failure::Speaking {
                error, unwritten, ..
            }) => {
                let rejection = told(speaking(&error), error);
                if unwritten {
                    rejection.unsent()
                } else {
                    rejection
                }
            }
            Fault::Pooled(error) if error.is_connect() => told(connecting(&error), error).unsent(),
            Fault::Pooled(error) => {
                let refused = is_refused(&error);
                let rejection = told(speaking(&error), error);
                if refused {
                    rejection.unsent()
                } else {
                    rejection
                }
            }
        }
    }
}

/// Whether the server says that it has not looked at the request, and will not: RFC 9113 §8.7. Of a stream
/// that a `GOAWAY` leaves out nothing else is told.
fn is_refused(error: &legacy::Error) -> bool {
    let h2 = causes(error).find_map(|cause| cause.downcast_ref::<h2::Error>());
    h2.is_some_and(|error| {
        let refused = error.reason() == Some(h2::Reason::REFUSED_STREAM);
        error.is_remote() && (error.is_go_away() || error.is_reset() && refused)
    })
}

/// Whether the connection had carried an answer before.
fn was_used(error: &legacy::Error) -> bool {
    let mut extras = Extensions::new();
    if let Some(connected) = error.connect_info() {
        connected.get_extras(&mut extras);
    }
    extras.get::<Used>().is_some_and(Used::is_marked)
}

/// What an answer broke off with.
pub(super) fn broken_off(error: hyper::Error) -> Rejection {
    let status = if error.is_parse() {
        status!("http_protocol_error")
    } else {
        status!("http_response_incomplete")
    };
    told((Kind::BadGateway, status), error)
}

/// The error and what it came of. An `io::Error` does not count the error that it was made of among
/// its sources.
pub(super) fn causes<'a>(
    error: &'a (dyn Error + 'static),
) -> impl Iterator<Item = &'a (dyn Error + 'static)> {
    iter::successors(Some(error), |error: &&'a (dyn Error + 'static)| {
        let error: &'a (dyn Error + 'static) = *error;
        match error.downcast_ref().and_then(io::Error::get_ref) {
            Some(inner) => Some(inner as _),
            None => error.source(),
        }
    })
}

type Verdict = (Kind, Option<&'static str>);

fn connecting(error: &(dyn Error + 'static)) -> Verdict {
    use io::ErrorKind;
    for cause in causes(error) {
        if cause.is::<TlsUnavailable>() {
            return (Kind::Internal, status!("proxy_configuration_error"));
        }
        if cause.is::<Unresolved>() {
            return (Kind::BadGateway, status!("dns_error"));
        }
        if let Some(error) = cause.downcast_ref() {
            return match error {
                rustls::Error::InvalidCertificate(_) => {
                    (Kind::BadGateway, status!("tls_certificate_error"))
                }
                rustls::Error::AlertReceived(_) => {
                    (Kind::BadGateway, status!("tls_alert_received"))
                }
                _ => (Kind::BadGateway, status!("tls_protocol_error")),
            };
        }
        match cause.downcast_ref().map(io::Error::kind) {
            Some(ErrorKind::TimedOut) => {
                return (Kind::ConnectTimeout, status!("connection_timeout"));
            }
            Some(ErrorKind::ConnectionRefused) => {
                return (Kind::BadGateway, status!("connection_refused"));
            }
            Some(ErrorKind::HostUnreachable | ErrorKind::NetworkUnreachable) => {
                return (Kind::BadGateway, status!("destination_ip_unroutable"));
            }
            Some(
                ErrorKind::UnexpectedEof
                | ErrorKind::ConnectionReset
                | ErrorKind::ConnectionAborted
                | ErrorKind::BrokenPipe,
            ) => return (Kind::BadGateway, status!("connection_terminated")),
            _ => {}
        }
    }
    (Kind::BadGateway, status!("destination_unavailable"))
}

fn speaking(error: &(dyn Error + 'static)) -> Verdict {
    let Some(hyper) = causes(error).find_map(|cause| cause.downcast_ref::<hyper::Error>()) else {
        // The URI names no host, or the method is not for clients.
        return (Kind::Internal, None);
    };
    let status = if hyper.is_user() {
        return (Kind::Internal, None);
    } else if hyper.is_incomplete_message() || hyper.is_body_write_aborted() {
        status!("http_response_incomplete")
    } else if hyper.is_closed() || hyper.is_canceled() || causes(hyper).any(is_io) {
        status!("connection_terminated")
    } else {
        status!("http_protocol_error")
    };
    (Kind::BadGateway, status)
}

fn is_io(error: &(dyn Error + 'static)) -> bool {
    error.is::<io::Error>()
}

fn told((kind, status): Verdict, source: impl Into<BoxError>) -> Rejection {
    let rejection = Rejection::new(kind).with_source(source);
    match status {
        Some(status) => rejection.with_header(
            HeaderName::from_static("proxy-status"),
            HeaderValue::from_static(status),
        ),
        None => rejection,
    }
}
