//! Tiles of AVX2: up to 6 × 16 lanes, of 32-bit floats or of pairs of 16-bit integers.

use std::arch::x86_64::{
    __m256, __m256i, _MM_HINT_T0, _mm_prefetch, _mm256_add_epi32, _mm256_add_ps,
    _mm256_castps_si256, _mm256_castsi256_ps, _mm256_cvtepi32_ps, _mm256_fmadd_ps, _mm256_loadu_ps,
    _mm256_loadu_si256, _mm256_madd_epi16, _mm256_mul_ps, _mm256_set1_epi32, _mm256_set1_ps,
    _mm256_setzero_si256, _mm256_storeu_ps,
};

use super::Tile;

/// The instructions that multiply two registers of lanes and add, and that scale the sums.
trait MultiplyAdd {
    /// # Safety
    /// The processor has AVX2 and FMA.
    unsafe fn step(sum: __m256i, a: __m256i, b: __m256i) -> __m256i;

    /// # Safety
    /// As above; `row` is a scale's address, `columns` that of eight.
    unsafe fn scaled(sum: __m256i, row: *const f32, columns: *const f32) -> __m256;
}

struct Floats;

impl MultiplyAdd for Floats {
    #[inline(always)]
    unsafe fn step(sum: __m256i, a: __m256i, b: __m256i) -> __m256i {
        // SAFETY: the caller's processor has the instructions.
        unsafe {
            let [sum, a, b] =
                [_mm256_castsi256_ps(sum), _mm256_castsi256_ps(a), _mm256_castsi256_ps(b)];
            _mm256_castps_si256(_mm256_fmadd_ps(a, b, sum))
        }
    }

    #[inline(always)]
    unsafe fn scaled(sum: __m256i, _: *const f32, _: *const f32) -> __m256 {
        // SAFETY: the caller's processor has the instructions.
        unsafe { _mm256_castsi256_ps(sum) }
    }
}

struct Integers;

impl MultiplyAdd for Integers {
    /// Two instructions, which do twice the work of the one that multiplies floats.
    #[inline(always)]
    unsafe fn step(sum: __m256i, a: __m256i, b: __m256i) -> __m256i {
        // SAFETY: the caller's processor has the instructions.
        unsafe { _mm256_add_epi32(sum, _mm256_madd_epi16(a, b)) }
    }

    #[inline(always)]
    unsafe fn scaled(sum: __m256i, row: *const f32, columns: *const f32) -> __m256 {
        // SAFETY: the caller's processor has the instructions, and these are addresses of scales.
        unsafe {
            let sum = _mm256_mul_ps(_mm256_cvtepi32_ps(sum), _mm256_loadu_ps(columns));
            _mm256_mul_ps(sum, _mm256_set1_ps(row.read()))
        }
    }
}

/// A kernel for each number of rows.
macro_rules! tiles {
    ($(#[$doc:meta])* $name:ident, $multiply:ident, $($rows:literal)*) => {
        $(#[$doc])*
        pub(super) unsafe fn $name(tile: &Tile<'_>) {
            #[target_feature(enable = "avx2,fma")]
            unsafe fn compiled<const ROWS: usize>(tile: &Tile<'_>) {
                // SAFETY: passed on from the caller.
                unsafe { tile_of::<$multiply, ROWS>(tile) }
            }
            match tile.rows {
                // SAFETY: passed on from the caller.
                $($rows => unsafe { compiled::<$rows>(tile) },)*
                _ => {}
            }
        }
    };
}

tiles!(
    /// # Safety
    /// The processor has AVX2 and FMA, the strip holds k × 16 lanes, A and C hold the tile.
    floats, Floats, 1 2 3 4 5 6
);
tiles!(
    /// # Safety
    /// As [`floats`], and there is a scale for each row and column.
    integers, Integers, 1 2 3 4 5 6
);

/// Twelve sums, two registers of the strip, one value of A and one product are the sixteen registers there are.
///
/// # Safety
/// As the callers, with `tile.rows == ROWS`.
#[inline(always)]
unsafe fn tile_of<M: MultiplyAdd, const ROWS: usize>(tile: &Tile<'_>) {
    // SAFETY: b stays inside the strip, a + row · stride inside A; the caller has found the instructions.
    unsafe {
        let mut sums = [[_mm256_setzero_si256(); 2]; ROWS];
        let (mut a, mut b) = (tile.a, tile.strip.as_ptr());
        for row in 0..ROWS {
            // What the tile ends with is on its way while the sums are made.
            _mm_prefetch::<_MM_HINT_T0>(tile.c.wrapping_add(row * tile.c_stride).cast());
        }
        for _ in 0..tile.k {
            let (first, second) =
                (_mm256_loadu_si256(b.cast()), _mm256_loadu_si256(b.add(8).cast()));
            for (row, sums) in sums.iter_mut().enumerate() {
                let value = _mm256_set1_epi32(a.add(row * tile.a_stride).read().cast_signed());
                sums[0] = M::step(sums[0], value, first);
                sums[1] = M::step(sums[1], value, second);
            }
            b = b.add(16);
            a = a.wrapping_add(1);
        }
        for (row, sums) in sums.into_iter().enumerate() {
            finish_row::<M>(tile, row, sums);
        }
    }
}

/// Scales the sums of a row and writes them.
///
/// # Safety
/// As [`tile_of`]; the tile has this row.
#[inline(always)]
unsafe fn finish_row<M: MultiplyAdd>(tile: &Tile<'_>, row: usize, sums: [__m256i; 2]) {
    let start = tile.c.wrapping_add(row * tile.c_stride);
    let row_scale = tile.a_scales.wrapping_add(row * tile.a_stride);
    let column_scales = tile.strip_scales.as_ptr();
    // SAFETY: there are sixteen scales of columns; columns below the tile's number lie inside C.
    unsafe {
        let sums = [
            M::scaled(sums[0], row_scale, column_scales),
            M::scaled(sums[1], row_scale, column_scales.add(8)),
        ];
        if tile.columns == 16 {
            for (at, sum) in [start, start.wrapping_add(8)].into_iter().zip(sums) {
                let sum = if tile.add { _mm256_add_ps(_mm256_loadu_ps(at), sum) } else { sum };
                _mm256_storeu_ps(at, sum);
            }
            return;
        }
        let mut line = [0.0f32; 16];
        _mm256_storeu_ps(line.as_mut_ptr(), sums[0]);
        _mm256_storeu_ps(line.as_mut_ptr().add(8), sums[1]);
        for (column, value) in line.iter().enumerate().take(tile.columns) {
            let at = start.add(column);
            *at = if tile.add { *at + value } else { *value };
        }
    }
}
