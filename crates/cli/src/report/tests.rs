//! The whole page of a run that the test writes itself.

use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::{build, write};

/// Text that would break out of element content, attributes, scripts or comments.
const HOSTILE: &str = "</script><img src=x onerror=alert(1)><!-- \" ' & <script>";

/// A run directory that is removed with the value.
pub(super) struct RunFixture {
    root: PathBuf,
}

impl RunFixture {
    /// An empty one.
    pub(super) fn new(name: &str) -> Self {
        let folder = format!("bioinstruct-report-{name}-{}", std::process::id());
        let root = std::env::temp_dir().join(folder);
        let _ = fs_err::remove_dir_all(&root);
        fs_err::create_dir_all(&root).unwrap();
        Self { root }
    }

    /// Where it is.
    pub(super) fn path(&self) -> &Path {
        &self.root
    }

    fn text(&self, file: &str, text: &str) {
        let path = self.root.join(file);
        fs_err::create_dir_all(path.parent().unwrap()).unwrap();
        fs_err::write(path, text).unwrap();
    }

    fn json(&self, file: &str, value: &Value) {
        self.text(file, &value.to_string());
    }

    fn lines(&self, file: &str, rows: &[Value]) {
        let lines: Vec<String> = rows.iter().map(Value::to_string).collect();
        self.text(file, &(lines.join("\n") + "\n"));
    }

    fn page(&self) -> String {
        build(std::slice::from_ref(&self.root), Some("Test")).unwrap()
    }
}

impl Drop for RunFixture {
    fn drop(&mut self) {
        let _ = fs_err::remove_dir_all(&self.root);
    }
}

fn manifest(stage: &str, summary: &Value) -> Value {
    json!({
        "stage": stage, "version": "0.1.0", "seed": 42, "config": {"lr": 2e-4, "nested": {"key": HOSTILE}},
        "inputs": {"model": "abc123"}, "outputs": {"file": "def456"}, "kernels": "avx2", "summary": summary
    })
}

fn row(instruction: &str, restricted: bool) -> Value {
    json!({
        "id": format!("id-{instruction}"), "instruction": instruction, "input": "", "output": HOSTILE, "category": "qa",
        "provenance": {"source": "generated", "request_id": "r1", "exemplar_ids": ["seed-001"], "model": "smollm2", "restricted": restricted}
    })
}

fn score(candidate: &str, task: &str, metric: &str, value: f64, chance: Option<f64>) -> Value {
    let adapter = (candidate == "tuned").then_some("train/adapter");
    let template = if candidate == "base-chat" { "chat" } else { "bioinstruct" };
    let mut score = json!({
        "model": "smollm2", "adapter": adapter, "candidate": candidate, "template": template, "task": task,
        "profile": "default", "shots": 0, "metric": metric, "value": value, "n": 40, "ci_low": value - 0.15,
        "ci_high": value + 0.15, "stderr": 0.07, "truncated": 0, "cut_off": 1, "unparsed": 2, "excluded": 0,
        "credentialed": task == "mednli", "signature": format!("{metric}|test|v1")
    });
    if let Some(chance) = chance {
        score["chance"] = json!(chance);
        score["majority"] = json!(0.3);
        score["majority_choice"] = json!("B");
        score["choice_shares"] = json!({"A": 0.6, "B": 0.4});
    }
    score
}

fn comparison(task: &str, metric: &str, delta: f64, within_noise: bool) -> Value {
    json!({
        "task": task, "profile": "default", "shots": 0, "metric": metric, "a": "base", "b": "tuned", "delta": delta,
        "ci_low": delta - 0.1, "ci_high": delta + 0.1, "p": if within_noise { 1.0 } else { 0.0004 }, "test": "sign-flip",
        "n": 40, "a_better": 3, "b_better": 4, "within_noise": within_noise
    })
}

/// Every stage, three models, hostile text in every place that holds text.
pub(super) fn full_run(name: &str) -> RunFixture {
    let run = RunFixture::new(name);
    let summary = json!({
        "wanted": 2, "requests": 12, "drafts": 40, "accepted": 2, "rejected": {"malformed": 8, "rouge-l": 30},
        "prompt_tokens": 12345, "completion_tokens": 678
    });
    run.json("generate/manifest.json", &manifest("generate", &summary));
    run.lines("generate/instructions.jsonl", &[row("plain", false), row(HOSTILE, false)]);
    let mut reject = row("rejected-one", false);
    reject["filter"] = json!("rouge-l");
    reject["reason"] = json!(HOSTILE);
    reject["evidence"] = json!({"nearest": "seed-001", "f": 0.83, "lcs": 5, "m": 6, "n": 6});
    run.lines("generate/rejected.jsonl", &[reject.clone(), reject.clone()]);
    run.json("dataset/manifest.json", &manifest("curate", &json!({})));
    run.lines("dataset/train.jsonl", &[row(HOSTILE, false), row("secret-row", true)]);
    run.lines("dataset/dev.jsonl", &[row("dev-row", false)]);
    run.lines("dataset/rejected.jsonl", &[reject]);
    run.json(
        "dataset/stats.json",
        &json!({
            "rows": {"read": 4, "kept": 3, "rejected": 1, "quarantined": 0, "train": 2, "dev": 1},
            "funnel": [{"filter": "exact", "rows_in": 4, "rejected": 0}, {"filter": "rouge-l", "rows_in": 4, "rejected": 1}],
            "categories": {"qa": {"rows": 3, "share": 1.0}, "ie": {"rows": 0}, "generation": {"rows": 0}, "other": {"rows": 0}},
            "instruction_words": {"count": 3, "median": 4, "p95": 9, "max": 9, "histogram": [{"from": 1, "to": 5, "rows": 2}, {"from": 6, "rows": 1}]},
            "sources": {HOSTILE: 3}, "restricted": 1
        }),
    );
    run.json(
        "review/review.json",
        &json!({"dataset_rows": 3, "rows": 2, "raters": ["someone"], "questions": {"harm": {
            "about": "what could happen", "rows": 2, "undecided": 0, "answers": {"none": 2}, "pairs": [],
            "good": {"count": 2, "of": 2, "share": 1.0, "low": 0.34, "high": 1.0, "weighted": 1.0}
        }}}),
    );
    run.json(
        "train/manifest.json",
        &manifest("train", &json!({"tokens": 9000, "peak_rss_bytes": 2e9})),
    );
    run.json("train/speed.json", &json!({"tokens_per_second": 900.0, "peak_rss_bytes": 2e9}));
    run.json("train/adapter/bioinstruct.json", &json!({"restricted": true}));
    run.lines(
        "train/metrics.jsonl",
        &[
            json!({"step": 0, "dev_loss": 2.9}),
            json!({"step": 1, "epoch": 0.1, "loss": 2.8, "lr": 1e-4, "grad_norm": 1.0, "tokens": 900, "label_tokens": 100}),
            json!({"step": 2, "epoch": 0.2, "loss": 2.2, "lr": 0.0, "grad_norm": 1.0, "tokens": 900, "label_tokens": 100}),
            json!({"step": 2, "dev_loss": 2.5}),
        ],
    );
    evaluation(&run);
    run
}

fn evaluation(run: &RunFixture) {
    run.json("eval/manifest.json", &manifest("eval", &json!({})));
    let mut scores = Vec::new();
    for (candidate, accuracy, f1) in
        [("base", 0.325, 0.2), ("base-chat", 0.3, 0.25), ("tuned", 0.35, 0.5)]
    {
        scores.push(score(candidate, "demo_qa", "accuracy", accuracy, Some(0.25)));
        let mut clean = score(candidate, "demo_qa", "accuracy", accuracy - 0.1, Some(0.25));
        clean["subset"] = json!("clean");
        clean["n"] = json!(31);
        scores.push(clean);
        scores.push(score(candidate, "demo_ie", "span_f1", f1, None));
        scores.push(score(candidate, "demo_ie", "span_recall", f1, None));
        scores.push(score(candidate, "mednli", "accuracy", accuracy, None));
    }
    run.json("eval/scores.json", &json!(scores));
    run.json(
        "eval/comparisons.json",
        &json!([
            comparison("demo_qa", "accuracy", 0.025, true),
            comparison("demo_ie", "span_f1", 0.3, false)
        ]),
    );
    for (candidate, choice) in [("base", "B"), ("tuned", "A")] {
        run.lines(
            &format!("eval/{candidate}/demo_qa@default-0shot.jsonl"),
            &[json!({"id": "demo-qa-01", "prompt": "h", "target": "A", "loglikelihoods": [-1.0, -2.0, -3.0, -4.0],
                "choice": choice, "correct": choice == "A", "tie": false, "truncated_tokens": 0})],
        );
        run.lines(
            &format!("eval/{candidate}/demo_ie@default-0shot.jsonl"),
            &[json!({"id": "demo-ie-01", "prompt": "h", "target": ["metoprolol"], "text": HOSTILE, "parsed": [HOSTILE],
                "unparsed": false, "finish": "stop", "metrics": {"span_f1": 0.5}})],
        );
        run.lines(
            &format!("eval/{candidate}/mednli@default-0shot.jsonl"),
            &[json!({"id": "m1", "prompt": "h", "target": "credentialed-label", "text": "credentialed-text", "metrics": {"accuracy": 1.0}})],
        );
        run.json(
            &format!("eval/{candidate}/demo_ie@default-0shot.info.json"),
            &json!({"title": "Demo extraction", "warnings": ["a check could not be made"], "resamples": 2000}),
        );
    }
}

/// The embedded data, as a browser would read them.
fn embedded(page: &str) -> Value {
    let (_, rest) = page.split_once("id=\"data\">").unwrap();
    let (text, _) = rest.split_once("</script>").unwrap();
    serde_json::from_str(text).unwrap()
}

#[test]
fn every_section_is_there_and_filled() {
    let page = full_run("full").page();
    for heading in [
        "Summary",
        "Generation and filters",
        "Dataset",
        "Tuning",
        "Scores",
        "Single predictions",
        "Dataset rows",
        "Rejected rows",
        "Methods and limits",
    ] {
        assert!(page.contains(&format!("<h2>{heading}</h2>")), "{heading}");
    }
    for text in [
        bioinstruct_core::NOT_FOR_PATIENT_CARE,
        "scores higher than the base, beyond noise, on Demo extraction.",
        "The difference is within noise on Demo questions.",
        "within noise",
        "+2.5",
        "guessing at random 25.0, always B 30.0",
        "from 2.900 at step 0 to 2.500 at step 2",
        "2 answers could not be read",
        "22.8\u{a0}%",
        "a check could not be made",
        "2000 resamples",
        "Base, own chat template",
        "The model read 12,345 tokens and wrote 678.",
        "80.0\u{a0}%",
        "Tuned on restricted text",
        "nested.key",
        "p &lt; 0.001",
        "Without the items that training rows give away: Base 22.5 (7.5 to 37.5) on 31 items; ",
        "Of 3 rows, 2 were judged by one rater: someone.",
    ] {
        assert!(page.contains(text), "`{text}` is missing");
    }
    assert!(!page.contains("class=\"absent\">This run"), "a section is said to be absent");
    assert!(!page.contains("Not readable"));
    let data = embedded(&page);
    assert_eq!(data["predictions"].as_array().unwrap().len(), 3);
    let qa = &data["predictions"][0];
    assert_eq!(qa["metric"], "correct");
    let series: Vec<&str> = qa["series"]
        .as_array()
        .unwrap()
        .iter()
        .map(|series| series["label"].as_str().unwrap())
        .collect();
    assert_eq!(series, ["Base", "Tuned"]);
    assert!(qa["items"][0]["fields"][0][1].as_str().unwrap().contains("high altitude"));
    assert_eq!(qa["items"][0]["answers"][1]["score"], 1.0);
    assert_eq!(data["rows"].as_array().unwrap().len(), 3);
    assert_eq!(data["rejects"].as_array().unwrap().len(), 3);
}

#[test]
fn hostile_text_stays_text() {
    let page = full_run("hostile").page();
    assert!(!page.contains("<img"), "markup from the run came through");
    assert!(!page.contains("<!-- "), "a comment from the run came through");
    // Two scripts: the data and the page's own.
    assert_eq!(page.matches("<script").count(), 2);
    assert_eq!(page.matches("</script>").count(), 2);
    let data = embedded(&page);
    assert_eq!(data["rows"][0]["instruction"], HOSTILE);
    assert_eq!(data["rejects"][0]["reason"], HOSTILE);
}

#[test]
fn nothing_outside_the_page_is_asked_for() {
    let page = full_run("outside").page();
    for word in [
        "http:",
        "https:",
        "//cdn",
        "@import",
        "url(",
        "fetch(",
        "XMLHttpRequest",
        "<iframe",
        "<link rel=\"style",
    ] {
        assert!(!page.contains(word), "`{word}` is in the page");
    }
    assert!(page.contains("default-src 'none'"));
}

#[test]
fn what_must_not_be_shown_is_not_in_the_page() {
    let page = full_run("secret").page();
    assert!(!page.contains("credentialed-text") && !page.contains("credentialed-label"));
    let data = embedded(&page);
    let restricted = &data["rows"][1];
    assert_eq!(restricted["id"], "id-secret-row");
    assert!(restricted.get("instruction").is_none() && restricted.get("output").is_none());
    let group = &data["predictions"][2];
    assert_eq!((&group["task"], &group["hidden"]), (&json!("mednli"), &json!(true)));
    assert_eq!(group["items"][0]["answers"][0]["score"], 1.0);
}

#[test]
fn equal_files_give_equal_bytes() {
    let run = full_run("equal");
    assert_eq!(run.page(), run.page());
    let out = run.path().join("report.html");
    write(&[run.path().to_owned()], &out).unwrap();
    let first = fs_err::read(&out).unwrap();
    write(&[run.path().to_owned()], &out).unwrap();
    assert_eq!(first, fs_err::read(&out).unwrap());
}

#[test]
fn an_empty_run_says_what_is_missing() {
    let page = RunFixture::new("empty").page();
    for sentence in [
        "Nothing was evaluated, so nothing is known",
        "This run did not generate instructions.",
        "This run has no curated dataset.",
        "This run has no dataset statistics.",
        "This run did not tune a model.",
        "Nothing was evaluated in this run.",
        "There are no predictions to show.",
        "There are no dataset rows to show.",
        "No row was rejected",
        "No stage has left a manifest yet.",
    ] {
        assert!(page.contains(sentence), "`{sentence}` is missing");
    }
}

#[test]
fn bad_files_become_notices() {
    let run = full_run("bad");
    run.text("train/metrics.jsonl", "{\"step\": 1, \"loss\": 2.0}\n{broken\n");
    run.text("eval/comparisons.json", "[{\"task\": 7}]");
    run.text("dataset/stats.json", "not json");
    let page = run.page();
    assert!(page.contains("Not readable"));
    assert!(page.contains("train&#x2f;metrics.jsonl: 1 not readable and left out; line 2"));
    assert!(page.contains("eval&#x2f;comparisons.json: 1 not readable and left out; entry 1"));
    assert!(page.contains("dataset&#x2f;stats.json: "));
    assert!(page.contains("not compared item by item"));
}

#[test]
fn long_lists_are_cut_and_said_to_be() {
    let run = full_run("long");
    let rows: Vec<Value> = (0..501).map(|at| row(&format!("row {at}"), false)).collect();
    run.lines("dataset/train.jsonl", &rows);
    let page = run.page();
    assert!(page.contains("train rows: the first 500 of 501"));
    assert_eq!(embedded(&page)["rows"].as_array().unwrap().len(), 501);
}

#[test]
fn several_runs_stand_side_by_side() {
    let (first, second) = (full_run("first"), full_run("second"));
    let page = build(&[first.path().to_owned(), second.path().to_owned()], None).unwrap();
    let label = second.path().file_name().unwrap().to_string_lossy().into_owned();
    assert!(page.contains(&format!("Tuned · {label}")), "{label}");
    assert!(page.contains(&format!(
        "on Demo extraction (Tuned · {}) and Demo extraction (Tuned · {label})",
        first.path().file_name().unwrap().to_string_lossy()
    )));
    assert_eq!(embedded(&page)["predictions"].as_array().unwrap().len(), 6);
}

#[test]
fn no_run_and_a_missing_run_are_errors() {
    assert!(build(&[], None).is_err());
    let error = build(&[PathBuf::from("no/such/run")], None).unwrap_err();
    assert!(error.to_string().contains("no/such/run"));
}
