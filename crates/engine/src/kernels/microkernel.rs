//! The tile of a product that stays in registers: up to 14 × 32 (AVX-512), 6 × 16 (AVX2), 4 × 32 (portable).

#![expect(
    unsafe_code,
    reason = "the inner loop reads and writes through pointers whose extents `gemm` has checked"
)]

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;

#[cfg(target_arch = "x86_64")]
pub(crate) use self::avx512::add_pairs;
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
        KernelPath::Avx2 | KernelPath::Avx2Pairs => 6,
        KernelPath::Avx512 | KernelPath::Avx512Vnni => 14,
    }
}

/// Computes one tile on the chosen path.
pub(super) fn run_tile(path: KernelPath, lane: Lane, tile: &Tile<'_>) {
    assert!(tile.strip.len() >= strip(path) * tile.k, "the strip covers k");
    assert!(tile.strip_scales.len() >= strip(path), "each column has a scale");
    assert!(tile.rows <= rows(path) && tile.columns <= strip(path), "the tile fits the registers");
    match (path, lane) {
        // SAFETY: `KernelPath::available` has found the instructions; the strip holds k × w lanes and a scale for
        // each column (asserted), and A, with a scale for each row, and C hold the tile (asserted by `gemm`).
        #[cfg(target_arch = "x86_64")]
        (KernelPath::Avx512Vnni, Lane::I16Pair) => unsafe { avx512::integers(tile) },
        // SAFETY: as above.
        #[cfg(target_arch = "x86_64")]
        (KernelPath::Avx512 | KernelPath::Avx512Vnni, Lane::F32) => unsafe {
            avx512::floats(tile);
        },
        // SAFETY: as above.
        #[cfg(target_arch = "x86_64")]
        (KernelPath::Avx2Pairs, Lane::I16Pair) => unsafe { avx2::integers(tile) },
        // SAFETY: as above.
        #[cfg(target_arch = "x86_64")]
        (KernelPath::Avx2 | KernelPath::Avx2Pairs, Lane::F32) => unsafe { avx2::floats(tile) },
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
