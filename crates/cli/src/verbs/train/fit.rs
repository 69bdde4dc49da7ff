//! Whether a run fits into memory: [`Fit`] compares what is planned with what is free, and looks for the nearest settings that
//! would fit where these do not.

use bioinstruct_engine::format::ModelFile;
use bioinstruct_engine::kernels::KernelPath;
use bioinstruct_engine::model::training::Activations;
use bioinstruct_engine::train::config::TrainConfig;
use bioinstruct_engine::train::example::Example;
use bioinstruct_engine::train::memory::{Demand, MemoryPlan};
use bioinstruct_engine::train::plan::{Plan, Stratum};

use crate::config::{Config, Recompute};
use crate::failure;
use crate::memory::{available_bytes, resident_bytes};

/// What is planned and what is free.
#[derive(Debug)]
pub(crate) struct Fit {
    /// What the rows ask for.
    pub(crate) demand: Demand,
    /// What a step keeps of its forward.
    pub(crate) activations: Activations,
    /// The run's own buffers.
    pub(crate) memory: MemoryPlan,
    /// What this process holds before: program, tokenizer, rows.
    pub(crate) before: u64,
    /// What it may take beside that; none where the system does not tell and the user does not limit it.
    pub(crate) available: Option<u64>,
}

/// The rows of a run, in tokens.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Rows<'a> {
    /// To learn from.
    pub(crate) learned: &'a [Example],
    /// How often which of them are drawn.
    pub(crate) strata: &'a [Stratum],
    /// To watch.
    pub(crate) watched: &'a [Example],
}

impl Fit {
    /// For these settings and rows.
    pub(crate) fn new(file: &ModelFile, config: &Config, rows: Rows<'_>) -> anyhow::Result<Self> {
        let before = resident_bytes().unwrap_or(0);
        let limit = (config.memory_limit > 0)
            .then(|| ((config.memory_limit as u64) << 20).saturating_sub(before));
        let available = [limit, available_bytes()].into_iter().flatten().min();
        let most = match config.recompute {
            Recompute::Always => Activations::Recomputed,
            Recompute::Auto | Recompute::Never => Activations::Kept,
        };
        let (demand, memory) = planned(file, config, rows, most)?;
        let fit = Self { demand, activations: most, memory, before, available };
        if fit.fits() || config.recompute == Recompute::Never {
            return Ok(fit);
        }
        let activations = Activations::Recomputed;
        let (_, memory) = planned(file, config, rows, activations)?;
        Ok(Self { activations, memory, ..fit })
    }

    /// The most bytes that the process will hold.
    pub(crate) fn peak(&self) -> u64 {
        self.before + self.memory.peak() as u64
    }

    /// Whether the machine has as much.
    pub(crate) fn fits(&self) -> bool {
        self.holds(&self.memory)
    }

    fn holds(&self, memory: &MemoryPlan) -> bool {
        self.available.is_none_or(|available| memory.peak() as u64 <= available)
    }

    /// The nearest settings under which it would fit, as one would type them, and the peak.
    pub(crate) fn nearest(
        &self,
        file: &ModelFile,
        config: &Config,
        rows: Rows<'_>,
    ) -> anyhow::Result<Option<(String, u64)>> {
        for change in changes(config) {
            let fits = |row: &&Example| change.cutoff == 0 || row.ids.len() <= change.cutoff;
            let strata = short_strata(rows, |row| fits(&&rows.learned[row]));
            if strata.is_empty() {
                continue;
            }
            let watched: Vec<Example> = rows.watched.iter().filter(fits).cloned().collect();
            let mut config = config.clone();
            change.apply(&mut config);
            let rows = Rows { learned: rows.learned, strata: &strata, watched: &watched };
            let activations =
                if change.recompute { Activations::Recomputed } else { self.activations };
            let (_, memory) = planned(file, &config, rows, activations)?;
            if self.holds(&memory) {
                return Ok(Some((change.flags(), self.before + memory.peak() as u64)));
            }
        }
        Ok(None)
    }

    /// An error with the numbers and the nearest settings, where it does not fit.
    pub(crate) fn check(
        &self,
        file: &ModelFile,
        config: &Config,
        rows: Rows<'_>,
    ) -> anyhow::Result<()> {
        let Some(available) = self.available.filter(|_| !self.fits()) else {
            return Ok(());
        };
        let mut parts = self.memory.parts.clone();
        parts.sort_by_key(|part| std::cmp::Reverse(part.bytes));
        let largest: Vec<String> = parts
            .iter()
            .take(2)
            .map(|part| format!("{} {}", part.name, megabytes(part.bytes as u64)))
            .collect();
        let message = format!(
            "training needs {} of memory and {} are available ({})",
            megabytes(self.peak()),
            megabytes(self.before + available),
            largest.join(", ")
        );
        let hint = match self.nearest(file, config, rows)? {
            Some((flags, peak)) => {
                format!("with `{flags}` it would need {}", megabytes(peak))
            }
            None => format!(
                "no smaller setting makes it fit: the weights alone need {}",
                megabytes(self.memory.weight_bytes as u64)
            ),
        };
        Err(failure::too_large(message, hint))
    }
}

/// The rows that stay under a cutoff; a stratum of which none stays is left out.
fn short_strata(rows: Rows<'_>, stays: impl Fn(usize) -> bool) -> Vec<Stratum> {
    let short = |stratum: &Stratum| {
        let whole = stratum.draws == stratum.rows.len();
        let rows: Vec<usize> = stratum.rows.iter().copied().filter(|row| stays(*row)).collect();
        Stratum { draws: if whole { rows.len() } else { stratum.draws }, rows }
    };
    rows.strata.iter().map(short).filter(|stratum| !stratum.rows.is_empty()).collect()
}

fn planned(
    file: &ModelFile,
    config: &Config,
    rows: Rows<'_>,
    activations: Activations,
) -> anyhow::Result<(Demand, MemoryPlan)> {
    let lengths: Vec<usize> = rows.learned.iter().map(|row| row.ids.len()).collect();
    let plan = Plan::new(&lengths, rows.strata, &config.train, config.seed)?;
    let demand = Demand::of(&plan, rows.learned, rows.watched, &config.train);
    let (precision, path) = (config.precision()?, KernelPath::choose()?);
    let memory = MemoryPlan::new(file, &config.train, precision, &demand, (path, activations))?;
    Ok((demand, memory))
}

/// Settings that make a run smaller.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Change {
    /// Blocks may be computed again, which the user has forbidden.
    recompute: bool,
    /// Weights stay in the file.
    stored: bool,
    /// Tokens of a unit; zero leaves them.
    unit_tokens: usize,
    /// Most tokens of a row; zero leaves it.
    cutoff: usize,
}

impl Change {
    fn apply(&self, config: &mut Config) {
        if self.recompute {
            config.recompute = Recompute::Auto;
        }
        if self.stored {
            "stored".clone_into(&mut config.precision);
        }
        if self.unit_tokens > 0 {
            config.train.unit_tokens = self.unit_tokens;
        }
        if self.cutoff > 0 {
            config.train.cutoff = self.cutoff;
        }
    }

    fn flags(&self) -> String {
        let mut flags = Vec::new();
        if self.recompute {
            flags.push("--set recompute=auto".to_owned());
        }
        if self.stored {
            flags.push("--precision stored".to_owned());
        }
        if self.unit_tokens > 0 {
            flags.push(format!("--set train.unit_tokens={}", self.unit_tokens));
        }
        if self.cutoff > 0 {
            flags.push(format!("--cutoff {}", self.cutoff));
        }
        flags.join(" ")
    }
}

/// What to try, the least change first: what is computed again changes no bit, smaller units only the last ones, weights in the
/// file's own blocks hardly more, a cutoff leaves rows out.
fn changes(config: &Config) -> Vec<Change> {
    let TrainConfig { unit_tokens, .. } = config.train;
    let halves = |from: usize| {
        std::iter::successors(Some(from / 2), |value| Some(value / 2))
            .take_while(|value| *value >= 64)
    };
    let recompute = config.recompute == Recompute::Never;
    let same = Change { recompute, ..Change::default() };
    let mut found = if recompute { vec![same.clone()] } else { Vec::new() };
    found.extend(halves(unit_tokens).map(|unit_tokens| Change { unit_tokens, ..same.clone() }));
    let can_be_stored = config.precision != "stored";
    if can_be_stored {
        let stored = Change { stored: true, ..same };
        let units = halves(unit_tokens);
        let smaller = units.map(|unit_tokens| Change { unit_tokens, ..stored.clone() });
        found.push(stored.clone());
        found.extend(smaller);
    }
    let smallest = halves(unit_tokens).last().unwrap_or(unit_tokens);
    found.extend(halves(4096).map(|cutoff| Change {
        recompute,
        stored: can_be_stored,
        unit_tokens: if smallest < unit_tokens { smallest } else { 0 },
        cutoff,
    }));
    found
}

/// Decimal megabytes.
pub(crate) fn megabytes(bytes: u64) -> String {
    let value = bytes as f64 / 1e6;
    if value < 10.0 { format!("{value:.1} MB") } else { format!("{value:.0} MB") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_least_change_is_tried_first() {
        let mut config = Config::default();
        config.train.unit_tokens = 300;
        let flags: Vec<String> = changes(&config).iter().map(Change::flags).collect();
        assert_eq!(
            flags[..4],
            [
                "--set train.unit_tokens=150",
                "--set train.unit_tokens=75",
                "--precision stored",
                "--precision stored --set train.unit_tokens=150",
            ]
        );
        assert_eq!(flags[5], "--precision stored --set train.unit_tokens=75 --cutoff 2048");
        assert_eq!(flags.last().unwrap().rsplit(' ').next(), Some("64"));
        "stored".clone_into(&mut config.precision);
        assert!(changes(&config).iter().all(|change| !change.flags().contains("stored")));
        config.recompute = Recompute::Never;
        let flags: Vec<String> = changes(&config).iter().map(Change::flags).collect();
        assert_eq!(flags[0], "--set recompute=auto");
        assert_eq!(flags[1], "--set recompute=auto --set train.unit_tokens=150");
        assert!(flags.iter().all(|flags| flags.starts_with("--set recompute=auto")));
    }
}
