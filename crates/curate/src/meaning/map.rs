//! Rows on a plane: [`map`] gives the two principal components of their vectors (Pearson 1901). They are no clustering and
//! no distortion: a straight look from the side that shows most, the same picture every time.

use bioinstruct_core::model::Embeddings;
use bioinstruct_core::record::{Category, Instruction};
use serde::{Deserialize, Serialize};

/// Most points of a map: the rows with the lowest content hashes.
const POINTS: usize = 2_000;
/// Turns of the power iteration; it ends earlier when nothing moves.
const TURNS: usize = 300;

/// A row on the map.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct MapPoint {
    /// The row.
    pub id: String,
    /// First component.
    pub x: f32,
    /// Second component.
    pub y: f32,
    /// What kind it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub category: Option<Category>,
}

/// The points in the order of the rows, and the share of the variance that they show.
pub fn map(rows: &[Instruction], embeddings: &Embeddings) -> (Vec<MapPoint>, f64) {
    let width = embeddings.width;
    let mut chosen: Vec<usize> = (0..rows.len()).collect();
    chosen.sort_by(|a, b| rows[*a].id.cmp(&rows[*b].id));
    chosen.truncate(POINTS);
    chosen.sort_unstable();
    let row = |at: usize| &embeddings.values[at * width..(at + 1) * width];
    let mut mean = vec![0.0f64; width];
    for at in &chosen {
        for (mean, value) in mean.iter_mut().zip(row(*at)) {
            *mean += f64::from(*value) / chosen.len() as f64;
        }
    }
    let centred: Vec<Vec<f64>> = chosen
        .iter()
        .map(|at| {
            row(*at).iter().zip(&mean).map(|(value, mean)| f64::from(*value) - mean).collect()
        })
        .collect();
    let covariance = covariance(&centred, width);
    let total: f64 = (0..width).map(|at| covariance[at * width + at]).sum();
    let first = component(&covariance, width, None);
    let second = component(&covariance, width, Some(&first.0));
    let point = |(at, centred): (&usize, &Vec<f64>)| MapPoint {
        id: rows[*at].id.clone(),
        x: product(centred, &first.0) as f32,
        y: product(centred, &second.0) as f32,
        category: rows[*at].category,
    };
    let shown = if total > 0.0 { (first.1 + second.1) / total } else { 0.0 };
    (chosen.iter().zip(&centred).map(point).collect(), shown)
}

/// Sums of products of columns, (width, width).
fn covariance(rows: &[Vec<f64>], width: usize) -> Vec<f64> {
    let mut sums = vec![0.0; width * width];
    for row in rows {
        for (sums, value) in sums.chunks_exact_mut(width).zip(row) {
            for (sum, other) in sums.iter_mut().zip(row) {
                *sum += value * other;
            }
        }
    }
    sums
}

/// The direction of greatest variance (at right angles to `other`) and its variance, by power iteration.
fn component(covariance: &[f64], width: usize, other: Option<&[f64]>) -> (Vec<f64>, f64) {
    // Any start will do that no symmetry makes useless.
    let mut direction: Vec<f64> = (0..width).map(|at| 1.0 + (at as f64 * 0.618).fract()).collect();
    let mut variance = 0.0;
    for _ in 0..TURNS {
        if let Some(other) = other {
            let shared = product(&direction, other);
            for (value, other) in direction.iter_mut().zip(other) {
                *value -= shared * other;
            }
        }
        let length = product(&direction, &direction).sqrt();
        if length <= 0.0 {
            return (vec![0.0; width], 0.0);
        }
        for value in &mut direction {
            *value /= length;
        }
        let next: Vec<f64> =
            covariance.chunks_exact(width).map(|row| product(row, &direction)).collect();
        let found = product(&next, &direction);
        let settled = (found - variance).abs() <= 1e-12 * found.abs();
        variance = found;
        if settled {
            break;
        }
        direction = next;
    }
    let length = product(&direction, &direction).sqrt();
    // One of the two ends is chosen, so that the picture is never mirrored.
    let largest = direction.iter().copied().max_by(|a, b| a.abs().total_cmp(&b.abs()));
    let scale = largest.map_or(1.0, f64::signum) / if length > 0.0 { length } else { 1.0 };
    (direction.into_iter().map(|value| value * scale).collect(), variance)
}

fn product(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

#[cfg(test)]
mod tests {
    use bioinstruct_core::record::Provenance;

    use super::*;

    fn rows(count: usize) -> Vec<Instruction> {
        let row = |at: usize| {
            let text = format!("row {at}");
            Instruction::new(text, String::new(), "x".to_owned(), None, Provenance::default())
        };
        (0..count).map(row).collect()
    }

    #[test]
    fn the_two_widest_directions_are_found() {
        // Wide along (0.6, 0.8, 0), less so along the third axis, and hardly along (-0.8, 0.6, 0).
        let place = |at: usize| {
            let (a, b, c) = (
                (at as f32 * 1.7).sin() * 5.0,
                (at as f32 * 0.9).cos() * 2.0,
                (at % 3) as f32 * 0.01,
            );
            [0.6 * a - 0.8 * c, 0.8 * a + 0.6 * c, b]
        };
        let values: Vec<f32> = (0..200).flat_map(place).collect();
        let (points, shown) = map(&rows(200), &Embeddings { width: 3, values: values.clone() });
        assert!(shown > 0.999, "{shown}");
        for (one, other) in [(0, 7), (3, 150), (20, 21)] {
            let (a, b) = (&values[one * 3..][..3], &values[other * 3..][..3]);
            let far: f32 = a.iter().zip(b).map(|(a, b)| (a - b).powi(2)).sum::<f32>().sqrt();
            let (p, q) = (&points[one], &points[other]);
            let seen = (p.x - q.x).hypot(p.y - q.y);
            assert!((seen - far).abs() < 0.03, "{seen} for {far}");
        }
    }

    #[test]
    fn rows_that_are_all_the_same_are_one_point() {
        let (points, shown) = map(&rows(4), &Embeddings { width: 2, values: [0.6, 0.8].repeat(4) });
        assert!(points.iter().all(|point| point.x.abs() < 1e-6 && point.y.abs() < 1e-6));
        assert!(shown.is_finite());
        let (points, shown) = map(&[], &Embeddings { width: 2, values: Vec::new() });
        assert!(points.is_empty() && shown == 0.0);
    }
}
