//! ROUGE as `rouge_score` 0.1.2 computes it, to the last bit: its tokenizer and ROUGE-N, ROUGE-L and ROUGE-Lsum.
//!
//! [`rouge`] scores two texts; the functions on token lists below it are for callers that tokenize once. `target` is the
//! reference text, `prediction` the one being judged. Scores are fractions from 0 to 1 (not percentages), and 0 when either
//! side has no tokens. C.-Y. Lin, "ROUGE: a package for automatic evaluation of summaries", 2004.

use std::collections::HashMap;
use std::fmt;
use std::num::NonZeroUsize;
use std::str::FromStr;

use crate::lcs::{lcs_length, lcs_positions};
use crate::ngram::ngrams;
use crate::porter;
use crate::vocabulary::{Vocabulary, Word, number_pair};

/// Whether tokens are reduced to their stems before they are compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Stemmer {
    /// Tokens as they stand.
    #[default]
    Off,
    /// [`porter::stem`] on tokens of more than 3 characters.
    Porter,
}

/// Precision (of the prediction), recall (of the target) and their harmonic mean.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct RougeScore {
    /// Share of the prediction that is matched.
    pub precision: f64,
    /// Share of the target that is matched.
    pub recall: f64,
    /// `2·P·R / (P + R)`, or 0 when both are 0.
    pub f1: f64,
}

impl RougeScore {
    /// The score of `hits` matched units, in the reference's order of operations: thresholds are compared with the result,
    /// and 14/20 comes out as 0.7 or as the next double above it, depending on the two lengths.
    pub fn from_counts(hits: usize, target_length: usize, prediction_length: usize) -> Self {
        let precision = hits as f64 / prediction_length.max(1) as f64;
        let recall = hits as f64 / target_length.max(1) as f64;
        let sum = precision + recall;
        let f1 = if sum > 0.0 { 2.0 * precision * recall / sum } else { 0.0 };
        Self { precision, recall, f1 }
    }
}

/// Which ROUGE; written and parsed as `rouge1`, `rouge2`, …, `rougeL`, `rougeLsum`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum RougeKind {
    /// Shared n-grams, each counted as often as it stands in both.
    N(NonZeroUsize),
    /// Longest common subsequence of the whole texts; line breaks do nothing.
    L,
    /// Union of the longest common subsequences of lines.
    Lsum,
}

impl RougeKind {
    /// ROUGE-1.
    pub const ONE: Self = Self::N(NonZeroUsize::MIN);
    /// ROUGE-2.
    pub const TWO: Self = Self::N(NonZeroUsize::MIN.saturating_add(1));
}

impl fmt::Display for RougeKind {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::N(n) => write!(out, "rouge{n}"),
            Self::L => out.write_str("rougeL"),
            Self::Lsum => out.write_str("rougeLsum"),
        }
    }
}

/// A name that is no [`RougeKind`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("unknown ROUGE `{name}`: expected `rouge1`, `rouge2`, …, `rougeL` or `rougeLsum`")]
pub struct UnknownRouge {
    /// The name as it was given.
    pub name: String,
}

impl FromStr for RougeKind {
    type Err = UnknownRouge;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        let kind = match name.strip_prefix("rouge") {
            Some("L") => Some(Self::L),
            Some("Lsum") => Some(Self::Lsum),
            // `parse` alone would also take "+1".
            Some(n) if n.bytes().all(|byte| byte.is_ascii_digit()) => n.parse().ok().map(Self::N),
            _ => None,
        };
        kind.ok_or_else(|| UnknownRouge { name: name.to_owned() })
    }
}

/// The tokens of `text`: runs of `a-z` and `0-9` after lower-casing, stemmed or not.
///
/// Everything else separates: `naïve` gives `na` and `ve`, `4.5` gives `4` and `5`, `β` gives nothing.
///
/// ```
/// # use bioinstruct_text::rouge::{Stemmer, tokenize};
/// assert_eq!(tokenize("β-blockers: 2.5 mg", Stemmer::Off), ["blockers", "2", "5", "mg"]);
/// assert_eq!(tokenize("β-blockers: 2.5 mg", Stemmer::Porter), ["blocker", "2", "5", "mg"]);
/// ```
pub fn tokenize(text: &str, stemmer: Stemmer) -> Vec<String> {
    let tokens = Tokens::of(text);
    let tokens = tokens.iter().map(|token| String::from_utf8_lossy(token.as_bytes()).into_owned());
    match stemmer {
        Stemmer::Off => tokens.collect(),
        Stemmer::Porter => {
            tokens.map(|token| if token.len() > 3 { porter::stem(&token) } else { token }).collect()
        }
    }
}

/// A text made ready for walking over its tokens without a string for each.
///
/// ```
/// # use bioinstruct_text::rouge::Tokens;
/// let tokens = Tokens::of("naïve, 4.5 mg");
/// assert_eq!(tokens.iter().map(|token| token.as_bytes().len()).collect::<Vec<_>>(), [2, 2, 1, 1, 2]);
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tokens {
    /// The text in lower case, with a space for every character that is not part of a token, and [`PADDING`] more at its end.
    spaced: Vec<u8>,
}

/// With so many bytes behind it every token is read by one load.
const PADDING: usize = size_of::<u128>();

impl Tokens {
    /// The tokens of `text`, without stemming.
    pub fn of(text: &str) -> Self {
        let mut tokens = Self::default();
        tokens.put(text);
        tokens
    }

    /// The tokens of another text, in the memory of the one before.
    pub fn read(&mut self, text: &str) -> impl Iterator<Item = Word<'_>> {
        self.put(text);
        self.iter()
    }

    fn put(&mut self, text: &str) {
        self.spaced.clear();
        self.spaced.reserve(text.len() + PADDING);
        if text.is_ascii() {
            self.spaced.extend(text.bytes().map(|byte| {
                let lower = byte.to_ascii_lowercase();
                let is_token = lower.is_ascii_lowercase() || byte.is_ascii_digit();
                if is_token { lower } else { b' ' }
            }));
        } else {
            self.put_characters(text);
        }
        self.spaced.extend([b' '; PADDING]);
    }

    fn put_characters(&mut self, text: &str) {
        for character in text.chars() {
            match character {
                'a'..='z' | '0'..='9' => self.spaced.push(character as u8),
                'A'..='Z' => self.spaced.push(character.to_ascii_lowercase() as u8),
                // The only characters beyond ASCII whose lower case has ASCII in it: KELVIN SIGN, I WITH DOT ABOVE.
                '\u{212a}' => self.spaced.push(b'k'),
                '\u{130}' => self.spaced.extend(b"i "),
                _ => self.spaced.push(b' '),
            }
        }
    }

    /// In their order.
    pub fn iter(&self) -> impl Iterator<Item = Word<'_>> {
        let end = self.spaced.len().saturating_sub(PADDING);
        let mut at = 0;
        std::iter::from_fn(move || {
            let gap = self.spaced[at..end].iter().position(|&byte| byte != b' ')?;
            let word = Word::before_space(&self.spaced[at + gap..]);
            at += gap + word.as_bytes().len();
            Some(word)
        })
    }
}

/// Scores `prediction` against `target`.
///
/// ```
/// # use bioinstruct_text::rouge::{RougeKind, Stemmer, rouge};
/// let score = rouge(RougeKind::L, "no acute distress", "in no distress", Stemmer::Off);
/// assert_eq!((score.precision, score.recall), (2.0 / 3.0, 2.0 / 3.0));
/// ```
pub fn rouge(kind: RougeKind, target: &str, prediction: &str, stemmer: Stemmer) -> RougeScore {
    let tokens = |text| tokenize(text, stemmer);
    match kind {
        RougeKind::N(n) => rouge_n(&tokens(target), &tokens(prediction), n),
        RougeKind::L => rouge_l(&tokens(target), &tokens(prediction)),
        RougeKind::Lsum => rouge_lsum(target, prediction, stemmer),
    }
}

/// The score with the highest F1 over several `targets` (the first of equals), or zeros when there are none.
pub fn rouge_best(
    kind: RougeKind,
    targets: &[impl AsRef<str>],
    prediction: &str,
    stemmer: Stemmer,
) -> RougeScore {
    let scores = targets.iter().map(|target| rouge(kind, target.as_ref(), prediction, stemmer));
    scores.reduce(|best, score| if score.f1 > best.f1 { score } else { best }).unwrap_or_default()
}

/// ROUGE-N of token lists.
pub fn rouge_n(
    target: &[impl AsRef<str>],
    prediction: &[impl AsRef<str>],
    n: NonZeroUsize,
) -> RougeScore {
    let (target, prediction) = number_pair(target, prediction);
    let mut left: HashMap<&[u32], usize> = HashMap::new();
    for ngram in ngrams(&target, n) {
        *left.entry(ngram).or_default() += 1;
    }
    let mut hits = 0;
    for ngram in ngrams(&prediction, n) {
        if let Some(count) = left.get_mut(ngram).filter(|count| **count > 0) {
            *count -= 1;
            hits += 1;
        }
    }
    RougeScore::from_counts(hits, ngrams(&target, n).len(), ngrams(&prediction, n).len())
}

/// ROUGE-L of token lists.
pub fn rouge_l(target: &[impl AsRef<str>], prediction: &[impl AsRef<str>]) -> RougeScore {
    let (target, prediction) = number_pair(target, prediction);
    RougeScore::from_counts(lcs_length(&target, &prediction), target.len(), prediction.len())
}

/// ROUGE-Lsum: for each line of `target` the tokens it shares, in order, with any line of `prediction`; a token of either
/// text counts as often as it occurs there at most. Lines end at `\n` only; text is not split into sentences.
pub fn rouge_lsum(target: &str, prediction: &str, stemmer: Stemmer) -> RougeScore {
    let mut vocabulary = Vocabulary::new();
    let target = numbered_lines(target, stemmer, &mut vocabulary);
    let prediction = numbered_lines(prediction, stemmer, &mut vocabulary);
    let mut target_left = occurrences(&target, vocabulary.len());
    let mut prediction_left = occurrences(&prediction, vocabulary.len());
    let mut hits = 0;
    for line in &target {
        for token in shared_with_any(line, &prediction) {
            if target_left[token] > 0 && prediction_left[token] > 0 {
                hits += 1;
                target_left[token] -= 1;
                prediction_left[token] -= 1;
            }
        }
    }
    let length = |lines: &[Vec<u32>]| lines.iter().map(Vec::len).sum();
    RougeScore::from_counts(hits, length(&target), length(&prediction))
}

fn numbered_lines(text: &str, stemmer: Stemmer, vocabulary: &mut Vocabulary) -> Vec<Vec<u32>> {
    let mut number =
        |line| tokenize(line, stemmer).iter().map(|token| vocabulary.add(token)).collect();
    text.split('\n').map(&mut number).collect()
}

fn occurrences(lines: &[Vec<u32>], vocabulary_size: usize) -> Vec<usize> {
    let mut counts = vec![0; vocabulary_size];
    for &token in lines.iter().flatten() {
        counts[token as usize] += 1;
    }
    counts
}

/// The tokens of `line` at positions that belong to its longest common subsequence with at least one of `others`.
fn shared_with_any(line: &[u32], others: &[Vec<u32>]) -> impl Iterator<Item = usize> {
    let mut shared = vec![false; line.len()];
    for other in others {
        for position in lcs_positions(line, other) {
            shared[position] = true;
        }
    }
    line.iter().zip(shared).filter(|(_, shared)| *shared).map(|(&token, _)| token as usize)
}

#[cfg(test)]
#[expect(clippy::float_cmp, reason = "these quotients are exact in doubles")]
mod tests {
    use super::*;

    #[test]
    fn tokens_of_text_outside_ascii() {
        let tokens = |text| tokenize(text, Stemmer::Off);
        assert_eq!(tokens("TNF-α, naïve; 97.7°F"), ["tnf", "na", "ve", "97", "7", "f"]);
        assert_eq!(tokens("5 \u{212a}elvin \u{130}stanbul"), ["5", "kelvin", "i", "stanbul"]);
        assert!(tokens("αβγ — …\n").is_empty());
    }

    #[test]
    fn tokens_equal_those_of_full_lower_casing() {
        for code in (0..=0x0010_ffff).filter_map(char::from_u32) {
            let lowered = code.to_string().to_lowercase();
            let expected: String = lowered.chars().filter(char::is_ascii_alphanumeric).collect();
            assert_eq!(tokenize(&code.to_string(), Stemmer::Off).concat(), expected, "{code:?}");
        }
    }

    #[test]
    fn ties_at_seven_tenths_round_as_in_the_reference() {
        let f1 = |m, n| RougeScore::from_counts(7, m, n).f1;
        assert!(f1(7, 13) > 0.7 && f1(13, 7) > 0.7 && f1(8, 12) > 0.7 && f1(9, 11) > 0.7);
        assert!(f1(10, 10) <= 0.7);
    }

    #[test]
    fn kinds_are_written_as_they_are_read() {
        for name in ["rouge1", "rouge2", "rouge13", "rougeL", "rougeLsum"] {
            assert_eq!(name.parse::<RougeKind>().unwrap().to_string(), name);
        }
        assert_eq!("rouge2".parse(), Ok(RougeKind::TWO));
        for name in ["rouge", "rouge0", "rouge+1", "rougel", "bleu", "rouge-1"] {
            assert_eq!(name.parse::<RougeKind>().unwrap_err().name, name);
        }
    }

    #[test]
    fn the_best_of_several_targets_counts() {
        let best =
            |targets: &[&str]| rouge_best(RougeKind::ONE, targets, "chest pain", Stemmer::Off);
        assert_eq!(best(&["fever", "chest pain", "pain"]).f1, 1.0);
        assert_eq!(best(&[]), RougeScore::default());
    }
}
