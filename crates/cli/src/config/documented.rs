//! `docs/configuration.md` has every key and its default.

use std::collections::BTreeSet;

use toml::{Table, Value};

use super::Config;

const PAGE: &str = include_str!("../../../../docs/configuration.md");

const SECTIONS: [&str; 5] = ["generate", "curate", "train", "eval", "merge"];

/// Keys and what the page says of their defaults.
fn documented() -> Vec<(&'static str, &'static str)> {
    let rows = PAGE.lines().filter_map(|line| line.strip_prefix("| `"));
    rows.map(|row| {
        let (key, rest) = row.split_once("` | ").expect("a key");
        (key, rest.split_once(" | ").expect("a default").0)
    })
    .collect()
}

/// The names that the parser expects where there is one that it does not know.
fn names(section: Option<&str>) -> Vec<String> {
    let text = match section {
        Some(section) => format!("[{section}]\nno_such_key = 0"),
        None => "no_such_key = 0".to_owned(),
    };
    let error = toml::from_str::<Config>(&text).expect_err("no such key").to_string();
    let (_, expected) = error.split_once("expected").expect("what is expected");
    expected.split('`').skip(1).step_by(2).map(str::to_owned).collect()
}

#[test]
fn the_reference_has_every_key_and_no_other() {
    let mut keys: BTreeSet<String> =
        names(None).into_iter().filter(|name| !SECTIONS.contains(&name.as_str())).collect();
    for section in SECTIONS {
        keys.extend(names(Some(section)).into_iter().map(|name| format!("{section}.{name}")));
    }
    let documented: BTreeSet<String> =
        documented().into_iter().map(|(key, _)| key.to_owned()).collect();
    assert!(keys.len() > 80, "{keys:?}");
    assert_eq!(documented, keys);
}

#[test]
fn the_defaults_of_the_reference_are_the_defaults() {
    let mut table = Table::new();
    for (key, default) in documented() {
        if default == "*of the dialect*" {
            continue;
        }
        let text = default.trim_matches('`');
        let read: Table = toml::from_str(&format!("value = {text}")).expect(key);
        let value: Value = read["value"].clone();
        match key.split_once('.') {
            None => table.insert(key.to_owned(), value),
            Some((section, key)) => {
                let section = table.entry(section).or_insert_with(|| Value::Table(Table::new()));
                section.as_table_mut().expect("a section").insert(key.to_owned(), value)
            }
        };
    }
    let read: Config = table.try_into().expect("a configuration");
    assert_eq!(read, Config::default());
}
