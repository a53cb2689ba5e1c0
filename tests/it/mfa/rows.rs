//! What the rows of second factors promise, whichever database they are in; time is an argument.
//! Each promise gets one store twice, as two replicas have it, and has holders of its own there.

use std::sync::Arc;

use scopegate::mfa::attempts::{Kind, Locked, WINDOW};
use scopegate::mfa::totp::Secret;
use scopegate::principal::record::Holder;
use scopegate::store::mfa::{Attempt, Begun, Of, PENDING, Shown};
use scopegate::store::{Store, StoreError};

/// The list of them, for each database.
macro_rules! every_promise {
    ($run:ident) => {
        $run! {
            a_step_counts_once_and_so_does_none_before_it,
            of_many_that_show_the_same_at_once_one_gets_it,
            an_attempt_counts_before_anybody_looks_at_the_code,
            right_codes_lock_nobody,
            a_hundred_in_a_row_lock_until_a_backup_code_or_an_operator,
            a_clock_that_is_set_back_locks_for_no_longer_than_the_window,
            a_backup_code_counts_once_and_not_after_others_have_taken_its_place,
            nothing_is_on_before_a_code_was_verified_and_only_for_ten_minutes,
            what_began_with_one_enrolment_does_nothing_to_the_next,
            an_enrolment_counts_from_after_the_one_before_it_ended,
            an_operator_takes_away_what_is_there_and_only_there,
        }
    };
}
pub(crate) use every_promise;

const T: i64 = 1_800_000_000;
const STEP: i64 = T / 30;

pub fn holder(subject: &str) -> Holder {
    Holder { realm: "sessions".into(), tenant: Some(Arc::from("acme")), subject: subject.into() }
}

fn secret(seed: u8) -> Secret {
    Secret::new([seed; 20])
}

fn hashes(generation: &str) -> Vec<String> {
    (0..10).map(|slot| format!("{generation}-{slot}")).collect()
}

async fn begin(store: &Store, holder: &Holder, kind: Kind, now: i64) -> Attempt {
    match store.mfa_begin(holder, (kind, Of::Any), now).await.unwrap() {
        Begun::Attempt(attempt) => attempt,
        other @ (Begun::Locked(_) | Begun::Absent) => panic!("{other:?}"),
    }
}

async fn show(store: &Store, holder: &Holder, shown: Shown, now: i64) -> bool {
    let kind = if matches!(shown, Shown::Step(_)) { Kind::Totp } else { Kind::Backup };
    let attempt = begin(store, holder, kind, now).await;
    store.mfa_show(holder, &attempt, shown, now).await.unwrap()
}

async fn locked(store: &Store, holder: &Holder, kind: Kind, now: i64) -> Option<Locked> {
    match store.mfa_begin(holder, (kind, Of::Any), now).await.unwrap() {
        Begun::Locked(locked) => Some(locked),
        Begun::Attempt(_) | Begun::Absent => None,
    }
}

/// Somebody who has it on since `now`, by the step of then.
async fn enabled(store: &Store, subject: &str, now: i64) -> Holder {
    let holder = holder(subject);
    store.mfa_setup(&holder, &secret(7), now).await.unwrap();
    assert!(show(store, &holder, Shown::Step(now / 30), now).await);
    assert_eq!(store.mfa_enable(&holder, &hashes("first"), now).await, Ok(now));
    holder
}

pub async fn a_step_counts_once_and_so_does_none_before_it(store: &Store, _: &Store) {
    let holder = enabled(store, "steps", T).await;
    for (step, is_new) in [(STEP, false), (STEP - 1, false), (STEP + 1, true), (STEP + 1, false), (STEP, false), (STEP + 2, true)] {
        assert_eq!(show(store, &holder, Shown::Step(step), T + 2 * WINDOW * (step - STEP + 5)).await, is_new, "{}", step - STEP);
    }
    // A clock that was set back brings no step back.
    assert!(!show(store, &holder, Shown::Step(STEP - 2880), T - 86_400).await);
}

pub async fn of_many_that_show_the_same_at_once_one_gets_it(store: &Store, other: &Store) {
    let holder = Arc::new(enabled(store, "crowd", T).await);
    for (turn, shown) in [(0, Shown::Step(STEP + 1)), (1, Shown::Slot(3)), (2, Shown::Step(STEP + 2)), (3, Shown::Slot(0))] {
        let now = T + turn * 2 * WINDOW;
        let one = |store: &Store| {
            let (store, holder) = (store.clone(), Arc::clone(&holder));
            tokio::spawn(async move { show(&store, &holder, shown, now).await })
        };
        // No more than may fail within the window.
        let all = [one(store), one(other), one(store), one(other)];
        let mut taken = 0;
        for one in all {
            taken += usize::from(one.await.unwrap());
        }
        assert_eq!(taken, 1, "{shown:?}");
    }
}

pub async fn an_attempt_counts_before_anybody_looks_at_the_code(store: &Store, other: &Store) {
    let holder = enabled(store, "attempts", T).await;
    for turn in 0..5 {
        // Whatever becomes of it: nobody comes back to say.
        drop(begin(if turn % 2 == 0 { store } else { other }, &holder, Kind::Totp, T + turn).await);
    }
    for kind in [Kind::Totp, Kind::Backup] {
        assert_eq!(locked(other, &holder, kind, T + 10).await, Some(Locked { retry_after: WINDOW - 10, for_good: false }));
    }
    assert_eq!(locked(store, &holder, Kind::Totp, T + WINDOW - 1).await.map(|locked| locked.retry_after), Some(1));
    assert!(show(store, &holder, Shown::Step(STEP + 30), T + WINDOW).await);
    assert!(locked(store, &holder, Kind::Totp, T + WINDOW + 1).await.is_none());
}

pub async fn right_codes_lock_nobody(store: &Store, _: &Store) {
    let holder = enabled(store, "diligent", T).await;
    for turn in 1..=20 {
        assert!(show(store, &holder, Shown::Step(STEP + turn), T + turn).await, "{turn}");
    }
}

pub async fn a_hundred_in_a_row_lock_until_a_backup_code_or_an_operator(store: &Store, _: &Store) {
    for by_operator in [false, true] {
        let holder = enabled(store, if by_operator { "helped" } else { "prepared" }, T).await;
        let mut now = T;
        for _ in 0..20 {
            for _ in 0..5 {
                drop(begin(store, &holder, Kind::Totp, now).await);
            }
            now += WINDOW;
        }
        now += 100 * WINDOW;
        assert_eq!(locked(store, &holder, Kind::Totp, now).await, Some(Locked { retry_after: WINDOW, for_good: true }));
        if by_operator {
            store.mfa_reset(&holder, now).await.unwrap();
            store.mfa_setup(&holder, &secret(8), now).await.unwrap();
        } else {
            assert!(show(store, &holder, Shown::Slot(9), now).await);
        }
        assert!(show(store, &holder, Shown::Step(now / 30), now).await);
    }
}

pub async fn a_clock_that_is_set_back_locks_for_no_longer_than_the_window(store: &Store, _: &Store) {
    let holder = enabled(store, "timeless", T).await;
    for _ in 0..5 {
        drop(begin(store, &holder, Kind::Totp, T).await);
    }
    let back = T - 86_400;
    assert_eq!(locked(store, &holder, Kind::Totp, back).await.map(|locked| locked.retry_after), Some(WINDOW));
    assert!(locked(store, &holder, Kind::Totp, back + WINDOW).await.is_none());
}

pub async fn a_backup_code_counts_once_and_not_after_others_have_taken_its_place(store: &Store, _: &Store) {
    let holder = enabled(store, "codes", T).await;
    assert!(show(store, &holder, Shown::Slot(4), T).await);
    let standing = store.mfa_standing(&holder, T).await.unwrap().unwrap();
    assert_eq!((standing.enabled_at, standing.codes_at, standing.remaining), (Some(T), Some(T), 9));
    let late = begin(store, &holder, Kind::Backup, T + 1).await;
    assert_eq!(late.kept.iter().map(|kept| kept.slot).collect::<Vec<_>>(), [0, 1, 2, 3, 5, 6, 7, 8, 9]);
    let attempt = begin(store, &holder, Kind::Backup, T + 1).await;
    assert!(store.mfa_renew(&holder, &attempt, Shown::Slot(0), (&hashes("second"), T + 1)).await.unwrap());
    // Found among the old ones, and shown too late.
    assert!(!store.mfa_show(&holder, &late, Shown::Slot(1), T + 1).await.unwrap());
    let standing = store.mfa_standing(&holder, T).await.unwrap().unwrap();
    assert_eq!((standing.codes_at, standing.remaining), (Some(T + 1), 10));
    // What was not taken leaves the codes as they are.
    let attempt = begin(store, &holder, Kind::Totp, T + 2).await;
    assert!(!store.mfa_renew(&holder, &attempt, Shown::Step(STEP), (&hashes("third"), T + 2)).await.unwrap());
    assert!(begin(store, &holder, Kind::Backup, T + 2).await.kept.iter().all(|kept| kept.hash.starts_with("second")));
}

pub async fn nothing_is_on_before_a_code_was_verified_and_only_for_ten_minutes(store: &Store, _: &Store) {
    let holder = holder("pending");
    let enable = async |now| store.mfa_enable(&holder, &hashes("first"), now).await;
    assert!(matches!(enable(T).await, Err(StoreError::Conflict(_))));
    assert!(matches!(store.mfa_begin(&holder, (Kind::Totp, Of::Any), T).await.unwrap(), Begun::Absent));
    store.mfa_setup(&holder, &secret(1), T).await.unwrap();
    assert!(matches!(enable(T).await, Err(StoreError::Conflict(_))));
    assert!(matches!(store.mfa_begin(&holder, (Kind::Totp, Of::Enabled), T).await.unwrap(), Begun::Absent));
    assert!(matches!(store.mfa_begin(&holder, (Kind::Totp, Of::Any), T + PENDING).await.unwrap(), Begun::Absent));
    assert_eq!(begin(store, &holder, Kind::Totp, T + PENDING - 1).await.secret.as_bytes(), secret(1).as_bytes());
    assert!(show(store, &holder, Shown::Step(STEP), T + PENDING - 1).await);
    assert!(matches!(enable(T + 2 * PENDING - 1).await, Err(StoreError::Conflict(_))));
    // A new secret forgets what was verified of the last one.
    store.mfa_setup(&holder, &secret(2), T + PENDING).await.unwrap();
    assert!(matches!(enable(T + PENDING).await, Err(StoreError::Conflict(_))));
    assert!(show(store, &holder, Shown::Step(STEP + 20), T + PENDING).await);
    assert_eq!(enable(T + PENDING).await, Ok(T + PENDING));
    assert!(matches!(store.mfa_setup(&holder, &secret(3), T + PENDING).await, Err(StoreError::Conflict(_))));
    assert!(matches!(enable(T + PENDING).await, Err(StoreError::Conflict(_))));
}

pub async fn what_began_with_one_enrolment_does_nothing_to_the_next(store: &Store, _: &Store) {
    let holder = holder("twice");
    store.mfa_setup(&holder, &secret(1), T).await.unwrap();
    let old = begin(store, &holder, Kind::Totp, T).await;
    store.mfa_setup(&holder, &secret(2), T).await.unwrap();
    assert!(!store.mfa_show(&holder, &old, Shown::Step(STEP), T).await.unwrap());
    assert!(matches!(store.mfa_enable(&holder, &hashes("first"), T).await, Err(StoreError::Conflict(_))));
}

pub async fn an_enrolment_counts_from_after_the_one_before_it_ended(store: &Store, _: &Store) {
    let first = enabled(store, "again", T).await;
    let before = store.version().await.unwrap();
    let attempt = begin(store, &first, Kind::Totp, T).await;
    assert!(store.mfa_disable(&first, &attempt, Shown::Step(STEP + 1), T).await.unwrap());
    assert_eq!(store.version().await.unwrap(), before + 1);
    assert!(matches!(store.mfa_begin(&first, (Kind::Totp, Of::Any), T).await.unwrap(), Begun::Absent));
    let standing = store.mfa_standing(&first, T).await.unwrap().unwrap();
    assert_eq!((standing.enabled_at, standing.codes_at, standing.remaining), (None, None, 0));
    store.mfa_setup(&first, &secret(9), T).await.unwrap();
    assert!(show(store, &first, Shown::Step(STEP), T).await);
    assert_eq!(store.mfa_enable(&first, &hashes("again"), T).await, Ok(T + 1));
    // The one who could not end it changes nothing, not even the version.
    let before = store.version().await.unwrap();
    let attempt = begin(store, &first, Kind::Totp, T).await;
    assert!(!store.mfa_disable(&first, &attempt, Shown::Step(STEP), T).await.unwrap());
    assert_eq!(store.version().await.unwrap(), before);
}

pub async fn an_operator_takes_away_what_is_there_and_only_there(store: &Store, _: &Store) {
    let kept = enabled(store, "kept", T).await;
    let lost = enabled(store, "lost", T).await;
    store.mfa_reset(&lost, T + 5).await.unwrap();
    let elsewhere = Holder { tenant: None, ..kept.clone() };
    assert_eq!(store.mfa_reset(&elsewhere, T + 5).await, Err(StoreError::NotFound));
    assert!(matches!(store.mfa_begin(&lost, (Kind::Backup, Of::Any), T + 6).await.unwrap(), Begun::Absent));
    assert!(show(store, &kept, Shown::Slot(0), T + 6).await);
}
