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
    let base = u32::try_from(vocabulary.len()).expect("ids are 32 bits");
    let known = &*vocabulary;
    let parts: Vec<NumberedPart> =
        texts.par_chunks(PART).map(|texts| NumberedPart::of(known, base, texts)).collect();
    let parts: Vec<(Vec<Vec<u32>>, Vec<u32>)> = parts
        .into_iter()
        .map(|part| (part.tokens, part.new.iter().map(|word| vocabulary.add(word)).collect()))
        .collect();
    let query = |tokens: Vec<u32>| {
        let longest = longest(tokens.len());
        Query::new(tokens, longest)
    };
    parts
        .into_par_iter()
        .flat_map_iter(|(mut tokens, new)| {
            for id in tokens.iter_mut().flatten().filter(|id| **id >= base) {
                *id = new[(*id - base) as usize];
            }
            tokens.into_iter().map(query)
        })
        .collect()
}

/// Tokenized texts, numbered without a change to the vocabulary that other threads read too.
struct NumberedPart {
    /// An id from the base on is that of a new word, counted from there.
    tokens: Vec<Vec<u32>>,
    /// Words that the vocabulary does not have, in the order in which they come.
    new: Vec<String>,
}

impl NumberedPart {
    fn of<T: AsRef<str>>(known: &Vocabulary, base: u32, texts: &[T]) -> Self {
        let mut own = Vocabulary::new();
        let mut new = Vec::new();
        let mut number = |token: &str| match known.lookup(token) {
            UNKNOWN => {
                let id = own.add(token);
                if own.len() > new.len() {
                    new.push(token.to_owned());
                }
                base + id
            }
            id => id,
        };
        let tokens = texts
            .iter()
            .map(|text| Tokens::of(text.as_ref()).iter().map(&mut number).collect())
            .collect();
        Self { tokens, new }
    }
}
