//! Sequences that share rows.

use super::*;

/// Sequences that share rows, and the same with every token a row of its own: which row of the first each of the second is.
fn shared_and_apart(
    shape: (usize, usize, usize),
    window: usize,
) -> (Vec<Sequence>, Batch, Vec<usize>, Batch) {
    let (long, short) = (0..TASK_KEYS + 30, TASK_KEYS + 30..TASK_KEYS + 47);
    let rows = |first: usize, count: usize| first..first + count;
    let sequences = [
        (long.clone(), vec![]),
        (short.clone(), vec![&long]),
        (rows(TASK_KEYS + 47, 1), vec![&long]),
        (rows(TASK_KEYS + 48, TASK_KEYS + 51), vec![&long, &short]),
        (rows(2 * TASK_KEYS + 99, 7), vec![]),
    ];
    let sequence = |(rows, before): (Range<usize>, Vec<&Range<usize>>)| Sequence {
        rows,
        before: before.into_iter().cloned().collect(),
    };
    let sequences: Vec<Sequence> = sequences.into_iter().map(sequence).collect();
    let rows: Vec<usize> = sequences.iter().flat_map(Sequence::all_rows).flatten().collect();
    let lengths: Vec<usize> =
        sequences.iter().map(|sequence| sequence.past() + sequence.rows.len()).collect();
    let shared = Batch::new(shape, &[2 * TASK_KEYS + 106]).with_window(window);
    let mut apart = Batch::new(shape, &lengths).with_window(window);
    let (wide, narrow) = (shared.heads.query_width(), shared.heads.key_value_width());
    let spread = |values: &[f32], width: usize| -> Vec<f32> {
        rows.iter().flat_map(|row| &values[row * width..][..width]).copied().collect()
    };
    apart.query = spread(&shared.query, wide);
    apart.key = spread(&shared.key, narrow);
    apart.value = spread(&shared.value, narrow);
    // What is shared is seen through its own rows alone.
    apart.d_out = vec![0.0; apart.query.len()];
    let mut first = 0;
    for sequence in &sequences {
        let own = first + sequence.past()..first + sequence.past() + sequence.rows.len();
        let from = &shared.d_out[sequence.rows.start * wide..sequence.rows.end * wide];
        apart.d_out[own.start * wide..own.end * wide].copy_from_slice(from);
        first = own.end;
    }
    (sequences, shared, rows, apart)
}

#[test]
fn shared_rows_give_what_rows_of_each_sequence_give() {
    for (shape, window) in [((6, 2, 16), usize::MAX), ((3, 1, 5), 40), ((2, 2, 8), TASK_KEYS + 9)] {
        let (sequences, shared, rows, apart) = shared_and_apart(shape, window);
        let (wide, narrow) = (shared.heads.query_width(), shared.heads.key_value_width());
        for kind in kinds() {
            let threads = Threads::new(2).unwrap();
            let (mut together, mut operands) = (Together::default(), Operands::default());
            let mut out = vec![f32::NAN; shared.query.len()];
            let mut log_sum_exp = vec![f32::NAN; out.len() / shape.2];
            let read = [&shared.query[..], &shared.key, &shared.value];
            let written = [&mut out[..], &mut log_sum_exp];
            together.forward(
                (kind.0, &threads),
                (kind.1, &mut operands),
                shared.heads,
                &sequences,
                read,
                written,
            );
            let (expected, _) = apart.forward(kind, 2);
            for (row, expected) in rows.iter().zip(expected.chunks_exact(wide)) {
                assert_eq!(bits(&out[row * wide..][..wide]), bits(expected), "{kind:?} row {row}");
            }

            let [mut query, mut key, mut value] =
                [&shared.query, &shared.key, &shared.value].map(|like| vec![f32::NAN; like.len()]);
            let kept = Kept {
                query: &shared.query,
                key: &shared.key,
                value: &shared.value,
                out: &out,
                log_sum_exp: &log_sum_exp,
            };
            let gradients = Gradients { query: &mut query, key: &mut key, value: &mut value };
            let context = (kind.0, &threads);
            together.backward(
                context,
                (kind.1, &mut operands),
                shared.heads,
                &sequences,
                kept,
                &shared.d_out,
                gradients,
            );
            let [_, d_query, d_key, d_value] = apart.defined();
            for (name, found, expected, width) in [
                ("d_query", &query, &d_query, wide),
                ("d_key", &key, &d_key, narrow),
                ("d_value", &value, &d_value, narrow),
            ] {
                let mut sums = vec![0.0; found.len()];
                for (row, expected) in rows.iter().zip(expected.chunks_exact(width)) {
                    let sum = &mut sums[row * width..][..width];
                    sum.iter_mut().zip(expected).for_each(|(sum, value)| *sum += value);
                }
                assert_near(&format!("{shape:?} {kind:?} {name}"), kind, found, &sums);
            }
        }
    }
}
