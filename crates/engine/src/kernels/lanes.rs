//! What a product's inner loop works on: [`Lane`]s of four bytes, each one 32-bit float or a pair of bfloat16 values that
//! follow one another along k.
//!
//! Rows of lanes are the left operand, strips of them (see [`super::source`]) the right one; the two kinds of lane differ only
//! in how values are put in and in the one instruction that multiplies them.

use super::KernelPath;
use super::simd::dispatch;

/// How a frozen weight is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Precision {
    /// 32-bit floats: the reference.
    F32,
    /// The upper half of a 32-bit float, rounded to nearest even. Where the processor multiplies such pairs, so are the
    /// other operands of its products; sums are always 32-bit floats.
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
    /// Two bfloat16 values, the first in the lower half.
    Bf16Pair,
}

impl Lane {
    /// The lanes in which this path multiplies matrices that are kept in this precision.
    pub fn of(path: KernelPath, precision: Precision) -> Self {
        match (path, precision) {
            (KernelPath::Avx512Bf16, Precision::Bf16 | Precision::Stored) => Self::Bf16Pair,
            _ => Self::F32,
        }
    }

    /// Values in a lane.
    pub const fn values(self) -> usize {
        match self {
            Self::F32 => 1,
            Self::Bf16Pair => 2,
        }
    }

    /// The value that a lane keeps of this one.
    #[inline(always)]
    pub fn rounded(self, value: f32) -> f32 {
        match self {
            Self::F32 => value,
            Self::Bf16Pair => from_bf16(to_bf16(value)),
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

/// Puts `values` into lanes; a last half lane is filled with zero.
pub fn put(path: KernelPath, lane: Lane, values: &[f32], out: &mut [u32]) {
    match lane {
        Lane::F32 => {
            for (out, value) in out.iter_mut().zip(values) {
                *out = value.to_bits();
            }
        }
        Lane::Bf16Pair => pairs(path, values, out),
    }
}

dispatch!(fn pairs = pairs_body(values: &[f32], out: &mut [u32]));

#[expect(clippy::extra_unused_type_parameters, reason = "`dispatch!` names one")]
#[inline(always)]
fn pairs_body<A: super::simd::Arithmetic>(values: &[f32], out: &mut [u32]) {
    let (whole, rest) = values.as_chunks::<2>();
    for (out, [low, high]) in out.iter_mut().zip(whole) {
        *out = pair(to_bf16(*low), to_bf16(*high));
    }
    if let [last] = rest {
        out[whole.len()] = pair(to_bf16(*last), 0);
    }
}

/// Two bfloat16 values in one lane.
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
            put(path, Lane::Bf16Pair, &values, &mut lanes);
            assert_eq!(lanes, [0xC000_3F80, 0x3F00]);
            let mut lanes = [7; 3];
            put(path, Lane::F32, &values, &mut lanes);
            assert_eq!(lanes.map(f32::from_bits), values);
        }
        assert_eq!((Lane::Bf16Pair.count(3), Lane::F32.count(3)), (2, 3));
    }
}
