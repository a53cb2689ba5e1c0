//! HTTP/1.1 as bytes: what the tests send and what they and their application read.
//! Repairs nothing, so that a test sees what was really on the wire.

use std::io::{self, BufRead};

/// A request or an answer.
#[derive(Clone, Debug)]
pub struct Message {
    /// The request line or the status line.
    pub start: String,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

impl Message {
    /// `None` where the other side closed before a first byte.
    pub fn read(from: &mut impl BufRead, has_body: impl Fn(&str) -> bool) -> io::Result<Option<Self>> {
        let Some(start) = line(from)? else { return Ok(None) };
        let headers = headers(from)?;
        let mut message = Self { start, headers, body: Vec::new() };
        if !has_body(&message.start) {
            return Ok(Some(message));
        }
        message.body = match (message.header("transfer-encoding"), message.header("content-length")) {
            (Some(_), _) => chunked(from)?,
            (None, Some(length)) => exactly(from, length.parse().map_err(|_| broken("Content-Length"))?)?,
            (None, None) => Vec::new(),
        };
        Ok(Some(message))
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, value)| &**value)
    }

    /// The `index`th word of the first line.
    pub fn word(&self, index: usize) -> &str {
        self.start.split(' ').nth(index).unwrap_or_default()
    }

    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

fn line(from: &mut impl BufRead) -> io::Result<Option<String>> {
    let mut bytes = Vec::new();
    if from.read_until(b'\n', &mut bytes)? == 0 {
        return Ok(None);
    }
    Ok(Some(String::from_utf8_lossy(&bytes).trim_end_matches(['\r', '\n']).to_owned()))
}

fn headers(from: &mut impl BufRead) -> io::Result<Vec<(String, String)>> {
    let mut headers = Vec::new();
    loop {
        let line = line(from)?.ok_or_else(|| broken("head"))?;
        if line.is_empty() {
            return Ok(headers);
        }
        let (name, value) = line.split_once(':').ok_or_else(|| broken("header line"))?;
        headers.push((name.to_owned(), value.trim().to_owned()));
    }
}

fn exactly(from: &mut impl BufRead, length: usize) -> io::Result<Vec<u8>> {
    let mut body = vec![0; length];
    from.read_exact(&mut body)?;
    Ok(body)
}

fn chunked(from: &mut impl BufRead) -> io::Result<Vec<u8>> {
    let mut body = Vec::new();
    loop {
        let size = line(from)?.ok_or_else(|| broken("chunk"))?;
        let size = usize::from_str_radix(size.split(';').next().unwrap_or_default().trim(), 16).map_err(|_| broken("chunk size"))?;
        body.extend(exactly(from, size)?);
        if size == 0 {
            headers(from)?;
            return Ok(body);
        }
        exactly(from, 2)?;
    }
}

fn broken(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("not HTTP/1.1: {what}"))
}
