use super::*;

#[test]
fn memory_of_many_levels_is_released() {
    let mut levels = Levels::new();
    for depth in [10, MAX_DEPTH, 10] {
        levels.begin();
        for _ in 0..depth {
            levels.open(1).unwrap();
        }
        assert!(levels.far.capacity() >= depth - NEAR && !levels.is_over());
        levels.element().unwrap();
        assert!(levels.is_over());
        levels.finish();
        assert!(levels.far.capacity() <= KEPT);
    }
}

#[test]
fn a_new_frame_forgets_the_open_levels_of_the_last() {
    let mut levels = Levels::new();
    levels.begin();
    for _ in 0..10 {
        levels.open(STREAMED).unwrap();
    }
    levels.begin();
    levels.element().unwrap();
    assert!(levels.is_over());
}
