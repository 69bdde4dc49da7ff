//! `chat`: one prompt or a conversation in the terminal.

use std::io::{BufRead, ErrorKind, IsTerminal};
use std::ops::ControlFlow;

use bioinstruct_core::NOT_FOR_PATIENT_CARE;
use bioinstruct_core::model::{
    ChatEvent, ChatModel, ChatReply, ChatRequest, Exchange, Message, ModelError, Prompt, Role,
    Sampling,
};
use bioinstruct_core::template::InstructionTemplate;
use bioinstruct_engine::local::LocalModel;
use serde_json::{Value, json};

use crate::arguments::{Chat, Globals};
use crate::config::{Config, Flags};
use crate::console::Console;
use crate::model::{self, AdapterCard};
use crate::{asked_model, failure};

pub(crate) fn run(verb: &Chat, globals: &Globals, console: &Console) -> anyhow::Result<()> {
    let mut flags = Flags::default();
    flags.set("precision", verb.precision.clone());
    let config = Config::resolve("", globals, flags)?;
    sampling(verb, config.seed)?;
    if let Some(template) = &verb.template {
        InstructionTemplate::load(template)?;
    }
    let card = match &verb.adapter {
        Some(directory) => AdapterCard::read(directory)?,
        None => None,
    };
    let mut local = asked_model::local(&verb.model, &config, globals.offline, console)?;
    if let Some(directory) = &verb.adapter {
        if card
            .as_ref()
            .is_some_and(|card| card.base != model::hexadecimal(&local.llama().weights_hash()))
        {
            let message = format!("adapter {} was tuned on another base", directory.display());
            return Err(failure::data(
                message,
                "name the base that it was tuned on with `--model`",
            ));
        }
        local.add_adapter("tuned", directory)?;
    }
    let fallback = if local.chat_template().is_some() { "chat" } else { "bioinstruct" };
    let template = model::agreed_template(card.as_ref(), verb.template.as_deref(), fallback)?;
    let talk = Talk { verb, template: &template, seed: config.seed };
    console.say(NOT_FOR_PATIENT_CARE);
    if verb.prompts.is_empty() {
        talk.converse(&mut local, console)
    } else {
        talk.answer(&mut local, console)
    }
}

/// How tokens are chosen, as the flags say.
fn sampling(verb: &Chat, seed: u64) -> anyhow::Result<Sampling> {
    let sampling = Sampling {
        max_tokens: verb.max_tokens,
        temperature: verb.temperature,
        top_p: verb.top_p,
        top_k: verb.top_k,
        seed,
        ..Sampling::default()
    };
    sampling.check().map_err(|(field, reason)| {
        let message = format!("--{}: {reason}", field.replace('_', "-"));
        failure::usage(message, "`bioinstruct chat --help` lists the flags")
    })?;
    Ok(sampling)
}

struct Talk<'a> {
    verb: &'a Chat,
    template: &'a str,
    seed: u64,
}

impl Talk<'_> {
    /// The prompts that were given. One is printed as it is written, several when all are there.
    fn answer(&self, local: &mut LocalModel, console: &Console) -> anyhow::Result<()> {
        let asked = self.verb.prompts.iter().map(|prompt| vec![Message::user(prompt)]).collect();
        let replies = self.ask(local, asked, console)?;
        let told: Vec<Value> = replies
            .iter()
            .map(|reply| {
                json!({
                    "text": reply.text,
                    "prompt_tokens": reply.usage.prompt_tokens,
                    "tokens": reply.usage.completion_tokens,
                    "finish": reply.finish,
                })
            })
            .collect();
        let timing = local.timing();
        let mut summary = match <[Value; 1]>::try_from(told) {
            Ok([one]) => one,
            Err(several) => json!({"replies": several}),
        };
        summary["prefill_tokens_per_second"] = json!(timing.prefill_tokens_per_second());
        summary["decode_tokens_per_second"] = json!(timing.decode_tokens_per_second());
        console.summary(&summary)
    }

    /// Line by line, until the input ends. Under an instruction template each line is a question of its own.
    fn converse(&self, local: &mut LocalModel, console: &Console) -> anyhow::Result<()> {
        console.say("type a question and press Enter; Ctrl-D ends");
        let mut messages = Vec::new();
        let asks = std::io::stdin().is_terminal() && std::io::stdout().is_terminal();
        let mut turns = Vec::new();
        let mut lines = std::io::stdin().lock().lines();
        loop {
            if asks {
                console.print("> ")?;
            }
            let Some(line) = lines.next() else { break };
            let line = line.map_err(|error| match error.kind() {
                ErrorKind::InvalidData => failure::data(
                    "standard input is not UTF-8".to_owned(),
                    "convert the text to UTF-8 first",
                ),
                _ => error.into(),
            })?;
            if line.trim().is_empty() {
                continue;
            }
            if self.template != "chat" {
                messages.clear();
            }
            messages.push(Message::user(line.clone()));
            let Some(reply) = self.ask(local, vec![messages.clone()], console)?.pop() else {
                break;
            };
            if console.json() {
                turns.push(json!({"prompt": line, "text": reply.text, "finish": reply.finish}));
            }
            messages.push(Message { role: Role::Assistant, content: reply.text });
        }
        if asks {
            console.print("\n")?;
        }
        console.summary(&json!({"turns": turns}))
    }

    /// A reply to each conversation.
    fn ask(
        &self,
        local: &mut LocalModel,
        conversations: Vec<Vec<Message>>,
        console: &Console,
    ) -> anyhow::Result<Vec<ChatReply>> {
        let requests: Vec<ChatRequest> = conversations
            .into_iter()
            .enumerate()
            .map(|(number, messages)| self.request(number + 1, messages))
            .collect::<Result<_, _>>()?;
        let count = requests.len();
        let mut answers = Answers {
            requests: requests.into_iter(),
            replies: Vec::with_capacity(count),
            failure: None,
            streams: count == 1,
            console,
        };
        local.run(&mut answers)?;
        if let Some((id, reason)) = answers.failure {
            return Err(ModelError::Request { id, reason }.into());
        }
        let mut replies = answers.replies;
        replies.sort_by_key(|reply| reply.id.parse::<usize>().unwrap_or(usize::MAX));
        if replies.len() < count {
            let (id, reason) = ("chat".to_owned(), "there was no reply".to_owned());
            return Err(ModelError::Request { id, reason }.into());
        }
        if count == 1 {
            console.print("\n")?;
        } else {
            replies.iter().try_for_each(|reply| console.print(&format!("{}\n", reply.text)))?;
        }
        Ok(replies)
    }

    fn request(&self, number: usize, messages: Vec<Message>) -> anyhow::Result<ChatRequest> {
        let prompt = match (self.template, messages.last()) {
            ("chat", _) | (_, None) => Prompt::Messages(messages),
            (template, Some(last)) => Prompt::Instruction {
                instruction: last.content.clone(),
                input: String::new(),
                template: template.to_owned(),
            },
        };
        Ok(ChatRequest {
            id: number.to_string(),
            prompt,
            sampling: sampling(self.verb, self.seed)?,
            stop: Vec::new(),
            schema: None,
            adapter: self.verb.adapter.is_some().then(|| "tuned".to_owned()),
        })
    }
}

/// Requests and what became of them; a single one is printed as it is written.
struct Answers<'a> {
    requests: std::vec::IntoIter<ChatRequest>,
    replies: Vec<ChatReply>,
    /// The first request that failed, and why.
    failure: Option<(String, String)>,
    streams: bool,
    console: &'a Console,
}

impl Exchange for Answers<'_> {
    fn next_request(&mut self) -> Option<ChatRequest> {
        self.requests.next()
    }

    fn event(&mut self, event: ChatEvent) -> ControlFlow<()> {
        match event {
            ChatEvent::Delta { text, .. } if self.streams => {
                if self.console.print(&text).is_err() {
                    return ControlFlow::Break(());
                }
            }
            ChatEvent::Delta { .. } => {}
            ChatEvent::Reply(reply) => self.replies.push(reply),
            ChatEvent::Failure { id, error, .. } => {
                self.failure.get_or_insert((id, error));
            }
        }
        ControlFlow::Continue(())
    }
}
