//! A pod's annotations into what it asks for.
//! Refuses what it does not know: a typo would be a gate that is configured otherwise than was meant.

use std::collections::BTreeSet;
use std::fmt;

use serde_json::{Map, Value};

pub const PREFIX: &str = "scopegate.dev/";
pub const INJECT: &str = "scopegate.dev/inject";
const UPSTREAM_PORT: &str = "scopegate.dev/upstream-port";
const CONFIG: &str = "scopegate.dev/config";
const TOKENS: &str = "scopegate.dev/tokens";
const MODE: &str = "scopegate.dev/mode";
pub const PORT: &str = "scopegate.dev/port";
const KNOWN: [&str; 6] = [INJECT, UPSTREAM_PORT, CONFIG, TOKENS, MODE, PORT];

/// Where the gate's operator door is, for the kubelet's probes within its container.
pub const ADMIN: u16 = 9190;
/// The gate's own port where nothing else is said; the second is none of a mesh's, whose proxies have theirs from 15000 to 15090 and from 4140 on.
const PROXY: u16 = 8080;
const TRANSPARENT: u16 = 15206;
/// More than any application listens on, and little enough for one argument.
const MAX_PORTS: usize = 64;

pub enum Asked {
    No,
    /// It has other annotations of ours, and does not ask.
    Idle,
    Yes(Ask),
}

/// What one pod asks for.
#[derive(Debug)]
pub struct Ask {
    pub mode: Mode,
    /// The gate's own.
    pub port: u16,
    /// A ConfigMap with `scopegate.yaml`.
    pub config: String,
    /// A Secret with `tokens.json`.
    pub tokens: Option<String>,
}

#[derive(Debug)]
pub enum Mode {
    /// The application is at this port of loopback, and clients ask the gate's.
    Proxy(u16),
    /// Connections to these ports are redirected to the gate.
    Transparent(Ports),
}

#[derive(Debug, PartialEq, Eq)]
pub enum Ports {
    All,
    These(BTreeSet<u16>),
}

impl Ask {
    pub fn read(pod: &Map<String, Value>) -> Result<Asked, String> {
        let annotations = pod.get("metadata").and_then(|meta| meta.get("annotations")).and_then(Value::as_object);
        if annotations.and_then(|annotations| annotations.get(INJECT)).is_some_and(|said| said == "false") {
            return Ok(Asked::No);
        }
        let mut own = Vec::new();
        for (name, value) in annotations.into_iter().flatten().filter(|(name, _)| name.starts_with(PREFIX)) {
            if !KNOWN.contains(&&**name) {
                return Err(format!("annotation {} is unknown; there are `{}`", quoted(name), KNOWN.join("`, `")));
            }
            own.push((&**name, value.as_str().ok_or_else(|| format!("annotation `{name}` is no text; put quotes around its value"))?));
        }
        let said = |name: &str| own.iter().find(|(known, _)| *known == name).map(|(_, value)| *value);
        match said(INJECT) {
            Some("true") => {}
            Some(other) => return Err(format!("annotation `{INJECT}` is {}; it is `true` or `false`", quoted(other))),
            None => return Ok(if own.is_empty() { Asked::No } else { Asked::Idle }),
        }
        let upstream = said(UPSTREAM_PORT);
        let (mode, usual) = match said(MODE) {
            None | Some("proxy") => (Mode::Proxy(upstream_port(upstream)?), PROXY),
            Some("transparent") => (Mode::Transparent(intercepted(upstream)?), TRANSPARENT),
            Some(other) => return Err(format!("annotation `{MODE}` is {}; it is `proxy` or `transparent`", quoted(other))),
        };
        let config = said(CONFIG).ok_or_else(|| format!("annotation `{CONFIG}` is missing; it names a ConfigMap with `scopegate.yaml`"))?;
        let ask = Self {
            mode,
            port: said(PORT).map_or(Ok(usual), own_port)?,
            config: object_name(CONFIG, config)?,
            tokens: said(TOKENS).map(|name| object_name(TOKENS, name)).transpose()?,
        };
        ask.agrees()?;
        Ok(Asked::Yes(ask))
    }

    /// Ports that are two things at once.
    fn agrees(&self) -> Result<(), String> {
        if self.port == ADMIN {
            return Err(format!("annotation `{PORT}` is `{ADMIN}`, which is the gate's operator door; take another"));
        }
        let clash = match &self.mode {
            Mode::Proxy(upstream) => [self.port, ADMIN].contains(upstream).then_some(*upstream),
            Mode::Transparent(Ports::All) => None,
            Mode::Transparent(Ports::These(ports)) => [self.port, ADMIN].into_iter().find(|port| ports.contains(port)),
        };
        match clash {
            None => Ok(()),
            Some(ADMIN) => {
                Err(format!("annotation `{UPSTREAM_PORT}` has `{ADMIN}`, which is the gate's operator door; the application needs another"))
            }
            Some(port) => Err(format!("annotation `{UPSTREAM_PORT}` has `{port}`, which is the gate's own port; set `{PORT}` to another")),
        }
    }
}

impl Ports {
    pub fn contains(&self, port: u16) -> bool {
        match self {
            Self::All => true,
            Self::These(ports) => ports.contains(&port),
        }
    }
}

/// As `scopegate intercept --ports` takes them.
impl fmt::Display for Ports {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::All => out.write_str("all"),
            Self::These(ports) => out.write_str(&ports.iter().map(u16::to_string).collect::<Vec<_>>().join(",")),
        }
    }
}

fn upstream_port(said: Option<&str>) -> Result<u16, String> {
    let text = said.ok_or_else(|| format!("annotation `{UPSTREAM_PORT}` is missing; it is the port that the application listens on"))?;
    port(text).ok_or_else(|| format!("annotation `{UPSTREAM_PORT}` is {}; it is one port from 1 to 65535", quoted(text)))
}

/// Never all of them unless that is what was said: what else listens in a pod may be somebody's health check.
fn intercepted(said: Option<&str>) -> Result<Ports, String> {
    let text = said.ok_or_else(|| format!("annotation `{UPSTREAM_PORT}` is missing; it is the ports to guard, such as `80,3000`, or `all`"))?;
    if text == "all" {
        return Ok(Ports::All);
    }
    let ports: Option<BTreeSet<u16>> = text.split(',').take(MAX_PORTS + 1).map(port).collect();
    let ports = ports.filter(|ports| ports.len() <= MAX_PORTS);
    let wrong = || format!("annotation `{UPSTREAM_PORT}` is {}; it is up to {MAX_PORTS} ports such as `80,3000`, or `all`", quoted(text));
    ports.map(Ports::These).ok_or_else(wrong)
}

fn own_port(text: &str) -> Result<u16, String> {
    let wrong = || format!("annotation `{PORT}` is {}; it is one port from 1024 to 65535, because the gate has no privileges", quoted(text));
    port(text).filter(|port| *port >= 1024).ok_or_else(wrong)
}

fn port(text: &str) -> Option<u16> {
    let digits = text.bytes().all(|byte| byte.is_ascii_digit());
    text.parse().ok().filter(|port| *port != 0 && digits)
}

/// RFC 1123, as Kubernetes has it for names of objects.
fn object_name(annotation: &str, text: &str) -> Result<String, String> {
    let end = |byte: Option<&u8>| byte.is_some_and(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit());
    let is_label = |label: &str| {
        let bytes = label.as_bytes();
        end(bytes.first()) && end(bytes.last()) && bytes.iter().all(|byte| *byte == b'-' || end(Some(byte)))
    };
    if text.len() <= 253 && text.split('.').all(is_label) {
        return Ok(text.to_owned());
    }
    Err(format!("annotation `{annotation}` is {}, which no object can be called; it is lower case letters, digits, `-` and `.`", quoted(text)))
}

/// The pod's own text for a message, on one line and not too long.
fn quoted(text: &str) -> String {
    let start: String = text.chars().take(64).collect();
    let more = if start.len() < text.len() { "…" } else { "" };
    format!("`{}{more}`", start.escape_debug())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn read(annotations: Value) -> Result<Option<Ask>, String> {
        let pod = json!({"metadata": {"annotations": annotations}});
        Ask::read(pod.as_object().unwrap()).map(|asked| match asked {
            Asked::Yes(ask) => Some(ask),
            Asked::No | Asked::Idle => None,
        })
    }

    #[test]
    fn names_are_those_that_objects_can_have() {
        for name in ["a", "a-1", "shop.gate.v2", &"a".repeat(253)] {
            assert_eq!(object_name(CONFIG, name).as_deref(), Ok(name));
        }
        for name in ["", "A", "a_b", "-a", "a-", ".a", "a..b", "a/b", "../a", "a b", "ä", &"a".repeat(254)] {
            assert!(object_name(CONFIG, name).is_err(), "{name}");
        }
    }

    #[test]
    fn ports_are_plain_numbers() {
        for text in ["", "0", "+80", "-1", " 80", "80 ", "65536", "0x50", "http", "80,", "80;81"] {
            assert_eq!(port(text), None, "{text}");
            assert!(intercepted(Some(text)).is_err(), "{text}");
        }
        assert_eq!(intercepted(Some("3000,80,80")), Ok(Ports::These([80, 3000].into())));
        assert_eq!(intercepted(Some("all")), Ok(Ports::All));
        let many: Vec<String> = (1..=65).map(|port| port.to_string()).collect();
        assert!(intercepted(Some(&many.join(","))).is_err());
    }

    #[test]
    fn a_pod_that_does_not_ask_is_left_alone() {
        for annotations in [
            json!(null),
            json!({}),
            json!({INJECT: "false", MODE: "nonsense", "scopegate.dev/x": "y"}),
            json!({CONFIG: "x"}),
            json!({"example.com/x": "true"}),
        ] {
            assert!(read(annotations.clone()).unwrap().is_none(), "{annotations}");
        }
        for value in ["", "True", "yes", "1", " true"] {
            assert!(read(json!({INJECT: value})).is_err(), "{value}");
        }
        assert!(read(json!({INJECT: true})).unwrap_err().contains("quotes"));
        assert!(read(json!({"scopegate.dev/injekt": "true"})).unwrap_err().contains(INJECT));
    }

    #[test]
    fn what_is_quoted_is_one_short_line() {
        let message = read(json!({INJECT: "x\n".repeat(1000)})).unwrap_err();
        assert!(!message.contains('\n') && message.len() < 256, "{message}");
    }
}
