//! The body of an upstream's answer to the client, no faster than it is taken.
//! What breaks off on either side never looks whole on the other.

use std::io;
use std::time::Duration;

use super::answer::Framing;
use super::client::Client;
use super::straight::Straight;
use crate::telemetry::Ended;
use crate::transport::framing::chunks::{Chunks, Part};
use crate::transport::proxy::standing::Lost;

/// Data up to this length is copied behind what goes before it, so that one write takes both.
const COPIED: usize = 16 * 1024;
/// What ends a chunked body.
const LAST: &[u8] = b"0\r\n\r\n";
/// An answer may take its time.
const UNHURRIED: Duration = Duration::from_secs(365 * 24 * 3600);

/// Until when an answer may go on; most have no such end.
pub struct Until(pub Option<Lost>);

type From<'u> = (&'u mut Straight, &'u mut Until);

/// `out` holds the head; it is written with the first of the body. Gives why, where the answer had to end before its time.
pub async fn relay(client: &mut Client, (upstream, until): From<'_>, framing: Framing, out: &mut Vec<u8>) -> io::Result<Option<Ended>> {
    let ended = match framing {
        Framing::None => None,
        Framing::Length(length) => return counted(client, (upstream, until), length, out).await,
        Framing::Chunked => chunked(client, (upstream, until), out).await?,
        Framing::Close => closed(client, (upstream, until), out).await?,
    };
    client.write(out).await.map(|()| ended)
}

async fn counted(client: &mut Client, (upstream, until): From<'_>, length: u64, out: &mut Vec<u8>) -> io::Result<Option<Ended>> {
    let mut left = length;
    while left > 0 {
        let have = upstream.inbox.len().min(usize::try_from(left).unwrap_or(usize::MAX));
        if have == 0 {
            match more(client, (upstream, until), left, out).await? {
                More::Some => continue,
                More::End => return Err(io::ErrorKind::UnexpectedEof.into()),
                More::Lost(why) => return Ok(Some(why)),
            }
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
    client.write(out).await.map(|()| None)
}

/// Chunked anew, so that neither extensions nor trailers go through.
async fn chunked(client: &mut Client, (upstream, until): From<'_>, out: &mut Vec<u8>) -> io::Result<Option<Ended>> {
    let mut chunks = Chunks::default();
    loop {
        match chunks.next(&upstream.inbox)? {
            Part::Partial => match more(client, (upstream, until), u64::MAX, out).await? {
                More::Some => {}
                More::End => return Err(io::ErrorKind::UnexpectedEof.into()),
                More::Lost(why) => {
                    out.extend_from_slice(LAST);
                    return Ok(Some(why));
                }
            },
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
                out.extend_from_slice(LAST);
                return Ok(None);
            }
        }
    }
}

/// Chunked, so that an end can be told from a break.
async fn closed(client: &mut Client, (upstream, until): From<'_>, out: &mut Vec<u8>) -> io::Result<Option<Ended>> {
    loop {
        let length = upstream.inbox.len();
        chunk(out, &upstream.inbox);
        upstream.consume(length);
        let ended = match more(client, (upstream, until), u64::MAX, out).await? {
            More::Some => continue,
            More::End => None,
            More::Lost(why) => Some(why),
        };
        out.extend_from_slice(LAST);
        return Ok(ended);
    }
}

fn chunk(out: &mut Vec<u8>, data: &[u8]) {
    if !data.is_empty() {
        out.extend_from_slice(format!("{:X}\r\n", data.len()).as_bytes());
        out.extend_from_slice(data);
        out.extend_from_slice(b"\r\n");
    }
}

enum More {
    Some,
    End,
    Lost(Ended),
}

/// Waits for more of the body once the client has all that came before.
async fn more(client: &mut Client, (upstream, until): From<'_>, left: u64, out: &mut Vec<u8>) -> io::Result<More> {
    flush(client, out).await?;
    let more = async {
        tokio::select! {
            biased;
            why = until.over() => Ok(More::Lost(why)),
            more = upstream.more(left) => more.map(|more| if more { More::Some } else { More::End }),
        }
    };
    client.watching(UNHURRIED, more).await?.ok_or(io::ErrorKind::TimedOut)?
}

impl Until {
    async fn over(&mut self) -> Ended {
        match &mut self.0 {
            Some(lost) => lost.await,
            None => std::future::pending().await,
        }
    }
}

async fn flush(client: &mut Client, out: &mut Vec<u8>) -> io::Result<()> {
    if !out.is_empty() {
        client.write(out).await?;
        out.clear();
    }
    Ok(())
}
