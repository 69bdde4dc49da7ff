//! One block of a training step: [`BlockContext`] runs it forward, keeping what its backward needs, and backward.

use std::borrow::Cow;

use bioinstruct_core::random::Stream;

use super::training::{Batch, BlockTape, Tape, Working};
use super::{Block, Llama};
use crate::backend::{Adapted, AttentionKept, Backend, Dropout, Phase, Projected, Projecting};
use crate::lora::{Adapter, Projection};

/// One block of one step.
pub(super) struct BlockContext<'a, B: Backend> {
    pub(super) model: &'a Llama<B>,
    pub(super) block: &'a Block<B>,
    pub(super) index: usize,
    pub(super) adapter: Option<&'a Adapter<B>>,
    pub(super) batch: &'a Batch,
    /// In the last block: the rows that it goes on with after its attention, as no other is read behind it.
    pub(super) late: Option<&'a [usize]>,
    pub(super) dropout: Option<(f32, Stream)>,
}

impl<B: Backend> BlockContext<'_, B> {
    /// From the normed input in `tape.hidden` to the block's contribution in `tape.delta`; what the backward reads goes to
    /// the block's place, whose `middle` is the stream between.
    pub(super) fn forward(&self, tape: &mut Tape<B>) {
        self.forward_to_gate_and_up(tape);
        let (rows, place) = (self.rows(Projection::Down), tape.place(self.index));
        let Tape { blocks, wide, delta, working: Working { gate, up, .. }, .. } = tape;
        let BlockTape { gate_up, low, .. } = &mut blocks[place];
        self.projecting([Projection::Down], [delta], low, |projecting| {
            let down = &mut projecting[0];
            self.model.backend.swiglu_project(rows, [gate, up], gate_up, wide, down);
        });
    }

    /// Fills the place of the block as [`BlockContext::forward`] did, from the block's input alone.
    pub(super) fn forward_again(&self, tape: &mut Tape<B>) {
        let backend = &self.model.backend;
        let Tape { inputs, hidden, .. } = tape;
        let (norm, epsilon) = (&self.block.input_norm, self.model.config.rms_norm_epsilon);
        let input = &inputs[self.index].stream;
        backend.rms_norm_again(self.batch.rows(), input, norm, epsilon, hidden);
        // What the block gave to the next is not read again, only what an adapter keeps of its last product.
        if self.any_adapted(&[Projection::Down]) {
            self.forward(tape);
        } else {
            self.forward_to_gate_and_up(tape);
            let place = tape.place(self.index);
            let Working { gate, up, .. } = &mut tape.working;
            tape.blocks[place].gate_up.keep(backend, self.gated(), [gate, up]);
        }
    }

    /// Up to the inputs of SwiGLU, which are then in `tape.working`.
    fn forward_to_gate_and_up(&self, tape: &mut Tape<B>) {
        let (model, backend, rows) = (self.model, &self.model.backend, self.batch.rows());
        let (config, place) = (&model.config, tape.place(self.index));
        let Tape { inputs, blocks, hidden, delta, wide, turned, working, .. } = tape;
        let Working { value, attended, gate, up } = working;
        let kept = &mut blocks[place];
        let low = &mut kept.low;
        let outputs = [&mut kept.query, &mut kept.key, &mut *value];
        self.project([Projection::Query, Projection::Key, Projection::Value], hidden, outputs, low);
        let positions = &self.batch.positions;
        if self.block.head_norms.is_none() {
            model.norm_and_turn(self.block, positions, &mut kept.query, &mut kept.key);
        }
        let (sequences, heads) = (&self.batch.sequences, model.heads());
        let BlockTape { query, key, log_sum_exp, .. } = kept;
        let [query, key] = model.turned(self.block, positions, [&*query, &*key], turned);
        let precision = model.options.precision;
        let written = [&mut *attended, log_sum_exp];
        backend.attention(precision, heads, sequences, query, key, value, written);
        let BlockTape { middle, middle_inverse, low, .. } = kept;
        let (norm, epsilon) = (&self.block.middle_norm, config.rms_norm_epsilon);
        let stream = &inputs[self.index].stream;
        if let Some(late) = self.late {
            backend.gather_rows(attended, late, config.query_size(), wide);
            backend.gather_rows(stream, late, config.hidden_size, middle);
            self.project([Projection::Output], wide, [&mut *delta], low);
            let count = late.len();
            backend.rms_norm(count, middle, Some(delta), norm, epsilon, hidden, middle_inverse);
        } else {
            self.project([Projection::Output], attended, [&mut *delta], low);
            let parts = [stream, &*delta];
            backend.rms_norm_of_sum(rows, parts, middle, norm, epsilon, hidden, middle_inverse);
        }
        kept.value.keep(backend, rows * config.key_value_size(), [value]);
        kept.attended.keep(backend, rows * config.query_size(), [attended]);
        self.project([Projection::Gate, Projection::Up], hidden, [gate, up], low);
    }

    /// From the gradient of the block's output in `tape.d_stream` to that of its input, in place.
    pub(super) fn backward(
        &self,
        tape: &mut Tape<B>,
        needs_input_gradient: bool,
        gradient: &mut B::Buffer,
    ) {
        let (model, backend, rows) = (self.model, &self.model.backend, self.batch.rows());
        let (config, epsilon) = (&model.config, model.config.rms_norm_epsilon);
        let (late_rows, length) = (self.rows(Projection::Up), self.gated());
        let (input, kept) = (&tape.inputs[self.index], &tape.blocks[tape.place(self.index)]);
        let (hidden, wide, working) = (&mut tape.hidden, &mut tape.wide, &mut tape.working);
        let (d_stream, d_hidden) = (&mut tape.d_stream, &mut tape.d_hidden);
        let (d_gate, d_up) = (&mut tape.d_gate, &mut tape.d_up);

        // A product's input is read for the gradient of its adapter alone.
        if self.any_adapted(&[Projection::Down]) {
            backend.swiglu(length, &kept.gate_up, wide);
        }
        let d_wide = &mut tape.d_wide;
        self.project_backward([Projection::Down], wide, kept, [&*d_stream], gradient, Some(d_wide));
        let projections = [Projection::Gate, Projection::Up];
        if self.any_adapted(&projections) {
            let (middle, norm) = (&kept.middle, &self.block.middle_norm);
            backend.rms_norm_again(late_rows, middle, norm, epsilon, hidden);
            backend.swiglu_backward(length, &kept.gate_up, d_wide, [&mut *d_gate, &mut *d_up]);
            let (d_y, d_x) = ([&*d_gate, &*d_up], Some(&mut *d_hidden));
            self.project_backward(projections, hidden, kept, d_y, gradient, d_x);
        } else {
            let matrices = projections.map(|one| &self.block.projections[one as usize]);
            backend.swiglu_project_backward(late_rows, &kept.gate_up, d_wide, matrices, d_hidden);
        }
        let norm = (&kept.middle, &kept.middle_inverse);
        backend.rms_norm_backward(late_rows, norm, &self.block.middle_norm, d_hidden, d_stream);

        let (d_attended, d_query) = (&mut tape.d_attended, &mut tape.d_query);
        let (d_key, d_value) = (&mut tape.d_key, &mut tape.d_value);
        let (length, d_y) = (rows * config.query_size(), [&*d_stream]);
        let attended = kept.attended.read(backend, length, &mut working.attended);
        let (output, d_x) = ([Projection::Output], Some(&mut *d_attended));
        if let Some(late) = self.late {
            backend.gather_rows(attended, late, config.query_size(), wide);
            self.project_backward(output, wide, kept, d_y, gradient, d_x);
            backend.spread_rows(d_attended, late, config.query_size(), rows);
            backend.spread_rows(d_stream, late, config.hidden_size, rows);
        } else {
            self.project_backward(output, attended, kept, d_y, gradient, d_x);
        }
        let positions = &self.batch.positions;
        let projected = [&kept.query, &kept.key];
        let [query, key] = model.turned(self.block, positions, projected, &mut tape.turned);
        let length = rows * config.key_value_size();
        let attention = AttentionKept {
            query,
            key,
            value: kept.value.read(backend, length, &mut working.value),
            out: attended,
            log_sum_exp: &kept.log_sum_exp,
        };
        let gradients = [&mut *d_query, &mut *d_key, &mut *d_value];
        backend.attention_backward(
            model.options.precision,
            model.heads(),
            &self.batch.sequences,
            attention,
            d_attended,
            gradients,
        );
        let gradients = [&mut *d_query, &mut *d_key];
        model.norm_and_turn_backward(self.block, positions, projected, gradients);
        let projections = [Projection::Query, Projection::Key, Projection::Value];
        if self.any_adapted(&projections) {
            backend.rms_norm_again(rows, &input.stream, &self.block.input_norm, epsilon, hidden);
        }
        let d_y = [&*d_query, &*d_key, &*d_value];
        let d_x = needs_input_gradient.then_some(&mut *d_hidden);
        self.project_backward(projections, hidden, kept, d_y, gradient, d_x);
        if needs_input_gradient {
            let norm = (&input.stream, &input.inverse);
            backend.rms_norm_backward(rows, norm, &self.block.input_norm, d_hidden, d_stream);
        }
    }

    fn project<const N: usize>(
        &self,
        projections: [Projection; N],
        x: &B::Buffer,
        outputs: [&mut B::Buffer; N],
        low: &mut [B::Buffer; 7],
    ) {
        let rows = self.rows(projections[0]);
        self.projecting(projections, outputs, low, |projecting| {
            self.model.backend.project(Phase::Train, rows, x, projecting);
        });
    }

    /// Lets `run` compute projections, and adds their biases where they have some.
    fn projecting<const N: usize>(
        &self,
        projections: [Projection; N],
        outputs: [&mut B::Buffer; N],
        low: &mut [B::Buffer; 7],
        run: impl FnOnce(&mut [Projecting<'_, B>]),
    ) {
        let names = self.names(projections[0]);
        let adapted = projections.map(|projection| self.adapted(projection, &names));
        let low = low
            .get_disjoint_mut(projections.map(|projection| projection as usize))
            .expect("projections of one call differ");
        let mut projecting: Vec<Projecting<'_, B>> = projections
            .into_iter()
            .zip(outputs.into_iter().zip(low))
            .zip(&adapted)
            .map(|((projection, (y, low)), adapted)| Projecting {
                matrix: &self.block.projections[projection as usize],
                adapters: adapted.as_slice(),
                y,
                kept: Some(low),
            })
            .collect();
        run(&mut projecting);
        let place = (self.block, self.rows(projections[0]));
        self.model.add_biases(place, projections, &mut projecting);
    }

    fn project_backward<const N: usize>(
        &self,
        projections: [Projection; N],
        x: &B::Buffer,
        kept: &BlockTape<B>,
        d_y: [&B::Buffer; N],
        gradient: &mut B::Buffer,
        d_x: Option<&mut B::Buffer>,
    ) {
        let names = self.names(projections[0]);
        let adapted = projections.map(|projection| self.adapted(projection, &names));
        let projected: Vec<Projected<'_, B>> = projections
            .into_iter()
            .zip(d_y)
            .zip(&adapted)
            .map(|((projection, d_y), adapted)| Projected {
                matrix: &self.block.projections[projection as usize],
                adapter: adapted.as_ref().map(|adapted| (adapted, &kept.low[projection as usize])),
                d_y,
            })
            .collect();
        let rows = self.rows(projections[0]);
        self.model.backend.project_backward(rows, x, &projected, gradient, d_x);
    }

    /// How many rows go through a projection.
    fn rows(&self, projection: Projection) -> usize {
        use Projection::{Down, Gate, Output, Up};
        let late = self.late.filter(|_| matches!(projection, Output | Gate | Up | Down));
        late.map_or(self.batch.rows(), <[usize]>::len)
    }

    /// How many values of gate, and of up, the block computes.
    fn gated(&self) -> usize {
        self.rows(Projection::Up) * self.model.config.intermediate_size
    }

    fn any_adapted(&self, projections: &[Projection]) -> bool {
        projections.iter().any(|projection| self.adapted(*projection, &[]).is_some())
    }

    fn adapted<'s>(&'s self, projection: Projection, rows: &'s [u64]) -> Option<Adapted<'s, B>> {
        let adapter = self.adapter?;
        let place = (self.index * Projection::ALL.len() + projection as usize) as u64;
        Some(Adapted {
            parameters: &adapter.parameters,
            norms: &adapter.norms,
            factors: adapter.layout.factors(self.index, projection)?,
            rows: 0..self.rows(projection),
            dropout: self.dropout.map(|(probability, stream)| {
                let stream = stream.fork(place);
                Dropout { probability, stream, rows }
            }),
        })
    }

    /// The names of the rows that go through a projection.
    fn names(&self, projection: Projection) -> Cow<'_, [u64]> {
        let names = &self.batch.names;
        match self.late {
            Some(late) if self.rows(projection) < names.len() => {
                late.iter().map(|row| names[*row]).collect()
            }
            _ => Cow::Borrowed(names),
        }
    }
}
