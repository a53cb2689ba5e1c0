//! Paths, methods and doors of the API, before any operation is asked.

use serde_json::{Value, json};

use super::{call, said};
use crate::harness::wire::value;
use crate::harness::{Gate, ask, metric};

const TOKENS: &str = r#"[{"id": "admin", "token": "token-of-the-admin-0", "scopes": ["*"]}]"#;

#[tokio::test(flavor = "multi_thread")]
async fn the_document_is_public_and_says_of_every_operation_who_may_call_it() {
    let gate = Gate::start("routes: {/: public}\n", TOKENS).await;
    let reply = call(gate.admin(), "GET /openapi.json", "", None).await;
    assert_eq!(reply.status, 200);
    let document = said(&reply);
    assert!(document["openapi"].as_str().unwrap().starts_with("3.1."), "{document}");
    for (path, item) in document["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap() {
            let security = operation["security"].as_array().unwrap_or_else(|| panic!("{method} {path} says nothing of who may call it"));
            let public = path == "/openapi.json";
            assert_eq!(security == &[json!({})], public, "{method} {path}: {security:?}");
            assert!(operation["operationId"].is_string() && operation["responses"].is_object(), "{method} {path}");
            for status in if public { &[][..] } else { &["400", "401", "403", "503"][..] } {
                let schema = &operation["responses"][status]["content"]["application/json"]["schema"]["$ref"];
                assert_eq!(schema, "#/components/schemas/Problem", "{method} {path} {status}");
            }
        }
    }
    assert!(document["components"]["schemas"]["Problem"].is_object());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unknown_path_is_404_and_an_unknown_method_405_with_what_is_known() {
    let gate = Gate::start("routes: {/: public}\n", TOKENS).await;
    for token in ["", "token-of-the-admin-0"] {
        let reply = call(gate.admin(), "GET /tenants", token, None).await;
        assert_eq!((reply.status, &said(&reply)["error"]), (404, &json!("not_found")));
        let reply = call(gate.admin(), "POST /openapi.json", token, None).await;
        assert_eq!((reply.status, &said(&reply)["error"]), (405, &json!("method_not_allowed")));
        assert_eq!(value(&reply.headers, "allow"), Some("GET,HEAD".into()));
        assert_eq!(value(&reply.headers, "cache-control"), Some("no-store".into()));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn it_is_at_the_proxy_door_only_where_it_is_exposed() {
    let hidden = Gate::start("routes: {/: public}\n", TOKENS).await;
    let reply = call(hidden.proxy(), "GET /openapi.json", "", None).await;
    assert_eq!((reply.status, hidden.upstream.take().len()), (200, 1), "the upstream's own");
    let exposed = Gate::start("management: {expose: true}\nroutes: {/: public}\n", TOKENS).await;
    for line in ["GET /openapi.json", "GET /openapi%2Ejson", "DELETE /openapi.json"] {
        let reply = call(exposed.proxy(), line, "", None).await;
        assert!([200, 404, 405].contains(&reply.status), "{line}: {}", reply.status);
    }
    let reply = call(exposed.proxy(), "GET /openapi.json", "", None).await;
    assert!(said(&reply)["openapi"].is_string());
    assert_eq!(exposed.upstream.take().len(), 0, "its paths are in front of the upstream's");
    assert_eq!(call(exposed.proxy(), "GET /other", "", None).await.status, 200);
    assert_eq!(exposed.upstream.take().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn another_page_in_a_browser_is_refused() {
    let gate = Gate::start("management: {expose: true}\nroutes: {/: public}\n", TOKENS).await;
    let get = |fields: &str| format!("GET /openapi.json HTTP/1.1\r\nhost: gate.example\r\n{fields}\r\n");
    for door in [gate.admin(), gate.proxy()] {
        for fields in ["sec-fetch-site: cross-site\r\n", "sec-fetch-site: same-site\r\n", "origin: https://evil.example\r\n", "origin: null\r\n"] {
            let reply = ask(door, get(fields)).await;
            assert_eq!((reply.status, &said(&reply)["error"]), (403, &Value::from("forbidden")), "{fields}");
            assert_eq!(value(&reply.headers, "x-scopegate-reason"), Some("wrong_origin".into()));
        }
        for fields in
            ["sec-fetch-site: none\r\n", "sec-fetch-site: same-origin\r\norigin: https://gate.example\r\n", "origin: https://gate.example\r\n"]
        {
            assert_eq!(ask(door, get(fields)).await.status, 200, "{fields}");
        }
    }
    let counted = metric(&gate.metrics().await, "scopegate_decisions_total{door=\"management\",outcome=\"deny\",reason=\"wrong_origin\"}");
    assert_eq!(counted, Some(8.0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_route_that_the_exposed_api_takes_is_a_fault_of_the_configuration() {
    let folder = tempfile::tempdir().unwrap();
    crate::harness::write_secret(&folder.path().join("tokens.json"), TOKENS);
    let path = folder.path().join("scopegate.yaml");
    let faults = |expose: bool, route: &str| {
        let text = format!(
            "management: {{expose: {expose}}}\ncredentials: {{tokens: {{kind: static, file: tokens.json}}}}\nroutes:\n  GET /x: public\n  {route}: public\n"
        );
        std::fs::write(&path, text).unwrap();
        let key = scopegate::credential::digest::TagKey::new([7; 32]);
        let loaded = scopegate::config::load(&scopegate::config::Input::File(path.clone()), &|_| None, &key, &scopegate::keys::Registry::offline());
        loaded.err().map(|faults| faults.to_string()).unwrap_or_default()
    };
    for route in ["/openapi.json", "GET /openapi.json", "POST /tenant/api-keys", "/tenant/api-keys/{key}", "DELETE /tenant/api-keys/seven"] {
        let said = faults(true, route);
        assert!(said.contains("scopegate.yaml:5:3") && said.contains("`management.expose`") && said.contains(route), "{route}: {said}");
        assert_eq!(faults(false, route), "", "{route}");
    }
    // A wider one has other requests too.
    for route in ["/{rest...}", "/tenant/{rest...}", "GET /tenant/other"] {
        assert_eq!(faults(true, route), "", "{route}");
    }
}
