//! A server that takes RFC 9112 at its narrowest: every byte that reaches it into the requests that were whole, and what was none.
//! Answers whole requests only; whatever has a second reading is kept as malformed, and ends its connection.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

/// The target that is asked for to see whether the server still answers. Not recorded.
pub const MARKER: &str = "/marker";

/// A request as its reader understands it: method, target in origin form, body.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Seen {
    pub method: String,
    pub target: String,
    pub body: String,
}

#[derive(Clone, Debug)]
pub enum Record {
    Whole { seen: Seen, bytes: Vec<u8> },
    Malformed { why: &'static str, bytes: Vec<u8> },
}

impl Record {
    pub fn bytes(&self) -> &[u8] {
        match self {
            Self::Whole { bytes, .. } | Self::Malformed { bytes, .. } => bytes,
        }
    }
}

#[derive(Clone, Debug)]
pub struct Recorder {
    pub port: u16,
    records: Arc<Mutex<Vec<Record>>>,
}

impl Recorder {
    pub fn start() -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let this = Self { port: listener.local_addr().unwrap().port(), records: Arc::default() };
        let records = Arc::clone(&this.records);
        // Ends with the test's process.
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let records = Arc::clone(&records);
                std::thread::spawn(move || serve(stream, &records));
            }
        });
        this
    }

    pub fn records(&self) -> Vec<Record> {
        self.records.lock().unwrap().clone()
    }
}

fn serve(mut stream: TcpStream, records: &Mutex<Vec<Record>>) {
    let (mut inbox, mut buffer) = (Vec::new(), [0; 16 * 1024]);
    loop {
        while let Some(read) = request(&inbox).transpose() {
            let (record, length) = match read {
                Ok((seen, length)) => (Record::Whole { seen, bytes: inbox[..length].to_vec() }, length),
                Err(why) => (Record::Malformed { why, bytes: inbox.clone() }, inbox.len()),
            };
            inbox.drain(..length);
            let (is_marker, is_head) = match &record {
                Record::Whole { seen, .. } => (seen.target == MARKER, seen.method == "HEAD"),
                Record::Malformed { .. } => (false, false),
            };
            let is_whole = matches!(record, Record::Whole { .. });
            if !is_marker {
                records.lock().unwrap().push(record);
            }
            let body = if is_head { "" } else { "ok" };
            if !is_whole || stream.write_all(format!("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{body}").as_bytes()).is_err() {
                return;
            }
        }
        match stream.read(&mut buffer) {
            Ok(0) | Err(_) => return,
            Ok(count) => inbox.extend_from_slice(&buffer[..count]),
        }
    }
}

/// The first request of `bytes` and its length; `None` where it is not whole, and may still become so.
fn request(bytes: &[u8]) -> Result<Option<(Seen, usize)>, &'static str> {
    let mut rest = bytes;
    let Some(first) = line(&mut rest)? else { return Ok(None) };
    let words = first.split(' ').collect::<Vec<_>>();
    let [method, target, version @ ("HTTP/1.1" | "HTTP/1.0")] = words[..] else { return Err("request line") };
    if !is_token(method) || target.is_empty() || !target.is_ascii() {
        return Err("request line");
    }
    let Some(fields) = fields(&mut rest)? else { return Ok(None) };
    let values = |name: &str| fields.iter().filter(|(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, value)| &**value).collect::<Vec<_>>();
    match values("host")[..] {
        [_] => {}
        [] if version == "HTTP/1.0" => {}
        _ => return Err("host"),
    }
    let body = match (&values("content-length")[..], &values("transfer-encoding")[..]) {
        ([], []) => Some(Vec::new()),
        ([length], []) if !length.is_empty() && length.bytes().all(|byte| byte.is_ascii_digit()) => {
            exactly(&mut rest, length.parse().map_err(|_| "length")?)
        }
        ([], [coding]) if coding.eq_ignore_ascii_case("chunked") && version == "HTTP/1.1" => chunked(&mut rest)?,
        _ => return Err("framing"),
    };
    let Some(body) = body else { return Ok(None) };
    let origin = target.strip_prefix("http://").map_or(target, |rest| rest.find('/').map_or("/", |slash| &rest[slash..]));
    let seen = Seen { method: method.to_owned(), target: origin.to_owned(), body: String::from_utf8_lossy(&body).into_owned() };
    Ok(Some((seen, bytes.len() - rest.len())))
}

/// Latin-1, so that every byte is a character.
fn line(rest: &mut &[u8]) -> Result<Option<String>, &'static str> {
    let Some(end) = rest.iter().position(|byte| *byte == b'\n') else {
        return if rest.len() > 64 * 1024 { Err("endless line") } else { Ok(None) };
    };
    let line = rest[..end].strip_suffix(b"\r").ok_or("bare LF")?;
    if line.iter().any(|byte| (*byte < 32 && *byte != b'\t') || *byte == 127) {
        return Err("control character");
    }
    *rest = &rest[end + 1..];
    Ok(Some(line.iter().copied().map(char::from).collect()))
}

type Fields = Vec<(String, String)>;

fn fields(rest: &mut &[u8]) -> Result<Option<Fields>, &'static str> {
    let mut fields = Vec::new();
    loop {
        let Some(line) = line(rest)? else { return Ok(None) };
        if line.is_empty() {
            return Ok(Some(fields));
        }
        let (name, value) = line.split_once(':').ok_or("no colon")?;
        if !is_token(name) {
            return Err("field name");
        }
        fields.push((name.to_owned(), value.trim_matches([' ', '\t']).to_owned()));
    }
}

fn chunked(rest: &mut &[u8]) -> Result<Option<Vec<u8>>, &'static str> {
    let mut body = Vec::new();
    loop {
        let Some(size) = line(rest)? else { return Ok(None) };
        // Extensions pass; the digits are digits.
        let digits = size.split(';').next().unwrap_or_default();
        if digits.is_empty() || digits.len() > 15 || !digits.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Err("chunk size");
        }
        let size = usize::from_str_radix(digits, 16).map_err(|_| "chunk size")?;
        if size == 0 {
            let Some(trailers) = fields(rest)? else { return Ok(None) };
            let frames = |name: &str| ["content-length", "transfer-encoding", "host"].iter().any(|known| known.eq_ignore_ascii_case(name));
            return if trailers.iter().any(|(name, _)| frames(name)) { Err("trailer") } else { Ok(Some(body)) };
        }
        let Some(data) = exactly(rest, size) else { return Ok(None) };
        body.extend(data);
        match exactly(rest, 2).as_deref() {
            Some(b"\r\n") => {}
            Some(_) => return Err("chunk end"),
            None => return Ok(None),
        }
    }
}

fn exactly(rest: &mut &[u8], length: usize) -> Option<Vec<u8>> {
    let (data, behind) = rest.split_at_checked(length)?;
    *rest = behind;
    Some(data.to_vec())
}

fn is_token(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte))
}
