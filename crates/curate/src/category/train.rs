//! How the local classifier's weights are made: [`train`], multinomial logistic regression by stochastic gradient descent.
//!
//! The same rows give the same bytes on every machine: order comes from a named stream, and all arithmetic is addition,
//! multiplication and division of doubles, which IEEE 754 fixes (the exponential is a product, not the system's).

use bioinstruct_core::random::Stream;
use bioinstruct_core::record::{Category, SeedTask};

use super::by_name;
use super::features::{BUCKETS, InputSize, features};

/// Number of categories.
const CLASSES: usize = Category::ALL.len();

/// Stored weights are whole multiples of this.
const UNIT: f64 = 1.0 / 1024.0;

/// How the rows are gone through.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Schedule {
    /// Times that every row is seen.
    pub epochs: u64,
    /// Step length of the first epoch; that of epoch e is `rate / (1 + e / 10)`.
    pub rate: f64,
    /// Share of each weight that is taken off after an epoch.
    pub decay: f64,
}

impl Schedule {
    /// Chosen by cross-validation on the training rows; the labelled public rows had no part in it.
    pub const CHOSEN: Self = Self { epochs: 60, rate: 0.2, decay: 0.02 };
}

/// A training row: its features and its kind.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Example {
    features: Vec<usize>,
    category: Category,
}

impl Example {
    /// Of an instruction.
    pub fn new(instruction: &str, size: InputSize, category: Category) -> Self {
        Self { features: features(instruction, size), category }
    }

    /// Its kind.
    pub fn category(&self) -> Category {
        self.category
    }
}

/// The seeds and the rows of `crates/curate/data/category_rows.tsv`.
///
/// # Errors
/// When a line is not kind, size and instruction between tabs.
pub fn examples(seeds: &[SeedTask], rows: &str) -> Result<Vec<Example>, String> {
    let of_seed = |seed: &SeedTask| {
        Example::new(&seed.instruction, InputSize::of(&seed.input), seed.category)
    };
    let mut examples: Vec<Example> = seeds.iter().map(of_seed).collect();
    for (line, number) in rows.lines().zip(1..) {
        if line.starts_with('#') || line.is_empty() {
            continue;
        }
        let mut fields = line.split('\t');
        let category = fields.next().and_then(by_name);
        let size = fields.next().and_then(InputSize::by_name);
        match (category, size, fields.next(), fields.next()) {
            (Some(category), Some(size), Some(text), None) => {
                examples.push(Example::new(text, size, category));
            }
            _ => return Err(format!("line {number} is not kind, size and instruction")),
        }
    }
    Ok(examples)
}

/// One weight for each bucket and category; a bucket's weights stand together.
#[derive(Debug, Clone, PartialEq)]
pub struct Weights {
    values: Vec<f64>,
}

impl Weights {
    /// Two bytes a weight, little-endian, in units of 1/1024.
    pub fn to_bytes(&self) -> Vec<u8> {
        let stored = self.values.iter().map(|value| {
            let units = (value / UNIT).round();
            units.clamp(f64::from(i16::MIN), f64::from(i16::MAX)) as i16
        });
        stored.flat_map(i16::to_le_bytes).collect()
    }

    /// From what [`Self::to_bytes`] gave; nothing when the length is another.
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let (stored, rest) = bytes.as_chunks::<2>();
        if !rest.is_empty() || stored.len() != BUCKETS * CLASSES {
            return None;
        }
        let values = stored.iter().map(|&two| f64::from(i16::from_le_bytes(two)) * UNIT).collect();
        Some(Self { values })
    }

    /// The likeliest kind under these weights.
    pub fn classify(&self, example: &Example) -> Category {
        let scores = score(self, &example.features);
        let best =
            (1..CLASSES).fold(0, |best, at| if scores[at] > scores[best] { at } else { best });
        Category::ALL[best]
    }
}

/// A score for each category; the highest is the likeliest.
pub(super) fn score(weights: &Weights, features: &[usize]) -> [f64; CLASSES] {
    let mut scores = [0.0; CLASSES];
    for &at in features {
        for (score, weight) in scores.iter_mut().zip(&weights.values[at * CLASSES..]) {
            *score += weight;
        }
    }
    scores
}

/// Goes through the rows as `schedule` says.
pub fn train(examples: &[Example], schedule: Schedule) -> Weights {
    let mut weights = Weights { values: vec![0.0; BUCKETS * CLASSES] };
    let mut order: Vec<usize> = (0..examples.len()).collect();
    for epoch in 0..schedule.epochs {
        Stream::new(0, "category-training").at(epoch).shuffle(&mut order);
        let rate = schedule.rate / (1.0 + epoch as f64 / 10.0);
        for &at in &order {
            step(&mut weights, &examples[at], rate);
        }
        for value in &mut weights.values {
            *value *= 1.0 - schedule.decay;
        }
    }
    weights
}

fn step(weights: &mut Weights, example: &Example, rate: f64) {
    let shares = softmax(score(weights, &example.features));
    for (class, share) in shares.into_iter().enumerate() {
        let wanted = if Category::ALL[class] == example.category { 1.0 } else { 0.0 };
        // Rows with many features do not count for more.
        let change = rate * (wanted - share) / (example.features.len() as f64).max(1.0) * 8.0;
        for &at in &example.features {
            weights.values[at * CLASSES + class] += change;
        }
    }
}

fn softmax(scores: [f64; CLASSES]) -> [f64; CLASSES] {
    let highest = scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let powers = scores.map(|score| exponential(score - highest));
    let sum: f64 = powers.iter().sum();
    powers.map(|power| power / sum)
}

/// `(1 + x / 2¹⁶)` to the power 2¹⁶: near enough to the exponential of x ≤ 0 for a gradient, and the same everywhere.
fn exponential(x: f64) -> f64 {
    let mut power = (1.0 + x.max(-700.0) / 65_536.0).max(0.0);
    for _ in 0..16 {
        power *= power;
    }
    power
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_product_is_the_exponential() {
        for x in [0.0, -0.5, -3.0, -20.0] {
            assert!((exponential(x) - x.exp()).abs() < 1e-4 * x.exp().max(1e-3), "{x}");
        }
        assert!(exponential(-1e9).is_finite());
    }

    #[test]
    fn a_clear_difference_is_learned_and_survives_storage() {
        let list =
            |word: &str| Example::new(&format!("{word} the note"), InputSize::Long, Category::Ie);
        let write = |word: &str| {
            Example::new(&format!("{word} the note"), InputSize::Long, Category::Generation)
        };
        let examples = [list("Extract"), write("Summarize"), list("Find"), write("Rewrite")];
        let weights = train(&examples, Schedule::CHOSEN);
        let stored = Weights::from_bytes(&weights.to_bytes()).unwrap();
        for example in &examples {
            assert_eq!(stored.classify(example), example.category());
        }
        assert_eq!(Weights::from_bytes(&[0; 3]), None);
        assert!(self::examples(&[], "qa\tlong\n").is_err());
        assert_eq!(self::examples(&[], "# comment\nqa\tlong\tWhy?\n").unwrap().len(), 1);
    }
}
