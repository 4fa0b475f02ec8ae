//! What a layer asks of every call, and what it refuses with.

use super::{
    Authenticate, Credential, SecondPrincipal, Verdict,
    certificate::Certificate,
    credential::{Places, malformed},
    failures::Failures,
};
use crate::{
    Exchange, Extensible, Principal, Rejection, client_addr::ByClientAddr, key::Key,
    rejection::Kind,
};
use http::{HeaderValue, header};
use std::sync::Arc;

#[derive(Clone, Debug)]
pub(super) struct Rules {
    pub(super) places: Places,
    pub(super) realm: Box<str>,
    pub(super) scopes: Vec<Box<str>>,
    pub(super) optional: bool,
    pub(super) keep: bool,
    pub(super) outer: Outer,
    pub(super) failures: Option<Arc<Failures>>,
    pub(super) challenges: Challenges,
}

/// What a principal is worth that a layer further out found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outer {
    Nothing,
    /// It will do.
    Or,
    /// It must be there too.
    And,
}

/// `WWW-Authenticate` for each kind of refusal, made once.
#[derive(Clone, Debug, Default)]
pub(super) struct Challenges {
    nothing: Option<HeaderValue>,
    malformed: Option<HeaderValue>,
    invalid: Option<HeaderValue>,
    scope: Option<HeaderValue>,
}

impl Rules {
    pub(super) fn challenging(mut self) -> Self {
        let start = format!("{} realm={}", self.places.scheme(), quoted(&self.realm));
        let challenge = |with: &str| HeaderValue::try_from(format!("{start}{with}")).ok();
        let scopes = quoted(&self.scopes.join(" "));
        self.challenges = Challenges {
            nothing: challenge(""),
            malformed: challenge(r#", error="invalid_request""#),
            invalid: challenge(r#", error="invalid_token""#),
            scope: if self.scopes.is_empty() {
                // What is missing only the authenticator knows, and no scope is no answer.
                challenge(r#", error="insufficient_scope""#)
            } else {
                challenge(&format!(r#", error="insufficient_scope", scope={scopes}"#))
            },
        };
        self
    }

    /// Finds the credential. `None`: there is none, and there need not be.
    pub(super) fn credential(
        &self,
        req: &mut impl Extensible,
    ) -> Result<Option<Credential>, Rejection> {
        let outer = match self.outer {
            // Whoever put it there, it was not us.
            Outer::Nothing => {
                req.extensions_mut().remove::<Principal>();
                req.extensions_mut().remove::<SecondPrincipal>();
                None
            }
            Outer::Or => Principal::of(req).cloned(),
            Outer::And if Principal::of(req).is_none() => {
                return Err(self.challenge(Kind::Unauthenticated.into()));
            }
            Outer::And => {
                req.extensions_mut().remove::<SecondPrincipal>();
                None
            }
        };
        if let Some(outer) = outer {
            return match self.places.find(req.headers_mut(), self.keep) {
                Ok(None) => {
                    self.places.strip_claims(req);
                    self.permit(&outer).map(|()| None)
                }
                _ => Err(self.challenge(malformed("More than one credential was given."))),
            };
        }
        match self.places.find(req.headers_mut(), self.keep) {
            Ok(None) if !self.optional || !self.scopes.is_empty() || self.outer == Outer::And => {
                Err(self.challenge(Kind::Unauthenticated.into()))
            }
            Ok(mut credential) => {
                self.places.strip_claims(req);
                if let Some(credential) = &mut credential {
                    credential.certificate = Certificate::of(req);
                }
                Ok(credential)
            }
            Err(rejection) => Err(self.challenge(rejection)),
        }
    }

    /// Asks whose the credential is, unless the address has shown too many that were wrong.
    pub(super) fn verify<A: Authenticate>(
        &self,
        authenticate: &A,
        credential: Credential,
        req: &impl Extensible,
    ) -> Result<Verdict<A::Future>, Rejection> {
        let check = || match (&self.failures, ByClientAddr.key(req)) {
            (Some(failures), Some(address)) => failures.check(address),
            _ => Ok(()),
        };
        let strict = |failures: &Arc<Failures>| failures.limit.is_strict();
        if self.failures.as_ref().is_some_and(strict) {
            check()?;
            return Ok(authenticate.verify(credential));
        }
        let verdict = authenticate.verify(credential);
        if let Verdict::Later(_) = verdict {
            // A future that was not polled has asked nobody.
            check()?;
        }
        Ok(verdict)
    }

    /// What a wrong key is answered with.
    fn failed(&self, rejection: Rejection, req: &impl Extensible) -> Rejection {
        if rejection.kind() == Kind::InvalidCredentials
            && let Some(failures) = &self.failures
            && let Some(address) = ByClientAddr.key(req)
            && let Err(limited) = failures.fail(address)
        {
            return limited;
        }
        self.challenge(rejection)
    }

    /// Lets in whoever may, under their name.
    pub(super) fn admit(
        &self,
        verdict: Result<Principal, Rejection>,
        req: &mut impl Extensible,
    ) -> Result<(), Rejection> {
        let principal = verdict.map_err(|rejection| self.failed(rejection, req))?;
        self.permit(&principal)?;
        if self.outer == Outer::And {
            req.extensions_mut().insert(SecondPrincipal(principal));
            return Ok(());
        }
        if let Some(exchange) = Exchange::of(req) {
            exchange.update(|facts| facts.principal = Some(principal.id().clone()));
        }
        req.extensions_mut().insert(principal);
        Ok(())
    }

    /// Whether it has all scopes that are required.
    fn permit(&self, principal: &Principal) -> Result<(), Rejection> {
        if self.scopes.iter().all(|scope| principal.has_scope(scope)) {
            Ok(())
        } else {
            Err(self.challenge(Kind::Forbidden.into()))
        }
    }

    fn challenge(&self, rejection: Rejection) -> Rejection {
        let challenge = match rejection.kind() {
            Kind::Unauthenticated => &self.challenges.nothing,
            Kind::InvalidRequest => &self.challenges.malformed,
            Kind::InvalidCredentials => &self.challenges.invalid,
            Kind::Forbidden => &self.challenges.scope,
            _ => &None,
        };
        match challenge {
            Some(value) if !rejection.headers().contains_key(header::WWW_AUTHENTICATE) => {
                rejection.with_header(header::WWW_AUTHENTICATE, value.clone())
            }
            _ => rejection,
        }
    }
}

/// A quoted string, RFC 9110 §5.6.4.
fn quoted(text: &str) -> String {
    let mut out = String::from('"');
    for char in text.chars() {
        match char {
            '"' | '\\' => out.extend(['\\', char]),
            ' '..='~' => out.push(char),
            _ => out.push('?'),
        }
    }
    out.push('"');
    out
}
