//! Messages of nf_tables and their attributes into the bytes of one batch, of which the kernel takes all or nothing (RFC 3549, linux/netfilter/nfnetlink.h).
//! Knows no rule, and sends nothing.

/// A batch of messages about one table.
#[derive(Debug)]
pub struct Batch {
    bytes: Vec<u8>,
    /// What each message asks for; the first has the number 1, and 0 is the batch itself.
    asks: Vec<String>,
}

/// `NFNL_SUBSYS_NFTABLES`, as the subsystem of a message and as the one of a batch.
const NF_TABLES: u8 = 10;
const BATCH_BEGIN: u16 = 0x10;
const BATCH_END: u16 = 0x11;
const NLM_F_REQUEST: u16 = 1;
const NLM_F_ACK: u16 = 4;
const NESTED: u16 = 1 << 15;

impl Batch {
    pub fn begin() -> Self {
        let mut batch = Self { bytes: Vec::new(), asks: Vec::new() };
        batch.push(BATCH_BEGIN, NLM_F_REQUEST, 0, [0, 0, 0, NF_TABLES], &[]);
        batch
    }

    /// One more message, which the kernel has to answer.
    pub fn ask(&mut self, what: String, family: u8, kind: u8, flags: u16, attributes: &[Vec<u8>]) {
        self.asks.push(what);
        let kind = u16::from_be_bytes([NF_TABLES, kind]);
        self.push(kind, NLM_F_REQUEST | NLM_F_ACK | flags, self.asks.len(), [family, 0, 0, 0], attributes);
    }

    /// How many messages there are, a number that no two of them see.
    pub fn asked(&self) -> u32 {
        size32(self.asks.len())
    }

    /// All bytes, and what each message asks for.
    pub fn end(mut self) -> (Vec<u8>, Vec<String>) {
        self.push(BATCH_END, NLM_F_REQUEST, self.asks.len() + 1, [0, 0, 0, NF_TABLES], &[]);
        (self.bytes, self.asks)
    }

    /// `nlmsghdr`, `nfgenmsg`, attributes.
    fn push(&mut self, kind: u16, flags: u16, number: usize, family: [u8; 4], attributes: &[Vec<u8>]) {
        let attributes = attributes.concat();
        self.bytes.extend(size32(20 + attributes.len()).to_ne_bytes());
        self.bytes.extend(kind.to_ne_bytes());
        self.bytes.extend(flags.to_ne_bytes());
        self.bytes.extend(size32(number).to_ne_bytes());
        // From the port that the kernel gives the socket.
        self.bytes.extend([0; 4]);
        self.bytes.extend(family);
        self.bytes.extend(attributes);
    }
}

/// Which message an answer is about, and its error number, 0 where the kernel did it (`nlmsghdr`, `nlmsgerr`).
pub fn answer(bytes: &[u8]) -> Option<(usize, i32)> {
    const NLMSG_ERROR: [u8; 2] = 2_u16.to_ne_bytes();
    let field = |at: usize| bytes.get(at..at + 4)?.try_into().ok();
    if bytes.get(4..6)? != NLMSG_ERROR {
        return None;
    }
    Some((u32::from_ne_bytes(field(8)?) as usize, i32::from_ne_bytes(field(16)?).checked_neg()?))
}

/// One attribute, padded to what the next one begins at.
pub fn bytes(kind: u16, value: &[u8]) -> Vec<u8> {
    let length = u16::try_from(4 + value.len()).unwrap_or(u16::MAX);
    let mut attribute = [length.to_ne_bytes(), kind.to_ne_bytes()].concat();
    attribute.extend(value);
    attribute.resize(attribute.len().next_multiple_of(4), 0);
    attribute
}

pub fn nested(kind: u16, attributes: &[Vec<u8>]) -> Vec<u8> {
    bytes(NESTED | kind, &attributes.concat())
}

/// Numbers that speak to nf_tables itself are big endian; those it compares are [`bytes`].
pub fn number(kind: u16, value: u32) -> Vec<u8> {
    bytes(kind, &value.to_be_bytes())
}

pub fn text(kind: u16, value: &str) -> Vec<u8> {
    bytes(kind, &[value.as_bytes(), &[0]].concat())
}

/// A size too big to be said is one that the kernel refuses.
fn size32(size: usize) -> u32 {
    u32::try_from(size).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attributes_say_their_length_and_are_padded() {
        let length = |length: u16| length.to_ne_bytes();
        assert_eq!(bytes(1, b"abc"), [&length(7)[..], &length(1), b"abc\0"].concat());
        assert_eq!(number(2, 6), [&length(8)[..], &length(2), &[0, 0, 0, 6]].concat());
        assert_eq!(text(3, "nat"), [&length(8)[..], &length(3), b"nat\0"].concat());
        assert_eq!(nested(4, &[bytes(1, b"a"), bytes(2, b"")]), [&length(16)[..], &length(0x8004), &bytes(1, b"a"), &bytes(2, b"")].concat());
    }

    #[test]
    fn a_batch_numbers_its_messages() {
        let mut batch = Batch::begin();
        batch.ask("a table".into(), 1, 0, 0, &[text(1, "x")]);
        let (bytes, asks) = batch.end();
        assert_eq!((bytes.len(), asks), (20 + 28 + 20, vec!["a table".to_owned()]));
        let numbers: Vec<u8> = [0, 20, 48].map(|at: usize| u32::from_ne_bytes(bytes[at + 8..at + 12].try_into().unwrap()) as u8).into();
        assert_eq!(numbers, [0, 1, 2]);
    }

    #[test]
    fn an_answer_is_an_error_number_and_nothing_else_is_an_answer() {
        let said = |kind: u16, number: u32, error: i32| {
            let head = [&36_u32.to_ne_bytes()[..], &kind.to_ne_bytes(), &[0; 2], &number.to_ne_bytes(), &[0; 4]].concat();
            [&head[..], &error.to_ne_bytes(), &[0; 16]].concat()
        };
        assert_eq!(answer(&said(2, 7, 0)), Some((7, 0)));
        assert_eq!(answer(&said(2, 0, -1)), Some((0, 1)));
        assert_eq!(answer(&said(3, 7, 0)), None);
        assert_eq!(answer(&said(2, 7, i32::MIN)), None);
        for length in 0..20 {
            assert_eq!(answer(&said(2, 7, 0)[..length]), None, "{length}");
        }
    }
}
