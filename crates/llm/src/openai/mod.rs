//! Chat completions over HTTP: [`OpenAiClient`], for any server that speaks `OpenAI`'s protocol.
//!
//! `request` writes the body, `endpoint` sends it once, `reply` reads what came
//! back, `trouble` sorts what went wrong, `line`
//! is the thread that keeps the connections alive while the caller works, and `desk` decides what is sent when, what is
//! sent again, and when to give up.

mod desk;
mod endpoint;
mod line;
mod reply;
mod request;
mod trouble;

use std::sync::Arc;
use std::time::Duration;

use bioinstruct_core::hash::ContentHash;
use bioinstruct_core::model::{ChatModel, Exchange, ModelError, ModelIdentity};
use reqwest::Url;

use crate::egress::{Egress, Rules};
use crate::{Backoff, Secret};
use desk::Desk;
use endpoint::Endpoint;

/// How long one attempt may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timeouts {
    /// Until the connection stands.
    pub connect: Duration,
    /// Between two pieces of a reply's body. The head may take as long as `total`: the server writes nothing before the
    /// last token is drawn.
    pub idle: Duration,
    /// From the first byte sent to the last byte read. Too short a limit pays for answers that never arrive.
    pub total: Duration,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(10),
            idle: Duration::from_mins(1),
            total: Duration::from_mins(15),
        }
    }
}

/// The name under which a server takes the limit on tokens.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum TokenLimitField {
    /// `max_tokens`: understood nearly everywhere.
    #[default]
    MaxTokens,
    /// `max_completion_tokens`: what reasoning models of `OpenAI` ask for.
    MaxCompletionTokens,
}

/// Where and how to ask.
#[derive(Debug, Clone)]
pub struct OpenAiConfig {
    /// Up to and with `/v1`; `/chat/completions` is added.
    pub base_url: String,
    /// As the server names it.
    pub model_name: String,
    /// Sent as a bearer token.
    pub api_key: Option<Secret>,
    /// Most requests under way at a time; at least 1.
    pub concurrency: usize,
    /// Limits on time.
    pub timeouts: Timeouts,
    /// Hosts other than this machine that may be spoken to; exact names.
    pub allow_remote: Vec<String>,
    /// No socket at all: [`OpenAiClient::new`] refuses.
    pub offline: bool,
    /// Most times that one request is sent; at least 1.
    pub max_attempts: u32,
    /// How often a request is sent again although the server may have done, and billed, the work.
    pub in_doubt_retries: u32,
    /// After this many failed requests without a reply between them, the run ends.
    pub give_up_after: u32,
    /// Waits between attempts.
    pub backoff: Backoff,
    /// The name of the limit on tokens.
    pub token_limit: TokenLimitField,
}

impl OpenAiConfig {
    /// The usual settings for this server and model.
    pub fn new(base_url: &str, model_name: &str) -> Self {
        Self {
            base_url: base_url.to_owned(),
            model_name: model_name.to_owned(),
            api_key: None,
            concurrency: 8,
            timeouts: Timeouts::default(),
            allow_remote: Vec::new(),
            offline: false,
            max_attempts: 8,
            in_doubt_retries: 1,
            give_up_after: 10,
            backoff: Backoff::default(),
            token_limit: TokenLimitField::default(),
        }
    }
}

/// A model behind a chat-completions server.
#[derive(Debug)]
pub struct OpenAiClient {
    config: OpenAiConfig,
    endpoint: Arc<Endpoint>,
}

impl OpenAiClient {
    /// Checks the address against the egress rules; nothing is sent yet.
    pub fn new(config: OpenAiConfig) -> Result<Self, ModelError> {
        let base = parse_base_url(&config.base_url)?;
        if let Some(entry) = config.allow_remote.iter().find(|entry| entry.trim().starts_with('.'))
        {
            return Err(ModelError::Forbidden {
                reason: format!("`{}` names a whole domain", entry.trim()),
                hint: "name each host that may receive your data".to_owned(),
            });
        }
        let rules = Rules::new(&config.allow_remote, config.offline)?;
        let egress = Egress::new(rules, &base, config.timeouts.connect)?;
        let endpoint = Endpoint::new(egress, base, &config)?;
        Ok(Self { config, endpoint: Arc::new(endpoint) })
    }
}

impl ChatModel for OpenAiClient {
    fn identity(&self, adapter: Option<&str>) -> ModelIdentity {
        let parts = [
            "openai",
            self.endpoint.address(),
            &self.config.model_name,
            adapter.unwrap_or_default(),
        ];
        ModelIdentity {
            name: self.config.model_name.clone(),
            digest: ContentHash::of_parts(parts.map(str::as_bytes)).to_string(),
        }
    }

    fn supports_schema(&self) -> bool {
        true
    }

    fn run(&mut self, exchange: &mut dyn Exchange) -> Result<(), ModelError> {
        line::with_line(&self.endpoint, |line| {
            Desk::new(&self.config, &self.endpoint, exchange, line).run()
        })
    }
}

/// The base as a URL whose path ends in a slash. The text itself is never repeated: people paste passwords into it.
fn parse_base_url(text: &str) -> Result<Url, ModelError> {
    let bad = |reason: String| ModelError::Forbidden {
        reason: format!("the base URL {reason}"),
        hint: "write it as in `--base-url http://localhost:8000/v1`".to_owned(),
    };
    let trimmed = text.trim().trim_end_matches('/');
    let base = trimmed.strip_suffix("/chat/completions").unwrap_or(trimmed);
    let url = Url::parse(&format!("{}/", base.trim_end_matches('/')))
        .map_err(|error| bad(format!("cannot be read: {error}")))?;
    if !url.username().is_empty() || url.password().is_some() {
        return Err(bad("holds a user name or password".to_owned()));
    }
    if text.contains('?') || text.contains('#') {
        return Err(bad("holds a query or a fragment".to_owned()));
    }
    if url.host_str().is_none_or(str::is_empty) {
        return Err(bad("names no host".to_owned()));
    }
    Ok(url)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base_urls_are_brought_to_one_form() {
        for text in [
            "http://localhost:8000/v1",
            " http://localhost:8000/v1/ ",
            "HTTP://LocalHost:8000/v1/chat/completions",
        ] {
            assert_eq!(parse_base_url(text).unwrap().as_str(), "http://localhost:8000/v1/");
        }
        for text in [
            "",
            "localhost",
            "http://",
            "http://u:hunter2@localhost/v1",
            "http://localhost/v1?key=hunter2",
        ] {
            let error = parse_base_url(text).unwrap_err();
            assert!(!error.to_string().contains("hunter2"), "{error}");
        }
    }

    #[test]
    fn identity_names_server_and_model() {
        let identity = |url: &str, model: &str| {
            OpenAiClient::new(OpenAiConfig::new(url, model)).unwrap().identity(None)
        };
        let first = identity("http://localhost:1/v1", "a");
        assert_eq!(first, identity("http://localhost:1/v1/", "a"));
        assert_ne!(first.digest, identity("http://localhost:2/v1", "a").digest);
        assert_ne!(first.digest, identity("http://localhost:1/v1", "b").digest);
        assert_eq!(first.name, "a");
    }

    #[test]
    fn remote_hosts_offline_and_bad_keys_are_refused_before_anything_is_sent() {
        let refused = |change: &dyn Fn(&mut OpenAiConfig)| {
            let mut config = OpenAiConfig::new("https://api.example.org/v1", "m");
            change(&mut config);
            OpenAiClient::new(config).unwrap_err()
        };
        let error = refused(&|_| ());
        assert!(
            matches!(&error, ModelError::Forbidden { hint, .. } if hint.contains("--allow-remote api.example.org"))
        );
        refused(&|config| config.allow_remote = vec![".example.org".to_owned()]);
        refused(&|config| {
            config.base_url = "http://localhost/v1".to_owned();
            config.offline = true;
        });
        let error = refused(&|config| {
            config.base_url = "http://localhost/v1".to_owned();
            config.api_key = Some(Secret::new("sk-CANARY\n-two"));
        });
        assert!(!format!("{error:?}").contains("CANARY"), "{error}");
    }
}
