//! By which key a caller stays with a version.

use crate::{
    Extensible as _, Principal,
    llm::{Chat, ChatRequest},
    principal::Carried,
};
use http::{Extensions, HeaderMap};
use serde_json::Value;
use std::sync::Arc;

/// The key of a request, with what it says beside the prompt.
pub(super) type Sticky = Arc<dyn Fn(&ChatRequest, &Chat) -> Option<Arc<str>> + Send + Sync>;

/// The key of a call that has nothing but these.
pub(in crate::prompt) type KeyOf =
    dyn Fn(&HeaderMap, &Extensions) -> Option<Arc<str>> + Send + Sync;

/// The principal, else the user whom the request names.
pub(super) fn by_default(request: &ChatRequest, own: &Chat) -> Option<Arc<str>> {
    by_principal(request.extensions()).or_else(|| {
        let metadata = own.extra.get("metadata");
        let named = [
            own.extra.get("user"),
            own.extra.get("safety_identifier"),
            metadata.and_then(|metadata| metadata.get("user_id")),
        ];
        let mut named = named.into_iter().flatten().filter_map(Value::as_str);
        named.find(|name| !name.is_empty()).map(Arc::from)
    })
}

/// The principal, and its tenant, if it has one: two of these may each have a caller of the same name.
pub(in crate::prompt) fn by_principal(extensions: &Extensions) -> Option<Arc<str>> {
    let who: &Principal = extensions.get()?;
    Some(match who.tenant() {
        None => who.id().clone(),
        Some(tenant) => format!("{tenant}/{}", who.id()).into(),
    })
}

/// The same key for a call that is no chat request yet, and will say nothing beside the prompt.
pub(super) fn of_parts(sticky: Sticky) -> Arc<KeyOf> {
    Arc::new(move |headers, extensions| {
        let carried = Carried {
            headers: headers.clone(),
            extensions: extensions.clone(),
        };
        let request = ChatRequest::new().with_carried(carried);
        sticky(&request, &Chat::default())
    })
}

/// The key of what comes to endpoints, for a chat request.
#[cfg(feature = "gateway")]
pub(super) fn of_request(key: Arc<KeyOf>) -> Sticky {
    Arc::new(move |request, _| key(request.headers(), request.extensions()))
}
