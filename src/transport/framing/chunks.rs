//! A chunked body (RFC 9112 §7.1), a part at a time, into its data.
//! An error where its framing breaks; extensions and trailers are dropped.

use std::io;

use super::State;
use super::grammar::{chunk_line, crlf, trailers};

#[derive(Debug)]
pub struct Chunks(State);

/// What the next bytes are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    Data(usize),
    /// Between two pieces of data.
    Framing(usize),
    /// The rest of the framing, and the end of the body.
    End(usize),
    /// Not all there yet.
    Partial,
}

impl Default for Chunks {
    fn default() -> Self {
        Self(State::ChunkLine)
    }
}

impl Chunks {
    /// What `bytes` begin with; the caller goes on behind it.
    pub fn next(&mut self, bytes: &[u8]) -> io::Result<Part> {
        let (length, state) = match self.0 {
            State::Chunk(0) => (0, State::ChunkEnd),
            State::Chunk(left) => {
                let length = bytes.len().min(usize::try_from(left).unwrap_or(usize::MAX));
                if length == 0 {
                    return Ok(Part::Partial);
                }
                self.0 = State::Chunk(left - length as u64);
                return Ok(Part::Data(length));
            }
            State::ChunkEnd => match crlf(bytes)? {
                Some(length) => (length, State::ChunkLine),
                None => return Ok(Part::Partial),
            },
            State::Trailers => return Ok(trailers(bytes)?.map_or(Part::Partial, Part::End)),
            State::ChunkLine | State::Head | State::Length(_) | State::Held | State::Open | State::Refused | State::Broken => {
                match chunk_line(bytes)? {
                    Some(step) => step,
                    None => return Ok(Part::Partial),
                }
            }
        };
        self.0 = state;
        Ok(Part::Framing(length))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The data of a whole body, read in pieces of `step` bytes; what follows it is left.
    fn read(text: &str, step: usize) -> io::Result<(String, usize)> {
        let (mut chunks, mut data, mut at, mut end) = (Chunks::default(), String::new(), 0, step.min(text.len()));
        loop {
            match chunks.next(&text.as_bytes()[at..end])? {
                Part::Data(length) => {
                    data.push_str(&text[at..at + length]);
                    at += length;
                }
                Part::Framing(length) => at += length,
                Part::End(length) => return Ok((data, text.len() - at - length)),
                Part::Partial if end == text.len() => return Err(io::ErrorKind::UnexpectedEof.into()),
                Part::Partial => end = (end + step).min(text.len()),
            }
        }
    }

    #[test]
    fn the_data_is_the_same_however_it_arrives() {
        for step in 1..40 {
            assert_eq!(read("3\r\nabc\r\nA;x=y\r\n0123456789\r\n0\r\nt: u\r\n\r\nrest", step).unwrap(), ("abc0123456789".into(), 4), "{step}");
            assert_eq!(read("0\r\n\r\n", step).unwrap(), (String::new(), 0));
            for broken in
                ["3\r\nabcd\r\n0\r\n\r\n", "3\nabc\r\n0\r\n\r\n", "g\r\n", "3\r\nabc\r\n0\r\na b: c\r\n\r\n", "3\r\nabc\r\n0\r\n", "3\r\nab"]
            {
                assert!(read(broken, step).is_err(), "{broken:?} {step}");
            }
        }
    }
}
