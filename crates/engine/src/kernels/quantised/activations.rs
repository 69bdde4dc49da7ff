//! [`QuantisedRows`]: activations as signed bytes with a scale for each 32 of them.

use crate::kernels::KernelPath;
use crate::kernels::simd::{Arithmetic, dispatch};

/// Values that share a scale.
pub(super) const BLOCK: usize = 32;
/// Rows that are multiplied with a block of weights while it is in registers.
pub(super) const TILE: usize = 8;
/// Blocks whose greatest magnitude is not above this become zeros: its inverse would leave the range of f32.
const NOTHING: f32 = 1e-30;

/// 32 activations: value `i` is `scale · values[i]`, with |`values[i]`| ≤ 127.
#[derive(Debug, Clone, Copy)]
#[repr(C, align(16))]
pub(super) struct Activations {
    pub(super) values: [i8; BLOCK],
    /// The greatest magnitude / 127.
    pub(super) scale: f32,
    /// `scale` · `sum`.
    pub(super) scaled_sum: f32,
    /// Σ `values`.
    pub(super) sum: i32,
    /// Σ of the first 16 `values`.
    pub(super) first_sum: i32,
}

impl Activations {
    pub(super) const ZERO: Self =
        Self { values: [0; BLOCK], scale: 0.0, scaled_sum: 0.0, sum: 0, first_sum: 0 };

    /// The values in groups of four.
    #[inline(always)]
    pub(super) fn words(&self) -> &[[i8; 4]; BLOCK / 4] {
        let (words, _) = self.values.as_chunks::<4>();
        words.try_into().expect("32 values are eight groups of four")
    }
}

/// Rows of activations, each run of 32 rounded to signed bytes: the left side of
/// [`multiply_rows`](super::multiply_rows). Kept from product to product, so that its memory is asked for once.
#[derive(Debug, Default)]
pub struct QuantisedRows {
    /// Tiles of at most eight rows; inside a tile, the rows' first blocks, then their second ones, … A tile has 1, 2, 4 or
    /// 8 rows, of which the last may be empty.
    blocks: Vec<Activations>,
    width: usize,
    rows: usize,
}

/// Some rows of [`QuantisedRows`].
pub(super) struct Tile<'a> {
    /// The number of the first row.
    pub(super) first: usize,
    /// How many there are.
    pub(super) rows: usize,
    /// How many there is room for: 1, 2, 4 or 8.
    pub(super) room: usize,
    /// `room` for each 32 columns.
    pub(super) blocks: &'a [Activations],
}

impl QuantisedRows {
    /// No rows.
    pub fn new() -> Self {
        Self::default()
    }

    /// How many rows there are.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Values of a row.
    pub fn width(&self) -> usize {
        self.width
    }

    /// Takes the place of the present rows: `values` is (rows, `width`), row after row.
    ///
    /// The scale of 32 values is their greatest magnitude / 127; each value is rounded to the nearest multiple of it, ties to
    /// even. A row's result does not depend on the others. A value that is not finite makes its row's products so.
    ///
    /// # Panics
    /// When `width` is zero or no multiple of 32, or `values` are not whole rows.
    pub fn put(&mut self, path: KernelPath, values: &[f32], width: usize) {
        assert!(width > 0 && width.is_multiple_of(BLOCK), "{width} columns are not whole blocks");
        assert!(values.len().is_multiple_of(width), "{} values in rows of {width}", values.len());
        self.width = width;
        self.rows = values.len() / width;
        let rest = self.rows % TILE;
        let room = self.rows - rest + if rest == 0 { 0 } else { rest.next_power_of_two() };
        self.blocks.clear();
        self.blocks.resize(room * width / BLOCK, Activations::ZERO);
        let tile_blocks = TILE * width / BLOCK;
        let tiles = values.chunks(TILE * width).zip(self.blocks.chunks_mut(tile_blocks));
        for (values, blocks) in tiles {
            let room = blocks.len() / (width / BLOCK);
            for (row, values) in values.chunks(width).enumerate() {
                quantise(path, values, &mut blocks[row..], room);
            }
        }
    }

    pub(super) fn tiles(&self) -> impl Iterator<Item = Tile<'_>> {
        let columns = self.width / BLOCK;
        self.blocks.chunks((TILE * columns).max(1)).enumerate().map(move |(index, blocks)| {
            let first = index * TILE;
            let rows = (self.rows - first).min(TILE);
            Tile { first, rows, room: blocks.len() / columns, blocks }
        })
    }
}

dispatch!(fn quantise = quantise_body(values: &[f32], blocks: &mut [Activations], step: usize));

#[inline(always)]
#[expect(clippy::extra_unused_type_parameters, reason = "no multiply-add: the same on every path")]
fn quantise_body<A: Arithmetic>(values: &[f32], blocks: &mut [Activations], step: usize) {
    for (values, block) in values.as_chunks::<BLOCK>().0.iter().zip(blocks.iter_mut().step_by(step))
    {
        quantise_block(values, block);
    }
}

#[inline(always)]
fn quantise_block(values: &[f32; BLOCK], block: &mut Activations) {
    /// Adding it and taking it away rounds to an integer, ties to even.
    const ROUND: f32 = 12_582_912.0;
    // as integers: what is not a number counts as the greatest
    let bits = values
        .iter()
        .fold(0, |most: i32, value| most.max((value.to_bits() & 0x7fff_ffff).cast_signed()));
    let greatest = f32::from_bits(bits.cast_unsigned());
    if greatest <= NOTHING {
        *block = Activations::ZERO;
        return;
    }
    let inverse = 127.0 / greatest;
    for (value, quant) in values.iter().zip(&mut block.values) {
        // the low bits of the sum are the integer, in two's complement
        *quant = (value * inverse + ROUND).to_bits() as i8;
    }
    let sum = |values: &[i8]| values.iter().map(|value| i32::from(*value)).sum();
    block.scale = greatest / 127.0;
    block.first_sum = sum(&block.values[..BLOCK / 2]);
    block.sum = block.first_sum + sum(&block.values[BLOCK / 2..]);
    block.scaled_sum = block.scale * block.sum as f32;
}
