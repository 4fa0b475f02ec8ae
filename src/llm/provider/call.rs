//! One call: what is sent, and what is made of the head of the answer.

#[cfg(feature = "tokens")]
use super::count;
use super::{
    BaseUrl, Inner, address, answer, google,
    key::{hints_at_a_key, masked, names_an_account},
    media, passed, quirks,
    table::Form,
};
use crate::{
    Body, CollectError, Exchange, Extensible, Rejection, collect,
    llm::{
        ChatRequest, ChatResponse, Error, Framing, Loss, Operation, Protocol, RateLimits,
        VendorError, VendorFault,
        codec::{
            self, Codec, Encoded, Maker,
            bedrock::EVENT_STREAM,
            custom::Inputs,
            envelope::{Bound, Shared},
            loss,
            proofs::Marker,
            rerank, words,
        },
        response::Spoken,
    },
    rejection::Kind,
};
use bytes::Bytes;
use http::{
    HeaderMap, HeaderName, HeaderValue, Method, Request, StatusCode,
    header::{ACCEPT, ACCEPT_ENCODING, CONTENT_ENCODING, CONTENT_TYPE, USER_AGENT},
};
use http_body::Body as _;
use std::{future::poll_fn, pin::Pin, sync::Arc, time::Duration};

pub(super) const JSON: HeaderValue = HeaderValue::from_static("application/json");
const SSE: HeaderValue = HeaderValue::from_static("text/event-stream");
const NDJSON: HeaderValue = HeaderValue::from_static("application/x-ndjson");
const IDENTITY: HeaderValue = HeaderValue::from_static("identity");
const AGENT: HeaderValue =
    HeaderValue::from_static(concat!("tower-gateway/", env!("CARGO_PKG_VERSION")));

static ALONG: [HeaderName; 2] = [
    HeaderName::from_static("traceparent"),
    HeaderName::from_static("tracestate"),
];

const TOOK: HeaderName = HeaderName::from_static("openai-processing-ms");
const THEIR_ID: HeaderName = HeaderName::from_static("x-upstream-request-id");

pub(super) const MOST_ANSWER: usize = 64 << 20;
const MOST_ERROR: usize = 1 << 20;
const MOST_MODELS: usize = 4 << 20;
const MODELS_WITHIN: Duration = Duration::from_secs(10);

pub(super) async fn complete(
    provider: Arc<Inner>,
    mut request: ChatRequest,
) -> Result<ChatResponse, Error> {
    if let Some(model) = &provider.model {
        request.share_model(model);
    }
    if let Some(catalog) = &provider.catalog {
        request.extensions_mut().insert(catalog.clone());
    }
    #[cfg(feature = "tokens")]
    if request.operation() == Operation::CountTokens && !count::counts(provider.protocol, &request)
    {
        return Box::pin(count::counted(request)).await;
    }
    if let Operation::Passthrough(asked) = request.operation() {
        // In a box: other calls need not have room for it.
        return Box::pin(passed::pass(provider, request, asked)).await;
    }
    let protocol = spoken_with(&provider, &request);
    media::check(&provider, protocol, &request)?;
    let codec = codec::of(protocol);
    let maker = Maker {
        protocol,
        vendor: provider.name.clone(),
        model: request.model().clone(),
    };
    let Encoded {
        body,
        mut losses,
        names,
    } = codec::encoded(&request, &maker)?;
    let before = losses.len();
    let body = in_its_words(&provider, &maker, body, request.operation(), &mut losses)
        .map_err(|refused| words::refused(&request, None, refused))?;
    words::losses_of_body(&request, protocol, &mut losses[before..]);
    if provider.strict && !losses.is_empty() {
        let refused = Rejection::new(Kind::UnsupportedParameter);
        let refused = losses.iter().fold(refused, |refused, loss| {
            refused.with_fault(&loss.field, loss.why)
        });
        return Err(refused.into());
    }
    let converses = matches!(
        request.operation(),
        Operation::Chat | Operation::Completions
    );
    let streams = request.streams() && converses;
    let path = address::path(&provider, protocol, &request)?;
    let along = along(request.headers());
    let mut own = HeaderMap::new();
    codec.headers(Some(&request), &mut own);
    let mut call = head(&provider.base, Method::POST, &path, request.take_headers())?;
    let headers = call.headers_mut();
    headers.insert(CONTENT_TYPE, JSON);
    let by_lines = streams && protocol == Protocol::Ollama;
    headers.insert(
        ACCEPT,
        match streams {
            true if by_lines => NDJSON,
            true => SSE,
            false => JSON,
        },
    );
    headers.extend(along);
    headers.extend(own);
    configure(&provider, codec, headers)?;
    let lost = loss::header(&losses);
    if let Some(lost) = &lost {
        tracing::debug!(vendor = &*provider.name, fields = ?lost, "the vendor's protocol cannot say all");
    }
    if let Some(exchange) = Exchange::of(&request) {
        exchange.update(|facts| {
            facts.attempts = facts.attempts.saturating_add(1);
            facts.upstream = Some(provider.name.clone());
            facts.losses = losses;
        });
    }
    let (operation, origin) = (request.operation(), request.origin());
    let binds = origin == Some(protocol)
        && operation == Operation::Chat
        && provider.binds.unwrap_or_else(|| {
            let shared = request.extensions().get::<Shared>();
            shared.is_some_and(|shared| shared.has(protocol))
        });
    let reranks = match operation {
        Operation::Rerank => rerank::completed(request.reranking()?),
        _ => None,
    };
    // An event that tells the usage is sent because it is always asked for.
    let usage_unasked = !request.includes_usage();
    // What the request holds is not needed while the vendor thinks.
    drop(request);

    let call = call.map(|()| body);
    let call = match &provider.credential {
        Some(credential) => credential.authorize(call).await?,
        None => call,
    };
    let response = provider
        .client
        .send(call.map(Body::from))
        .await
        .inspect_err(|rejection| unreachable(&provider, rejection))?;
    let (parts, mut body) = response.into_parts();
    if !parts.status.is_success() {
        return Err(refusal(&provider, codec, parts.status, &parts.headers, body).await);
    }
    if is_encoded(&parts.headers) {
        return Err(malformed(
            &provider,
            "an answer in an encoding that was not asked for",
        ));
    }
    let mut first = None;
    // Only one protocol has frames for a stream.
    let framed = protocol == Protocol::Bedrock;
    let framing = match (content(&parts.headers), streams) {
        (Some(Framing::Sse), true) => Framing::Sse,
        (Some(Framing::Json), false) => Framing::Json,
        (Some(Framing::EventStream), true) if framed => Framing::EventStream,
        (Some(Framing::Json | Framing::Ndjson), true) if by_lines => Framing::Ndjson,
        _ => {
            let (told, bytes) = sniffed(&mut body).await?;
            first = bytes;
            // The first line is a document, and may be all.
            let told = match told {
                Some(Framing::Json) if by_lines => Some(Framing::Ndjson),
                told => told,
            };
            told.filter(|told| match told {
                // Likewise an array.
                Framing::Array => streams && protocol == Protocol::Gemini,
                Framing::EventStream => streams && framed,
                Framing::Sse => !framed,
                Framing::Json | Framing::Ndjson | Framing::Opaque => true,
            })
            .ok_or_else(|| malformed(&provider, "neither JSON nor an event stream"))?
        }
    };
    let spoken = Spoken {
        protocol,
        framing,
        operation,
    };
    let mut source = match framing {
        Framing::Sse
        | Framing::Array
        | Framing::EventStream
        | Framing::Ndjson
        | Framing::Opaque => answer::Source::stream(provider, spoken, body, first, usage_unasked),
        Framing::Json => {
            let raw = collected(body, first, MOST_ANSWER).await?;
            let bytes = raw.trim_ascii();
            if !(bytes.starts_with(b"{") && bytes.ends_with(b"}")) {
                return Err(malformed(&provider, "not a JSON object"));
            }
            answer::Source::whole(provider, spoken, raw)?
        }
    };
    if binds {
        source.marked_by(Marker::new(&maker));
    }
    let mut answer = ChatResponse::new(source);
    if !names.is_empty() {
        let mut inputs = Inputs::default();
        answer = answer.map(move |event| inputs.restored(&names, names.restored(event)));
    }
    if let Some(completed) = reranks {
        answer = answer.map(completed);
    }
    if let Some(limits) = RateLimits::read(&parts.headers) {
        answer.extensions_mut().insert(limits);
    }
    // Who is told in the words of the vendor itself has no use for it.
    // Where what is written anew stands between bytes that came, a thought may have its proof in those:
    // there the bytes are marked before they are read.
    if binds && !codec.mixes() {
        answer.extensions_mut().insert(Bound(maker));
    } else if origin != Some(maker.protocol) {
        answer.extensions_mut().insert(maker);
    }
    *answer.headers_mut() = passed_back(parts.headers);
    if let Some(lost) = lost {
        answer.headers_mut().insert(loss::HEADER, lost);
    }
    Ok(answer)
}

/// The words for this request: those that it came in, if the vendor knows them.
fn spoken_with(provider: &Inner, request: &ChatRequest) -> Protocol {
    let own = request.origin();
    let own = own.filter(|own| provider.besides.contains(own));
    own.unwrap_or(provider.protocol)
}

pub(super) async fn models(provider: &Inner) -> Result<Vec<String>, Error> {
    let codec = codec::of(provider.protocol);
    let listed = async {
        let mut models = listed(provider, codec, codec.models_path()).await?;
        if let Some(path) = codec.more_models_path() {
            // Not every key may see both.
            models.extend(listed(provider, codec, path).await.unwrap_or_default());
        }
        Ok(models)
    };
    match tokio::time::timeout(MODELS_WITHIN, listed).await {
        Ok(models) => models,
        Err(_) => Err(Kind::Timeout.into()),
    }
}

/// A request with what is the vendor's own way of saying it.
fn in_its_words(
    provider: &Inner,
    to: &Maker,
    body: Bytes,
    operation: Operation,
    losses: &mut Vec<Loss>,
) -> Result<Bytes, Rejection> {
    let Some(vendor) = &provider.vendor else {
        return Ok(body);
    };
    Ok(match to.protocol {
        Protocol::OpenAi if matches!(operation, Operation::Chat | Operation::Completions) => {
            quirks::edited(&vendor.quirks, body, losses)?
        }
        Protocol::Anthropic if vendor.form == Form::Vertex => google::edited(body, operation),
        _ => body,
    })
}

/// One list.
async fn listed(
    provider: &Inner,
    codec: &'static dyn Codec,
    path: &str,
) -> Result<Vec<String>, Error> {
    let base = provider.lists.as_ref().unwrap_or(&provider.base);
    let mut call = head(base, Method::GET, path, HeaderMap::new())?;
    call.headers_mut().insert(ACCEPT, JSON);
    codec.headers(None, call.headers_mut());
    configure(provider, codec, call.headers_mut())?;
    let call = call.map(|()| Bytes::new());
    let call = match &provider.credential {
        Some(credential) => credential.authorize(call).await?,
        None => call,
    };
    let response = provider.client.send(call.map(Body::from)).await;
    let response = response.inspect_err(|rejection| unreachable(provider, rejection))?;
    let (parts, body) = response.into_parts();
    if !parts.status.is_success() {
        return Err(refusal(provider, codec, parts.status, &parts.headers, body).await);
    }
    let raw = collected(body, None, MOST_MODELS).await?;
    let models = codec.decode_models(&raw);
    models.ok_or_else(|| malformed(provider, "not a list of models"))
}

/// What a call begins with. Its headers stand in the place of others, which go no further: one map serves
/// request, call and answers, as hyper keeps it from each message for the next.
pub(super) fn head(
    base: &BaseUrl,
    method: Method,
    path: &str,
    place: HeaderMap,
) -> Result<Request<()>, Rejection> {
    let mut call = Request::new(());
    *call.method_mut() = method;
    *call.uri_mut() = base.join(path)?;
    let headers = call.headers_mut();
    *headers = place;
    headers.clear();
    headers.reserve(12);
    headers.insert(ACCEPT_ENCODING, IDENTITY);
    headers.insert(USER_AGENT, AGENT);
    Ok(call)
}

/// The key, and the headers that were configured.
pub(super) fn configure(
    provider: &Inner,
    codec: &dyn Codec,
    headers: &mut HeaderMap,
) -> Result<(), Rejection> {
    if let Some(key) = &provider.key {
        let own = provider.vendor.and_then(|vendor| vendor.key_header);
        let (name, prefix) = match own {
            Some(name) => (HeaderName::from_static(name), ""),
            None => codec.key_header(),
        };
        let Some(key) = key.header(prefix) else {
            let reason = "the key has characters that no key has";
            return Err(Rejection::new(Kind::UpstreamAuth).with_source(reason));
        };
        headers.insert(name, key);
    }
    for (name, value) in &provider.headers {
        headers.insert(name, value.clone());
    }
    Ok(())
}

/// The client's headers that go on.
pub(super) fn along(from: &HeaderMap) -> impl Iterator<Item = (HeaderName, HeaderValue)> + use<> {
    let along = ALONG.each_ref().map(|name| {
        let value = from.get(name)?.clone();
        Some((name.clone(), value))
    });
    along.into_iter().flatten()
}

/// What goes back of the vendor's headers, in their place.
pub(super) fn passed_back(mut headers: HeaderMap) -> HeaderMap {
    let (mut took, mut id) = (None, None);
    for (name, value) in &headers {
        let weight = match name.as_str() {
            "openai-processing-ms" => {
                took.get_or_insert_with(|| value.clone());
                continue;
            }
            "x-request-id" => 1,
            // Anthropic's word for it.
            "request-id" => 2,
            // Amazon's.
            "x-amzn-requestid" => 3,
            _ => continue,
        };
        if id.as_ref().is_none_or(|(other, _)| *other < weight) {
            id = Some((weight, value.clone()));
        }
    }
    headers.clear();
    // For what the layers further out add.
    headers.reserve(12);
    if let Some(took) = took {
        headers.insert(TOOK, took);
    }
    if let Some((_, id)) = id {
        headers.insert(THEIR_ID, id);
    }
    headers
}

pub(super) fn is_encoded(headers: &HeaderMap) -> bool {
    headers
        .get(CONTENT_ENCODING)
        .is_some_and(|encoding| !encoding.as_bytes().eq_ignore_ascii_case(b"identity"))
}

pub(super) fn content(headers: &HeaderMap) -> Option<Framing> {
    let content = headers.get(CONTENT_TYPE)?;
    if content == JSON {
        return Some(Framing::Json);
    }
    let content = content.to_str().ok()?;
    let content = content.split(';').next().unwrap_or_default().trim();
    if content.eq_ignore_ascii_case("text/event-stream") {
        Some(Framing::Sse)
    } else if content.eq_ignore_ascii_case("application/json") {
        Some(Framing::Json)
    } else if content.eq_ignore_ascii_case(EVENT_STREAM) {
        Some(Framing::EventStream)
    } else if content.eq_ignore_ascii_case("application/x-ndjson") {
        Some(Framing::Ndjson)
    } else {
        None
    }
}

/// What an answer is by its first byte, and the bytes that were read to see it.
async fn sniffed(body: &mut Body) -> Result<(Option<Framing>, Option<Bytes>), Error> {
    let mut read = Vec::new();
    loop {
        let start = read
            .strip_prefix(b"\xEF\xBB\xBF")
            .unwrap_or(&read)
            .trim_ascii_start();
        let framing = match start.first() {
            // A kilobyte of white space is a beginning of nothing.
            None if read.len() < 1024 => None,
            Some(b'{') => Some(Some(Framing::Json)),
            Some(b'[') => Some(Some(Framing::Array)),
            // The length of a frame.
            Some(0) => Some(Some(Framing::EventStream)),
            // The fields of an event, and comments.
            Some(b'd' | b'e' | b'i' | b'r' | b':') => Some(Some(Framing::Sse)),
            _ => Some(None),
        };
        if let Some(framing) = framing {
            return Ok((framing, Some(read.into())));
        }
        match poll_fn(|cx| Pin::new(&mut *body).poll_frame(cx)).await {
            None => return Ok((None, None)),
            Some(Err(error)) => return Err(answer::broken(error).into()),
            Some(Ok(frame)) => {
                if let Ok(data) = frame.into_data() {
                    read.extend_from_slice(&data);
                }
            }
        }
    }
}

pub(super) async fn collected(
    body: Body,
    first: Option<Bytes>,
    most: usize,
) -> Result<Bytes, Error> {
    let collected = collect(body, most).await.map_err(|error| match error {
        CollectError::TooLarge => Rejection::new(Kind::UpstreamTooLarge),
        CollectError::Broken(error) => answer::broken(error),
    })?;
    Ok(match first {
        Some(first) if collected.is_empty() => first,
        Some(first) => [first, collected].concat().into(),
        None => collected,
    })
}

pub(super) fn malformed(provider: &Inner, reason: &'static str) -> Error {
    tracing::warn!(
        vendor = &*provider.name,
        reason,
        "the vendor's answer cannot be read"
    );
    VendorError::new(VendorFault::Malformed)
        .with_vendor(provider.name.clone())
        .into()
}

/// Says in the log why there is no answer: the caller is not told.
pub(super) fn unreachable(provider: &Inner, rejection: &Rejection) {
    tracing::warn!(
        vendor = &*provider.name,
        code = rejection.kind().code(),
        error = std::error::Error::source(rejection),
        "the vendor cannot be reached"
    );
}

/// What an answer means that is not a success.
pub(super) async fn refusal(
    provider: &Inner,
    codec: &'static dyn Codec,
    status: StatusCode,
    headers: &HeaderMap,
    body: Body,
) -> Error {
    // Whatever is wrong with the body, the status stands.
    let body = match is_encoded(headers) {
        true => Bytes::new(),
        false => collect(body, MOST_ERROR).await.unwrap_or_default(),
    };
    let mut error = if status.is_redirection() {
        VendorError::new(VendorFault::Failed)
    } else {
        screened(provider, &body, codec.decode_error(status, headers, &body))
    };
    // Its words would be taken to be for the caller, whatever it says in them. That the caller's own
    // were flagged is told with a 403 by OpenRouter.
    let flagged = status == StatusCode::FORBIDDEN && error.fault() == VendorFault::ContentFilter;
    if matches!(status.as_u16(), 401..=403) && error.fault().concerns_caller() && !flagged {
        error = VendorError::new(VendorFault::Auth)
            .with_message(error.message())
            .with_limits(error.limits().copied());
    }
    if let Some(credential) = &provider.credential
        && error.fault() == VendorFault::Auth
    {
        credential.refused();
    }
    error = error
        .with_vendor(provider.name.clone())
        .with_status(status)
        .with_headers(passed_back(headers.clone()));
    let foreign = serde_json::from_slice::<serde::de::IgnoredAny>(&body).is_err();
    if foreign && !body.is_empty() && error.fault() == VendorFault::Failed {
        let start = String::from_utf8_lossy(&body[..body.len().min(512)]);
        tracing::warn!(
            vendor = &*provider.name,
            words = masked(&start),
            "the answer is no error of an API"
        );
    }
    log(&error);
    error.into()
}

/// An error that repeats our key is about our key, and nobody reads its words.
pub(super) fn screened(provider: &Inner, raw: &[u8], mut error: VendorError) -> VendorError {
    if error.fault().concerns_caller() && names_an_account(error.message()) {
        tracing::warn!(
            vendor = &*provider.name,
            words = masked(error.message()),
            "the vendor names the gateway's account: its words are not passed on"
        );
        error = error.without_words();
    }
    let (key, credential) = (&provider.key, &provider.credential);
    if key.is_none() && credential.is_none() {
        return error;
    }
    let is_in = |words: &[u8]| {
        key.as_ref().is_some_and(|key| key.is_in(words))
            || credential.as_ref().is_some_and(|one| one.is_in(words))
    };
    // In the body it may stand with escapes, in what was read of it without.
    let words = [Some(error.message()), error.code(), error.param()];
    let said = |words: &Option<&str>| words.is_some_and(|words| is_in(words.as_bytes()));
    if !is_in(raw) && !words.iter().any(said) {
        // Of a part of it nobody knows whose it is: whatever went wrong stands, and the words do not.
        if !hints_at_a_key(error.message()) {
            return error;
        }
        tracing::warn!(
            vendor = &*provider.name,
            words = masked(error.message()),
            "the vendor shows a part of a key: its words are not passed on"
        );
        return error.without_words();
    }
    let screened = VendorError::new(VendorFault::Auth).with_vendor(error.vendor().clone());
    match error.status() {
        Some(status) => screened.with_status(status),
        None => screened,
    }
}

/// Says in the log what a vendor said.
pub(super) fn log(error: &VendorError) {
    tracing::warn!(
        vendor = &**error.vendor(),
        status = error.status().map(|status| status.as_u16()),
        fault = ?error.fault(),
        code = masked(error.code().unwrap_or_default()),
        words = masked(error.message()),
        "the vendor answered with an error"
    );
}
