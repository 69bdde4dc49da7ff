//! How long to wait before a request is sent again: [`Backoff`].

use std::time::Duration;

use bioinstruct_core::random::Stream;

/// Exponential back-off with full jitter: a uniform share of `base · 2^(attempt − 1)`, at most `cap`.
///
/// The jitter comes from a named random stream, so a replayed run waits the same times.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Backoff {
    /// The longest first wait.
    pub base: Duration,
    /// The longest wait, also when a server asks for a longer one.
    pub cap: Duration,
    /// Of the random stream.
    pub seed: u64,
}

impl Default for Backoff {
    fn default() -> Self {
        Self { base: Duration::from_secs(1), cap: Duration::from_mins(1), seed: 0 }
    }
}

impl Backoff {
    /// The wait after attempt number `attempt` (from one) of the request `id` failed. What the server asked for is
    /// honoured up to the cap, and a little jitter is added so that waiting requests do not return all at once.
    pub(crate) fn delay(&self, id: &str, attempt: u32, asked: Option<Duration>) -> Duration {
        let share = Stream::new(self.seed, &format!("backoff/{id}")).at(u64::from(attempt)).unit();
        if let Some(asked) = asked {
            return asked.min(self.cap) + self.base.mul_f64(share);
        }
        let doublings = attempt.saturating_sub(1).min(20);
        let longest = self.base.saturating_mul(1 << doublings).min(self.cap);
        longest.mul_f64(share)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_stay_under_the_cap_and_repeat() {
        let backoff = Backoff::default();
        for attempt in 1..100 {
            let limit = Duration::from_secs(1 << (attempt - 1).min(6)).min(backoff.cap);
            let delay = backoff.delay("a", attempt, None);
            assert!(delay <= limit, "{attempt}: {delay:?}");
            assert_eq!(delay, backoff.delay("a", attempt, None));
        }
        assert_ne!(backoff.delay("a", 5, None), backoff.delay("b", 5, None));
    }

    #[test]
    fn a_server_is_obeyed_up_to_the_cap() {
        let backoff = Backoff::default();
        let asked = backoff.delay("a", 1, Some(Duration::from_secs(7)));
        assert!((7.0..8.0).contains(&asked.as_secs_f64()), "{asked:?}");
        let forever = backoff.delay("a", 1, Some(Duration::from_secs(1_000_000_000)));
        assert!(forever <= Duration::from_secs(61), "{forever:?}");
    }
}
