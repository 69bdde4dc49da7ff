//! From rows to what a model sees: [`Rendered`] is text cut into segments that say which are control tokens and which are
//! learned.
//!
//! User text can never become a control token: a template is rendered once with placeholders in place of the user's
//! fields, so the template's own text (where control tokens count) and the fields (where they are plain text) stay apart.

mod chat;
mod instruction;
mod jinja;

pub use chat::ChatTemplate;
pub use instruction::InstructionTemplate;
pub use jinja::{render, variables};

use std::path::PathBuf;

use crate::diagnose::{Diagnose, FailureKind};

/// A piece of a rendered example.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Segment {
    /// Plain text: whatever it contains, it is never read as a control token.
    Text {
        /// The characters.
        text: String,
        /// Whether the loss covers it.
        learned: bool,
    },
    /// One control token of the model, by its text.
    Control {
        /// Such as `<|im_start|>`.
        token: String,
        /// Whether the loss covers it.
        learned: bool,
    },
    /// The model's end-of-sequence token, whatever its text is.
    EndOfSequence {
        /// Whether the loss covers it.
        learned: bool,
    },
}

impl Segment {
    /// Whether the loss covers this segment.
    pub fn learned(&self) -> bool {
        match self {
            Self::Text { learned, .. }
            | Self::Control { learned, .. }
            | Self::EndOfSequence { learned } => *learned,
        }
    }
}

/// A prompt, or a prompt with its answer, in the order of the text.
///
/// Neighbouring text segments with the same `learned` are one segment, so that they are tokenized together.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Rendered {
    /// The pieces.
    pub segments: Vec<Segment>,
}

impl Rendered {
    /// Exactly this text, nothing learned.
    pub fn plain(text: &str) -> Self {
        let mut rendered = Self::default();
        rendered.push_text(text, false);
        rendered
    }

    /// Appends text, joining it to a text segment of the same kind before it.
    pub fn push_text(&mut self, text: &str, learned: bool) {
        if text.is_empty() {
            return;
        }
        match self.segments.last_mut() {
            Some(Segment::Text { text: before, learned: same }) if *same == learned => {
                before.push_str(text);
            }
            _ => self.segments.push(Segment::Text { text: text.to_owned(), learned }),
        }
    }

    /// Appends the template's own text, in which the given control tokens count.
    pub fn push_template(&mut self, mut text: &str, control_tokens: &[String]) {
        while let Some((at, token)) = first_control(text, control_tokens) {
            self.push_text(&text[..at], false);
            self.segments.push(Segment::Control { token: token.to_owned(), learned: false });
            text = &text[at + token.len()..];
        }
        self.push_text(text, false);
    }

    /// Learns the control token that ends each learned text, where white space at most stands between them.
    fn learn_turn_ends(&mut self) {
        let mut in_answer = false;
        for segment in &mut self.segments {
            match segment {
                Segment::Text { learned: true, .. } => in_answer = true,
                Segment::Text { text, learned: false } => {
                    in_answer = in_answer && text.trim().is_empty();
                }
                Segment::Control { learned, .. } | Segment::EndOfSequence { learned } => {
                    *learned = in_answer;
                    in_answer = false;
                }
            }
        }
    }

    /// All characters in order, control tokens by their text; for people to read.
    pub fn text(&self) -> String {
        self.segments
            .iter()
            .map(|segment| match segment {
                Segment::Text { text, .. } | Segment::Control { token: text, .. } => text.as_str(),
                Segment::EndOfSequence { .. } => "",
            })
            .collect()
    }
}

/// The earliest control token in `text`, the longest where several begin.
fn first_control<'a>(text: &str, control_tokens: &'a [String]) -> Option<(usize, &'a str)> {
    control_tokens
        .iter()
        .filter(|token| !token.is_empty())
        .filter_map(|token| text.find(token.as_str()).map(|at| (at, token.as_str())))
        .min_by_key(|(at, token)| (*at, std::cmp::Reverse(token.len())))
}

/// A template that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TemplateError {
    /// The file cannot be read; the source names the path.
    #[error(transparent)]
    Io(#[from] std::io::Error),
    /// Neither a built-in name nor a file.
    #[error("unknown template `{name}`")]
    Unknown {
        /// As given.
        name: String,
    },
    /// The template is wrong, or costs too much to render.
    #[error("template `{name}`: {reason}")]
    Render {
        /// Its name or path.
        name: String,
        /// The engine's message with the line.
        reason: String,
    },
    /// `chat` was asked of a model that brings no chat template.
    #[error("the model has no chat template")]
    NoChatTemplate,
    /// The template changes the text of a message, so its segments cannot be told apart.
    #[error("template `{name}` rewrites the text of a message")]
    RewritesContent {
        /// Its name.
        name: String,
    },
    /// The prompt is not a prefix of the whole conversation.
    #[error(
        "template `{name}` does not render a conversation as its prompt followed by the answer"
    )]
    NotAPrefix {
        /// Its name.
        name: String,
    },
    /// A row says more than the template can show.
    #[error("template `{name}` has no place for {part}")]
    NoPlace {
        /// Its name.
        name: String,
        /// `a system message` or `earlier turns`.
        part: &'static str,
    },
    /// A template file lacks a field.
    #[error("template {path} never uses `{field}`", path = path.display())]
    MissingField {
        /// The file.
        path: PathBuf,
        /// `instruction` or `input`.
        field: &'static str,
    },
}

impl Diagnose for TemplateError {
    fn kind(&self) -> FailureKind {
        match self {
            Self::Io(_) => FailureKind::Io,
            _ => FailureKind::Configuration,
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::Unknown { .. } => {
                Some("use `bioinstruct`, `alpaca`, `chat` or the path of a Jinja file".to_owned())
            }
            Self::NoChatTemplate | Self::RewritesContent { .. } | Self::NotAPrefix { .. } => {
                Some("use `--template bioinstruct`".to_owned())
            }
            Self::NoPlace { .. } => Some(
                "use `--template chat`; a Jinja file may put a system message where it writes `{{ system }}`"
                    .to_owned(),
            ),
            Self::MissingField { .. } => Some(
                "write `{{ instruction }}` and `{{ input }}` where the fields belong".to_owned(),
            ),
            Self::Io(_) | Self::Render { .. } => None,
        }
    }
}
