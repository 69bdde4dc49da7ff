//! Replies that must be JSON of a schema: [`SchemaCompiler`] makes a [`Constraint`] of a schema, which says before each token
//! which ones may come. The grammar work is llguidance's; the vocabulary is ours.
//!
//! The JSON is compact (no white space between its parts). A keyword that cannot be kept exactly is refused, never ignored.

use std::fmt::Display;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use bioinstruct_core::diagnose::{Diagnose, FailureKind};
use llguidance::api::TopLevelGrammar;
use llguidance::panic_utils::catch_unwind;
use llguidance::toktrie::{InferenceCapabilities, TokEnv};
use llguidance::{Matcher, ParserFactory};
use serde_json::{Value, json};

use super::vocabulary::Environment;
use crate::tokenizer::Tokenizer;

/// A schema that cannot be followed.
#[derive(Debug, thiserror::Error)]
pub enum ConstraintError {
    /// The tokenizer cannot be used for constrained decoding.
    #[error("the model's vocabulary cannot be constrained: {reason}")]
    Vocabulary {
        /// Why not.
        reason: String,
    },
    /// The schema is wrong, allows nothing, or has a keyword that cannot be kept exactly.
    #[error("the JSON schema cannot be followed: {reason}")]
    Schema {
        /// Why not.
        reason: String,
    },
    /// The grammar failed in the middle of a reply.
    #[error("constrained decoding stopped: {reason}")]
    Decoding {
        /// Why.
        reason: String,
    },
}

impl Diagnose for ConstraintError {
    fn kind(&self) -> FailureKind {
        match self {
            Self::Schema { .. } => FailureKind::Configuration,
            Self::Vocabulary { .. } | Self::Decoding { .. } => FailureKind::Data,
        }
    }
}

/// Compiles schemas for one tokenizer.
pub struct SchemaCompiler {
    factory: ParserFactory,
}

impl SchemaCompiler {
    /// For replies that end with one of `ends`. Takes a moment for a large vocabulary.
    ///
    /// # Errors
    /// [`ConstraintError::Vocabulary`].
    pub fn new(tokenizer: Arc<Tokenizer>, ends: &[u32]) -> Result<Self, ConstraintError> {
        let mut factory = catch_unwind(AssertUnwindSafe(|| {
            let environment: TokEnv = Arc::new(Environment::new(tokenizer, ends));
            // Fast-forwarding is asked for by the caller, which llguidance does not count as a capability.
            ParserFactory::new(
                &environment,
                InferenceCapabilities::default(),
                &llguidance::earley::SlicedBiasComputer::json_slices(),
            )
        }))
        .map_err(|error| ConstraintError::Vocabulary { reason: first_line(error) })?;
        factory.quiet();
        factory.limits_mut().verbose_errors = false;
        Ok(Self { factory })
    }

    /// A constraint at the beginning of a reply.
    ///
    /// # Errors
    /// [`ConstraintError::Schema`].
    pub fn compile(&self, schema: &Value) -> Result<Constraint, ConstraintError> {
        let refuse = |reason: String| ConstraintError::Schema { reason };
        let mut schema = match schema {
            Value::Object(_) => schema.clone(),
            Value::Bool(true) => json!({}),
            Value::Bool(false) => return Err(refuse("it allows nothing".to_owned())),
            _ => {
                return Err(refuse("it is neither an object nor a truth value".to_owned()));
            }
        };
        // llguidance's own options stand in the schema; those of the caller are none of ours.
        schema["x-guidance"] = json!({
            "whitespace_flexible": false,
            "item_separator": ",",
            "key_separator": ":",
        });
        let parser = self
            .factory
            .create_parser(TopLevelGrammar::from_json_schema(schema))
            .map_err(|error| refuse(first_line(error)))?;
        let matcher = Matcher::new(Ok(parser));
        match matcher.get_error() {
            Some(error) => Err(refuse(first_line(error))),
            None => Ok(Constraint { matcher }),
        }
    }
}

/// What may come next in one reply.
pub struct Constraint {
    matcher: Matcher,
}

impl Constraint {
    /// Sets the logits of all tokens that must not come next to −∞.
    ///
    /// # Errors
    /// [`ConstraintError::Decoding`]; the constraint cannot be used any more.
    pub fn mask(&mut self, logits: &mut [f32]) -> Result<(), ConstraintError> {
        let allowed = self.matcher.compute_mask().map_err(decoding)?;
        for (id, logit) in logits.iter_mut().enumerate() {
            if id >= allowed.len() || !allowed.get(id) {
                *logit = f32::NEG_INFINITY;
            }
        }
        Ok(())
    }

    /// Goes on after a token that was allowed.
    ///
    /// # Errors
    /// [`ConstraintError::Decoding`].
    pub fn advance(&mut self, id: u32) -> Result<(), ConstraintError> {
        self.matcher.consume_token(id).map_err(decoding)
    }

    /// The tokens that must come next, whatever the model says; they count as taken.
    ///
    /// # Errors
    /// [`ConstraintError::Decoding`].
    pub fn forced(&mut self) -> Result<Vec<u32>, ConstraintError> {
        if self.complete() {
            return Ok(Vec::new());
        }
        let forced = self.matcher.compute_ff_tokens();
        for id in &forced {
            self.advance(*id)?;
        }
        Ok(forced)
    }

    /// Whether the JSON is complete and nothing can be added to it.
    pub fn complete(&self) -> bool {
        self.matcher.is_stopped() && !self.matcher.is_error()
    }
}

fn decoding(error: impl Display) -> ConstraintError {
    ConstraintError::Decoding { reason: first_line(error) }
}

/// The message without the state of the parser that llguidance appends.
fn first_line(error: impl Display) -> String {
    error.to_string().lines().next().unwrap_or_default().trim_end_matches(':').to_owned()
}

#[cfg(test)]
mod tests {
    use super::super::Sampler;
    use super::*;
    use bioinstruct_core::model::Sampling;
    use bioinstruct_core::random::Stream;
    use std::path::Path;

    fn tokenizer() -> Arc<Tokenizer> {
        let path = Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("../../tests/fixtures/tiny-llama/tokenizer.json");
        Arc::new(Tokenizer::from_file(&path).unwrap())
    }

    fn compiler() -> SchemaCompiler {
        let tokenizer = tokenizer();
        let ends = tokenizer.eos_ids().to_vec();
        SchemaCompiler::new(tokenizer, &ends).unwrap()
    }

    /// A reply of random tokens among those that are allowed.
    fn random_reply(compiler: &SchemaCompiler, schema: &Value, seed: u64) -> Option<String> {
        let tokenizer = tokenizer();
        let mut constraint = compiler.compile(schema).unwrap();
        let sampling = Sampling { temperature: 1.0, seed, ..Sampling::default() };
        let sampler = Sampler::new(&sampling, &[]);
        let mut bytes = Vec::new();
        for step in 0..400 {
            let mut draws = Stream::new(seed, "logits").at(step);
            let mut logits: Vec<f32> =
                (0..tokenizer.vocabulary_size()).map(|_| draws.unit() as f32 * 4.0).collect();
            constraint.mask(&mut logits).unwrap();
            let id = sampler.choose(&mut logits, step).unwrap();
            if tokenizer.eos_ids().contains(&id) {
                break;
            }
            assert!(!tokenizer.is_control(id), "a control token inside JSON");
            constraint.advance(id).unwrap();
            bytes.extend_from_slice(tokenizer.token_bytes(id));
            for forced in constraint.forced().unwrap() {
                bytes.extend_from_slice(tokenizer.token_bytes(forced));
            }
            if constraint.complete() {
                break;
            }
        }
        String::from_utf8(bytes).ok().filter(|text| serde_json::from_str::<Value>(text).is_ok())
    }

    #[test]
    fn random_tokens_make_json_of_the_schema() {
        let schema = json!({
            "type": "object",
            "properties": {
                "answer": {"enum": ["yes", "no", "maybe"]},
                "doses": {"type": "array", "items": {"type": "integer", "minimum": 0, "maximum": 400}, "minItems": 1, "maxItems": 3},
                "note": {"type": "string", "maxLength": 12},
            },
            "required": ["answer", "doses", "note"],
            "additionalProperties": false,
        });
        let compiler = compiler();
        for seed in 0..30 {
            let text = random_reply(&compiler, &schema, seed).expect("complete JSON");
            let value: Value = serde_json::from_str(&text).unwrap();
            assert!(["yes", "no", "maybe"].contains(&value["answer"].as_str().unwrap()), "{text}");
            let doses = value["doses"].as_array().unwrap();
            assert!((1..=3).contains(&doses.len()), "{text}");
            assert!(
                doses.iter().all(|dose| dose.as_u64().is_some_and(|dose| dose <= 400)),
                "{text}"
            );
            assert!(value["note"].as_str().unwrap().chars().count() <= 12, "{text}");
            assert_eq!(value.as_object().unwrap().len(), 3, "{text}");
            assert!(text.starts_with(r#"{"answer":""#), "compact: {text}");
        }
    }

    #[test]
    fn forced_text_is_cut_as_the_tokenizer_cuts_it() {
        let compiler = compiler();
        let tokenizer = tokenizer();
        let schema = json!({"const": {"instruction": "patient"}});
        let mut constraint = compiler.compile(&schema).unwrap();
        let ids = constraint.forced().unwrap();
        assert!(constraint.complete());
        assert_eq!(ids, tokenizer.encode_text(r#"{"instruction":"patient"}"#));
    }

    #[test]
    fn schemas_that_cannot_be_followed_are_refused() {
        let compiler = compiler();
        for schema in [
            json!(false),
            json!("object"),
            json!({"type": "vector"}),
            json!({"type": "string", "pattern": "("}),
            json!({"type": "array", "items": {"type": "string"}, "uniqueItems": true}),
            json!({"$ref": "#/definitions/missing"}),
            json!({"type": "integer", "minimum": 3, "maximum": 2}),
        ] {
            let Err(error) = compiler.compile(&schema) else { panic!("{schema} was taken") };
            assert!(matches!(error, ConstraintError::Schema { .. }), "{error}");
            assert!(!error.to_string().contains('\n'), "{error}");
        }
        assert!(compiler.compile(&json!(true)).is_ok());
    }
}
