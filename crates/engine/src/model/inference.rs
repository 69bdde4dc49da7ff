//! Running the network over sequences that grow: each has a [`Cache`] of keys and values, and may have its own adapter.

use std::ops::Range;

use super::Llama;
pub use super::cache::Cache;
use crate::backend::{Adapted, Backend, CachedRows, Phase, Projecting};
use crate::lora::{Adapter, Projection};

/// New tokens of one sequence.
#[derive(Debug)]
pub struct Extension<'a, B: Backend> {
    /// The tokens to add; at least one, and no more than the context has room for.
    pub ids: &'a [u32],
    /// What came before; the new tokens are added to it.
    pub cache: &'a mut Cache<B>,
    /// Which adapter runs; none is the base.
    pub adapter: Option<&'a Adapter<B>>,
}

/// Buffers of one run, kept between calls.
#[derive(Debug)]
pub struct Workspace<B: Backend> {
    stream: B::Buffer,
    delta: B::Buffer,
    hidden: B::Buffer,
    inverse: B::Buffer,
    query: B::Buffer,
    key: B::Buffer,
    value: B::Buffer,
    attended: B::Buffer,
    gate: B::Buffer,
    up: B::Buffer,
}

impl<B: Backend> Workspace<B> {
    /// Empty buffers; they grow to what is asked of them.
    pub fn new(backend: &B) -> Self {
        let empty = || backend.zeros(0);
        Self {
            stream: empty(),
            delta: empty(),
            hidden: empty(),
            inverse: empty(),
            query: empty(),
            key: empty(),
            value: empty(),
            attended: empty(),
            gate: empty(),
            up: empty(),
        }
    }
}

impl<B: Backend> Llama<B> {
    /// Adds tokens to each sequence. Afterwards the workspace holds the last hidden states of the `wanted` rows, which ascend,
    /// of all new tokens, the sequences one after the other: [`Llama::logits`] reads them. The last block computes no others
    /// behind its attention.
    ///
    /// A sequence's results are the same bits alone, in any batch, and in pieces.
    pub fn extend(
        &self,
        work: &mut Workspace<B>,
        phase: Phase,
        sequences: &mut [Extension<'_, B>],
        wanted: &[usize],
    ) {
        let ids: Vec<u32> =
            sequences.iter().flat_map(|sequence| sequence.ids.iter().copied()).collect();
        let rows = rows_of(sequences);
        let positions: Vec<u32> = sequences
            .iter()
            .flat_map(|sequence| {
                (0..sequence.ids.len()).map(|at| (sequence.cache.length() + at) as u32)
            })
            .collect();
        let shape = (self.config.layers, self.config.key_value_size());
        for Extension { ids, cache, .. } in sequences.iter_mut() {
            let length = cache.length() + ids.len();
            assert!(length <= self.context_length(), "{length} tokens exceed the context");
            cache.make_room(&self.backend, shape, ids.len());
        }
        self.reserve(work, ids.len());
        self.backend.embed(&self.embedding, &ids, &mut work.stream);
        for block in 0..self.blocks.len() {
            let late = (block + 1 == self.blocks.len()).then_some(wanted);
            self.run_block(work, sequences, &rows, &positions, (phase, block), late);
        }
        for sequence in sequences {
            sequence.cache.advance(sequence.ids.len());
        }
        let Workspace { stream, delta, hidden, inverse, .. } = work;
        let epsilon = self.config.rms_norm_epsilon;
        self.backend.rms_norm(
            wanted.len(),
            stream,
            Some(delta),
            &self.final_norm,
            epsilon,
            hidden,
            inverse,
        );
    }

    fn run_block(
        &self,
        work: &mut Workspace<B>,
        sequences: &mut [Extension<'_, B>],
        rows: &[Range<usize>],
        positions: &[u32],
        (phase, block): (Phase, usize),
        late: Option<&[usize]>,
    ) {
        let weights = &self.blocks[block];
        let (backend, epsilon, count) =
            (&self.backend, self.config.rms_norm_epsilon, positions.len());
        let Workspace { stream, delta, hidden, inverse, query, key, value, attended, gate, up } =
            work;

        let before = (block > 0).then_some(&*delta);
        backend.rms_norm(count, stream, before, &weights.input_norm, epsilon, hidden, inverse);
        let [q, k, v] = [Projection::Query, Projection::Key, Projection::Value];
        let outputs = [(q, &mut *query), (k, &mut *key), (v, &mut *value)];
        self.project((phase, block, count), hidden, outputs, sequences, rows);
        self.norm_and_turn(weights, positions, query, key);
        let heads = self.heads();
        for (sequence, rows) in sequences.iter_mut().zip(rows) {
            sequence.cache.put(backend, (heads, block), (&*key, &*value), rows.clone());
        }
        let cached: Vec<CachedRows<'_, B>> = sequences
            .iter()
            .zip(rows)
            .map(|(sequence, rows)| {
                let (keys, values) = sequence.cache.pages(block);
                CachedRows { rows: rows.clone(), past: sequence.cache.length(), keys, values }
            })
            .collect();
        let precision = self.options.precision;
        backend.attention_cached(precision, phase, heads, &cached, query, attended);
        let mut late_rows = Vec::new();
        let (mut count, mut rows) = (count, rows);
        if let Some(late) = late.filter(|late| late.len() < count) {
            // Queries and the normed input have been read.
            backend.gather_rows(attended, late, self.config.query_size(), query);
            std::mem::swap(attended, query);
            backend.gather_rows(stream, late, self.config.hidden_size, hidden);
            std::mem::swap(stream, hidden);
            let place = |row: usize| late.partition_point(|late| *late < row);
            late_rows.extend(rows.iter().map(|rows| place(rows.start)..place(rows.end)));
            (count, rows) = (late.len(), &late_rows);
        }
        let outputs = [(Projection::Output, &mut *delta)];
        self.project((phase, block, count), attended, outputs, sequences, rows);

        backend.rms_norm(
            count,
            stream,
            Some(delta),
            &weights.middle_norm,
            epsilon,
            hidden,
            inverse,
        );
        let outputs = [(Projection::Gate, &mut *gate), (Projection::Up, &mut *up)];
        self.project((phase, block, count), hidden, outputs, sequences, rows);
        backend.swiglu_in_place(count * self.config.intermediate_size, gate, up);
        let outputs = [(Projection::Down, &mut *delta)];
        self.project((phase, block, count), gate, outputs, sequences, rows);
    }

    /// Projections of one block that read the same `x`, each with its bias and the sequences' adapters.
    fn project<const N: usize>(
        &self,
        (phase, block, count): (Phase, usize, usize),
        x: &B::Buffer,
        outputs: [(Projection, &mut B::Buffer); N],
        sequences: &[Extension<'_, B>],
        rows: &[Range<usize>],
    ) {
        let projections: [Projection; N] = std::array::from_fn(|at| outputs[at].0);
        let adapters =
            projections.map(|projection| adapters_of(sequences, rows, block, projection));
        let block = &self.blocks[block];
        let mut projecting: Vec<Projecting<'_, B>> = outputs
            .into_iter()
            .zip(&adapters)
            .map(|((projection, y), adapters)| {
                let matrix = &block.projections[projection as usize];
                Projecting { matrix, adapters, y, kept: None }
            })
            .collect();
        self.backend.project(phase, count, x, &mut projecting);
        self.add_biases((block, count), projections, &mut projecting);
    }

    /// Logits of some rows that the last [`Llama::extend`] was asked for, by their places among these: (places, vocabulary).
    pub fn logits(&self, work: &Workspace<B>, phase: Phase, places: &[usize]) -> Vec<f32> {
        self.backend.logits(phase, &work.hidden, &self.head, places)
    }

    fn reserve(&self, work: &mut Workspace<B>, tokens: usize) {
        let config = &self.config;
        let (hidden, wide) = (tokens * config.hidden_size, tokens * config.intermediate_size);
        let (query, narrow) = (tokens * config.query_size(), tokens * config.key_value_size());
        for (buffer, length) in [
            (&mut work.stream, hidden),
            (&mut work.delta, hidden),
            (&mut work.hidden, hidden),
            (&mut work.inverse, tokens),
            (&mut work.query, query),
            (&mut work.key, narrow),
            (&mut work.value, narrow),
            (&mut work.attended, query),
            (&mut work.gate, wide),
            (&mut work.up, wide),
        ] {
            self.backend.reserve(buffer, length);
        }
    }
}

fn rows_of<B: Backend>(sequences: &[Extension<'_, B>]) -> Vec<Range<usize>> {
    let mut end = 0;
    sequences
        .iter()
        .map(|sequence| {
            end += sequence.ids.len();
            end - sequence.ids.len()..end
        })
        .collect()
}

/// The adapters of one projection; neighbouring sequences with the same adapter are one stretch of rows.
fn adapters_of<'a, B: Backend>(
    sequences: &[Extension<'a, B>],
    rows: &[Range<usize>],
    block: usize,
    projection: Projection,
) -> Vec<Adapted<'a, B>> {
    let mut adapters: Vec<Adapted<'a, B>> = Vec::new();
    for (sequence, rows) in sequences.iter().zip(rows) {
        let Some(adapter) = sequence.adapter else {
            continue;
        };
        let Some(factors) = adapter.layout.factors(block, projection) else {
            continue;
        };
        match adapters.last_mut() {
            Some(last)
                if std::ptr::eq(last.parameters, &raw const adapter.parameters)
                    && last.rows.end == rows.start =>
            {
                last.rows.end = rows.end;
            }
            _ => adapters.push(Adapted {
                parameters: &adapter.parameters,
                norms: &adapter.norms,
                factors,
                rows: rows.clone(),
                dropout: None,
            }),
        }
    }
    adapters
}
