//! A reader of HTTP/1.1 by the letter of RFC 9112, written anew: what it cannot read is no request.

pub struct Request {
    pub method: String,
    pub target: String,
    /// With what ends it.
    pub head: usize,
    /// With its body; `None` where that is not whole, `Some(Err)` where it cannot be.
    pub whole: Option<Result<usize, &'static str>>,
}

enum Framing {
    Length(usize),
    Chunked,
}

/// The request that `bytes` begin with; `Ok(None)` where its head is not whole.
pub fn read(bytes: &[u8]) -> Result<Option<Request>, &'static str> {
    let Some(end) = find(bytes, b"\r\n\r\n") else {
        return if bytes.contains(&0) { Err("NUL") } else { Ok(None) };
    };
    let head = &bytes[..end];
    let mut lines = split(head)?.into_iter();
    let first: Vec<&[u8]> = lines.next().ok_or("no request line")?.split(|byte| *byte == b' ').collect();
    let [method, target, version] = first[..] else { return Err("a request line of other than three words") };
    let is_1_1 = match version {
        b"HTTP/1.1" => true,
        b"HTTP/1.0" => false,
        _ => return Err("another version"),
    };
    if !is_token(method) || target.is_empty() || !target.iter().all(|byte| matches!(byte, 0x21..=0x7E)) {
        return Err("a method or target of other characters");
    }
    let (mut hosts, mut lengths, mut codings) = (0, Vec::new(), Vec::new());
    for line in lines {
        let colon = line.iter().position(|byte| *byte == b':').ok_or("no colon")?;
        let (name, value) = (&line[..colon], &line[colon + 1..]);
        if !is_token(name) {
            return Err("a field name of other characters");
        }
        if value.iter().any(|byte| (*byte < 32 && *byte != b'\t') || *byte == 127) {
            return Err("a field value of other characters");
        }
        let value = value.trim_ascii();
        match name.to_ascii_lowercase().as_slice() {
            b"host" => hosts += 1,
            b"content-length" => lengths.push(value),
            b"transfer-encoding" => codings.push(value),
            _ => {}
        }
    }
    if hosts > 1 || (is_1_1 && hosts == 0) {
        return Err("no host, or two");
    }
    let framing = match (&lengths[..], &codings[..]) {
        ([], []) => Framing::Length(0),
        ([length], []) if !length.is_empty() && length.len() < 19 && length.iter().all(u8::is_ascii_digit) => {
            Framing::Length(std::str::from_utf8(length).unwrap().parse().unwrap())
        }
        ([], [coding]) if is_1_1 && coding.eq_ignore_ascii_case(b"chunked") => Framing::Chunked,
        _ => return Err("framing with another reading"),
    };
    let body = &bytes[end + 4..];
    let whole = match framing {
        Framing::Length(length) => (body.len() >= length).then_some(Ok(length)),
        Framing::Chunked => chunked(body).transpose(),
    };
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let whole = whole.map(|body| body.map(|length| end + 4 + length));
    Ok(Some(Request { method: text(method), target: text(target), head: end + 4, whole }))
}

/// How many requests somebody who reads like this can see, however broken the last one's body is.
pub fn count(mut bytes: &[u8]) -> usize {
    let mut count = 0;
    loop {
        for _ in 0..2 {
            bytes = bytes.strip_prefix(b"\r\n").unwrap_or(bytes);
        }
        let Ok(Some(request)) = read(bytes) else { return count };
        count += 1;
        let Some(Ok(length)) = request.whole else { return count };
        bytes = &bytes[length..];
    }
}

fn split(head: &[u8]) -> Result<Vec<&[u8]>, &'static str> {
    let mut lines = Vec::new();
    let mut rest = head;
    while let Some(end) = find(rest, b"\r\n") {
        lines.push(&rest[..end]);
        rest = &rest[end + 2..];
    }
    lines.push(rest);
    if lines.iter().any(|line| line.iter().any(|byte| matches!(byte, b'\r' | b'\n' | 0))) {
        return Err("a CR, LF or NUL by itself");
    }
    Ok(lines)
}

/// The length of a chunked body; `Ok(None)` where it is not whole.
fn chunked(bytes: &[u8]) -> Result<Option<usize>, &'static str> {
    let mut at = 0;
    loop {
        let Some(end) = find(&bytes[at..], b"\r\n") else { return Ok(None) };
        let line = &bytes[at..at + end];
        let digits = line.iter().take_while(|byte| byte.is_ascii_hexdigit()).count();
        let extension = &line[digits..];
        if digits == 0 || digits > 15 || !(extension.is_empty() || extension[0] == b';') || !extension.iter().all(|byte| matches!(byte, 32..=126)) {
            return Err("a chunk line with another reading");
        }
        let size = usize::from_str_radix(std::str::from_utf8(&line[..digits]).unwrap(), 16).unwrap();
        at += end + 2;
        if size == 0 {
            break;
        }
        if bytes.len() < at + size + 2 {
            return Ok(None);
        }
        if &bytes[at + size..at + size + 2] != b"\r\n" {
            return Err("a chunk of another length");
        }
        at += size + 2;
    }
    if bytes[at..].starts_with(b"\r\n") {
        return Ok(Some(at + 2));
    }
    let Some(end) = find(&bytes[at..], b"\r\n\r\n") else { return Ok(None) };
    for line in split(&bytes[at..at + end])? {
        let colon = line.iter().position(|byte| *byte == b':').ok_or("no colon")?;
        if !is_token(&line[..colon]) {
            return Err("a trailer of other characters");
        }
    }
    Ok(Some(at + end + 4))
}

pub fn find(bytes: &[u8], mark: &[u8]) -> Option<usize> {
    bytes.windows(mark.len()).position(|window| window == mark)
}

fn is_token(bytes: &[u8]) -> bool {
    !bytes.is_empty() && bytes.iter().all(|byte| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(byte))
}
