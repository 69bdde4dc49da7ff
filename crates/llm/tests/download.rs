//! Downloads: whole files only, within their limit, from allowed hosts, without the token on other hosts.

#![expect(clippy::unwrap_used, reason = "a failed step is a failed test")]

use std::sync::{Arc, Mutex};
use std::time::Duration;

use bioinstruct_core::diagnose::{Diagnose, FailureKind};
use bioinstruct_llm::{Backoff, DownloadError, Downloader, Secret};
use tokio::runtime::Runtime;
use wiremock::matchers::path;
use wiremock::{Mock, MockServer, ResponseTemplate};

struct Hub {
    runtime: Runtime,
    server: MockServer,
    directory: tempfile::TempDir,
}

impl Hub {
    fn new() -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let server = runtime.block_on(MockServer::start());
        Self { runtime, server, directory: tempfile::tempdir().unwrap() }
    }

    fn holds(&self, place: &str, answer: ResponseTemplate, times: u64) {
        let mock = Mock::given(path(place)).respond_with(answer).up_to_n_times(times);
        self.runtime.block_on(mock.mount(&self.server));
    }

    fn url(&self, place: &str) -> String {
        format!("{}{place}", self.server.uri())
    }

    /// Downloads to `m.gguf`; whatever happens, no other file may be left behind.
    fn get(
        &self,
        downloader: &Downloader,
        place: &str,
        limit: u64,
    ) -> Result<Vec<u8>, DownloadError> {
        let destination = self.directory.path().join("m.gguf");
        let result = downloader.get(&self.url(place), &destination, limit);
        let left = fs_err::read_dir(self.directory.path()).unwrap().count();
        assert_eq!(left, usize::from(destination.exists()), "{result:?}");
        let bytes = result.map(|()| fs_err::read(&destination).unwrap());
        if bytes.is_ok() {
            fs_err::remove_file(&destination).unwrap();
        }
        bytes
    }
}

fn downloader() -> Downloader {
    let quick = Backoff { base: Duration::from_millis(2), cap: Duration::from_millis(5), seed: 0 };
    Downloader::new(&[], false).unwrap().with_attempts(3, quick)
}

#[test]
fn a_file_is_stored_whole_and_progress_is_told() {
    let hub = Hub::new();
    let bytes: Vec<u8> = (0..300_000u32).map(|value| value as u8).collect();
    hub.holds("/m", ResponseTemplate::new(200).set_body_bytes(bytes.clone()), 9);
    let seen = Arc::new(Mutex::new(Vec::new()));
    let told = Arc::clone(&seen);
    let downloader = downloader().with_progress(Box::new(move |done, whole| {
        told.lock().unwrap().push((done, whole));
    }));
    assert_eq!(hub.get(&downloader, "/m", 300_000).unwrap(), bytes);
    assert_eq!(seen.lock().unwrap().last(), Some(&(300_000, Some(300_000))));

    let error = hub.get(&downloader, "/m", 299_999).unwrap_err();
    assert!(matches!(error, DownloadError::TooLarge { limit: 299_999, .. }), "{error}");
    assert_eq!(error.kind(), FailureKind::Data);
}

#[test]
fn interruptions_are_tried_again_and_refusals_are_not() {
    let hub = Hub::new();
    hub.holds("/m", ResponseTemplate::new(503), 2);
    hub.holds("/m", ResponseTemplate::new(200).set_body_string("late"), 1);
    assert_eq!(hub.get(&downloader(), "/m", 10).unwrap(), b"late");

    hub.holds("/gated", ResponseTemplate::new(401), 9);
    let error = hub.get(&downloader(), "/gated?token=hunter2", 10).unwrap_err();
    assert!(error.hint().unwrap().contains("HF_TOKEN"), "{error}");
    assert!(!error.to_string().contains("hunter2"), "{error}");
    let error = hub.get(&downloader(), "/missing", 10).unwrap_err();
    assert!(matches!(error, DownloadError::Status { status: 404, .. }), "{error}");
    let requests = hub.runtime.block_on(hub.server.received_requests()).unwrap();
    assert_eq!(requests.len(), 3 + 1 + 1);

    hub.holds("/always", ResponseTemplate::new(500), 99);
    let error = hub.get(&downloader(), "/always", 10).unwrap_err();
    assert!(matches!(error, DownloadError::Interrupted { .. }), "{error}");
    assert_eq!(error.kind(), FailureKind::Unavailable);
}

#[test]
fn redirects_stay_on_this_machine_and_leave_the_token_behind() {
    let hub = Hub::new();
    let elsewhere = hub.url("/stored").replace("127.0.0.1", "localhost");
    hub.holds("/m", ResponseTemplate::new(302).insert_header("location", "/near"), 9);
    hub.holds("/near", ResponseTemplate::new(307).insert_header("location", elsewhere), 9);
    hub.holds("/stored", ResponseTemplate::new(200).set_body_string("x"), 9);
    let downloader = downloader().with_token("127.0.0.1", Secret::new("hf_CANARYTOKEN"));
    assert_eq!(hub.get(&downloader, "/m", 10).unwrap(), b"x");
    let requests = hub.runtime.block_on(hub.server.received_requests()).unwrap();
    let with_token: Vec<bool> =
        requests.iter().map(|request| request.headers.contains_key("authorization")).collect();
    assert_eq!(with_token, [true, true, false]);

    for target in ["https://example.org/x", "http://example.org/x", "file:///etc/passwd"] {
        hub.holds("/out", ResponseTemplate::new(302).insert_header("location", target), 1);
        let error = hub.get(&downloader, "/out", 10).unwrap_err();
        assert!(matches!(error, DownloadError::Redirect { .. }), "{target}: {error}");
    }
    hub.holds("/loop", ResponseTemplate::new(302).insert_header("location", "/loop"), 99);
    let error = hub.get(&downloader, "/loop", 10).unwrap_err();
    assert!(matches!(error, DownloadError::Redirect { .. }), "{error}");
}

#[test]
fn rules_and_bad_addresses_and_paths_are_told_apart() {
    let hub = Hub::new();
    hub.holds("/m", ResponseTemplate::new(200).set_body_string("x"), 9);
    let offline = Downloader::new(&["huggingface.co".to_owned()], true).unwrap();
    let error = hub.get(&offline, "/m", 10).unwrap_err();
    assert!(error.to_string().contains("--offline"), "{error}");
    let nowhere = hub.directory.path().join("x");
    let error = downloader().get("https://example.org/m", &nowhere, 10).unwrap_err();
    assert_eq!(error.kind(), FailureKind::Configuration, "{error}");
    let error = downloader().get("not a url?key=hunter2", &nowhere, 10).unwrap_err();
    assert!(matches!(&error, DownloadError::Address { url, .. } if url == "not a url"), "{error}");
    let missing = hub.directory.path().join("no/such/folder/m");
    let error = downloader().get(&hub.url("/m"), &missing, 10).unwrap_err();
    assert_eq!(error.kind(), FailureKind::Io, "{error}");
    assert!(hub.runtime.block_on(hub.server.received_requests()).unwrap().len() == 1);
}
