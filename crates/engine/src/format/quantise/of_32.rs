//! Writing ggml's blocks of 32 values.

use super::super::data_type::{f16_to_f32, f32_to_f16};
use super::scale::symmetric;

/// As ggml's reference: the scale is the largest magnitude over 127, quants are rounded half away from zero with the scale
/// before it becomes a half.
pub(super) fn q8_0(values: &[f32; 32], block: &mut [u8; 34]) {
    let largest = values.iter().fold(0.0f32, |so_far, value| so_far.max(value.abs()));
    let scale = largest / 127.0;
    let inverse = if scale == 0.0 { 0.0 } else { 1.0 / scale };
    block[..2].copy_from_slice(&f32_to_f16(scale).to_le_bytes());
    for (quant, value) in block[2..].iter_mut().zip(values) {
        *quant = ((value * inverse).round() as i8).cast_unsigned();
    }
}

/// `d·(q − 16)` with the best `d` of a search.
pub(super) fn q5_0(values: &[f32; 32], block: &mut [u8; 22]) {
    let half = f32_to_f16(symmetric(values, 16.0));
    let scale = f16_to_f32(half);
    let inverse = if scale == 0.0 { 0.0 } else { 1.0 / scale };
    let quants =
        values.map(|value| ((value * inverse).round_ties_even().clamp(-16.0, 15.0) + 16.0) as u8);
    let mut fifth = 0u32;
    for i in 0..16 {
        let (low, high) = (quants[i], quants[i + 16]);
        block[6 + i] = (low & 15) | ((high & 15) << 4);
        fifth |= u32::from(low >> 4) << i | u32::from(high >> 4) << (i + 16);
    }
    block[..2].copy_from_slice(&half.to_le_bytes());
    block[2..6].copy_from_slice(&fifth.to_le_bytes());
}
