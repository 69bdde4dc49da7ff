//! ggml's blocks of 32 values. Four bits of value `i` and of value `i + 16` share a byte.

use super::{Layout, PART, half};

/// f16 `d`, 32 × i8 `q`: `d·q`.
pub(super) struct Q8_0;

impl Layout<34> for Q8_0 {
    const PARTS: usize = 1;

    #[inline(always)]
    fn part(block: &[u8; 34], _part: usize, values: &mut [f32; PART]) {
        let scale = half(block, 0);
        for (value, quant) in values.iter_mut().zip(&block[2..]) {
            *value = scale * f32::from(quant.cast_signed());
        }
    }
}

/// f16 `d`, 16 bytes of 4-bit `q`: `d·(q − 8)`.
pub(super) struct Q4_0;

impl Layout<18> for Q4_0 {
    const PARTS: usize = 1;

    #[inline(always)]
    fn part(block: &[u8; 18], _part: usize, values: &mut [f32; PART]) {
        let scale = half(block, 0);
        for i in 0..16 {
            let byte = i32::from(block[2 + i]);
            values[i] = scale * ((byte & 15) - 8) as f32;
            values[i + 16] = scale * ((byte >> 4) - 8) as f32;
        }
    }
}

/// f16 `d`, f16 `m`, 16 bytes of 4-bit `q`: `d·q + m`.
pub(super) struct Q4_1;

impl Layout<20> for Q4_1 {
    const PARTS: usize = 1;

    #[inline(always)]
    fn part(block: &[u8; 20], _part: usize, values: &mut [f32; PART]) {
        let (scale, minimum) = (half(block, 0), half(block, 2));
        for i in 0..16 {
            let byte = i32::from(block[4 + i]);
            values[i] = scale * (byte & 15) as f32 + minimum;
            values[i + 16] = scale * (byte >> 4) as f32 + minimum;
        }
    }
}

/// f16 `d`, 32 fifth bits, 16 bytes of the lower four: `d·(q − 16)`.
pub(super) struct Q5_0;

impl Layout<22> for Q5_0 {
    const PARTS: usize = 1;

    #[inline(always)]
    fn part(block: &[u8; 22], _part: usize, values: &mut [f32; PART]) {
        let scale = half(block, 0);
        let fifth = u32::from_le_bytes([block[2], block[3], block[4], block[5]]);
        for i in 0..16 {
            let (low, high) = five_bits(block[6 + i], fifth, i);
            values[i] = scale * (low - 16) as f32;
            values[i + 16] = scale * (high - 16) as f32;
        }
    }
}

/// f16 `d`, f16 `m`, 32 fifth bits, 16 bytes of the lower four: `d·q + m`.
pub(super) struct Q5_1;

impl Layout<24> for Q5_1 {
    const PARTS: usize = 1;

    #[inline(always)]
    fn part(block: &[u8; 24], _part: usize, values: &mut [f32; PART]) {
        let (scale, minimum) = (half(block, 0), half(block, 2));
        let fifth = u32::from_le_bytes([block[4], block[5], block[6], block[7]]);
        for i in 0..16 {
            let (low, high) = five_bits(block[8 + i], fifth, i);
            values[i] = scale * low as f32 + minimum;
            values[i + 16] = scale * high as f32 + minimum;
        }
    }
}

/// Values `i` and `i + 16`: four bits of each from `byte`, the fifth from bit `i` and `i + 16` of `fifth`.
#[inline(always)]
fn five_bits(byte: u8, fifth: u32, i: usize) -> (i32, i32) {
    let low = u32::from(byte & 15) | (((fifth >> i) & 1) << 4);
    let high = u32::from(byte >> 4) | (((fifth >> (i + 16)) & 1) << 4);
    (low.cast_signed(), high.cast_signed())
}
