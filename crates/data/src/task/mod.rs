//! Tasks to evaluate on: a [`Task`] is a TOML file that says where the data are, how a prompt is made, how the answer is read
//! and what is measured.
//!
//! [`Task::load`] takes a built-in name or a path; [`Task::items`] reads the owners' file into [`TaskItem`]s, leaving out what
//! also stands in training data; [`Task::prompt`] and [`Task::continuations`] say what a model is shown under a [`Profile`].

mod check;
mod error;
mod export_spec;
mod iob;
mod item;
mod items;
mod nli4ct;
mod overlap;
mod profile;
mod prompt;
mod rows;
mod schema;
mod shots;
mod training;

pub use error::{Place, TaskError};
pub use export_spec::{ExportSpec, ExportTexts};
pub use item::{Answer, Choice, TaskItem};
pub use items::{Excluded, ItemSources, Items};
pub use profile::{Profile, UnknownProfile};
pub use prompt::TaskPrompt;
pub use schema::{
    AnswerForm, AnswerSpec, ChoicesSpec, DataSpec, FieldSpec, Format, Metric, ProfileSpec,
    ReadSpec, Separator, ShotsSpec, TaskGroup, TaskKind,
};
pub use training::{TrainingSplit, holding_held_out};

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use bioinstruct_core::hash::ContentHash;
use bioinstruct_text::edit::{EditUnit, edit_distance};
use serde::Deserialize;

/// One task, checked.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Task {
    /// Short, as in file names: lower-case letters, digits, `_` and `-`.
    pub name: String,
    /// For people.
    pub title: String,
    /// One or two sentences: what is asked, and what to know before comparing the numbers.
    pub description: String,
    /// Under which heading it is listed; a task of the user's needs none.
    #[serde(default)]
    pub group: Option<TaskGroup>,
    /// The kind of answer.
    pub kind: TaskKind,
    /// What is measured, at least one; none when the task is only a source of training rows.
    #[serde(default)]
    pub metrics: Vec<Metric>,
    /// Of the data: SPDX identifier or a sentence.
    pub licence: String,
    /// Where the data come from.
    pub source: String,
    /// Whether the data come under a use agreement: then no file that is written holds their text.
    #[serde(default)]
    pub credentialed: bool,
    /// Most tokens of a written answer; zero for multiple choice.
    #[serde(default)]
    pub max_tokens: usize,
    /// A written answer ends before the first of these.
    #[serde(default)]
    pub stop: Vec<String>,
    /// The variable by whose text an item is recognised in training data.
    pub match_field: String,
    /// A training file beside the data, in the same format, whose items must not be scored.
    #[serde(default)]
    pub exclude_training: Option<String>,
    /// The data.
    pub data: DataSpec,
    /// The choices, for multiple choice.
    #[serde(default)]
    pub choices: Option<ChoicesSpec>,
    /// The right answer.
    pub answer: AnswerSpec,
    /// How a list is read, for extraction.
    #[serde(default)]
    pub read: Option<ReadSpec>,
    /// Where solved examples come from; without it there are none.
    #[serde(default)]
    pub shots: Option<ShotsSpec>,
    /// Kinds of training rows that can be made of the training split.
    #[serde(default)]
    pub export: Vec<ExportSpec>,
    /// The prompts; `default` is always there, unless the task is only a source of training rows.
    #[serde(default)]
    pub profiles: BTreeMap<Profile, ProfileSpec>,
    /// Where the definition itself comes from.
    #[serde(skip)]
    origin: Origin,
    /// Changes whenever the task file does.
    #[serde(skip)]
    digest: String,
}

#[derive(Debug, Clone, Default, PartialEq)]
enum Origin {
    /// Shipped with the program and reading its owners' file.
    #[default]
    BuiltIn,
    /// Shipped with the program together with its data.
    Demo(&'static str),
    /// A task file of the user's.
    File(PathBuf),
}

/// A task that ships with the program.
struct BuiltIn {
    name: &'static str,
    definition: &'static str,
    /// Samples written for this project; the data of real tasks are never shipped.
    data: Option<&'static str>,
}

/// A built-in task that reads its owners' file.
macro_rules! task {
    ($name:literal) => {
        BuiltIn {
            name: $name,
            definition: include_str!(concat!("../../tasks/", $name, ".toml")),
            data: None,
        }
    };
}

/// A built-in task with its data.
macro_rules! demo {
    ($name:literal) => {
        BuiltIn {
            data: Some(include_str!(concat!("../../tasks/demo/", $name, ".jsonl"))),
            ..task!($name)
        }
    };
}

/// Every built-in task; a new one is its TOML file and one entry here.
const ALL: [BuiltIn; 26] = [
    demo!("demo_qa"),
    demo!("demo_ie"),
    demo!("demo_gen"),
    task!("medqa"),
    task!("medqa_5opt"),
    task!("medmcqa"),
    task!("pubmedqa"),
    task!("bioasq"),
    task!("mmlu_anatomy"),
    task!("mmlu_clinical_knowledge"),
    task!("mmlu_college_biology"),
    task!("mmlu_college_medicine"),
    task!("mmlu_medical_genetics"),
    task!("mmlu_professional_medicine"),
    task!("mednli"),
    task!("nli4ct"),
    task!("medication_status"),
    task!("coreference"),
    task!("bc5cdr"),
    task!("ncbi_disease"),
    task!("chemprot"),
    task!("conv2note"),
    task!("aci_bench"),
    task!("icliniq"),
    task!("meqsum"),
    task!("medquad"),
];

/// The names of the built-in tasks, in the order in which they are listed to people.
pub fn built_in_names() -> Vec<&'static str> {
    ALL.iter().map(|task| task.name).collect()
}

impl Task {
    /// A built-in task by its name, or the task file at this path.
    pub fn load(name_or_path: &str) -> Result<Self, TaskError> {
        if let Some(built_in) = ALL.iter().find(|task| task.name == name_or_path) {
            let origin = built_in.data.map_or(Origin::BuiltIn, Origin::Demo);
            return Self::parse(built_in.definition, Path::new(built_in.name), origin);
        }
        let path = Path::new(name_or_path);
        let is_toml = path.extension().is_some_and(|extension| extension == "toml");
        if !is_toml && !path.is_file() {
            return Err(TaskError::Unknown {
                name: name_or_path.to_owned(),
                nearest: nearest(name_or_path),
                known: built_in_names(),
            });
        }
        let text = fs_err::read_to_string(path)?;
        Self::parse(&text, path, Origin::File(path.to_owned()))
    }

    fn parse(text: &str, path: &Path, origin: Origin) -> Result<Self, TaskError> {
        let wrong = |reason: String| TaskError::Definition { path: path.to_owned(), reason };
        let mut task: Self =
            toml::from_str(text).map_err(|error| wrong(error.to_string().trim_end().to_owned()))?;
        check::check(&task).map_err(wrong)?;
        task.origin = origin;
        task.digest = ContentHash::of_bytes(text.as_bytes()).to_string();
        Ok(task)
    }

    /// The text of a built-in task's file, to be copied and changed; none for a task of the user's.
    pub fn definition(&self) -> Option<&'static str> {
        let built_in = ALL.iter().find(|task| task.name == self.name)?;
        (!matches!(self.origin, Origin::File(_))).then_some(built_in.definition)
    }

    /// Changes whenever the task file does.
    pub fn digest(&self) -> &str {
        &self.digest
    }

    /// Whether the data ship with the program.
    pub fn has_own_data(&self) -> bool {
        matches!(self.origin, Origin::Demo(_))
    }

    /// Whether there is nothing to evaluate: all its rows may be learned from.
    pub fn is_training_only(&self) -> bool {
        self.group == Some(TaskGroup::TrainingRows)
    }

    /// The prompt of a profile, `default`'s where the profile only changes other things.
    pub fn profile(&self, profile: Profile) -> Result<&ProfileSpec, TaskError> {
        let unknown = || TaskError::Profile {
            task: self.name.clone(),
            profile,
            known: self.profiles.keys().copied().collect(),
        };
        self.profiles.get(&profile).ok_or_else(unknown)
    }

    /// Most tokens of a written answer under a profile.
    pub fn answer_tokens(&self, profile: Profile) -> Result<usize, TaskError> {
        Ok(self.profile(profile)?.max_tokens.unwrap_or(self.max_tokens))
    }

    /// What a written answer ends before under a profile.
    pub fn answer_stop(&self, profile: Profile) -> Result<&[String], TaskError> {
        Ok(self.profile(profile)?.stop.as_ref().unwrap_or(&self.stop))
    }

    /// Solved examples that the profile shows when the user asks for no other number.
    pub fn default_shots(&self, profile: Profile) -> Result<usize, TaskError> {
        Ok(self.profile(profile)?.shots)
    }
}

/// The built-in name that is spelt most alike, when no more than a third of it differs.
fn nearest(name: &str) -> Option<String> {
    let typed = name.to_lowercase();
    ALL.iter()
        .map(|task| (edit_distance(&typed, task.name, EditUnit::Chars), task.name))
        .min()
        .filter(|(distance, known)| distance * 3 <= known.len())
        .map(|(_, known)| known.to_owned())
}

#[cfg(test)]
pub(crate) mod tests;
