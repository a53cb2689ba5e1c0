//! A header of `forward.headers` is the gate's at every front, whatever the client sends under its name or has `Connection` take away.

use crate::client::Ask;
use crate::promises::{self, values};
use crate::stage::{Front, Script, Stage};
use crate::websocket::{handshake, talk};

const NAME: &str = "x-user-id";
const FORWARD: &str = "forward: {headers: {x-user-id: \"{{auth.id}}\"}}";

/// Each line's place in the file that `deploy/README.md` names.
fn edits(front: Front) -> Vec<(&'static str, &'static str)> {
    match front {
        Front::Nginx => vec![
            ("auth_request_set $scopegate_target ", "auth_request_set $user $upstream_http_x_user_id;\nauth_request_set $scopegate_target "),
            ("proxy_set_header X-Scopegate-Target \"\";", "proxy_set_header X-Scopegate-Target \"\";\nproxy_set_header X-User-Id $user;"),
        ],
        Front::Traefik => vec![("          - X-Method-Override", "          - X-Method-Override\n          - X-User-Id")],
        Front::Caddy => vec![("X-Method-Override", "X-Method-Override\nX-User-Id")],
        Front::EnvoyHttp => {
            vec![("- {exact: x-scopegate-roles}", "- {exact: x-scopegate-roles}\n                              - {exact: x-user-id}")]
        }
        Front::EnvoyGrpc | Front::EnvoyManaged | Front::EnvoyGrpcPlainHeaders | Front::EnvoyUnix => Vec::new(),
        Front::IngressNginx | Front::OlderTraefik | Front::Proxy => Vec::new(),
    }
}

pub fn stage(front: Front) -> Stage {
    let script = Script { more: FORWARD.to_owned(), proxy_edits: edits(front), ..Script::backstop() };
    Stage::play(front, &script)
}

pub fn arrives(stage: &Stage) {
    let spelled = [
        "X-User-Id",
        "x_user_id",
        "X_USER-ID",
        "X.User.Id",
        "x-user.id",
        "X!User!Id",
        "x#user$id",
        "x%user&id",
        "x'user*id",
        "x+user^id",
        "x`user|id",
        "x~user~id",
    ];
    let asks = [(Ask::get("/pending").token(stage.token("operator-01")), Some("operator-01")), (Ask::get("/health"), None)];
    for (ask, id) in asks {
        // A proxy may refuse an odd name; nothing but the gate's word is under it where it goes on.
        for name in spelled {
            let (answer, seen) = stage.ask(&ask.clone().header(name, "admin"));
            let asked = format!("{name} at {:?}: {}", stage.front, answer.status);
            assert!(answer.status == 200 || (name != spelled[0] && (400..500).contains(&answer.status)), "{asked}");
            assert_eq!(answer.status == 200, seen.len() == 1, "{asked}");
            seen.iter().for_each(|seen| assert_eq!(values(seen, NAME), Vec::from_iter(id), "{asked}"));
        }
        for list in ["x-user-id", "close, X-User-Id", "x-scopegate-id, x-user-id"] {
            let (answer, seen) = stage.ask(&ask.clone().header("Connection", list));
            let asked = format!("Connection: {list} at {:?}: {}", stage.front, answer.status);
            assert_eq!((answer.status, seen.len()), (200, 1), "{asked}");
            assert_eq!(values(&seen[0], NAME), Vec::from_iter(id), "{asked}");
            assert_eq!(values(&seen[0], "x-scopegate-id"), Vec::from_iter(id), "{asked}");
        }
    }
}

#[test]
fn a_websocket_through_caddy_goes_on_whatever_else_its_connection_names() {
    let stage = stage(Front::Caddy);
    let ask = handshake("/pending").token(stage.token("operator-01"));
    for lists in [&[][..], &["x-user-id"], &["keep-alive", "X-User-Id, x-scopegate-id"]] {
        let ask = lists.iter().fold(ask.clone(), |ask, list| ask.header("Connection", list));
        assert_eq!(talk(stage.port, &ask), (101, true), "{lists:?}");
        let seen = stage.application.take();
        assert_eq!(seen.len(), 1, "{lists:?}");
        assert_eq!((values(&seen[0], NAME), values(&seen[0], "x-scopegate-id")), (vec!["operator-01"], vec!["operator-01"]), "{lists:?}");
    }
}

#[test]
fn traefiks_middleware_alone_takes_away_what_it_lists_in_every_spelling() {
    promises::forgeries(&Stage::start(Front::OlderTraefik));
}
