//! Products with ggml's blocks of 32 values: see `format::blocks` for their layouts.

#![expect(unsafe_code, reason = "lanes are instructions; see `Lanes`")]
#![allow(
    clippy::undocumented_unsafe_blocks,
    reason = "`Kind::block` hands its contract on; no offset leaves the block"
)]

// SAFETY: of every block in this file: the callers keep the contract of `Lanes`, which names the instructions that the
// processor has and the bytes that may be read.

use super::activations::Activations;
use super::kinds::{Kind, Weights, add_minimum, add_signed, add_unsigned, meeting, nibbles};
use super::lanes::{Lanes, Rows};

/// Signed bytes.
pub(super) struct Eights;

impl Kind for Eights {
    const BYTES: usize = 34;
    const PARTS: usize = 1;

    #[inline(always)]
    unsafe fn block<L: Lanes, const R: usize>(
        rows: Rows,
        x: &[Activations],
        sums: &mut [L::Floats; R],
    ) {
        unsafe {
            let [a, b, c, d] = L::quads(rows, 2);
            let [e, f, g, h] = L::quads(rows, 18);
            let scale = L::halves(rows, 0);
            add_signed::<L, R>(&[a, b, c, d, e, f, g, h], scale, meeting(x, 0), sums);
        }
    }
}

/// Four bits, less eight.
pub(super) struct Fours;

impl Kind for Fours {
    const BYTES: usize = 18;
    const PARTS: usize = 1;

    #[inline(always)]
    unsafe fn block<L: Lanes, const R: usize>(
        rows: Rows,
        x: &[Activations],
        sums: &mut [L::Floats; R],
    ) {
        unsafe {
            let weights = nibbles::<L>(rows, 2);
            add_unsigned::<L, R, 8>(&weights, L::halves(rows, 0), meeting(x, 0), sums);
        }
    }
}

/// Four bits and a minimum.
pub(super) struct FoursAndMinimum;

impl Kind for FoursAndMinimum {
    const BYTES: usize = 20;
    const PARTS: usize = 1;

    #[inline(always)]
    unsafe fn block<L: Lanes, const R: usize>(
        rows: Rows,
        x: &[Activations],
        sums: &mut [L::Floats; R],
    ) {
        unsafe {
            let head = L::words(rows, 0);
            let weights = nibbles::<L>(rows, 4);
            add_unsigned::<L, R, 0>(&weights, L::half(head), meeting(x, 0), sums);
            add_minimum::<L, R>(L::half(L::right::<16>(head)), meeting(x, 0), sums);
        }
    }
}

/// Five bits, less sixteen.
pub(super) struct Fives;

impl Kind for Fives {
    const BYTES: usize = 22;
    const PARTS: usize = 1;

    #[inline(always)]
    unsafe fn block<L: Lanes, const R: usize>(
        rows: Rows,
        x: &[Activations],
        sums: &mut [L::Floats; R],
    ) {
        unsafe {
            let weights = fives::<L>(nibbles::<L>(rows, 6), L::words(rows, 2));
            add_unsigned::<L, R, 16>(&weights, L::halves(rows, 0), meeting(x, 0), sums);
        }
    }
}

/// Five bits and a minimum.
pub(super) struct FivesAndMinimum;

impl Kind for FivesAndMinimum {
    const BYTES: usize = 24;
    const PARTS: usize = 1;

    #[inline(always)]
    unsafe fn block<L: Lanes, const R: usize>(
        rows: Rows,
        x: &[Activations],
        sums: &mut [L::Floats; R],
    ) {
        unsafe {
            let head = L::words(rows, 0);
            let weights = fives::<L>(nibbles::<L>(rows, 8), L::words(rows, 4));
            add_unsigned::<L, R, 0>(&weights, L::half(head), meeting(x, 0), sums);
            add_minimum::<L, R>(L::half(L::right::<16>(head)), meeting(x, 0), sums);
        }
    }
}

/// Puts bit `i` of `fifth` above the four bits of value `i`.
#[inline(always)]
unsafe fn fives<L: Lanes>(four: Weights<L>, fifth: L::Words) -> Weights<L> {
    unsafe {
        [
            with_fifth::<L, 0>(four[0], fifth),
            with_fifth::<L, 4>(four[1], fifth),
            with_fifth::<L, 8>(four[2], fifth),
            with_fifth::<L, 12>(four[3], fifth),
            with_fifth::<L, 16>(four[4], fifth),
            with_fifth::<L, 20>(four[5], fifth),
            with_fifth::<L, 24>(four[6], fifth),
            with_fifth::<L, 28>(four[7], fifth),
        ]
    }
}

/// Four values: their fifth bits are `fifth`'s from bit `FIRST` on.
#[inline(always)]
unsafe fn with_fifth<L: Lanes, const FIRST: u32>(four: L::Words, fifth: L::Words) -> L::Words {
    unsafe {
        let bits = L::and(L::right::<FIRST>(fifth), L::splat(15));
        // copies at 4, 11, 18 and 25 bring bit i of the four to bit 4 of byte i
        let spread = L::multiply_words(bits, L::splat(0x0204_0810));
        L::or(four, L::and(spread, L::splat(0x1010_1010)))
    }
}
