//! Metrics of the built-in tasks that the demo sets have not, on small files in their owners' formats.

use std::path::Path;

use crate::scripted::{Scripted, candidate, input, lines, run, stage};
use bioinstruct_core::run_directory::Stage;
use bioinstruct_data::task::ItemSources;
use bioinstruct_eval::Scores;

fn scored(task: &str, file: (&str, &str), model: &mut Scripted, stage: &Stage) -> Scores {
    let folder = tempfile::tempdir().expect("a folder");
    fs_err::write(folder.path().join(file.0), file.1).expect("written");
    let sources = ItemSources { data: Some(folder.path()), ..ItemSources::default() };
    run(stage, model, &[candidate("base", None, "bioinstruct")], &[input(task, &sources)])
        .expect("scores")
}

fn value(scores: &Scores, metric: &str) -> (f64, usize) {
    let found = scores.rows.iter().find(|row| row.metric == metric);
    let row = found.unwrap_or_else(|| panic!("no {metric}"));
    assert!(row.ci_low <= row.value && row.value <= row.ci_high, "{row:?}");
    (row.value, row.n)
}

fn written(folder: &Path) -> String {
    let mut text = String::new();
    for entry in fs_err::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        if path.is_file() {
            text += &String::from_utf8_lossy(&fs_err::read(path).expect("a file"));
        } else {
            text += &written(&path);
        }
    }
    text
}

#[test]
fn relations_are_scored_without_those_that_are_none() {
    let rows =
        "index\tsentence\tlabel\na\tone\tCPR:3\nb\ttwo\tCPR:4\nc\tthree\tfalse\nd\tfour\tfalse\n";
    // Chosen: CPR:3 (right), CPR:3 (wrong), CPR:9 (of none), none (right).
    let picks = [0, 0, 4, 5];
    let mut model = Scripted::scoring(move |request| {
        let item = ["a", "b", "c", "d"].iter().position(|id| *id == request.id).unwrap();
        (0..request.continuations.len())
            .map(|at| if at == picks[item] { -1.0 } else { -2.0 })
            .collect()
    });
    let folder = tempfile::tempdir().unwrap();
    let scores = scored("chemprot", ("test.tsv", rows), &mut model, &stage(folder.path()));
    assert_eq!(value(&scores, "accuracy"), (0.5, 4));
    // One hit of three predicted and two to be found.
    let (micro, n) = value(&scores, "micro_f1");
    assert!((micro - 0.4).abs() < 1e-15, "{micro}");
    assert_eq!(n, 4);
}

#[test]
fn medication_status_is_scored_and_no_text_is_kept() {
    let rows = "index,snippet,active_medications,discontinued_medications,neither_medications\n\
                0,Note one.,\"[zestril, lasix]\",[heparin],[]\n1,Note two.,[],[],[]\n";
    let mut model = Scripted::writing(|request| {
        Ok(if request.id.ends_with("-1") {
            "- Zestril 10 mg (active)\n- heparin (active)\n- quinine (active)".to_owned()
        } else {
            "None".to_owned()
        })
    });
    let folder = tempfile::tempdir().unwrap();
    let stage = stage(folder.path());
    let file = ("medication_status_test.csv", rows);
    let scores = scored("medication_status", file, &mut model, &stage);
    let (f1, n) = value(&scores, "span_f1");
    assert!((f1 - f64::midpoint(2.0 / 3.0, 1.0)).abs() < 1e-15, "{f1}");
    assert_eq!(n, 2);
    assert_eq!(value(&scores, "label_accuracy"), (0.5, 1));
    assert_eq!(value(&scores, "label_accuracy_micro"), (0.5, 2));
    let kept = written(stage.directory());
    assert!(kept.contains("\"labelled\":1"), "{kept}");
    for secret in ["zestril", "Zestril", "lasix", "heparin", "quinine", "Note one"] {
        assert!(!kept.contains(secret), "{secret}");
    }
    assert_eq!(lines(&stage, "base/medication_status@default-0shot.jsonl").len(), 2);
}

#[test]
fn an_antecedent_is_scored_by_its_words() {
    let rows = "index,snippet,pronoun,antecedent\n0,One.,it,\"[the left knee, knee pain]\"\n1,Two.,it,tea\n";
    let mut model = Scripted::writing(|request| {
        Ok(if request.id.ends_with("-1") { "The knee." } else { "coffee" }.to_owned())
    });
    let folder = tempfile::tempdir().unwrap();
    let file = ("coreference_test.csv", rows);
    let scores = scored("coreference", file, &mut model, &stage(folder.path()));
    let (f1, _) = value(&scores, "token_f1");
    assert!((f1 - 0.4).abs() < 1e-15, "{f1}");
    assert_eq!(value(&scores, "token_precision"), (0.5, 2));
}
