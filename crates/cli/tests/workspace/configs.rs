//! The configuration files that come with the program can be used as they are.

use std::path::PathBuf;
use std::process::Command;

use bioinstruct_curate::CurateConfig;
use bioinstruct_engine::train::config::TrainConfig;
use bioinstruct_generate::GenerateConfig;
use serde::de::DeserializeOwned;

use crate::repository;

const FILES: [&str; 4] = [
    "configs/paper.toml",
    "configs/quickstart.toml",
    "configs/presets/modern.toml",
    "configs/presets/alpaca-lora-2023.toml",
];

fn section<T: DeserializeOwned + Default>(file: &str, name: &str) -> T {
    let text = fs_err::read_to_string(repository().join(file)).expect(file);
    let table: toml::Table = toml::from_str(&text).expect(file);
    match table.get(name) {
        Some(section) => section.clone().try_into().expect(name),
        None => T::default(),
    }
}

#[test]
fn every_section_has_meaning() {
    for file in FILES {
        let generate: GenerateConfig = section(file, "generate");
        generate.check(80).expect(file);
        let curate: CurateConfig = section(file, "curate");
        curate.rules().expect(file);
        let train: TrainConfig = section(file, "train");
        train.check().expect(file);
    }
}

/// What the paper states, and not merely what we assume in its place.
#[test]
fn the_papers_settings_are_the_papers() {
    let file = FILES[0];
    let generate: GenerateConfig = section(file, "generate");
    let seen = (generate.count, generate.exemplars_per_request, generate.tasks_per_reply());
    assert_eq!(seen, (25_005, 3, 17));
    let rules = section::<CurateConfig>(file, "curate").rules().expect(file);
    let default = CurateConfig::default().rules().expect("the default");
    assert_eq!(rules, default, "the paper's dialect is the default");
    assert_eq!(section::<TrainConfig>(file, "train").template, "bioinstruct");
}

/// Run with the whole file, so that its top level and `[eval]` are read too. The seeds pass the filters of both files.
#[test]
fn the_command_takes_the_files() {
    for (number, file) in FILES.into_iter().enumerate() {
        let run = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("configs-{number}"));
        let _ = fs_err::remove_dir_all(&run);
        let output = Command::new(env!("CARGO_BIN_EXE_bioinstruct"))
            .args(["curate", "seeds/seed_tasks.jsonl", "--json", "--offline"])
            .args(["--config", file, "--set", "curate.seeds=''", "--run"])
            .arg(&run)
            .current_dir(repository())
            .output()
            .expect("the command starts");
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{file}: {said}");
        let printed = String::from_utf8(output.stdout).expect("text");
        let last = printed.lines().last().expect("a summary");
        let summary: serde_json::Value = serde_json::from_str(last).expect("JSON");
        assert_eq!((&summary["read"], &summary["kept"]), (&80.into(), &80.into()), "{file}");
        fs_err::remove_dir_all(&run).expect("cleaned");
    }
}
