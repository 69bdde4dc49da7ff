//! Training that is killed, stopped or asked for something else: the bytes at the end are those of the undisturbed run.
//!
//! The short form runs on the tiny model. The long form, sixty kills of a sixty-step run on the demo model:
//!
//!     BIOINSTRUCT_KILLS=60 BIOINSTRUCT_KILL_MODEL=smollm2 cargo test --workspace --test kill kills_at -- --nocapture

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

const STEPS: usize = 60;

/// A folder of this test's own.
fn scratch(name: &str) -> PathBuf {
    let path = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("kill-{name}"));
    let _ = fs_err::remove_dir_all(&path);
    fs_err::create_dir_all(env!("CARGO_TARGET_TMPDIR")).expect("a folder");
    path
}

/// Rows to learn from, beside the run; under the same name for every run, since an adapter's card names its file.
fn rows(run: &Path, count: usize) -> PathBuf {
    let folder = run.with_extension("rows");
    fs_err::create_dir_all(&folder).expect("a folder");
    let path = folder.join(format!("{count}.jsonl"));
    let row = |number: usize| {
        let output = format!("It is {}. ", number * number % 97).repeat(1 + number % 5);
        let row = serde_json::json!({"instruction": format!("Square {number}"), "input": "", "output": output});
        format!("{row}\n")
    };
    fs_err::write(&path, (0..count).map(row).collect::<String>()).expect("rows");
    path
}

/// A run of some minutes on the demo model, some moments on the tiny one.
fn train(run: &Path) -> Command {
    train_on(run, 50)
}

fn train_on(run: &Path, count: usize) -> Command {
    let model = std::env::var("BIOINSTRUCT_KILL_MODEL");
    let model = model.unwrap_or_else(|_| "tests/fixtures/tiny-llama".to_owned());
    let mut command = Command::new(env!("CARGO_BIN_EXE_bioinstruct"));
    command
        .args(["train", "--offline", "--model", &model, "--data"])
        .arg(rows(run, count))
        .args(["--max-steps", &STEPS.to_string(), "--batch-rows", "3", "--rank", "4"])
        .args(["--set", "train.lr=1e-3", "--set", "train.unit_tokens=200"])
        .args(["--set", "train.evaluate_every=9", "--set", "train.checkpoint_every=7", "--run"])
        .arg(run)
        .current_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("../.."))
        .stdin(Stdio::null());
    command
}

fn finish(command: &mut Command) -> Output {
    command.output().expect("the command starts")
}

fn must_succeed(output: &Output) {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

fn start(command: &mut Command) -> Child {
    command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().expect("the command starts")
}

/// Everything that must be the same bytes: results, metrics, and the optimizer's state.
fn results(run: &Path) -> BTreeMap<String, Vec<u8>> {
    let train = run.join("train");
    let names = [
        "adapter/adapter_model.safetensors",
        "adapter/adapter_config.json",
        "adapter/bioinstruct.json",
        "metrics.jsonl",
        "manifest.json",
        "rows.jsonl",
        "dev.jsonl",
        "checkpoints/step-000060/state.safetensors",
        "checkpoints/step-000060/checkpoint.json",
    ];
    names.map(|name| (name.to_owned(), fs_err::read(train.join(name)).expect(name))).into()
}

fn assert_same(found: &Path, expected: &BTreeMap<String, Vec<u8>>, told: &str) {
    for (name, bytes) in results(found) {
        assert!(bytes == expected[&name], "{name} differs after {told}");
    }
}

/// Numbers that look random and are the same each time.
struct Numbers(u64);

impl Numbers {
    /// Uniform in [0, 1).
    fn unit(&mut self) -> f64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) as f64 / (1u64 << 53) as f64
    }
}

/// Kills a run at this moment; false if it was done before.
fn killed_after(child: &mut Child, moment: Duration) -> bool {
    let begin = Instant::now();
    while begin.elapsed() < moment {
        if let Some(status) = child.try_wait().expect("it can be asked") {
            assert!(status.success(), "it ended by itself: {status}");
            return false;
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    child.kill().expect("it can be killed");
    !child.wait().expect("it ends").success()
}

#[test]
fn kills_at_any_moment_change_nothing() {
    let kills = std::env::var("BIOINSTRUCT_KILLS").ok().and_then(|text| text.parse().ok());
    let kills: usize = kills.unwrap_or(8);
    let (undisturbed, run) = (scratch("undisturbed"), scratch("killed"));
    let begin = Instant::now();
    must_succeed(&finish(&mut train(&undisturbed)));
    let whole = begin.elapsed();
    let expected = results(&undisturbed);
    println!("undisturbed: {:.1} s", whole.as_secs_f64());

    let mut numbers = Numbers(0x9E37_79B9_7F4A_7C15);
    let (mut done, mut trials) = (0, 0);
    while done < kills {
        let _ = fs_err::remove_dir_all(&run);
        let mut told = Vec::new();
        for _ in 0..=(numbers.unit() * 3.0) as usize {
            let mut child = start(&mut train(&run));
            let moment = whole.mul_f64(numbers.unit());
            if !killed_after(&mut child, moment) {
                break;
            }
            told.push(format!("{:.2} s", moment.as_secs_f64()));
        }
        must_succeed(&finish(&mut train(&run)));
        let told = format!("kills after {}", told.join(", "));
        assert_same(&run, &expected, &told);
        done += told.matches(" s").count();
        trials += 1;
        println!("{done}/{kills}: same bytes after {told}");
        assert!(trials <= 4 * kills, "the kills come too late");
    }
    fs_err::remove_dir_all(&run).expect("cleaned");
    fs_err::remove_dir_all(&undisturbed).expect("cleaned");
}

/// Waits until so many steps stand in the metrics.
fn wait_for_steps(run: &Path, steps: usize) {
    let metrics = run.join("train/metrics.jsonl");
    let deadline = Instant::now() + Duration::from_mins(2);
    while Instant::now() < deadline {
        let text = fs_err::read_to_string(&metrics).unwrap_or_default();
        if text.matches("\"loss\"").count() >= steps {
            return;
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    panic!("{} has no {steps} steps", metrics.display());
}

fn signal(child: &Child, name: &str) {
    let command = format!("kill -{name} {}", child.id());
    assert!(Command::new("sh").args(["-c", &command]).status().expect("sh").success());
}

#[test]
fn a_signal_leaves_a_checkpoint_and_nothing_depends_on_threads() {
    let (undisturbed, run) = (scratch("one-thread"), scratch("stopped"));
    must_succeed(&finish(train(&undisturbed).args(["--threads", "1"])));
    let expected = results(&undisturbed);
    let mut stops = 0;
    for (name, steps, threads) in [("TERM", 3, "3"), ("INT", 17, "2")] {
        let mut child = start(train(&run).args(["--threads", threads]));
        wait_for_steps(&run, steps);
        signal(&child, name);
        let sent = Instant::now();
        let code = child.wait().expect("it ends").code();
        assert!(sent.elapsed() < Duration::from_secs(10), "{name} took {:?}", sent.elapsed());
        let mut said = String::new();
        std::io::Read::read_to_string(&mut child.stderr.take().expect("piped"), &mut said)
            .expect("text");
        if code == Some(0) {
            // It was done before the signal came.
            continue;
        }
        assert_eq!(code, Some(75), "{name}: {said}");
        assert!(
            said.contains("stopping:") && said.contains("run the same command again"),
            "{said}"
        );
        stops += 1;
    }
    assert!(stops > 0, "no signal came in time");
    must_succeed(&finish(train(&run).args(["--threads", "3"])));
    assert_same(&run, &expected, "signals, with other numbers of threads");

    for path in [run, undisturbed] {
        fs_err::remove_dir_all(&path).expect("cleaned");
    }
}

#[test]
fn another_configuration_or_other_data_refuse_and_say_what_changed() {
    let run = scratch("changed");
    let mut child = start(&mut train(&run));
    wait_for_steps(&run, 20);
    child.kill().expect("it can be killed");
    child.wait().expect("it ends");
    let rows = fs_err::read(run.join("train/rows.jsonl")).expect("rows");

    let refused = |command: &mut Command, parts: &[&str]| {
        let output = finish(command);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(78), "{said}");
        for part in parts {
            assert!(said.contains(part), "`{part}` is not in: {said}");
        }
    };
    refused(
        train(&run).args(["--set", "train.lr=0.5", "--set", "train.epochs=7.0"]),
        &["train.lr was 0.001, is 0.5", "train.epochs was 3.0, is 7.0"],
    );
    refused(train(&run).args(["--seed", "7"]), &["seed was 42, is 7"]);
    refused(&mut train_on(&run, 51), &["rows: not the same"]);
    assert!(rows == fs_err::read(run.join("train/rows.jsonl")).expect("rows"), "rows were touched");
    must_succeed(&finish(&mut train(&run)));
    // A finished run refuses too, with every difference.
    refused(
        train(&run).args(["--set", "train.lr=0.5", "--seed", "7"]),
        &["`lr` is 0.001 there, 0.5 now", "seed 42 there, 7 now"],
    );
    fs_err::remove_dir_all(&run).expect("cleaned");
}
