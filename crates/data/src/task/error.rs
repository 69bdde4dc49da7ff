//! What can be wrong with a task file or with the data it names: [`TaskError`].

use std::fmt;
use std::path::PathBuf;

use bioinstruct_core::diagnose::{Diagnose, FailureKind};
use bioinstruct_core::template::TemplateError;

use super::Profile;

/// Where in a data file a row stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// A line of text, counted from one.
    Line(usize),
    /// An element of a JSON array, counted from one.
    Element(usize),
    /// A key of a JSON object.
    Key(String),
}

impl fmt::Display for Place {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Line(line) => write!(out, "line {line}"),
            Self::Element(element) => write!(out, "element {element}"),
            Self::Key(key) => write!(out, "key `{key}`"),
        }
    }
}

/// A task that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TaskError {
    /// The file system refused; the source names the path.
    #[error(transparent)]
    Io(#[from] std::io::Error),
    /// Neither a built-in name nor a file.
    #[error("unknown task `{name}`{}", nearest.as_ref().map(|name| format!("; did you mean `{name}`?")).unwrap_or_default())]
    Unknown {
        /// As given.
        name: String,
        /// The built-in name that is spelt most alike, when one is.
        nearest: Option<String>,
        /// All built-in names.
        known: Vec<&'static str>,
    },
    /// The task file is wrong.
    #[error("task file {path}: {reason}", path = path.display())]
    Definition {
        /// The file; for a built-in task its name.
        path: PathBuf,
        /// Which field, and what is wrong with it.
        reason: String,
    },
    /// A template of the task cannot be rendered.
    #[error("task `{task}`, item `{item}`: {source}")]
    Prompt {
        /// The task.
        task: String,
        /// The item.
        item: String,
        /// The template engine's message.
        source: TemplateError,
    },
    /// The task reads its owners' file, and none was given.
    #[error("task `{task}` needs the owners' file `{file}`")]
    NoData {
        /// The task.
        task: String,
        /// How the owners call the file.
        file: String,
    },
    /// A file that the task needs beside its data is not there.
    #[error("task `{task}` needs {purpose} in {path}, which is not there", path = path.display())]
    Missing {
        /// The task.
        task: String,
        /// What the file is for.
        purpose: &'static str,
        /// Where it was looked for.
        path: PathBuf,
        /// What to do about it.
        hint: String,
    },
    /// A data file is not of the format that the task file names.
    #[error("{path}: {reason}", path = path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// A row of a data file is not what the task file says.
    #[error("{path}, {place}, field `{field}`: {reason}", path = path.display())]
    Row {
        /// The file.
        path: PathBuf,
        /// The row.
        place: Place,
        /// The column or the path of keys.
        field: String,
        /// What was expected and what was found.
        reason: String,
    },
    /// The task has no prompt for this profile.
    #[error("task `{task}` has no prompt for profile `{profile}`")]
    Profile {
        /// The task.
        task: String,
        /// As asked for.
        profile: Profile,
        /// Those that it has.
        known: Vec<Profile>,
    },
    /// It was to be evaluated and has only training rows.
    #[error("`{task}` has no test items: it is a source of training rows")]
    TrainingOnly {
        /// The task.
        task: String,
    },
    /// Training rows were asked for and the task has none to give.
    #[error("task `{task}`: {reason}")]
    NotExported {
        /// The task.
        task: String,
        /// Why.
        reason: String,
        /// What to do about it.
        hint: String,
    },
    /// Solved examples were asked for and the task has none to give.
    #[error("task `{task}`: {reason}")]
    Shots {
        /// The task.
        task: String,
        /// Why.
        reason: String,
    },
}

impl Diagnose for TaskError {
    fn kind(&self) -> FailureKind {
        match self {
            Self::Io(_) => FailureKind::Io,
            Self::Unknown { .. }
            | Self::NoData { .. }
            | Self::Profile { .. }
            | Self::TrainingOnly { .. }
            | Self::NotExported { .. }
            | Self::Shots { .. } => FailureKind::Usage,
            Self::Definition { .. } | Self::Prompt { .. } => FailureKind::Configuration,
            Self::Missing { .. } | Self::File { .. } | Self::Row { .. } => FailureKind::Data,
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::Unknown { known, .. } => Some(format!(
                "built in are {}; a task of your own is the path of a TOML file",
                known.join(", ")
            )),
            Self::NoData { task, file } => {
                Some(format!("give it with `--data {task}=PATH/{file}`"))
            }
            Self::Missing { hint, .. } | Self::NotExported { hint, .. } => Some(hint.clone()),
            Self::TrainingOnly { task } => {
                Some(format!("`bioinstruct tasks export {task}` makes instruction rows of it"))
            }
            Self::Profile { known, .. } => {
                let names: Vec<&str> = known.iter().map(|profile| profile.name()).collect();
                Some(format!("its profiles are {}", names.join(", ")))
            }
            Self::Shots { .. } => Some("use `--shots 0`".to_owned()),
            Self::File { .. } | Self::Row { .. } => Some(
                "the file must have the form in which its owners publish it, or `[data]` of the task file must say otherwise"
                    .to_owned(),
            ),
            Self::Prompt { source, .. } => source.hint(),
            Self::Io(_) | Self::Definition { .. } => None,
        }
    }
}
