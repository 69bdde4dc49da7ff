//! Log-likelihoods of the tokens of a vocabulary: [`Likelihoods`].

/// The log-softmax of one row of logits: f32 logits, sums in f64 in the order of the ids.
#[derive(Debug, Clone, Copy)]
pub struct Likelihoods<'a> {
    logits: &'a [f32],
    largest: f64,
    /// Logarithm of the sum of exp(logit − largest).
    log_sum: f64,
    best: Option<u32>,
}

impl<'a> Likelihoods<'a> {
    /// Of these logits, one per id.
    pub fn new(logits: &'a [f32]) -> Self {
        let best = first_maximum(logits);
        let largest = best.map_or(f64::NAN, |id| f64::from(logits[id as usize]));
        let sum: f64 = logits.iter().map(|logit| (f64::from(*logit) - largest).exp()).sum();
        Self { logits, largest, log_sum: sum.ln(), best }
    }

    /// The log-likelihood of a token in nats; NaN for one outside the vocabulary.
    pub fn of(&self, id: u32) -> f64 {
        self.logits
            .get(id as usize)
            .map_or(f64::NAN, |logit| f64::from(*logit) - self.largest - self.log_sum)
    }

    /// The most likely token, the lowest id among equals; none when no logit is a number.
    pub fn best(&self) -> Option<u32> {
        self.best
    }
}

/// Where the largest value first stands; NaN and −∞ are never it.
pub fn first_maximum(values: &[f32]) -> Option<u32> {
    let mut largest = f32::NEG_INFINITY;
    let mut found = None;
    for (id, value) in (0u32..).zip(values) {
        if *value > largest {
            largest = *value;
            found = Some(id);
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn log_softmax_by_hand() {
        let logits = [1.0, 3.0, 2.0, 3.0];
        let row = Likelihoods::new(&logits);
        let sum: f64 = [1.0f64, 3.0, 2.0, 3.0].iter().map(|logit| logit.exp()).sum();
        for (id, logit) in (0u32..).zip(logits) {
            assert!((row.of(id) - (f64::from(logit) - sum.ln())).abs() < 1e-14);
        }
        assert_eq!(row.best(), Some(1), "the first of two equal ones");
        assert!(row.of(4).is_nan());
    }

    #[test]
    fn large_logits_do_not_overflow() {
        let row = Likelihoods::new(&[3.0e38, 3.0e38, -3.0e38]);
        assert!((row.of(0) + std::f64::consts::LN_2).abs() < 1e-12);
        assert!(row.of(2) < -1e38);
    }

    #[test]
    fn rows_without_numbers_have_no_maximum() {
        assert_eq!(first_maximum(&[]), None);
        assert_eq!(first_maximum(&[f32::NAN, f32::NEG_INFINITY]), None);
        assert_eq!(first_maximum(&[f32::NAN, -7.0]), Some(1));
    }
}
