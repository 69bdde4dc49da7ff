//! Writing ggml's blocks of 256 values, the "K" types.

use super::super::data_type::{f16_to_f32, f32_to_f16};
use super::scale::{symmetric, with_minimum};

/// Steps of the 6-bit scales and minima.
const SIX_BITS: f32 = 63.0;

/// A scale and a minimum for each 32 values, themselves in six bits, then quants for what those became.
pub(super) fn q4_k(values: &[f32; 256], block: &mut [u8; 144]) {
    let parts = values.as_chunks::<32>().0;
    let mut fits = [(0.0f32, 0.0f32); 8];
    for (fit, part) in fits.iter_mut().zip(parts) {
        *fit = with_minimum(part, 15.0);
    }
    let greatest = |of: fn(&(f32, f32)) -> f32| fits.iter().map(of).fold(0.0, f32::max);
    let scale_half = f32_to_f16(greatest(|fit| fit.0) / SIX_BITS);
    let minimum_half = f32_to_f16(greatest(|fit| fit.1) / SIX_BITS);
    let (scale_unit, minimum_unit) = (f16_to_f32(scale_half), f16_to_f32(minimum_half));
    block.fill(0);
    block[..2].copy_from_slice(&scale_half.to_le_bytes());
    block[2..4].copy_from_slice(&minimum_half.to_le_bytes());
    for (number, (part, (scale, minimum))) in parts.iter().zip(fits).enumerate() {
        let (scale, minimum) = (six_bits(scale, scale_unit), six_bits(minimum, minimum_unit));
        put_six_bits(&mut block[4..16], number, scale, minimum);
        let (scale, minimum) = (scale_unit * f32::from(scale), minimum_unit * f32::from(minimum));
        let quants = &mut block[16 + 32 * (number / 2)..][..32];
        for (quant, value) in quants.iter_mut().zip(part) {
            let step = if scale > 0.0 { (value + minimum) / scale } else { 0.0 };
            let step = step.round_ties_even().clamp(0.0, 15.0) as u8;
            *quant |= step << (4 * (number % 2));
        }
    }
}

fn six_bits(value: f32, unit: f32) -> u8 {
    if unit > 0.0 { (value / unit).round_ties_even().clamp(0.0, SIX_BITS) as u8 } else { 0 }
}

/// The first four parts have a byte each for scale and minimum, whose upper two bits hold the upper two of the last four.
fn put_six_bits(packed: &mut [u8], part: usize, scale: u8, minimum: u8) {
    if part < 4 {
        packed[part] |= scale;
        packed[part + 4] |= minimum;
    } else {
        packed[part + 4] = (scale & 15) | ((minimum & 15) << 4);
        packed[part - 4] |= (scale >> 4) << 6;
        packed[part] |= (minimum >> 4) << 6;
    }
}

/// A scale for each 16 values, itself in eight bits, then quants for what those became.
pub(super) fn q6_k(values: &[f32; 256], block: &mut [u8; 210]) {
    let runs = values.as_chunks::<16>().0;
    let mut scales = [0.0f32; 16];
    for (scale, run) in scales.iter_mut().zip(runs) {
        *scale = symmetric(run, 32.0);
    }
    let largest = scales
        .iter()
        .fold(0.0f32, |so_far, scale| if scale.abs() > so_far.abs() { *scale } else { so_far });
    // the largest goes to -128, the end with one step more
    let half = f32_to_f16(largest / -128.0);
    let unit = f16_to_f32(half);
    block.fill(0);
    block[208..].copy_from_slice(&half.to_le_bytes());
    let mut quants = [32u8; 256];
    for (number, (run, scale)) in runs.iter().zip(scales).enumerate() {
        let eight =
            if unit == 0.0 { 0.0 } else { (scale / unit).round_ties_even().clamp(-128.0, 127.0) };
        block[192 + number] = (eight as i8).cast_unsigned();
        let scale = unit * eight;
        for (quant, value) in quants[16 * number..][..16].iter_mut().zip(run) {
            let step = if scale == 0.0 { 0.0 } else { value / scale };
            *quant = (step.round_ties_even().clamp(-32.0, 31.0) + 32.0) as u8;
        }
    }
    for (at, quant) in quants.into_iter().enumerate() {
        let (side, part, place) = (at / 128, at % 128 / 32, at % 32);
        block[64 * side + 32 * (part % 2) + place] |= (quant & 15) << (4 * (part / 2));
        block[128 + 32 * side + place] |= (quant >> 4) << (2 * part);
    }
}
