//! Writing bitsandbytes' 4-bit normal float.

use super::super::blocks::CODE;

/// Each value over the largest magnitude of its 64, to the nearest of the 16 codes.
pub(super) fn nf4(values: &[f32; 64], block: &mut [u8; 36]) {
    let largest = values.iter().fold(0.0f32, |so_far, value| so_far.max(value.abs()));
    let inverse = if largest == 0.0 { 0.0 } else { 1.0 / largest };
    block[..4].copy_from_slice(&largest.to_le_bytes());
    for (byte, [first, second]) in block[4..].iter_mut().zip(values.as_chunks::<2>().0) {
        let code = |value: f32| nearest_code(&CODE, (value * inverse).clamp(-1.0, 1.0));
        *byte = code(*first) << 4 | code(*second);
    }
}

/// The index of the nearest of ascending values; the first of two that are as near.
pub(crate) fn nearest_code(codes: &[f32], value: f32) -> u8 {
    let above = codes.partition_point(|code| *code < value);
    if above == 0 {
        return 0;
    }
    let nearer_below = codes.get(above).is_none_or(|code| value - codes[above - 1] <= code - value);
    (if nearer_below { above - 1 } else { above }) as u8
}
