//! Merge-based BPE: the merges are validated here, then run by the `tokenizers` crate. Main type: [`Bpe`].
//!
//! Reserved tokens (control, unknown, byte) never come out of a merge: whatever a merge list says, ordinary text
//! cannot spell a control token. Merges that would are left out.

use std::collections::{BTreeSet, HashMap};

use tokenizers::Model;
use tokenizers::models::bpe::{BPE, Vocab};

use super::error::TokenizerProblem;
use super::vocabulary::{Kind, RawToken, check_count};

const MAXIMUM_MERGES: usize = 1 << 20;

/// A merge list in order of rank.
pub(super) type Merges = Vec<(String, String)>;

/// Settings of the model beside its merges.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct BpeOptions {
    /// A word that is a token is taken whole, whatever the merges.
    pub(super) ignore_merges: bool,
    /// Characters without a token become `<0xNN>` tokens.
    pub(super) byte_fallback: bool,
    /// The token for characters that nothing covers; without one they are dropped.
    pub(super) unknown: Option<String>,
    /// Whether a run of such characters is one unknown token.
    pub(super) fuse_unknown: bool,
}

/// A validated BPE model.
#[derive(Debug)]
pub(super) struct Bpe {
    model: BPE,
    options: BpeOptions,
}

impl Bpe {
    pub(super) fn new(
        tokens: &[Option<RawToken>],
        merges: Merges,
        options: BpeOptions,
    ) -> Result<Self, TokenizerProblem> {
        let ids = ids_by_text(tokens)?;
        let merges = validated(merges, tokens, &ids)?;
        // what the crate may look up: ordinary tokens, and the reserved ones that it must be able to give
        let wanted = |text: &str, kind: Kind| match kind {
            Kind::Normal | Kind::Unused | Kind::UserDefined => true,
            Kind::Byte => options.byte_fallback,
            Kind::Unknown | Kind::Control => options.unknown.as_deref() == Some(text),
        };
        let vocabulary: Vocab = tokens
            .iter()
            .enumerate()
            .filter_map(|(id, token)| token.as_ref().map(|token| (id as u32, token)))
            .filter(|(_, token)| wanted(&token.text, token.kind))
            .map(|(id, token)| (token.text.clone(), id))
            .collect();
        let mut builder = BPE::builder()
            .vocab_and_merges(vocabulary, merges)
            .ignore_merges(options.ignore_merges)
            .byte_fallback(options.byte_fallback)
            .fuse_unk(options.fuse_unknown);
        if let Some(unknown) = &options.unknown {
            if !ids.contains_key(unknown.as_str()) {
                return Err(TokenizerProblem::Missing {
                    field: format!("the unknown token {unknown:?}"),
                });
            }
            builder = builder.unk_token(unknown.clone());
        }
        let model = builder.build().map_err(|error| TokenizerProblem::Unsupported {
            what: format!("this BPE model ({error})"),
        })?;
        Ok(Self { model, options })
    }

    /// The settings, for the tokenizer's identity.
    pub(super) fn options(&self) -> &BpeOptions {
        &self.options
    }

    /// Appends the ids of one word (in the vocabulary's spelling).
    pub(super) fn encode(&self, word: &str, ids: &mut Vec<u32>) {
        let tokens =
            self.model.tokenize(word).expect("fails only for an unknown token that is missing");
        ids.extend(tokens.iter().map(|token| token.id));
    }
}

/// Text → id, with two tokens of one text refused.
pub(super) fn ids_by_text(
    tokens: &[Option<RawToken>],
) -> Result<HashMap<&str, u32>, TokenizerProblem> {
    let mut ids = HashMap::with_capacity(tokens.len());
    for (id, token) in tokens.iter().enumerate() {
        let (Some(token), second) = (token, id as u32) else {
            continue;
        };
        if let Some(first) = ids.insert(token.text.as_str(), second) {
            return Err(TokenizerProblem::TokenTwice { text: token.text.clone(), first, second });
        }
    }
    Ok(ids)
}

/// The merges without those that touch a reserved token.
fn validated(
    merges: Merges,
    tokens: &[Option<RawToken>],
    ids: &HashMap<&str, u32>,
) -> Result<Merges, TokenizerProblem> {
    check_count("merges", merges.len(), MAXIMUM_MERGES)?;
    let longest = ids.keys().map(|text| text.len()).max().unwrap_or(0);
    let kind = |piece: &str| {
        ids.get(piece).and_then(|id| tokens[*id as usize].as_ref()).map(|token| token.kind)
    };
    let mut seen: BTreeSet<(u32, u32)> = BTreeSet::new();
    let mut kept = Vec::with_capacity(merges.len());
    for (number, (left, right)) in merges.into_iter().enumerate() {
        let length = left.len() + right.len();
        if length > longest {
            return Err(TokenizerProblem::MergeTooLong { number, length, longest });
        }
        let merged = format!("{left}{right}");
        let mut reserved = false;
        for piece in [&left, &right, &merged] {
            match kind(piece) {
                Some(kind) => reserved |= kind.is_reserved(),
                None => {
                    return Err(TokenizerProblem::MergePiece { number, piece: piece.clone() });
                }
            }
        }
        if !seen.insert((ids[left.as_str()], ids[right.as_str()])) {
            return Err(TokenizerProblem::MergeTwice { number, left, right });
        }
        if !reserved {
            kept.push((left, right));
        }
    }
    Ok(kept)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tokens(texts: &[(&str, Kind)]) -> Vec<Option<RawToken>> {
        texts
            .iter()
            .map(|(text, kind)| Some(RawToken { text: (*text).to_string(), kind: *kind }))
            .collect()
    }

    fn merges(pairs: &[(&str, &str)]) -> Merges {
        pairs.iter().map(|(left, right)| ((*left).to_string(), (*right).to_string())).collect()
    }

    fn letters() -> Vec<Option<RawToken>> {
        tokens(&[
            ("a", Kind::Normal),
            ("b", Kind::Normal),
            ("ab", Kind::Normal),
            ("<s", Kind::Normal),
            (">", Kind::Normal),
            ("<s>", Kind::Control),
        ])
    }

    #[test]
    fn merges_run_in_order_of_rank() {
        let bpe =
            Bpe::new(&letters(), merges(&[("a", "b")]), BpeOptions::default()).expect("valid");
        let mut ids = Vec::new();
        bpe.encode("aabb", &mut ids);
        assert_eq!(ids, [0, 2, 1]);
    }

    #[test]
    fn no_merge_spells_a_control_token() {
        let pairs = merges(&[("<s", ">")]);
        for ignore_merges in [false, true] {
            let options = BpeOptions { ignore_merges, ..BpeOptions::default() };
            let bpe = Bpe::new(&letters(), pairs.clone(), options).expect("valid");
            let mut ids = Vec::new();
            bpe.encode("<s>", &mut ids);
            assert!(!ids.contains(&5), "{ids:?}");
        }
    }

    #[test]
    fn broken_merges_are_refused() {
        let refuse = |pairs: &[(&str, &str)]| {
            Bpe::new(&letters(), merges(pairs), BpeOptions::default()).expect_err("broken")
        };
        // the case in which the crate's own builder indexes past its buffer
        let error = refuse(&[("ab", "ab")]);
        assert!(matches!(
            error,
            TokenizerProblem::MergeTooLong { number: 0, length: 4, longest: 3 }
        ));
        let error = refuse(&[("a", "b"), ("b", "a")]);
        assert!(
            matches!(error, TokenizerProblem::MergePiece { number: 1, piece } if piece == "ba")
        );
        assert!(matches!(refuse(&[("a", "x")]), TokenizerProblem::MergePiece { .. }));
        assert!(matches!(
            refuse(&[("a", "b"), ("a", "b")]),
            TokenizerProblem::MergeTwice { number: 1, .. }
        ));
        let twice = tokens(&[("a", Kind::Normal), ("a", Kind::Normal)]);
        let error = Bpe::new(&twice, Vec::new(), BpeOptions::default()).expect_err("twice");
        assert!(matches!(error, TokenizerProblem::TokenTwice { first: 0, second: 1, .. }));
    }
}
