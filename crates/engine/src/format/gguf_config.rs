//! The config of a GGUF file's model, from its metadata and its tensors. Main function: [`read`].

use std::collections::BTreeMap;

use super::config::{Family, ModelConfig, RopeScaling, field_problem};
use super::data_type::DataType;
use super::error::{FormatError, Problem};
use super::gguf::Gguf;
use super::tensor::{RowOrder, TensorView};

/// Divisors of the rotary frequencies: metadata in the shape of a tensor.
pub(crate) const ROPE_DIVISORS: &str = "rope_freqs.weight";

/// The value, or the error that `key` is missing.
pub(super) fn required<T>(gguf: &Gguf, key: &str, value: Option<T>) -> Result<T, FormatError> {
    value.ok_or_else(|| gguf.error(Problem::MissingField { field: key.to_string() }))
}

/// The config of a model of this family; `place` has its tensors by Hugging Face name.
pub(super) fn read(
    gguf: &Gguf,
    family: Family,
    place: &BTreeMap<String, usize>,
) -> Result<ModelConfig, FormatError> {
    Reader { gguf, architecture: family.name(), place }.config(family)
}

/// Reads the metadata keys of one architecture.
struct Reader<'a> {
    gguf: &'a Gguf,
    architecture: &'a str,
    place: &'a BTreeMap<String, usize>,
}

impl Reader<'_> {
    fn key(&self, name: &str) -> String {
        format!("{}.{name}", self.architecture)
    }

    fn optional_size(&self, name: &str) -> Result<Option<usize>, FormatError> {
        Ok(self
            .gguf
            .unsigned(&self.key(name))?
            .map(|size| usize::try_from(size).unwrap_or(usize::MAX)))
    }

    fn size(&self, name: &str) -> Result<usize, FormatError> {
        required(self.gguf, &self.key(name), self.optional_size(name)?)
    }

    fn has(&self, name: &str) -> bool {
        self.place.contains_key(name)
    }

    /// A number that may also be given per layer, when all layers have the same.
    fn size_of_each_layer(&self, name: &str, otherwise: usize) -> Result<usize, FormatError> {
        let key = self.key(name);
        let Some(sizes) = self.gguf.integers(&key)? else {
            return Ok(otherwise);
        };
        match sizes.first().map(|size| usize::try_from(*size)) {
            Some(Ok(size)) if sizes.iter().all(|other| *other == sizes[0]) => Ok(size),
            _ => Err(self.gguf.error(field_problem(
                &key,
                "different from layer to layer",
                "one non-negative number for all layers",
            ))),
        }
    }

    fn config(&self, family: Family) -> Result<ModelConfig, FormatError> {
        self.refuse_variants()?;
        let hidden_size = self.size("embedding_length")?;
        let attention_heads = self.size_of_each_layer("attention.head_count", 0)?;
        let head_size = match self.optional_size("attention.key_length")? {
            Some(size) => size,
            None if attention_heads > 0 && hidden_size.is_multiple_of(attention_heads) => {
                hidden_size / attention_heads
            }
            None => {
                let key = self.key("attention.head_count");
                let expected = "a divisor of the embedding length";
                return Err(self.gguf.error(field_problem(&key, attention_heads, expected)));
            }
        };
        for name in ["attention.value_length", "rope.dimension_count"] {
            if let Some(other) = self.optional_size(name)?.filter(|other| *other != head_size) {
                let what = format!("{} {other} with heads of {head_size}", self.key(name));
                return Err(self.gguf.error(Problem::Unsupported { what }));
            }
        }
        let epsilon_key = self.key("attention.layer_norm_rms_epsilon");
        let epsilon = required(self.gguf, &epsilon_key, self.gguf.float(&epsilon_key)?)?;
        let rope_theta = self.gguf.float(&self.key("rope.freq_base"))?.unwrap_or(10_000.0);
        let config = ModelConfig {
            family,
            vocabulary_size: self.vocabulary_size()?,
            hidden_size,
            intermediate_size: self.size_of_each_layer("feed_forward_length", 0)?,
            layers: self.size("block_count")?,
            attention_heads,
            key_value_heads: self.size_of_each_layer("attention.head_count_kv", attention_heads)?,
            head_size,
            rope_theta: rope_theta as f32,
            rope_scaling: self.rope_scaling(head_size)?,
            rms_norm_epsilon: epsilon as f32,
            tied_embeddings: !self.has("lm_head.weight"),
            maximum_positions: self.size("context_length")?,
            attention_bias: self.has("model.layers.0.self_attn.q_proj.bias"),
            attention_output_bias: self.has("model.layers.0.self_attn.o_proj.bias"),
            query_key_norm: family == Family::Qwen3,
            sliding_window: self.optional_size("attention.sliding_window")?,
            bos_token: self.tokens(&["bos_token_id"])?.first().copied(),
            eos_tokens: self.tokens(&["eos_token_id", "eot_token_id", "eom_token_id"])?,
        };
        config.validate().map_err(|problem| self.gguf.error(problem))?;
        Ok(config)
    }

    /// Options of the architecture that change the computation and are not implemented.
    fn refuse_variants(&self) -> Result<(), FormatError> {
        let refuse = |what: String| Err(self.gguf.error(Problem::Unsupported { what }));
        if let Some(count) = self.optional_size("expert_count")?.filter(|count| *count > 0) {
            return refuse(format!("a mixture of {count} experts"));
        }
        if let Some(parts) = self.gguf.unsigned("split.count")?.filter(|parts| *parts > 1) {
            return refuse(format!(
                "a GGUF split in {parts} files (join it with llama.cpp's llama-gguf-split --merge)"
            ));
        }
        Ok(())
    }

    /// The slow-down of all wavelengths, one for none. A file that gives a factor and no kind means linear.
    fn linear_factor(&self) -> Result<f32, FormatError> {
        match self.gguf.text(&self.key("rope.scaling.type"))? {
            None | Some("linear") => {}
            Some("none") => return Ok(1.0),
            Some(kind) => {
                return Err(self.gguf.error(Problem::UnknownRope { kind: kind.to_string() }));
            }
        }
        let factor = match self.gguf.float(&self.key("rope.scaling.factor"))? {
            Some(factor) => Some(factor),
            // the older spelling
            None => self.gguf.float(&self.key("rope.scale_linear"))?,
        };
        Ok(factor.unwrap_or(1.0) as f32)
    }

    /// Rows of the embedding; the declared size and the tokens may not exceed it.
    fn vocabulary_size(&self) -> Result<usize, FormatError> {
        let name = "model.embed_tokens.weight";
        let index = self
            .place
            .get(name)
            .ok_or_else(|| self.gguf.error(Problem::MissingTensor { name: name.to_string() }))?;
        let rows = self.gguf.tensors()[*index].shape[0];
        let declared = self.optional_size("vocab_size")?.unwrap_or(rows);
        let tokens = self.gguf.strings("tokenizer.ggml.tokens")?.map_or(0, |tokens| tokens.len());
        if declared > rows || tokens > rows {
            let found = format!("{rows} rows for {} tokens", declared.max(tokens));
            let expected = "a row for every token";
            return Err(self.gguf.error(field_problem("token_embd.weight", found, expected)));
        }
        Ok(rows)
    }

    fn rope_scaling(&self, head_size: usize) -> Result<RopeScaling, FormatError> {
        let factor = self.linear_factor()?;
        let Some(tensor) = self.gguf.tensors().iter().find(|tensor| tensor.name == ROPE_DIVISORS)
        else {
            let plain = factor.to_bits() == 1.0f32.to_bits();
            return Ok(if plain { RopeScaling::None } else { RopeScaling::Linear { factor } });
        };
        if tensor.data_type != DataType::F32 || tensor.shape != [head_size / 2] {
            return Err(self.gguf.error(Problem::WrongShape {
                name: ROPE_DIVISORS.to_string(),
                expected: vec![head_size / 2],
                got: tensor.shape.clone(),
            }));
        }
        let bytes = self.gguf.tensor_bytes(tensor);
        let view =
            TensorView::new(ROPE_DIVISORS, &tensor.shape, DataType::F32, RowOrder::AsStored, bytes);
        let mut divisors = view.to_f32();
        for divisor in &mut divisors {
            *divisor *= factor;
        }
        Ok(RopeScaling::Divisors(divisors))
    }

    fn tokens(&self, names: &[&str]) -> Result<Vec<u32>, FormatError> {
        let mut tokens = Vec::new();
        for name in names {
            let key = format!("tokenizer.ggml.{name}");
            if let Some(token) = self.gguf.unsigned(&key)? {
                tokens.push(u32::try_from(token).unwrap_or(u32::MAX));
            }
        }
        tokens.sort_unstable();
        tokens.dedup();
        Ok(tokens)
    }
}
