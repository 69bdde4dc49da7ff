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
use serde_json::json;

use crate::arguments::{Chat, Globals};
use crate::config::{Config, Flags};
use crate::console::Console;
use crate::failure;
use crate::model::{self, AdapterCard};
use crate::verbs::generate::local_model;

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
    let mut local = local_model(&verb.model, &config, globals.offline, console)?;
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
    match &verb.prompt {
        Some(prompt) => {
            let reply = talk.ask(&mut local, vec![Message::user(prompt)], console)?;
            let timing = local.timing();
            console.summary(&json!({
                "text": reply.text,
                "prompt_tokens": reply.usage.prompt_tokens,
                "tokens": reply.usage.completion_tokens,
                "finish": reply.finish,
                "prefill_tokens_per_second": timing.prefill_tokens_per_second(),
                "decode_tokens_per_second": timing.decode_tokens_per_second(),
            }))
        }
        None => talk.converse(&mut local, console),
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
            let reply = self.ask(local, messages.clone(), console)?;
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

    fn ask(
        &self,
        local: &mut LocalModel,
        messages: Vec<Message>,
        console: &Console,
    ) -> anyhow::Result<ChatReply> {
        let prompt = match (self.template, messages.last()) {
            ("chat", _) | (_, None) => Prompt::Messages(messages),
            (template, Some(last)) => Prompt::Instruction {
                instruction: last.content.clone(),
                input: String::new(),
                template: template.to_owned(),
            },
        };
        let sampling = sampling(self.verb, self.seed)?;
        let adapter = self.verb.adapter.is_some().then(|| "tuned".to_owned());
        let request = ChatRequest {
            id: "chat".to_owned(),
            prompt,
            sampling,
            stop: Vec::new(),
            schema: None,
            adapter,
        };
        let mut once = Once { request: Some(request), reply: None, failure: None, console };
        local.run(&mut once)?;
        console.print("\n")?;
        match (once.reply, once.failure) {
            (Some(reply), _) => Ok(reply),
            (None, reason) => Err(ModelError::Request {
                id: "chat".to_owned(),
                reason: reason.unwrap_or_else(|| "there was no reply".to_owned()),
            }
            .into()),
        }
    }
}

/// One request, whose text is printed as it comes.
struct Once<'a> {
    request: Option<ChatRequest>,
    reply: Option<ChatReply>,
    failure: Option<String>,
    console: &'a Console,
}

impl Exchange for Once<'_> {
    fn next_request(&mut self) -> Option<ChatRequest> {
        self.request.take()
    }

    fn event(&mut self, event: ChatEvent) -> ControlFlow<()> {
        match event {
            ChatEvent::Delta { text, .. } => {
                if self.console.print(&text).is_err() {
                    return ControlFlow::Break(());
                }
            }
            ChatEvent::Reply(reply) => self.reply = Some(reply),
            ChatEvent::Failure { error, .. } => self.failure = Some(error),
        }
        ControlFlow::Continue(())
    }
}
