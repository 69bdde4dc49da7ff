//! A request to score, in token ids: [`Job`] and its [`Text`]s.

use std::collections::BTreeSet;

use bioinstruct_core::model::ContinuationScore;

use super::pair::Pair;
use crate::sample::Likelihoods;

/// A continuation as it is read: its context and all of it but the last token.
#[derive(Debug)]
pub(super) struct Text {
    pub(super) input: Vec<u32>,
    /// The continuation; its first token is predicted at the position `first`.
    targets: Vec<u32>,
    /// One per target so far: see [`Text::score_at`].
    pub(super) scored: Vec<(f64, bool)>,
}

impl Text {
    /// The position that predicts the first target.
    pub(super) fn first(&self) -> usize {
        self.input.len() - self.targets.len()
    }

    /// Log-likelihood of the target after a position, when there is one, and whether it is the most likely token.
    pub(super) fn score_at(&self, position: usize, row: &Likelihoods<'_>) -> Option<(f64, bool)> {
        let target = *self.targets.get(position.checked_sub(self.first())?)?;
        Some((row.of(target), row.best() == Some(target)))
    }

    /// The result, when every target has its score.
    pub(super) fn score(self) -> ContinuationScore {
        let token_loglikelihoods: Vec<f64> = self.scored.iter().map(|(value, _)| *value).collect();
        ContinuationScore {
            sum: token_loglikelihoods.iter().sum(),
            token_ids: self.targets,
            token_loglikelihoods,
            greedy: self.scored.iter().all(|(_, greedy)| *greedy),
        }
    }
}

/// A request in token ids.
#[derive(Debug)]
pub(super) struct Job {
    pub(super) id: String,
    pub(super) adapter: Option<String>,
    pub(super) texts: Vec<Text>,
    /// Tokens with which all texts begin.
    pub(super) shared: usize,
    pub(super) prompt_tokens: usize,
    pub(super) truncated_tokens: usize,
}

impl Job {
    /// A request of these pairs for a model that holds `most` tokens: what is too long is cut on the left, as
    /// lm-evaluation-harness does.
    ///
    /// # Errors
    /// Why it cannot be scored.
    pub(super) fn new(
        id: String,
        adapter: Option<String>,
        pairs: Vec<Pair>,
        most: usize,
    ) -> Result<Self, String> {
        let prompt_tokens = pairs.first().map_or(0, |pair| pair.context.len());
        let mut truncated_tokens = 0;
        let mut texts = Vec::with_capacity(pairs.len());
        for Pair { context: mut input, continuation: targets } in pairs {
            if targets.len() > most {
                return Err(format!(
                    "a continuation has {} tokens, and the model's context is {most}",
                    targets.len()
                ));
            }
            input.extend_from_slice(&targets[..targets.len() - 1]);
            let cut = input.len().saturating_sub(most);
            truncated_tokens = truncated_tokens.max(cut);
            input.drain(..cut);
            texts.push(Text { input, targets, scored: Vec::new() });
        }
        let shared = shared_beginning(&texts);
        Ok(Self { id, adapter, texts, shared, prompt_tokens, truncated_tokens })
    }

    /// Tokens that are read for it.
    pub(super) fn tokens(&self) -> usize {
        self.shared + self.texts.iter().map(|text| text.input.len() - self.shared).sum::<usize>()
    }

    /// The tokens of the shared beginning after which no token is scored.
    pub(super) fn unscored(&self) -> &[u32] {
        let end = self.shared_rows().first().copied().unwrap_or(self.shared);
        self.texts.first().map_or(&[], |text| &text.input[..end])
    }

    /// Positions of the shared beginning after which a token is scored.
    pub(super) fn shared_rows(&self) -> Vec<usize> {
        let rows: BTreeSet<usize> = self
            .texts
            .iter()
            .flat_map(|text| text.first()..text.input.len().min(self.shared))
            .collect();
        rows.into_iter().collect()
    }
}

/// Tokens with which all texts begin.
fn shared_beginning(texts: &[Text]) -> usize {
    let Some((first, others)) = texts.split_first() else {
        return 0;
    };
    let same = |text: &Text| {
        text.input.iter().zip(&first.input).take_while(|(own, first)| own == first).count()
    };
    others.iter().map(same).min().unwrap_or(first.input.len())
}
