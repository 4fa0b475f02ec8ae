//! Ids of calls and of their results, in nine letters and digits.

use std::{
    borrow::Cow,
    collections::{HashMap, HashSet},
    hash::{DefaultHasher, Hash, Hasher},
};

/// The same for the same, in this request and the next, and no two alike.
#[derive(Default)]
pub(super) struct Ids {
    short: HashMap<String, String>,
    taken: HashSet<String>,
}

impl Ids {
    const LENGTH: usize = 9;

    /// One that is short enough stays, and nobody else gets it.
    pub(super) fn keep(&mut self, id: Option<Cow<'_, str>>) {
        if let Some(id) = id.filter(|id| Self::fits(id)) {
            self.taken.insert(id.into_owned());
        }
    }

    pub(super) fn fits(id: &str) -> bool {
        id.len() == Self::LENGTH && id.bytes().all(|byte| byte.is_ascii_alphanumeric())
    }

    /// The one in place of this, unless it may stay.
    pub(super) fn short(&mut self, long: &str) -> Option<&str> {
        if Self::fits(long) {
            return None;
        }
        if !self.short.contains_key(long) {
            // Whoever else has it, the next is free: there are not as many as that in a request.
            let mut free = (0_u32..).map(|salt| Self::made(long, salt));
            let free = free.find(|short| self.taken.insert(short.clone()));
            self.short.insert(long.to_owned(), free.unwrap_or_default());
        }
        self.short.get(long).map(|short| &**short)
    }

    pub(super) fn made(long: &str, salt: u32) -> String {
        const DIGITS: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
        // Its keys are fixed: gateways that stand side by side make the same of the same.
        let mut hasher = DefaultHasher::new();
        (long, salt).hash(&mut hasher);
        let mut left = hasher.finish();
        let digit = |_| {
            let digit = DIGITS[usize::try_from(left % 62).unwrap_or(0)];
            left /= 62;
            char::from(digit)
        };
        (0..Self::LENGTH).map(digit).collect()
    }
}
