//! One training step's forward and backward over a ragged batch: losses, and the gradient of an adapter's factors.
//!
//! Only what the factors' gradients need is kept ([`Tape`]) and computed: no gradient of a frozen weight, none below the
//! lowest adapted block. Norms and SwiGLU are computed again in the backward instead of being stored, and where memory asks
//! for it everything inside a block ([`Activations::Recomputed`]). Most of what is stored takes 16 bits where the weights do not
//! take 32 ([`Kept`]).

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bioinstruct_core::random::Stream;

use super::Llama;
pub use super::batch::Batch;
use super::training_block::BlockContext;
use crate::backend::{Backend, Kept};
use crate::lora::{Adapter, Projection};

/// What a step needs beside the batch.
#[derive(Debug, Clone, Copy)]
pub struct Step<'a> {
    /// The gradient is that of `scale` · Σ losses.
    pub scale: f32,
    /// Dropout of the adapters' inputs: probability, and the step's stream.
    pub dropout: Option<(f32, Stream)>,
    /// Noise on the embeddings (NEFTune): alpha, and one stream for each sequence.
    pub noise: Option<(f32, &'a [Stream])>,
}

impl Step<'_> {
    /// Neither dropout nor noise.
    pub fn plain(scale: f32) -> Self {
        Self { scale, dropout: None, noise: None }
    }
}

/// What a step keeps of its forward. It changes time and memory, and no bit of any result.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Activations {
    /// All that the backward reads.
    #[default]
    Kept,
    /// The input of each block: the backward runs the block forward once more (Chen et al. 2016), so a step computes half as
    /// much again.
    Recomputed,
}

/// What the first norm of a block read and found.
#[derive(Debug)]
pub(super) struct BlockInput<B: Backend> {
    pub(super) stream: B::Buffer,
    pub(super) inverse: B::Buffer,
}

/// What one block keeps for its backward beside its input.
#[derive(Debug)]
pub(super) struct BlockTape<B: Backend> {
    /// Turned; or as projected, where the model norms heads.
    pub(super) query: B::Buffer,
    /// Likewise.
    pub(super) key: B::Buffer,
    pub(super) value: Kept<B>,
    pub(super) attended: Kept<B>,
    pub(super) log_sum_exp: B::Buffer,
    pub(super) middle: B::Buffer,
    pub(super) middle_inverse: B::Buffer,
    pub(super) gate_up: Kept<B, 2>,
    pub(super) low: [B::Buffer; 7],
}

/// What a block keeps, as it is computed with now.
#[derive(Debug)]
pub(super) struct Working<B: Backend> {
    pub(super) value: B::Buffer,
    pub(super) attended: B::Buffer,
    pub(super) gate: B::Buffer,
    pub(super) up: B::Buffer,
}

/// All buffers of a training step; made once, used for every step.
#[derive(Debug)]
pub struct Tape<B: Backend> {
    pub(super) inputs: Vec<BlockInput<B>>,
    /// One for each block, or one for all.
    pub(super) blocks: Vec<BlockTape<B>>,
    pub(super) last: B::Buffer,
    pub(super) last_inverse: B::Buffer,
    pub(super) hidden: B::Buffer,
    pub(super) delta: B::Buffer,
    pub(super) wide: B::Buffer,
    pub(super) working: Working<B>,
    /// Queries and keys as attention takes them, where the model norms heads.
    pub(super) turned: [B::Buffer; 2],
    pub(super) d_stream: B::Buffer,
    pub(super) d_hidden: B::Buffer,
    pub(super) d_query: B::Buffer,
    pub(super) d_key: B::Buffer,
    pub(super) d_value: B::Buffer,
    pub(super) d_attended: B::Buffer,
    pub(super) d_wide: B::Buffer,
    pub(super) d_gate: B::Buffer,
    pub(super) d_up: B::Buffer,
    pub(super) capacity: usize,
    stop: Arc<AtomicBool>,
}

impl<B: Backend> Tape<B> {
    /// Once this flag is set, passes end at the next block and what they give is meaningless: who sets it throws the work
    /// away. A pass of a large model takes minutes, a block seconds.
    pub fn stop_at(&mut self, flag: Arc<AtomicBool>) {
        self.stop = flag;
    }

    /// Bytes held.
    pub fn bytes(&self, backend: &B) -> usize {
        let Self { last, last_inverse, hidden, delta, wide, d_stream, d_hidden, .. } = self;
        let Self { d_query, d_key, d_value, d_attended, d_wide, d_gate, d_up, .. } = self;
        let inputs = self.inputs.iter().flat_map(|input| [&input.stream, &input.inverse]);
        let blocks = self.blocks.iter().flat_map(|block| {
            let BlockTape { query, key, log_sum_exp, middle, middle_inverse, low, .. } = block;
            [query, key, log_sum_exp, middle, middle_inverse].into_iter().chain(low)
        });
        let kept = self.blocks.iter().map(|block| {
            let BlockTape { value, attended, gate_up, .. } = block;
            value.bytes(backend) + attended.bytes(backend) + gate_up.bytes(backend)
        });
        let Working { value, attended, gate, up } = &self.working;
        let once = [last, last_inverse, hidden, delta, wide, d_stream, d_hidden];
        let once = once.into_iter().chain([value, attended, gate, up]);
        let once = once.chain([d_query, d_key, d_value, d_attended]).chain(&self.turned);
        let all = once.chain([d_wide, d_gate, d_up]).chain(inputs).chain(blocks);
        all.map(|buffer| backend.buffer_bytes(buffer)).sum::<usize>() + kept.sum::<usize>()
    }

    fn is_stopped(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }

    /// Which of `blocks` belongs to this block of the model.
    pub(super) fn place(&self, block: usize) -> usize {
        block.min(self.blocks.len() - 1)
    }
}

impl<B: Backend> Llama<B> {
    /// An empty tape; it grows to the longest batch it sees.
    pub fn new_tape(&self, activations: Activations) -> Tape<B> {
        let empty = || self.backend.zeros(0);
        let input = || BlockInput { stream: empty(), inverse: empty() };
        let (backend, precision) = (&self.backend, self.options.precision);
        let block = || BlockTape {
            query: empty(),
            key: empty(),
            value: Kept::empty(backend, precision),
            attended: Kept::empty(backend, precision),
            log_sum_exp: empty(),
            middle: empty(),
            middle_inverse: empty(),
            gate_up: Kept::empty(backend, precision),
            low: std::array::from_fn(|_| empty()),
        };
        let layers = self.config.layers;
        let places = if activations == Activations::Kept { layers } else { 1 };
        Tape {
            inputs: (0..layers).map(|_| input()).collect(),
            blocks: (0..places).map(|_| block()).collect(),
            last: empty(),
            last_inverse: empty(),
            hidden: empty(),
            delta: empty(),
            wide: empty(),
            working: Working { value: empty(), attended: empty(), gate: empty(), up: empty() },
            turned: [empty(), empty()],
            d_stream: empty(),
            d_hidden: empty(),
            d_query: empty(),
            d_key: empty(),
            d_value: empty(),
            d_attended: empty(),
            d_wide: empty(),
            d_gate: empty(),
            d_up: empty(),
            capacity: 0,
            stop: Arc::default(),
        }
    }

    /// Cross-entropy in nats of each label of the batch, in order; no gradient.
    pub fn losses(
        &self,
        tape: &mut Tape<B>,
        adapter: Option<&Adapter<B>>,
        batch: &Batch,
    ) -> Vec<f32> {
        let (late, labels) = batch.predicting();
        self.forward(tape, adapter, (batch, &late), Step::plain(1.0));
        let Tape { hidden, .. } = tape;
        self.backend.head_loss(late.len(), hidden, &self.head, &labels, 1.0, None)
    }

    /// As [`Llama::losses`], and adds the gradient of the adapter's factors to `gradient`.
    pub fn losses_and_gradient(
        &self,
        tape: &mut Tape<B>,
        adapter: &Adapter<B>,
        batch: &Batch,
        step: Step<'_>,
        gradient: &mut B::Buffer,
    ) -> Vec<f32> {
        let (late, labels) = batch.predicting();
        self.forward(tape, Some(adapter), (batch, &late), step);
        if tape.is_stopped() {
            return vec![0.0; batch.labels.len()];
        }
        let Tape { hidden, d_hidden, .. } = tape;
        let d_hidden = Some(d_hidden);
        let (head, scale) = (&self.head, step.scale);
        let losses = self.backend.head_loss(late.len(), hidden, head, &labels, scale, d_hidden);
        self.backward(tape, adapter, (batch, &late), step.dropout, gradient);
        losses
    }

    /// Up to the last norm, of whose output only the rows `late` are read: the last block computes no others behind its
    /// attention.
    fn forward(
        &self,
        tape: &mut Tape<B>,
        adapter: Option<&Adapter<B>>,
        (batch, late): (&Batch, &[usize]),
        Step { dropout, noise, .. }: Step<'_>,
    ) {
        let (rows, epsilon) = (batch.rows(), self.config.rms_norm_epsilon);
        self.reserve_tape(tape, rows, adapter);
        for (index, block) in self.blocks.iter().enumerate() {
            if tape.is_stopped() {
                return;
            }
            let before = tape.place(index.saturating_sub(1));
            let Tape { inputs, blocks, hidden, delta, .. } = tape;
            let BlockInput { stream, inverse } = &mut inputs[index];
            let (backend, norm) = (&self.backend, &block.input_norm);
            if index == 0 {
                self.embed(batch, noise, stream);
                backend.rms_norm(rows, stream, None, norm, epsilon, hidden, inverse);
            } else {
                let parts = [&blocks[before].middle, &*delta];
                backend.rms_norm_of_sum(rows, parts, stream, norm, epsilon, hidden, inverse);
            }
            let late = (index + 1 == self.blocks.len()).then_some(late);
            let context = BlockContext { model: self, block, index, adapter, batch, late, dropout };
            context.forward(tape);
        }
        let top = tape.place(self.blocks.len() - 1);
        let Tape { blocks, last, last_inverse, hidden, delta, .. } = tape;
        self.backend.rms_norm_of_sum(
            late.len(),
            [&blocks[top].middle, &*delta],
            last,
            &self.final_norm,
            epsilon,
            hidden,
            last_inverse,
        );
    }

    fn embed(&self, batch: &Batch, noise: Option<(f32, &[Stream])>, out: &mut B::Buffer) {
        self.backend.embed(&self.embedding, &batch.ids, out);
        if let Some((alpha, streams)) = noise {
            let rows = batch.sequences.iter().map(|sequence| sequence.rows.clone());
            let sequences: Vec<_> = rows.zip(streams.iter().copied()).collect();
            self.backend.add_noise(alpha, &sequences, self.config.hidden_size, out);
        }
    }

    fn backward(
        &self,
        tape: &mut Tape<B>,
        adapter: &Adapter<B>,
        (batch, late): (&Batch, &[usize]),
        dropout: Option<(f32, Stream)>,
        gradient: &mut B::Buffer,
    ) {
        let Some(lowest) = adapter.layout.lowest_block() else {
            return;
        };
        self.backend.clear(&mut tape.d_stream);
        let Tape { last, last_inverse, d_hidden, d_stream, .. } = tape;
        self.backend.rms_norm_backward(
            late.len(),
            (last, last_inverse),
            &self.final_norm,
            d_hidden,
            d_stream,
        );
        for index in (lowest..self.blocks.len()).rev() {
            if tape.is_stopped() {
                return;
            }
            let block = &self.blocks[index];
            let (late, adapter) = ((index + 1 == self.blocks.len()).then_some(late), Some(adapter));
            let context = BlockContext { model: self, block, index, adapter, batch, late, dropout };
            // The last block's activations are still there.
            if tape.blocks.len() == 1 && index + 1 < self.blocks.len() {
                context.forward_again(tape);
            }
            context.backward(tape, index > lowest, gradient);
        }
    }

    /// Makes room for batches of so many tokens, so that no step allocates.
    pub fn reserve_tape(&self, tape: &mut Tape<B>, rows: usize, adapter: Option<&Adapter<B>>) {
        let config = &self.config;
        let low = |block: usize, projection: Projection| {
            let factors = adapter.and_then(|adapter| adapter.layout.factors(block, projection));
            factors.map_or(0, |factors| factors.kept(rows))
        };
        for index in 0..self.blocks.len() {
            let place = tape.place(index);
            for (low_buffer, projection) in tape.blocks[place].low.iter_mut().zip(Projection::ALL) {
                self.backend.reserve(low_buffer, low(index, projection));
            }
        }
        if rows <= tape.capacity {
            return;
        }
        tape.capacity = rows;
        let (hidden, wide) = (rows * config.hidden_size, rows * config.intermediate_size);
        let (query, narrow) = (rows * config.query_size(), rows * config.key_value_size());
        for BlockInput { stream, inverse } in &mut tape.inputs {
            self.backend.reserve(stream, hidden);
            self.backend.reserve(inverse, rows);
        }
        for block in &mut tape.blocks {
            for (buffer, length) in [
                (&mut block.query, query),
                (&mut block.key, narrow),
                (&mut block.log_sum_exp, rows * config.attention_heads),
                (&mut block.middle, hidden),
                (&mut block.middle_inverse, rows),
            ] {
                self.backend.reserve(buffer, length);
            }
            block.value.reserve(&self.backend, narrow);
            block.attended.reserve(&self.backend, query);
            block.gate_up.reserve(&self.backend, wide);
        }
        if config.query_key_norm {
            let [turned_query, turned_key] = &mut tape.turned;
            self.backend.reserve(turned_query, query);
            self.backend.reserve(turned_key, narrow);
        }
        for (buffer, length) in [
            (&mut tape.last, hidden),
            (&mut tape.last_inverse, rows),
            (&mut tape.hidden, hidden),
            (&mut tape.delta, hidden),
            (&mut tape.wide, wide),
            (&mut tape.working.value, narrow),
            (&mut tape.working.attended, query),
            (&mut tape.working.gate, wide),
            (&mut tape.working.up, wide),
            (&mut tape.d_stream, hidden),
            (&mut tape.d_hidden, hidden),
            (&mut tape.d_query, query),
            (&mut tape.d_key, narrow),
            (&mut tape.d_value, narrow),
            (&mut tape.d_attended, query),
            (&mut tape.d_wide, wide),
            (&mut tape.d_gate, wide),
            (&mut tape.d_up, wide),
        ] {
            self.backend.reserve(buffer, length);
        }
    }
}
