use std::collections::VecDeque;

use proptest::prelude::*;

use super::*;

const SECOND: Duration = Duration::from_secs(1);

#[test]
fn allows_a_burst_then_an_even_pace() {
    let rate = Rate::new(5, SECOND).unwrap();
    let mut meter = Meter::default();
    let start = Duration::from_secs(100);
    assert_eq!((0..9).filter(|_| meter.take(rate, start)).count(), 5);
    assert!(!meter.take(rate, start + Duration::from_millis(199)));
    assert!(meter.take(rate, start + Duration::from_millis(200)));
    assert!(!meter.take(rate, start + Duration::from_millis(200)));
    assert_eq!((0..9).filter(|_| meter.take(rate, start + 9 * SECOND)).count(), 5, "rested");
}

#[test]
fn refuses_invalid_rates() {
    assert_eq!(Rate::new(0, SECOND), None);
    assert_eq!(Rate::new(1, Duration::ZERO), None);
    assert_eq!(Rate::new(10, Duration::from_nanos(9)), None);
    assert_eq!(Rate::new(1, Duration::MAX), None);
    assert_eq!(Rate::new(50, SECOND).map(|rate| (rate.count(), rate.per())), Some((50, SECOND)));
}

/// A token bucket that counts tokens in units of 1/per.
struct Bucket {
    tokens: u128,
    at: u128,
}

proptest! {
    /// Property: if one event takes a whole number of nanoseconds, the meter equals the token bucket.
    #[test]
    fn a_meter_is_a_token_bucket(
        count in 1u32..20,
        each in 1u64..1_000,
        steps in prop::collection::vec(0u64..3_000, 1..200),
    ) {
        let per = u64::from(count) * each;
        let rate = Rate::new(count, Duration::from_nanos(per)).unwrap();
        let full = u128::from(per);
        let mut bucket = Bucket { tokens: full, at: 0 };
        let mut meter = Meter::default();
        let mut now = 0;
        for step in steps {
            now += step;
            bucket.tokens = full.min(bucket.tokens + (u128::from(now) - bucket.at));
            bucket.at = u128::from(now);
            let expected = bucket.tokens >= u128::from(each);
            if expected {
                bucket.tokens -= u128::from(each);
            }
            prop_assert_eq!(meter.take(rate, Duration::from_nanos(now)), expected);
        }
    }

    /// Property: no window has more than twice the count of its rate: the saved events and the new ones.
    #[test]
    fn no_window_has_more_than_the_burst_and_the_pace(
        count in 1u32..20,
        per in 20u64..5_000,
        steps in prop::collection::vec(0u64..500, 1..300),
    ) {
        let rate = Rate::new(count, Duration::from_nanos(per)).unwrap();
        let mut meter = Meter::default();
        let mut taken = VecDeque::new();
        let mut now = 0;
        for step in steps {
            now += step;
            if meter.take(rate, Duration::from_nanos(now)) {
                taken.push_back(now);
            }
            while taken.front().is_some_and(|at| at + per <= now) {
                taken.pop_front();
            }
            prop_assert!(taken.len() <= 2 * usize::try_from(count).unwrap());
        }
    }
}
