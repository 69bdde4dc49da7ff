//! The texts that ask for tasks, from `seeds/prompts/*.jinja`: [`paper_prompt`] and [`json_prompt`], and the schema that
//! holds the latter's reply.
//!
//! The paper's request (Table 5 of Tran et al. 2024) is given in our own words, with its eight requirements, its numbered
//! exemplars and its last line. The JSON form is for models with a schema and little understanding: a conversation in
//! which each exemplar is an answer already given, so that the model only has to go on in the same way.

use bioinstruct_core::model::{Message, Prompt, Role};
use bioinstruct_core::record::{Category, SeedTask};
use bioinstruct_core::template::{self, TemplateError};
use serde_json::{Value, json};

const PAPER: &str = include_str!("../../../seeds/prompts/paper.jinja");
const JSON: &str = include_str!("../../../seeds/prompts/json.jinja");
const TOPICS: &str = include_str!("../../../seeds/prompts/topics.txt");

/// Most characters of the fields of a task in the JSON form; a text that reaches its bound was cut off.
pub const JSON_LIMITS: FieldLimits = FieldLimits { instruction: 240, input: 400, output: 400 };

/// Tokens that a task of [`JSON_LIMITS`] takes at most, at three characters a token and with its JSON around it.
pub(crate) const JSON_TOKENS_PER_TASK: usize = 400;

/// Most characters (Unicode scalar values) of each text of a task.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FieldLimits {
    /// Of the instruction.
    pub instruction: usize,
    /// Of the input.
    pub input: usize,
    /// Of the output.
    pub output: usize,
}

/// What the texts of both forms and the list of topics hash to; a run is not continued with others.
pub fn resources() -> Value {
    json!({"paper": PAPER, "json": JSON, "topics": TOPICS})
}

/// The topics of the JSON form, one of which is asked about in each request.
pub fn topics() -> Vec<&'static str> {
    TOPICS.lines().filter(|line| !line.is_empty()).collect()
}

/// The paper's request: a list of `count` tasks of which the exemplars are the first.
pub fn paper_prompt(exemplars: &[&SeedTask], count: usize) -> Result<Prompt, TemplateError> {
    let context = json!({"count": count, "exemplars": exemplars});
    let text = template::render("paper.jinja", PAPER, context, false)?;
    Ok(Prompt::Messages(vec![Message::user(text)]))
}

/// The JSON form: `count` tasks of one kind about one topic.
pub fn json_prompt(
    exemplars: &[&SeedTask],
    category: Category,
    topic: &str,
    count: usize,
) -> Result<Prompt, TemplateError> {
    let ask = |category: Category, topic: &str, count: usize| {
        let context = json!({"turn": "ask", "category": category, "topic": topic, "count": count});
        template::render("json.jinja", JSON, context, false).map(|text| text.trim().to_owned())
    };
    let system = template::render("json.jinja", JSON, json!({"turn": "system"}), false)?;
    let mut messages = vec![Message { role: Role::System, content: system.trim().to_owned() }];
    for exemplar in exemplars {
        messages.push(Message::user(ask(exemplar.category, &exemplar.topic, 1)?));
        messages.push(Message { role: Role::Assistant, content: json_answer(exemplar) });
    }
    messages.push(Message::user(ask(category, topic, count)?));
    Ok(Prompt::Messages(messages))
}

/// A seed as the answer that the schema asks for.
fn json_answer(seed: &SeedTask) -> String {
    let task = json!({
        "instruction": seed.instruction,
        "input": seed.input,
        "output": seed.output,
    });
    json!({"tasks": [task]}).to_string()
}

/// The schema of a JSON reply with exactly `count` tasks.
pub fn json_schema(count: usize) -> Value {
    let text = |fewest: usize, most: usize| json!({"type": "string", "minLength": fewest, "maxLength": most});
    json!({
        "type": "object",
        "properties": {
            "tasks": {
                "type": "array",
                "minItems": count,
                "maxItems": count,
                "items": {
                    "type": "object",
                    "properties": {
                        "instruction": text(12, JSON_LIMITS.instruction),
                        "input": text(0, JSON_LIMITS.input),
                        "output": text(1, JSON_LIMITS.output),
                    },
                    "required": ["instruction", "input", "output"],
                    "additionalProperties": false,
                },
            },
        },
        "required": ["tasks"],
        "additionalProperties": false,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seed(id: usize, input: &str) -> SeedTask {
        let value = json!({
            "id": format!("seed-{id}"), "instruction": format!("Do \"{id}\"."), "input": input,
            "output": "line one\nline two", "category": "ie", "topic": "drug allergy",
        });
        serde_json::from_value(value).unwrap()
    }

    #[test]
    fn the_paper_prompt_ends_where_the_model_goes_on() {
        let (one, two) = (seed(1, "{{ braces }}"), seed(2, ""));
        let Prompt::Messages(messages) = paper_prompt(&[&one, &two], 20).unwrap() else {
            panic!("not a conversation");
        };
        let text = &messages[0].content;
        assert!(text.starts_with("Please write a set of 20 diverse task instructions"), "{text}");
        assert!(text.contains("\n8. Give the output") && !text.contains("\n9. "), "{text}");
        let list = "\nList of 20 tasks:\n\
             1. Instruction: Do \"1\".\n1. Input: {{ braces }}\n1. Output: line one\nline two\n\
             2. Instruction: Do \"2\".\n2. Input: \n2. Output: line one\nline two\n\
             3. Instruction:";
        assert!(text.ends_with(list), "{text}");
    }

    #[test]
    fn the_json_prompt_is_a_conversation_of_answers() {
        let one = seed(1, "a");
        let prompt = json_prompt(&[&one], Category::Qa, "asthma", 1).unwrap();
        let Prompt::Messages(messages) = prompt else {
            panic!("not a conversation");
        };
        let roles: Vec<&str> = messages.iter().map(|message| message.role.name()).collect();
        assert_eq!(roles, ["system", "user", "assistant", "user"]);
        assert_eq!(
            messages[1].content,
            "Write 1 new task about drug allergy. Give a short clinical text as the input and ask for facts that stand \
             in it. The output lists these facts."
        );
        assert_eq!(
            messages[2].content,
            r#"{"tasks":[{"instruction":"Do \"1\".","input":"a","output":"line one\nline two"}]}"#
        );
        assert_eq!(
            messages[3].content,
            "Write 1 new task about asthma. Ask a medical question and answer it."
        );
        assert!(messages[0].content.starts_with("You write practice tasks"));
        assert!(messages[0].content.ends_with("no placeholders."));
    }

    #[test]
    fn several_tasks_are_asked_for_as_such() {
        let one = seed(1, "a");
        let Prompt::Messages(messages) =
            json_prompt(&[&one], Category::Other, "asthma", 3).unwrap()
        else {
            panic!("not a conversation");
        };
        assert_eq!(
            messages[3].content,
            "Write 3 new tasks about asthma. Each asks for something else. Describe a case in the input and ask for a \
             judgement about it. The output gives the judgement and the reason."
        );
        assert_eq!(json_schema(3)["properties"]["tasks"]["maxItems"], 3);
    }

    #[test]
    fn topics_are_many_and_different() {
        let all = topics();
        let different: std::collections::BTreeSet<&str> = all.iter().copied().collect();
        assert!(all.len() >= 100 && different.len() == all.len());
    }
}
