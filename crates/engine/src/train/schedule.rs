//! The learning rate as a pure function of the step: [`Schedule`], with the values of transformers' schedulers.

use serde::{Deserialize, Serialize};

/// How the rate falls after the warm-up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Schedule {
    /// Half a cosine to zero.
    Cosine,
    /// A straight line to zero.
    Linear,
    /// It does not fall.
    Constant,
}

impl Schedule {
    /// The factor of the greatest rate for the step with this index, counted from zero; with a warm-up the first is zero.
    pub fn factor(self, step: usize, warmup: usize, total: usize) -> f64 {
        if step < warmup {
            return step as f64 / warmup as f64;
        }
        let progress = (step - warmup) as f64 / total.saturating_sub(warmup).max(1) as f64;
        match self {
            Self::Cosine => 0.5 * (1.0 + (std::f64::consts::PI * progress).cos()).max(0.0),
            Self::Linear => (1.0 - progress).max(0.0),
            Self::Constant => 1.0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `get_linear_schedule_with_warmup` and `get_cosine_schedule_with_warmup`, two warm-up steps of six.
    #[test]
    fn factors_equal_transformers() {
        let all =
            |schedule: Schedule| (0..6).map(|step| schedule.factor(step, 2, 6)).collect::<Vec<_>>();
        assert_eq!(all(Schedule::Linear), [0.0, 0.5, 1.0, 0.75, 0.5, 0.25]);
        let cosine = all(Schedule::Cosine);
        let expected = [0.0, 0.5, 1.0, 0.853_553_390_593_273_7, 0.5, 0.146_446_609_406_726_3];
        assert!(cosine.iter().zip(expected).all(|(a, b)| (a - b).abs() < 1e-12), "{cosine:?}");
        assert_eq!(Schedule::Constant.factor(5, 0, 6), 1.0);
    }
}
