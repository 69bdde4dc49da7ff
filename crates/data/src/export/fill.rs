//! Taking rows from several kinds in proportion: [`Part`] makes the rows of one kind, [`fill`] shares a number among parts.

use std::collections::{BTreeMap, BTreeSet};

use bioinstruct_core::hash::ContentHash;
use bioinstruct_core::random::Stream;
use bioinstruct_core::record::{Instruction, Provenance};
use bioinstruct_text::normalize::word_count;

use super::{ExportError, ExportSource, PartCount};
use crate::task::{ExportSpec, ExportTexts};

#[derive(Debug, Clone, Copy)]
pub(super) struct Settings {
    pub(super) max_words: Option<usize>,
    pub(super) seed: u64,
}

/// The rows of one kind, made one after the other of items in a drawn order.
pub(super) struct Part<'a> {
    source: &'a ExportSource,
    pub(super) spec: &'a ExportSpec,
    weight: f64,
    settings: Settings,
    wordings: Stream,
    /// Positions of items, the next one last.
    queue: Vec<usize>,
    pub(super) rows: Vec<Instruction>,
    saying_nothing: usize,
    seen: BTreeSet<ContentHash>,
    left_out: BTreeMap<&'static str, usize>,
}

impl<'a> Part<'a> {
    /// `kept`: positions of the items that may be learned from.
    pub(super) fn new(
        source: &'a ExportSource,
        spec: &'a ExportSpec,
        kept: &[usize],
        weight: f64,
        settings: Settings,
    ) -> Self {
        let purpose = format!("export/{}/{}", source.task.name, spec.name);
        let mut queue: Vec<usize> = kept.to_vec();
        Stream::new(settings.seed, &purpose).at(0).shuffle(&mut queue);
        let mut left_out = BTreeMap::new();
        let held_out = source.split.items.len() - kept.len();
        if held_out > 0 {
            left_out.insert("holds a test item", held_out);
        }
        Self {
            source,
            spec,
            weight,
            settings,
            wordings: Stream::new(settings.seed, &format!("{purpose}/wording")),
            queue,
            rows: Vec::new(),
            saying_nothing: 0,
            seen: BTreeSet::new(),
            left_out,
        }
    }

    pub(super) fn name(&self) -> (&str, &str) {
        (&self.source.task.name, &self.spec.name)
    }

    /// Makes `wanted` more rows, or as many as there are.
    pub(super) fn take(&mut self, wanted: usize) -> Result<(), ExportError> {
        let mut missing = wanted;
        while missing > 0 {
            let Some(position) = self.queue.pop() else { break };
            match self.row(position)? {
                Ok(row) => {
                    self.rows.push(row);
                    missing -= 1;
                }
                Err(reason) => *self.left_out.entry(reason).or_default() += 1,
            }
        }
        Ok(())
    }

    /// The row of an item, or why there is none.
    fn row(&mut self, position: usize) -> Result<Result<Instruction, &'static str>, ExportError> {
        let task = &self.source.task;
        let item = &self.source.split.items[position];
        if !self.spec.takes(item) {
            return Ok(Err("is not of the kind asked for"));
        }
        let wording = self.wordings.at(position as u64).below(self.spec.instructions.len());
        let texts = task.export_texts(self.spec, item, wording)?;
        if let Some(reason) = self.objection(&texts) {
            return Ok(Err(reason));
        }
        let ExportTexts { instruction, input, output, .. } = texts;
        let provenance = Provenance {
            source: format!("{}/{}:{}", task.name, self.spec.name, item.id),
            licence: task.licence.clone(),
            restricted: task.credentialed,
            ..Provenance::default()
        };
        let category = Some(self.spec.category);
        Ok(Ok(Instruction::new(instruction, input, output, category, provenance)))
    }

    fn objection(&mut self, texts: &ExportTexts) -> Option<&'static str> {
        let exceeds = |words: usize, most: usize| most > 0 && words > most;
        let (input, output) = (word_count(&texts.input), word_count(&texts.output));
        if texts.output.is_empty() {
            return Some("has no answer");
        }
        if exceeds(output, self.spec.max_output_words) {
            return Some("answer is longer than the task's limit");
        }
        if exceeds(input, self.spec.max_input_words) {
            return Some("input is longer than the task's limit");
        }
        let whole = input + output + word_count(&texts.instruction);
        if self.settings.max_words.is_some_and(|most| whole > most) {
            return Some("is longer than `--max-words`");
        }
        // Without an input the question is the instruction; with one, another wording of the same row is no new row.
        let task = if texts.input.is_empty() { &texts.instruction } else { &texts.input };
        if !self.seen.insert(ContentHash::of_parts([task.as_bytes(), texts.output.as_bytes()])) {
            return Some("stands in the data twice");
        }
        if texts.says_nothing {
            let share = self.spec.nothing_share * (self.rows.len() + 1) as f64;
            if (self.saying_nothing + 1) as f64 > share {
                return Some("would be one too many that says there is nothing");
            }
            self.saying_nothing += 1;
        }
        None
    }

    pub(super) fn count(&self) -> PartCount {
        PartCount {
            task: self.source.task.name.clone(),
            export: self.spec.name.clone(),
            category: self.spec.category,
            licence: self.source.task.licence.clone(),
            items: self.source.split.items.len(),
            rows: self.rows.len(),
            left_out: self.left_out.clone(),
        }
    }
}

/// Takes `wanted` rows from all parts, in proportion to their weights as long as they last; gives the number found.
pub(super) fn fill(parts: &mut [Part<'_>], wanted: usize) -> Result<usize, ExportError> {
    loop {
        let found: usize = parts.iter().map(|part| part.rows.len()).sum();
        let mut open: Vec<&mut Part<'_>> =
            parts.iter_mut().filter(|part| !part.queue.is_empty()).collect();
        if found == wanted || open.is_empty() {
            return Ok(found);
        }
        let weights: Vec<f64> = open.iter().map(|part| part.weight).collect();
        for (part, more) in open.iter_mut().zip(apportion(wanted - found, &weights)) {
            part.take(more)?;
        }
    }
}

/// `count` shared out in proportion to `weights`, by largest remainder; of equals the first comes first.
pub(super) fn apportion(count: usize, weights: &[f64]) -> Vec<usize> {
    let total: f64 = weights.iter().sum();
    let exact: Vec<f64> = weights.iter().map(|weight| count as f64 * weight / total).collect();
    let mut shares: Vec<usize> = exact.iter().map(|share| share.floor() as usize).collect();
    let mut order: Vec<usize> = (0..weights.len()).collect();
    order.sort_by(|&one, &other| exact[other].fract().total_cmp(&exact[one].fract()));
    let missing = count.saturating_sub(shares.iter().sum());
    for &position in order.iter().cycle().take(missing) {
        shares[position] += 1;
    }
    shares
}

#[cfg(test)]
mod tests {
    use super::apportion;

    #[test]
    fn shares_add_up_and_are_at_most_one_off() {
        assert_eq!(apportion(4000, &[0.228, 0.338, 0.335, 0.1]), [911, 1351, 1339, 399]);
        assert_eq!(apportion(1, &[1.0, 1.0]), [1, 0]);
        assert_eq!(apportion(7, &[1.0, 2.0, 4.0]), [1, 2, 4]);
        assert_eq!(apportion(0, &[1.0]), [0]);
    }
}
