//! The routes on which a model is asked.

use crate::llm::Passthrough;
use std::sync::{Arc, LazyLock};

const TEMPLATES: [&str; 14] = [
    "/v1/chat/completions",
    "/v1/completions",
    "/v1/embeddings",
    "/v1/responses",
    "/v1/responses/input_tokens",
    "/v1/messages",
    "/v1/messages/count_tokens",
    "/v1beta/models/{model}:generateContent",
    "/v1beta/models/{model}:streamGenerateContent",
    "/v1beta/models/{model}:countTokens",
    "/v1beta/models/{model}:embedContent",
    "/v1beta/models/{model}:batchEmbedContents",
    "/v1/rerank",
    "/v2/rerank",
];

/// Their templates.
pub(super) fn templates() -> &'static [Arc<str>] {
    static ALL: LazyLock<Vec<Arc<str>>> = LazyLock::new(|| {
        let passed = Passthrough::ALL.iter();
        let passed = passed.map(|asked| format!("/v1{}", asked.path()).into());
        TEMPLATES.into_iter().map(Arc::from).chain(passed).collect()
    });
    &ALL
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::llm::{codec::Target, dialect, serve::target};
    use http::{HeaderMap, Method, Uri};

    #[test]
    fn each_is_the_template_of_its_own_route() {
        for template in templates() {
            let uri: Uri = template.replace("{model}", "m").parse().unwrap();
            let protocol = dialect::of(uri.path(), &HeaderMap::new());
            let (asked, own) = target::of(protocol, &Method::POST, &uri).unwrap();
            assert!(matches!(asked, Target::Model(_)), "{template}");
            assert_eq!(own, *template);
        }
    }
}
