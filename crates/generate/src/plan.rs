//! Which request comes at which place: [`Plan`].
//!
//! Request `k` is a pure function of the seed, `k`, the seed tasks and the configuration, so any number of processes agree
//! on it, and a rerun asks the same things again.

use bioinstruct_core::hash::ContentHash;
use bioinstruct_core::model::{ChatRequest, Prompt};
use bioinstruct_core::random::{Draws, Stream};
use bioinstruct_core::record::{Category, SeedTask};
use bioinstruct_core::template::TemplateError;
use serde_json::{Value, json};

use crate::GenerateError;
use crate::config::{Form, GenerateConfig};
use crate::prompt::{json_prompt, json_schema, paper_prompt, topics};

/// The endless list of requests of one run.
#[derive(Debug, Clone)]
pub struct Plan<'a> {
    seeds: &'a [SeedTask],
    config: &'a GenerateConfig,
    stream: Stream,
}

/// One request and what has to be remembered with it.
#[derive(Debug, Clone, PartialEq)]
pub struct PlannedRequest {
    /// Its place.
    pub index: u64,
    /// What is sent.
    pub request: ChatRequest,
    /// The seeds shown, in their order.
    pub exemplar_ids: Vec<String>,
    /// Whether the text of one of them is under a data-use agreement.
    pub restricted: bool,
    /// The kind of task asked for; none in the paper's form.
    pub category: Option<Category>,
}

impl PlannedRequest {
    /// What the ledger keeps beside the request.
    pub fn extra(&self) -> Value {
        json!({"exemplars": self.exemplar_ids, "category": self.category})
    }
}

impl<'a> Plan<'a> {
    /// The plan of this seed; the configuration is checked.
    pub fn new(
        seeds: &'a [SeedTask],
        config: &'a GenerateConfig,
        seed: u64,
    ) -> Result<Self, GenerateError> {
        config.check(seeds.len())?;
        Ok(Self { seeds, config, stream: Stream::new(seed, "generate") })
    }

    /// The request at place `index`.
    pub fn request(&self, index: u64) -> Result<PlannedRequest, TemplateError> {
        let mut draws = self.stream.at(index);
        let (exemplars, category, prompt, schema) = match self.config.form {
            Form::Paper => self.paper(&mut draws)?,
            Form::Json => self.json(&mut draws)?,
        };
        // 32 bits: some servers read the seed as a signed number.
        let sampling = self.config.sampling(u64::from(draws.next_u32()));
        let body =
            json!({"index": index, "prompt": prompt, "sampling": sampling, "schema": schema});
        let request = ChatRequest {
            id: ContentHash::of_json(&body).short().to_owned(),
            prompt,
            sampling,
            // No stop strings: "20." also stands inside clinical text, and would end a task in its middle.
            stop: Vec::new(),
            schema,
            adapter: None,
        };
        Ok(PlannedRequest {
            index,
            request,
            exemplar_ids: exemplars.iter().map(|seed| seed.id.clone()).collect(),
            restricted: exemplars.iter().any(|seed| seed.restricted),
            category,
        })
    }

    fn paper(&self, draws: &mut Draws) -> Result<Drawn<'a>, TemplateError> {
        let all: Vec<&SeedTask> = self.seeds.iter().collect();
        let exemplars = choose(draws, self.config.exemplars_per_request, &all);
        let prompt = paper_prompt(&exemplars, self.config.tasks_per_request)?;
        Ok((exemplars, None, prompt, None))
    }

    /// The kind is drawn by the paper's shares, the exemplars among the seeds of that kind where there are enough.
    fn json(&self, draws: &mut Draws) -> Result<Drawn<'a>, TemplateError> {
        let category = draw_category(draws);
        let wanted = self.config.exemplars_per_request;
        let mut pool: Vec<&SeedTask> =
            self.seeds.iter().filter(|seed| seed.category == category).collect();
        if pool.len() < wanted {
            pool = self.seeds.iter().collect();
        }
        let exemplars = choose(draws, wanted, &pool);
        let topics = topics();
        let topic = topics[draws.below(topics.len())];
        let count = self.config.tasks_per_request_json;
        let prompt = json_prompt(&exemplars, category, topic, count)?;
        Ok((exemplars, Some(category), prompt, Some(json_schema(count))))
    }
}

type Drawn<'a> = (Vec<&'a SeedTask>, Option<Category>, Prompt, Option<Value>);

fn choose<'a>(draws: &mut Draws, count: usize, pool: &[&'a SeedTask]) -> Vec<&'a SeedTask> {
    let positions = draws.distinct(count, pool.len());
    positions.into_iter().map(|at| pool[at]).collect()
}

fn draw_category(draws: &mut Draws) -> Category {
    let total: f64 = Category::ALL.iter().map(|category| category.paper_share()).sum();
    let mut left = draws.unit() * total;
    for category in Category::ALL {
        left -= category.paper_share();
        if left < 0.0 {
            return category;
        }
    }
    Category::Other
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use super::*;

    fn seeds() -> Vec<SeedTask> {
        let categories = ["qa", "ie", "generation", "other"];
        (0..20)
            .map(|n| {
                let value = json!({
                    "id": format!("s{n}"), "instruction": format!("Do thing {n}."), "output": "x",
                    "category": categories[n % 4], "topic": "t", "restricted": n == 7,
                });
                serde_json::from_value(value).unwrap()
            })
            .collect()
    }

    fn config(form: Form) -> GenerateConfig {
        GenerateConfig { form, ..GenerateConfig::default() }
    }

    #[test]
    fn requests_depend_on_seed_and_place_alone() {
        let seeds = seeds();
        for form in [Form::Paper, Form::Json] {
            let config = config(form);
            let plan = Plan::new(&seeds, &config, 5).unwrap();
            let backwards: Vec<PlannedRequest> =
                (0..50).rev().map(|index| plan.request(index).unwrap()).collect();
            for planned in &backwards {
                assert_eq!(
                    Plan::new(&seeds, &config, 5).unwrap().request(planned.index).unwrap(),
                    *planned
                );
            }
            let ids: BTreeSet<&str> =
                backwards.iter().map(|planned| planned.request.id.as_str()).collect();
            let streams: BTreeSet<u64> =
                backwards.iter().map(|planned| planned.request.sampling.seed).collect();
            assert_eq!((ids.len(), streams.len()), (50, 50));
            let other = Plan::new(&seeds, &config, 6).unwrap();
            assert_ne!(other.request(3).unwrap().request, plan.request(3).unwrap().request);
        }
    }

    #[test]
    fn every_seed_is_shown_and_none_twice_in_a_request() {
        let seeds = seeds();
        let config = config(Form::Paper);
        let plan = Plan::new(&seeds, &config, 1).unwrap();
        let mut shown: BTreeMap<String, usize> = BTreeMap::new();
        for index in 0..200 {
            let planned = plan.request(index).unwrap();
            let different: BTreeSet<&String> = planned.exemplar_ids.iter().collect();
            assert_eq!(different.len(), 3);
            assert_eq!(planned.restricted, planned.exemplar_ids.contains(&"s7".to_owned()));
            for id in planned.exemplar_ids {
                *shown.entry(id).or_default() += 1;
            }
        }
        assert_eq!(shown.len(), 20);
        assert!(shown.values().all(|&count| (15..50).contains(&count)), "{shown:?}");
    }

    #[test]
    fn the_json_form_asks_by_the_shares_of_the_paper() {
        let seeds = seeds();
        let config = config(Form::Json);
        let plan = Plan::new(&seeds, &config, 1).unwrap();
        let mut counts = BTreeMap::new();
        for index in 0..1000 {
            let planned = plan.request(index).unwrap();
            *counts.entry(planned.category.unwrap()).or_insert(0usize) += 1;
            assert!(planned.request.schema.is_some());
        }
        for (category, count) in counts {
            let expected = 1000.0 * category.paper_share();
            assert!((count as f64 - expected).abs() < 50.0, "{category:?} {count}");
        }
    }
}
