//! What a run keeps an eye on: [`Watch`] knows the best evaluation so far, when training has gained nothing for too long, and
//! when it has gone astray. It is part of a checkpoint, so that a resumed run decides as the undisturbed one does.

use serde::{Deserialize, Serialize};

use super::config::TrainConfig;
use super::record::{DevRecord, StepRecord};
use crate::error::EngineError;

/// The evaluation with the lowest dev loss.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Best {
    /// After this step.
    pub step: usize,
    /// Its dev loss.
    pub dev_loss: f64,
}

/// What is known of the run so far.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Watch {
    /// The last step that was evaluated; zero is before the first.
    pub evaluated: Option<usize>,
    /// The dev loss before the first step.
    pub untuned: Option<f64>,
    /// The best evaluation after a step. That of the untuned base is none: an adapter that changes nothing is no result.
    pub best: Option<Best>,
    /// Evaluations since the best one.
    pub without_gain: usize,
    /// The last steps in a row whose loss was above the limit.
    pub high_losses: usize,
    /// The last steps in a row whose gradient norm was above the limit.
    pub high_norms: usize,
}

impl Watch {
    /// Takes note of an evaluation; true when it is the best so far. The first of two equal ones stays.
    pub fn evaluation(&mut self, record: &DevRecord) -> bool {
        self.evaluated = Some(record.step);
        if record.step == 0 {
            self.untuned = Some(record.dev_loss);
            return false;
        }
        let better = self.best.is_none_or(|best| record.dev_loss < best.dev_loss);
        if better {
            self.best = Some(Best { step: record.step, dev_loss: record.dev_loss });
            self.without_gain = 0;
        } else {
            self.without_gain += 1;
        }
        better
    }

    /// Takes note of a step. `rows` are the step's rows, for the error.
    ///
    /// # Errors
    /// The loss, or the norm of the unclipped gradient, was above its limit in `watchdog_steps` steps in a row.
    pub fn step(
        &mut self,
        config: &TrainConfig,
        record: &StepRecord,
        rows: &str,
    ) -> Result<(), EngineError> {
        let count = |count: usize, value: f64, most: f64| {
            if most > 0.0 && value > most { count + 1 } else { 0 }
        };
        self.high_losses = count(self.high_losses, record.loss, config.max_loss);
        self.high_norms = count(self.high_norms, record.grad_norm, config.max_unclipped_norm);
        for (what, setting, times, value, most) in [
            ("loss", "train.max_loss", self.high_losses, record.loss, config.max_loss),
            (
                "gradient norm",
                "train.max_unclipped_norm",
                self.high_norms,
                record.grad_norm,
                config.max_unclipped_norm,
            ),
        ] {
            if times >= config.watchdog_steps && times > 0 {
                let (step, rows) = (record.step, rows.to_owned());
                return Err(EngineError::Astray { what, setting, value, most, times, step, rows });
            }
        }
        Ok(())
    }

    /// Whether nothing was gained for as many evaluations as the user's patience lasts.
    pub fn is_patience_over(&self, config: &TrainConfig) -> bool {
        config.patience > 0 && self.without_gain >= config.patience
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn dev(step: usize, dev_loss: f64) -> DevRecord {
        DevRecord { step, epoch: 0.0, dev_loss, dev_label_tokens: 1 }
    }

    fn step(loss: f64, grad_norm: f64) -> StepRecord {
        StepRecord { step: 7, epoch: 0.0, loss, lr: 0.0, grad_norm, tokens: 1, label_tokens: 1 }
    }

    #[test]
    fn the_lowest_dev_loss_after_a_step_is_the_best() {
        let config = TrainConfig { patience: 2, ..TrainConfig::default() };
        let mut watch = Watch::default();
        let news: Vec<bool> = [(0, 1.0), (10, 3.0), (20, 2.0), (30, 2.0), (40, f64::NAN)]
            .map(|(step, loss)| watch.evaluation(&dev(step, loss)))
            .into();
        assert_eq!(news, [false, true, true, false, false]);
        assert_eq!(watch.best, Some(Best { step: 20, dev_loss: 2.0 }));
        assert_eq!((watch.untuned, watch.evaluated), (Some(1.0), Some(40)));
        assert!(watch.is_patience_over(&config));
        assert!(watch.evaluation(&dev(50, 1.5)));
        assert!(!watch.is_patience_over(&config));
        assert!(!Watch { without_gain: 9, ..watch }.is_patience_over(&TrainConfig::default()));
    }

    #[test]
    fn a_watchdog_bites_after_some_steps_in_a_row() {
        let config = TrainConfig {
            max_loss: 5.0,
            max_unclipped_norm: 10.0,
            watchdog_steps: 2,
            ..TrainConfig::default()
        };
        let mut watch = Watch::default();
        for (loss, norm) in [(6.0, 1.0), (1.0, 11.0), (6.0, 1.0), (5.0, 10.0), (4.0, 99.0)] {
            watch.step(&config, &step(loss, norm), "r").unwrap();
        }
        let error = watch.step(&config, &step(4.0, 11.0), "row 9").unwrap_err().to_string();
        assert!(error.contains("gradient norm") && error.contains("row 9"), "{error}");
        assert!(error.contains("train.max_unclipped_norm"), "{error}");
        let off = TrainConfig::default();
        for _ in 0..9 {
            watch.step(&off, &step(1e9, 1e9), "r").unwrap();
        }
    }
}
