//! What is stored between the forward and the backward of a block: [`Kept`].

use super::Backend;
use crate::kernels::lanes::Precision;

/// Values that a block keeps for its backward, `N` buffers of one length.
///
/// The forward goes on with the values as they are. What the backward reads is rounded to bfloat16, unless the weights are kept
/// in 32 bits; so it is the same whether a block is kept or computed again.
#[derive(Debug)]
pub enum Kept<B: Backend, const N: usize = 1> {
    /// As they were.
    Whole([B::Buffer; N]),
    /// Rounded.
    Halves([B::Halves; N]),
}

impl<B: Backend, const N: usize> Kept<B, N> {
    /// Keeps nothing yet, of a model whose weights have this precision.
    pub fn empty(backend: &B, precision: Precision) -> Self {
        match precision {
            Precision::F32 => Self::Whole(std::array::from_fn(|_| backend.zeros(0))),
            Precision::Bf16 | Precision::Stored => {
                Self::Halves(std::array::from_fn(|_| Default::default()))
            }
        }
    }

    /// Makes room for `length` values in each buffer.
    pub fn reserve(&mut self, backend: &B, length: usize) {
        match self {
            Self::Whole(all) => all.iter_mut().for_each(|one| backend.reserve(one, length)),
            Self::Halves(all) => all.iter_mut().for_each(|one| backend.reserve_halves(one, length)),
        }
    }

    /// Bytes held.
    pub fn bytes(&self, backend: &B) -> usize {
        match self {
            Self::Whole(all) => all.iter().map(|one| backend.buffer_bytes(one)).sum(),
            Self::Halves(all) => all.iter().map(|one| backend.halves_bytes(one)).sum(),
        }
    }

    /// Keeps the first `length` of each of `values`; what they are afterwards is of no meaning.
    pub fn keep(&mut self, backend: &B, length: usize, values: [&mut B::Buffer; N]) {
        match self {
            Self::Whole(all) => {
                for (one, values) in all.iter_mut().zip(values) {
                    std::mem::swap(one, values); // both have room for every batch
                }
            }
            Self::Halves(all) => {
                for (one, values) in all.iter_mut().zip(values) {
                    backend.round(length, values, one);
                }
            }
        }
    }
}

impl<B: Backend> Kept<B> {
    /// The `length` values that were kept, if need be in `values`.
    pub fn read<'a>(
        &'a self,
        backend: &B,
        length: usize,
        values: &'a mut B::Buffer,
    ) -> &'a B::Buffer {
        match self {
            Self::Whole([buffer]) => buffer,
            Self::Halves([halves]) => {
                backend.widen(length, halves, values);
                values
            }
        }
    }
}
