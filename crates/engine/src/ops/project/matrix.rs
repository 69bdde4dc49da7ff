//! [`Matrix`]: a frozen weight, kept once for both directions of its products.

use crate::format::TensorView;
use crate::kernels::KernelPath;
use crate::kernels::lanes::{Precision, from_bf16, to_bf16};
use crate::kernels::quantised::BlockMatrix;
use crate::kernels::simd::{Arithmetic, add_scaled, dispatch};
use crate::kernels::source::{Direction, Source, Values};
use crate::kernels::threads::Threads;

/// Rows of a matrix that are read at once.
const READ_ROWS: usize = 64;

/// A frozen matrix (out, in), kept once for both directions.
#[derive(Debug)]
pub struct Matrix {
    /// Output features.
    pub out: usize,
    /// Input features.
    pub input: usize,
    stored: Stored,
}

/// The rows of a [`Matrix`].
#[derive(Debug)]
enum Stored {
    F32(Vec<f32>),
    Bf16(Vec<u16>),
    File(TensorView),
}

impl Matrix {
    /// Keeps the rows of a stored tensor.
    pub fn new(threads: &Threads, tensor: &TensorView, precision: Precision) -> Self {
        let (out, input) = (tensor.rows(), tensor.columns());
        let stored = match precision {
            Precision::F32 => {
                let mut values = vec![0.0; out * input];
                threads.for_rows(&mut values, input, READ_ROWS, |rows, values| {
                    for (row, values) in rows.zip(values.chunks_exact_mut(input)) {
                        tensor.row_to_f32(row, values);
                    }
                });
                Stored::F32(values)
            }
            Precision::Bf16 => {
                let mut values = vec![0; out * input];
                threads.for_rows(&mut values, input, READ_ROWS, |rows, values| {
                    let mut wide = vec![0.0; input];
                    for (row, values) in rows.zip(values.chunks_exact_mut(input)) {
                        tensor.row_to_f32(row, &mut wide);
                        for (value, wide) in values.iter_mut().zip(&wide) {
                            *value = to_bf16(*wide);
                        }
                    }
                });
                Stored::Bf16(values)
            }
            Precision::Stored => Stored::File(tensor.clone()),
        };
        Self { out, input, stored }
    }

    /// Rows of `input` values that are in memory already, as bfloat16.
    pub fn of_bf16(values: Vec<u16>, input: usize) -> Self {
        Self { out: values.len() / input.max(1), input, stored: Stored::Bf16(values) }
    }

    /// How its values are kept.
    pub fn precision(&self) -> Precision {
        match self.stored {
            Stored::F32(_) => Precision::F32,
            Stored::Bf16(_) => Precision::Bf16,
            Stored::File(_) => Precision::Stored,
        }
    }

    /// One row, as it is kept: an embedding.
    pub fn row(&self, row: usize, out: &mut [f32]) {
        let part = row * self.input..(row + 1) * self.input;
        match &self.stored {
            Stored::F32(values) => out.copy_from_slice(&values[part]),
            Stored::Bf16(values) => {
                for (out, value) in out.iter_mut().zip(&values[part]) {
                    *out = from_bf16(*value);
                }
            }
            Stored::File(tensor) => tensor.row_to_f32(row, out),
        }
    }

    /// `sum` += `factor` · the row; `wide` has room for one.
    pub fn add_row(
        &self,
        path: KernelPath,
        row: usize,
        factor: f32,
        sum: &mut [f32],
        wide: &mut [f32],
    ) {
        let part = row * self.input..(row + 1) * self.input;
        match &self.stored {
            Stored::F32(values) => add_floats(path, sum, factor, &values[part]),
            Stored::Bf16(values) => add_halves(path, sum, factor, &values[part]),
            Stored::File(tensor) => {
                tensor.part_to_f32(path, row, 0, wide);
                add_floats(path, sum, factor, wide);
            }
        }
    }

    /// Bytes held.
    pub fn bytes(&self) -> usize {
        match &self.stored {
            Stored::F32(values) => values.len() * 4,
            Stored::Bf16(values) => values.len() * 2,
            Stored::File(tensor) => tensor.stored_bytes().len(),
        }
    }

    /// The file's blocks, where it is kept as those.
    pub(super) fn blocks(&self) -> Option<(&TensorView, BlockMatrix<'_>)> {
        let Stored::File(tensor) = &self.stored else { return None };
        BlockMatrix::can_be(tensor.data_type()).then(|| {
            let bytes = tensor.stored_bytes();
            (tensor, BlockMatrix::new(tensor.data_type(), bytes, self.out, self.input))
        })
    }

    /// The matrix as the right side of a product: transposed in the forward direction, as stored in the backward.
    pub fn source(&self, direction: Direction) -> Source<'_> {
        let values = match &self.stored {
            Stored::F32(values) => Values::F32(values),
            Stored::Bf16(values) => Values::Bf16(values),
            Stored::File(tensor) => Values::File(tensor),
        };
        Source::new(values, self.input, direction)
    }
}

dispatch!(fn add_floats = add_scaled(sum: &mut [f32], factor: f32, row: &[f32]));
dispatch!(fn add_halves = add_halves_body(sum: &mut [f32], factor: f32, row: &[u16]));

#[inline(always)]
fn add_halves_body<A: Arithmetic>(sum: &mut [f32], factor: f32, row: &[u16]) {
    for (sum, half) in sum.iter_mut().zip(row) {
        *sum = A::multiply_add(factor, from_bf16(*half), *sum);
    }
}
