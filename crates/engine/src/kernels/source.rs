//! [`Source`]: the right operand of a product as it is stored, row after row, in either direction; [`Source::fill`] writes the
//! strips of it that a task is about to multiply with.
//!
//! Frozen weights are kept once, in the order of their file, and serve both directions: y = x·Wᵀ reads them
//! as [`Direction::Transposed`], the input gradient as [`Direction::AsStored`]. A strip is filled once for all rows of a task,
//! so what that costs is a few per cent of the product.

mod floats;
mod integers;

use std::ops::Range;

use super::KernelPath;
use super::lanes::Lane;
use crate::format::TensorView;
use crate::format::blocks::PART;

/// Most columns of a strip: two AVX-512 registers.
pub const STRIP: usize = 32;

/// Columns of a path's strips: as many as its tiles have, so that the lanes of a tile follow one another in memory and a strip
/// fills the nearest cache evenly.
pub const fn strip(path: KernelPath) -> usize {
    match path {
        KernelPath::Avx2 | KernelPath::Avx2Pairs => STRIP / 2,
        KernelPath::Portable | KernelPath::Avx512 | KernelPath::Avx512Vnni => STRIP,
    }
}

/// Rows of a stored matrix.
#[derive(Debug, Clone, Copy)]
pub enum Values<'a> {
    /// 32-bit floats.
    F32(&'a [f32]),
    /// The upper halves of 32-bit floats.
    Bf16(&'a [u16]),
    /// Rows of a model file, in any type that it stores.
    File(&'a TensorView),
}

/// Rows of values and the distance between them.
#[derive(Clone, Copy)]
struct Rows<'a, T> {
    values: &'a [T],
    stride: usize,
}

impl<T> Rows<'_, T> {
    /// Values of a cache line.
    const fn line(&self) -> usize {
        64 / size_of::<T>()
    }
}

/// Which way a stored matrix is multiplied.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// B = M: k counts stored rows.
    AsStored,
    /// B = Mᵀ: k runs along a stored row.
    Transposed,
}

/// A stored matrix M (rows, width), and how it is B (k, n) of a product.
#[derive(Debug, Clone, Copy)]
pub struct Source<'a> {
    /// The rows, one after the other.
    pub values: Values<'a>,
    /// Values of a row.
    pub width: usize,
    /// Distance between the rows' first values.
    pub stride: usize,
    /// The file's row that is the first of them.
    file_row: usize,
    /// How many rows.
    pub rows: usize,
    /// How it is multiplied.
    pub direction: Direction,
}

impl<'a> Source<'a> {
    /// Rows of `width` values without gaps.
    pub fn new(values: Values<'a>, width: usize, direction: Direction) -> Self {
        let length = match values {
            Values::F32(values) => values.len(),
            Values::Bf16(values) => values.len(),
            Values::File(tensor) => tensor.rows() * tensor.columns(),
        };
        let rows = length / width.max(1);
        Self { values, width, stride: width, file_row: 0, rows, direction }
    }

    /// Some of the rows.
    #[must_use]
    pub fn of_rows(self, rows: Range<usize>) -> Self {
        let start = rows.start * self.stride;
        let (mut values, mut file_row) = (self.values, self.file_row);
        match &mut values {
            Values::F32(values) => *values = &values[start..],
            Values::Bf16(values) => *values = &values[start..],
            Values::File(_) => file_row += rows.start,
        }
        Self { values, file_row, rows: rows.len(), ..self }
    }

    /// Length of the products' sums.
    pub fn k(&self) -> usize {
        match self.direction {
            Direction::AsStored => self.rows,
            Direction::Transposed => self.width,
        }
    }

    /// Columns of B.
    pub fn n(&self) -> usize {
        match self.direction {
            Direction::AsStored => self.width,
            Direction::Transposed => self.rows,
        }
    }

    /// Writes the strips of `columns` (whose start is a multiple of [`STRIP`]), one after the other, over `k` (whose start is
    /// even): lane (i, j) of a strip of width w at `w i + j`; and of integers the scale of each column.
    ///
    /// Columns past the last, and the second half of an odd last pair, are zero.
    pub fn fill(
        &self,
        path: KernelPath,
        lane: Lane,
        columns: Range<usize>,
        k: Range<usize>,
        (out, scales): (&mut [u32], &mut [f32]),
    ) {
        match lane {
            Lane::F32 => self.fill_floats(path, columns, k, out),
            Lane::I16Pair => self.fill_integers(path, columns, k, (out, scales)),
        }
    }

    /// Values `part` of a stored row of a file. Parts of blocks are read whole, so `buffer` has room for them.
    fn of_file<'b>(
        &self,
        path: KernelPath,
        tensor: &TensorView,
        row: usize,
        part: Range<usize>,
        buffer: &'b mut [f32],
    ) -> &'b [f32] {
        let skip = part.start % PART;
        let start = part.start - skip;
        let whole = (skip + part.len()).next_multiple_of(PART).min(self.width - start);
        tensor.part_to_f32(path, self.file_row + row, start, &mut buffer[..whole]);
        &buffer[skip..skip + part.len()]
    }
}

#[cfg(test)]
mod tests {
    use super::super::lanes::to_bf16;
    use super::*;
    use crate::format::DataType;
    use crate::format::quantise::quantise;
    use bioinstruct_core::random::Stream;

    #[test]
    fn strips_hold_the_matrix_in_both_directions() {
        let (rows, width) = (41, 37);
        let mut draws = Stream::new(1, "source").at(0);
        // Values that bfloat16 holds exactly, and integers with a power of two.
        let values: Vec<f32> = (0..rows * width).map(|_| draws.below(200) as f32 - 100.0).collect();
        let halves: Vec<u16> = values.iter().map(|value| to_bf16(*value)).collect();
        for path in KernelPath::ALL.into_iter().filter(|path| path.available()) {
            for lane in [Lane::F32, Lane::I16Pair] {
                for stored in [Values::F32(&values), Values::Bf16(&halves)] {
                    for direction in [Direction::AsStored, Direction::Transposed] {
                        let source = Source::new(stored, width, direction);
                        let at = |k: usize, n: usize| match direction {
                            Direction::AsStored => values[k * width + n],
                            Direction::Transposed => values[n * width + k],
                        };
                        for (column, k) in [(0, 0..source.k()), (32, 4..source.k()), (0, 2..7)] {
                            let strip = strip(path);
                            let length = lane.count(k.len()) * strip;
                            let columns = column..source.n();
                            let strips = columns.len().div_ceil(strip);
                            let (mut out, mut scales) =
                                (vec![9; strips * length], vec![1.0; strips * strip]);
                            source.fill(path, lane, columns, k.clone(), (&mut out, &mut scales));
                            for (number, &found) in out.iter().enumerate() {
                                let place = number / length * strip + number % strip;
                                let (n, scale) = (column + place, scales[place]);
                                let number = number % length;
                                let expected = |k_at: usize| {
                                    let inside = n < source.n() && k_at < k.end;
                                    if inside { at(k_at, n) } else { 0.0 }
                                };
                                let first = k.start + number / strip * lane.values();
                                match lane {
                                    Lane::F32 => {
                                        assert_eq!(f32::from_bits(found), expected(first));
                                    }
                                    Lane::I16Pair => {
                                        let [low, high] = [found as i16, (found >> 16) as i16];
                                        assert_eq!(f32::from(low) * scale, expected(first));
                                        assert_eq!(f32::from(high) * scale, expected(first + 1));
                                    }
                                }
                            }
                        }
                    }
                }
            }
        }
    }

    /// What a file's blocks say, whatever part of them is asked for.
    #[test]
    fn strips_of_a_file_are_those_of_its_values() {
        let (rows, width) = (48, 512);
        let mut draws = Stream::new(2, "source").at(0);
        let values: Vec<f32> = (0..rows * width).map(|_| draws.below(200) as f32 - 100.0).collect();
        for data_type in [DataType::Q8_0, DataType::Q4_K] {
            let stride = data_type.row_bytes(width);
            let mut bytes = vec![0; rows * stride];
            for (row, bytes) in bytes.chunks_exact_mut(stride).enumerate() {
                quantise(data_type, &values[row * width..(row + 1) * width], bytes);
            }
            let tensor = TensorView::of_blocks(&[rows, width], data_type, 16, bytes);
            let widened = tensor.to_f32();
            for path in KernelPath::ALL.into_iter().filter(|path| path.available()) {
                for (direction, columns, k) in [
                    (Direction::AsStored, 0..width, 0..rows),
                    (Direction::AsStored, 160..width, 4..29),
                    (Direction::Transposed, 0..rows, 0..width),
                    (Direction::Transposed, 32..rows, 64..width),
                    (Direction::Transposed, 32..45, 32..80),
                ] {
                    for lane in [Lane::F32, Lane::I16Pair] {
                        let filled = |values| {
                            let length = lane.count(k.len()) * strip(path);
                            let strips = columns.len().div_ceil(strip(path));
                            let (mut out, mut scales) =
                                (vec![9; strips * length], vec![1.0; strips * strip(path)]);
                            let source = Source::new(values, width, direction);
                            let filled = (&mut out[..], &mut scales[..]);
                            source.fill(path, lane, columns.clone(), k.clone(), filled);
                            (out, scales)
                        };
                        let (found, expected) =
                            (filled(Values::File(&tensor)), filled(Values::F32(&widened)));
                        let what = (data_type, path, direction, lane, &columns);
                        assert!(found == expected, "{what:?}");
                    }
                }
            }
        }
    }
}
