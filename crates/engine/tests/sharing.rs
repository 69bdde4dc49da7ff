//! Tokens that several rows begin with are computed once, which changes no bit of a loss, and the gradient as little as the order
//! of additions does.

#![expect(clippy::unwrap_used, reason = "a test")]

mod golden_files;

use bioinstruct_core::random::Stream;
use bioinstruct_engine::backend::{Backend, Cpu};
use bioinstruct_engine::format::ModelFile;
use bioinstruct_engine::kernels::lanes::Precision;
use bioinstruct_engine::model::training::{Activations, Batch, Step};
use bioinstruct_engine::model::{Llama, LoadOptions};
use bioinstruct_engine::peft;
use golden_files::{golden, paths, relative_error, repository};

/// Four rows: three begin with the same 30 tokens, two of these with 20 more, and one is an island.
fn rows() -> Vec<(Vec<u32>, Vec<bool>)> {
    let ids = |shared: std::ops::Range<u32>, own: std::ops::Range<u32>| -> Vec<u32> {
        shared.chain(own).map(|at| at * 37 % 500).collect()
    };
    let all =
        [ids(0..50, 100..113), ids(0..30, 200..241), ids(0..0, 300..317), ids(0..50, 400..404)];
    let learned = |(number, ids): (usize, &Vec<u32>)| -> Vec<bool> {
        // Of the last row even what it shares.
        (0..ids.len()).map(|at| at > 0 && (number == 3 || at + 4 >= ids.len())).collect()
    };
    let learned: Vec<Vec<bool>> = all.iter().enumerate().map(learned).collect();
    all.into_iter().zip(learned).collect()
}

#[test]
fn shared_tokens_change_no_bit_of_a_loss_and_no_gradient() {
    let file = ModelFile::open(&repository().join("tests/fixtures/tiny-llama")).unwrap();
    let rows = rows();
    let pairs = rows.iter().map(|(ids, learned)| (&ids[..], &learned[..]));
    let shared = Batch::sharing(pairs.clone());
    let mut apart = Batch::default();
    pairs.for_each(|(ids, learned)| apart.push(ids, learned));
    assert_eq!((apart.rows(), shared.rows()), (63 + 71 + 17 + 54, 50 + 13 + 41 + 17 + 4));
    for (path, precision) in
        paths().flat_map(|path| [Precision::F32, Precision::Bf16].map(|p| (path, p)))
    {
        let options = LoadOptions { precision, positions: 0 };
        let model = Llama::load(&file, Cpu::with_path(path, 2).unwrap(), options).unwrap();
        let adapter = peft::load(&model, &golden("tiny_adapter")).unwrap().adapter;
        for (activations, dropout) in [
            (Activations::Kept, None),
            (Activations::Recomputed, None),
            (Activations::Kept, Some((0.2, Stream::new(1, "dropout")))),
            (Activations::Recomputed, Some((0.2, Stream::new(1, "dropout")))),
        ] {
            let run = |batch: &Batch| {
                let mut gradient = model.backend().zeros(adapter.layout.length());
                let mut tape = model.new_tape(activations);
                let step = Step { dropout, ..Step::plain(0.5) };
                let losses =
                    model.losses_and_gradient(&mut tape, &adapter, batch, step, &mut gradient);
                let plain = model.losses(&mut tape, Some(&adapter), batch);
                assert_eq!(losses == plain, dropout.is_none());
                (losses, gradient)
            };
            let ((found, gradient), (expected, of_each)) = (run(&shared), run(&apart));
            assert_eq!(found, expected, "{path:?} {precision:?}");
            let most = if precision == Precision::F32 { 1e-5 } else { 1e-2 };
            let error = relative_error(&gradient, &of_each);
            assert!(error < most, "{path:?} {precision:?} {activations:?}: {error}");
        }
    }
}

#[test]
fn rows_are_gathered_and_go_back_to_their_places() {
    for rows in [&[1, 3, 4][..], &[0], &[5], &[0, 1, 2, 3, 4, 5], &[]] {
        let backend = Cpu::new(1).unwrap();
        let values: Vec<f32> = (0..12).map(|value| value as f32 + 1.0).collect();
        let mut buffer = backend.zeros(12);
        backend.gather_rows(&backend.upload(&values), rows, 2, &mut buffer);
        for (place, row) in rows.iter().enumerate() {
            assert_eq!(buffer[2 * place..][..2], values[2 * row..][..2]);
        }
        backend.spread_rows(&mut buffer, rows, 2, 6);
        for (row, found) in buffer.chunks_exact(2).enumerate() {
            let expected = if rows.contains(&row) { &values[2 * row..][..2] } else { &[0.0; 2] };
            assert_eq!(found, expected, "{rows:?}");
        }
    }
}
