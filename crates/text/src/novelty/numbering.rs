//! From texts to numbers that can be compared: [`queries_of`] does it for many at once.

use rayon::prelude::*;

use super::search::Query;
use crate::rouge::Tokens;
use crate::vocabulary::{UNKNOWN, Vocabulary};

/// Texts that are tokenized together.
const PART: usize = 128;

/// The tokens of `text`; one id stands for all that no text has brought yet.
pub(super) fn known_tokens(vocabulary: &Vocabulary, text: &str) -> Vec<u32> {
    Tokens::of(text).iter().map(|token| vocabulary.lookup(token)).collect()
}

/// The tokens of `text`, each with an id of its own.
pub(super) fn add_tokens(vocabulary: &mut Vocabulary, text: &str) -> Vec<u32> {
    Tokens::of(text).iter().map(|token| vocabulary.add(token)).collect()
}

/// The texts as queries for rows of up to `longest` tokens, which depends on their own length.
pub(super) fn queries_of<T: AsRef<str> + Sync>(
    vocabulary: &mut Vocabulary,
    texts: &[T],
    longest: impl Fn(usize) -> usize + Sync,
) -> Vec<Query> {
    let mut queries = Vec::with_capacity(texts.len());
    // Words are looked up in parallel and added one after the other: texts come in waves, so that few words are new.
    let mut wave = if vocabulary.is_empty() { PART } else { texts.len() };
    let mut rest = texts;
    while !rest.is_empty() {
        let (now, later) = rest.split_at(wave.min(rest.len()));
        add_queries(vocabulary, now, &longest, &mut queries);
        (rest, wave) = (later, 2 * wave);
    }
    queries
}

fn add_queries<T: AsRef<str> + Sync>(
    vocabulary: &mut Vocabulary,
    texts: &[T],
    longest: &(impl Fn(usize) -> usize + Sync),
    queries: &mut Vec<Query>,
) {
    let base = u32::try_from(vocabulary.len()).expect("ids are 32 bits");
    let known = &*vocabulary;
    let parts: Vec<NumberedPart> =
        texts.par_chunks(PART).map(|texts| NumberedPart::of(known, base, texts)).collect();
    let parts: Vec<(Vec<Vec<u32>>, Vec<u32>)> =
        parts.into_iter().map(|part| (part.tokens, vocabulary.absorb(part.new))).collect();
    let query = |tokens: Vec<u32>| {
        let longest = longest(tokens.len());
        Query::new(tokens, longest)
    };
    let found: Vec<Vec<Query>> = parts
        .into_par_iter()
        .map(|(mut tokens, new)| {
            for id in tokens.iter_mut().flatten().filter(|id| **id >= base) {
                *id = new[(*id - base) as usize];
            }
            tokens.into_iter().map(query).collect()
        })
        .collect();
    queries.extend(found.into_iter().flatten());
}

/// Tokenized texts, numbered without a change to the vocabulary that other threads read too.
struct NumberedPart {
    /// An id from the base on is that of a new word, counted from there.
    tokens: Vec<Vec<u32>>,
    /// Words that the vocabulary does not have.
    new: Vocabulary,
}

impl NumberedPart {
    fn of<T: AsRef<str>>(known: &Vocabulary, base: u32, texts: &[T]) -> Self {
        let mut new = Vocabulary::new();
        let mut number = |token: &str| match known.lookup(token) {
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
