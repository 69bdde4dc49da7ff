//! What `train` and `preview` make of row files: mixtures, counts, refusals. Run on the tiny random model.

#![expect(clippy::unwrap_used, reason = "a test")]

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::{Value, json};

fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// A folder of one test, empty at its beginning.
fn folder(name: &str) -> PathBuf {
    let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(name);
    let _ = fs_err::remove_dir_all(&folder);
    fs_err::create_dir_all(&folder).unwrap();
    folder
}

fn run(folder: &Path, arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_bioinstruct"))
        .args(arguments)
        .args(["--offline", "--json", "--model"])
        .arg(repository().join("tests/fixtures/tiny-llama"))
        .current_dir(folder)
        .output()
        .unwrap()
}

fn summary(output: &Output) -> Value {
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    let printed = String::from_utf8_lossy(&output.stdout);
    serde_json::from_str(printed.lines().last().unwrap()).unwrap()
}

fn write_rows(folder: &Path, name: &str, rows: impl IntoIterator<Item = Value>) {
    let lines: Vec<String> = rows.into_iter().map(|row| format!("{row}\n")).collect();
    fs_err::write(folder.join(name), lines.concat()).unwrap();
}

fn row(text: &str, category: &str) -> Value {
    json!({"instruction": format!("Say {text}."), "output": text, "category": category})
}

fn read(path: &Path) -> Vec<Value> {
    let text = fs_err::read_to_string(path).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

const TINY: [&str; 10] = [
    "--rank",
    "2",
    "--dropout",
    "0",
    "--batch-rows",
    "4",
    "--set",
    "train.epochs=1",
    "--set",
    "train.dev_fraction=0",
];

/// Training pain 14: data sets in proportions.
#[test]
fn files_are_mixed_by_weight_and_rows_left_out_are_counted() {
    let folder = folder("mixture");
    write_rows(&folder, "a.jsonl", (0..30).map(|n| row(&format!("a{n}"), "qa")));
    let long = json!({"instruction": "Read.", "input": "x y ".repeat(300), "output": "z"});
    let b = (0..8).map(|n| row(&format!("b{n}"), "ie"));
    write_rows(&folder, "b.jsonl", b.chain([long, json!({"instruction": "Say.", "output": ""})]));
    let train = |data: [&str; 2], run_directory: &str, more: &[&str]| {
        let fixed = ["train", "--run", run_directory, "--data", data[0], data[1]];
        run(&folder, &[&fixed[..], &TINY, more].concat())
    };
    let error = train(["a.jsonl:1", "b.jsonl"], "none", &[]);
    assert_eq!(error.status.code(), Some(2), "one file has no weight");
    let error = train(["a.jsonl", "b.jsonl"], "none", &[]);
    assert_eq!(error.status.code(), Some(65));
    let said = String::from_utf8_lossy(&error.stderr);
    assert!(said.contains("1 rows have no answer to learn"), "{said}");

    let allowed = ["--set", "train.max_unlabelled=1"];
    let told = summary(&train(["a.jsonl:0.5", "b.jsonl:0.5"], "even", &allowed));
    let counted = ["rows", "overlong_rows", "unlabelled_rows", "shortened_rows"];
    assert_eq!(counted.map(|field| told[field].as_u64().unwrap()), [38, 1, 1, 0]);
    assert_eq!(told["steps"], 10, "38 draws of 4");
    let manifest = fs_err::read_to_string(folder.join("even/train/manifest.json")).unwrap();
    let manifest: Value = serde_json::from_str(&manifest).unwrap();
    assert_eq!(manifest["summary"]["overlong_rows"], 1);
    let left_out = read(&folder.join("even/train/left_out.jsonl"));
    let decisions: Vec<&str> =
        left_out.iter().map(|row| row["decision"].as_str().unwrap()).collect();
    assert_eq!(decisions, ["overlong", "unlabelled"]);

    // Shortened, its answer is learned; the weights are another mixture, so another run.
    let shorten = [&allowed[..], &["--overlong", "truncate-input"]].concat();
    let told = summary(&train(["a.jsonl", "b.jsonl"], "cut", &shorten));
    assert_eq!(counted.map(|field| told[field].as_u64().unwrap()), [39, 0, 1, 1]);
    let other = train(["a.jsonl:0.4", "b.jsonl:0.6"], "even", &allowed);
    let said = String::from_utf8_lossy(&other.stderr).into_owned();
    assert!(!other.status.success() && said.contains("mixture"), "{said}");
}

#[test]
fn categories_have_their_shares_or_are_refused() {
    let folder = folder("categories");
    let rows = (0..12).map(|n| row(&format!("{n}"), if n < 9 { "qa" } else { "generation" }));
    write_rows(&folder, "rows.jsonl", rows);
    let train = |shares: &str, run_directory: &str| {
        let shares = format!("train.category_shares={shares}");
        let fixed = ["train", "--data", "rows.jsonl", "--run", run_directory, "--set", &shares];
        run(&folder, &[&fixed[..], &TINY].concat())
    };
    let error = train("{qa = 1.0}", "none");
    let said = String::from_utf8_lossy(&error.stderr);
    assert!(said.contains("does not name `generation`, which 3 rows are of"), "{said}");
    assert_eq!(error.status.code(), Some(78));
    let told = summary(&train("{qa = 0.5, generation = 0.5}", "even"));
    assert_eq!((&told["rows"], &told["steps"]), (&json!(12), &json!(3)));
}

/// Training pain 19: a changed prompt template that goes unnoticed.
#[test]
fn a_run_under_another_template_is_refused_by_name() {
    let folder = folder("template");
    write_rows(&folder, "rows.jsonl", (0..4).map(|n| row(&format!("{n}"), "qa")));
    let template = |text: &str| fs_err::write(folder.join("mine.jinja"), text).unwrap();
    let fixed = ["train", "--data", "rows.jsonl", "--run", "run", "--template", "mine.jinja"];
    let train = || run(&folder, &[&fixed[..], &TINY].concat());
    template("{{ instruction }} {{ input }} ->");
    summary(&train());
    template("{{ instruction }} {{ input }} =>");
    let error = train();
    let said = String::from_utf8_lossy(&error.stderr);
    assert!(!error.status.success() && said.contains("template"), "{said}");
    template("{{ instruction }} {{ input }} ->");
    let again = train();
    assert!(String::from_utf8_lossy(&again.stderr).contains("already done"));
}

#[test]
fn preview_shows_tokens_mask_and_decisions() {
    let folder = folder("preview");
    let long = json!({"instruction": "Read.", "input": "x y ".repeat(300), "output": "z"});
    write_rows(&folder, "rows.jsonl", [row("yes", "qa"), long, row("no", "qa")]);
    let preview = |more: &[&str]| {
        let fixed = ["preview", "--data", "rows.jsonl", "--rows", "2", "--cutoff", "150"];
        run(&folder, &[&fixed[..], more].concat())
    };
    let output = preview(&["--template", "chat", "--overlong", "truncate-input"]);
    let told = summary(&output);
    assert_eq!(told["rows"].as_array().unwrap().len(), 2);
    let decisions = [0, 1].map(|row| told["rows"][row]["decision"].as_str().unwrap());
    assert_eq!(decisions, ["learned", "shortened"]);
    let learned: Vec<&str> = told["rows"][0]["tokens"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|token| token["learned"] == true)
        .map(|token| token["text"].as_str().unwrap())
        .collect();
    assert_eq!(learned.concat(), "yes<|im_end|>");
    let summary_of = &told["summary"];
    let counts = ["rows", "learned", "shortened", "overlong", "unlabelled", "cutoff"];
    assert_eq!(counts.map(|field| summary_of[field].as_u64().unwrap()), [3, 3, 1, 0, 0, 150]);
    let printed = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(printed.contains("<|im_end|>⟧"), "{printed}");
    assert!(printed.contains("and its input was cut"), "{printed}");

    let told = summary(&preview(&[]));
    assert_eq!(told["rows"][1]["decision"], "overlong");
    assert_eq!(told["summary"]["overlong"], 1);
    let error = preview(&["--overlong", "error"]);
    assert_eq!(error.status.code(), Some(65));
}

#[test]
fn packed_and_foreign_files_are_trained_on() {
    let folder = folder("foreign");
    let csv = "instruction,output\nSay a.,a\nSay b.,b\n";
    fs_err::write(folder.join("rows.csv"), csv).unwrap();
    let turns =
        |answer: &str| json!([{"from": "human", "value": "Hi."}, {"from": "gpt", "value": answer}]);
    let two = [turns("a"), turns("b")].map(|it| it.as_array().unwrap().clone()).concat();
    write_rows(&folder, "chats.jsonl", [json!({"conversations": two})]);
    let fixed = ["train", "--data", "rows.csv", "chats.jsonl", "--run"];
    let told =
        summary(&run(&folder, &[&fixed[..], &["chat", "--template", "chat"], &TINY].concat()));
    assert_eq!(told["rows"], 3);
    // No other template shows a chat of two turns, and none cuts it to its last turn.
    let error = run(&folder, &[&fixed[..], &["none"], &TINY].concat());
    let said = String::from_utf8_lossy(&error.stderr);
    assert!(said.contains("no place for earlier turns"), "{said}");
}
