//! Choosing the next token: [`Sampler`].
//!
//! The order is that of Hugging Face's `generate`: repetition penalty, temperature, top-k, top-p. The random number of a
//! token is named by the request's seed and the token's place in the reply, so it depends on nothing else that runs.

use std::cmp::Ordering;
use std::collections::BTreeSet;

use bioinstruct_core::model::Sampling;
use bioinstruct_core::random::Stream;

use super::likelihood::first_maximum;

/// How many candidates are sorted at first when top-p looks for its nucleus; it is seldom larger.
const FIRST_WINDOW: usize = 64;

/// Chooses the tokens of one reply.
#[derive(Debug, Clone)]
pub struct Sampler {
    sampling: Sampling,
    stream: Stream,
    seen: BTreeSet<u32>,
}

/// A token that may be drawn.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Candidate {
    id: u32,
    /// exp((logit − largest logit) / temperature).
    weight: f64,
}

impl Candidate {
    /// The heavier first, then the lower id.
    fn order(&self, other: &Self) -> Ordering {
        other.weight.total_cmp(&self.weight).then(self.id.cmp(&other.id))
    }
}

impl Sampler {
    /// For a reply to this prompt, whose tokens count as seen. The parameters must have passed [`Sampling::check`].
    pub fn new(sampling: &Sampling, prompt: &[u32]) -> Self {
        let mut sampler = Self {
            sampling: sampling.clone(),
            stream: Stream::new(sampling.seed, "sample"),
            seen: BTreeSet::new(),
        };
        for id in prompt {
            sampler.see(*id);
        }
        sampler
    }

    /// Counts a token of the reply as seen.
    pub fn see(&mut self, id: u32) {
        // A penalty of exactly 1 changes nothing, so there is nothing to remember.
        if self.sampling.repetition_penalty.to_bits() != 1.0f64.to_bits() {
            self.seen.insert(id);
        }
    }

    /// The token at place `step` of the reply; none when no logit is a number. The logits are used up. A token with
    /// logit −∞ is never chosen.
    pub fn choose(&self, logits: &mut [f32], step: u64) -> Option<u32> {
        self.penalise(logits);
        let best = first_maximum(logits)?;
        let largest = logits[best as usize];
        if self.sampling.temperature == 0.0 || largest == f32::INFINITY {
            return Some(best);
        }
        let mut candidates = self.candidates(logits, largest);
        if self.sampling.top_p < 1.0 {
            keep_nucleus(&mut candidates, self.sampling.top_p);
        }
        Some(draw(&candidates, self.stream.at(step).unit()).unwrap_or(best))
    }

    fn penalise(&self, logits: &mut [f32]) {
        let penalty = self.sampling.repetition_penalty as f32;
        for id in &self.seen {
            if let Some(logit) = logits.get_mut(*id as usize) {
                *logit = if *logit < 0.0 { *logit * penalty } else { *logit / penalty };
            }
        }
    }

    /// The top-k tokens in the order of their ids, with all that are as likely as the last of them.
    fn candidates(&self, logits: &[f32], largest: f32) -> Vec<Candidate> {
        let threshold = threshold(logits, self.sampling.top_k);
        (0u32..)
            .zip(logits)
            .filter(|(_, logit)| **logit >= threshold && **logit > f32::NEG_INFINITY)
            .map(|(id, logit)| {
                let distance = f64::from(*logit) - f64::from(largest);
                Candidate { id, weight: (distance / self.sampling.temperature).exp() }
            })
            .collect()
    }
}

/// The k-th largest logit; −∞ when all are kept.
fn threshold(logits: &[f32], top_k: usize) -> f32 {
    if top_k == 0 || top_k >= logits.len() {
        return f32::NEG_INFINITY;
    }
    let mut sorted: Vec<f32> = logits.iter().copied().filter(|logit| !logit.is_nan()).collect();
    if top_k >= sorted.len() {
        return f32::NEG_INFINITY;
    }
    let (_, kth, _) = sorted.select_nth_unstable_by(top_k - 1, |a, b| b.total_cmp(a));
    *kth
}

/// Keeps the smallest number of heaviest candidates that together have `share` of the weight; only as many are sorted
/// as are looked at.
fn keep_nucleus(candidates: &mut Vec<Candidate>, share: f64) {
    let total: f64 = candidates.iter().map(|candidate| candidate.weight).sum();
    let (mut sorted, mut window, mut weight) = (0, FIRST_WINDOW, 0.0);
    while sorted < candidates.len() {
        let end = (sorted + window).min(candidates.len());
        if end < candidates.len() {
            candidates[sorted..].select_nth_unstable_by(end - sorted - 1, Candidate::order);
        }
        candidates[sorted..end].sort_unstable_by(Candidate::order);
        for at in sorted..end {
            weight += candidates[at].weight;
            if weight >= share * total {
                candidates.truncate(at + 1);
                return;
            }
        }
        sorted = end;
        window *= 4;
    }
}

/// The candidate at `point` (0 ≤ point < 1) of the weight laid end to end; none when rounding leaves the point behind
/// the last one.
fn draw(candidates: &[Candidate], point: f64) -> Option<u32> {
    let total: f64 = candidates.iter().map(|candidate| candidate.weight).sum();
    let mut reached = 0.0;
    candidates
        .iter()
        .find(|candidate| {
            reached += candidate.weight;
            point * total < reached
        })
        .map(|candidate| candidate.id)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sampler(sampling: &Sampling) -> Sampler {
        sampling.check().unwrap();
        Sampler::new(sampling, &[])
    }

    /// How often each of the tokens comes up in many draws.
    fn shares(sampling: &Sampling, logits: &[f32]) -> Vec<f64> {
        let sampler = sampler(sampling);
        let mut counts = vec![0u32; logits.len()];
        for step in 0..20_000 {
            let id = sampler.choose(&mut logits.to_vec(), step).unwrap();
            counts[id as usize] += 1;
        }
        counts.iter().map(|count| f64::from(*count) / 20_000.0).collect()
    }

    #[test]
    fn temperature_zero_takes_the_first_maximum() {
        let greedy = sampler(&Sampling::default());
        assert_eq!(greedy.choose(&mut [0.5, 2.0, 2.0, f32::NAN], 0), Some(1));
        assert_eq!(greedy.choose(&mut [f32::NEG_INFINITY; 3], 0), None);
    }

    #[test]
    fn draws_follow_the_softmax() {
        let logits = [0.0f32, 1.0, f32::NEG_INFINITY, 2.0];
        for temperature in [0.7, 1.0, 1.6] {
            let weights: Vec<f64> =
                logits.iter().map(|logit| (f64::from(*logit) / temperature).exp()).collect();
            let total: f64 = weights.iter().sum();
            let found = shares(&Sampling { temperature, ..Sampling::default() }, &logits);
            for (found, weight) in found.iter().zip(&weights) {
                assert!((found - weight / total).abs() < 0.01, "{found} {}", weight / total);
            }
            assert!(found[2] == 0.0, "a forbidden token was drawn");
        }
    }

    #[test]
    fn top_k_keeps_the_largest_and_their_equals() {
        let logits = [1.0f32, 3.0, 2.0, 2.0, 0.0];
        let sampling = Sampling { temperature: 1.0, top_k: 2, ..Sampling::default() };
        let found = shares(&sampling, &logits);
        let total = 3.0f64.exp() + 2.0 * 2.0f64.exp();
        assert!((found[1] - 3.0f64.exp() / total).abs() < 0.01);
        assert!(found[2] > 0.1 && found[3] > 0.1 && found[0] == 0.0 && found[4] == 0.0);
    }

    #[test]
    fn top_p_keeps_the_smallest_sufficient_set() {
        // Probabilities 0.5, 0.3, 0.15, 0.05.
        let logits = [0.15f32.ln(), 0.5f32.ln(), 0.05f32.ln(), 0.3f32.ln()];
        let kept = |top_p: f64| -> Vec<bool> {
            let sampling = Sampling { temperature: 1.0, top_p, ..Sampling::default() };
            shares(&sampling, &logits).iter().map(|share| *share > 0.0).collect()
        };
        assert_eq!(kept(0.4), [false, true, false, false]);
        assert_eq!(kept(0.7), [false, true, false, true]);
        assert_eq!(kept(0.9), [true, true, false, true]);
        assert_eq!(kept(0.99), [true; 4]);
    }

    #[test]
    fn the_nucleus_is_that_of_a_full_sort() {
        let mut draws = Stream::new(3, "nucleus").at(0);
        for size in [1, 63, 64, 65, 500, 3000] {
            let candidates: Vec<Candidate> = (0..size)
                .map(|id| Candidate { id, weight: (draws.below(40) as f64 / 4.0).exp() })
                .collect();
            let mut sorted = candidates.clone();
            sorted.sort_by(Candidate::order);
            let total: f64 = candidates.iter().map(|candidate| candidate.weight).sum();
            for share in [0.01, 0.5, 0.9, 0.999_999] {
                let mut found = candidates.clone();
                keep_nucleus(&mut found, share);
                assert_eq!(found, sorted[..found.len()], "{size} {share}");
                let weight = |count: usize| -> f64 {
                    sorted[..count].iter().map(|candidate| candidate.weight).sum()
                };
                assert!(weight(found.len()) >= share * total * (1.0 - 1e-12));
                assert!(found.len() == 1 || weight(found.len() - 1) < share * total);
            }
        }
    }

    #[test]
    fn the_penalty_pushes_seen_tokens_down_on_either_side_of_zero() {
        let sampling = Sampling { repetition_penalty: 2.0, ..Sampling::default() };
        let mut sampler = Sampler::new(&sampling, &[0, 9]);
        assert_eq!(sampler.choose(&mut [3.0, 2.0, 1.0], 0), Some(1), "3 became 1.5");
        sampler.see(1);
        assert_eq!(sampler.choose(&mut [3.0, 2.0, 1.2], 0), Some(0));
        assert_eq!(sampler.choose(&mut [-1.0, -1.5, -1.9], 0), Some(2));
    }

    #[test]
    fn a_place_in_the_reply_names_its_random_number() {
        let logits = vec![0.0f32; 1000];
        let sampling = Sampling { temperature: 1.0, ..Sampling::default() };
        let first = sampler(&sampling);
        let again = sampler(&sampling);
        let other = sampler(&Sampling { seed: 1, ..sampling });
        let row = |sampler: &Sampler| -> Vec<Option<u32>> {
            (0..20).map(|step| sampler.choose(&mut logits.clone(), step)).collect()
        };
        assert_eq!(row(&first), row(&again));
        assert_ne!(row(&first), row(&other));
    }
}
