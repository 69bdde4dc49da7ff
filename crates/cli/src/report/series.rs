//! Who answered: a [`Series`] is one model with its adapter and template, the same in scores, comparisons and predictions.

use std::collections::BTreeSet;

use super::collect::RunFiles;
use super::plot::interval::Mark;
use super::records::Score;

/// What a series is for the reader.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Role {
    /// The untuned model, prompted as the tuned one is.
    Base,
    /// The untuned model under the chat template that it brings.
    OwnChat,
    /// With an adapter.
    Tuned,
}

impl Role {
    /// For people.
    pub(crate) const fn label(self) -> &'static str {
        match self {
            Self::Base => "Base",
            Self::OwnChat => "Base, own chat template",
            Self::Tuned => "Tuned",
        }
    }

    /// How it is drawn.
    pub(crate) const fn mark(self) -> Mark {
        match self {
            Self::Base => Mark::Base,
            Self::OwnChat => Mark::OwnChat,
            Self::Tuned => Mark::Tuned,
        }
    }
}

/// One model with its adapter and template in one run.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Series {
    /// Position of the run among those of the report.
    pub run: usize,
    /// The model's name.
    pub model: String,
    /// The adapter's name.
    pub adapter: Option<String>,
    /// The template's name; empty when not known.
    pub template: String,
    /// The folder of its predictions; empty when not known.
    pub candidate: String,
    /// What it is for the reader.
    pub role: Role,
    /// Unique among the series, and short.
    pub label: String,
}

impl Series {
    fn of(run: usize, score: &Score) -> Self {
        let role = if score.adapter().is_some() { Role::Tuned } else { Role::Base };
        Self {
            run,
            model: score.model.clone(),
            adapter: score.adapter().map(str::to_owned),
            template: score.template.clone().unwrap_or_default(),
            candidate: score.candidate.clone(),
            role,
            label: String::new(),
        }
    }

    /// Whether this series has that score.
    pub(super) fn is_of(&self, run: usize, score: &Score) -> bool {
        if self.run != run || self.candidate != score.candidate {
            return false;
        }
        // A candidate has one id whatever its prompts are; without ids, the rest must tell.
        !self.candidate.is_empty()
            || (self.model == score.model
                && self.adapter.as_deref() == score.adapter()
                && self.template == score.template.as_deref().unwrap_or_default())
    }

    /// Whether a comparison, or a folder, means this series by `name`.
    pub(crate) fn is_called(&self, name: &str) -> bool {
        !name.is_empty()
            && (self.candidate == name
                || self.label == name
                || (self.candidate.is_empty()
                    && (self.adapter.as_deref() == Some(name)
                        || (self.adapter.is_none() && self.model == name))))
    }
}

impl Score {
    /// The adapter's name, where there is one.
    pub(super) fn adapter(&self) -> Option<&str> {
        self.adapter.as_deref().filter(|name| !name.is_empty())
    }
}

/// Every series of the runs, base before tuned, otherwise in the order of the files.
pub(crate) fn all(runs: &[RunFiles]) -> Vec<Series> {
    let mut series: Vec<Series> = Vec::new();
    for (run, files) in runs.iter().enumerate() {
        for score in files.scores.iter().flatten() {
            match series.iter_mut().find(|known| known.is_of(run, score)) {
                None => series.push(Series::of(run, score)),
                // Raw-text prompts have no template; another task of the candidate may.
                Some(known) if known.template.is_empty() => {
                    known.template = score.template.clone().unwrap_or_default();
                }
                Some(_) => {}
            }
        }
        for file in &files.predictions {
            let known = |known: &Series| known.run == run && known.is_called(&file.candidate);
            if !series.iter().any(known) {
                series.push(unscored(run, &file.candidate));
            }
        }
    }
    find_own_chat(&mut series);
    series.sort_by_key(|series| (series.run, series.role));
    name(&mut series, runs);
    series
}

/// A folder of predictions without scores, of an evaluation that is under way.
fn unscored(run: usize, candidate: &str) -> Series {
    Series {
        run,
        model: candidate.to_owned(),
        adapter: None,
        template: String::new(),
        candidate: candidate.to_owned(),
        role: Role::Base,
        label: String::new(),
    }
}

/// A base under `chat` is "own chat template" only where the same base was also scored under another template.
fn find_own_chat(series: &mut [Series]) {
    let others: Vec<(usize, String)> = series
        .iter()
        .filter(|series| series.adapter.is_none() && series.template != "chat")
        .map(|series| (series.run, series.model.clone()))
        .collect();
    for series in series.iter_mut() {
        let beside = others.contains(&(series.run, series.model.clone()));
        if series.adapter.is_none() && series.template == "chat" && beside {
            series.role = Role::OwnChat;
        }
    }
}

/// Labels: the role, followed by whatever tells series of one role apart.
fn name(series: &mut [Series], runs: &[RunFiles]) {
    for position in 0..series.len() {
        let this = &series[position];
        let peers: Vec<&Series> = series.iter().filter(|other| other.role == this.role).collect();
        let several = |values: BTreeSet<&str>| values.len() > 1;
        let mut parts = vec![this.role.label().to_owned()];
        if several(peers.iter().map(|peer| peer.model.as_str()).collect()) {
            parts.push(this.model.clone());
        }
        let adapters = peers.iter().filter_map(|peer| peer.adapter.as_deref());
        if several(adapters.collect()) {
            parts.extend(this.adapter.clone());
        }
        if several(peers.iter().map(|peer| peer.template.as_str()).collect())
            && !this.template.is_empty()
        {
            parts.push(format!("template {}", this.template));
        }
        let mut label = parts.join(" · ");
        if runs.len() > 1 {
            label = format!("{label} · {}", runs[this.run].label);
        }
        let clash = series[..position].iter().any(|other| other.label == label);
        if clash {
            label = format!("{label} #{}", position + 1);
        }
        series[position].label = label;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn score(adapter: Option<&str>, template: &str) -> Score {
        Score {
            model: "smollm2".to_owned(),
            adapter: adapter.map(str::to_owned),
            template: Some(template.to_owned()),
            ..Score::default()
        }
    }

    fn labels(runs: &[RunFiles]) -> Vec<String> {
        all(runs).into_iter().map(|series| series.label).collect()
    }

    #[test]
    fn the_three_of_a_quickstart_have_plain_names() {
        let run = RunFiles {
            scores: Some(vec![
                score(Some("a1"), "bioinstruct"),
                score(None, "chat"),
                score(None, "bioinstruct"),
            ]),
            ..RunFiles::default()
        };
        assert_eq!(
            labels(std::slice::from_ref(&run)),
            ["Base", "Base, own chat template", "Tuned"]
        );
        let chat_only = RunFiles { scores: Some(vec![score(None, "chat")]), ..RunFiles::default() };
        assert_eq!(labels(&[chat_only]), ["Base"]);
        let named = |label: &str| RunFiles { label: label.to_owned(), ..run.clone() };
        assert_eq!(labels(&[named("x"), named("y")])[5], "Tuned · y");
    }

    #[test]
    fn several_adapters_are_told_apart() {
        let run = RunFiles {
            scores: Some(vec![
                score(None, "bioinstruct"),
                score(Some("a1"), "bioinstruct"),
                score(Some("a2"), "bioinstruct"),
            ]),
            ..RunFiles::default()
        };
        assert_eq!(labels(&[run]), ["Base", "Tuned · a1", "Tuned · a2"]);
    }
}
