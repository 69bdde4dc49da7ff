//! LLaMA-family models on the CPU: loading, training and sampling.
//!
//! [`source`] finds a model's files, [`mod@format`] reads them, [`tokenizer`] turns text into ids. [`model`] is the network,
//! written against the [`backend`] boundary whose readable implementation calls the [`ops`] and [`kernels`]; [`lora`] and
//! [`peft`] hold adapters, [`train`] tunes them, and [`merge`] writes them into their base. [`sentence`] is another network:
//! texts to vectors of their meaning.

pub mod backend;
pub mod error;
pub mod format;
pub mod kernels;
pub mod local;
pub mod lora;
pub mod merge;
pub mod model;
pub mod ops;
pub mod peft;
pub mod sample;
pub mod sentence;
pub mod source;
pub mod tokenizer;
pub mod train;

pub use error::EngineError;
