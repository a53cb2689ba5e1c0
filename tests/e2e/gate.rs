//! `scopegate` with files and a configuration of the test's own: its commands, and `serve` before an application that says 200 to everything.
//! Judges nothing; shows what became of a request, and why.

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::SystemTime;

use serde_json::{Value as Json, json};
use tempfile::TempDir;

use crate::application::Application;
use crate::client::{Answer, Ask};
use crate::process::{Process, free_port, root, scopegate, tool, until};
use crate::stage::{patient, swap};

/// Seconds since 1970.
pub fn now() -> u64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs()
}

/// A folder and an environment.
#[derive(Debug)]
pub struct Desk {
    folder: TempDir,
    variables: Vec<(&'static str, String)>,
}

impl Desk {
    pub fn new() -> Self {
        Self { folder: tempfile::tempdir().unwrap(), variables: Vec::new() }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// A file that its owner alone may read.
    pub fn file(self, name: &str, text: &str) -> Self {
        write(&self.path(name), text);
        self
    }

    pub fn variable(mut self, name: &'static str, value: &str) -> Self {
        self.variables.push((name, value.to_owned()));
        self
    }

    /// Exit status, standard output and standard error of a command with this on its standard input.
    pub fn run(&self, arguments: &[&str], input: &str) -> (i32, String, String) {
        let mut command = Command::new(scopegate());
        command.args(arguments).current_dir(&self.folder).env_clear();
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
        let output = child.wait_with_output().unwrap();
        let text = |bytes| String::from_utf8(bytes).unwrap().trim_end().to_owned();
        (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
    }

    /// A gate with `credentials` and whatever else `config` says, once it is ready.
    pub fn serve(self, config: &Json) -> Gate {
        let mut gate = self.begin(config);
        gate.until_ready();
        gate
    }

    /// The same, once it is alive.
    pub fn begin(self, config: &Json) -> Gate {
        let application = Application::start();
        let ports = Ports { proxy: free_port(), ext_authz: free_port(), admin: free_port() };
        let own = |port: u16| format!("127.0.0.1:{port}");
        let mut whole = json!({
            "upstream": format!("http://{}", own(application.port)),
            "listen": {"proxy": own(ports.proxy), "ext_authz": own(ports.ext_authz), "forward_auth": "off", "admin": own(ports.admin)},
            "default": "authenticated",
        });
        whole.as_object_mut().unwrap().extend(config.as_object().unwrap().clone());
        // Every JSON text is a YAML text.
        write(&self.path("scopegate.yaml"), &whole.to_string());
        let process = start(&self, ports.admin);
        Gate { application, ports, process, desk: self }
    }
}

fn write(path: &Path, text: &str) {
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path).unwrap();
    file.write_all(text.as_bytes()).unwrap();
}

fn start(desk: &Desk, admin: u16) -> Process {
    let mut process = Process::start("scopegate", &scopegate(), desk.folder.path(), |command| {
        command.args(["serve", "--config", "scopegate.yaml"]).envs(desk.variables.iter().cloned());
    });
    process.until("alive", |_| Ask::get("/healthz").try_send(admin).is_ok_and(|answer| answer.status == 200));
    process
}

#[derive(Clone, Copy, Debug)]
struct Ports {
    proxy: u16,
    ext_authz: u16,
    admin: u16,
}

#[derive(Debug)]
pub struct Gate {
    pub application: Application,
    pub process: Process,
    pub desk: Desk,
    ports: Ports,
}

impl Gate {
    /// The port of the proxy door.
    pub fn door(&self) -> u16 {
        self.ports.proxy
    }

    pub fn until_ready(&mut self) {
        let admin = self.ports.admin;
        self.process.until("ready", |_| Ask::get("/readyz").try_send(admin).is_ok_and(|answer| answer.status == 200));
    }

    /// Ends the process and starts another with the same files; alive, perhaps not ready.
    pub fn restart(&mut self) {
        self.process.signal("INT");
        assert_eq!(self.process.ended(), Some(0));
        self.process = start(&self.desk, self.ports.admin);
    }

    pub fn admin_port(&self) -> u16 {
        self.ports.admin
    }

    /// The same files after the process was killed; alive, perhaps not ready.
    pub fn start_again(&mut self) {
        self.process.kill();
        self.process = start(&self.desk, self.ports.admin);
    }

    pub fn proxy_port(&self) -> u16 {
        self.ports.proxy
    }

    /// The proxy door's answer.
    pub fn ask(&self, ask: &Ask) -> Answer {
        ask.send(self.ports.proxy)
    }

    /// Status, and whom the application saw or else why it saw nobody.
    pub fn told(&self, ask: &Ask) -> (u16, String) {
        self.told_by(&self.ask(ask))
    }

    /// The same of an answer that came by way of another proxy.
    pub fn told_by(&self, answer: &Answer) -> (u16, String) {
        let seen = self.application.take();
        if answer.status == 200 {
            let [seen] = &seen[..] else { panic!("{} requests arrived of one", seen.len()) };
            return (200, seen.header("x-scopegate-id").unwrap_or_default().to_owned());
        }
        assert_eq!(seen.len(), 0, "{} arrived all the same", answer.status);
        if answer.status == 503 {
            assert!(answer.header("retry-after").is_some(), "{answer:?}");
        }
        let line = self.audited(answer.header("x-scopegate-decision").unwrap());
        (answer.status, line.get("cause").unwrap_or(&line["reason"]).as_str().unwrap().to_owned())
    }

    /// The decision's line in the audit.
    fn audited(&self, decision: &str) -> Json {
        let mut found = None;
        until("the decision's line", || {
            let said = self.process.said();
            // One that is still being written is no JSON yet.
            let lines = said.lines().filter(|line| line.contains(decision));
            found = lines.filter_map(|line| serde_json::from_str::<Json>(line).ok()).find(|line| line["id"] == decision);
            found.is_some()
        });
        found.unwrap()
    }

    /// A GET with a bearer token.
    pub fn bearer(&self, token: &str) -> (u16, String) {
        self.told(&Ask::get("/").token(token))
    }

    /// Status and body of `/readyz`.
    pub fn readyz(&self) -> (u16, Json) {
        let answer = Ask::get("/readyz").send(self.ports.admin);
        (answer.status, serde_json::from_str(&answer.body()).unwrap())
    }

    /// What `/readyz` says of the key set of a source.
    pub fn key_set(&self, credential: &str) -> Json {
        let (_, ready) = self.readyz();
        let sets = ready["key_sets"].as_array().unwrap_or_else(|| panic!("no key sets in {ready}"));
        sets.iter().find(|set| set["credential"] == credential).unwrap_or_else(|| panic!("no {credential} in {ready}")).clone()
    }

    pub fn metrics(&self) -> String {
        Ask::get("/metrics").send(self.ports.admin).body()
    }

    /// The most that the process has held so far, in bytes.
    pub fn most_memory(&self) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.process.id())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
        line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() * 1024
    }

    /// The shipped Envoy before the gate's gRPC door, with changes to its file.
    pub fn envoy(&self, changes: &[(&str, &str)]) -> Envoy {
        self.envoy_of("grpc.yaml", changes)
    }

    /// The same, of another of the files.
    pub fn envoy_of(&self, file: &str, changes: &[(&str, &str)]) -> Envoy {
        let (port, admin) = (free_port(), free_port());
        let value = |port: u16| format!("port_value: {port}");
        let (front, application, door) = (value(port), value(self.application.port), value(self.ports.ext_authz));
        let ports = [("port_value: 10000", &*front), ("port_value: 3000", &application), ("port_value: 9191", &door)];
        let shipped = fs::read_to_string(root().join("deploy/envoy").join(file)).unwrap();
        let own = format!("admin: {{address: {{socket_address: {{address: 127.0.0.1, port_value: {admin}}}}}}}\n");
        write(&self.desk.path("envoy.yaml"), &(patient(&swap(&shipped, &[&ports, changes].concat())) + &own));
        let mut process = Process::start("envoy", &tool("envoy"), self.desk.folder.path(), |command| {
            command.args(["-c", "envoy.yaml", "--concurrency", "1", "--disable-hot-restart", "-l", "warn"]);
        });
        // It listens once it knows whether the gate is well.
        process.until("ready", |_| Ask::get("/ready").try_send(admin).is_ok_and(|answer| answer.status == 200));
        Envoy { port, _process: process }
    }
}

#[derive(Debug)]
pub struct Envoy {
    pub port: u16,
    _process: Process,
}
