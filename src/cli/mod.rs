//! The command line: one file a command. Results go to standard output, messages to standard error.
//! Secrets come from files or standard input and are printed once, where they are made.

use std::fmt::Arguments;

/// As the standard one, but a reader that has gone away ends the command without a panic.
macro_rules! println {
    () => { $crate::cli::say(format_args!(""), "\n") };
    ($($part:tt)+) => { $crate::cli::say(format_args!($($part)+), "\n") };
}

/// The same, without the end of the line.
macro_rules! print {
    ($($part:tt)*) => { $crate::cli::say(format_args!($($part)*), "") };
}

mod check;
mod client;
mod coverage;
mod demo;
mod explain;
mod healthcheck;
mod import;
mod init;
mod injector;
mod input;
mod intercept;
mod keys;
mod retire;
mod scan;
mod serve;
mod suggest;
mod test;
mod token;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};

use crate::config::{Faults, Input, Loaded, load, shape};
use crate::credential::digest::TagKey;
use crate::keys::Registry;
use crate::live::reload::environment;

/// Puts scopes in front of services that know nothing of tokens.
#[derive(Debug, Parser)]
#[command(name = "scopegate", version, arg_required_else_help = true, after_help = "Example:\n  scopegate demo")]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Everything at once, with nothing configured: an application, all doors before it, four tokens, and curl lines to paste
    #[command(after_help = "Example:\n  scopegate demo")]
    Demo,
    /// Run the doors; SIGHUP reloads, SIGTERM drains after `lame_duck`, SIGINT at once
    #[command(after_help = serve::EXAMPLES)]
    Serve(serve::Serve),
    /// Write a first scopegate.yaml and a token, shown once and stored hashed
    #[command(
        after_help = "Examples:\n  scopegate init --upstream http://127.0.0.1:3000\n  scopegate init --upstream http://127.0.0.1:3000 --openapi openapi.yaml"
    )]
    Init(init::Init),
    /// Find every fault of a configuration, with line and column
    #[command(after_help = "Example:\n  scopegate check --config scopegate.yaml")]
    Check(check::Check),
    /// Tell the decision on a request, and why; exit status 1 where it is denied
    #[command(
        after_help = "Examples:\n  scopegate explain POST /approve/7 --as operator-01\n  scopegate explain GET /pending --header 'Authorization: Bearer …' --json\n  scopegate explain --decision 0f1e2d3c4b5a6978"
    )]
    Explain(explain::Explain),
    /// Compare the decisions on requests with what a file of cases expects; exit status 1 where one differs
    #[command(after_help = test::EXAMPLES)]
    Test(test::Test),
    /// Find operations without a rule, rules that match nothing, scopes that nobody holds; exit status 1 where an operation is unprotected
    #[command(after_help = coverage::EXAMPLES)]
    Coverage(coverage::Coverage),
    /// Make a scopegate.yaml of what there is already
    #[command(subcommand, after_help = "Example:\n  scopegate import backstage app-config.yaml --output scopegate.yaml")]
    Import(import::Import),
    /// Redirect connections to the gate by the kernel's own rules, or print them for nft or iptables-restore
    #[command(
        after_help = "Examples:\n  scopegate intercept --apply --ports 80,3000\n  scopegate intercept --print --ports 80,3000 | nft -f -\n  scopegate intercept --print --config scopegate.yaml --outbound 80 --uid 65532\n  scopegate intercept --print --format iptables > rules && iptables-restore -n < rules && ip6tables-restore -n < rules"
    )]
    Intercept(intercept::Intercept),
    /// Run the Kubernetes webhook that adds the gate to annotated pods; SIGTERM drains after `--lame-duck`
    #[command(after_help = "Example:\n  scopegate injector --cert tls.crt --key tls.key --image scopegate:0.1.0 --failure closed")]
    Injector(injector::Injector),
    /// Tell the smallest scope set that each principal used, and what it lacked, by the audit lines of a while
    #[command(
        after_help = "Examples:\n  scopegate suggest --decisions audit.jsonl --config scopegate.yaml\n  kubectl logs deploy/gate | scopegate suggest --decisions - --json"
    )]
    Suggest(suggest::Suggest),
    /// Print the JSON Schema of the configuration
    #[command(after_help = "Example:\n  scopegate schema > scopegate.schema.json")]
    Schema,
    /// Make, rotate and hash tokens
    #[command(subcommand, after_help = "Example:\n  scopegate token new --id ci --scopes deploy:write")]
    Token(token::Token),
    /// Make, change, rotate and revoke managed keys, by the API of a gate that runs
    #[command(subcommand, after_help = "Example:\n  scopegate keys create --name ci --scopes deploy:write --token-file admin.token")]
    Keys(keys::Keys),
    /// Find managed keys in files; exit status 1 where there are any
    #[command(after_help = "Example:\n  scopegate scan . || echo 'a key is about to be published'")]
    Scan(scan::Scan),
    /// Ask the operator door whether the gate is ready, or alive; for container probes
    #[command(after_help = "Examples:\n  scopegate healthcheck --address 127.0.0.1:9190\n  scopegate healthcheck --live")]
    Healthcheck(healthcheck::Healthcheck),
    /// Send the clients of this container's gate to other replicas, and let it serve on; for `preStop` of a sidecar
    #[command(after_help = "Example:\n  scopegate retire")]
    Retire(retire::Retire),
}

#[derive(Clone, Debug, Args)]
struct Config {
    /// The configuration, YAML or JSON; else scopegate.yaml in the current folder
    #[arg(long, value_name = "FILE", env = "SCOPEGATE_CONFIG")]
    config: Option<PathBuf>,
}

impl Cli {
    pub fn run(self) -> ExitCode {
        let is_json = self.command.is_json();
        let done = match self.command {
            Command::Demo => demo::run(),
            Command::Serve(serve) => serve.run(),
            Command::Init(init) => init.run(),
            Command::Check(check) => check.run(),
            Command::Explain(explain) => explain.run(),
            Command::Schema => {
                println!("{:#}", shape::schema());
                Ok(true)
            }
            Command::Suggest(suggest) => suggest.run(),
            Command::Intercept(intercept) => intercept.run(),
            Command::Injector(injector) => injector.run(),
            Command::Import(import) => import.run(),
            Command::Token(token) => token.run(),
            Command::Keys(keys) => keys.run(),
            Command::Coverage(coverage) => coverage.run(),
            Command::Test(test) => test.run(),
            Command::Scan(scan) => scan.run(),
            Command::Healthcheck(healthcheck) => healthcheck.run(),
            Command::Retire(retire) => retire.run(),
        };
        match done {
            Ok(true) => ExitCode::SUCCESS,
            Ok(false) => ExitCode::from(1),
            Err(message) => {
                if is_json {
                    println!("{:#}", serde_json::json!({"error": message}));
                }
                eprintln!("{message}");
                ExitCode::from(1)
            }
        }
    }
}

impl Command {
    /// Whether a program reads the answer, which is JSON then whatever it is.
    fn is_json(&self) -> bool {
        match self {
            Self::Check(check) => check.json,
            Self::Explain(explain) => explain.service.json,
            Self::Test(test) => test.json,
            Self::Coverage(coverage) => coverage.json,
            Self::Suggest(suggest) => suggest.json,
            Self::Token(token) => token.is_json(),
            Self::Keys(keys) => keys.is_json(),
            Self::Demo | Self::Serve(_) | Self::Init(_) | Self::Import(_) | Self::Intercept(_) | Self::Injector(_) => false,
            Self::Schema | Self::Scan(_) | Self::Healthcheck(_) | Self::Retire(_) => false,
        }
    }
}

impl Config {
    /// The configuration that is meant, or what to do where there is none.
    fn input(&self) -> Result<Input, String> {
        if let Some(path) = &self.config {
            return Ok(Input::File(path.clone()));
        }
        let usual = PathBuf::from("scopegate.yaml");
        if usual.exists() {
            return Ok(Input::File(usual));
        }
        if ["BACKSTOP_TOKENS", "BACKSTOP_AUTH_TOKENS_FILE"].iter().any(|name| environment(name).is_some()) {
            return Ok(Input::Text { name: "built-in routes of Backstop", text: BACKSTOP.into() });
        }
        Err("no configuration: write one with `scopegate init --upstream http://127.0.0.1:3000`, or name one with --config or SCOPEGATE_CONFIG"
            .into())
    }

    /// The configuration, for a command that can do without.
    fn given(&self) -> Option<Input> {
        let usual = || Some(PathBuf::from("scopegate.yaml")).filter(|path| path.exists());
        self.config.clone().or_else(usual).map(Input::File)
    }

    /// Reads and compiles it, for commands that ask and do not serve.
    fn load(&self) -> Result<Result<Loaded, Faults>, String> {
        loaded(&self.input()?)
    }
}

fn loaded(input: &Input) -> Result<Result<Loaded, Faults>, String> {
    let mut random = [0; 32];
    getrandom::fill(&mut random).map_err(|error| format!("the system gives no randomness: {error}"))?;
    Ok(load(input, &environment, &TagKey::new(random), &Registry::offline()))
}

/// Backstop's routes, for its users who set `BACKSTOP_TOKENS` and nothing else.
const BACKSTOP: &str = include_str!("../../deploy/examples/backstop/scopegate.yaml");

/// Says what would be right, and ends with the status of wrong use.
fn wrong(message: &str) -> ! {
    clap::Error::raw(clap::error::ErrorKind::ArgumentConflict, format!("{message}\n")).exit()
}

/// Writes to standard output. Where nobody reads any more, as behind `| head -1`, there is nothing left to do.
fn say(text: Arguments<'_>, end: &str) {
    use std::io::Write;
    let mut out = std::io::stdout().lock();
    if let Err(error) = write!(out, "{text}{end}").and_then(|()| out.flush()) {
        if error.kind() != std::io::ErrorKind::BrokenPipe {
            eprintln!("the output cannot be written: {error}");
        }
        std::process::exit(1);
    }
}

/// Logs as JSON lines on standard error; `SCOPEGATE_LOG` filters them, as in `info,scopegate=debug`.
fn log(default: &str) {
    use tracing_subscriber::filter::{Targets, filter_fn};
    use tracing_subscriber::fmt;
    use tracing_subscriber::prelude::*;

    use crate::telemetry::otlp::logs::Lines;
    let wanted = std::env::var("SCOPEGATE_LOG").ok().and_then(|text| text.parse::<Targets>().ok());
    let filter = wanted.or_else(|| default.parse().ok()).unwrap_or_default();
    // Below `info`, libraries tell what they read: of a malformed HTTP/2 head, h2 prints the path, and a path may have a token.
    let own = filter_fn(|line| *line.level() <= tracing::Level::INFO || line.target().split("::").next() == Some("scopegate"));
    let lines = fmt::layer().json().flatten_event(true).with_writer(std::io::stderr);
    let started = tracing_subscriber::registry().with(filter).with(own).with(lines).with(Lines).try_init();
    if let Err(error) = started {
        eprintln!("logging is already on: {error}");
    }
}
