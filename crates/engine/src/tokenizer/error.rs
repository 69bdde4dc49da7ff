//! What can be wrong with a tokenizer: [`TokenizerError`], a [`TokenizerProblem`] with the file it was found in.

use std::path::{Path, PathBuf};

use bioinstruct_core::diagnose::{Diagnose, FailureKind};

use crate::format::{FormatError, Problem};

/// A tokenizer that was refused, and why.
#[derive(Debug, thiserror::Error)]
#[error("tokenizer of {}: {problem}", path.display())]
pub struct TokenizerError {
    /// The file that was read.
    pub path: PathBuf,
    /// What is wrong with it.
    pub problem: TokenizerProblem,
}

impl TokenizerError {
    pub(crate) fn new(path: &Path, problem: TokenizerProblem) -> Self {
        Self { path: path.to_path_buf(), problem }
    }
}

impl From<FormatError> for TokenizerError {
    fn from(error: FormatError) -> Self {
        Self { path: error.path, problem: TokenizerProblem::Format(error.problem) }
    }
}

/// One broken rule of a tokenizer.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TokenizerProblem {
    /// The file itself is broken.
    #[error(transparent)]
    Format(#[from] Problem),
    /// Something that is needed is missing.
    #[error("{field} is missing")]
    Missing {
        /// Key or JSON field.
        field: String,
    },
    /// A tokenizer model that is not implemented.
    #[error(
        "tokenizer model {name:?} is not supported; supported: gpt2 (byte-level BPE), llama (SentencePiece BPE)"
    )]
    UnknownModel {
        /// Name in the file.
        name: String,
    },
    /// A GGUF pre-tokenizer that is not implemented.
    #[error("tokenizer.ggml.pre is {name:?}, which is not supported; supported: {supported}")]
    UnknownPre {
        /// Name in the file.
        name: String,
        /// The names that are.
        supported: &'static str,
    },
    /// A splitting pattern that is not in the list of known ones. Others are refused: a pattern can be made to run
    /// for hours, and one that fails half way gives wrong tokens without a word.
    #[error("the pre-tokenizer pattern {pattern:?} is not one of the known ones")]
    UnknownPattern {
        /// The pattern.
        pattern: String,
    },
    /// Something else that is not implemented, said in words.
    #[error("{what} is not supported")]
    Unsupported {
        /// What.
        what: String,
    },
    /// A count past the limit.
    #[error("has {count} {what}; at most {limit} are allowed")]
    TooMany {
        /// What is counted.
        what: &'static str,
        /// How many there are.
        count: usize,
        /// How many there may be.
        limit: usize,
    },
    /// Two lists that should go together have different lengths.
    #[error("has {got} {what} for {expected} tokens")]
    Lengths {
        /// What the other list holds.
        what: &'static str,
        /// The number of tokens.
        expected: usize,
        /// The length of the other list.
        got: usize,
    },
    /// A token without text.
    #[error("token {id} is empty")]
    EmptyToken {
        /// Its id.
        id: u32,
    },
    /// Two tokens with one text, or two texts with one id.
    #[error("token {text:?} has the ids {first} and {second}, or its id has another text")]
    TokenTwice {
        /// The text.
        text: String,
        /// The first id.
        first: u32,
        /// The second id.
        second: u32,
    },
    /// An id outside the vocabulary.
    #[error("{what} is {id}, outside the vocabulary of {size} tokens")]
    TokenId {
        /// What the id is for.
        what: String,
        /// The id.
        id: u64,
        /// Tokens in the vocabulary.
        size: usize,
    },
    /// A score that is not a number, or of unknown kind.
    #[error("token {id} has the {what} {found}")]
    TokenField {
        /// Its id.
        id: u32,
        /// Which field.
        what: &'static str,
        /// What was found.
        found: String,
    },
    /// A merge that is not a pair.
    #[error("merge {number} is not a pair of pieces: {found:?}")]
    MergeSyntax {
        /// Position in the list, from 0.
        number: usize,
        /// What was found.
        found: String,
    },
    /// A merge with a part or a result that is no token.
    #[error("merge {number} needs {piece:?}, which is not in the vocabulary")]
    MergePiece {
        /// Position in the list, from 0.
        number: usize,
        /// The piece.
        piece: String,
    },
    /// A merge whose result is longer than any token. (It would make the `tokenizers` crate panic.)
    #[error("merge {number} gives {length} bytes, longer than the longest token ({longest})")]
    MergeTooLong {
        /// Position in the list, from 0.
        number: usize,
        /// Bytes of the result.
        length: usize,
        /// Bytes of the longest token.
        longest: usize,
    },
    /// A pair that is merged twice: its rank would be ambiguous.
    #[error("merge {number} repeats an earlier one: {left:?} {right:?}")]
    MergeTwice {
        /// Position in the list, from 0.
        number: usize,
        /// Left piece.
        left: String,
        /// Right piece.
        right: String,
    },
    /// A SentencePiece vocabulary that can spell neither every byte nor the unknown.
    #[error(
        "has no token for the byte {byte:#04x} and no unknown token, so some text could not be encoded"
    )]
    ByteToken {
        /// The first byte without a token.
        byte: u8,
    },
}

impl Diagnose for TokenizerError {
    fn kind(&self) -> FailureKind {
        match &self.problem {
            TokenizerProblem::Format(Problem::Io(_)) => FailureKind::Io,
            _ => FailureKind::Data,
        }
    }

    fn hint(&self) -> Option<String> {
        matches!(
            self.problem,
            TokenizerProblem::UnknownModel { .. }
                | TokenizerProblem::UnknownPre { .. }
                | TokenizerProblem::UnknownPattern { .. }
                | TokenizerProblem::Unsupported { .. }
        )
        .then(|| {
            "take another model; an unknown tokenizer would give wrong tokens silently".to_string()
        })
    }
}
