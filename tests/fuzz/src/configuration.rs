//! A configuration compiles, with no open default and every route named once, or its faults have places and tell no secret.

use scopegate::config::{Input, load};
use scopegate::credential::digest::TagKey;
use scopegate::keys::Registry;
use scopegate::policy::Access;

const SECRET: &str = "s3cr3t-of-the-environment";

pub fn hold(data: &[u8]) {
    let Ok(text) = str::from_utf8(data) else { return };
    // Names of hosts would be looked up, and files of this machine be read.
    if text.contains("listen") || text.contains("file") || text.contains("fi") && text.contains('\\') {
        return;
    }
    let environment = |name: &str| match name {
        "SCOPEGATE_DEV_MODE" => Some("true".to_owned()),
        name if name.starts_with("BACKSTOP") => None,
        _ => Some(SECRET.to_owned()),
    };
    let input = Input::Text { name: "fuzz.yaml", text: text.to_owned() };
    match load(&input, &environment, &TagKey::new([7; 32]), &Registry::offline()) {
        Ok(loaded) => {
            assert!(!matches!(loaded.policy.default.access, Access::Public));
            assert_eq!(loaded.sources.tokens(), 1);
            for (index, rule) in loaded.policy.rules.iter().enumerate() {
                assert!(loaded.policy.rules.iter().take(index).all(|other| other.name != rule.name));
            }
        }
        Err(faults) => {
            assert!(!faults.is_empty());
            // YAML 1.1 and 1.2 have more line breaks than one.
            let lines = text.matches(['\n', '\r', '\u{85}', '\u{2028}', '\u{2029}']).count() as u64 + 1;
            for fault in faults.iter() {
                let shown = fault.to_string();
                assert!(!shown.contains(SECRET), "{shown}");
                assert!(!fault.message.is_empty() && !fault.message.contains(char::is_control), "{shown:?}");
                assert!(fault.place.is_none_or(|(line, column)| line >= 1 && line <= lines && column >= 1), "{shown} of {lines}");
            }
        }
    }
}
