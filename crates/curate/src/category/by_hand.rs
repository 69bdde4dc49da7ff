//! Kinds that people gave: [`HandLabels`].

use std::collections::BTreeMap;
use std::path::Path;

use bioinstruct_core::hash::ContentHash;
use bioinstruct_core::jsonl;
use bioinstruct_core::record::{Category, Instruction};
use bioinstruct_data::rows::RowsError;
use serde::Deserialize;

use super::Labeller;
use crate::CurateError;

/// A kind for each row in a file of JSON lines with `id` and `category`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HandLabels {
    by_id: BTreeMap<String, Category>,
    name: String,
    digest: String,
}

#[derive(Debug, Deserialize)]
struct Line {
    id: String,
    category: Category,
}

impl HandLabels {
    /// Reads the file; other fields of its lines are ignored.
    ///
    /// # Errors
    /// When the file cannot be read, a line has not both fields, or a row has two kinds.
    pub fn read(path: &Path) -> Result<Self, CurateError> {
        let lines: Vec<Line> = jsonl::read(path)?;
        let mut by_id = BTreeMap::new();
        for Line { id, category } in lines {
            if let Some(earlier) = by_id.insert(id.clone(), category)
                && earlier != category
            {
                let (first, second) = (earlier.name(), category.name());
                let reason = format!("{}: row {id} is `{first}` and `{second}`", path.display());
                return Err(CurateError::Setting { key: "categories", reason });
            }
        }
        let digest = ContentHash::of_file(path).map_err(RowsError::Io)?.to_string();
        let name = path.file_name().unwrap_or(path.as_os_str()).to_string_lossy().into_owned();
        Ok(Self { by_id, name, digest })
    }
}

impl Labeller for HandLabels {
    fn method(&self) -> String {
        format!("the file {}", self.name)
    }

    fn digest(&self) -> String {
        self.digest.clone()
    }

    fn label(&mut self, rows: &[&Instruction]) -> Result<Vec<Option<Category>>, CurateError> {
        Ok(rows.iter().map(|row| self.by_id.get(&row.id).copied()).collect())
    }
}
