use super::*;

fn at(seconds: u64) -> Tick {
    Tick::default().after(Duration::from_secs(seconds))
}

/// The time between two commands does not count as a stall of the client.
#[test]
fn starts_with_the_first_byte_of_a_command() {
    let mut clock = FrameClock::default();
    assert_eq!(clock.since, None);
    clock.received(100, at(1));
    assert_eq!(clock.since, None);
    clock.start(at(50));
    clock.start(at(51));
    assert_eq!(clock.since, Some(at(50)));
    clock.stop();
    assert_eq!(clock.since, None);
}

/// A client that sends one byte at a time gains no time. Each [`FRAME_PROGRESS`] gives the full time again.
#[test]
fn is_extended_by_progress() {
    let mut clock = FrameClock::default();
    clock.start(at(0));
    for second in 1..100 {
        clock.received(1, at(second));
    }
    assert_eq!(clock.since, Some(at(0)));
    clock.received(FRAME_PROGRESS - 100, at(100));
    assert_eq!(clock.since, Some(at(0)));
    clock.received(1, at(101));
    assert_eq!(clock.since, Some(at(101)));
    clock.received(FRAME_PROGRESS - 1, at(102));
    assert_eq!(clock.since, Some(at(101)));
    clock.received(1, at(103));
    assert_eq!(clock.since, Some(at(103)));
}
