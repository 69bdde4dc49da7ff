//! What our own files may hold: length, `unsafe`, addresses and paths.

use std::path::{Path, PathBuf};

use crate::repository;

/// Folders with files of ours; what lies at the top level is looked at too.
const FOLDERS: [&str; 7] = [".ci", ".config", "bench", "configs", "crates", "seeds", "tests"];

/// Where `unsafe` may stand: instructions of a processor, disjoint parts of one slice, and memory maps.
const UNSAFE: [&str; 6] = [
    "crates/engine/src/kernels/",
    "crates/engine/src/ops/attention/avx512.rs",
    "crates/engine/src/ops/attention/integers/tile",
    "crates/engine/src/ops/shared.rs",
    "crates/engine/src/format/file_bytes.rs",
    "crates/text/src/novelty/scan.rs",
];

/// Every file of ours, as its path from the repository's root and its text (lossy: fixtures are binary).
fn our_files() -> Vec<(String, String)> {
    let root = repository();
    let mut folders: Vec<PathBuf> = FOLDERS.map(|folder| root.join(folder)).into();
    let mut paths: Vec<PathBuf> = list(&root).into_iter().filter(|path| path.is_file()).collect();
    while let Some(folder) = folders.pop() {
        for path in list(&folder) {
            if path.is_dir() {
                folders.push(path);
            } else {
                paths.push(path);
            }
        }
    }
    paths.sort();
    let file = |path: PathBuf| {
        let name = path.strip_prefix(&root).expect("inside the repository");
        let text = String::from_utf8_lossy(&fs_err::read(&path).expect("readable")).into_owned();
        (name.display().to_string(), text)
    };
    let files: Vec<(String, String)> = paths.into_iter().map(file).collect();
    assert!(files.len() > 200, "{} files", files.len());
    files
}

fn list(folder: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs_err::read_dir(folder) else {
        return Vec::new();
    };
    let entries = entries.map(|entry| entry.expect("a directory entry").path());
    // Python leaves its caches beside the scripts that it runs.
    entries.filter(|path| !path.ends_with("__pycache__")).collect()
}

fn has_ending(name: &str, endings: &[&str]) -> bool {
    Path::new(name)
        .extension()
        .and_then(|ending| ending.to_str())
        .is_some_and(|ending| endings.contains(&ending))
}

#[test]
fn a_long_file_says_why() {
    let unexplained = our_files().into_iter().filter(|(name, text)| {
        has_ending(name, &["rs", "py", "js", "css", "html", "jinja"])
            && text.lines().count() > 500
            && !text.lines().any(|line| line.contains("Long because "))
    });
    let names: Vec<String> = unexplained.map(|(name, _)| name).collect();
    assert!(
        names.is_empty(),
        "over 500 lines, and no line with `Long because` and the reason: {names:?}"
    );
}

#[test]
fn a_module_says_what_it_is() {
    let silent = our_files().into_iter().filter(|(name, text)| {
        name.starts_with("crates/") && has_ending(name, &["rs"]) && !text.starts_with("//! ")
    });
    // A module's own `tests.rs` is described by the module.
    let names: Vec<String> =
        silent.map(|(name, _)| name).filter(|name| !name.ends_with("/tests.rs")).collect();
    assert!(names.is_empty(), "these do not open with `//!`: {names:?}");
}

#[test]
fn unsafe_code_is_where_it_belongs() {
    let marks = ["unsafe {", "unsafe fn", "unsafe impl", "unsafe extern"];
    let mut found = 0;
    for (name, text) in our_files() {
        let is_this_file = name.ends_with("workspace/sources.rs");
        if !has_ending(&name, &["rs"])
            || is_this_file
            || !marks.iter().any(|mark| text.contains(mark))
        {
            continue;
        }
        found += 1;
        let allowed = UNSAFE.iter().any(|place| name.starts_with(place));
        assert!(allowed, "{name} holds unsafe code");
        assert!(text.contains("SAFETY: "), "{name} does not say why it is sound");
    }
    assert!(found > 0, "nothing was looked at");
}

/// A path of somebody's machine, or the address of a package registry, has no place in what others will run.
#[test]
fn no_machine_shows() {
    // Put together here, so that this file does not hold them itself.
    let roots = ["work", "root", "home", "tmp", "Users"].map(|folder| format!("/{folder}/"));
    let hosts = ["index.crates", "static.crates", "pypi", "pythonhosted", "artifactory", "jfrog"];
    let hosts = hosts.map(|host| format!("{host}."));
    for (name, text) in our_files() {
        for (number, line) in text.lines().enumerate() {
            let place = || format!("{name}:{}", number + 1);
            let path = roots.iter().find(|path| begins_a_path(line, path));
            assert!(path.is_none(), "{} holds {path:?}", place());
            let host = hosts.iter().find(|host| line.contains(host.as_str()));
            assert!(host.is_none(), "{} holds {host:?}", place());
        }
    }
}

/// Whether `root` stands in the line as the beginning of a path, not inside one such as `eval/work/`.
fn begins_a_path(line: &str, root: &str) -> bool {
    line.match_indices(root).any(|(at, _)| {
        let before = line[..at].chars().next_back();
        !before.is_some_and(|letter| letter.is_alphanumeric() || "._-~$})<>/".contains(letter))
    })
}

/// The Hugging Face hub's default endpoint is the only remote host that the program knows by itself.
#[test]
fn one_remote_host_is_named_in_code() {
    let known = ["huggingface.co", "localhost", "127.0.0.1", "www.w3.org"];
    for (name, text) in our_files() {
        let is_program =
            name.starts_with("crates/") && name.contains("/src/") && !name.ends_with("tests.rs");
        if !is_program || !has_ending(&name, &["rs", "html", "js", "css", "jinja"]) {
            continue;
        }
        let code = text.split("#[cfg(test)]\nmod tests {").next().unwrap_or_default();
        let lines = code.lines().filter(|line| !line.trim_start().starts_with("//"));
        for line in lines {
            for (at, scheme) in line.match_indices("://") {
                let rest = &line[at + scheme.len()..];
                let in_a_host =
                    |letter: char| letter.is_ascii_alphanumeric() || ".-".contains(letter);
                let host = rest.split(|letter| !in_a_host(letter)).next().unwrap_or_default();
                assert!(!host.contains('.') || known.contains(&host), "{name} names {host}");
            }
        }
    }
}
