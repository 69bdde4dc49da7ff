//! The processor as a [`Backend`]: each method calls the operation of its name.
//!
//! Long because it is the one implementation of one trait, a few lines for each operation.

use std::ops::Range;
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::{
    AdamW, Adapted, AttentionKept, Backend, CachedRows, Factors, Heads, Kept, PAGE_TOKENS, Phase,
    Projected, Projecting, RotaryTable, Sequence, SequenceStreams, Turn,
};
use crate::error::EngineError;
use crate::format::TensorView;
use crate::kernels::KernelPath;
use crate::kernels::lanes::{Lane, Precision};
use crate::kernels::threads::Threads;
use crate::ops::project::{LowRank, Magnitude, Matrix, Scratch};
use crate::ops::{
    adamw, attention, bias, halves, head_loss, head_norm, neftune, project, rms_norm, rope, swiglu,
};

/// A matrix in main memory.
pub type CpuMatrix = Matrix;

/// Main memory and a pool of threads.
#[derive(Debug)]
pub struct Cpu {
    path: KernelPath,
    threads: Threads,
    scratch: Mutex<Work>,
}

/// Buffers that operations share.
#[derive(Debug, Default)]
struct Work {
    project: Scratch,
    gathered: Vec<f32>,
    head: head_loss::Scratch,
    d_gathered: Vec<f32>,
    log_sum_exp: Vec<f32>,
    together: attention::Together,
    operands: attention::Operands,
}

impl Cpu {
    /// The fastest kernels of this processor (or those that the environment forces), on `threads` threads; zero takes all.
    pub fn new(threads: usize) -> Result<Self, EngineError> {
        Self::with_path(KernelPath::choose()?, threads)
    }

    /// As [`Cpu::new`], with kernels that multiply in 32 bits: to compare two models, of which rounded operands would be a
    /// greater difference than the one that is looked for.
    pub fn in_32_bits(threads: usize) -> Result<Self, EngineError> {
        Self::with_path(KernelPath::choose()?.in_32_bits(), threads)
    }

    /// These kernels on `threads` threads.
    pub fn with_path(path: KernelPath, threads: usize) -> Result<Self, EngineError> {
        if !path.available() {
            return Err(EngineError::KernelPath { name: path.name().to_owned() });
        }
        Ok(Self { path, threads: Threads::new(threads)?, scratch: Mutex::new(Work::default()) })
    }

    /// Bytes of the operands that calls lay out: of projections, and of the head.
    pub fn scratch_bytes(&self) -> (usize, usize) {
        let work = self.work();
        let gathered = (work.gathered.len() + work.d_gathered.len()) * size_of::<f32>();
        let attention = work.together.bytes() + work.operands.bytes();
        (work.project.bytes() + attention, gathered + work.head.bytes())
    }

    /// How many threads compute.
    pub fn threads(&self) -> usize {
        self.threads.count()
    }

    fn context(&self) -> (KernelPath, &Threads) {
        (self.path, &self.threads)
    }

    fn work(&self) -> MutexGuard<'_, Work> {
        self.scratch.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Makes room for `length` values; a longer buffer stays as it is.
fn grow<T: Clone + Default>(buffer: &mut Vec<T>, length: usize) {
    if buffer.len() < length {
        buffer.resize(length, T::default());
    }
}

impl Backend for Cpu {
    type Buffer = Vec<f32>;
    type Halves = Vec<u16>;
    type Matrix = CpuMatrix;

    fn kernels(&self) -> String {
        format!("cpu-{}", self.path.name())
    }

    fn on_host<T: Send>(&self, items: &mut [T], work: impl Fn(&mut T) + Sync) {
        self.threads.for_rows(items, 1, 1, |_, items| items.iter_mut().for_each(&work));
    }

    fn zeros(&self, length: usize) -> Vec<f32> {
        vec![0.0; length]
    }

    fn reserve(&self, buffer: &mut Vec<f32>, length: usize) {
        grow(buffer, length);
    }

    fn buffer_bytes(&self, buffer: &Vec<f32>) -> usize {
        buffer.len() * size_of::<f32>()
    }

    fn upload(&self, values: &[f32]) -> Vec<f32> {
        values.to_vec()
    }

    fn download(&self, buffer: &Vec<f32>, range: Range<usize>) -> Vec<f32> {
        buffer[range].to_vec()
    }

    fn clear(&self, buffer: &mut Vec<f32>) {
        buffer.fill(0.0);
    }

    fn add(&self, target: &mut Vec<f32>, source: &Vec<f32>) {
        target.iter_mut().zip(source).for_each(|(target, source)| *target += source);
    }

    fn gather_rows(&self, source: &Vec<f32>, rows: &[usize], width: usize, target: &mut Vec<f32>) {
        gather(source, width, rows.iter().copied(), target);
    }

    fn spread_rows(&self, buffer: &mut Vec<f32>, rows: &[usize], width: usize, count: usize) {
        let mut end = count;
        // From the last on: no row moves forward, so none is overwritten before it has moved.
        for (from, to) in rows.iter().enumerate().rev() {
            buffer[(to + 1) * width..end * width].fill(0.0);
            buffer.copy_within(from * width..(from + 1) * width, to * width);
            end = *to;
        }
        buffer[..end * width].fill(0.0);
    }

    fn copy_rows(
        &self,
        source: &Vec<f32>,
        rows: Range<usize>,
        width: usize,
        target: &mut Vec<f32>,
        at: usize,
    ) {
        let length = rows.len() * width;
        target[at * width..][..length].copy_from_slice(&source[rows.start * width..][..length]);
    }

    fn put_in_page(
        &self,
        heads: Heads,
        source: &Vec<f32>,
        rows: Range<usize>,
        page: &mut Vec<f32>,
        at: usize,
    ) {
        let (size, width) = (heads.size, heads.key_value_width());
        let rows = &source[rows.start * width..rows.end * width];
        for (number, row) in rows.chunks_exact(width).enumerate() {
            for (head, values) in row.chunks_exact(size).enumerate() {
                page[(head * PAGE_TOKENS + at + number) * size..][..size].copy_from_slice(values);
            }
        }
    }

    fn reserve_halves(&self, halves: &mut Vec<u16>, length: usize) {
        grow(halves, length);
    }

    fn halves_bytes(&self, halves: &Vec<u16>) -> usize {
        halves.len() * size_of::<u16>()
    }

    fn round(&self, length: usize, values: &Vec<f32>, halves: &mut Vec<u16>) {
        halves::round(self.context(), &values[..length], &mut halves[..length]);
    }

    fn widen(&self, length: usize, halves: &Vec<u16>, values: &mut Vec<f32>) {
        halves::widen(self.context(), &halves[..length], &mut values[..length]);
    }

    fn matrix(&self, tensor: &TensorView, precision: Precision) -> Matrix {
        Matrix::new(&self.threads, tensor, precision)
    }

    fn matrix_bytes(&self, matrix: &Matrix) -> usize {
        matrix.bytes()
    }

    fn embed(&self, table: &Matrix, ids: &[u32], out: &mut Vec<f32>) {
        for (id, out) in ids.iter().zip(out.chunks_exact_mut(table.input)) {
            table.row(*id as usize, out);
        }
    }

    fn add_noise(
        &self,
        alpha: f32,
        sequences: SequenceStreams<'_>,
        width: usize,
        x: &mut Vec<f32>,
    ) {
        neftune::add_noise(&self.threads, alpha, sequences, width, x);
    }

    fn rms_norm(
        &self,
        rows: usize,
        stream: &mut Vec<f32>,
        delta: Option<&Vec<f32>>,
        weight: &Vec<f32>,
        epsilon: f32,
        out: &mut Vec<f32>,
        inverse_rms: &mut Vec<f32>,
    ) {
        let stream = &mut stream[..rows * weight.len()];
        rms_norm::forward(
            self.context(),
            stream,
            delta.map(Vec::as_slice),
            (weight, epsilon),
            out,
            inverse_rms,
        );
    }

    fn rms_norm_of_sum(
        &self,
        rows: usize,
        parts: [&Vec<f32>; 2],
        stream: &mut Vec<f32>,
        weight: &Vec<f32>,
        epsilon: f32,
        out: &mut Vec<f32>,
        inverse_rms: &mut Vec<f32>,
    ) {
        let (parts, stream) = (parts.map(Vec::as_slice), &mut stream[..rows * weight.len()]);
        let norm = (weight.as_slice(), epsilon);
        rms_norm::forward_of_sum(self.context(), parts, stream, norm, out, inverse_rms);
    }

    fn rms_norm_again(
        &self,
        rows: usize,
        stream: &Vec<f32>,
        weight: &Vec<f32>,
        epsilon: f32,
        out: &mut Vec<f32>,
    ) {
        rms_norm::again(self.context(), &stream[..rows * weight.len()], (weight, epsilon), out);
    }

    fn rms_norm_backward(
        &self,
        rows: usize,
        (stream, inverse_rms): (&Vec<f32>, &Vec<f32>),
        weight: &Vec<f32>,
        d_out: &Vec<f32>,
        d_stream: &mut Vec<f32>,
    ) {
        let d_stream = &mut d_stream[..rows * weight.len()];
        rms_norm::backward(self.context(), (stream, inverse_rms), weight, d_out, d_stream);
    }

    fn project(
        &self,
        phase: Phase,
        rows: usize,
        x: &Vec<f32>,
        projections: &mut [Projecting<'_, Self>],
    ) {
        let mut layers: Vec<project::Forward<'_>> =
            projections.iter_mut().map(forward_layer).collect();
        let scratch = &mut self.work().project;
        project::forward(self.context(), scratch, phase, (rows, x), &mut layers);
    }

    fn project_backward(
        &self,
        rows: usize,
        x: &Vec<f32>,
        projections: &[Projected<'_, Self>],
        gradient: &mut Vec<f32>,
        d_x: Option<&mut Vec<f32>>,
    ) {
        let factors =
            projections.iter().filter_map(|projection| Some(projection.adapter?.0.factors));
        let ranges = factors.flat_map(|factors| {
            let magnitude = factors.magnitude.as_ref().map(|place| place.values.clone());
            [Some(factors.a.clone()), Some(factors.b.clone()), magnitude].into_iter().flatten()
        });
        let mut parts = split(gradient, ranges).into_iter();
        let mut layers: Vec<project::Backward<'_>> = projections
            .iter()
            .map(|projection| project::Backward {
                matrix: projection.matrix,
                d_y: projection.d_y,
                adapter: projection.adapter.and_then(|(adapter, kept)| {
                    let (d_a, d_b) = (parts.next()?, parts.next()?);
                    let factors = low_rank(adapter);
                    let d_magnitude = factors.magnitude.and_then(|_| parts.next());
                    Some(project::AdapterBackward { factors, kept, d_a, d_b, d_magnitude })
                }),
            })
            .collect();
        let scratch = &mut self.work().project;
        let d_x = d_x.map(|d_x| &mut d_x[..]);
        project::backward(self.context(), scratch, rows, x, &mut layers, d_x);
    }

    fn add_bias(&self, rows: usize, bias: &Vec<f32>, y: &mut Vec<f32>) {
        bias::add(&self.threads, bias, &mut y[..rows * bias.len()]);
    }

    fn head_norm(&self, length: usize, weight: &Vec<f32>, epsilon: f32, x: &mut Vec<f32>) {
        head_norm::forward(self.context(), (weight, epsilon), &mut x[..length]);
    }

    fn head_norm_backward(
        &self,
        length: usize,
        x: &Vec<f32>,
        weight: &Vec<f32>,
        epsilon: f32,
        d_x: &mut Vec<f32>,
    ) {
        head_norm::backward(self.context(), (weight, epsilon), &x[..length], &mut d_x[..length]);
    }

    fn row_norms(
        &self,
        matrix: &Matrix,
        parameters: &Vec<f32>,
        factors: &Factors,
        norms: &mut Vec<f32>,
    ) {
        let Some(place) = &factors.magnitude else { return };
        let (a, b) = (&parameters[factors.a.clone()], &parameters[factors.b.clone()]);
        let norms = &mut norms[place.norms.clone()];
        project::row_norms(self.context(), matrix, (a, b, factors.scale), norms);
    }

    fn rotate(
        &self,
        table: &RotaryTable,
        positions: &[u32],
        width: usize,
        x: &mut Vec<f32>,
        turn: Turn,
    ) {
        rope::rotate(
            &self.threads,
            table,
            positions,
            width,
            &mut x[..positions.len() * width],
            turn,
        );
    }

    fn attention(
        &self,
        precision: Precision,
        heads: Heads,
        sequences: &[Sequence],
        query: &Vec<f32>,
        key: &Vec<f32>,
        value: &Vec<f32>,
        [out, log_sum_exp]: [&mut Vec<f32>; 2],
    ) {
        let (read, written) = ([&query[..], key, value], [&mut out[..], log_sum_exp]);
        let lane = Lane::of(self.path, precision);
        let (context, mut work) = (self.context(), self.work());
        let Work { together, operands, .. } = &mut *work;
        together.forward(context, (lane, operands), heads, sequences, read, written);
    }

    fn attention_cached(
        &self,
        precision: Precision,
        phase: Phase,
        heads: Heads,
        sequences: &[CachedRows<'_, Self>],
        query: &Vec<f32>,
        out: &mut Vec<f32>,
    ) {
        let attended: Vec<attention::Attended<'_>> = sequences
            .iter()
            .map(|CachedRows { rows, past, keys, values }| {
                let [keys, values] = [keys, values].map(|pages| {
                    attention::KeyRows::Paged(pages.iter().map(|page| page.as_slice()).collect())
                });
                attention::Attended { rows: rows.clone(), past: *past, keys, values }
            })
            .collect();
        if phase == Phase::Decode {
            return attention::decode(self.context(), heads, query, &attended, out);
        }
        let rows = sequences.iter().map(|sequence| sequence.rows.end).max().unwrap_or(0);
        let (mut work, lane) = (self.work(), Lane::of(self.path, precision));
        let Work { operands, log_sum_exp, .. } = &mut *work;
        self.reserve(log_sum_exp, rows * heads.query);
        let products = (lane, operands);
        attention::forward(self.context(), products, heads, query, &attended, out, log_sum_exp);
    }

    fn attention_backward(
        &self,
        precision: Precision,
        heads: Heads,
        sequences: &[Sequence],
        kept: AttentionKept<'_, Self>,
        d_out: &Vec<f32>,
        [query, key, value]: [&mut Vec<f32>; 3],
    ) {
        let AttentionKept { query: q, key: k, value: v, out, log_sum_exp } = kept;
        let kept = attention::Kept { query: q, key: k, value: v, out, log_sum_exp };
        let gradients = attention::Gradients { query, key, value };
        let (mut work, lane) = (self.work(), Lane::of(self.path, precision));
        let Work { together, operands, .. } = &mut *work;
        let products = (lane, operands);
        together.backward(self.context(), products, heads, sequences, kept, d_out, gradients);
    }

    fn swiglu(&self, length: usize, gate_up: &Kept<Self, 2>, out: &mut Vec<f32>) {
        let (context, out) = (self.context(), &mut out[..length]);
        match gate_up {
            Kept::Whole(values) => swiglu::forward(context, slices(values), out),
            Kept::Halves(values) => swiglu::forward(context, slices(values), out),
        }
    }

    fn swiglu_project(
        &self,
        rows: usize,
        gate_up: [&mut Vec<f32>; 2],
        kept: &mut Kept<Self, 2>,
        wide: &mut Vec<f32>,
        projection: &mut Projecting<'_, Self>,
    ) {
        let length = rows * projection.matrix.input;
        let halves = match kept {
            Kept::Whole(_) => None,
            Kept::Halves(halves) => Some(halves.each_mut().map(|halves| &mut halves[..length])),
        };
        let [gate, up] = gate_up.each_ref().map(|values| &values[..length]);
        if projection.adapters.iter().any(|adapter| adapter.dropout.is_some()) {
            // What is dropped is taken from x itself.
            let out = &mut wide[..length];
            match halves {
                None => swiglu::forward(self.context(), [gate, up], out),
                Some(halves) => swiglu::forward_rounding(self.context(), [gate, up], out, halves),
            }
            self.project(Phase::Train, rows, wide, std::slice::from_mut(projection));
        } else {
            let (layer, scratch) = (forward_layer(projection), &mut self.work().project);
            project::forward_gated(self.context(), scratch, rows, [gate, up], halves, layer);
        }
        if matches!(kept, Kept::Whole(_)) {
            kept.keep(self, length, gate_up);
        }
    }

    fn swiglu_in_place(&self, length: usize, gate: &mut Vec<f32>, up: &Vec<f32>) {
        swiglu::forward_in_place(self.context(), &mut gate[..length], up);
    }

    fn swiglu_backward(
        &self,
        length: usize,
        gate_up: &Kept<Self, 2>,
        d_out: &Vec<f32>,
        gradients: [&mut Vec<f32>; 2],
    ) {
        let context = self.context();
        let gradients = gradients.map(|gradient| &mut gradient[..length]);
        match gate_up {
            Kept::Whole(values) => swiglu::backward(context, slices(values), d_out, gradients),
            Kept::Halves(values) => swiglu::backward(context, slices(values), d_out, gradients),
        }
    }

    fn swiglu_project_backward(
        &self,
        rows: usize,
        gate_up: &Kept<Self, 2>,
        d_out: &Vec<f32>,
        matrices: [&Matrix; 2],
        d_x: &mut Vec<f32>,
    ) {
        let (context, scratch) = (self.context(), &mut self.work().project);
        match gate_up {
            Kept::Whole(values) => {
                let values = slices(values);
                project::backward_gated(context, scratch, rows, values, d_out, matrices, d_x);
            }
            Kept::Halves(values) => {
                let values = slices(values);
                project::backward_gated(context, scratch, rows, values, d_out, matrices, d_x);
            }
        }
    }

    fn logits(&self, phase: Phase, hidden: &Vec<f32>, head: &Matrix, rows: &[usize]) -> Vec<f32> {
        let mut logits = vec![0.0; rows.len() * head.out];
        let mut work = self.work();
        let Work { project, gathered, .. } = &mut *work;
        let gathered = gather(hidden, head.input, rows.iter().copied(), gathered);
        let (matrix, adapters, kept) = (head, Vec::new(), None);
        let mut layers = [project::Forward { matrix, adapters, y: &mut logits, kept }];
        project::forward(self.context(), project, phase, (rows.len(), gathered), &mut layers);
        logits
    }

    fn head_loss(
        &self,
        rows: usize,
        hidden: &Vec<f32>,
        head: &Matrix,
        labels: &[(usize, u32)],
        scale: f32,
        d_hidden: Option<&mut Vec<f32>>,
    ) -> Vec<f32> {
        let mut work = self.work();
        let Work { gathered, head: scratch, d_gathered, .. } = &mut *work;
        let width = head.input;
        let x = gather(hidden, width, labels.iter().map(|(row, _)| *row), gathered);
        let words: Vec<u32> = labels.iter().map(|(_, word)| *word).collect();
        let d_x = d_hidden.as_ref().map(|_| {
            grow(d_gathered, labels.len() * width);
            &mut d_gathered[..labels.len() * width]
        });
        let losses = head_loss::head_loss(self.context(), scratch, head, (x, &words), scale, d_x);
        if let Some(d_hidden) = d_hidden {
            d_hidden[..rows * width].fill(0.0);
            // Sequences that share a row may each have a label there.
            for ((row, _), gradient) in labels.iter().zip(d_gathered.chunks_exact(width)) {
                let sum = &mut d_hidden[row * width..][..width];
                sum.iter_mut().zip(gradient).for_each(|(sum, gradient)| *sum += gradient);
            }
        }
        losses
    }

    fn norm(&self, values: &Vec<f32>) -> f64 {
        adamw::norm(values)
    }

    fn adamw(
        &self,
        settings: AdamW,
        range: Range<usize>,
        parameters: &mut Vec<f32>,
        gradient: &Vec<f32>,
        mean: &mut Vec<f32>,
        square: &mut Vec<f32>,
    ) {
        let [parameters, mean, square] =
            [parameters, mean, square].map(|values| &mut values[range.clone()]);
        adamw::update(&self.threads, settings, parameters, &gradient[range], mean, square);
    }
}

fn slices<T>(buffers: &[Vec<T>; 2]) -> [&[T]; 2] {
    buffers.each_ref().map(Vec::as_slice)
}

fn forward_layer<'a>(projection: &'a mut Projecting<'_, Cpu>) -> project::Forward<'a> {
    let kept = |one: &Adapted<'_, Cpu>| one.factors.kept(one.rows.len());
    let length = projection.adapters.first().map_or(0, kept);
    project::Forward {
        matrix: projection.matrix,
        adapters: projection.adapters.iter().map(low_rank).collect(),
        y: projection.y.as_mut_slice(),
        kept: projection.kept.as_deref_mut().map(|kept| &mut kept[..length]),
    }
}

fn low_rank<'a>(adapter: &'a Adapted<'_, Cpu>) -> LowRank<'a> {
    LowRank {
        a: &adapter.parameters[adapter.factors.a.clone()],
        b: &adapter.parameters[adapter.factors.b.clone()],
        rank: adapter.factors.rank,
        scale: adapter.factors.scale,
        magnitude: adapter.factors.magnitude.as_ref().map(|place| Magnitude {
            values: &adapter.parameters[place.values.clone()],
            norms: &adapter.norms[place.norms.clone()],
        }),
        first_row: adapter.rows.start,
        rows: adapter.rows.len(),
        dropout: adapter.dropout,
    }
}

/// Parts of a buffer; the ranges ascend, as the factors of a block's projections do.
fn split(buffer: &mut [f32], ranges: impl Iterator<Item = Range<usize>>) -> Vec<&mut [f32]> {
    let (mut rest, mut offset) = (buffer, 0);
    let mut parts = Vec::new();
    for range in ranges {
        let (_, from) = std::mem::take(&mut rest).split_at_mut(range.start - offset);
        let (part, after) = from.split_at_mut(range.len());
        parts.push(part);
        (rest, offset) = (after, range.end);
    }
    parts
}

/// These rows one after the other, at the beginning of `out`.
fn gather<'a>(
    source: &[f32],
    width: usize,
    rows: impl ExactSizeIterator<Item = usize>,
    out: &'a mut Vec<f32>,
) -> &'a [f32] {
    let length = rows.len() * width;
    if out.len() < length {
        out.resize(length, 0.0);
    }
    let out = &mut out[..length];
    for (row, out) in rows.zip(out.chunks_exact_mut(width)) {
        out.copy_from_slice(&source[row * width..(row + 1) * width]);
    }
    out
}
