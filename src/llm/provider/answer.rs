//! The answer of a vendor, chunk by chunk.

use super::{Inner, refusal};
use crate::{
    Body, BoxError, Rejection,
    llm::{
        Batch, Batches, Error, Event, Framing, Operation, Spoken, Usage, Want,
        codec::{
            self, Codec, Decode, Scan,
            bedrock::frame,
            gemini, lines,
            proofs::Marker,
            sse::{self, Framer, without_bom},
        },
    },
    rejection::Kind,
};
use bytes::Bytes;
use http_body::Body as _;
use std::{
    collections::VecDeque,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

/// Where the batches of a vendor's answer come from.
pub(super) struct Source {
    provider: Arc<Inner>,
    codec: &'static dyn Codec,
    spoken: Spoken,
    want: Want,
    decoder: Option<Box<dyn Decode>>,
    /// Whether nothing was given yet.
    fresh: bool,
    /// Whether nothing but white space was given yet.
    blank: bool,
    /// Whether there was content in what was decoded.
    begun: bool,
    /// Whether something was given that was not decoded: a decoder must see all of it.
    behind: bool,
    usage_unasked: bool,
    /// Marks proofs in the bytes that are given.
    marker: Option<Marker>,
    /// The usage that was found so far.
    usage: Option<Usage>,
    /// A document, and what was found in it.
    whole: Option<(Bytes, Scan)>,
    /// What was cut from the body and not given yet.
    ready: VecDeque<Result<Bytes, Error>>,
    /// `None`: it is over.
    rest: Option<(Body, Cutter)>,
}

impl Source {
    /// An event stream, of which `first` was read before.
    pub(super) fn stream(
        provider: Arc<Inner>,
        spoken: Spoken,
        body: Body,
        first: Option<Bytes>,
        usage_unasked: bool,
    ) -> Self {
        let mut source = Self::new(provider, spoken, usage_unasked);
        let mut framer = Cutter::new(spoken.framing);
        if let Some(first) = first {
            let cut = framer.push(first);
            source.take(cut);
        }
        if !matches!(source.ready.back(), Some(Err(_))) {
            source.rest = Some((body, framer));
        }
        source
    }

    /// A document.
    ///
    /// # Errors
    ///
    /// The one that it reports.
    pub(super) fn whole(provider: Arc<Inner>, spoken: Spoken, raw: Bytes) -> Result<Self, Error> {
        let mut source = Self::new(provider, spoken, false);
        let scan = source.codec.scan(&raw, Framing::Json, None);
        if let Some(error) = scan.error {
            let error = error.with_vendor(source.provider.name.clone());
            let error = refusal::screened(&source.provider, &raw, error);
            refusal::log(&error);
            return Err(error.into());
        }
        source.whole = Some((raw, scan));
        Ok(source)
    }

    /// Marks proofs in the bytes that are given. What they mean stays as it is.
    pub(super) fn marked_by(&mut self, marker: Marker) {
        self.marker = Some(marker);
    }

    fn new(provider: Arc<Inner>, spoken: Spoken, usage_unasked: bool) -> Self {
        Self {
            codec: codec::of(spoken.protocol),
            provider,
            spoken,
            want: Want::Bytes,
            decoder: None,
            fresh: true,
            blank: true,
            begun: false,
            behind: false,
            usage_unasked,
            marker: None,
            usage: None,
            whole: None,
            ready: VecDeque::new(),
            rest: None,
        }
    }

    /// What is whole of a chunk, and behind it why there is no more. Answers whether that is so.
    fn take(&mut self, (whole, on): (Option<Bytes>, Result<(), Uncut>)) -> bool {
        self.ready.extend(whole.map(Ok));
        let fault = on.err().map(|fault| fault.error(&self.provider));
        let over = fault.is_some();
        self.ready.extend(fault.map(Err));
        over
    }

    /// The next whole events.
    fn poll_raw(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, Error>>> {
        loop {
            if let Some(raw) = self.ready.pop_front() {
                return Poll::Ready(Some(raw));
            }
            let Some((body, framer)) = &mut self.rest else {
                return Poll::Ready(None);
            };
            let whole = match ready!(Pin::new(body).poll_frame(cx)) {
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(chunk) => {
                        let cut = framer.push(chunk);
                        if self.take(cut) {
                            self.rest = None;
                        }
                        continue;
                    }
                    Err(_trailers) => continue,
                },
                Some(Err(error)) => Err(broken(error).into()),
                None => {
                    let (last, closed) = framer.finish();
                    self.rest = None;
                    let is_end = |last: &Bytes| match self.spoken.framing {
                        Framing::Array => closed,
                        Framing::EventStream => false,
                        _ => self.is_end(last),
                    };
                    match last {
                        Some(last) if !is_end(&last) => {
                            Err(broken("the last event is not whole".into()).into())
                        }
                        None if !closed => Err(broken("the array is not closed".into()).into()),
                        None if self.blank => {
                            let reason = "a stream without an event";
                            Err(refusal::malformed(&self.provider, reason))
                        }
                        last => Ok(last),
                    }
                }
            };
            if whole.is_err() {
                self.rest = None;
            }
            self.ready.extend(whole.transpose());
        }
    }

    /// Without the byte order mark that may stand at the very start.
    fn text<'a>(&self, raw: &'a [u8]) -> &'a [u8] {
        let marked = self.fresh && self.spoken.framing != Framing::EventStream;
        if marked { without_bom(raw) } else { raw }
    }

    /// Whether what no empty line ends may be the end of a stream.
    fn is_end(&self, last: &[u8]) -> bool {
        let text = self.text(last);
        match self.spoken.framing {
            Framing::Ndjson => lines::of(text).all(is_json),
            _ => is_whole(text) || self.blank && is_document(text),
        }
    }

    /// `None`: nothing is left of it.
    fn batch(&mut self, raw: Bytes, scanned: Option<Scan>) -> Option<Result<Batch, Error>> {
        let framing = self.spoken.framing;
        let text = self.text(&raw);
        let mark = raw.len() - text.len();
        let is_none = matches!(framing, Framing::Sse | Framing::Array);
        let mislabelled = self.blank && is_none && is_document(text);
        let framing = if mislabelled { Framing::Json } else { framing };
        let scan = scanned.unwrap_or_else(|| self.codec.scan(text, framing, self.usage));
        if let Some(error) = scan.error {
            let error = error.with_vendor(self.provider.name.clone());
            let error = refusal::screened(&self.provider, &raw, error);
            return self.failed(&raw, error.into(), scan.usage);
        }
        if mislabelled {
            self.rest = None;
            self.ready.clear();
            let reason = "a document under the content type of a stream";
            return Some(Err(refusal::malformed(&self.provider, reason)));
        }
        self.blank &= text.trim_ascii().is_empty();
        self.fresh = false;
        let scan = Scan {
            usage: scan.usage.map(|usage| self.of_operation(usage)),
            ..scan
        };
        self.usage = scan.usage.or(self.usage);
        // Where what is written anew stands between bytes that came, it has its marks from here.
        let mixes = self.codec.mixes();
        let raw = match &self.marker {
            Some(marker) if mixes => marker.marked(raw, framing),
            _ => raw,
        };
        let mut events = Vec::new();
        let wanted = match self.want {
            Want::Bytes => false,
            Want::UntilContent => !self.begun,
            Want::Events => true,
        };
        if !wanted {
            self.behind = true;
            self.decoder = None;
        } else if let Err(error) = self.decode(&raw, &mut events) {
            let error = match error {
                Error::Vendor(error) => {
                    let error = error.with_vendor(self.provider.name.clone());
                    let error = refusal::screened(&self.provider, &raw, error);
                    refusal::log(&error);
                    error.into()
                }
                error => error,
            };
            self.rest = None;
            self.ready.clear();
            if events.is_empty() && scan.usage.is_none() {
                return Some(Err(error));
            }
            // What stood before it was said, and used. Of the bytes nobody knows where it ends.
            self.ready.push_back(Err(error));
            return Some(Ok(Batch::new(None, events, scan.usage)));
        }
        let raw = match self.usage_unasked && scan.usage.is_some() {
            true if mark > 0 => {
                let left = self.codec.without_usage(raw.slice(mark..));
                [&raw[..mark], &left].concat().into()
            }
            true => self.codec.without_usage(raw),
            false => raw,
        };
        if raw.is_empty() && events.is_empty() && scan.usage.is_none() {
            return None;
        }
        let raw = match &self.marker {
            Some(marker) if !mixes => marker.marked(raw, framing),
            _ => raw,
        };
        Some(Ok(Batch::new(Some(raw), events, scan.usage)))
    }

    /// Where nothing is written, all that was used was read, whichever count tells it.
    fn of_operation(&self, mut usage: Usage) -> Usage {
        if let Operation::Embeddings | Operation::Rerank = self.spoken.operation {
            (usage.input, usage.output) = (usage.total(), 0);
        }
        usage
    }

    fn decode(&mut self, raw: &[u8], events: &mut Vec<Event>) -> Result<(), Error> {
        let (operation, framing) = (self.spoken.operation, self.spoken.framing);
        let decoder = self
            .decoder
            .get_or_insert_with(|| self.codec.decoder(operation, framing));
        // It has seen all from the start, and knows where a byte order mark is one.
        decoder.decode(raw, events)?;
        for event in events.iter_mut() {
            if let Event::Usage(usage) = event {
                *usage = self.of_operation(*usage);
            }
        }
        self.begun |= events.iter().any(Event::is_content);
        Ok(())
    }

    /// A chunk has an error in it: what stands before it is given, and nothing after it.
    /// What was used until then may stand beside the error.
    fn failed(
        &mut self,
        raw: &Bytes,
        error: Error,
        used: Option<Usage>,
    ) -> Option<Result<Batch, Error>> {
        if let Error::Vendor(error) = &error {
            refusal::log(error);
        }
        self.rest = None;
        self.ready.clear();
        let before = match self.spoken.framing {
            Framing::EventStream => self.frames_before(raw),
            _ => self.events_before(raw),
        };
        let alone = before == 0 || before == raw.len();
        if alone && used.is_none() {
            return Some(Err(error));
        }
        self.ready.push_back(Err(error));
        if alone {
            return Some(Ok(Batch::new(None, Vec::new(), used)));
        }
        self.batch(raw.slice(..before), None).map(|batch| {
            batch.map(|batch| match used {
                Some(used) => batch.with_usage(used),
                None => batch,
            })
        })
    }

    /// How much of a chunk stands before the frame that is an error.
    fn frames_before(&self, raw: &[u8]) -> usize {
        let mut before = 0;
        for frame in frame::frames(raw) {
            let end = before + frame.length;
            let scan = self
                .codec
                .scan(&raw[before..end], self.spoken.framing, None);
            if scan.error.is_some() {
                break;
            }
            before = end;
        }
        before
    }

    /// How much of a chunk stands before the event that is an error.
    fn events_before(&self, raw: &Bytes) -> usize {
        let mut framer = Cutter::new(self.spoken.framing);
        let mut before = 0;
        let mut end = 0;
        if self.spoken.framing == Framing::Array && !raw.starts_with(b"[") {
            // It stands in the middle of one.
            let _ = framer.push(Bytes::from_static(b"["));
        }
        // Cut at every line, or element, for the cutter gives all that is whole of a chunk in one.
        let last = match self.spoken.framing {
            Framing::Array => b'}',
            _ => b'\n',
        };
        for line in raw.split_inclusive(|byte| *byte == last) {
            end += line.len();
            let (Some(event), _) = framer.push(Bytes::copy_from_slice(line)) else {
                continue;
            };
            let text = if before == 0 {
                self.text(&event)
            } else {
                &event
            };
            if self
                .codec
                .scan(text, self.spoken.framing, None)
                .error
                .is_some()
            {
                break;
            }
            before = end;
        }
        before
    }
}

impl Batches for Source {
    fn spoken(&self) -> Option<Spoken> {
        Some(self.spoken)
    }

    fn want(&mut self, want: Want) {
        // Whoever held it back until its content may still have all of it, as long as he asks now.
        if !self.behind {
            self.want = self.want.max(want);
        }
    }

    fn poll_batch(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Batch, Error>>> {
        if let Some((raw, scan)) = self.whole.take() {
            return Poll::Ready(self.batch(raw, Some(scan)));
        }
        loop {
            let Some(raw) = ready!(self.poll_raw(cx)) else {
                return Poll::Ready(None);
            };
            let batch = match raw {
                Ok(raw) => self.batch(raw, None),
                Err(error) => Some(Err(error)),
            };
            if batch.is_some() {
                return Poll::Ready(batch);
            }
        }
    }
}

/// Cuts a stream where its pieces end.
enum Cutter {
    Events(Framer),
    Elements(gemini::Cutter),
    Frames(frame::Cutter),
    Lines(lines::Cutter),
}

/// Why a stream cannot be cut.
enum Uncut {
    TooLong,
    Garbled,
}

impl Uncut {
    fn error(&self, provider: &Inner) -> Error {
        match self {
            Self::TooLong => too_long(),
            Self::Garbled => refusal::malformed(provider, "a frame whose sum is wrong"),
        }
    }
}

impl Cutter {
    fn new(framing: Framing) -> Self {
        match framing {
            Framing::Array => Self::Elements(gemini::Cutter::default()),
            Framing::EventStream => Self::Frames(frame::Cutter::default()),
            Framing::Ndjson => Self::Lines(lines::Cutter::default()),
            _ => Self::Events(Framer::new()),
        }
    }

    /// What is whole by now, and why there will be no more.
    fn push(&mut self, chunk: Bytes) -> (Option<Bytes>, Result<(), Uncut>) {
        let whole = match self {
            Self::Events(framer) => framer.push(chunk),
            Self::Elements(cutter) => cutter.push(chunk),
            Self::Lines(cutter) => cutter.push(chunk),
            Self::Frames(cutter) => {
                let (whole, on) = cutter.push(chunk);
                let on = on.map_err(|broken| match broken {
                    frame::Broken::TooLong => Uncut::TooLong,
                    frame::Broken::Garbled => Uncut::Garbled,
                });
                return (whole, on);
            }
        };
        match whole {
            Ok(whole) => (whole, Ok(())),
            Err(sse::TooLong { .. }) => (None, Err(Uncut::TooLong)),
        }
    }

    /// What is left, and whether the stream may end there as far as brackets go.
    fn finish(&mut self) -> (Option<Bytes>, bool) {
        match self {
            Self::Events(framer) => (framer.finish(), true),
            Self::Elements(cutter) => cutter.finish(),
            Self::Frames(cutter) => (cutter.finish(), true),
            Self::Lines(cutter) => (cutter.finish(), true),
        }
    }
}

/// No line of an event begins so: it is a document, most often of an error.
fn is_document(raw: &[u8]) -> bool {
    raw.trim_ascii_start().starts_with(b"{")
}

fn is_json(text: &[u8]) -> bool {
    serde_json::from_slice::<serde::de::IgnoredAny>(text).is_ok()
}

/// Whether the last event of a body, that no empty line ends, is all there.
fn is_whole(last: &[u8]) -> bool {
    let whole = |event: sse::SseEvent<'_>| {
        let data = event.data.trim_ascii();
        event.event == Some(b"error") || data == b"[DONE]" || is_json(data)
    };
    let mut events = sse::events(last).peekable();
    match events.peek() {
        Some(_) => events.all(whole),
        // Comments, and not the name of a field.
        None => last
            .split(|byte| b"\r\n".contains(byte))
            .all(|line| line.is_empty() || line.starts_with(b":")),
    }
}

/// What a body broke off with. That of the client tells what happened; its words are for logs.
pub(super) fn broken(error: BoxError) -> Rejection {
    let rejection = match error.downcast::<Rejection>() {
        Ok(rejection) => *rejection,
        Err(error) => Rejection::new(Kind::BadGateway).with_source(error),
    };
    match rejection.kind() {
        Kind::BadGateway => rejection.with_detail("The upstream's answer broke off."),
        _ => rejection,
    }
}

pub(super) fn too_long() -> Error {
    Rejection::new(Kind::UpstreamTooLarge)
        .with_detail("An event of the upstream's answer is too long.")
        .into()
}
