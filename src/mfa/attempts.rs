//! How often somebody tried into whether he may try again, and from when on.
//! Knows no clock and no store: an attempt is counted there, before the code is looked at.

/// Seconds from the first failure, within which there may be `MOST` of them.
pub const WINDOW: i64 = 15 * 60;
pub const MOST: i64 = 5;
/// NIST SP 800-63B §3.2.2: consecutive failures, after which only a backup code or an operator helps.
pub const MOST_IN_A_ROW: i64 = 100;

/// The failures of one principal.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Attempts {
    pub window_start: i64,
    pub in_window: i64,
    pub in_a_row: i64,
}

/// What is tried.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Totp,
    Backup,
}

/// Not now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Locked {
    /// Seconds; where no time helps, the longest that is ever said.
    pub retry_after: i64,
    pub for_good: bool,
}

impl Attempts {
    /// The same under a clock that may have been set back, which neither frees nor locks anybody for longer than the window. To be kept.
    pub fn seen_at(self, now: i64) -> Self {
        Self { window_start: self.window_start.min(now), ..self }
    }

    /// The same with one failure more, as which an attempt counts until it proves right.
    pub fn begin(self, kind: Kind, now: i64) -> Result<Self, Locked> {
        let start = self.seen_at(now).window_start;
        let open = now.saturating_sub(start) < WINDOW && self.in_window > 0;
        if self.in_a_row >= MOST_IN_A_ROW && kind == Kind::Totp {
            return Err(Locked { retry_after: WINDOW, for_good: true });
        }
        if open && self.in_window >= MOST {
            return Err(Locked { retry_after: start + WINDOW - now, for_good: false });
        }
        let (window_start, in_window) = if open { (start, self.in_window + 1) } else { (now, 1) };
        Ok(Self { window_start, in_window, in_a_row: self.in_a_row.saturating_add(1) })
    }

    /// The same where one that was counted proved right: the failures before it in the window stay.
    pub fn proved(self) -> Self {
        Self { window_start: self.window_start, in_window: (self.in_window - 1).max(0), in_a_row: 0 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const T: i64 = 1_700_000_000;

    fn fail(attempts: Attempts, times: i64, now: i64) -> Attempts {
        (0..times).fold(attempts, |attempts, _| attempts.begin(Kind::Totp, now).unwrap())
    }

    #[test]
    fn five_failures_lock_for_the_rest_of_the_fifteen_minutes() {
        let first = fail(Attempts::default(), 1, T);
        let five = fail(first, 4, T + 60);
        assert_eq!(five, Attempts { window_start: T, in_window: 5, in_a_row: 5 });
        for (now, left) in [(T + 60, 840), (T + 899, 1)] {
            for kind in [Kind::Totp, Kind::Backup] {
                assert_eq!(five.begin(kind, now), Err(Locked { retry_after: left, for_good: false }), "{kind:?} at {now}");
            }
        }
        assert_eq!(five.begin(Kind::Totp, T + 900), Ok(Attempts { window_start: T + 900, in_window: 1, in_a_row: 6 }));
    }

    #[test]
    fn a_success_takes_back_its_own_failure_and_no_other_in_the_window() {
        let four = fail(Attempts::default(), 4, T);
        let proved = fail(four, 1, T + 1).proved();
        assert_eq!(proved, Attempts { window_start: T, in_window: 4, in_a_row: 0 });
        let locked = fail(proved, 1, T + 2);
        assert!(locked.begin(Kind::Totp, T + 3).is_err());
        let many = (0..1000).fold(Attempts::default(), |attempts, turn| fail(attempts, 1, T + turn / 100).proved());
        assert_eq!((many.in_window, many.in_a_row), (0, 0));
    }

    #[test]
    fn a_hundred_in_a_row_lock_for_good_and_a_backup_code_helps() {
        let mut attempts = Attempts::default();
        let mut now = T;
        while attempts.in_a_row < MOST_IN_A_ROW {
            match attempts.begin(Kind::Totp, now) {
                Ok(more) => attempts = more,
                Err(locked) => now += locked.retry_after,
            }
        }
        assert_eq!(now, T + 19 * WINDOW);
        for later in [now + WINDOW, now + 1000 * WINDOW] {
            assert_eq!(attempts.begin(Kind::Totp, later), Err(Locked { retry_after: WINDOW, for_good: true }));
        }
        assert!(!attempts.begin(Kind::Backup, now).unwrap_err().for_good);
        let proved = attempts.begin(Kind::Backup, now + WINDOW).unwrap().proved();
        assert_eq!(proved.in_a_row, 0);
        assert!(proved.begin(Kind::Totp, now + WINDOW).is_ok());
    }

    #[test]
    fn a_clock_set_back_neither_frees_nor_locks_for_longer() {
        let five = fail(Attempts::default(), 5, T);
        assert_eq!(five.begin(Kind::Totp, T - 86_400), Err(Locked { retry_after: WINDOW, for_good: false }));
        assert!(five.seen_at(T - 86_400).begin(Kind::Totp, T - 86_400 + WINDOW).is_ok());
        let three = fail(Attempts::default(), 3, T);
        let back = three.begin(Kind::Totp, T - 86_400).unwrap();
        assert_eq!(back, Attempts { window_start: T - 86_400, in_window: 4, in_a_row: 4 });
    }
}
