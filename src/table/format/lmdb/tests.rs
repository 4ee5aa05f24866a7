use super::*;
use mapkeep_query::NulMode;

const PAGE: usize = 512;

/// A file of empty pages with two valid meta pages; the second has the later transaction.
struct Image(Vec<u8>);

impl Image {
    fn new(pages: usize, root: u64) -> Image {
        let mut image = Image(vec![0; pages * PAGE]);
        for (meta, transaction) in [(0, 6), (1, 7)] {
            image.put16(meta, at::PAGE_FLAGS, page_flag::META);
            image.put32(meta, at::MAGIC, MAGIC);
            image.put32(meta, at::VERSION, 1);
            image.put32(meta, at::PAGE_SIZE, 512);
            image.put64(meta, at::MAIN_ROOT, root);
            image.put64(meta, at::LAST_PAGE, pages as u64 - 1);
            image.put64(meta, at::TRANSACTION, transaction);
        }
        image
    }

    fn put(&mut self, page: usize, offset: usize, bytes: &[u8]) {
        let start = page * PAGE + offset;
        self.0[start..start + bytes.len()].copy_from_slice(bytes);
    }

    fn put16(&mut self, page: usize, offset: usize, number: u16) {
        self.put(page, offset, &number.to_le_bytes());
    }

    fn put32(&mut self, page: usize, offset: usize, number: u32) {
        self.put(page, offset, &number.to_le_bytes());
    }

    fn put64(&mut self, page: usize, offset: usize, number: u64) {
        self.put(page, offset, &number.to_le_bytes());
    }

    /// Nodes of (low and high number, flags, key, data).
    fn fill(&mut self, page: usize, kind: u16, nodes: &[(u32, u16, &[u8], &[u8])]) {
        self.put64(page, 0, page as u64);
        self.put16(page, at::PAGE_FLAGS, kind);
        self.put16(page, at::PAGE_LOWER, (PAGE_HEADER + 2 * nodes.len()) as u16);
        let mut start = PAGE;
        for (index, (number, flags, key, data)) in nodes.iter().enumerate() {
            start -= NODE_HEADER + key.len() + data.len();
            self.put16(page, PAGE_HEADER + 2 * index, start as u16);
            self.put32(page, start, *number);
            self.put16(page, start + 4, *flags);
            self.put16(page, start + 6, key.len() as u16);
            self.put(page, start + 8, key);
            self.put(page, start + 8 + key.len(), data);
        }
    }

    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, TableError> {
        let mut answer = Vec::new();
        let found = Head::read(&self.0)?.find(&self.0, &Probe::new(key, NulMode::Bare), &mut answer)?;
        Ok(found.then_some(answer))
    }

    fn scan(&self) -> Result<Vec<Vec<u8>>, TableError> {
        let head = Head::read(&self.0)?;
        let (mut cursor, mut key, mut value, mut keys) =
            (Cursor::default(), Vec::new(), Vec::new(), Vec::new());
        while head.step(&self.0, &mut cursor, &mut key, &mut value)? == Step::Record {
            keys.push(key.clone());
        }
        Ok(keys)
    }
}

/// A branch over two leaves.
fn tree() -> Image {
    let mut image = Image::new(5, 2);
    image.fill(2, page_flag::BRANCH, &[(3, 0, b"", b""), (4, 0, b"m", b"")]);
    image.fill(3, page_flag::LEAF, &[(1, 0, b"a", b"1"), (1, 0, b"c", b"2")]);
    image.fill(4, page_flag::LEAF, &[(1, 0, b"m", b"3"), (1, 0, b"z", b"4")]);
    image
}

#[test]
fn find_and_step_two_levels() {
    let image = tree();
    for (key, value) in [(b"a", b"1"), (b"c", b"2"), (b"m", b"3"), (b"z", b"4")] {
        assert_eq!(image.get(key), Ok(Some(value.to_vec())));
    }
    for absent in [&b""[..], b"0", b"b", b"d", b"n", b"zz", &[b'x'; 600]] {
        assert_eq!(image.get(absent), Ok(None));
    }
    assert_eq!(image.scan().unwrap(), [b"a", b"c", b"m", b"z"]);
}

#[test]
fn read_later_valid_transaction_wins() {
    let mut image = tree();
    image.put64(0, at::MAIN_ROOT, 4);
    assert_eq!(image.get(b"a"), Ok(Some(b"1".to_vec())));
    image.put64(0, at::TRANSACTION, 8);
    assert_eq!(image.get(b"a"), Ok(None));
    image.put64(0, at::TRANSACTION, 6);
    image.put32(1, at::MAGIC, 0);
    assert_eq!(image.get(b"a"), Ok(None));
}

#[test]
fn read_empty_tree_absent() {
    let image = Image::new(2, NO_PAGE);
    assert_eq!(image.get(b"a"), Ok(None));
    assert_eq!(image.scan(), Ok(vec![]));
}

#[test]
fn read_other_machines_versions_flags_refused() {
    let refused = |change: &dyn Fn(&mut Image)| {
        let mut image = tree();
        change(&mut image);
        matches!(Head::read(&image.0), Err(TableError::Unsupported(_)))
    };
    assert!(refused(&|image| image.put32(0, at::MAGIC, MAGIC.swap_bytes())));
    assert!(refused(&|image| {
        image.put32(0, at::MAGIC, 1);
        image.put32(0, at::MAGIC_OF_32_BITS, MAGIC);
    }));
    assert!(refused(&|image| image.put32(0, at::VERSION, 2)));
    assert!(refused(&|image| image.put16(1, at::MAIN_FLAGS, 4)));
}

#[test]
fn find_named_database_refused() {
    let mut image = tree();
    image.fill(3, page_flag::LEAF, &[(1, 2, b"a", b"1")]);
    assert!(matches!(image.get(b"a"), Err(TableError::Unsupported(_))));
}

#[test]
fn find_long_value_run_checked() {
    let mut image = Image::new(6, 2);
    image.fill(2, page_flag::LEAF, &[(900, 1, b"k", &3_u64.to_le_bytes())]);
    image.put64(3, 0, 3);
    image.put16(3, at::PAGE_FLAGS, page_flag::OVERFLOW);
    image.put32(3, at::OVERFLOW_PAGES, 2);
    image.put(3, PAGE_HEADER, &[b'v'; 900]);
    assert_eq!(image.get(b"k"), Ok(Some(vec![b'v'; 900])));
    image.put32(3, at::OVERFLOW_PAGES, 1);
    assert!(image.get(b"k").is_err());
    image.put32(3, at::OVERFLOW_PAGES, 2);
    image.put16(3, at::PAGE_FLAGS, page_flag::LEAF);
    assert!(image.get(b"k").is_err());
}

#[test]
fn find_loop_of_branches_ends() {
    let mut image = tree();
    image.fill(2, page_flag::BRANCH, &[(2, 0, b"", b""), (2, 0, b"m", b"")]);
    assert_eq!(image.get(b"a"), Err(TableError::Damaged("the tree is too deep")));
    assert_eq!(image.scan(), Err(TableError::Damaged("the tree is too deep")));
}

#[test]
fn read_file_cut_behind_the_root_refused() {
    let mut image = tree();
    let page = image.0.len() / 5;
    image.0.truncate(4 * page);
    assert_eq!(image.get(b"a"), Err(TableError::Damaged("a page beyond the end of the file")));
}

#[test]
fn step_leaf_listed_twice_refused() {
    let mut image = tree();
    image.fill(2, page_flag::BRANCH, &[(4, 0, b"", b""), (4, 0, b"z", b"")]);
    // Both ways lead to the leaf with m and z: the scan ends behind z, and does not begin again.
    assert_eq!(image.scan().unwrap(), [b"m", b"z"]);
    image.fill(2, page_flag::BRANCH, &[(4, 0, b"", b""), (3, 0, b"zz", b"")]);
    assert_eq!(image.scan(), Err(TableError::Damaged("keys are not in ascending order")));
}
