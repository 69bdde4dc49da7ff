//! What a server's answer means: a reply, or [`Trouble`] sorted by what may be done about it.

use std::time::Duration;

use bioinstruct_core::model::{ChatReply, Finish, Usage};
use reqwest::StatusCode;
use serde::Deserialize;
use serde_json::Value;

/// Longest text of a server that is repeated in a message, characters.
const LONGEST_MESSAGE: usize = 300;

/// What may be done about an attempt that gave no reply.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Class {
    /// The work was not begun, for a reason that is not this request's: no connection, or the server is busy.
    Busy,
    /// The server stumbled; perhaps over this request.
    Faulty,
    /// The bytes were sent and no full answer came: the work may have been done, and billed.
    InDoubt,
    /// The server refused this request; nothing was done.
    Refused,
    /// The work was done and its answer is of no use.
    Spent,
    /// No request will succeed until the user changes something.
    Fatal,
}

/// An attempt that gave no reply.
#[derive(Debug, Clone)]
pub(super) struct Trouble {
    pub(super) class: Class,
    /// For people. Not yet cleaned of what a server may echo.
    pub(super) message: String,
    /// How long the server asks to wait.
    pub(super) wait: Option<Duration>,
    /// What the user can do.
    pub(super) hint: Option<&'static str>,
}

impl Trouble {
    pub(super) fn new(class: Class, message: impl Into<String>) -> Self {
        Self {
            class,
            message: message.into(),
            wait: None,
            hint: None,
        }
    }

    fn hint(mut self, hint: &'static str) -> Self {
        self.hint = Some(hint);
        self
    }
}

#[derive(Deserialize)]
struct Completion {
    model: Option<String>,
    choices: Option<Vec<Choice>>,
    usage: Option<Value>,
    error: Option<Value>,
}

#[derive(Deserialize)]
struct Choice {
    message: Option<Content>,
    finish_reason: Option<String>,
}

#[derive(Deserialize)]
struct Content {
    content: Option<Value>,
    refusal: Option<String>,
}

/// Reads the body of an answer with a success status.
pub(super) fn read(id: &str, asked_model: &str, body: &[u8]) -> Result<ChatReply, Trouble> {
    let Ok(completion) = serde_json::from_slice::<Completion>(body) else {
        let begin = String::from_utf8_lossy(&body[..body.len().min(LONGEST_MESSAGE)]);
        return Err(Trouble::new(
            Class::InDoubt,
            format!("the answer is not a chat completion: `{}`", begin.trim()),
        ));
    };
    if let Some(error) = completion.error.filter(|error| !error.is_null()) {
        return Err(error_under_success(&error));
    }
    let choice = completion
        .choices
        .and_then(|choices| choices.into_iter().next())
        .ok_or_else(|| Trouble::new(Class::InDoubt, "the answer holds no choices"))?;
    let (text, finish) = text_and_finish(choice)?;
    Ok(ChatReply {
        id: id.to_owned(),
        text,
        finish,
        usage: usage(completion.usage.as_ref()),
        model: completion
            .model
            .filter(|model| !model.is_empty())
            .unwrap_or_else(|| asked_model.to_owned()),
    })
}

/// The text of a choice and why it ended; a choice that leaves one of them to be guessed is an error.
fn text_and_finish(choice: Choice) -> Result<(String, Finish), Trouble> {
    let spent = |reason: String| Trouble::new(Class::Spent, reason);
    let finish = match choice.finish_reason.as_deref() {
        Some("stop" | "eos" | "eos_token" | "stop_sequence" | "end_turn") => Finish::Stop,
        Some("length" | "max_tokens" | "model_length") => Finish::Length,
        Some("content_filter" | "safety") => Finish::ContentFilter,
        Some(other) => {
            return Err(spent(format!(
                "the reply ended for an unknown reason, `{other}`"
            )));
        }
        None => {
            return Err(spent(
                "the reply does not say why it ended (finish_reason)".to_owned(),
            ));
        }
    };
    let message = choice
        .message
        .ok_or_else(|| spent("the reply has no message".to_owned()))?;
    match (message.content, message.refusal) {
        // A refusal may come with an empty content beside it.
        (content, Some(refusal)) if !refusal.is_empty() && is_empty(content.as_ref()) => {
            Ok((refusal, Finish::ContentFilter))
        }
        (Some(Value::String(text)), _) => Ok((text, finish)),
        (None | Some(Value::Null), _) if finish != Finish::Stop => Ok((String::new(), finish)),
        (None | Some(Value::Null), _) => Err(spent("the reply has no content".to_owned())),
        (Some(_), _) => Err(spent("the content of the reply is not text".to_owned())),
    }
}

fn is_empty(content: Option<&Value>) -> bool {
    content.is_none_or(|value| value.is_null() || value.as_str() == Some(""))
}

/// Absent, negative and absurd counts are zero: they are the server's statement, not a measurement of ours.
fn usage(value: Option<&Value>) -> Usage {
    let count = |field: &str| {
        value
            .and_then(|usage| usage.get(field))
            .and_then(Value::as_u64)
            .filter(|&count| count <= u64::from(u32::MAX))
            .unwrap_or(0)
    };
    Usage {
        prompt_tokens: count("prompt_tokens"),
        completion_tokens: count("completion_tokens"),
    }
}

/// Some gateways wrap the error of a provider in a success.
fn error_under_success(error: &Value) -> Trouble {
    let status = error
        .get("code")
        .and_then(Value::as_u64)
        .and_then(|code| u16::try_from(code).ok())
        .and_then(|code| StatusCode::from_u16(code).ok())
        .filter(|status| status.is_client_error() || status.is_server_error());
    match status {
        Some(status) => classify(status, &ServerError::of_value(error), None),
        None => Trouble::new(
            Class::InDoubt,
            format!(
                "the answer is an error: {}",
                ServerError::of_value(error).message
            ),
        ),
    }
}

/// What a server says about an error, in any of the common shapes.
#[derive(Debug, Default)]
pub(super) struct ServerError {
    message: String,
    /// `code` and `type`, which are identifiers and never repeat what was sent.
    codes: Vec<String>,
}

impl ServerError {
    /// Reads an error body, JSON or not.
    pub(super) fn of_body(body: &[u8]) -> Self {
        match serde_json::from_slice::<Value>(body) {
            Ok(value) => Self::of_value(value.get("error").unwrap_or(&value)),
            Err(_) => Self {
                message: String::from_utf8_lossy(body).into_owned(),
                codes: Vec::new(),
            },
        }
    }

    fn of_value(value: &Value) -> Self {
        let message = ["message", "detail", "error"]
            .iter()
            .find_map(|field| value.get(field).and_then(Value::as_str))
            .or_else(|| value.as_str())
            .map_or_else(|| value.to_string(), str::to_owned);
        let codes = ["code", "type"]
            .iter()
            .filter_map(|field| value.get(field).and_then(Value::as_str))
            .map(str::to_owned)
            .collect();
        Self { message, codes }
    }

    fn is_about_money(&self) -> bool {
        self.codes.iter().any(|code| {
            code.contains("insufficient_quota")
                || code.contains("billing")
                || code.contains("insufficient_balance")
        })
    }
}

/// Sorts an answer whose status is not a success.
pub(super) fn classify(status: StatusCode, error: &ServerError, wait: Option<Duration>) -> Trouble {
    let code = status.as_u16();
    let said = format!("HTTP {code}: {}", error.message);
    match code {
        // Servers repeat the key, or half of it, in this message: only the status is passed on.
        401 | 403 => Trouble::new(
            Class::Fatal,
            format!("the server refuses the key (HTTP {code})"),
        )
        .hint("set OPENAI_API_KEY to a key that this server accepts for this model"),
        402 => Trouble::new(Class::Fatal, said).hint(NO_MONEY),
        429 if error.is_about_money() => Trouble::new(Class::Fatal, said).hint(NO_MONEY),
        300..=399 => Trouble::new(
            Class::Fatal,
            format!("HTTP {code}: the server points to another address, which is not followed"),
        )
        .hint("give the final address with `--base-url`"),
        404 | 405 => Trouble::new(Class::Fatal, said)
            .hint("check `--model-name`, and `--base-url`, which usually ends in /v1"),
        429 | 503 | 529 => Trouble {
            wait,
            ..Trouble::new(Class::Busy, said)
        },
        // A gateway gave up waiting; the model behind it may not have.
        504 | 524 => Trouble::new(Class::InDoubt, said),
        408 | 409 | 425 | 500..=599 => Trouble {
            wait,
            ..Trouble::new(Class::Faulty, said)
        },
        _ => Trouble::new(Class::Refused, said),
    }
}

const NO_MONEY: &str = "the account has no credit left; top it up and run the same command again";

/// `Retry-After` in whole seconds; dates and nonsense are ignored, and the usual back-off applies.
pub(super) fn retry_after(header: Option<&str>) -> Option<Duration> {
    header?.trim().parse().ok().map(Duration::from_secs)
}

/// A server's text as one short line.
pub(super) fn one_line(text: &str) -> String {
    let mut line = String::new();
    let visible = text
        .chars()
        .map(|character| {
            if character.is_control() {
                ' '
            } else {
                character
            }
        })
        .take(8 * LONGEST_MESSAGE)
        .collect::<String>();
    for (count, word) in visible.split_whitespace().enumerate() {
        if count > 0 {
            line.push(' ');
        }
        line.push_str(word);
    }
    match line.char_indices().nth(LONGEST_MESSAGE) {
        Some((end, _)) => format!("{}…", &line[..end]),
        None => line,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of_choice(choice: &str) -> Result<ChatReply, Trouble> {
        let body = format!(
            r#"{{"id":"x","choices":[{choice}],"usage":{{"prompt_tokens":4,"completion_tokens":-1}}}}"#
        );
        read("r", "asked", body.as_bytes())
    }

    fn class_of(status: u16, body: &str) -> Class {
        let status = StatusCode::from_u16(status).unwrap();
        classify(status, &ServerError::of_body(body.as_bytes()), None).class
    }

    #[test]
    fn finish_reasons_are_read_and_never_guessed() {
        let with = |reason: &str| {
            of_choice(&format!(
                r#"{{"message":{{"content":"t"}},"finish_reason":{reason}}}"#
            ))
        };
        assert_eq!(with("\"stop\"").unwrap().finish, Finish::Stop);
        assert_eq!(with("\"length\"").unwrap().finish, Finish::Length);
        assert_eq!(
            with("\"content_filter\"").unwrap().finish,
            Finish::ContentFilter
        );
        for unknown in ["null", "\"tool_calls\"", "\"\""] {
            assert_eq!(with(unknown).unwrap_err().class, Class::Spent, "{unknown}");
        }
        let reply = with("\"stop\"").unwrap();
        assert_eq!((reply.model.as_str(), reply.text.as_str()), ("asked", "t"));
        assert_eq!(
            reply.usage,
            Usage {
                prompt_tokens: 4,
                completion_tokens: 0
            }
        );
    }

    #[test]
    fn absent_content_is_an_answer_only_when_the_server_says_why() {
        let cut = of_choice(r#"{"message":{"content":null},"finish_reason":"length"}"#).unwrap();
        assert_eq!((cut.text.as_str(), cut.finish), ("", Finish::Length));
        let empty = of_choice(r#"{"message":{"content":""},"finish_reason":"stop"}"#).unwrap();
        assert_eq!(empty.text, "");
        let refusal =
            of_choice(r#"{"message":{"content":null,"refusal":"No."},"finish_reason":"stop"}"#)
                .unwrap();
        assert_eq!(
            (refusal.text.as_str(), refusal.finish),
            ("No.", Finish::ContentFilter)
        );
        for choice in [
            r#"{"message":{"content":null},"finish_reason":"stop"}"#,
            r#"{"message":{"content":[{"text":"t"}]},"finish_reason":"stop"}"#,
            r#"{"finish_reason":"stop"}"#,
        ] {
            assert_eq!(
                of_choice(choice).unwrap_err().class,
                Class::Spent,
                "{choice}"
            );
        }
    }

    #[test]
    fn what_is_no_completion_is_in_doubt() {
        for body in [
            "",
            "<html>busy</html>",
            "{}",
            r#"{"choices":[]}"#,
            "[1",
            r#"{"choices":[{}]"#,
            "\u{feff}{}",
            r#"{"error":"x"}"#,
        ] {
            assert_eq!(
                read("r", "m", body.as_bytes()).unwrap_err().class,
                Class::InDoubt,
                "{body}"
            );
        }
        let deep = "[".repeat(100_000);
        assert_eq!(
            read("r", "m", deep.as_bytes()).unwrap_err().class,
            Class::InDoubt
        );
        let wrapped = br#"{"error":{"code":429,"message":"slow down"}}"#;
        assert_eq!(read("r", "m", wrapped).unwrap_err().class, Class::Busy);
    }

    #[test]
    fn statuses_are_sorted() {
        let quota =
            r#"{"error":{"message":"m","type":"insufficient_quota","code":"insufficient_quota"}}"#;
        for (status, body, class) in [
            (400, r#"{"error":{"message":"too long"}}"#, Class::Refused),
            (401, "", Class::Fatal),
            (402, "", Class::Fatal),
            (403, "", Class::Fatal),
            (404, "", Class::Fatal),
            (408, "", Class::Faulty),
            (409, "", Class::Faulty),
            (413, "", Class::Refused),
            (422, r#"{"detail":[{"msg":"x"}]}"#, Class::Refused),
            (
                429,
                r#"{"error":{"code":"rate_limit_exceeded"}}"#,
                Class::Busy,
            ),
            (429, quota, Class::Fatal),
            (301, "", Class::Fatal),
            (500, "<html>", Class::Faulty),
            (502, "", Class::Faulty),
            (503, "", Class::Busy),
            (504, "", Class::InDoubt),
            (529, "", Class::Busy),
        ] {
            assert_eq!(class_of(status, body), class, "{status} {body}");
        }
    }

    #[test]
    fn waits_are_whole_seconds_or_nothing() {
        assert_eq!(retry_after(Some(" 7 ")), Some(Duration::from_secs(7)));
        for nonsense in [
            None,
            Some("-1"),
            Some("Wed, 21 Oct 2026 07:28:00 GMT"),
            Some("99999999999999999999999"),
        ] {
            assert_eq!(retry_after(nonsense), None, "{nonsense:?}");
        }
    }

    #[test]
    fn messages_are_one_short_line() {
        assert_eq!(one_line(" a\n\tb\u{1b}[31m c "), "a b [31m c");
        assert_eq!(
            one_line(&"é".repeat(5000)).chars().count(),
            LONGEST_MESSAGE + 1
        );
    }
}
