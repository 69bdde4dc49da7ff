//! [`Memory`]: the beginning that was read last, so that texts which begin alike do not read it again: the examples before
//! each question of a few-shot task, a system's message before each request.
//!
//! What is taken from it has the bits that reading would give, since a sequence's results are the same in pieces.

use crate::backend::Backend;
use crate::model::inference::Cache;

/// Fewest tokens worth keeping.
const LEAST: usize = 64;

/// At most one beginning, read under one adapter.
#[derive(Debug)]
pub(super) struct Memory<B: Backend> {
    last: Option<Remembered<B>>,
}

#[derive(Debug)]
struct Remembered<B: Backend> {
    adapter: Option<String>,
    ids: Vec<u32>,
    cache: Cache<B>,
}

impl<B: Backend> Memory<B> {
    /// Nothing.
    pub(super) fn new() -> Self {
        Self { last: None }
    }

    /// How many tokens at the beginning of `ids` need not be read.
    pub(super) fn known(&self, adapter: Option<&str>, ids: &[u32]) -> usize {
        self.shared(adapter, ids).map_or(0, |(_, length)| length)
    }

    /// A cache with those tokens.
    pub(super) fn begin(&self, adapter: Option<&str>, ids: &[u32]) -> Cache<B> {
        match self.shared(adapter, ids) {
            Some((last, length)) => last.cache.fork(length),
            None => Cache::new(),
        }
    }

    fn shared(&self, adapter: Option<&str>, ids: &[u32]) -> Option<(&Remembered<B>, usize)> {
        let last = self.last.as_ref().filter(|last| last.adapter.as_deref() == adapter)?;
        let length = last.ids.iter().zip(ids).take_while(|(ours, theirs)| ours == theirs).count();
        (length >= LEAST).then_some((last, length))
    }

    /// Takes the place of what was there: `ids`, which `cache` begins with, all read as a prompt.
    pub(super) fn keep(&mut self, adapter: Option<String>, mut ids: Vec<u32>, mut cache: Cache<B>) {
        cache.truncate(ids.len());
        ids.truncate(cache.length());
        if ids.len() >= LEAST {
            self.last = Some(Remembered { adapter, ids, cache });
        }
    }

    /// Forgets it, as an adapter of the same name may be another one.
    pub(super) fn forget(&mut self) {
        self.last = None;
    }
}
