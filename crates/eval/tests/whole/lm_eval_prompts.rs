//! The `lm-eval` profile against what lm-evaluation-harness itself asks (`tests/goldens/eval/make_lm_eval_prompts.py`).

use std::path::Path;

use crate::scripted::{Scripted, candidate, input, prompt_text, run, stage};
use bioinstruct_data::task::{ItemSources, Profile};
use serde_json::{Map, Value};

fn golden(task: &str) -> Value {
    let text = include_str!("../../../../tests/goldens/eval/lm_eval_prompts.json");
    serde_json::from_str::<Value>(text).unwrap()[task].clone()
}

fn lines(rows: &Value) -> Vec<u8> {
    let mut bytes = Vec::new();
    bioinstruct_core::jsonl::write(&mut bytes, rows.as_array().unwrap()).unwrap();
    bytes
}

/// Asks every item for a written answer and compares what is shown.
fn check_written(task: &str, folder: &Path, expected: &Value) {
    let sources =
        ItemSources { data: Some(folder), profile: Profile::LmEval, ..ItemSources::default() };
    let mut model = Scripted::writing(|_| Ok("Why?".to_owned()));
    let run_folder = tempfile::tempdir().unwrap();
    let candidates = [candidate("base", None, "bioinstruct")];
    run(&stage(run_folder.path()), &mut model, &candidates, &[input(task, &sources)]).unwrap();
    let asked: Vec<&str> =
        model.written.iter().map(|request| prompt_text(&request.prompt)).collect();
    let expected: Vec<&str> = expected
        .as_array()
        .unwrap()
        .iter()
        .map(|request| request["context"].as_str().unwrap())
        .collect();
    assert_eq!(asked, expected);
    for request in &model.written {
        assert_eq!(
            (request.stop.as_slice(), request.sampling.max_tokens),
            (["\n\n".to_owned()].as_slice(), 256)
        );
    }
}

/// Asks every item and compares context and continuations.
fn check(task: &str, folder: &Path, shots: usize, expected: &Value) {
    let sources = ItemSources {
        data: Some(folder),
        profile: Profile::LmEval,
        shots: Some(shots),
        ..ItemSources::default()
    };
    let mut model = Scripted::scoring(|request| vec![-1.0; request.continuations.len()]);
    let run_folder = tempfile::tempdir().unwrap();
    let candidates = [candidate("base", None, "bioinstruct")];
    run(&stage(run_folder.path()), &mut model, &candidates, &[input(task, &sources)]).unwrap();
    let expected = expected.as_array().unwrap();
    assert_eq!(model.scored.len(), expected.len());
    for (asked, expected) in model.scored.iter().zip(expected) {
        assert_eq!(prompt_text(&asked.context), expected["context"].as_str().unwrap());
        assert_eq!(serde_json::json!(asked.continuations), expected["continuations"]);
    }
}

#[test]
fn medqa_prompts_are_the_harness_s() {
    let golden = golden("medqa");
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, rows: &Value| {
        fs_err::write(folder.path().join(name), lines(rows)).unwrap();
    };
    write("phrases_no_exclude_test.jsonl", &golden["data"]);
    write("phrases_no_exclude_train.jsonl", &golden["train"]);
    check("medqa", folder.path(), 0, &golden["requests_0_shot"]);
    check("medqa", folder.path(), 2, &golden["requests_2_shot"]);
}

#[test]
fn medmcqa_prompts_are_the_harness_s() {
    let golden = golden("medmcqa");
    let folder = tempfile::tempdir().unwrap();
    fs_err::write(folder.path().join("dev.json"), lines(&golden["data"])).unwrap();
    fs_err::write(folder.path().join("train.json"), lines(&golden["train"])).unwrap();
    check("medmcqa", folder.path(), 0, &golden["requests_0_shot"]);
    check("medmcqa", folder.path(), 2, &golden["requests_2_shot"]);
}

#[test]
fn mmlu_prompts_are_the_harness_s() {
    let golden = golden("mmlu_anatomy");
    let folder = tempfile::tempdir().unwrap();
    let table = |rows: &Value| -> String {
        let cell = |cell: &Value| format!("\"{}\"", cell.as_str().unwrap().replace('"', "\"\""));
        let line = |row: &Value| {
            let cells: Vec<String> = row.as_array().unwrap().iter().map(cell).collect();
            cells.join(",") + "\n"
        };
        rows.as_array().unwrap().iter().map(line).collect()
    };
    fs_err::write(folder.path().join("anatomy_test.csv"), table(&golden["data"])).unwrap();
    fs_err::write(folder.path().join("anatomy_dev.csv"), table(&golden["train"])).unwrap();
    check("mmlu_anatomy", folder.path(), 0, &golden["requests_0_shot"]);
    check("mmlu_anatomy", folder.path(), 2, &golden["requests_2_shot"]);
}

#[test]
fn meqsum_prompts_are_the_harness_s() {
    let golden = golden("meqsum");
    let folder = tempfile::tempdir().unwrap();
    fs_err::write(folder.path().join("meqsum.jsonl"), lines(&golden["data"])).unwrap();
    check_written("meqsum", folder.path(), &golden["requests_0_shot"]);
}

#[test]
fn pubmedqa_prompts_are_the_harness_s() {
    let golden = golden("pubmedqa");
    let folder = tempfile::tempdir().unwrap();
    let test = golden["data"].as_object().unwrap();
    let all: Map<String, Value> = test
        .iter()
        .chain(golden["train"].as_object().unwrap())
        .map(|(k, v)| (k.clone(), v.clone()))
        .collect();
    let ids: Map<String, Value> =
        test.iter().map(|(key, row)| (key.clone(), row["final_decision"].clone())).collect();
    let write = |name: &str, rows: Map<String, Value>| {
        fs_err::write(folder.path().join(name), Value::Object(rows).to_string()).unwrap();
    };
    write("ori_pqal.json", all);
    write("test_ground_truth.json", ids);
    check("pubmedqa", folder.path(), 0, &golden["requests_0_shot"]);
    check("pubmedqa", folder.path(), 2, &golden["requests_2_shot"]);
}

#[test]
fn the_harness_form_is_what_its_rules_say() {
    let medqa = golden("medqa");
    assert_eq!(
        medqa["requests_0_shot"][0]["context"],
        "Question: A child swallowed a button battery an hour ago. \nWhat comes first?\n \n\
         A. Endoscopy \nB. Waiting\nC. An X-ray in 2 days\nD.  Milk\nAnswer:"
    );
    let pubmedqa = golden("pubmedqa");
    assert_eq!(
        pubmedqa["requests_2_shot"][1]["context"],
        "Abstract: No arm differed.\nQuestion: Is tea a cure for colds?\nAnswer: no\n\n\
         Abstract: They did.\nQuestion: Do masks help?\nAnswer: yes\n\n\
         Abstract: One dose was compared with two doses in a small trial.\nQuestion: Is a second dose needed?\nAnswer:"
    );
    assert_eq!(
        pubmedqa["requests_0_shot"][0]["continuations"],
        serde_json::json!([" yes", " no", " maybe"])
    );
}
