//! [`KeyRows`]: keys or values of a sequence, as they lie in memory.

use super::Heads;
use super::forward::KEYS;

/// Tokens of a page: a whole block of keys, so that no block crosses a border.
pub const PAGE_TOKENS: usize = KEYS;

/// Keys or values of tokens that follow one another.
#[derive(Debug, Clone)]
pub enum KeyRows<'a> {
    /// (tokens, key-value width), as projections give them.
    Together(&'a [f32]),
    /// Pages of (key-value heads, [`PAGE_TOKENS`], head size): what a head reads of a page is one stretch, which decoding waits
    /// for. Rows of the last page may be without meaning.
    Paged(Vec<&'a [f32]>),
}

impl<'a> KeyRows<'a> {
    /// The rows of one head from this token on, as many as lie evenly, and their distance.
    pub(super) fn of_head(&self, heads: Heads, head: usize, token: usize) -> (&'a [f32], usize) {
        let size = heads.size;
        match self {
            Self::Together(values) => {
                let width = heads.key_value_width();
                (&values[token * width + head * size..], width)
            }
            Self::Paged(pages) => {
                let rows = head * PAGE_TOKENS..(head + 1) * PAGE_TOKENS;
                let page = &pages[token / PAGE_TOKENS][rows.start * size..rows.end * size];
                (&page[token % PAGE_TOKENS * size..], size)
            }
        }
    }

    /// One token's values of one head.
    pub(super) fn row(&self, heads: Heads, head: usize, token: usize) -> &'a [f32] {
        &self.of_head(heads, head, token).0[..heads.size]
    }
}
