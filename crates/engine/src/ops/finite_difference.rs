//! Checks a backward against the slope of its forward.

use bioinstruct_core::random::Stream;

/// Values in (-1, 1), the same for the same name.
pub(crate) fn random(length: usize, name: &str) -> Vec<f32> {
    let mut draws = Stream::new(11, name).at(0);
    (0..length).map(|_| (draws.unit() * 2.0 - 1.0) as f32).collect()
}

/// Asserts that `gradient` is the gradient of `loss` at `at`: the slope along each of several random directions and along
/// some single coordinates.
pub(crate) fn check(name: &str, at: &[f32], gradient: &[f32], loss: impl Fn(&[f32]) -> f64) {
    assert_eq!(at.len(), gradient.len());
    let difference = |direction: &[f32], step: f64| {
        let moved = |sign: f64| -> Vec<f32> {
            at.iter()
                .zip(direction)
                .map(|(value, way)| (f64::from(*value) + sign * step * f64::from(*way)) as f32)
                .collect()
        };
        (loss(&moved(1.0)) - loss(&moved(-1.0))) / (2.0 * step)
    };
    // Two wide steps, of which the error of third order cancels: a narrow one would drown in the rounding of the loss.
    let slope =
        |direction: &[f32]| (4.0 * difference(direction, 0.01) - difference(direction, 0.02)) / 3.0;
    let mut directions: Vec<Vec<f32>> =
        (0..4).map(|number| random(at.len(), &format!("{name} direction {number}"))).collect();
    for coordinate in (0..at.len()).step_by((at.len() / 7).max(1)) {
        let mut single = vec![0.0; at.len()];
        single[coordinate] = 1.0;
        directions.push(single);
    }
    for (number, direction) in directions.iter().enumerate() {
        let expected = slope(direction);
        let found: f64 = gradient
            .iter()
            .zip(direction)
            .map(|(slope, way)| f64::from(*slope) * f64::from(*way))
            .sum();
        let size = expected.abs().max(found.abs()).max(0.05);
        assert!(
            (expected - found).abs() <= 0.01 * size,
            "{name}, direction {number}: {found}, slope {expected}"
        );
    }
}

/// Σ weights · values: a loss whose gradient with respect to `values` is `weights`.
pub(crate) fn weighted(weights: &[f32], values: &[f32]) -> f64 {
    weights.iter().zip(values).map(|(weight, value)| f64::from(*weight) * f64::from(*value)).sum()
}
