//! What an answer says of its age, into when to ask again and how long a set still counts.
//! Pure arithmetic; believes neither a wall clock that steps back nor a process clock that sleeps.

use std::time::Duration;

use tokio::time::Instant;

/// How long the last good set counts after it was fetched, where no newer one can be had.
pub const SERVED: Duration = Duration::from_secs(24 * 60 * 60);
/// Between two refreshes, whatever the answers say.
const FLOOR: Duration = Duration::from_secs(60);
/// Where an answer says nothing.
const UNTOLD: Duration = Duration::from_secs(5 * 60);
const LONGEST_RETRY: Duration = Duration::from_secs(60);

/// How long an answer says that it stays fresh (RFC 9111 §5.2.2, §4.2.3); `None` where it says nothing.
pub fn max_age<'a>(cache_control: impl Iterator<Item = &'a str>, age: Option<&str>) -> Option<Duration> {
    let mut lifetime: Option<u64> = None;
    for directive in cache_control.flat_map(|line| line.split(',')) {
        let (name, value) = directive.split_once('=').unwrap_or((directive, ""));
        let told = match name.trim().to_ascii_lowercase().as_str() {
            "no-store" | "no-cache" => 0,
            // Of two that differ the shorter, and one that is no number is none (RFC 9111 §4.2.1).
            "max-age" => seconds(value.trim().trim_matches('"')).unwrap_or(0),
            _ => continue,
        };
        lifetime = Some(lifetime.map_or(told, |known| known.min(told)));
    }
    let age = age.and_then(|age| seconds(age.trim())).unwrap_or(0);
    lifetime.map(|lifetime| Duration::from_secs(lifetime.saturating_sub(age)))
}

/// Delta-seconds; beyond 2^31 as long as 2^31 (RFC 9111 §1.2.2).
fn seconds(text: &str) -> Option<u64> {
    let is_number = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    is_number.then(|| text.parse().unwrap_or(u64::MAX).min(1 << 31))
}

/// From a good answer to the next one: 80 % of its life, so that there is time to try again.
pub fn refresh(max_age: Option<Duration>) -> Duration {
    max_age.map_or(UNTOLD, |age| (age.min(SERVED) * 4 / 5).max(FLOOR))
}

/// From the `failures`th failure in a row to the next attempt: 1 s, doubled up to 60 s, and up to a quarter more by chance.
pub fn retry(failures: u32, chance: u8) -> Duration {
    let doubled = Duration::from_secs(1 << failures.saturating_sub(1).min(6));
    let wait = doubled.min(LONGEST_RETRY);
    wait + wait * u32::from(chance) / (4 * u32::from(u8::MAX))
}

/// When a set was fetched, by both clocks.
#[derive(Clone, Copy, Debug)]
pub struct Stamp {
    /// Seconds since 1970.
    pub wall: i64,
    at: Instant,
    /// The age that it had at `at`: a copy from the disk is older than the process.
    before: Duration,
}

impl Stamp {
    pub fn new(wall: i64, at: Instant, before: Duration) -> Self {
        Self { wall, at, before }
    }

    /// The greater of what the two clocks say: the wall clock may be set back, the other may stop while the machine sleeps.
    pub fn age(&self, wall: i64, at: Instant) -> Duration {
        let told = u64::try_from(wall.saturating_sub(self.wall)).map_or(Duration::ZERO, Duration::from_secs);
        told.max(at.saturating_duration_since(self.at).saturating_add(self.before))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn told(cache_control: &str, age: Option<&str>) -> Option<u64> {
        max_age(std::iter::once(cache_control), age).map(|age| age.as_secs())
    }

    #[test]
    fn an_answer_tells_how_long_it_is_fresh() {
        assert_eq!(told("public, max-age=21600, must-revalidate, no-transform", None), Some(21600));
        assert_eq!(told("MAX-AGE=\"60\"", None), Some(60));
        assert_eq!(told("max-age=600", Some("100")), Some(500));
        assert_eq!(told("max-age=600", Some("700")), Some(0));
        assert_eq!(told("max-age=600", Some("soon")), Some(600));
        assert_eq!(told("max-age=600, max-age=60", None), Some(60));
        assert_eq!(max_age(["max-age=600", "no-store"].into_iter(), None), Some(Duration::ZERO));
        for nothing in ["", "public", "s-maxage=600", "maxage=5"] {
            assert_eq!(told(nothing, Some("9")), None, "{nothing}");
        }
        for stale in ["no-store", "No-Cache", "max-age=0", "max-age=", "max-age", "max-age=-1", "max-age=1.5", "max-age=+5"] {
            assert_eq!(told(stale, None), Some(0), "{stale}");
        }
        assert_eq!(told("max-age=99999999999999999999999999", None), Some(1 << 31));
    }

    #[test]
    fn a_refresh_comes_at_four_fifths_within_a_minute_and_a_day() {
        let after = |seconds| refresh(Some(Duration::from_secs(seconds))).as_secs();
        assert_eq!(refresh(None).as_secs(), 300);
        assert_eq!((after(0), after(75), after(100), after(21600)), (60, 60, 80, 17280));
        // A day's worth leaves nearly five hours for attempts before the set counts no more.
        assert_eq!((after(86400), after(1 << 31)), (69120, 69120));
    }

    #[test]
    fn attempts_slow_down_to_one_a_minute() {
        let waits: Vec<u64> = (1..=9).map(|failures| retry(failures, 0).as_secs()).collect();
        assert_eq!(waits, [1, 2, 4, 8, 16, 32, 60, 60, 60]);
        assert_eq!((retry(0, 0), retry(u32::MAX, 0)), (SECOND, SECOND * 60));
        assert_eq!((retry(1, 255).as_millis(), retry(7, 255).as_secs()), (1250, 75));
    }

    #[test]
    fn the_older_of_two_ages_counts() {
        let at = Instant::now();
        let stamp = Stamp::new(1_000_000, at, 10 * SECOND);
        assert_eq!(stamp.age(1_000_000, at), 10 * SECOND);
        assert_eq!(stamp.age(1_000_000, at + 5 * SECOND), 15 * SECOND);
        // The machine slept, and only the wall clock went on.
        assert_eq!(stamp.age(1_000_100, at + 5 * SECOND), 100 * SECOND);
        // Somebody set the clock back.
        assert_eq!(stamp.age(0, at + 50 * SECOND), 60 * SECOND);
        assert_eq!(stamp.age(i64::MIN, at), 10 * SECOND);
    }
}
