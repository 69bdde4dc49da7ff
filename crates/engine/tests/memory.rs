//! The planned memory is what the engine allocates, on the tiny random LLaMA.

use std::path::Path;
use std::sync::Arc;

use bioinstruct_engine::backend::{Backend, Cpu};
use bioinstruct_engine::format::ModelFile;
use bioinstruct_engine::kernels::KernelPath;
use bioinstruct_engine::kernels::lanes::Precision;
use bioinstruct_engine::model::training::Activations;
use bioinstruct_engine::model::{Llama, LoadOptions};
use bioinstruct_engine::train::config::{LossOn, TrainConfig};
use bioinstruct_engine::train::example::Example;
use bioinstruct_engine::train::memory::{Demand, MemoryPlan};
use bioinstruct_engine::train::plan::{Plan, Stratum};
use bioinstruct_engine::train::{Inputs, run};

fn examples(count: usize, loss: LossOn) -> Vec<Example> {
    let example = |number: usize| {
        let tokens = 5 + number * 7 % 90;
        let learned = (0..tokens).map(|at| at > 0 && (loss == LossOn::All || at > tokens / 2));
        // All begin alike.
        let own = |at: usize| if at < 20 { 0 } else { number * 31 };
        let ids = (0..tokens).map(|at| ((own(at) + at * 17) % 500) as u32);
        Example { id: number.to_string(), ids: ids.collect(), learned: learned.collect() }
    };
    (0..count).map(example).collect()
}

#[test]
fn operands_and_logits_are_as_planned() {
    let fixture = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/fixtures/tiny-llama");
    let file = ModelFile::open(&fixture).unwrap();
    for (precision, dropout, targets, dora, unit_tokens, loss) in [
        (Precision::F32, 0.1, &["all-linear"][..], false, 64, LossOn::All),
        (Precision::Bf16, 0.0, &["all-linear"], false, 300, LossOn::Answer),
        (Precision::Bf16, 0.1, &["q", "v"], false, 120, LossOn::Answer),
        (Precision::Stored, 0.1, &["o", "down"], false, 1000, LossOn::All),
        (Precision::F32, 0.1, &["k", "up"], true, 200, LossOn::Answer),
        (Precision::Bf16, 0.0, &["all-linear"], true, 100, LossOn::All),
    ] {
        let config = TrainConfig {
            dropout,
            dora,
            unit_tokens,
            targets: targets.iter().map(|target| (*target).to_owned()).collect(),
            rank: 3,
            max_steps: 4,
            batch_rows: 9,
            tensorboard: false,
            ..TrainConfig::default()
        };
        let (rows, dev) = (examples(40, loss), examples(7, loss));
        let lengths: Vec<usize> = rows.iter().map(|row| row.ids.len()).collect();
        let plan = Plan::new(&lengths, &[Stratum::all(rows.len())], &config, 1).unwrap();
        let demand = Demand::of(&plan, &rows, &dev, &config);
        for path in KernelPath::ALL.into_iter().filter(|path| path.available()) {
            let backend = Cpu::with_path(path, 2).unwrap();
            let options = LoadOptions { precision, positions: 0 };
            let model = Llama::load(&file, backend, options).unwrap();
            let mut results = Vec::new();
            for activations in [Activations::Kept, Activations::Recomputed] {
                let how = (path, activations);
                let planned = MemoryPlan::new(&file, &config, precision, &demand, how).unwrap();
                let directory = tempfile::tempdir().unwrap();
                let inputs = Inputs {
                    model: &model,
                    strata: &[Stratum::all(rows.len())],
                    examples: &rows,
                    dev: &dev,
                    config: &config,
                    seed: 1,
                    fingerprint: std::collections::BTreeMap::new(),
                    directory: directory.path(),
                    activations,
                    stop: Arc::default(),
                };
                let outcome = run(&inputs, &mut |_| {}).unwrap();
                let told = format!("{targets:?} {} {precision:?} {activations:?}", path.name());
                let (operands, logits) = model.backend().scratch_bytes();
                // The largest unit may be one of a dev evaluation, which has no gradients.
                for (name, found) in [("operands of products", operands), ("logits", logits)] {
                    let planned = planned.bytes(name);
                    let close = planned >= found && planned <= found + found / 10;
                    assert!(close, "{name} of {told}: {planned} planned, {found} found");
                }
                let values = outcome.parameters.len() * 4;
                assert_eq!(planned.bytes("adapter and optimizer state"), 3 * values, "{told}");

                let lora = config.lora().unwrap();
                let adapter = model.adapter(lora, &outcome.parameters).unwrap();
                let mut tape = model.new_tape(activations);
                model.reserve_tape(&mut tape, demand.unit_tokens, Some(&adapter));
                assert_eq!(planned.bytes("activations"), tape.bytes(model.backend()), "{told}");

                let norms = (2 * model.config().layers + 1) * model.config().hidden_size * 4;
                assert_eq!(planned.weight_bytes, model.weight_bytes() + norms, "{told}");
                results.push((outcome.parameters, planned.bytes("activations")));
            }
            assert!(model.backend().kernels().contains(path.name()));
            let [(kept, most), (again, least)] = &results[..] else { unreachable!("two runs") };
            assert!(kept == again, "what is computed again is the same: {targets:?} {precision:?}");
            assert!(least < most, "{least} of {most} bytes");
        }
    }
}
