//! The parts of a task file, as serde reads them. Unknown keys are errors everywhere.

use std::collections::BTreeMap;
use std::fmt;

use serde::de::{MapAccess, Visitor, value::MapAccessDeserializer};
use serde::{Deserialize, Deserializer, Serialize};

/// What kind of answer a task asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TaskKind {
    /// One of the given choices, taken by log-likelihood.
    MultipleChoice,
    /// A list of spans, written by the model.
    Extraction,
    /// A text, written by the model.
    Generation,
}

impl TaskKind {
    /// The name used in task files.
    pub const fn name(self) -> &'static str {
        match self {
            Self::MultipleChoice => "multiple_choice",
            Self::Extraction => "extraction",
            Self::Generation => "generation",
        }
    }
}

/// Under which heading a built-in task is listed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TaskGroup {
    /// Samples that ship with the program.
    Demo,
    /// Questions with choices.
    QuestionAnswering,
    /// Does one text follow from another?
    Inference,
    /// Names and facts in a text.
    Extraction,
    /// Notes, answers and summaries.
    Generation,
    /// Not evaluated: only a source of training rows.
    TrainingRows,
}

impl TaskGroup {
    /// All of them, in the order in which they are listed.
    pub const ALL: [Self; 6] = [
        Self::Demo,
        Self::QuestionAnswering,
        Self::Inference,
        Self::Extraction,
        Self::Generation,
        Self::TrainingRows,
    ];

    /// The heading.
    pub const fn title(self) -> &'static str {
        match self {
            Self::Demo => "Demo",
            Self::QuestionAnswering => "Question answering",
            Self::Inference => "Inference",
            Self::Extraction => "Extraction",
            Self::Generation => "Generation",
            Self::TrainingRows => "Training rows only",
        }
    }
}

/// What is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Metric {
    /// Share of right choices.
    #[serde(rename = "accuracy")]
    Accuracy,
    /// F1 of all choices together, the negative one left out.
    #[serde(rename = "micro_f1")]
    MicroF1,
    /// F1 of extracted spans: the mean of the items', and micro.
    #[serde(rename = "span_f1")]
    SpanF1,
    /// Share of the spans found whose label is right.
    #[serde(rename = "label_accuracy")]
    LabelAccuracy,
    /// F1 of the answer's words, against the answer that agrees best.
    #[serde(rename = "token_f1")]
    TokenF1,
    /// ROUGE-1 F1.
    #[serde(rename = "rouge1")]
    Rouge1,
    /// ROUGE-2 F1.
    #[serde(rename = "rouge2")]
    Rouge2,
    /// ROUGE-L F1.
    #[serde(rename = "rougeL")]
    RougeL,
}

impl Metric {
    /// The name used in task files and scores.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Accuracy => "accuracy",
            Self::MicroF1 => "micro_f1",
            Self::SpanF1 => "span_f1",
            Self::LabelAccuracy => "label_accuracy",
            Self::TokenF1 => "token_f1",
            Self::Rouge1 => "rouge1",
            Self::Rouge2 => "rouge2",
            Self::RougeL => "rougeL",
        }
    }

    /// The kind of task that it measures.
    pub const fn kind(self) -> TaskKind {
        match self {
            Self::Accuracy | Self::MicroF1 => TaskKind::MultipleChoice,
            Self::SpanF1 | Self::LabelAccuracy | Self::TokenF1 => TaskKind::Extraction,
            Self::Rouge1 | Self::Rouge2 | Self::RougeL => TaskKind::Generation,
        }
    }
}

/// The public format of a data file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Format {
    /// One JSON object per line.
    Jsonl,
    /// A JSON array of objects, or an object that holds it under the key `rows`.
    Json,
    /// A JSON object whose values are the rows and whose keys are their ids.
    JsonByKey,
    /// Comma-separated values with a header line, or with the columns named in the task file.
    Csv,
    /// Values separated by tabs, with a header line; a quotation mark is an ordinary character.
    Tsv,
    /// Statements about trials by id, with the trials' reports in a folder beside them (see `nli4ct.rs`).
    Nli4ct,
    /// One token and its IOB2 tag per line, separated by a tab, and a blank line after each sentence: a row is a sentence with
    /// `text`, `mentions`, `typed` and `types.NAME` (see `iob.rs`).
    Iob,
}

/// Where the rows are and what they hold.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DataSpec {
    /// The format.
    pub format: Format,
    /// How the owners call the file; looked for when a folder is given.
    pub file: String,
    /// The folder of the file in a collection of data sets; looked into when the collection's folder is given.
    #[serde(default)]
    pub folder: String,
    /// The owners' other files that are for testing: like `file`, they are never exported as training rows.
    #[serde(default)]
    pub held_out: Vec<String>,
    /// The key of a JSON object that holds the array of rows.
    #[serde(default)]
    pub rows: Option<String>,
    /// Only rows whose fields have one of the listed values.
    #[serde(default)]
    pub only: BTreeMap<String, Vec<String>>,
    /// Column names of a CSV file without a header line.
    #[serde(default)]
    pub columns: Option<Vec<String>>,
    /// The field that names a row; without it the key, or the row's number.
    #[serde(default)]
    pub id: Option<String>,
    /// A file beside the data that lists the ids to score: a JSON object by id, a JSON array, or one id per line.
    #[serde(default)]
    pub ids_file: Option<String>,
    /// Template variables and the fields that they are read from.
    pub fields: BTreeMap<String, FieldSpec>,
}

/// How one variable is read from a row: `"name"`, `"outer.inner"`, or a table.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct FieldSpec {
    /// Column, or keys and array positions separated by dots.
    pub field: String,
    /// Joins the elements when the field is an array.
    pub join: Option<String>,
    /// The key of the text in each element, where the elements are objects.
    pub each: Option<String>,
    /// Replaces values; one that is not listed stays.
    pub values: BTreeMap<String, String>,
    /// Whether a row may lack the field; the variable is then empty.
    pub optional: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct FieldTable {
    field: String,
    #[serde(default)]
    join: Option<String>,
    #[serde(default)]
    each: Option<String>,
    #[serde(default)]
    values: BTreeMap<String, String>,
    #[serde(default)]
    optional: bool,
}

impl<'de> Deserialize<'de> for FieldSpec {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(FieldVisitor)
    }
}

/// Written by hand because an untagged enum would not say which key of the table is wrong.
struct FieldVisitor;

impl<'de> Visitor<'de> for FieldVisitor {
    type Value = FieldSpec;

    fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(
            "a field name, or a table with `field`, `join`, `each`, `values` and `optional`",
        )
    }

    fn visit_str<E: serde::de::Error>(self, name: &str) -> Result<FieldSpec, E> {
        Ok(FieldSpec { field: name.to_owned(), ..FieldSpec::default() })
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<FieldSpec, A::Error> {
        let table = FieldTable::deserialize(MapAccessDeserializer::new(map))?;
        let FieldTable { field, join, each, values, optional } = table;
        Ok(FieldSpec { field, join, each, values, optional })
    }
}

/// What can be chosen: the same for every item, or read from it.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ChoicesSpec {
    /// The choices of every item, such as yes, no, maybe.
    #[serde(default)]
    pub fixed: Vec<String>,
    /// The fields that hold an item's choices.
    #[serde(default)]
    pub fields: Vec<String>,
    /// What stands for a choice in the answer; by default A, B, C, … or the fixed text.
    #[serde(default)]
    pub labels: Vec<String>,
    /// The fixed choice that says "none of these", which `micro_f1` leaves out.
    #[serde(default)]
    pub negative: Option<String>,
}

/// How the data give the right answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AnswerForm {
    /// The label of a choice, upper or lower case.
    Letter,
    /// The position of a choice, counted from zero.
    Index0,
    /// The position of a choice, counted from one.
    Index1,
    /// The position of a choice, counted from whichever of the two the whole file shows.
    Index,
    /// The text of a choice; for generation the reference.
    Text,
    /// An array of texts, for extraction.
    List,
    /// A list in one text, such as `[aspirin, heparin]`; a text without brackets is its only element.
    Bracketed,
    /// Such a list for each label, in fields of their own: every element becomes `element (label)`.
    Labelled,
}

impl AnswerForm {
    /// Whether the answer is a list.
    pub const fn is_list(self) -> bool {
        matches!(self, Self::List | Self::Bracketed | Self::Labelled)
    }
}

/// Where the right answer is.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AnswerSpec {
    /// Column, or keys separated by dots; none where `labels` says which.
    #[serde(default)]
    pub field: String,
    /// How it is given.
    pub form: AnswerForm,
    /// The field of each label, for the form `labelled`.
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
}

/// The training split, from which solved examples and exported rows come; exactly one of the two.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ShotsSpec {
    /// A file of the same format beside the data.
    #[serde(default)]
    pub file: Option<String>,
    /// The rows that the list of ids leaves out.
    #[serde(default)]
    pub rest: bool,
}

/// What separates the answers of a list in generated text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Separator {
    /// A line break.
    Line,
    /// A comma that does not stand between two digits.
    Comma,
    /// A semicolon.
    Semicolon,
    /// The word "and" between white space.
    And,
}

/// How a list is read from generated text.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ReadSpec {
    /// What cuts the text into answers.
    pub separators: Vec<Separator>,
    /// Whole texts that say "there is nothing", in lower case.
    #[serde(default)]
    pub empty: Vec<String>,
    /// Labels that an answer may carry, as in `aspirin (active)`; without them an answer is all span.
    #[serde(default)]
    pub labels: Vec<String>,
    /// Whether a span ends before the first word but one that is a number: `aspirin 81 mg` becomes `aspirin`.
    #[serde(default)]
    pub drop_dose: bool,
}

/// The prompt of one profile: `instruction` and `input`, or `text`; neither: as in `default`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ProfileSpec {
    /// Jinja; what to do, for an instruction template.
    pub instruction: Option<String>,
    /// Jinja; what to do it with.
    pub input: Option<String>,
    /// Jinja; exactly what the model sees, without a template.
    pub text: Option<String>,
    /// What stands before the solved examples of a raw prompt, once.
    pub description: String,
    /// What stands between the prompt and a choice or a shot's answer: " " in lm-evaluation-harness.
    pub prefix: String,
    /// Most tokens of a written answer, in place of the task's number.
    pub max_tokens: Option<usize>,
    /// What a written answer ends before, in place of the task's.
    pub stop: Option<Vec<String>>,
    /// Solved examples when the user asks for no other number.
    pub shots: usize,
    /// Score every row, whatever the list of ids says.
    pub all_rows: bool,
}
