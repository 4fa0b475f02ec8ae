//! Where a call goes, for vendors whose addresses are not the protocol's path below a base.

use super::{Inner, google, table::Form};
use crate::{
    Rejection,
    llm::{ChatRequest, Protocol, codec},
    rejection::Kind,
};
use std::{borrow::Cow, fmt::Write, sync::Arc};

/// What an address has in it beside the base and the protocol's path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// Azure: the version of the API for the paths of deployments.
    Deployments { version: Arc<str> },
    /// Google's cloud.
    Project {
        project: Arc<str>,
        location: Arc<str>,
    },
}

/// The path of a call below the base, with its query.
pub(super) fn path(
    provider: &Inner,
    protocol: Protocol,
    request: &ChatRequest,
) -> Result<Cow<'static, str>, Rejection> {
    let path = codec::of(protocol).path(request);
    let form = provider.vendor.map_or(Form::Plain, |vendor| vendor.form);
    match (form, &provider.place) {
        (Form::Azure, Some(Place::Deployments { version })) if protocol == Protocol::OpenAi => {
            let name = escaped(request.model());
            Ok(format!("/deployments/{name}{path}?api-version={version}").into())
        }
        (Form::Vertex, Some(Place::Project { project, location })) => {
            let parent = format!("/projects/{project}/locations/{location}");
            google::path(&parent, protocol, &path, request)
        }
        (Form::Vertex, _) => {
            let reason = "no project and location are set";
            Err(Rejection::new(Kind::UpstreamAuth).with_source(reason))
        }
        (Form::Plain | Form::Account(_) | Form::Ollama | Form::Azure, _) => Ok(path),
    }
}

/// A name as one segment of a path.
pub(super) fn escaped(name: &str) -> String {
    let mut out = String::with_capacity(name.len());
    for byte in name.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' | b'@' => {
                out.push(char::from(byte));
            }
            _ => {
                let _ = write!(out, "%{byte:02X}");
            }
        }
    }
    // A segment of dots would lead elsewhere.
    if matches!(&*out, "." | "..") {
        out = out.replace('.', "%2E");
    }
    out
}

/// Whether this can stand in an address as it is.
pub(super) fn is_plain(name: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.:".contains(&byte);
    !name.is_empty() && name.bytes().all(plain) && !name.contains("..")
}
