//! A GGUF file read as a model: its config, and its tensors under Hugging Face's names. Main type: [`GgufModel`].

use std::collections::BTreeMap;

use super::config::{Family, ModelConfig};
use super::error::{FormatError, Problem};
use super::gguf::Gguf;
use super::gguf_config::{self, ROPE_DIVISORS, required};
use super::gguf_header::GgufTensor;
use super::tensor::{RowOrder, TensorView};

/// The parts of names that stand outside the blocks: GGUF's and Hugging Face's.
const OUTER_NAMES: &[(&str, &str)] = &[
    ("token_embd.weight", "model.embed_tokens.weight"),
    ("output_norm.weight", "model.norm.weight"),
    ("output.weight", "lm_head.weight"),
];

/// The parts of names inside a block, before `.weight` or `.bias`.
const BLOCK_NAMES: &[(&str, &str)] = &[
    ("attn_norm", "input_layernorm"),
    ("attn_q", "self_attn.q_proj"),
    ("attn_k", "self_attn.k_proj"),
    ("attn_v", "self_attn.v_proj"),
    ("attn_output", "self_attn.o_proj"),
    ("attn_q_norm", "self_attn.q_norm"),
    ("attn_k_norm", "self_attn.k_norm"),
    ("ffn_norm", "post_attention_layernorm"),
    ("ffn_gate", "mlp.gate_proj"),
    ("ffn_up", "mlp.up_proj"),
    ("ffn_down", "mlp.down_proj"),
];

/// A GGUF file, its config, and where each Hugging Face tensor is in it.
#[derive(Debug)]
pub(crate) struct GgufModel {
    pub(crate) gguf: Gguf,
    pub(crate) config: ModelConfig,
    /// Hugging Face name → index in the file's tensors.
    place: BTreeMap<String, usize>,
}

impl GgufModel {
    /// Reads the config and maps the names.
    pub(crate) fn new(gguf: Gguf) -> Result<Self, FormatError> {
        let architecture =
            required(&gguf, "general.architecture", gguf.text("general.architecture")?)?;
        // LLaMA's architecture name covers Mistral too; GGUF does not tell them apart
        let family = Family::ALL
            .into_iter()
            .find(|family| family.name() == architecture && *family != Family::Mistral)
            .ok_or_else(|| {
                gguf.error(Problem::UnknownFamily {
                    name: architecture.to_string(),
                    supported: "llama, qwen2, qwen3",
                })
            })?;
        let mut place = BTreeMap::new();
        for (index, tensor) in gguf.tensors().iter().enumerate() {
            if tensor.name == ROPE_DIVISORS {
                continue;
            }
            let name = hugging_face_name(&tensor.name).ok_or_else(|| {
                let (name, family) = (tensor.name.clone(), family.name());
                gguf.error(Problem::UnexpectedTensor { name, family })
            })?;
            place.insert(name, index);
        }
        let config = gguf_config::read(&gguf, family, &place)?;
        Ok(Self { gguf, config, place })
    }

    /// The Hugging Face names of all tensors.
    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        self.place.keys().map(String::as_str)
    }

    /// The tensor of this Hugging Face name, rows in Hugging Face's order.
    pub(crate) fn tensor(&self, name: &str) -> Result<TensorView, FormatError> {
        let index = self
            .place
            .get(name)
            .ok_or_else(|| self.gguf.error(Problem::MissingTensor { name: name.to_string() }))?;
        let tensor = &self.gguf.tensors()[*index];
        let order = row_order(&self.config, name);
        if order != RowOrder::AsStored {
            self.check_rotated(tensor)?;
        }
        let bytes = self.gguf.tensor_bytes(tensor);
        Ok(TensorView::new(name, &tensor.shape, tensor.data_type, order, bytes))
    }

    /// Rows can only be reordered when they are whole heads, and the elements of a bias when they are floats.
    fn check_rotated(&self, tensor: &GgufTensor) -> Result<(), FormatError> {
        let rows = tensor.shape[0];
        let whole = rows.is_multiple_of(self.config.head_size);
        let movable = tensor.shape.len() == 2
            || tensor.shape.len() == 1 && tensor.data_type.block_elements() == 1;
        if whole && movable {
            return Ok(());
        }
        Err(self.gguf.error(Problem::TensorShape {
            tensor: tensor.name.clone(),
            reason: format!("{:?} is not rows of whole heads", tensor.shape),
        }))
    }
}

/// `blk.3.attn_q.weight` → `model.layers.3.self_attn.q_proj.weight`; `None` for an unknown name.
fn hugging_face_name(name: &str) -> Option<String> {
    if let Some((_, outer)) = OUTER_NAMES.iter().find(|(gguf, _)| *gguf == name) {
        return Some((*outer).to_string());
    }
    let (layer, rest) = name.strip_prefix("blk.")?.split_once('.')?;
    let number: usize = layer.parse().ok()?;
    let (part, kind) = rest.rsplit_once('.')?;
    let (_, inner) = BLOCK_NAMES.iter().find(|(gguf, _)| *gguf == part)?;
    // "07" and "+7" would be other names for layer 7
    let canonical = number.to_string() == layer && matches!(kind, "weight" | "bias");
    canonical.then(|| format!("model.layers.{number}.{inner}.{kind}"))
}

/// The way back: `model.layers.3.self_attn.q_proj.weight` → `blk.3.attn_q.weight`; `None` for an unknown name.
pub(crate) fn gguf_name(name: &str) -> Option<String> {
    if let Some((outer, _)) = OUTER_NAMES.iter().find(|(_, theirs)| *theirs == name) {
        return Some((*outer).to_string());
    }
    let (layer, rest) = name.strip_prefix("model.layers.")?.split_once('.')?;
    let (part, kind) = rest.rsplit_once('.')?;
    let (inner, _) = BLOCK_NAMES.iter().find(|(_, theirs)| *theirs == part)?;
    Some(format!("blk.{layer}.{inner}.{kind}"))
}

/// How GGUF orders the rows of a tensor, by its Hugging Face name.
pub(crate) fn row_order(config: &ModelConfig, name: &str) -> RowOrder {
    let rotated = name.contains(".self_attn.q_proj.") || name.contains(".self_attn.k_proj.");
    // LLaMA's architecture name covers Mistral too
    if rotated && matches!(config.family, Family::Llama | Family::Mistral) {
        RowOrder::Interleaved { head_rows: config.head_size }
    } else {
        RowOrder::AsStored
    }
}

#[cfg(test)]
mod tests {
    use super::{gguf_name, hugging_face_name};

    #[test]
    fn names_are_mapped_and_lookalikes_refused() {
        let name = |gguf| hugging_face_name(gguf);
        assert_eq!(name("output.weight").as_deref(), Some("lm_head.weight"));
        assert_eq!(
            name("blk.12.ffn_down.weight").as_deref(),
            Some("model.layers.12.mlp.down_proj.weight")
        );
        for known in ["output.weight", "blk.12.ffn_down.weight", "blk.0.attn_q.bias"] {
            assert_eq!(gguf_name(&name(known).expect("known")).as_deref(), Some(known));
        }
        assert_eq!(gguf_name("model.layers.0.mlp.router.weight"), None);
        for other in [
            "blk.07.ffn_up.weight",
            "blk.+7.ffn_up.weight",
            "blk.7.ffn_up",
            "blk.7.ffn_gate_inp.weight",
        ] {
            assert_eq!(name(other), None, "{other}");
        }
    }
}
