//! The numbers that define a LLaMA-family model. Main type: [`ModelConfig`].

use super::error::Problem;

/// A family of models that the engine implements.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Family {
    /// LLaMA 1, 2, 3.x, SmolLM2 and all that share their architecture.
    Llama,
    /// Mistral 7B and its relatives: LLaMA with an optional sliding window.
    Mistral,
    /// Qwen2 and Qwen2.5: biases on query, key and value.
    Qwen2,
    /// Qwen3: query and key are normalised per head before rotary embedding.
    Qwen3,
}

impl Family {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Llama, Self::Mistral, Self::Qwen2, Self::Qwen3];
    /// The names that error messages list.
    pub(crate) const SUPPORTED: &'static str = "llama, mistral, qwen2, qwen3";

    /// The name that Hugging Face's `model_type` has for it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Llama => "llama",
            Self::Mistral => "mistral",
            Self::Qwen2 => "qwen2",
            Self::Qwen3 => "qwen3",
        }
    }

    /// The entry of Hugging Face's `architectures`.
    pub fn architecture(self) -> &'static str {
        match self {
            Self::Llama => "LlamaForCausalLM",
            Self::Mistral => "MistralForCausalLM",
            Self::Qwen2 => "Qwen2ForCausalLM",
            Self::Qwen3 => "Qwen3ForCausalLM",
        }
    }
}

/// How rotary frequencies are changed for long contexts.
#[derive(Clone, Debug, PartialEq)]
pub enum RopeScaling {
    /// Not at all.
    None,
    /// All wavelengths are slowed by `factor`: positions are interpolated (Chen et al. 2023).
    Linear {
        /// The slow-down.
        factor: f32,
    },
    /// LLaMA 3.1's rule: long wavelengths are slowed by `factor`, short ones kept, those between blended.
    Llama3 {
        /// Slow-down of long wavelengths.
        factor: f32,
        /// Wavelengths above `original / low` are long.
        low: f32,
        /// Wavelengths below `original / high` are short.
        high: f32,
        /// Context length before the extension, in tokens.
        original: usize,
    },
    /// One divisor per frequency (half a head of them): GGUF's stored form of LLaMA 3.1's rule.
    Divisors(Vec<f32>),
}

/// The architecture of a model. All numbers are validated: non-zero, finite, divisible where they must be.
#[derive(Clone, Debug, PartialEq)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "independent options of the architecture, as in config.json"
)]
pub struct ModelConfig {
    /// The family.
    pub family: Family,
    /// Rows of the embedding: token ids are below it. May exceed the tokenizer's vocabulary (padding).
    pub vocabulary_size: usize,
    /// Width of the residual stream.
    pub hidden_size: usize,
    /// Width of the feed-forward layer.
    pub intermediate_size: usize,
    /// Transformer blocks.
    pub layers: usize,
    /// Query heads.
    pub attention_heads: usize,
    /// Key and value heads; divides [`Self::attention_heads`].
    pub key_value_heads: usize,
    /// Elements per head (even). `attention_heads × head_size` need not be `hidden_size`.
    pub head_size: usize,
    /// Base of the rotary frequencies.
    pub rope_theta: f32,
    /// Change of the rotary frequencies.
    pub rope_scaling: RopeScaling,
    /// Added to the mean square inside every RMS norm.
    pub rms_norm_epsilon: f32,
    /// Whether the output head is the embedding.
    pub tied_embeddings: bool,
    /// Positions that the model was made for, in tokens.
    pub maximum_positions: usize,
    /// Whether query, key and value projections have biases.
    pub attention_bias: bool,
    /// Whether the output projection of attention has a bias.
    pub attention_output_bias: bool,
    /// Whether query and key are RMS-normalised per head before rotary embedding.
    pub query_key_norm: bool,
    /// Tokens that a position attends to, itself included; `None` for all before it.
    pub sliding_window: Option<usize>,
    /// The beginning-of-text token.
    pub bos_token: Option<u32>,
    /// The tokens that end generation, in ascending order (may be empty).
    pub eos_tokens: Vec<u32>,
}

/// Largest values that are believed; far above any model, and small enough that products cannot overflow.
const LIMITS: [(&str, usize); 8] = [
    ("vocabulary size", 1 << 22),
    ("hidden size", 1 << 18),
    ("intermediate size", 1 << 20),
    ("layers", 1 << 10),
    ("attention heads", 1 << 12),
    ("key and value heads", 1 << 12),
    ("head size", 1 << 12),
    ("maximum positions", 1 << 31),
];

impl ModelConfig {
    /// Width of all query heads together.
    pub fn query_size(&self) -> usize {
        self.attention_heads * self.head_size
    }

    /// Width of all key (or value) heads together.
    pub fn key_value_size(&self) -> usize {
        self.key_value_heads * self.head_size
    }

    /// Radians per position for each pair of elements of a head (`head_size / 2` of them), scaling applied, by the
    /// formulas of Hugging Face transformers. Computed in f64, then rounded.
    pub fn rope_frequencies(&self) -> Vec<f32> {
        let pairs = self.head_size / 2;
        (0..pairs)
            .map(|pair| {
                let exponent = pair as f64 / pairs as f64;
                let frequency = f64::from(self.rope_theta).powf(-exponent);
                let scaled = match &self.rope_scaling {
                    RopeScaling::None => frequency,
                    RopeScaling::Linear { factor } => frequency / f64::from(*factor),
                    RopeScaling::Divisors(divisors) => frequency / f64::from(divisors[pair]),
                    RopeScaling::Llama3 { factor, low, high, original } => {
                        let (factor, low, high) =
                            (f64::from(*factor), f64::from(*low), f64::from(*high));
                        // wavelengths per original context
                        let turns = *original as f64 * frequency / std::f64::consts::TAU;
                        let kept = ((turns - low) / (high - low)).clamp(0.0, 1.0);
                        frequency * (kept + (1.0 - kept) / factor)
                    }
                };
                scaled as f32
            })
            .collect()
    }

    /// Every tensor of the model: Hugging Face name and shape, in order of use.
    pub fn tensors(&self) -> Vec<(String, Vec<usize>)> {
        let (hidden, query, key_value) =
            (self.hidden_size, self.query_size(), self.key_value_size());
        let mut tensors =
            vec![("model.embed_tokens.weight".to_string(), vec![self.vocabulary_size, hidden])];
        for layer in 0..self.layers {
            let mut add = |name: &str, shape: &[usize]| {
                tensors.push((format!("model.layers.{layer}.{name}"), shape.to_vec()));
            };
            add("input_layernorm.weight", &[hidden]);
            for (name, rows) in [("q", query), ("k", key_value), ("v", key_value)] {
                add(&format!("self_attn.{name}_proj.weight"), &[rows, hidden]);
                if self.attention_bias {
                    add(&format!("self_attn.{name}_proj.bias"), &[rows]);
                }
            }
            if self.query_key_norm {
                add("self_attn.q_norm.weight", &[self.head_size]);
                add("self_attn.k_norm.weight", &[self.head_size]);
            }
            add("self_attn.o_proj.weight", &[hidden, query]);
            if self.attention_output_bias {
                add("self_attn.o_proj.bias", &[hidden]);
            }
            add("post_attention_layernorm.weight", &[hidden]);
            add("mlp.gate_proj.weight", &[self.intermediate_size, hidden]);
            add("mlp.up_proj.weight", &[self.intermediate_size, hidden]);
            add("mlp.down_proj.weight", &[hidden, self.intermediate_size]);
        }
        tensors.push(("model.norm.weight".to_string(), vec![hidden]));
        if !self.tied_embeddings {
            tensors.push(("lm_head.weight".to_string(), vec![self.vocabulary_size, hidden]));
        }
        tensors
    }

    /// Checks every number. Called by both readers before the config is handed out.
    pub(crate) fn validate(&self) -> Result<(), Problem> {
        let sizes = [
            self.vocabulary_size,
            self.hidden_size,
            self.intermediate_size,
            self.layers,
            self.attention_heads,
            self.key_value_heads,
            self.head_size,
            self.maximum_positions,
        ];
        for ((field, limit), size) in LIMITS.into_iter().zip(sizes) {
            if size == 0 || size > limit {
                return Err(field_problem(field, size, "a positive number of believable size"));
            }
        }
        if !self.attention_heads.is_multiple_of(self.key_value_heads) {
            let found = format!("{} to {}", self.attention_heads, self.key_value_heads);
            return Err(field_problem("attention to key-value heads", found, "a whole ratio"));
        }
        if !self.head_size.is_multiple_of(2) {
            return Err(field_problem("head size", self.head_size, "an even number"));
        }
        if !(self.rope_theta.is_finite() && self.rope_theta >= 1.0) {
            return Err(field_problem(
                "rope base",
                self.rope_theta,
                "a finite number of at least 1",
            ));
        }
        if !(self.rms_norm_epsilon > 0.0 && self.rms_norm_epsilon < 1.0) {
            let expected = "a number between 0 and 1";
            return Err(field_problem("norm epsilon", self.rms_norm_epsilon, expected));
        }
        if self.sliding_window == Some(0) {
            return Err(field_problem("sliding window", 0, "a positive number"));
        }
        let tokens = self.bos_token.iter().chain(&self.eos_tokens);
        if let Some(token) = tokens.copied().find(|token| *token as usize >= self.vocabulary_size) {
            return Err(field_problem("bos or eos token", token, "an id inside the vocabulary"));
        }
        self.validate_rope_scaling()
    }

    fn validate_rope_scaling(&self) -> Result<(), Problem> {
        match &self.rope_scaling {
            RopeScaling::None => Ok(()),
            RopeScaling::Linear { factor } if factor.is_finite() && *factor >= 1.0 => Ok(()),
            RopeScaling::Linear { factor } => {
                let expected = "a finite number of at least 1";
                Err(field_problem("factor of linear rope scaling", factor, expected))
            }
            RopeScaling::Llama3 { factor, low, high, original } => {
                let sound = factor.is_finite() && *factor >= 1.0 && *low > 0.0 && high > low;
                if sound && high.is_finite() && *original > 0 {
                    return Ok(());
                }
                let found = format!("factor {factor}, low {low}, high {high}, original {original}");
                Err(field_problem("llama3 rope scaling", found, "factor ≥ 1 and 0 < low < high"))
            }
            RopeScaling::Divisors(divisors) => {
                let sound = |divisor: &f32| divisor.is_finite() && *divisor > 0.0;
                if divisors.len() == self.head_size / 2 && divisors.iter().all(sound) {
                    return Ok(());
                }
                let found = format!("{} numbers", divisors.len());
                let expected = "one positive number for each pair of a head's elements";
                Err(field_problem("rope_freqs.weight", found, expected))
            }
        }
    }
}

/// A [`Problem::Field`].
pub(crate) fn field_problem(
    field: &str,
    found: impl std::fmt::Display,
    expected: &'static str,
) -> Problem {
    Problem::Field { field: field.to_string(), found: found.to_string(), expected }
}

#[cfg(test)]
#[expect(clippy::float_cmp, reason = "these values are exact")]
pub(crate) mod tests {
    use super::*;

    /// A small valid config.
    pub(crate) fn small() -> ModelConfig {
        ModelConfig {
            family: Family::Llama,
            vocabulary_size: 16,
            hidden_size: 8,
            intermediate_size: 12,
            layers: 1,
            attention_heads: 4,
            key_value_heads: 2,
            head_size: 2,
            rope_theta: 10_000.0,
            rope_scaling: RopeScaling::None,
            rms_norm_epsilon: 1e-5,
            tied_embeddings: true,
            maximum_positions: 64,
            attention_bias: false,
            attention_output_bias: false,
            query_key_norm: false,
            sliding_window: None,
            bos_token: Some(1),
            eos_tokens: vec![2],
        }
    }

    #[test]
    fn each_bad_number_is_refused() {
        assert!(small().validate().is_ok());
        let break_it: [fn(&mut ModelConfig); 14] = [
            |config| config.layers = 0,
            |config| config.vocabulary_size = 1 << 40,
            |config| config.key_value_heads = 3,
            |config| config.head_size = 3,
            |config| config.rope_theta = f32::NAN,
            |config| config.rope_theta = 0.0,
            |config| config.rms_norm_epsilon = 0.0,
            |config| config.rms_norm_epsilon = f32::NAN,
            |config| config.sliding_window = Some(0),
            |config| config.eos_tokens = vec![16],
            |config| config.rope_scaling = RopeScaling::Divisors(vec![1.0, 1.0]),
            |config| config.rope_scaling = RopeScaling::Linear { factor: 0.5 },
            |config| config.rope_scaling = RopeScaling::Linear { factor: f32::INFINITY },
            |config| {
                config.rope_scaling =
                    RopeScaling::Llama3 { factor: 8.0, low: 4.0, high: 4.0, original: 8192 };
            },
        ];
        for (number, change) in break_it.into_iter().enumerate() {
            let mut config = small();
            change(&mut config);
            assert!(matches!(config.validate(), Err(Problem::Field { .. })), "change {number}");
        }
    }

    #[test]
    fn llama3_frequencies_keep_short_and_slow_long_wavelengths() {
        let mut config = ModelConfig { head_size: 128, rope_theta: 500_000.0, ..small() };
        let plain = config.rope_frequencies();
        assert_eq!((plain.len(), plain[0]), (64, 1.0));
        config.rope_scaling =
            RopeScaling::Llama3 { factor: 8.0, low: 1.0, high: 4.0, original: 8192 };
        let scaled = config.rope_frequencies();
        assert_eq!(scaled[0], plain[0]);
        assert_eq!(scaled[63], (f64::from(500_000.0f32).powf(-63.0 / 64.0) / 8.0) as f32);
        let divisors: Vec<f32> =
            plain.iter().zip(&scaled).map(|(plain, scaled)| plain / scaled).collect();
        assert!(
            divisors.iter().any(|divisor| *divisor > 1.01 && *divisor < 7.9),
            "some are blended"
        );
        config.rope_scaling = RopeScaling::Divisors(divisors);
        for (left, right) in config.rope_frequencies().iter().zip(&scaled) {
            assert!((left / right - 1.0).abs() < 1e-6);
        }
    }
}
