//! The same requests to stock's own proxymap and to `answer`, byte for byte.
//!
//! Stock (`proxymap -S`: one request on standard input, the reply on standard output) gets a private
//! configuration directory with tables made by postmap; `answer` gets fake tables with the same
//! entries. Covers the old dialect, which Postfix 3.7 to 3.10 speaks. Where the two differ on
//! purpose, or stock gives no reply, the request is in `DIFFERENCES` with its reason.

mod changes;

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, SystemTime};

use mapkeep_name::Kind;

use super::fake::{Content, FakeTables};
use super::*;
use crate::wire::{Limits, Parser, Progress};

const PROXYMAP: [&str; 2] = ["/usr/lib/postfix/sbin/proxymap", "/usr/libexec/postfix/proxymap"];

/// The entries of each table. No key is the name of an account, as the table of accounts is asked as well. The last value is
/// not UTF-8.
const ENTRIES: [(&[u8], &[u8]); 4] =
    [(b"alice+x", b"x, y"), (b"bob@example.com", b"z"), (b"m\xc3\xbcller", b"u"), (b"raw", b"v\xff")];
/// The same without what text and inline tables refuse.
const TEXT_ENTRIES: usize = 3;

/// Requests where the replies differ: the request, stock's reply, ours, and why. `D` stands for the
/// directory of the test.
const DIFFERENCES: [(&str, &str, &str, &str); 12] = [
    (
        "request|open|table|hash:D/none|flags|0||",
        "status|0|flags|32||",
        "status|0|flags|28||",
        "an unavailable table keeps the class of its type, so that partial keys are asked once it is there",
    ),
    (
        "request|open|table|hash:D/none|flags|540736||",
        "status|0|flags|1589344||",
        "status|0|flags|1589340||",
        "the same",
    ),
    (
        "request|open|table|hash:D/many|flags|65600||",
        "",
        "status|0|flags|92||",
        "stock panics on OPEN_LOCK with LOCK",
    ),
    ("request|open|table|static:foo|flags|-1||", "", "", "stock panics, we answer BAD (tested in wire)"),
    (
        "request|sequence|table|static:foo|flags|64|function|0||",
        "",
        "status|5|key||value|||",
        "stock dies of a sequence on a type that has none",
    ),
    (
        "request|sequence|table|unix:passwd.byname|flags|64|function|0||",
        "",
        "status|5|key||value|||",
        "the same",
    ),
    (
        "request|sequence|table|hash:D/one|flags|64|function|1||",
        "",
        "status|1|key||value|||",
        "stock panics on NEXT without FIRST",
    ),
    (
        "request|lookup|table|lmdb:D/many|flags|64|key|||",
        "",
        "status|1|value|||",
        "stock dies of an empty key in lmdb",
    ),
    (
        "request|open|table|static:foo|flags|+64||",
        "status|0|flags|80||",
        "",
        "stock takes a sign, we answer BAD (tested in wire)",
    ),
    (
        "request|open|table|static:foo|flags|4294967296||",
        "status|0|flags|16||",
        "",
        "stock lets numbers wrap around, we answer BAD (tested in wire)",
    ),
    (
        "request|open|table|static:foo|flags|2097152||",
        "status|0|flags|2097184||",
        "status|0|flags|2097168||",
        "stock takes the text for a file name, finds no file, and has a stand-in; ours keeps the class of its type",
    ),
    (
        "request|open|table|lmdb:D/many|flags|131072||",
        "",
        "status|0|flags|393244||",
        "stock dies of a bulk update on a table opened for reading",
    ),
];

/// Removes its directory at the end, also when the test fails.
struct Scratch(PathBuf);

impl Scratch {
    fn new(name: &str) -> Scratch {
        let path = std::env::temp_dir().join(format!("mapkeep-differential-{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&path);
        fs::create_dir_all(path.join("queue")).unwrap();
        fs::create_dir_all(path.join("data")).unwrap();
        Scratch(path)
    }

    fn path(&self) -> &str {
        self.0.to_str().unwrap()
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// The tables that both sides have, by name.
fn table_names(directory: &str) -> Vec<String> {
    let mut names: Vec<String> = ["hash:D/many", "hash:D/one", "hash:D/none", "btree:D/tree", "lmdb:D/many"]
        .into_iter()
        .chain(["cdb:D/many", "texthash:D/text", "texthash:D/one", "texthash:D/none"])
        .map(|name| name.replace('D', directory))
        .collect();
    names.extend(
        ["static:foo", "fail:x", "inline:{alice+x=x}", "unix:passwd.byname", "nosuch:x"].map(Into::into),
    );
    names
}

/// Writes a configuration that approves these tables.
fn write_main_cf(scratch: &Scratch, parameter: &str, tables: &[String]) {
    let directory = scratch.path();
    let mut main_cf = format!(
        "compatibility_level = 3.6\nmyhostname = differential.example\nsmtputf8_enable = yes\n\
         queue_directory = {directory}/queue\ndata_directory = {directory}/data\n\
         maillog_file = {directory}/log\nmaillog_file_prefixes = {directory}\n{parameter} ="
    );
    for name in tables {
        main_cf.push_str(" proxy:");
        main_cf.push_str(name);
    }
    main_cf.push('\n');
    fs::write(scratch.0.join("main.cf"), main_cf).unwrap();
    // A file of this very second would be read again and again until it is older.
    let settled = SystemTime::now() - Duration::from_secs(10);
    let file = fs::File::options().append(true).open(scratch.0.join("main.cf")).unwrap();
    file.set_modified(settled).unwrap();
}

/// Builds the tables and the configuration.
fn build(scratch: &Scratch) {
    let line = |(key, value): &(&[u8], &[u8])| [key, &b" "[..], value, b"\n"].concat();
    let source = |entries: &[(&[u8], &[u8])]| entries.iter().flat_map(line).collect::<Vec<u8>>();
    let directory = scratch.path();
    write_main_cf(scratch, "proxy_read_maps", &table_names(directory));
    fs::write(scratch.0.join("many"), source(&ENTRIES)).unwrap();
    fs::write(scratch.0.join("tree"), source(&ENTRIES)).unwrap();
    fs::write(scratch.0.join("text"), source(&ENTRIES[..TEXT_ENTRIES])).unwrap();
    fs::write(scratch.0.join("one"), source(&ENTRIES[..1])).unwrap();
    for table in ["hash:many", "hash:one", "btree:tree", "lmdb:many", "cdb:many"] {
        // -u: the value that is not UTF-8 must get in.
        let built = Command::new("postmap")
            .args(["-u", "-c", directory, table])
            .current_dir(&scratch.0)
            .output()
            .unwrap();
        assert!(built.status.success(), "{table}: {}", String::from_utf8_lossy(&built.stderr));
    }
}

/// The same tables for `answer`.
fn fakes(directory: &str) -> FakeTables {
    let mut tables = FakeTables::default();
    for name in table_names(directory) {
        let bytes = name.as_bytes();
        let nul = !name.starts_with("cdb:") && Kind::of(bytes).has_nul_modes();
        let kind = name.split(':').next().unwrap_or_default();
        tables = match kind {
            "static" => tables.with(bytes, Content::Same(b"foo".to_vec())),
            "fail" => tables.with(bytes, Content::Fails(Failure::OnPurpose)),
            "inline" => tables.with_entries(bytes, false, &[(b"alice+x", b"x")]),
            "unix" => tables.with_entries(bytes, false, &[]),
            _ if name.ends_with("/one") => tables.with_entries(bytes, nul, &ENTRIES[..1]),
            _ if name.ends_with("/text") => tables.with_entries(bytes, nul, &ENTRIES[..TEXT_ENTRIES]),
            _ if name.ends_with("/many") || name.ends_with("/tree") => {
                tables.with_entries(bytes, nul, &ENTRIES)
            }
            _ => tables.with(bytes, Content::Fails(Failure::Unavailable(Cow::Borrowed("not there")))),
        };
    }
    tables
}

fn ask_stock(proxymap: &Path, directory: &str, service: &str, request: &[u8]) -> Vec<u8> {
    let mut child = Command::new(proxymap)
        .args(["-S", "-n", service])
        .env_clear()
        .env("MAIL_CONFIG", directory)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    // Dropping the pipe is the end of file. A server that has exited already is part of the test.
    let _ = child.stdin.take().unwrap().write_all(request);
    child.wait_with_output().unwrap().stdout
}

/// Our reply; empty where wire would not let the request through.
fn ask_ours(tables: &FakeTables, service: Service, request: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    if let Progress::Request { request, .. } = Parser::new(Limits::SERVICE).parse(request) {
        let settings = Settings { smtputf8_enable: true };
        let mut cursors = Cursors::default();
        answer(&request, service, tables, &settings, &mut cursors, &mut out, &mut |_| {});
    }
    out
}

/// The requests whose replies must be equal.
fn requests(directory: &str) -> Vec<Vec<u8>> {
    let mut all = Vec::new();
    let mut add = |text: &str, key: Option<&[u8]>| {
        let mut bytes = text.replace('D', directory).replace('|', "\0").into_bytes();
        if let Some(key) = key {
            bytes.extend_from_slice(b"key\0");
            bytes.extend_from_slice(key);
            bytes.push(0);
        }
        bytes.push(0);
        all.push(bytes);
    };
    let available = ["hash:D/many", "btree:D/tree", "lmdb:D/many", "cdb:D/many", "texthash:D/text"];
    let others = ["static:foo", "fail:x", "inline:{alice+x=x}", "unix:passwd.byname"];
    for table in available.into_iter().chain(others) {
        for flags in [0, 4, 8, 48, 64, 512, 16_448, 65_536, 524_288, 540_736, 555_072, 4_194_304] {
            add(&format!("request|open|table|{table}|flags|{flags}|"), None);
        }
        let lookups: [(u32, &[u8]); 8] = [
            (64, b"ALICE+X"),
            (64 | 16_384, b"ALICE+X"),
            (64 | 32_768, b"Alice+X"),
            (524_353, b"bob@example.com"),
            (524_353, b"no-such-user"),
            (524_353, b"\xff\xfe"),
            (524_352 | 16_384, b"M\xc3\x9cLLER"),
            (64 | 16_384, b"M\xc3\x9cLLER"),
        ];
        for (flags, key) in lookups {
            add(&format!("request|lookup|table|{table}|flags|{flags}|"), Some(key));
        }
    }
    for (table, key) in [("hash:D/many", &b"raw"[..]), ("cdb:D/many", b"raw"), ("static:foo", b"")] {
        for flags in [64, 524_352, 1_048_640] {
            add(&format!("request|lookup|table|{table}|flags|{flags}|"), Some(key));
        }
    }
    for flags in [4, 8] {
        for table in ["hash:D/many", "lmdb:D/many", "cdb:D/many"] {
            add(&format!("request|lookup|table|{table}|flags|{flags}|"), Some(b"alice+x"));
        }
    }
    for table in
        ["hash:D/none", "texthash:D/none", "nosuch:x", "hash:D/unapproved", "noname", "", "proxy:", ":x"]
    {
        add(&format!("request|lookup|table|{table}|flags|64|"), Some(b"k"));
        add(&format!("request|lookup|table|{table}|flags|524352|"), Some(b"\xff"));
        add(&format!("request|sequence|table|{table}|flags|64|function|0|"), None);
        add(&format!("request|delete|table|{table}|flags|64|"), Some(b"k"));
    }
    for flags in [0, 64, 540_736] {
        add(&format!("request|open|table|nosuch:x|flags|{flags}|"), None);
        add(&format!("request|open|table|hash:D/unapproved|flags|{flags}|"), None);
        add(&format!("request|open|table|proxy:proxy:hash:D/many|flags|{flags}|"), None);
    }
    for table in ["hash:D/one", "texthash:D/one", "inline:{alice+x=x}", "fail:x"] {
        add(&format!("request|sequence|table|{table}|flags|64|function|0|"), None);
    }
    all
}

fn shown(bytes: &[u8]) -> String {
    bytes.escape_ascii().to_string().replace("\\x00", "|")
}

/// Stock's program, if there is one.
fn installed() -> Option<&'static Path> {
    let found = PROXYMAP.iter().map(Path::new).find(|path| path.exists());
    if found.is_none() {
        assert!(std::env::var_os("CI").is_none(), "Postfix must be installed for this test");
        eprintln!("NOT TESTED: no Postfix here, so nothing was compared with stock's proxymap");
    }
    found
}

#[test]
fn stock_and_answer_give_the_same_bytes() {
    let Some(proxymap) = installed() else { return };
    let scratch = Scratch::new("lookups");
    build(&scratch);
    let directory = scratch.path();
    let tables = fakes(directory);
    let requests = requests(directory);
    assert!(requests.len() >= 80, "{}", requests.len());
    let compare = |request: &Vec<u8>| {
        let (stock, ours) =
            (ask_stock(proxymap, directory, "proxymap", request), ask_ours(&tables, Service::Read, request));
        (stock != ours || stock.is_empty())
            .then(|| format!("{}\n  stock {}\n  ours  {}", shown(request), shown(&stock), shown(&ours)))
    };
    let differs = |(text, stock, ours, reason): (&str, &str, &str, &str)| {
        let request = text.replace('D', directory).replace('|', "\0").into_bytes();
        let got = (
            shown(&ask_stock(proxymap, directory, "proxymap", &request)),
            shown(&ask_ours(&tables, Service::Read, &request)),
        );
        let wrong = (got.0 != stock) || (got.1 != ours);
        wrong.then(|| format!("{text}: {reason}\n  stock {}\n  ours  {}", got.0, got.1))
    };
    // Each question is a process that mostly waits; a stock server that exits waits a second first.
    let wrong: Vec<String> = std::thread::scope(|scope| {
        let ask = |part: &[Vec<u8>]| part.iter().filter_map(compare).collect::<Vec<String>>();
        let parts = requests.chunks(requests.len().div_ceil(8));
        let asking: Vec<_> = parts.map(|part| scope.spawn(move || ask(part))).collect();
        let dying = DIFFERENCES.map(|known| scope.spawn(move || differs(known)));
        let compared = asking.into_iter().flat_map(|thread| thread.join().unwrap());
        compared.chain(dying.into_iter().filter_map(|thread| thread.join().unwrap())).collect()
    });
    eprintln!("{} requests compared, {} known differences", requests.len(), DIFFERENCES.len());
    assert!(wrong.is_empty(), "{} replies are not as expected:\n{}", wrong.len(), wrong.join("\n"));
}
