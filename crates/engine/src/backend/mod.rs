//! The boundary to a device: models, trainer and sampler are written against [`Backend`], and host slices appear only in
//! `upload` and `download`.
//!
//! Operations are cut where a device would fuse them: norm with the residual before it, a projection with its adapters,
//! attention as a whole, the head with the loss. [`Cpu`] is the readable implementation; a GPU would be another.

mod cpu;
pub mod cpu_memory;
mod kept;

use std::fmt::Debug;
use std::ops::Range;

use bioinstruct_core::random::Stream;

pub use crate::ops::adamw::AdamW;
pub use crate::ops::attention::{Heads, PAGE_TOKENS, Sequence, keys_and_pairs, laid_out};
pub use crate::ops::rope::{RotaryTable, Turn};
pub use cpu::{Cpu, CpuMatrix};
pub use kept::Kept;

use crate::format::TensorView;
use crate::kernels::lanes::Precision;

/// What a pass is for. For one kernel path, logits and losses are the same bits within a phase, whatever the batch; gradients are
/// those of the whole batch, in which rows may be taken together ([`Backend::head_loss`]).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// Forward and backward over whole sequences.
    Train,
    /// Reading tokens that are given: prompts, and texts to score.
    Prefill,
    /// Reading one chosen token of each sequence.
    Decode,
}

/// An adapter's factors of one projection inside a flat buffer of parameters.
#[derive(Debug, Clone, PartialEq)]
pub struct Factors {
    /// Where A (rank, in) lies.
    pub a: Range<usize>,
    /// Where B (out, rank) lies.
    pub b: Range<usize>,
    /// Inner size.
    pub rank: usize,
    /// What multiplies B A x: alpha / rank, with rsLoRA alpha / √rank.
    pub scale: f32,
    /// DoRA's magnitudes.
    pub magnitude: Option<MagnitudePlace>,
}

impl Factors {
    /// How many values a training step keeps of so many rows: the inner values, with magnitudes also the outer ones.
    pub fn kept(&self, rows: usize) -> usize {
        rows * (self.rank + self.magnitude.as_ref().map_or(0, |place| place.values.len()))
    }
}

/// Where the magnitudes of one projection lie, one for each row of its matrix.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MagnitudePlace {
    /// In the parameters.
    pub values: Range<usize>,
    /// In the buffer of row lengths.
    pub norms: Range<usize>,
}

/// Dropout of an adapter's input in one layer and projection.
#[derive(Debug, Clone, Copy)]
pub struct Dropout<'a> {
    /// Share of values set to zero, below 1.
    pub probability: f32,
    /// What decides on them.
    pub stream: Stream,
    /// The name of each row's draws: [`Batch::names`](crate::model::training::Batch::names).
    pub rows: &'a [u64],
}

/// Rows and random stream of each sequence of a batch.
pub type SequenceStreams<'a> = &'a [(Range<usize>, Stream)];

/// One adapter's part in a projection.
#[derive(Debug)]
pub struct Adapted<'a, B: Backend> {
    /// All parameters of the adapter.
    pub parameters: &'a B::Buffer,
    /// All lengths of rows that DoRA divides by.
    pub norms: &'a B::Buffer,
    /// This projection's factors.
    pub factors: &'a Factors,
    /// The rows of the batch it acts on.
    pub rows: Range<usize>,
    /// In training only.
    pub dropout: Option<Dropout<'a>>,
}

/// One of the projections that are computed together.
#[derive(Debug)]
pub struct Projecting<'a, B: Backend> {
    /// The frozen weights (out, in).
    pub matrix: &'a B::Matrix,
    /// Adapters, each on rows of its own.
    pub adapters: &'a [Adapted<'a, B>],
    /// Receives x Wᵀ plus each adapter's part (rows, out).
    pub y: &'a mut B::Buffer,
    /// Receives what the backward needs of the one adapter of a training step: [`Factors::kept`] values.
    pub kept: Option<&'a mut B::Buffer>,
}

/// One of the projections whose backward is computed together.
#[derive(Debug)]
pub struct Projected<'a, B: Backend> {
    /// The frozen weights (out, in).
    pub matrix: &'a B::Matrix,
    /// The adapter, which acts on all rows, and what its forward kept.
    pub adapter: Option<(&'a Adapted<'a, B>, &'a B::Buffer)>,
    /// (rows, out).
    pub d_y: &'a B::Buffer,
}

/// A sequence's rows in the batch and the cache that already holds their keys and values.
#[derive(Debug)]
pub struct CachedRows<'a, B: Backend> {
    /// Rows of the batch.
    pub rows: Range<usize>,
    /// Tokens before the first of them.
    pub past: usize,
    /// [Pages](Backend::put_in_page) that hold past + rows tokens at least.
    pub keys: Vec<&'a B::Buffer>,
    /// Likewise.
    pub values: Vec<&'a B::Buffer>,
}

/// Buffers of one attention layer kept for its backward.
#[derive(Debug)]
pub struct AttentionKept<'a, B: Backend> {
    /// (tokens, query width), turned.
    pub query: &'a B::Buffer,
    /// (tokens, key-value width), turned.
    pub key: &'a B::Buffer,
    /// (tokens, key-value width).
    pub value: &'a B::Buffer,
    /// (tokens, query width).
    pub out: &'a B::Buffer,
    /// (tokens, query heads).
    pub log_sum_exp: &'a B::Buffer,
}

/// A device that computes. Buffers hold 32-bit floats; operations read and write their first values, whatever their length
/// beyond that.
pub trait Backend: Send + Sync + Sized + Debug {
    /// Values on the device.
    type Buffer: Send + Sync + Debug;
    /// Values on the device that are kept in 16 bits, as bfloat16.
    type Halves: Default + Send + Sync + Debug;
    /// A frozen matrix on the device.
    type Matrix: Send + Sync + Debug;

    /// What computes, for manifests: results are repeatable for one name.
    fn kernels(&self) -> String;

    /// Runs host work on each item, on as many threads as the device has.
    fn on_host<T: Send>(&self, items: &mut [T], work: impl Fn(&mut T) + Sync);

    /// A buffer of zeros.
    fn zeros(&self, length: usize) -> Self::Buffer;
    /// Makes room for `length` values; a longer buffer stays as it is.
    fn reserve(&self, buffer: &mut Self::Buffer, length: usize);
    /// Bytes a buffer takes.
    fn buffer_bytes(&self, buffer: &Self::Buffer) -> usize;
    /// Copies to the device.
    fn upload(&self, values: &[f32]) -> Self::Buffer;
    /// Copies from the device.
    fn download(&self, buffer: &Self::Buffer, range: Range<usize>) -> Vec<f32>;
    /// Overwrites everything with zeros.
    fn clear(&self, buffer: &mut Self::Buffer);
    /// target += source.
    fn add(&self, target: &mut Self::Buffer, source: &Self::Buffer);
    /// Copies the chosen rows of `width` values, one after the other, to the beginning of `target`.
    fn gather_rows(
        &self,
        source: &Self::Buffer,
        rows: &[usize],
        width: usize,
        target: &mut Self::Buffer,
    );
    /// Moves the first rows of `buffer` to the chosen places, which ascend, among `count` rows; the other rows become zero.
    fn spread_rows(&self, buffer: &mut Self::Buffer, rows: &[usize], width: usize, count: usize);
    /// Copies rows of `width` values to row `at` of `target`.
    fn copy_rows(
        &self,
        source: &Self::Buffer,
        rows: Range<usize>,
        width: usize,
        target: &mut Self::Buffer,
        at: usize,
    );

    /// Copies rows of keys or values (rows, key-value width) to token `at` and those behind it of a page: (key-value heads,
    /// [`PAGE_TOKENS`], head size).
    fn put_in_page(
        &self,
        heads: Heads,
        source: &Self::Buffer,
        rows: Range<usize>,
        page: &mut Self::Buffer,
        at: usize,
    );

    /// As [`Backend::reserve`].
    fn reserve_halves(&self, halves: &mut Self::Halves, length: usize);
    /// As [`Backend::buffer_bytes`].
    fn halves_bytes(&self, halves: &Self::Halves) -> usize;
    /// Rounds the first `length` values, ties to even.
    fn round(&self, length: usize, values: &Self::Buffer, halves: &mut Self::Halves);
    /// The first `length` values again.
    fn widen(&self, length: usize, halves: &Self::Halves, values: &mut Self::Buffer);

    /// Puts a stored matrix on the device.
    fn matrix(&self, tensor: &TensorView, precision: Precision) -> Self::Matrix;
    /// Bytes a matrix takes.
    fn matrix_bytes(&self, matrix: &Self::Matrix) -> usize;

    /// `out` (tokens, hidden): rows `ids` of the table.
    fn embed(&self, table: &Self::Matrix, ids: &[u32], out: &mut Self::Buffer);
    /// Adds to each sequence's rows of `x` (tokens, width) uniform noise of up to alpha / √(tokens · width): NEFTune.
    fn add_noise(
        &self,
        alpha: f32,
        sequences: SequenceStreams<'_>,
        width: usize,
        x: &mut Self::Buffer,
    );

    /// `stream` += `delta`, then `out` = norm; keeps 1 / rms.
    fn rms_norm(
        &self,
        rows: usize,
        stream: &mut Self::Buffer,
        delta: Option<&Self::Buffer>,
        weight: &Self::Buffer,
        epsilon: f32,
        out: &mut Self::Buffer,
        inverse_rms: &mut Self::Buffer,
    );
    /// `stream` = the sum of both `parts`, then as [`Backend::rms_norm`].
    fn rms_norm_of_sum(
        &self,
        rows: usize,
        parts: [&Self::Buffer; 2],
        stream: &mut Self::Buffer,
        weight: &Self::Buffer,
        epsilon: f32,
        out: &mut Self::Buffer,
        inverse_rms: &mut Self::Buffer,
    );
    /// Computes the norm's output again from what was kept.
    fn rms_norm_again(
        &self,
        rows: usize,
        stream: &Self::Buffer,
        weight: &Self::Buffer,
        epsilon: f32,
        out: &mut Self::Buffer,
    );
    /// Adds the gradient of the norm's input to `d_stream`.
    fn rms_norm_backward(
        &self,
        rows: usize,
        kept: (&Self::Buffer, &Self::Buffer),
        weight: &Self::Buffer,
        d_out: &Self::Buffer,
        d_stream: &mut Self::Buffer,
    );

    /// Computes projections that read the same `x` (rows, in).
    fn project(
        &self,
        phase: Phase,
        rows: usize,
        x: &Self::Buffer,
        projections: &mut [Projecting<'_, Self>],
    );
    /// Adds the factors' gradients to `gradient`, and stores in `d_x` the input gradient of all projections together.
    fn project_backward(
        &self,
        rows: usize,
        x: &Self::Buffer,
        projections: &[Projected<'_, Self>],
        gradient: &mut Self::Buffer,
        d_x: Option<&mut Self::Buffer>,
    );

    /// Adds the bias to each row of `y` (rows, out). Its gradient passes through.
    fn add_bias(&self, rows: usize, bias: &Self::Buffer, y: &mut Self::Buffer);
    /// Norms each head of the first `length` values of `x` in place; the weight has a head's size.
    fn head_norm(&self, length: usize, weight: &Self::Buffer, epsilon: f32, x: &mut Self::Buffer);
    /// Turns the gradient of that norm's output into that of its input `x`, in place.
    fn head_norm_backward(
        &self,
        length: usize,
        x: &Self::Buffer,
        weight: &Self::Buffer,
        epsilon: f32,
        d_x: &mut Self::Buffer,
    );
    /// Stores the lengths of the rows of W + s B A where the factors have a place for them; nothing without magnitudes.
    fn row_norms(
        &self,
        matrix: &Self::Matrix,
        parameters: &Self::Buffer,
        factors: &Factors,
        norms: &mut Self::Buffer,
    );

    /// Turns the heads of `x` (rows, width) by their positions.
    fn rotate(
        &self,
        table: &RotaryTable,
        positions: &[u32],
        width: usize,
        x: &mut Self::Buffer,
        turn: Turn,
    );

    /// Attention of whole sequences, which may share the rows of what they begin with: the output, and the log-sum-exp of its
    /// scores. Its products are those of weights of this precision.
    fn attention(
        &self,
        precision: Precision,
        heads: Heads,
        sequences: &[Sequence],
        query: &Self::Buffer,
        key: &Self::Buffer,
        value: &Self::Buffer,
        written: [&mut Self::Buffer; 2],
    );
    /// Attention over cached keys and values; rows that no sequence names are left alone.
    fn attention_cached(
        &self,
        precision: Precision,
        phase: Phase,
        heads: Heads,
        sequences: &[CachedRows<'_, Self>],
        query: &Self::Buffer,
        out: &mut Self::Buffer,
    );
    /// Replaces the gradients of queries, keys and values.
    fn attention_backward(
        &self,
        precision: Precision,
        heads: Heads,
        sequences: &[Sequence],
        kept: AttentionKept<'_, Self>,
        d_out: &Self::Buffer,
        gradients: [&mut Self::Buffer; 3],
    );

    /// `out` = gate · σ(gate) · up, the first `length` values, of what was kept.
    fn swiglu(&self, length: usize, gate_up: &Kept<Self, 2>, out: &mut Self::Buffer);
    /// Computes a projection of gate · σ(gate) · up (rows, in) in training, and keeps gate and up. What they are afterwards is of
    /// no meaning, nor what `wide` is, which has room for the product.
    fn swiglu_project(
        &self,
        rows: usize,
        gate_up: [&mut Self::Buffer; 2],
        kept: &mut Kept<Self, 2>,
        wide: &mut Self::Buffer,
        projection: &mut Projecting<'_, Self>,
    );
    /// `gate` = gate · σ(gate) · up, the first `length` values.
    fn swiglu_in_place(&self, length: usize, gate: &mut Self::Buffer, up: &Self::Buffer);
    /// Replaces the gradients of gate and up.
    fn swiglu_backward(
        &self,
        length: usize,
        gate_up: &Kept<Self, 2>,
        d_out: &Self::Buffer,
        gradients: [&mut Self::Buffer; 2],
    );
    /// Stores in `d_x` the input gradient of the projections that gave gate and up (rows, out), where neither has an adapter.
    fn swiglu_project_backward(
        &self,
        rows: usize,
        gate_up: &Kept<Self, 2>,
        d_out: &Self::Buffer,
        matrices: [&Self::Matrix; 2],
        d_x: &mut Self::Buffer,
    );

    /// Logits of the chosen rows: (chosen, vocabulary), on the host.
    fn logits(
        &self,
        phase: Phase,
        hidden: &Self::Buffer,
        head: &Self::Matrix,
        rows: &[usize],
    ) -> Vec<f32>;
    /// Cross-entropy in nats of each labelled row (row, token id), in order. Where `d_hidden` is given, its first `rows`
    /// rows become the gradient of `scale` · Σ losses; unless the head's
    /// precision is [`Precision::F32`], words that no row gives much may be taken together.
    fn head_loss(
        &self,
        rows: usize,
        hidden: &Self::Buffer,
        head: &Self::Matrix,
        labels: &[(usize, u32)],
        scale: f32,
        d_hidden: Option<&mut Self::Buffer>,
    ) -> Vec<f32>;

    /// The Euclidean norm, in a fixed order.
    fn norm(&self, values: &Self::Buffer) -> f64;
    /// One optimizer step of the values in `range`.
    fn adamw(
        &self,
        settings: AdamW,
        range: Range<usize>,
        parameters: &mut Self::Buffer,
        gradient: &Self::Buffer,
        mean: &mut Self::Buffer,
        square: &mut Self::Buffer,
    );
}
