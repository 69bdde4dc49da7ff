//! Models behind HTTP, and the one owner of a socket.
//!
//! [`OpenAiClient`] speaks the chat-completions protocol of `OpenAI` and of the many servers that imitate it;
//! [`Replay`] answers from recorded replies, with no key and no network; [`Downloader`] fetches model files. Every byte
//! that leaves passes `egress`, which knows the hosts that the user allowed and refuses all others. A [`Secret`] can be
//! sent, and cannot be printed.

mod backoff;
mod download;
mod egress;
mod openai;
mod replay;
mod secret;

pub use backoff::Backoff;
pub use download::{DownloadError, Downloader, HUB_HOSTS, Progress};
pub use openai::{OpenAiClient, OpenAiConfig, Timeouts, TokenLimitField};
pub use replay::Replay;
pub use secret::Secret;
