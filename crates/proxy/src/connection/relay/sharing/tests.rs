use super::{FIRST_HALF, MAX_HALF, Window};

#[test]
fn half_is_given_before_the_half_before_it_is_answered_and_no_more() {
    let mut window = Window::new();
    assert_eq!(window.room(0), FIRST_HALF);
    window.give(FIRST_HALF, 10);
    assert_eq!(window.room(0), 2 * FIRST_HALF, "a second half, twice as large");
    window.give(2 * FIRST_HALF, 20);
    assert_eq!(window.room(0), 0);
    window.answered = 9;
    assert_eq!(window.room(0), 0);
    window.answered = 10;
    assert_eq!(window.room(0), 4 * FIRST_HALF);
}

#[test]
fn a_half_grows_to_its_bound() {
    let mut window = Window::new();
    for commands in 1..100 {
        let room = window.room(0);
        assert!(room <= MAX_HALF);
        window.give(room, 1);
        window.answered = commands;
    }
    assert_eq!(window.room(0), MAX_HALF);
}

#[test]
fn a_command_that_is_larger_than_a_half_goes_first_in_one() {
    let mut window = Window::new();
    assert_eq!(window.room(3 * FIRST_HALF), 3 * FIRST_HALF);
    window.give(FIRST_HALF / 2, 1);
    assert_eq!(window.room(0), FIRST_HALF / 2);
    assert_eq!(window.room(3 * FIRST_HALF), 3 * FIRST_HALF, "in the second half, for nothing holds that up");
    window.give(3 * FIRST_HALF, 1);
    assert_eq!(window.room(3 * FIRST_HALF), 0, "in the third, which waits for the first");
    window.answered = 1;
    assert_eq!(window.room(3 * FIRST_HALF), 4 * FIRST_HALF);
}

#[test]
fn what_does_not_fit_the_rest_of_a_half_waits_only_for_what_is_unanswered() {
    let mut window = Window::new();
    window.give(FIRST_HALF, 1);
    let room = window.room(0);
    window.give(room - 10, 1);
    window.answered = 2;
    assert!(window.room(20) >= 20, "all is answered, and nobody would wake it again");
}
