//! Turning a strip's columns of 16 lanes each on their side, the step between a stored matrix and a strip of its transpose.

#![expect(
    unsafe_code,
    reason = "registers are loaded and stored through pointers into arrays of known size"
)]

#[cfg(target_arch = "x86_64")]
use std::arch::x86_64::__m512i;

use super::KernelPath;
use super::source::{STRIP, strip};

/// `out[i * w + j] = square[j][i]` of a strip's width w, for as many whole rows as `out` has, at most 16.
#[inline]
pub(super) fn transpose(path: KernelPath, square: &[[u32; 16]; STRIP], out: &mut [u32]) {
    match path {
        // SAFETY: `KernelPath::available` has found the instructions.
        #[cfg(target_arch = "x86_64")]
        KernelPath::Avx512 | KernelPath::Avx512Vnni if out.len() == 16 * strip(path) => unsafe {
            avx512(square, out);
        },
        // SAFETY: as above.
        #[cfg(target_arch = "x86_64")]
        KernelPath::Avx2 | KernelPath::Avx2Pairs if out.len() == 16 * strip(path) => unsafe {
            avx2(square, out);
        },
        _ => {
            for (i, out) in out.chunks_exact_mut(strip(path)).enumerate() {
                for (out, row) in out.iter_mut().zip(square) {
                    *out = row[i];
                }
            }
        }
    }
}

/// # Safety
/// The processor has AVX2; `out` has 16 × 16 lanes.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2")]
unsafe fn avx2(square: &[[u32; 16]; STRIP], out: &mut [u32]) {
    use std::arch::x86_64::{
        _mm256_loadu_si256, _mm256_permute2x128_si256, _mm256_setzero_si256, _mm256_storeu_si256,
        _mm256_unpackhi_epi32, _mm256_unpackhi_epi64, _mm256_unpacklo_epi32, _mm256_unpacklo_epi64,
    };
    for (down, across) in [(0, 0), (0, 8), (8, 0), (8, 8)] {
        let mut rows = [_mm256_setzero_si256(); 8];
        for (row, lanes) in rows.iter_mut().enumerate() {
            // SAFETY: half of a row of sixteen lanes.
            *lanes = unsafe { _mm256_loadu_si256(square[down + row].as_ptr().add(across).cast()) };
        }
        // Pairs of rows, then fours, then the halves of the registers change places.
        let mut pairs = rows;
        for group in 0..4 {
            pairs[2 * group] = _mm256_unpacklo_epi32(rows[2 * group], rows[2 * group + 1]);
            pairs[2 * group + 1] = _mm256_unpackhi_epi32(rows[2 * group], rows[2 * group + 1]);
        }
        let mut fours = rows;
        for group in 0..2 {
            let [a, b, c, d] = pairs.as_chunks::<4>().0[group];
            fours[4 * group] = _mm256_unpacklo_epi64(a, c);
            fours[4 * group + 1] = _mm256_unpackhi_epi64(a, c);
            fours[4 * group + 2] = _mm256_unpacklo_epi64(b, d);
            fours[4 * group + 3] = _mm256_unpackhi_epi64(b, d);
        }
        for column in 0..4 {
            let (upper, lower) = (fours[column], fours[4 + column]);
            let columns = [
                _mm256_permute2x128_si256::<0x20>(upper, lower),
                _mm256_permute2x128_si256::<0x31>(upper, lower),
            ];
            for (half, lanes) in columns.into_iter().enumerate() {
                let at = (across + 4 * half + column) * 16 + down;
                // SAFETY: eight lanes of one of the sixteen rows of sixteen that `out` has.
                unsafe { _mm256_storeu_si256(out.as_mut_ptr().add(at).cast(), lanes) };
            }
        }
    }
}

/// # Safety
/// The processor has AVX-512; `out` has 16 × 32 lanes.
#[cfg(target_arch = "x86_64")]
#[inline]
#[target_feature(enable = "avx512f")]
unsafe fn avx512(square: &[[u32; 16]; STRIP], out: &mut [u32]) {
    use std::arch::x86_64::{_mm512_loadu_si512, _mm512_setzero_si512, _mm512_storeu_si512};
    for half in 0..2 {
        let mut rows = [_mm512_setzero_si512(); 16];
        for (at, lanes) in rows.iter_mut().enumerate() {
            // SAFETY: a row is sixteen lanes.
            *lanes = unsafe { _mm512_loadu_si512(square[16 * half + at].as_ptr().cast()) };
        }
        for (column, lanes) in columns_of(&rows).into_iter().enumerate() {
            let at = column * STRIP + 16 * half;
            // SAFETY: 15 rows of 32 lanes, and half of the next: inside `out`, which has sixteen.
            unsafe { _mm512_storeu_si512(out.as_mut_ptr().add(at).cast(), lanes) };
        }
    }
}

/// The columns of sixteen rows.
#[cfg(target_arch = "x86_64")]
#[inline]
#[target_feature(enable = "avx512f")]
pub(crate) fn columns_of(rows: &[__m512i; 16]) -> [__m512i; 16] {
    use std::arch::x86_64::{
        _mm512_shuffle_i32x4, _mm512_unpackhi_epi32, _mm512_unpackhi_epi64, _mm512_unpacklo_epi32,
        _mm512_unpacklo_epi64,
    };
    // Pairs of rows, then fours, then the quarters of the registers change places.
    let mut pairs = *rows;
    for group in 0..8 {
        pairs[2 * group] = _mm512_unpacklo_epi32(rows[2 * group], rows[2 * group + 1]);
        pairs[2 * group + 1] = _mm512_unpackhi_epi32(rows[2 * group], rows[2 * group + 1]);
    }
    let mut fours = *rows;
    for group in 0..4 {
        let [a, b, c, d] = pairs.as_chunks::<4>().0[group];
        fours[4 * group] = _mm512_unpacklo_epi64(a, c);
        fours[4 * group + 1] = _mm512_unpackhi_epi64(a, c);
        fours[4 * group + 2] = _mm512_unpacklo_epi64(b, d);
        fours[4 * group + 3] = _mm512_unpackhi_epi64(b, d);
    }
    let mut columns = *rows;
    for column in 0..4 {
        let [a, b, c, d] =
            [fours[column], fours[4 + column], fours[8 + column], fours[12 + column]];
        let (even_low, odd_low) =
            (_mm512_shuffle_i32x4::<0x88>(a, b), _mm512_shuffle_i32x4::<0xDD>(a, b));
        let (even_high, odd_high) =
            (_mm512_shuffle_i32x4::<0x88>(c, d), _mm512_shuffle_i32x4::<0xDD>(c, d));
        columns[column] = _mm512_shuffle_i32x4::<0x88>(even_low, even_high);
        columns[4 + column] = _mm512_shuffle_i32x4::<0x88>(odd_low, odd_high);
        columns[8 + column] = _mm512_shuffle_i32x4::<0xDD>(even_low, even_high);
        columns[12 + column] = _mm512_shuffle_i32x4::<0xDD>(odd_low, odd_high);
    }
    columns
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_lane_changes_places() {
        let square: [[u32; 16]; STRIP] =
            std::array::from_fn(|row| std::array::from_fn(|column| (row * 16 + column) as u32));
        for path in KernelPath::ALL.into_iter().filter(|path| path.available()) {
            for rows in [16, 5] {
                let strip = strip(path);
                let mut out = vec![u32::MAX; rows * strip];
                transpose(path, &square, &mut out);
                for (at, found) in out.iter().enumerate() {
                    assert_eq!(*found, square[at % strip][at / strip], "{path:?} {at}");
                }
            }
        }
    }
}
