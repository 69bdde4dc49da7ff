//! Fingerprints of token multisets that bound how much two texts can share: [`Signatures`].
//!
//! Each element of a multiset (the second occurrence of a token being another element than its first) flips one bit. Two
//! multisets that differ in d elements then differ in at most d bits, so texts of `m` and `n` tokens whose signatures differ
//! in b bits share at most `(m + n − b) / 2` tokens, in whatever order (Sandes, Teodoro and Melo, "Bitmap filter", 2020).
//!
//! Long texts need wide signatures, or half of all bits differ and the bound says nothing. A signature of 64·w bits folded in
//! the middle is the one of 32·w bits, so a text that is compared with rows of several lengths has all widths at hand.

use crate::vocabulary::mix;

/// The widest signature, in 64-bit words; a power of two.
const WIDEST: usize = 64;

/// Words of the first look at a row of `tokens` tokens, wide enough that few unlike rows pass.
pub(super) fn narrow_words(tokens: usize) -> usize {
    match tokens {
        0..=24 => 1,
        25..=48 => 2,
        49..=96 => 4,
        97..=192 => 8,
        _ => 16,
    }
}

/// Words of the second look.
pub(super) fn wide_words(tokens: usize) -> usize {
    4 * narrow_words(tokens)
}

/// One multiset's signatures of 1, 2, 4, … words, up to the widest that its owner asks for.
#[derive(Debug, Clone)]
pub(super) struct Signatures {
    /// The one of w words stands at w..2·w.
    words: Box<[u64]>,
}

impl Signatures {
    /// Signatures of `tokens` of up to `widest` words, a power of two; their order is of no matter.
    pub(super) fn of(tokens: &[u32], widest: usize) -> Self {
        let mut words = vec![0; 2 * widest].into_boxed_slice();
        let mut sorted = tokens.to_vec();
        sorted.sort_unstable();
        for run in sorted.chunk_by(|a, b| a == b) {
            for (occurrence, &token) in (0_u64..).zip(run) {
                let (word, bit) = element(token, occurrence);
                words[widest + word % widest] ^= bit;
            }
        }
        for width in (0..widest.ilog2()).rev().map(|power| 1 << power) {
            for word in 0..width {
                words[width + word] = words[2 * width + word] ^ words[3 * width + word];
            }
        }
        Self { words }
    }

    /// The signature of `width` words, a power of two up to the widest.
    pub(super) fn of_width(&self, width: usize) -> &[u64] {
        &self.words[width..2 * width]
    }
}

/// Where the bit of an element stands: its word in the widest signature, and the bit there.
fn element(token: u32, occurrence: u64) -> (usize, u64) {
    let hash = mix((u64::from(token) << u32::BITS) | occurrence);
    ((hash >> 6) as usize % WIDEST, 1 << (hash % 64))
}

/// Number of bits in which two signatures of one width differ.
pub(super) fn differing_bits(left: &[u64], right: &[u64]) -> u32 {
    left.iter().zip(right).map(|(left, right)| (left ^ right).count_ones()).sum()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_signature_has_one_flip_per_element_of_the_multiset() {
        let wide = |tokens: &[u32]| Signatures::of(tokens, WIDEST).of_width(WIDEST).to_vec();
        assert_eq!(wide(&[]), [0; 64]);
        assert_eq!(wide(&[1, 2, 3, 2]), wide(&[2, 3, 2, 1]));
        assert_eq!(differing_bits(&wide(&[5; 40]), &wide(&[5; 39])), 1);
        assert_eq!(differing_bits(&wide(&[4, 5]), &wide(&[4, 6])), 2);
    }

    proptest! {
        #[test]
        fn no_width_overstates_the_difference(
            left in prop::collection::vec(0_u32..30, 0..60),
            right in prop::collection::vec(0_u32..30, 0..60),
        ) {
            let mut unmatched = right.clone();
            let shared = left.iter().filter(|token| {
                let found = unmatched.iter().position(|other| other == *token);
                found.map(|at| unmatched.swap_remove(at)).is_some()
            });
            let difference = left.len() + right.len() - 2 * shared.count();
            let narrow = Signatures::of(&left, 8);
            let (left, right) = (Signatures::of(&left, WIDEST), Signatures::of(&right, WIDEST));
            prop_assert_eq!(narrow.of_width(2), left.of_width(2));
            for width in [1, 2, 4, 8, 16, 32, 64] {
                let bits = differing_bits(left.of_width(width), right.of_width(width));
                prop_assert!(bits as usize <= difference);
            }
        }
    }
}
