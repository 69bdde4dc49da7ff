//! The search for a block's scale: a few candidates around the one that spans the block, each improved by least squares.

/// Tries around the scale that just spans the values: as many to either side, so far apart (in quantisation steps).
const TRIES: i32 = 10;
const APART: f32 = 0.1;
/// How often values are given their nearest steps and the line is fitted to those again.
const FITS: usize = 4;

/// The scale `d` for which `d·q`, whole `q` from -`half` to `half` - 1, comes closest to the values, in squares weighted with
/// the values' own: large weights matter most. Zero for a block of zeros.
pub(super) fn symmetric(values: &[f32], half: f32) -> f32 {
    let largest = values
        .iter()
        .fold(0.0f32, |so_far, value| if value.abs() > so_far.abs() { *value } else { so_far });
    if largest == 0.0 {
        return 0.0;
    }
    let (mut scale, mut gained) = (0.0, -1.0);
    for attempt in -TRIES..=TRIES {
        // the largest goes to -half, the end with one step more
        let inverse = -(half + attempt as f32 * APART) / largest;
        let (mut with_values, mut with_steps) = (0.0, 0.0);
        for value in values {
            let weight = value * value;
            let step = (inverse * value).round_ties_even().clamp(-half, half - 1.0);
            with_values += weight * value * step;
            with_steps += weight * step * step;
        }
        // squares that are explained with the best scale for these steps
        if with_steps > 0.0 && with_values * with_values > gained * with_steps {
            (scale, gained) = (with_values / with_steps, with_values * with_values / with_steps);
        }
    }
    scale
}

/// The scale and the minimum (neither negative) for which `scale·q - minimum`, whole `q` from 0 to `steps`, comes closest to
/// the values, in weighted squares.
pub(super) fn with_minimum(values: &[f32], steps: f32) -> (f32, f32) {
    let low = values.iter().copied().fold(0.0f32, f32::min);
    let high = values.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    if high <= low {
        // all alike, and not above zero
        return (0.0, -low);
    }
    let mean_square = values.iter().map(|value| value * value).sum::<f32>() / values.len() as f32;
    let weight = |value: f32| mean_square.sqrt() + value.abs();
    let (mut best, mut least) = ((0.0, 0.0), f32::INFINITY);
    for attempt in -TRIES..=TRIES {
        let inverse = (steps + attempt as f32 * APART) / (high - low);
        let mut sums = Sums::default();
        for &value in values {
            let step = (inverse * (value - low)).round_ties_even().clamp(0.0, steps);
            sums.add(weight(value), value, step);
        }
        for _ in 0..FITS {
            let (scale, minimum) = sums.fit();
            let (mut error, mut next) = (0.0, Sums::default());
            for &value in values {
                let step = if scale > 0.0 { (value + minimum) / scale } else { 0.0 };
                let step = step.round_ties_even().clamp(0.0, steps);
                let differs = scale * step - minimum - value;
                error += weight(value) * differs * differs;
                next.add(weight(value), value, step);
            }
            if error < least {
                (best, least) = ((scale, minimum), error);
            }
            sums = next;
        }
    }
    best
}

/// Weighted sums of a linear fit of the values by their steps.
#[derive(Default)]
struct Sums {
    weight: f32,
    step: f32,
    step_step: f32,
    value: f32,
    value_step: f32,
}

impl Sums {
    fn add(&mut self, weight: f32, value: f32, step: f32) {
        self.weight += weight;
        self.step += weight * step;
        self.step_step += weight * step * step;
        self.value += weight * value;
        self.value_step += weight * value * step;
    }

    /// Scale and minimum of the least squares, the minimum held at zero where it would be negative.
    fn fit(&self) -> (f32, f32) {
        let determinant = self.weight * self.step_step - self.step * self.step;
        if determinant > 0.0 {
            let scale = (self.weight * self.value_step - self.step * self.value) / determinant;
            let minimum = (self.step * self.value_step - self.step_step * self.value) / determinant;
            if scale > 0.0 && minimum >= 0.0 {
                return (scale, minimum);
            }
        }
        if self.step_step > 0.0 {
            ((self.value_step / self.step_step).max(0.0), 0.0)
        } else {
            (0.0, 0.0)
        }
    }
}
