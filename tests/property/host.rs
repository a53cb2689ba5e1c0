//! Host names have one form, and taking it twice changes nothing.

use scopegate::request::HostName;

use crate::random::check;

const PIECES: [&str; 25] = [
    "a",
    "B",
    "example",
    "COM",
    ".",
    ".",
    "-",
    "_",
    ":",
    ":80",
    ":65535",
    ":123456",
    "[::1]",
    "[",
    "]",
    "2001:DB8::1",
    "127.0.0.1",
    "\u{e9}",
    "%2e",
    "/",
    "@",
    ",",
    " ",
    "\0",
    "xn--",
];

#[test]
fn a_canonical_host_is_its_own_canonical_form() {
    check(150_000, |random| {
        let raw = random.text(&PIECES, 6);
        let Some(host) = HostName::parse(raw.as_bytes()) else { return };
        let text = host.as_str();
        let again = HostName::parse(text.as_bytes());
        assert_eq!(again.as_ref().map(HostName::as_str), Some(text), "{raw:?}");
        assert!(!text.ends_with('.') && !text.bytes().any(|byte| byte.is_ascii_uppercase()), "{raw:?}");
        // Without brackets there is no colon, so that no port is left.
        assert!(text.starts_with('[') || !text.contains(':'), "{raw:?}");
    });
}

#[test]
fn case_port_and_one_trailing_dot_do_not_matter() {
    check(50_000, |random| {
        let labels = (0..=random.below(3)).map(|_| random.pick(&["a", "b-c", "d_e", "0"]).to_owned()).collect::<Vec<_>>();
        let plain = labels.join(".");
        let mut written: String = plain.chars().map(|letter| if random.once_in(2) { letter.to_ascii_uppercase() } else { letter }).collect();
        written.push_str(random.pick(&["", "."]));
        written.push_str(random.pick(&["", ":", ":8", ":65535"]));
        assert_eq!(HostName::parse(written.as_bytes()).as_ref().map(HostName::as_str), Some(plain.as_str()), "{written:?}");
    });
}
