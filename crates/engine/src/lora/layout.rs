//! Where the values of an adapter lie: [`Layout`] gives each adapted projection its place in one flat buffer, so that a
//! gradient, an optimizer state or a checkpoint is one buffer too.

use std::ops::Range;

use bioinstruct_core::random::Stream;

use super::{Init, LoraConfig, Projection};
use crate::backend::{Factors, MagnitudePlace};
use crate::error::EngineError;
use crate::format::ModelConfig;

/// Where the factors of each projection of each block lie in a flat buffer.
#[derive(Debug, Clone, PartialEq)]
pub struct Layout {
    blocks: Vec<[Option<Factors>; 7]>,
    length: usize,
    norms: usize,
}

impl Layout {
    /// Block by block, projection by projection: A, then B, then DoRA's magnitudes.
    ///
    /// # Errors
    /// Nothing is adapted, or a pattern gives an impossible rank or alpha.
    pub fn new(model: &ModelConfig, lora: &LoraConfig) -> Result<Self, EngineError> {
        let mut layout = Self { blocks: Vec::new(), length: 0, norms: 0 };
        for block in 0..model.layers {
            let mut places = [const { None }; 7];
            for projection in Projection::ALL {
                if lora.targets.select(block, projection, model.layers) {
                    let shape = projection.shape(model);
                    places[projection as usize] =
                        Some(layout.place(shape, lora, &projection.module(block))?);
                }
            }
            layout.blocks.push(places);
        }
        if layout.length == 0 {
            let reason = "names no projection of this model".to_owned();
            return Err(EngineError::Setting { setting: "train.targets", reason });
        }
        Ok(layout)
    }

    fn place(
        &mut self,
        (out, input): (usize, usize),
        lora: &LoraConfig,
        module: &str,
    ) -> Result<Factors, EngineError> {
        let rank = lora.rank_of(module)?;
        let scale = lora.scale_of(module, rank)?;
        let mut take = |count: usize| -> Range<usize> {
            self.length += count;
            self.length - count..self.length
        };
        let (a, b) = (take(rank * input), take(out * rank));
        let magnitude = lora.dora.then(|| {
            let values = take(out);
            self.norms += out;
            MagnitudePlace { values, norms: self.norms - out..self.norms }
        });
        Ok(Factors { a, b, rank, scale, magnitude })
    }

    /// How many parameters there are.
    pub fn length(&self) -> usize {
        self.length
    }

    /// How many rows of the adapted matrices have a magnitude.
    pub fn norms(&self) -> usize {
        self.norms
    }

    /// How many blocks the model has.
    pub fn blocks(&self) -> usize {
        self.blocks.len()
    }

    /// The factors of one projection of one block.
    pub fn factors(&self, block: usize, projection: Projection) -> Option<&Factors> {
        self.blocks.get(block)?[projection as usize].as_ref()
    }

    /// The lowest block with an adapted projection: no gradient is needed below it.
    pub fn lowest_block(&self) -> Option<usize> {
        self.blocks.iter().position(|block| block.iter().any(Option::is_some))
    }

    /// Every adapted projection: block, projection, factors.
    pub fn all(&self) -> impl Iterator<Item = (usize, Projection, &Factors)> {
        self.blocks.iter().enumerate().flat_map(|(block, factors)| {
            Projection::ALL.into_iter().zip(factors).filter_map(move |(projection, factors)| {
                Some((block, projection, factors.as_ref()?))
            })
        })
    }

    /// Fresh factors as PEFT draws them: A in ±1/√in (Kaiming with a = √5) or from N(0, 1/rank²), B zero. Magnitudes are
    /// zero here: they come from the base ([`Llama::initial_values`](crate::model::Llama::initial_values)).
    pub fn initial(&self, seed: u64, init: Init) -> Vec<f32> {
        let mut values = vec![0.0; self.length];
        let stream = Stream::new(seed, "lora-init");
        for (index, (_, _, factors)) in self.all().enumerate() {
            let input = factors.a.len() / factors.rank;
            let bound = 1.0 / (input as f64).sqrt();
            let mut draws = stream.at(index as u64);
            for value in &mut values[factors.a.clone()] {
                *value = match init {
                    Init::Kaiming => (draws.unit() * 2.0 - 1.0) * bound,
                    Init::Gaussian => draws.normal() / factors.rank as f64,
                } as f32;
            }
        }
        values
    }

    /// The stretches of the buffer in order, and whether each is of the kind that LoRA+ trains faster: B and magnitudes.
    pub fn stretches(&self) -> Vec<(Range<usize>, bool)> {
        let mut found = Vec::new();
        for (_, _, factors) in self.all() {
            let end = factors.magnitude.as_ref().map_or(factors.b.end, |place| place.values.end);
            found.push((factors.a.clone(), false));
            found.push((factors.b.start..end, true));
        }
        found
    }
}
