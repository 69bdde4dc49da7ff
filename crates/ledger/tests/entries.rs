//! Requests, answers and settings: what is stored comes back, repeated calls change nothing, contradictions are refused.

#![expect(clippy::unwrap_used, reason = "a failed step is a failed test")]

use bioinstruct_core::diagnose::{Diagnose, FailureKind};
use bioinstruct_core::model::{ChatReply, ChatRequest, Finish, Prompt, Sampling, Usage};
use bioinstruct_ledger::{Counts, EntryState, Ledger, LedgerError};
use serde_json::{Value, json};

fn request(id: &str, text: &str) -> ChatRequest {
    ChatRequest {
        id: id.to_owned(),
        prompt: Prompt::Text(text.to_owned()),
        sampling: Sampling {
            temperature: 0.7,
            top_p: 0.1 + 0.2,
            seed: u64::MAX,
            ..Sampling::default()
        },
        stop: vec!["\n\n".to_owned()],
        schema: Some(json!({"type": "object", "b": 1, "a": 2})),
        adapter: None,
    }
}

fn reply(id: &str, text: &str) -> ChatReply {
    ChatReply {
        id: id.to_owned(),
        text: text.to_owned(),
        finish: Finish::Length,
        usage: Usage { prompt_tokens: 3, completion_tokens: 5 },
        model: "m".to_owned(),
    }
}

fn scratch() -> (tempfile::TempDir, Ledger) {
    let directory = tempfile::tempdir().unwrap();
    let ledger = Ledger::open(&directory.path().join("ledger.sqlite")).unwrap();
    (directory, ledger)
}

#[test]
fn entries_come_back_in_plan_order_with_their_fate() {
    let (_directory, ledger) = scratch();
    for (place, id) in [(2, "c"), (0, "a"), (1, "b"), (7, "d")] {
        ledger.plan(place, &request(id, "β\0\n"), &json!({"seeds": [id]})).unwrap();
    }
    assert_eq!(ledger.attempt("a").unwrap(), 1);
    assert_eq!(ledger.retry("a", "timeout", true).unwrap(), 2);
    ledger.reply(&reply("a", "Answer\u{2028}")).unwrap();
    assert_eq!(ledger.attempt("b").unwrap(), 1);
    ledger.failure("b", "400: too long", false).unwrap();
    ledger.attempt("c").unwrap();

    let entries = ledger.entries().unwrap();
    let ids: Vec<&str> = entries.iter().map(|entry| entry.request.id.as_str()).collect();
    assert_eq!(ids, ["a", "b", "c", "d"]);
    assert_eq!(entries[0].request, request("a", "β\0\n"));
    assert_eq!(entries[0].extra, json!({"seeds": ["a"]}));
    assert_eq!((entries[0].attempts, entries[0].doubtful_attempts), (2, 1));
    assert_eq!(entries[0].state, EntryState::Replied(reply("a", "Answer\u{2028}")));
    assert_eq!(
        entries[1].state,
        EntryState::Failed { error: "400: too long".to_owned(), in_doubt: false }
    );
    assert_eq!((&entries[2].state, entries[2].attempts), (&EntryState::Planned, 1));
    assert_eq!((&entries[3].state, entries[3].attempts), (&EntryState::Planned, 0));
    assert_eq!(
        ledger.counts().unwrap(),
        Counts { planned: 2, replied: 1, failed: 1, attempts: 4, doubtful_attempts: 1 }
    );
}

#[test]
fn planning_again_changes_nothing_and_another_body_is_refused() {
    let (_directory, ledger) = scratch();
    ledger.plan(4, &request("a", "one"), &json!(1)).unwrap();
    ledger.plan(4, &request("a", "one"), &json!(1)).unwrap();
    assert_eq!(ledger.entries().unwrap().len(), 1);

    let error = ledger.plan(4, &request("b", "two"), &json!(1)).unwrap_err();
    let text = error.to_string();
    assert!(
        text.contains("place 4") && text.contains("request a ") && text.contains("request b "),
        "{text}"
    );
    assert_eq!(error.kind(), FailureKind::Configuration);

    let same_id = ledger.plan(4, &request("a", "two"), &json!(1)).unwrap_err();
    let LedgerError::PlanConflict { standing_body, offered_body, .. } = same_id else {
        panic!("{same_id}")
    };
    assert_ne!(standing_body, offered_body);

    let moved = ledger.plan(5, &request("a", "one"), &json!(1)).unwrap_err();
    assert!(matches!(moved, LedgerError::IdConflict { standing: 4, offered: 5, .. }), "{moved}");
    let beyond = ledger.plan(u64::MAX, &request("z", "one"), &json!(1)).unwrap_err();
    assert!(matches!(beyond, LedgerError::PlanIndex { .. }), "{beyond}");
    assert_eq!(ledger.entries().unwrap().len(), 1);
}

#[test]
fn a_reply_stands_once_and_for_all() {
    let (_directory, ledger) = scratch();
    assert!(matches!(ledger.attempt("a"), Err(LedgerError::UnknownRequest { .. })));
    assert!(matches!(ledger.reply(&reply("a", "x")), Err(LedgerError::UnknownRequest { .. })));
    ledger.plan(0, &request("a", "one"), &Value::Null).unwrap();
    ledger.failure("a", "500", false).unwrap();
    ledger.reply(&reply("a", "x")).unwrap();
    ledger.reply(&reply("a", "x")).unwrap();
    assert_eq!(ledger.counts().unwrap().failed, 0, "the reply replaces the failure");

    let refusals = [
        ledger.reply(&reply("a", "y")).unwrap_err(),
        ledger.failure("a", "late", true).unwrap_err(),
        ledger.attempt("a").unwrap_err(),
        ledger.retry("a", "late", true).unwrap_err(),
    ];
    for error in refusals {
        assert!(matches!(error, LedgerError::AlreadyReplied { .. }), "{error}");
    }
    assert_eq!(ledger.entries().unwrap()[0].state, EntryState::Replied(reply("a", "x")));
    assert_eq!(ledger.counts().unwrap().attempts, 0, "a refused retry leaves nothing behind");
}

#[test]
fn a_failed_request_is_under_way_again_when_it_is_attempted_again() {
    let (_directory, ledger) = scratch();
    ledger.plan(0, &request("a", "one"), &Value::Null).unwrap();
    ledger.attempt("a").unwrap();
    ledger.failure("a", "timeout", true).unwrap();
    assert_eq!(ledger.attempt("a").unwrap(), 2);
    let entry = &ledger.entries().unwrap()[0];
    assert_eq!(entry.state, EntryState::Planned);
    assert_eq!((entry.attempts, entry.doubtful_attempts), (2, 1));
}

#[test]
fn answers_keep_every_bit_of_their_numbers() {
    let (_directory, ledger) = scratch();
    let numbers = [
        -1.234_567_890_123_456_7e-5,
        0.1 + 0.2,
        f64::MIN_POSITIVE,
        -103.279_296_875_000_01,
        9_007_199_254_740_993.0,
        5e-324,
    ];
    let value = json!({"z": numbers, "a": u64::MAX, "text": "é\u{1F9EC}"});
    ledger.record_answer("prediction", "k1", &value).unwrap();
    let found = ledger.answer("prediction", "k1").unwrap().unwrap();
    for (position, number) in numbers.iter().enumerate() {
        let read = found["z"][position].as_f64().unwrap();
        assert_eq!(read.to_bits(), number.to_bits(), "{number:e}");
    }
    assert_eq!(found.to_string(), value.to_string(), "the order of keys is kept");
    assert_eq!(ledger.answer("judgement", "k1").unwrap(), None);
    assert_eq!(ledger.answer("prediction", "k2").unwrap(), None);
}

#[test]
fn a_batch_of_answers_is_all_or_nothing() {
    let (_directory, ledger) = scratch();
    let (one, two) = (json!(1), json!(2));
    ledger.record_answers("j", [("b", &two), ("a", &one)]).unwrap();
    ledger.record_answers("j", [("a", &one)]).unwrap();
    let error = ledger.record_answers("j", [("c", &one), ("a", &two), ("d", &one)]).unwrap_err();
    assert_eq!(error.to_string(), "`j` a already has another answer");
    let standing: Vec<(String, Value)> = ledger.answers("j").unwrap().into_iter().collect();
    assert_eq!(standing, [("a".to_owned(), one), ("b".to_owned(), two)]);
}

#[test]
fn settings_are_bound_at_first_use() {
    let (directory, ledger) = scratch();
    assert_eq!(ledger.setting("seed").unwrap(), None);
    ledger.bind("seed", &json!(7)).unwrap();
    ledger.bind("config", &json!({"model": {"name": "m", "t": 0.1}, "n": 3})).unwrap();
    drop(ledger);
    let ledger = Ledger::open(&directory.path().join("ledger.sqlite")).unwrap();
    ledger.bind("seed", &json!(7)).unwrap();
    ledger.bind("config", &json!({"n": 3, "model": {"t": 0.1, "name": "m"}})).unwrap();
    assert_eq!(ledger.setting("seed").unwrap(), Some(json!(7)));

    let error = ledger.bind("seed", &json!(8)).unwrap_err();
    assert!(error.to_string().ends_with("with another `seed`: 7 there, 8 now"), "{error}");
    assert_eq!(error.kind(), FailureKind::Configuration);
    let error =
        ledger.bind("config", &json!({"n": 3, "model": {"t": 0.1, "name": "other"}})).unwrap_err();
    assert!(
        error.to_string().contains("`config.model.name`: \"m\" there, \"other\" now"),
        "{error}"
    );
}
