//! Counter-based random numbers: a [`Stream`] is named by (seed, purpose) and read at any index, so there is no mutable
//! generator to save, restore or share between threads.
//!
//! The generator is Philox 4×32 with ten rounds (Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", SC 2011),
//! checked against that paper's known answers.

const MULTIPLIERS: [u32; 2] = [0xD251_1F53, 0xCD9E_8D57];
const WEYL: [u32; 2] = [0x9E37_79B9, 0xBB67_AE85];

/// One block of Philox 4×32-10.
#[inline]
pub fn philox(mut counter: [u32; 4], mut key: [u32; 2]) -> [u32; 4] {
    for _ in 0..10 {
        let first = u64::from(MULTIPLIERS[0]) * u64::from(counter[0]);
        let second = u64::from(MULTIPLIERS[1]) * u64::from(counter[2]);
        counter = [
            (second >> 32) as u32 ^ counter[1] ^ key[0],
            second as u32,
            (first >> 32) as u32 ^ counter[3] ^ key[1],
            first as u32,
        ];
        key = [key[0].wrapping_add(WEYL[0]), key[1].wrapping_add(WEYL[1])];
    }
    counter
}

/// The name of a list of numbers, from that of all of them but the last; an empty list's is zero.
///
/// Names lie as random numbers do, so draws from different names on do not meet.
pub fn name_of_list(before: u64, last: u32) -> u64 {
    let words = philox([before as u32, (before >> 32) as u32, last, 1], WEYL);
    u64::from(words[0]) | u64::from(words[1]) << 32
}

/// A named family of random numbers; copying it copies nothing but its 64-bit key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stream {
    key: [u32; 2],
}

impl Stream {
    /// The stream of one purpose (`"shuffle"`, `"dropout"`, …) under the user's seed.
    pub fn new(seed: u64, purpose: &str) -> Self {
        let mut hasher = blake3::Hasher::new();
        hasher.update(&seed.to_le_bytes());
        hasher.update(purpose.as_bytes());
        Self::from_digest(&hasher.finalize())
    }

    /// A stream of its own for each value of `index`: an epoch, a layer, a request.
    #[must_use]
    pub fn fork(self, index: u64) -> Self {
        let mut hasher = blake3::Hasher::new();
        hasher.update(&self.key[0].to_le_bytes());
        hasher.update(&self.key[1].to_le_bytes());
        hasher.update(&index.to_le_bytes());
        Self::from_digest(&hasher.finalize())
    }

    fn from_digest(digest: &blake3::Hash) -> Self {
        let bytes = digest.as_bytes();
        let word = |at: usize| {
            u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
        };
        Self { key: [word(0), word(4)] }
    }

    /// The numbers that belong to draw `index`.
    pub fn at(self, index: u64) -> Draws {
        Draws { key: self.key, index, block: 0, buffer: [0; 4], used: 4 }
    }

    /// The first four words of each of sixteen draws from `first` on, by word: the form that kernels use for dropout masks.
    ///
    /// Inlined, so that a caller compiled for wide registers computes the sixteen together.
    #[expect(clippy::needless_range_loop, reason = "a lane of several arrays at once")]
    #[inline(always)]
    pub fn sixteen(self, first: u64) -> [[u32; 16]; 4] {
        // Words in the lower halves of 64-bit lanes, which is what vectors multiply; what a product leaves in the upper half
        // is cut off where it is multiplied next.
        let low = |word: u64| word & u64::from(u32::MAX);
        let mut counter = [[0u64; 16]; 4];
        for lane in 0..16 {
            let index = first.wrapping_add(lane as u64);
            counter[0][lane] = index;
            counter[1][lane] = index >> 32;
        }
        let mut key = self.key;
        for _ in 0..10 {
            let [first_key, second_key] = key.map(u64::from);
            for lane in 0..16 {
                let first = u64::from(MULTIPLIERS[0]) * low(counter[0][lane]);
                let second = u64::from(MULTIPLIERS[1]) * low(counter[2][lane]);
                counter[0][lane] = (second >> 32) ^ counter[1][lane] ^ first_key;
                counter[1][lane] = second;
                counter[2][lane] = (first >> 32) ^ counter[3][lane] ^ second_key;
                counter[3][lane] = first;
            }
            key = [key[0].wrapping_add(WEYL[0]), key[1].wrapping_add(WEYL[1])];
        }
        let mut found = [[0; 16]; 4];
        for word in 0..4 {
            for lane in 0..16 {
                found[word][lane] = counter[word][lane] as u32;
            }
        }
        found
    }
}

/// An endless sequence of random numbers that starts at one index of a [`Stream`].
#[derive(Debug, Clone)]
pub struct Draws {
    key: [u32; 2],
    index: u64,
    block: u64,
    buffer: [u32; 4],
    used: usize,
}

impl Draws {
    /// The next 32 random bits.
    pub fn next_u32(&mut self) -> u32 {
        if self.used == 4 {
            let (index, block) = (self.index, self.block);
            self.buffer = philox(
                [index as u32, (index >> 32) as u32, block as u32, (block >> 32) as u32],
                self.key,
            );
            self.block += 1;
            self.used = 0;
        }
        self.used += 1;
        self.buffer[self.used - 1]
    }

    /// The next 64 random bits.
    pub fn next_u64(&mut self) -> u64 {
        let low = u64::from(self.next_u32());
        low | (u64::from(self.next_u32()) << 32)
    }

    /// Uniform in [0, 1) with 53 bits.
    pub fn unit(&mut self) -> f64 {
        (self.next_u64() >> 11) as f64 / (1u64 << 53) as f64
    }

    /// Normal with mean 0 and deviation 1 (Box and Muller 1958); takes two draws of [`Draws::unit`].
    pub fn normal(&mut self) -> f64 {
        // The first is in (0, 1]: its logarithm is finite.
        let (radius, angle) = (1.0 - self.unit(), self.unit());
        (-2.0 * radius.ln()).sqrt() * (std::f64::consts::TAU * angle).cos()
    }

    /// Uniform in `0..bound` without bias (Lemire 2019); `bound` must not be zero.
    pub fn below(&mut self, bound: usize) -> usize {
        assert!(bound > 0, "a random choice among nothing");
        let bound = bound as u64;
        let threshold = bound.wrapping_neg() % bound;
        loop {
            let product = u128::from(self.next_u64()) * u128::from(bound);
            if product as u64 >= threshold {
                return (product >> 64) as usize;
            }
        }
    }

    /// Fisher–Yates shuffle.
    pub fn shuffle<T>(&mut self, items: &mut [T]) {
        for last in (1..items.len()).rev() {
            items.swap(last, self.below(last + 1));
        }
    }

    /// `count` distinct numbers of `0..bound` in random order; all of them when `bound` is smaller.
    pub fn distinct(&mut self, count: usize, bound: usize) -> Vec<usize> {
        let mut all: Vec<usize> = (0..bound).collect();
        let count = count.min(bound);
        for position in 0..count {
            let other = position + self.below(bound - position);
            all.swap(position, other);
        }
        all.truncate(count);
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Known answers of the Random123 distribution for `philox4x32-10`.
    #[test]
    fn sixteen_draws_at_once_are_those_draws() {
        let stream = Stream::new(3, "mask");
        for first in [0, 5, u64::from(u32::MAX) - 7] {
            let words = stream.sixteen(first);
            for (word, lanes) in words.iter().enumerate() {
                for (lane, found) in lanes.iter().enumerate() {
                    let mut draws = stream.at(first + lane as u64);
                    let expected: [u32; 4] = std::array::from_fn(|_| draws.next_u32());
                    assert_eq!(*found, expected[word]);
                }
            }
        }
    }

    #[test]
    fn philox_matches_the_published_answers() {
        assert_eq!(philox([0; 4], [0; 2]), [0x6627_e8d5, 0xe169_c58d, 0xbc57_ac4c, 0x9b00_dbd8]);
        assert_eq!(
            philox([u32::MAX; 4], [u32::MAX; 2]),
            [0x408f_276d, 0x41c8_3b0e, 0xa20b_c7c6, 0x6d54_51fd]
        );
        assert_eq!(
            philox(
                [0x243f_6a88, 0x85a3_08d3, 0x1319_8a2e, 0x0370_7344],
                [0xa409_3822, 0x299f_31d0]
            ),
            [0xd16c_fe09, 0x94fd_cceb, 0x5001_e420, 0x2412_6ea1]
        );
    }

    #[test]
    fn streams_and_indices_are_independent_names() {
        let stream = Stream::new(7, "shuffle");
        assert_eq!(stream.at(3).next_u64(), stream.at(3).next_u64());
        assert_ne!(stream.at(3).next_u64(), stream.at(4).next_u64());
        assert_ne!(stream.at(3).next_u64(), Stream::new(8, "shuffle").at(3).next_u64());
        assert_ne!(stream.at(3).next_u64(), Stream::new(7, "split").at(3).next_u64());
        assert_ne!(stream.fork(1).at(0).next_u64(), stream.fork(2).at(0).next_u64());
    }

    #[test]
    fn normal_draws_have_mean_zero_and_deviation_one() {
        let mut draws = Stream::new(1, "test").at(0);
        let values: Vec<f64> = (0..20_000).map(|_| draws.normal()).collect();
        let mean = values.iter().sum::<f64>() / 20_000.0;
        let square = values.iter().map(|value| value * value).sum::<f64>() / 20_000.0;
        let beyond = values.iter().filter(|value| value.abs() > 1.96).count();
        assert!(mean.abs() < 0.03 && (square - 1.0).abs() < 0.05, "{mean} {square}");
        assert!((850..1150).contains(&beyond), "{beyond}");
    }

    #[test]
    fn below_is_in_range_and_covers_it() {
        let mut draws = Stream::new(1, "test").at(0);
        let mut seen = [0usize; 7];
        for _ in 0..7000 {
            seen[draws.below(7)] += 1;
        }
        assert!(seen.iter().all(|&count| (850..1150).contains(&count)), "{seen:?}");
    }

    #[test]
    fn distinct_draws_do_not_repeat() {
        let mut chosen = Stream::new(1, "test").at(0).distinct(3, 5);
        chosen.sort_unstable();
        chosen.dedup();
        assert_eq!(chosen.len(), 3);
        assert_eq!(Stream::new(1, "test").at(0).distinct(9, 2).len(), 2);
    }
}
