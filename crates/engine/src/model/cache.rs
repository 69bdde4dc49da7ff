//! [`Cache`]: keys and values of the tokens a sequence has so far, in pages.
//!
//! Sequences that begin alike hold the same pages, which are counted; a sequence that writes into a page that others hold, too,
//! takes a copy of what it has of it. So a second sequence after a prefix costs at most one page, however long the prefix is,
//! and a sequence that grows is never moved.

use std::ops::Range;
use std::sync::Arc;

use crate::backend::{Backend, Heads, PAGE_TOKENS};

/// Keys and values of a sequence in all blocks.
#[derive(Debug)]
pub struct Cache<B: Backend> {
    pages: Vec<Arc<Page<B>>>,
    length: usize,
}

/// Keys and values of [`PAGE_TOKENS`] tokens in each block.
#[derive(Debug)]
struct Page<B: Backend> {
    blocks: Vec<(B::Buffer, B::Buffer)>,
}

impl<B: Backend> Page<B> {
    fn new(backend: &B, (blocks, width): (usize, usize)) -> Self {
        let empty = || backend.zeros(PAGE_TOKENS * width);
        Self { blocks: (0..blocks).map(|_| (empty(), empty())).collect() }
    }

    /// Another page with what this one holds.
    fn copy(&self, backend: &B, shape: (usize, usize)) -> Self {
        let mut copy = Self::new(backend, shape);
        for ((key, value), (from_key, from_value)) in copy.blocks.iter_mut().zip(&self.blocks) {
            backend.copy_rows(from_key, 0..PAGE_TOKENS, shape.1, key, 0);
            backend.copy_rows(from_value, 0..PAGE_TOKENS, shape.1, value, 0);
        }
        copy
    }
}

impl<B: Backend> Cache<B> {
    /// No tokens.
    pub fn new() -> Self {
        Self { pages: Vec::new(), length: 0 }
    }

    /// Tokens so far.
    pub fn length(&self) -> usize {
        self.length
    }

    /// Forgets all tokens from `length` on.
    pub fn truncate(&mut self, length: usize) {
        self.length = self.length.min(length);
        self.pages.truncate(self.length.div_ceil(PAGE_TOKENS));
    }

    /// A second cache with the first `length` tokens, whose pages it shares: for what follows a prefix.
    ///
    /// # Panics
    /// When there are fewer.
    #[must_use]
    pub fn fork(&self, length: usize) -> Self {
        assert!(length <= self.length, "{length} of {} tokens", self.length);
        let pages = self.pages[..length.div_ceil(PAGE_TOKENS)].to_vec();
        Self { pages, length }
    }

    /// Makes room for `more` tokens in pages that no other sequence holds, of a model of so many blocks and values of a key.
    pub(super) fn make_room(&mut self, backend: &B, shape: (usize, usize), more: usize) {
        let begun = !self.length.is_multiple_of(PAGE_TOKENS);
        if let Some(last) = self.pages.last_mut().filter(|_| begun)
            && Arc::get_mut(last).is_none()
        {
            *last = Arc::new(last.copy(backend, shape));
        }
        let pages = (self.length + more).div_ceil(PAGE_TOKENS);
        self.pages.resize_with(pages, || Arc::new(Page::new(backend, shape)));
    }

    /// Writes rows of `key` and `value`, which room was made for, behind the tokens so far.
    pub(super) fn put(
        &mut self,
        backend: &B,
        (heads, block): (Heads, usize),
        (key, value): (&B::Buffer, &B::Buffer),
        rows: Range<usize>,
    ) {
        let (mut from, mut to) = (rows.start, self.length);
        while from < rows.end {
            let at = to % PAGE_TOKENS;
            let count = (rows.end - from).min(PAGE_TOKENS - at);
            let page = Arc::get_mut(&mut self.pages[to / PAGE_TOKENS]).expect("a page of its own");
            let (keys, values) = &mut page.blocks[block];
            backend.put_in_page(heads, key, from..from + count, keys, at);
            backend.put_in_page(heads, value, from..from + count, values, at);
            (from, to) = (from + count, to + count);
        }
    }

    /// Counts in what was [put](Self::put) into every block.
    pub(super) fn advance(&mut self, tokens: usize) {
        self.length += tokens;
    }

    /// The pages of keys and of values of one block.
    pub(super) fn pages(&self, block: usize) -> (Vec<&B::Buffer>, Vec<&B::Buffer>) {
        self.pages.iter().map(|page| (&page.blocks[block].0, &page.blocks[block].1)).unzip()
    }
}

impl<B: Backend> Default for Cache<B> {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::Cpu;
    use crate::kernels::KernelPath;

    const HEADS: Heads = Heads { query: 3, key_value: 3, size: 1, window: None };
    const SHAPE: (usize, usize) = (2, 3);

    /// Adds a token for each value.
    fn extend(backend: &Cpu, cache: &mut Cache<Cpu>, values: &[f32]) {
        cache.make_room(backend, SHAPE, values.len());
        let rows: Vec<f32> = values.iter().flat_map(|value| [1.0, 2.0, *value]).collect();
        let negative: Vec<f32> = rows.iter().map(|value| -value).collect();
        for block in 0..SHAPE.0 {
            cache.put(backend, (HEADS, block), (&rows, &negative), 0..values.len());
        }
        cache.advance(values.len());
    }

    fn tokens(cache: &Cache<Cpu>) -> Vec<f32> {
        let read = |pages: &[&Vec<f32>]| {
            let rows = pages.iter().flat_map(|page| page[2 * PAGE_TOKENS..].iter().copied());
            rows.take(cache.length()).collect::<Vec<f32>>()
        };
        let (keys, values) = cache.pages(1);
        let (keys, values) = (read(&keys), read(&values));
        assert_eq!(keys, values.iter().map(|value| -value).collect::<Vec<_>>());
        keys
    }

    #[test]
    fn sequences_share_pages_and_overwrite_nothing_of_one_another() {
        let backend = Cpu::with_path(KernelPath::Portable, 1).unwrap();
        let numbers = |range: Range<usize>| range.map(|at| at as f32).collect::<Vec<_>>();
        let mut first = Cache::new();
        extend(&backend, &mut first, &numbers(0..100));
        extend(&backend, &mut first, &numbers(100..200));
        assert_eq!(tokens(&first), numbers(0..200));

        let mut second = first.fork(150);
        assert!(Arc::ptr_eq(&first.pages[2], &second.pages[2]));
        extend(&backend, &mut second, &numbers(500..600));
        // Only the page in which they part is another one.
        assert!(Arc::ptr_eq(&first.pages[1], &second.pages[1]));
        assert!(!Arc::ptr_eq(&first.pages[2], &second.pages[2]));
        assert_eq!(tokens(&first), numbers(0..200));
        assert_eq!(tokens(&second), [numbers(0..150), numbers(500..600)].concat());

        // At the border of a page nothing is copied.
        let mut third = first.fork(128);
        extend(&backend, &mut third, &[7.0]);
        first.truncate(64);
        extend(&backend, &mut first, &[8.0]);
        assert!(Arc::ptr_eq(&second.pages[1], &third.pages[1]));
        assert_eq!(tokens(&third), [numbers(0..128), vec![7.0]].concat());
        assert_eq!(tokens(&first), [numbers(0..64), vec![8.0]].concat());
        assert_eq!(tokens(&second), [numbers(0..150), numbers(500..600)].concat());
        drop((first, second));
        assert_eq!(tokens(&third), [numbers(0..128), vec![7.0]].concat());
    }
}
