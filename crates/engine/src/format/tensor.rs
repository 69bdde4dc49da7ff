//! One stored tensor, read in Hugging Face's row order. Main type: [`TensorView`].

use std::borrow::Cow;

use super::blocks::{dequantise, dequantise_part};
use super::data_type::DataType;
use super::file_bytes::FilePart;
use crate::kernels::KernelPath;

/// How the rows of a stored tensor map to Hugging Face's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RowOrder {
    /// The same.
    AsStored,
    /// GGUF's order for LLaMA's query and key: inside each head of `head_rows` rows, the two rows that rotary
    /// embedding turns together stand side by side, where Hugging Face has them half a head apart.
    Interleaved {
        /// Rows of a head (even).
        head_rows: usize,
    },
}

impl RowOrder {
    /// Where row `row` (Hugging Face's) is stored.
    pub(crate) fn stored_row(self, row: usize) -> usize {
        match self {
            Self::AsStored => row,
            Self::Interleaved { head_rows } => {
                let (head, within) = (row / head_rows, row % head_rows);
                let half = head_rows / 2;
                head * head_rows + 2 * (within % half) + within / half
            }
        }
    }
}

impl RowOrder {
    /// A value of each row, from the order in which rows are stored.
    fn put_in_order<T: Copy>(self, stored: &[T], values: &mut [T]) {
        let Self::Interleaved { head_rows } = self else {
            values.copy_from_slice(stored);
            return;
        };
        for (stored, values) in
            stored.chunks_exact(head_rows).zip(values.chunks_exact_mut(head_rows))
        {
            let (first, second) = values.split_at_mut(head_rows / 2);
            for ((pair, first), second) in stored.chunks_exact(2).zip(first).zip(second) {
                (*first, *second) = (pair[0], pair[1]);
            }
        }
    }

    /// Which row (Hugging Face's) is stored at `stored`: the inverse of [`Self::stored_row`].
    pub(crate) fn row_at(self, stored: usize) -> usize {
        match self {
            Self::AsStored => stored,
            Self::Interleaved { head_rows } => {
                let (head, within) = (stored / head_rows, stored % head_rows);
                head * head_rows + within % 2 * (head_rows / 2) + within / 2
            }
        }
    }
}

/// A tensor of a model file: a matrix of rows in their stored element type, under its Hugging Face name.
///
/// Rows are output features and columns input features (`y = W·x`), embeddings one row per token. A vector is one
/// row. The bytes stay in the memory-mapped file, which a view keeps open.
#[derive(Clone, Debug)]
pub struct TensorView {
    name: String,
    shape: Vec<usize>,
    data_type: DataType,
    order: RowOrder,
    bytes: FilePart,
}

impl TensorView {
    /// `bytes` holds exactly the rows of `shape`; the readers have checked it.
    pub(crate) fn new(
        name: &str,
        shape: &[usize],
        data_type: DataType,
        order: RowOrder,
        bytes: FilePart,
    ) -> Self {
        let mut view =
            Self { name: name.to_string(), shape: shape.to_vec(), data_type, order, bytes };
        assert_eq!(view.bytes.len(), view.rows() * view.bytes_of_row());
        if shape.len() == 1 && order != RowOrder::AsStored {
            // a bias: its "rows" are its elements, and it is small
            let size = data_type.block_bytes();
            let ordered = (0..shape[0]).flat_map(|row| {
                let at = order.stored_row(row) * size;
                view.bytes[at..at + size].iter().copied()
            });
            view.bytes = FilePart::owned(ordered.collect());
            view.order = RowOrder::AsStored;
        }
        view
    }

    /// A tensor in memory.
    #[cfg(test)]
    pub(crate) fn of_floats(shape: &[usize], values: &[f32]) -> Self {
        let bytes = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        Self::new("in memory", shape, DataType::F32, RowOrder::AsStored, FilePart::owned(bytes))
    }

    /// A tensor of blocks in memory, the rows of its heads interleaved as in a GGUF file.
    #[cfg(test)]
    pub(crate) fn of_blocks(
        shape: &[usize],
        data_type: DataType,
        head_rows: usize,
        bytes: Vec<u8>,
    ) -> Self {
        let order = RowOrder::Interleaved { head_rows };
        Self::new("in memory", shape, data_type, order, FilePart::owned(bytes))
    }

    /// Hugging Face's name, such as `model.layers.0.self_attn.q_proj.weight`.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The shape, outermost dimension first: `[rows, columns]`, or `[columns]` for a vector.
    pub fn shape(&self) -> &[usize] {
        &self.shape
    }

    /// How the elements are stored.
    pub fn data_type(&self) -> DataType {
        self.data_type
    }

    /// Rows: the product of all dimensions but the last.
    pub fn rows(&self) -> usize {
        self.shape.iter().rev().skip(1).product()
    }

    /// Elements of a row.
    pub fn columns(&self) -> usize {
        self.shape.last().copied().unwrap_or(1)
    }

    /// Bytes of one row.
    pub fn bytes_of_row(&self) -> usize {
        self.data_type.row_bytes(self.columns())
    }

    /// The stored bytes of one row, whole blocks.
    ///
    /// # Panics
    /// When `row` is not below [`Self::rows`].
    pub fn row_bytes(&self, row: usize) -> &[u8] {
        let size = self.bytes_of_row();
        let at = self.order.stored_row(row) * size;
        &self.bytes[at..at + size]
    }

    /// Whether row `n` is the n-th that is stored.
    pub(crate) fn is_in_order(&self) -> bool {
        self.order == RowOrder::AsStored
    }

    /// All rows in order. Borrowed, but for tensors whose rows GGUF stores in another order: those are copied.
    pub fn bytes(&self) -> Cow<'_, [u8]> {
        match self.order {
            RowOrder::AsStored => Cow::Borrowed(&self.bytes),
            RowOrder::Interleaved { .. } => {
                let mut ordered = Vec::with_capacity(self.bytes.len());
                for row in 0..self.rows() {
                    ordered.extend_from_slice(self.row_bytes(row));
                }
                Cow::Owned(ordered)
            }
        }
    }

    /// All elements as f32, row after row.
    pub fn to_f32(&self) -> Vec<f32> {
        let columns = self.columns();
        let mut values = vec![0.0; self.rows() * columns];
        if columns > 0 {
            for (row, out) in values.chunks_exact_mut(columns).enumerate() {
                dequantise(self.data_type, self.row_bytes(row), out);
            }
        }
        values
    }

    /// Writes one row as f32 to `values`, whose length is [`Self::columns`].
    ///
    /// # Panics
    /// When `row` is not below [`Self::rows`], or the length differs.
    pub fn row_to_f32(&self, row: usize, values: &mut [f32]) {
        assert_eq!(values.len(), self.columns(), "one value per column");
        dequantise(self.data_type, self.row_bytes(row), values);
    }

    /// Writes the values `start..start + values.len()` of one row: see [`dequantise_part`].
    ///
    /// # Panics
    /// When `row` is not below [`Self::rows`], or the part is not inside the row or not whole.
    pub fn part_to_f32(&self, path: KernelPath, row: usize, start: usize, values: &mut [f32]) {
        dequantise_part(self.data_type, path, self.row_bytes(row), start, values);
    }

    /// All rows as they lie in the file, whatever their order.
    pub fn stored_bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Puts one value of each row, which are in the order of [`Self::stored_bytes`], into that of the rows.
    pub fn put_in_order<T: Copy>(&self, stored: &[T], values: &mut [T]) {
        self.order.put_in_order(stored, values);
    }
}

#[cfg(test)]
#[expect(clippy::float_cmp, reason = "these values are exact")]
mod tests {
    use super::*;
    use crate::format::data_type::f16_to_f32;

    #[test]
    fn interleaved_rows_are_moved_whole() {
        // two heads of four rows; Hugging Face rows 0 and 2 of a head turn together, and GGUF stores them adjacent
        let stored: Vec<u8> = [0.0f32, 2.0, 1.0, 3.0, 10.0, 12.0, 11.0, 13.0]
            .iter()
            .flat_map(|value| value.to_le_bytes())
            .collect();
        let order = RowOrder::Interleaved { head_rows: 4 };
        assert!((0..8).all(|row| order.row_at(order.stored_row(row)) == row));
        let mut rows = [0; 8];
        order.put_in_order(&[0, 2, 1, 3, 4, 6, 5, 7], &mut rows);
        assert_eq!(rows, [0, 1, 2, 3, 4, 5, 6, 7]);
        let view =
            TensorView::new("q", &[8, 1], DataType::F32, order, FilePart::owned(stored.clone()));
        let expected = [0.0, 1.0, 2.0, 3.0, 10.0, 11.0, 12.0, 13.0];
        assert_eq!(view.to_f32(), expected);
        let bytes: Vec<u8> = expected.iter().flat_map(|value: &f32| value.to_le_bytes()).collect();
        assert_eq!(view.bytes().as_ref(), bytes);
        let bias =
            TensorView::new("b", &[8], DataType::F32, order, FilePart::owned(stored.clone()));
        assert_eq!(bias.to_f32(), expected);
        assert_eq!((bias.rows(), bias.columns()), (1, 8));
    }

    #[test]
    fn quantised_blocks_decode_by_ggml_layout() {
        let scale = 0x3800u16.to_le_bytes(); // 0.5
        let minimum = 0xc000u16.to_le_bytes(); // -2
        let quants: Vec<u8> = (0..16u8).map(|i| i | ((15 - i) << 4)).collect();
        let q4_1 = [&scale[..], &minimum, &quants].concat();
        let values = TensorView::new(
            "w",
            &[1, 32],
            DataType::Q4_1,
            RowOrder::AsStored,
            FilePart::owned(q4_1.clone()),
        )
        .to_f32();
        assert_eq!(values[..3], [-2.0, -1.5, -1.0]);
        assert_eq!(values[16..19], [5.5, 5.0, 4.5]);
        let q4_0 = [&scale[..], &quants].concat();
        let values = TensorView::new(
            "w",
            &[1, 32],
            DataType::Q4_0,
            RowOrder::AsStored,
            FilePart::owned(q4_0.clone()),
        )
        .to_f32();
        assert_eq!(values[..3], [-4.0, -3.5, -3.0]);
        assert_eq!(values[31], -4.0);
        let q8_0: Vec<u8> =
            scale.into_iter().chain((0..32u8).map(|i| i.wrapping_sub(16))).collect();
        let values = TensorView::new(
            "w",
            &[1, 32],
            DataType::Q8_0,
            RowOrder::AsStored,
            FilePart::owned(q8_0.clone()),
        )
        .to_f32();
        assert_eq!(values[..2], [-8.0, -7.5]);
        assert_eq!(values[31], 7.5);
    }

    #[test]
    fn every_half_is_exact() {
        for bits in 0..=u16::MAX {
            let sign = if bits & 0x8000 == 0 { 1.0 } else { -1.0 };
            let exponent = i32::from((bits >> 10) & 31);
            let fraction = f64::from(bits & 0x3ff);
            let value = f64::from(f16_to_f32(bits));
            match exponent {
                31 if fraction == 0.0 => assert!(value.is_infinite() && value.signum() == sign),
                31 => assert!(value.is_nan()),
                0 => assert_eq!(value, sign * fraction * 2f64.powi(-24)),
                _ => assert_eq!(value, sign * (1.0 + fraction / 1024.0) * 2f64.powi(exponent - 15)),
            }
        }
    }

    #[test]
    fn bf16_is_the_upper_half() {
        let stored = [0x80, 0x3f, 0x49, 0xc0]; // 1, -3.140625
        let view = TensorView::new(
            "w",
            &[2],
            DataType::BF16,
            RowOrder::AsStored,
            FilePart::owned(stored.to_vec()),
        );
        assert_eq!(view.to_f32(), [1.0, -3.140_625]);
    }
}
