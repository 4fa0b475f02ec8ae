//! Vendors that are resources of somebody's cloud: their addresses have more in them than a host.

use super::{
    InvalidProvider, Provider,
    address::{self, Place},
    google, table,
};

impl Provider {
    /// Azure OpenAI, at the endpoint of a resource, such as `https://name.openai.azure.com`. The model of
    /// a request is the name of a deployment. Calls go to the newer paths, `/openai/v1/…`, unless a
    /// [version](Self::api_version) is set.
    ///
    /// # Errors
    ///
    /// As for [`custom`](Self::custom).
    pub fn azure(endpoint: impl AsRef<str>, key: impl AsRef<str>) -> Result<Self, InvalidProvider> {
        Ok(Self::of(table::AZURE).base_url(endpoint)?.key(key))
    }

    /// Gemini's models on Vertex AI. `credentials` is the JSON text of a service account's key file, or of
    /// what `gcloud auth application-default login` leaves; for credentials of another kind, see
    /// [`bearer`](Self::bearer). Locations are `global`, `eu`, `us`, or one such as `us-central1`.
    ///
    /// Tokens are asked for by a client of their own, and kept until near their end.
    ///
    /// # Errors
    ///
    /// If there is nothing in `credentials` to get tokens by, or project or location are no names.
    pub fn vertex(
        project: impl AsRef<str>,
        location: impl AsRef<str>,
        credentials: impl AsRef<str>,
    ) -> Result<Self, InvalidProvider> {
        let (project, location) = (project.as_ref(), location.as_ref());
        google::provider(table::VERTEX, project, location, credentials.as_ref())
    }

    /// Anthropic's models on Vertex AI, under their names there: `claude-haiku-4-5@20251001`. Otherwise as
    /// [`vertex`](Self::vertex).
    ///
    /// # Errors
    ///
    /// As for [`vertex`](Self::vertex).
    pub fn vertex_anthropic(
        project: impl AsRef<str>,
        location: impl AsRef<str>,
        credentials: impl AsRef<str>,
    ) -> Result<Self, InvalidProvider> {
        let (project, location) = (project.as_ref(), location.as_ref());
        let vendor = table::VERTEX_ANTHROPIC;
        google::provider(vendor, project, location, credentials.as_ref())
    }

    /// Calls Azure's older paths, `/openai/deployments/{model}/…?api-version=`, with this version of the
    /// API, such as `2024-10-21`. Other vendors take no notice of it.
    ///
    /// # Errors
    ///
    /// If it is no version: letters, digits, dots and hyphens.
    pub fn api_version(self, version: impl AsRef<str>) -> Result<Self, InvalidProvider> {
        let version = version.as_ref().trim();
        if !address::is_plain(version) {
            return Err(InvalidProvider::new("no version of an API"));
        }
        let version = version.into();
        let place = Place::Deployments { version };
        let azure = (self.0.vendor).is_some_and(|vendor| vendor.form == table::Form::Azure);
        Ok(self.set(|inner| {
            if azure {
                inner.place = Some(place);
                inner.fit();
            }
        }))
    }
}
