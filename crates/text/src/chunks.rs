//! Names in a tagged sentence: [`chunks`] turns IOB tags into typed ranges of tokens, as seqeval 1.2.2 does by default.
//!
//! A chunk opens at `B-`, and also at an `I-` that follows `O` or another type, as in `CoNLL`'s evaluation script. In well-formed
//! IOB2 the second case does not occur. The chunks are what [`crate::spans::count_spans`] compares.

/// One token's tag.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tag<'a> {
    /// In no name.
    Outside,
    /// The first token of a name of this type.
    Begin(&'a str),
    /// A further token of a name of this type.
    Inside(&'a str),
}

impl<'a> Tag<'a> {
    /// Reads `O`, `B-TYPE` or `I-TYPE`.
    pub fn parse(tag: &'a str) -> Option<Self> {
        if tag == "O" {
            return Some(Self::Outside);
        }
        match tag.split_once('-') {
            Some(("B", kind)) if !kind.is_empty() => Some(Self::Begin(kind)),
            Some(("I", kind)) if !kind.is_empty() => Some(Self::Inside(kind)),
            _ => None,
        }
    }
}

/// A name: tokens `start..end`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Chunk<'a> {
    /// Its type.
    pub kind: &'a str,
    /// Its first token.
    pub start: usize,
    /// The token after its last.
    pub end: usize,
}

/// The names of a sentence, in order.
///
/// ```
/// # use bioinstruct_text::chunks::{Chunk, Tag, chunks};
/// let tags = ["O", "B-Disease", "I-Disease", "B-Disease"].map(|tag| Tag::parse(tag).unwrap());
/// let found: Vec<(usize, usize)> = chunks(&tags).iter().map(|chunk| (chunk.start, chunk.end)).collect();
/// assert_eq!(found, [(1, 3), (3, 4)]);
/// ```
pub fn chunks<'a>(tags: &[Tag<'a>]) -> Vec<Chunk<'a>> {
    let mut found: Vec<Chunk<'a>> = Vec::new();
    let mut open = false;
    for (position, tag) in tags.iter().enumerate() {
        let (kind, begins) = match *tag {
            Tag::Outside => {
                open = false;
                continue;
            }
            Tag::Begin(kind) => (kind, true),
            Tag::Inside(kind) => (kind, false),
        };
        match found.last_mut() {
            Some(last) if open && !begins && last.kind == kind => last.end = position + 1,
            _ => found.push(Chunk { kind, start: position, end: position + 1 }),
        }
        open = true;
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spans::{Counts, Repeats, SpanScore, count_spans};
    use serde_json::Value;

    #[test]
    fn tags_are_read_or_refused() {
        assert_eq!(Tag::parse("B-Cell-Line"), Some(Tag::Begin("Cell-Line")));
        for bad in ["", "o", "B", "I-", "S-Disease", "B_Disease"] {
            assert_eq!(Tag::parse(bad), None, "{bad}");
        }
    }

    /// Chunks, counts and scores of random tag sequences, well-formed or not (`tests/goldens/spans/make_seqeval.py`).
    #[test]
    fn chunks_and_scores_are_seqeval_s() {
        let text = include_str!("../../../tests/goldens/spans/seqeval.json");
        let golden: Value = serde_json::from_str(text).unwrap();
        let tags = |side: &Value| -> Vec<String> {
            let list = side.as_array().unwrap().iter();
            list.map(|tag| tag.as_str().unwrap().to_owned()).collect()
        };
        let mut total = Counts::default();
        let sentences = golden["sentences"].as_array().unwrap();
        assert!(sentences.len() >= 200);
        for sentence in sentences {
            let sides = [tags(&sentence["gold"]), tags(&sentence["predicted"])];
            let [gold, predicted] = sides.each_ref().map(|side| {
                let tags: Vec<Tag<'_>> = side.iter().map(|tag| Tag::parse(tag).unwrap()).collect();
                chunks(&tags)
            });
            let listed: Vec<Value> = predicted
                .iter()
                .map(|chunk| serde_json::json!([chunk.kind, chunk.start, chunk.end - 1]))
                .collect();
            assert_eq!(Value::from(listed), sentence["chunks"], "{sentence}");
            total = total + count_spans(&gold, &predicted, Repeats::Counted);
        }
        let score = SpanScore::from(total);
        for (name, ours) in
            [("precision", score.precision), ("recall", score.recall), ("f1", score.f1)]
        {
            let theirs = golden[name].as_f64().unwrap();
            assert!((ours - theirs).abs() < 1e-15, "{name}: {ours} is not {theirs}");
        }
    }
}
