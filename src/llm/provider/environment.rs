//! Vendors as the environment has them.

use super::{
    InvalidProvider, Provider, Vendor, bedrock, google,
    table::{BEDROCK, Form},
};

/// The version of Azure's API, as its own client reads it.
const VERSION: &str = "OPENAI_API_VERSION";

impl Provider {
    /// Those of [`Vendor::ALL`] that the environment of the process has a key for, or for those that
    /// need none, an address. Empty variables count as missing.
    ///
    /// Beside the variables of the table, `OPENAI_API_VERSION` makes Azure one of deployments, if it is a
    /// date. Vertex is taken where both `GOOGLE_APPLICATION_CREDENTIALS` and `GOOGLE_CLOUD_PROJECT` are set,
    /// with `GOOGLE_CLOUD_LOCATION`, else `global`; Anthropic's models there where
    /// `ANTHROPIC_VERTEX_PROJECT_ID` is, with `CLOUD_ML_REGION`. A key that opens other doors too
    /// (Cloudflare, Databricks, Scaleway), or that of a server at home (vLLM, llama.cpp, LM Studio) counts where
    /// the address is set as well.
    ///
    /// # Errors
    ///
    /// If a variable has a value that cannot be. The error names the variable and never its value.
    pub fn from_env() -> Result<Vec<Self>, InvalidProvider> {
        let own = Vendor::ALL.iter().flat_map(|vendor| {
            let names = [vendor.key_variable(), vendor.url_variable()];
            names.into_iter().chain(vendor.other_key_variable())
        });
        let clouds = google::VARIABLES.into_iter().chain(bedrock::VARIABLES);
        for name in own.chain([VERSION]).chain(clouds) {
            // It must not count as absent: another would get what is meant for this one.
            if std::env::var_os(name).is_some_and(|value| value.to_str().is_none()) {
                return Err(InvalidProvider::new("the value is not Unicode").of(name));
            }
        }
        Self::from_variables(|name| std::env::var(name).ok())
    }

    /// The same for an environment of another kind.
    ///
    /// ```
    /// use tower_gateway::llm::Provider;
    ///
    /// let variable = |name: &str| (name == "OLLAMA_HOST").then(|| "127.0.0.1".to_owned());
    /// let providers = Provider::from_variables(variable)?;
    /// assert_eq!(providers[0].name(), "ollama");
    /// # Ok::<_, tower_gateway::llm::provider::InvalidProvider>(())
    /// ```
    ///
    /// # Errors
    ///
    /// As for [`from_env`](Self::from_env).
    pub fn from_variables(
        variable: impl Fn(&str) -> Option<String>,
    ) -> Result<Vec<Self>, InvalidProvider> {
        let variable = &|name: &str| variable(name).filter(|value| !value.trim().is_empty());
        let mut providers = Vec::new();
        for vendor in Vendor::ALL {
            let made = match vendor.form {
                _ if *vendor == BEDROCK => bedrock::from_variables(variable)?,
                Form::Vertex => google::from_variables(*vendor, variable)?,
                _ => Self::of_variables(*vendor, variable)?,
            };
            providers.extend(made);
        }
        Ok(providers)
    }

    /// A vendor with a key in a variable.
    fn of_variables(
        vendor: Vendor,
        variable: impl Fn(&'static str) -> Option<String>,
    ) -> Result<Option<Self>, InvalidProvider> {
        let first = [Some(vendor.key_variable()), vendor.other_key_variable()];
        let mut keys = first.into_iter().flatten();
        let key = keys.find_map(|name| Some((name, variable(name)?)));
        let url = variable(vendor.url_variable());
        let means_it = match (&key, &url) {
            (None, None) => false,
            (None, Some(_)) => vendor.is_open(),
            (Some(_), None) => !vendor.is_general(),
            (Some(_), Some(_)) => true,
        };
        if !means_it {
            return Ok(None);
        }
        let mut provider = Self::of(vendor);
        let named = |error: InvalidProvider| error.of(vendor.url_variable());
        match url {
            Some(url) => provider = provider.base_url(url).map_err(named)?,
            None if vendor.needs_address() => {
                return Err(named(InvalidProvider::new("the address is missing")));
            }
            None => {}
        }
        if vendor.form == Form::Azure
            && let Some(version) = variable(VERSION)
            // `v1`, `preview` and `latest` are names of the newer paths.
            && version.trim().starts_with(|char: char| char.is_ascii_digit())
        {
            provider = provider
                .api_version(version)
                .map_err(|error| error.of(VERSION))?;
        }
        if let Some((name, key)) = key {
            provider = provider.key(key);
            if !provider.has_plain_key() {
                let error = InvalidProvider::new("the key has characters that no key has");
                return Err(error.of(name));
            }
        }
        Ok(Some(provider))
    }
}
