//! Tests of the whole module: small files in the owners' formats, the built-in tasks, and the owners' own files where they
//! are at hand.

mod owners;

use std::path::{Path, PathBuf};

use bioinstruct_core::diagnose::{Diagnose, FailureKind};

use super::*;

/// A task file in a folder of its own, with data beside it.
struct Fixture {
    folder: tempfile::TempDir,
}

impl Fixture {
    fn new(format: &str, file: &str, data: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        fs_err::write(folder.path().join(file), data).unwrap();
        let task = format!(
            r#"
name = "toy"
title = "Toy"
description = "d"
kind = "multiple_choice"
metrics = ["accuracy"]
licence = "MIT"
source = "s"
match_field = "question"
[data]
format = "{format}"
file = "{file}"
[data.fields]
question = "q"
[choices]
fields = ["a", "b"]
[answer]
field = "right"
form = "index1"
[shots]
file = "shots.{file}"
[profiles.default]
instruction = "Choose."
input = "{{{{ question }}}}"
[profiles.lm-eval]
text = "{{{{ question }}}}"
prefix = " "
"#
        );
        fs_err::write(folder.path().join("toy.toml"), task).unwrap();
        Self { folder }
    }

    fn edit(self, from: &str, to: &str) -> Self {
        let path = self.path("toy.toml");
        let text = fs_err::read_to_string(&path).unwrap();
        assert!(text.contains(from), "{from}");
        fs_err::write(&path, text.replace(from, to)).unwrap();
        self
    }

    fn file(self, name: &str, text: &str) -> Self {
        fs_err::write(self.path(name), text).unwrap();
        self
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn items(&self, sources: &ItemSources<'_>) -> Result<Items, TaskError> {
        Task::load(&self.path("toy.toml").to_string_lossy())?.items(sources)
    }

    fn complaint(&self) -> String {
        let error = self.items(&ItemSources::default()).unwrap_err();
        let folder = self.folder.path().to_string_lossy().into_owned();
        error.to_string().replace(&format!("{folder}/"), "")
    }
}

fn ids(items: &[TaskItem]) -> Vec<&str> {
    items.iter().map(|item| item.id.as_str()).collect()
}

const CSV: &str = "q,a,b,right\nWhy?,x,\"y, z\",2\n\"Two\nlines?\",c,d,1\n";

#[test]
fn every_built_in_task_loads_under_its_own_name() {
    for name in built_in_names() {
        assert_eq!(Task::load(name).unwrap().name, name);
    }
}

#[test]
fn an_unknown_name_gets_the_nearest_and_the_list() {
    let error = Task::load("pubmed_qa").unwrap_err();
    assert_eq!(error.to_string(), "unknown task `pubmed_qa`; did you mean `pubmedqa`?");
    assert!(error.hint().unwrap().contains("demo_qa, demo_ie"));
    assert_eq!(error.kind(), FailureKind::Usage);
    assert_eq!(Task::load("triage").unwrap_err().to_string(), "unknown task `triage`");
}

#[test]
fn a_missing_task_file_is_an_io_error_with_its_path() {
    let error = Task::load("no/such/task.toml").unwrap_err();
    assert_eq!(error.kind(), FailureKind::Io);
    assert!(error.to_string().contains("no/such/task.toml"), "{error}");
}

#[test]
fn all_formats_give_the_same_items() {
    let lines = "\u{feff}{\"q\":\"Why?\",\"a\":\"x\",\"b\":\"y, z\",\"right\":2}\n\n\
                 {\"q\":\"Two\\nlines?\",\"a\":\"c\",\"b\":\"d\",\"right\":\"1\"}\n";
    let from_csv = Fixture::new("csv", "d.csv", CSV).items(&ItemSources::default()).unwrap();
    assert_eq!(ids(&from_csv.items), ["toy-1", "toy-2"]);
    assert_eq!(from_csv.items[0].answer, Answer::Choice(1));
    assert_eq!(from_csv.items[0].choices[1].text, "y, z");
    assert_eq!(from_csv.items[1].fields["question"], "Two\nlines?");
    let from_lines = Fixture::new("jsonl", "d.jsonl", lines).items(&ItemSources::default());
    assert_eq!(from_lines.unwrap().items, from_csv.items);

    let rows: Vec<serde_json::Value> = lines
        .trim_start_matches('\u{feff}')
        .lines()
        .filter(|line| !line.is_empty())
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let array = serde_json::to_string(&rows).unwrap();
    let from_array = Fixture::new("json", "d.json", &array).items(&ItemSources::default());
    assert_eq!(from_array.unwrap().items, from_csv.items);
    let object = serde_json::json!({"p9": rows[0], "p1": rows[1]}).to_string();
    let from_object = Fixture::new("json_by_key", "d.json", &object).items(&ItemSources::default());
    assert_eq!(ids(&from_object.unwrap().items), ["p9", "p1"]);
}

#[test]
fn a_csv_without_a_header_gets_its_columns_from_the_task() {
    let rows = CSV.split_once('\n').unwrap().1;
    let fixture = Fixture::new("csv", "d.csv", rows)
        .edit("format = \"csv\"", "format = \"csv\"\ncolumns = [\"q\", \"a\", \"b\", \"right\"]");
    let items = fixture.items(&ItemSources::default()).unwrap();
    assert_eq!(items.items.len(), 2);
    assert_eq!(items.items[0].fields["question"], "Why?");
}

#[test]
fn bad_rows_are_named_by_file_line_and_field() {
    let csv = |text: &str| Fixture::new("csv", "d.csv", text).complaint();
    let lines = |text: &str| Fixture::new("jsonl", "d.jsonl", text).complaint();
    assert_eq!(
        csv(&CSV.replace("right", "correct")),
        "d.csv, line 2, field `right`: missing; the row has q, a, b, correct"
    );
    let zero_based = csv(&format!("{CSV}Last?,c,d,0\n"));
    assert!(
        zero_based.starts_with("d.csv, line 5, field `right`: 0 is outside 1..=2; does"),
        "{zero_based}"
    );
    let ragged = csv(&format!("{CSV}Last?,c\n"));
    assert!(ragged.starts_with("d.csv: ") && ragged.contains('5'), "{ragged}");
    let broken = lines("{\"q\":\"Why?\",\"a\":\"x\",\"b\":\"y\",\"right\":2}\n{\"q\":\n");
    assert!(broken.starts_with("d.jsonl: line 2: "), "{broken}");
    assert_eq!(
        lines("{\"q\":\"Why?\",\"a\":\"x\",\"b\":null,\"right\":2}\n"),
        "d.jsonl, line 1, field `b`: expected text, found null"
    );
    assert_eq!(lines("[1]\n"), "d.jsonl: line 1 is not a JSON object");
    assert_eq!(lines("\n"), "d.jsonl: there are no rows in it");
    let fixture = Fixture::new("csv", "d.csv", CSV);
    fs_err::write(fixture.path("d.csv"), b"q,a,b,right\nna\xefve,x,y,1\n").unwrap();
    assert_eq!(fixture.complaint(), "d.csv: line 2 is not UTF-8");
    let doubled =
        Fixture::new("csv", "d.csv", CSV).edit("[data.fields]", "id = \"right\"\n[data.fields]");
    let fixture = doubled.file("d.csv", &format!("{CSV}Last?,c,d,2\n"));
    assert_eq!(fixture.complaint(), "d.csv, line 5, field `right`: `2` also names line 2");
}

#[test]
fn missing_data_says_which_file_and_how_to_give_it() {
    let error = Task::load("medqa").unwrap().items(&ItemSources::default()).unwrap_err();
    assert_eq!(
        error.to_string(),
        "task `medqa` needs the owners' file `phrases_no_exclude_test.jsonl`"
    );
    assert!(error.hint().unwrap().contains("--data medqa="));
    let missing = ItemSources { data: Some(Path::new("no/such.csv")), ..ItemSources::default() };
    let error = Task::load("conv2note").unwrap().items(&missing).unwrap_err();
    assert_eq!(error.kind(), FailureKind::Io);
    assert!(error.to_string().contains("no/such.csv"));
}

#[test]
fn items_of_training_data_are_left_out_before_the_limit() {
    let fixture = Fixture::new(
        "csv",
        "d.csv",
        "q,a,b,right\nOne?,x,y,1\nTwo?,x,y,1\nThree?,x,y,1\nFour?,x,y,1\n",
    )
    .edit("match_field", "exclude_training = \"train.csv\"\nmatch_field");
    let texts = ["three?".to_owned()];
    let sources = ItemSources { limit: Some(2), exclude_texts: &texts, ..ItemSources::default() };
    let without = fixture.items(&sources).unwrap();
    assert_eq!(ids(&without.items), ["toy-1", "toy-2"]);
    assert!(without.excluded.is_empty());
    assert!(without.warnings[0].contains("train.csv is not beside the data"));

    let fixture = fixture.file("train.csv", "q,a,b,right\nZero?,x,y,1\none?,x,y,2\n");
    let with = fixture.items(&sources).unwrap();
    assert_eq!(ids(&with.items), ["toy-2", "toy-4"]);
    let reasons: Vec<(&str, &str)> = with
        .excluded
        .iter()
        .map(|excluded| (excluded.id.as_str(), excluded.reason.as_str()))
        .collect();
    assert_eq!(
        reasons,
        [
            ("toy-1", "stands in train.csv, line 3"),
            ("toy-3", "stands in the rows that a model was tuned on")
        ]
    );
    assert!(with.warnings.is_empty());
    assert!(with.inputs.contains_key("training"));
    let named = ItemSources { training: Some(Path::new("no/train.csv")), ..ItemSources::default() };
    assert_eq!(fixture.items(&named).unwrap_err().kind(), FailureKind::Io);
}

#[test]
fn shots_are_never_among_the_items() {
    let pool = "q,a,b,right\nWhy?,x,y,1\nP1?,x,y,1\nP2?,x,y,2\nP3?,x,y,1\n";
    let fixture = Fixture::new("csv", "d.csv", CSV).file("shots.d.csv", pool);
    let shots = |profile, count, seed| {
        let sources = ItemSources { profile, shots: Some(count), seed, ..ItemSources::default() };
        let drawn = fixture.items(&sources);
        drawn.map(|items| ids(&items.shots).join(" "))
    };
    assert_eq!(shots(Profile::LmEval, 2, 1).unwrap(), "toy-2 toy-3");
    assert_eq!(shots(Profile::Default, 2, 7).unwrap(), shots(Profile::Default, 2, 7).unwrap());
    let drawn: std::collections::BTreeSet<String> =
        (0..30).map(|seed| shots(Profile::Default, 1, seed).unwrap()).collect();
    assert_eq!(drawn.into_iter().collect::<Vec<_>>(), ["toy-2", "toy-3", "toy-4"]);
    let error = shots(Profile::Default, 4, 1).unwrap_err();
    assert!(error.to_string().contains("4 solved examples were asked for, and there are 3"));

    let demo = ItemSources { shots: Some(1), ..ItemSources::default() };
    let error = Task::load("demo_qa").unwrap().items(&demo).unwrap_err();
    assert_eq!(error.to_string(), "task `demo_qa`: it has no solved examples to show");
    assert_eq!(error.hint().unwrap(), "use `--shots 0`");
}

#[test]
fn a_profile_that_a_task_lacks_is_refused() {
    let sources = ItemSources { profile: Profile::LmEval, ..ItemSources::default() };
    let error = Task::load("demo_gen").unwrap().items(&sources).unwrap_err();
    assert_eq!(error.to_string(), "task `demo_gen` has no prompt for profile `lm-eval`");
    assert_eq!(error.hint().unwrap(), "its profiles are default");
}

#[test]
fn the_demo_sets_are_whole() {
    for (name, count) in [("demo_qa", 40), ("demo_ie", 30), ("demo_gen", 20)] {
        let task = Task::load(name).unwrap();
        assert!(task.has_own_data());
        let items = task.items(&ItemSources::default()).unwrap();
        assert_eq!(items.items.len(), count, "{name}");
        for item in &items.items {
            assert!(!item.answer_text().is_empty(), "{}", item.id);
            task.prompt(Profile::Default, item).unwrap();
        }
    }
}

#[test]
fn a_question_is_put_as_an_instruction_with_its_options() {
    let csv = Fixture::new("csv", "d.csv", CSV);
    let items = csv.items(&ItemSources::default()).unwrap();
    let task = Task::load("demo_qa").unwrap();
    let prompt = task.prompt(Profile::Default, &items.items[0]).unwrap();
    let TaskPrompt::Instruction { instruction, input } = prompt else {
        panic!("expected an instruction");
    };
    assert!(instruction.ends_with("the best option only."));
    assert_eq!(input, "Why?\n\nA. x\nB. y, z");
    let continuations = task.continuations(Profile::Default, &items.items[0]).unwrap();
    assert_eq!(continuations, ["A", "B"]);
    let text = task.prompt(Profile::LmEval, &items.items[0]).unwrap();
    assert_eq!(text, TaskPrompt::Text("Question: Why?\nA. x\nB. y, z\nAnswer:".to_owned()));
    let continuations = task.continuations(Profile::LmEval, &items.items[0]).unwrap();
    assert_eq!(continuations, [" A", " B"]);
}

/// A file of the owners', or a printed reason why the test does nothing.
pub(crate) fn owners_file(relative: &str) -> Option<PathBuf> {
    let root = std::env::var_os("BIOINSTRUCT_TEST_DATA").map_or_else(
        || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/data"),
        PathBuf::from,
    );
    let path = root.join(relative);
    if path.exists() {
        return Some(path);
    }
    eprintln!("skipped: {relative} is not there (set BIOINSTRUCT_TEST_DATA)");
    None
}
