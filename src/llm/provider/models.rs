//! Which models a vendor lists.

use super::{
    Inner,
    call::{configure, head},
    framing::{JSON, collected},
    refusal::{malformed, refusal, unreachable},
};
use crate::{
    Body,
    llm::{
        Error,
        codec::{self, Codec},
    },
    rejection::Kind,
};
use bytes::Bytes;
use http::{HeaderMap, Method, header::ACCEPT};
use std::time::Duration;

const MOST_MODELS: usize = 4 << 20;
const MODELS_WITHIN: Duration = Duration::from_secs(10);

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
