//! The annotations of `deploy/ingress-nginx` as the controller writes them into nginx's configuration, and the real nginx with it before the gate.
//! The controller itself needs a cluster; what it writes for these annotations is written here after its template, and what it does not is not.

use std::fmt::Write as _;
use std::fs;

use crate::client::Ask;
use crate::helm::{one, read};
use crate::process::root;
use crate::promises;
use crate::stage::{Front, Stage};

const GATE: &str = "gate-scopegate.auth.svc.cluster.local:9192";

/// The server of an Ingress: `auth-url` is what its location asks, `auth-response-headers` go into what it passes on.
pub fn configuration(ingress: &str, port: u16, application: u16, door: u16) -> String {
    let (objects, name) = (read(ingress), |name: &str| format!("nginx.ingress.kubernetes.io/{name}"));
    let annotations = &one(&objects, "Ingress")["metadata"]["annotations"];
    let said = |annotation: &str| annotations[name(annotation)].as_str().unwrap();
    let url = said("auth-url");
    assert!(url.contains(GATE), "{url}");
    // The two that count; others need a right of the controller's that is not given by default, or change what is tested here.
    let known = ["auth-url", "auth-response-headers"].map(name);
    assert!(annotations.as_object().unwrap().keys().all(|annotation| known.contains(annotation)), "{annotations}");
    // `URLWithNginxVariableRegex` of the controller.
    assert!(url.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._~/:?&=,$".contains(&byte)), "the controller refuses {url:?}");
    let mut answer = String::new();
    for (index, header) in said("auth-response-headers").split(',').map(str::trim).enumerate() {
        assert!(header.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte)), "the controller refuses {header:?}");
        let variable = header.to_lowercase().replace('-', "_");
        writeln!(answer, "auth_request_set $authHeader{index} $upstream_http_{variable}; proxy_set_header '{header}' $authHeader{index};").unwrap();
    }
    let parts = [
        ("@port@", port.to_string()),
        ("@application@", application.to_string()),
        ("@answer@", answer),
        ("@target@", url.replace(GATE, &format!("127.0.0.1:{door}"))),
    ];
    let template = fs::read_to_string(root().join("tests/e2e/kubernetes/ingress-nginx.conf")).unwrap();
    parts.iter().fold(template, |text, (mark, part)| text.replace(mark, part))
}

fn stage() -> Stage {
    Stage::start(Front::IngressNginx)
}

#[test]
fn every_token_opens_what_its_scopes_say_and_nothing_else() {
    promises::matrix(&stage());
}

#[test]
fn the_application_hears_of_the_caller_from_the_gate_alone() {
    promises::identity(&stage());
}

#[test]
fn a_forged_identity_never_arrives_in_any_spelling() {
    promises::forgeries(&stage());
}

#[test]
fn a_request_is_judged_by_what_it_is_not_by_what_it_says_of_itself() {
    promises::descriptions(&stage());
}

#[test]
fn path_tricks_open_nothing() {
    promises::paths(&stage());
}

#[test]
fn without_the_gate_nothing_gets_through() {
    promises::closed(&mut stage());
}

#[test]
fn two_authorizations_are_refused() {
    promises::two_authorizations(&stage());
}

/// What the client says of its request in headers is written over, or read by nobody.
#[test]
fn the_clients_word_of_its_request_is_overwritten() {
    let stage = stage();
    for (header, value) in [("X-Original-URI", "/health"), ("X-Original-URL", "http://backstop.test/health"), ("X-Forwarded-Host", "other.test")] {
        let (answer, seen) = stage.ask(&Ask::get("/pending").header(header, value));
        assert_eq!((answer.status, seen.len()), (401, 0), "{header}");
        let (answer, seen) = stage.ask(&Ask::get("/health").header(header, "/pending"));
        assert_eq!((answer.status, seen.len()), (200, 1), "{header}");
    }
    let (answer, _) = stage.ask(&Ask::get("/pending"));
    assert_eq!(answer.header("www-authenticate"), Some(r#"Bearer realm="scopegate""#));
}

/// nginx goes by the host of the request line, the application and the controller's own header by the other.
#[test]
fn a_request_that_names_two_hosts_is_refused() {
    let stage = stage();
    for (target, status) in [("http://backstop.test/health", 200), ("http://other.test/health", 403), ("http://backstop.test:80/health", 200)] {
        let (answer, seen) = stage.ask(&Ask::get(target));
        assert_eq!((answer.status, seen.len()), (status, usize::from(status == 200)), "{target}");
    }
}
