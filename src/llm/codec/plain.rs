//! Events as they mostly are, read in one pass.
//!
//! Nearly every event of a stream adds a word to what was said, and a tree of all its fields costs many
//! times what that word does. So each decoder has two readers of an event:
//!
//! - a quick one, for a piece of text and nothing else. It says yes, or it says nothing;
//! - the general one, for all that the quick one leaves, and for every rule of the protocol.
//!
//! There is one law: **what the quick reader takes, the general one would have read the same.** So a field
//! that is known stands there once, as what it mostly is; one that is not known is passed over only where
//! the general reader passes over it too, and finds no fault in it. Whatever changes what comes after it
//! (the head, an end, a call that begins) is for the general reader. A property test in each decoder holds
//! the two together.

/// What was read, and what stands after it.
pub(super) type Read<'a, T> = Option<(T, &'a [u8])>;

/// A field that is given once at the most.
pub(super) struct Once<T> {
    told: bool,
    value: Option<T>,
}

impl<T> Default for Once<T> {
    fn default() -> Self {
        Self {
            told: false,
            value: None,
        }
    }
}

impl<T> Once<T> {
    /// Reads what it holds, and answers what stands after it. `read` gives both.
    pub(super) fn read<'a>(
        &mut self,
        text: &'a [u8],
        read: impl FnOnce(&'a [u8]) -> Read<'a, T>,
    ) -> Option<&'a [u8]> {
        if std::mem::replace(&mut self.told, true) {
            return None;
        }
        let (value, rest) = read(text)?;
        self.value = Some(value);
        Some(rest)
    }

    /// The same, where `null` is as good as nothing.
    pub(super) fn or_null<'a>(
        &mut self,
        text: &'a [u8],
        read: impl FnOnce(&'a [u8]) -> Read<'a, T>,
    ) -> Option<&'a [u8]> {
        match text.strip_prefix(b"null") {
            Some(rest) => (!std::mem::replace(&mut self.told, true)).then_some(rest),
            None => self.read(text, read),
        }
    }

    /// What it held.
    pub(super) fn get(self) -> Option<T> {
        self.value
    }
}

/// Which of the fields of an object were there as `null`.
#[derive(Default)]
pub(super) struct Nulls(u32);

impl Nulls {
    /// Passes over `null`, and over nothing else: once, if the field is one of these.
    pub(super) fn skip<'a>(
        &mut self,
        known: &[&str],
        name: &[u8],
        text: &'a [u8],
    ) -> Option<&'a [u8]> {
        let rest = text.strip_prefix(b"null")?;
        if let Some(at) = known.iter().position(|known| known.as_bytes() == name) {
            let bit = 1 << at;
            if self.0 & bit != 0 {
                return None;
            }
            self.0 |= bit;
        }
        Some(rest)
    }
}

/// Events as tests make them up, to hold two readers together.
#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::llm::{Error, Event, codec::skim};
    use proptest::prelude::*;

    /// What a reader makes of these events: what it tells, and how it ends each.
    pub(in crate::llm::codec) fn outcome<T>(
        all: impl IntoIterator<Item = T>,
        mut read: impl FnMut(T, &mut Vec<Event>) -> Result<(), Error>,
    ) -> (Vec<Event>, String) {
        let mut events = Vec::new();
        let mut ends = String::new();
        for data in all {
            ends += &format!("{:?}\n", read(data, &mut events));
        }
        (events, ends)
    }

    /// Holds a quick reader and a general one together, over streams of up to five events.
    pub(in crate::llm::codec) fn agree<T: PartialEq + std::fmt::Debug>(
        event: impl Strategy<Value = String>,
        read: impl Fn(&[String], bool) -> T,
    ) {
        proptest!(|(all in prop::collection::vec(event, 1..6))| {
            prop_assert_eq!(read(&all, true), read(&all, false), "{:?}", all);
        });
    }

    /// Values of every type, and some that are broken.
    pub(in crate::llm::codec) const ODD: [&str; 22] = [
        "null",
        "true",
        "false",
        "0",
        "7",
        "127",
        "128",
        "4294967296",
        "18446744073709551616",
        "-1",
        "1.5",
        "1e999",
        "\"\"",
        "\" word\"",
        "\"a\\n\\u00e9\"",
        "\"\\ud800\"",
        "[]",
        "{}",
        "[{}]",
        "{\"text\":\"x\"}",
        "nul",
        "",
    ];

    /// An object of these fields, each there or not, in any order, now and then twice; a value is most
    /// often the usual one.
    pub(in crate::llm::codec) fn object(
        fields: Vec<(&'static str, BoxedStrategy<String>)>,
    ) -> BoxedStrategy<String> {
        let usual: Vec<_> = fields
            .into_iter()
            .map(|(name, value)| {
                let odd = prop::sample::select(&ODD[..]).prop_map(str::to_owned);
                let value = prop_oneof![12 => value, 1 => odd];
                (prop::bool::weighted(0.8), value)
                    .prop_map(move |(there, value)| there.then(|| format!("\"{name}\":{value}")))
            })
            .collect();
        let twice = prop::option::weighted(0.1, any::<prop::sample::Index>());
        let stray = prop::option::weighted(
            0.15,
            (
                prop::sample::select(vec!["x", "error", "type", "\\u0074ext", "index"]),
                prop::sample::select(&ODD[..]),
            ),
        );
        (usual, twice, stray, any::<bool>())
            .prop_map(|(fields, twice, stray, turned)| {
                let mut fields: Vec<_> = fields.into_iter().flatten().collect();
                if let Some(at) = twice.filter(|_| !fields.is_empty()) {
                    fields.push(fields[at.index(fields.len())].clone());
                }
                fields.extend(stray.map(|(name, value)| format!("\"{name}\": {value}")));
                if turned {
                    fields.reverse();
                }
                format!("{{{}}}", fields.join(","))
            })
            .boxed()
    }

    /// One of these.
    pub(in crate::llm::codec) fn of(values: &'static [&'static str]) -> BoxedStrategy<String> {
        prop::sample::select(values).prop_map(str::to_owned).boxed()
    }

    /// Texts, most often.
    pub(in crate::llm::codec) fn said() -> BoxedStrategy<String> {
        of(&[
            "\" word\"",
            "\"\"",
            "\"a longer text, with a \\\"quote\\\" and a line\\n in it\"",
            "\"d\u{e9}j\u{e0} vu \\ud83d\\ude00\"",
            "null",
        ])
    }

    #[test]
    fn what_is_given_twice_is_left_to_others() {
        let text = |once: &mut Once<String>, json| {
            let read = |text| skim::text(text).map(|(text, rest)| (text.into_owned(), rest));
            once.or_null(json, read).map(<[u8]>::to_vec)
        };
        for (one, two) in [
            ("null,", "\"a\","),
            ("\"a\",", "null,"),
            ("\"a\",", "\"b\","),
        ] {
            let mut once = Once::default();
            assert_eq!(text(&mut once, one.as_bytes()), Some(b",".to_vec()));
            assert_eq!(text(&mut once, two.as_bytes()), None);
        }
    }
}
