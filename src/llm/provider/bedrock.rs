//! Amazon Bedrock: where it is, and whose keys it takes.

use super::{BaseUrl, InvalidProvider, Provider, table::BEDROCK};
#[cfg(feature = "bedrock")]
use crate::{
    BoxError,
    llm::provider::aws::{AwsCredentials, Signer},
};

const REGION: &str = "AWS_REGION";

/// What else the environment may have of it.
pub(super) const VARIABLES: [&str; 6] = [
    REGION,
    "AWS_DEFAULT_REGION",
    "AWS_ENDPOINT_URL_BEDROCK",
    "AWS_ACCESS_KEY_ID",
    "AWS_SECRET_ACCESS_KEY",
    "AWS_SESSION_TOKEN",
];

impl Provider {
    /// Amazon Bedrock in this region, with access keys of a closure, which are kept until near their
    /// expiry. See [`aws`](super::aws) for an example.
    ///
    /// Calls go to `bedrock-runtime`, and lists of models come from `bedrock`; a
    /// [`base_url`](Self::base_url) is for both.
    ///
    /// # Errors
    ///
    /// If the region has anything but small letters, digits and hyphens.
    #[cfg(feature = "bedrock")]
    pub fn bedrock<F, Fut, E>(
        region: impl AsRef<str>,
        credentials: F,
    ) -> Result<Self, InvalidProvider>
    where
        F: Fn() -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<AwsCredentials, E>> + Send + 'static,
        E: Into<BoxError>,
    {
        let region = region.as_ref().trim();
        let signer = Signer::new(region, credentials);
        Ok(in_region(region)?.credential(signer))
    }

    /// Amazon Bedrock in this region, with an API key of its own (`AWS_BEARER_TOKEN_BEDROCK`).
    ///
    /// # Errors
    ///
    /// If the region has anything but small letters, digits and hyphens.
    pub fn bedrock_with_key(
        region: impl AsRef<str>,
        key: impl AsRef<str>,
    ) -> Result<Self, InvalidProvider> {
        Ok(in_region(region.as_ref().trim())?.key(key))
    }
}

fn in_region(region: &str) -> Result<Provider, InvalidProvider> {
    let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    if region.is_empty() || region.len() > 32 || !region.bytes().all(plain) {
        return Err(InvalidProvider::new("no name of a region"));
    }
    // China is a partition of its own.
    let domain = match region.starts_with("cn-") {
        true => "amazonaws.com.cn",
        false => "amazonaws.com",
    };
    let lists = BaseUrl::new(&format!("https://bedrock.{region}.{domain}"))?;
    let runtime = format!("https://bedrock-runtime.{region}.{domain}");
    let provider = Provider::of(BEDROCK).base_url(runtime)?;
    Ok(provider.set(|inner| inner.lists = Some(lists)))
}

/// What the environment has of it. Access keys alone say nothing of Bedrock: there must be a region, too.
pub(super) fn from_variables(
    variable: impl Fn(&str) -> Option<String>,
) -> Result<Option<Provider>, InvalidProvider> {
    let key = variable(BEDROCK.key_variable());
    let url = variable(BEDROCK.url_variable());
    let region = variable(REGION).or_else(|| variable("AWS_DEFAULT_REGION"));
    #[cfg(feature = "bedrock")]
    let credentials = AwsCredentials::from_variables(&variable);
    #[cfg(not(feature = "bedrock"))]
    let credentials = None::<()>;
    if key.is_none() && credentials.is_none() {
        return Ok(None);
    }
    let Some(region) = region else {
        return match key.is_some() || url.is_some() {
            true => Err(InvalidProvider::new("a region is required").of(REGION)),
            false => Ok(None),
        };
    };
    let mut provider = in_region(region.trim()).map_err(|error| error.of(REGION))?;
    if let Some(key) = key {
        provider = provider.key(key);
        if !provider.has_plain_key() {
            let error = InvalidProvider::new("the key has characters that no key has");
            return Err(error.of(BEDROCK.key_variable()));
        }
    } else {
        #[cfg(feature = "bedrock")]
        if let Some(credentials) = credentials {
            let given = move || std::future::ready(Ok::<_, BoxError>(credentials.clone()));
            provider = provider.credential(Signer::new(region.trim(), given));
        }
    }
    if let Some(url) = url {
        let named = |error: InvalidProvider| error.of(BEDROCK.url_variable());
        provider = provider.base_url(url).map_err(named)?;
    }
    if let Some(url) = variable("AWS_ENDPOINT_URL_BEDROCK") {
        let lists = BaseUrl::new(url.trim());
        let lists = lists.map_err(|error| error.of("AWS_ENDPOINT_URL_BEDROCK"))?;
        provider = provider.set(|inner| inner.lists = Some(lists));
    }
    Ok(Some(provider))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(all: &'static [(&str, &str)]) -> Result<Option<Provider>, InvalidProvider> {
        from_variables(|name| {
            let found = all.iter().find(|(key, _)| *key == name)?;
            Some(found.1.to_owned())
        })
    }

    #[test]
    fn a_region_names_both_hosts() {
        let provider = Provider::bedrock_with_key("eu-west-1", "canary").unwrap();
        let shown = format!("{provider:?}");
        assert!(shown.contains("https://bedrock-runtime.eu-west-1.amazonaws.com"));
        assert!(!shown.contains("canary"));
        let lists = provider.0.lists.as_ref().unwrap().to_string();
        assert_eq!(lists, "https://bedrock.eu-west-1.amazonaws.com");
        let china = Provider::bedrock_with_key("cn-north-1", "k").unwrap();
        assert!(format!("{china:?}").contains("amazonaws.com.cn"));
        for wrong in [
            "",
            "us-east-1.evil.com",
            "US",
            "a/b",
            "a@b",
            &"a".repeat(33),
        ] {
            assert!(Provider::bedrock_with_key(wrong, "k").is_err(), "{wrong}");
        }
    }

    #[test]
    fn an_environment_must_say_where() {
        const KEYS: [(&str, &str); 2] = [
            ("AWS_ACCESS_KEY_ID", "AKIDEXAMPLE"),
            ("AWS_SECRET_ACCESS_KEY", "canary"),
        ];
        assert!(of(&[("AWS_REGION", "us-east-1")]).unwrap().is_none());
        assert!(
            of(&KEYS).unwrap().is_none(),
            "they may be for another service"
        );
        let error = of(&[("AWS_BEARER_TOKEN_BEDROCK", "canary")]).unwrap_err();
        assert_eq!(error.variable(), Some("AWS_REGION"));
        let keyed = of(&[
            ("AWS_BEARER_TOKEN_BEDROCK", "canary"),
            ("AWS_DEFAULT_REGION", "us-west-2"),
            ("AWS_ENDPOINT_URL_BEDROCK_RUNTIME", "http://127.0.0.1:9"),
        ]);
        let keyed = keyed.unwrap().unwrap();
        assert!(keyed.0.key.is_some() && keyed.0.lists.is_none());
        assert_eq!(keyed.0.base.to_string(), "http://127.0.0.1:9");
        #[cfg(feature = "bedrock")]
        {
            let [one, two] = KEYS;
            let all: &'static _ = Box::leak(Box::new([one, two, ("AWS_REGION", "us-east-1")]));
            let signing = of(all).unwrap().unwrap();
            assert!(signing.0.key.is_none() && signing.0.credential.is_some());
            assert!(!format!("{signing:?}").contains("canary"));
        }
    }
}
