//! What rows mean, by a sentence encoder: which are alike in other words ([`alike()`]), and a picture of all of them ([`map()`]).
//! Main type: [`Meaning`], the part of `stats.json`.

pub mod alike;
pub mod map;

use bioinstruct_core::model::{Embedder, ModelError};
use bioinstruct_core::record::Instruction;
use serde::{Deserialize, Serialize};

pub use alike::{Alike, alike};
pub use map::{MapPoint, map};

/// The rows in the encoder's eyes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Meaning {
    /// The encoder's name.
    pub encoder: String,
    /// Its digest.
    pub digest: String,
    /// Cosine from which on two rows are reported.
    pub threshold: f32,
    /// Rows whose nearest earlier row is at least that near.
    pub alike: usize,
    /// Of those, rows that differ from it in a number or a negation.
    pub alike_but_for_a_number_or_negation: usize,
    /// Share of the vectors' variance that the map shows.
    pub map_variance: f64,
    /// The rows on a plane; a sample when there are many.
    pub map: Vec<MapPoint>,
}

/// Embeds every row, and finds the pairs and the map.
///
/// # Errors
/// The encoder's.
pub fn read(
    rows: &[Instruction],
    embedder: &dyn Embedder,
    threshold: f32,
) -> Result<(Meaning, Vec<Alike>), ModelError> {
    let texts: Vec<String> = rows.iter().map(alike::text_of).collect();
    let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
    let embeddings = embedder.embed(&texts)?;
    let pairs = alike(rows, &embeddings, threshold);
    let (points, map_variance) = map(rows, &embeddings);
    let identity = embedder.identity();
    let meaning = Meaning {
        encoder: identity.name,
        digest: identity.digest,
        threshold,
        alike: pairs.len(),
        alike_but_for_a_number_or_negation: pairs
            .iter()
            .filter(|pair| !pair.differs_in.is_empty())
            .count(),
        map_variance,
        map: points,
    };
    Ok((meaning, pairs))
}
