//! The name of a key that all processes share.

use sha2::{Digest as _, Sha256};
use std::{
    fmt::Write,
    hash::{Hash, Hasher},
};

/// The first 128 bits of SHA-256, as 32 hexadecimal digits.
///
/// It goes by what a key feeds to a hasher, which is free of prefixes for all that the standard library
/// hashes: of no two keys the parts run into one another. Numbers are taken in one byte order and one
/// size, so that it is the same on all machines of one byte order.
pub(super) fn digest(key: &impl Hash) -> String {
    let mut fed = Fed(Sha256::new());
    key.hash(&mut fed);
    let mut digits = String::with_capacity(32);
    for byte in &fed.0.finalize()[..16] {
        // A string takes whatever is written to it.
        let _ = write!(digits, "{byte:02x}");
    }
    digits
}

struct Fed(Sha256);

macro_rules! little_endian {
    ($($write:ident $given:ty as $taken:ty),*) => {
        $(fn $write(&mut self, number: $given) {
            self.write(&(number as $taken).to_le_bytes());
        })*
    };
}

impl Hasher for Fed {
    fn write(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    fn finish(&self) -> u64 {
        // Nobody asks for it: the digest is longer.
        0
    }

    little_endian!(
        write_u8 u8 as u8, write_u16 u16 as u16, write_u32 u32 as u32, write_u64 u64 as u64,
        write_u128 u128 as u128, write_usize usize as u64,
        write_i8 i8 as i8, write_i16 i16 as i16, write_i32 i32 as i32, write_i64 i64 as i64,
        write_i128 i128 as i128, write_isize isize as i64
    );
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{collections::HashSet, net::IpAddr, sync::Arc};

    #[test]
    fn parts_of_a_key_do_not_run_into_one_another() {
        let keys = [
            digest(&("a|b", "c")),
            digest(&("a", "b|c")),
            digest(&("a", "bc")),
            digest(&("ab", "c")),
            digest(&("abc", "")),
            digest(&(Some("abc"), None::<&str>)),
            digest(&(None::<&str>, Some("abc"))),
            digest(&("a", ("b", "c"))),
            digest(&()),
        ];
        let different: HashSet<_> = keys.iter().collect();
        assert_eq!(different.len(), keys.len());
        assert!(keys.iter().all(|key| key.len() == 32));
    }

    // If this fails, a new compiler feeds hashers otherwise: counters begin anew when it is rolled out,
    // which the changelog must say.
    #[test]
    fn the_name_of_a_key_does_not_change() {
        let principal: (Option<Arc<str>>, Arc<str>) = (Some("acme".into()), "alice".into());
        let address: IpAddr = [192, 0, 2, 1].into();
        assert_eq!(digest(&"alice"), sha(b"alice\xff"));
        let none_is_zero = [&0_i64.to_le_bytes()[..], b"alice\xff"].concat();
        assert_eq!(digest(&(None::<&str>, "alice")), sha(&none_is_zero));
        let some_is_one = [&1_i64.to_le_bytes()[..], b"acme\xffalice\xff"].concat();
        assert_eq!(digest(&principal), sha(&some_is_one));
        let number = u32::from_ne_bytes([192, 0, 2, 1]).to_le_bytes();
        let bytes = [&0_i64.to_le_bytes()[..], &number];
        assert_eq!(digest(&address), sha(&bytes.concat()));
    }

    fn sha(bytes: &[u8]) -> String {
        let digest = Sha256::digest(bytes);
        digest[..16].iter().map(|b| format!("{b:02x}")).collect()
    }
}
