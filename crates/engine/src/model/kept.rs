//! What is stored between the forward and the backward of a block: [`Kept`].

use crate::backend::Backend;
use crate::kernels::lanes::Precision;

/// Values that a block keeps for its backward.
///
/// The forward goes on with the values as they are. What the backward reads is rounded to bfloat16, unless the weights are kept
/// in 32 bits; so it is the same whether a block is kept or computed again.
#[derive(Debug)]
pub(super) enum Kept<B: Backend> {
    Whole(B::Buffer),
    Halves(B::Halves),
}

/// The same values of the one block that is computed now.
#[derive(Debug)]
pub(super) struct Working<B: Backend> {
    pub(super) value: B::Buffer,
    pub(super) attended: B::Buffer,
    pub(super) gate: B::Buffer,
    pub(super) up: B::Buffer,
}

impl<B: Backend> Kept<B> {
    /// Keeps nothing yet, of a model whose weights have this precision.
    pub(super) fn empty(backend: &B, precision: Precision) -> Self {
        match precision {
            Precision::F32 => Self::Whole(backend.zeros(0)),
            Precision::Bf16 | Precision::Stored => Self::Halves(B::Halves::default()),
        }
    }

    /// Makes room for `length` values.
    pub(super) fn reserve(&mut self, backend: &B, length: usize) {
        match self {
            Self::Whole(buffer) => backend.reserve(buffer, length),
            Self::Halves(halves) => backend.reserve_halves(halves, length),
        }
    }

    /// Bytes held.
    pub(super) fn bytes(&self, backend: &B) -> usize {
        match self {
            Self::Whole(buffer) => backend.buffer_bytes(buffer),
            Self::Halves(halves) => backend.halves_bytes(halves),
        }
    }

    /// Keeps the first `length` of `values`; what they are afterwards is of no meaning.
    pub(super) fn keep(&mut self, backend: &B, length: usize, values: &mut B::Buffer) {
        match self {
            Self::Whole(buffer) => std::mem::swap(buffer, values), // both have room for every batch
            Self::Halves(halves) => backend.round(length, values, halves),
        }
    }

    /// The `length` values that were kept, if need be in `values`.
    pub(super) fn read<'a>(
        &'a self,
        backend: &B,
        length: usize,
        values: &'a mut B::Buffer,
    ) -> &'a B::Buffer {
        match self {
            Self::Whole(buffer) => buffer,
            Self::Halves(halves) => {
                backend.widen(length, halves, values);
                values
            }
        }
    }
}
