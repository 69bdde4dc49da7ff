//! Faults that a server answers with: each is retried, reported or ends the run as its kind demands.

#![expect(clippy::unwrap_used, reason = "a failed step is a failed test")]

mod script;

use std::time::{Duration, Instant};

use bioinstruct_core::diagnose::{Diagnose, FailureKind};
use bioinstruct_core::model::{Finish, ModelError};
use bioinstruct_llm::{OpenAiConfig, Secret};
use serde_json::{Value, json};
use tokio::runtime::Runtime;
use wiremock::matchers::{body_partial_json, header, method, path};
use wiremock::{Mock, MockServer, Request, ResponseTemplate};

use script::{Script, completion, quick, request, run};

/// A server that gives these answers in turn, the last one for ever.
struct Served {
    runtime: Runtime,
    server: MockServer,
}

impl Served {
    fn answers(answers: Vec<ResponseTemplate>) -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let server = runtime.block_on(MockServer::start());
        let last = answers.len() - 1;
        for (position, answer) in answers.into_iter().enumerate() {
            let mock =
                Mock::given(method("POST")).and(path("/v1/chat/completions")).respond_with(answer);
            let mock = if position == last { mock } else { mock.up_to_n_times(1) };
            runtime.block_on(mock.mount(&server));
        }
        Self { runtime, server }
    }

    fn config(&self) -> OpenAiConfig {
        quick(&format!("{}/v1", self.server.uri()))
    }

    fn received(&self) -> Vec<Request> {
        self.runtime.block_on(self.server.received_requests()).unwrap()
    }
}

fn status(code: u16) -> ResponseTemplate {
    ResponseTemplate::new(code)
}

fn ok(text: &str) -> ResponseTemplate {
    status(200).set_body_json(completion(text))
}

fn error(code: u16, message: &str, kind: &str) -> ResponseTemplate {
    status(code).set_body_json(json!({"error": {"message": message, "code": kind, "type": kind}}))
}

/// Asks once and gives what the caller saw, the result, and how many requests the server saw.
fn ask(answers: Vec<ResponseTemplate>) -> (Script, Result<(), ModelError>, usize) {
    let served = Served::answers(answers);
    let mut script = Script::of(1);
    let result = run(served.config(), &mut script);
    let received = served.received().len();
    (script, result, received)
}

#[test]
fn a_reply_comes_back_whole() {
    let served = Served::answers(vec![ok("Answer β\n")]);
    let mut config = served.config();
    config.api_key = Some(Secret::new("sk-test-key"));
    let mut script = Script::of(1);
    run(config, &mut script).unwrap();
    let reply = script.reply();
    assert_eq!((reply.id.as_str(), reply.text.as_str()), ("r0", "Answer β\n"));
    assert_eq!((reply.finish, reply.model.as_str()), (Finish::Stop, "served-model"));
    assert_eq!((reply.usage.prompt_tokens, reply.usage.completion_tokens), (11, 2));
    let received = served.received();
    assert_eq!(received[0].headers["authorization"], "Bearer sk-test-key");
    let body: Value = received[0].body_json().unwrap();
    assert_eq!(body["messages"], json!([{"role": "user", "content": "question 0"}]));
}

#[test]
fn retry_after_is_waited_for() {
    let limited = error(429, "slow down", "rate_limit_exceeded").insert_header("retry-after", "0");
    let (script, result, received) = ask(vec![limited, ok("later")]);
    result.unwrap();
    assert_eq!((script.reply().text.as_str(), received), ("later", 2));
    assert_eq!(script.retries, [("r0".to_owned(), "HTTP 429: slow down".to_owned(), false)]);

    // A thousand million seconds are cut to the cap of the settings, 0.3 s; nonsense is ignored.
    for wait in ["1000000000", "-5", "Wed, 21 Oct 2026 07:28:00 GMT"] {
        let begun = Instant::now();
        let limited = status(429).insert_header("retry-after", wait);
        let (script, result, _) = ask(vec![limited, ok("later")]);
        result.unwrap();
        assert_eq!(script.reply().text, "later");
        let took = begun.elapsed();
        assert!(took < Duration::from_secs(3), "{wait}: {took:?}");
        if wait == "1000000000" {
            assert!(took >= Duration::from_millis(300), "{took:?}");
        }
    }
}

#[test]
fn a_server_error_is_retried() {
    for code in [500, 502, 503, 529, 408, 409] {
        let (script, result, received) = ask(vec![status(code), ok("then")]);
        result.unwrap();
        assert_eq!((script.reply().text.as_str(), received), ("then", 2), "{code}");
        assert!(!script.retries[0].2, "{code}");
    }
}

#[test]
fn a_server_that_always_stumbles_fails_the_request_alone() {
    let (script, result, received) = ask(vec![error(500, "oops", "server_error")]);
    result.unwrap();
    assert_eq!(script.failure(), ("HTTP 500: oops (3 attempts)", false));
    assert_eq!(received, 3);
}

#[test]
fn a_server_that_stays_busy_ends_the_run_and_leaves_the_request_unanswered() {
    let (script, result, received) = ask(vec![status(429)]);
    let error = result.unwrap_err();
    assert_eq!(error.kind(), FailureKind::Unavailable);
    assert!(error.hint().unwrap().contains("run the same command again"));
    assert!(script.events.is_empty(), "the next run asks again");
    assert_eq!(received, 3);
}

#[test]
fn a_refused_request_fails_at_once() {
    for code in [400, 413, 422] {
        let (script, result, received) = ask(vec![error(code, "context length", "x")]);
        result.unwrap();
        assert_eq!(script.failure(), (format!("HTTP {code}: context length").as_str(), false));
        assert_eq!(received, 1);
    }
}

#[test]
fn what_the_user_must_mend_ends_the_run_at_once() {
    let cases = [
        (error(401, "Incorrect API key provided", "invalid_api_key"), "OPENAI_API_KEY"),
        (status(403), "OPENAI_API_KEY"),
        (error(429, "You exceeded your quota", "insufficient_quota"), "credit"),
        (status(402), "credit"),
        (error(404, "model `x` not found", "model_not_found"), "--model-name"),
        (status(301).insert_header("location", "http://127.0.0.1:1/"), "--base-url"),
    ];
    for (answer, hint) in cases {
        let (script, result, received) = ask(vec![answer]);
        let error = result.unwrap_err();
        assert_eq!(error.kind(), FailureKind::Unavailable, "{error}");
        assert!(error.hint().unwrap().contains(hint), "{error}");
        assert!(script.events.is_empty() && script.retries.is_empty(), "{error}");
        assert_eq!(received, 1, "{error}");
    }
}

#[test]
fn a_success_without_an_answer_is_in_doubt_and_asked_again_once() {
    let useless = || {
        [
            status(200).set_body_raw("<html>login</html>", "text/html"),
            status(200).set_body_json(json!({"choices": []})),
            status(200),
            status(200).set_body_json(json!({"error": {"message": "overloaded"}})),
            status(504),
        ]
    };
    for answer in useless() {
        let (script, result, received) = ask(vec![answer, ok("second")]);
        result.unwrap();
        assert_eq!((script.reply().text.as_str(), received), ("second", 2));
        assert!(script.retries[0].2, "{:?}", script.retries);
    }
    for answer in useless() {
        let (script, result, received) = ask(vec![answer]);
        result.unwrap();
        assert!(script.failure().1, "{:?}", script.events);
        assert_eq!(received, 2, "one retry in doubt, no more");
    }
}

#[test]
fn a_useless_answer_that_was_paid_for_is_not_bought_again() {
    let mut null = completion("");
    null["choices"][0]["message"]["content"] = Value::Null;
    let mut unended = completion("text");
    unended["choices"][0]["finish_reason"] = Value::Null;
    let huge = status(200).set_body_bytes(vec![b' '; (16 << 20) + 1]);
    for answer in [status(200).set_body_json(null), status(200).set_body_json(unended), huge] {
        let (script, result, received) = ask(vec![answer]);
        result.unwrap();
        assert!(script.failure().1, "{:?}", script.events);
        assert_eq!(received, 1);
    }
}

#[test]
fn a_cut_reply_is_a_reply() {
    let mut cut = completion("half a sen");
    cut["choices"][0]["finish_reason"] = json!("length");
    cut.as_object_mut().unwrap().remove("usage");
    let (script, result, _) = ask(vec![status(200).set_body_json(cut)]);
    result.unwrap();
    assert_eq!((script.reply().finish, script.reply().usage.prompt_tokens), (Finish::Length, 0));
}

#[test]
fn an_answer_that_comes_too_late_is_in_doubt() {
    let served = Served::answers(vec![ok("late").set_delay(Duration::from_secs(30))]);
    let mut config = served.config();
    config.timeouts.total = Duration::from_millis(200);
    let mut script = Script::of(1);
    let begun = Instant::now();
    run(config, &mut script).unwrap();
    assert_eq!(script.failure(), ("no full answer within 0.2 s (2 attempts)", true));
    assert_eq!(served.received().len(), 2);
    assert!(begun.elapsed() < Duration::from_secs(5));
}

#[test]
fn an_invalid_request_ends_the_run_after_what_is_under_way() {
    let served = Served::answers(vec![ok("answer").set_delay(Duration::from_millis(50))]);
    for concurrency in [1, 8] {
        let mut config = served.config();
        config.concurrency = concurrency;
        let sent_before = served.received().len();
        let mut script = Script::of(4);
        script.waiting[2].sampling.top_k = 40;
        let error = run(config, &mut script).unwrap_err();
        assert!(matches!(&error, ModelError::Request { id, .. } if id == "r2"), "{error}");
        assert_eq!(script.waiting.len(), 1, "nothing more was asked");
        // What was sent is answered; what was not sent yet has no event, and is asked by the next run.
        let sent = served.received().len() - sent_before;
        assert_eq!(script.texts().len(), sent);
        assert!(concurrency > 1 || sent == 2, "{sent}");
    }

    let mut twice = Script::of(1);
    twice.waiting.push_back(request(0));
    let error = run(served.config(), &mut twice).unwrap_err();
    assert!(matches!(&error, ModelError::Request { id, .. } if id == "r0"), "{error}");
}

#[test]
fn many_failures_in_a_row_end_the_run() {
    let served = Served::answers(vec![error(400, "Unsupported parameter: 'max_tokens'", "x")]);
    let mut config = served.config();
    config.concurrency = 1;
    config.give_up_after = 4;
    let mut script = Script::of(50);
    let error = run(config, &mut script).unwrap_err();
    assert!(error.to_string().contains("4 requests failed in a row"), "{error}");
    assert!(error.to_string().contains("Unsupported parameter"), "{error}");
    assert_eq!((script.events.len(), served.received().len()), (4, 4));
}

/// One request in doubt and one fatal answer: the doubt is reported, the rest stays for the next run.
#[test]
fn a_fatal_answer_leaves_waiting_requests_unsent_and_reports_doubts() {
    let served = Served::answers(vec![status(504), status(500), status(401)]);
    let mut config = served.config();
    config.concurrency = 1;
    config.max_attempts = 9;
    let mut script = Script::of(2);
    let error = run(config, &mut script).unwrap_err();
    assert_eq!(error.kind(), FailureKind::Unavailable);
    assert_eq!(script.failure(), ("the server refuses the key (HTTP 401) (3 attempts)", true));
    assert_eq!(script.waiting.len(), 1);
}

#[test]
fn the_caller_can_stop_at_an_event_and_at_a_retry() {
    let served = Served::answers(vec![ok("x")]);
    let mut script = Script::of(40);
    script.stop_after = Some(5);
    run(served.config(), &mut script).unwrap();
    assert_eq!(script.events.len(), 5);

    let served = Served::answers(vec![status(500)]);
    let mut script = Script::of(40);
    script.stop_at_retry = true;
    run(served.config(), &mut script).unwrap();
    assert_eq!((script.events.len(), script.retries.len()), (0, 1));
}

/// Mixed faults, slow and quick answers, any number of requests under way: the same replies in the end.
#[test]
fn the_replies_do_not_depend_on_concurrency() {
    let mut seen = Vec::new();
    for concurrency in [1, 3, 16] {
        let served = Served::answers(vec![
            status(500),
            status(503),
            ok("unused").set_delay(Duration::from_millis(1)),
        ]);
        for number in 0..30 {
            let wanted = json!({"messages": [{"content": format!("question {number}")}]});
            let answer =
                ok(&format!("answer {number}")).set_delay(Duration::from_millis(number * 37 % 50));
            let mock = Mock::given(method("POST"))
                .and(header("content-type", "application/json"))
                .and(body_partial_json(&wanted))
                .respond_with(answer)
                .with_priority(if number % 7 == 0 { 9 } else { 1 });
            served.runtime.block_on(mock.mount(&served.server));
        }
        let mut config = served.config();
        config.concurrency = concurrency;
        let mut script = Script::of(30);
        run(config, &mut script).unwrap();
        let texts = script.texts();
        assert_eq!(texts.len(), 30, "{concurrency}");
        seen.push(texts);
    }
    assert!(seen.windows(2).all(|pair| pair[0] == pair[1]), "{seen:?}");
    assert_eq!(seen[0]["r1"], "answer 1");
}
