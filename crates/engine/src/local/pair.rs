//! Cutting a context and its continuation into token ids as lm-evaluation-harness does: [`Pair::of_text`].

use super::encode::leading_bos;
use crate::tokenizer::Tokenizer;

/// What stands before, and what is scored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Pair {
    pub(super) context: Vec<u32>,
    /// At least one token.
    pub(super) continuation: Vec<u32>,
}

impl Pair {
    /// The harness's rule for plain text (`_encode_pair`): white space at the end of the context moves to the continuation;
    /// both are tokenized together, and the continuation is what the whole has beyond the *number* of tokens that the
    /// context has alone. Without a context (or with one of white space only, where the harness stops), the context is
    /// the beginning-of-text token, or the end-of-text token of a model that has no other.
    ///
    /// # Errors
    /// Why the pair cannot be scored.
    pub(super) fn of_text(
        tokenizer: &Tokenizer,
        context: &str,
        continuation: &str,
    ) -> Result<Self, String> {
        let (context, space) = context.split_at(context.trim_end_matches(is_python_space).len());
        let encode = |text: &str| {
            let mut ids = tokenizer.encode_text(text);
            if let Some(bos) = leading_bos(tokenizer, ids.first().copied()) {
                ids.insert(0, bos);
            }
            ids
        };
        let mut head = if context.is_empty() { Vec::new() } else { encode(context) };
        let tail = if context.is_empty() {
            tokenizer.encode_text(&format!("{space}{continuation}"))
        } else {
            let whole = encode(&format!("{context}{space}{continuation}"));
            whole.get(head.len()..).unwrap_or_default().to_vec()
        };
        if head.is_empty() {
            let prefix = tokenizer.bos().or(tokenizer.eos());
            head.push(
                prefix
                    .ok_or("there is no context, and the model has no token that begins a text")?,
            );
        }
        Self::new(head, tail, continuation)
    }

    /// A context and a continuation that were tokenized apart: the beginning of an answer.
    ///
    /// # Errors
    /// Why the pair cannot be scored.
    pub(super) fn of_answer(
        tokenizer: &Tokenizer,
        context: &[u32],
        continuation: &str,
    ) -> Result<Self, String> {
        if context.is_empty() {
            return Err("the prompt is empty".to_owned());
        }
        Self::new(context.to_vec(), tokenizer.encode_text(continuation), continuation)
    }

    fn new(context: Vec<u32>, continuation: Vec<u32>, text: &str) -> Result<Self, String> {
        if continuation.is_empty() {
            return Err(format!(
                "the continuation {text:?} has no token of its own after this context"
            ));
        }
        Ok(Self { context, continuation })
    }
}

/// What Python's `str.rstrip` takes off: Unicode's white space and four separators of ASCII.
fn is_python_space(character: char) -> bool {
    character.is_whitespace() || ('\u{1c}'..='\u{1f}').contains(&character)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    fn tokenizer() -> Tokenizer {
        let path = Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("../../tests/fixtures/tiny-llama/tokenizer.json");
        Tokenizer::from_file(&path).unwrap()
    }

    #[test]
    fn space_moves_to_the_continuation() {
        let tokenizer = tokenizer();
        for space in [" ", "\n ", "\u{a0}", "\u{1f}", "\u{2003}\t"] {
            let pair = Pair::of_text(&tokenizer, &format!("The heart{space}"), "pumps").unwrap();
            assert_eq!(pair.context, tokenizer.encode_text("The heart"));
            let whole = tokenizer.encode_text(&format!("The heart{space}pumps"));
            assert_eq!([pair.context, pair.continuation].concat(), whole, "{space:?}");
        }
    }

    #[test]
    fn nothing_before_is_the_token_that_begins_a_text() {
        let tokenizer = tokenizer();
        let pair = Pair::of_text(&tokenizer, "", "pumps").unwrap();
        assert_eq!(pair.context, [tokenizer.bos().unwrap()]);
        assert_eq!(pair.continuation, tokenizer.encode_text("pumps"));
        let pair = Pair::of_text(&tokenizer, " \n", "pumps").unwrap();
        assert_eq!(pair.context, [tokenizer.bos().unwrap()]);
        assert_eq!(pair.continuation, tokenizer.encode_text(" \npumps"));
    }

    #[test]
    fn a_continuation_without_a_token_is_refused() {
        let tokenizer = tokenizer();
        assert!(Pair::of_text(&tokenizer, "The heart", "").unwrap_err().contains("no token"));
        // A boundary inside a token: the whole has no more tokens than the context alone.
        let text = "patient";
        let (whole, mut cut) = (tokenizer.encode_text(text).len(), 0);
        for at in 1..text.len() {
            if tokenizer.encode_text(&text[..at]).len() >= whole {
                cut = at;
            }
        }
        assert!(cut > 0, "the fixture's vocabulary joins no letters of {text}");
        assert!(Pair::of_text(&tokenizer, &text[..cut], &text[cut..]).is_err());
        assert!(Pair::of_answer(&tokenizer, &[5], "").is_err());
        assert!(Pair::of_answer(&tokenizer, &[], "x").is_err());
    }
}
