//! A PROXY header is read the same however much of what follows it has arrived, and never beyond its bound.

use scopegate::transport::proxy_protocol::{Header, MAX, read};

pub fn hold(data: &[u8]) {
    match read(data) {
        Header::Whole { length, .. } => {
            assert!(length <= data.len() && length <= MAX);
            assert_eq!(read(&data[..length]), read(data), "what follows counts");
            for end in 0..length {
                assert_eq!(read(&data[..end]), Header::Half, "{end} of {length} bytes");
            }
        }
        Header::Half => {
            assert!(data.len() < MAX);
            assert_ne!(read(&[data, &[b'x'; MAX]].concat()), Header::Half, "it waits beyond its bound");
        }
        Header::Invalid => assert_eq!(read(&[data, b"\r\n"].concat()), Header::Invalid, "it becomes one"),
    }
}
