//! The tokens of an encoding, and how many of them a piece of text is merged into.

use std::{cmp::Reverse, collections::BinaryHeap};

/// Not a token.
const NONE: u32 = u32::MAX;

/// A slot holds a rank, one up, in its lower bits, and in the others some bits of the hash.
const RANK_BITS: u32 = 18;
const RANK_MASK: u32 = (1 << RANK_BITS) - 1;

/// From this length on a heap finds the next pair sooner than a walk does.
const LONG: usize = 96;

/// The tokens, by their bytes. Some 4 MB for 200,000 of them.
pub(super) struct Vocabulary {
    bytes: Vec<u8>,
    /// Where each token starts in `bytes`, and where the last one ends.
    starts: Vec<u32>,
    /// Open addressing, half full at most.
    slots: Vec<u32>,
    /// The ranks of the pairs of two bytes.
    pairs: Vec<u32>,
    longest: usize,
}

/// What merging needs, kept from one piece to the next.
#[derive(Default)]
pub(super) struct Scratch {
    parts: Vec<(u32, u32)>,
    links: Vec<Link>,
    heap: BinaryHeap<Reverse<u64>>,
}

#[derive(Clone, Copy)]
struct Link {
    prev: u32,
    /// Where the next part starts.
    next: u32,
    /// The rank of this part with the next, or `NONE`.
    rank: u32,
}

impl Vocabulary {
    /// Of these tokens in the order of their ranks: at most 2¹⁸ − 1.
    pub(super) fn new(tokens: impl Iterator<Item = Vec<u8>>) -> Self {
        let (mut bytes, mut starts, mut longest) = (Vec::new(), vec![0], 0);
        for token in tokens.take(RANK_MASK as usize) {
            longest = longest.max(token.len());
            bytes.extend_from_slice(&token);
            starts.push(u32::try_from(bytes.len()).unwrap_or(NONE));
        }
        bytes.shrink_to_fit();
        starts.shrink_to_fit();
        let mut vocabulary = Self {
            slots: vec![0; (starts.len() * 2).next_power_of_two()],
            pairs: Vec::new(),
            bytes,
            starts,
            longest,
        };
        for rank in 0..vocabulary.len() {
            vocabulary.insert(rank);
        }
        vocabulary.pairs = (0..=u16::MAX)
            .map(|pair| vocabulary.find(&pair.to_be_bytes()))
            .collect();
        vocabulary
    }

    pub(super) fn len(&self) -> u32 {
        u32::try_from(self.starts.len() - 1).unwrap_or(NONE)
    }

    fn token(&self, rank: u32) -> &[u8] {
        let at = rank as usize;
        match self.starts.get(at..at + 2) {
            Some(&[start, end]) => &self.bytes[start as usize..end as usize],
            _ => &[],
        }
    }

    fn insert(&mut self, rank: u32) {
        let (mut at, tag) = self.place(self.token(rank));
        while self.slots[at] != 0 {
            at = (at + 1) & (self.slots.len() - 1);
        }
        self.slots[at] = tag | (rank + 1);
    }

    /// The first slot to look at, and the tag to find there.
    #[inline]
    fn place(&self, bytes: &[u8]) -> (usize, u32) {
        const K: u64 = 0x9e37_79b9_7f4a_7c15;
        let mut hash = (bytes.len() as u64).wrapping_mul(K);
        let (words, rest) = bytes.as_chunks::<8>();
        for word in words {
            hash = (hash.rotate_left(23) ^ u64::from_le_bytes(*word)).wrapping_mul(K);
        }
        let mut last = [0; 8];
        last[..rest.len()].copy_from_slice(rest);
        hash = (hash.rotate_left(23) ^ u64::from_le_bytes(last)).wrapping_mul(K);
        hash ^= hash >> 29;
        hash = hash.wrapping_mul(K);
        let at = (hash >> 40) as usize & (self.slots.len() - 1);
        (at, (hash as u32) & !RANK_MASK)
    }

    /// The rank of these bytes, or `NONE`.
    #[inline]
    fn find(&self, bytes: &[u8]) -> u32 {
        if bytes.len() > self.longest {
            return NONE;
        }
        let (mut at, tag) = self.place(bytes);
        loop {
            let slot = self.slots[at];
            if slot == 0 {
                return NONE;
            }
            let rank = (slot & RANK_MASK) - 1;
            if slot & !RANK_MASK == tag && self.token(rank) == bytes {
                return rank;
            }
            at = (at + 1) & (self.slots.len() - 1);
        }
    }

    /// Whether these bytes are one token.
    pub(super) fn contains(&self, bytes: &[u8]) -> bool {
        self.find(bytes) != NONE
    }

    #[inline]
    fn pair(&self, left: u8, right: u8) -> u32 {
        let at = u16::from_be_bytes([left, right]);
        self.pairs.get(usize::from(at)).copied().unwrap_or(NONE)
    }

    /// How many tokens are left when of all neighbours that are a token together the pair with the
    /// lowest rank has been merged, again and again; of equals the first.
    pub(super) fn merge(&self, piece: &[u8], scratch: &mut Scratch) -> u64 {
        match piece.len() {
            0..=1 => piece.len() as u64,
            2..LONG => self.merge_short(piece, &mut scratch.parts),
            _ => self.merge_long(piece, scratch),
        }
    }

    /// Quadratic, and the quicker one as long as the piece is short.
    fn merge_short(&self, piece: &[u8], parts: &mut Vec<(u32, u32)>) -> u64 {
        parts.clear();
        for (at, pair) in piece.windows(2).enumerate() {
            parts.push((at as u32, self.pair(pair[0], pair[1])));
        }
        parts.push((piece.len() as u32 - 1, NONE));
        parts.push((piece.len() as u32, NONE));
        loop {
            let (mut least, mut at) = (NONE, 0);
            for (index, &(_, rank)) in parts.iter().enumerate() {
                if rank < least {
                    (least, at) = (rank, index);
                }
            }
            if least == NONE {
                return parts.len() as u64 - 1;
            }
            parts.remove(at + 1);
            let rank = |at: usize| match (parts.get(at), parts.get(at + 2)) {
                (Some(&(start, _)), Some(&(end, _))) => {
                    self.find(&piece[start as usize..end as usize])
                }
                _ => NONE,
            };
            let here = rank(at);
            let before = at.checked_sub(1).map(|before| (before, rank(before)));
            parts[at].1 = here;
            if let Some((before, rank)) = before {
                parts[before].1 = rank;
            }
        }
    }

    /// The same in n log n.
    fn merge_long(&self, piece: &[u8], scratch: &mut Scratch) -> u64 {
        let (links, heap) = (&mut scratch.links, &mut scratch.heap);
        links.clear();
        heap.clear();
        let end = piece.len() as u32;
        let entry = |rank: u32, start: u32| Reverse(u64::from(rank) << 32 | u64::from(start));
        for start in 0..end {
            let rank = match piece.get(start as usize..start as usize + 2) {
                Some(&[left, right]) => self.pair(left, right),
                _ => NONE,
            };
            if rank != NONE {
                heap.push(entry(rank, start));
            }
            links.push(Link {
                prev: start.wrapping_sub(1),
                next: start + 1,
                rank,
            });
        }
        let mut left = u64::from(end);
        while let Some(Reverse(least)) = heap.pop() {
            let (rank, start) = ((least >> 32) as u32, least as u32);
            let Link {
                prev,
                next,
                rank: now,
                ..
            } = links[start as usize];
            // An entry of what has changed since, or is no more.
            if now != rank || next >= end {
                continue;
            }
            left -= 1;
            let after = links[next as usize].next;
            links[next as usize].rank = NONE;
            links[start as usize].next = after;
            if after < end {
                links[after as usize].prev = start;
            }
            let rank_of = |links: &[Link], start: u32| {
                let next = links[start as usize].next;
                if next >= end {
                    return NONE;
                }
                self.find(&piece[start as usize..links[next as usize].next as usize])
            };
            for start in [start, prev] {
                if start == NONE {
                    continue;
                }
                let rank = rank_of(links, start);
                links[start as usize].rank = rank;
                if rank != NONE {
                    heap.push(entry(rank, start));
                }
            }
        }
        left
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn letters() -> Vocabulary {
        let single = (0..=255).map(|byte| vec![byte]);
        let merged = ["ab", "cd", "abc", "bc", "aa", "aaaa", "abcd", "da"];
        Vocabulary::new(single.chain(merged.map(|token| token.as_bytes().to_vec())))
    }

    fn merged(piece: &str) -> u64 {
        letters().merge(piece.as_bytes(), &mut Scratch::default())
    }

    #[test]
    fn the_lowest_rank_is_merged_first() {
        assert_eq!(merged("a"), 1);
        assert_eq!(merged("abcd"), 1);
        // `ab` comes before `bc`, so that `xabc` is not `x`, `a`, `bc`.
        assert_eq!(merged("xabc"), 2);
        assert_eq!(merged("aaaaa"), 2);
        assert!(letters().contains(b"abc"));
        assert!(!letters().contains(b"abd"));
        assert_eq!(letters().len(), 264);
    }

    proptest! {
        #[test]
        fn both_ways_of_merging_agree(piece in "[a-e]{2,200}") {
            let vocabulary = letters();
            let mut scratch = Scratch::default();
            let short = vocabulary.merge_short(piece.as_bytes(), &mut scratch.parts);
            let long = vocabulary.merge_long(piece.as_bytes(), &mut scratch);
            prop_assert_eq!(short, long);
        }
    }
}
