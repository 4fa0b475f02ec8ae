//! What nobody may guess.

/// Bytes of the system's own source, which is made for secrets. `None`: it has none to give.
///
/// The ids of exchanges are not for this: they are made of a hash that is no cryptographic one, and handed out.
pub(super) fn bytes<const N: usize>() -> Option<[u8; N]> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).ok()?;
    Some(bytes)
}
