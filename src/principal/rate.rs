//! A text such as `10/m` into a rate: so many in so long, of which a number at once.
//! Refuses what can never be had, and what would take longer than a month to come back.

use std::fmt;

use super::record::Rate;

/// The most that a rate and its burst may be; a million a second is more than one gate decides.
pub const MOST: u32 = 1_000_000;
/// The longest that a burst may take to come back, in seconds: 30 days.
const LONGEST: u64 = 30 * 86_400;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RateFault {
    Form,
    Count,
    Burst,
    Long,
}

impl Rate {
    /// `10/s`, `100/m`, `1000/h` or `10000/d`; without `burst`, the rate's own number.
    pub fn parse(text: &str, burst: Option<u32>) -> Result<Self, RateFault> {
        let (count, unit) = text.split_once('/').ok_or(RateFault::Form)?;
        let seconds = match unit {
            "s" => 1,
            "m" => 60,
            "h" => 3600,
            "d" => 86_400,
            _ => return Err(RateFault::Form),
        };
        // Digits alone: a parser would take a sign too.
        if count.is_empty() || !count.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(RateFault::Form);
        }
        let count = count.parse().map_err(|_| RateFault::Count)?;
        Self { count, seconds, burst: burst.unwrap_or(count) }.checked()
    }

    /// Itself, where it is one that can be kept.
    pub fn checked(self) -> Result<Self, RateFault> {
        if !(1..=MOST).contains(&self.count) || self.seconds == 0 {
            return Err(RateFault::Count);
        }
        if !(1..=MOST).contains(&self.burst) {
            return Err(RateFault::Burst);
        }
        let back = u64::from(self.burst) * u64::from(self.seconds) / u64::from(self.count);
        if back > LONGEST { Err(RateFault::Long) } else { Ok(self) }
    }
}

impl fmt::Display for RateFault {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Form => out.write_str("a rate is a number and `/s`, `/m`, `/h` or `/d`, such as `10/m`"),
            Self::Count => write!(out, "the number of a rate is from 1 to {MOST}"),
            Self::Burst => write!(out, "a burst is from 1 to {MOST}"),
            Self::Long => out.write_str("its burst would take more than 30 days to come back; use a smaller `burst` or a higher rate"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_is_a_number_and_a_unit() {
        for (text, count, seconds) in [("10/s", 10, 1), ("100/m", 100, 60), ("1000/h", 1000, 3600), ("10000/d", 10_000, 86_400)] {
            assert_eq!(Rate::parse(text, None), Ok(Rate { count, seconds, burst: count }));
        }
        assert_eq!(Rate::parse("1/d", Some(2)), Ok(Rate { count: 1, seconds: 86_400, burst: 2 }));
    }

    #[test]
    fn what_is_none_is_refused() {
        for text in ["", "10", "/s", "10/", "10/w", "10/S", "10/10s", "ten/s", "+1/s", "-1/s", "1.5/s", " 1/s", "1/s ", "1/s/s"] {
            assert_eq!(Rate::parse(text, None), Err(RateFault::Form), "{text}");
        }
        for text in ["0/s", "1000001/s", "99999999999999999999/s"] {
            assert_eq!(Rate::parse(text, None), Err(RateFault::Count), "{text}");
        }
        assert_eq!(Rate::parse("1/s", Some(0)), Err(RateFault::Burst));
        assert_eq!(Rate::parse("1/s", Some(MOST + 1)), Err(RateFault::Burst));
        assert_eq!(Rate::parse("1/d", Some(31)), Err(RateFault::Long));
        assert!(Rate::parse("1/d", Some(30)).is_ok());
        assert_eq!(Rate { count: 1, seconds: 0, burst: 1 }.checked(), Err(RateFault::Count));
    }
}
