//! Sentences with tagged names: [`read`] takes the two-column files in which biomedical name sets are published.
//!
//! One token and its IOB2 tag stand on each line, separated by a tab; a blank line ends a sentence. A sentence becomes one row:
//!
//! - `text`: its tokens joined by one space, since the files do not say where white space was;
//! - `mentions`: the names in order, tokens joined likewise, each once (apart from letter case);
//! - `typed`: the same as `type: name`, with the type in lower case;
//! - `types.NAME`: the names of one type, for every type that the file has.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use bioinstruct_text::chunks::{Chunk, Tag, chunks};
use bioinstruct_text::normalize::answer_key;
use serde_json::{Value, json};

use super::rows::{Row, wrong_file};
use super::{Place, TaskError};

struct Sentence<'a> {
    line: usize,
    tokens: Vec<&'a str>,
    tags: Vec<Tag<'a>>,
}

/// Every sentence of `text`; `path` is used in errors only.
pub(super) fn read(text: &str, path: &Path) -> Result<Vec<Row>, TaskError> {
    let sentences = sentences(text).map_err(|reason| wrong_file(path, reason))?;
    let named: Vec<Vec<Chunk<'_>>> =
        sentences.iter().map(|sentence| chunks(&sentence.tags)).collect();
    let types: BTreeSet<&str> = named.iter().flatten().map(|chunk| chunk.kind).collect();
    let row = |(sentence, chunks): (&Sentence<'_>, &Vec<Chunk<'_>>)| Row {
        place: Place::Line(sentence.line),
        key: None,
        value: value(sentence, chunks, &types),
    };
    Ok(sentences.iter().zip(&named).map(row).collect())
}

fn sentences(text: &str) -> Result<Vec<Sentence<'_>>, String> {
    let mut sentences = Vec::new();
    let mut open: Option<Sentence<'_>> = None;
    for (position, line) in text.lines().enumerate() {
        if line.trim().is_empty() {
            sentences.extend(open.take());
            continue;
        }
        let number = position + 1;
        let columns: Vec<&str> = line.split('\t').collect();
        let [token, tag] = columns[..] else {
            let found = columns.len();
            return Err(format!("line {number} has {found} columns, expected a token and its tag"));
        };
        let tag = Tag::parse(tag.trim()).ok_or_else(|| {
            format!("line {number}: `{tag}` is no tag; expected O, B-TYPE or I-TYPE")
        })?;
        let sentence = open.get_or_insert_with(|| Sentence {
            line: number,
            tokens: Vec::new(),
            tags: Vec::new(),
        });
        sentence.tokens.push(token.trim());
        sentence.tags.push(tag);
    }
    sentences.extend(open);
    Ok(sentences)
}

fn value(sentence: &Sentence<'_>, chunks: &[Chunk<'_>], types: &BTreeSet<&str>) -> Value {
    let name = |chunk: &Chunk<'_>| sentence.tokens[chunk.start..chunk.end].join(" ");
    let of_type = |kind: &str| once(chunks.iter().filter(|chunk| chunk.kind == kind).map(name));
    let by_type: BTreeMap<&str, Vec<String>> =
        types.iter().map(|&kind| (kind, of_type(kind))).collect();
    let typed = |chunk: &Chunk<'_>| format!("{}: {}", chunk.kind.to_lowercase(), name(chunk));
    json!({
        "text": sentence.tokens.join(" "),
        "mentions": once(chunks.iter().map(name)),
        "typed": once(chunks.iter().map(typed)),
        "types": by_type,
    })
}

/// The first of each, apart from letter case.
fn once(names: impl Iterator<Item = String>) -> Vec<String> {
    let mut seen = BTreeSet::new();
    names.filter(|name| seen.insert(answer_key(name))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "Naloxone\tB-Chemical\nhelps\tO\nin\tO\nopioid\tB-Disease\noverdose\tI-Disease\n,\tO\nas\tO\n\
                        naloxone\tB-Chemical\ndoes\tO\n\nNo\tO\nname\tO\n\n\n";

    #[test]
    fn a_sentence_becomes_a_row_with_its_names() {
        let rows = read(TEXT, Path::new("t.tsv")).unwrap();
        let places: Vec<&Place> = rows.iter().map(|row| &row.place).collect();
        assert_eq!(places, [&Place::Line(1), &Place::Line(11)]);
        assert_eq!(
            rows[0].value,
            json!({
                "text": "Naloxone helps in opioid overdose , as naloxone does",
                "mentions": ["Naloxone", "opioid overdose"],
                "typed": ["chemical: Naloxone", "disease: opioid overdose"],
                "types": {"Chemical": ["Naloxone"], "Disease": ["opioid overdose"]},
            })
        );
        assert_eq!(rows[1].value["types"], json!({"Chemical": [], "Disease": []}));
    }

    #[test]
    fn a_bad_line_is_named() {
        let complaint = |text: &str| read(text, Path::new("t.tsv")).unwrap_err().to_string();
        assert_eq!(
            complaint("a\tO\nb O\n"),
            "t.tsv: line 2 has 1 columns, expected a token and its tag"
        );
        assert_eq!(
            complaint("a\tX-Drug\n"),
            "t.tsv: line 1: `X-Drug` is no tag; expected O, B-TYPE or I-TYPE"
        );
    }
}
