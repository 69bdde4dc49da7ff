//! What went wrong with an attempt: [`Trouble`], sorted by what may be done about it.

use std::time::Duration;

use reqwest::StatusCode;
use serde_json::Value;

/// Longest text of a server that is repeated in a message, characters.
pub(super) const LONGEST_MESSAGE: usize = 300;

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
        Self { class, message: message.into(), wait: None, hint: None }
    }

    fn hint(mut self, hint: &'static str) -> Self {
        self.hint = Some(hint);
        self
    }
}

/// What a server says about an error, in any of the common shapes.
#[derive(Debug, Default)]
pub(super) struct ServerError {
    pub(super) message: String,
    /// `code` and `type`, which are identifiers and never repeat what was sent.
    codes: Vec<String>,
}

impl ServerError {
    /// Reads an error body, JSON or not.
    pub(super) fn of_body(body: &[u8]) -> Self {
        match serde_json::from_slice::<Value>(body) {
            Ok(value) => Self::of_value(value.get("error").unwrap_or(&value)),
            Err(_) => {
                Self { message: String::from_utf8_lossy(body).into_owned(), codes: Vec::new() }
            }
        }
    }

    pub(super) fn of_value(value: &Value) -> Self {
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
        401 | 403 => {
            Trouble::new(Class::Fatal, format!("the server refuses the key (HTTP {code})"))
                .hint("set OPENAI_API_KEY to a key that this server accepts for this model")
        }
        402 => Trouble::new(Class::Fatal, said).hint(NO_MONEY),
        429 if error.is_about_money() => Trouble::new(Class::Fatal, said).hint(NO_MONEY),
        300..=399 => Trouble::new(
            Class::Fatal,
            format!("HTTP {code}: the server points to another address, which is not followed"),
        )
        .hint("give the final address with `--base-url`"),
        404 | 405 => Trouble::new(Class::Fatal, said)
            .hint("check `--model-name`, and `--base-url`, which usually ends in /v1"),
        429 | 503 | 529 => Trouble { wait, ..Trouble::new(Class::Busy, said) },
        // A gateway gave up waiting; the model behind it may not have.
        504 | 524 => Trouble::new(Class::InDoubt, said),
        408 | 409 | 425 | 500..=599 => Trouble { wait, ..Trouble::new(Class::Faulty, said) },
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
        .map(|character| if character.is_control() { ' ' } else { character })
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

    fn class_of(status: u16, body: &str) -> Class {
        let status = StatusCode::from_u16(status).unwrap();
        classify(status, &ServerError::of_body(body.as_bytes()), None).class
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
            (429, r#"{"error":{"code":"rate_limit_exceeded"}}"#, Class::Busy),
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
        assert_eq!(one_line(&"é".repeat(5000)).chars().count(), LONGEST_MESSAGE + 1);
    }
}
