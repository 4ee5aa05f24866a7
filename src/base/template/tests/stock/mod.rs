//! Help for tests that ask the installed postmap: a database, tables on it, its answers and ours.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU32, Ordering};

use mapkeep_template::{Dialect, DomainList, Results, SqlTemplate, Statement, Templates, TooLong};
use rusqlite::types::ValueRef;

const POSTMAP: &str = "/usr/sbin/postmap";
/// More than any result of these tests, in bytes.
pub const LIMIT: usize = 1 << 20;

/// Does the installed Postfix have sqlite tables? Its absence is loud, and a failure in continuous integration.
pub fn stock_is_here() -> bool {
    let types = Command::new("/usr/sbin/postconf").arg("-m").output();
    let here =
        types.is_ok_and(|types| String::from_utf8_lossy(&types.stdout).lines().any(|name| name == "sqlite"));
    if !here {
        assert!(std::env::var_os("CI").is_none(), "Postfix is not installed, or has no sqlite tables");
        eprintln!("SKIPPED: no Postfix with sqlite tables, nothing was compared");
    }
    here
}

/// A directory with a database and a configuration, gone when dropped.
pub struct Place {
    path: PathBuf,
    database: Mutex<rusqlite::Connection>,
}

/// What the table has beside its query.
#[derive(Clone, Copy, Default)]
pub struct Settings<'a> {
    pub result_format: Option<&'a str>,
    pub domain: &'a str,
    pub expansion_limit: i32,
}

impl Place {
    pub fn new() -> Place {
        static COUNTER: AtomicU32 = AtomicU32::new(0);
        let number = COUNTER.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("mapkeep-template-{}-{number}", std::process::id()));
        let _ = std::fs::remove_dir_all(&path);
        std::fs::create_dir(&path).unwrap();
        std::fs::write(path.join("main.cf"), "compatibility_level = 3.6\nmyhostname = host.example\n")
            .unwrap();
        let database = rusqlite::Connection::open(path.join("db")).unwrap();
        database
            .execute_batch(
                "CREATE TABLE t (n INTEGER, k TEXT, v TEXT, w TEXT);
                 INSERT INTO t VALUES (1, 'a', 'one@x.example', NULL), (2, 'a', NULL, 'w'), (3, 'a', '', 'w'),
                     (4, 'a', 'two', 'w'), (5, 'a', '@y.example', 'w'), (6, 'o''k', 'three@', 'w'),
                     (7, 'u@d.example', 'a@b@c.d', 'w'), (8, 'd.example', 'dom', 'w'), (9, 'u', 'user,with comma', 'w'),
                     (10, 'lonely', NULL, 'w'), (11, '100%', 'percent', 'w'), (12, 'b\\s', 'backslash', 'w'),
                     (13, 'é', 'ü@ö.example', 'w');",
            )
            .unwrap();
        Place { path, database: Mutex::new(database) }
    }

    pub fn table(&self, query: &str, settings: Settings<'_>) -> PathBuf {
        static COUNTER: AtomicU32 = AtomicU32::new(0);
        let file = self.path.join(format!("{}.cf", COUNTER.fetch_add(1, Ordering::Relaxed)));
        let mut text = format!("dbpath = {}\nquery = {query}\n", self.path.join("db").display());
        text += &format!("domain = {}\nexpansion_limit = {}\n", settings.domain, settings.expansion_limit);
        if let Some(format) = settings.result_format {
            text += &format!("result_format = {format}\n");
        }
        std::fs::write(&file, text).unwrap();
        // Stock reads a file again for as long as it is younger than a second.
        let old = std::time::SystemTime::now() - std::time::Duration::from_secs(3600);
        std::fs::File::options().write(true).open(&file).unwrap().set_modified(old).unwrap();
        file
    }

    /// What postmap prints for `keys`, a line for each that it finds.
    pub fn stock(&self, table: &Path, keys: &[String]) -> Output {
        let mut child = Command::new(POSTMAP)
            .arg("-c")
            .arg(&self.path)
            .args(["-f", "-q", "-"])
            .arg(format!("sqlite:{}", table.display()))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut input = child.stdin.take().unwrap();
        std::thread::scope(|scope| {
            scope.spawn(move || {
                for key in keys {
                    // It may have ended already; its status says so.
                    let _ = input.write_all(format!("{key}\n").as_bytes());
                }
            });
            child.wait_with_output().unwrap()
        })
    }

    /// The values of a statement: column 0 of each row.
    pub fn run(&self, statement: &Statement) -> Vec<Option<Vec<u8>>> {
        let sql = std::str::from_utf8(&statement.sql).unwrap();
        let database = self.database.lock().unwrap();
        let mut prepared = database.prepare(sql).unwrap_or_else(|error| panic!("{sql}: {error}"));
        for (number, text) in statement.parameters.iter().enumerate() {
            prepared.raw_bind_parameter(number + 1, std::str::from_utf8(text).unwrap()).unwrap();
        }
        let (mut rows, mut values) = (prepared.raw_query(), Vec::new());
        while let Some(row) = rows.next().unwrap() {
            values.push(match row.get_ref(0).unwrap() {
                ValueRef::Null => None,
                ValueRef::Integer(number) => Some(number.to_string().into_bytes()),
                ValueRef::Text(text) => Some(text.to_vec()),
                other => panic!("{other:?} in a test of texts"),
            });
        }
        values
    }

    /// What we make of the same.
    fn ours(&self, query: &str, settings: Settings<'_>, keys: &[String], bound: bool) -> String {
        let format = settings.result_format.unwrap_or("%s").as_bytes();
        let templates = Templates::compile(&[query.as_bytes()], format).unwrap();
        let domains = DomainList::parse(settings.domain.as_bytes(), true).unwrap();
        let make = if bound { SqlTemplate::of } else { SqlTemplate::without_parameters };
        let template = make(&templates.queries()[0], Dialect::Sqlite);
        let mut found = String::new();
        for text in keys {
            let bytes = text.as_bytes();
            if !domains.admits::<()>(bytes, |_, _| Err(())).unwrap() {
                continue;
            }
            let Some(key) = templates.key(bytes) else { continue };
            let statement: Result<Statement, TooLong> = template.statement(&key, &mut doubled, LIMIT);
            let mut results = Results::new(settings.expansion_limit, LIMIT);
            for value in self.run(&statement.unwrap()) {
                templates.add(&key, value.as_deref(), &mut results).unwrap();
            }
            if let Some(value) = results.finish() {
                found += &format!("{text}\t{}\n", String::from_utf8(value).unwrap());
            }
        }
        found
    }

    pub fn compare(&self, query: &str, settings: Settings<'_>, keys: &[String]) -> usize {
        let output = self.stock(&self.table(query, settings), keys);
        let complaints = String::from_utf8_lossy(&output.stderr);
        assert!(!complaints.contains("fatal"), "{query}: {complaints}");
        let theirs = String::from_utf8(output.stdout).unwrap();
        for bound in [true, false] {
            let ours = self.ours(query, settings, keys, bound);
            assert_eq!(
                ours, theirs,
                "{query} {:?} {:?} bound: {bound}",
                settings.result_format, settings.domain
            );
        }
        theirs.lines().count()
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.path);
    }
}

/// The quoting of SQLite.
pub fn doubled(text: &[u8], out: &mut Vec<u8>) {
    for byte in text {
        out.push(*byte);
        out.extend((*byte == b'\'').then_some(b'\''));
    }
}
