//! bitsandbytes' blocks of 64 values in 4-bit normal float.

use super::{Layout, PART};

/// The 16 values of the normal float: quantiles of a normal distribution, scaled to -1 … 1, with an exact zero (Dettmers et
/// al. 2023, appendix E).
#[expect(clippy::excessive_precision, clippy::unreadable_literal, reason = "as published")]
pub(crate) const CODE: [f32; 16] = [
    -1.0,
    -0.6961928009986877,
    -0.5250730514526367,
    -0.39491748809814453,
    -0.28444138169288635,
    -0.18477343022823334,
    -0.09105003625154495,
    0.0,
    0.07958029955625534,
    0.16093020141124725,
    0.24611230194568634,
    0.33791524171829224,
    0.44070982933044434,
    0.5626170039176941,
    0.7229568362236023,
    1.0,
];

/// f32 `absmax`, 32 bytes of two codes `q`, the first in the upper half: `code[q]·absmax`.
pub(super) struct NF4;

impl Layout<36> for NF4 {
    const PARTS: usize = 2;

    #[inline(always)]
    fn part(block: &[u8; 36], part: usize, values: &mut [f32; PART]) {
        let scale = f32::from_le_bytes([block[0], block[1], block[2], block[3]]);
        let codes = &block[4 + 16 * part..][..16];
        for (pair, byte) in values.as_chunks_mut::<2>().0.iter_mut().zip(codes) {
            *pair = [CODE[usize::from(byte >> 4)] * scale, CODE[usize::from(byte & 15)] * scale];
        }
    }
}
