//! Which crate may use which, and under which licences the others' crates come.

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

use serde_json::Value;

use crate::repository;

/// The direction of dependencies among our crates; ARCHITECTURE.md says why.
const ALLOWED: [(&str, &[&str]); 10] = [
    ("core", &[]),
    ("text", &[]),
    ("data", &["core", "text"]),
    ("ledger", &["core"]),
    ("llm", &["core"]),
    ("engine", &["core"]),
    ("curate", &["core", "text", "data"]),
    ("generate", &["core", "text", "ledger", "curate"]),
    ("eval", &["core", "text", "data", "ledger"]),
    ("cli", &["core", "text", "data", "ledger", "llm", "engine", "curate", "generate", "eval"]),
];

/// Crates that only one of ours may use, tests aside: each stands for a matter that has one owner.
const OWNED: [(&str, &str); 11] = [
    ("minijinja", "core"),
    ("rusqlite", "ledger"),
    ("reqwest", "llm"),
    ("rustls", "llm"),
    ("tokio", "llm"),
    ("llguidance", "engine"),
    ("safetensors", "engine"),
    ("tokenizers", "engine"),
    ("anyhow", "cli"),
    ("clap", "cli"),
    ("indicatif", "cli"),
];

/// The same list stands in deny.toml.
const LICENCES: [&str; 12] = [
    "Apache-2.0",
    "Apache-2.0 WITH LLVM-exception",
    "BSD-2-Clause",
    "BSD-3-Clause",
    "BSL-1.0",
    "CC0-1.0",
    "ISC",
    "MIT",
    "MIT-0",
    "Unicode-3.0",
    "Unlicense",
    "Zlib",
];

fn metadata(arguments: &[&str]) -> Value {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output = Command::new(cargo)
        .args(["metadata", "--format-version", "1", "--offline"])
        .args(arguments)
        .current_dir(repository())
        .output()
        .expect("cargo starts");
    assert!(
        output.status.success(),
        "run `cargo fetch --locked` first: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    serde_json::from_slice(&output.stdout).expect("cargo writes JSON")
}

/// Our packages: name without prefix, and (dependency, whether for tests only).
fn our_packages() -> BTreeMap<String, Vec<(String, bool)>> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let metadata = metadata(&["--no-deps"]);
    let packages = metadata["packages"].as_array().expect("packages");
    let named = packages.iter().map(|package| {
        let dependencies = package["dependencies"].as_array().expect("dependencies");
        let dependencies = dependencies.iter().map(|dependency| {
            assert!(
                !text(&dependency["source"]).starts_with("git"),
                "{} comes from a git repository",
                dependency["name"]
            );
            (text(&dependency["name"]), dependency["kind"] == "dev")
        });
        let name = text(&package["name"]);
        let short = name.strip_prefix("bioinstruct-").expect("our prefix");
        (short.to_owned(), dependencies.collect())
    });
    named.collect()
}

#[test]
fn our_crates_depend_in_one_direction() {
    let allowed = BTreeMap::from(ALLOWED);
    let packages = our_packages();
    let known: BTreeSet<&str> = packages.keys().map(String::as_str).collect();
    assert_eq!(
        known,
        allowed.keys().copied().collect(),
        "a new crate needs a row in ALLOWED and a paragraph in ARCHITECTURE.md"
    );
    for (name, dependencies) in &packages {
        for (dependency, _) in dependencies {
            if let Some(ours) = dependency.strip_prefix("bioinstruct-") {
                assert!(allowed[name.as_str()].contains(&ours), "{name} must not use {ours}");
            }
        }
    }
}

#[test]
fn heavy_crates_have_one_owner() {
    let packages = our_packages();
    for (dependency, owner) in OWNED {
        let users = packages.iter().filter(|(_, dependencies)| {
            dependencies.iter().any(|(name, for_tests)| name == dependency && !for_tests)
        });
        let users: Vec<&str> = users.map(|(name, _)| name.as_str()).collect();
        assert_eq!(users, [owner], "{dependency}");
    }
}

#[test]
fn every_package_comes_from_the_registry() {
    let lock = fs_err::read_to_string(repository().join("Cargo.lock")).expect("Cargo.lock");
    let sources: BTreeSet<&str> =
        lock.lines().filter_map(|line| line.strip_prefix("source = ")).collect();
    // One source, and it is a registry: no git dependency and no second registry beside Cargo's own.
    assert_eq!(sources.len(), 1, "{sources:?}");
    assert!(sources.iter().all(|source| source.starts_with("\"registry+")), "{sources:?}");
}

#[test]
fn every_licence_is_allowed() {
    let version = Command::new("rustc").arg("-vV").output().expect("rustc");
    let version = String::from_utf8(version.stdout).expect("text");
    let host = version.lines().find_map(|line| line.strip_prefix("host: "));
    let metadata = metadata(&["--filter-platform", host.expect("a host")]);
    let packages = metadata["packages"].as_array().expect("packages");
    assert!(packages.len() > 100, "{} packages", packages.len());
    for package in packages {
        let expression = package["license"].as_str().unwrap_or_default();
        assert!(allows(expression), "{} comes under `{expression}`", package["name"]);
    }
}

/// Whether an SPDX expression can be met with allowed licences. `/` is an old spelling of `OR`; a licence in parentheses
/// binds first, then `AND`, then `OR`.
fn allows(expression: &str) -> bool {
    let spaced = expression.replace('/', " OR ");
    let spaced = spaced.replace('(', " ( ").replace(')', " ) ");
    let words: Vec<&str> = spaced.split_whitespace().collect();
    let mut rest = words.as_slice();
    any_of(&mut rest) && rest.is_empty()
}

fn any_of(words: &mut &[&str]) -> bool {
    let mut allowed = all_of(words);
    while let ["OR", rest @ ..] = *words {
        *words = rest;
        allowed |= all_of(words);
    }
    allowed
}

fn all_of(words: &mut &[&str]) -> bool {
    let mut allowed = one(words);
    while let ["AND", rest @ ..] = *words {
        *words = rest;
        allowed &= one(words);
    }
    allowed
}

fn one(words: &mut &[&str]) -> bool {
    match *words {
        ["(", rest @ ..] => {
            *words = rest;
            let allowed = any_of(words);
            match *words {
                [")", rest @ ..] => *words = rest,
                _ => return false,
            }
            allowed
        }
        [licence, "WITH", exception, rest @ ..] => {
            *words = rest;
            LICENCES.contains(&format!("{licence} WITH {exception}").as_str())
        }
        [licence, rest @ ..] => {
            *words = rest;
            LICENCES.contains(licence)
        }
        [] => false,
    }
}

#[test]
fn licence_expressions_are_understood() {
    for good in [
        "MIT",
        "MIT/Apache-2.0",
        "GPL-3.0 OR MIT",
        "Apache-2.0 WITH LLVM-exception",
        "(MIT OR GPL-2.0) AND Unicode-3.0",
        "GPL-3.0 AND ISC OR Zlib",
    ] {
        assert!(allows(good), "{good}");
    }
    for bad in [
        "",
        "GPL-3.0",
        "MIT AND GPL-3.0",
        "(MIT OR ISC",
        "MIT ISC",
        "GPL-2.0 WITH Classpath-exception-2.0",
        "ISC AND (GPL-2.0 OR AGPL-3.0)",
    ] {
        assert!(!allows(bad), "{bad}");
    }
}

#[test]
fn both_licence_lists_are_alike() {
    let text = fs_err::read_to_string(repository().join("deny.toml")).expect("deny.toml");
    let deny: toml::Table = toml::from_str(&text).expect("TOML");
    let listed = deny["licenses"]["allow"].as_array().expect("a list");
    let listed: Vec<&str> = listed.iter().filter_map(toml::Value::as_str).collect();
    assert_eq!(listed, LICENCES);
}
