use std::cell::{Cell, RefCell};

use super::*;

/// Runs the estimate where each byte of a piece takes `nanos(what the piece begins with)` nanoseconds and there are
/// `millis` milliseconds. Returns the result, the milliseconds that were used, and how many pieces were run.
fn estimate(
    subject: &[u8],
    millis: u64,
    nanos: impl Fn(&CStr) -> u64,
) -> (Result<bool, MatchError>, u128, usize) {
    let total = Duration::from_millis(millis);
    let (left, count) = (Cell::new(total), Cell::new(0));
    let run = |piece: &CStr, _: bool| {
        count.set(count.get() + 1);
        let bytes = u64::try_from(piece.to_bytes().len()).unwrap();
        left.set(left.get().saturating_sub(Duration::from_nanos(bytes * nanos(piece))));
        Ok(())
    };
    let fits = fits(subject, Time { now: total, left: &|| left.get() }, run);
    (fits, (total - left.get()).as_millis(), count.get())
}

#[test]
fn ordinary_speed_fits_and_the_square_of_the_length_does_not() {
    let header = vec![b'a'; 102_400];
    // 10 ns for each byte, once.
    assert_eq!(estimate(&header, 500, |_| 10).0, Ok(true));
    // 2 ns for each byte, from half of the bytes before it: 20 seconds for the whole.
    let (fits, used, runs) = estimate(&header, 500, |_| 4096);
    assert_eq!(fits, Ok(false));
    assert!(used <= 40, "{used} ms");
    assert_eq!(runs, 2, "the first piece, and once again");
    // The same at a place in the middle only.
    let mut header = header;
    header[50_000..60_000].fill(b'1');
    let slow = |piece: &CStr| if piece.to_bytes()[0] == b'1' { 4096 } else { 10 };
    assert_eq!(estimate(&header, 500, slow).0, Ok(false));
}

#[test]
fn short_subjects_are_not_run_twice() {
    assert_eq!(estimate(&[b'a'; SHORT], 1, |_| 1_000_000), (Ok(true), 0, 0));
    assert_ne!(estimate(&[b'a'; SHORT + 1], 1, |_| 1_000_000).2, 0);
}

#[test]
fn a_piece_that_another_process_held_up_is_measured_again() {
    let header = vec![b'a'; 102_400];
    let count = Cell::new(0);
    let slow_at_first = |_: &CStr| {
        count.set(count.get() + 1);
        // 9 ms for a piece, once.
        if count.get() == 1 { 2048 } else { 10 }
    };
    assert_eq!(estimate(&header, 500, slow_at_first).0, Ok(true));
}

#[test]
fn pieces_cover_the_subject_and_end_as_it_does() {
    let subject: Vec<u8> = (0..20_000_u32).map(|place| b'a' + u8::try_from(place % 23).unwrap()).collect();
    let seen = RefCell::new(Vec::new());
    let run = |piece: &CStr, inside: bool| {
        seen.borrow_mut().push((piece.to_bytes().to_vec(), inside));
        Ok(())
    };
    assert_eq!(fits(&subject, Time::ENDLESS, run), Ok(true));
    let tail = &subject[subject.len() - TAIL..];
    let mut whole = Vec::new();
    for (piece, _) in seen.borrow().iter() {
        whole.extend_from_slice(piece.strip_suffix(tail).unwrap());
    }
    assert_eq!(whole, subject);
    // Only the first begins where the subject does.
    assert!(seen.borrow().iter().enumerate().all(|(number, (_, inside))| *inside == (number > 0)));
}

#[test]
fn an_error_of_a_piece_is_given_on() {
    assert_eq!(fits(&[b'a'; 20_000], Time::ENDLESS, |_, _| Err(MatchError::Limit)), Err(MatchError::Limit));
}
