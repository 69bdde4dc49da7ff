//! Reads the body of a success: [`read`] gives a reply, or the [`Trouble`] of a body that holds none.

use bioinstruct_core::model::{ChatReply, Finish, Usage};
use reqwest::StatusCode;
use serde::Deserialize;
use serde_json::Value;

use super::trouble::{Class, LONGEST_MESSAGE, ServerError, Trouble, classify};

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
            return Err(spent(format!("the reply ended for an unknown reason, `{other}`")));
        }
        None => {
            return Err(spent("the reply does not say why it ended (finish_reason)".to_owned()));
        }
    };
    let message = choice.message.ok_or_else(|| spent("the reply has no message".to_owned()))?;
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
            .filter(|&count| u32::try_from(count).is_ok())
            .unwrap_or(0)
    };
    Usage { prompt_tokens: count("prompt_tokens"), completion_tokens: count("completion_tokens") }
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
            format!("the answer is an error: {}", ServerError::of_value(error).message),
        ),
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

    #[test]
    fn finish_reasons_are_read_and_never_guessed() {
        let with = |reason: &str| {
            of_choice(&format!(r#"{{"message":{{"content":"t"}},"finish_reason":{reason}}}"#))
        };
        assert_eq!(with("\"stop\"").unwrap().finish, Finish::Stop);
        assert_eq!(with("\"length\"").unwrap().finish, Finish::Length);
        assert_eq!(with("\"content_filter\"").unwrap().finish, Finish::ContentFilter);
        for unknown in ["null", "\"tool_calls\"", "\"\""] {
            assert_eq!(with(unknown).unwrap_err().class, Class::Spent, "{unknown}");
        }
        let reply = with("\"stop\"").unwrap();
        assert_eq!((reply.model.as_str(), reply.text.as_str()), ("asked", "t"));
        assert_eq!(reply.usage, Usage { prompt_tokens: 4, completion_tokens: 0 });
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
        assert_eq!((refusal.text.as_str(), refusal.finish), ("No.", Finish::ContentFilter));
        for choice in [
            r#"{"message":{"content":null},"finish_reason":"stop"}"#,
            r#"{"message":{"content":[{"text":"t"}]},"finish_reason":"stop"}"#,
            r#"{"finish_reason":"stop"}"#,
        ] {
            assert_eq!(of_choice(choice).unwrap_err().class, Class::Spent, "{choice}");
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
        assert_eq!(read("r", "m", deep.as_bytes()).unwrap_err().class, Class::InDoubt);
        let wrapped = br#"{"error":{"code":429,"message":"slow down"}}"#;
        assert_eq!(read("r", "m", wrapped).unwrap_err().class, Class::Busy);
    }
}
