//! What stands between a block's projections and its attention: biases, the norm of query and key heads, the rotation.

use super::{Block, Llama};
use crate::backend::{Backend, Heads, Projecting, Turn};
use crate::lora::Projection;

impl<B: Backend> Llama<B> {
    /// Numbers, size and sight of the heads.
    pub(super) fn heads(&self) -> Heads {
        Heads {
            query: self.config.attention_heads,
            key_value: self.config.key_value_heads,
            size: self.config.head_size,
            window: self.config.sliding_window,
        }
    }

    /// Adds the biases of projections that have some.
    pub(super) fn add_biases<const N: usize>(
        &self,
        (block, rows): (&Block<B>, usize),
        projections: [Projection; N],
        projecting: &mut [Projecting<'_, B>],
    ) {
        for (projection, projecting) in projections.into_iter().zip(projecting) {
            if let Some(bias) = &block.biases[projection as usize] {
                self.backend.add_bias(rows, bias, projecting.y);
            }
        }
    }

    /// Norms the heads of queries and keys, if the model does, and turns them by their positions, in place.
    pub(super) fn norm_and_turn(
        &self,
        block: &Block<B>,
        positions: &[u32],
        query: &mut B::Buffer,
        key: &mut B::Buffer,
    ) {
        let widths = [self.config.query_size(), self.config.key_value_size()];
        for (at, (x, width)) in [query, key].into_iter().zip(widths).enumerate() {
            if let Some(norms) = &block.head_norms {
                let (length, epsilon) = (positions.len() * width, self.config.rms_norm_epsilon);
                self.backend.head_norm(length, &norms[at], epsilon, x);
            }
            self.backend.rotate(&self.rotary, positions, width, x, Turn::Forward);
        }
    }

    /// The same for a training step, whose backward needs what the norm read: with a norm, the results are made in
    /// `turned` from `kept`, otherwise they are what `kept` holds.
    pub(super) fn turned<'b>(
        &self,
        block: &Block<B>,
        positions: &[u32],
        kept: [&'b B::Buffer; 2],
        turned: &'b mut [B::Buffer; 2],
    ) -> [&'b B::Buffer; 2] {
        if block.head_norms.is_none() {
            return kept;
        }
        let widths = [self.config.query_size(), self.config.key_value_size()];
        for ((kept, turned), width) in kept.into_iter().zip(turned.iter_mut()).zip(widths) {
            self.backend.reserve(turned, positions.len() * width);
            self.backend.copy_rows(kept, 0..positions.len(), width, turned, 0);
        }
        let [query, key] = turned;
        self.norm_and_turn(block, positions, query, key);
        [query, key]
    }

    /// From the gradients of what attention took to those of the projections, in place; `kept` as [`Llama::turned`] took
    /// it.
    pub(super) fn norm_and_turn_backward(
        &self,
        block: &Block<B>,
        positions: &[u32],
        kept: [&B::Buffer; 2],
        gradients: [&mut B::Buffer; 2],
    ) {
        let widths = [self.config.query_size(), self.config.key_value_size()];
        for (at, (gradient, width)) in gradients.into_iter().zip(widths).enumerate() {
            self.backend.rotate(&self.rotary, positions, width, gradient, Turn::Backward);
            if let Some(norms) = &block.head_norms {
                let (length, epsilon) = (positions.len() * width, self.config.rms_norm_epsilon);
                let norm = &norms[at];
                self.backend.head_norm_backward(length, kept[at], norm, epsilon, gradient);
            }
        }
    }
}
