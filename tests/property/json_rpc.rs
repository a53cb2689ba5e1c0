//! A JSON-RPC body is accepted only where every reader reads the same calls: the first or the last of two members, with or without case.

use scopegate::request::rpc::{Call, calls};
use serde_json::Value;

use crate::random::{Random, check};

/// A member as written, and what the written key stands for.
struct Member {
    written: String,
    key: String,
    value: Json,
}

enum Json {
    Text(String),
    Other(&'static str),
    Object(Vec<Member>),
    Array(Vec<Json>),
}

fn text(value: &str, random: &mut Random) -> String {
    let piece = |letter: char, random: &mut Random| match (letter, random.below(12)) {
        ('/', 0..4) => "\\/".into(),
        (letter, 0) => letter.encode_utf16(&mut [0; 2]).iter().map(|unit| format!("\\u{unit:04x}")).collect(),
        (letter, 1) => letter.encode_utf16(&mut [0; 2]).iter().map(|unit| format!("\\u{unit:04X}")).collect(),
        (letter, _) => letter.to_string(),
    };
    format!("\"{}\"", value.chars().map(|letter| piece(letter, random)).collect::<String>())
}

const KEYS: [&str; 18] = [
    "method",
    "method",
    "method",
    "params",
    "params",
    "params",
    "name",
    "name",
    "id",
    "jsonrpc",
    "result",
    "error",
    "Method",
    "PARAMS",
    "Name",
    "param\u{17f}",
    "arguments",
    "na\u{212a}e",
];
const TEXTS: [&str; 8] = ["tools/call", "tools/call", "tools/list", "ping", "run", "stop", "", "Tools/Call"];

fn json(random: &mut Random, depth: usize) -> Json {
    match random.below(if depth == 0 { 3 } else { 8 }) {
        0 => Json::Other(random.pick(&["null", "7", "true", "1e9"])),
        1 | 2 => Json::Text(random.pick(&TEXTS).to_owned()),
        3 => Json::Array((0..random.below(3)).map(|_| json(random, depth - 1)).collect()),
        _ => Json::Object((0..random.below(4)).map(|_| member(random, depth - 1)).collect()),
    }
}

fn member(random: &mut Random, depth: usize) -> Member {
    let key = random.pick(&KEYS);
    let value = match (key, random.below(4)) {
        ("method", 0..3) => Json::Text(random.pick(&TEXTS).to_owned()),
        ("params", 0..3) => Json::Object((0..random.below(4)).map(|_| member(random, depth.saturating_sub(1))).collect()),
        _ => json(random, depth),
    };
    Member { written: text(key, random), key: key.to_owned(), value }
}

fn message(random: &mut Random) -> Json {
    Json::Object((0..1 + random.below(4)).map(|_| member(random, 2)).collect())
}

fn write(json: &Json, random: &mut Random, out: &mut String) {
    let space = random.pick(&["", "", "", " ", "\n\t"]);
    out.push_str(space);
    let separated = |out: &mut String, index: usize| {
        if index > 0 {
            out.push(',')
        }
    };
    match json {
        Json::Text(value) => out.push_str(&text(value, random)),
        Json::Other(other) => out.push_str(other),
        Json::Array(list) => {
            out.push('[');
            list.iter().enumerate().for_each(|(index, item)| {
                separated(out, index);
                write(item, random, out);
            });
            out.push(']');
        }
        Json::Object(members) => {
            out.push('{');
            members.iter().enumerate().for_each(|(index, member)| {
                separated(out, index);
                out.push_str(&member.written);
                out.push(':');
                write(&member.value, random, out);
            });
            out.push('}');
        }
    }
    out.push_str(space);
}

/// How a reader takes a member from an object.
#[derive(Clone, Copy, Debug)]
struct Reader {
    last: bool,
    folds: bool,
}

impl Reader {
    fn get<'a>(self, members: &'a [Member], key: &str) -> Option<&'a Json> {
        let folded = |text: &str| text.replace('\u{17f}', "s").replace('\u{212a}', "k").to_lowercase();
        let mut fits = members.iter().filter(|member| if self.folds { folded(&member.key) == key } else { member.key == key });
        let found = if self.last { fits.next_back() } else { fits.next() };
        found.map(|member| &member.value)
    }

    /// The tool that a message calls: `Some(None)` where it calls none.
    fn call(self, message: &Json) -> Option<Option<String>> {
        let Json::Object(members) = message else { return None };
        match self.get(members, "method") {
            Some(Json::Text(method)) if method == "tools/call" => {
                let Some(Json::Object(params)) = self.get(members, "params") else { return None };
                let Some(Json::Text(name)) = self.get(params, "name") else { return None };
                Some(Some(name.clone()))
            }
            _ => Some(None),
        }
    }

    fn calls(self, document: &Json) -> Option<Vec<Option<String>>> {
        match document {
            Json::Array(list) => list.iter().map(|message| self.call(message)).collect(),
            message => self.call(message).map(|call| vec![call]),
        }
    }
}

fn plain(call: &Call<'_>) -> Option<String> {
    match call {
        Call::Tool(name) => Some(name.to_string()),
        Call::Other => None,
    }
}

/// serde_json's own reading of a whole body.
fn by_value(body: &str) -> Option<Vec<Option<String>>> {
    let call = |message: &Value| match message.get("method").and_then(Value::as_str) {
        Some("tools/call") => message["params"]["name"].as_str().map(|name| Some(name.to_owned())),
        _ => Some(None),
    };
    match serde_json::from_str(body).ok()? {
        Value::Array(list) => list.iter().map(call).collect(),
        message => call(&message).map(|call| vec![call]),
    }
}

#[test]
fn what_is_accepted_is_read_alike_by_every_reader() {
    check(200_000, |random| {
        let document = if random.once_in(4) { Json::Array((0..random.below(4)).map(|_| message(random)).collect()) } else { message(random) };
        let mut body = String::new();
        write(&document, random, &mut body);
        if random.once_in(10) {
            body.push_str(random.pick(&["x", "{}", ",", "\0", "]"]));
        }
        let Ok(list) = calls(body.as_bytes()) else { return };
        let list: Vec<_> = list.iter().map(plain).collect();
        assert_eq!(Some(&list), by_value(&body).as_ref(), "{body}");
        for (last, folds) in [(false, false), (true, false), (false, true), (true, true)] {
            let reader = Reader { last, folds };
            assert_eq!(reader.calls(&document).as_ref(), Some(&list), "{reader:?} of {body}");
        }
    });
}

#[test]
fn a_plain_call_is_accepted_whatever_the_order_and_the_spelling() {
    check(50_000, |random| {
        let tool = random.text(&["a", "B", "/", "_", "\u{e9}", "\u{1f980}", "method"], 4);
        let member = |key: &str, value: Json, random: &mut Random| Member { written: text(key, random), key: key.to_owned(), value };
        let mut params = vec![member("name", Json::Text(tool.clone()), random), member("arguments", json(random, 2), random)];
        random.shuffle(&mut params);
        let method = Json::Text("tools/call".to_owned());
        let mut members =
            vec![member("method", method, random), member("id", json(random, 0), random), member("params", Json::Object(params), random)];
        random.shuffle(&mut members);
        let mut body = String::new();
        write(&Json::Object(members), random, &mut body);
        let found = calls(body.as_bytes()).map(|list| list.iter().map(plain).collect::<Vec<_>>());
        assert_eq!(found, Ok(vec![Some(tool)]), "{body}");
    });
}
