//! From logits to text: a [`Sampler`] chooses tokens, a [`Constraint`] keeps them inside a JSON schema, a [`TextStream`] turns
//! their bytes into text that can be shown at once, and [`Likelihoods`] scores tokens that are given.
//!
//! Nothing here knows the network: a row of logits comes in, and what comes out depends on nothing else but the request.

mod constraint;
mod likelihood;
mod sampler;
mod stop;
mod vocabulary;

pub use constraint::{Constraint, ConstraintError, SchemaCompiler};
pub use likelihood::{Likelihoods, first_maximum};
pub use sampler::Sampler;
pub use stop::{Piece, TextStream};
