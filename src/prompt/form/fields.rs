//! The fields of an object, each asked for once.

use crate::prompt::fault::{Fault, MOST, below, what};
use serde_json::{Map, Value};
use std::{cell::RefCell, collections::BTreeMap};

/// What was found wrong so far.
#[derive(Default)]
pub(in crate::prompt) struct Faults(RefCell<Vec<Fault>>);

impl Faults {
    /// Notes a fault. There is nothing in its place.
    pub(in crate::prompt) fn add<T>(&self, at: &str, what: &'static str) -> Option<T> {
        self.note(Fault::new(at, what));
        None
    }

    pub(in crate::prompt) fn note(&self, fault: Fault) {
        let mut all = self.0.borrow_mut();
        if all.len() < MOST {
            all.push(fault);
        }
    }

    pub(in crate::prompt) fn object<'v>(
        &self,
        value: &'v Value,
        at: &str,
    ) -> Option<&'v Map<String, Value>> {
        let map = value.as_object();
        map.or_else(|| self.add(at, "Expected an object."))
    }

    pub(in crate::prompt) fn into_inner(self) -> Vec<Fault> {
        self.0.into_inner()
    }
}

/// An object of which each field is asked for, and no other may be there. `null` is as if it were
/// not there.
pub(in crate::prompt) struct Fields<'v, 'f> {
    map: &'v Map<String, Value>,
    at: &'f str,
    faults: &'f Faults,
    known: Vec<&'static str>,
}

impl<'v, 'f> Fields<'v, 'f> {
    pub(in crate::prompt) fn new(
        map: &'v Map<String, Value>,
        at: &'f str,
        faults: &'f Faults,
    ) -> Self {
        Self {
            map,
            at,
            faults,
            known: Vec::new(),
        }
    }

    fn get(&mut self, key: &'static str) -> Option<&'v Value> {
        self.known.push(key);
        self.map.get(key).filter(|value| !value.is_null())
    }

    /// What stands in a field, read.
    pub(in crate::prompt) fn one<T>(
        &mut self,
        key: &'static str,
        read: impl FnOnce(&'v Value, &str) -> Option<T>,
    ) -> Option<T> {
        let value = self.get(key)?;
        read(value, &below(self.at, key))
    }

    /// The same of a field that must be there.
    pub(in crate::prompt) fn needed<T>(
        &mut self,
        key: &'static str,
        read: impl FnOnce(&'v Value, &str) -> Option<T>,
    ) -> Option<T> {
        match self.get(key) {
            Some(value) => read(value, &below(self.at, key)),
            None => self.faults.add(&below(self.at, key), what::MISSING),
        }
    }

    pub(in crate::prompt) fn text(&mut self, key: &'static str) -> Option<String> {
        let faults = self.faults;
        self.one(key, |value, at| {
            let text = value.as_str().map(str::to_owned);
            text.or_else(|| faults.add(at, "Expected a string."))
        })
    }

    pub(in crate::prompt) fn needed_text(&mut self, key: &'static str) -> Option<String> {
        let faults = self.faults;
        self.needed(key, |value, at| {
            let text = value.as_str().map(str::to_owned);
            text.or_else(|| faults.add(at, "Expected a string."))
        })
    }

    pub(in crate::prompt) fn flag(&mut self, key: &'static str) -> Option<bool> {
        let faults = self.faults;
        self.one(key, |value, at| {
            let flag = value.as_bool();
            flag.or_else(|| faults.add(at, "Expected `true` or `false`."))
        })
    }

    pub(in crate::prompt) fn float(&mut self, key: &'static str) -> Option<f64> {
        let faults = self.faults;
        self.one(key, |value, at| {
            let number = value.as_f64();
            number.or_else(|| faults.add(at, "Expected a number."))
        })
    }

    pub(in crate::prompt) fn whole(&mut self, key: &'static str) -> Option<u64> {
        let faults = self.faults;
        self.one(key, |value, at| {
            let number = value.as_u64();
            number.or_else(|| faults.add(at, "Expected a whole number."))
        })
    }

    /// Whatever stands there, as it is.
    pub(in crate::prompt) fn value(&mut self, key: &'static str) -> Option<Value> {
        self.get(key).cloned()
    }

    pub(in crate::prompt) fn list<T>(
        &mut self,
        key: &'static str,
        mut read: impl FnMut(&'v Value, &str) -> Option<T>,
    ) -> Vec<T> {
        let faults = self.faults;
        let list = self.one(key, |value, at| {
            let Value::Array(all) = value else {
                return faults.add(at, "Expected a list.");
            };
            let all = all.iter().enumerate();
            let all = all.filter_map(|(nth, value)| read(value, &format!("{at}/{nth}")));
            Some(all.collect())
        });
        list.unwrap_or_default()
    }

    pub(in crate::prompt) fn map<T>(
        &mut self,
        key: &'static str,
        mut read: impl FnMut(&'v Value, &str) -> Option<T>,
    ) -> BTreeMap<String, T> {
        let faults = self.faults;
        let map = self.one(key, |value, at| {
            let all = faults.object(value, at)?.iter();
            let all = all
                .filter_map(|(name, value)| Some((name.clone(), read(value, &below(at, name))?)));
            Some(all.collect())
        });
        map.unwrap_or_default()
    }

    /// What vendors want to see and this crate does not know.
    pub(in crate::prompt) fn extra(&mut self) -> Map<String, Value> {
        let faults = self.faults;
        let extra = self.one("extra", |value, at| faults.object(value, at).cloned());
        extra.unwrap_or_default()
    }

    /// Whatever was not asked for is a fault.
    pub(in crate::prompt) fn finish(self) {
        for key in self.map.keys() {
            if !self.known.contains(&key.as_str()) {
                let at = below(self.at, key);
                let known = self.known.join(", ");
                self.faults
                    .note(Fault::new(at, what::NO_FIELD).about(format!("there are {known}")));
            }
        }
    }
}

/// Adds a field, if there is something to say.
pub(super) fn put(map: &mut Map<String, Value>, key: &str, value: Option<impl Into<Value>>) {
    if let Some(value) = value {
        map.insert(key.into(), value.into());
    }
}
