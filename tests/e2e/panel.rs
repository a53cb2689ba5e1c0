//! Chromium in front of the panel: every page in light, dark and on a phone, its forms, the keyboard alone, and decisions as they come.
//! No complaint of the browser, and nothing serious that axe finds.

use std::path::PathBuf;

use serde_json::{Value as Json, json};

use crate::client::Ask;
use crate::gate::{Desk, Gate};
use crate::tokens::Minter;

const TOKEN: &str = "token-of-the-operator-1";
const READER: &str = "token-of-the-reader-01";

struct Scene {
    browser: Minter,
    gate: Gate,
    base: String,
}

impl Scene {
    fn set() -> Self {
        let tokens = json!([
            {"id": "operator", "token": TOKEN, "scopes": ["*"]},
            {"id": "reader", "token": READER, "scopes": ["orders:read"], "tenant": "north"},
        ]);
        let gate = Desk::new().file("tokens.json", &tokens.to_string()).serve(&json!({
            "credentials": {"tokens": {"kind": "static", "file": "tokens.json"}, "keys": {"kind": "api_key"}},
            "roles": {"default": "user", "user": ["profile:read"]},
            "default": "deny",
            "routes": {
                "GET /orders": "orders:read",
                "PUT /orders/{id}": {"scopes": ["orders:write"], "rate_limit": {"rate": "100/m", "per": "principal"}},
                "GET /reports": {"scopes": ["reports:read"], "mode": "shadow"},
                "GET /health": "public",
            },
        }));
        let base = format!("http://127.0.0.1:{}", gate.admin_port());
        let scene = Self { browser: Minter::start_in::<&str>("tests/e2e/browser", "panel.mjs", &[]), gate, base };
        for (target, token) in [("/orders", READER), ("/orders", "token-of-nobody-01"), ("/reports", READER), ("/health", ""), ("/nowhere", TOKEN)] {
            scene.request(target, token);
        }
        scene
    }

    fn request(&self, target: &str, token: &str) -> u16 {
        Ask::get(target).token(token).send(self.gate.door()).status
    }

    fn ask(&self, op: &str, members: &Json) -> Json {
        let mut request = json!({"op": op, "base": self.base});
        request.as_object_mut().unwrap().extend(members.as_object().unwrap().clone());
        self.browser.ask(&request)
    }

    fn sign_in(&self, scheme: &str, width: u32) {
        self.ask("open", &json!({"scheme": scheme, "width": width}));
        let told = self.ask("signIn", &json!({"token": TOKEN}));
        assert!(told["who"].as_str().unwrap().contains("operator"), "{told}");
    }

    fn nothing_to_complain_about(&self) {
        assert_eq!(self.ask("faults", &json!({}))["faults"], json!([]));
    }
}

/// Where the screenshots of a tour are, for people to look at.
fn folder(name: &str) -> PathBuf {
    let folder = std::env::temp_dir().join("scopegate-panel").join(name);
    std::fs::create_dir_all(&folder).unwrap();
    folder
}

#[test]
fn every_page_is_well_in_light_and_dark_and_on_a_phone() {
    let scene = Scene::set();
    scene.sign_in("light", 1280);
    scene.ask("keys", &json!({}));
    scene.ask("faults", &json!({}));
    for (name, scheme, width) in [("light", "light", 1280), ("dark", "dark", 1280), ("phone", "light", 360)] {
        scene.sign_in(scheme, width);
        let told = scene.ask("tour", &json!({"folder": folder(name)}));
        let pages = told["pages"].as_array().unwrap();
        for known in ["", "/decisions", "/shadow", "/reloads", "/routes", "/principals", "/key-sets", "/keys", "/profiles", "/factor"] {
            assert!(pages.iter().any(|page| page["path"] == format!("/panel{known}")), "{name}: no link leads to {known}");
        }
        assert!(pages.len() >= 25, "{name}: {} pages: {told}", pages.len());
        for page in pages {
            let missing = page["path"] == "/panel/nowhere";
            assert_eq!(page["status"], if missing { 404 } else { 200 }, "{name}: {page}");
            assert_eq!((&page["serious"], &page["wide"]), (&json!([]), &json!(0)), "{name}: {page}");
            assert!(page["title"].as_str().unwrap().ends_with(" · Scopegate"), "{name}: {page}");
        }
        let faults = scene.ask("faults", &json!({}))["faults"].clone();
        let faults: Vec<_> = faults.as_array().unwrap().iter().filter(|fault| !fault.as_str().unwrap().contains("/panel/nowhere")).collect();
        assert!(faults.is_empty(), "{name}: {faults:?}");
    }
}

#[test]
fn a_key_is_made_and_rotated_and_revoked_with_the_forms_as_they_stand() {
    let scene = Scene::set();
    scene.sign_in("light", 1280);
    let told = scene.ask("keys", &json!({}));
    let by = |key: &Json| Ask::get("/orders").header("x-api-key", key.as_str().unwrap()).send(scene.gate.door()).status;
    assert_eq!((by(&told["made"]), by(&told["rotated"]), by(&told["revoked"])), (401, 200, 401), "{told}");
    assert_ne!(told["made"], told["rotated"]);
    let again = told["again"].as_str().unwrap();
    assert!(again.contains("sent before") && !again.contains(told["made"].as_str().unwrap()), "{again}");
    assert_eq!(told["asked"], "Revoke To be revoked?");
    let list = told["list"].as_str().unwrap();
    assert!(list.contains("The key is revoked") && list.contains("To be rotated") && !list.contains("To be revoked"), "{list}");
    let told = scene.ask("faulty", &json!({}));
    assert!(told["name"] == "Mine" && told["serious"] == json!([]), "{told}");
    assert!(told["fault"].as_str().unwrap().contains("`*` inside"), "{told}");
    let faults = scene.ask("faults", &json!({}))["faults"].clone();
    // The browser tells of the answers to the form that was sent twice, and to the one with a fault.
    let answers = ["status of 409", "status of 422"];
    assert!(faults.as_array().unwrap().iter().all(|fault| answers.iter().any(|answer| fault.as_str().unwrap().contains(answer))), "{faults}");
}

#[test]
fn an_authenticator_is_enrolled_by_its_picture_and_backup_codes_are_shown_once() {
    let scene = Scene::set();
    scene.sign_in("dark", 390);
    let told = scene.ask("factor", &json!({}));
    assert!(told["picture"].as_u64().unwrap() > 0, "the picture is drawn: {told}");
    assert_eq!(told["codes"].as_array().unwrap().len(), 10, "{told}");
    let state = told["state"].as_str().unwrap();
    assert!(
        state.contains("10 left") && !state.contains(told["codes"][0].as_str().unwrap()) && !state.contains(told["secret"].as_str().unwrap()),
        "{state}"
    );
    scene.nothing_to_complain_about();
}

#[test]
fn the_keyboard_alone_leads_to_an_explanation() {
    let scene = Scene::set();
    scene.sign_in("light", 1280);
    let told = scene.ask("keyboard", &json!({}));
    assert_eq!(told["first"], "Skip to content");
    assert_ne!(told["outline"], "none", "whoever has the focus is seen");
    let answer = told["answer"].as_str().unwrap();
    assert!(answer.contains("allow") && answer.contains("GET /orders"), "{answer}");
    scene.nothing_to_complain_about();
}

#[test]
fn what_is_typed_narrows_a_list_and_an_open_page_goes_on() {
    let scene = Scene::set();
    scene.sign_in("dark", 1280);
    let told = scene.ask("lively", &json!({}));
    assert_eq!(told["same"], true, "{told}");
    assert!(told["url"].as_str().unwrap().contains("q=reports"), "{told}");
    scene.nothing_to_complain_about();
}

#[test]
fn decisions_come_as_they_are_taken_and_each_opens_its_explanation() {
    let scene = Scene::set();
    scene.sign_in("light", 1280);
    scene.ask("live", &json!({}));
    for _ in 0..5 {
        assert_eq!(scene.request("/orders", "token-of-nobody-02"), 401);
    }
    assert_eq!(scene.request("/fresh", TOKEN), 403);
    let told = scene.ask("rows", &json!({"text": "/fresh", "count": 1}));
    assert!(told["told"].as_str().unwrap().starts_with("Live: "), "{told}");
    let detail = scene.ask("detail", &json!({"text": "/fresh"}));
    assert!(detail["url"].as_str().unwrap().ends_with("/panel/decisions"), "the rows go on: {detail}");
    let text = detail["detail"].as_str().unwrap();
    assert!(text.contains("no_rule") && text.contains("operator"), "{text}");
    assert_eq!(scene.request("/later", TOKEN), 403);
    scene.ask("rows", &json!({"text": "/later", "count": 1}));
    scene.nothing_to_complain_about();
}
