//! Values of the command line into the tree of a configuration, in place of the file's own.
//! Says nothing but where the upstream is and where the doors listen, so that one file serves many gates.

use super::fault::Faults;
use super::tree::{Key, Node, Value};
use super::{compile, proxy};

/// Each `None` leaves to the file what it says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Overrides {
    pub upstream: Option<String>,
    /// By its key under `listen`.
    pub listen: Vec<(&'static str, String)>,
}

impl Overrides {
    pub fn is_empty(&self) -> bool {
        self.upstream.is_none() && self.listen.is_empty()
    }

    /// Before the tree is checked, so that what the file says beside it still has to fit.
    pub(super) fn apply(&self, tree: &mut Node) {
        if let Some(url) = &self.upstream {
            match tree.get_mut("upstream") {
                // Its other keys stay.
                Some(said @ Node { value: Value::Map(_), .. }) => said.set("url", Value::Text(url.clone())),
                Some(_) | None => tree.set("upstream", Value::Text(url.clone())),
            }
        }
        if tree.get("listen").is_none() && !self.listen.is_empty() {
            tree.set("listen", Value::Map(Vec::new()));
        }
        for (door, address) in &self.listen {
            if let Some(listen) = tree.get_mut("listen") {
                listen.set(door, Value::Text(address.clone()));
            }
        }
    }
}

impl Node {
    fn get_mut(&mut self, key: &str) -> Option<&mut Self> {
        match &mut self.value {
            Value::Map(entries) => entries.iter_mut().find(|(known, _)| known.text == key).map(|(_, node)| node),
            Value::Null | Value::Bool(_) | Value::Whole(_) | Value::Float(_) | Value::Text(_) | Value::List(_) => None,
        }
    }

    /// What is no mapping stays a fault of the file's.
    fn set(&mut self, key: &str, value: Value) {
        let place = self.place;
        if let Some(node) = self.get_mut(key) {
            *node = Self { value, place: node.place, substituted: false };
        } else if let Value::Map(entries) = &mut self.value {
            entries.push((Key { text: key.to_owned(), place }, Self { value, place, substituted: false }));
        }
    }
}

/// An option's text, if `upstream` could say it.
pub fn upstream(text: &str) -> Result<String, String> {
    tried(text, |node, faults| drop(proxy::upstream(node, faults)))
}

/// The same for what stands under `listen`.
pub fn address(text: &str) -> Result<String, String> {
    tried(text, |node, faults| drop(compile::address(node, "the address", faults)))
}

fn tried(text: &str, read: impl Fn(&Node, &mut Faults)) -> Result<String, String> {
    let mut faults = Faults::default();
    read(&Node { value: Value::Text(text.to_owned()), place: (1, 1), substituted: false }, &mut faults);
    faults.iter().next().map_or_else(|| Ok(text.to_owned()), |fault| Err(fault.message.clone()))
}

#[cfg(test)]
mod tests {
    use crate::config::load;
    use crate::config::settings::Target;
    use crate::config::{Address, Input, Settings};

    use super::*;

    fn settings(text: &str, overrides: Overrides) -> Result<Settings, String> {
        let file = Input::Text { name: "test", text: text.to_owned() };
        load::settings(&Input::Amended(Box::new(file), overrides), &|_| None).map_err(|faults| faults.to_string())
    }

    fn pod() -> Overrides {
        let listen = [("proxy", "0.0.0.0:8081"), ("ext_authz", "off"), ("forward_auth", "off")];
        Overrides { upstream: Some("http://127.0.0.1:3001".into()), listen: listen.map(|(door, address)| (door, address.to_owned())).to_vec() }
    }

    #[test]
    fn what_is_said_outside_goes_before_the_file_and_the_rest_of_the_file_stays() {
        for file in [
            "routes: {/: deny}",
            "upstream: http://127.0.0.1:1\nlisten: {proxy: 127.0.0.1:2, ext_authz: 127.0.0.1:3}",
            "upstream: {url: http://127.0.0.1:1}\nlisten: {}",
        ] {
            let found = settings(file, pod()).unwrap_or_else(|error| panic!("{file}: {error}"));
            assert_eq!(found.upstream.map(|upstream| upstream.target), Some(Target::Http("127.0.0.1:3001".into())), "{file}");
            assert_eq!(found.listen.proxy, Some(Address::Tcp(([0, 0, 0, 0], 8081).into())), "{file}");
            assert_eq!((found.listen.ext_authz, found.listen.forward_auth), (None, None), "{file}");
            assert_eq!(found.listen.admin, Some(Address::Tcp(([127, 0, 0, 1], 9190).into())), "{file}");
        }
        let file = "upstream: {url: http://127.0.0.1:1, response_timeout: 7s}\nlisten: {admin: 127.0.0.1:9}";
        let found = settings(file, pod()).unwrap();
        assert_eq!(found.upstream.map(|upstream| upstream.response_timeout.as_secs()), Some(7));
        assert_eq!(found.listen.admin, Some(Address::Tcp(([127, 0, 0, 1], 9).into())));
    }

    #[test]
    fn faults_of_the_file_stay_faults() {
        for (file, said) in [
            ("upstream: http://127.0.0.1:1\nupstream: http://127.0.0.1:2", "upstream"),
            ("listen: everywhere", "listen"),
            ("listen: {proxi: 127.0.0.1:1}", "proxi"),
            ("upstream: {url: https://shop, ca: ca.pem, colour: red}", "colour"),
            ("- a\n- b", "mapping"),
            ("upstream: ${NOWHERE}", "NOWHERE"),
        ] {
            let error = settings(file, pod()).unwrap_err();
            assert!(error.contains(said), "{file}: {error}");
        }
    }

    #[test]
    fn an_option_that_the_file_could_not_say_is_refused() {
        for text in ["", "127.0.0.1:3000", "http://127.0.0.1:3000/x", "ftp://x", "http://user@host"] {
            assert!(upstream(text).is_err(), "{text}");
        }
        for text in ["", "8080", "127.0.0.1", "127.0.0.1:x", "unix:"] {
            assert!(address(text).is_err(), "{text}");
        }
        assert_eq!(upstream("original_destination").as_deref(), Ok("original_destination"));
        for text in ["off", "[::]:8080", "127.0.0.1:0", "unix:/run/x"] {
            assert_eq!(address(text).as_deref(), Ok(text));
        }
    }
}
