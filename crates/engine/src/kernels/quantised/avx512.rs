//! Sixteen rows in AVX-512 registers, with the byte products of AVX-512 VNNI.

#![expect(unsafe_code, reason = "vector instructions")]
#![allow(
    clippy::undocumented_unsafe_blocks,
    reason = "every block is an instruction that the trait's contract allows"
)]

// SAFETY: of every block in this file: the callers keep the contract of `Lanes`, which names the instructions that the
// processor has and the bytes that may be read.

use std::arch::x86_64::{
    __m512, __m512i, _MM_HINT_T1, _mm_loadu_si128, _mm_prefetch, _mm_setr_epi16, _mm_setr_epi32,
    _mm256_set_m128i, _mm512_add_epi32, _mm512_add_ps, _mm512_and_si512, _mm512_castsi128_si512,
    _mm512_castsi256_si512, _mm512_cvtepi32_epi16, _mm512_cvtepi32_ps, _mm512_cvtph_ps,
    _mm512_dpbusd_epi32, _mm512_inserti32x4, _mm512_inserti64x4, _mm512_mul_ps, _mm512_mullo_epi32,
    _mm512_or_si512, _mm512_set1_epi8, _mm512_set1_epi32, _mm512_set1_ps, _mm512_srli_epi32,
    _mm512_storeu_ps, _mm512_unpackhi_epi32, _mm512_unpackhi_epi64, _mm512_unpacklo_epi32,
    _mm512_unpacklo_epi64, _mm512_xor_si512,
};

use super::lanes::{Lanes, Rows};

/// Sixteen rows.
pub(super) struct Sixteen;

impl Lanes for Sixteen {
    const ROWS: usize = 16;
    // the instruction takes one unsigned side
    const SIGNED_BIAS: i32 = 128;
    type Words = __m512i;
    type Floats = __m512;

    #[inline(always)]
    unsafe fn halves(rows: Rows, offset: usize) -> __m512 {
        unsafe {
            let one = |row: usize| rows.at(row, offset).cast::<i16>().read_unaligned();
            let eight = |row: usize| {
                _mm_setr_epi16(
                    one(row),
                    one(row + 1),
                    one(row + 2),
                    one(row + 3),
                    one(row + 4),
                    one(row + 5),
                    one(row + 6),
                    one(row + 7),
                )
            };
            _mm512_cvtph_ps(_mm256_set_m128i(eight(8), eight(0)))
        }
    }

    #[inline(always)]
    unsafe fn words(rows: Rows, offset: usize) -> __m512i {
        unsafe {
            let one = |row: usize| rows.at(row, offset).cast::<i32>().read_unaligned();
            let four =
                |row: usize| _mm_setr_epi32(one(row), one(row + 1), one(row + 2), one(row + 3));
            let low = _mm256_set_m128i(four(4), four(0));
            let high = _mm256_set_m128i(four(12), four(8));
            _mm512_inserti64x4::<1>(_mm512_castsi256_si512(low), high)
        }
    }

    #[inline(always)]
    unsafe fn quads(rows: Rows, offset: usize) -> [__m512i; 4] {
        unsafe {
            let one = |row: usize| _mm_loadu_si128(rows.at(row, offset).cast());
            // rows `row`, `row + 4`, `row + 8` and `row + 12`, one in each quarter of the register
            let four = |row: usize| {
                let quarters = _mm512_castsi128_si512(one(row));
                let quarters = _mm512_inserti32x4::<1>(quarters, one(row + 4));
                let quarters = _mm512_inserti32x4::<2>(quarters, one(row + 8));
                _mm512_inserti32x4::<3>(quarters, one(row + 12))
            };
            let (a, b, c, d) = (four(0), four(1), four(2), four(3));
            // each quarter is a matrix of four words by four rows: transposed
            let (ab_low, ab_high) = (_mm512_unpacklo_epi32(a, b), _mm512_unpackhi_epi32(a, b));
            let (cd_low, cd_high) = (_mm512_unpacklo_epi32(c, d), _mm512_unpackhi_epi32(c, d));
            [
                _mm512_unpacklo_epi64(ab_low, cd_low),
                _mm512_unpackhi_epi64(ab_low, cd_low),
                _mm512_unpacklo_epi64(ab_high, cd_high),
                _mm512_unpackhi_epi64(ab_high, cd_high),
            ]
        }
    }

    #[inline(always)]
    unsafe fn half(words: __m512i) -> __m512 {
        unsafe { _mm512_cvtph_ps(_mm512_cvtepi32_epi16(words)) }
    }

    #[inline(always)]
    unsafe fn splat(value: i32) -> __m512i {
        unsafe { _mm512_set1_epi32(value) }
    }

    #[inline(always)]
    unsafe fn and(a: __m512i, b: __m512i) -> __m512i {
        unsafe { _mm512_and_si512(a, b) }
    }

    #[inline(always)]
    unsafe fn or(a: __m512i, b: __m512i) -> __m512i {
        unsafe { _mm512_or_si512(a, b) }
    }

    #[inline(always)]
    unsafe fn right<const BITS: u32>(a: __m512i) -> __m512i {
        unsafe { _mm512_srli_epi32::<BITS>(a) }
    }

    #[inline(always)]
    unsafe fn add_words(a: __m512i, b: __m512i) -> __m512i {
        unsafe { _mm512_add_epi32(a, b) }
    }

    #[inline(always)]
    unsafe fn multiply_words(a: __m512i, b: __m512i) -> __m512i {
        unsafe { _mm512_mullo_epi32(a, b) }
    }

    #[inline(always)]
    unsafe fn dot(sum: __m512i, unsigned: __m512i, signed: [i8; 4]) -> __m512i {
        unsafe {
            let signed = _mm512_set1_epi32(i32::from_le_bytes(signed.map(i8::cast_unsigned)));
            _mm512_dpbusd_epi32(sum, unsigned, signed)
        }
    }

    #[inline(always)]
    unsafe fn dot_signed(sum: __m512i, weights: __m512i, signed: [i8; 4]) -> __m512i {
        unsafe {
            let unsigned = _mm512_xor_si512(weights, _mm512_set1_epi8(-128));
            Self::dot(sum, unsigned, signed)
        }
    }

    #[inline(always)]
    unsafe fn to_floats(words: __m512i) -> __m512 {
        unsafe { _mm512_cvtepi32_ps(words) }
    }

    #[inline(always)]
    unsafe fn splat_float(value: f32) -> __m512 {
        unsafe { _mm512_set1_ps(value) }
    }

    #[inline(always)]
    unsafe fn add(a: __m512, b: __m512) -> __m512 {
        unsafe { _mm512_add_ps(a, b) }
    }

    #[inline(always)]
    unsafe fn multiply(a: __m512, b: __m512) -> __m512 {
        unsafe { _mm512_mul_ps(a, b) }
    }

    #[inline(always)]
    unsafe fn store(floats: __m512, out: &mut [f32]) {
        unsafe { _mm512_storeu_ps(out[..16].as_mut_ptr(), floats) }
    }

    #[inline(always)]
    fn prefetch(line: *const u8) {
        // the second cache has room for more unanswered requests than the first, which fetches from it in time
        unsafe { _mm_prefetch::<_MM_HINT_T1>(line.cast()) }
    }
}
