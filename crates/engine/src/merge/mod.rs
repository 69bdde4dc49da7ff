//! An adapter and its base as one model, and the files it is written to. Main type: [`Merged`].
//!
//! W' = W + s·B·A for every adapted projection, with DoRA brought to its rows' magnitudes. The base may be stored in any type
//! that is read: it is widened, the difference is added in 64 bits, and the sum is rounded to f32 and from there to the type of
//! the result; a quantised base is never quantised again behind the user's back. [`folder`] writes a Hugging Face folder, [`gguf`] a GGUF file, [`gguf_adapter`] the adapter
//! alone, and [`difference`] says how far the result's logits are from those of base and adapter.

pub mod difference;
pub mod folder;
pub mod gguf;
pub mod gguf_adapter;
mod gguf_metadata;
mod hf_config;
mod normal_float;

use std::io::Write;
use std::ops::Range;

use crate::backend::Backend;
use crate::error::EngineError;
use crate::format::quantise::quantise;
use crate::format::{DataType, ModelFile, RowOrder, TensorView};
use crate::lora::{Merge, Projection};
use crate::peft::StoredAdapter;

/// Values of the pieces in which tensors are made.
const PIECE_VALUES: usize = 1 << 17;
/// Pieces that are made at a time.
const PIECES: usize = 16;
/// Pieces have a multiple of this many rows, so that blocks that run across rows are whole in them.
const PIECE_ROWS: usize = 64;

/// A base with an adapter in it, or without.
#[derive(Debug)]
pub struct Merged<'a, B: Backend> {
    file: &'a ModelFile,
    backend: &'a B,
    adapter: Option<&'a StoredAdapter>,
}

/// Rows of a tensor on their way to a file.
struct Piece {
    rows: Range<usize>,
    bytes: Vec<u8>,
    finite: bool,
}

impl<'a, B: Backend> Merged<'a, B> {
    /// The base in `file` with `adapter`, which was read for it; the threads of `backend` do the work.
    pub fn new(file: &'a ModelFile, backend: &'a B, adapter: Option<&'a StoredAdapter>) -> Self {
        Self { file, backend, adapter }
    }

    /// The base.
    pub fn file(&self) -> &'a ModelFile {
        self.file
    }

    /// What changes the tensor of this Hugging Face name.
    fn merge(&self, name: &str) -> Option<Merge<'a>> {
        let adapter = self.adapter?;
        let (block, rest) = name.strip_prefix("model.layers.")?.split_once('.')?;
        let path = rest.strip_suffix(".weight")?;
        let projection =
            Projection::ALL.into_iter().find(|projection| projection.path() == path)?;
        Merge::new(&adapter.layout, &adapter.values, block.parse().ok()?, projection)
    }

    /// Writes the tensor of this Hugging Face name: its rows in `order`, stored as `data_type`.
    ///
    /// # Errors
    /// There is no such tensor, a value is not finite, or `out` fails.
    fn write_tensor(
        &self,
        name: &str,
        data_type: DataType,
        order: RowOrder,
        out: &mut dyn Write,
    ) -> Result<(), EngineError> {
        let tensor = self.file.tensor(name)?;
        let merge = self.merge(name);
        if tensor.shape().len() == 1 {
            return Ok(out.write_all(&vector(&tensor, data_type, order)?)?);
        }
        let (rows, columns) = (tensor.rows(), tensor.columns());
        let height = (PIECE_VALUES / columns).max(1).next_multiple_of(PIECE_ROWS);
        let mut starts = (0..rows).step_by(height).peekable();
        while starts.peek().is_some() {
            let range = |start: usize| start..(start + height).min(rows);
            let new = |rows| Piece { rows, bytes: Vec::new(), finite: true };
            let mut pieces: Vec<Piece> = starts.by_ref().take(PIECES).map(range).map(new).collect();
            self.backend.on_host(&mut pieces, |piece| {
                fill(piece, &tensor, merge, data_type, order);
            });
            for piece in pieces {
                check_finite(name, piece.finite)?;
                out.write_all(&piece.bytes)?;
            }
        }
        Ok(())
    }
}

/// Makes the rows of a piece.
fn fill(
    piece: &mut Piece,
    tensor: &TensorView,
    merge: Option<Merge<'_>>,
    data_type: DataType,
    order: RowOrder,
) {
    let columns = tensor.columns();
    let mut values = vec![0.0; piece.rows.len() * columns];
    for (stored, values) in piece.rows.clone().zip(values.chunks_exact_mut(columns)) {
        let row = order.row_at(stored);
        tensor.row_to_f32(row, values);
        if let Some(merge) = merge {
            merge.row(row, values);
        }
    }
    piece.finite = all_finite(&values, data_type);
    // as one row: blocks of the types that run across rows are whole in a piece
    piece.bytes = vec![0; data_type.row_bytes(values.len())];
    quantise(data_type, &values, &mut piece.bytes);
}

/// A vector, whose elements are its rows.
fn vector(
    tensor: &TensorView,
    data_type: DataType,
    order: RowOrder,
) -> Result<Vec<u8>, EngineError> {
    let values = tensor.to_f32();
    let ordered: Vec<f32> = (0..values.len()).map(|stored| values[order.row_at(stored)]).collect();
    check_finite(tensor.name(), all_finite(&ordered, data_type))?;
    let mut bytes = vec![0; data_type.row_bytes(ordered.len())];
    quantise(data_type, &ordered, &mut bytes);
    Ok(bytes)
}

/// Whether each value is a number, and will be one in this type.
fn all_finite(values: &[f32], data_type: DataType) -> bool {
    let largest = if data_type == DataType::F16 { 65_519.0 } else { f32::MAX };
    values.iter().all(|value| value.abs() <= largest)
}

fn check_finite(name: &str, finite: bool) -> Result<(), EngineError> {
    if finite {
        return Ok(());
    }
    Err(EngineError::Merge {
        reason: format!("tensor {name:?} holds a value that is not finite in the type asked for"),
    })
}
