//! WebSocket by the letter of RFC 6455: the handshake, and frames of one length byte or more.

use aws_lc_rs::digest::{SHA1_FOR_LEGACY_USE_ONLY, digest};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use tokio::io::{AsyncRead, AsyncWrite};

use super::wire::{Message, Wire, value};

pub const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";
pub const TEXT: u8 = 1;
pub const BINARY: u8 = 2;
pub const CLOSE: u8 = 8;

/// The headers of a good handshake.
pub const UPGRADE: &str = "connection: Upgrade\r\nupgrade: websocket\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\nsec-websocket-version: 13\r\n";

/// What a server answers to a handshake.
pub fn agreed(request: &Message) -> String {
    let key = value(&request.headers, "sec-websocket-key").unwrap_or_default();
    let accept = digest(&SHA1_FOR_LEGACY_USE_ONLY, format!("{key}258EAFA5-E914-47DA-95CA-C5AB0DC85B11").as_bytes());
    let accept = STANDARD.encode(accept);
    format!("HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: upgrade\r\nsec-websocket-accept: {accept}\r\n\r\n")
}

/// A final frame; a client's is masked.
pub fn frame(opcode: u8, payload: &[u8], masked: bool) -> Vec<u8> {
    let mask = if masked { 0x80 } else { 0 };
    let mut bytes = vec![0x80 | opcode];
    match payload.len() {
        length @ 0..=125 => bytes.push(mask | u8::try_from(length).unwrap()),
        length @ 126..=0xFFFF => {
            bytes.push(mask | 126);
            bytes.extend(u16::try_from(length).unwrap().to_be_bytes());
        }
        length => {
            bytes.push(mask | 127);
            bytes.extend((length as u64).to_be_bytes());
        }
    }
    if masked {
        let key = [0x37, 0xFA, 0x21, 0x3D];
        bytes.extend(key);
        bytes.extend(payload.iter().zip(key.iter().cycle()).map(|(byte, key)| byte ^ key));
    } else {
        bytes.extend(payload);
    }
    bytes
}

impl<S: AsyncRead + AsyncWrite + Unpin> Wire<S> {
    /// The next frame, and whether it was masked. `None` where the other side is gone.
    pub async fn frame(&mut self) -> Option<(u8, Vec<u8>, bool)> {
        let first = self.try_bytes(2).await?;
        let masked = first[1] & 0x80 != 0;
        let length = match first[1] & 0x7F {
            126 => usize::from(u16::from_be_bytes(self.try_bytes(2).await?.try_into().unwrap())),
            127 => usize::try_from(u64::from_be_bytes(self.try_bytes(8).await?.try_into().unwrap())).unwrap(),
            length => usize::from(length),
        };
        let key = if masked { self.try_bytes(4).await? } else { vec![0; 4] };
        let payload = self.try_bytes(length).await?;
        let payload = payload.iter().zip(key.iter().cycle()).map(|(byte, key)| byte ^ key).collect();
        Some((first[0] & 0x0F, payload, masked))
    }
}
