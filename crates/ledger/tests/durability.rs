//! Killed processes, other processes, other versions, and damaged files.

#![expect(clippy::unwrap_used, reason = "a failed step is a failed test")]

use std::io::{BufRead, BufReader};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Stdio};

use bioinstruct_core::diagnose::{Diagnose, FailureKind};
use bioinstruct_core::model::{ChatReply, ChatRequest, Finish, Prompt, Sampling, Usage};
use bioinstruct_ledger::{EntryState, Ledger, LedgerError};
use serde_json::json;

/// Names the ledger that the child process of the kill test writes.
const CHILD: &str = "BIOINSTRUCT_TEST_LEDGER";

fn request(place: u64) -> ChatRequest {
    ChatRequest {
        id: format!("request-{place}"),
        prompt: Prompt::Text("what ".repeat(50)),
        sampling: Sampling::default(),
        stop: Vec::new(),
        schema: None,
        adapter: None,
    }
}

fn reply(place: u64) -> ChatReply {
    ChatReply {
        id: format!("request-{place}"),
        text: format!("reply {place} ").repeat(100),
        finish: Finish::Stop,
        usage: Usage::default(),
        model: "m".to_owned(),
    }
}

fn write_exchange(ledger: &Ledger, place: u64) {
    ledger.plan(place, &request(place), &json!({"place": place})).unwrap();
    ledger.attempt(&request(place).id).unwrap();
    ledger.reply(&reply(place)).unwrap();
}

/// Not a test of its own: the process that [`a_killed_writer_loses_nothing_it_was_told_is_stored`] kills.
#[test]
#[ignore = "run by the kill test"]
fn child_that_writes_until_it_is_killed() {
    let Some(path) = std::env::var_os(CHILD) else {
        return;
    };
    let ledger = Ledger::open(Path::new(&path)).unwrap();
    let begun = ledger.entries().unwrap().len() as u64;
    for place in begun.saturating_sub(1).. {
        write_exchange_again(&ledger, place);
        println!("stored {place}");
    }
}

/// Like [`write_exchange`], for a place that a killed process may have left half done.
fn write_exchange_again(ledger: &Ledger, place: u64) {
    ledger.plan(place, &request(place), &json!({"place": place})).unwrap();
    match ledger.attempt(&request(place).id) {
        Ok(_) | Err(LedgerError::AlreadyReplied { .. }) => ledger.reply(&reply(place)).unwrap(),
        Err(error) => panic!("{error}"),
    }
}

#[test]
fn a_killed_writer_loses_nothing_it_was_told_is_stored() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("ledger.sqlite");
    let mut acknowledged = 0;
    for round in 0..6 {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "child_that_writes_until_it_is_killed", "--ignored", "--nocapture"])
            .env(CHILD, &path)
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut heard = 0;
        while heard <= round * 7 {
            let line = lines.next().expect("the child stopped by itself").unwrap();
            if let Some((_, place)) = line.split_once("stored ") {
                acknowledged = place.parse::<u64>().unwrap();
                heard += 1;
            }
        }
        child.kill().unwrap();
        child.wait().unwrap();
        for line in lines.map_while(Result::ok) {
            if let Some((_, place)) = line.split_once("stored ") {
                acknowledged = place.parse().unwrap_or(acknowledged);
            }
        }

        let ledger = Ledger::open(&path).unwrap();
        let entries = ledger.entries().unwrap();
        assert!(entries.len() as u64 > acknowledged, "round {round}");
        for (place, entry) in entries.iter().enumerate() {
            assert_eq!(entry.request, request(place as u64));
            if place as u64 <= acknowledged {
                assert_eq!(entry.state, EntryState::Replied(reply(place as u64)));
            }
        }
    }
    assert!(acknowledged > 50);
}

#[test]
fn what_stands_in_the_log_only_is_read_after_a_crash() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("ledger.sqlite");
    let ledger = Ledger::open(&path).unwrap();
    (0..5).for_each(|place| write_exchange(&ledger, place));
    // The bytes of both files while the writer lives are what a crash leaves.
    let copy = directory.path().join("copy.sqlite");
    fs_err::copy(&path, &copy).unwrap();
    fs_err::copy(
        directory.path().join("ledger.sqlite-wal"),
        directory.path().join("copy.sqlite-wal"),
    )
    .unwrap();
    let recovered = Ledger::open(&copy).unwrap();
    assert_eq!(recovered.entries().unwrap(), ledger.entries().unwrap());
    assert_eq!(recovered.counts().unwrap().replied, 5);
    assert!(!directory.path().join("ledger.sqlite-shm").exists());
}

#[test]
fn the_files_are_private() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("ledger.sqlite");
    let ledger = Ledger::open(&path).unwrap();
    write_exchange(&ledger, 0);
    for entry in fs_err::read_dir(directory.path()).unwrap() {
        let entry = entry.unwrap();
        let mode = entry.metadata().unwrap().permissions().mode() & 0o777;
        assert_eq!(mode, 0o600, "{}", entry.path().display());
    }
    drop(ledger);
    fs_err::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).unwrap();
    Ledger::open(&path).unwrap();
    let mode = fs_err::metadata(&path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode, 0o600);
}

#[test]
fn a_second_opener_is_told_that_the_ledger_is_in_use() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("ledger.sqlite");
    let first = Ledger::open(&path).unwrap();
    let error = Ledger::open(&path).unwrap_err();
    assert!(matches!(error, LedgerError::Locked { .. }), "{error}");
    assert_eq!(error.kind(), FailureKind::Temporary);
    drop(first);
    let reopened = Ledger::open(&path).unwrap();
    assert!(
        matches!(Ledger::open(&path), Err(LedgerError::Locked { .. })),
        "reopened: {reopened:?}"
    );
}

#[test]
fn newer_and_foreign_files_are_refused_and_left_alone() {
    let directory = tempfile::tempdir().unwrap();
    let newer = directory.path().join("newer.sqlite");
    drop(Ledger::open(&newer).unwrap());
    let connection = rusqlite::Connection::open(&newer).unwrap();
    connection.pragma_update(None, "user_version", 99).unwrap();
    drop(connection);
    let error = Ledger::open(&newer).unwrap_err();
    assert!(matches!(error, LedgerError::Newer { found: 99, supported: 1, .. }), "{error}");

    let foreign = directory.path().join("foreign.sqlite");
    let connection = rusqlite::Connection::open(&foreign).unwrap();
    connection.execute_batch("CREATE TABLE theirs (x)").unwrap();
    drop(connection);
    let before = fs_err::read(&foreign).unwrap();
    let error = Ledger::open(&foreign).unwrap_err();
    assert!(matches!(error, LedgerError::NotALedger { .. }), "{error}");
    assert_eq!(fs_err::read(&foreign).unwrap(), before);

    let text = directory.path().join("notes.txt");
    fs_err::write(&text, "not a database at all\n".repeat(100)).unwrap();
    let error = Ledger::open(&text).unwrap_err();
    assert!(matches!(error, LedgerError::NotALedger { .. }), "{error}");

    let missing = directory.path().join("no/such/ledger.sqlite");
    let error = Ledger::open(&missing).unwrap_err();
    assert_eq!(error.kind(), FailureKind::Io);
    assert!(error.to_string().contains("no/such"), "{error}");
}

#[test]
fn a_cut_file_is_never_taken_for_a_whole_one() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("ledger.sqlite");
    let ledger = Ledger::open(&path).unwrap();
    (0..12).for_each(|place| write_exchange(&ledger, place));
    drop(ledger);
    let whole = fs_err::read(&path).unwrap();
    assert!(whole.len() > 8 * 4096, "{}", whole.len());
    let cut_path = directory.path().join("cut.sqlite");
    for length in (1..whole.len()).step_by(509) {
        fs_err::write(&cut_path, &whole[..length]).unwrap();
        let error = Ledger::open(&cut_path).expect_err(&format!("{length} bytes were accepted"));
        assert!(
            matches!(error, LedgerError::Damaged { .. } | LedgerError::NotALedger { .. }),
            "{length}: {error:?}"
        );
    }
}

#[test]
fn an_emptied_file_beside_its_log_is_damaged_not_new() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("ledger.sqlite");
    let ledger = Ledger::open(&path).unwrap();
    write_exchange(&ledger, 0);
    let emptied = directory.path().join("emptied.sqlite");
    let log = directory.path().join("emptied.sqlite-wal");
    fs_err::copy(directory.path().join("ledger.sqlite-wal"), &log).unwrap();
    for make_empty in [false, true] {
        if make_empty {
            fs_err::write(&emptied, "").unwrap();
        }
        let error = Ledger::open(&emptied).unwrap_err();
        assert!(matches!(error, LedgerError::Damaged { .. }), "{error}");
        assert!(log.exists());
    }
}

#[test]
fn a_flipped_byte_in_a_stored_text_is_found() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("ledger.sqlite");
    let ledger = Ledger::open(&path).unwrap();
    (0..12).for_each(|place| write_exchange(&ledger, place));
    let truth = ledger.entries().unwrap();
    drop(ledger);
    let whole = fs_err::read(&path).unwrap();
    let flipped_path = directory.path().join("flipped.sqlite");
    let (mut found, mut harmless) = (0, 0);
    for position in (100..whole.len()).step_by(211) {
        let mut bytes = whole.clone();
        bytes[position] ^= 0x01;
        fs_err::write(&flipped_path, &bytes).unwrap();
        let entries = Ledger::open(&flipped_path).and_then(|ledger| ledger.entries());
        let Ok(entries) = entries else {
            found += 1;
            continue;
        };
        // Unused bytes of a page may change, and times and attempt counts carry no seal; texts never differ unseen.
        for (entry, expected) in entries.iter().zip(&truth) {
            assert_eq!(entry.request, expected.request, "byte {position}");
            if let EntryState::Replied(_) = entry.state {
                assert_eq!(entry.state, expected.state, "byte {position}");
            }
        }
        harmless += 1;
    }
    assert!(found > 20, "{found} found, {harmless} harmless");
}
