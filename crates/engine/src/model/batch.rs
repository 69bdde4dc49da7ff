//! The sequences of one pass: a [`Batch`] holds what several of them begin with once, so that it is computed once.
//!
//! Rows of an instruction set begin alike: with the words of the template, often with the instruction too. A token's state
//! depends on it and on what stands before it alone, so such tokens have the same state in every sequence, bit by bit, and the
//! gradient of the one row is the sum of theirs. Dropout is drawn for each beginning ([`Batch::names`]), so this is no
//! approximation. Only where each sequence has noise of its own nothing is shared: [`Batch::push`].

use std::ops::Range;

use bioinstruct_core::random::name_of_list;

use crate::backend::Sequence;

/// Fewer tokens in common are not worth a sequence of their own.
const LEAST_SHARED: usize = 16;

/// Tokens that are computed, and what each sequence consists of.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Batch {
    /// Token ids of the rows.
    pub ids: Vec<u32>,
    /// The name of the tokens up to each row, itself among them: what is drawn for a row in a step is drawn under this name, so
    /// that it is the same wherever the row is computed.
    pub names: Vec<u64>,
    /// Position of each row in its sequences.
    pub positions: Vec<u32>,
    /// The rows as attention sees them; a sequence follows those that it continues.
    pub sequences: Vec<Sequence>,
    /// Rows that predict a learned token, with that token: sequence after sequence as they were added.
    pub labels: Vec<(usize, u32)>,
}

impl Batch {
    /// Adds a sequence as rows of its own; `learned[i]` says whether the loss covers token i, which token i - 1 predicts.
    pub fn push(&mut self, ids: &[u32], learned: &[bool]) {
        let start = self.ids.len();
        self.add_rows(ids, Vec::new());
        self.add_labels(ids, learned, |at| start + at);
    }

    /// Sequences with what the loss covers, of which tokens that several begin with are one row.
    pub fn sharing<'a>(
        sequences: impl IntoIterator<Item = (&'a [u32], &'a [bool])> + Clone,
    ) -> Self {
        let mut tree = Tree::default();
        let ends: Vec<_> = sequences.clone().into_iter().map(|(ids, _)| tree.insert(ids)).collect();
        let mut batch = Self::default();
        let starts = batch.add_tree(&tree);
        for ((ids, learned), end) in sequences.into_iter().zip(ends) {
            let path = tree.path(end);
            let rows: Vec<usize> = path
                .into_iter()
                .flat_map(|node| starts[node]..starts[node] + tree.nodes[node].ids.len())
                .collect();
            batch.add_labels(ids, learned, |at| rows[at]);
        }
        batch
    }

    /// How many tokens are computed.
    pub fn rows(&self) -> usize {
        self.ids.len()
    }

    /// The rows that predict a learned token, ascending, and the labels with their places among these.
    pub(super) fn predicting(&self) -> (Vec<usize>, Vec<(usize, u32)>) {
        let mut rows: Vec<usize> = self.labels.iter().map(|(row, _)| *row).collect();
        rows.sort_unstable();
        rows.dedup();
        let place = |row: usize| rows.partition_point(|other| *other < row);
        let labels = self.labels.iter().map(|(row, label)| (place(*row), *label)).collect();
        (rows, labels)
    }

    fn add_rows(&mut self, ids: &[u32], before: Vec<Range<usize>>) {
        let start = self.ids.len();
        let sequence = Sequence { rows: start..start + ids.len(), before };
        let past = sequence.past();
        let mut name = sequence.before.last().map_or(0, |before| self.names[before.end - 1]);
        self.names.extend(ids.iter().map(|id| {
            name = name_of_list(name, *id);
            name
        }));
        self.ids.extend_from_slice(ids);
        self.positions.extend((past..past + ids.len()).map(|position| position as u32));
        self.sequences.push(sequence);
    }

    fn add_labels(&mut self, ids: &[u32], learned: &[bool], row: impl Fn(usize) -> usize) {
        let labels =
            ids.iter().zip(learned).enumerate().skip(1).filter(|(_, (_, learned))| **learned);
        self.labels.extend(labels.map(|(at, (id, _))| (row(at - 1), *id)));
    }

    /// Adds the rows of all nodes, a node behind its parent; where each begins.
    fn add_tree(&mut self, tree: &Tree<'_>) -> Vec<usize> {
        let mut starts = vec![0; tree.nodes.len()];
        let mut waiting: Vec<usize> = tree.roots.iter().rev().copied().collect();
        while let Some(node) = waiting.pop() {
            starts[node] = self.ids.len();
            let mut before = tree.path(Some(node));
            before.pop();
            let before = before.into_iter();
            let before = before.map(|node| starts[node]..starts[node] + tree.nodes[node].ids.len());
            self.add_rows(tree.nodes[node].ids, before.collect());
            waiting.extend(tree.nodes[node].children.iter().rev());
        }
        starts
    }
}

/// How many rows a batch has, as sequences are added to it.
#[derive(Debug, Default)]
pub(crate) struct RowCount<'a> {
    tree: Tree<'a>,
    rows: usize,
}

impl<'a> RowCount<'a> {
    /// Adds a sequence, which begins as others do only where rows are `shared`; the rows there are now.
    pub(crate) fn add(&mut self, ids: &'a [u32], shared: bool) -> usize {
        if shared {
            self.tree.insert(ids);
            self.rows = self.tree.nodes.iter().map(|node| node.ids.len()).sum();
        } else {
            self.rows += ids.len();
        }
        self.rows
    }
}

/// Tokens in a row that the same sequences go through.
#[derive(Debug)]
struct Node<'a> {
    ids: &'a [u32],
    parent: Option<usize>,
    children: Vec<usize>,
}

/// A prefix tree; two children of a node have fewer than [`LEAST_SHARED`] first tokens in common.
#[derive(Debug, Default)]
struct Tree<'a> {
    nodes: Vec<Node<'a>>,
    roots: Vec<usize>,
}

impl<'a> Tree<'a> {
    /// The node that the sequence ends with; none if it is empty.
    fn insert(&mut self, ids: &'a [u32]) -> Option<usize> {
        let (mut rest, mut end) = (ids, None);
        while let Some((child, shared)) = self.shared_child(end, rest) {
            end = Some(self.split(child, shared));
            rest = &rest[shared..];
        }
        if rest.is_empty() {
            return end;
        }
        let leaf = self.nodes.len();
        self.nodes.push(Node { ids: rest, parent: end, children: Vec::new() });
        self.children_of(end).push(leaf);
        Some(leaf)
    }

    /// The child that begins as `ids` does, and how many tokens they share.
    fn shared_child(&mut self, node: Option<usize>, ids: &[u32]) -> Option<(usize, usize)> {
        let children = self.children_of(node).clone();
        let shared = |child: &usize| {
            let pairs = self.nodes[*child].ids.iter().zip(ids);
            pairs.take_while(|(left, right)| left == right).count()
        };
        let found = children.into_iter().map(|child| (child, shared(&child)));
        found.into_iter().find(|(_, shared)| *shared >= LEAST_SHARED)
    }

    /// The node of the first `length` tokens of `node`, which keeps the rest, if any.
    fn split(&mut self, node: usize, length: usize) -> usize {
        let Node { ids, parent, .. } = self.nodes[node];
        if length == ids.len() {
            return node;
        }
        let first = self.nodes.len();
        self.nodes.push(Node { ids: &ids[..length], parent, children: vec![node] });
        for child in self.children_of(parent) {
            if *child == node {
                *child = first;
            }
        }
        self.nodes[node].ids = &ids[length..];
        self.nodes[node].parent = Some(first);
        first
    }

    fn children_of(&mut self, node: Option<usize>) -> &mut Vec<usize> {
        match node {
            Some(node) => &mut self.nodes[node].children,
            None => &mut self.roots,
        }
    }

    /// The nodes from a root to `node`.
    fn path(&self, node: Option<usize>) -> Vec<usize> {
        let mut path: Vec<usize> =
            std::iter::successors(node, |node| self.nodes[*node].parent).collect();
        path.reverse();
        path
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `shared` tokens, then `own` that no other sequence has.
    fn sequence(shared: &[&Range<u32>], own: Range<u32>) -> Vec<u32> {
        shared.iter().map(|shared| (*shared).clone()).chain([own]).flatten().collect()
    }

    /// The tokens of each sequence of the batch, and that their positions count up from zero, and their names are those
    /// of what they begin with.
    fn read(batch: &Batch) -> Vec<Vec<u32>> {
        let all = batch.sequences.iter().map(|sequence| {
            let rows: Vec<usize> = sequence.all_rows().flatten().collect();
            let positions: Vec<u32> = rows.iter().map(|row| batch.positions[*row]).collect();
            assert_eq!(positions, (0..rows.len() as u32).collect::<Vec<_>>());
            rows.iter().fold(0, |name, row| {
                let name = name_of_list(name, batch.ids[*row]);
                assert_eq!(name, batch.names[*row]);
                name
            });
            rows.into_iter().map(|row| batch.ids[row]).collect()
        });
        all.collect()
    }

    #[test]
    fn what_sequences_begin_with_is_there_once_and_labels_keep_their_order() {
        let (template, instruction) = (0..40, 100..120);
        let rows = [
            sequence(&[&template, &instruction], 1000..1030),
            sequence(&[&template], 2000..2005),
            sequence(&[&template, &instruction], 3000..3001),
            sequence(&[], 4000..4010),
            sequence(&[&template, &instruction], 1000..1030),
            sequence(&[], template.clone()),
        ];
        let learned: Vec<Vec<bool>> =
            rows.iter().map(|ids| (0..ids.len()).map(|at| at + 2 >= ids.len()).collect()).collect();
        let pairs = rows.iter().zip(&learned).map(|(ids, learned)| (&ids[..], &learned[..]));
        let batch = Batch::sharing(pairs.clone());
        assert_eq!(batch.rows(), 40 + 20 + 30 + 5 + 1 + 10);
        let found = read(&batch);
        for ids in &rows {
            assert!(found.contains(ids), "{ids:?} is in none of {found:?}");
        }
        let mut apart = Batch::default();
        pairs.for_each(|(ids, learned)| apart.push(ids, learned));
        let tokens = |batch: &Batch| -> Vec<(u32, u32)> {
            batch.labels.iter().map(|(row, label)| (batch.ids[*row], *label)).collect()
        };
        assert_eq!(tokens(&batch), tokens(&apart));
        let (predicting, labels) = batch.predicting();
        assert!(predicting.is_sorted_by(|left, right| left < right));
        assert!(
            labels
                .iter()
                .zip(&batch.labels)
                .all(|(found, label)| { (predicting[found.0], found.1) == *label })
        );
        assert_eq!(read(&apart), rows);
    }

    #[test]
    fn few_tokens_in_common_are_not_shared() {
        let least = LEAST_SHARED as u32;
        for (common, rows) in [(least - 1, 2 * least + 8), (least, least + 10)] {
            let shared = 0..common;
            let sequences = [100..105, 200..205].map(|own| sequence(&[&shared], own));
            let learned = vec![true; sequences[0].len()];
            let batch = Batch::sharing(sequences.iter().map(|ids| (&ids[..], &learned[..])));
            assert_eq!(batch.rows(), rows as usize);
            assert_eq!(batch.labels.len(), 2 * (learned.len() - 1));
        }
    }
}
