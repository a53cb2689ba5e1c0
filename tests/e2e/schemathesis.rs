//! The document of the management API against the service that publishes it: Schemathesis makes requests of it, and holds every answer against it.
//! What a schema cannot say, such as which roles there are, may be refused although it fits; nothing that does not fit is done.

use serde_json::json;

use crate::gate::Desk;
use crate::process::{Process, tool};

const ADMIN: &str = "token-of-the-admin-0";
const CHECKS: &str = "not_a_server_error,status_code_conformance,content_type_conformance,response_headers_conformance,\
    response_schema_conformance,negative_data_rejection,missing_required_header,unsupported_method,allow_header_conformance,\
    use_after_free,ensure_resource_availability,ignored_auth";

#[test]
fn every_answer_is_what_the_document_says() {
    let tokens = json!([{"id": "admin", "token": ADMIN, "scopes": ["*"]}]).to_string();
    let gate = Desk::new().file("tokens.json", &tokens).serve(&json!({
        "store": "sqlite:scopegate.db",
        "credentials": {
            "tokens": {"kind": "static", "file": "tokens.json"},
            "keys": {"kind": "api_key"},
            "old": {"kind": "api_key", "format": "uuid", "header": "x-old-key"},
        },
        "roles": {"user": ["articles:read"], "editor": {"inherits": "user", "scopes": "articles:*"}},
        "routes": {"GET /articles": "articles:read", "DELETE /users": "users:delete"},
        "telemetry": {"audit": "off"},
        "reload": {"watch": false},
    }));
    let folder = tempfile::tempdir().unwrap();
    // Too many entries may be too many bytes.
    let refused = "[checks.negative_data_rejection]\nexpected-statuses = [400, 401, 403, 404, 405, 409, 413, 415, 422, 429]\n";
    std::fs::write(folder.path().join("schemathesis.toml"), refused).unwrap();
    let mut schemathesis = Process::start("schemathesis", &tool("python3"), folder.path(), |command| {
        command.args(["-m", "schemathesis.cli", "run", &format!("http://127.0.0.1:{}/openapi.json", gate.admin_port())]);
        command.args(["--header", &format!("Authorization: Bearer {ADMIN}"), "--checks", CHECKS]);
        command.args(["--phases", "examples,coverage,fuzzing", "--max-examples", "15", "--generation-deterministic", "--continue-on-failure"]);
        command.args(["--request-timeout", "20", "--suppress-health-check", "all"]);
    });
    assert_eq!(schemathesis.ended_within(std::time::Duration::from_secs(300)), Some(0), "{}", schemathesis.said());
    let said = schemathesis.said();
    let document: serde_json::Value = serde_json::from_str(&crate::client::Ask::get("/openapi.json").send(gate.admin_port()).body()).unwrap();
    let operations: usize = document["paths"].as_object().unwrap().values().map(|item| item.as_object().unwrap().len()).sum();
    // All but the document itself.
    assert!(said.contains(&format!("Tested: {}", operations - 1)), "{operations}: {said}");
}
