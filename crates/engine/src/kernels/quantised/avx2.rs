//! Eight rows in AVX2 registers.

#![expect(unsafe_code, reason = "vector instructions")]
#![allow(
    clippy::undocumented_unsafe_blocks,
    reason = "every block is an instruction that the trait's contract allows"
)]

// SAFETY: of every block in this file: the callers keep the contract of `Lanes`, which names the instructions that the
// processor has and the bytes that may be read.

use std::arch::x86_64::{
    __m256, __m256i, _MM_HINT_T1, _mm_cvtsi32_si128, _mm_loadu_si128, _mm_packus_epi32,
    _mm_prefetch, _mm_setr_epi16, _mm_setr_epi32, _mm256_abs_epi8, _mm256_add_epi32, _mm256_add_ps,
    _mm256_and_si256, _mm256_castsi256_si128, _mm256_cvtepi32_ps, _mm256_cvtph_ps,
    _mm256_extracti128_si256, _mm256_madd_epi16, _mm256_maddubs_epi16, _mm256_mul_ps,
    _mm256_mullo_epi32, _mm256_or_si256, _mm256_set_m128i, _mm256_set1_epi16, _mm256_set1_epi32,
    _mm256_set1_ps, _mm256_sign_epi8, _mm256_srl_epi32, _mm256_storeu_ps, _mm256_unpackhi_epi32,
    _mm256_unpackhi_epi64, _mm256_unpacklo_epi32, _mm256_unpacklo_epi64,
};

use super::lanes::{Lanes, Rows};

/// Eight rows.
pub(super) struct Eight;

impl Lanes for Eight {
    const ROWS: usize = 8;
    // weights keep their sign: see `dot_signed`
    const SIGNED_BIAS: i32 = 0;
    type Words = __m256i;
    type Floats = __m256;

    #[inline(always)]
    unsafe fn halves(rows: Rows, offset: usize) -> __m256 {
        unsafe {
            let one = |row: usize| rows.at(row, offset).cast::<i16>().read_unaligned();
            _mm256_cvtph_ps(_mm_setr_epi16(
                one(0),
                one(1),
                one(2),
                one(3),
                one(4),
                one(5),
                one(6),
                one(7),
            ))
        }
    }

    #[inline(always)]
    unsafe fn words(rows: Rows, offset: usize) -> __m256i {
        unsafe {
            let one = |row: usize| rows.at(row, offset).cast::<i32>().read_unaligned();
            let four =
                |row: usize| _mm_setr_epi32(one(row), one(row + 1), one(row + 2), one(row + 3));
            _mm256_set_m128i(four(4), four(0))
        }
    }

    #[inline(always)]
    unsafe fn quads(rows: Rows, offset: usize) -> [__m256i; 4] {
        unsafe {
            let one = |row: usize| _mm_loadu_si128(rows.at(row, offset).cast());
            // rows `row` and `row + 4`, one in each half of the register
            let two = |row: usize| _mm256_set_m128i(one(row + 4), one(row));
            let (a, b, c, d) = (two(0), two(1), two(2), two(3));
            // each half is a matrix of four words by four rows: transposed
            let (ab_low, ab_high) = (_mm256_unpacklo_epi32(a, b), _mm256_unpackhi_epi32(a, b));
            let (cd_low, cd_high) = (_mm256_unpacklo_epi32(c, d), _mm256_unpackhi_epi32(c, d));
            [
                _mm256_unpacklo_epi64(ab_low, cd_low),
                _mm256_unpackhi_epi64(ab_low, cd_low),
                _mm256_unpacklo_epi64(ab_high, cd_high),
                _mm256_unpackhi_epi64(ab_high, cd_high),
            ]
        }
    }

    #[inline(always)]
    unsafe fn half(words: __m256i) -> __m256 {
        unsafe {
            // packing saturates above 16 bits, so the upper half of each word goes first
            let lower = _mm256_and_si256(words, _mm256_set1_epi32(0xffff));
            let low = _mm256_castsi256_si128(lower);
            let high = _mm256_extracti128_si256::<1>(lower);
            _mm256_cvtph_ps(_mm_packus_epi32(low, high))
        }
    }

    #[inline(always)]
    unsafe fn splat(value: i32) -> __m256i {
        unsafe { _mm256_set1_epi32(value) }
    }

    #[inline(always)]
    unsafe fn and(a: __m256i, b: __m256i) -> __m256i {
        unsafe { _mm256_and_si256(a, b) }
    }

    #[inline(always)]
    unsafe fn or(a: __m256i, b: __m256i) -> __m256i {
        unsafe { _mm256_or_si256(a, b) }
    }

    #[inline(always)]
    unsafe fn right<const BITS: u32>(a: __m256i) -> __m256i {
        unsafe { _mm256_srl_epi32(a, _mm_cvtsi32_si128(BITS as i32)) }
    }

    #[inline(always)]
    unsafe fn add_words(a: __m256i, b: __m256i) -> __m256i {
        unsafe { _mm256_add_epi32(a, b) }
    }

    #[inline(always)]
    unsafe fn multiply_words(a: __m256i, b: __m256i) -> __m256i {
        unsafe { _mm256_mullo_epi32(a, b) }
    }

    #[inline(always)]
    unsafe fn dot(sum: __m256i, unsigned: __m256i, signed: [i8; 4]) -> __m256i {
        unsafe {
            let signed = _mm256_set1_epi32(i32::from_le_bytes(signed.map(i8::cast_unsigned)));
            // sums of two: at most 2 · 63 · 127, far from saturation
            let pairs = _mm256_maddubs_epi16(unsigned, signed);
            _mm256_add_epi32(sum, _mm256_madd_epi16(pairs, _mm256_set1_epi16(1)))
        }
    }

    #[inline(always)]
    unsafe fn dot_signed(sum: __m256i, weights: __m256i, signed: [i8; 4]) -> __m256i {
        unsafe {
            let signed = _mm256_set1_epi32(i32::from_le_bytes(signed.map(i8::cast_unsigned)));
            // |w| · (x with w's sign): sums of two are at most 2 · 128 · 127 = 32512, just below saturation; x is never -128
            let magnitude = _mm256_abs_epi8(weights);
            let pairs = _mm256_maddubs_epi16(magnitude, _mm256_sign_epi8(signed, weights));
            _mm256_add_epi32(sum, _mm256_madd_epi16(pairs, _mm256_set1_epi16(1)))
        }
    }

    #[inline(always)]
    unsafe fn to_floats(words: __m256i) -> __m256 {
        unsafe { _mm256_cvtepi32_ps(words) }
    }

    #[inline(always)]
    unsafe fn splat_float(value: f32) -> __m256 {
        unsafe { _mm256_set1_ps(value) }
    }

    #[inline(always)]
    unsafe fn add(a: __m256, b: __m256) -> __m256 {
        unsafe { _mm256_add_ps(a, b) }
    }

    #[inline(always)]
    unsafe fn multiply(a: __m256, b: __m256) -> __m256 {
        unsafe { _mm256_mul_ps(a, b) }
    }

    #[inline(always)]
    unsafe fn store(floats: __m256, out: &mut [f32]) {
        unsafe { _mm256_storeu_ps(out[..8].as_mut_ptr(), floats) }
    }

    #[inline(always)]
    fn prefetch(line: *const u8) {
        // the second cache has room for more unanswered requests than the first, which fetches from it in time
        unsafe { _mm_prefetch::<_MM_HINT_T1>(line.cast()) }
    }
}
