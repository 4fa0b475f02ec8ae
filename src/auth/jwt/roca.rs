//! RSA keys that a broken generator made, and that can be factored: CVE-2017-15361.
//!
//! Their primes are `k·M + (65537ᵃ mod M)` for a product `M` of small primes. So modulo each of these
//! the key is a power of 65537, which of other keys is true for one in 2²⁷.

const PRIMES: [u32; 38] = [
    3, 5, 7, 11, 13, 17, 19, 23, 29, 31, 37, 41, 43, 47, 53, 59, 61, 67, 71, 73, 79, 83, 89, 97,
    101, 103, 107, 109, 113, 127, 131, 137, 139, 149, 151, 157, 163, 167,
];

pub(super) fn is_suspect(modulus: &[u8]) -> bool {
    PRIMES.iter().all(|&prime| {
        let rest = modulus
            .iter()
            .fold(0, |rest, &byte| (rest << 8 | u32::from(byte)) % prime);
        let mut power = 1;
        // A group modulo a prime has no more members than that.
        for _ in 0..prime {
            if power == rest {
                return true;
            }
            power = power * (65537 % prime) % prime;
        }
        false
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_power_of_65537_is_suspect_and_a_number_beside_it_is_not() {
        // 65537³, as bytes.
        let cube = 65537_u64.pow(3).to_be_bytes();
        assert!(is_suspect(&cube));
        assert!(!is_suspect(&(65537_u64.pow(3) + 2).to_be_bytes()));
        assert!(!is_suspect(&[0xff; 256]));
    }
}
