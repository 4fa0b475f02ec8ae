//! One call: what is sent, and what is made of the head of the answer.

#[cfg(feature = "tokens")]
use super::count;
use super::{
    BaseUrl, Inner, address, answer, framing, google, media, passed, quirks,
    refusal::{malformed, refusal, unreachable},
    table::Form,
};
use crate::{
    Body, Exchange, Extensible, Rejection,
    llm::{
        ChatRequest, ChatResponse, Error, Framing, Loss, Operation, Protocol, RateLimits,
        codec::{
            self, Codec, Encoded, Maker,
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
    HeaderMap, HeaderName, HeaderValue, Method, Request,
    header::{ACCEPT, ACCEPT_ENCODING, CONTENT_TYPE, USER_AGENT},
};
use std::sync::Arc;

const IDENTITY: HeaderValue = HeaderValue::from_static("identity");
const AGENT: HeaderValue =
    HeaderValue::from_static(concat!("tower-gateway/", env!("CARGO_PKG_VERSION")));

static ALONG: [HeaderName; 2] = [
    HeaderName::from_static("traceparent"),
    HeaderName::from_static("tracestate"),
];

const TOOK: HeaderName = HeaderName::from_static("openai-processing-ms");
const THEIR_ID: HeaderName = HeaderName::from_static("x-upstream-request-id");

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
    if provider.strict {
        without_loss(&losses)?;
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
    headers.insert(CONTENT_TYPE, framing::JSON);
    headers.insert(ACCEPT, framing::accepted(protocol, streams));
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
            facts.upstream_model = Some(maker.model.clone());
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
    let (framing, first) =
        framing::of(&provider, &parts.headers, &mut body, protocol, streams).await?;
    let spoken = Spoken {
        protocol,
        framing,
        operation,
    };
    let mut source = source(provider, spoken, body, first, usage_unasked).await?;
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

/// In strict mode what cannot be said is refused.
fn without_loss(losses: &[Loss]) -> Result<(), Rejection> {
    if losses.is_empty() {
        return Ok(());
    }
    let refused = Rejection::new(Kind::UnsupportedParameter);
    Err(losses.iter().fold(refused, |refused, loss| {
        refused.with_fault(&loss.field, loss.why)
    }))
}

/// Where the batches of an answer come from: as they come, or of one document when all of it is there.
async fn source(
    provider: Arc<Inner>,
    spoken: Spoken,
    body: Body,
    first: Option<Bytes>,
    usage_unasked: bool,
) -> Result<answer::Source, Error> {
    if spoken.framing != Framing::Json {
        return Ok(answer::Source::stream(
            provider,
            spoken,
            body,
            first,
            usage_unasked,
        ));
    }
    let raw = framing::collected(body, first, framing::MOST_ANSWER).await?;
    let bytes = raw.trim_ascii();
    if !(bytes.starts_with(b"{") && bytes.ends_with(b"}")) {
        return Err(malformed(&provider, "not a JSON object"));
    }
    answer::Source::whole(provider, spoken, raw)
}

/// The words for this request: those that it came in, if the vendor knows them.
fn spoken_with(provider: &Inner, request: &ChatRequest) -> Protocol {
    let own = request.origin();
    let own = own.filter(|own| provider.besides.contains(own));
    own.unwrap_or(provider.protocol)
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
