//! Splitting text into the words that byte-level BPE works on. Main type: [`Splitter`].
//!
//! The published patterns need look-ahead (`\s+(?!\S)`) and are run by backtracking engines that stop silently at a
//! step limit. Here they are linear-time patterns without it, and [`next_word`] does what the look-ahead would: a run
//! of whitespace before a word gives its last character back.

use std::sync::LazyLock;

use regex::Regex;

/// One pass over the pieces.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// Every numeric character (`\p{N}`) by itself.
    Digits,
    /// GPT-2's words.
    Gpt2,
    /// LLaMA 3's words: digits in groups of up to three.
    Llama3,
    /// Qwen2's words: digits one by one.
    Qwen2,
    /// Runs of punctuation (first pass of llama.cpp's `default`).
    Punctuation,
    /// Runs of numeric characters (third pass of `default`).
    Numbers,
    /// Groups of three ASCII digits (fourth pass of `default`).
    Triples,
}

/// Passes applied in order, each to all pieces of the one before.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Splitter(pub(super) Vec<Step>);

/// The pattern of GPT-2 as published.
const GPT2: &str = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+";
/// The pattern of LLaMA 3 as published.
const LLAMA3: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
/// The pattern of Qwen2 as published.
const QWEN2: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";

/// The values of `tokenizer.ggml.pre` that are known.
pub(super) const KNOWN_PRE: &str = "smollm, gpt-2, default, llama-bpe, qwen2";

fn compile(pattern: &str) -> Regex {
    // the look-ahead alternative is dropped: `next_word` does its work
    Regex::new(&pattern.replace(r"|\s+(?!\S)", "")).expect("the patterns are constants")
}

static GPT2_WORDS: LazyLock<Regex> = LazyLock::new(|| compile(GPT2));
static LLAMA3_WORDS: LazyLock<Regex> = LazyLock::new(|| compile(LLAMA3));
static QWEN2_WORDS: LazyLock<Regex> = LazyLock::new(|| compile(QWEN2));
static DIGIT: LazyLock<Regex> = LazyLock::new(|| compile(r"\p{N}"));
static PUNCTUATION: LazyLock<Regex> = LazyLock::new(|| compile(r"[\p{P}$+<=>^~|]+"));
static NUMBERS: LazyLock<Regex> = LazyLock::new(|| compile(r"\p{N}+"));
static TRIPLES: LazyLock<Regex> = LazyLock::new(|| compile(r"[0-9][0-9][0-9]"));

impl Step {
    /// The step whose published pattern is exactly `pattern`.
    pub(super) fn from_pattern(pattern: &str) -> Option<Self> {
        match pattern {
            GPT2 => Some(Self::Gpt2),
            LLAMA3 => Some(Self::Llama3),
            QWEN2 => Some(Self::Qwen2),
            _ => None,
        }
    }

    /// The pattern as published; `None` for a step that is no pattern of a `tokenizer.json`.
    pub(super) fn pattern(self) -> Option<&'static str> {
        match self {
            Self::Gpt2 => Some(GPT2),
            Self::Llama3 => Some(LLAMA3),
            Self::Qwen2 => Some(QWEN2),
            Self::Digits | Self::Punctuation | Self::Numbers | Self::Triples => None,
        }
    }

    fn regex(self) -> &'static Regex {
        match self {
            Self::Digits => &DIGIT,
            Self::Gpt2 => &GPT2_WORDS,
            Self::Llama3 => &LLAMA3_WORDS,
            Self::Qwen2 => &QWEN2_WORDS,
            Self::Punctuation => &PUNCTUATION,
            Self::Numbers => &NUMBERS,
            Self::Triples => &TRIPLES,
        }
    }

    /// The next match at or after `from`, as a byte range.
    fn next_word(self, text: &str, from: usize) -> Option<(usize, usize)> {
        let found = self.regex().find_at(text, from)?;
        let (start, end) = (found.start(), found.end());
        let last = match self {
            // a run of whitespace matches `\s+`; one that ends a line is LLaMA 3's `\s*[\r\n]+`
            Self::Gpt2 => last_of_whitespace(found.as_str()),
            Self::Llama3 | Self::Qwen2 => {
                last_of_whitespace(found.as_str()).filter(|last| !matches!(last, '\r' | '\n'))
            }
            _ => None,
        };
        match last {
            // `\s+(?!\S)`: all but the last character when something follows; `\s+` when it is the only one
            Some(last) if end < text.len() && end - last.len_utf8() > start => {
                Some((start, end - last.len_utf8()))
            }
            _ => Some((start, end)),
        }
    }

    fn split<'a>(self, text: &'a str, pieces: &mut Vec<&'a str>) {
        let mut done = 0;
        while done < text.len() {
            let Some((start, end)) = self.next_word(text, done) else {
                pieces.push(&text[done..]);
                return;
            };
            if start > done {
                pieces.push(&text[done..start]);
            }
            pieces.push(&text[start..end]);
            done = end;
        }
    }
}

/// The last character of a text that is all whitespace.
fn last_of_whitespace(text: &str) -> Option<char> {
    text.chars().all(char::is_whitespace).then(|| text.chars().next_back()).flatten()
}

impl Splitter {
    /// The passes that llama.cpp makes for this value of `tokenizer.ggml.pre`.
    pub(super) fn from_pre(pre: &str) -> Option<Self> {
        Some(Self(match pre {
            "smollm" => vec![Step::Digits, Step::Gpt2],
            "gpt-2" => vec![Step::Gpt2],
            "llama-bpe" | "llama3" | "llama-v3" => vec![Step::Llama3],
            "qwen2" | "deepseek-r1-qwen" => vec![Step::Qwen2],
            "default" => vec![Step::Punctuation, Step::Gpt2, Step::Numbers, Step::Triples],
            _ => return None,
        }))
    }

    /// The value of `tokenizer.ggml.pre` for which llama.cpp makes these passes.
    pub(super) fn pre(&self) -> Option<&'static str> {
        let known = ["smollm", "gpt-2", "llama-bpe", "qwen2", "default"];
        known.into_iter().find(|pre| Self::from_pre(pre).as_ref() == Some(self))
    }

    /// The words of `text`, in order; together they are the text.
    pub(super) fn split<'a>(&self, text: &'a str) -> Vec<&'a str> {
        let mut pieces = vec![text];
        for step in &self.0 {
            let mut next = Vec::with_capacity(pieces.len() * 2);
            for piece in pieces {
                step.split(piece, &mut next);
            }
            pieces = next;
        }
        pieces
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn split(pre: &str, text: &str) -> Vec<String> {
        let splitter = Splitter::from_pre(pre).expect("known");
        splitter.split(text).into_iter().map(str::to_string).collect()
    }

    #[test]
    fn words_of_each_kind() {
        assert_eq!(
            split("gpt-2", "It's  12 mg\n\nqd "),
            ["It", "'s", " ", " 12", " mg", "\n", "\n", "qd", " "]
        );
        assert_eq!(split("smollm", "a 12 b"), ["a", " ", "1", "2", " b"]);
        assert_eq!(split("llama-bpe", "x 12345\n \n y"), ["x", " ", "123", "45", "\n \n", " y"]);
        assert_eq!(split("qwen2", "I'LL 12"), ["I", "'LL", " ", "1", "2"]);
        assert_eq!(split("llama-bpe", "\ttab   end"), ["\ttab", "  ", " end"]);
        assert_eq!(split("default", "a,b 1234"), ["a", ",", "b", " ", "123", "4"]);
        assert!(Splitter::from_pre("tekken").is_none());
        assert!(split("gpt-2", "").is_empty());
    }

    /// The published pattern under a backtracking engine, as the `tokenizers` crate runs it.
    fn reference(pattern: &str, text: &str) -> Vec<String> {
        use tokenizers::pre_tokenizers::split::{Split, SplitPattern};
        use tokenizers::{
            OffsetReferential, OffsetType, PreTokenizedString, PreTokenizer, SplitDelimiterBehavior,
        };
        let pattern = SplitPattern::Regex(pattern.to_string());
        let split = Split::new(pattern, SplitDelimiterBehavior::Isolated, false).expect("valid");
        let mut text = PreTokenizedString::from(text);
        split.pre_tokenize(&mut text).expect("splits");
        text.get_splits(OffsetReferential::Original, OffsetType::Byte)
            .into_iter()
            .map(|(piece, ..)| piece.to_string())
            .filter(|piece| !piece.is_empty())
            .collect()
    }

    proptest! {
        #[test]
        fn linear_patterns_equal_the_published_ones(
            text in "([ \t\r\n\u{a0}\u{3000}]|[a-zA-Zé猫ſ]|[0-9²Ⅷ٣]|['’.,<>|_$]|🙂|\u{301}|\u{4}){0,40}"
        ) {
            for (step, pattern) in [(Step::Gpt2, GPT2), (Step::Llama3, LLAMA3), (Step::Qwen2, QWEN2)] {
                let ours: Vec<_> = Splitter(vec![step]).split(&text).into_iter().map(str::to_string)
                    .filter(|piece| !piece.is_empty()).collect();
                prop_assert_eq!(ours, reference(pattern, &text));
            }
        }
    }
}
