//! W3C trace context in and out (Trace Context level 1), and whether a trace is recorded.
//! Continues no trace that is malformed: a new one begins in its place.

use std::cell::Cell;
use std::fmt;
use std::ops::Deref;

use opentelemetry::trace::{SpanId, TraceFlags, TraceId};

/// A span's place in its trace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Context {
    trace: TraceId,
    span: SpanId,
    /// Of which only `sampled` has a meaning (§3.2.2.5).
    flags: TraceFlags,
    /// Whether there is nobody before.
    root: bool,
}

/// Which traces are recorded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sampler {
    /// Whether a caller's decision counts before one's own.
    pub parent_based: bool,
    /// Of a million so many.
    pub share: u32,
}

/// So many hexadecimal digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hex<const N: usize>([u8; N]);

/// Every one of a million.
pub const ALL: u32 = 1_000_000;

thread_local! {
    static RANDOM: [Cell<u64>; 2] = std::array::from_fn(|_| Cell::new(getrandom::u64().unwrap_or_default()));
}

impl Context {
    /// `None` where the text is no `traceparent` of version 00, nor of one to come that begins like it (§3.2.4), or has an all-zero id.
    pub fn parse(text: &[u8]) -> Option<Self> {
        let (version, rest) = text.split_at_checked(2)?;
        let (known, more) = rest.split_at_checked(53)?;
        match hex(version)? {
            0 if more.is_empty() => {}
            1..=0xfe if more.is_empty() || more.first() == Some(&b'-') => {}
            _ => return None,
        }
        let dashes = [0, 33, 50].iter().all(|at| known.get(*at) == Some(&b'-'));
        let part = |from: usize, to: usize| known.get(from..to).and_then(hex);
        let (trace, span) = (TraceId::from(part(1, 33)?), SpanId::from(u64::try_from(part(34, 50)?).ok()?));
        let flags = TraceFlags::default().with_sampled(part(51, 53)? & 1 == 1);
        (dashes && trace != TraceId::INVALID && span != SpanId::INVALID).then_some(Self { trace, span, flags, root: false })
    }

    /// That of a span of this id below `parent`, or the first of a new trace.
    pub fn below(parent: Option<Self>, span: u64, sampler: Sampler) -> Self {
        let trace = parent.map_or_else(|| (u128::from(random(0)) << 64 | u128::from(random(1))).max(1).into(), |parent| parent.trace);
        let sampled = match parent {
            Some(parent) if sampler.parent_based => parent.is_sampled(),
            Some(_) | None => sampler.takes(trace),
        };
        Self { trace, span: span.max(1).into(), flags: TraceFlags::default().with_sampled(sampled), root: parent.is_none() }
    }

    /// The next span below this one.
    pub fn child(self) -> Self {
        Self { span: random(0).max(1).into(), ..self }
    }

    pub fn is_sampled(self) -> bool {
        self.flags.is_sampled()
    }

    /// Whether the trace begins here, so that nobody's `tracestate` belongs to it.
    pub fn is_root(self) -> bool {
        self.root
    }

    pub fn trace_id(&self) -> Hex<32> {
        Hex::of(u128::from_be_bytes(self.trace.to_bytes()))
    }

    pub fn trace_bytes(self) -> [u8; 16] {
        self.trace.to_bytes()
    }

    pub fn span_bytes(self) -> [u8; 8] {
        self.span.to_bytes()
    }

    /// The header to send on.
    pub fn header(&self) -> String {
        let flags = if self.is_sampled() { "01" } else { "00" };
        let span = Hex::<16>::of(u64::from_be_bytes(self.span.to_bytes()).into());
        ["00", &self.trace_id(), &span, flags].join("-")
    }
}

impl Sampler {
    /// As OpenTelemetry's `TraceIdRatioBased`: by the trace's own bits, so that all who ask the same share agree.
    fn takes(self, trace: TraceId) -> bool {
        let bits = (u128::from_be_bytes(trace.to_bytes()) as u64) >> 1;
        self.share >= ALL || bits < (1 << 63) / u64::from(ALL) * u64::from(self.share)
    }
}

impl<const N: usize> Hex<N> {
    fn of(number: u128) -> Self {
        let digit = |at: usize| b"0123456789abcdef".get((number >> (4 * (N - 1 - at)) & 15) as usize).copied().unwrap_or(b'0');
        Self(std::array::from_fn(digit))
    }
}

impl<const N: usize> Deref for Hex<N> {
    type Target = str;

    fn deref(&self) -> &str {
        str::from_utf8(&self.0).unwrap_or_default()
    }
}

impl<const N: usize> fmt::Display for Hex<N> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(self)
    }
}

/// Lower-case digits only (§3.2.1).
fn hex(text: &[u8]) -> Option<u128> {
    text.iter().try_fold(0, |number: u128, byte| {
        let digit = match byte {
            b'0'..=b'9' => byte - b'0',
            b'a'..=b'f' => byte - b'a' + 10,
            _ => return None,
        };
        Some(number << 4 | u128::from(digit))
    })
}

/// SplitMix64, from random starts that each thread has of its own. It names spans and protects nothing.
fn random(of: usize) -> u64 {
    RANDOM.with(|states| {
        let Some(state) = states.get(of) else { return 1 };
        let next = state.get().wrapping_add(0x9E37_79B9_7F4A_7C15);
        state.set(next);
        let mixed = (next ^ (next >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    const EACH: Sampler = Sampler { parent_based: true, share: ALL };

    #[test]
    fn only_a_whole_traceparent_is_read() {
        assert_eq!(Context::parse(TEXT.as_bytes()).map(|context| context.header()).as_deref(), Some(TEXT));
        for bad in [
            "",
            "00",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331",
            "00-0AF7651916CD43DD8448EB211C80319C-b7ad6b7169203331-01",
            "00-00000000000000000000000000000000-b7ad6b7169203331-01",
            "00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-0g",
            "00_0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
            "00-0af7651916cd43dd8448eb211c80319c_b7ad6b7169203331-01",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331_01",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-x",
            " 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01 ",
            "0-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
            "ff-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
            "01-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01x",
            "00-0af7651916cd43dd8448eb211c80319cé-7ad6b7169203331-01",
        ] {
            assert_eq!(Context::parse(bad.as_bytes()), None, "{bad}");
        }
    }

    #[test]
    fn a_version_to_come_is_read_as_far_as_it_is_known() {
        for (later, flags) in [("01-", ""), ("cc-", "-what-the-future-brings"), ("fe-", "-")] {
            let text = format!("{later}{}{flags}", &TEXT[3..]);
            assert_eq!(Context::parse(text.as_bytes()).map(|context| context.header()).as_deref(), Some(TEXT), "{text}");
        }
        let flags = Context::parse(TEXT.replace("-01", "-fe").as_bytes()).unwrap();
        assert!(flags.header().ends_with("-00"), "of flags that nobody knows, none goes on");
    }

    #[test]
    fn a_caller_says_whether_its_trace_is_recorded() {
        for (said, share) in [("01", 0), ("00", ALL)] {
            let parent = Context::parse(TEXT.replace("-01", &format!("-{said}")).as_bytes());
            let context = Context::below(parent, 7, Sampler { parent_based: true, share });
            assert_eq!((context.is_sampled(), context.is_root()), (said == "01", false));
            let context = Context::below(parent, 7, Sampler { parent_based: false, share });
            assert_eq!(context.is_sampled(), share == ALL);
        }
    }

    #[test]
    fn new_traces_are_recorded_by_their_share() {
        for (share, low, high) in [(0, 0, 0), (250_000, 2_200, 2_800), (ALL, 10_000, 10_000)] {
            let sampled = (0..10_000).filter(|_| Context::below(None, 1, Sampler { parent_based: true, share }).is_sampled()).count();
            assert!((low..=high).contains(&sampled), "{sampled} of {share}");
        }
    }

    #[test]
    fn no_two_spans_are_alike() {
        let first = Context::below(None, 0, EACH);
        let (second, third) = (first.child(), Context::below(None, 0, EACH));
        assert_eq!((first.trace, second.is_root()), (second.trace, true));
        assert!(first.span != second.span && first.trace != third.trace && first.span != SpanId::INVALID);
    }
}
