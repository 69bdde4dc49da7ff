//! Training on the terminal: [`Told`] shows the smoothed loss with its curve so far, dev loss, speed and time left.

use bioinstruct_engine::train::record::Record;
use bioinstruct_engine::train::{Outcome, Progress};

use crate::console::{Bar, Console, counted};

/// Letters of a curve.
const CURVE: usize = 16;

/// Puts the records on the terminal.
pub(super) struct Told<'a> {
    console: &'a Console,
    bar: Option<Bar>,
    /// A smooth value is easier to read than each step's own.
    smooth: Vec<f64>,
    dev: Vec<f64>,
}

impl<'a> Told<'a> {
    pub(super) fn new(console: &'a Console) -> Self {
        Self { console, bar: None, smooth: Vec::new(), dev: Vec::new() }
    }

    pub(super) fn take(&mut self, Progress { record, steps, tokens_per_second }: Progress<'_>) {
        let bar = self.bar.get_or_insert_with(|| self.console.bar("train", steps as u64, "steps"));
        match record {
            Record::Step(step) => {
                let before = self.smooth.last().copied();
                let loss = before.map_or(step.loss, |before| 0.9 * before + 0.1 * step.loss);
                self.smooth.push(loss);
                let dev = self.dev.last().map_or(String::new(), |loss| format!("  dev {loss:.3}"));
                let curve = sparkline(&self.smooth, CURVE);
                let remark =
                    format!("loss {loss:.3} {curve}{dev}  {tokens_per_second:.0} tokens/s");
                bar.update(step.step as u64, remark);
            }
            Record::Dev(record) => {
                self.dev.push(record.dev_loss);
                bar.update(record.step as u64, format!("dev loss {:.3}", record.dev_loss));
            }
        }
    }

    pub(super) fn finish(self, outcome: &Outcome) {
        let dev = match (self.dev.first(), self.dev.last()) {
            (Some(first), Some(last)) if self.dev.len() > 1 => {
                format!(", dev loss {first:.3} -> {last:.3}")
            }
            _ => String::new(),
        };
        let rate = outcome.tokens as f64 / outcome.seconds.max(1e-9);
        let rate = if outcome.tokens > 0 { format!(", {rate:.0} tokens/s") } else { String::new() };
        let line = format!("{}{dev}{rate}", counted(outcome.steps as u64, "step"));
        match self.bar {
            Some(bar) => bar.finish(&line),
            None => self.console.say(&format!("train: {line}")),
        }
    }
}

/// A curve in at most `most` letters: each stands for the mean of as many values, between the lowest and the highest mean.
fn sparkline(values: &[f64], most: usize) -> String {
    const LEVELS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
    let count = values.len().min(most);
    let mean = |at: usize| {
        let part = &values[at * values.len() / count..(at + 1) * values.len() / count];
        part.iter().sum::<f64>() / part.len() as f64
    };
    let means: Vec<f64> = (0..count).map(mean).collect();
    let low = means.iter().copied().fold(f64::INFINITY, f64::min);
    let high = means.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let level = |mean: &f64| {
        let share = if high > low { (mean - low) / (high - low) } else { 0.0 };
        LEVELS[((share * 7.0).round() as usize).min(7)]
    };
    means.iter().map(level).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_curve_has_few_letters() {
        assert_eq!(sparkline(&[], 4), "");
        assert_eq!(sparkline(&[2.0], 4), "▁");
        assert_eq!(sparkline(&[8.0, 1.0], 4), "█▁");
        let falling: Vec<f64> = (0..100).map(|step| 100.0 - f64::from(step)).collect();
        assert_eq!(sparkline(&falling, 8), "█▇▆▅▄▃▂▁");
        assert_eq!(sparkline(&[3.0; 50], 5), "▁▁▁▁▁");
    }
}
