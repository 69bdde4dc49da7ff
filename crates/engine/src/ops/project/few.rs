//! The frozen part of layers that write one token of each sequence: no strip is filled, each weight is read once.

use super::{Forward, resized};
use crate::format::TensorView;
use crate::kernels::KernelPath;
use crate::kernels::few_rows::{self, FewRows, multiply_few};
use crate::kernels::quantised::{BlockMatrix, QuantisedRows, multiply_together};
use crate::kernels::source::Direction;
use crate::kernels::threads::Threads;

/// The frozen part of each layer, when all weights are floats in memory: few rows, each weight read once.
pub(super) fn few_floats(
    context: (KernelPath, &Threads),
    (rows, x): (usize, &[f32]),
    layers: &mut [Forward<'_>],
) -> bool {
    if !layers.iter().all(|layer| few_rows::can_be(&layer.matrix.source(Direction::Transposed))) {
        return false;
    }
    let products = layers.iter_mut().map(|layer| FewRows {
        right: layer.matrix.source(Direction::Transposed),
        y: &mut *layer.y,
    });
    let mut products: Vec<FewRows<'_>> = products.collect();
    multiply_few(context, x, rows, &mut products);
    true
}

/// The frozen part of each layer, when all weights are a file's blocks: products of small integers.
pub(super) fn few_blocks(
    (path, threads): (KernelPath, &Threads),
    (quantised, stored): (&mut QuantisedRows, &mut Vec<f32>),
    rows: usize,
    x: &[f32],
    layers: &mut [Forward<'_>],
) -> bool {
    let blocks: Option<Vec<(&TensorView, BlockMatrix<'_>)>> =
        layers.iter().map(|layer| layer.matrix.blocks()).collect();
    let Some(blocks) = blocks else { return false };
    quantised.put(path, x, layers[0].matrix.input);
    // In the order of the file's rows, which for queries and keys may be another than the model's.
    let turned = blocks.iter().filter(|(tensor, _)| !tensor.is_in_order());
    let mut rest = resized(stored, turned.map(|(_, matrix)| rows * matrix.rows()).sum());
    let mut products = Vec::with_capacity(blocks.len());
    for ((tensor, matrix), layer) in blocks.iter().zip(&mut *layers) {
        let length = rows * matrix.rows();
        if tensor.is_in_order() {
            products.push((*matrix, &mut layer.y[..length]));
        } else {
            let (y, after) = rest.split_at_mut(length);
            products.push((*matrix, y));
            rest = after;
        }
    }
    multiply_together(path, threads, &mut products, quantised);
    let mut rest = &stored[..];
    for ((tensor, matrix), layer) in blocks.iter().zip(layers) {
        if tensor.is_in_order() {
            continue;
        }
        let (y, after) = rest.split_at(rows * matrix.rows());
        let out = matrix.rows();
        for (to, from) in layer.y.chunks_exact_mut(out).zip(y.chunks_exact(out)) {
            tensor.put_in_order(from, to);
        }
        rest = after;
    }
    true
}
