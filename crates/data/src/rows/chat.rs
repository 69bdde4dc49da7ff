//! Chats as rows: `messages` with `role` and `content`, and `ShareGPT`'s `conversations` with `from` and `value`.
//!
//! The last turn is the row's own, the turns before it are its `history`. A chat that cannot be learned whole (another
//! order of speakers, tools, parts without weight) is refused by name, never shortened.

use bioinstruct_core::record::Exchange;
use serde_json::{Map, Value};

use super::fields::{BadField, Turn, text, wrong_kind};

/// A way of writing chats: the list's field, and in each message who speaks and what is said.
struct Shape {
    list: &'static str,
    speaker: &'static str,
    content: &'static str,
}

const SHAPES: [Shape; 2] = [
    Shape { list: "messages", speaker: "role", content: "content" },
    Shape { list: "conversations", speaker: "from", content: "value" },
];

/// Whether a table with this column holds chats.
pub(super) fn is_chat_column(name: &str) -> bool {
    SHAPES.iter().any(|shape| shape.list == name)
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Speaker {
    System,
    User,
    Assistant,
}

impl Speaker {
    fn of(name: &str) -> Option<Self> {
        match name {
            "system" => Some(Self::System),
            "user" | "human" => Some(Self::User),
            "assistant" | "gpt" | "chatgpt" | "bing" | "bard" | "model" => Some(Self::Assistant),
            _ => None,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::System => "the system",
            Self::User => "the user",
            Self::Assistant => "the assistant",
        }
    }
}

/// The chat of an object, or nothing where it holds none.
pub(super) fn last_turn(object: &mut Map<String, Value>) -> Result<Option<Turn>, BadField> {
    let Some(shape) =
        SHAPES.iter().find(|shape| object.get(shape.list).is_some_and(Value::is_array))
    else {
        return SHAPES
            .iter()
            .find(|shape| object.get(shape.list).is_some_and(|it| !it.is_null()))
            .map_or(Ok(None), |shape| {
                Err(wrong_kind(shape.list, &object[shape.list], "an array"))
            });
    };
    let Some(Value::Array(list)) = object.remove(shape.list) else { return Ok(None) };
    let mut messages = Vec::new();
    for (at, message) in list.into_iter().enumerate() {
        let bad = |reason: String| (Some(shape.list), format!("message {}: {reason}", at + 1));
        messages.push(message_of(message, shape).map_err(bad)?);
    }
    let own = text(object, "system")?.unwrap_or_default();
    turn_of(messages, own).map(Some).map_err(|reason| (Some(shape.list), reason))
}

fn message_of(message: Value, shape: &Shape) -> Result<(Speaker, String), String> {
    let Value::Object(mut message) = message else {
        return Err("is not an object".to_owned());
    };
    let mut taken = |field: &'static str| match text(&mut message, field) {
        Ok(Some(text)) => Ok(text),
        Ok(None) => Err(format!("`{field}` is missing")),
        Err((_, reason)) => Err(format!("`{field}` {reason}")),
    };
    let (name, content) = (taken(shape.speaker)?, taken(shape.content)?);
    let speaker =
        Speaker::of(&name).ok_or_else(|| format!("the speaker {name:?} is not understood"))?;
    let is_set =
        |value: &Value| !matches!(value, Value::Null) && *value != Value::Array(Vec::new());
    if message.get("tool_calls").is_some_and(is_set) {
        return Err("has `tool_calls`, which are not understood".to_owned());
    }
    if message.get("weight").is_some_and(|weight| weight.as_f64() != Some(1.0) && is_set(weight)) {
        return Err("has a `weight` other than 1, and every answer of a chat is learned".to_owned());
    }
    Ok((speaker, content))
}

/// System, if there is one, then user and assistant in turn, the assistant last.
fn turn_of(messages: Vec<(Speaker, String)>, mut system: String) -> Result<Turn, String> {
    let mut exchanges: Vec<Exchange> = Vec::new();
    let mut asked: Option<String> = None;
    let count = messages.len();
    for (at, (speaker, content)) in messages.into_iter().enumerate() {
        match (speaker, asked.take()) {
            (Speaker::System, None) if at == 0 && system.is_empty() => system = content,
            (Speaker::User, None) => asked = Some(content),
            (Speaker::Assistant, Some(user)) => {
                exchanges.push(Exchange { user, assistant: content });
            }
            (speaker, _) => {
                let (number, name) = (at + 1, speaker.name());
                return Err(format!("message {number} is by {name}, whose turn it is not"));
            }
        }
    }
    if asked.is_some() {
        return Err(format!(
            "message {count}, the last, is the user's: there is no answer to learn"
        ));
    }
    let last = exchanges.pop().ok_or("there is no answer to learn")?;
    Ok(Turn {
        system,
        history: exchanges,
        instruction: last.user,
        input: String::new(),
        output: last.assistant,
    })
}
