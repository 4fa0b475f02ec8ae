//! How a stream is cut.
#![allow(unreachable_pub)]

/// Cuts `bytes` into a few hundred pieces at most, whose lengths `seed` decides.
pub fn pieces(bytes: &[u8], seed: u8) -> Vec<&[u8]> {
    let mut state = u32::from(seed).wrapping_mul(0x9E37_79B9) | 1;
    let mut rest = bytes;
    let mut pieces = Vec::new();
    let most = [1, 2, 3, 7, 40, 400, 5000, usize::MAX][usize::from(seed % 8)];
    let most = most.max(bytes.len() / 128);
    while !rest.is_empty() {
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        let length = match most {
            usize::MAX => rest.len(),
            most => (state as usize % most + 1).min(rest.len()),
        };
        let (piece, after) = rest.split_at(length);
        pieces.push(piece);
        rest = after;
    }
    pieces
}
