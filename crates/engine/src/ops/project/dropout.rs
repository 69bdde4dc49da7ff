//! Which values dropout sets to zero: a [`Dropout`] names them by random numbers that are drawn again in the backward instead of
//! being kept.
//!
//! Not every value is asked whether it stays: what is drawn is how many stay before the next one that does not, which has a
//! geometric distribution. At a probability of 0.05 that is a twentieth of the draws.

use bioinstruct_core::random::Stream;

pub use crate::backend::Dropout;
use crate::kernels::KernelPath;
use crate::kernels::simd::{Arithmetic, dispatch};

/// Words of sixteen draws.
const WORDS: usize = 64;

impl Dropout<'_> {
    /// What the values that stay are multiplied by: 1 / (1 − p).
    pub(super) fn keep(&self) -> f32 {
        1.0 / (1.0 - self.probability)
    }

    /// The places of a row of `width` values that are dropped, ascending.
    ///
    /// They are named by the stream and the tokens up to this one: batch, threads and kernels have no part in them.
    pub(super) fn places(&self, path: KernelPath, row: usize, width: usize, places: &mut Vec<u32>) {
        places.clear();
        if self.probability > 0.0 {
            let per_bit = -1.0 / log2(1.0 - f64::from(self.probability));
            draw_places(path, self.stream, self.rows[row], per_bit, width, places);
        }
    }

    /// Writes a row multiplied by its mask: zero where it is dropped, 1 / (1 − p) elsewhere.
    pub(super) fn mask(
        &self,
        path: KernelPath,
        row: usize,
        values: &[f32],
        (places, out): (&mut Vec<u32>, &mut [f32]),
    ) {
        self.places(path, row, values.len(), places);
        let keep = self.keep();
        out.iter_mut().zip(values).for_each(|(out, value)| *out = value * keep);
        for place in places {
            out[*place as usize] = 0.0;
        }
    }
}

dispatch!(fn draw_places = draw_places_body(
    stream: Stream, first: u64, per_bit: f64, width: usize, places: &mut Vec<u32>
));

#[expect(clippy::extra_unused_type_parameters, reason = "`dispatch!` names one")]
#[inline(always)]
fn draw_places_body<A: Arithmetic>(
    stream: Stream,
    first: u64,
    per_bit: f64,
    width: usize,
    places: &mut Vec<u32>,
) {
    let mut place = 0;
    // No row takes more draws than it has values, even if all of them are dropped.
    for chunk in 0..width.div_ceil(WORDS) {
        for words in stream.sixteen(first.wrapping_add(16 * chunk as u64)) {
            for stay in words.map(|word| staying(word, per_bit, width)) {
                place += stay as usize;
                if place >= width {
                    return;
                }
                places.push(place as u32);
                place += 1;
            }
        }
    }
}

/// How many values stay before the next that is dropped, `width` at most: ⌊log u / log (1 − p)⌋ with u = (`word` + 1) / 2³²,
/// which is k or more with probability (1 − p)ᵏ.
#[inline(always)]
fn staying(word: u32, per_bit: f64, width: usize) -> u32 {
    /// Added to a whole number below 2³², it leaves that number in the lower half of the sum's bits.
    const WHOLE: f64 = 4_503_599_627_370_496.0;
    let stay = (32.0 - log2(f64::from(word) + 1.0)) * per_bit;
    let stay = if stay < width as f64 { stay.floor() } else { width as f64 };
    (stay + WHOLE).to_bits() as u32
}

/// log₂ of a positive number to ten digits, by sums and products that every processor rounds alike.
#[inline(always)]
fn log2(x: f64) -> f64 {
    const ROOT_OF_HALF: u64 = std::f64::consts::FRAC_1_SQRT_2.to_bits();
    let bits = x.to_bits();
    // x = 2ᵉ m with m from √½ to √2.
    let exponent = bits.wrapping_sub(ROOT_OF_HALF).cast_signed() >> 52;
    let m = f64::from_bits(bits.wrapping_sub((exponent << 52).cast_unsigned()));
    // ln m = 2 artanh s.
    let s = (m - 1.0) / (m + 1.0);
    let square = s * s;
    let mut series = 1.0 / 13.0;
    for odd in [11.0, 9.0, 7.0, 5.0, 3.0, 1.0] {
        series = series * square + 1.0 / odd;
    }
    exponent as f64 + 2.0 * std::f64::consts::LOG2_E * s * series
}

#[cfg(test)]
mod tests {
    use super::*;
    use bioinstruct_core::random::name_of_list;

    /// Of the beginnings of one text.
    fn names(count: usize) -> Vec<u64> {
        let next = |name: &u64| Some(name_of_list(*name, 5));
        std::iter::successors(Some(name_of_list(0, 5)), next).take(count).collect()
    }

    #[test]
    fn logarithms_have_ten_digits() {
        for step in 1..4000 {
            for x in [f64::from(step) * 1e6, f64::from(step) / 4000.0, 1.0 - 1e-7 * f64::from(step)]
            {
                let (found, expected) = (log2(x), x.log2());
                assert!(
                    (found - expected).abs() <= 1e-10 * expected.abs(),
                    "{x}: {found}, {expected}"
                );
            }
        }
        assert_eq!(log2(1.0), 0.0);
    }

    /// As if each value had been asked: the share, its spread over rows, and no place that another one favours or avoids.
    #[test]
    fn each_value_is_dropped_by_itself() {
        const WIDTH: usize = 300;
        const ROWS: usize = 4000;
        let (stream, rows) = (Stream::new(1, "mask"), names(ROWS));
        let path = KernelPath::choose().unwrap();
        for probability in [0.001f32, 0.05, 0.5, 0.9] {
            let dropout = Dropout { probability, stream, rows: &rows };
            let (mut counts, mut squares, mut neighbours) = ([0u32; WIDTH], 0.0, 0);
            let mut places = Vec::new();
            for row in 0..ROWS {
                dropout.places(path, row, WIDTH, &mut places);
                assert!(places.is_sorted_by(|a, b| a < b));
                for place in &places {
                    counts[*place as usize] += 1;
                }
                neighbours += places.windows(2).filter(|pair| pair[1] == pair[0] + 1).count();
                squares += (places.len() as f64 - f64::from(probability) * WIDTH as f64).powi(2);
            }
            let p = f64::from(probability);
            let close = |found: f64, tries: usize, p: f64, deviations: f64| {
                let (mean, spread) = (tries as f64 * p, (tries as f64 * p * (1.0 - p)).sqrt());
                assert!((found - mean).abs() < deviations * spread + 1.0, "{p}: {found}, {mean}");
            };
            close(counts.iter().sum::<u32>().into(), ROWS * WIDTH, p, 4.0);
            for count in counts {
                close(count.into(), ROWS, p, 5.0);
            }
            close(neighbours as f64, ROWS * (WIDTH - 1), p * p, 5.0);
            let variance = squares / ROWS as f64 / (WIDTH as f64 * p * (1.0 - p));
            assert!((variance - 1.0).abs() < 0.1, "{p}: {variance}");
        }
    }

    #[test]
    fn places_are_the_same_on_every_path_and_named_by_stream_and_row() {
        let places = |path, seed, name| {
            let (stream, rows) = (Stream::new(seed, "mask"), [0, name]);
            let mut places = vec![7];
            Dropout { probability: 0.2, stream, rows: &rows }.places(path, 1, 500, &mut places);
            places
        };
        for path in KernelPath::ALL.into_iter().filter(|path| path.available()) {
            for name in [3, 1 << 40, u64::MAX - 3] {
                assert_eq!(places(path, 1, name), places(KernelPath::Portable, 1, name));
                assert_ne!(places(path, 1, name), places(path, 2, name));
                assert_ne!(places(path, 1, name), places(path, 1, name + 1));
            }
        }
    }

    #[test]
    fn a_masked_row_keeps_its_mean() {
        let (stream, rows) = (Stream::new(1, "mask"), names(100));
        let dropout = Dropout { probability: 0.25, stream, rows: &rows };
        let path = KernelPath::choose().unwrap();
        let (mut out, mut zeros, mut sum) = ([0.0f32; 70], 0, 0.0);
        for row in 0..100 {
            dropout.mask(path, row, &[1.0; 70], (&mut Vec::new(), &mut out));
            zeros += out.iter().filter(|value| **value == 0.0).count();
            sum += out.iter().sum::<f32>();
        }
        let (zeros, mean) = (zeros as f64 / 7000.0, sum / 7000.0);
        assert!((zeros - 0.25).abs() < 0.02 && (mean - 1.0).abs() < 0.03, "{zeros} {mean}");
    }
}
