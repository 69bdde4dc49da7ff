//! Many texts as lists of numbers: [`NumberedTexts`]. Texts are tokenized as ROUGE does it, on all threads of the current rayon
//! pool; which word has which number depends neither on them nor on their count.

use std::ops::Range;

use rayon::prelude::*;

use crate::rouge::Tokens;
use crate::vocabulary::{UNKNOWN, Vocabulary, Word};

/// Texts that are tokenized together.
const PART: usize = 128;

/// The tokens of texts, in which equal numbers mean equal words.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct NumberedTexts {
    /// Those of all texts, one after the other.
    tokens: Vec<u32>,
    /// Where each text begins.
    starts: Vec<usize>,
}

impl NumberedTexts {
    /// The tokens of `texts`; their numbers count up from 0.
    pub fn of<T: AsRef<str> + Sync>(texts: &[T]) -> Self {
        let mut numbered = Self::default();
        for tokens in number(&mut Vocabulary::new(), texts, |tokens| tokens) {
            numbered.push(&tokens);
        }
        numbered
    }

    /// Number of texts.
    pub fn len(&self) -> usize {
        self.starts.len()
    }

    /// Whether there is no text.
    pub fn is_empty(&self) -> bool {
        self.starts.is_empty()
    }

    /// The tokens of a text.
    ///
    /// # Panics
    /// When there is no such text.
    pub fn tokens(&self, text: usize) -> &[u32] {
        &self.tokens[self.range(text)]
    }

    /// Where its tokens stand among those of all.
    pub(crate) fn range(&self, text: usize) -> Range<usize> {
        self.starts[text]..self.starts.get(text + 1).copied().unwrap_or(self.tokens.len())
    }

    pub(crate) fn push(&mut self, tokens: &[u32]) {
        self.starts.push(self.tokens.len());
        self.tokens.extend_from_slice(tokens);
    }

    /// Without the first texts.
    pub(crate) fn after(mut self, count: usize) -> Self {
        let begin = self.starts.get(count).copied().unwrap_or(self.tokens.len());
        self.tokens.drain(..begin);
        self.starts.drain(..count);
        self.starts.iter_mut().for_each(|start| *start -= begin);
        self
    }
}

/// The tokens of `text`; one id stands for all that no text has brought yet.
pub(crate) fn known_tokens(vocabulary: &Vocabulary, text: &str) -> Vec<u32> {
    Tokens::of(text).iter().map(|token| vocabulary.lookup(token)).collect()
}

/// The tokens of `text`, each with an id of its own.
pub(crate) fn add_tokens(vocabulary: &mut Vocabulary, text: &str) -> Vec<u32> {
    Tokens::of(text).iter().map(|token| vocabulary.add(token)).collect()
}

/// What `make` makes of the tokens of each text.
pub(crate) fn number<T: AsRef<str> + Sync, N: Send>(
    vocabulary: &mut Vocabulary,
    texts: &[T],
    make: impl Fn(Vec<u32>) -> N + Sync,
) -> Vec<N> {
    let mut numbered = Vec::with_capacity(texts.len());
    // Words are looked up in parallel and added one after the other: texts come in waves, so that few words are new.
    let mut wave = if vocabulary.is_empty() { PART } else { texts.len() };
    let mut rest = texts;
    while !rest.is_empty() {
        let (now, later) = rest.split_at(wave.min(rest.len()));
        number_wave(vocabulary, now, &make, &mut numbered);
        (rest, wave) = (later, 2 * wave);
    }
    numbered
}

fn number_wave<T: AsRef<str> + Sync, N: Send>(
    vocabulary: &mut Vocabulary,
    texts: &[T],
    make: &(impl Fn(Vec<u32>) -> N + Sync),
    numbered: &mut Vec<N>,
) {
    let base = u32::try_from(vocabulary.len()).expect("ids are 32 bits");
    let known = &*vocabulary;
    let parts: Vec<Part> =
        texts.par_chunks(PART).map(|texts| Part::of(known, base, texts)).collect();
    let parts: Vec<(Vec<Vec<u32>>, Vec<u32>)> =
        parts.into_iter().map(|part| (part.tokens, vocabulary.absorb(part.new))).collect();
    let made: Vec<Vec<N>> = parts
        .into_par_iter()
        .map(|(mut tokens, new)| {
            for id in tokens.iter_mut().flatten().filter(|id| **id >= base) {
                *id = new[(*id - base) as usize];
            }
            tokens.into_iter().map(make).collect()
        })
        .collect();
    numbered.extend(made.into_iter().flatten());
}

/// Tokenized texts, numbered without a change to the vocabulary that other threads read too.
struct Part {
    /// An id from the base on is that of a new word, counted from there.
    tokens: Vec<Vec<u32>>,
    /// Words that the vocabulary does not have.
    new: Vocabulary,
}

impl Part {
    fn of<T: AsRef<str>>(known: &Vocabulary, base: u32, texts: &[T]) -> Self {
        let mut new = Vocabulary::new();
        let mut number = |token: Word<'_>| match known.lookup(token) {
            UNKNOWN => base + new.add(token),
            id => id,
        };
        let mut tokens = Tokens::default();
        let tokens = texts
            .iter()
            .map(|text| tokens.read(text.as_ref()).map(&mut number).collect())
            .collect();
        Self { tokens, new }
    }
}
