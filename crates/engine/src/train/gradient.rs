//! [`GradientTree`]: adds the gradients of a step's units by a pairwise tree over their index, whatever computed them.

use crate::backend::Backend;

/// Partial sums of 1, 2, 4, … units, and buffers to use again.
#[derive(Debug)]
pub struct GradientTree<B: Backend> {
    length: usize,
    sums: Vec<(u32, B::Buffer)>,
    spare: Vec<B::Buffer>,
}

impl<B: Backend> GradientTree<B> {
    /// A tree for gradients of this many values.
    pub fn new(length: usize) -> Self {
        Self { length, sums: Vec::new(), spare: Vec::new() }
    }

    /// A buffer of zeros for the next unit.
    pub fn buffer(&mut self, backend: &B) -> B::Buffer {
        match self.spare.pop() {
            Some(mut buffer) => {
                backend.clear(&mut buffer);
                buffer
            }
            None => backend.zeros(self.length),
        }
    }

    /// Takes the next unit's gradient; equal levels are added, the earlier one first.
    pub fn push(&mut self, backend: &B, gradient: B::Buffer) {
        let (mut level, mut sum) = (0, gradient);
        while let Some((_, mut earlier)) = self.sums.pop_if(|(other, _)| *other == level) {
            backend.add(&mut earlier, &sum);
            self.spare.push(std::mem::replace(&mut sum, earlier));
            level += 1;
        }
        self.sums.push((level, sum));
    }

    /// The sum of all units; the tree is empty again. Give the buffer back with [`GradientTree::recycle`].
    pub fn take(&mut self, backend: &B) -> B::Buffer {
        let Some((_, mut sum)) = self.sums.pop() else {
            return self.buffer(backend);
        };
        while let Some((_, mut earlier)) = self.sums.pop() {
            backend.add(&mut earlier, &sum);
            self.spare.push(std::mem::replace(&mut sum, earlier));
        }
        sum
    }

    /// Keeps a buffer for the next step.
    pub fn recycle(&mut self, buffer: B::Buffer) {
        self.spare.push(buffer);
    }
}

/// How many buffers a tree makes for steps of at most so many units: one for each partial sum of the step before its last
/// unit, and one for that unit.
pub fn buffers_for(units: usize) -> usize {
    match units {
        0 => 0,
        units => (1..units).map(|done| done.count_ones() as usize).max().unwrap_or(0) + 1,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::Cpu;
    use crate::kernels::KernelPath;

    #[test]
    fn units_are_added_pairwise_and_buffers_reused() {
        let backend = Cpu::with_path(KernelPath::Portable, 1).unwrap();
        let units: Vec<f32> = vec![1e8, 1.0, -1e8, 1.0, 3.0];
        let mut tree = GradientTree::new(1);
        for _ in 0..2 {
            for unit in &units {
                let mut buffer = tree.buffer(&backend);
                assert_eq!(buffer, [0.0]);
                buffer[0] = *unit;
                tree.push(&backend, buffer);
            }
            let sum = tree.take(&backend);
            assert_eq!(sum[0], ((1e8f32 + 1.0) + (-1e8 + 1.0)) + 3.0);
            tree.recycle(sum);
        }
        assert_eq!(tree.spare.len(), buffers_for(5));
    }

    #[test]
    fn as_many_buffers_are_made_as_were_planned() {
        let backend = Cpu::with_path(KernelPath::Portable, 1).unwrap();
        for units in 1..40 {
            let mut tree = GradientTree::new(1);
            for _ in 0..units {
                let buffer = tree.buffer(&backend);
                tree.push(&backend, buffer);
            }
            let sum = tree.take(&backend);
            tree.recycle(sum);
            assert_eq!(tree.spare.len(), buffers_for(units), "{units} units");
        }
    }
}
