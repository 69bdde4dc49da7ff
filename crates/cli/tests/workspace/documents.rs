//! What the documents say is there, is there: paths, verbs and flags.

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

use crate::repository;

const DOCUMENTS: [&str; 3] = ["README.md", "ARCHITECTURE.md", "CONTRIBUTING.md"];

fn document(name: &str) -> String {
    fs_err::read_to_string(repository().join(name)).expect(name)
}

fn help(arguments: &[&str]) -> String {
    let output = Command::new(env!("CARGO_BIN_EXE_bioinstruct"))
        .args(arguments)
        .arg("--help")
        .output()
        .expect("the command starts");
    assert!(output.status.success(), "{arguments:?} --help");
    String::from_utf8(output.stdout).expect("text")
}

/// Verbs as `--help` lists them.
fn verbs() -> BTreeSet<String> {
    let help = help(&[]);
    let list = help.lines().skip_while(|line| *line != "Commands:").skip(1);
    let list = list.take_while(|line| !line.is_empty());
    // A description that runs on begins further to the right.
    let names = list.filter(|line| line.starts_with("  ") && !line.starts_with("   "));
    let names = names.filter_map(|line| line.split_whitespace().next());
    let names: BTreeSet<String> = names.filter(|name| *name != "help").map(str::to_owned).collect();
    assert!(names.contains("train"), "{help}");
    names
}

/// Text in single backticks.
fn quoted(text: &str) -> impl Iterator<Item = &str> {
    let outside_fences = text.split("\n```").step_by(2);
    outside_fences.flat_map(|part| part.split('`').skip(1).step_by(2))
}

#[test]
fn paths_exist() {
    let folders = [".ci/", ".config/", "bench/", "configs/", "crates/", "seeds/", "tests/"];
    for name in DOCUMENTS {
        let text = document(name);
        let paths =
            quoted(&text).filter(|path| folders.iter().any(|folder| path.starts_with(folder)));
        // `crates/data/tasks/NAME.toml` and `tests/goldens/*` name a kind of file.
        let paths = paths.filter(|path| !path.contains("NAME") && !path.contains(['*', ' ']));
        let mut count = 0;
        for path in paths {
            assert!(repository().join(path).exists(), "{name}: {path} is not there");
            count += 1;
        }
        assert!(count > 0, "{name} names no path");
    }
}

#[test]
fn links_lead_somewhere() {
    for name in DOCUMENTS {
        let text = document(name);
        for (at, _) in text.match_indices("](") {
            let target = text[at + 2..].split(')').next().unwrap_or_default();
            let is_file = !target.starts_with('#') && !target.contains("://");
            assert!(!is_file || repository().join(target).exists(), "{name}: {target}");
        }
    }
}

#[test]
fn the_table_of_verbs_is_complete() {
    let readme = document("README.md");
    let rows = readme.lines().filter_map(|line| line.strip_prefix("| `"));
    let listed = rows.filter_map(|row| row.split('`').next().map(str::to_owned));
    let listed: BTreeSet<String> = listed.collect();
    assert_eq!(listed, verbs());
}

/// Commands of the fenced blocks, with lines that end in a backslash joined.
fn commands(text: &str) -> Vec<String> {
    let fenced = text.split("\n```").skip(1).step_by(2).collect::<Vec<_>>().join("\n");
    let joined = fenced.replace("\\\n", " ");
    joined.lines().map(str::trim).map(str::to_owned).collect()
}

#[test]
fn commands_have_the_flags_they_are_shown_with() {
    let verbs = verbs();
    let mut helps: BTreeMap<String, String> = BTreeMap::new();
    for name in DOCUMENTS {
        for command in commands(&document(name)) {
            let Some(arguments) = command.strip_prefix("bioinstruct ") else {
                continue;
            };
            let words: Vec<&str> = arguments.split_whitespace().collect();
            let verb = words[0];
            assert!(verbs.contains(verb), "{name}: {command}");
            // `tasks export` and the like have flags of their own.
            let has_actions = help(&[verb]).contains("\nCommands:\n");
            let action = words.get(1).filter(|word| has_actions && !word.starts_with('-'));
            let called: Vec<&str> = [verb].into_iter().chain(action.copied()).collect();
            let help = helps.entry(called.join(" ")).or_insert_with(|| help(&called));
            for flag in words.iter().filter(|word| word.starts_with("--")) {
                let known =
                    help.split(|letter: char| !letter.is_ascii_alphanumeric() && letter != '-');
                assert!(known.clone().any(|word| word == *flag), "{name}: {verb} has no {flag}");
            }
        }
    }
    assert!(helps.len() >= 6, "the documents show {:?} only", helps.keys());
}
