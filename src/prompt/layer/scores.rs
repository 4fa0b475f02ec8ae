//! How good an answer was, as the application says.

use crate::{
    Principal, Rejection,
    exchange::fresh_id,
    prompt::{PromptName, Registry, random},
    rejection::Kind,
};
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use std::{
    fmt::{self, Write as _},
    num::NonZeroU32,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

/// For how long a call can be scored.
const LONGEST: Duration = Duration::from_secs(30 * 24 * 60 * 60);

/// How much of the code is told, in bytes: forging one takes 2¹²⁸ tries.
const TAG: usize = 16;

/// Takes scores of calls.
///
/// Each answer of a prompt names its call in the header `x-gateway-prompt-call`. Whoever has called may give it
/// scores, and nobody else: the name is signed for the principal. Nothing is kept for it, so it can be given in any
/// process that has the same [secret](super::PromptLayer::score_secret), 30 days long, and as often as the
/// caller likes: who must have one score for each answer sends one.
///
/// ```
/// # use tower_gateway::{Principal, Rejection, prompt::Scores};
/// # fn rated(scores: &Scores, alice: &Principal, call: &str) -> Result<(), Rejection> {
/// // From the handler of a button:
/// scores.score(Some(alice), call, "helpful", 1.0)?;
/// # Ok(())
/// # }
/// ```
///
/// [`Registry::results`] has the scores of each version, in the process that took them.
#[derive(Clone)]
pub struct Scores {
    registry: Registry,
    /// `None`: the system had no random numbers to make one of. Then no call has a name.
    key: Option<Hmac<Sha256>>,
}

impl Scores {
    pub(super) fn new(registry: Registry) -> Self {
        let key = random::bytes::<32>().map(|secret| keyed(&secret));
        Self { registry, key }
    }

    pub(super) fn secret(mut self, secret: &[u8]) -> Self {
        self.key = Some(keyed(secret));
        self
    }

    /// Notes a score of a call: its name, made as that of a label, and a number.
    ///
    /// # Errors
    ///
    /// 404 `prompt_not_found` for a call that is not this caller's, that is older than 30 days, or that is none;
    /// 400 for what is [no score](Registry::score).
    pub fn score(
        &self,
        caller: Option<&Principal>,
        call: &str,
        score: &str,
        value: f64,
    ) -> Result<(), Rejection> {
        let unknown = || {
            Rejection::new(Kind::PromptNotFound).with_detail("There is no such call of a prompt.")
        };
        let (name, version) = self
            .read(caller, call, SystemTime::now())
            .ok_or_else(unknown)?;
        Ok(self.registry.score(&name, version, score, value)?)
    }

    /// The name of a call of this version, `name@version`.
    pub(super) fn called(
        &self,
        caller: Option<&Principal>,
        tag: &str,
        now: SystemTime,
    ) -> Option<String> {
        let id = fresh_id();
        let mut call = format!("{tag}.{:x}.{}", seconds(now), &id[..16]);
        let sum = self.sum(caller, &call)?.finalize().into_bytes();
        call.push('.');
        for byte in &sum[..TAG] {
            // Writing to a string cannot fail.
            let _ = write!(call, "{byte:02x}");
        }
        Some(call)
    }

    fn read(
        &self,
        caller: Option<&Principal>,
        call: &str,
        now: SystemTime,
    ) -> Option<(PromptName, NonZeroU32)> {
        let (signed, sum) = call.rsplit_once('.')?;
        if sum.len() != 2 * TAG {
            return None;
        }
        let mut told = [0; TAG];
        for (byte, digits) in told.iter_mut().zip(sum.as_bytes().chunks(2)) {
            let digits = str::from_utf8(digits).ok()?;
            *byte = u8::from_str_radix(digits, 16).ok()?;
        }
        let sum = self.sum(caller, signed)?;
        sum.verify_truncated_left(&told).ok()?;
        let (rest, _) = signed.rsplit_once('.')?;
        let (tag, at) = rest.rsplit_once('.')?;
        let at = u64::from_str_radix(at, 16).ok()?;
        if seconds(now).saturating_sub(at) > LONGEST.as_secs() {
            return None;
        }
        let (name, version) = tag.split_once('@')?;
        Some((PromptName::new(name).ok()?, version.parse().ok()?))
    }

    /// Each part with its length, so that none is taken for another.
    fn sum(&self, caller: Option<&Principal>, signed: &str) -> Option<Hmac<Sha256>> {
        let mut sum = self.key.clone()?;
        let tenant = caller.and_then(Principal::tenant).map(|tenant| &**tenant);
        let id = caller.map(|caller| &**caller.id());
        for part in [tenant, id, Some(signed)] {
            match part {
                None => sum.update(&u64::MAX.to_be_bytes()),
                Some(part) => {
                    sum.update(&(part.len() as u64).to_be_bytes());
                    sum.update(part.as_bytes());
                }
            }
        }
        Some(sum)
    }
}

fn seconds(time: SystemTime) -> u64 {
    let since = time.duration_since(UNIX_EPOCH);
    since.unwrap_or_default().as_secs()
}

fn keyed(secret: &[u8]) -> Hmac<Sha256> {
    // A key has any length (RFC 2104).
    Hmac::new_from_slice(secret).expect("a key of any length")
}

/// Without the key.
impl fmt::Debug for Scores {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Scores")
            .field("registry", &self.registry)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_is_scored_by_its_caller_alone() {
        let scores = Scores::new(Registry::in_memory());
        let now = SystemTime::now();
        let alice = Principal::new("alice");
        let call = scores.called(Some(&alice), "a.b@7", now).unwrap();
        let (name, version) = scores.read(Some(&alice), &call, now).unwrap();
        assert_eq!((&*name, version.get()), ("a.b", 7));

        let other = Scores::new(Registry::in_memory());
        assert_eq!(other.read(Some(&alice), &call, now), None);
        let tenant = Principal::new("alice").with_tenant("acme");
        for who in [None, Some(&Principal::new("bob")), Some(&tenant)] {
            assert_eq!(scores.read(who, &call, now), None);
        }
        // Whatever is changed in it.
        for at in 0..call.len() {
            let mut forged = call.clone().into_bytes();
            forged[at] ^= 1;
            let forged = String::from_utf8(forged).unwrap();
            assert_eq!(scores.read(Some(&alice), &forged, now), None, "{forged}");
        }
        for none in ["", ".", "a.b@7", &call[..call.len() - 2]] {
            assert_eq!(scores.read(Some(&alice), none, now), None, "{none}");
        }
    }

    #[test]
    fn without_a_secret_no_call_has_a_name() {
        let mut scores = Scores::new(Registry::in_memory());
        let now = SystemTime::now();
        let call = scores.called(None, "a@1", now).unwrap();
        scores.key = None;
        assert_eq!(scores.called(None, "a@1", now), None);
        assert_eq!(scores.read(None, &call, now), None);
    }

    #[test]
    fn a_call_is_scored_for_thirty_days() {
        let secret = [7; 32];
        let scores = Scores::new(Registry::in_memory()).secret(&secret);
        let now = SystemTime::now();
        let call = scores.called(None, "a@1", now).unwrap();
        let again = Scores::new(Registry::in_memory()).secret(&secret);
        assert!(again.read(None, &call, now + LONGEST).is_some());
        let late = now + LONGEST + Duration::from_secs(1);
        assert!(again.read(None, &call, late).is_none());
    }
}
