//! Model files over HTTP: [`Downloader::get`] writes one file, whole or not at all.

mod error;

use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Duration;

use reqwest::header::{AUTHORIZATION, LOCATION};
use reqwest::{Method, Request, Response, Url};
use tokio::time::timeout;

pub use error::DownloadError;

use crate::egress::{Egress, Rules, SendError, bare_host, describe, is_loopback};
use crate::{Backoff, Secret};

/// Where the Hugging Face hub and its storage live, in the form that [`Downloader::new`] takes.
pub const HUB_HOSTS: [&str; 3] = ["huggingface.co", ".huggingface.co", ".hf.co"];

/// Most addresses that one download is sent on to.
const MOST_HOPS: usize = 6;
const CONNECT_LIMIT: Duration = Duration::from_secs(15);
const IDLE_LIMIT: Duration = Duration::from_mins(1);

/// Called with the bytes stored so far and, where the server tells, the bytes of the whole file.
pub type Progress = Box<dyn Fn(u64, Option<u64>) + Send + Sync>;

/// Fetches files from a list of hosts.
pub struct Downloader {
    rules: Rules,
    token: Option<(String, Secret)>,
    progress: Option<Progress>,
    attempts: u32,
    backoff: Backoff,
}

impl Downloader {
    /// May speak to this machine and to the hosts listed; an entry such as `.hf.co` stands for all hosts under a domain.
    pub fn new(hosts: &[String], offline: bool) -> Result<Self, DownloadError> {
        Ok(Self {
            rules: Rules::new(hosts, offline)?,
            token: None,
            progress: None,
            attempts: 4,
            backoff: Backoff::default(),
        })
    }

    /// Sends this token to this host, and to no host that it sends us on to.
    #[must_use]
    pub fn with_token(mut self, host: &str, token: Secret) -> Self {
        self.token = Some((host.to_ascii_lowercase(), token));
        self
    }

    /// Reports while bytes come in.
    #[must_use]
    pub fn with_progress(mut self, progress: Progress) -> Self {
        self.progress = Some(progress);
        self
    }

    /// How often an interrupted download is begun again (at least one attempt), and the waits between.
    #[must_use]
    pub fn with_attempts(mut self, attempts: u32, backoff: Backoff) -> Self {
        self.attempts = attempts.max(1);
        self.backoff = backoff;
        self
    }

    /// Writes what `url` holds, at most `limit` bytes, to `destination`: first to a sibling file that is synced and then
    /// renamed, so a file under its own name is whole.
    pub fn get(&self, url: &str, destination: &Path, limit: u64) -> Result<(), DownloadError> {
        let start = Url::parse(url).map_err(|error| DownloadError::Address {
            url: url.split(['?', '#']).next().unwrap_or_default().to_owned(),
            reason: error.to_string(),
        })?;
        let part = part_path(destination);
        let fetched = self.fetch_with_retries(&start, &part, limit);
        let result = fetched.and_then(|()| Ok(fs_err::rename(&part, destination)?));
        if result.is_err() {
            let _ = fs_err::remove_file(&part);
        }
        result
    }

    fn fetch_with_retries(
        &self,
        start: &Url,
        part: &Path,
        limit: u64,
    ) -> Result<(), DownloadError> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let mut attempt = 1;
        let result = loop {
            let result = runtime.block_on(self.fetch(start.clone(), part, limit));
            let interrupted = matches!(result, Err(DownloadError::Interrupted { .. }));
            if !interrupted || attempt >= self.attempts {
                break result;
            }
            tracing::debug!(host = bare_host(start), attempt, "download interrupted");
            std::thread::sleep(self.backoff.delay(start.as_str(), attempt, None));
            attempt += 1;
        };
        // A name lookup under way must not hold up the end.
        runtime.shutdown_background();
        result
    }

    async fn fetch(&self, start: Url, part: &Path, limit: u64) -> Result<(), DownloadError> {
        let mut url = start;
        for _ in 0..MOST_HOPS {
            let response = self.request(&url).await?;
            let status = response.status();
            if status.is_redirection() {
                url = next_address(&url, &response)?;
                continue;
            }
            if status.is_server_error() || matches!(status.as_u16(), 408 | 429) {
                return Err(interrupted(&url, format!("HTTP {}", status.as_u16())));
            }
            if status.as_u16() != 200 {
                return Err(DownloadError::Status {
                    address: address(&url),
                    status: status.as_u16(),
                });
            }
            return self.store(&url, response, part, limit).await;
        }
        Err(DownloadError::Redirect {
            address: address(&url),
            reason: format!("more than {MOST_HOPS} times"),
        })
    }

    async fn request(&self, url: &Url) -> Result<Response, DownloadError> {
        let egress = Egress::new(self.rules.clone(), url, CONNECT_LIMIT)?;
        let mut request = Request::new(Method::GET, url.clone());
        if let Some((host, token)) = &self.token
            && *host == bare_host(url)
            && let Some(value) = token.bearer()
        {
            request.headers_mut().insert(AUTHORIZATION, value);
        }
        let sent = timeout(CONNECT_LIMIT + IDLE_LIMIT, egress.send(request)).await;
        match sent {
            Ok(Ok(response)) => Ok(response),
            Ok(Err(SendError::Forbidden(error))) => Err(error.into()),
            Ok(Err(SendError::Unsent(reason) | SendError::Broken(reason))) => {
                Err(interrupted(url, reason))
            }
            Err(_) => Err(interrupted(url, "no answer".to_owned())),
        }
    }

    async fn store(
        &self,
        url: &Url,
        mut response: Response,
        part: &Path,
        limit: u64,
    ) -> Result<(), DownloadError> {
        let too_large = || DownloadError::TooLarge { address: address(url), limit };
        let whole = response.content_length();
        if whole.is_some_and(|length| length > limit) {
            return Err(too_large());
        }
        let mut file = fs_err::File::create(part)?;
        let mut stored = 0u64;
        loop {
            let piece = match timeout(IDLE_LIMIT, response.chunk()).await {
                Ok(Ok(piece)) => piece,
                Ok(Err(error)) => return Err(interrupted(url, describe(error))),
                Err(_) => return Err(interrupted(url, "the connection fell silent".to_owned())),
            };
            let Some(piece) = piece else {
                break;
            };
            stored += piece.len() as u64;
            if stored > limit {
                return Err(too_large());
            }
            file.write_all(&piece)?;
            if let Some(progress) = &self.progress {
                progress(stored, whole);
            }
        }
        Ok(file.sync_all()?)
    }
}

/// The address in a redirect. Encryption is never given up: https leads to https, and this machine to this machine.
fn next_address(from: &Url, response: &Response) -> Result<Url, DownloadError> {
    let location = response.headers().get(LOCATION).and_then(|value| value.to_str().ok());
    let refused = |reason: String| DownloadError::Redirect { address: address(from), reason };
    let location = location.ok_or_else(|| refused("without an address".to_owned()))?;
    let next = from.join(location).map_err(|error| refused(format!("to no address: {error}")))?;
    if may_lead(from, &next) {
        return Ok(next);
    }
    Err(refused(format!("to {}, which is not followed from {}", address(&next), from.scheme())))
}

fn may_lead(from: &Url, to: &Url) -> bool {
    let local = |url: &Url| url.scheme() == "http" && is_loopback(&bare_host(url));
    (from.scheme() == "https" && to.scheme() == "https") || (local(from) && local(to))
}

fn interrupted(url: &Url, reason: String) -> DownloadError {
    DownloadError::Interrupted { address: address(url), reason }
}

/// Scheme, host and path: what may be shown.
fn address(url: &Url) -> String {
    let port = url.port().map(|port| format!(":{port}")).unwrap_or_default();
    let host = url.host_str().unwrap_or_default();
    format!("{}://{host}{port}{}", url.scheme(), url.path())
}

fn part_path(destination: &Path) -> PathBuf {
    let name =
        destination.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    destination.with_file_name(format!(".{name}.{}.part", std::process::id()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn redirects_keep_their_encryption_and_their_side_of_the_machine() {
        let leads =
            |from: &str, to: &str| may_lead(&Url::parse(from).unwrap(), &Url::parse(to).unwrap());
        assert!(leads("https://huggingface.co/a", "https://cdn.hf.co/b?sig=1"));
        assert!(leads("http://127.0.0.1:1/a", "http://localhost:2/b"));
        assert!(!leads("https://huggingface.co/a", "http://cdn.hf.co/b"));
        assert!(!leads("https://huggingface.co/a", "http://localhost/b"));
        assert!(!leads("http://localhost/a", "https://huggingface.co/b"));
    }

    #[test]
    fn addresses_are_shown_without_what_may_be_secret() {
        let url = Url::parse("https://user:pw@cdn.hf.co:8443/m.gguf?Signature=abc#x").unwrap();
        assert_eq!(address(&url), "https://cdn.hf.co:8443/m.gguf");
    }

    #[test]
    fn hub_hosts_cover_the_hub_and_its_storage() {
        let hosts = HUB_HOSTS.map(str::to_owned);
        let rules = Rules::new(&hosts, false).unwrap();
        for host in ["huggingface.co", "cdn-lfs.huggingface.co", "cas-bridge.xethub.hf.co"] {
            rules.check(&Url::parse(&format!("https://{host}/")).unwrap()).unwrap();
        }
        assert!(rules.check(&Url::parse("https://example.org/").unwrap()).is_err());
    }
}
