//! What the engine makes of prompts and texts, as JSON, for scripts that compare it with another program.
//!
//!     cargo run --release -p bioinstruct-engine --example greedy_and_likelihood -- MODEL INPUT.json OUT.json [f32|bf16|stored] [ADAPTER]
//!
//! INPUT: `{"prompts": [text, …], "max_tokens": N, "texts": [text, …]}`. OUT: for each prompt its ids and the ids of the greedy
//! reply; for each text its ids and the natural logarithm of the probability of every token after the first.

use std::path::{Path, PathBuf};

use bioinstruct_engine::EngineError;
use bioinstruct_engine::backend::{Cpu, Phase};
use bioinstruct_engine::format::ModelFile;
use bioinstruct_engine::kernels::lanes::Precision;
use bioinstruct_engine::lora::Adapter;
use bioinstruct_engine::model::inference::{Cache, Extension, Workspace};
use bioinstruct_engine::model::{Llama, LoadOptions};
use bioinstruct_engine::peft;
use bioinstruct_engine::tokenizer::Tokenizer;
use serde_json::{Value, json};

struct Session {
    llama: Llama<Cpu>,
    adapter: Option<Adapter<Cpu>>,
    work: Workspace<Cpu>,
    tokenizer: Tokenizer,
}

impl Session {
    fn encode(&self, text: &Value) -> Vec<u32> {
        let bos = self.tokenizer.bos().filter(|_| self.tokenizer.adds_bos());
        let text = text.as_str().unwrap_or_default();
        bos.into_iter().chain(self.tokenizer.encode_text(text)).collect()
    }

    /// Prompt, then the most likely token until one ends the text.
    fn reply(&mut self, prompt: &[u32], max_tokens: usize) -> Vec<u32> {
        let mut cache = Cache::new();
        let mut ids = Vec::new();
        let (mut next, mut phase) = (prompt.to_vec(), Phase::Prefill);
        while ids.len() < max_tokens {
            let adapter = self.adapter.as_ref();
            let mut one = [Extension { ids: &next, cache: &mut cache, adapter }];
            self.llama.extend(&mut self.work, phase, &mut one, &[next.len() - 1]);
            let logits = self.llama.logits(&self.work, phase, &[0]);
            let best = (0..logits.len())
                .fold(0, |best, at| if logits[at] > logits[best] { at } else { best });
            ids.push(best as u32);
            if self.tokenizer.eos_ids().contains(&(best as u32)) {
                break;
            }
            (next, phase) = (vec![best as u32], Phase::Decode);
        }
        ids
    }

    fn likelihoods(&mut self, ids: &[u32]) -> Vec<f64> {
        let mut cache = Cache::new();
        let adapter = self.adapter.as_ref();
        let mut one = [Extension { ids, cache: &mut cache, adapter }];
        let rows: Vec<usize> = (0..ids.len() - 1).collect();
        self.llama.extend(&mut self.work, Phase::Prefill, &mut one, &rows);
        let logits = self.llama.logits(&self.work, Phase::Prefill, &rows);
        let vocabulary = self.llama.config().vocabulary_size;
        let of = |(row, next): (&[f32], &u32)| {
            let greatest = row.iter().copied().fold(f32::NEG_INFINITY, f32::max);
            let sum: f64 = row.iter().map(|logit| f64::from(logit - greatest).exp()).sum();
            f64::from(row[*next as usize] - greatest) - sum.ln()
        };
        logits.chunks_exact(vocabulary).zip(&ids[1..]).map(of).collect()
    }
}

fn open(
    path: &Path,
    precision: Precision,
    adapter: Option<&PathBuf>,
) -> Result<Session, Box<dyn std::error::Error>> {
    let file = ModelFile::open(path)?;
    let tokenizer = Tokenizer::for_model(&file)?;
    let backend = Cpu::new(0)?;
    let llama = Llama::load(&file, backend, LoadOptions { precision, positions: 2048 })?;
    let load = |directory: &PathBuf| {
        let loaded = peft::load(&llama, directory)?;
        Ok::<_, EngineError>(loaded.adapter)
    };
    let adapter = adapter.map(load).transpose()?;
    let work = Workspace::new(llama.backend());
    Ok(Session { llama, adapter, work, tokenizer })
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [model, input, out, rest @ ..] = &arguments[..] else {
        return Err("MODEL INPUT.json OUT.json [f32|bf16|stored] [ADAPTER]".into());
    };
    let precision = match rest.first().map(String::as_str) {
        None | Some("f32") => Precision::F32,
        Some("bf16") => Precision::Bf16,
        Some("stored") => Precision::Stored,
        Some(other) => return Err(format!("no precision: {other}").into()),
    };
    let adapter = rest.get(1).map(PathBuf::from);
    let mut session = open(Path::new(model), precision, adapter.as_ref())?;
    let input: Value = serde_json::from_str(&fs_err::read_to_string(input)?)?;
    let max_tokens = input["max_tokens"].as_u64().unwrap_or(64) as usize;
    let list = |field: &str| input[field].as_array().cloned().unwrap_or_default();
    let mut replies = Vec::new();
    for prompt in list("prompts") {
        let prompt = session.encode(&prompt);
        let ids = session.reply(&prompt, max_tokens);
        replies.push(json!({"prompt_ids": prompt, "ids": ids}));
    }
    let mut texts = Vec::new();
    for text in list("texts") {
        let ids = session.encode(&text);
        let likelihoods = session.likelihoods(&ids);
        texts.push(json!({"ids": ids, "likelihoods": likelihoods}));
    }
    fs_err::write(out, json!({"replies": replies, "texts": texts}).to_string())?;
    Ok(())
}
