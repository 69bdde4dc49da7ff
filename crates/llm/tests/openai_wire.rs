//! Faults below HTTP: refused, reset and cut connections, servers that trickle or fall silent, and proxies of the
//! environment.

#![expect(clippy::unwrap_used, reason = "a failed step is a failed test")]

mod script;

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use bioinstruct_core::diagnose::{Diagnose, FailureKind};
use bioinstruct_core::model::ModelError;
use bioinstruct_llm::OpenAiConfig;

use script::{Script, completion, quick, run};

/// A server made of one function; it sees the number of the connection, from zero, after the request was read.
fn serve(
    answer: impl Fn(usize, &mut TcpStream) + Send + 'static,
) -> (OpenAiConfig, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let connections = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&connections);
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let number = counter.fetch_add(1, Ordering::SeqCst);
            read_request(&mut stream);
            answer(number, &mut stream);
        }
    });
    (quick(&format!("http://{address}/v1")), connections)
}

/// Reads head and body, so that closing the socket is no reset.
fn read_request(stream: &mut TcpStream) {
    let mut bytes = Vec::new();
    let mut buffer = [0; 4096];
    loop {
        let text = String::from_utf8_lossy(&bytes).to_lowercase();
        if let Some(end) = text.find("\r\n\r\n") {
            let length: usize = text
                .lines()
                .find_map(|line| line.strip_prefix("content-length: "))
                .map_or(0, |length| length.trim().parse().unwrap());
            if bytes.len() >= end + 4 + length {
                return;
            }
        }
        match stream.read(&mut buffer) {
            Ok(0) | Err(_) => return,
            Ok(read) => bytes.extend_from_slice(&buffer[..read]),
        }
    }
}

fn full_answer(text: &str) -> Vec<u8> {
    let body = completion(text).to_string();
    format!(
        "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}",
        body.len()
    )
    .into_bytes()
}

#[test]
fn a_refused_connection_is_retried_and_then_ends_the_run() {
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let mut script = Script::of(2);
    let error = run(quick(&format!("http://localhost:{port}/v1")), &mut script).unwrap_err();
    assert_eq!(error.kind(), FailureKind::Unavailable);
    assert!(error.to_string().contains("refused"), "{error}");
    assert!(error.hint().unwrap().contains("--base-url"), "{error}");
    assert!(script.events.is_empty());
    assert!(script.retries.len() >= 2 && script.retries.iter().all(|(_, _, in_doubt)| !in_doubt));
}

#[test]
fn a_server_without_tls_is_unavailable_over_https() {
    let (config, _) = serve(|_, stream| stream.write_all(b"what?\r\n").unwrap_or_default());
    let mut config =
        OpenAiConfig { base_url: config.base_url.replace("http://", "https://"), ..config };
    config.timeouts.connect = Duration::from_millis(200);
    let mut script = Script::of(1);
    match run(config, &mut script).unwrap_err() {
        // Without certificates on this machine, the message must say so.
        ModelError::Unavailable { reason, .. } if reason.contains("CA certificates") => {}
        error => {
            assert_eq!(error.kind(), FailureKind::Unavailable);
            assert!(script.retries.iter().all(|(_, _, in_doubt)| !in_doubt), "{error}");
        }
    }
}

/// The answer is cut at every seventh byte: each cut is in doubt, is asked again once, and then succeeds.
#[test]
fn an_answer_cut_anywhere_is_in_doubt() {
    let answer = full_answer("whole");
    let length = answer.len();
    for cut in (0..length).step_by(7) {
        let answer = answer.clone();
        let (config, connections) = serve(move |number, stream| {
            let end = if number == 0 { cut } else { answer.len() };
            stream.write_all(&answer[..end]).unwrap_or_default();
        });
        let mut script = Script::of(1);
        run(config, &mut script).unwrap();
        assert_eq!(script.reply().text, "whole", "cut at {cut}");
        assert_eq!(script.retries.len(), 1, "cut at {cut}");
        assert!(script.retries[0].2, "cut at {cut}: {:?}", script.retries);
        assert_eq!(connections.load(Ordering::SeqCst), 2);
    }
}

#[test]
fn a_connection_that_always_breaks_is_asked_twice_and_no_more() {
    let (config, connections) = serve(|_, _| ());
    let mut script = Script::of(1);
    run(config, &mut script).unwrap();
    assert!(script.failure().1, "{:?}", script.events);
    assert_eq!(connections.load(Ordering::SeqCst), 2);
}

#[test]
fn a_server_that_falls_silent_is_left() {
    let (mut config, _) = serve(|_, stream| {
        stream.write_all(&full_answer("whole")[..100]).unwrap_or_default();
        std::thread::sleep(Duration::from_secs(2));
    });
    config.timeouts.idle = Duration::from_millis(100);
    config.in_doubt_retries = 0;
    let begun = Instant::now();
    let mut script = Script::of(1);
    run(config, &mut script).unwrap();
    assert_eq!(script.failure(), ("the answer stopped for 0.1 s", true));
    assert!(begun.elapsed() < Duration::from_secs(2));
}

#[test]
fn a_server_that_trickles_is_left_at_the_total_limit() {
    let (mut config, _) = serve(|_, stream| {
        stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n").unwrap_or_default();
        while stream.write_all(b" ").is_ok() {
            std::thread::sleep(Duration::from_millis(20));
        }
    });
    config.timeouts.total = Duration::from_millis(300);
    config.in_doubt_retries = 0;
    let mut script = Script::of(1);
    run(config, &mut script).unwrap();
    assert_eq!(script.failure(), ("no full answer within 0.3 s", true));
}

#[test]
fn a_slow_caller_lets_no_time_limit_run_out() {
    struct Slow(Script);
    impl bioinstruct_core::model::Exchange for Slow {
        fn next_request(&mut self) -> Option<bioinstruct_core::model::ChatRequest> {
            self.0.next_request()
        }
        fn event(
            &mut self,
            event: bioinstruct_core::model::ChatEvent,
        ) -> std::ops::ControlFlow<()> {
            std::thread::sleep(Duration::from_millis(1300));
            self.0.event(event)
        }
    }
    let (mut config, connections) = serve(|number, stream| {
        std::thread::sleep(Duration::from_millis(number as u64 * 100));
        stream.write_all(&full_answer("x")).unwrap_or_default();
    });
    config.timeouts.total = Duration::from_millis(1100);
    config.concurrency = 3;
    let mut slow = Slow(Script::of(3));
    bioinstruct_core::model::ChatModel::run(
        &mut bioinstruct_llm::OpenAiClient::new(config).unwrap(),
        &mut slow,
    )
    .unwrap();
    assert_eq!(slow.0.texts().len(), 3, "{:?}", slow.0.events);
    assert_eq!(connections.load(Ordering::SeqCst), 3);
}

/// Not a test of its own: run by the next one under a changed environment.
#[test]
#[ignore = "run by the proxy test"]
fn child_that_asks_under_proxy_variables() {
    let (config, connections) =
        serve(|_, stream| stream.write_all(&full_answer("direct")).unwrap_or_default());
    let mut script = Script::of(1);
    run(config, &mut script).unwrap();
    assert_eq!((script.reply().text.as_str(), connections.load(Ordering::SeqCst)), ("direct", 1));
    println!("asked directly");
}

#[test]
fn proxies_of_the_environment_are_ignored() {
    let proxy = TcpListener::bind("127.0.0.1:0").unwrap();
    proxy.set_nonblocking(true).unwrap();
    let address = format!("http://{}", proxy.local_addr().unwrap());
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", "child_that_asks_under_proxy_variables", "--ignored", "--nocapture"]);
    for name in ["HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "ALL_PROXY", "all_proxy"] {
        command.env(name, &address);
    }
    command.env_remove("NO_PROXY").env_remove("no_proxy");
    let output = command.output().unwrap();
    let printed = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && printed.contains("asked directly"), "{printed}");
    assert!(proxy.accept().is_err(), "something went to the proxy");
}
