//! Files of secrets as a pod has them: root's, of a group, read by a user that is in the group or is not.
//! `strict_file_modes` holds for every file that may be read, and a file that cannot be read is a fault under any mode.

use std::fs;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::Path;
use std::process::Command;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;

use crate::network::may_begin;
use crate::process::scopegate;

/// The gate's user and the group that a pod gives its volumes.
const USER: u32 = 65532;
const POD: u32 = 2000;
const SECRETS: [&str; 8] = ["tokens.json", "token", "tls.key", "url", "store.keys", "bearer", "egress.key", "redis"];
const CONFIG: &str = "
strict_file_modes: true
upstream: http://127.0.0.1:3000
tls: {cert: tls.crt, key: tls.key}
store: {url_file: url}
store_keys: {file: store.keys}
credentials:
  tokens: {kind: static, file: tokens.json}
  them: {kind: webhook, token_file: token, scopes: [a:b]}
routes: {GET /x: a:b}
egress:
  - {listen: 127.0.0.1:7001, url: https://them.test, bearer_file: bearer}
  - {listen: 127.0.0.1:7002, url: https://them.test, backstage: {key_file: egress.key}}
limits: {backend_file: redis}
";

fn furnish(folder: &Path) {
    let key = rcgen::KeyPair::generate().unwrap();
    let certificate = rcgen::CertificateParams::new(["gate.test".to_owned()]).unwrap().self_signed(&key).unwrap();
    for (name, text) in [
        ("scopegate.yaml", CONFIG),
        ("tls.crt", &certificate.pem()),
        ("tls.key", &key.serialize_pem()),
        ("tokens.json", r#"[{"id": "a", "token": "a-token-that-is-long-enough", "scopes": ["a:b"]}]"#),
        ("token", "a-token-that-is-long-enough-too"),
        ("url", "sqlite:a.db"),
        ("bearer", "a-token-of-this-service"),
        ("egress.key", &BASE64_STANDARD.encode([8; 32])),
        ("redis", "redis://127.0.0.1:6379"),
        ("store.keys", &format!("a:{}\n", BASE64_STANDARD.encode([7; 32]))),
    ] {
        fs::write(folder.join(name), text).unwrap();
    }
    // Written by another process, so that no child of this one has it open for writing.
    assert!(Command::new("cp").arg(scopegate()).arg(folder.join("scopegate")).status().unwrap().success());
    fs::set_permissions(folder, PermissionsExt::from_mode(0o755)).unwrap();
}

/// What `scopegate check` says to a user of one group and of these others.
fn check(folder: &Path, (user, group): (u32, u32), groups: &[u32]) -> (Option<i32>, String) {
    let groups = match groups {
        [] => "--clear-groups".to_owned(),
        groups => format!("--groups={}", groups.iter().map(u32::to_string).collect::<Vec<_>>().join(",")),
    };
    let mut command = Command::new("/usr/bin/setpriv");
    command.args([&format!("--reuid={user}"), &format!("--regid={group}"), &groups, "./scopegate", "check", "--config", "scopegate.yaml"]);
    let output = command.current_dir(folder).env_clear().output().unwrap();
    (output.status.code(), String::from_utf8([output.stdout, output.stderr].concat()).unwrap())
}

#[test]
fn a_secret_of_root_and_the_pods_group_is_for_a_member_that_is_not_root() {
    if !may_begin("modes::a_secret_of_root_and_the_pods_group_is_for_a_member_that_is_not_root") {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    furnish(folder.path());
    let (own, given) = (Some("`chmod 600` it"), Some("in a pod: `defaultMode: 0440` and `fsGroup`"));
    for (file, reader, groups, remedy) in [
        // The pod: `fsGroup` is one more group of its processes, or their only one.
        ((0, POD, 0o440), (USER, USER), &[POD][..], None),
        ((0, POD, 0o640), (USER, 0), &[7, POD, 8], None),
        ((0, POD, 0o440), (USER, POD), &[], None),
        ((USER, POD, 0o400), (USER, USER), &[POD], None),
        ((0, 0, 0o600), (0, 0), &[], None),
        // Others may read it too, or the group may write it.
        ((0, POD, 0o444), (USER, USER), &[POD], given),
        ((0, POD, 0o444), (USER, USER), &[], given),
        ((0, POD, 0o644), (USER, USER), &[POD], given),
        ((0, POD, 0o660), (USER, USER), &[POD], given),
        ((0, POD, 0o460), (USER, POD), &[], given),
        // Somebody else's, who may have given it to anybody.
        ((7, POD, 0o440), (USER, USER), &[POD], given),
        // Who needs no group.
        ((USER, POD, 0o440), (USER, USER), &[POD], own),
        ((USER, USER, 0o640), (USER, USER), &[], own),
        ((0, POD, 0o440), (0, 0), &[POD], own),
        ((0, 0, 0o640), (0, 0), &[], own),
    ] {
        let (owner, group, mode) = file;
        for name in SECRETS {
            chown(folder.path().join(name), Some(owner), Some(group)).unwrap();
            fs::set_permissions(folder.path().join(name), PermissionsExt::from_mode(mode)).unwrap();
        }
        let (status, said) = check(folder.path(), reader, groups);
        let case = format!("{owner}:{group} {mode:o}, read by {reader:?} {groups:?}: {said}");
        match remedy {
            None => assert!(status == Some(0) && !said.contains("other users"), "{case}"),
            Some(remedy) => {
                let told = said.lines().filter(|line| line.contains("other users") && line.contains(remedy)).count();
                assert_eq!((status, told), (Some(1), SECRETS.len()), "{case}");
            }
        }
    }
}

#[test]
fn a_secret_of_another_group_cannot_be_read() {
    if !may_begin("modes::a_secret_of_another_group_cannot_be_read") {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    furnish(folder.path());
    for name in SECRETS {
        chown(folder.path().join(name), Some(0), Some(POD)).unwrap();
        fs::set_permissions(folder.path().join(name), PermissionsExt::from_mode(0o440)).unwrap();
    }
    let (status, said) = check(folder.path(), (USER, USER), &[7]);
    // Nobody looks for the keys of a store that is not known, and a bearer token is read when it is needed.
    assert_eq!((status, said.matches("cannot be read").count()), (Some(1), SECRETS.len() - 2), "{said}");
}
