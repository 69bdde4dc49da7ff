//! Products with ggml's blocks of 256 values: see `format::blocks` for their layouts.

#![expect(unsafe_code, reason = "lanes are instructions; see `Lanes`")]
#![allow(
    clippy::undocumented_unsafe_blocks,
    reason = "`Kind::block` hands its contract on; no offset leaves the block"
)]

// SAFETY: of every block in this file: the callers keep the contract of `Lanes`, which names the instructions that the
// processor has and the bytes that may be read.

use super::activations::Activations;
use super::kinds::{Kind, Weights, add_minimum, add_unsigned, high, low, meeting};
use super::lanes::{Lanes, Rows};

/// Four bits; scale and minimum of each 32.
pub(super) struct KFours;

impl Kind for KFours {
    const BYTES: usize = 144;
    const PARTS: usize = 8;

    #[inline(always)]
    unsafe fn block<L: Lanes, const R: usize>(
        rows: Rows,
        x: &[Activations],
        sums: &mut [L::Floats; R],
    ) {
        unsafe {
            let head = Head::<L>::read(rows);
            pair::<L, R, 0>(&head, rows, x, sums);
            pair::<L, R, 2>(&head, rows, x, sums);
            pair::<L, R, 4>(&head, rows, x, sums);
            pair::<L, R, 6>(&head, rows, x, sums);
        }
    }
}

/// Parts `PART` and `PART + 1` of [`KFours`]: they share 32 bytes.
#[inline(always)]
unsafe fn pair<L: Lanes, const R: usize, const PART: usize>(
    head: &Head<L>,
    rows: Rows,
    x: &[Activations],
    sums: &mut [L::Floats; R],
) {
    unsafe {
        let raw = thirty_two::<L>(rows, 16 + 16 * PART);
        head.add::<R>(PART, &lows::<L>(&raw), x, sums);
        head.add::<R>(PART + 1, &highs::<L>(&raw), x, sums);
    }
}

/// Five bits; scale and minimum of each 32.
pub(super) struct KFives;

impl Kind for KFives {
    const BYTES: usize = 176;
    const PARTS: usize = 8;

    #[inline(always)]
    unsafe fn block<L: Lanes, const R: usize>(
        rows: Rows,
        x: &[Activations],
        sums: &mut [L::Floats; R],
    ) {
        unsafe {
            let head = Head::<L>::read(rows);
            let fifth = thirty_two::<L>(rows, 16);
            pair_of_fives::<L, R, 0, 1>(&head, &fifth, rows, x, sums);
            pair_of_fives::<L, R, 2, 3>(&head, &fifth, rows, x, sums);
            pair_of_fives::<L, R, 4, 5>(&head, &fifth, rows, x, sums);
            pair_of_fives::<L, R, 6, 7>(&head, &fifth, rows, x, sums);
        }
    }
}

/// Parts `PART` and `NEXT` of [`KFives`]: they share 32 bytes of four bits each.
#[inline(always)]
unsafe fn pair_of_fives<L: Lanes, const R: usize, const PART: u32, const NEXT: u32>(
    head: &Head<L>,
    fifth: &Weights<L>,
    rows: Rows,
    x: &[Activations],
    sums: &mut [L::Floats; R],
) {
    unsafe {
        let raw = thirty_two::<L>(rows, 48 + 16 * PART as usize);
        let mut weights = lows::<L>(&raw);
        for (word, fifth) in weights.iter_mut().zip(fifth) {
            *word = with_fifth::<L, PART>(*word, *fifth);
        }
        head.add::<R>(PART as usize, &weights, x, sums);
        let mut weights = highs::<L>(&raw);
        for (word, fifth) in weights.iter_mut().zip(fifth) {
            *word = with_fifth::<L, NEXT>(*word, *fifth);
        }
        head.add::<R>(NEXT as usize, &weights, x, sums);
    }
}

/// Puts bit `PART` of each byte of `fifth` above four bits.
#[inline(always)]
unsafe fn with_fifth<L: Lanes, const PART: u32>(four: L::Words, fifth: L::Words) -> L::Words {
    unsafe {
        let bit = L::and(L::right::<PART>(fifth), L::splat(0x0101_0101));
        // times 16: no byte grows into the next
        L::or(four, L::multiply_words(bit, L::splat(16)))
    }
}

/// Six bits; scale of each 16.
pub(super) struct KSixes;

impl Kind for KSixes {
    const BYTES: usize = 210;
    const PARTS: usize = 8;

    #[inline(always)]
    unsafe fn block<L: Lanes, const R: usize>(
        rows: Rows,
        x: &[Activations],
        sums: &mut [L::Floats; R],
    ) {
        unsafe {
            let scale = L::halves(rows, 208);
            let scales = L::quads(rows, 192);
            sixes::<L, R>(rows, 0, 128, scale, [scales[0], scales[1]], &x[..4 * R], sums);
            sixes::<L, R>(rows, 64, 160, scale, [scales[2], scales[3]], &x[4 * R..], sums);
        }
    }
}

/// Half a block of [`KSixes`], whose four lower bits lie at `four` and whose two upper ones at `two`. Parts 0 and 2 share
/// bytes of the four bits, and so do 1 and 3: they are added in the order 0, 2, 1, 3.
#[inline(always)]
unsafe fn sixes<L: Lanes, const R: usize>(
    rows: Rows,
    four: usize,
    two: usize,
    scale: L::Floats,
    scales: [L::Words; 2],
    x: &[Activations],
    sums: &mut [L::Floats; R],
) {
    unsafe {
        let upper = thirty_two::<L>(rows, two);
        let raw = thirty_two::<L>(rows, four);
        let weights = with_two::<L, 0>(lows::<L>(&raw), &upper);
        add_halves::<L, R>(&weights, scale, first_pair::<L>(scales[0]), meeting(x, 0), sums);
        let weights = with_two::<L, 4>(highs::<L>(&raw), &upper);
        add_halves::<L, R>(&weights, scale, first_pair::<L>(scales[1]), meeting(x, 2), sums);
        let raw = thirty_two::<L>(rows, four + 32);
        let weights = with_two::<L, 2>(lows::<L>(&raw), &upper);
        add_halves::<L, R>(&weights, scale, second_pair::<L>(scales[0]), meeting(x, 1), sums);
        let weights = with_two::<L, 6>(highs::<L>(&raw), &upper);
        add_halves::<L, R>(&weights, scale, second_pair::<L>(scales[1]), meeting(x, 3), sums);
    }
}

/// Puts bits `FROM` and `FROM + 1` of each byte of `upper` above four bits.
#[inline(always)]
unsafe fn with_two<L: Lanes, const FROM: u32>(
    mut four: Weights<L>,
    upper: &Weights<L>,
) -> Weights<L> {
    unsafe {
        for (word, upper) in four.iter_mut().zip(upper) {
            let bits = L::and(L::right::<FROM>(*upper), L::splat(0x0303_0303));
            *word = L::or(*word, L::multiply_words(bits, L::splat(16)));
        }
        four
    }
}

/// Signed bytes 0 and 1 of each word.
#[inline(always)]
unsafe fn first_pair<L: Lanes>(words: L::Words) -> [L::Words; 2] {
    unsafe { [signed_byte::<L, 0>(words), signed_byte::<L, 8>(words)] }
}

/// Signed bytes 2 and 3 of each word.
#[inline(always)]
unsafe fn second_pair<L: Lanes>(words: L::Words) -> [L::Words; 2] {
    unsafe { [signed_byte::<L, 16>(words), signed_byte::<L, 24>(words)] }
}

#[inline(always)]
unsafe fn signed_byte<L: Lanes, const FROM: u32>(words: L::Words) -> L::Words {
    unsafe {
        let byte = L::and(L::right::<FROM>(words), L::splat(255));
        // (b xor 128) - 128, with an addition in place of the xor, whose carry is cut off
        let shifted = L::and(L::add_words(byte, L::splat(128)), L::splat(255));
        L::add_words(shifted, L::splat(-128))
    }
}

/// sums += (`scale` · x.scale) · (s₀ Σ (w − 32)·x over the first 16 + s₁ the same over the last 16).
///
/// The integer is at most 2 · 128 · 16 · 32 · 127 < 2²⁴, so that the float is exact.
#[inline(always)]
unsafe fn add_halves<L: Lanes, const R: usize>(
    weights: &Weights<L>,
    scale: L::Floats,
    scales: [L::Words; 2],
    x: &[Activations; R],
    sums: &mut [L::Floats; R],
) {
    for row in 0..R {
        unsafe {
            let first = L::splat(-32 * x[row].first_sum);
            let second = L::splat(-32 * (x[row].sum - x[row].first_sum));
            let [a, b, c, d, e, f, g, h] = weights;
            let [i, j, k, l, m, n, o, p] = x[row].words();
            let first = L::dots(first, &[*a, *b, *c, *d], &[*i, *j, *k, *l]);
            let second = L::dots(second, &[*e, *f, *g, *h], &[*m, *n, *o, *p]);
            let first = L::multiply_words(first, scales[0]);
            let second = L::multiply_words(second, scales[1]);
            let total = L::to_floats(L::add_words(first, second));
            let scale = L::multiply(scale, L::splat_float(x[row].scale));
            sums[row] = L::add(sums[row], L::multiply(scale, total));
        }
    }
}

/// The first 16 bytes of [`KFours`] and [`KFives`]: the scales of scales and minima, and eight of each in six bits.
struct Head<L: Lanes> {
    scale: L::Floats,
    /// Negative: minima are taken away.
    minimum: L::Floats,
    /// One byte for each part, four to a word.
    scales: [L::Words; 2],
    minima: [L::Words; 2],
}

impl<L: Lanes> Head<L> {
    #[inline(always)]
    unsafe fn read(rows: Rows) -> Self {
        unsafe {
            let [halves, a, b, c] = L::quads(rows, 0);
            let six = L::splat(0x3f3f_3f3f);
            let two = L::splat(0x3030_3030);
            // bits 6 and 7 of each byte, moved to 4 and 5
            let top_a = L::and(L::right::<2>(a), two);
            let top_b = L::and(L::right::<2>(b), two);
            Self {
                scale: L::half(halves),
                minimum: L::multiply(L::half(L::right::<16>(halves)), L::splat_float(-1.0)),
                scales: [L::and(a, six), L::or(low::<L>(c), top_a)],
                minima: [L::and(b, six), L::or(high::<L>(c), top_b)],
            }
        }
    }

    /// Adds the products of part `part`.
    #[inline(always)]
    unsafe fn add<const R: usize>(
        &self,
        part: usize,
        weights: &Weights<L>,
        x: &[Activations],
        sums: &mut [L::Floats; R],
    ) {
        unsafe {
            let x = meeting::<R>(x, part);
            let scale = byte::<L>(self.scales[part / 4], part % 4);
            add_unsigned::<L, R, 0>(weights, L::multiply(self.scale, scale), x, sums);
            let minimum = byte::<L>(self.minima[part / 4], part % 4);
            add_minimum::<L, R>(L::multiply(self.minimum, minimum), x, sums);
        }
    }
}

/// Byte `at` of each word.
#[inline(always)]
unsafe fn byte<L: Lanes>(words: L::Words, at: usize) -> L::Floats {
    unsafe {
        let shifted = match at {
            0 => words,
            1 => L::right::<8>(words),
            2 => L::right::<16>(words),
            _ => L::right::<24>(words),
        };
        L::to_floats(L::and(shifted, L::splat(255)))
    }
}

/// 32 bytes of each row.
#[inline(always)]
unsafe fn thirty_two<L: Lanes>(rows: Rows, offset: usize) -> Weights<L> {
    unsafe {
        let [a, b, c, d] = L::quads(rows, offset);
        let [e, f, g, h] = L::quads(rows, offset + 16);
        [a, b, c, d, e, f, g, h]
    }
}

/// The lower four bits of each byte.
#[inline(always)]
unsafe fn lows<L: Lanes>(words: &Weights<L>) -> Weights<L> {
    let mut words = *words;
    for word in &mut words {
        *word = unsafe { low::<L>(*word) };
    }
    words
}

/// The upper four bits of each byte.
#[inline(always)]
unsafe fn highs<L: Lanes>(words: &Weights<L>) -> Weights<L> {
    let mut words = *words;
    for word in &mut words {
        *word = unsafe { high::<L>(*word) };
    }
    words
}
