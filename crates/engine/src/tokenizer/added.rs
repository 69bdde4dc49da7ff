//! Finding added tokens in text: control tokens only when asked, user-defined ones always. Main type: [`AddedTokens`].

use regex::Regex;

use super::error::TokenizerProblem;

/// A token that is matched in the text before anything else.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct AddedToken {
    pub(super) text: String,
    pub(super) id: u32,
    /// Whether it is matched only when control tokens are asked for.
    pub(super) control: bool,
    /// Whether it takes the whitespace before it along.
    pub(super) strip_left: bool,
    /// Whether it takes the whitespace after it along.
    pub(super) strip_right: bool,
}

/// A part of a text.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Segment<'a> {
    /// Ordinary text, and where it starts.
    Text(usize, &'a str),
    /// An added token.
    Token(u32),
}

/// The added tokens of a tokenizer. Matches are leftmost, and the longest of those.
#[derive(Debug)]
pub(super) struct AddedTokens {
    /// Longest first.
    tokens: Vec<AddedToken>,
    /// Any token, control ones included; one capture-less alternative each, longest first.
    all: Option<Regex>,
    user_defined: Option<Regex>,
}

impl AddedTokens {
    pub(super) fn new(mut tokens: Vec<AddedToken>) -> Result<Self, TokenizerProblem> {
        tokens.sort_by(|left, right| {
            right.text.len().cmp(&left.text.len()).then_with(|| left.text.cmp(&right.text))
        });
        let all = alternatives(tokens.iter())?;
        let user_defined = alternatives(tokens.iter().filter(|token| !token.control))?;
        Ok(Self { tokens, all, user_defined })
    }

    /// Splits `text` at the added tokens; at control tokens only with `control`.
    pub(super) fn split<'a>(&self, text: &'a str, control: bool) -> Vec<Segment<'a>> {
        let mut segments = Vec::new();
        let mut done = 0;
        let pattern = if control { &self.all } else { &self.user_defined };
        for found in pattern.iter().flat_map(|pattern| pattern.find_iter(text)) {
            let Some(token) = self.tokens.iter().find(|token| token.text == found.as_str()) else {
                continue;
            };
            // whitespace that the token before took along is gone
            let (mut start, mut end) = (found.start().max(done), found.end());
            if token.strip_left {
                start = done + text[done..start].trim_end().len();
            }
            if token.strip_right {
                end = text.len() - text[end..].trim_start().len();
            }
            if start > done {
                segments.push(Segment::Text(done, &text[done..start]));
            }
            segments.push(Segment::Token(token.id));
            done = end;
        }
        if done < text.len() {
            segments.push(Segment::Text(done, &text[done..]));
        }
        segments
    }
}

fn alternatives<'a>(
    tokens: impl Iterator<Item = &'a AddedToken>,
) -> Result<Option<Regex>, TokenizerProblem> {
    let escaped: Vec<String> = tokens.map(|token| regex::escape(&token.text)).collect();
    if escaped.is_empty() {
        return Ok(None);
    }
    regex::RegexBuilder::new(&escaped.join("|")).size_limit(256 << 20).build().map(Some).map_err(
        |error| TokenizerProblem::Unsupported {
            what: format!("this set of added tokens ({error})"),
        },
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn token(text: &str, id: u32, control: bool) -> AddedToken {
        let text = text.to_string();
        AddedToken { text, id, control, strip_left: false, strip_right: false }
    }

    #[test]
    fn the_longest_of_the_leftmost_is_taken() {
        let tokens = vec![token("<a>", 1, true), token("<a><b>", 2, true), token("<b>", 3, false)];
        let added = AddedTokens::new(tokens).expect("valid");
        assert_eq!(
            added.split("x<a><b>y<a>", true),
            [Segment::Text(0, "x"), Segment::Token(2), Segment::Text(7, "y"), Segment::Token(1)]
        );
        assert_eq!(
            added.split("x<a><b>y", false),
            [Segment::Text(0, "x<a>"), Segment::Token(3), Segment::Text(7, "y")]
        );
        assert!(added.split("", true).is_empty());
    }

    #[test]
    fn whitespace_is_taken_along_where_declared() {
        let mut right = token("<r>", 1, true);
        right.strip_right = true;
        let mut left = token("<l>", 2, true);
        left.strip_left = true;
        let added = AddedTokens::new(vec![right, left]).expect("valid");
        assert_eq!(
            added.split("a <r> \n <l> b", true),
            [Segment::Text(0, "a "), Segment::Token(1), Segment::Token(2), Segment::Text(11, " b")]
        );
    }
}
