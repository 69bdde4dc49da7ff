//! The tile of a product that stays in registers: up to 14 × 32 (AVX-512), 6 × 16 (AVX2), 4 × 32 (portable).

#![expect(
    unsafe_code,
    reason = "the inner loop reads and writes through pointers whose extents `gemm` has checked"
)]

use super::KernelPath;
use super::lanes::Lane;
use super::source::{STRIP, strip};

/// One tile's work: C (rows, columns) = or += A (rows, k) · a strip (k, w) of the path's width.
pub(super) struct Tile<'a> {
    pub(super) rows: usize,
    pub(super) columns: usize,
    /// Lanes along k.
    pub(super) k: usize,
    pub(super) a: *const u32,
    pub(super) a_stride: usize,
    /// The rows' scales, `a_stride` apart; of integers only.
    pub(super) a_scales: *const f32,
    pub(super) strip: &'a [u32],
    /// The columns' scales; of integers only.
    pub(super) strip_scales: &'a [f32],
    pub(super) c: *mut f32,
    pub(super) c_stride: usize,
    pub(super) add: bool,
}

/// Most rows of a tile.
pub(super) const fn rows(path: KernelPath) -> usize {
    match path {
        KernelPath::Portable => 4,
        KernelPath::Avx2 => 6,
        KernelPath::Avx512 | KernelPath::Avx512Vnni => 14,
    }
}

/// Computes one tile on the chosen path.
pub(super) fn run_tile(path: KernelPath, lane: Lane, tile: &Tile<'_>) {
    assert!(tile.strip.len() >= strip(path) * tile.k, "the strip covers k");
    assert!(tile.strip_scales.len() >= strip(path), "each column has a scale");
    assert!(tile.rows <= rows(path) && tile.columns <= strip(path), "the tile fits the registers");
    match (path, lane) {
        // SAFETY: `KernelPath::available` has found the instructions; the strip holds k × w lanes (asserted), and A and
        // C hold the tile (asserted by `gemm`).
        #[cfg(target_arch = "x86_64")]
        (KernelPath::Avx512Vnni, Lane::I16Pair) => unsafe { x86::avx512_integers(tile) },
        // SAFETY: as above.
        #[cfg(target_arch = "x86_64")]
        (KernelPath::Avx512 | KernelPath::Avx512Vnni, Lane::F32) => unsafe {
            x86::avx512_floats(tile);
        },
        // SAFETY: as above.
        #[cfg(target_arch = "x86_64")]
        (KernelPath::Avx2, Lane::F32) => unsafe { x86::dispatch_avx2(tile) },
        (path, Lane::F32) => portable::<f32>(strip(path), tile),
        (path, Lane::I16Pair) => portable::<i32>(strip(path), tile),
    }
}

/// What products of lanes are added to.
trait Sum: Copy + Default {
    /// `self` and the product of two lanes.
    fn step(self, a: u32, b: u32) -> Self;
    /// The sum with the scales of its row and column.
    fn scaled(self, row: f32, column: f32) -> f32;
}

impl Sum for f32 {
    fn step(self, a: u32, b: u32) -> Self {
        self + f32::from_bits(a) * f32::from_bits(b)
    }

    fn scaled(self, _: f32, _: f32) -> f32 {
        self
    }
}

impl Sum for i32 {
    fn step(self, a: u32, b: u32) -> Self {
        let halves = |lane: u32| [lane as i16, (lane >> 16) as i16].map(Self::from);
        let ([a_low, a_high], [b_low, b_high]) = (halves(a), halves(b));
        // Sums on the way may wrap; the whole one does not: see `lanes`.
        self.wrapping_add(a_low * b_low).wrapping_add(a_high * b_high)
    }

    fn scaled(self, row: f32, column: f32) -> f32 {
        self as f32 * column * row
    }
}

/// The definition, in plain Rust.
fn portable<S: Sum>(width: usize, tile: &Tile<'_>) {
    let mut sums = [[S::default(); STRIP]; 14];
    for (i, strip) in tile.strip.chunks_exact(width).take(tile.k).enumerate() {
        for (row, sums) in sums.iter_mut().enumerate().take(tile.rows) {
            // SAFETY: row < rows and i < k, which `gemm` has checked to lie inside A.
            let a = unsafe { *tile.a.add(row * tile.a_stride + i) };
            for (sum, b) in sums.iter_mut().zip(strip) {
                *sum = sum.step(a, *b);
            }
        }
    }
    for (row, sums) in sums.iter().enumerate().take(tile.rows) {
        // SAFETY: row < rows, each of which has a scale.
        let row_scale = unsafe { *tile.a_scales.add(row * tile.a_stride) };
        let sums = sums.iter().zip(tile.strip_scales).enumerate();
        for (column, (sum, scale)) in sums.take(tile.columns) {
            let sum = sum.scaled(row_scale, *scale);
            // SAFETY: row < rows and column < columns, which `gemm` has checked to lie inside C.
            unsafe {
                let c = tile.c.add(row * tile.c_stride + column);
                *c = if tile.add { *c + sum } else { sum };
            }
        }
    }
}

#[cfg(target_arch = "x86_64")]
pub(crate) use self::x86::add_pairs;

#[cfg(target_arch = "x86_64")]
mod x86 {
    use std::arch::asm;
    use std::arch::x86_64::{
        __m512, __m512i, __mmask16, _MM_HINT_T0, _mm_prefetch, _mm256_add_ps, _mm256_fmadd_ps,
        _mm256_loadu_ps, _mm256_set1_ps, _mm256_setzero_ps, _mm256_storeu_ps, _mm512_add_ps,
        _mm512_castps_si512, _mm512_castsi512_ps, _mm512_cvtepi32_ps, _mm512_fmadd_ps,
        _mm512_loadu_ps, _mm512_loadu_si512, _mm512_mask_storeu_ps, _mm512_maskz_loadu_ps,
        _mm512_mul_ps, _mm512_set1_epi32, _mm512_set1_ps, _mm512_setzero_si512,
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
        avx512_floats, Floats, "avx512f,avx512vl,avx512bw,avx512dq,avx2,fma", 1 2 3 4 5 6 7 8 9 10 11 12 13 14
    );
    tiles!(
        /// # Safety
        /// As [`avx512_floats`], the processor has AVX-512 VNNI, and there is a scale for each row and column.
        avx512_integers, Integers, "avx512f,avx512vl,avx512bw,avx512dq,avx512vnni,avx2,fma", 1 2 3 4 5 6 7 8 9 10 11 12 13 14
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
                let old = if tile.add {
                    _mm512_add_ps(_mm512_maskz_loadu_ps(keep, at), sum)
                } else {
                    sum
                };
                _mm512_mask_storeu_ps(at, keep, old);
            }
        }
    }

    /// Calls the kernel compiled for this number of rows.
    ///
    /// # Safety
    /// The processor has AVX2 and FMA, the strip holds k × 16 values, A and C hold the tile.
    pub(super) unsafe fn dispatch_avx2(tile: &Tile<'_>) {
        // SAFETY: passed on from the caller.
        unsafe {
            match tile.rows {
                1 => avx2::<1>(tile),
                2 => avx2::<2>(tile),
                3 => avx2::<3>(tile),
                4 => avx2::<4>(tile),
                5 => avx2::<5>(tile),
                _ => avx2::<6>(tile),
            }
        }
    }

    /// Twelve sums, two registers of the strip and one value of A are fifteen of the sixteen registers there are.
    ///
    /// # Safety
    /// As [`dispatch_avx2`], with `tile.rows == ROWS`.
    #[target_feature(enable = "avx2,fma")]
    unsafe fn avx2<const ROWS: usize>(tile: &Tile<'_>) {
        let mut sums = [[_mm256_setzero_ps(); 2]; ROWS];
        let (mut a, mut b) = (tile.a.cast::<f32>(), tile.strip.as_ptr().cast::<f32>());
        for row in 0..ROWS {
            // What the tile ends with is on its way while the sums are made.
            _mm_prefetch::<_MM_HINT_T0>(tile.c.wrapping_add(row * tile.c_stride).cast());
        }
        for _ in 0..tile.k {
            // SAFETY: b stays inside the strip, a + row * stride inside A.
            unsafe {
                let (first, second) = (_mm256_loadu_ps(b), _mm256_loadu_ps(b.add(8)));
                for (row, sums) in sums.iter_mut().enumerate() {
                    let value = _mm256_set1_ps(*a.add(row * tile.a_stride));
                    sums[0] = _mm256_fmadd_ps(value, first, sums[0]);
                    sums[1] = _mm256_fmadd_ps(value, second, sums[1]);
                }
                b = b.add(16);
                a = a.wrapping_add(1);
            }
        }
        for (row, sums) in sums.iter().enumerate() {
            let start = tile.c.wrapping_add(row * tile.c_stride);
            if tile.columns == 16 {
                for (at, &sum) in [start, start.wrapping_add(8)].into_iter().zip(sums) {
                    // SAFETY: all sixteen columns lie inside C.
                    unsafe {
                        let sum =
                            if tile.add { _mm256_add_ps(_mm256_loadu_ps(at), sum) } else { sum };
                        _mm256_storeu_ps(at, sum);
                    }
                }
                continue;
            }
            let mut line = [0.0f32; 16];
            // SAFETY: `line` holds sixteen values; column < columns lies inside C.
            unsafe {
                _mm256_storeu_ps(line.as_mut_ptr(), sums[0]);
                _mm256_storeu_ps(line.as_mut_ptr().add(8), sums[1]);
                for (column, value) in line.iter().enumerate().take(tile.columns) {
                    let at = start.add(column);
                    *at = if tile.add { *at + value } else { *value };
                }
            }
        }
    }
}
