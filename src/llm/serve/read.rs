//! The request: its body, as far as it is let in, and what is asked in it.

use super::{
    form::{self, Form},
    write::JSON,
};
use crate::{
    BoxError, CollectError, Rejection, collect,
    llm::{
        ChatRequest, Error, Operation, Passthrough, Protocol, Wire,
        codec::{self, Ask},
    },
    principal::Carried,
    rejection::Kind,
};
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, header};
use http_body::Body as HttpBody;
use std::{io::Read, time::Duration};

/// 32 MiB: room for a conversation with pictures, and a bound on what a caller can make us hold.
pub(super) const LIMIT: usize = 32 << 20;

/// Two minutes for all of a body: a caller that trickles holds a connection and a buffer.
pub(super) const TIME: Duration = Duration::from_secs(120);

/// What is read of a request.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bounds {
    pub(super) bytes: usize,
    pub(super) time: Duration,
}

pub(super) async fn read<B>(
    protocol: Protocol,
    ask: &Ask,
    carried: Carried,
    body: B,
    bounds: Bounds,
) -> Result<ChatRequest, Error>
where
    B: HttpBody<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
{
    if let Operation::Passthrough(asked) = ask.operation
        && let Some(boundary) = form::boundary(&carried.headers)
    {
        // In a box: what is read otherwise need not have room for it.
        let form = Box::pin(form::read(body, &carried.headers, &boundary?, bounds)).await?;
        let request = uploaded(asked, form)?;
        return Ok(request.with_carried(carried));
    }
    let body = json_body(&carried.headers, body, bounds.bytes, bounds.time).await?;
    let request = codec::of(protocol).peek(ask, body)?;
    Ok(request.with_carried(carried))
}

/// A body of JSON, as bytes: of this many at the most, before and after it is decompressed, and all of it
/// within this time.
pub(crate) async fn json_body<B>(
    headers: &HeaderMap,
    body: B,
    most: usize,
    time: Duration,
) -> Result<Bytes, Rejection>
where
    B: HttpBody<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
{
    is_json(headers)?;
    let body = tokio::time::timeout(time, collect(body, most))
        .await
        .map_err(|_| {
            Rejection::new(Kind::RequestTimeout)
                .with_header(header::CONNECTION, HeaderValue::from_static("close"))
        })?
        .map_err(|error| match error {
            CollectError::TooLarge => Rejection::new(Kind::TooLarge),
            CollectError::Broken(error) => match error.downcast::<Rejection>() {
                Ok(rejection) => *rejection,
                Err(error) => Rejection::new(Kind::InvalidRequest)
                    .with_detail("The body of the request broke off.")
                    .with_source(error),
            },
        })?;
    decompressed(headers, body, most)
}

/// A form whose model is known, or the vendor's own.
fn uploaded(asked: Passthrough, form: Form) -> Result<ChatRequest, Rejection> {
    let mut wire = Wire::new(Protocol::OpenAi, form.held);
    wire.upload = Some(form.upload);
    let model = match form.model {
        Some((model, range)) => {
            wire.model = Some(range);
            model
        }
        None => match asked.default_model() {
            Some(model) => model.to_owned(),
            None => {
                let missing = Rejection::new(Kind::InvalidRequest).with_param("model");
                return Err(missing.with_detail("A model is required."));
            }
        },
    };
    let operation = Operation::Passthrough(asked);
    Ok(ChatRequest::from_wire(operation, &model, false, true, wire))
}

/// Whether the content type is one of JSON. An absent one is a mistake of the client, and no guess.
fn is_json(headers: &HeaderMap) -> Result<(), Rejection> {
    let of_json = |value: &HeaderValue| {
        if value == JSON {
            return Some(());
        }
        let essence = value
            .to_str()
            .ok()?
            .split(';')
            .next()?
            .trim()
            .to_ascii_lowercase();
        let json = essence == "application/json"
            || (essence.starts_with("application/") && essence.ends_with("+json"));
        json.then_some(())
    };
    headers
        .get(header::CONTENT_TYPE)
        .and_then(of_json)
        .ok_or_else(|| {
            Rejection::new(Kind::UnsupportedMediaType)
                .with_param("content-type")
                .with_detail("Expected the header `content-type: application/json`.")
        })
}

/// Undoes the content encoding. What comes out is bounded, whatever went in.
fn decompressed(headers: &HeaderMap, body: Bytes, limit: usize) -> Result<Bytes, Rejection> {
    let mut encodings = headers.get_all(header::CONTENT_ENCODING).iter();
    let Some(encoding) = encodings.next() else {
        return Ok(body);
    };
    let mut out = Vec::new();
    let most = (limit as u64).saturating_add(1);
    let mut left = &*body;
    let read = match &*encoding.as_bytes().to_ascii_lowercase() {
        _ if encodings.next().is_some() => return Err(unknown_encoding()),
        b"" | b"identity" => return Ok(body),
        // One member: many that are empty cost time, and never come to the limit.
        b"gzip" | b"x-gzip" => flate2::bufread::GzDecoder::new(&mut left)
            .take(most)
            .read_to_end(&mut out),
        b"deflate" => flate2::bufread::ZlibDecoder::new(&mut left)
            .take(most)
            .read_to_end(&mut out),
        _ => return Err(unknown_encoding()),
    };
    if out.len() > limit {
        return Err(Rejection::new(Kind::TooLarge)
            .with_detail("The request is too large when decompressed."));
    }
    let wrong = || {
        Rejection::new(Kind::InvalidRequest)
            .with_param("content-encoding")
            .with_detail("The body is not in the encoding that its header names.")
    };
    read.map_err(|error| wrong().with_source(error))?;
    if !left.is_empty() {
        return Err(wrong().with_source("bytes after the end of what was compressed"));
    }
    Ok(out.into())
}

fn unknown_encoding() -> Rejection {
    Rejection::new(Kind::UnsupportedMediaType)
        .with_param("content-encoding")
        .with_detail("Expected one of the encodings gzip, deflate and identity.")
        .with_header(
            header::ACCEPT_ENCODING,
            HeaderValue::from_static("gzip, deflate, identity"),
        )
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    #[test]
    fn a_compressed_body_has_one_member_and_nothing_after_it() {
        let gzip = |text: &[u8]| {
            let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
            gzip.write_all(text).unwrap();
            gzip.finish().unwrap()
        };
        let read = |coding: &'static str, body: Vec<u8>, limit| {
            let mut headers = HeaderMap::new();
            headers.insert(header::CONTENT_ENCODING, HeaderValue::from_static(coding));
            decompressed(&headers, body.into(), limit).map_err(|refused| refused.kind())
        };
        assert_eq!(read("gzip", gzip(b"{}"), usize::MAX).unwrap(), "{}");
        assert_eq!(read("GZip", gzip(b"{}"), 2).unwrap(), "{}");
        assert_eq!(read("IDENTITY", b"{}".to_vec(), 2).unwrap(), "{}");
        let bomb = gzip(b"").repeat(1000);
        assert_eq!(read("gzip", bomb, 2), Err(Kind::InvalidRequest));
        let mut more = gzip(b"{}");
        more.push(0);
        assert_eq!(read("gzip", more, 2), Err(Kind::InvalidRequest));
        assert_eq!(read("gzip", gzip(b"{  }"), 2), Err(Kind::TooLarge));
    }
}
