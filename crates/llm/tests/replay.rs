//! Replays stand in for a model: by recorded replies, by a function, in any order.

#[expect(dead_code, reason = "shared with the tests of HTTP clients")]
mod script;

use bioinstruct_core::model::{ChatEvent, ChatModel, ChatReply, Finish, Usage};
use bioinstruct_llm::Replay;

use script::Script;

fn reply(id: &str, text: &str) -> ChatReply {
    ChatReply {
        id: id.to_owned(),
        text: text.to_owned(),
        finish: Finish::Stop,
        usage: Usage::default(),
        model: "m".to_owned(),
    }
}

#[test]
fn recorded_replies_are_found_by_id() {
    let mut replay = Replay::from_replies("m", [reply("r1", "one"), reply("r0", "zero")]);
    let mut script = Script::of(3);
    replay.run(&mut script).unwrap();
    assert_eq!(script.events[0], ChatEvent::Reply(reply("r0", "zero")));
    assert_eq!(script.events[1], ChatEvent::Reply(reply("r1", "one")));
    assert!(
        matches!(&script.events[2], ChatEvent::Failure { id, in_doubt: false, .. } if id == "r2")
    );

    let same = Replay::from_replies("m", [reply("r0", "zero"), reply("r1", "one")]);
    let other = Replay::from_replies("m", [reply("r0", "zero"), reply("r1", "two")]);
    assert_eq!(replay.identity(None), same.identity(None));
    assert_ne!(replay.identity(None).digest, other.identity(None).digest);
}

#[test]
fn a_function_answers_and_the_order_of_replies_is_drawn() {
    let run = |concurrency, seed| {
        let mut calls = 0;
        let mut replay = Replay::from_function("counter", move |request| {
            calls += 1;
            Replay::reply(request, format!("{} is call {calls}", request.id))
        })
        .shuffled(concurrency, seed);
        let mut script = Script::of(20);
        replay.run(&mut script).unwrap();
        script
    };
    let (plain, shuffled, again) = (run(1, 0), run(7, 3), run(7, 3));
    assert_eq!(plain.texts()["r4"], "r4 is call 5");
    assert_eq!(plain.texts(), shuffled.texts());
    assert_eq!(shuffled.events, again.events);
    assert_ne!(plain.events, shuffled.events);
}

#[test]
fn a_break_stops_it() {
    let mut replay =
        Replay::from_function("f", |request| Replay::reply(request, "x")).shuffled(4, 1);
    let mut script = Script::of(9);
    script.stop_after = Some(2);
    replay.run(&mut script).unwrap();
    assert_eq!(script.events.len(), 2);
}
