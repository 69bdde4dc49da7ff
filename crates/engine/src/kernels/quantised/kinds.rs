//! [`Kind`]: how a block of a quantised type is multiplied with activations, and the step that all of them share.

#![expect(unsafe_code, reason = "lanes are instructions; see `Lanes`")]

use super::activations::{Activations, BLOCK};
use super::lanes::{Lanes, Rows};

/// A type of blocks.
pub(super) trait Kind {
    /// Bytes of a block.
    const BYTES: usize;
    /// Runs of 32 values in a block.
    const PARTS: usize;

    /// Adds the products of one block of each weight row with `R` rows of activations to `sums`: `x` holds
    /// [`Self::PARTS`] × `R` runs of activations.
    ///
    /// # Safety
    /// The instructions of `L` are there, [`Self::BYTES`] bytes of `L::ROWS` rows are readable, and `x` is so long.
    unsafe fn block<L: Lanes, const R: usize>(
        rows: Rows,
        x: &[Activations],
        sums: &mut [L::Floats; R],
    );
}

/// 32 weights of each row, four to a word: value `4k + i` is byte `i` of word `k`.
pub(super) type Weights<L> = [<L as Lanes>::Words; BLOCK / 4];

/// sums += (`scale` · x.scale) · Σ (w − `BIAS`)·x, for unsigned weights of at most 63.
///
/// # Safety
/// The instructions of `L` are there.
#[inline(always)]
pub(super) unsafe fn add_unsigned<L: Lanes, const R: usize, const BIAS: i32>(
    weights: &Weights<L>,
    scale: L::Floats,
    x: &[Activations; R],
    sums: &mut [L::Floats; R],
) {
    for row in 0..R {
        // SAFETY: the instructions are there by the contract.
        unsafe {
            let unbiased = L::splat(-BIAS * x[row].sum);
            let total = L::to_floats(L::dots(unbiased, weights, x[row].words()));
            let scale = L::multiply(scale, L::splat_float(x[row].scale));
            sums[row] = L::add(sums[row], L::multiply(scale, total));
        }
    }
}

/// sums += (`scale` · x.scale) · Σ w·x, for signed weights.
///
/// # Safety
/// The instructions of `L` are there.
#[inline(always)]
pub(super) unsafe fn add_signed<L: Lanes, const R: usize>(
    weights: &Weights<L>,
    scale: L::Floats,
    x: &[Activations; R],
    sums: &mut [L::Floats; R],
) {
    for row in 0..R {
        // SAFETY: the instructions are there by the contract.
        unsafe {
            let unbiased = L::splat(-L::SIGNED_BIAS * x[row].sum);
            let total = L::to_floats(L::dots_signed(unbiased, weights, x[row].words()));
            let scale = L::multiply(scale, L::splat_float(x[row].scale));
            sums[row] = L::add(sums[row], L::multiply(scale, total));
        }
    }
}

/// sums += `minimum` · Σ x: what is added to every weight of the run.
///
/// # Safety
/// The instructions of `L` are there.
#[inline(always)]
pub(super) unsafe fn add_minimum<L: Lanes, const R: usize>(
    minimum: L::Floats,
    x: &[Activations; R],
    sums: &mut [L::Floats; R],
) {
    for row in 0..R {
        // SAFETY: the instructions are there by the contract.
        unsafe {
            let all = L::multiply(minimum, L::splat_float(x[row].scaled_sum));
            sums[row] = L::add(sums[row], all);
        }
    }
}

/// The runs of activations that meet part `part` of a block.
///
/// # Safety
/// `x` holds (`part` + 1) × `R` runs.
#[inline(always)]
pub(super) unsafe fn meeting<const R: usize>(x: &[Activations], part: usize) -> &[Activations; R] {
    // SAFETY: so long by the contract.
    unsafe { &*x.as_ptr().add(part * R).cast() }
}

/// The lower four bits of each byte.
///
/// # Safety
/// The instructions of `L` are there.
#[inline(always)]
pub(super) unsafe fn low<L: Lanes>(words: L::Words) -> L::Words {
    // SAFETY: by the contract.
    unsafe { L::and(words, L::splat(0x0f0f_0f0f)) }
}

/// The upper four bits of each byte.
///
/// # Safety
/// The instructions of `L` are there.
#[inline(always)]
pub(super) unsafe fn high<L: Lanes>(words: L::Words) -> L::Words {
    // SAFETY: by the contract.
    unsafe { L::and(L::right::<4>(words), L::splat(0x0f0f_0f0f)) }
}

/// 16 bytes of each row, of which each holds value `i` in its lower and value `i + 16` in its upper half.
///
/// # Safety
/// As [`Lanes::quads`].
#[inline(always)]
pub(super) unsafe fn nibbles<L: Lanes>(rows: Rows, offset: usize) -> Weights<L> {
    // SAFETY: by the contract.
    unsafe {
        let [a, b, c, d] = L::quads(rows, offset);
        [
            low::<L>(a),
            low::<L>(b),
            low::<L>(c),
            low::<L>(d),
            high::<L>(a),
            high::<L>(b),
            high::<L>(c),
            high::<L>(d),
        ]
    }
}
