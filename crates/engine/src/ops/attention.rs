//! Causal attention of ragged sequences with grouped key-value heads; the softmax's log-sum-exp is kept for the backward.
//!
//! For each query q of a head, over the keys k that its token sees: s = q·k / √size, P = softmax(s), out = Σ P v. The
//! backward recomputes P = e^(s − log-sum-exp); with dP = dO·v and dS = P ∘ (dP − dO·out) it is dV = Pᵀ dO,
//! dQ = dS K / √size, dK = dSᵀ Q / √size.
//!
//! A token sees itself and all tokens before it, or with a sliding window (Jiang et al. 2023) the last `window` of these.
//! Blocks of keys that no row of a strip sees are skipped.
//!
//! Models whose weights are multiplied in integers have the same loops with integer operands (`integers.rs`).
//!
//! Work is cut into strips (`strip.rs`) of query rows, one row of one head in each lane of a vector, and products are tiles of
//! registers (`tile.rs`). Each score is one chain over the head's values, each output one chain over the keys in ascending
//! order, and a key that a row does not see takes no part in it; so a row's bits depend neither on its lane, nor on how
//! rows are split among tasks, nor on whether earlier keys come from this batch or from a cache. Decoding, whose rows would
//! leave most lanes empty, has a loop of its own (`decode.rs`), for which the same holds.

#[cfg(target_arch = "x86_64")]
mod avx512;
mod backward;
mod decode;
mod forward;
mod integers;
mod pages;
mod strip;
mod tile;
mod together;

use std::ops::Range;

use self::backward::{KeyGradients, Read};
pub use self::decode::decode;
pub use self::integers::{Operands, operand_lanes};
pub use self::pages::{KeyRows, PAGE_TOKENS};
use self::strip::{Strip, with_lanes, with_scratch};
pub use self::together::{Sequence, Together, keys_and_pairs, laid_out};
use super::shared::Shared;
use crate::kernels::KernelPath;
use crate::kernels::lanes::Lane;
use crate::kernels::threads::Threads;

/// Lanes of one forward task.
const TASK_LANES: usize = 64;

/// Keys of one backward task: long sequences are cut there, and the parts of a query's gradient are added in order.
const TASK_KEYS: usize = 512;

/// Values of one task that sets gradients to zero.
const ZERO_VALUES: usize = 1 << 16;

/// Rows of one task that adds up the parts of the queries' gradients.
const TASK_ROWS: usize = 64;

/// Numbers and size of the heads, and how far they see.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Heads {
    /// Query heads.
    pub query: usize,
    /// Key and value heads; divides `query`.
    pub key_value: usize,
    /// Values of one head.
    pub size: usize,
    /// Tokens that a token attends to, itself included; none: all before it.
    pub window: Option<usize>,
}

impl Heads {
    /// Values of a token's queries.
    pub fn query_width(self) -> usize {
        self.query * self.size
    }

    /// Values of a token's keys.
    pub fn key_value_width(self) -> usize {
        self.key_value * self.size
    }

    fn scale(self) -> f32 {
        1.0 / (self.size as f32).sqrt()
    }

    fn group(self) -> usize {
        self.query / self.key_value
    }

    /// The first position that a token sees.
    fn first_seen(self, position: usize) -> usize {
        self.window.map_or(0, |window| (position + 1).saturating_sub(window))
    }

    /// The position behind the last that sees a token, if there are `length` of them.
    fn end_of_sight(self, position: usize, length: usize) -> usize {
        self.window.map_or(length, |window| length.min(position.saturating_add(window)))
    }
}

/// One sequence's queries in the batch and all keys it may see.
#[derive(Debug, Clone)]
pub struct Attended<'a> {
    /// Its rows of the batch.
    pub rows: Range<usize>,
    /// Tokens before the first of them.
    pub past: usize,
    /// Of past + rows tokens.
    pub keys: KeyRows<'a>,
    /// Of past + rows tokens.
    pub values: KeyRows<'a>,
}

/// Whether strips have sixteen lanes (two vectors of AVX2, one of AVX-512), or eight (two of the portable path in 32 bits).
fn wide(path: KernelPath, lane: Lane) -> bool {
    path != KernelPath::Portable || lane == Lane::I16Pair
}

/// Cuts lanes into strips; in 32 bits with AVX2, whose vectors hold eight, few lanes at the end make a narrow one.
fn strips((path, lane): (KernelPath, Lane), whole: Strip) -> impl Iterator<Item = Strip> {
    let narrows = path.is_avx2() && lane == Lane::F32;
    let end = whole.first + whole.lanes;
    let step = if whole.wide { 16 } else { 8 };
    (whole.first..end).step_by(step).map(move |first| {
        let lanes = step.min(end - first);
        Strip { first, lanes, wide: whole.wide && !(narrows && lanes <= 8), ..whole }
    })
}

/// Most values of a head that are multiplied in integers, which have one scale for all of them.
const MOST_VALUES: usize = 1024;

/// The lanes that heads are multiplied in.
fn lane_of(lane: Lane, heads: Heads) -> Lane {
    if heads.size > MOST_VALUES { Lane::F32 } else { lane }
}

/// `out` (tokens, query width); `log_sum_exp` (tokens, query heads). Products are those of `lane`, for which `operands` are
/// laid out.
pub fn forward(
    (path, threads): (KernelPath, &Threads),
    (lane, operands): (Lane, &mut Operands),
    heads: Heads,
    query: &[f32],
    sequences: &[Attended<'_>],
    out: &mut [f32],
    log_sum_exp: &mut [f32],
) {
    let lane = lane_of(lane, heads);
    if lane == Lane::I16Pair {
        operands.put_forward((path, threads), heads, sequences);
    }
    let wide = wide(path, lane);
    let mut tasks: Vec<(usize, Strip)> = Vec::new();
    for (place, sequence) in sequences.iter().enumerate() {
        let end = sequence.rows.len() * heads.group();
        for first in (0..end).step_by(TASK_LANES) {
            let lanes = TASK_LANES.min(end - first);
            tasks.extend((0..heads.key_value).map(|shared_head| {
                let past = sequence.past;
                (place, Strip { heads, shared_head, past, first, lanes, wide })
            }));
        }
    }
    let (operands, out, log_sum_exp) = (&*operands, Shared::new(out), Shared::new(log_sum_exp));
    threads.for_each(tasks.len(), |task| {
        let (place, whole) = tasks[task];
        let sequence = &sequences[place];
        let query = &query[sequence.rows.start * heads.query_width()..];
        let count = whole.last_key() + 1 - whole.first_key();
        let output = (sequence.rows.start, &out, &log_sum_exp);
        if lane == Lane::I16Pair {
            let keys = operands.keys(place, heads, whole.shared_head, 0);
            let values = operands.pairs(place, heads, whole.shared_head, 0);
            with_lanes(integers::forward_scratch(heads.size, count), |scratch, lanes| {
                for strip in strips((path, lane), whole) {
                    let scratch = (&mut *scratch, &mut *lanes);
                    integers::forward(path, &strip, query, (keys, values), scratch, output);
                }
            });
            return;
        }
        let (keys, values) = (&sequence.keys, &sequence.values);
        with_scratch(forward::scratch_length(heads.size, count), |scratch| {
            for strip in strips((path, lane), whole) {
                forward::forward(path, &strip, query, keys, values, scratch, output);
            }
        });
    });
}

/// What the forward kept.
#[derive(Debug, Clone, Copy)]
pub struct Kept<'a> {
    /// (tokens, query width), after the rotation.
    pub query: &'a [f32],
    /// (keys, key-value width), after the rotation.
    pub key: &'a [f32],
    /// (keys, key-value width).
    pub value: &'a [f32],
    /// (tokens, query width).
    pub out: &'a [f32],
    /// (tokens, query heads).
    pub log_sum_exp: &'a [f32],
}

/// The gradients, shaped as what they belong to.
#[derive(Debug)]
pub struct Gradients<'a> {
    /// (tokens, query width).
    pub query: &'a mut [f32],
    /// (keys, key-value width).
    pub key: &'a mut [f32],
    /// (keys, key-value width).
    pub value: &'a mut [f32],
}

/// One sequence's queries in the batch, and where the keys begin that they may see.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyedRows {
    /// Its rows of the batch.
    pub rows: Range<usize>,
    /// Tokens before the first of them.
    pub past: usize,
    /// Which of the keys belongs to its first token; there are as many as tokens, no other sequence's among them.
    pub first_key: usize,
}

/// One backward task: some keys of a head, and the rows that see them.
struct KeyTask<'a> {
    sequence: &'a KeyedRows,
    /// Which of the sequences it is.
    place: usize,
    shared_head: usize,
    /// Positions of the keys.
    keys: Range<usize>,
    /// The rows that see a key, counted from the sequence's first.
    seeing: Range<usize>,
    /// Which row of the later parts belongs to the first row that sees a key; none for the first keys, whose part goes to
    /// the gradient itself.
    part: Option<usize>,
}

/// Replaces the gradients of queries, keys and values.
pub fn backward(
    (path, threads): (KernelPath, &Threads),
    (lane, operands): (Lane, &mut Operands),
    heads: Heads,
    kept: Kept<'_>,
    sequences: &[KeyedRows],
    d_out: &[f32],
    gradients: Gradients<'_>,
) {
    for values in [&mut *gradients.query, gradients.key, gradients.value] {
        threads.for_rows(values, 1, ZERO_VALUES, |_, values| values.fill(0.0));
    }
    let lane = lane_of(lane, heads);
    if lane == Lane::I16Pair {
        operands.put_backward((path, threads), heads, sequences, (kept.key, kept.value));
    }
    let operands = &*operands;
    let (tasks, part_rows) = key_tasks(heads, sequences);
    let mut parts = vec![0.0; part_rows * heads.query_width()];
    let d_query = (Shared::new(gradients.query), Shared::new(&mut parts));
    let (d_key, d_value) = (Shared::new(gradients.key), Shared::new(gradients.value));
    let size = heads.size;
    threads.for_each(tasks.len(), |task| {
        let task = &tasks[task];
        let d_query = (&d_query.0, &d_query.1);
        let found = run_key_task((path, lane, operands), heads, task, kept, d_out, d_query);
        for at in 0..task.keys.len() {
            let key = task.sequence.first_key + task.keys.start + at;
            let first = key * heads.key_value_width() + task.shared_head * size;
            found.copy_to(at, d_key.part(first, size), d_value.part(first, size));
        }
    });
    add_parts(threads, heads, &tasks, gradients.query, &parts);
}

/// The tasks, and how many rows their later parts have together.
fn key_tasks(heads: Heads, sequences: &[KeyedRows]) -> (Vec<KeyTask<'_>>, usize) {
    let mut part_rows = 0;
    let mut tasks = Vec::new();
    for (place, sequence) in sequences.iter().enumerate() {
        let KeyedRows { rows, past, .. } = sequence;
        let length = past + rows.len();
        for first in (0..length).step_by(TASK_KEYS) {
            let keys = first..(first + TASK_KEYS).min(length);
            let begin = first.saturating_sub(*past);
            let end = heads.end_of_sight(keys.end - 1, length).saturating_sub(*past);
            let seeing = begin..end.max(begin);
            let part = (first > 0).then_some(part_rows);
            part_rows += if first > 0 { seeing.len() } else { 0 };
            tasks.extend((0..heads.key_value).map(|shared_head| KeyTask {
                sequence,
                place,
                shared_head,
                keys: keys.clone(),
                seeing: seeing.clone(),
                part,
            }));
        }
    }
    (tasks, part_rows)
}

fn run_key_task(
    (path, lane, operands): (KernelPath, Lane, &Operands),
    heads: Heads,
    task: &KeyTask<'_>,
    kept: Kept<'_>,
    d_out: &[f32],
    (d_query, parts): (&Shared<'_>, &Shared<'_>),
) -> KeyGradients {
    let KeyedRows { rows, past, first_key } = task.sequence;
    let (wide, start, width) = (wide(path, lane), rows.start, heads.query_width());
    let first_key =
        (first_key + task.keys.start) * heads.key_value_width() + task.shared_head * heads.size;
    let read = Read {
        kept: Kept {
            query: &kept.query[start * width..],
            key: &kept.key[first_key..],
            value: &kept.value[first_key..],
            out: &kept.out[start * width..],
            log_sum_exp: &kept.log_sum_exp[start * heads.query..],
        },
        d_out: &d_out[start * width..],
        range: task.keys.clone(),
    };
    let (first, lanes) = (task.seeing.start * heads.group(), task.seeing.len() * heads.group());
    let whole = Strip { heads, shared_head: task.shared_head, past: *past, first, lanes, wide };
    let target = match task.part {
        None => (d_query, start, 0),
        Some(part) => (parts, part, task.seeing.start),
    };
    let mut gradients = KeyGradients::new(heads.size, task.keys.len(), wide);
    if lane == Lane::I16Pair {
        let (place, head, first) = (task.place, task.shared_head, task.keys.start);
        let keyed = integers::Keyed {
            keys: operands.keys(place, heads, head, first),
            values: operands.values(place, heads, head, first),
            key_pairs: operands.pairs(place, heads, head, first),
        };
        with_lanes(integers::backward_scratch(heads.size), |scratch, lanes| {
            for strip in strips((path, lane), whole) {
                let scratch = (&mut *scratch, &mut *lanes);
                let operands = (&read, keyed);
                integers::backward(path, &strip, operands, scratch, &mut gradients, target);
            }
        });
        return gradients;
    }
    with_scratch(backward::scratch_length(heads.size), |scratch| {
        for strip in strips((path, lane), whole) {
            // The keys' gradients are laid out for one width.
            let strip = Strip { wide, ..strip };
            backward::backward(path, &strip, &read, scratch, &mut gradients, target);
        }
    });
    gradients
}

/// Adds the later parts to the queries' gradients, those of earlier keys first.
fn add_parts(
    threads: &Threads,
    heads: Heads,
    tasks: &[KeyTask<'_>],
    d_query: &mut [f32],
    parts: &[f32],
) {
    let width = heads.query_width();
    let d_query = Shared::new(d_query);
    for task in tasks.iter().filter(|task| task.shared_head == 0) {
        let Some(part) = task.part else { continue };
        let rows = task.seeing.len();
        threads.for_each(rows.div_ceil(TASK_ROWS), |block| {
            let first = block * TASK_ROWS;
            let length = TASK_ROWS.min(rows - first) * width;
            let to = (task.sequence.rows.start + task.seeing.start + first) * width;
            let from = &parts[(part + first) * width..][..length];
            for (to, from) in d_query.part(to, length).iter_mut().zip(from) {
                *to += from;
            }
        });
    }
}

#[cfg(test)]
mod tests;
