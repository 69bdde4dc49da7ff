//! What an adapter needs of its base: its first values, and the row lengths that DoRA divides by, kept up to date.

use super::Llama;
use crate::backend::{AdamW, Backend};
use crate::error::EngineError;
use crate::lora::{Adapter, Init, Layout, LoraConfig};

/// An optimizer's first and second moments.
#[derive(Debug)]
pub struct Moments<B: Backend> {
    /// Running means of the gradient.
    pub mean: B::Buffer,
    /// Running means of its square.
    pub square: B::Buffer,
}

impl<B: Backend> Llama<B> {
    /// An adapter of this base with these values, in its layout's order.
    ///
    /// # Errors
    /// The settings make no adapter, or there are too many or too few values.
    pub fn adapter(&self, config: LoraConfig, values: &[f32]) -> Result<Adapter<B>, EngineError> {
        config.check()?;
        let layout = Layout::new(&self.config, &config)?;
        if values.len() != layout.length() {
            let (found, wanted) = (values.len(), layout.length());
            let reason = format!("holds {found} values, the base asks for {wanted}");
            return Err(EngineError::Adapter { path: String::new(), reason });
        }
        let (parameters, norms) = (self.backend.upload(values), self.backend.zeros(layout.norms()));
        let mut adapter = Adapter { config, layout, parameters, norms };
        self.measure(&mut adapter);
        Ok(adapter)
    }

    /// The values an adapter starts from: A is random, B zero, and a magnitude is the length of its row of the base, so that
    /// the adapter changes nothing yet.
    pub fn initial_values(&self, layout: &Layout, seed: u64, init: Init) -> Vec<f32> {
        let mut values = layout.initial(seed, init);
        let parameters = self.backend.upload(&values);
        let mut norms = self.backend.zeros(layout.norms());
        for (block, projection, factors) in layout.all() {
            let Some(place) = &factors.magnitude else { continue };
            let matrix = &self.blocks[block].projections[projection as usize];
            self.backend.row_norms(matrix, &parameters, factors, &mut norms);
            let lengths = self.backend.download(&norms, place.norms.clone());
            values[place.values.clone()].copy_from_slice(&lengths);
        }
        values
    }

    /// One optimizer step of an adapter. LoRA+ (Hayou et al. 2024) trains B, and as PEFT does magnitudes, `ratio` times as
    /// fast as A; 1 is plain LoRA.
    pub fn step(
        &self,
        adapter: &mut Adapter<B>,
        settings: AdamW,
        ratio: f64,
        gradient: &B::Buffer,
        moments: &mut Moments<B>,
    ) {
        let Moments { mean, square } = moments;
        let faster = AdamW { learning_rate: settings.learning_rate * ratio, ..settings };
        let stretches = if ratio == 1.0 {
            vec![(0..adapter.layout.length(), false)]
        } else {
            adapter.layout.stretches()
        };
        for (range, fast) in stretches {
            let settings = if fast { faster } else { settings };
            let parameters = &mut adapter.parameters;
            self.backend.adamw(settings, range, parameters, gradient, mean, square);
        }
        self.measure(adapter);
    }

    /// Computes the row lengths that belong to the adapter's values.
    fn measure(&self, adapter: &mut Adapter<B>) {
        let Adapter { layout, parameters, norms, .. } = adapter;
        for (block, projection, factors) in layout.all() {
            let matrix = &self.blocks[block].projections[projection as usize];
            self.backend.row_norms(matrix, parameters, factors, norms);
        }
    }
}
