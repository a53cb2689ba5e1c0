//! Connections that real rules redirect to the gate, between two machines: `scopegate intercept --print` for nftables and for iptables, and `--apply`.

mod apply;

use std::fs;
use std::io;
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::Duration;

use serde_json::json;
use tempfile::TempDir;

use crate::application::{Application, BODY};
use crate::client::Ask;
use crate::message::Message;
use crate::network::{CLIENT, Machine, Network, POD, may_begin};
use crate::process::{Process, scopegate};

/// The service's own port, the gate's, the operator's, and a service on the other machine.
const SERVICE: u16 = 3000;
const GATE: u16 = 8080;
const ADMIN: u16 = 9190;
const OUTSIDE: u16 = 7000;
const TOKEN: &str = "token-of-the-client-1";
/// Nobody's but the gate's.
const UID: u32 = 65532;

/// A chain before ours.
const PREROUTING: &str = "type nat hook prerouting priority -120;";

/// What loads the rules.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Loader {
    Nft,
    Iptables,
    /// The gate's own program.
    Apply,
}

/// By what the gate's own connections are told from the others.
#[derive(Clone, Copy, Debug, PartialEq)]
enum By {
    Uid,
    Mark,
}

/// A pod with a service that knows nothing of tokens, and the gate beside it as a user of its own.
struct Pod {
    network: Network,
    service: Application,
    gate: Process,
    folder: TempDir,
}

impl Pod {
    fn start(by: By) -> Self {
        let network = Network::new();
        let service = listen(&network.pod, SERVICE);
        let folder = tempfile::tempdir().unwrap();
        let gate = gate(&network.pod, folder.path(), by);
        Self { network, service, gate, folder }
    }

    fn rules(&self, arguments: &[&str]) -> String {
        print(&self.folder, &[&["--config", "scopegate.yaml"], arguments].concat())
    }

    /// Prints rules and loads them, or applies them at once.
    fn intercept(&self, loader: Loader, arguments: &[&str]) {
        let pod = &self.network.pod;
        match loader {
            Loader::Nft => drop(pod.apply("nft", &["-f", "-"], &self.rules(arguments))),
            Loader::Iptables => {
                let rules = self.rules(&[arguments, &["--format", "iptables"]].concat());
                pod.apply("iptables-restore", &["-n"], &rules);
                pod.apply("ip6tables-restore", &["-n"], &rules);
            }
            Loader::Apply => {
                let said = apply::apply(pod, self.folder.path(), &[&["--config", "scopegate.yaml"], arguments].concat()).unwrap();
                assert_eq!(said, format!("connections are redirected to port {GATE} by the table `inet scopegate`\n"));
            }
        }
    }

    /// Status and reason of what the client asks the pod, and what arrived at the service.
    fn ask(&self, ask: &Ask, ip: &str, port: u16) -> (u16, Option<String>, Vec<Message>) {
        let answer = self.network.client.ask(ask, ip, port);
        let reason = answer.header("x-scopegate-reason").map(str::to_owned);
        assert!(answer.status != 200 || answer.body() == BODY);
        (answer.status, reason, self.service.take())
    }

    /// Asks the service at its own address, in both families, without a token and with one.
    fn is_guarded(&self, port: u16) {
        for (ip, from) in POD.into_iter().zip(CLIENT) {
            let (status, reason, seen) = self.ask(&Ask::get("/"), ip, port);
            assert_eq!((status, reason.as_deref(), seen.len()), (401, Some("no_credential"), 0), "{ip}");
            let (status, _, seen) = self.ask(&Ask::get("/").token(TOKEN), ip, port);
            assert_eq!((status, seen.len()), (200, 1), "{ip}: once, and no more");
            let told = |name| seen[0].header(name).unwrap_or_default();
            assert_eq!((told("x-scopegate-id"), told("x-forwarded-for"), told("authorization")), ("client", from, ""), "{ip}");
        }
    }

    /// Asks the service at its own address, where no gate is to stand between.
    fn is_open(&self) {
        for ip in POD {
            let (status, _, seen) = self.ask(&Ask::get("/"), ip, SERVICE);
            assert_eq!((status, seen.len()), (200, 1), "{ip}");
            assert_eq!(seen[0].header("x-scopegate-id"), None);
            assert_eq!(seen[0].header("x-forwarded-for"), None);
        }
    }
}

fn listen(machine: &Machine, port: u16) -> Application {
    machine.enter(|| Application::at(TcpListener::bind(("::", port)).unwrap()))
}

/// `scopegate serve` as [`UID`], with the one capability that a mark needs where it has one.
fn gate(pod: &Machine, folder: &Path, by: By) -> Process {
    furnish(folder, by);
    let more: &[&str] = if by == By::Mark { &["--inh-caps=-all,+net_admin", "--ambient-caps=+net_admin"] } else { &["--inh-caps=-all"] };
    pod.enter(|| {
        let mut gate = start(folder, more);
        gate.until("ready", |_| Ask::get("/readyz").try_send(ADMIN).is_ok_and(|answer| answer.status == 200));
        gate
    })
}

/// All that the gate reads, its program included, where its user can read it.
fn furnish(folder: &Path, by: By) {
    let upstream = match by {
        By::Uid => json!("original_destination"),
        By::Mark => json!({"url": "original_destination", "mark": 0x5C0}),
    };
    let config = json!({
        "upstream": upstream,
        "listen": {"proxy": format!("[::]:{GATE}"), "ext_authz": "off", "forward_auth": "off", "admin": format!("127.0.0.1:{ADMIN}")},
        "credentials": {"tokens": {"kind": "static", "file": "tokens.json"}},
        "default": "authenticated",
        "reload": {"watch": false},
        "key_cache": "off",
    });
    fs::write(folder.join("scopegate.yaml"), config.to_string()).unwrap();
    fs::write(folder.join("tokens.json"), json!([{"id": "client", "token": TOKEN, "scopes": ["a:b"]}]).to_string()).unwrap();
    // Written by another process: one that this process has open for writing, a child that it starts meanwhile has too, and nobody can run it.
    let copied = std::process::Command::new("cp").arg(scopegate()).arg(folder.join("scopegate")).status();
    assert!(copied.unwrap().success());
    fs::set_permissions(folder, PermissionsExt::from_mode(0o755)).unwrap();
}

fn start(folder: &Path, privileges: &[&str]) -> Process {
    let uid = UID.to_string();
    Process::start("scopegate", Path::new("/usr/bin/setpriv"), folder, |command| {
        command.args(["--reuid", &uid, "--regid", &uid, "--clear-groups"]).args(privileges);
        command.args(["./scopegate", "serve", "--config", "scopegate.yaml"]);
    })
}

/// What `scopegate intercept --print` writes.
fn print(folder: &TempDir, arguments: &[&str]) -> String {
    let output = std::process::Command::new(scopegate()).args(["intercept", "--print"]).args(arguments).current_dir(folder).env_clear().output();
    let output = output.unwrap();
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

fn incoming(loader: Loader) {
    let pod = Pod::start(By::Uid);
    pod.is_open();
    let open: Vec<TcpStream> = POD.iter().map(|ip| pod.network.client.connect(ip, SERVICE).unwrap()).collect();
    pod.intercept(loader, &["--ports", "3000"]);
    pod.is_guarded(SERVICE);
    for stream in &open {
        assert_eq!(Ask::get("/").exchange(stream).unwrap().status, 200, "what was open before the rules goes on as it was");
        assert_eq!(pod.service.take().len(), 1);
    }
    // Loaded again, they say the same.
    pod.intercept(loader, &["--ports", "3000"]);
    pod.is_guarded(SERVICE);
    // What stays within the pod is the pod's own affair.
    let within = pod.network.pod.ask(&Ask::get("/"), POD[0], SERVICE);
    assert_eq!((within.status, pod.service.take().len()), (200, 1));
}

fn outgoing(loader: Loader, by: By) {
    let pod = Pod::start(by);
    let outside = listen(&pod.network.client, OUTSIDE);
    let exempt: &[&str] = if by == By::Uid { &["--uid", "65532"] } else { &[] };
    pod.intercept(loader, &[&["--ports", "3000", "--outbound", "7000"], exempt].concat());
    for ip in CLIENT {
        let refused = pod.network.pod.ask(&Ask::get("/"), ip, OUTSIDE);
        assert_eq!((refused.status, outside.take().len()), (401, 0), "{ip}");
        let answered = pod.network.pod.ask(&Ask::get("/").token(TOKEN), ip, OUTSIDE);
        let seen = outside.take();
        assert_eq!((answered.status, seen.len()), (200, 1), "{ip}: {}", pod.gate.said());
        assert_eq!(seen[0].header("x-scopegate-id"), Some("client"));
    }
    pod.is_guarded(SERVICE);
    let within = pod.network.pod.ask(&Ask::get("/"), "127.0.0.1", SERVICE);
    assert_eq!((within.status, pod.service.take().len()), (200, 1), "what stays within the pod is not redirected");
}

#[test]
fn incoming_connections_are_redirected_by_nftables() {
    if may_begin("intercept::incoming_connections_are_redirected_by_nftables") {
        incoming(Loader::Nft);
    }
}

#[test]
fn incoming_connections_are_redirected_by_iptables() {
    if may_begin("intercept::incoming_connections_are_redirected_by_iptables") {
        incoming(Loader::Iptables);
    }
}

#[test]
fn incoming_connections_are_redirected_by_what_the_gate_applies_itself() {
    if may_begin("intercept::incoming_connections_are_redirected_by_what_the_gate_applies_itself") {
        incoming(Loader::Apply);
    }
}

#[test]
fn outgoing_connections_are_redirected_by_nftables_but_not_the_gates() {
    if may_begin("intercept::outgoing_connections_are_redirected_by_nftables_but_not_the_gates") {
        outgoing(Loader::Nft, By::Uid);
        outgoing(Loader::Nft, By::Mark);
    }
}

#[test]
fn outgoing_connections_are_redirected_by_iptables_but_not_the_gates() {
    if may_begin("intercept::outgoing_connections_are_redirected_by_iptables_but_not_the_gates") {
        outgoing(Loader::Iptables, By::Uid);
        outgoing(Loader::Iptables, By::Mark);
    }
}

#[test]
fn outgoing_connections_are_redirected_by_what_the_gate_applies_itself_but_not_the_gates() {
    if may_begin("intercept::outgoing_connections_are_redirected_by_what_the_gate_applies_itself_but_not_the_gates") {
        outgoing(Loader::Apply, By::Uid);
        outgoing(Loader::Apply, By::Mark);
    }
}

#[test]
fn a_connection_that_was_not_redirected_is_refused_and_goes_nowhere() {
    if !may_begin("intercept::a_connection_that_was_not_redirected_is_refused_and_goes_nowhere") {
        return;
    }
    let pod = Pod::start(By::Uid);
    let refused = |when: &str| {
        for ip in POD {
            let answer = pod.network.client.ask(&Ask::get("/").token(TOKEN), ip, GATE);
            let told = (answer.status, answer.header("x-scopegate-reason"), answer.body());
            let body = r#"{"error":"invalid_request","message":"Connection was not redirected here"}"#;
            assert_eq!(told, (421, Some("no_destination"), body.to_owned()), "{ip} {when}");
        }
        let own = pod.network.pod.ask(&Ask::get("/").token(TOKEN), "127.0.0.1", GATE);
        assert_eq!(own.header("x-scopegate-reason"), Some("no_destination"));
    };
    refused("without rules");
    pod.intercept(Loader::Nft, &["--ports", "all"]);
    refused("with rules, which leave the gate's own port alone");
    // Rules of somebody else's making, that do not.
    let redirect = format!("table inet other {{ chain c {{ {PREROUTING} tcp dport {GATE} redirect to :{GATE}; }}; }}");
    pod.network.pod.apply("nft", &["-f", "-"], &redirect);
    refused("redirected from the gate to the gate");
    let metrics = pod.network.pod.enter(|| Ask::get("/metrics").send(ADMIN).body());
    let counted = metrics.lines().find(|line| line.contains("no_destination")).unwrap_or_else(|| panic!("not counted: {metrics}"));
    assert!(counted.ends_with(" 9"), "{counted}");
    assert_eq!(pod.service.take().len(), 0);
}

#[test]
fn all_ports_are_redirected_but_the_gates_own_and_those_that_are_excepted() {
    if !may_begin("intercept::all_ports_are_redirected_but_the_gates_own_and_those_that_are_excepted") {
        return;
    }
    for loader in [Loader::Nft, Loader::Apply] {
        let pod = Pod::start(By::Uid);
        let excepted = listen(&pod.network.pod, 2222);
        pod.intercept(loader, &["--except", "2222"]);
        pod.is_guarded(SERVICE);
        for ip in POD {
            assert_eq!(pod.network.client.ask(&Ask::get("/"), ip, 2222).status, 200);
            assert_eq!(excepted.take().len(), 1);
            // Nobody listens there: the gate says so, to whoever has a token.
            let (status, reason, _) = pod.ask(&Ask::get("/").token(TOKEN), ip, 4444);
            assert_eq!((status, reason.as_deref()), (502, Some("bad_gateway")));
            let refused = pod.network.client.connect(ip, ADMIN).unwrap_err();
            assert_eq!(refused.kind(), io::ErrorKind::ConnectionRefused, "the operator's door is on loopback");
        }
    }
}

#[test]
fn what_is_for_another_machine_or_for_loopback_is_not_redirected() {
    if !may_begin("intercept::what_is_for_another_machine_or_for_loopback_is_not_redirected") {
        return;
    }
    for loader in [Loader::Nft, Loader::Iptables, Loader::Apply] {
        let pod = Pod::start(By::Uid);
        let Network { client, pod: machine } = &pod.network;
        pod.intercept(loader, &[]);
        // The pod is a router that says no, so that nobody waits for an answer that does not come.
        machine.enter(|| fs::write("/proc/sys/net/ipv4/ip_forward", "1").unwrap());
        machine.ip("route add prohibit 203.0.113.9");
        client.ip(&format!("route add 203.0.113.9 via {}", POD[0]));
        assert!(client.connect("203.0.113.9", SERVICE).is_err(), "{loader:?}");
        // A neighbour that takes 127.0.0.0/8 for a network like any other.
        client.ip("route del local 127.0.0.0/8 dev lo table local");
        client.ip("route del local 127.0.0.1 dev lo table local");
        for setting in ["route_localnet", "accept_local"] {
            client.enter(|| fs::write(format!("/proc/sys/net/ipv4/conf/eth0/{setting}"), "1").unwrap());
        }
        client.ip(&format!("route add 127.0.0.1 via {} src {}", POD[0], CLIENT[0]));
        // Dropped without a word.
        let stream = client.enter(|| TcpStream::connect_timeout(&([127, 0, 0, 1], SERVICE).into(), Duration::from_secs(1)));
        assert!(stream.is_err(), "{loader:?}");
        // Rules of somebody else's making let it in, and the gate does not let it on.
        machine.apply("nft", &["-f", "-"], &format!("table ip other {{ chain c {{ {PREROUTING} tcp dport {SERVICE} redirect to :{GATE}; }}; }}"));
        let (status, reason, _) = pod.ask(&Ask::get("/").token(TOKEN), "127.0.0.1", SERVICE);
        assert_eq!((status, reason.as_deref()), (421, Some("no_destination")), "{loader:?}");
        assert_eq!(pod.service.take().len(), 0);
    }
}

#[test]
fn a_mark_that_may_not_be_set_is_told_at_start() {
    if !may_begin("intercept::a_mark_that_may_not_be_set_is_told_at_start") {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    furnish(folder.path(), By::Mark);
    let mut process = start(folder.path(), &["--inh-caps=-all", "--bounding-set=-all"]);
    assert_eq!(process.ended(), Some(1));
    assert!(process.said().contains("`upstream.mark` cannot be set") && process.said().contains("CAP_NET_ADMIN"), "{}", process.said());
}
