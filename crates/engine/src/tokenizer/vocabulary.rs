//! The tokens of a tokenizer: bytes and kind of each id. Main type: [`Vocabulary`].

use super::error::TokenizerProblem;

/// What a token is for. Numbers are those of `tokenizer.ggml.token_type`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Kind {
    /// Ordinary text.
    Normal = 1,
    /// Stands for text that no token covers.
    Unknown = 2,
    /// Steers the model; never the result of ordinary text.
    Control = 3,
    /// Text added by the model's makers, matched before anything else.
    UserDefined = 4,
    /// An id without use.
    Unused = 5,
    /// One raw byte.
    Byte = 6,
}

impl Kind {
    /// The kind with this number.
    pub(super) fn from_number(number: i64) -> Option<Self> {
        Some(match number {
            1 => Self::Normal,
            2 => Self::Unknown,
            3 => Self::Control,
            4 => Self::UserDefined,
            5 => Self::Unused,
            6 => Self::Byte,
            _ => return None,
        })
    }

    /// Whether ordinary text may become such a token only through an added-token match or a byte, never by merging.
    pub(super) fn is_reserved(self) -> bool {
        matches!(self, Self::Control | Self::Unknown | Self::Byte)
    }
}

/// Tokens that a vocabulary may have, and bytes of one token.
pub(super) const MAXIMUM_TOKENS: usize = 1 << 20;
const MAXIMUM_TOKEN: usize = 1 << 14;

/// A token as its file gives it: its text there, and its kind. `None`: an id that the file leaves out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct RawToken {
    pub(super) text: String,
    pub(super) kind: Kind,
}

/// The bytes and kind of every id.
#[derive(Debug)]
pub(super) struct Vocabulary {
    bytes: Vec<u8>,
    /// Token `i` is `bytes[ends[i - 1]..ends[i]]`.
    ends: Vec<usize>,
    kinds: Vec<Kind>,
}

impl Vocabulary {
    /// `tokens[id]` as the file has it; `bytes` gives what a normal token stands for.
    pub(super) fn new(
        tokens: &[Option<RawToken>],
        bytes: impl Fn(&RawToken) -> Result<Vec<u8>, TokenizerProblem>,
    ) -> Result<Self, TokenizerProblem> {
        check_count("tokens", tokens.len(), MAXIMUM_TOKENS)?;
        let mut vocabulary =
            Self { bytes: Vec::new(), ends: Vec::with_capacity(tokens.len()), kinds: Vec::new() };
        for (id, token) in tokens.iter().enumerate() {
            if let Some(token) = token {
                if token.text.is_empty() {
                    return Err(TokenizerProblem::EmptyToken { id: id as u32 });
                }
                check_count("bytes in a token", token.text.len(), MAXIMUM_TOKEN)?;
                match token.kind {
                    Kind::Normal | Kind::Unused | Kind::Byte => {
                        vocabulary.bytes.extend(bytes(token)?);
                    }
                    Kind::Control | Kind::Unknown | Kind::UserDefined => {
                        vocabulary.bytes.extend(token.text.as_bytes());
                    }
                }
            }
            vocabulary.ends.push(vocabulary.bytes.len());
            vocabulary.kinds.push(token.as_ref().map_or(Kind::Unused, |token| token.kind));
        }
        Ok(vocabulary)
    }

    pub(super) fn len(&self) -> usize {
        self.ends.len()
    }

    /// What `id` stands for; empty for an id outside.
    pub(super) fn bytes(&self, id: u32) -> &[u8] {
        let id = id as usize;
        let Some(end) = self.ends.get(id) else {
            return &[];
        };
        let start = if id == 0 { 0 } else { self.ends[id - 1] };
        &self.bytes[start..*end]
    }

    pub(super) fn kind(&self, id: u32) -> Option<Kind> {
        self.kinds.get(id as usize).copied()
    }
}

pub(super) fn check_count(
    what: &'static str,
    count: usize,
    limit: usize,
) -> Result<(), TokenizerProblem> {
    if count > limit { Err(TokenizerProblem::TooMany { what, count, limit }) } else { Ok(()) }
}
