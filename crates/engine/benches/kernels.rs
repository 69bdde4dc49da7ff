//! The inner loops one by one, on all processors and the kernels that `BIOINSTRUCT_KERNELS` names (else the fastest):
//! `cargo bench --package bioinstruct-engine [-- NAME]`.
//!
//! Items are floating-point operations (of a product, two for each multiplication), so `Gitem/s` are GFLOP/s; of operations
//! that memory bounds, the bytes that they read and write are counted. Shapes are those of a model of 135 million weights at
//! 2,048 tokens, and of one of seven billion.

use std::fmt::{self, Display, Formatter};
use std::sync::LazyLock;

use bioinstruct_engine::format::DataType;
use bioinstruct_engine::kernels::KernelPath;
use bioinstruct_engine::kernels::few_rows::{FewRows, multiply_few};
use bioinstruct_engine::kernels::gemm::{LeftBuffer, Output, Product, Term, multiply};
use bioinstruct_engine::kernels::lanes::{Lane, Precision, to_bf16};
use bioinstruct_engine::kernels::quantised::{BlockMatrix, QuantisedRows, multiply_rows};
use bioinstruct_engine::kernels::source::{Direction, Source, Values};
use bioinstruct_engine::kernels::threads::Threads;
use bioinstruct_engine::ops::attention::{
    self, Attended, Gradients, Heads, Kept, KeyRows, KeyedRows, Operands,
};
use bioinstruct_engine::ops::project::Matrix;
use bioinstruct_engine::ops::{head_loss, rms_norm, swiglu};
use divan::Bencher;
use divan::counter::{BytesCount, ItemsCount};

/// Tokens of a batch.
const ROWS: usize = 2048;
/// Tokens of each of its sequences.
const SEQUENCE: usize = 256;
const HIDDEN: usize = 576;
const INTERMEDIATE: usize = 1536;
const VOCABULARY: usize = 49_152;
const HEADS: Heads = Heads { query: 9, key_value: 3, size: 64, window: None };

static PATH: LazyLock<KernelPath> =
    LazyLock::new(|| KernelPath::choose().expect("the named kernels run on this processor"));
static THREADS: LazyLock<Threads> =
    LazyLock::new(|| Threads::new(0).expect("as many threads as processors"));

fn main() {
    divan::main();
}

fn context() -> (KernelPath, &'static Threads) {
    (*PATH, &THREADS)
}

/// What a model of bfloat16 weights multiplies.
fn lane() -> Lane {
    Lane::of(*PATH, Precision::Bf16)
}

/// Numbers between −1 and 1 that are all different.
fn numbers(count: usize) -> Vec<f32> {
    (0..count).map(|at| ((at * 7919 % 20_011) as f32 / 10_005.5) - 1.0).collect()
}

/// C (rows, n) = A (rows, k) · B (k, n).
#[derive(Clone, Copy)]
struct Shape {
    k: usize,
    n: usize,
}

impl Display for Shape {
    fn fmt(&self, formatter: &mut Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}x{}", self.k, self.n)
    }
}

const SHAPES: [Shape; 7] = [
    Shape { k: HIDDEN, n: HIDDEN },
    Shape { k: HIDDEN, n: INTERMEDIATE },
    Shape { k: INTERMEDIATE, n: HIDDEN },
    Shape { k: 4096, n: 4096 },
    Shape { k: HIDDEN, n: VOCABULARY },
    Shape { k: HIDDEN, n: 16 },
    Shape { k: 16, n: HIDDEN },
];

fn product(bencher: Bencher<'_, '_>, shape: Shape, precision: Precision, direction: Direction) {
    let Shape { k, n } = shape;
    let lane = Lane::of(*PATH, precision);
    let (floats, width) = (numbers(k * n), if direction == Direction::AsStored { n } else { k });
    let halves: Vec<u16> = floats.iter().map(|value| to_bf16(*value)).collect();
    let values = match precision {
        Precision::Bf16 => Values::Bf16(&halves),
        Precision::F32 | Precision::Stored => Values::F32(&floats),
    };
    let right = Source::new(values, width, direction);
    let (mut left, mut c) = (LeftBuffer::default(), vec![0.0; ROWS * n]);
    left.put(context(), lane, &numbers(ROWS * k), k);
    bencher.counter(ItemsCount::new(2 * ROWS * k * n)).bench_local(|| {
        let terms = vec![Term { left: left.left(), right, first_row: 0, rows: ROWS }];
        let product = Product { c: &mut c, n, rows: ROWS, terms, output: Output::Store };
        multiply(context(), lane, &mut [product]);
    });
}

#[divan::bench(args = SHAPES)]
fn product_f32(bencher: Bencher<'_, '_>, shape: Shape) {
    product(bencher, shape, Precision::F32, Direction::Transposed);
}

#[divan::bench(args = SHAPES)]
fn product_bf16(bencher: Bencher<'_, '_>, shape: Shape) {
    product(bencher, shape, Precision::Bf16, Direction::Transposed);
}

#[divan::bench(args = SHAPES)]
fn input_gradient_bf16(bencher: Bencher<'_, '_>, shape: Shape) {
    product(bencher, shape, Precision::Bf16, Direction::AsStored);
}

/// Decoding: bytes are those of the weights.
#[divan::bench(args = [1, 8])]
fn few_rows_bf16(bencher: Bencher<'_, '_>, rows: usize) {
    let weights: Vec<u16> =
        numbers(HIDDEN * VOCABULARY).iter().map(|value| to_bf16(*value)).collect();
    let right = Source::new(Values::Bf16(&weights), HIDDEN, Direction::Transposed);
    let (x, mut y) = (numbers(rows * HIDDEN), vec![0.0; rows * VOCABULARY]);
    bencher.counter(BytesCount::new(2 * weights.len())).bench_local(|| {
        let mut products = [FewRows { right, y: &mut y }];
        multiply_few(context(), &x, rows, &mut products);
    });
}

const BLOCKS: [DataType; 8] = [
    DataType::Q8_0,
    DataType::Q4_0,
    DataType::Q4_1,
    DataType::Q5_0,
    DataType::Q5_1,
    DataType::Q4_K,
    DataType::Q5_K,
    DataType::Q6_K,
];

/// Decoding from a file's blocks: bytes are those of the weights.
#[divan::bench(args = BLOCKS, consts = [1, 8])]
fn few_rows_blocks<const TOKENS: usize>(bencher: Bencher<'_, '_>, data_type: DataType) {
    let (width, rows) = (4096, 11_008);
    // What a weight says takes no time: any bytes of which scales are finite will do.
    let weights = vec![0x21; data_type.row_bytes(width) * rows];
    let matrix = BlockMatrix::new(data_type, &weights, rows, width);
    let (mut x, mut y) = (QuantisedRows::default(), vec![0.0; TOKENS * rows]);
    x.put(*PATH, &numbers(TOKENS * width), width);
    bencher
        .counter(BytesCount::new(weights.len()))
        .bench_local(|| multiply_rows(*PATH, &THREADS, matrix, &x, &mut y));
}

/// Scores and weighted values of the keys that are seen.
fn attention_operations() -> usize {
    let seen = SEQUENCE * (SEQUENCE + 1) / 2;
    ROWS / SEQUENCE * seen * HEADS.query * HEADS.size * 4
}

/// Queries, keys and values; room for the output and the log-sum-exp.
fn attention_operands() -> ([Vec<f32>; 3], [Vec<f32>; 2]) {
    let query = numbers(ROWS * HEADS.query_width());
    let key = numbers(ROWS * HEADS.key_value_width());
    let room = [query.clone(), vec![0.0; ROWS * HEADS.query]];
    ([query, key.clone(), key], room)
}

#[divan::bench]
fn attention_forward(bencher: Bencher<'_, '_>) {
    let ([query, key, value], [mut out, mut sums]) = attention_operands();
    let mut operands = Operands::default();
    bencher.counter(ItemsCount::new(attention_operations())).bench_local(|| {
        let products = (lane(), &mut operands);
        let sequences = attended(&key, &value);
        attention::forward(context(), products, HEADS, &query, &sequences, &mut out, &mut sums);
    });
}

/// Five products where the forward has two.
#[divan::bench]
fn attention_backward(bencher: Bencher<'_, '_>) {
    let ([query, key, value], [mut out, mut log_sum_exp]) = attention_operands();
    let mut operands = Operands::default();
    attention::forward(
        context(),
        (lane(), &mut operands),
        HEADS,
        &query,
        &attended(&key, &value),
        &mut out,
        &mut log_sum_exp,
    );
    let kept =
        Kept { query: &query, key: &key, value: &value, out: &out, log_sum_exp: &log_sum_exp };
    let (mut d_query, mut d_key, mut d_value) = (query.clone(), key.clone(), value.clone());
    let keyed = |first| KeyedRows { rows: first..first + SEQUENCE, past: 0, first_key: first };
    let sequences: Vec<_> = (0..ROWS).step_by(SEQUENCE).map(keyed).collect();
    bencher.counter(ItemsCount::new(attention_operations() / 2 * 5)).bench_local(|| {
        let gradients = Gradients { query: &mut d_query, key: &mut d_key, value: &mut d_value };
        let products = (lane(), &mut operands);
        attention::backward(context(), products, HEADS, kept, &sequences, &query, gradients);
    });
}

fn attended<'a>(key: &'a [f32], value: &'a [f32]) -> Vec<Attended<'a>> {
    let length = SEQUENCE * HEADS.key_value_width();
    let parts = key.chunks_exact(length).zip(value.chunks_exact(length)).enumerate();
    parts
        .map(|(number, (keys, values))| {
            let first = number * SEQUENCE;
            let (keys, values) = (KeyRows::Together(keys), KeyRows::Together(values));
            Attended { rows: first..first + SEQUENCE, past: 0, keys, values }
        })
        .collect()
}

#[divan::bench]
fn rms_norm_forward(bencher: Bencher<'_, '_>) {
    let (mut stream, delta) = (numbers(ROWS * HIDDEN), vec![0.0; ROWS * HIDDEN]);
    let (weight, mut out, mut inverse) = (numbers(HIDDEN), delta.clone(), vec![0.0; ROWS]);
    bencher.counter(BytesCount::new(4 * 4 * ROWS * HIDDEN)).bench_local(|| {
        rms_norm::forward(
            context(),
            &mut stream,
            Some(&delta),
            (&weight, 1e-5),
            &mut out,
            &mut inverse,
        );
    });
}

#[divan::bench]
fn swiglu_forward(bencher: Bencher<'_, '_>) {
    let (gate, up) = (numbers(ROWS * INTERMEDIATE), numbers(ROWS * INTERMEDIATE));
    let mut out = gate.clone();
    bencher
        .counter(BytesCount::new(3 * 4 * gate.len()))
        .bench_local(|| swiglu::forward(context(), [&gate, &up], &mut out));
}

/// Logits, losses and the gradient of the input.
#[divan::bench]
fn head_loss_forward_and_backward(bencher: Bencher<'_, '_>) {
    let rows = 1024;
    let weights = numbers(HIDDEN * VOCABULARY).iter().map(|value| to_bf16(*value)).collect();
    let (head, x) = (Matrix::of_bf16(weights, HIDDEN), numbers(rows * HIDDEN));
    let (mut scratch, mut d_x) = (head_loss::Scratch::default(), x.clone());
    let labels: Vec<u32> = (0..rows).map(|row| (row * 47) as u32).collect();
    let operations = 2 * 2 * rows * HIDDEN * VOCABULARY;
    bencher.counter(ItemsCount::new(operations)).bench_local(|| {
        let d_x = Some(&mut d_x[..]);
        head_loss::head_loss(context(), &mut scratch, &head, (&x, &labels), 1.0, d_x)
    });
}
