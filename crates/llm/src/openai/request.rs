//! The body of a chat-completions request.

use bioinstruct_core::model::{ChatRequest, Message, ModelError, Prompt};
use serde_json::{Map, Value, json};

use super::TokenLimitField;

/// The JSON bytes of this request, or what about it cannot be said in this protocol.
///
/// Nothing is dropped silently: a parameter that the protocol has no name for is refused unless it has no effect.
pub(super) fn body(
    request: &ChatRequest,
    model_name: &str,
    token_limit: TokenLimitField,
) -> Result<Vec<u8>, ModelError> {
    let refuse = |reason: String| ModelError::Request { id: request.id.clone(), reason };
    let sampling = &request.sampling;
    sampling.check().map_err(|(field, reason)| refuse(format!("{field}: {reason}")))?;
    if sampling.top_k != 0 {
        return Err(refuse(
            "top_k is not part of the chat-completions protocol; set it to 0".to_owned(),
        ));
    }
    if (sampling.repetition_penalty - 1.0).abs() > f64::EPSILON {
        return Err(refuse(
            "repetition_penalty is not part of the chat-completions protocol; set it to 1"
                .to_owned(),
        ));
    }
    if let Some(adapter) = &request.adapter {
        return Err(refuse(format!(
            "adapter `{adapter}` cannot be asked for over HTTP; name the tuned model with `--model-name`"
        )));
    }
    let messages = messages(&request.prompt);
    if messages.is_empty() {
        return Err(refuse("there is no message to answer".to_owned()));
    }
    let limit = match token_limit {
        TokenLimitField::MaxTokens => "max_tokens",
        TokenLimitField::MaxCompletionTokens => "max_completion_tokens",
    };
    let mut body = Map::new();
    body.insert("model".to_owned(), json!(model_name));
    body.insert("messages".to_owned(), json!(messages));
    body.insert("temperature".to_owned(), json!(sampling.temperature));
    body.insert("top_p".to_owned(), json!(sampling.top_p));
    body.insert(limit.to_owned(), json!(sampling.max_tokens));
    body.insert("seed".to_owned(), json!(portable_seed(sampling.seed)));
    if !request.stop.is_empty() {
        body.insert("stop".to_owned(), json!(request.stop));
    }
    if let Some(schema) = &request.schema {
        body.insert(
            "response_format".to_owned(),
            json!({
                "type": "json_schema",
                "json_schema": {"name": "reply", "strict": true, "schema": schema},
            }),
        );
    }
    Ok(Value::Object(body).to_string().into_bytes())
}

fn messages(prompt: &Prompt) -> Vec<Message> {
    match prompt {
        Prompt::Text(text) => vec![Message::user(text.as_str())],
        Prompt::Messages(messages) => messages.clone(),
        Prompt::Instruction { instruction, input, .. } if input.is_empty() => {
            vec![Message::user(instruction.as_str())]
        }
        Prompt::Instruction { instruction, input, .. } => {
            vec![Message::user(format!("{instruction}\n\n{input}"))]
        }
    }
}

/// Servers take seeds of 31, 63 or 64 bits; small seeds stay as they are, large ones are folded to 31 bits.
fn portable_seed(seed: u64) -> u64 {
    if i32::try_from(seed).is_ok() {
        return seed;
    }
    (seed ^ (seed >> 31)) & 0x7FFF_FFFF
}

#[cfg(test)]
mod tests {
    use super::*;
    use bioinstruct_core::model::{Role, Sampling};

    fn request(prompt: Prompt) -> ChatRequest {
        ChatRequest {
            id: "r".to_owned(),
            prompt,
            sampling: Sampling { max_tokens: 5, temperature: 0.5, seed: 7, ..Sampling::default() },
            stop: Vec::new(),
            schema: None,
            adapter: None,
        }
    }

    fn parsed(request: &ChatRequest) -> Value {
        serde_json::from_slice(&body(request, "m", TokenLimitField::MaxTokens).unwrap()).unwrap()
    }

    #[test]
    fn every_field_is_written() {
        let mut request = request(Prompt::Messages(vec![
            Message { role: Role::System, content: "s".to_owned() },
            Message::user("u"),
        ]));
        request.stop = vec!["\n20.".to_owned()];
        request.schema = Some(json!({"type": "object"}));
        assert_eq!(
            parsed(&request),
            json!({
                "model": "m",
                "messages": [{"role": "system", "content": "s"}, {"role": "user", "content": "u"}],
                "temperature": 0.5, "top_p": 1.0, "max_tokens": 5, "seed": 7, "stop": ["\n20."],
                "response_format": {"type": "json_schema",
                    "json_schema": {"name": "reply", "strict": true, "schema": {"type": "object"}}},
            })
        );
        let bytes = body(&request, "m", TokenLimitField::MaxCompletionTokens).unwrap();
        let value: Value = serde_json::from_slice(&bytes).unwrap();
        assert_eq!((&value["max_completion_tokens"], value.get("max_tokens")), (&json!(5), None));
    }

    #[test]
    fn other_prompts_become_one_user_message() {
        let content = |prompt| parsed(&request(prompt))["messages"][0]["content"].clone();
        let instruction = |input: &str| Prompt::Instruction {
            instruction: "Do".to_owned(),
            input: input.to_owned(),
            template: "chat".to_owned(),
        };
        assert_eq!(content(Prompt::Text("plain".to_owned())), "plain");
        assert_eq!(content(instruction("")), "Do");
        assert_eq!(content(instruction("this")), "Do\n\nthis");
    }

    #[test]
    fn what_cannot_be_said_is_refused_by_name() {
        let refused = |change: &dyn Fn(&mut ChatRequest)| {
            let mut request = request(Prompt::Text("x".to_owned()));
            change(&mut request);
            body(&request, "m", TokenLimitField::MaxTokens).unwrap_err().to_string()
        };
        assert!(refused(&|request| request.sampling.top_k = 40).contains("top_k"));
        assert!(
            refused(&|request| request.sampling.repetition_penalty = 1.1)
                .contains("repetition_penalty")
        );
        assert!(
            refused(&|request| request.sampling.temperature = f64::NAN).contains("temperature")
        );
        assert!(refused(&|request| request.adapter = Some("a".to_owned())).contains("adapter `a`"));
        assert!(
            refused(&|request| request.prompt = Prompt::Messages(Vec::new()))
                .contains("no message")
        );
    }

    #[test]
    fn seeds_fit_every_server() {
        assert_eq!(portable_seed(2_147_483_647), 2_147_483_647);
        assert!(portable_seed(u64::MAX) < 1 << 31);
        assert_ne!(portable_seed(1 << 40), portable_seed(1 << 41));
    }
}
