//! Which rows each step sees, and in which units they are computed: [`Plan`], a pure function of seed, lengths and
//! settings, so there is no state of a data loader to save.

use std::ops::Range;

use bioinstruct_core::random::Stream;

use super::config::TrainConfig;
use crate::error::EngineError;

/// One row of one step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Draw {
    /// Place of the draw in the whole run: it names the row's dropout.
    pub index: u64,
    /// Which example.
    pub row: usize,
}

/// The rows of every step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// All draws of the run, epoch after epoch.
    draws: Vec<Draw>,
    /// The draws of each step.
    steps: Vec<Range<usize>>,
    /// Examples in an epoch.
    rows: usize,
}

impl Plan {
    /// `lengths` are the examples' tokens.
    pub fn new(lengths: &[usize], config: &TrainConfig, seed: u64) -> Result<Self, EngineError> {
        if lengths.is_empty() {
            let reason = "there is no row to train on".to_owned();
            return Err(EngineError::Setting { setting: "train.data", reason });
        }
        let mut plan = Self { draws: Vec::new(), steps: Vec::new(), rows: lengths.len() };
        let total = (config.epochs * lengths.len() as f64).ceil() as usize;
        loop {
            let start = plan.steps.last().map_or(0, |last| last.end);
            let enough = if config.max_steps > 0 {
                plan.steps.len() >= config.max_steps
            } else {
                start >= total
            };
            if enough {
                return Ok(plan);
            }
            let most = if config.max_steps > 0 { usize::MAX } else { total };
            let end = plan.step_end(start, most, lengths, config, seed);
            plan.steps.push(start..end);
        }
    }

    /// As many draws as a step takes: a number of rows, or rows up to a number of tokens.
    fn step_end(
        &mut self,
        start: usize,
        most: usize,
        lengths: &[usize],
        config: &TrainConfig,
        seed: u64,
    ) -> usize {
        let (mut end, mut tokens) = (start, 0);
        while end < most {
            self.draw_up_to(end, seed);
            tokens += lengths[self.draws[end].row];
            let full = if config.batch_tokens > 0 {
                end > start && tokens > config.batch_tokens
            } else {
                end - start >= config.batch_rows
            };
            if full {
                break;
            }
            end += 1;
        }
        end
    }

    /// Shuffles further epochs until draw `index` is there.
    fn draw_up_to(&mut self, index: usize, seed: u64) {
        while self.draws.len() <= index {
            let epoch = self.draws.len() / self.rows;
            let mut order: Vec<usize> = (0..self.rows).collect();
            Stream::new(seed, "shuffle").at(epoch as u64).shuffle(&mut order);
            let first = self.draws.len() as u64;
            self.draws.extend(
                order
                    .into_iter()
                    .enumerate()
                    .map(|(at, row)| Draw { index: first + at as u64, row }),
            );
        }
    }

    /// How many steps there are.
    pub fn steps(&self) -> usize {
        self.steps.len()
    }

    /// The rows of one step.
    pub fn draws(&self, step: usize) -> &[Draw] {
        &self.draws[self.steps[step].clone()]
    }

    /// Passes over the data after this step is done.
    pub fn epoch_after(&self, step: usize) -> f64 {
        self.steps[step].end as f64 / self.rows as f64
    }

    /// The rows of one step in units of consecutive rows, each of about `unit_tokens` tokens.
    pub fn units(&self, step: usize, lengths: &[usize], unit_tokens: usize) -> Vec<&[Draw]> {
        units(self.draws(step), |draw| lengths[draw.row], unit_tokens)
    }
}

/// Cuts items into stretches that hold at most `most` tokens each, or a single longer item.
pub fn units<T>(items: &[T], tokens: impl Fn(&T) -> usize, most: usize) -> Vec<&[T]> {
    let mut found = Vec::new();
    let (mut start, mut sum) = (0, 0);
    for (at, item) in items.iter().enumerate() {
        let count = tokens(item);
        if at > start && sum + count > most {
            found.push(&items[start..at]);
            (start, sum) = (at, 0);
        }
        sum += count;
    }
    if start < items.len() {
        found.push(&items[start..]);
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(text: &str) -> TrainConfig {
        toml_like(text)
    }

    fn toml_like(text: &str) -> TrainConfig {
        serde_json::from_str(text).unwrap()
    }

    #[test]
    fn every_epoch_draws_every_row_once() {
        let plan = Plan::new(&[5; 10], &config(r#"{"epochs": 2.5, "batch_rows": 4}"#), 1).unwrap();
        assert_eq!(plan.steps(), 7);
        assert_eq!((0..7).map(|step| plan.draws(step).len()).sum::<usize>(), 25);
        for epoch in 0..2 {
            let mut rows: Vec<usize> =
                plan.draws[epoch * 10..(epoch + 1) * 10].iter().map(|draw| draw.row).collect();
            rows.sort_unstable();
            assert_eq!(rows, (0..10).collect::<Vec<_>>());
        }
        assert_ne!(
            plan.draws[..10].iter().map(|d| d.row).collect::<Vec<_>>(),
            (0..10).collect::<Vec<_>>()
        );
    }

    #[test]
    fn token_budgets_are_kept_and_steps_counted() {
        let lengths = [30, 10, 50, 20, 90];
        let plan =
            Plan::new(&lengths, &config(r#"{"max_steps": 6, "batch_tokens": 60}"#), 1).unwrap();
        assert_eq!(plan.steps(), 6);
        for step in 0..6 {
            let tokens: usize = plan.draws(step).iter().map(|draw| lengths[draw.row]).sum();
            assert!(tokens <= 60 || plan.draws(step).len() == 1, "step {step}: {tokens}");
        }
    }

    #[test]
    fn units_cover_the_rows_in_order() {
        assert_eq!(units(&[3, 4, 9, 1, 1], |n| *n, 7), vec![&[3, 4][..], &[9], &[1, 1]]);
        assert!(units(&[] as &[usize], |n| *n, 7).is_empty());
    }
}
