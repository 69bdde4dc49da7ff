//! One attempt: [`Endpoint`] sends a body and gives the reply, or what went wrong.

use std::time::Duration;

use bioinstruct_core::model::{ChatReply, ModelError};
use reqwest::header::{AUTHORIZATION, CONTENT_TYPE, HeaderValue, RETRY_AFTER};
use reqwest::{Method, Request, Response, Url};
use tokio::time::timeout;

use super::reply;
use super::trouble::{Class, ServerError, Trouble, classify, one_line, retry_after};
use super::{OpenAiConfig, Timeouts};
use crate::Secret;
use crate::egress::{Egress, SendError, describe};

/// Largest body of a reply, bytes.
const LARGEST_REPLY: usize = 16 << 20;
/// Most that is read of an error's body, bytes.
const LARGEST_ERROR: usize = 64 << 10;

/// A server, the key for it, and the model asked for.
#[derive(Debug)]
pub(super) struct Endpoint {
    egress: Egress,
    base: Url,
    url: Url,
    authorization: Option<HeaderValue>,
    key: Option<Secret>,
    model_name: String,
    timeouts: Timeouts,
}

impl Endpoint {
    pub(super) fn new(
        egress: Egress,
        base: Url,
        config: &OpenAiConfig,
    ) -> Result<Self, ModelError> {
        let url = base.join("chat/completions").map_err(|error| ModelError::Forbidden {
            reason: format!("the base URL cannot be extended: {error}"),
            hint: "write it as in `--base-url http://localhost:8000/v1`".to_owned(),
        })?;
        let key = config.api_key.clone();
        let authorization = key
            .as_ref()
            .map(|key| {
                key.bearer().ok_or_else(|| ModelError::Forbidden {
                    reason: "the API key holds characters that no header can carry".to_owned(),
                    hint: "set OPENAI_API_KEY to the key alone, on one line".to_owned(),
                })
            })
            .transpose()?;
        Ok(Self {
            egress,
            base,
            url,
            authorization,
            key,
            model_name: config.model_name.clone(),
            timeouts: config.timeouts,
        })
    }

    /// The base URL in its one form.
    pub(super) fn address(&self) -> &str {
        self.base.as_str().trim_end_matches('/')
    }

    /// Sends the body once.
    pub(super) async fn attempt(&self, id: &str, body: Vec<u8>) -> Result<ChatReply, Trouble> {
        let limit = self.timeouts.total;
        let outcome = match timeout(limit, self.exchange(id, body)).await {
            Ok(outcome) => outcome,
            Err(_) => Err(Trouble::new(
                Class::InDoubt,
                format!("no full answer within {} s", limit.as_secs_f64()),
            )),
        };
        outcome
            .and_then(|reply| self.without_key(reply))
            .map_err(|trouble| Trouble { message: self.clean(&trouble.message), ..trouble })
    }

    async fn exchange(&self, id: &str, body: Vec<u8>) -> Result<ChatReply, Trouble> {
        let mut request = Request::new(Method::POST, self.url.clone());
        let headers = request.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        if let Some(value) = &self.authorization {
            headers.insert(AUTHORIZATION, value.clone());
        }
        *request.body_mut() = Some(body.into());
        let response = self.egress.send(request).await.map_err(|error| match error {
            SendError::Unsent(reason) => Trouble {
                hint: Some("check that the server runs and that `--base-url` is its address; then run the same command again"),
                ..Trouble::new(Class::Busy, reason)
            },
            SendError::Broken(reason) => Trouble::new(Class::InDoubt, reason),
            SendError::Forbidden(error) => Trouble::new(Class::Fatal, error.to_string()),
        })?;
        let status = response.status();
        tracing::debug!(request = id, status = status.as_u16(), "answer");
        if status.is_success() {
            let body = read_body(response, LARGEST_REPLY, self.timeouts.idle).await?;
            return reply::read(id, &self.model_name, &body);
        }
        let wait = response.headers().get(RETRY_AFTER).and_then(|value| value.to_str().ok());
        let wait = retry_after(wait);
        // The status alone says what to do; a broken body only makes the message shorter.
        let body = read_body(response, LARGEST_ERROR, self.timeouts.idle).await.unwrap_or_default();
        Err(classify(status, &ServerError::of_body(&body), wait))
    }

    /// A server that writes the key into its reply would have it stored in the ledger.
    fn without_key(&self, reply: ChatReply) -> Result<ChatReply, Trouble> {
        let leaks =
            self.key.as_ref().is_some_and(|key| key.is_in(&reply.text) || key.is_in(&reply.model));
        if leaks {
            return Err(Trouble::new(Class::Spent, "the reply repeats the API key"));
        }
        Ok(reply)
    }

    fn clean(&self, message: &str) -> String {
        // Cut far beyond the final length first: a piece of the key at the end must still be recognised.
        let head: String = message.chars().take(4096).collect();
        let redacted = self.key.as_ref().map_or(head.clone(), |key| key.redact(&head));
        one_line(&redacted)
    }
}

/// Reads a body piece by piece, up to `limit` bytes.
async fn read_body(
    mut response: Response,
    limit: usize,
    idle: Duration,
) -> Result<Vec<u8>, Trouble> {
    let mut body = Vec::new();
    loop {
        let piece = match timeout(idle, response.chunk()).await {
            Err(_) => {
                let reason = format!("the answer stopped for {} s", idle.as_secs_f64());
                return Err(Trouble::new(Class::InDoubt, reason));
            }
            Ok(Err(error)) => return Err(Trouble::new(Class::InDoubt, describe(error))),
            Ok(Ok(piece)) => piece,
        };
        let Some(piece) = piece else {
            return Ok(body);
        };
        if body.len() + piece.len() > limit {
            let reason = format!("the answer is larger than {limit} bytes");
            return Err(Trouble::new(Class::Spent, reason));
        }
        body.extend_from_slice(&piece);
    }
}
