//! The image at work, on a machine of its own: as a container runs it, before an application on another machine.

use std::net::{TcpListener, UdpSocket};

use serde_json::{Value as Json, json};

use super::container::{Container, VOLUME};
use super::names;
use crate::application::Application;
use crate::client::Ask;
use crate::gate::now;
use crate::network::{CLIENT, Network, POD, may_begin};
use crate::process::Process;
use crate::sign::Issuer;
use crate::tokens::Minter;

const DOOR: u16 = 8080;
const TOKEN: &str = "canary-token-of-the-image-01";

/// Two machines: the container runs on `pod`, and the application, at port 3000, on `client`. Only a name server knows where `orders.shop.test` is.
struct Scene {
    network: Network,
    application: Application,
    container: Container,
}

impl Scene {
    fn new() -> Self {
        let network = Network::new();
        let application = network.client.enter(|| Application::at(TcpListener::bind((CLIENT[0], 3000)).unwrap()));
        network.pod.enter(|| names::serve(UdpSocket::bind("127.0.0.1:53").unwrap(), "orders.shop.test", CLIENT[0].parse().unwrap()));
        let container = Container::new("127.0.0.1 gate.hosts.test keys.hosts.test\n");
        container.file("tokens.json", &json!([{"id": "ci", "token": TOKEN, "scopes": ["orders:read"]}]).to_string());
        Self { network, application, container }
    }

    /// `serve`, which is what the image does by itself, with this beside the token file.
    fn serve(&self, credentials: &Json, more: &Json, variables: &[&str]) -> Process {
        let mut config = json!({
            "upstream": "http://orders.shop.test:3000",
            "listen": {"proxy": format!("0.0.0.0:{DOOR}"), "ext_authz": "off", "forward_auth": "off"},
            "credentials": {"tokens": {"kind": "static", "file": "tokens.json"}},
            "routes": {"GET /orders": "orders:read"},
            "key_cache": "off",
            "lame_duck": "0s",
        });
        let merge = |into: &mut Json, from: &Json| into.as_object_mut().unwrap().extend(from.as_object().unwrap().clone());
        merge(&mut config["credentials"], credentials);
        merge(&mut config, more);
        self.container.file("scopegate.yaml", &config.to_string());
        self.network.pod.enter(|| {
            let mut gate = self.container.run("serve", variables, &["serve"]);
            gate.until("alive", |_| Ask::get("/healthz").try_send(9190).is_ok_and(|answer| answer.status == 200));
            gate
        })
    }

    fn status(&self, ask: &Ask) -> u16 {
        self.network.client.ask(ask, POD[0], DOOR).status
    }

    fn ends(&self, arguments: &[&str]) -> (Option<i32>, String) {
        self.network.pod.enter(|| self.container.ends(arguments[0], &[], arguments))
    }
}

#[test]
fn the_image_guards_an_application_that_it_finds_by_name_and_ends_when_it_is_told() {
    if !may_begin("image::run::the_image_guards_an_application_that_it_finds_by_name_and_ends_when_it_is_told") {
        return;
    }
    let mut scene = Scene::new();
    let version = format!("scopegate {}\n", env!("CARGO_PKG_VERSION"));
    assert_eq!(scene.ends(&["--version"]), (Some(0), version));
    let (status, said) = scene.ends(&["healthcheck"]);
    assert!(status == Some(1) && said.contains("127.0.0.1:9190"), "{status:?} {said}");
    let mut gate = scene.serve(&json!({}), &json!({}), &[]);
    assert_eq!(scene.status(&Ask::get("/orders")), 401);
    assert_eq!(scene.status(&Ask::get("/orders").token("another-token-than-the-listed")), 401);
    assert_eq!(scene.status(&Ask::get("/else").token(TOKEN)), 403);
    assert_eq!(scene.application.take().len(), 0);
    assert_eq!(scene.status(&Ask::get("/orders").token(TOKEN)), 200);
    assert_eq!(scene.application.take()[0].header("x-scopegate-id"), Some("ci"));
    // As a probe calls it, by address and by each kind of name.
    for address in ["127.0.0.1:9190", "localhost:9190", "gate.hosts.test:9190"] {
        assert_eq!(scene.ends(&["healthcheck", "--address", address]), (Some(0), "ready\n".into()), "{address}");
    }
    let (status, said) = scene.ends(&["healthcheck", "--address", "nobody.shop.test:9190"]);
    assert!(status == Some(1) && said.contains("nobody.shop.test:9190"), "{status:?} {said}");
    gate.signal("TERM");
    assert_eq!(gate.ended(), Some(0), "{}", gate.said());

    // The one command that wants a place for files of its own.
    scene.container.mount("tmp", "tmp", None);
    let mut demo = scene.network.pod.enter(|| scene.container.run("demo", &[], &["demo"]));
    demo.until("telling how it is stopped", |demo| demo.said().contains("Ctrl-C stops."));
    demo.signal("INT");
    assert_eq!(demo.ended(), Some(0), "{}", demo.said());
}

#[test]
fn the_image_believes_a_server_behind_https_by_the_roots_that_it_is_given_and_keeps_what_it_writes_in_its_volume() {
    let name = "the_image_believes_a_server_behind_https_by_the_roots_that_it_is_given_and_keeps_what_it_writes_in_its_volume";
    if !may_begin(&format!("image::run::{name}")) {
        return;
    }
    let (scene, certifier, issuer) = (Scene::new(), Minter::start("mint.py"), Issuer::new());
    let ca = certifier.text("pem", &json!({"op": "certificate", "key": "ca", "authority": true}));
    let server = certifier.ask(&json!({"op": "certificate", "key": "server", "issuer": "ca", "dns": ["keys.hosts.test"]}));
    scene.container.file("ca.pem", &ca);
    let files = tempfile::tempdir().unwrap();
    let [chain, key] = [("server.pem", "pem"), ("server.key", "private")].map(|(name, member)| {
        std::fs::write(files.path().join(name), server[member].as_str().unwrap()).unwrap();
        files.path().join(name)
    });
    let keys = scene.network.pod.enter(|| Minter::start_with("faults.py", &[chain, key]));
    keys.ask(&json!({"op": "lay", "path": "/keys", "body": issuer.key_set()}));
    let url = format!("{}/keys", keys.ready("address").replace("127.0.0.1", "keys.hosts.test"));
    let credentials = json!({
        "jwt": {"kind": "jwt", "from": "header:x-jwt", "jwks_url": url, "algorithms": ["RS256"]},
        "keys": {"kind": "api_key"},
    });
    let more = json!({"key_cache": format!("/{VOLUME}/keys"), "store": {"url": format!("sqlite:/{VOLUME}/store.db")}, "default": "authenticated"});
    let ask = Ask::get("/").header("x-jwt", &issuer.token(&json!({"sub": "robot", "exp": now() + 600})));

    let mut trusting = scene.serve(&credentials, &more, &["SSL_CERT_FILE=/etc/scopegate/ca.pem"]);
    trusting.until("the keys", |_| scene.status(&ask) == 200);
    let kept = scene.container.volume();
    assert!(kept.contains(&"store.db".into()) && kept.contains(&"keys".into()), "{kept:?}");
    trusting.signal("TERM");
    assert_eq!(trusting.ended(), Some(0));

    // With nothing kept from before.
    let mut distrusting = scene.serve(&credentials, &json!({"default": "authenticated", "store": more["store"]}), &[]);
    distrusting.until("the failure", |gate| gate.said().contains("certificate"));
    assert_eq!(scene.status(&ask), 503, "{}", distrusting.said());
}
