//! The tile of a matrix product that stays in registers: up to 14 × 32 (AVX-512), 4 × 32 elsewhere.

#![expect(
    unsafe_code,
    reason = "the inner loop reads and writes through pointers whose extents `gemm` has checked"
)]

use super::KernelPath;
use super::panels::{STRIP, from_bf16};

/// One tile's work: C (rows, columns) from A (rows, k) and a strip (k, 32).
pub(super) struct Tile {
    pub(super) rows: usize,
    pub(super) columns: usize,
    pub(super) k: usize,
    pub(super) a: *const f32,
    pub(super) a_row_stride: usize,
    pub(super) a_column_stride: usize,
    pub(super) c: *mut f32,
    pub(super) c_stride: usize,
    pub(super) alpha: f32,
    pub(super) add: bool,
}

/// Most rows of a tile.
pub(super) const fn rows(path: KernelPath) -> usize {
    match path {
        KernelPath::Portable => 4,
        KernelPath::Avx2 => 3,
        KernelPath::Avx512 => 14,
    }
}

/// How a strip's values are stored.
pub(super) trait StripValue: Copy {
    fn widen(self) -> f32;

    /// Two registers with the 32 values at `at`.
    ///
    /// # Safety
    /// 32 values must be readable there, and the processor must have AVX-512.
    #[cfg(target_arch = "x86_64")]
    unsafe fn load_avx512(at: *const Self) -> [std::arch::x86_64::__m512; 2];

    /// Four registers with the 32 values at `at`.
    ///
    /// # Safety
    /// 32 values must be readable there, and the processor must have AVX2.
    #[cfg(target_arch = "x86_64")]
    unsafe fn load_avx2(at: *const Self) -> [std::arch::x86_64::__m256; 4];
}

/// Computes one tile on the chosen path.
pub(super) fn run_tile<V: StripValue>(path: KernelPath, tile: &Tile, strip: &[V]) {
    assert!(strip.len() >= STRIP * tile.k && tile.rows <= rows(path) && tile.columns <= STRIP);
    match path {
        KernelPath::Portable => portable(tile, strip),
        // SAFETY: `KernelPath::available` has found the instructions; the strip holds k × 32 values (asserted), and A and
        // C hold the tile (asserted by `gemm`).
        #[cfg(target_arch = "x86_64")]
        KernelPath::Avx2 => unsafe { x86::dispatch_avx2(tile, strip.as_ptr()) },
        // SAFETY: as above.
        #[cfg(target_arch = "x86_64")]
        KernelPath::Avx512 => unsafe { x86::dispatch_avx512(tile, strip.as_ptr()) },
        #[cfg(not(target_arch = "x86_64"))]
        KernelPath::Avx2 | KernelPath::Avx512 => portable(tile, strip),
    }
}

/// The definition, in plain Rust.
fn portable<V: StripValue>(tile: &Tile, strip: &[V]) {
    let mut sums = [[0.0f32; STRIP]; 4];
    for (i, values) in strip.chunks_exact(STRIP).take(tile.k).enumerate() {
        for (row, sums) in sums.iter_mut().enumerate().take(tile.rows) {
            // SAFETY: row < rows and i < k, which `gemm` has checked to lie inside A.
            let a = unsafe { *tile.a.add(row * tile.a_row_stride + i * tile.a_column_stride) };
            for (sum, value) in sums.iter_mut().zip(values) {
                *sum += a * value.widen();
            }
        }
    }
    for (row, sums) in sums.iter().enumerate().take(tile.rows) {
        for (column, sum) in sums.iter().enumerate().take(tile.columns) {
            // SAFETY: row < rows and column < columns, which `gemm` has checked to lie inside C.
            unsafe {
                let c = tile.c.add(row * tile.c_stride + column);
                *c = if tile.add { *c + tile.alpha * sum } else { tile.alpha * sum };
            }
        }
    }
}

impl StripValue for f32 {
    #[inline(always)]
    fn widen(self) -> f32 {
        self
    }

    #[cfg(target_arch = "x86_64")]
    #[inline(always)]
    unsafe fn load_avx512(at: *const Self) -> [std::arch::x86_64::__m512; 2] {
        use std::arch::x86_64::_mm512_loadu_ps;
        // SAFETY: the caller guarantees 32 readable values and the instructions.
        unsafe { [_mm512_loadu_ps(at), _mm512_loadu_ps(at.add(16))] }
    }

    #[cfg(target_arch = "x86_64")]
    #[inline(always)]
    unsafe fn load_avx2(at: *const Self) -> [std::arch::x86_64::__m256; 4] {
        use std::arch::x86_64::_mm256_loadu_ps;
        // SAFETY: the caller guarantees 32 readable values and the instructions.
        unsafe {
            [
                _mm256_loadu_ps(at),
                _mm256_loadu_ps(at.add(8)),
                _mm256_loadu_ps(at.add(16)),
                _mm256_loadu_ps(at.add(24)),
            ]
        }
    }
}

impl StripValue for u16 {
    #[inline(always)]
    fn widen(self) -> f32 {
        from_bf16(self)
    }

    #[cfg(target_arch = "x86_64")]
    #[inline(always)]
    unsafe fn load_avx512(at: *const Self) -> [std::arch::x86_64::__m512; 2] {
        use std::arch::x86_64::{
            _mm256_loadu_si256, _mm512_castsi512_ps, _mm512_cvtepu16_epi32, _mm512_slli_epi32,
        };
        // SAFETY: the caller guarantees 32 readable values and the instructions.
        let widen = |at: *const u16| unsafe {
            _mm512_castsi512_ps(_mm512_slli_epi32::<16>(_mm512_cvtepu16_epi32(_mm256_loadu_si256(
                at.cast(),
            ))))
        };
        // SAFETY: as above.
        [widen(at), widen(unsafe { at.add(16) })]
    }

    #[cfg(target_arch = "x86_64")]
    #[inline(always)]
    unsafe fn load_avx2(at: *const Self) -> [std::arch::x86_64::__m256; 4] {
        use std::arch::x86_64::{
            _mm_loadu_si128, _mm256_castsi256_ps, _mm256_cvtepu16_epi32, _mm256_slli_epi32,
        };
        // SAFETY: the caller guarantees 32 readable values and the instructions.
        let widen = |offset: usize| unsafe {
            _mm256_castsi256_ps(_mm256_slli_epi32::<16>(_mm256_cvtepu16_epi32(_mm_loadu_si128(
                at.add(offset).cast(),
            ))))
        };
        [widen(0), widen(8), widen(16), widen(24)]
    }
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use std::arch::x86_64::{
        __m256, __m512, __mmask16, _mm256_add_ps, _mm256_fmadd_ps, _mm256_loadu_ps, _mm256_mul_ps,
        _mm256_set1_ps, _mm256_setzero_ps, _mm256_storeu_ps, _mm512_add_ps, _mm512_fmadd_ps,
        _mm512_mask_storeu_ps, _mm512_maskz_loadu_ps, _mm512_mul_ps, _mm512_set1_ps,
        _mm512_setzero_ps,
    };

    use super::{STRIP, StripValue, Tile};

    /// Calls the kernel compiled for this number of rows.
    ///
    /// # Safety
    /// The processor has AVX-512, the strip holds k × 32 values, A and C hold the tile.
    pub(super) unsafe fn dispatch_avx512<V: StripValue>(tile: &Tile, strip: *const V) {
        macro_rules! by_rows {
            ($($rows:literal)*) => {
                match tile.rows {
                    // SAFETY: passed on from the caller.
                    $($rows => unsafe { avx512::<V, $rows>(tile, strip) },)*
                    _ => {}
                }
            };
        }
        by_rows!(1 2 3 4 5 6 7 8 9 10 11 12 13 14);
    }

    /// # Safety
    /// As [`dispatch_avx512`], with `tile.rows == ROWS`.
    #[target_feature(enable = "avx512f,avx512vl,avx512bw,avx512dq,avx2,fma")]
    unsafe fn avx512<V: StripValue, const ROWS: usize>(tile: &Tile, strip: *const V) {
        let mut sums: [[__m512; 2]; ROWS] = [[_mm512_setzero_ps(); 2]; ROWS];
        let mut a = tile.a;
        let mut b = strip;
        for _ in 0..tile.k {
            // SAFETY: b stays inside the strip, a + row * stride inside A.
            unsafe {
                let [first, second] = V::load_avx512(b);
                for (row, sums) in sums.iter_mut().enumerate() {
                    let value = _mm512_set1_ps(*a.add(row * tile.a_row_stride));
                    sums[0] = _mm512_fmadd_ps(value, first, sums[0]);
                    sums[1] = _mm512_fmadd_ps(value, second, sums[1]);
                }
                b = b.add(STRIP);
                a = a.wrapping_add(tile.a_column_stride);
            }
        }
        let mask = |first: usize| -> __mmask16 {
            let count = tile.columns.saturating_sub(first).min(16);
            ((1u32 << count) - 1) as __mmask16
        };
        let alpha = _mm512_set1_ps(tile.alpha);
        for (row, sums) in sums.iter().enumerate() {
            for (half, &sum) in sums.iter().enumerate() {
                let keep = mask(16 * half);
                let at = tile.c.wrapping_add(row * tile.c_stride + 16 * half);
                let mut value = _mm512_mul_ps(sum, alpha);
                // SAFETY: the mask admits only columns of the tile, which lie inside C.
                unsafe {
                    if tile.add {
                        value = _mm512_add_ps(_mm512_maskz_loadu_ps(keep, at), value);
                    }
                    _mm512_mask_storeu_ps(at, keep, value);
                }
            }
        }
    }

    /// Calls the kernel compiled for this number of rows.
    ///
    /// # Safety
    /// The processor has AVX2 and FMA, the strip holds k × 32 values, A and C hold the tile.
    pub(super) unsafe fn dispatch_avx2<V: StripValue>(tile: &Tile, strip: *const V) {
        // SAFETY: passed on from the caller.
        unsafe {
            match tile.rows {
                1 => avx2::<V, 1>(tile, strip),
                2 => avx2::<V, 2>(tile, strip),
                _ => avx2::<V, 3>(tile, strip),
            }
        }
    }

    /// # Safety
    /// As [`dispatch_avx2`], with `tile.rows == ROWS`.
    #[target_feature(enable = "avx2,fma")]
    unsafe fn avx2<V: StripValue, const ROWS: usize>(tile: &Tile, strip: *const V) {
        let mut sums: [[__m256; 4]; ROWS] = [[_mm256_setzero_ps(); 4]; ROWS];
        let mut a = tile.a;
        let mut b = strip;
        for _ in 0..tile.k {
            // SAFETY: b stays inside the strip, a + row * stride inside A.
            unsafe {
                let values = V::load_avx2(b);
                for (row, sums) in sums.iter_mut().enumerate() {
                    let value = _mm256_set1_ps(*a.add(row * tile.a_row_stride));
                    for (sum, &strip) in sums.iter_mut().zip(&values) {
                        *sum = _mm256_fmadd_ps(value, strip, *sum);
                    }
                }
                b = b.add(STRIP);
                a = a.wrapping_add(tile.a_column_stride);
            }
        }
        let alpha = _mm256_set1_ps(tile.alpha);
        for (row, sums) in sums.iter().enumerate() {
            let start = tile.c.wrapping_add(row * tile.c_stride);
            let mut line = [0.0f32; STRIP];
            for (quarter, &sum) in sums.iter().enumerate() {
                // SAFETY: `line` holds 32 values; a whole strip of C is read and written only when it has 32 columns.
                unsafe {
                    let mut value = _mm256_mul_ps(sum, alpha);
                    if tile.columns == STRIP {
                        let at = start.add(8 * quarter);
                        if tile.add {
                            value = _mm256_add_ps(_mm256_loadu_ps(at), value);
                        }
                        _mm256_storeu_ps(at, value);
                    } else {
                        _mm256_storeu_ps(line.as_mut_ptr().add(8 * quarter), value);
                    }
                }
            }
            if tile.columns < STRIP {
                for (column, value) in line.iter().enumerate().take(tile.columns) {
                    // SAFETY: column < columns, inside C.
                    unsafe {
                        let at = start.add(column);
                        *at = if tile.add { *at + value } else { *value };
                    }
                }
            }
        }
    }
}
