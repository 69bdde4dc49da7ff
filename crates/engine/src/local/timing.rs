//! How fast a run was: [`Timing`].

use std::time::Duration;

/// Tokens and seconds of one run of requests; a report for people, on which no result depends.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Timing {
    /// Tokens of prompts that were read.
    pub prefill_tokens: u64,
    /// Seconds that took.
    pub prefill_seconds: f64,
    /// Tokens of replies that were read again to write the next ones, all replies together.
    pub decode_tokens: u64,
    /// Seconds that took, with the choice of the tokens.
    pub decode_seconds: f64,
}

impl Timing {
    /// Tokens of prompts per second; zero when nothing ran.
    pub fn prefill_tokens_per_second(&self) -> f64 {
        rate(self.prefill_tokens, self.prefill_seconds)
    }

    /// Tokens of replies per second, all replies together; zero when nothing ran.
    pub fn decode_tokens_per_second(&self) -> f64 {
        rate(self.decode_tokens, self.decode_seconds)
    }

    pub(super) fn add(&mut self, prompts: bool, tokens: usize, elapsed: Duration) {
        if tokens == 0 {
            return;
        }
        if prompts {
            self.prefill_tokens += tokens as u64;
            self.prefill_seconds += elapsed.as_secs_f64();
        } else {
            self.decode_tokens += tokens as u64;
            self.decode_seconds += elapsed.as_secs_f64();
        }
    }
}

fn rate(tokens: u64, seconds: f64) -> f64 {
    if seconds > 0.0 { tokens as f64 / seconds } else { 0.0 }
}
