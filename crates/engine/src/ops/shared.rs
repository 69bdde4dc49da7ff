//! [`Shared`]: a slice of which each task writes its own part.

#![expect(unsafe_code, reason = "tasks of one loop write disjoint parts of one slice")]

use std::marker::PhantomData;

/// A mutable slice that the tasks of one parallel loop may cut disjoint parts from.
pub(crate) struct Shared<'a, T = f32> {
    start: *mut T,
    length: usize,
    owner: PhantomData<&'a mut [T]>,
}

// SAFETY: the only way to the values is `part`, whose callers keep their parts disjoint between tasks.
unsafe impl<T: Send> Sync for Shared<'_, T> {}
// SAFETY: as above.
unsafe impl<T: Send> Send for Shared<'_, T> {}

impl<'a, T> Shared<'a, T> {
    pub(crate) fn new(values: &'a mut [T]) -> Self {
        Self { start: values.as_mut_ptr(), length: values.len(), owner: PhantomData }
    }

    /// `length` values from `first`. No two tasks, and no two parts alive in one task, may overlap: each caller derives
    /// its parts from its own row or head.
    pub(crate) fn part(&self, first: usize, length: usize) -> &'a mut [T] {
        assert!(first + length <= self.length, "part {first} + {length} of {}", self.length);
        // SAFETY: inside the slice (asserted); disjoint from every other part by the contract.
        unsafe { std::slice::from_raw_parts_mut(self.start.add(first), length) }
    }
}
