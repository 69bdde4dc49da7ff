//! The operations of a LLaMA-family model on the CPU: one file for each, forward and backward side by side.
//!
//! Shapes are written as `(tokens, hidden)`; a batch is ragged, so `tokens` counts the tokens of all its sequences and
//! nothing is padded. What an operation keeps for its backward is a parameter, never hidden state.

pub mod adamw;
pub mod attention;
pub mod bias;
#[cfg(test)]
pub(crate) mod finite_difference;
pub mod halves;
pub mod head_loss;
pub mod head_norm;
pub mod neftune;
pub mod project;
pub mod rms_norm;
pub mod rope;
pub(crate) mod shared;
pub mod swiglu;
