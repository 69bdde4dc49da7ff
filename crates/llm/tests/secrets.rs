//! A canary key goes through every fault: it must appear in no event, error, debug text or log line.

#![expect(clippy::unwrap_used, reason = "a failed step is a failed test")]

#[expect(dead_code, reason = "shared with the tests of faults")]
mod script;

use std::io::Write;
use std::sync::{Arc, Mutex};

use bioinstruct_core::diagnose::Diagnose;
use bioinstruct_core::model::ChatModel;
use bioinstruct_llm::{OpenAiClient, Secret};
use serde_json::json;
use wiremock::matchers::{any, header};
use wiremock::{Mock, MockServer, ResponseTemplate};

use script::{Script, completion, quick};

const CANARY: &str = "sk-CANARY-9f3b71c2d84e5a60";

/// Where the log of the whole test goes.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// Answers that repeat what they were sent, as debugging proxies and key checks do.
fn echoes() -> Vec<ResponseTemplate> {
    let said = format!("you sent `Bearer {CANARY}`, that is {}…{}", &CANARY[..12], &CANARY[10..]);
    let wrapped =
        json!({"error": {"message": said, "code": said, "type": "invalid_request_error"}});
    let mut answers: Vec<ResponseTemplate> = [400, 401, 403, 404, 418, 429, 500, 504]
        .iter()
        .map(|&status| ResponseTemplate::new(status).set_body_json(&wrapped))
        .collect();
    let mut unended = completion("x");
    unended["choices"][0]["finish_reason"] = json!(CANARY);
    let mut named = completion("x");
    named["model"] = json!(CANARY);
    answers.extend([
        ResponseTemplate::new(500).set_body_string(format!("{}{said}", "x".repeat(290))),
        ResponseTemplate::new(302)
            .insert_header("location", format!("http://evil.test/?key={CANARY}")),
        ResponseTemplate::new(200).set_body_string(format!("<html>{said}</html>")),
        ResponseTemplate::new(200).set_body_json(&wrapped),
        ResponseTemplate::new(200).set_body_json(completion(&said)),
        ResponseTemplate::new(200).set_body_json(unended),
        ResponseTemplate::new(200).set_body_json(named),
    ]);
    answers
}

#[test]
fn the_key_appears_nowhere() {
    let log = Log::default();
    let writer = log.clone();
    tracing_subscriber::fmt()
        .with_max_level(tracing_subscriber::filter::LevelFilter::TRACE)
        .with_writer(move || writer.clone())
        .init();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let mut seen = Vec::new();
    let mut received = 0;
    for answer in echoes() {
        let server = runtime.block_on(MockServer::start());
        let mock = Mock::given(any())
            .and(header("authorization", format!("Bearer {CANARY}")))
            .respond_with(answer);
        runtime.block_on(mock.mount(&server));
        let mut config = quick(&server.uri());
        config.api_key = Some(Secret::new(CANARY));
        config.max_attempts = 2;
        let mut client = OpenAiClient::new(config.clone()).unwrap();
        let mut script = Script::of(1);
        let result = client.run(&mut script);
        if let Err(error) = &result {
            seen.push(format!("{error} {error:?} {:?}", error.hint()));
        }
        seen.push(format!("{config:?} {client:?} {:?} {:?}", script.events, script.retries));
        received += runtime.block_on(server.received_requests()).unwrap().len();
    }
    assert!(received >= 15, "{received}");
    seen.push(String::from_utf8_lossy(&log.0.lock().unwrap()).into_owned());
    let seen = seen.join("\n");
    assert!(seen.contains("attempt failed"), "the log was not recorded");
    for start in 0..=CANARY.len() - 12 {
        let piece = &CANARY[start..start + 12];
        let place = seen
            .find(piece)
            .map(|at| seen[at.saturating_sub(200)..].chars().take(260).collect::<String>());
        assert_eq!(place, None, "{piece}");
    }
}
