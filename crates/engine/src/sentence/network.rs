//! The encoder's weights and forward pass: [`Network`].

use std::ops::Range;

use sha2::{Digest, Sha256};

use super::attention::{Projected, attend};
use super::config::EncoderConfig;
use super::gelu::add_bias_and_gelu;
use super::layer_norm::LayerNorm;
use crate::format::{FormatError, Problem, SafetensorsSet, TensorView};
use crate::kernels::KernelPath;
use crate::kernels::gemm::{LeftBuffer, Output, Product, Term, multiply};
use crate::kernels::lanes::{Lane, Precision};
use crate::kernels::source::Direction;
use crate::kernels::threads::Threads;
use crate::ops::project::Matrix;

type Context<'a> = (KernelPath, &'a Threads);

/// A weight (out, in) and its bias.
#[derive(Debug)]
struct Linear {
    weight: Matrix,
    bias: Vec<f32>,
}

/// One layer.
#[derive(Debug)]
struct Layer {
    query: Linear,
    key: Linear,
    value: Linear,
    attended: Linear,
    attention_norm: LayerNorm,
    wide: Linear,
    narrow: Linear,
    norm: LayerNorm,
}

/// All weights.
#[derive(Debug)]
pub(super) struct Network {
    words: Matrix,
    positions: Matrix,
    /// The vector of a single text's tokens.
    kind: Vec<f32>,
    norm: LayerNorm,
    layers: Vec<Layer>,
    digest: [u8; 32],
}

impl Network {
    /// Takes the tensors that Hugging Face's `BertModel` has, with or without the prefix `bert.`; its pooler is not used.
    pub(super) fn load(
        tensors: &SafetensorsSet,
        config: &EncoderConfig,
        threads: &Threads,
    ) -> Result<Self, FormatError> {
        let mut reader = Reader::new(tensors, config, threads);
        let hidden = config.hidden_size;
        let words =
            reader.matrix("embeddings.word_embeddings.weight", config.vocabulary_size, hidden)?;
        let positions =
            reader.matrix("embeddings.position_embeddings.weight", config.positions, hidden)?;
        let kinds = reader
            .tensor("embeddings.token_type_embeddings.weight", &[config.token_kinds, hidden])?
            .to_f32();
        let norm = reader.norm("embeddings.LayerNorm")?;
        let layers =
            (0..config.layers).map(|layer| reader.layer(layer)).collect::<Result<_, _>>()?;
        let digest = reader.hash.finalize().into();
        Ok(Self { words, positions, kind: kinds[..hidden].to_vec(), norm, layers, digest })
    }

    /// A hash of all weights that are used.
    pub(super) fn digest(&self) -> [u8; 32] {
        self.digest
    }

    /// The unit vectors (texts, hidden) of texts given by their ids.
    pub(super) fn embed(
        &self,
        context: Context<'_>,
        config: &EncoderConfig,
        ids: &[Vec<u32>],
    ) -> Vec<f32> {
        let mut texts: Vec<Range<usize>> = Vec::with_capacity(ids.len());
        for ids in ids {
            let start = texts.last().map_or(0, |range| range.end);
            texts.push(start..start + ids.len());
        }
        let tokens = texts.last().map_or(0, |range| range.end);
        let mut stream = self.embeddings(config, ids, tokens);
        self.norm.add_and_norm(context, &mut stream, &[]);
        for layer in &self.layers {
            layer.forward(context, config, &texts, &mut stream);
        }
        let hidden = config.hidden_size;
        texts
            .iter()
            .flat_map(|rows| unit_mean(&stream[rows.start * hidden..rows.end * hidden], hidden))
            .collect()
    }

    /// Sum of word, position and kind (tokens, hidden).
    fn embeddings(&self, config: &EncoderConfig, ids: &[Vec<u32>], tokens: usize) -> Vec<f32> {
        let hidden = config.hidden_size;
        let mut stream = vec![0.0; tokens * hidden];
        let mut position_row = vec![0.0; hidden];
        let mut rows = stream.chunks_exact_mut(hidden);
        for ids in ids {
            for ((position, id), row) in ids.iter().enumerate().zip(&mut rows) {
                self.words.row(*id as usize, row);
                self.positions.row(position, &mut position_row);
                for ((value, kind), position) in row.iter_mut().zip(&self.kind).zip(&position_row) {
                    *value += kind + position;
                }
            }
        }
        stream
    }
}

impl Layer {
    fn forward(
        &self,
        context: Context<'_>,
        config: &EncoderConfig,
        texts: &[Range<usize>],
        stream: &mut [f32],
    ) {
        let [query, key, value] = linear(context, stream, [&self.query, &self.key, &self.value]);
        let mut mixed = vec![0.0; stream.len()];
        let projected = Projected { query: &query, key: &key, value: &value };
        attend(context, config, texts, projected, &mut mixed);
        let [attended] = linear(context, &mixed, [&self.attended]);
        self.attention_norm.add_and_norm(context, stream, &attended);
        let [mut wide] = product(context, stream, [&self.wide]);
        add_bias_and_gelu(context, &mut wide, &self.wide.bias);
        let [narrow] = linear(context, &wide, [&self.narrow]);
        self.norm.add_and_norm(context, stream, &narrow);
    }
}

/// x Wᵀ + b of layers that read the same `x`.
fn linear<const N: usize>(context: Context<'_>, x: &[f32], layers: [&Linear; N]) -> [Vec<f32>; N] {
    let mut outputs = product(context, x, layers);
    for (output, layer) in outputs.iter_mut().zip(layers) {
        for row in output.chunks_exact_mut(layer.bias.len()) {
            for (value, bias) in row.iter_mut().zip(&layer.bias) {
                *value += bias;
            }
        }
    }
    outputs
}

/// x Wᵀ of layers that read the same `x`.
fn product<const N: usize>(context: Context<'_>, x: &[f32], layers: [&Linear; N]) -> [Vec<f32>; N] {
    let input = layers[0].weight.input;
    let rows = x.len() / input;
    let mut left = LeftBuffer::default();
    left.put(context, Lane::F32, x, input);
    let mut outputs = layers.map(|layer| vec![0.0; rows * layer.weight.out]);
    let mut products: Vec<Product<'_>> = outputs
        .iter_mut()
        .zip(layers)
        .map(|(c, layer)| Product {
            c,
            n: layer.weight.out,
            rows,
            terms: vec![Term {
                left: left.left(),
                right: layer.weight.source(Direction::Transposed),
                first_row: 0,
                rows,
            }],
            output: Output::Store,
        })
        .collect();
    multiply(context, Lane::F32, &mut products);
    outputs
}

/// The mean of rows, scaled to length one; in the order of the rows.
fn unit_mean(rows: &[f32], width: usize) -> Vec<f32> {
    let mut sum = vec![0.0f64; width];
    for row in rows.chunks_exact(width) {
        for (sum, value) in sum.iter_mut().zip(row) {
            *sum += f64::from(*value);
        }
    }
    let length = sum.iter().map(|value| value * value).sum::<f64>().sqrt();
    // A mean of zero has no direction.
    let scale = if length > 0.0 { 1.0 / length } else { 0.0 };
    sum.iter().map(|value| (value * scale) as f32).collect()
}

/// Takes tensors of the shapes that the config asks for, and hashes what it takes.
struct Reader<'a> {
    tensors: &'a SafetensorsSet,
    config: &'a EncoderConfig,
    threads: &'a Threads,
    prefix: &'static str,
    hash: Sha256,
}

impl<'a> Reader<'a> {
    fn new(tensors: &'a SafetensorsSet, config: &'a EncoderConfig, threads: &'a Threads) -> Self {
        let prefixed = tensors.names().any(|name| name == "bert.embeddings.word_embeddings.weight");
        let prefix = if prefixed { "bert." } else { "" };
        Self { tensors, config, threads, prefix, hash: Sha256::new() }
    }

    fn tensor(&mut self, name: &str, shape: &[usize]) -> Result<TensorView, FormatError> {
        let tensor = self.tensors.tensor(&format!("{}{name}", self.prefix))?;
        if tensor.shape() != shape {
            let (expected, got) = (shape.to_vec(), tensor.shape().to_vec());
            let problem = Problem::WrongShape { name: name.to_owned(), expected, got };
            return Err(FormatError::new(self.tensors.folder(), problem));
        }
        self.hash.update(format!("{name} {} {shape:?}\n", tensor.data_type().name()));
        self.hash.update(tensor.bytes());
        Ok(tensor)
    }

    fn matrix(&mut self, name: &str, out: usize, input: usize) -> Result<Matrix, FormatError> {
        let tensor = self.tensor(name, &[out, input])?;
        Ok(Matrix::new(self.threads, &tensor, Precision::F32))
    }

    fn linear(&mut self, name: &str, out: usize, input: usize) -> Result<Linear, FormatError> {
        let weight = self.matrix(&format!("{name}.weight"), out, input)?;
        let bias = self.tensor(&format!("{name}.bias"), &[out])?.to_f32();
        Ok(Linear { weight, bias })
    }

    fn norm(&mut self, name: &str) -> Result<LayerNorm, FormatError> {
        let (hidden, epsilon) = (self.config.hidden_size, self.config.epsilon);
        let weight = self.tensor(&format!("{name}.weight"), &[hidden])?.to_f32();
        let bias = self.tensor(&format!("{name}.bias"), &[hidden])?.to_f32();
        Ok(LayerNorm { weight, bias, epsilon })
    }

    fn layer(&mut self, layer: usize) -> Result<Layer, FormatError> {
        let (hidden, wide) = (self.config.hidden_size, self.config.intermediate_size);
        let name = |part: &str| format!("encoder.layer.{layer}.{part}");
        Ok(Layer {
            query: self.linear(&name("attention.self.query"), hidden, hidden)?,
            key: self.linear(&name("attention.self.key"), hidden, hidden)?,
            value: self.linear(&name("attention.self.value"), hidden, hidden)?,
            attended: self.linear(&name("attention.output.dense"), hidden, hidden)?,
            attention_norm: self.norm(&name("attention.output.LayerNorm"))?,
            wide: self.linear(&name("intermediate.dense"), wide, hidden)?,
            narrow: self.linear(&name("output.dense"), hidden, wide)?,
            norm: self.norm(&name("output.LayerNorm"))?,
        })
    }
}
