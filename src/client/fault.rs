//! What went wrong, in the words of RFC 9209.

use super::connect::{TlsUnavailable, Unresolved, Used};
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
pub(super) fn rejection(error: legacy::Error) -> Rejection {
    let (kind, status) = if error.is_connect() {
        connecting(&error)
    } else {
        speaking(&error)
    };
    told(kind, status, error)
}

/// What an answer broke off with.
pub(super) fn broken_off(error: hyper::Error) -> Rejection {
    let status = if error.is_parse() {
        status!("http_protocol_error")
    } else {
        status!("http_response_incomplete")
    };
    told(Kind::BadGateway, status, error)
}

/// Whether a connection failed that had served before, in a way that says nothing of the server.
pub(super) fn is_worn(error: &legacy::Error) -> bool {
    let Some(connected) = error.connect_info() else {
        return false;
    };
    let mut extras = Extensions::new();
    connected.get_extras(&mut extras);
    extras.get::<Used>().is_some_and(Used::is_marked)
        && causes(error)
            .find_map(|cause| cause.downcast_ref::<hyper::Error>())
            .is_some_and(|error| !error.is_parse() && !error.is_user() && !error.is_timeout())
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

fn connecting(error: &legacy::Error) -> Verdict {
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

fn told(kind: Kind, status: Option<&'static str>, source: impl Into<BoxError>) -> Rejection {
    let rejection = Rejection::new(kind).with_source(source);
    match status {
        Some(status) => rejection.with_header(
            HeaderName::from_static("proxy-status"),
            HeaderValue::from_static(status),
        ),
        None => rejection,
    }
}
