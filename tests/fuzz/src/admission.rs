//! A review is answered once, in JSON, with its own id; a pod that got a gate gets nothing more the second time.

use std::net::Ipv4Addr;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use scopegate::injector::{Failure, Outcome, Settings, answer};
use serde_json::{Value, json};

pub fn hold(data: &[u8]) {
    for failure in [Failure::Closed, Failure::Open] {
        let settings =
            Settings { image: "scopegate:1".into(), address: Ipv4Addr::UNSPECIFIED.into(), resources: json!({}), failure, user: Some(65532) };
        let Ok(first) = answer(data, &settings) else { return };
        let response = response(&first.body);
        let is_refused = matches!(first.outcome, Outcome::Refused(_));
        assert_eq!(response["allowed"], !is_refused);
        assert!(!is_refused || failure == Failure::Closed);
        let message = response["status"]["message"].as_str();
        for text in response["warnings"].as_array().into_iter().flatten().filter_map(Value::as_str).chain(message) {
            assert!(!text.contains(['\n', '\r']), "{text}");
        }
        if first.outcome != Outcome::Injected {
            assert!(response["patch"].is_null());
            continue;
        }
        // Of a field that nobody looks at, the letters are not looked at either.
        let Ok(mut review) = serde_json::from_slice::<Value>(data) else { continue };
        let patch = STANDARD.decode(response["patch"].as_str().unwrap()).unwrap();
        for operation in serde_json::from_slice::<Vec<Value>>(&patch).unwrap() {
            add(&mut review["request"]["object"], &operation);
        }
        let second = answer(review.to_string().as_bytes(), &settings).unwrap();
        assert_eq!(second.outcome, Outcome::Unchanged, "{review}");
    }
}

fn response(body: &[u8]) -> Value {
    let review: Value = serde_json::from_slice(body).unwrap();
    assert_eq!((&review["kind"], &review["apiVersion"]), (&json!("AdmissionReview"), &json!("admission.k8s.io/v1")));
    review["response"].clone()
}

/// RFC 6902 §4.1, as far as it is needed.
fn add(object: &mut Value, operation: &Value) {
    assert_eq!(operation["op"], "add");
    let (parent, key) = operation["path"].as_str().unwrap().rsplit_once('/').unwrap();
    match object.pointer_mut(parent).unwrap() {
        Value::Object(map) => drop(map.insert(key.to_owned(), operation["value"].clone())),
        Value::Array(list) if key == "-" => list.push(operation["value"].clone()),
        Value::Array(list) => list.insert(key.parse().unwrap(), operation["value"].clone()),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => panic!("{parent} leads nowhere"),
    }
}
