//! [`Span`]: rows of a matrix times a tile of activations, with the instructions of a path.

#![expect(unsafe_code, reason = "rows are read through pointers, and tasks write disjoint outputs")]

use std::marker::PhantomData;

use super::activations::{Activations, Tile};
#[cfg(target_arch = "x86_64")]
use super::avx2::Eight;
#[cfg(target_arch = "x86_64")]
use super::avx512::Sixteen;
use super::kinds::Kind;
use super::lanes::{Lanes, One, Rows};
use crate::kernels::KernelPath;

/// The output (rows, width) of one product, of which each task writes its own columns.
pub(super) struct Output<'a> {
    start: *mut f32,
    length: usize,
    width: usize,
    owner: PhantomData<&'a mut [f32]>,
}

// SAFETY: the only way to the values is `write`, and no two tasks have a column in common.
unsafe impl Sync for Output<'_> {}
// SAFETY: as above.
unsafe impl Send for Output<'_> {}

impl<'a> Output<'a> {
    pub(super) fn new(values: &'a mut [f32], width: usize) -> Self {
        Self { start: values.as_mut_ptr(), length: values.len(), width, owner: PhantomData }
    }

    /// Writes values of row `row` from column `column` on.
    #[inline(always)]
    fn write(&self, row: usize, column: usize, values: &[f32]) {
        let first = row * self.width + column;
        assert!(first + values.len() <= self.length, "inside the output");
        // SAFETY: inside the slice that `self` has borrowed (asserted); no other task writes these columns.
        unsafe {
            self.start.add(first).copy_from_nonoverlapping(values.as_ptr(), values.len());
        }
    }
}

/// Consecutive rows of a matrix.
#[derive(Clone, Copy)]
pub(super) struct Span<'a> {
    /// The rows, `stride` bytes each.
    pub(super) bytes: &'a [u8],
    pub(super) stride: usize,
    pub(super) rows: usize,
    /// The number of the first row in its matrix.
    pub(super) first: usize,
    /// Bytes of the matrix that follow.
    pub(super) after: usize,
}

impl Span<'_> {
    /// Writes the products of these rows with those of `tile`.
    pub(super) fn multiply<K: Kind>(self, path: KernelPath, tile: &Tile<'_>, output: &Output<'_>) {
        match tile.room {
            1 => self.multiply_tile::<K, 1>(path, tile, output),
            2 => self.multiply_tile::<K, 2>(path, tile, output),
            4 => self.multiply_tile::<K, 4>(path, tile, output),
            _ => self.multiply_tile::<K, 8>(path, tile, output),
        }
    }

    fn multiply_tile<K: Kind, const R: usize>(
        self,
        path: KernelPath,
        tile: &Tile<'_>,
        output: &Output<'_>,
    ) {
        assert_eq!(tile.room, R, "room for so many rows");
        assert_eq!(self.bytes.len(), self.rows * self.stride, "whole rows");
        assert_eq!(tile.blocks.len() * K::BYTES, self.stride * K::PARTS * R, "as many columns");
        let (whole, rest) = self.split(width_of(path));
        match width_of(path) {
            // SAFETY: `width_of` has found the instructions, and `groups`' lengths are asserted above.
            #[cfg(target_arch = "x86_64")]
            16 => unsafe { groups_avx512::<K, R>(whole, tile, output) },
            // SAFETY: as above.
            #[cfg(target_arch = "x86_64")]
            8 => unsafe { groups_avx2::<K, R>(whole, tile, output) },
            // SAFETY: no special instructions; lengths as above.
            _ => unsafe { groups::<One, K, R>(whole, tile, output) },
        }
        // SAFETY: as above.
        unsafe { groups::<One, K, R>(rest, tile, output) }
    }

    /// As many rows as fill registers of `width` rows, and the rest.
    fn split(self, width: usize) -> (Self, Self) {
        let rows = self.rows / width * width;
        let (whole, rest) = self.bytes.split_at(rows * self.stride);
        let rest = Self { bytes: rest, rows: self.rows - rows, first: self.first + rows, ..self };
        (Self { bytes: whole, rows, after: self.after + rest.bytes.len(), ..self }, rest)
    }
}

/// How many rows the registers of a path hold. All give the same bits, so a processor without some instruction takes the
/// next narrower ones.
fn width_of(path: KernelPath) -> usize {
    #[cfg(target_arch = "x86_64")]
    {
        if path >= KernelPath::Avx512 && is_x86_feature_detected!("avx512vnni") {
            return 16;
        }
        if path >= KernelPath::Avx2 && is_x86_feature_detected!("f16c") {
            return 8;
        }
    }
    let _ = path;
    1
}

/// # Safety
/// As [`groups`]; and the instructions are there.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512vl,avx512bw,avx512dq,avx512vnni,avx2,fma,f16c")]
unsafe fn groups_avx512<K: Kind, const R: usize>(
    span: Span<'_>,
    tile: &Tile<'_>,
    output: &Output<'_>,
) {
    // SAFETY: by the contract.
    unsafe { groups::<Sixteen, K, R>(span, tile, output) }
}

/// # Safety
/// As [`groups`]; and the instructions are there.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma,f16c")]
unsafe fn groups_avx2<K: Kind, const R: usize>(
    span: Span<'_>,
    tile: &Tile<'_>,
    output: &Output<'_>,
) {
    // SAFETY: by the contract.
    unsafe { groups::<Eight, K, R>(span, tile, output) }
}

/// All rows of `span`, `L::ROWS` at a time.
///
/// # Safety
/// The instructions of `L` are there, `span` has a multiple of `L::ROWS` rows of whole blocks, all inside its bytes, and
/// `tile` has `K::PARTS` × `R` runs of activations for each block of a row.
#[inline(always)]
unsafe fn groups<L: Lanes, K: Kind, const R: usize>(
    span: Span<'_>,
    tile: &Tile<'_>,
    output: &Output<'_>,
) {
    if span.first == 0 && span.rows > 0 {
        prefetch::<L>(span.bytes.as_ptr(), L::ROWS * span.stride + AHEAD);
    }
    let end = span.bytes.len() + span.after;
    for group in 0..span.rows / L::ROWS {
        let row = group * L::ROWS;
        let rows = Rows {
            first: span.bytes.as_ptr().wrapping_add(row * span.stride),
            stride: span.stride,
        };
        // SAFETY: by the contract.
        unsafe {
            let ahead = (row + L::ROWS) * span.stride + AHEAD < end;
            let sums = group_sums::<L, K, R>(rows, tile.blocks, ahead);
            let mut values = [0.0f32; 16];
            for (index, sums) in sums.into_iter().enumerate().take(tile.rows) {
                L::store(sums, &mut values);
                output.write(tile.first + index, span.first + row, &values[..L::ROWS]);
            }
        }
    }
}

/// # Safety
/// As [`groups`], for the `L::ROWS` rows from `rows` on.
#[inline(always)]
unsafe fn group_sums<L: Lanes, K: Kind, const R: usize>(
    rows: Rows,
    x: &[Activations],
    ahead: bool,
) -> [L::Floats; R] {
    // SAFETY: by the contract.
    let mut sums = unsafe { [L::splat_float(0.0); R] };
    let size = L::ROWS * K::BYTES;
    for (block, x) in x.chunks_exact(K::PARTS * R).enumerate() {
        // groups lie one after another in memory: the next one is asked for while this one is multiplied
        if ahead {
            let next = L::ROWS * rows.stride + AHEAD + block * size;
            prefetch::<L>(rows.first.wrapping_add(next), size);
        }
        // SAFETY: by the contract.
        unsafe { K::block::<L, R>(rows.skip(block * K::BYTES), x, &mut sums) }
    }
    sums
}

/// Asks for `length` bytes, which need not exist.
#[inline(always)]
fn prefetch<L: Lanes>(start: *const u8, length: usize) {
    for line in 0..length.div_ceil(LINE) {
        L::prefetch(start.wrapping_add(line * LINE));
    }
}

/// Bytes of a cache line.
const LINE: usize = 64;
/// How far beyond the next group of rows memory is asked for (measured: 4 to 16 KiB are equal, less and more are slower).
const AHEAD: usize = 8192;
