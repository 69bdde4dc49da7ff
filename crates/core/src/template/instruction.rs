//! Instruction templates: [`InstructionTemplate`] turns (instruction, input, output) into a [`Rendered`] example.

use std::path::Path;

use serde_json::json;

use super::jinja::{UserField, render_fields, variables};
use super::{ChatTemplate, Rendered, Segment, TemplateError};
use crate::hash::ContentHash;
use crate::model::{Message, Role};
use crate::record::{Instruction, user_text};

/// The paper's prompt (arXiv 2310.19975v3, Table 7): Alpaca's two openings with `### Output:` before the answer.
const BIOINSTRUCT: &str = include_str!("../../templates/bioinstruct.jinja");
/// Stanford Alpaca's prompt as alpaca-lora writes it (`templates/alpaca.json`), with a newline after `### Response:`.
const ALPACA: &str = include_str!("../../templates/alpaca.jinja");

/// How an instruction row is put before a model.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InstructionTemplate {
    name: String,
    form: Form,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Form {
    Jinja(String),
    /// The model's own chat template, the row being the first message.
    Chat,
}

impl InstructionTemplate {
    /// `bioinstruct`, `alpaca`, `chat`, or the path of a Jinja file that uses `instruction` and `input`.
    pub fn load(name: &str) -> Result<Self, TemplateError> {
        let form = match name {
            "bioinstruct" => Form::Jinja(BIOINSTRUCT.to_owned()),
            "alpaca" => Form::Jinja(ALPACA.to_owned()),
            "chat" => Form::Chat,
            path => Form::Jinja(read_file(path)?),
        };
        Ok(Self { name: name.to_owned(), form })
    }

    /// The name it was loaded by.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Whether the model must bring a chat template.
    pub fn needs_chat_template(&self) -> bool {
        self.form == Form::Chat
    }

    /// Changes whenever the template's text does.
    pub fn digest(&self) -> ContentHash {
        match &self.form {
            Form::Jinja(source) => ContentHash::of_bytes(source.as_bytes()),
            Form::Chat => ContentHash::of_bytes(b"chat"),
        }
    }

    /// What stands before the answer.
    pub fn prompt(
        &self,
        instruction: &str,
        input: &str,
        chat: Option<&ChatTemplate>,
    ) -> Result<Rendered, TemplateError> {
        match &self.form {
            Form::Chat => chat
                .ok_or(TemplateError::NoChatTemplate)?
                .prompt(&[Message::user(user_text(instruction, input))]),
            Form::Jinja(source) => self.fill(source, [instruction, input, ""], chat),
        }
    }

    fn fill(
        &self,
        source: &str,
        fields: [&str; 3],
        chat: Option<&ChatTemplate>,
    ) -> Result<Rendered, TemplateError> {
        let none = Vec::new();
        let control = chat.map_or(&none, |chat| &chat.control_tokens);
        render_fields(
            &self.name,
            source,
            &fields.map(UserField::given),
            control,
            |fields| json!({"instruction": fields[0], "input": fields[1], "system": fields[2]}),
        )
    }

    /// The prompt with the answer after it; the answer and the token that ends it are learned. Under `chat`, earlier
    /// turns of the row are there, and their answers learned; other templates refuse a row that has some.
    pub fn example(
        &self,
        row: &Instruction,
        chat: Option<&ChatTemplate>,
    ) -> Result<Rendered, TemplateError> {
        let source = match &self.form {
            Form::Chat => {
                let chat = chat.ok_or(TemplateError::NoChatTemplate)?;
                return chat.example(&messages(row), &row.output);
            }
            Form::Jinja(source) => source,
        };
        let no_place = |part| Err(TemplateError::NoPlace { name: self.name.clone(), part });
        if !row.history.is_empty() {
            return no_place("earlier turns");
        }
        if !row.system.is_empty() && !variables(&self.name, source)?.contains("system") {
            return no_place("a system message");
        }
        let mut rendered = self.fill(source, [&row.instruction, &row.input, &row.system], chat)?;
        rendered.push_text(&row.output, true);
        rendered.segments.push(Segment::EndOfSequence { learned: true });
        Ok(rendered)
    }
}

/// All that is said before the row's answer.
fn messages(row: &Instruction) -> Vec<Message> {
    let said = |role, content: &str| Message { role, content: content.to_owned() };
    let mut messages = Vec::new();
    if !row.system.is_empty() {
        messages.push(said(Role::System, &row.system));
    }
    for turn in &row.history {
        messages.push(said(Role::User, &turn.user));
        messages.push(said(Role::Assistant, &turn.assistant));
    }
    messages.push(Message::user(row.user_text()));
    messages
}

fn read_file(name: &str) -> Result<String, TemplateError> {
    let path = Path::new(name);
    if !path.is_file() {
        return Err(TemplateError::Unknown { name: name.to_owned() });
    }
    let source = fs_err::read_to_string(path)?;
    for field in ["instruction", "input"] {
        if !source.contains(field) {
            return Err(TemplateError::MissingField { path: path.to_owned(), field });
        }
    }
    Ok(source)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::{Exchange, Provenance};

    #[test]
    fn the_paper_prompt_with_and_without_input() {
        let template = InstructionTemplate::load("bioinstruct").unwrap();
        let with = template.prompt("Name the drug.", "Takes aspirin.", None).unwrap().text();
        assert_eq!(
            with,
            "Below is an instruction that describes a task, paired with an input that provides further context. \
             Write a response that appropriately completes the request.\n\n### Instruction:\nName the drug.\n\n\
             ### Input:\nTakes aspirin.\n\n### Output:\n"
        );
        let without = template.prompt("Name a drug.", "", None).unwrap().text();
        assert_eq!(
            without,
            "Below is an instruction that describes a task. Write a response that appropriately completes the \
             request.\n\n### Instruction:\nName a drug.\n\n### Output:\n"
        );
    }

    fn row(instruction: &str, output: &str) -> Instruction {
        let (instruction, output) = (instruction.to_owned(), output.to_owned());
        Instruction::new(instruction, String::new(), output, None, Provenance::default())
    }

    #[test]
    fn a_conversation_is_never_cut_to_its_last_turn() {
        let template = InstructionTemplate::load("bioinstruct").unwrap();
        let earlier = vec![Exchange { user: "a".to_owned(), assistant: "b".to_owned() }];
        let long = row("c", "d").in_conversation(String::new(), earlier);
        let error = template.example(&long, None).unwrap_err().to_string();
        assert_eq!(error, "template `bioinstruct` has no place for earlier turns");
        let system = row("c", "d").in_conversation("be brief".to_owned(), Vec::new());
        let error = template.example(&system, None).unwrap_err().to_string();
        assert_eq!(error, "template `bioinstruct` has no place for a system message");
        assert_ne!(system.id, row("c", "d").id);
        let file = std::env::temp_dir().join(format!("system-{}.jinja", std::process::id()));
        fs_err::write(&file, "{{ system }}|{{ instruction }}|{{ input }}|").unwrap();
        let template = InstructionTemplate::load(&file.display().to_string()).unwrap();
        assert_eq!(template.example(&system, None).unwrap().text(), "be brief|c||d");
        assert_eq!(template.prompt("c", "", None).unwrap().text(), "|c||");
        fs_err::remove_file(file).unwrap();
    }

    #[test]
    fn only_the_answer_and_its_end_are_learned() {
        let template = InstructionTemplate::load("alpaca").unwrap();
        let rendered = template.example(&row("Say yes.", "yes"), None).unwrap();
        assert!(rendered.text().ends_with("### Response:\nyes"));
        assert_eq!(
            rendered.segments[1..],
            [
                Segment::Text { text: "yes".to_owned(), learned: true },
                Segment::EndOfSequence { learned: true }
            ]
        );
    }

    #[test]
    fn jinja_in_a_field_is_text() {
        let template = InstructionTemplate::load("bioinstruct").unwrap();
        let text = template.prompt("Explain {{ x }} and {% if %}", "", None).unwrap().text();
        assert!(text.contains("Explain {{ x }} and {% if %}"));
    }

    #[test]
    fn unknown_names_are_refused() {
        assert!(matches!(InstructionTemplate::load("alpca"), Err(TemplateError::Unknown { .. })));
    }
}
