//! Damage to a table file: what failing disks, full disks, crashes and enemies leave behind.

use mapkeep_name::Kind;

/// xorshift64*: the same numbers in every run.
pub struct Numbers(u64);

impl Numbers {
    pub fn new(seed: u64) -> Numbers {
        Numbers(seed.wrapping_mul(2).wrapping_add(0x9E37_79B9_7F4A_7C15) | 1)
    }

    /// A number from 0 to `limit` - 1; 0 for a limit of 0.
    pub fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        let mixed = self.0.wrapping_mul(0x2545_F491_4F6C_DD1D);
        usize::try_from(mixed >> 33).unwrap() % limit.max(1)
    }

    fn byte(&mut self) -> u8 {
        u8::try_from(self.below(256)).unwrap()
    }
}

/// Lengths, counts and page numbers that readers stumble over.
const AWKWARD: [u32; 16] =
    [0, 1, 2, 3, 4, 7, 8, 255, 256, 4095, 4096, 65_535, 65_536, 0x7fff_ffff, 0xffff_fffc, 0xffff_ffff];

/// Damages `file` in one to four ways; `other` is another sound file of the same format.
pub fn damage(kind: Kind, file: &mut Vec<u8>, other: &[u8], numbers: &mut Numbers) {
    if kind == Kind::Cdb && numbers.below(4) > 0 {
        return damage_cdb_behind_header(file, numbers);
    }
    for _ in 0..=numbers.below(4) {
        match numbers.below(8) {
            0 => flip_bits(file, numbers),
            1 => file.truncate(numbers.below(file.len())),
            2 => zero_page(page_size(kind, file), file, numbers),
            3 => swap_pages(page_size(kind, file), file, numbers),
            4 => splice(file, other, numbers),
            5 => edit_field(file, numbers),
            6 => edit_header(page_size(kind, file), file, numbers),
            _ => make_loop(kind, file, numbers),
        }
    }
}

/// Nearly every change to the header of a cdb file, or of its length, is found at once. This is for what comes later:
/// records and hash tables.
fn damage_cdb_behind_header(file: &mut [u8], numbers: &mut Numbers) {
    const HEADER: usize = 2048;
    let Some(rest) = file.get_mut(HEADER..).filter(|rest| !rest.is_empty()) else { return };
    for _ in 0..=numbers.below(4) {
        match numbers.below(6) {
            0 => flip_bits(rest, numbers),
            1 => zero_page(64, rest, numbers),
            2 => swap_pages(64, rest, numbers),
            3 | 4 => edit_field(rest, numbers),
            _ => copy_pair(rest, numbers),
        }
    }
}

/// One pair of numbers becomes a copy of another: in a cdb file, an entry of the header or of a hash table.
fn copy_pair(file: &mut [u8], numbers: &mut Numbers) {
    let (from, to) = (numbers.below(file.len() / 8) * 8, numbers.below(file.len() / 8) * 8);
    if let Some(pair) = file.get(from..from + 8).map(<[u8]>::to_vec) {
        put(file, to, &pair);
    }
}

/// The page size of this file, from its header; for formats without pages a small block.
fn page_size(kind: Kind, file: &[u8]) -> usize {
    let stated = match kind {
        Kind::Hash | Kind::Btree => file.get(20..24),
        Kind::Lmdb => file.get(40..44),
        _ => None,
    };
    let size = stated.map_or(64, |raw| u32::from_le_bytes(raw.try_into().unwrap()));
    usize::try_from(size).unwrap().clamp(64, 4096)
}

fn flip_bits(file: &mut [u8], numbers: &mut Numbers) {
    for _ in 0..=numbers.below(24) {
        let at = numbers.below(file.len());
        if let Some(byte) = file.get_mut(at) {
            *byte ^= 1 << numbers.below(8);
        }
    }
}

/// Where a page of the file begins and ends.
fn page(size: usize, file: &[u8], numbers: &mut Numbers) -> (usize, usize) {
    let start = numbers.below(file.len().div_ceil(size)) * size;
    (start, file.len().min(start + size))
}

fn zero_page(size: usize, file: &mut [u8], numbers: &mut Numbers) {
    let (start, end) = page(size, file, numbers);
    file[start..end].fill(0);
}

fn swap_pages(size: usize, file: &mut [u8], numbers: &mut Numbers) {
    let ((a, a_end), (b, b_end)) = (page(size, file, numbers), page(size, file, numbers));
    for offset in 0..(a_end - a).min(b_end - b) {
        file.swap(a + offset, b + offset);
    }
}

/// Puts a block of this file or of another one into the place of, or between, what is there.
fn splice(file: &mut Vec<u8>, other: &[u8], numbers: &mut Numbers) {
    let from = if numbers.below(2) == 0 { file.clone() } else { other.to_vec() };
    let start = numbers.below(from.len());
    let length = numbers.below((from.len() - start).min(4096) + 1);
    let block = &from[start..start + length];
    let at = numbers.below(file.len() + 1);
    if numbers.below(2) == 0 {
        let end = file.len().min(at + length);
        file.splice(at..end, block.iter().copied());
    } else {
        file.splice(at..at, block.iter().copied());
    }
}

/// Writes a number of 16 or 32 bits, in either order, at a place that is a multiple of its size.
fn edit_field(file: &mut [u8], numbers: &mut Numbers) {
    let number = AWKWARD[numbers.below(AWKWARD.len())];
    let raw = if numbers.below(4) == 0 { number.to_be_bytes() } else { number.to_le_bytes() };
    let width = if numbers.below(2) == 0 { 2 } else { 4 };
    let at = numbers.below(file.len() / width) * width;
    put(file, at, &raw[..width]);
}

/// Changes one byte in the header of the file or of a page.
fn edit_header(size: usize, file: &mut [u8], numbers: &mut Numbers) {
    let (start, _) = page(size, file, numbers);
    let length = if start == 0 { 200 } else { 40 };
    let (at, byte) = (start + numbers.below(length), numbers.byte());
    put(file, at, &[byte]);
}

/// Makes one part of the file lead to another part that it should not lead to: itself, something before it, or what a
/// second part leads to as well.
fn make_loop(kind: Kind, file: &mut Vec<u8>, numbers: &mut Numbers) {
    let size = page_size(kind, file);
    let pages = file.len() / size;
    let target = u32::try_from(numbers.below(pages + 1)).unwrap();
    match kind {
        Kind::Hash | Kind::Btree => {
            let start = numbers.below(pages) * size;
            // The number of the previous page, of the next one, or one within the page: children, overflow pages.
            let at = [12, 16, 26 + 2 * numbers.below(8), numbers.below(size / 4) * 4][numbers.below(4)];
            put(file, start + at, &target.to_le_bytes());
        }
        Kind::Lmdb => {
            let start = numbers.below(pages) * size;
            // The page of a node: its first four bytes, or the data of a long value. Node places begin at byte 16.
            let slot = start + 16 + 2 * numbers.below(4);
            let node = file.get(slot..slot + 2).map_or(0, |raw| u16::from_le_bytes([raw[0], raw[1]]));
            let at = start + usize::from(node) + [0, 8 + numbers.below(24)][numbers.below(2)];
            put(file, at, &target.to_le_bytes());
        }
        Kind::Cdb => copy_pair(file, numbers),
        _ => {
            // Lines have no references; they have quotes, continuations, NULs and doubles.
            let at = numbers.below(file.len() + 1);
            let words: [&[u8]; 12] = [
                b"\"",
                b"\n  ",
                b"\0",
                b"\n",
                b"#",
                b"key1 again\n",
                b"\\",
                b":",
                b"\nif /x/\n",
                b"(",
                b"{2,9}",
                b"/",
            ];
            let word = words[numbers.below(words.len())];
            file.splice(at..at, word.iter().copied());
        }
    }
}

fn put(file: &mut [u8], at: usize, bytes: &[u8]) {
    if let Some(place) = file.get_mut(at..at.saturating_add(bytes.len())) {
        place.copy_from_slice(bytes);
    }
}
