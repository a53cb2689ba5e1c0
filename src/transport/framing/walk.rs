//! The bytes of one direction of an HTTP/2 connection into the frames that they are (RFC 9113 §4.1), one at a time as they pass.
//! Keeps nothing but the beginning of one frame; judges nothing.

/// The types that somebody asks for (RFC 9113 §6).
pub const DATA: u8 = 0;
pub const HEADERS: u8 = 1;
pub const PRIORITY: u8 = 2;
pub const RST_STREAM: u8 = 3;
pub const PING: u8 = 6;
pub const GOAWAY: u8 = 7;
pub const WINDOW_UPDATE: u8 = 8;
pub const CONTINUATION: u8 = 9;
/// RFC 9218 §7.1.
pub const PRIORITY_UPDATE: u8 = 16;

/// Of DATA and HEADERS.
pub const END_STREAM: u8 = 1;
/// Of HEADERS and CONTINUATION.
pub const END_HEADERS: u8 = 4;

const HEAD: usize = 9;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Frame {
    pub kind: u8,
    pub flags: u8,
    pub stream: u32,
    pub length: usize,
    /// The first eight bytes of the payload, as far as there are any: two numbers.
    pub numbers: (u32, u32),
}

/// Where in its frames a direction is.
#[derive(Debug)]
pub struct Walk {
    /// A frame's head and up to eight bytes of its payload, as far as they have passed.
    begun: Vec<u8>,
    /// Bytes of the payload that nobody looks at, and the type of the frame they belong to.
    skip: usize,
    kind: u8,
}

impl Walk {
    /// `skip` bytes come before the first frame.
    pub fn new(skip: usize) -> Self {
        Self { begun: Vec::with_capacity(HEAD + 8), skip, kind: u8::MAX }
    }

    /// Passes `bytes`, and gives each frame as soon as its beginning is known.
    pub fn pass(&mut self, mut bytes: &[u8], mut seen: impl FnMut(Frame)) {
        loop {
            let count = bytes.len().min(if self.skip > 0 { self.skip } else { self.wanted() });
            let (taken, rest) = bytes.split_at_checked(count).unwrap_or((bytes, &[]));
            bytes = rest;
            if self.skip > 0 {
                self.skip -= taken.len();
            } else {
                self.begun.extend_from_slice(taken);
            }
            if self.skip == 0 && self.begun.len() >= HEAD && self.wanted() == 0 {
                let frame = read(&self.begun);
                self.skip = frame.length - (self.begun.len() - HEAD);
                self.kind = frame.kind;
                self.begun.clear();
                seen(frame);
            }
            if bytes.is_empty() {
                return;
            }
        }
    }

    /// How many bytes are missing to the end of the frame, or of its head.
    pub fn left(&self) -> usize {
        let payload = if self.begun.len() >= HEAD { read(&self.begun).length + HEAD - self.begun.len() } else { 0 };
        match self.begun.len() {
            0 => self.skip,
            length => HEAD.saturating_sub(length) + payload,
        }
    }

    /// Whether a frame has begun and not ended.
    pub fn inside(&self) -> bool {
        self.skip > 0 || !self.begun.is_empty()
    }

    /// The same, of a frame that is not known to be DATA.
    pub fn inside_other(&self) -> bool {
        match self.begun.get(3) {
            _ if self.skip > 0 => self.kind != DATA,
            Some(kind) => *kind != DATA,
            None => !self.begun.is_empty(),
        }
    }

    /// How many more bytes of the beginning of a frame are to be looked at.
    fn wanted(&self) -> usize {
        match self.begun.len() {
            length @ ..HEAD => HEAD - length,
            length => (HEAD + read(&self.begun).length.min(8)) - length,
        }
    }
}

fn read(begun: &[u8]) -> Frame {
    let &[high, middle, low, kind, flags, s0, s1, s2, s3, ref payload @ ..] = begun else {
        return Frame { kind: 0, flags: 0, stream: 0, length: 0, numbers: (0, 0) };
    };
    let number = |from: usize| payload.get(from..from + 4).and_then(|bytes| bytes.try_into().ok()).map_or(0, u32::from_be_bytes);
    Frame {
        kind,
        flags,
        stream: u32::from_be_bytes([s0 & 0x7F, s1, s2, s3]),
        length: usize::from(high) << 16 | usize::from(middle) << 8 | usize::from(low),
        numbers: (number(0), number(4)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SETTINGS: u8 = 4;

    fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
        let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
        [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
    }

    #[test]
    fn frames_are_seen_however_their_bytes_come() {
        let bytes = [
            b"preface".to_vec(),
            frame(SETTINGS, 0, 0, &[]),
            frame(RST_STREAM, 0, 3, &[0, 0, 0, 7]),
            frame(DATA, END_STREAM, 5, &[9; 300]),
            frame(GOAWAY, 0, 0, &[0, 0, 0, 5, 0, 0, 0, 11, b'x']),
            frame(PING, 1, 0, &[1; 8]),
        ]
        .concat();
        let expected =
            [(SETTINGS, 0, 0, 0, (0, 0)), (RST_STREAM, 0, 3, 4, (7, 0)), (DATA, 1, 5, 300, (0x0909_0909, 0x0909_0909)), (GOAWAY, 0, 0, 9, (5, 11))];
        for piece in [1, 2, 3, 7, 9, 10, 17, 100, 1000] {
            let (mut walk, mut seen) = (Walk::new(7), Vec::new());
            for piece in bytes.chunks(piece) {
                walk.pass(piece, |frame| seen.push((frame.kind, frame.flags, frame.stream, frame.length, frame.numbers)));
            }
            assert_eq!(seen[..4], expected, "in pieces of {piece}");
            assert_eq!(seen.len(), 5);
            assert!(!walk.inside() && walk.left() == 0);
        }
    }

    #[test]
    fn what_is_left_of_a_frame_is_known_once_its_head_is() {
        let bytes = frame(DATA, 0, 1, &[0; 100]);
        for (passed, left) in [(0, 0), (1, 8), (8, 1), (9, 100), (12, 97), (17, 92), (50, 59), (109, 0)] {
            let mut walk = Walk::new(0);
            walk.pass(&bytes[..passed], |_| {});
            assert_eq!((walk.left(), walk.inside()), (left, left > 0), "after {passed} bytes");
        }
    }
}
