//! The log of a store, looked at before SQLite does.
//!
//! Purpose: find damage that SQLite would take for the end of the log, and so lose what was committed after it; and cut
//! off what a killed writer has left unfinished.
//!
//! SQLite reads a log up to the first frame whose checksum is wrong: where a writer was killed, that is the one that it
//! was writing. But each transaction is on disk before the next one begins. So where frames of a later transaction
//! follow, the bad frame was once good, and the log is damaged. (A bad frame in the last transaction, and a log that is
//! cut short, cannot be told from a power failure before the sync.)
//!
//! Source of the format: <https://sqlite.org/fileformat2.html#the_write_ahead_log>.

use std::io;

use super::descriptors::{Descriptors, FRAME_HEADER, PAGE, Part, Read};
use super::meaning::io_meaning;
use crate::StoreError;

const HEADER: usize = 32;
const FRAME: usize = FRAME_HEADER + PAGE;
/// The checksums are over little-endian words; with the lowest bit set, over big-endian ones.
const MAGIC: u32 = 0x377f_0682;
const VERSION: u32 = 3_007_000;

/// The fields of a frame, and whether they are trustworthy.
#[derive(Clone, Copy, Debug)]
pub(super) struct Frame {
    /// The page of the main file that it has.
    pub page: u32,
    /// The last of its transaction.
    pub commits: bool,
    /// If so, how many pages the main file then has.
    pub size: u32,
    /// It belongs to the present log; other frames are from before the last restart of the log.
    pub present: bool,
    /// Its checksum is correct; it covers all earlier frames, by continuing the checksum of the previous one.
    pub sound: bool,
}

/// All frames of a log.
#[derive(Debug, Default)]
pub(super) struct Log {
    pub frames: Vec<Frame>,
    /// The header is there and has its checksum.
    pub has_header: bool,
}

/// Where frame `index`, counted from 0, begins.
fn place(index: usize) -> u64 {
    (index as u64).saturating_mul(FRAME as u64).saturating_add(HEADER as u64)
}

/// Where the page of frame `index`, counted from 0, begins.
pub(super) fn page_place(index: usize) -> u64 {
    place(index).saturating_add(FRAME_HEADER as u64)
}

impl Log {
    /// Reads the log.
    pub fn read(files: &Descriptors) -> io::Result<Log> {
        let mut header = [0_u8; HEADER];
        if files.read(Part::Log, 0, &mut header)? == Read::Short {
            return Ok(Log::default());
        }
        let big = number(&header, 0) == MAGIC | 1;
        let (sum, content) = (sums(&header, 24), header.get(..24).unwrap_or_default());
        let format = (number(&header, 0) | 1, number(&header, 4), number(&header, 8));
        let has_header = format == (MAGIC | 1, VERSION, PAGE as u32) && add_up((0, 0), content, big) == sum;

        let mut log = Log { frames: Vec::new(), has_header };
        let mut frame = vec![0_u8; FRAME];
        let (mut before, mut salts) = (sum, sums(&header, 16));
        while files.read(Part::Log, place(log.frames.len()), &mut frame)? == Read::Whole {
            if !has_header && log.frames.is_empty() {
                salts = sums(&frame, 8);
            }
            let after = add_up(before, frame.get(..8).unwrap_or_default(), big);
            let after = add_up(after, frame.get(FRAME_HEADER..).unwrap_or_default(), big);
            before = sums(&frame, 16);
            log.frames.push(Frame {
                page: number(&frame, 0),
                commits: number(&frame, 4) != 0,
                size: number(&frame, 4),
                present: sums(&frame, 8) == salts,
                sound: after == before,
            });
        }
        Ok(log)
    }

    /// The number of frames before the first invalid one, and of these, up to the last that commits.
    fn whole(&self) -> (usize, usize) {
        let sound = self.frames.iter().take_while(|frame| frame.present && frame.sound).count();
        (
            sound,
            self.frames
                .iter()
                .take(sound)
                .rposition(|frame| frame.commits)
                .map_or(0, |last| last.saturating_add(1)),
        )
    }

    /// Whether frames of a later transaction follow an invalid one.
    fn is_damaged(&self) -> bool {
        let (sound, _) = self.whole();
        let mut rest = self.frames.iter().skip(sound).filter(|frame| frame.present);
        !self.has_header && !self.frames.is_empty()
            || rest.any(|frame| frame.commits) && rest.next().is_some()
    }
}

/// Refuses a damaged log, and cuts off what was never committed: in a later look it could be mistaken for damage.
pub(super) fn check(files: &Descriptors) -> Result<(), StoreError> {
    let io = |error: io::Error| io_meaning(&error);
    let log = Log::read(files).map_err(io)?;
    if log.is_damaged() {
        return Err(StoreError::Corrupt("its log has a bad frame before good ones".to_owned()));
    }
    let (_, committed) = log.whole();
    // The main file gets room for each page before the log has it; after a power failure the log alone may have them.
    let main = files.size(Part::Main).map_err(io)?.div_ceil(PAGE as u64);
    let last = committed.checked_sub(1).and_then(|last| log.frames.get(last));
    if last.is_some_and(|last| u64::from(last.size) > main.saturating_add(committed as u64)) {
        return Err(StoreError::Corrupt("its log names more pages than there are".to_owned()));
    }
    if log.frames.iter().skip(committed).any(|frame| frame.present) {
        files.truncate(Part::Log, place(committed)).map_err(io)?;
    }
    Ok(())
}

/// The big-endian number at `at`; 0 outside.
fn number(bytes: &[u8], at: usize) -> u32 {
    bytes.get(at..).and_then(|rest| rest.first_chunk()).map_or(0, |word| u32::from_be_bytes(*word))
}

/// Two numbers, as both salts and both halves of a checksum are stored.
fn sums(bytes: &[u8], at: usize) -> (u32, u32) {
    (number(bytes, at), number(bytes, at.saturating_add(4)))
}

/// Goes on with a checksum over `bytes`, a multiple of 8.
fn add_up((mut one, mut other): (u32, u32), bytes: &[u8], big: bool) -> (u32, u32) {
    let word = |bytes: [u8; 4]| if big { u32::from_be_bytes(bytes) } else { u32::from_le_bytes(bytes) };
    let (words, _) = bytes.as_chunks::<4>();
    for pair in words.chunks_exact(2) {
        if let [first, second] = *pair {
            one = one.wrapping_add(word(first)).wrapping_add(other);
            other = other.wrapping_add(word(second)).wrapping_add(one);
        }
    }
    (one, other)
}
