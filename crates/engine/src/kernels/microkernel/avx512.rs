//! Tiles of AVX-512: up to 14 × 32 lanes, of 32-bit floats or of pairs of 16-bit integers.

use std::arch::asm;
use std::arch::x86_64::{
    __m512, __m512i, __mmask16, _MM_HINT_T0, _mm_prefetch, _mm512_add_ps, _mm512_castps_si512,
    _mm512_castsi512_ps, _mm512_cvtepi32_ps, _mm512_fmadd_ps, _mm512_loadu_ps, _mm512_loadu_si512,
    _mm512_mask_storeu_ps, _mm512_maskz_loadu_ps, _mm512_mul_ps, _mm512_set1_epi32, _mm512_set1_ps,
    _mm512_setzero_si512,
};

use super::{STRIP, Tile};

/// The instructions that multiply two registers of lanes and add, and that scale the sums.
trait MultiplyAdd {
    /// # Safety
    /// The processor has the instruction.
    unsafe fn step(sum: __m512i, a: __m512i, b: __m512i) -> __m512i;

    /// # Safety
    /// As above; `row` is a scale's address.
    unsafe fn scaled(sum: __m512i, row: *const f32, columns: __m512) -> __m512;
}

struct Floats;

impl MultiplyAdd for Floats {
    #[inline(always)]
    unsafe fn step(sum: __m512i, a: __m512i, b: __m512i) -> __m512i {
        // SAFETY: the caller's processor has AVX-512.
        unsafe {
            let [sum, a, b] =
                [_mm512_castsi512_ps(sum), _mm512_castsi512_ps(a), _mm512_castsi512_ps(b)];
            _mm512_castps_si512(_mm512_fmadd_ps(a, b, sum))
        }
    }

    #[inline(always)]
    unsafe fn scaled(sum: __m512i, _: *const f32, _: __m512) -> __m512 {
        // SAFETY: the caller's processor has AVX-512.
        unsafe { _mm512_castsi512_ps(sum) }
    }
}

struct Integers;

/// sum + the product of the lower halves + that of the upper ones, lane by lane.
///
/// Written out, because the compiler makes two instructions of the intrinsic, a product and a sum, to shorten chains
/// that are not what the loop waits for.
///
/// # Safety
/// The processor has AVX-512 VNNI.
#[inline]
#[target_feature(enable = "avx512f")]
pub(crate) unsafe fn add_pairs(mut sum: __m512i, a: __m512i, b: __m512i) -> __m512i {
    // SAFETY: the caller's processor has the instruction, which touches these registers alone.
    unsafe {
        asm!(
            "vpdpwssd {sum}, {a}, {b}",
            sum = inout(zmm_reg) sum,
            a = in(zmm_reg) a,
            b = in(zmm_reg) b,
            options(pure, nomem, nostack, preserves_flags)
        );
    }
    sum
}

impl MultiplyAdd for Integers {
    #[inline(always)]
    unsafe fn step(sum: __m512i, a: __m512i, b: __m512i) -> __m512i {
        // SAFETY: passed on from the caller.
        unsafe { add_pairs(sum, a, b) }
    }

    #[inline(always)]
    unsafe fn scaled(sum: __m512i, row: *const f32, columns: __m512) -> __m512 {
        // SAFETY: the caller's processor has AVX-512, and `row` is a scale's address.
        unsafe {
            let sum = _mm512_mul_ps(_mm512_cvtepi32_ps(sum), columns);
            _mm512_mul_ps(sum, _mm512_set1_ps(row.read()))
        }
    }
}

/// A kernel for each number of rows and for one or two registers of columns, compiled with the given instructions.
macro_rules! tiles {
    ($(#[$doc:meta])* $name:ident, $multiply:ident, $features:literal, $($rows:literal)*) => {
        $(#[$doc])*
        pub(super) unsafe fn $name(tile: &Tile<'_>) {
            #[target_feature(enable = $features)]
            unsafe fn compiled<const ROWS: usize, const HALVES: usize>(tile: &Tile<'_>) {
                // SAFETY: passed on from the caller.
                unsafe { tile_of::<$multiply, ROWS, HALVES>(tile) }
            }
            match (tile.rows, tile.columns > 16) {
                // SAFETY: passed on from the caller.
                $(($rows, true) => unsafe { compiled::<$rows, 2>(tile) },)*
                // SAFETY: as above.
                $(($rows, false) => unsafe { compiled::<$rows, 1>(tile) },)*
                _ => {}
            }
        }
    };
}

tiles!(
    /// # Safety
    /// The processor has AVX-512, the strip holds k × 32 lanes, A and C hold the tile.
    floats, Floats, "avx512f,avx512vl,avx512bw,avx512dq,avx2,fma", 1 2 3 4 5 6 7 8 9 10 11 12 13 14
);
tiles!(
    /// # Safety
    /// As [`floats`], the processor has AVX-512 VNNI, and there is a scale for each row and column.
    integers, Integers, "avx512f,avx512vl,avx512bw,avx512dq,avx512vnni,avx2,fma", 1 2 3 4 5 6 7 8 9 10 11 12 13 14
);

/// # Safety
/// As the callers, with `tile.rows == ROWS` and at most 16 · `HALVES` columns.
#[inline(always)]
unsafe fn tile_of<M: MultiplyAdd, const ROWS: usize, const HALVES: usize>(tile: &Tile<'_>) {
    // SAFETY: b stays inside the strip, a + row · stride inside A; the caller has found the instructions.
    unsafe {
        let mut sums = [[_mm512_setzero_si512(); HALVES]; ROWS];
        let (mut a, mut b) = (tile.a, tile.strip.as_ptr());
        for row in 0..ROWS {
            // What the tile ends with is on its way while the sums are made.
            for half in 0..HALVES {
                let at = tile.c.wrapping_add(row * tile.c_stride + 16 * half);
                _mm_prefetch::<_MM_HINT_T0>(at.cast());
            }
        }
        for _ in 0..tile.k {
            let first = _mm512_loadu_si512(b.cast());
            let second = if HALVES == 2 { _mm512_loadu_si512(b.add(16).cast()) } else { first };
            for (row, sums) in sums.iter_mut().enumerate() {
                let value = _mm512_set1_epi32(a.add(row * tile.a_stride).read().cast_signed());
                sums[0] = M::step(sums[0], value, first);
                if HALVES == 2 {
                    sums[HALVES - 1] = M::step(sums[HALVES - 1], value, second);
                }
            }
            b = b.add(STRIP);
            a = a.wrapping_add(1);
        }
        // One by one, not in a loop: what a loop counts through would have to lie in memory.
        macro_rules! finish {
            ($($row:literal)*) => {
                $(if let Some(sums) = sums.get($row) {
                    finish_row::<M, HALVES>(tile, $row, *sums);
                })*
            };
        }
        finish!(0 1 2 3 4 5 6 7 8 9 10 11 12 13);
    }
}

/// Scales the sums of a row and writes them.
///
/// # Safety
/// As [`tile_of`]; the tile has this row.
#[inline(always)]
unsafe fn finish_row<M: MultiplyAdd, const HALVES: usize>(
    tile: &Tile<'_>,
    row: usize,
    sums: [__m512i; HALVES],
) {
    let row_scale = tile.a_scales.wrapping_add(row * tile.a_stride);
    for (half, sum) in sums.into_iter().enumerate() {
        // SAFETY: the masks admit only columns of the tile, which lie inside C; a strip has 32 scales.
        unsafe {
            let columns = _mm512_loadu_ps(tile.strip_scales.as_ptr().add(16 * half));
            let sum = M::scaled(sum, row_scale, columns);
            let count = tile.columns.saturating_sub(16 * half).min(16);
            let keep = ((1u32 << count) - 1) as __mmask16;
            let at = tile.c.wrapping_add(row * tile.c_stride + 16 * half);
            let old =
                if tile.add { _mm512_add_ps(_mm512_maskz_loadu_ps(keep, at), sum) } else { sum };
            _mm512_mask_storeu_ps(at, keep, old);
        }
    }
}
