//! An adapter's part of one projection on the host, for merging: [`Merge`].

use super::Layout;
use super::Projection;

/// The values that change one frozen matrix W (out, in) into the one it stands for:
/// W + s B A, and with magnitudes m (DoRA) each row of that brought to its length m.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Merge<'a> {
    /// (rank, in).
    pub a: &'a [f32],
    /// (out, rank).
    pub b: &'a [f32],
    /// Inner size.
    pub rank: usize,
    /// s.
    pub scale: f32,
    /// DoRA's magnitudes (out).
    pub magnitudes: Option<&'a [f32]>,
}

impl<'a> Merge<'a> {
    /// The part of one projection of one block in an adapter's values; none where nothing is adapted.
    pub fn new(
        layout: &Layout,
        values: &'a [f32],
        block: usize,
        projection: Projection,
    ) -> Option<Self> {
        let factors = layout.factors(block, projection)?;
        let magnitudes = factors.magnitude.as_ref().map(|place| &values[place.values.clone()]);
        Some(Self {
            a: &values[factors.a.clone()],
            b: &values[factors.b.clone()],
            rank: factors.rank,
            scale: factors.scale,
            magnitudes,
        })
    }

    /// Turns row `row` of W (in) into the merged matrix's, in 64 bits: the row as PEFT's `merge_and_unload` has it before it
    /// is rounded to the type of W.
    pub fn row(&self, row: usize, weights: &mut [f32]) {
        let b = &self.b[row * self.rank..(row + 1) * self.rank];
        let mut sums = vec![0.0f64; weights.len()];
        for (b, a) in b.iter().zip(self.a.chunks_exact(weights.len())) {
            for (sum, a) in sums.iter_mut().zip(a) {
                *sum += f64::from(*b) * f64::from(*a);
            }
        }
        for (sum, weight) in sums.iter_mut().zip(&*weights) {
            *sum = f64::from(*weight) + f64::from(self.scale) * *sum;
        }
        let factor = self.magnitudes.map_or(1.0, |magnitudes| {
            let norm = sums.iter().map(|value| value * value).sum::<f64>().sqrt();
            // A row of zeros has no direction to be stretched along.
            if norm > 0.0 { f64::from(magnitudes[row]) / norm } else { 1.0 }
        });
        for (weight, sum) in weights.iter_mut().zip(sums) {
            *weight = (factor * sum) as f32;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_merged_row_is_the_sum_and_has_its_magnitude() {
        let merge = |magnitudes: Option<&'static [f32]>| Merge {
            a: &[1.0, 0.0, 2.0, -1.0],
            b: &[0.5, 1.0, 0.0, 2.0],
            rank: 2,
            scale: 2.0,
            magnitudes,
        };
        // Row 0: w + 2 (0.5 a₀ + 1 a₁).
        let mut row = [1.0, -1.0];
        merge(None).row(0, &mut row);
        assert_eq!(row, [6.0, -3.0]);
        let mut row = [1.0, -1.0];
        merge(Some(&[10.0, 1.0])).row(0, &mut row);
        let length = 45.0f32.sqrt();
        assert!((row[0] - 60.0 / length).abs() < 1e-5 && (row[1] + 30.0 / length).abs() < 1e-5);
        let mut row = [-8.0, 4.0];
        merge(Some(&[10.0, 1.0])).row(1, &mut row);
        assert_eq!(row, [0.0, 0.0]);
    }
}
