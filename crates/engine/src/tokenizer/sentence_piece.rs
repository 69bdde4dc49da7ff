//! SentencePiece-style BPE by scores, for GGUF vocabularies of model `llama`. Main type: [`SentencePiece`].
//!
//! The text is cut in characters; again and again the neighbours whose concatenation is the piece with the highest
//! score (the leftmost of equals) are joined, until none is a piece. What is no piece then is spelled in byte tokens.
//! As in SentencePiece itself, control, unknown and byte tokens are no pieces: text cannot spell them. (llama.cpp
//! looks all tokens up.)

use std::collections::{BinaryHeap, HashMap};

use super::error::TokenizerProblem;
use super::vocabulary::{Kind, RawToken};

/// What SentencePiece writes for a space.
pub(super) const SPACE: char = '\u{2581}';

/// A validated SentencePiece vocabulary.
#[derive(Debug)]
pub(super) struct SentencePiece {
    /// Piece → id and score.
    pieces: HashMap<String, (u32, f32)>,
    fallback: Fallback,
}

/// What becomes of a character that is no piece.
#[derive(Debug)]
enum Fallback {
    /// The token of each of its bytes.
    Bytes(Box<[u32; 256]>),
    /// The unknown token.
    Unknown(u32),
}

/// A part of the text, linked to its neighbours.
struct Symbol {
    start: usize,
    /// Zero once it has been joined to the one before.
    length: usize,
    previous: Option<usize>,
    next: Option<usize>,
}

/// Two neighbours that could be joined. Ordered by score, then leftmost first.
struct Join {
    score: f32,
    left: usize,
    right: usize,
    /// Length of both when this was found: when it differs now, one has changed.
    length: usize,
}

impl PartialEq for Join {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Join {}

impl PartialOrd for Join {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Join {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.score.total_cmp(&other.score).then_with(|| other.left.cmp(&self.left))
    }
}

impl SentencePiece {
    /// `scores[id]` belongs to `tokens[id]`.
    pub(super) fn new(
        tokens: &[Option<RawToken>],
        scores: &[f32],
    ) -> Result<Self, TokenizerProblem> {
        if scores.len() != tokens.len() {
            let (expected, got) = (tokens.len(), scores.len());
            return Err(TokenizerProblem::Lengths { what: "scores", expected, got });
        }
        let ids = super::bpe::ids_by_text(tokens)?;
        let mut pieces = HashMap::with_capacity(tokens.len());
        let mut unknown = None;
        for ((id, token), score) in (0u32..).zip(tokens).zip(scores) {
            let Some(token) = token else { continue };
            if !score.is_finite() {
                let found = score.to_string();
                return Err(TokenizerProblem::TokenField { id, what: "score", found });
            }
            match token.kind {
                Kind::Normal | Kind::UserDefined => {
                    pieces.insert(token.text.clone(), (id, *score));
                }
                Kind::Unknown => unknown = unknown.or(Some(id)),
                Kind::Control | Kind::Unused | Kind::Byte => {}
            }
        }
        let byte_token = |byte: u8| {
            let id = *ids.get(format!("<0x{byte:02X}>").as_str())?;
            let token = tokens[id as usize].as_ref()?;
            (token.kind == Kind::Byte).then_some(id)
        };
        let mut bytes = Box::new([0; 256]);
        let mut first_missing = None;
        for (byte, place) in (0u8..=255).zip(bytes.iter_mut()) {
            match byte_token(byte) {
                Some(id) => *place = id,
                None => first_missing = first_missing.or(Some(byte)),
            }
        }
        let fallback = match (first_missing, unknown) {
            (None, _) => Fallback::Bytes(bytes),
            (Some(_), Some(unknown)) => Fallback::Unknown(unknown),
            (Some(byte), None) => return Err(TokenizerProblem::ByteToken { byte }),
        };
        Ok(Self { pieces, fallback })
    }

    /// Appends the ids of `text`, in which spaces are already [`SPACE`].
    pub(super) fn encode(&self, text: &str, ids: &mut Vec<u32>) {
        let mut symbols: Vec<Symbol> = text
            .char_indices()
            .enumerate()
            .map(|(index, (start, character))| Symbol {
                start,
                length: character.len_utf8(),
                previous: index.checked_sub(1),
                next: Some(index + 1),
            })
            .collect();
        let Some(last) = symbols.last_mut() else {
            return;
        };
        last.next = None;
        let mut joins = BinaryHeap::new();
        for left in 0..symbols.len() {
            self.propose(text, &symbols, Some(left), symbols[left].next, &mut joins);
        }
        while let Some(join) = joins.pop() {
            let (left, right) = (join.left, join.right);
            let outdated = symbols[left].length == 0
                || symbols[right].length == 0
                || symbols[left].length + symbols[right].length != join.length;
            if outdated {
                continue;
            }
            symbols[left].length = join.length;
            symbols[right].length = 0;
            let next = symbols[right].next;
            symbols[left].next = next;
            if let Some(next) = next {
                symbols[next].previous = Some(left);
            }
            self.propose(text, &symbols, symbols[left].previous, Some(left), &mut joins);
            self.propose(text, &symbols, Some(left), next, &mut joins);
        }
        for symbol in symbols.iter().filter(|symbol| symbol.length > 0) {
            self.spell(&text[symbol.start..symbol.start + symbol.length], ids);
        }
    }

    /// Adds the join of two neighbours, when it gives a piece.
    fn propose(
        &self,
        text: &str,
        symbols: &[Symbol],
        left: Option<usize>,
        right: Option<usize>,
        joins: &mut BinaryHeap<Join>,
    ) {
        let (Some(left), Some(right)) = (left, right) else {
            return;
        };
        let length = symbols[left].length + symbols[right].length;
        let start = symbols[left].start;
        if let Some((_, score)) = self.pieces.get(&text[start..start + length]) {
            joins.push(Join { score: *score, left, right, length });
        }
    }

    /// The piece, or what stands for it.
    fn spell(&self, part: &str, ids: &mut Vec<u32>) {
        match (self.pieces.get(part), &self.fallback) {
            (Some((id, _)), _) => ids.push(*id),
            (None, Fallback::Bytes(tokens)) => {
                ids.extend(part.bytes().map(|byte| tokens[usize::from(byte)]));
            }
            (None, Fallback::Unknown(unknown)) => ids.push(*unknown),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn vocabulary() -> (Vec<Option<RawToken>>, Vec<f32>) {
        let mut tokens = vec![
            ("<unk>".to_string(), Kind::Unknown, 0.0),
            ("</s>".to_string(), Kind::Control, 0.0),
        ];
        tokens.extend((0..=255).map(|byte: u8| (format!("<0x{byte:02X}>"), Kind::Byte, 0.0)));
        let pieces = [
            ("a", -10.0),
            ("b", -11.0),
            ("ab", -1.0),
            ("ba", -2.0),
            ("aba", -3.0),
            ("</", -4.0),
            ("s>", -5.0),
            ("<", -6.0),
            ("/", -7.0),
            ("s", -8.0),
            (">", -9.0),
        ];
        tokens.extend(pieces.map(|(text, score)| (text.to_string(), Kind::Normal, score)));
        let scores = tokens.iter().map(|(_, _, score)| *score).collect();
        (tokens.into_iter().map(|(text, kind, _)| Some(RawToken { text, kind })).collect(), scores)
    }

    fn encode(text: &str) -> Vec<u32> {
        let (tokens, scores) = vocabulary();
        let mut ids = Vec::new();
        SentencePiece::new(&tokens, &scores).expect("valid").encode(text, &mut ids);
        ids
    }

    #[test]
    fn the_highest_score_is_joined_first() {
        let base = 258;
        assert_eq!(encode("ba"), [base + 3]);
        assert_eq!(encode("aba"), [base + 4], "ab, then ab+a");
        assert_eq!(encode("abab"), [base + 2, base + 2], "leftmost of equals first");
        assert!(encode("").is_empty());
    }

    #[test]
    fn bytes_spell_what_is_no_piece() {
        assert_eq!(encode("é"), [2 + 0xc3, 2 + 0xa9]);
    }

    #[test]
    fn text_cannot_spell_a_control_token() {
        let base = 258;
        assert_eq!(encode("</s>"), [base + 5, base + 6], "`</` and `s>` are not joined to id 1");
        assert!(!encode("<0x41>").contains(&(2 + 0x41)));
    }

    #[test]
    fn broken_vocabularies_are_refused() {
        let (tokens, mut scores) = vocabulary();
        scores[260] = f32::NAN;
        assert!(matches!(
            SentencePiece::new(&tokens, &scores),
            Err(TokenizerProblem::TokenField { what: "score", .. })
        ));
        assert!(matches!(
            SentencePiece::new(&tokens, &scores[1..]),
            Err(TokenizerProblem::Lengths { .. })
        ));
        let bare: Vec<_> = tokens[258..].to_vec();
        assert!(matches!(
            SentencePiece::new(&bare, &vec![0.0; bare.len()]),
            Err(TokenizerProblem::ByteToken { byte: 0 })
        ));
    }
}
