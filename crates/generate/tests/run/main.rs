//! Whole generations against a scripted model: any concurrency, any order of replies, failures and kills at any point give
//! the same bytes.

#![expect(clippy::unwrap_used, reason = "a test may stop here")]

mod scripted;

use std::collections::BTreeSet;
use std::path::Path;

use bioinstruct_core::diagnose::{Diagnose, FailureKind};
use bioinstruct_core::jsonl;
use bioinstruct_core::model::{ChatRequest, Finish};
use bioinstruct_core::record::{Instruction, SeedTask};
use bioinstruct_core::run_directory::RunDirectory;
use bioinstruct_curate::CurateConfig;
use bioinstruct_generate::{
    Form, GenerateConfig, GenerateError, Job, RejectedDraft, Summary, generate,
};
use proptest::prelude::*;
use serde_json::json;

use scripted::{Scripted, always_the_same, in_json, numbered};

fn seeds() -> Vec<SeedTask> {
    let categories = ["qa", "ie", "generation", "other"];
    (0..16)
        .map(|n| {
            let value = json!({
                "id": format!("s{n}"), "instruction": format!("Seed {n} wants {n} things {n}."), "output": "x",
                "category": categories[n % 4], "topic": "t",
            });
            serde_json::from_value(value).unwrap()
        })
        .collect()
}

fn config(form: Form, count: usize) -> GenerateConfig {
    GenerateConfig { form, count, ..GenerateConfig::default() }
}

fn run_in(
    root: &Path,
    model: &mut Scripted,
    config: &GenerateConfig,
) -> Result<Summary, GenerateError> {
    let seeds = seeds();
    let curate = CurateConfig::default();
    let job = Job { seeds: &seeds, config, curate: &curate, seed: 3, local: false };
    let run = RunDirectory::open(root).unwrap();
    let mut last = 0;
    generate(&run, model, &job, &mut |progress| {
        assert!(progress.tally.accepted >= last && progress.replied <= progress.sent);
        last = progress.tally.accepted;
    })
}

fn published(root: &Path) -> Vec<String> {
    ["instructions.jsonl", "rejected.jsonl", "manifest.json"]
        .map(|name| fs_err::read_to_string(root.join("generate").join(name)).unwrap())
        .to_vec()
}

fn script(form: Form) -> fn(&ChatRequest) -> (String, Finish) {
    match form {
        Form::Paper => numbered,
        Form::Json => in_json,
    }
}

/// One request at a time, never interrupted.
fn reference(form: Form) -> &'static Vec<String> {
    static PAPER: std::sync::OnceLock<Vec<String>> = std::sync::OnceLock::new();
    static JSON: std::sync::OnceLock<Vec<String>> = std::sync::OnceLock::new();
    let cell = if form == Form::Paper { &PAPER } else { &JSON };
    cell.get_or_init(|| {
        let scratch = tempfile::tempdir().unwrap();
        run_in(scratch.path(), &mut Scripted::new(script(form)), &config(form, 12)).unwrap();
        published(scratch.path())
    })
}

#[test]
fn rows_carry_where_they_come_from_and_rejects_why() {
    let scratch = tempfile::tempdir().unwrap();
    let mut model = Scripted::new(numbered);
    let summary = run_in(scratch.path(), &mut model, &config(Form::Paper, 12)).unwrap();
    let directory = scratch.path().join("generate");
    let rows: Vec<Instruction> = jsonl::read(&directory.join("instructions.jsonl")).unwrap();
    let rejected: Vec<RejectedDraft> = jsonl::read(&directory.join("rejected.jsonl")).unwrap();
    assert_eq!((rows.len(), summary.tally.accepted, summary.wanted), (12, 12, 12));
    assert_eq!(summary.tally.drafts, rows.len() + rejected.len());
    assert_eq!(summary.tally.requests, model.requests as u64);
    assert_eq!(summary.tally.completion_tokens, 11 * summary.tally.requests);
    for row in &rows {
        assert_eq!(row.provenance.source, "generated");
        assert_eq!(row.provenance.model, "scripted-1");
        assert_eq!((row.provenance.exemplar_ids.len(), row.provenance.request_id.len()), (3, 16));
        assert_eq!(row.input, "8. Albuterol\n5. x");
    }
    for reason in ["malformed", "truncated", "keyword"] {
        assert!(summary.tally.rejected.contains_key(reason), "{:?}", summary.tally.rejected);
    }
    let of_filter = |name: &str| rejected.iter().find(|draft| draft.filter == name).unwrap();
    assert!(of_filter("keyword").draft.is_some() && of_filter("keyword").text.is_empty());
    assert!(of_filter("malformed").draft.is_none() && !of_filter("malformed").text.is_empty());

    // Finished: the model is not asked again.
    let mut second = Scripted::new(numbered);
    let again = run_in(scratch.path(), &mut second, &config(Form::Paper, 12)).unwrap();
    assert!(again.was_finished && second.requests == 0);
    assert_eq!(again.tally, summary.tally);
    let error = run_in(scratch.path(), &mut second, &config(Form::Paper, 13)).unwrap_err();
    assert!(error.to_string().contains("`generate.count` is 12 there, 13 now"), "{error}");
}

#[test]
fn the_json_form_knows_what_it_asked_for() {
    let scratch = tempfile::tempdir().unwrap();
    run_in(scratch.path(), &mut Scripted::new(in_json), &config(Form::Json, 12)).unwrap();
    let rows: Vec<Instruction> =
        jsonl::read(&scratch.path().join("generate/instructions.jsonl")).unwrap();
    assert!(rows.iter().all(|row| row.category.is_some() && row.input.is_empty()));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn order_concurrency_and_kills_change_nothing(
        form in prop::sample::select(vec![Form::Paper, Form::Json]),
        lives in proptest::collection::vec((1usize..9, 0u64..1000, 0usize..12), 1..5),
    ) {
        let scratch = tempfile::tempdir().unwrap();
        let config = config(form, 12);
        let mut replied = Vec::new();
        for (concurrency, order, dies_at) in lives {
            let mut model = Scripted::new(script(form));
            model.concurrency = concurrency;
            model.order = order;
            model.dies_at = Some(dies_at);
            if let Err(error) = run_in(scratch.path(), &mut model, &config) {
                prop_assert!(matches!(error, GenerateError::Model(_)), "{}", error);
            }
            replied.append(&mut model.replied);
        }
        let mut model = Scripted::new(script(form));
        model.concurrency = 4;
        model.order = 9;
        run_in(scratch.path(), &mut model, &config).unwrap();
        prop_assert!(&published(scratch.path()) == reference(form));
        // Only what was under way in a life that died is asked anew.
        replied.append(&mut model.replied);
        let once: BTreeSet<&String> = replied.iter().collect();
        prop_assert_eq!(once.len(), replied.len(), "a reply was paid for twice");
    }

    #[test]
    fn failures_are_asked_again_by_a_later_run(order in 0u64..1000, concurrency in 1usize..6) {
        let scratch = tempfile::tempdir().unwrap();
        let mut model = Scripted::new(numbered);
        model.concurrency = concurrency;
        model.order = order;
        model.fails = |event| (event == 1).then_some(false);
        model.dies_at = Some(3); // two replies hold ten tasks at most
        let error = run_in(scratch.path(), &mut model, &config(Form::Paper, 12)).unwrap_err();
        prop_assert!(matches!(error, GenerateError::Model(_)), "{}", error);
        model.fails = |_| None;
        model.dies_at = None;
        run_in(scratch.path(), &mut model, &config(Form::Paper, 12)).unwrap();
        prop_assert!(&published(scratch.path()) == reference(Form::Paper));
    }
}

#[test]
fn a_service_that_is_down_ends_the_run_and_a_rerun_goes_on() {
    let scratch = tempfile::tempdir().unwrap();
    let mut model = Scripted::new(numbered);
    model.fails = |_| Some(false);
    let error = run_in(scratch.path(), &mut model, &config(Form::Paper, 12)).unwrap_err();
    assert_eq!(error.to_string(), "5 requests in a row failed, the last with: refused");
    assert_eq!(error.kind(), FailureKind::Unavailable);
    assert_eq!(model.requests, 5);
    run_in(scratch.path(), &mut Scripted::new(numbered), &config(Form::Paper, 12)).unwrap();
    assert_eq!(&published(scratch.path()), reference(Form::Paper));
}

/// A request that may have been billed twice is not sent a third time; the plan goes on without it.
#[test]
fn doubtful_requests_are_given_up() {
    let scratch = tempfile::tempdir().unwrap();
    let config = config(Form::Paper, 12);
    let mut model = Scripted::new(numbered);
    model.fails = |event| (event == 0).then_some(true);
    model.dies_at = Some(1);
    for _ in 0..2 {
        run_in(scratch.path(), &mut model, &config).unwrap_err();
    }
    let summary = run_in(scratch.path(), &mut Scripted::new(numbered), &config).unwrap();
    assert_eq!(summary.tally.rejected["request-failed"], 1);
    let rejected: Vec<RejectedDraft> =
        jsonl::read(&scratch.path().join("generate/rejected.jsonl")).unwrap();
    assert_eq!((rejected[0].filter.as_str(), rejected[0].position), ("request-failed", 0));
    assert_eq!(rejected[0].reason, "refused");
}

#[test]
fn a_model_that_repeats_itself_is_stopped() {
    let scratch = tempfile::tempdir().unwrap();
    let mut model = Scripted::new(always_the_same);
    model.concurrency = 7;
    let config = GenerateConfig { max_barren_requests: 10, ..config(Form::Paper, 12) };
    let summary = run_in(scratch.path(), &mut model, &config).unwrap();
    let stopped = summary.stopped.unwrap();
    assert_eq!(stopped, "1 of 12 rows are accepted: 10 requests in a row gave no new one");
    assert_eq!((summary.tally.accepted, summary.tally.requests), (1, 11));

    let scratch = tempfile::tempdir().unwrap();
    let config = GenerateConfig { max_requests: 2, ..config };
    let mut model = Scripted::new(always_the_same);
    model.concurrency = 7;
    let summary = run_in(scratch.path(), &mut model, &config).unwrap();
    assert!(summary.stopped.unwrap().contains("`max_requests` 2 is reached"));
    assert_eq!(model.requests, 2);
}

#[test]
fn few_requests_are_sent_for_few_rows() {
    let scratch = tempfile::tempdir().unwrap();
    let mut model = Scripted::new(numbered);
    model.concurrency = 64;
    run_in(scratch.path(), &mut model, &config(Form::Paper, 3)).unwrap();
    assert!(model.requests <= 6, "{} requests for 3 rows", model.requests);
}

#[test]
fn other_settings_do_not_continue_a_ledger() {
    let scratch = tempfile::tempdir().unwrap();
    let mut model = Scripted::new(numbered);
    model.dies_at = Some(1);
    run_in(scratch.path(), &mut model, &config(Form::Paper, 12)).unwrap_err();
    let other = GenerateConfig { temperature: 0.5, ..config(Form::Paper, 12) };
    let error = run_in(scratch.path(), &mut Scripted::new(numbered), &other).unwrap_err();
    assert!(matches!(error, GenerateError::Ledger(_)), "{error}");
    assert_eq!(error.kind(), FailureKind::Configuration);
    // How many rows are wanted may change on the way.
    let summary =
        run_in(scratch.path(), &mut Scripted::new(numbered), &config(Form::Paper, 5)).unwrap();
    assert_eq!(summary.tally.accepted, 5);
}

#[test]
fn restricted_seeds_stay_and_schemas_are_needed() {
    let scratch = tempfile::tempdir().unwrap();
    let run = RunDirectory::open(scratch.path()).unwrap();
    let mut seeds = seeds();
    seeds[3].restricted = true;
    let curate = CurateConfig::default();
    let paper = config(Form::Paper, 12);
    let job = Job { seeds: &seeds, config: &paper, curate: &curate, seed: 3, local: false };
    let mut model = Scripted::new(numbered);
    let error = generate(&run, &mut model, &job, &mut |_| ()).unwrap_err();
    assert!(error.to_string().contains("1 seeds are restricted (the first is s3)"), "{error}");
    assert_eq!((error.kind(), model.requests), (FailureKind::Configuration, 0));

    generate(&run, &mut model, &Job { local: true, ..job }, &mut |_| ()).unwrap();
    let rows: Vec<Instruction> =
        jsonl::read(&scratch.path().join("generate/instructions.jsonl")).unwrap();
    for row in rows {
        let shown = row.provenance.exemplar_ids.contains(&"s3".to_owned());
        assert_eq!(row.provenance.restricted, shown);
    }

    let mut model = Scripted::new(in_json);
    model.schema = false;
    let json = config(Form::Json, 12);
    let job = Job { config: &json, local: true, ..job };
    let error = generate(&run, &mut model, &job, &mut |_| ()).unwrap_err();
    assert_eq!(error.to_string(), "scripted cannot be held to a JSON schema");
}
