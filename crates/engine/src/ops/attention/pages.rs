//! [`Pages`]: keys or values of tokens that follow one another, in one stretch of memory or in several.

use std::ops::Range;

use super::forward::KEYS;

/// Tokens of a page: whole blocks of keys, none of which crosses a border.
pub const PAGE_TOKENS: usize = KEYS;

/// Keys or values of a sequence, one token's row after the other.
#[derive(Debug, Clone)]
pub struct Pages<'a> {
    parts: Vec<&'a [f32]>,
    /// Tokens of each part but the last.
    tokens: usize,
}

impl<'a> Pages<'a> {
    /// Rows that lie in one stretch.
    pub fn whole(values: &'a [f32]) -> Self {
        Self { parts: vec![values], tokens: usize::MAX }
    }

    /// Rows that lie in pages of [`PAGE_TOKENS`], of which the last may have fewer.
    pub fn new(parts: Vec<&'a [f32]>) -> Self {
        Self { parts, tokens: PAGE_TOKENS }
    }

    /// The stretches; each but the last has an even number of rows.
    pub(super) fn parts(&self) -> &[&'a [f32]] {
        &self.parts
    }

    /// Rows of `width` values from that of `token` on, as many as lie in one stretch.
    pub(super) fn at_token(&self, token: usize, width: usize) -> &'a [f32] {
        &self.parts[token / self.tokens][token % self.tokens * width..]
    }

    /// The rows of these tokens, stretch by stretch.
    pub(super) fn stretches(
        &self,
        tokens: Range<usize>,
        width: usize,
    ) -> impl Iterator<Item = &'a [f32]> {
        let mut rest = tokens;
        std::iter::from_fn(move || {
            let rows = (!rest.is_empty()).then(|| self.at_token(rest.start, width))?;
            let rows = &rows[..rows.len().min(rest.len() * width)];
            rest.start += rows.len() / width;
            Some(rows)
        })
    }
}
