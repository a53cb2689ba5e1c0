//! `scopegate intercept --apply` beside the real `nft`, which loads the printed text: afterwards the kernel has the same, expression by expression.
//! No machine but one of its own has its rules changed.

use std::io::Write;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use crate::network::{Machine, may_begin};
use crate::process::{scopegate, tool, until};

/// What nft has of this machine: the text, and below it what the kernel executes.
fn ruleset(machine: &Machine) -> String {
    machine.apply("nft", &["--stateless", "--debug=netlink", "list", "ruleset"], "")
}

fn flush(machine: &Machine) {
    machine.apply("nft", &["flush", "ruleset"], "");
}

fn run(machine: &Machine, folder: &Path, program: &[&str], arguments: &[&str]) -> Output {
    let [program, rest @ ..] = program else { panic!("no program") };
    machine.enter(|| Command::new(program).args(rest).args(arguments).current_dir(folder).env_clear().output().unwrap())
}

/// What the program says, or why it does not.
pub fn apply(machine: &Machine, folder: &Path, arguments: &[&str]) -> Result<String, String> {
    let output = run(machine, folder, &[scopegate().to_str().unwrap(), "intercept", "--apply"], arguments);
    said(output)
}

fn said(output: Output) -> Result<String, String> {
    let [out, error] = [output.stdout, output.stderr].map(|text| String::from_utf8(text).unwrap());
    match output.status.code() {
        Some(0) => {
            assert_eq!(error, "");
            Ok(out)
        }
        code => {
            assert_eq!((code, out.as_str(), error.lines().count()), (Some(1), "", 1), "{error}");
            Err(error)
        }
    }
}

#[test]
fn what_is_applied_is_what_nft_makes_of_what_is_printed() {
    if !may_begin("intercept::apply::what_is_applied_is_what_nft_makes_of_what_is_printed") {
        return;
    }
    let (machine, folder) = (Machine::new(), tempfile::tempdir().unwrap());
    let many: Vec<String> = (1..=2500).map(|port| (port * 3).to_string()).collect();
    let many = many.join(",");
    for line in [
        "",
        "--port 15006 --ports 3000 --except 9190",
        "--ports 80,3000,65535",
        "--ports all --except 22,9190",
        "--outbound --uid 65532",
        "--ports 80 --outbound 443 --mark 0x5C0",
        "--ports 80,81 --outbound all --uid 0 --mark 0xFFFFFFFF --except 22",
        "--outbound 1,2,3 --uid 4294967294 --port 1024",
        &format!("--ports {many}"),
    ] {
        let arguments: Vec<&str> = line.split_whitespace().collect();
        let printed = run(&machine, folder.path(), &[scopegate().to_str().unwrap(), "intercept", "--print"], &arguments);
        flush(&machine);
        machine.apply("nft", &["-f", "-"], &said(printed).unwrap());
        let loaded = ruleset(&machine);
        assert!(loaded.contains("[ redir proto_min reg 1"), "{loaded}");
        flush(&machine);
        apply(&machine, folder.path(), &arguments).unwrap();
        assert_eq!(ruleset(&machine), loaded, "{line}");
        apply(&machine, folder.path(), &arguments).unwrap();
        assert_eq!(ruleset(&machine), loaded, "{line}, twice");
    }
}

/// The program as root with these capabilities alone.
fn with(capabilities: &str) -> [String; 6] {
    let capabilities = ["--bounding-set", "--inh-caps"].map(|set| format!("{set}={capabilities}"));
    let [bounding, inherited] = capabilities;
    ["/usr/bin/setpriv".into(), bounding, inherited, scopegate().to_str().unwrap().into(), "intercept".into(), "--apply".into()]
}

#[test]
fn one_capability_is_enough_and_without_it_nothing_is_changed() {
    if !may_begin("intercept::apply::one_capability_is_enough_and_without_it_nothing_is_changed") {
        return;
    }
    let (machine, folder) = (Machine::new(), tempfile::tempdir().unwrap());
    let apply_with = |capabilities: &str, arguments: &[&str]| {
        let program = with(capabilities);
        said(run(&machine, folder.path(), &program.each_ref().map(String::as_str), arguments))
    };
    apply_with("-all,+net_admin", &["--ports", "3000"]).unwrap();
    let before = ruleset(&machine);
    assert!(before.contains("tcp dport 3000"), "{before}");
    let error = apply_with("-all", &["--ports", "4000"]).unwrap_err();
    assert!(error.contains("Operation not permitted") && error.contains("nothing has been changed"), "{error}");
    assert!(error.contains("capabilities: {add: [NET_ADMIN]}"), "{error}");
    assert_eq!(ruleset(&machine), before);
}

#[test]
fn tables_of_others_are_left_alone() {
    if !may_begin("intercept::apply::tables_of_others_are_left_alone") {
        return;
    }
    let (machine, folder) = (Machine::new(), tempfile::tempdir().unwrap());
    let chain = "chain prerouting { type nat hook prerouting priority -110; tcp dport { 1, 2 } accept; }";
    for table in ["ip scopegate", "ip6 scopegate", "inet other"] {
        machine.apply("nft", &["-f", "-"], &format!("table {table} {{ {chain}; }}"));
    }
    let others = ruleset(&machine);
    // What somebody put into ours is gone, as what is no longer asked for.
    machine.apply("nft", &["-f", "-"], "table inet scopegate { set x { type inet_service; }; chain output { tcp dport @x drop; }; }");
    apply(&machine, folder.path(), &["--outbound", "--uid", "1"]).unwrap();
    apply(&machine, folder.path(), &["--ports", "3000"]).unwrap();
    let ours = machine.apply("nft", &["list", "table", "inet", "scopegate"], "");
    assert!(ours.contains("tcp dport 3000") && !ours.contains("output") && !ours.contains("set x"), "{ours}");
    machine.apply("nft", &["delete", "table", "inet", "scopegate"], "");
    assert_eq!(ruleset(&machine), others);
}

#[test]
fn a_refusal_of_the_kernel_leaves_what_was_before() {
    if !may_begin("intercept::apply::a_refusal_of_the_kernel_leaves_what_was_before") {
        return;
    }
    let (machine, folder) = (Machine::new(), tempfile::tempdir().unwrap());
    // More than the kernel takes at once.
    apply(&machine, folder.path(), &["--ports", "3000"]).unwrap();
    let before = ruleset(&machine);
    let many: Vec<String> = (10_000..30_000).map(|port| port.to_string()).collect();
    let error = apply(&machine, folder.path(), &["--ports", &many.join(","), "--outbound", &many.join(","), "--uid", "1"]).unwrap_err();
    assert!(error.contains("more ports than the kernel takes at once"), "{error}");
    assert_eq!(ruleset(&machine), before);
    // A table that belongs to a process for as long as it runs.
    flush(&machine);
    let mut owner = machine.enter(|| Command::new(tool("nft")).arg("-i").stdin(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap());
    let input = owner.stdin.as_mut().unwrap();
    writeln!(input, "add table inet scopegate {{ flags owner; chain c {{ tcp dport 7 accept; }}; }}").unwrap();
    until("owned", || ruleset(&machine).contains("tcp dport 7"));
    let before = ruleset(&machine);
    let error = apply(&machine, folder.path(), &["--ports", "3000"]).unwrap_err();
    assert!(error.contains("another process' own") && error.contains("nothing has been changed"), "{error}");
    assert_eq!(ruleset(&machine), before);
    drop(owner.stdin.take());
    assert!(owner.wait().unwrap().success());
    apply(&machine, folder.path(), &["--ports", "3000"]).unwrap();
}

#[test]
fn one_thing_is_asked_for() {
    let (folder, program) = (tempfile::tempdir().unwrap(), scopegate());
    for (arguments, said) in [
        (&["--port", "1"][..], "--apply puts the rules into this network namespace, --print writes them"),
        (&["--apply", "--print"], "'--apply' cannot be used with '--print'"),
        (&["--apply", "--format", "nft"], "'--apply' cannot be used with '--format <FORMAT>'"),
    ] {
        let output = Command::new(&program).arg("intercept").args(arguments).current_dir(folder.path()).env_clear().output().unwrap();
        let error = String::from_utf8(output.stderr).unwrap();
        assert_eq!((output.status.code(), output.stdout.len()), (Some(2), 0), "{error}");
        assert!(error.contains(said), "{error}");
    }
}
