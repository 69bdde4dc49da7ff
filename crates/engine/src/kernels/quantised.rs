//! Products of a few rows with matrices that lie in ggml's blocks, in integers: what decoding does. Main function:
//! [`multiply_rows`].
//!
//! Activations are rounded to signed bytes, 32 to a scale ([`QuantisedRows`]); a block of weights is taken from memory once,
//! spread over registers so that each lane is an output, and multiplied with all rows. The sums inside a block are exact,
//! and the blocks of a row are added one after another in f32, each operation rounded on its own: so a result depends
//! neither on the batch nor on the threads, and is the same on every [`KernelPath`].

mod activations;
#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
mod kinds;
mod lanes;
mod of_256;
mod of_32;
mod spans;

pub use self::activations::QuantisedRows;
use self::spans::{Output, Span};
use crate::format::DataType;
use crate::kernels::KernelPath;
use crate::kernels::threads::Threads;

/// Bytes of weights that a task reads: little enough to share small matrices out, and to stay in the second cache while
/// tiles of more rows meet them.
const TASK_BYTES: usize = 48 << 10;
/// Rows of a task are a multiple of this: what the widest registers hold.
const GROUP: usize = 16;

/// A matrix (rows, width) of ggml's blocks, row after row, as it lies in a model file.
#[derive(Debug, Clone, Copy)]
pub struct BlockMatrix<'a> {
    data_type: DataType,
    bytes: &'a [u8],
    rows: usize,
    width: usize,
}

impl<'a> BlockMatrix<'a> {
    /// # Panics
    /// When `data_type` is not [one of blocks](Self::can_be), or `bytes` are not `rows` × `width` of its elements.
    pub fn new(data_type: DataType, bytes: &'a [u8], rows: usize, width: usize) -> Self {
        assert!(Self::can_be(data_type), "{} has no blocks", data_type.name());
        let whole = width > 0 && width.is_multiple_of(data_type.block_elements());
        assert!(whole, "{width} columns are not blocks of {}", data_type.name());
        let expected = rows.checked_mul(data_type.row_bytes(width));
        assert_eq!(Some(bytes.len()), expected, "bytes of {rows} rows of {width}");
        Self { data_type, bytes, rows, width }
    }

    /// Whether a tensor of this type can be multiplied in integers.
    pub fn can_be(data_type: DataType) -> bool {
        data_type.block_elements() > 1 && data_type != DataType::NF4
    }

    /// How many rows, which are outputs, there are.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Columns, which are inputs.
    pub fn width(&self) -> usize {
        self.width
    }

    fn stride(&self) -> usize {
        self.data_type.row_bytes(self.width)
    }

    /// Rows of a task: depends on the matrix alone.
    fn task_rows(&self) -> usize {
        (TASK_BYTES / self.stride() / GROUP).max(1) * GROUP
    }

    fn tasks(&self) -> usize {
        self.rows.div_ceil(self.task_rows())
    }
}

/// `y` (x.rows, weights.rows) = `x` (x.rows, width) · `weights`ᵀ.
///
/// Meant for up to sixteen rows; any number is right, and each eight of them read the weights again, from the cache.
///
/// # Panics
/// When the shapes do not fit one another.
pub fn multiply_rows(
    path: KernelPath,
    threads: &Threads,
    weights: BlockMatrix<'_>,
    x: &QuantisedRows,
    y: &mut [f32],
) {
    multiply_together(path, threads, &mut [(weights, y)], x);
}

/// [`multiply_rows`] with several matrices, such as those of queries, keys and values, under one start of the threads.
///
/// # Panics
/// When the shapes do not fit one another.
pub fn multiply_together(
    path: KernelPath,
    threads: &Threads,
    products: &mut [(BlockMatrix<'_>, &mut [f32])],
    x: &QuantisedRows,
) {
    for (weights, y) in products.iter() {
        assert_eq!(x.width(), weights.width, "the weights' columns");
        assert_eq!(y.len(), x.rows() * weights.rows, "one output for each row of both");
    }
    let products: Vec<(BlockMatrix<'_>, Output<'_>)> =
        products.iter_mut().map(|(weights, y)| (*weights, Output::new(y, weights.rows))).collect();
    let tasks = products.iter().map(|(weights, _)| weights.tasks()).sum();
    threads.for_each(tasks, |mut task| {
        for (weights, output) in &products {
            if task < weights.tasks() {
                let first = task * weights.task_rows();
                let rows = weights.task_rows().min(weights.rows - first);
                multiply_span(path, weights, first, rows, x, output);
                return;
            }
            task -= weights.tasks();
        }
    });
}

/// The outputs `first..first + rows` of every row of `x`.
fn multiply_span(
    path: KernelPath,
    weights: &BlockMatrix<'_>,
    first: usize,
    rows: usize,
    x: &QuantisedRows,
    output: &Output<'_>,
) {
    let stride = weights.stride();
    let bytes = &weights.bytes[first * stride..(first + rows) * stride];
    let after = weights.bytes.len() - (first + rows) * stride;
    for tile in x.tiles() {
        let span = Span { bytes, stride, rows, first, after };
        match weights.data_type {
            DataType::Q8_0 => span.multiply::<of_32::Eights>(path, &tile, output),
            DataType::Q4_0 => span.multiply::<of_32::Fours>(path, &tile, output),
            DataType::Q4_1 => span.multiply::<of_32::FoursAndMinimum>(path, &tile, output),
            DataType::Q5_0 => span.multiply::<of_32::Fives>(path, &tile, output),
            DataType::Q5_1 => span.multiply::<of_32::FivesAndMinimum>(path, &tile, output),
            DataType::Q4_K => span.multiply::<of_256::KFours>(path, &tile, output),
            DataType::Q5_K => span.multiply::<of_256::KFives>(path, &tile, output),
            DataType::Q6_K => span.multiply::<of_256::KSixes>(path, &tile, output),
            DataType::F32 | DataType::F16 | DataType::BF16 | DataType::NF4 => {
                unreachable!("`BlockMatrix::new` takes no floats")
            }
        }
    }
}

#[cfg(test)]
mod tests;
