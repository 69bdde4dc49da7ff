use std::cell::{Cell, RefCell};
use std::panic::{AssertUnwindSafe, catch_unwind};

use bioinstruct_core::files::Operation;

use super::super::watch::Best;
use super::*;

fn state(step: usize) -> State {
    let value = step as f32;
    let best = Best { step, dev_loss: 1.5 };
    State {
        step,
        metrics_bytes: 10,
        watch: Watch { evaluated: Some(step), best: Some(best), ..Watch::default() },
        parameters: vec![value; 30_000],
        mean: vec![value + 1.0; 30_000],
        square: vec![2.0; 30_000],
        best: (step > 10).then(|| vec![value + 3.0; 30_000]),
    }
}

fn fingerprint() -> BTreeMap<String, String> {
    BTreeMap::from([("rows".to_owned(), "a".repeat(64)), ("train.lr".to_owned(), "0.1".to_owned())])
}

fn put(directory: &Path, step: usize) {
    save(&Files::default(), directory, &fingerprint(), &state(step), 2).unwrap();
}

#[test]
fn a_damaged_checkpoint_is_set_aside_and_another_run_refused() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path();
    assert_eq!(load(path, &fingerprint()).unwrap(), None);
    for step in [10, 20, 30] {
        put(path, step);
    }
    assert_eq!(load(path, &fingerprint()).unwrap(), Some(state(30)));
    assert!(!path.join("step-000010").exists());

    for (again, name) in [(20, "step-000030.bad"), (20, "step-000030.bad-2")] {
        let file = path.join("step-000030/state.safetensors");
        let mut bytes = fs_err::read(&file).unwrap();
        let last = bytes.len() - 1;
        bytes[last] ^= 1;
        fs_err::write(&file, bytes).unwrap();
        assert_eq!(load(path, &fingerprint()).unwrap(), Some(state(again)));
        assert!(path.join(name).exists());
        put(path, 30);
    }
    let mut other = fingerprint();
    other.insert("rows".to_owned(), "b".repeat(64));
    other.insert("train.lr".to_owned(), "0.2".to_owned());
    for error in [load(path, &other).unwrap_err(), refuse_other(path, &other).unwrap_err()] {
        let said = error.to_string();
        assert!(said.contains("rows: not the same; train.lr was 0.1, is 0.2"), "{said}");
    }
    refuse_other(path, &fingerprint()).unwrap();
}

/// Some bytes of each file.
#[test]
fn a_flipped_or_missing_byte_is_noticed() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path();
    for name in ["checkpoint.json", "state.safetensors"] {
        let file = path.join("step-000020").join(name);
        put(path, 10);
        put(path, 20);
        let whole = fs_err::read(&file).unwrap();
        let stride = (whole.len() / 150).max(1);
        for at in (0..whole.len()).step_by(stride) {
            for cut in [true, false] {
                let mut bytes = whole.clone();
                if cut {
                    bytes.truncate(at);
                } else {
                    bytes[at] ^= 0x10;
                }
                fs_err::write(&file, bytes).unwrap();
                let found = load(path, &fingerprint()).unwrap().expect("a checkpoint");
                // A byte of white space means nothing.
                let blank = name == "checkpoint.json" && !cut && whole[at].is_ascii_whitespace();
                assert!(found == state(10) || (blank && found == state(20)), "{name} byte {at}");
                for entry in fs_err::read_dir(path).unwrap() {
                    let entry = entry.unwrap().path();
                    if entry.to_string_lossy().contains(".bad") {
                        fs_err::remove_dir_all(entry).unwrap();
                    }
                }
                put(path, 20);
            }
        }
    }
}

/// How an operation goes wrong.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Fault {
    /// The system says so.
    Error,
    /// The process dies just before it.
    Death,
    /// The power goes: what was not synced is lost, names as well as bytes.
    PowerCut,
}

/// What a power cut would take away.
#[derive(Default)]
struct Volatile {
    /// Files whose bytes are not durable.
    bytes: Vec<PathBuf>,
    /// Renames whose directories are not.
    names: Vec<(PathBuf, PathBuf)>,
}

impl Volatile {
    /// Takes note of an operation that is about to succeed.
    fn note(&mut self, operation: Operation, path: &Path, to: Option<&Path>) {
        match (operation, to) {
            (Operation::Create, _) => self.bytes.push(path.to_owned()),
            (Operation::SyncFile, _) => self.bytes.retain(|file| file != path),
            (Operation::Rename, Some(to)) => {
                for file in &mut self.bytes {
                    if let Ok(rest) = file.strip_prefix(path) {
                        *file = if rest.as_os_str().is_empty() { to.into() } else { to.join(rest) };
                    }
                }
                self.names.push((path.to_owned(), to.to_owned()));
            }
            (Operation::SyncDirectory, _) => {
                self.names.retain(|(_, to)| to.parent() != Some(path));
            }
            _ => {}
        }
    }

    fn lose(&self) {
        for file in &self.bytes {
            if file.exists() {
                fs_err::write(file, b"").unwrap();
            }
        }
        for (from, to) in self.names.iter().rev() {
            if to.exists() && !from.exists() {
                fs_err::rename(to, from).unwrap();
            }
        }
    }
}

/// A save in which operation number `fail_at` goes wrong: whether it said that all went well, and which operation it was.
fn save_with(
    directory: &Path,
    step: usize,
    fail_at: usize,
    fault: Fault,
) -> (bool, Option<Operation>) {
    let (count, hit) = (Cell::new(0), Cell::new(None));
    let volatile = RefCell::new(Volatile::default());
    let watch = |operation: Operation, path: &Path, to: Option<&Path>| {
        count.set(count.get() + 1);
        if count.get() == fail_at + 1 {
            hit.set(Some(operation));
            match fault {
                Fault::Error => return Err(std::io::Error::other("injected")),
                Fault::Death | Fault::PowerCut => std::panic::resume_unwind(Box::new("death")),
            }
        }
        volatile.borrow_mut().note(operation, path, to);
        Ok(())
    };
    let files = Files::watched(&watch);
    let saved = catch_unwind(AssertUnwindSafe(|| {
        save(&files, directory, &fingerprint(), &state(step), 2).is_ok()
    }));
    if fault == Fault::PowerCut && hit.get().is_some() {
        volatile.borrow().lose();
    }
    (saved.unwrap_or(false), hit.get())
}

/// At every write, sync, rename and removal of a checkpoint: an error, a death and a power cut leave the old state or the new
/// one, and the next attempt succeeds. Once with a checkpoint of the same step in the way, as a stop before an evaluation
/// leaves it.
#[test]
fn a_fault_anywhere_leaves_the_old_state_or_the_new_one() {
    for in_the_way in [false, true] {
        for fault in [Fault::Error, Fault::Death, Fault::PowerCut] {
            let mut hits = Vec::new();
            for fail_at in 0.. {
                let directory = tempfile::tempdir().unwrap();
                let path = directory.path();
                put(path, 10);
                put(path, 20);
                let unevaluated = State { watch: Watch::default(), ..state(30) };
                if in_the_way {
                    save(&Files::default(), path, &fingerprint(), &unevaluated, 2).unwrap();
                }
                let (saved, hit) = save_with(path, 30, fail_at, fault);
                let found = load(path, &fingerprint()).unwrap().expect("a checkpoint");
                let old = if in_the_way { vec![state(20), unevaluated] } else { vec![state(20)] };
                let place = format!("{fault:?} at operation {fail_at}, {hit:?}");
                assert!(found == state(30) || (!saved && old.contains(&found)), "{place}");
                put(path, 30);
                assert_eq!(load(path, &fingerprint()).unwrap(), Some(state(30)), "{place}");
                let Some(hit) = hit else { break };
                hits.push(hit);
            }
            let kinds: BTreeSet<Operation> = hits.iter().copied().collect();
            assert_eq!(kinds.len(), 6, "{fault:?} hit {kinds:?}");
            assert!(hits.len() >= 16, "{} operations", hits.len());
        }
    }
}
