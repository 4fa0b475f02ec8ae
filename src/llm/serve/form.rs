//! Forms with files (`multipart/form-data`, RFC 7578), of which one field is read: the model's name.
//!
//! What stands before the end of that field is held, and the rest is passed on while it comes: a client
//! that names the model first has nothing of its file held here, and one that names it last has all of
//! it, as far as a body may be long. The rest is watched: a second name would be one that nobody here
//! has seen, and breaks the request off before the vendor has all of it.

#[cfg(test)]
mod tests;

use super::read::Bounds;
use crate::{Body, BoxError, Rejection, llm::passthrough::Upload, rejection::Kind};
use bytes::{Bytes, BytesMut};
use http::{HeaderMap, HeaderValue, header};
use http_body::{Body as HttpBody, Frame, SizeHint};
use std::{
    future::poll_fn,
    ops::Range,
    pin::Pin,
    task::{Context, Poll, ready},
};
use tokio::time::{Instant, Sleep, sleep_until};

/// What was read of a form.
#[derive(Debug)]
pub(super) struct Form {
    /// All that was read.
    pub(super) held: Bytes,
    /// The model's name, and where it stands.
    pub(super) model: Option<(String, Range<usize>)>,
    pub(super) upload: Upload,
}

/// The boundary, if the content type is that of a form.
pub(super) fn boundary(headers: &HeaderMap) -> Option<Result<String, Rejection>> {
    const FORM: &str = "multipart/form-data";
    let content = headers.get(header::CONTENT_TYPE)?.to_str().ok()?;
    let (essence, params) = content.split_once(';').unwrap_or((content, ""));
    if !essence.trim().eq_ignore_ascii_case(FORM) {
        return None;
    }
    let value = param(params, "boundary");
    // RFC 2046 §5.1.1.
    let fits = |value: &String| {
        (1..=70).contains(&value.len()) && value.bytes().all(|byte| matches!(byte, b' '..=b'~'))
    };
    Some(value.filter(fits).ok_or_else(|| {
        Rejection::new(Kind::UnsupportedMediaType)
            .with_param("content-type")
            .with_detail("The form names no boundary between its fields.")
    }))
}

/// A parameter of a header that is given once.
fn param(params: &str, name: &str) -> Option<String> {
    let all = all(params).into_iter();
    let mut named = all.filter(|(key, _)| key.eq_ignore_ascii_case(name));
    // Of two, readers take either.
    named
        .next()
        .filter(|_| named.next().is_none())
        .map(|(_, value)| value)
}

/// The parameters of a header, with or without quotes.
fn all(params: &str) -> Vec<(&str, String)> {
    let mut rest = params;
    let mut found = Vec::new();
    while !rest.is_empty() {
        rest = rest.trim_start_matches([' ', '\t', ';']);
        let Some((key, after)) = rest.split_once('=') else {
            break;
        };
        let mut value = String::new();
        if let Some(quoted) = after.strip_prefix('"') {
            let mut chars = quoted.char_indices();
            let mut end = quoted.len();
            while let Some((at, char)) = chars.next() {
                match char {
                    '"' => {
                        end = at + 1;
                        break;
                    }
                    '\\' => value.extend(chars.next().map(|(_, char)| char)),
                    char => value.push(char),
                }
            }
            rest = &quoted[end..];
        } else {
            let end = after.find(';').unwrap_or(after.len());
            value.push_str(after[..end].trim());
            rest = &after[end..];
        }
        found.push((key.trim(), value));
    }
    found
}

/// Reads as much of a form as it takes to know the model.
pub(super) async fn read<B>(
    body: B,
    headers: &HeaderMap,
    boundary: &str,
    bounds: Bounds,
) -> Result<Form, Rejection>
where
    B: HttpBody<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
{
    let plain = |value: &HeaderValue| value.as_bytes().eq_ignore_ascii_case(b"identity");
    if !headers.get_all(header::CONTENT_ENCODING).iter().all(plain) {
        return Err(Rejection::new(Kind::UnsupportedMediaType)
            .with_param("content-encoding")
            .with_detail("A form with files is not compressed."));
    }
    let mut rest = Rest {
        body: Body::new(body),
        left: bounds.bytes as u64,
        over: Box::pin(sleep_until(Instant::now() + bounds.time)),
        scanner: Scanner::new(boundary),
        watch: false,
    };
    if rest.body.size_hint().lower() > rest.left {
        return Err(Kind::TooLarge.into());
    }
    let mut held = BytesMut::new();
    let mut first = Bytes::new();
    loop {
        let frame = poll_fn(|cx| Pin::new(&mut rest).poll_frame(cx)).await;
        let ended = match frame {
            None => true,
            Some(Err(error)) => {
                return Err(match error.downcast::<Rejection>() {
                    Ok(rejection) => *rejection,
                    Err(error) => Rejection::new(Kind::InvalidRequest)
                        .with_detail("The body of the request broke off.")
                        .with_source(error),
                });
            }
            Some(Ok(frame)) => {
                let data = frame.into_data().unwrap_or_default();
                // A form that comes in one piece is not copied.
                if first.is_empty() && held.is_empty() {
                    first = data;
                } else {
                    held.extend_from_slice(&std::mem::take(&mut first));
                    held.extend_from_slice(&data);
                }
                false
            }
        };
        let model = rest.scanner.model.take();
        if model.is_none() && !ended {
            continue;
        }
        let held = if held.is_empty() {
            first
        } else {
            held.freeze()
        };
        rest.watch = true;
        let more = !ended && !rest.body.is_end_stream();
        let upload = Upload::new(boundary, more.then(|| Body::boxed(rest)));
        return Ok(Form {
            held,
            model,
            upload,
        });
    }
}

/// What comes of a form, within its bounds.
struct Rest {
    body: Body,
    left: u64,
    over: Pin<Box<Sleep>>,
    scanner: Scanner,
    /// Whether a name of a model would be the second one.
    watch: bool,
}

impl HttpBody for Rest {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let this = self.get_mut();
        let frame = match Pin::new(&mut this.body).poll_frame(cx) {
            Poll::Ready(frame) => frame,
            Poll::Pending => {
                ready!(this.over.as_mut().poll(cx));
                let late = Rejection::new(Kind::RequestTimeout)
                    .with_header(header::CONNECTION, HeaderValue::from_static("close"));
                return Poll::Ready(Some(Err(late.into())));
            }
        };
        let Some(frame) = frame.transpose()? else {
            return Poll::Ready(None);
        };
        if let Some(data) = frame.data_ref() {
            let Some(left) = this.left.checked_sub(data.len() as u64) else {
                return Poll::Ready(Some(Err(Rejection::new(Kind::TooLarge).into())));
            };
            this.left = left;
            this.scanner.push(data)?;
            if this.watch && this.scanner.model.is_some() {
                return Poll::Ready(Some(Err(twice().into())));
            }
        }
        Poll::Ready(Some(Ok(frame)))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

fn twice() -> Rejection {
    fault("The form names a model twice.")
}

fn fault(detail: &'static str) -> Rejection {
    Rejection::new(Kind::InvalidRequest)
        .with_param("model")
        .with_detail(detail)
}

/// Finds the field `model` in a form, piece by piece. It holds what it must to know where a part ends.
struct Scanner {
    /// What stands between two parts, with the end of line before it.
    delimiter: Vec<u8>,
    /// What was not judged yet.
    pending: BytesMut,
    /// Where that begins, counted from the start of the form, and two more: the first delimiter has no
    /// end of line before it, and is given one.
    at: usize,
    place: Place,
    /// Whether what was not judged yet begins where the part does.
    begins: bool,
    /// The model's name, when it was found.
    model: Option<(String, Range<usize>)>,
    /// How many bytes were looked at, those that were looked at twice among them.
    #[cfg(test)]
    looked: usize,
}

#[derive(Debug)]
enum Place {
    /// Within a part, or before the first: of the field that is looked for, what it holds so far and
    /// where that begins.
    Part(Option<(Vec<u8>, usize)>),
    /// Behind a delimiter.
    Delimiter,
    /// In the head of a part, of which so much was looked at.
    Headers(usize),
    End,
}

const LONGEST_HEADERS: usize = 8 << 10;
/// White space behind a delimiter, which nobody needs and RFC 2046 allows.
const LONGEST_PADDING: usize = 256;
const LONGEST_NAME: usize = 256;

impl Scanner {
    fn new(boundary: &str) -> Self {
        Self {
            delimiter: format!("\r\n--{boundary}").into_bytes(),
            pending: BytesMut::from(&b"\r\n"[..]),
            at: 0,
            place: Place::Part(None),
            begins: false,
            model: None,
            #[cfg(test)]
            looked: 0,
        }
    }

    fn drop_front(&mut self, length: usize) -> BytesMut {
        self.at += length;
        self.pending.split_to(length)
    }

    fn push(&mut self, data: &[u8]) -> Result<(), Rejection> {
        if matches!(self.place, Place::End) {
            return Ok(());
        }
        self.pending.extend_from_slice(data);
        while self.step()? {}
        Ok(())
    }

    /// Whether there may be more to find in what is there.
    fn step(&mut self) -> Result<bool, Rejection> {
        match &mut self.place {
            Place::End => {
                self.pending = BytesMut::new();
                Ok(false)
            }
            Place::Part(field) => {
                let mut field = field.take();
                #[cfg(test)]
                {
                    self.looked += self.pending.len();
                }
                let end = delimiter(&self.pending, &self.delimiter, self.begins)?;
                // What may be the beginning of a delimiter stays.
                let known = self.pending.len().saturating_sub(self.delimiter.len() - 1);
                let data = self.drop_front(end.unwrap_or(known));
                self.begins &= data.is_empty();
                if let Some((name, _)) = &mut field {
                    if name.len() + data.len() > LONGEST_NAME {
                        return Err(fault("Expected the name of a model, of at most 256 bytes."));
                    }
                    name.extend_from_slice(&data);
                }
                if end.is_none() {
                    self.place = Place::Part(field);
                    return Ok(false);
                }
                if let Some((name, start)) = field {
                    let range = start..start + name.len();
                    let name = String::from_utf8(name)
                        .map_err(|_| fault("The name of the model is not valid UTF-8."))?;
                    if self.model.replace((name, range)).is_some() {
                        return Err(twice());
                    }
                }
                let length = self.delimiter.len();
                self.drop_front(length);
                self.place = Place::Delimiter;
                Ok(true)
            }
            Place::Delimiter => {
                if self.pending.starts_with(b"--") {
                    self.place = Place::End;
                    return Ok(true);
                }
                let padding = self.pending.iter().position(|byte| !b" \t".contains(byte));
                if padding.unwrap_or(self.pending.len()) > LONGEST_PADDING {
                    return Err(malformed(
                        "More than 256 bytes of white space stand behind a boundary.",
                    ));
                }
                let Some(padding) = padding else {
                    return Ok(false);
                };
                match self.pending.get(padding..padding + 2) {
                    Some(b"\r\n") => {
                        self.drop_front(padding + 2);
                        self.place = Place::Headers(0);
                        Ok(true)
                    }
                    // Readers differ in what they make of it.
                    Some(_) => Err(malformed(
                        "What stands behind a boundary is no end of line.",
                    )),
                    None => Ok(false),
                }
            }
            Place::Headers(seen) => {
                // The mark may have begun in what was looked at.
                let from = seen.saturating_sub(3);
                *seen = self.pending.len();
                #[cfg(test)]
                {
                    self.looked += self.pending.len() - from;
                }
                let end = match self.pending.starts_with(b"\r\n") {
                    true => Some(0),
                    false => memchr::memmem::find(&self.pending[from..], b"\r\n\r\n")
                        .map(|at| from + at + 2),
                };
                // Where there is no end yet, it is not before the last byte.
                let least = self.pending.len().saturating_sub(1);
                if end.unwrap_or(least) > LONGEST_HEADERS {
                    return Err(malformed("The head of a field is longer than 8 KiB."));
                }
                let Some(end) = end else {
                    return Ok(false);
                };
                let head = self.drop_front(end);
                self.drop_front(2);
                let start = self.at - 2;
                let model = names_model(&head)?;
                self.place = Place::Part(model.then(|| (Vec::new(), start)));
                self.begins = true;
                Ok(true)
            }
        }
    }
}

/// Where a delimiter begins. A boundary on a line that ends otherwise before it, or at the beginning of a
/// part, is one to some readers and not to others.
fn delimiter(text: &[u8], delimiter: &[u8], begins: bool) -> Result<Option<usize>, Rejection> {
    let boundary = delimiter.get(2..).unwrap_or_default();
    let found = memchr::memmem::find_iter(text, boundary);
    for at in found {
        let before = &text[..at];
        if before.ends_with(b"\r\n") {
            return Ok(Some(at - 2));
        }
        if matches!(before.last(), Some(b'\r' | b'\n')) || at == 0 && begins {
            return Err(malformed(
                "A boundary does not stand behind an end of line.",
            ));
        }
    }
    Ok(None)
}

fn malformed(detail: &'static str) -> Rejection {
    Rejection::new(Kind::InvalidRequest).with_detail(detail)
}

/// Whether a part is the field that is looked for.
fn names_model(head: &[u8]) -> Result<bool, Rejection> {
    let head = std::str::from_utf8(head).map_err(|_| malformed("A head is not valid UTF-8."))?;
    let mut model = false;
    let mut plain = true;
    for line in head.split("\r\n") {
        // Some readers add a line that begins with space to the one before, and end lines otherwise: a
        // second name would be hidden from here.
        if line.starts_with([' ', '\t']) || line.contains(['\r', '\n']) {
            return Err(malformed("A head has a line that is no field."));
        }
        let Some((name, value)) = line.split_once(':') else {
            continue;
        };
        let name = name.trim();
        if name.eq_ignore_ascii_case("content-disposition") {
            let params = value.split_once(';').map_or("", |(_, params)| params);
            let all = all(params);
            let begins = |key: &str, name: &str| {
                let start = key.get(..name.len());
                start.is_some_and(|start| start.eq_ignore_ascii_case(name))
            };
            // Twice, or as RFC 2231 has it.
            let names = all.iter().filter(|(key, _)| begins(key, "name"));
            let mut names =
                names.filter(|(key, _)| matches!(key.as_bytes().get(4), None | Some(b'*')));
            let name = names.next();
            if names.next().is_some() || name.is_some_and(|(key, _)| key.contains('*')) {
                let detail = "A field is named in a way that readers differ in.";
                return Err(malformed(detail));
            }
            model |= name.is_some_and(|(_, name)| name == "model");
            plain &= !all.iter().any(|(key, _)| begins(key, "filename"));
        } else if name.eq_ignore_ascii_case("content-transfer-encoding") {
            let known = ["7bit", "8bit", "binary"];
            plain &= known.iter().any(|is| value.trim().eq_ignore_ascii_case(is));
        }
    }
    match (model, plain) {
        (true, false) => Err(fault("Expected the name of a model as a plain field.")),
        (model, _) => Ok(model),
    }
}
