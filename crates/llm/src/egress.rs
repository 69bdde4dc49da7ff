//! The only place that opens a socket: [`Egress`] decides whether bytes may go to a host, and sends them.
//!
//! The rules, in order: with `offline`, nothing goes anywhere; this machine's own addresses are always allowed; any other
//! host must be on the user's list and be spoken to over TLS. Proxies of the environment are ignored, because a proxy is a
//! host that nobody listed; redirects are never followed here, because the next address must pass the same rules.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use bioinstruct_core::model::ModelError;
use reqwest::{Client, Request, Response, Url};

/// Which hosts may be spoken to.
#[derive(Debug, Clone)]
pub(crate) struct Rules {
    /// Lower case. An entry that begins with a period stands for every host under that domain.
    pub(crate) allowed: Vec<String>,
    /// No socket at all.
    pub(crate) offline: bool,
}

/// A request that was not sent, or whose answer did not come.
#[derive(Debug)]
pub(crate) enum SendError {
    /// A rule forbids it.
    Forbidden(ModelError),
    /// No connection came about: the other side has seen nothing of the request.
    Unsent(String),
    /// The connection broke after it was made: the other side may have done the work.
    Broken(String),
}

/// The guard and the socket behind it.
#[derive(Debug)]
pub(crate) struct Egress {
    rules: Rules,
    client: Client,
}

impl Rules {
    /// Takes a list as a user writes it; each entry must be a host alone.
    pub(crate) fn new(allowed: &[String], offline: bool) -> Result<Self, ModelError> {
        let mut hosts = Vec::with_capacity(allowed.len());
        for entry in allowed {
            let host = entry.trim().to_ascii_lowercase();
            let address = host.trim_start_matches('[').trim_end_matches(']');
            let is_name = !host.is_empty()
                && host.chars().all(|character| {
                    character.is_ascii_alphanumeric() || "-._".contains(character)
                });
            if !is_name && address.parse::<Ipv6Addr>().is_err() {
                return Err(ModelError::Forbidden {
                    reason: format!("`{}` is not a host name", entry.trim()),
                    hint: "write the host alone, as in `--allow-remote api.example.org`".to_owned(),
                });
            }
            hosts.push(address.to_owned());
        }
        Ok(Self { allowed: hosts, offline })
    }

    /// Whether bytes may go to this address.
    pub(crate) fn check(&self, url: &Url) -> Result<(), ModelError> {
        let host = bare_host(url);
        if self.offline {
            return Err(forbidden(
                format!("--offline forbids the connection to {host}"),
                "run without `--offline`, or use a model file on this machine",
            ));
        }
        if !matches!(url.scheme(), "http" | "https") {
            return Err(forbidden(
                format!("{}: is not a protocol for {host}", url.scheme()),
                "use an address that begins with https://",
            ));
        }
        if is_loopback(&host) {
            return Ok(());
        }
        if !self.lists(&host) {
            return Err(forbidden(
                format!("sending data to {host} is not allowed"),
                &format!("if your data may leave this machine, add `--allow-remote {host}`"),
            ));
        }
        if url.scheme() == "http" {
            return Err(forbidden(
                format!("http://{host} is not encrypted"),
                "use an address that begins with https://",
            ));
        }
        Ok(())
    }

    fn lists(&self, host: &str) -> bool {
        self.allowed.iter().any(|entry| {
            entry == host || (entry.starts_with('.') && host.ends_with(entry.as_str()))
        })
    }
}

impl Egress {
    /// A socket under these rules; `url` tells whether TLS, and so the system's certificates, will be needed.
    pub(crate) fn new(rules: Rules, url: &Url, connect: Duration) -> Result<Self, ModelError> {
        rules.check(url)?;
        // A provider that the embedding program installed earlier is as good.
        let _ = rustls::crypto::ring::default_provider().install_default();
        // Here `localhost` is this machine, whatever a resolver says.
        let loopback = [
            SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 0),
            SocketAddr::new(IpAddr::V6(Ipv6Addr::LOCALHOST), 0),
        ];
        let mut builder = Client::builder()
            .user_agent(concat!("bioinstruct/", env!("CARGO_PKG_VERSION")))
            .no_proxy()
            .redirect(reqwest::redirect::Policy::none())
            .retry(reqwest::retry::never())
            .referer(false)
            .connect_timeout(connect)
            // Shorter than the keep-alive of common servers, so that a request rarely meets a closing connection.
            .pool_idle_timeout(Duration::from_secs(2))
            .resolve_to_addrs("localhost", &loopback);
        if url.scheme() == "http" {
            builder = builder.tls_certs_only([]);
        }
        let client = builder.build().map_err(|error| ModelError::Unavailable {
            model: bare_host(url),
            reason: describe(error),
            hint: Some("install the system's CA certificates (ca-certificates)".to_owned()),
        })?;
        Ok(Self { rules, client })
    }

    /// Sends one request and waits for the head of its answer.
    pub(crate) async fn send(&self, request: Request) -> Result<Response, SendError> {
        self.rules.check(request.url()).map_err(SendError::Forbidden)?;
        self.client.execute(request).await.map_err(|error| {
            if error.is_connect() || error.is_builder() {
                SendError::Unsent(describe(error))
            } else {
                SendError::Broken(describe(error))
            }
        })
    }
}

/// The error and its causes without the address, which may hold a signature or a password.
pub(crate) fn describe(error: reqwest::Error) -> String {
    let error = error.without_url();
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(&error);
    while let Some(inner) = cause {
        let more = inner.to_string();
        if !text.contains(&more) {
            text = format!("{text}: {more}");
        }
        cause = inner.source();
    }
    text
}

/// The host without the brackets of an IPv6 address; empty when there is none.
pub(crate) fn bare_host(url: &Url) -> String {
    url.host_str().unwrap_or_default().trim_start_matches('[').trim_end_matches(']').to_owned()
}

pub(crate) fn is_loopback(host: &str) -> bool {
    host == "localhost" || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

fn forbidden(reason: String, hint: &str) -> ModelError {
    ModelError::Forbidden { reason, hint: hint.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn allows(rules: &Rules, url: &str) -> bool {
        rules.check(&Url::parse(url).unwrap()).is_ok()
    }

    #[test]
    fn only_this_machine_and_listed_hosts_over_tls_are_allowed() {
        let rules =
            Rules::new(&[" API.example.org ".to_owned(), "[2001:db8::7]".to_owned()], false)
                .unwrap();
        for url in [
            "http://localhost:8000/v1",
            "http://127.0.0.1/",
            "http://127.8.9.1:1/",
            "http://127.1/",
            "https://[::1]:9/",
            "https://api.example.org/v1",
            "https://API.EXAMPLE.ORG:8443/v1",
            "https://[2001:db8::7]/",
        ] {
            assert!(allows(&rules, url), "{url}");
        }
        for url in [
            "http://api.example.org/v1",
            "https://example.org/",
            "https://x.api.example.org/",
            "https://api.example.org.evil.test/",
            "https://localhost.evil.test/",
            "https://api.example.org@evil.test/",
            "http://0.0.0.0/",
            "http://128.0.0.1/",
            "https://[::ffff:10.0.0.1]/",
            "http://169.254.169.254/",
            "ftp://localhost/",
            "file:///etc/passwd",
        ] {
            assert!(!allows(&rules, url), "{url}");
        }
    }

    #[test]
    fn offline_forbids_loopback_too() {
        let rules = Rules::new(&["api.example.org".to_owned()], true).unwrap();
        assert!(!allows(&rules, "http://127.0.0.1/"));
        assert!(!allows(&rules, "https://api.example.org/"));
    }

    #[test]
    fn a_domain_entry_stands_for_hosts_under_it_only() {
        let rules = Rules::new(&[".hf.co".to_owned()], false).unwrap();
        assert!(allows(&rules, "https://cdn.hf.co/x"));
        assert!(!allows(&rules, "https://hf.co/x"));
        assert!(!allows(&rules, "https://evilhf.co/x"));
    }

    #[test]
    fn a_list_entry_must_be_a_host_alone() {
        for entry in ["https://api.example.org", "api.example.org:443", "*", "", "a b"] {
            assert!(Rules::new(&[entry.to_owned()], false).is_err(), "{entry}");
        }
    }

    /// No other file of this crate may make a client or a connection of its own.
    #[test]
    fn nothing_else_in_this_crate_opens_a_socket() {
        let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
        let mut folders = vec![folder];
        let mut seen = 0;
        while let Some(folder) = folders.pop() {
            for entry in fs_err::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    folders.push(path);
                    continue;
                }
                seen += 1;
                if path.ends_with("egress.rs") {
                    continue;
                }
                let text = fs_err::read_to_string(&path).unwrap();
                for word in ["Client::", "TcpStream", "UdpSocket", "TcpSocket", "reqwest::get"] {
                    let sockets =
                        text.matches(word).count() - text.matches(&format!("OpenAi{word}")).count();
                    assert_eq!(sockets, 0, "{} says {word}", path.display());
                }
            }
        }
        assert!(seen >= 8, "{seen}");
    }
}
