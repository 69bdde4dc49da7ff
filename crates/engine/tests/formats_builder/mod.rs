//! Builders of small model files for tests, byte by byte, so that each byte can be made wrong.
#![allow(dead_code, reason = "each test file uses a part of it")]
#![allow(clippy::allow_attributes, reason = "`expect` would fail in the files that use all of it")]

/// Writes GGUF files, sound or broken.
#[derive(Clone)]
pub(crate) struct GgufBuilder {
    pub(crate) magic: [u8; 4],
    pub(crate) version: u32,
    /// Written in place of the true counts.
    pub(crate) tensor_count: Option<u64>,
    pub(crate) pair_count: Option<u64>,
    pairs: Vec<Vec<u8>>,
    tensors: Vec<Vec<u8>>,
    pub(crate) alignment: usize,
    pub(crate) data: Vec<u8>,
}

pub(crate) fn text(value: &str) -> Vec<u8> {
    [&(value.len() as u64).to_le_bytes()[..], value.as_bytes()].concat()
}

impl GgufBuilder {
    pub(crate) fn new() -> Self {
        Self {
            magic: *b"GGUF",
            version: 3,
            tensor_count: None,
            pair_count: None,
            pairs: Vec::new(),
            tensors: Vec::new(),
            alignment: 32,
            data: Vec::new(),
        }
    }

    /// A metadata pair of any type.
    pub(crate) fn raw(mut self, key: &str, number: u32, value: &[u8]) -> Self {
        self.pairs.push([&text(key)[..], &number.to_le_bytes(), value].concat());
        self
    }

    pub(crate) fn u32(self, key: &str, value: u32) -> Self {
        self.raw(key, 4, &value.to_le_bytes())
    }

    pub(crate) fn f32(self, key: &str, value: f32) -> Self {
        self.raw(key, 6, &value.to_le_bytes())
    }

    pub(crate) fn flag(self, key: &str, value: bool) -> Self {
        self.raw(key, 7, &[u8::from(value)])
    }

    pub(crate) fn text(self, key: &str, value: &str) -> Self {
        self.raw(key, 8, &text(value))
    }

    pub(crate) fn strings<T: AsRef<str>>(self, key: &str, values: &[T]) -> Self {
        let mut bytes = [&8u32.to_le_bytes()[..], &(values.len() as u64).to_le_bytes()].concat();
        for value in values {
            bytes.extend(text(value.as_ref()));
        }
        self.raw(key, 9, &bytes)
    }

    pub(crate) fn integers(self, key: &str, values: &[i32]) -> Self {
        let mut bytes = [&5u32.to_le_bytes()[..], &(values.len() as u64).to_le_bytes()].concat();
        bytes.extend(values.iter().flat_map(|value| value.to_le_bytes()));
        self.raw(key, 9, &bytes)
    }

    pub(crate) fn floats(self, key: &str, values: &[f32]) -> Self {
        let mut bytes = [&6u32.to_le_bytes()[..], &(values.len() as u64).to_le_bytes()].concat();
        bytes.extend(values.iter().flat_map(|value| value.to_le_bytes()));
        self.raw(key, 9, &bytes)
    }

    /// A tensor's description as it is; `dimensions` are in GGUF's order, innermost first.
    pub(crate) fn describe(
        mut self,
        name: &str,
        dimensions: &[u64],
        number: u32,
        offset: u64,
    ) -> Self {
        let mut bytes = [&text(name)[..], &(dimensions.len() as u32).to_le_bytes()].concat();
        bytes.extend(dimensions.iter().flat_map(|size| size.to_le_bytes()));
        bytes.extend(number.to_le_bytes());
        bytes.extend(offset.to_le_bytes());
        self.tensors.push(bytes);
        self
    }

    /// A sound tensor of `shape` (outermost first) with these bytes.
    pub(crate) fn tensor(mut self, name: &str, shape: &[usize], number: u32, bytes: &[u8]) -> Self {
        let dimensions: Vec<u64> = shape.iter().rev().map(|size| *size as u64).collect();
        let offset = self.data.len().next_multiple_of(self.alignment);
        self.data.resize(offset, 0);
        self.data.extend_from_slice(bytes);
        self.describe(name, &dimensions, number, offset as u64)
    }

    /// A sound F32 tensor.
    pub(crate) fn f32_tensor(self, name: &str, shape: &[usize], values: &[f32]) -> Self {
        let bytes: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        self.tensor(name, shape, 0, &bytes)
    }

    pub(crate) fn build(&self) -> Vec<u8> {
        let mut bytes = self.magic.to_vec();
        bytes.extend(self.version.to_le_bytes());
        bytes.extend(self.tensor_count.unwrap_or(self.tensors.len() as u64).to_le_bytes());
        bytes.extend(self.pair_count.unwrap_or(self.pairs.len() as u64).to_le_bytes());
        bytes.extend(self.pairs.concat());
        bytes.extend(self.tensors.concat());
        if !self.data.is_empty() {
            bytes.resize(bytes.len().next_multiple_of(self.alignment), 0);
            bytes.extend(&self.data);
        }
        bytes
    }
}

/// Numbers that look random and are the same every time.
pub(crate) fn values(count: usize, seed: u32) -> Vec<f32> {
    let mut state = seed.wrapping_mul(2_654_435_761).wrapping_add(12345);
    (0..count)
        .map(|_| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 8) as f32 / 16_777_216.0 - 0.5
        })
        .collect()
}

/// A safetensors file with this header and so many bytes of data.
pub(crate) fn safetensors_file(header: &str, data: usize) -> Vec<u8> {
    [&(header.len() as u64).to_le_bytes()[..], header.as_bytes(), &vec![0; data]].concat()
}

/// The sizes of the tiny model of [`tiny_gguf`].
pub(crate) const HIDDEN: usize = 32;
pub(crate) const HEADS: usize = 4;
pub(crate) const KEY_VALUE_HEADS: usize = 2;
pub(crate) const HEAD: usize = 8;
pub(crate) const FEED: usize = 48;
pub(crate) const VOCABULARY: usize = 10;

/// The tiny model's tensors: GGUF name, Hugging Face name, shape.
pub(crate) fn tiny_tensors() -> Vec<(String, String, Vec<usize>)> {
    let inner = |gguf: &str, hf: &str, shape: &[usize]| {
        (format!("blk.0.{gguf}.weight"), format!("model.layers.0.{hf}.weight"), shape.to_vec())
    };
    let key_value = KEY_VALUE_HEADS * HEAD;
    vec![
        ("token_embd.weight".into(), "model.embed_tokens.weight".into(), vec![VOCABULARY, HIDDEN]),
        inner("attn_norm", "input_layernorm", &[HIDDEN]),
        inner("attn_q", "self_attn.q_proj", &[HEADS * HEAD, HIDDEN]),
        inner("attn_k", "self_attn.k_proj", &[key_value, HIDDEN]),
        inner("attn_v", "self_attn.v_proj", &[key_value, HIDDEN]),
        inner("attn_output", "self_attn.o_proj", &[HIDDEN, HEADS * HEAD]),
        inner("ffn_norm", "post_attention_layernorm", &[HIDDEN]),
        inner("ffn_gate", "mlp.gate_proj", &[FEED, HIDDEN]),
        inner("ffn_up", "mlp.up_proj", &[FEED, HIDDEN]),
        inner("ffn_down", "mlp.down_proj", &[HIDDEN, FEED]),
        ("output_norm.weight".into(), "model.norm.weight".into(), vec![HIDDEN]),
    ]
}

/// The metadata of a one-layer LLaMA.
pub(crate) fn tiny_metadata() -> GgufBuilder {
    GgufBuilder::new()
        .text("general.architecture", "llama")
        .u32("llama.block_count", 1)
        .u32("llama.context_length", 64)
        .u32("llama.embedding_length", HIDDEN as u32)
        .u32("llama.feed_forward_length", FEED as u32)
        .u32("llama.attention.head_count", HEADS as u32)
        .u32("llama.attention.head_count_kv", KEY_VALUE_HEADS as u32)
        .f32("llama.attention.layer_norm_rms_epsilon", 1e-5)
        .u32("tokenizer.ggml.bos_token_id", 1)
        .u32("tokenizer.ggml.eos_token_id", 2)
}

/// Adds the tiny model's tensors, as F32.
pub(crate) fn with_tiny_tensors(mut builder: GgufBuilder) -> GgufBuilder {
    for (number, (name, _, shape)) in tiny_tensors().into_iter().enumerate() {
        let values = values(shape.iter().product(), number as u32);
        builder = builder.f32_tensor(&name, &shape, &values);
    }
    builder
}

/// Changes bytes: sets, flips, cuts, or fills eight with extremes.
pub(crate) fn mutate(bytes: &mut Vec<u8>, changes: &[(usize, u8, u8)]) {
    for (at, kind, value) in changes {
        if bytes.is_empty() {
            return;
        }
        let at = at % bytes.len();
        match kind % 4 {
            0 => bytes[at] = *value,
            1 => bytes[at] ^= 1 << (value % 8),
            2 => bytes.truncate(at),
            _ => {
                // a length or count with extreme bytes
                let end = (at + 8).min(bytes.len());
                bytes[at..end].fill(if value % 2 == 0 { 0xff } else { 0 });
            }
        }
    }
}
