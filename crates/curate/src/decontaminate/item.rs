//! What is looked for, and both sides' texts as words: [`TestItem`].

use bioinstruct_core::record::Instruction;
use bioinstruct_data::task::TaskItem;
use bioinstruct_text::rouge::{Stemmer, tokenize};

/// One item of a test set.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TestItem {
    /// Its id in the task.
    pub id: String,
    /// What is asked.
    pub question: String,
    /// What can be chosen; empty when nothing can, or when the same few stand under each question.
    pub options: Vec<String>,
    /// What is given beside the question, such as an abstract.
    pub context: String,
}

/// The items of a task.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TaskItems {
    /// Its name.
    pub task: String,
    /// Whether their texts may be shown in reports.
    pub shown: bool,
    /// All of them.
    pub items: Vec<TestItem>,
}

impl From<&TaskItem> for TestItem {
    /// The question is the field of that name, else the longest one; the others are context.
    fn from(item: &TaskItem) -> Self {
        let by_length = item.fields.iter().max_by_key(|(_, text)| text.len());
        let named = item.fields.get_key_value("question").or(by_length);
        let question = named.map(|(name, _)| name.clone()).unwrap_or_default();
        let others = item.fields.iter().filter(|(name, _)| **name != question);
        Self {
            id: item.id.clone(),
            options: item.choices.iter().map(|choice| choice.text.clone()).collect(),
            context: others.map(|(_, text)| text.as_str()).collect::<Vec<_>>().join("\n"),
            question: item.fields.get(&question).cloned().unwrap_or_default(),
        }
    }
}

/// What is asked in a row, and what was said before it.
pub(super) fn asked_text(row: &Instruction) -> String {
    let mut text = String::new();
    for turn in &row.history {
        text.push_str(&turn.user);
        text.push('\n');
        text.push_str(&turn.assistant);
        text.push('\n');
    }
    text.push_str(&row.instruction);
    text.push('\n');
    text.push_str(&row.input);
    text
}

/// The words that are compared: tokens of `rouge_score` but the letters that number options.
pub(super) fn words_of(text: &str) -> Vec<String> {
    let mut tokens = tokenize(text, Stemmer::Off);
    tokens.retain(|token| !matches!(token.as_bytes(), [b'a'..=b'h']));
    tokens
}

/// The parts of a row's text that may be a question by themselves: all of it, what stands before its first option, and each
/// of its lines.
pub(super) fn parts(text: &str) -> Vec<&str> {
    let mut parts = vec![text];
    if let Some(question) = before_options(text) {
        parts.push(question);
    }
    let lines = text.lines().filter(|line| line.len() < text.trim().len());
    parts.extend(lines.filter(|line| !line.trim().is_empty()));
    parts
}

/// What stands before `A.`, `A)` or `(A)`, when something like `B.` comes later.
fn before_options(text: &str) -> Option<&str> {
    let mark = |letter: char, from: usize| {
        text[from..].match_indices(letter).map(|(at, _)| from + at).find(|&at| {
            let closing = text[at + 1..].starts_with([')', '.', ':']);
            let opening = text[..at].ends_with([' ', '\n', '(', '\t']);
            closing && opening
        })
    };
    let first = mark('A', 0)?;
    mark('B', first + 1)?;
    Some(text[..first].trim_end_matches('('))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn letters_of_options_are_no_words() {
        assert_eq!(words_of("A. Vitamin K (B) vitamin D3"), ["vitamin", "k", "vitamin", "d3"]);
    }

    #[test]
    fn questions_are_found_among_their_options() {
        assert_eq!(before_options("Which one? (A) this (B) that"), Some("Which one? "));
        assert_eq!(before_options("Vitamin A. It is fat-soluble."), None);
        assert_eq!(parts("Which one?\nA. x\nB. y").len(), 5);
        assert_eq!(parts("Which one?"), ["Which one?"]);
    }
}
