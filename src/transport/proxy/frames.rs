//! The bytes of one direction of a WebSocket into where its frames begin and end (RFC 6455 §5.2).
//! Looks into no payload, and lets no header through that two readers could take for frames of two lengths.

const CLOSE: u8 = 8;

/// No header of this direction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Malformed;

/// How far the frames of one direction have come.
#[derive(Debug)]
pub struct Frames {
    /// A client's frames are masked, a server's are not (RFC 6455 §5.1).
    masked: bool,
    /// Of the payload under way.
    left: u64,
    closing: bool,
    malformed: bool,
}

impl Frames {
    pub fn new(masked: bool) -> Self {
        Self { masked, left: 0, closing: false, malformed: false }
    }

    /// How many bytes of `bytes` are whole headers and payload; the rest is the beginning of a header, to be shown again with more,
    /// or none.
    pub fn walk(&mut self, bytes: &[u8]) -> usize {
        let mut at = 0;
        loop {
            let rest = bytes.get(at..).unwrap_or_default();
            let step = rest.len().min(usize::try_from(self.left).unwrap_or(usize::MAX));
            at += step;
            self.left -= step as u64;
            let rest = rest.get(step..).unwrap_or_default();
            let header = header(rest, self.masked);
            self.malformed |= header.is_err();
            let Ok(Some((length, payload, opcode))) = header else { return at };
            at += length;
            self.left = payload;
            self.closing |= opcode == CLOSE;
        }
    }

    /// What is missing of the frame under way.
    pub fn left(&self) -> u64 {
        self.left
    }

    /// Whether what follows is no frame.
    pub fn is_malformed(&self) -> bool {
        self.malformed
    }

    /// Whether the sender has said that it closes.
    pub fn is_closed(&self) -> bool {
        self.closing && self.left == 0
    }
}

/// Length of the header, length of the payload, opcode. `None` where more has to be seen.
fn header(bytes: &[u8], masked: bool) -> Result<Option<(usize, u64, u8)>, Malformed> {
    let (Some(first), Some(second)) = (bytes.first(), bytes.get(1)) else { return Ok(None) };
    if (second & 0x80 != 0) != masked {
        return Err(Malformed);
    }
    let (extended, payload) = match second & 0x7F {
        126 => (2, bytes.get(2..4).map(number)),
        127 if bytes.get(2).is_some_and(|byte| byte & 0x80 != 0) => return Err(Malformed),
        127 => (8, bytes.get(2..10).map(number)),
        short => (0, Some(u64::from(short))),
    };
    let length = 2 + extended + if masked { 4 } else { 0 };
    Ok(payload.filter(|_| bytes.len() >= length).map(|payload| (length, payload, first & 0x0F)))
}

fn number(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0, |number, byte| number << 8 | u64::from(*byte))
}

/// A Close frame (RFC 6455 §5.5.1), masked where it is a client's.
pub fn close(code: u16, reason: &str, mask: Option<[u8; 4]>) -> Vec<u8> {
    let payload = [&code.to_be_bytes(), reason.as_bytes()].concat();
    let length = u8::try_from(payload.len()).unwrap_or_default();
    let mut frame = vec![0x80 | CLOSE, length | if mask.is_some() { 0x80 } else { 0 }];
    frame.extend(mask.iter().flatten());
    let key = mask.unwrap_or_default();
    frame.extend(payload.iter().zip(key.iter().cycle()).map(|(byte, key)| byte ^ key));
    frame
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Of headers: two bytes, a length of eight, a mask of four.
    const LONGEST: usize = 14;

    /// A frame with a payload of zeros.
    fn frame(first: u8, masked: bool, length: usize) -> Vec<u8> {
        let mask = if masked { 0x80 } else { 0 };
        let mut bytes = vec![first];
        match length {
            0..=125 => bytes.push(mask | u8::try_from(length).unwrap()),
            126..=0xFFFF => bytes.extend([&[mask | 126][..], &u16::try_from(length).unwrap().to_be_bytes()].concat()),
            _ => bytes.extend([&[mask | 127][..], &(length as u64).to_be_bytes()].concat()),
        }
        bytes.resize(bytes.len() + length + if masked { 4 } else { 0 }, 0);
        bytes
    }

    /// Walks in pieces; gives where the frames under way were at an end.
    fn ends(masked: bool, bytes: &[u8], piece: usize) -> Vec<usize> {
        let (mut frames, mut held, mut passed, mut ends) = (Frames::new(masked), Vec::new(), 0, Vec::new());
        for piece in bytes.chunks(piece) {
            held.extend_from_slice(piece);
            let good = frames.walk(&held);
            held.drain(..good);
            assert!(held.len() < LONGEST, "no more is held back than a header");
            passed += good;
            if good > 0 && frames.left() == 0 {
                ends.push(passed);
            }
        }
        assert_eq!(passed, bytes.len());
        ends
    }

    #[test]
    fn frames_end_where_they_end_however_they_arrive() {
        for masked in [true, false] {
            let list: Vec<Vec<u8>> = [0, 1, 125, 126, 127, 0xFFFF, 0x1_0000, 70_000, 0].iter().map(|length| frame(0x82, masked, *length)).collect();
            let expected: Vec<usize> = list
                .iter()
                .scan(0, |sum, frame| {
                    Some({
                        *sum += frame.len();
                        *sum
                    })
                })
                .collect();
            let whole = list.concat();
            assert_eq!(ends(masked, &whole, 1), expected);
            for piece in [2, 3, 13, 1000, 65_536] {
                assert!(ends(masked, &whole, piece).iter().all(|end| expected.contains(end)));
            }
        }
    }

    #[test]
    fn fragments_control_frames_and_extensions_go_through() {
        for first in [0x01, 0x00, 0x89, 0x8A, 0x80, 0xC1, 0x41, 0xF2, 0x8B, 0x83] {
            let mut frames = Frames::new(true);
            assert_eq!(frames.walk(&frame(first, true, 5)), 11, "{first:#x}");
            assert!(!frames.is_closed() && !frames.is_malformed());
        }
    }

    #[test]
    fn a_close_frame_counts_once_it_is_whole() {
        let bytes = frame(0x88, true, 2);
        let mut frames = Frames::new(true);
        frames.walk(&bytes[..bytes.len() - 1]);
        assert!(!frames.is_closed());
        frames.walk(&bytes[bytes.len() - 1..]);
        assert!(frames.is_closed());
    }

    #[test]
    fn what_is_no_frame_is_refused_before_any_of_it_goes_on() {
        let mut top = vec![0x82, 0xFF, 0x80];
        for masked in [true, false] {
            let good = frame(0x82, masked, 5);
            let walked = |bad: &[u8]| {
                let mut frames = Frames::new(masked);
                (frames.walk(&[&good, bad].concat()), frames.is_malformed())
            };
            assert_eq!(walked(&frame(0x82, !masked, 5)), (good.len(), true), "the wrong mask bit");
            assert_eq!(walked(&frame(0x82, !masked, 5)[..2]), (good.len(), true), "as soon as it is seen");
            top[1] = if masked { 0xFF } else { 0x7F };
            assert_eq!(walked(&top), (good.len(), true), "2^63 bytes and more");
        }
    }

    #[test]
    fn a_close_frame_of_ours_is_one() {
        assert_eq!(close(3000, "ab", None), [0x88, 4, 0x0B, 0xB8, b'a', b'b']);
        assert_eq!(close(1001, "", Some([1, 2, 3, 4])), [0x88, 0x82, 1, 2, 3, 4, 0x03 ^ 1, 0xE9 ^ 2]);
        let mut frames = Frames::new(true);
        assert_eq!(frames.walk(&close(1001, "going away", Some([9; 4]))), 18);
        assert!(frames.is_closed());
    }
}
