//! What prompts and labels are called.

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use std::{borrow::Borrow, error::Error, fmt, ops::Deref, str::FromStr, sync::Arc};

/// The label that nobody moves: it stands for the version with the highest number.
pub const LATEST: &str = "latest";

/// The longest name, in bytes.
const LONGEST: usize = 128;

/// What was given is not a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InvalidName(&'static str);

impl InvalidName {
    /// What would be one.
    #[must_use]
    pub fn what(&self) -> &'static str {
        self.0
    }
}

impl fmt::Display for InvalidName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

impl Error for InvalidName {}

/// Words of `a`-`z`, digits, `-`, `_` and `.`, beginning with a letter or a digit, without `..`: so a
/// name is one segment of a path and of a file name.
fn check(name: &str) -> Result<(), InvalidName> {
    let fits =
        |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"-_.".contains(&byte);
    let begins = |byte: &u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let good = name.len() <= LONGEST
        && name.bytes().all(fits)
        && name.as_bytes().first().is_some_and(begins)
        && !name.contains("..");
    if good {
        return Ok(());
    }
    Err(InvalidName(
        "A name is 1 to 128 lower-case letters, digits, `-`, `_` and `.`, and begins with a letter or a digit.",
    ))
}

macro_rules! name {
    ($(#[$docs:meta])* $name:ident, $check:expr) => {
        $(#[$docs])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(Arc<str>);

        impl $name {
            /// Checks a name.
            ///
            /// # Errors
            ///
            /// What a name may be made of.
            pub fn new(name: impl AsRef<str>) -> Result<Self, InvalidName> {
                let name = name.as_ref();
                check(name)?;
                let more: fn(&str) -> Result<(), InvalidName> = $check;
                more(name)?;
                Ok(Self(name.into()))
            }

            /// As text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }

            /// As text that is shared.
            #[must_use]
            pub fn as_arc(&self) -> &Arc<str> {
                &self.0
            }
        }

        impl Deref for $name {
            type Target = str;

            fn deref(&self) -> &str {
                &self.0
            }
        }

        impl Borrow<str> for $name {
            fn borrow(&self) -> &str {
                &self.0
            }
        }

        impl AsRef<str> for $name {
            fn as_ref(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Debug::fmt(&*self.0, f)
            }
        }

        impl FromStr for $name {
            type Err = InvalidName;

            fn from_str(name: &str) -> Result<Self, InvalidName> {
                Self::new(name)
            }
        }

        impl TryFrom<&str> for $name {
            type Error = InvalidName;

            fn try_from(name: &str) -> Result<Self, InvalidName> {
                Self::new(name)
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(&self.0)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let name = String::deserialize(deserializer)?;
                Self::new(name).map_err(de::Error::custom)
            }
        }
    };
}

name!(
    /// The name of a prompt, such as `support.translate`.
    ///
    /// 1 to 128 lower-case letters, digits, `-`, `_` and `.`; the first is a letter or a digit, and no
    /// two dots stand together. Cloning it bumps a counter.
    PromptName,
    |_| Ok(())
);

name!(
    /// The name of a label, such as `production`.
    ///
    /// As a [`PromptName`] is made, and neither [`latest`](LATEST), which nobody moves, nor digits
    /// alone, which are the number of a version.
    LabelName,
    |name| {
        if name == LATEST {
            return Err(InvalidName("`latest` stands for the newest version, and nobody moves it."));
        }
        if name.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(InvalidName("A label is not a number, which would be that of a version."));
        }
        Ok(())
    }
);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_one_segment_of_a_path() {
        for good in ["a", "0", "support.translate", "a-b_c.9", &"a".repeat(128)] {
            assert!(PromptName::new(good).is_ok(), "{good}");
        }
        for bad in [
            "",
            "A",
            "é",
            ".",
            "..",
            ".a",
            "-a",
            "_a",
            "a..b",
            "a/b",
            "a\\b",
            "a b",
            "a\n",
            "a%2f",
            "a\0",
            &"a".repeat(129),
        ] {
            assert!(PromptName::new(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn nobody_moves_the_latest_nor_a_number() {
        assert!(LabelName::new("production").is_ok());
        assert!(LabelName::new("v2").is_ok());
        assert!(LabelName::new("latest").is_err());
        assert!(LabelName::new("12").is_err());
        assert!(PromptName::new("latest").is_ok());
    }
}
