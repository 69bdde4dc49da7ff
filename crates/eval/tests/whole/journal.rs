//! Stopping, failing and going on; what must never be written; what is refused.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::path::Path;

use crate::scripted::{
    Scripted, base_and_tuned, candidate, input, limited, lines, opinions, prompt_text, run, stage,
};
use bioinstruct_core::diagnose::{Diagnose, FailureKind};
use bioinstruct_data::task::ItemSources;
use bioinstruct_eval::{
    EvaluationConfig, EvaluationError, TaskInput, evaluate, read_predictions, rebuild,
};
use serde_json::json;

fn files_of(directory: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut files = BTreeMap::new();
    for folder in fs_err::read_dir(directory).unwrap() {
        let folder = folder.unwrap().path();
        let inside: Vec<_> = if folder.is_dir() {
            fs_err::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()).collect()
        } else {
            vec![folder]
        };
        for path in inside {
            let name = path.strip_prefix(directory).unwrap().to_string_lossy().into_owned();
            if !name.starts_with("ledger") {
                files.insert(name, fs_err::read(&path).unwrap());
            }
        }
    }
    files
}

#[test]
fn an_interrupted_run_continues_to_the_same_bytes_and_a_finished_one_costs_nothing() {
    let task = || limited("demo_qa", 9);
    let model = || Scripted::scoring(opinions(&task()));
    let undisturbed = tempfile::tempdir().unwrap();
    let undisturbed = stage(undisturbed.path());
    run(&undisturbed, &mut model(), &base_and_tuned(), &[task()]).unwrap();

    let folder = tempfile::tempdir().unwrap();
    let stage = stage(folder.path());
    let mut tired = model().with_patience(13);
    let error = run(&stage, &mut tired, &base_and_tuned(), &[task()]).unwrap_err();
    assert_eq!(error.kind(), FailureKind::Unavailable);
    assert!(!stage.path("scores.json").exists());
    let mut second = model();
    run(&stage, &mut second, &base_and_tuned(), &[task()]).unwrap();
    assert_eq!(second.scored.len(), 18 - 13);
    assert_eq!(files_of(stage.directory()), files_of(undisturbed.directory()));

    let mut third = model();
    let mut seen = Vec::new();
    let config = EvaluationConfig { resamples: 1_000, ..EvaluationConfig::default() };
    evaluate(&stage, &mut third, &base_and_tuned(), &[task()], &config, &mut |progress| {
        seen.push((progress.candidate.to_owned(), progress.done, progress.total));
        ControlFlow::Continue(())
    })
    .unwrap();
    assert!(third.scored.is_empty());
    assert_eq!(seen, [("tuned".to_owned(), 9, 9), ("base".to_owned(), 9, 9)]);
    assert_eq!(files_of(stage.directory()), files_of(undisturbed.directory()));
}

#[test]
fn the_caller_can_stop_and_go_on() {
    let folder = tempfile::tempdir().unwrap();
    let stage = stage(folder.path());
    let task = limited("demo_gen", 5);
    let mut model = Scripted::writing(|_| Ok("note".to_owned()));
    let stop = &mut |progress: bioinstruct_eval::Progress<'_>| {
        if progress.done == 3 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    };
    let candidates = [candidate("base", None, "chat")];
    let config = EvaluationConfig::default();
    let tasks = [task];
    let stopped = evaluate(&stage, &mut model, &candidates, &tasks, &config, stop).unwrap_err();
    assert_eq!(stopped.kind(), FailureKind::Interrupted);
    run(&stage, &mut model, &candidates, &tasks).unwrap();
    assert_eq!(model.written.len(), 5);
}

#[test]
fn a_failed_item_is_named_and_only_it_is_asked_again() {
    let folder = tempfile::tempdir().unwrap();
    let stage = stage(folder.path());
    let tasks = [limited("demo_gen", 5)];
    let candidates = [candidate("base", None, "bioinstruct")];
    let mut failing = Scripted::writing(|request| {
        if request.id.ends_with("02") {
            Err("no capacity".to_owned())
        } else {
            Ok("note".to_owned())
        }
    });
    let error = run(&stage, &mut failing, &candidates, &tasks).unwrap_err();
    assert_eq!(
        error.to_string(),
        "task `demo_gen`, candidate `base`: 1 of 5 items have no answer; item `demo-gen-02`: no capacity"
    );
    assert_eq!(error.kind(), FailureKind::Temporary);
    let mut model = Scripted::writing(|_| Ok("note".to_owned()));
    run(&stage, &mut model, &candidates, &tasks).unwrap();
    assert_eq!(model.written.len(), 1);
}

#[test]
fn a_log_likelihood_that_is_no_number_is_an_error_and_is_not_kept() {
    let folder = tempfile::tempdir().unwrap();
    let stage = stage(folder.path());
    let tasks = [limited("demo_qa", 4)];
    let candidates = [candidate("base", None, "bioinstruct")];
    let mut broken = Scripted::scoring(|request| {
        let third = if request.id.ends_with("02") { f64::NAN } else { -1.0 };
        vec![-1.0, -2.0, third, -4.0]
    });
    let error = run(&stage, &mut broken, &candidates, &tasks).unwrap_err();
    assert_eq!(
        error.to_string(),
        "task `demo_qa`, item `demo-qa-02`, candidate `base`: the log-likelihood of choice 3 is NaN"
    );
    let mut model = Scripted::scoring(|_| vec![-1.0, -2.0, -3.0, -4.0]);
    run(&stage, &mut model, &candidates, &tasks).unwrap();
    assert_eq!(model.scored.len(), 3);
    let mut few = Scripted::scoring(|_| vec![-1.0]);
    let other = [candidate("other", Some("x"), "bioinstruct")];
    let error = run(&stage, &mut few, &other, &tasks).unwrap_err();
    assert!(matches!(error, EvaluationError::Reply { .. }), "{error}");
    assert!(error.to_string().ends_with("1 scores for 4 choices"), "{error}");
}

/// A task of the user's with its data beside it.
fn own_task(folder: &Path, credentialed: bool, rows: &[(&str, &str)]) -> TaskInput {
    let rows = rows.iter().map(|(note, answer)| json!({"note": note, "drugs": [answer]}));
    let mut data = Vec::new();
    bioinstruct_core::jsonl::write(&mut data, rows).unwrap();
    fs_err::write(folder.join("own.jsonl"), data).unwrap();
    let task = format!(
        "name = \"own\"\ntitle = \"Own\"\ndescription = \"d\"\nkind = \"extraction\"\nmetrics = [\"span_f1\"]\n\
         licence = \"l\"\nsource = \"s\"\nmatch_field = \"note\"\nmax_tokens = 9\ncredentialed = {credentialed}\n\
         [data]\nformat = \"jsonl\"\nfile = \"own.jsonl\"\n[data.fields]\nnote = \"note\"\n\
         [answer]\nfield = \"drugs\"\nform = \"list\"\n[read]\nseparators = [\"line\"]\n\
         [profiles.default]\ninstruction = \"List the drugs.\"\ninput = \"{{{{ note }}}}\"\n"
    );
    let path = folder.join("own.toml");
    fs_err::write(&path, task).unwrap();
    input(&path.to_string_lossy(), &ItemSources::default())
}

#[test]
fn no_text_of_a_credentialed_task_is_written_anywhere() {
    let rows = [("Takes SECRETNOTE daily", "secretgold"), ("Nothing", "other")];
    for credentialed in [true, false] {
        let folder = tempfile::tempdir().unwrap();
        let task = own_task(folder.path(), credentialed, &rows);
        let stage = stage(folder.path());
        let model = || Scripted::writing(|_| Ok("secretgold\nSECRETREPLY".to_owned()));
        let candidates = [candidate("base", None, "bioinstruct")];
        let scores = run(&stage, &mut model(), &candidates, std::slice::from_ref(&task)).unwrap();
        let f1 = scores.rows.iter().find(|row| row.metric == "span_f1").unwrap();
        assert!((f1.value - 1.0 / 3.0).abs() < 1e-15);
        let mut everything = Vec::new();
        for path in [stage.directory().to_owned(), stage.path("base")] {
            for entry in fs_err::read_dir(path).unwrap() {
                let path = entry.unwrap().path();
                if path.is_file() {
                    everything.extend(fs_err::read(path).unwrap());
                }
            }
        }
        let everything = String::from_utf8_lossy(&everything).to_lowercase();
        assert_eq!(everything.contains("secret"), !credentialed);
        assert_eq!(
            lines(&stage, "base/own@default-0shot.jsonl")[0].get("text").is_none(),
            credentialed
        );

        let mut again = model();
        assert_eq!(run(&stage, &mut again, &candidates, &[task]).unwrap(), scores);
        assert!(again.written.is_empty());
    }
}

#[test]
fn a_changed_item_is_asked_alone_and_equal_items_once() {
    let folder = tempfile::tempdir().unwrap();
    let stage = stage(folder.path());
    let candidates = [candidate("base", None, "bioinstruct")];
    let mut model = Scripted::writing(|_| Ok("x".to_owned()));
    let task = own_task(folder.path(), false, &[("one", "x"), ("two", "y"), ("one", "z")]);
    run(&stage, &mut model, &candidates, &[task]).unwrap();
    assert_eq!(model.written.len(), 2);
    assert_eq!(lines(&stage, "base/own@default-0shot.jsonl").len(), 3);
    let task = own_task(folder.path(), false, &[("one", "x"), ("TWO", "y"), ("one", "z")]);
    run(&stage, &mut model, &candidates, &[task]).unwrap();
    assert_eq!(model.written.len(), 3);
    assert_eq!(prompt_text(&model.written[2].prompt), "TWO");
}

#[test]
fn half_written_results_are_left_out_with_a_word() {
    let folder = tempfile::tempdir().unwrap();
    let stage = stage(folder.path());
    let task = limited("demo_qa", 3);
    let mut model = Scripted::scoring(opinions(&task));
    run(&stage, &mut model, &base_and_tuned(), &[task]).unwrap();
    let path = stage.path("base/demo_qa@default-0shot.jsonl");
    let text = fs_err::read_to_string(&path).unwrap();
    fs_err::write(&path, text.lines().next().unwrap()).unwrap();
    let (files, warnings) = read_predictions(stage.directory()).unwrap();
    assert_eq!((files.len(), warnings.len()), (1, 1));
    assert!(warnings[0].contains("cut short"), "{warnings:?}");
    let scores = rebuild(stage.directory()).unwrap();
    assert!(scores.comparisons.is_empty());
}

#[test]
fn wrong_requests_are_refused_before_the_model_is_asked() {
    let folder = tempfile::tempdir().unwrap();
    let stage = stage(folder.path());
    let refuse = |candidates: &[_], tasks: &[TaskInput], resamples: usize| {
        let mut model = Scripted::scoring(|_| panic!("asked"));
        let config = EvaluationConfig { seed: 1, resamples };
        let progress = &mut |_: bioinstruct_eval::Progress<'_>| ControlFlow::Continue(());
        let error = evaluate(&stage, &mut model, candidates, tasks, &config, progress);
        error.unwrap_err()
    };
    let base = candidate("base", None, "bioinstruct");
    let task = || limited("demo_qa", 2);
    let same = [base.clone(), base.clone()];
    assert_eq!(refuse(&same, &[], 1_000).to_string(), "candidate `base`: the id is given twice");
    let outside = candidate("../base", None, "bioinstruct");
    assert_eq!(refuse(&[outside], &[], 1_000).kind(), FailureKind::Usage);
    let twice = refuse(std::slice::from_ref(&base), &[task(), task()], 1_000);
    assert_eq!(twice.to_string(), "demo_qa@default-0shot is asked for twice");
    let setting = refuse(std::slice::from_ref(&base), &[task()], 10);
    assert_eq!(setting.kind(), FailureKind::Configuration);
    let template = candidate("base", None, "no-such-template");
    let error = refuse(&[template], &[task()], 1_000);
    assert!(matches!(error, EvaluationError::Template(_)), "{error}");
}
