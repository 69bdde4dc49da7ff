//! Test sets that may not be shown, as hashes of their runs of words: [`HashedItems`].
//!
//! Who holds a restricted test set writes such a file; who does not can still look for its items. A run of 8 words is
//! hashed with BLAKE3 to 64 bits under a salt of the file's own. That hides a text from a reader, not from one who can guess
//! whole runs of it: a file falls under the set's agreement unless its owners say otherwise. What is found is exact runs
//! only: an item with a word changed is found by the runs beside the word.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::io::{self, BufRead, BufReader, Read, Write};
use std::path::Path;

use bioinstruct_core::diagnose::{Diagnose, FailureKind};
use bioinstruct_core::hash::ContentHash;
use bioinstruct_core::jsonl::{self, JsonlError};
use bioinstruct_core::record::Instruction;
use rayon::prelude::*;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::item::{asked_text, parts, words_of};
use super::{TaskItems, Verdict};

const FORMAT: &str = "bioinstruct-hashed-items";

/// Words of a run.
const RUN: usize = 8;

/// Items in which a run may stand before it counts as a stock phrase and is left out.
const MOST_ITEMS: usize = 8;

/// First line of a file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Header {
    format: String,
    version: u32,
    task: String,
    salt: String,
    run: usize,
}

/// One item.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct HashedItem {
    item: String,
    /// Hashes of the runs of the question with its options, and of the context.
    runs: Vec<String>,
    /// Hash of the sorted words of question and options.
    whole: String,
}

/// The items of one task without their texts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HashedItems {
    header: Header,
    items: Vec<HashedItem>,
}

/// An item that a row shares runs with.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct HashedHit {
    /// The task's name.
    pub task: String,
    /// The item's id.
    pub item: String,
    /// The row's id.
    pub row: String,
    /// Runs of 8 words of the item's that stand in the row.
    pub runs: usize,
    /// Runs that the item has, stock phrases apart.
    pub of_runs: usize,
    /// Whether a part of the row has exactly the words of question and options, in whatever order.
    pub whole: bool,
}

impl HashedHit {
    /// Half of the item's runs, or all of its words, give it away; fewer are for a person to look at.
    pub fn verdict(&self) -> Verdict {
        if self.whole || self.runs > 0 && 2 * self.runs >= self.of_runs {
            Verdict::Contaminated
        } else {
            Verdict::Suspected
        }
    }
}

/// A file that is not one of hashed items.
#[derive(Debug, thiserror::Error)]
pub enum HashedItemsError {
    /// It cannot be read, or a line is not as it should be.
    #[error(transparent)]
    Lines(#[from] JsonlError),
    /// Its first line is another one's, or of another version.
    #[error("{path} is not a file of hashed items: {reason}")]
    Header {
        /// The file.
        path: String,
        /// What is wrong.
        reason: String,
    },
}

impl Diagnose for HashedItemsError {
    fn kind(&self) -> FailureKind {
        match self {
            Self::Lines(error) => error.kind(),
            Self::Header { .. } => FailureKind::Data,
        }
    }

    fn hint(&self) -> Option<String> {
        Some("`bioinstruct tasks hash` writes such files".to_owned())
    }
}

impl HashedItems {
    /// Hashes the items of a task. `salt` should be new for each file; the same salt gives the same file.
    pub fn of(task: &TaskItems, salt: &str) -> Self {
        let texts: Vec<[Vec<String>; 2]> = task
            .items
            .iter()
            .map(|item| {
                let mut asked = words_of(&item.question);
                asked.extend(item.options.iter().flat_map(|option| words_of(option)));
                [asked, words_of(&item.context)]
            })
            .collect();
        let mut items_with: BTreeMap<&[String], usize> = BTreeMap::new();
        for texts in &texts {
            let runs: BTreeSet<&[String]> =
                texts.iter().flat_map(|text| text.windows(RUN)).collect();
            for run in runs {
                *items_with.entry(run).or_default() += 1;
            }
        }
        let items = task.items.iter().zip(&texts).map(|(item, texts)| {
            let runs = texts.iter().flat_map(|text| text.windows(RUN));
            let rare: BTreeSet<String> = runs
                .filter(|run| items_with[run] <= MOST_ITEMS)
                .map(|run| hashed(salt, run))
                .collect();
            HashedItem {
                item: item.id.clone(),
                runs: rare.into_iter().collect(),
                whole: hashed(salt, &sorted(texts[0].clone())),
            }
        });
        let header = Header {
            format: FORMAT.to_owned(),
            version: 1,
            task: task.task.clone(),
            salt: salt.to_owned(),
            run: RUN,
        };
        Self { header, items: items.collect() }
    }

    /// Writes JSON lines: a header, then one line per item.
    pub fn write(&self, out: &mut dyn Write) -> io::Result<()> {
        serde_json::to_writer(&mut *out, &self.header)?;
        out.write_all(b"\n")?;
        for item in &self.items {
            serde_json::to_writer(&mut *out, item)?;
            out.write_all(b"\n")?;
        }
        Ok(())
    }

    /// Reads what [`Self::write`] wrote.
    pub fn read(path: &Path) -> Result<Self, HashedItemsError> {
        let mut lines: Vec<Value> = jsonl::read(path)?;
        let wrong =
            |reason: String| HashedItemsError::Header { path: path.display().to_string(), reason };
        if lines.is_empty() {
            return Err(wrong("it is empty".to_owned()));
        }
        let header: Header =
            serde_json::from_value(lines.remove(0)).map_err(|error| wrong(error.to_string()))?;
        if header.format != FORMAT || header.version != 1 || header.run != RUN {
            return Err(wrong(format!("it begins with {header:?}")));
        }
        let items = lines.into_iter().map(serde_json::from_value).collect::<Result<_, _>>();
        Ok(Self { header, items: items.map_err(|error| wrong(error.to_string()))? })
    }

    /// Whether a file's first line says that it is one of hashed items.
    pub fn is_one(path: &Path) -> bool {
        let mut line = Vec::new();
        let file = fs_err::File::open(path).map(|file| file.take(4096));
        let read = file.and_then(|file| BufReader::new(file).read_until(b'\n', &mut line));
        read.is_ok()
            && serde_json::from_slice::<Header>(&line).is_ok_and(|header| header.format == FORMAT)
    }

    /// The task's name.
    pub fn task(&self) -> &str {
        &self.header.task
    }

    /// Number of items.
    pub fn len(&self) -> usize {
        self.items.len()
    }

    /// Whether there is no item.
    pub fn is_empty(&self) -> bool {
        self.items.is_empty()
    }

    /// The items that rows share runs with, by row, then by item.
    pub fn hits(&self, rows: &[Instruction]) -> Vec<HashedHit> {
        let index = self.index();
        let hits: Vec<Vec<HashedHit>> = rows.par_iter().map(|row| index.hits(row)).collect();
        hits.into_iter().flatten().collect()
    }

    /// The items by their hashes.
    pub fn index(&self) -> HashedIndex<'_> {
        let mut index = HashedIndex { all: self, by_run: HashMap::new(), by_whole: HashMap::new() };
        for (at, item) in self.items.iter().enumerate() {
            for run in &item.runs {
                index.by_run.entry(run).or_default().push(at);
            }
            index.by_whole.entry(&item.whole).or_default().push(at);
        }
        index
    }
}

/// Hashed items, ready to be looked for in rows.
#[derive(Debug)]
pub struct HashedIndex<'a> {
    all: &'a HashedItems,
    by_run: HashMap<&'a str, Vec<usize>>,
    by_whole: HashMap<&'a str, Vec<usize>>,
}

impl HashedIndex<'_> {
    /// What `row` shares with items, by item.
    pub fn hits(&self, row: &Instruction) -> Vec<HashedHit> {
        let header = &self.all.header;
        let mut shared: BTreeMap<usize, (BTreeSet<String>, bool)> = BTreeMap::new();
        let both = asked_text(row);
        for text in [both.as_str(), &row.output] {
            for run in words_of(text).windows(RUN) {
                let hash = hashed(&header.salt, run);
                for &at in self.by_run.get(hash.as_str()).into_iter().flatten() {
                    shared.entry(at).or_default().0.insert(hash.clone());
                }
            }
        }
        let before = row.history.iter().flat_map(|turn| parts(&turn.user));
        let now = parts(&row.instruction).into_iter().chain(parts(&row.input));
        let texts = now.chain([both.as_str()]).chain(before);
        for text in texts {
            let words = sorted(words_of(text));
            if words.is_empty() {
                continue;
            }
            let hash = hashed(&header.salt, &words);
            for &at in self.by_whole.get(hash.as_str()).into_iter().flatten() {
                shared.entry(at).or_default().1 = true;
            }
        }
        let hit = |(at, (runs, whole)): (usize, (BTreeSet<String>, bool))| HashedHit {
            task: header.task.clone(),
            item: self.all.items[at].item.clone(),
            row: row.id.clone(),
            runs: runs.len(),
            of_runs: self.all.items[at].runs.len(),
            whole,
        };
        shared.into_iter().map(hit).collect()
    }
}

fn sorted(mut words: Vec<String>) -> Vec<String> {
    words.sort_unstable();
    words
}

/// 16 hexadecimal digits.
fn hashed(salt: &str, words: &[String]) -> String {
    let parts = [salt.as_bytes()].into_iter().chain(words.iter().map(String::as_bytes));
    ContentHash::of_parts(parts).short().to_owned()
}
