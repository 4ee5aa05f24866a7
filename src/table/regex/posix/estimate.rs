//! Whether a call of regexec() will end in time.
//!
//! Purpose: refuse, before it begins, a call that would hold the process. May: run the pattern on pieces of the subject,
//! and read the caller's clock. Never: unsafe code; change an answer.
//!
//! regexec() tries a pattern at each place of the subject, and at each it may read the rest: time in the square of the
//! length, whatever the pattern is, unless it is anchored. Short pieces show what a try costs where it has little to
//! read. The time for all pieces, times the rest of the subject by the length of a piece, is no less than what the whole
//! will take, but for subjects that were made to deceive: with all that is slow in the last bytes of each piece, it is a
//! sixth of that.

use std::ffi::CStr;
use std::time::Duration;

use crate::{MatchError, Time};

/// Subjects up to this length are not measured: at worst they take 0.15 seconds.
const SHORT: usize = 8 << 10;

/// The length of a piece, in bytes.
const PIECE: usize = 4 << 10;

/// The end of the subject, added to each piece, so that `$` and what must stand before it are there.
const TAIL: usize = 256;

/// A piece that takes so much of the time alone is measured again: perhaps another process ran meanwhile.
const STRIKING: u32 = 16;

/// Whether there is time for `subject`. `run` matches a piece; its argument tells whether the piece is inside the
/// subject.
///
/// # Errors
/// Those of `run`.
pub(super) fn fits(
    subject: &[u8],
    time: Time<'_>,
    run: impl Fn(&CStr, bool) -> Result<(), MatchError>,
) -> Result<bool, MatchError> {
    if subject.len() <= SHORT {
        return Ok(true);
    }
    let tail = subject.get(subject.len().saturating_sub(TAIL)..).unwrap_or_default();
    let mut piece = Vec::with_capacity(PIECE.saturating_add(TAIL).saturating_add(1));
    let mut foreseen = Duration::ZERO;
    let mut before = time.now;
    for (number, part) in subject.chunks(PIECE).enumerate() {
        piece.clear();
        piece.extend_from_slice(part);
        piece.extend_from_slice(tail);
        piece.push(0);
        let Ok(text) = CStr::from_bytes_until_nul(&piece) else { return Ok(true) };
        // A try in a piece reads half of it on average, and in the subject what follows.
        let rest = subject.len().saturating_sub(number.saturating_mul(PIECE));
        let times = u32::try_from(rest.div_ceil(PIECE).saturating_mul(2)).unwrap_or(u32::MAX);
        let mut shortest = Duration::MAX;
        for _ in 0..2 {
            run(text, number > 0)?;
            let now = (time.left)();
            shortest = shortest.min(before.saturating_sub(now));
            before = now;
            if shortest.saturating_mul(times) < now.checked_div(STRIKING).unwrap_or_default() {
                break;
            }
        }
        foreseen = foreseen.saturating_add(shortest.saturating_mul(times));
        if foreseen > before || before.is_zero() {
            return Ok(false);
        }
    }
    Ok(true)
}

#[cfg(test)]
mod tests;
