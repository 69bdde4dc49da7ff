//! Frozen linear layers with low-rank adapters: y = x Wᵀ + s · (drop(x) Aᵀ) Bᵀ.
//!
//! W is (out, in), A is (rank, in), B is (out, rank), as in PEFT (Hu et al. 2021). Layers that read the same x are computed
//! together ([`forward`], [`backward`]), and an adapter's part is a second term of its layer's product. Dropout acts on the
//! adapter's input only; what it drops is drawn again in the backward, so nothing of it is stored, and is taken from finished
//! products: see `dropped.rs`. With magnitudes the sum of both is stretched row by row: see `dora.rs`.

mod backward;
mod dora;
mod dropout;
mod dropped;
mod few;
mod gated;
mod matrix;

pub use self::backward::{AdapterBackward, Backward, backward};
pub use self::dora::{Magnitude, row_norms};
pub use self::dropout::Dropout;
use self::dropped::{Turned, take_from_low};
pub use self::dropped::{task_values, turned_values};
use self::few::{few_blocks, few_floats};
pub use self::gated::{backward_gated, forward_gated};
pub use self::matrix::Matrix;
use crate::backend::Phase;
use crate::kernels::KernelPath;
use crate::kernels::gemm::{LeftBuffer, Output, Product, Term, multiply};
use crate::kernels::lanes::Lane;
use crate::kernels::quantised::QuantisedRows;
use crate::kernels::source::{Direction, Source, Values};
use crate::kernels::threads::Threads;

/// Rows of a task that changes what is put into lanes.
const CHANGED_ROWS: usize = 32;

/// One adapter's factors of one projection, and the rows of the batch it acts on.
#[derive(Debug, Clone, Copy)]
pub struct LowRank<'a> {
    /// (rank, in).
    pub a: &'a [f32],
    /// (out, rank).
    pub b: &'a [f32],
    /// Inner size.
    pub rank: usize,
    /// s: alpha / rank, with rsLoRA alpha / √rank.
    pub scale: f32,
    /// With DoRA.
    pub magnitude: Option<Magnitude<'a>>,
    /// First row.
    pub first_row: usize,
    /// Number of rows.
    pub rows: usize,
    /// In training only; the adapter then acts on all rows.
    pub dropout: Option<Dropout<'a>>,
}

impl<'a> LowRank<'a> {
    /// With DoRA and dropout the frozen weights see x' and x − x' apart.
    fn is_parted(&self) -> bool {
        self.magnitude.is_some() && self.dropout.is_some()
    }

    /// Dropout that is taken from finished products.
    fn taken(&self) -> Option<Dropout<'a>> {
        self.dropout.filter(|_| self.magnitude.is_none())
    }

    /// What products with A are multiplied by.
    fn gain(&self) -> f32 {
        self.scale * self.taken().map_or(1.0, |dropout| dropout.keep())
    }
}

/// Buffers that calls share, so that no step allocates.
#[derive(Debug, Default)]
pub struct Scratch {
    x: LeftBuffer,
    quantised: QuantisedRows,
    stored: Vec<f32>,
    adapters: Vec<AdapterScratch>,
}

/// Buffers of one adapter's part.
#[derive(Debug, Default)]
struct AdapterScratch {
    /// DoRA's m / n.
    gains: Vec<f32>,
    /// DoRA's unstretched outputs, where there is dropout.
    z: Vec<f32>,
    /// x', with DoRA and dropout.
    dropped: Vec<f32>,
    dropped_lanes: LeftBuffer,
    /// What dropout takes from x.
    rest_lanes: LeftBuffer,
    low: Vec<f32>,
    low_lanes: LeftBuffer,
    turned_lanes: LeftBuffer,
    /// The gradient of W x.
    d_y_lanes: LeftBuffer,
    /// The gradient of the adapter's part; with DoRA another one.
    d_z_lanes: LeftBuffer,
    /// The gradient of W x', with DoRA and dropout.
    d_dropped_lanes: LeftBuffer,
    kept_lanes: LeftBuffer,
    d_b: Vec<f32>,
    /// A, where dropout is taken from its products.
    turned: Turned,
    /// What tasks take from the gradient of A.
    taken: Vec<f32>,
}

impl Scratch {
    /// Bytes that training holds in it.
    pub fn bytes(&self) -> usize {
        let adapter = |buffers: &AdapterScratch| {
            let AdapterScratch { gains, z, dropped, low, d_b, turned, taken, .. } = buffers;
            let AdapterScratch { dropped_lanes, rest_lanes, low_lanes, turned_lanes, .. } = buffers;
            let AdapterScratch { d_y_lanes, d_z_lanes, d_dropped_lanes, kept_lanes, .. } = buffers;
            let lanes = [
                dropped_lanes,
                rest_lanes,
                low_lanes,
                turned_lanes,
                d_y_lanes,
                d_z_lanes,
                d_dropped_lanes,
                kept_lanes,
            ];
            let values = [gains, z, dropped, low, d_b, taken].map(Vec::len).iter().sum::<usize>();
            values * size_of::<f32>()
                + turned.bytes()
                + lanes.map(LeftBuffer::bytes).iter().sum::<usize>()
        };
        self.x.bytes() + self.adapters.iter().map(adapter).sum::<usize>()
    }
}

/// One layer of a forward call.
#[derive(Debug)]
pub struct Forward<'a> {
    /// The frozen weights.
    pub matrix: &'a Matrix,
    /// Adapters, each on rows of its own.
    pub adapters: Vec<LowRank<'a>>,
    /// (rows, out).
    pub y: &'a mut [f32],
    /// Receives s · drop(x) Aᵀ (rows, rank) of the only adapter, for the backward; with magnitudes then also z (rows, out).
    pub kept: Option<&'a mut [f32]>,
}

/// Computes layers that read the same `x` (rows, in).
pub fn forward(
    (path, threads): (KernelPath, &Threads),
    scratch: &mut Scratch,
    phase: Phase,
    (rows, x): (usize, &[f32]),
    layers: &mut [Forward<'_>],
) {
    let Some(first) = layers.first() else { return };
    let (lane, input) = (Lane::of(path, first.matrix.precision()), first.matrix.input);
    let x = &x[..rows * input];
    let Scratch { x: x_lanes, quantised, stored, .. } = scratch;
    let decodes = phase == Phase::Decode;
    let few = decodes
        && (few_blocks((path, threads), (quantised, stored), rows, x, layers)
            || few_floats((path, threads), (rows, x), layers));
    if !few || layers.iter().any(|layer| !layer.adapters.is_empty()) {
        x_lanes.put((path, threads), lane, x, input);
    }
    forward_of_lanes((path, threads), lane, scratch, few, (rows, input, x), layers);
}

/// Goes on where x is in lanes, and where `few` has computed the frozen parts.
fn forward_of_lanes(
    (path, threads): (KernelPath, &Threads),
    lane: Lane,
    scratch: &mut Scratch,
    few: bool,
    (rows, input, x): (usize, usize, &[f32]),
    layers: &mut [Forward<'_>],
) {
    let Scratch { x: x_lanes, adapters: buffers, .. } = scratch;
    let adapters: Vec<LowRank<'_>> =
        layers.iter().flat_map(|layer| layer.adapters.iter().copied()).collect();
    buffers.resize_with(buffers.len().max(adapters.len()), AdapterScratch::default);
    for (adapter, buffer) in adapters.iter().zip(&mut *buffers) {
        buffer.part_input((path, threads), lane, adapter, (input, x));
    }
    inner_values((path, threads), lane, (input, x, x_lanes), &adapters, buffers);

    multiply((path, threads), lane, &mut outer_products(rows, few, x_lanes, layers, buffers));
    stretch_outputs(threads, rows, layers, buffers);
}

/// `low` (rows, rank) = s · drop(x) Aᵀ of each adapter, as values and as lanes.
fn inner_values(
    context: (KernelPath, &Threads),
    lane: Lane,
    (input, x, x_lanes): (usize, &[f32], &LeftBuffer),
    adapters: &[LowRank<'_>],
    buffers: &mut [AdapterScratch],
) {
    let inner = adapters.iter().zip(&mut *buffers).map(|(adapter, buffer)| {
        let AdapterScratch { dropped_lanes, low, .. } = buffer;
        let left = if adapter.is_parted() {
            dropped_lanes.left()
        } else {
            x_lanes.left().from_row(adapter.first_row)
        };
        let right = Source::new(Values::F32(adapter.a), input, Direction::Transposed);
        let terms = vec![Term { left, right, first_row: 0, rows: adapter.rows }];
        let LowRank { rank, rows, .. } = *adapter;
        Product { c: resized(low, rows * rank), n: rank, rows, terms, output: Output::Store }
    });
    multiply(context, lane, &mut inner.collect::<Vec<_>>());
    for (adapter, buffer) in adapters.iter().zip(buffers) {
        let low = &mut buffer.low[..adapter.rows * adapter.rank];
        if let Some(dropout) = adapter.taken() {
            take_from_low(context, (adapter, dropout), &mut buffer.turned, x, low);
        }
        scale(low, adapter.gain());
        buffer.low_lanes.put(context, lane, low, adapter.rank);
    }
}

/// The products that give `y`, and `z` where dropout parts x; the frozen part is left out where `few` has stored it.
fn outer_products<'a>(
    rows: usize,
    few: bool,
    x_lanes: &'a LeftBuffer,
    layers: &'a mut [Forward<'_>],
    buffers: &'a mut [AdapterScratch],
) -> Vec<Product<'a>> {
    let mut buffers = buffers.iter_mut();
    let mut products = Vec::with_capacity(layers.len());
    for layer in layers {
        let (n, right) = (layer.matrix.out, layer.matrix.source(Direction::Transposed));
        let mut frozen = Term { left: x_lanes.left(), right, first_row: 0, rows };
        let mut low_terms = Vec::with_capacity(layer.adapters.len());
        for adapter in &layer.adapters {
            let Some(buffer) = buffers.next() else { break };
            let LowRank { b, rank, first_row, rows: count, .. } = *adapter;
            if let Some(kept) = layer.kept.as_deref_mut() {
                kept[..count * rank].copy_from_slice(&buffer.low[..count * rank]);
            }
            let right = Source::new(Values::F32(b), rank, Direction::Transposed);
            let low = Term { left: buffer.low_lanes.left(), right, first_row, rows: count };
            if adapter.is_parted() {
                frozen.left = buffer.rest_lanes.left();
                let terms = vec![Term { left: buffer.dropped_lanes.left(), ..frozen }, low];
                let c = resized(&mut buffer.z, rows * n);
                products.push(Product { c, n, rows, terms, output: Output::Store });
            } else {
                low_terms.push(low);
            }
        }
        let terms = if few { low_terms } else { [vec![frozen], low_terms].concat() };
        let output = if few { Output::Add } else { Output::Store };
        products.push(Product { c: layer.y, n, rows, terms, output });
    }
    products
}

/// DoRA's last step, on the rows of each adapter with magnitudes.
fn stretch_outputs(
    threads: &Threads,
    rows: usize,
    layers: &mut [Forward<'_>],
    buffers: &mut [AdapterScratch],
) {
    let mut buffers = buffers.iter_mut();
    for layer in layers {
        for adapter in &layer.adapters {
            let Some(AdapterScratch { gains, z, .. }) = buffers.next() else { break };
            let Some(magnitude) = adapter.magnitude else { continue };
            magnitude.gains(gains);
            let kept = layer.kept.as_deref_mut();
            if adapter.is_parted() {
                let z = &z[..rows * layer.matrix.out];
                dora::add_stretched(threads, adapter, (gains, z), layer.y, kept);
            } else {
                dora::stretch(threads, adapter, gains, layer.y, kept);
            }
        }
    }
}

impl AdapterScratch {
    /// Where dropout parts x: keeps x' (rows, in).
    fn drop_input(
        &mut self,
        (path, threads): (KernelPath, &Threads),
        adapter: &LowRank<'_>,
        (input, x): (usize, &[f32]),
    ) {
        let Some(dropout) = adapter.dropout.filter(|_| adapter.is_parted()) else { return };
        let dropped = resized(&mut self.dropped, adapter.rows * input);
        threads.for_rows(dropped, input, CHANGED_ROWS, |rows, dropped| {
            let mut places = Vec::new();
            for (row, dropped) in rows.zip(dropped.chunks_exact_mut(input)) {
                let row = adapter.first_row + row;
                let x = &x[row * input..][..input];
                dropout.mask(path, row, x, (&mut places, dropped));
            }
        });
    }

    /// Then puts x' and x − x' into lanes.
    fn part_input(
        &mut self,
        context: (KernelPath, &Threads),
        lane: Lane,
        adapter: &LowRank<'_>,
        (input, x): (usize, &[f32]),
    ) {
        if !adapter.is_parted() {
            return;
        }
        self.drop_input(context, adapter, (input, x));
        let x = &x[adapter.first_row * input..][..adapter.rows * input];
        let dropped = &self.dropped[..x.len()];
        self.dropped_lanes.put(context, lane, dropped, input);
        self.rest_lanes.put_with(context, lane, CHANGED_ROWS, x, input, |row, x, rest| {
            for (rest, (x, dropped)) in rest.iter_mut().zip(x.iter().zip(&dropped[row * input..])) {
                *rest = x - dropped;
            }
        });
    }
}

fn scale(values: &mut [f32], factor: f32) {
    for value in values {
        *value *= factor;
    }
}

fn resized(buffer: &mut Vec<f32>, length: usize) -> &mut [f32] {
    if buffer.len() < length {
        buffer.resize(length, 0.0);
    }
    &mut buffer[..length]
}

#[cfg(test)]
mod tests;
