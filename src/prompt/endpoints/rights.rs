//! Who may use which prompt.

use super::Settings;
#[cfg(feature = "authorize")]
use crate::authorize::Asked;
use crate::{Principal, Rejection, prompt::Version, rejection::Kind};
use http::request::Parts;

impl Settings {
    /// Whether a caller may call a version: if not, it is in no list.
    pub(super) fn may(&self, version: &Version, parts: &Parts) -> bool {
        if !self.is_for(version, parts) {
            return false;
        }
        #[cfg(feature = "authorize")]
        if let Some(policy) = &self.policy {
            let mut extensions = parts.extensions.clone();
            let name = version.name().as_arc().clone();
            extensions.insert(crate::authorize::PromptAsked(name));
            let routes = std::slice::from_ref(&self.template);
            return policy.offers(&parts.headers, &extensions, routes, self.asks(version));
        }
        true
    }

    /// Decides on what a request does with a version.
    pub(super) fn decide(&self, version: &Version, parts: &Parts) -> Result<(), Rejection> {
        if !self.is_for(version, parts) {
            return Err(Kind::PromptNotFound.into());
        }
        #[cfg(feature = "authorize")]
        if let Some(policy) = &self.policy {
            let asked = Asked::parts(&parts.headers, &parts.extensions, None);
            // Of what was seen further out the address is as clients know it.
            let asked = match asked.uri() {
                Some(_) => asked,
                None => asked.with_uri(&parts.uri),
            };
            let mut asked = asked
                .with_method(&parts.method)
                .with_route(self.template.clone())
                .with_model(self.asks(version))
                .with_prompt(version.name().as_str());
            // A layer around the models decides on calls, with all that is known there.
            policy.ruled(&mut asked, parts.method == http::Method::POST)?;
        }
        Ok(())
    }

    /// Whether it is an endpoint, and the caller's key is for it.
    fn is_for(&self, version: &Version, parts: &Parts) -> bool {
        let principal = parts.extensions.get::<Principal>();
        let is_for = |who: &Principal| {
            who.may_use_model(self.asks(version)) && who.may_use_route(&self.template)
        };
        !version.prompt().is_partial() && principal.is_none_or(is_for)
    }

    /// The model that a version asks. Empty: none is known.
    fn asks<'v>(&'v self, version: &'v Version) -> &'v str {
        let model = version.model().or(self.model.as_ref());
        model.map_or("", |model| model)
    }
}
