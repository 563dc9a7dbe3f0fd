//! The buckets of `portcullis_command_duration_seconds`.

/// The upper bounds of the buckets in nanoseconds; a twelfth bucket takes longer times. The steps are finest from 50
/// to 250 us, the time in which Redis answers a GET without a pipeline over a local network. People set alerts on 1,
/// 5 and 10 ms; Redis's own slow log begins at 10 ms. After 1 s client libraries give up, and the exact time no
/// longer matters.
pub(super) const BOUNDS: [u32; BUCKETS - 1] = [
    50_000,
    100_000,
    250_000,
    500_000,
    1_000_000,
    2_500_000,
    5_000_000,
    10_000_000,
    50_000_000,
    250_000_000,
    1_000_000_000,
];

/// The upper bounds ([`BOUNDS`]) in seconds, as the page writes them.
pub(super) const LABELS: [&str; BUCKETS] = [
    "0.00005", "0.0001", "0.00025", "0.0005", "0.001", "0.0025", "0.005", "0.01", "0.05", "0.25", "1", "+Inf",
];

pub(super) const BUCKETS: usize = 12;

/// Returns the bucket of one duration. A duration equal to a bound is in the bucket of that bound (`le`). Counting
/// all smaller bounds has no branch to mispredict, which a search would have. Sums that wrap need no check, which
/// would keep them out of vector registers.
pub(super) fn bucket(nanos: u64) -> usize {
    let nanos = u32::try_from(nanos).unwrap_or(u32::MAX);
    let below = BOUNDS.iter().map(|bound| u32::from(nanos > *bound)).fold(0, u32::wrapping_add);
    usize::try_from(below).unwrap_or(BUCKETS - 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bound_is_in_its_own_bucket() {
        for (index, bound) in BOUNDS.iter().enumerate() {
            assert_eq!(bucket(u64::from(*bound)), index);
            assert_eq!(bucket(u64::from(*bound) + 1), index + 1);
        }
        assert_eq!(bucket(0), 0);
        assert_eq!(bucket(u64::MAX), BUCKETS - 1);
    }

    #[test]
    fn labels_say_the_bounds_in_seconds() {
        for (bound, label) in BOUNDS.iter().zip(LABELS) {
            let seconds: f64 = label.parse().unwrap();
            assert!((seconds * 1e9 - f64::from(*bound)).abs() < 0.5, "{label}");
        }
    }
}
