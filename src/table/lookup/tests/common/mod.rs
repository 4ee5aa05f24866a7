//! What the tests of whole files share: a scratch directory, entries, `postmap`, and reading a table back.
#![allow(dead_code)]

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

use mapkeep_name::Kind;
use mapkeep_query::{NulModes, Outcome, Step};
use mapkeep_table_format::Cursor;
use mapkeep_table_lookup::Table;

pub mod numbers;

pub type Pairs = Vec<(Vec<u8>, Vec<u8>)>;

/// Whether the tests may use `program`. Without it they are skipped on a developer's machine and fail elsewhere.
pub fn have(program: &str) -> bool {
    if Path::new(program).exists() {
        return true;
    }
    assert!(std::env::var_os("CI").is_none(), "{program} is missing");
    eprintln!("SKIPPED: {program} is missing");
    false
}

/// A directory of its own, with an empty Postfix configuration; removed at the end.
pub struct Scratch(PathBuf);

impl Scratch {
    pub fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let name = format!("mapkeep-table-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let path = std::env::temp_dir().join(name);
        let _ = std::fs::remove_dir_all(&path);
        std::fs::create_dir(&path).unwrap();
        let settings = "compatibility_level = 3.6\nlmdb_map_size = 268435456\n";
        std::fs::write(path.join("main.cf"), settings).unwrap();
        Scratch(path)
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    /// Runs postmap on the table `t` with `input`, and returns its output.
    pub fn postmap(&self, kind: &str, options: &[&str], input: &[u8]) -> Vec<u8> {
        let mut command = Command::new("/usr/sbin/postmap");
        command.arg("-c").arg(&self.0).args(options).arg(format!("{kind}:{}", self.path("t").display()));
        let output = run(&mut command, input);
        // The status of `postmap -d -` tells whether anything was found; all other commands must succeed.
        assert!(output.status.success(), "postmap {kind}: {}", String::from_utf8_lossy(&output.stderr));
        output.stdout
    }

    /// Builds the table `t` from `pairs` and returns the file.
    pub fn build(&self, kind: &str, pairs: &Pairs) -> Vec<u8> {
        let text: Vec<u8> =
            pairs.iter().flat_map(|(key, value)| [key, &b"\t"[..], value, b"\n"].concat()).collect();
        std::fs::write(self.path("t"), text).unwrap();
        self.postmap(kind, &[], b"");
        self.file(kind)
    }

    /// The file of the table `t`.
    pub fn file(&self, kind: &str) -> Vec<u8> {
        let end = if matches!(kind, "hash" | "btree") { "db" } else { kind };
        std::fs::read(self.path(&format!("t.{end}"))).unwrap()
    }

    /// All records in the order of `postmap -s`.
    pub fn listing(&self, kind: &str) -> Pairs {
        let output = self.postmap(kind, &["-s"], b"");
        output
            .split_inclusive(|byte| *byte == b'\n')
            .map(|line| line.strip_suffix(b"\n").unwrap())
            .map(|line| {
                let tab = line.iter().position(|byte| *byte == b'\t').unwrap();
                (line[..tab].to_vec(), line[tab + 1..].to_vec())
            })
            .collect()
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// Runs a command with `input` on its standard input.
pub fn run(command: &mut Command, input: &[u8]) -> Output {
    let mut child =
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let input = input.to_vec();
    let writer = std::thread::spawn(move || {
        let _ = stdin.write_all(&input);
    });
    let output = child.wait_with_output().unwrap();
    writer.join().unwrap();
    output
}

/// `count` entries with keys in mixed order; with `long`, some have keys and values that need pages of their own.
pub fn entries(count: usize, long: Option<usize>) -> Pairs {
    (0..count)
        .map(|number| {
            // A multiplication by an odd number permutes the keys, so that files do not come sorted.
            let mixed = number.wrapping_mul(7919) % 1_000_003;
            let mut key = format!("user{mixed}@domain{}.example", number % 97).into_bytes();
            let mut value = format!("value of {number}").into_bytes();
            if let Some(longest) = long.filter(|_| number % 151 == 1) {
                key.resize(longest - number % 40, b'k');
                key.extend(number.to_string().bytes());
            }
            if long.is_some() && number % 101 == 0 {
                value = value.repeat(8000 / value.len());
            }
            (key, value)
        })
        .collect()
}

pub fn open(kind: Kind, file: &[u8]) -> Table<&[u8]> {
    let mut complaints = Vec::new();
    let table = Table::from_snapshot(kind, file, &mut complaints).unwrap();
    assert_eq!(complaints, []);
    table
}

pub fn get(table: &Table<&[u8]>, key: &[u8]) -> Option<Vec<u8>> {
    let mut answer = Vec::new();
    match table.lookup(key, NulModes::BOTH, &mut answer).unwrap() {
        Outcome::Found(_) => Some(answer),
        Outcome::Absent => None,
    }
}

pub fn scan(table: &Table<&[u8]>) -> Pairs {
    let (mut cursor, mut key, mut value) = (Cursor::default(), Vec::new(), Vec::new());
    let mut pairs = Vec::new();
    while table.step(&mut cursor, &mut key, &mut value).unwrap() == Step::Record {
        pairs.push((key.clone(), value.clone()));
    }
    assert_eq!(table.step(&mut cursor, &mut key, &mut value), Ok(Step::End));
    pairs
}

/// Asserts that each of `pairs` is found and that keys near them are not.
pub fn assert_answers(table: &Table<&[u8]>, pairs: &Pairs) {
    for (key, value) in pairs {
        assert_eq!(get(table, key).as_ref(), Some(value), "{}", String::from_utf8_lossy(key));
    }
    for (key, _) in pairs.iter().take(500) {
        let longer = [key, &b"x"[..]].concat();
        assert_eq!(get(table, &longer), None);
        assert_eq!(get(table, &key[..key.len() - 1]), None);
    }
    let huge = vec![b'k'; 100_000];
    for absent in [&b""[..], b"\0", b"!", b"zzz", b"user", &huge] {
        assert_eq!(get(table, absent), None);
    }
}
