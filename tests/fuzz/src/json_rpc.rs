//! A body that is accepted has the calls that serde_json reads out of it.

use scopegate::request::rpc::{Call, MAX_BATCH, calls};
use serde_json::Value;

pub fn hold(data: &[u8]) {
    let Ok(list) = calls(data) else { return };
    assert!(str::from_utf8(data).is_ok());
    // Depth, numbers out of range and lone surrogates, where they are passed over, are left to the upstream.
    let Ok(value) = serde_json::from_slice::<Value>(data) else { return };
    let messages = value.as_array().map_or(std::slice::from_ref(&value), Vec::as_slice);
    assert!(!list.is_empty() && list.len() == messages.len() && list.len() <= MAX_BATCH);
    for (call, message) in list.iter().zip(messages) {
        assert!(message.is_object());
        let is_call = message.get("method").and_then(Value::as_str) == Some("tools/call");
        let tool = message.get("params").and_then(|params| params.get("name")).and_then(Value::as_str);
        match call {
            Call::Tool(name) => assert!(is_call && tool == Some(name)),
            Call::Other => assert!(!is_call),
        }
    }
}
