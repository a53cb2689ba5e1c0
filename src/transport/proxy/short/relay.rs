//! The body of an upstream's answer to the client, no faster than it is taken.
//! What breaks off on either side never looks whole on the other.

use std::io;
use std::time::Duration;

use super::answer::Framing;
use super::client::Client;
use super::straight::Straight;
use crate::transport::framing::chunks::{Chunks, Part};

/// Data up to this length is copied behind what goes before it, so that one write takes both.
const COPIED: usize = 16 * 1024;
/// An answer may take its time.
const UNHURRIED: Duration = Duration::from_secs(365 * 24 * 3600);

/// `out` holds the head; it is written with the first of the body.
pub async fn relay(client: &mut Client, upstream: &mut Straight, framing: Framing, out: &mut Vec<u8>) -> io::Result<()> {
    match framing {
        Framing::None => {}
        Framing::Length(length) => counted(client, upstream, length, out).await?,
        Framing::Chunked => chunked(client, upstream, out).await?,
        Framing::Close => closed(client, upstream, out).await?,
    }
    client.write(out).await
}

async fn counted(client: &mut Client, upstream: &mut Straight, length: u64, out: &mut Vec<u8>) -> io::Result<()> {
    let mut left = length;
    while left > 0 {
        let have = upstream.inbox.len().min(usize::try_from(left).unwrap_or(usize::MAX));
        if have == 0 {
            more(client, upstream, left, out).await?;
            continue;
        }
        let data = upstream.inbox.get(..have).unwrap_or_default();
        if have <= COPIED {
            out.extend_from_slice(data);
        } else {
            flush(client, out).await?;
            client.write(data).await?;
        }
        upstream.consume(have);
        left -= have as u64;
    }
    Ok(())
}

/// Chunked anew, so that neither extensions nor trailers go through.
async fn chunked(client: &mut Client, upstream: &mut Straight, out: &mut Vec<u8>) -> io::Result<()> {
    let mut chunks = Chunks::default();
    loop {
        match chunks.next(&upstream.inbox)? {
            Part::Partial => more(client, upstream, u64::MAX, out).await?,
            Part::Framing(length) => upstream.consume(length),
            Part::Data(length) => {
                chunk(out, upstream.inbox.get(..length).unwrap_or_default());
                upstream.consume(length);
                if out.len() > COPIED {
                    flush(client, out).await?;
                }
            }
            Part::End(length) => {
                upstream.consume(length);
                out.extend_from_slice(b"0\r\n\r\n");
                return Ok(());
            }
        }
    }
}

/// Chunked, so that an end can be told from a break.
async fn closed(client: &mut Client, upstream: &mut Straight, out: &mut Vec<u8>) -> io::Result<()> {
    loop {
        let length = upstream.inbox.len();
        chunk(out, &upstream.inbox);
        upstream.consume(length);
        flush(client, out).await?;
        if !client.watching(UNHURRIED, upstream.more(u64::MAX)).await?.ok_or(io::ErrorKind::TimedOut)?? {
            out.extend_from_slice(b"0\r\n\r\n");
            return Ok(());
        }
    }
}

fn chunk(out: &mut Vec<u8>, data: &[u8]) {
    if !data.is_empty() {
        out.extend_from_slice(format!("{:X}\r\n", data.len()).as_bytes());
        out.extend_from_slice(data);
        out.extend_from_slice(b"\r\n");
    }
}

/// Waits for more of the body once the client has all that came before.
async fn more(client: &mut Client, upstream: &mut Straight, left: u64, out: &mut Vec<u8>) -> io::Result<()> {
    flush(client, out).await?;
    match client.watching(UNHURRIED, upstream.more(left)).await? {
        Some(Ok(true)) => Ok(()),
        Some(Ok(false)) => Err(io::ErrorKind::UnexpectedEof.into()),
        Some(Err(error)) => Err(error),
        None => Err(io::ErrorKind::TimedOut.into()),
    }
}

async fn flush(client: &mut Client, out: &mut Vec<u8>) -> io::Result<()> {
    if !out.is_empty() {
        client.write(out).await?;
        out.clear();
    }
    Ok(())
}
