//! Filled-in sheets: [`read`] takes the answers of one file.

use std::collections::BTreeMap;
use std::path::Path;

use super::{QUESTIONS, Question};
use crate::CurateError;

/// What one rater said of one row.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Rating {
    /// The row's id.
    pub id: String,
    /// Who said it: the column `rater`, or the file's name.
    pub rater: String,
    /// Answers by question; a question left empty is not there.
    pub answers: BTreeMap<&'static str, &'static str>,
}

/// The ratings of a sheet, in its order. Rows without any answer are passed over.
///
/// # Errors
/// When a column is missing, or an answer is none of the question's.
pub(super) fn read(path: &Path) -> Result<Vec<Rating>, CurateError> {
    let damaged = |reason: String| CurateError::Damaged { path: path.to_owned(), reason };
    let bytes = fs_err::read(path).map_err(CurateError::read)?;
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(&bytes);
    let mut reader = csv::ReaderBuilder::new().delimiter(delimiter(bytes)).from_reader(bytes);
    let header = reader.headers().map_err(|error| damaged(error.to_string()))?.clone();
    let column = |name: &str| header.iter().position(|cell| cell.trim().eq_ignore_ascii_case(name));
    let needed =
        |name: &str| column(name).ok_or_else(|| damaged(format!("there is no column `{name}`")));
    let id = needed("id")?;
    let rater = column("rater");
    let columns = QUESTIONS
        .iter()
        .map(|question| Ok((question, needed(question.column)?)))
        .collect::<Result<Vec<_>, CurateError>>()?;
    let file =
        path.file_stem().map_or_else(String::new, |name| name.to_string_lossy().into_owned());
    let mut ratings = Vec::new();
    for record in reader.records() {
        let record = record.map_err(|error| damaged(error.to_string()))?;
        let line = record.position().map_or(0, csv::Position::line);
        let cell = |at: usize| record.get(at).unwrap_or_default().trim();
        let mut rating = Rating { id: cell(id).to_owned(), ..Rating::default() };
        for &(question, at) in &columns {
            let said = cell(at);
            if said.is_empty() {
                continue;
            }
            let known = answer(question, said).ok_or_else(|| {
                let known = question.answers.join(", ");
                damaged(format!("line {line}, `{}`: {said:?} is none of {known}", question.column))
            })?;
            rating.answers.insert(question.column, known);
        }
        let named = rater.map_or("", cell);
        rating.rater = if named.is_empty() { file.clone() } else { named.to_owned() };
        if !rating.answers.is_empty() {
            ratings.push(rating);
        }
    }
    Ok(ratings)
}

/// Spreadsheets of some languages write semicolons.
fn delimiter(bytes: &[u8]) -> u8 {
    let first = bytes.split(|&byte| byte == b'\n').next().unwrap_or_default();
    let count = |of: u8| first.split(|&byte| byte == of).count();
    if count(b';') > count(b',') { b';' } else { b',' }
}

/// The question's own word for what was typed.
fn answer(question: &Question, said: &str) -> Option<&'static str> {
    let said = said.to_lowercase();
    let said = match said.as_str() {
        "y" | "1" | "true" => "yes",
        "n" | "0" | "false" => "no",
        other => other,
    };
    question.answers.iter().copied().find(|known| *known == said)
}
