//! Which rows each step sees, and in which units they are computed: [`Plan`], a pure function of seed, lengths and
//! settings, so there is no state of a data loader to save.

use std::ops::Range;

use bioinstruct_core::random::Stream;

use super::config::{Order, TrainConfig};
use crate::error::EngineError;
use crate::model::batch::RowCount;

/// One row of one step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Draw {
    /// Place of the draw in the whole run: it names the row's noise, and the step's dropout.
    pub index: u64,
    /// Which example.
    pub row: usize,
}

/// Rows that share a part of each epoch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stratum {
    /// Which examples, ascending.
    pub rows: Vec<usize>,
    /// Draws of each epoch that are of these rows. Where there are as many as rows, an epoch has each row once; else the
    /// draws go through the rows again and again, on from where the last epoch ended, so that after each epoch no row
    /// was drawn two times more than another.
    pub draws: usize,
}

impl Stratum {
    /// All rows once in each epoch.
    pub fn all(count: usize) -> Self {
        Self { rows: (0..count).collect(), draws: count }
    }
}

/// The rows of every step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// All draws of the run, epoch after epoch.
    draws: Vec<Draw>,
    /// The draws of each step.
    steps: Vec<Range<usize>>,
    /// Draws of an epoch.
    rows: usize,
}

impl Plan {
    /// `lengths` are the examples' tokens.
    pub fn new(
        lengths: &[usize],
        strata: &[Stratum],
        config: &TrainConfig,
        seed: u64,
    ) -> Result<Self, EngineError> {
        let rows = strata.iter().map(|stratum| stratum.draws).sum();
        if rows == 0 || strata.iter().any(|stratum| stratum.rows.is_empty()) {
            let reason = "there is no row to train on".to_owned();
            return Err(EngineError::Setting { setting: "train.data", reason });
        }
        let mut plan = Self { draws: Vec::new(), steps: Vec::new(), rows };
        let epochs = Epochs { lengths, strata, order: config.order, seed };
        let total = (config.epochs * rows as f64).ceil() as usize;
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
            let end = plan.step_end(start, most, &epochs, config);
            plan.steps.push(start..end);
        }
    }

    /// As many draws as a step takes: a number of rows, or rows up to a number of tokens.
    fn step_end(
        &mut self,
        start: usize,
        most: usize,
        epochs: &Epochs<'_>,
        config: &TrainConfig,
    ) -> usize {
        let (mut end, mut tokens) = (start, 0);
        while end < most {
            self.draw_up_to(end, epochs);
            tokens += epochs.lengths[self.draws[end].row];
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

    /// Adds further epochs until draw `index` is there.
    fn draw_up_to(&mut self, index: usize, epochs: &Epochs<'_>) {
        while self.draws.len() <= index {
            let order = epochs.rows(self.draws.len() / self.rows);
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

    /// Passes over the data after so many steps.
    pub fn epoch_after(&self, steps: usize) -> f64 {
        let draws = steps.checked_sub(1).map_or(0, |last| self.steps[last].end);
        draws as f64 / self.rows as f64
    }
}

/// What decides the order of rows.
struct Epochs<'a> {
    lengths: &'a [usize],
    strata: &'a [Stratum],
    order: Order,
    seed: u64,
}

impl Epochs<'_> {
    /// The rows of one epoch in the order in which they are drawn.
    fn rows(&self, epoch: usize) -> Vec<usize> {
        let strata = self.strata.iter().enumerate();
        let mut drawn: Vec<(usize, usize)> =
            strata.flat_map(|(at, stratum)| self.of_stratum(at as u64, stratum, epoch)).collect();
        match self.order {
            Order::Shuffled => {
                Stream::new(self.seed, "shuffle").at(epoch as u64).shuffle(&mut drawn);
            }
            Order::AsGiven => drawn.sort_unstable(),
            Order::ShortestFirst => drawn.sort_by_key(|(_, row)| (self.lengths[*row], *row)),
        }
        drawn.into_iter().map(|(_, row)| row).collect()
    }

    /// The draws of one stratum in one epoch, each with the pass over the stratum's rows that it belongs to.
    fn of_stratum(&self, number: u64, stratum: &Stratum, epoch: usize) -> Vec<(usize, usize)> {
        if stratum.draws == 0 {
            return Vec::new();
        }
        let count = stratum.rows.len();
        let draws = epoch * stratum.draws..(epoch + 1) * stratum.draws;
        let once = stratum.draws == count || self.order == Order::AsGiven;
        let stream = Stream::new(self.seed, "mixture").fork(number);
        let mut found = Vec::with_capacity(stratum.draws);
        for pass in draws.start / count..=(draws.end - 1) / count {
            let mut rows = stratum.rows.clone();
            if !once {
                stream.at(pass as u64).shuffle(&mut rows);
            }
            let begin = pass * count;
            let from = draws.start.max(begin) - begin;
            let to = draws.end.min(begin + count) - begin;
            found.extend(rows[from..to].iter().map(|row| (pass - draws.start / count, *row)));
        }
        found
    }
}

/// Cuts items into stretches of at most `most` computed tokens each, or a single longer item; tokens that items begin with
/// count once where they are `shared`.
pub(super) fn units<'a, 'i, T>(
    items: &'a [T],
    ids: impl Fn(&'a T) -> &'i [u32],
    most: usize,
    shared: bool,
) -> Vec<&'a [T]> {
    let mut found = Vec::new();
    let (mut start, mut count) = (0, RowCount::default());
    for (at, item) in items.iter().enumerate() {
        if count.add(ids(item), shared) > most && at > start {
            found.push(&items[start..at]);
            (start, count) = (at, RowCount::default());
            count.add(ids(item), shared);
        }
    }
    if start < items.len() {
        found.push(&items[start..]);
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mixed(lengths: &[usize], strata: &[Stratum], config: &str) -> Plan {
        Plan::new(lengths, strata, &serde_json::from_str(config).unwrap(), 1).unwrap()
    }

    fn new(lengths: &[usize], config: &str) -> Plan {
        mixed(lengths, &[Stratum::all(lengths.len())], config)
    }

    fn rows(plan: &Plan) -> Vec<usize> {
        plan.draws.iter().map(|draw| draw.row).collect()
    }

    #[test]
    fn every_epoch_draws_every_row_once() {
        let plan = new(&[5; 10], r#"{"epochs": 2.5, "batch_rows": 4}"#);
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
        let plan = new(&lengths, r#"{"max_steps": 6, "batch_tokens": 60}"#);
        assert_eq!(plan.steps(), 6);
        for step in 0..6 {
            let tokens: usize = plan.draws(step).iter().map(|draw| lengths[draw.row]).sum();
            assert!(tokens <= 60 || plan.draws(step).len() == 1, "step {step}: {tokens}");
        }
    }

    #[test]
    fn units_cover_the_rows_in_order() {
        let cut = |items: &[Vec<u32>], most: usize, shared: bool| -> Vec<usize> {
            let found = units(items, |ids| ids, most, shared);
            assert_eq!(found.concat(), items);
            found.into_iter().map(<[Vec<u32>]>::len).collect()
        };
        let items = [3, 4, 9, 1, 1].map(|length| vec![0; length]);
        assert_eq!(cut(&items, 7, false), [2, 1, 2]);
        assert_eq!(cut(&items, 7, true), [2, 1, 2], "few tokens are not shared");
        assert!(cut(&[], 7, false).is_empty());
        // Twenty tokens in common, and ten of each item's own.
        let items = [100, 200, 300, 400, 500].map(|own| (0..20).chain(own..own + 10).collect());
        assert_eq!(cut(&items, 60, false), [2, 2, 1]);
        assert_eq!(cut(&items, 60, true), [4, 1]);
    }

    /// Ten rows of one file, of which an epoch draws four, and three of another, of which it draws nine.
    fn uneven() -> [Stratum; 2] {
        [
            Stratum { rows: (0..10).collect(), draws: 4 },
            Stratum { rows: (10..13).collect(), draws: 9 },
        ]
    }

    #[test]
    fn shares_hold_in_every_epoch_and_no_row_is_drawn_two_times_more_than_another() {
        for order in ["shuffled", "as-given", "shortest-first"] {
            let config = format!(r#"{{"epochs": 7, "batch_rows": 4, "order": "{order}"}}"#);
            let plan = mixed(&[5; 13], &uneven(), &config);
            let drawn = rows(&plan);
            let mut counts = [0; 13];
            for epoch in drawn.chunks(13) {
                if epoch.len() == 13 {
                    assert_eq!(epoch.iter().filter(|row| **row < 10).count(), 4, "{order}");
                }
                for row in epoch {
                    counts[*row] += 1;
                }
                for part in [&counts[..10], &counts[10..]] {
                    let (least, most) = (part.iter().min(), part.iter().max());
                    assert!(most.unwrap() - least.unwrap() <= 1, "{order}: {counts:?}");
                }
            }
        }
    }

    #[test]
    fn orders_are_what_they_are_called() {
        let plan = mixed(&[5; 13], &uneven(), r#"{"epochs": 2, "order": "as-given"}"#);
        assert_eq!(rows(&plan)[..13], [0, 1, 2, 3, 10, 11, 12, 10, 11, 12, 10, 11, 12]);
        assert_eq!(rows(&plan)[13..17], [4, 5, 6, 7]);
        let lengths = [30, 10, 50, 20, 90, 10];
        let plan = new(&lengths, r#"{"epochs": 2, "order": "shortest-first"}"#);
        assert_eq!(rows(&plan), [1, 5, 3, 0, 2, 4, 1, 5, 3, 0, 2, 4]);
    }

    /// The order of rows has no state: a plan made anew, as after a kill, draws the same, and its seed alone decides.
    #[test]
    fn the_order_is_a_function_of_the_seed() {
        let config: TrainConfig = serde_json::from_str(r#"{"epochs": 5}"#).unwrap();
        let plan = |seed| Plan::new(&[5; 13], &uneven(), &config, seed).unwrap();
        assert_eq!(plan(7), plan(7));
        assert_ne!(rows(&plan(7)), rows(&plan(8)));
    }
}
