//! `scopegate injector`: the webhook that adds a gate to annotated pods, until SIGTERM or SIGINT.
//! Asks the cluster nothing and has no rights in it.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use clap::{Args, ValueEnum};
use serde_json::{Value, json};
use tokio::signal::unix::{SignalKind, signal};

use super::log;
use crate::config::{Address, quantity};
use crate::injector::certificate::Certificates;
use crate::injector::{Failure, Settings, server};

#[derive(Debug, Args)]
pub struct Injector {
    /// Where the API server calls: POST /inject, and GET /readyz and /healthz
    #[arg(long, value_name = "ADDRESS", default_value = "0.0.0.0:8443")]
    listen: SocketAddr,
    /// The certificate with its chain, PEM; read anew when it changes
    #[arg(long, value_name = "FILE")]
    cert: String,
    /// Its private key, PEM
    #[arg(long, value_name = "FILE")]
    key: String,
    /// The image of the sidecars, as it is to stand in pods
    #[arg(long, value_name = "IMAGE", value_parser = image)]
    image: String,
    /// What becomes of a pod that asks for a sidecar and cannot have it
    #[arg(long, value_name = "HOW", default_value = "closed")]
    failure: How,
    /// What the sidecars listen on, such as `::` where pods have IPv6
    #[arg(long, value_name = "IP", default_value = "0.0.0.0")]
    address: IpAddr,
    /// What a sidecar asks for and may use, in JSON, as `resources` of a container
    #[arg(long, value_name = "JSON", value_parser = resources, default_value = RESOURCES)]
    resources: Value,
    /// Whom the sidecars run as: a number, or `platform` where that gives one, as OpenShift does
    #[arg(long, value_name = "UID", value_parser = user, default_value = "65532")]
    user: User,
    /// How long it serves on after SIGTERM, unready
    #[arg(long, value_name = "TIME", value_parser = time, default_value = "5s")]
    lame_duck: Duration,
    /// How long reviews in flight then have to end in
    #[arg(long, value_name = "TIME", value_parser = time, default_value = "10s")]
    drain: Duration,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum How {
    /// It is refused
    Closed,
    /// It is let in without, with a warning
    Open,
}

/// None: the platform's to give.
#[derive(Clone, Copy, Debug)]
struct User(Option<u32>);

/// As in `deploy/kubernetes/sidecar.yaml`.
const RESOURCES: &str = r#"{"requests":{"cpu":"50m","memory":"32Mi"},"limits":{"memory":"256Mi"}}"#;

impl Injector {
    pub fn run(self) -> Result<bool, String> {
        log("info");
        let certificates = Certificates::read(&self.cert, &self.key).map_err(|faults| faults.join("\n"))?;
        let runtime = tokio::runtime::Builder::new_multi_thread().thread_name("injector").enable_all().build();
        runtime.map_err(|error| format!("the runtime cannot start: {error}"))?.block_on(async {
            let broken = |error: std::io::Error| format!("signals cannot be received: {error}");
            let mut hangup = signal(SignalKind::hangup()).map_err(broken)?;
            let mut terminate = signal(SignalKind::terminate()).map_err(broken)?;
            let mut interrupt = signal(SignalKind::interrupt()).map_err(broken)?;
            certificates.follow().map_err(|error| format!("the certificate cannot be watched: {error}"))?;
            let failure = match self.failure {
                How::Closed => Failure::Closed,
                How::Open => Failure::Open,
            };
            let settings = Settings { image: self.image, address: self.address, resources: self.resources, failure, user: self.user.0 };
            let listen = Address::Tcp(self.listen);
            let running = server::start(&listen, certificates.clone(), settings);
            let running = running.map_err(|error| format!("`--listen` cannot listen on {listen}: {error}; free it or set another address"))?;
            tracing::info!(address = %running.address, "serving");
            let is_asked = loop {
                tokio::select! {
                    _ = hangup.recv() => certificates.renew(),
                    _ = terminate.recv() => break true,
                    _ = interrupt.recv() => break false,
                }
            };
            if is_asked {
                running.retire();
                tracing::info!("leaving");
                tokio::select! {
                    () = tokio::time::sleep(self.lame_duck) => {}
                    _ = terminate.recv() => {}
                    _ = interrupt.recv() => {}
                }
            }
            tracing::info!("draining");
            running.stop(self.drain).await;
            tracing::info!("stopped");
            Ok(true)
        })
    }
}

fn image(text: &str) -> Result<String, String> {
    let is_one_word = !text.is_empty() && text.chars().all(|letter| letter.is_ascii_graphic());
    is_one_word.then(|| text.to_owned()).ok_or_else(|| "an image is `registry/name:tag` or `registry/name@sha256:…`".into())
}

fn user(text: &str) -> Result<User, String> {
    if text == "platform" {
        return Ok(User(None));
    }
    let number = text.parse().ok().filter(|number| (1..=i32::MAX as u32).contains(number));
    number.map(|number| User(Some(number))).ok_or_else(|| "a user is a number from 1 on, or `platform`; root is refused".into())
}

fn time(text: &str) -> Result<Duration, String> {
    quantity::duration(text).ok_or_else(|| "a time is a number with a unit, such as `500ms`, `5s` or `1m`".into())
}

fn resources(text: &str) -> Result<Value, String> {
    let wrong = || format!("resources are JSON such as `{RESOURCES}`");
    let said: Value = serde_json::from_str(text).map_err(|_| wrong())?;
    let is_amount = |amount: &Value| amount.is_string() || amount.is_number();
    let is_list = |list: &Value| list.as_object().is_some_and(|list| list.values().all(is_amount));
    let fits = said.as_object().is_some_and(|said| said.iter().all(|(key, list)| ["requests", "limits"].contains(&&**key) && is_list(list)));
    if fits { Ok(json!(said)) } else { Err(wrong()) }
}
