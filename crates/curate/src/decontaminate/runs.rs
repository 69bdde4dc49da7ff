//! Runs of words and the items in which they stand: [`Runs`].

use std::collections::{BTreeMap, HashMap};

use bioinstruct_text::vocabulary::UNKNOWN;

/// Runs of some lengths, each with the items that hold it.
#[derive(Debug, Default)]
pub(super) struct Runs {
    by_length: BTreeMap<usize, HashMap<Box<[u32]>, Vec<u32>>>,
}

impl Runs {
    /// Notes that `run` stands in `item`. The runs of one item come one after the other.
    pub(super) fn insert(&mut self, run: &[u32], item: usize) {
        let of_length = self.by_length.entry(run.len()).or_default();
        let item = item as u32;
        match of_length.get_mut(run) {
            Some(items) if items.last() == Some(&item) => {}
            Some(items) => items.push(item),
            None => {
                of_length.insert(run.into(), vec![item]);
            }
        }
    }

    /// Notes all runs of `length` words of `words`.
    pub(super) fn insert_all(&mut self, words: &[u32], length: usize, item: usize) {
        for run in words.windows(length) {
            self.insert(run, item);
        }
    }

    /// The items that hold each run of `words` that has this length and stands in at most `most_items` of them, in order.
    pub(super) fn find(
        &self,
        words: &[u32],
        length: usize,
        most_items: usize,
    ) -> impl Iterator<Item = &[u32]> {
        let of_length = self.by_length.get(&length);
        let windows = of_length.map(|of_length| {
            words
                .windows(length)
                .filter(|run| !run.contains(&UNKNOWN))
                .filter_map(|run| of_length.get(run).map(Vec::as_slice))
                .filter(move |items| items.len() <= most_items)
        });
        windows.into_iter().flatten()
    }
}
