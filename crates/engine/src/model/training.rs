//! One training step's forward and backward over a ragged batch: losses, and the gradient of an adapter's factors.
//!
//! Only what the factors' gradients need is kept ([`Tape`]) and computed: no gradient of a frozen weight, none below the
//! lowest adapted block. Norms and SwiGLU are computed again in the backward instead of being stored.

use std::ops::Range;

use bioinstruct_core::random::Stream;

use super::{Block, Llama};
use crate::backend::{Adapted, AttentionKept, Backend, Projected, Turn};
use crate::lora::{Adapter, Projection};

/// Several sequences, one after the other.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Batch {
    /// Token ids of all sequences.
    pub ids: Vec<u32>,
    /// Position of each token in its own sequence.
    pub positions: Vec<u32>,
    /// Rows of each sequence.
    pub sequences: Vec<Range<usize>>,
    /// Rows that predict a learned token, with that token.
    pub labels: Vec<(usize, u32)>,
}

impl Batch {
    /// Adds a sequence; `learned[i]` says whether the loss covers token i, which token i - 1 predicts.
    pub fn push(&mut self, ids: &[u32], learned: &[bool]) {
        let start = self.ids.len();
        self.ids.extend_from_slice(ids);
        self.positions.extend(0..ids.len() as u32);
        self.sequences.push(start..start + ids.len());
        let labels =
            ids.iter().zip(learned).enumerate().skip(1).filter(|(_, (_, learned))| **learned);
        self.labels.extend(labels.map(|(at, (id, _))| (start + at - 1, *id)));
    }

    /// How many tokens it has.
    pub fn tokens(&self) -> usize {
        self.ids.len()
    }
}

/// What a step needs beside the batch.
#[derive(Debug, Clone, Copy)]
pub struct Step<'a> {
    /// The gradient is that of `scale` · Σ losses.
    pub scale: f32,
    /// Dropout of the adapters' inputs: probability, and one stream for each sequence.
    pub dropout: Option<(f32, &'a [Stream])>,
}

/// What one block keeps for its backward.
#[derive(Debug)]
struct BlockTape<B: Backend> {
    input: B::Buffer,
    input_inverse: B::Buffer,
    query: B::Buffer,
    key: B::Buffer,
    value: B::Buffer,
    attended: B::Buffer,
    log_sum_exp: B::Buffer,
    middle: B::Buffer,
    middle_inverse: B::Buffer,
    gate: B::Buffer,
    up: B::Buffer,
    low: [B::Buffer; 7],
}

/// All buffers of a training step; made once, used for every step.
#[derive(Debug)]
pub struct Tape<B: Backend> {
    blocks: Vec<BlockTape<B>>,
    last: B::Buffer,
    last_inverse: B::Buffer,
    hidden: B::Buffer,
    delta: B::Buffer,
    wide: B::Buffer,
    d_stream: B::Buffer,
    d_hidden: B::Buffer,
    d_query: B::Buffer,
    d_key: B::Buffer,
    d_value: B::Buffer,
    d_attended: B::Buffer,
    d_wide: B::Buffer,
    d_gate: B::Buffer,
    d_up: B::Buffer,
    capacity: usize,
}

impl<B: Backend> Llama<B> {
    /// An empty tape; it grows to the longest batch it sees.
    pub fn new_tape(&self) -> Tape<B> {
        let empty = || self.backend.zeros(0);
        let block = || BlockTape {
            input: empty(),
            input_inverse: empty(),
            query: empty(),
            key: empty(),
            value: empty(),
            attended: empty(),
            log_sum_exp: empty(),
            middle: empty(),
            middle_inverse: empty(),
            gate: empty(),
            up: empty(),
            low: std::array::from_fn(|_| empty()),
        };
        Tape {
            blocks: (0..self.config.layers).map(|_| block()).collect(),
            last: empty(),
            last_inverse: empty(),
            hidden: empty(),
            delta: empty(),
            wide: empty(),
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
        }
    }

    /// Cross-entropy in nats of each label of the batch, in order; no gradient.
    pub fn losses(
        &self,
        tape: &mut Tape<B>,
        adapter: Option<&Adapter<B>>,
        batch: &Batch,
    ) -> Vec<f32> {
        self.backend.enter(|| {
            self.forward(tape, adapter, batch, None);
            self.backend.head_loss(
                batch.tokens(),
                &tape.hidden,
                &self.head,
                &batch.labels,
                1.0,
                None,
            )
        })
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
        self.backend.enter(|| {
            self.forward(tape, Some(adapter), batch, step.dropout);
            let Tape { hidden, d_hidden, .. } = tape;
            let rows = batch.tokens();
            let losses = self.backend.head_loss(
                rows,
                hidden,
                &self.head,
                &batch.labels,
                step.scale,
                Some(d_hidden),
            );
            self.backward(tape, adapter, batch, step.dropout, gradient);
            losses
        })
    }

    fn forward(
        &self,
        tape: &mut Tape<B>,
        adapter: Option<&Adapter<B>>,
        batch: &Batch,
        dropout: Option<(f32, &[Stream])>,
    ) {
        let (rows, hidden_size, epsilon) =
            (batch.tokens(), self.config.hidden_size, self.config.rms_norm_epsilon);
        self.reserve_tape(tape, rows, adapter);
        let Tape { blocks, last, last_inverse, hidden, delta, wide, .. } = tape;
        for index in 0..blocks.len() {
            let (before, from) = blocks.split_at_mut(index);
            let kept = &mut from[0];
            match before.last() {
                None => self.backend.embed(&self.embedding, &batch.ids, &mut kept.input),
                Some(before) => {
                    self.backend.copy_rows(
                        &before.middle,
                        0..rows,
                        hidden_size,
                        &mut kept.input,
                        0,
                    );
                }
            }
            let pending = (index > 0).then_some(&*delta);
            let block = &self.blocks[index];
            let norm = &block.input_norm;
            self.backend.rms_norm(
                rows,
                &mut kept.input,
                pending,
                norm,
                epsilon,
                hidden,
                &mut kept.input_inverse,
            );
            let context = BlockContext { model: self, block, index, adapter, batch, dropout };
            context.forward(kept, hidden, delta, wide);
        }
        if let Some(top) = blocks.last() {
            self.backend.copy_rows(&top.middle, 0..rows, hidden_size, last, 0);
        }
        self.backend.rms_norm(
            rows,
            last,
            Some(delta),
            &self.final_norm,
            epsilon,
            hidden,
            last_inverse,
        );
    }

    fn backward(
        &self,
        tape: &mut Tape<B>,
        adapter: &Adapter<B>,
        batch: &Batch,
        dropout: Option<(f32, &[Stream])>,
        gradient: &mut B::Buffer,
    ) {
        let Some(lowest) = adapter.layout.lowest_block() else {
            return;
        };
        self.backend.clear(&mut tape.d_stream);
        let Tape { last, last_inverse, d_hidden, d_stream, .. } = tape;
        self.backend.rms_norm_backward(
            batch.tokens(),
            (last, last_inverse),
            &self.final_norm,
            d_hidden,
            d_stream,
        );
        for index in (lowest..self.blocks.len()).rev() {
            let block = &self.blocks[index];
            let context =
                BlockContext { model: self, block, index, adapter: Some(adapter), batch, dropout };
            context.backward(tape, index > lowest, gradient);
        }
    }

    fn reserve_tape(&self, tape: &mut Tape<B>, rows: usize, adapter: Option<&Adapter<B>>) {
        let config = &self.config;
        let rank = adapter.map_or(0, |adapter| adapter.config.rank);
        let low = |block: usize, projection: Projection| {
            let adapted =
                adapter.is_some_and(|adapter| adapter.layout.factors(block, projection).is_some());
            if adapted { rows * rank } else { 0 }
        };
        for (index, block) in tape.blocks.iter_mut().enumerate() {
            for (low_buffer, projection) in block.low.iter_mut().zip(Projection::ALL) {
                self.backend.reserve(low_buffer, low(index, projection));
            }
        }
        if rows <= tape.capacity {
            return;
        }
        tape.capacity = rows;
        let (hidden, wide) = (rows * config.hidden_size, rows * config.intermediate_size);
        let (query, narrow) = (rows * config.query_size(), rows * config.key_value_size());
        for block in &mut tape.blocks {
            for (buffer, length) in [
                (&mut block.input, hidden),
                (&mut block.input_inverse, rows),
                (&mut block.query, query),
                (&mut block.key, narrow),
                (&mut block.value, narrow),
                (&mut block.attended, query),
                (&mut block.log_sum_exp, rows * config.attention_heads),
                (&mut block.middle, hidden),
                (&mut block.middle_inverse, rows),
                (&mut block.gate, wide),
                (&mut block.up, wide),
            ] {
                self.backend.reserve(buffer, length);
            }
        }
        for (buffer, length) in [
            (&mut tape.last, hidden),
            (&mut tape.last_inverse, rows),
            (&mut tape.hidden, hidden),
            (&mut tape.delta, hidden),
            (&mut tape.wide, wide),
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

/// One block of one step.
struct BlockContext<'a, B: Backend> {
    model: &'a Llama<B>,
    block: &'a Block<B>,
    index: usize,
    adapter: Option<&'a Adapter<B>>,
    batch: &'a Batch,
    dropout: Option<(f32, &'a [Stream])>,
}

impl<B: Backend> BlockContext<'_, B> {
    /// From the normed input in `hidden` to the block's contribution in `delta`; `kept.middle` is the stream between.
    fn forward(
        &self,
        kept: &mut BlockTape<B>,
        hidden: &mut B::Buffer,
        delta: &mut B::Buffer,
        wide: &mut B::Buffer,
    ) {
        let (model, backend, rows) = (self.model, &self.model.backend, self.batch.tokens());
        let config = &model.config;
        let low = &mut kept.low;
        self.project(Projection::Query, hidden, &mut kept.query, low);
        self.project(Projection::Key, hidden, &mut kept.key, low);
        self.project(Projection::Value, hidden, &mut kept.value, low);
        let positions = &self.batch.positions;
        backend.rotate(
            &model.rotary,
            positions,
            config.query_size(),
            &mut kept.query,
            Turn::Forward,
        );
        backend.rotate(
            &model.rotary,
            positions,
            config.key_value_size(),
            &mut kept.key,
            Turn::Forward,
        );
        let (sequences, heads) = (&self.batch.sequences, model.heads());
        let BlockTape { query, key, value, attended, log_sum_exp, .. } = kept;
        backend.attention(heads, sequences, query, key, value, attended, log_sum_exp);
        self.project(Projection::Output, &kept.attended, delta, &mut kept.low);

        backend.copy_rows(&kept.input, 0..rows, config.hidden_size, &mut kept.middle, 0);
        let (norm, epsilon) = (&self.block.middle_norm, config.rms_norm_epsilon);
        backend.rms_norm(
            rows,
            &mut kept.middle,
            Some(delta),
            norm,
            epsilon,
            hidden,
            &mut kept.middle_inverse,
        );
        let low = &mut kept.low;
        self.project(Projection::Gate, hidden, &mut kept.gate, low);
        self.project(Projection::Up, hidden, &mut kept.up, low);
        backend.swiglu(rows * config.intermediate_size, &kept.gate, &kept.up, wide);
        self.project(Projection::Down, wide, delta, low);
    }

    /// From the gradient of the block's output in `tape.d_stream` to that of its input, in place.
    fn backward(&self, tape: &mut Tape<B>, needs_input_gradient: bool, gradient: &mut B::Buffer) {
        let (model, backend, rows) = (self.model, &self.model.backend, self.batch.tokens());
        let (config, epsilon) = (&model.config, model.config.rms_norm_epsilon);
        let length = rows * config.intermediate_size;
        let kept = &tape.blocks[self.index];
        let (hidden, wide) = (&mut tape.hidden, &mut tape.wide);
        let (d_stream, d_hidden) = (&mut tape.d_stream, &mut tape.d_hidden);
        let (d_gate, d_up) = (&mut tape.d_gate, &mut tape.d_up);

        backend.swiglu(length, &kept.gate, &kept.up, wide);
        let d_wide = &mut tape.d_wide;
        self.project_backward(
            Projection::Down,
            wide,
            kept,
            d_stream,
            gradient,
            Some(d_wide),
            false,
        );
        backend.swiglu_backward(length, &kept.gate, &kept.up, d_wide, [d_gate, d_up]);
        backend.rms_norm_again(rows, &kept.middle, &self.block.middle_norm, epsilon, hidden);
        self.project_backward(
            Projection::Gate,
            hidden,
            kept,
            d_gate,
            gradient,
            Some(d_hidden),
            false,
        );
        self.project_backward(Projection::Up, hidden, kept, d_up, gradient, Some(d_hidden), true);
        let norm = (&kept.middle, &kept.middle_inverse);
        backend.rms_norm_backward(rows, norm, &self.block.middle_norm, d_hidden, d_stream);

        let (d_attended, d_query) = (&mut tape.d_attended, &mut tape.d_query);
        let (d_key, d_value) = (&mut tape.d_key, &mut tape.d_value);
        self.project_backward(
            Projection::Output,
            &kept.attended,
            kept,
            d_stream,
            gradient,
            Some(d_attended),
            false,
        );
        let attention = AttentionKept {
            query: &kept.query,
            key: &kept.key,
            value: &kept.value,
            out: &kept.attended,
            log_sum_exp: &kept.log_sum_exp,
        };
        let gradients = [&mut *d_query, &mut *d_key, &mut *d_value];
        backend.attention_backward(
            model.heads(),
            &self.batch.sequences,
            attention,
            d_attended,
            gradients,
        );
        let positions = &self.batch.positions;
        backend.rotate(&model.rotary, positions, config.query_size(), d_query, Turn::Backward);
        backend.rotate(&model.rotary, positions, config.key_value_size(), d_key, Turn::Backward);
        backend.rms_norm_again(rows, &kept.input, &self.block.input_norm, epsilon, hidden);
        for (projection, d_y, accumulate) in [
            (Projection::Query, &*d_query, false),
            (Projection::Key, &*d_key, true),
            (Projection::Value, &*d_value, true),
        ] {
            let d_x = needs_input_gradient.then_some(&mut *d_hidden);
            self.project_backward(projection, hidden, kept, d_y, gradient, d_x, accumulate);
        }
        if needs_input_gradient {
            let norm = (&kept.input, &kept.input_inverse);
            backend.rms_norm_backward(rows, norm, &self.block.input_norm, d_hidden, d_stream);
        }
    }

    fn project(
        &self,
        projection: Projection,
        x: &B::Buffer,
        y: &mut B::Buffer,
        low: &mut [B::Buffer; 7],
    ) {
        let matrix = &self.block.projections[projection as usize];
        let streams = self.streams(projection);
        let adapted = self.adapted(projection, &streams);
        let adapters = adapted.as_slice();
        let kept = Some(&mut low[projection as usize]);
        self.model.backend.project(self.batch.tokens(), x, matrix, adapters, y, kept);
    }

    fn project_backward(
        &self,
        projection: Projection,
        x: &B::Buffer,
        kept: &BlockTape<B>,
        d_y: &B::Buffer,
        gradient: &mut B::Buffer,
        d_x: Option<&mut B::Buffer>,
        accumulate: bool,
    ) {
        let matrix = &self.block.projections[projection as usize];
        let streams = self.streams(projection);
        let adapted = self.adapted(projection, &streams);
        let low = &kept.low[projection as usize];
        let adapter = adapted.as_ref().map(|adapted| (adapted, Projected { x, low }));
        let rows = self.batch.tokens();
        self.model.backend.project_backward(rows, matrix, adapter, d_y, gradient, d_x, accumulate);
    }

    fn adapted<'s>(
        &'s self,
        projection: Projection,
        streams: &'s [(Range<usize>, Stream)],
    ) -> Option<Adapted<'s, B>> {
        let adapter = self.adapter?;
        Some(Adapted {
            parameters: &adapter.parameters,
            factors: adapter.layout.factors(self.index, projection)?,
            scale: adapter.config.scale(),
            rows: 0..self.batch.tokens(),
            dropout: self.dropout.map(|(probability, _)| (probability, streams)),
        })
    }

    /// The dropout streams of this block and projection, one for each sequence.
    fn streams(&self, projection: Projection) -> Vec<(Range<usize>, Stream)> {
        let Some((_, streams)) = self.dropout else {
            return Vec::new();
        };
        let place = (self.index * Projection::ALL.len() + projection as usize) as u64;
        self.batch
            .sequences
            .iter()
            .cloned()
            .zip(streams.iter().map(|stream| stream.fork(place)))
            .collect()
    }
}
