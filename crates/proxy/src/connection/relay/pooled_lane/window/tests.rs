use super::{FIRST_HALF, MAX_HALF, Window};

/// A budget that is large enough for any replies.
const PLENTY: usize = 1 << 30;

#[test]
fn half_is_given_before_the_half_before_it_is_answered_and_no_more() {
    let mut window = Window::new();
    assert_eq!(window.room(0, PLENTY), FIRST_HALF);
    window.give(FIRST_HALF, 10);
    assert_eq!(window.room(0, PLENTY), 2 * FIRST_HALF, "a second half, twice as large");
    window.give(2 * FIRST_HALF, 20);
    assert_eq!(window.room(0, PLENTY), 0);
    window.answered = 9;
    assert_eq!(window.room(0, PLENTY), 0);
    window.answered = 10;
    assert_eq!(window.room(0, PLENTY), 4 * FIRST_HALF);
}

#[test]
fn a_half_grows_to_its_bound() {
    let mut window = Window::new();
    for commands in 1..100 {
        let room = window.room(0, PLENTY);
        assert!(room <= MAX_HALF);
        window.give(room, 1);
        window.answered = commands;
    }
    assert_eq!(window.room(0, PLENTY), MAX_HALF);
}

#[test]
fn a_command_that_is_larger_than_a_half_goes_first_in_one() {
    let mut window = Window::new();
    assert_eq!(window.room(3 * FIRST_HALF, PLENTY), 3 * FIRST_HALF);
    window.give(FIRST_HALF / 2, 1);
    assert_eq!(window.room(0, PLENTY), FIRST_HALF / 2);
    assert_eq!(
        window.room(3 * FIRST_HALF, PLENTY),
        3 * FIRST_HALF,
        "in the second half, for nothing holds that up"
    );
    window.give(3 * FIRST_HALF, 1);
    assert_eq!(window.room(3 * FIRST_HALF, PLENTY), 0, "in the third, which waits for the first");
    window.answered = 1;
    assert_eq!(window.room(3 * FIRST_HALF, PLENTY), 4 * FIRST_HALF);
}

#[test]
fn what_does_not_fit_the_rest_of_a_half_waits_only_for_what_is_unanswered() {
    let mut window = Window::new();
    window.give(FIRST_HALF, 1);
    let room = window.room(0, PLENTY);
    window.give(room - 10, 1);
    window.answered = 2;
    assert!(window.room(20, PLENTY) >= 20, "all is answered, and nothing would wake it again");
}

/// Once the size of a reply is known, each half has only as many commands as bring half of the budget.
#[test]
fn a_half_asks_for_no_more_than_may_be_held() {
    const BUDGET: usize = 512 * 1024;
    let mut window = Window::new();
    for _ in 0..20 {
        let commands = window.room(0, BUDGET).div_ceil(40);
        window.give(commands * 40, commands as u64);
        window.answer(commands * 5000, commands as u64);
    }
    assert_eq!(window.room(0, BUDGET), BUDGET / 2 / 5000 * 40);
    window.answer(BUDGET, 0);
    window.answer(BUDGET, 1);
    window.give(BUDGET / 2 / 5000 * 40, 1);
    assert_eq!(window.room(0, BUDGET), FIRST_HALF, "a reply fills it");
}
