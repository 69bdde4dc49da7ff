//! What is wanted of a generation: [`GenerateConfig`].

use bioinstruct_core::model::Sampling;
use serde::{Deserialize, Serialize};

use crate::GenerateError;
use crate::prompt;

/// How tasks are asked for and given.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Form {
    /// The paper's request: numbered plain text, many tasks a reply. For large models.
    #[default]
    Paper,
    /// A short conversation about one topic, answered in JSON of a given schema. For models that can be held to a schema;
    /// the smallest ones can follow it.
    Json,
}

impl Form {
    /// The name used in files and flags.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Paper => "paper",
            Self::Json => "json",
        }
    }
}

/// The section `generate` of the configuration.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct GenerateConfig {
    /// How tasks are asked for and given.
    pub form: Form,
    /// Rows to accept.
    pub count: usize,
    /// Seeds shown in each request.
    pub exemplars_per_request: usize,
    /// Length of the list in the paper's request, the exemplars among them.
    pub tasks_per_request: usize,
    /// New tasks in each reply of the JSON form. One suits the smallest models, whose second task repeats the first.
    pub tasks_per_request_json: usize,
    /// Zero is greedy.
    pub temperature: f64,
    /// Keep the smallest set of tokens with at least this probability; 1 keeps all.
    pub top_p: f64,
    /// Keep this many most likely tokens; zero keeps all.
    pub top_k: usize,
    /// Makes tokens less likely that were already seen; 1 changes nothing.
    pub repetition_penalty: f64,
    /// Most tokens of a reply; zero for the form's own bound.
    pub max_tokens: usize,
    /// Most requests; zero for no limit.
    pub max_requests: usize,
    /// Give up after this many requests in a row from which no row was accepted.
    pub max_barren_requests: usize,
}

impl Default for GenerateConfig {
    /// The paper's request with Alpaca's sampling, since the paper does not give its own.
    fn default() -> Self {
        Self {
            form: Form::Paper,
            count: 100,
            exemplars_per_request: 3,
            tasks_per_request: 20,
            tasks_per_request_json: 1,
            temperature: 1.0,
            top_p: 1.0,
            top_k: 0,
            repetition_penalty: 1.0,
            max_tokens: 0,
            max_requests: 0,
            max_barren_requests: 50,
        }
    }
}

impl GenerateConfig {
    /// Refuses values without meaning; `seed_count` is the number of seeds at hand.
    pub fn check(&self, seed_count: usize) -> Result<(), GenerateError> {
        let refuse =
            |key: &'static str, reason: String| Err(GenerateError::Setting { key, reason });
        if self.count == 0 {
            return refuse("count", "must be at least 1".to_owned());
        }
        if self.exemplars_per_request == 0 {
            return refuse("exemplars_per_request", "must be at least 1".to_owned());
        }
        if self.exemplars_per_request > seed_count {
            let reason =
                format!("{} seeds are wanted, {seed_count} are there", self.exemplars_per_request);
            return refuse("exemplars_per_request", reason);
        }
        if self.form == Form::Paper && self.tasks_per_request <= self.exemplars_per_request {
            let reason =
                format!("leaves no task to write behind {} exemplars", self.exemplars_per_request);
            return refuse("tasks_per_request", reason);
        }
        if self.form == Form::Json && self.tasks_per_request_json == 0 {
            return refuse("tasks_per_request_json", "must be at least 1".to_owned());
        }
        if self.max_barren_requests == 0 {
            return refuse("max_barren_requests", "must be at least 1".to_owned());
        }
        let sampling = self.sampling(0);
        sampling.check().or_else(|(key, reason)| refuse(key, reason))
    }

    /// New tasks that a reply can hold.
    pub fn tasks_per_reply(&self) -> usize {
        match self.form {
            Form::Paper => self.tasks_per_request.saturating_sub(self.exemplars_per_request),
            Form::Json => self.tasks_per_request_json,
        }
    }

    /// The sampling of a request whose random stream is named `seed`.
    pub(crate) fn sampling(&self, seed: u64) -> Sampling {
        let own_bound = match self.form {
            Form::Paper => 3072, // Alpaca's
            Form::Json => prompt::JSON_TOKENS_PER_TASK * self.tasks_per_request_json,
        };
        Sampling {
            max_tokens: if self.max_tokens == 0 { own_bound } else { self.max_tokens },
            temperature: self.temperature,
            top_p: self.top_p,
            top_k: self.top_k,
            repetition_penalty: self.repetition_penalty,
            seed,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_without_meaning_are_refused() {
        let bad = [
            "count = 0",
            "exemplars_per_request = 81",
            "exemplars_per_request = 0",
            "tasks_per_request = 3",
            "form = 'json'\ntasks_per_request_json = 0",
            "temperature = -1.0",
            "top_p = 0.0",
            "max_barren_requests = 0",
        ];
        for text in bad {
            let config: GenerateConfig = toml::from_str(text).unwrap();
            let error = config.check(80).unwrap_err().to_string();
            let key = text.lines().last().unwrap().split(' ').next().unwrap();
            assert!(error.contains(&format!("`generate.{key}`")), "{error}");
        }
        GenerateConfig::default().check(80).unwrap();
        assert_eq!(GenerateConfig::default().tasks_per_reply(), 17);
    }
}
