//! ggml's blocks of 256 values, the "K" types: eight parts of 32 whose scales are themselves small integers.

#![expect(non_camel_case_types, reason = "ggml's names")]

use super::{Layout, PART, half};

/// f16 `d`, f16 `dmin`, 12 bytes of 6-bit scales and minima, 128 bytes of 4-bit `q`: `d·s·q − dmin·m`.
pub(super) struct Q4_K;

impl Layout<144> for Q4_K {
    const PARTS: usize = 8;

    #[inline(always)]
    fn part(block: &[u8; 144], part: usize, values: &mut [f32; PART]) {
        let (scale, minimum) = scale_and_minimum(block, part);
        let quants = &block[16 + 32 * (part / 2)..][..PART];
        let shift = 4 * (part % 2);
        for (value, quant) in values.iter_mut().zip(quants) {
            *value = scale * f32::from((quant >> shift) & 15) - minimum;
        }
    }
}

/// As [`Q4_K`], with 32 bytes of fifth bits before the quants: bit `p` of byte `i` is that of value `i` of part `p`.
pub(super) struct Q5_K;

impl Layout<176> for Q5_K {
    const PARTS: usize = 8;

    #[inline(always)]
    fn part(block: &[u8; 176], part: usize, values: &mut [f32; PART]) {
        let (scale, minimum) = scale_and_minimum(block, part);
        let fifth = &block[16..48];
        let quants = &block[48 + 32 * (part / 2)..][..PART];
        let shift = 4 * (part % 2);
        for ((value, quant), fifth) in values.iter_mut().zip(quants).zip(fifth) {
            let quant = ((quant >> shift) & 15) | (((fifth >> part) & 1) << 4);
            *value = scale * f32::from(quant) - minimum;
        }
    }
}

/// 128 bytes of four bits, 64 of the two above, 16 × i8 scale `s` of 16 values each, f16 `d`: `d·s·(q − 32)`.
///
/// Of each half of 128 values, a byte of the four bits holds values `i` and `i + 64`, one of the two bits `i`, `i + 32`,
/// `i + 64` and `i + 96`.
pub(super) struct Q6_K;

impl Layout<210> for Q6_K {
    const PARTS: usize = 8;

    #[inline(always)]
    fn part(block: &[u8; 210], part: usize, values: &mut [f32; PART]) {
        let (side, within) = (part / 4, part % 4);
        let low = &block[64 * side + 32 * (within % 2)..][..PART];
        let high = &block[128 + 32 * side..][..PART];
        let (low_shift, high_shift) = (4 * (within / 2), 2 * within);
        for (run, values) in values.as_chunks_mut::<16>().0.iter_mut().enumerate() {
            let scale = half(block, 208) * f32::from(block[192 + 2 * part + run].cast_signed());
            let bits = low[16 * run..].iter().zip(&high[16 * run..]);
            for (value, (low, high)) in values.iter_mut().zip(bits) {
                let quant = ((low >> low_shift) & 15) | (((high >> high_shift) & 3) << 4);
                *value = scale * (i32::from(quant) - 32) as f32;
            }
        }
    }
}

/// `d·s` and `dmin·m` of a part of [`Q4_K`] and [`Q5_K`]. The first four scales and minima are the lower six bits of a
/// byte each; those of the last four have their lower four bits in the last four bytes, and two in the first eight's top.
#[inline(always)]
fn scale_and_minimum(block: &[u8], part: usize) -> (f32, f32) {
    let packed = &block[4..16];
    let (scale, minimum) = if part < 4 {
        (packed[part] & 63, packed[part + 4] & 63)
    } else {
        let low = packed[part + 4];
        ((low & 15) | ((packed[part - 4] >> 6) << 4), (low >> 4) | ((packed[part] >> 6) << 4))
    };
    (half(block, 0) * f32::from(scale), half(block, 2) * f32::from(minimum))
}
