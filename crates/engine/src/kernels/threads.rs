//! [`Threads`]: the one place that splits work among processors.
//!
//! Work is cut into tasks whose number and borders never depend on the number of threads, and no two tasks write the same
//! value; so the number of threads changes only the time.

use std::ops::Range;

use rayon::prelude::*;

use crate::error::EngineError;

/// A pool of worker threads.
pub struct Threads {
    pool: rayon::ThreadPool,
}

impl std::fmt::Debug for Threads {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "Threads({})", self.count())
    }
}

impl Threads {
    /// A pool of `count` threads; zero takes as many as the machine has processors.
    pub fn new(count: usize) -> Result<Self, EngineError> {
        rayon::ThreadPoolBuilder::new()
            .num_threads(count)
            .thread_name(|index| format!("kernel-{index}"))
            .build()
            .map(|pool| Self { pool })
            .map_err(|error| EngineError::Threads { reason: error.to_string() })
    }

    /// How many threads work.
    pub fn count(&self) -> usize {
        self.pool.current_num_threads()
    }

    /// Runs `work` on a thread of the pool, so that the tasks in it start without a hand-over.
    pub fn enter<R: Send>(&self, work: impl FnOnce() -> R + Send) -> R {
        self.pool.install(work)
    }

    /// Calls `task` once for each number below `count`.
    pub fn for_each(&self, count: usize, task: impl Fn(usize) + Sync + Send) {
        if count <= 1 {
            (0..count).for_each(task);
        } else {
            self.pool.install(|| (0..count).into_par_iter().with_max_len(1).for_each(task));
        }
    }

    /// Cuts `values` into pieces of `width × rows` and calls `task` with the rows of each piece.
    pub fn for_rows<T: Send>(
        &self,
        values: &mut [T],
        width: usize,
        rows: usize,
        task: impl Fn(Range<usize>, &mut [T]) + Sync + Send,
    ) {
        let piece = width * rows;
        let run = |(index, chunk): (usize, &mut [T])| {
            let first = index * rows;
            task(first..first + chunk.len() / width, chunk);
        };
        if values.len() <= piece {
            values.chunks_mut(piece.max(1)).enumerate().for_each(run);
        } else {
            self.pool.install(|| values.par_chunks_mut(piece).enumerate().for_each(run));
        }
    }
}
