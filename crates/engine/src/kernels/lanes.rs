//! What a product's inner loop works on: [`Lane`]s of four bytes, each one 32-bit float or a pair of 16-bit integers that
//! follow one another along k.
//!
//! Rows of lanes are the left operand, strips of them (see [`super::source`]) the right one; the two kinds of lane differ only
//! in how values are put in, in the instructions that multiply them, and in what a sum of integers is multiplied by.
//!
//! # Integers
//! A row of A or a column of B is, for one part of k at a time, q · s: whole numbers q and a scale s, such that the length ‖q‖ is
//! [`LENGTH`] at most. By the inequality of Cauchy and Schwarz no sum Σ q q' then leaves 32 bits, so sums are exact and do not
//! depend on their order. What is lost is what rounding to q loses: less than ½ s a value, about ‖x‖ / 2¹⁵ √12 — for rows of some
//! hundred values an eighth of what rounding each value to bfloat16 loses, at the same size and, with VNNI, the same speed.

use super::KernelPath;
use super::simd::{Arithmetic, dispatch, sum_of_squares};

/// How a frozen weight is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Precision {
    /// 32-bit floats: the reference.
    F32,
    /// The upper half of a 32-bit float, rounded to nearest even. Where the processor multiplies pairs of 16-bit integers, a
    /// product's operands are rounded to those; sums of products are 32-bit floats or exact.
    Bf16,
    /// As the model's file has it, straight from the mapped file; a quantised block is widened where it is multiplied, to what
    /// [`Precision::Bf16`] multiplies.
    Stored,
}

impl Precision {
    /// The name used on the command line and in manifests.
    pub const fn name(self) -> &'static str {
        match self {
            Self::F32 => "f32",
            Self::Bf16 => "bf16",
            Self::Stored => "stored",
        }
    }
}

/// What a lane holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lane {
    /// One 32-bit float.
    F32,
    /// Two 16-bit integers, the first in the lower half.
    I16Pair,
}

impl Lane {
    /// The lanes in which this path multiplies matrices that are kept in this precision.
    pub fn of(path: KernelPath, precision: Precision) -> Self {
        match (path, precision) {
            (path, Precision::Bf16 | Precision::Stored) if path.has_pairs() => Self::I16Pair,
            _ => Self::F32,
        }
    }

    /// Values in a lane.
    pub const fn values(self) -> usize {
        match self {
            Self::F32 => 1,
            Self::I16Pair => 2,
        }
    }

    /// Lanes that hold `values` values.
    pub const fn count(self, values: usize) -> usize {
        values.div_ceil(self.values())
    }
}

/// The nearest bfloat16, ties to even; NaN stays NaN.
#[inline(always)]
pub fn to_bf16(value: f32) -> u16 {
    let bits = value.to_bits();
    let rounded = (bits.wrapping_add(0x7FFF + ((bits >> 16) & 1)) >> 16) as u16;
    if value.is_nan() { (bits >> 16) as u16 | 0x40 } else { rounded }
}

/// The value of a bfloat16.
#[inline(always)]
pub fn from_bf16(value: u16) -> f32 {
    f32::from_bits(u32::from(value) << 16)
}

/// A stored value that widens to 32 bits.
pub trait Widen: Copy + Send + Sync {
    /// The same value.
    fn widen(self) -> f32;
}

impl Widen for f32 {
    #[inline(always)]
    fn widen(self) -> f32 {
        self
    }
}

/// A bfloat16.
impl Widen for u16 {
    #[inline(always)]
    fn widen(self) -> f32 {
        from_bf16(self)
    }
}

/// Puts a part of a row into lanes, and gives the scale of integers, 1 for floats; a last half lane is filled with zero.
pub fn put(path: KernelPath, lane: Lane, values: &[f32], out: &mut [u32]) -> f32 {
    match lane {
        Lane::F32 => {
            for (out, value) in out.iter_mut().zip(values) {
                *out = value.to_bits();
            }
            1.0
        }
        Lane::I16Pair => integers(path, values, out),
    }
}

dispatch!(fn integers = integers_body(values: &[f32], out: &mut [u32]) -> f32);

#[inline(always)]
fn integers_body<A: Arithmetic>(values: &[f32], out: &mut [u32]) -> f32 {
    let (up, down) = scale_to_length(length_of(sum_of_squares::<A>(values)));
    let (whole, rest) = values.as_chunks::<2>();
    for (out, [low, high]) in out.iter_mut().zip(whole) {
        *out = pair(integer::<A>(*low, up), integer::<A>(*high, up));
    }
    if let [last] = rest {
        out[whole.len()] = pair(integer::<A>(*last, up), 0);
    }
    down
}

/// Greatest length of a part of a row or column of integers.
pub const LENGTH: f32 = 32_700.0;

/// The length of values with this sum of squares; none of those that are too near to zero for their squares.
#[inline(always)]
pub fn length_of(squares: f32) -> f32 {
    if squares < f32::MIN_POSITIVE { 0.0 } else { squares.sqrt() }
}

/// What values of this length are multiplied by to have [`LENGTH`], and their scale.
#[inline(always)]
pub fn scale_to_length(length: f32) -> (f32, f32) {
    // Not of what is no number, or too great: then the scale, and with it the product, is no number either.
    (if length > 0.0 { LENGTH / length } else { 0.0 }, length / LENGTH)
}

/// What values with this sum of squares are multiplied by, and their scale: powers of two, by which weights that have few bits,
/// as those of most files do, lose none of them.
#[inline(always)]
pub fn power_of_two_scale(squares: f32) -> (f32, f32) {
    const EXPONENT: u32 = 0x7F80_0000;
    // Zeros, or too near to that for their squares.
    if squares < f32::MIN_POSITIVE {
        return (0.0, 0.0);
    }
    if !squares.is_finite() {
        return (0.0, f32::NAN);
    }
    let up = f32::from_bits((LENGTH / squares.sqrt()).to_bits() & EXPONENT);
    (up, 1.0 / up)
}

/// Added to a small number, it leaves that number's nearest integer in the lowest bits of the sum.
pub const WHOLE: f32 = 12_582_912.0;

/// The integer next to `value` · `up`, ties to even; its magnitude is below 2¹⁵.
#[inline(always)]
pub fn integer<A: Arithmetic>(value: f32, up: f32) -> u16 {
    A::multiply_add(value, up, WHOLE).to_bits() as u16
}

/// Two 16-bit values in one lane.
#[inline(always)]
pub fn pair(low: u16, high: u16) -> u32 {
    u32::from(low) | u32::from(high) << 16
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bfloat16_rounds_to_nearest_even() {
        assert_eq!(from_bf16(to_bf16(1.0)), 1.0);
        assert_eq!(to_bf16(f32::from_bits(0x3F80_8000)), 0x3F80, "a tie goes to the even side");
        assert_eq!(to_bf16(f32::from_bits(0x3F81_8000)), 0x3F82, "a tie goes to the even side");
        assert_eq!(to_bf16(f32::from_bits(0x3F80_8001)), 0x3F81);
        assert!(from_bf16(to_bf16(f32::NAN)).is_nan());
        assert_eq!(from_bf16(to_bf16(f32::NEG_INFINITY)), f32::NEG_INFINITY);
    }

    #[test]
    fn lanes_hold_what_was_put() {
        let values = [1.0, -2.0, 0.5];
        for path in KernelPath::ALL.into_iter().filter(|path| path.available()) {
            let mut lanes = [7; 2];
            let scale = put(path, Lane::I16Pair, &values, &mut lanes);
            let [first, second, third, none] =
                [lanes[0], lanes[0] >> 16, lanes[1], lanes[1] >> 16].map(|lane| lane as i16);
            for (integer, value) in [first, second, third].into_iter().zip(values) {
                assert!((f32::from(integer) * scale - value).abs() <= 0.501 * scale, "{path:?}");
            }
            assert_eq!(none, 0);
            let mut lanes = [7; 3];
            assert_eq!(put(path, Lane::F32, &values, &mut lanes), 1.0);
            assert_eq!(lanes.map(f32::from_bits), values);
        }
        assert_eq!((Lane::I16Pair.count(3), Lane::F32.count(3)), (2, 3));
    }

    /// One value that has all of the length is the greatest integer there is, and zeros stay zeros.
    #[test]
    fn no_integer_overflows() {
        for path in KernelPath::ALL.into_iter().filter(|path| path.available()) {
            for value in [1e-15f32, -3.0, 1e18] {
                let mut lanes = [7; 1];
                let scale = put(path, Lane::I16Pair, &[value, 0.0], &mut lanes);
                assert_eq!(
                    lanes[0] as i32,
                    i32::from((LENGTH as i16) * value.signum() as i16) & 0xFFFF
                );
                assert!((LENGTH * scale / value.abs() - 1.0).abs() < 1e-6, "{path:?}");
            }
            let mut lanes = [7; 1];
            // The square of the last has hardly a bit.
            for nothing in [0.0, -1e-30, 4.5e-23] {
                assert_eq!(put(path, Lane::I16Pair, &[nothing, 0.0], &mut lanes), 0.0);
                assert_eq!(lanes, [0]);
            }
            for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
                assert!(!put(path, Lane::I16Pair, &[bad, 1.0], &mut lanes).is_finite());
            }
        }
    }

    #[test]
    fn a_scale_is_a_power_of_two_that_fits() {
        for squares in [1e-30f32, 0.7, 1.0, 3e20] {
            let (up, scale) = power_of_two_scale(squares);
            let length = squares.sqrt() * up;
            assert!(length <= LENGTH && length > 0.499 * LENGTH, "{squares}: {length}");
            assert_eq!((up.to_bits() & 0x7F_FFFF, up * scale), (0, 1.0));
        }
        assert_eq!(power_of_two_scale(0.0), (0.0, 0.0));
        for bad in [f32::NAN, f32::INFINITY] {
            assert!(power_of_two_scale(bad).1.is_nan());
        }
    }
}
