//! What the end-to-end tests share: a private Postfix, an SMTP client, a raw proxymap client, a look at /proc.
//!
//! May: start and stop programs of its own instance. Never: touch the machine's Postfix, its queue or its
//! configuration.
#![allow(dead_code, unused_imports, unused_macros)] // every test program compiles this module and uses its own part of it

mod config;
pub mod master;
pub mod postfix;
pub mod process;
pub mod programs;
pub mod smtp;
pub mod stopwatch;
pub mod wire;
pub mod writing;

use std::os::unix::fs::MetadataExt;
use std::time::{Duration, Instant};

/// How long a test waits for an event that should come at once, before it fails. Long, because a busy machine with two
/// cores must not fail a correct test.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// How soon after a table file has settled its new version must be served (the promise of the project).
pub const FRESH: Duration = Duration::from_secs(1);

/// Pause between two looks at something a foreign program does and does not announce.
pub const BEAT: Duration = Duration::from_millis(20);

/// Creates a directory and returns its path: `stem` and an unused number, not even used by an earlier test that was
/// killed and whose process id has been reused.
pub fn fresh_directory(stem: &str) -> std::path::PathBuf {
    static COUNT: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(0);
    loop {
        let count = COUNT.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        // All of one length: no path is the beginning of another.
        let path = std::path::PathBuf::from(format!("{stem}-{}-{count:04}", std::process::id()));
        match std::fs::create_dir(&path) {
            Ok(()) => return path,
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {}
            Err(error) => panic!("{}: {error}", path.display()),
        }
    }
}

/// Looks again and again until `look` finds something; `None` when even a look begun after `within` has not found it. So
/// a slow machine makes a test slower, not wrong.
pub fn poll<T>(within: Duration, mut look: impl FnMut() -> Option<T>) -> Option<T> {
    let start = Instant::now();
    loop {
        let last = start.elapsed() > within;
        let found = look();
        if found.is_some() || last {
            return found;
        }
        std::thread::sleep(BEAT);
    }
}

/// What a failing test shows of many lines, such as a log: the last of them, none very long, and how many came before.
pub fn end_of<'l>(lines: impl Iterator<Item = &'l str>) -> String {
    const SHOWN: usize = 40;
    const WIDTH: usize = 400;
    let lines: Vec<&str> = lines.collect();
    let hidden = lines.len().saturating_sub(SHOWN);
    let head = (hidden > 0).then(|| format!("({hidden} lines before these)"));
    let short = lines.iter().skip(hidden).map(|line| match line.char_indices().nth(WIDTH) {
        Some((end, _)) => format!("{} ({} bytes more)", &line[..end], line.len() - end),
        None => (*line).to_owned(),
    });
    head.into_iter().chain(short).collect::<Vec<_>>().join("\n")
}

/// Whether these tests can run here. They start a master(8), so they need root and an installed Postfix;
/// without either they say so loudly, and under CI that is a failure rather than a silent gap.
pub fn can_run(test: &str) -> bool {
    let uid = std::fs::metadata("/proc/self").map(|m| m.uid()).ok();
    let installed = std::path::Path::new(postfix::STOCK_DAEMONS).join("master").exists();
    let reason = match (uid, installed) {
        (Some(0), true) => return true,
        (Some(0), false) => "Postfix is not installed",
        _ => "not running as root",
    };
    assert!(std::env::var_os("CI").is_none(), "{test} cannot run in CI: {reason}");
    eprintln!("\n*** SKIPPED: {test}: {reason}. Nothing was tested. ***\n");
    false
}

/// One test for each scenario, which is given a server: stock first and then ours, or ours alone.
macro_rules! scenarios_by_server {
    (both: $($both:ident),+; ours: $($ours:ident),+ $(,)?) => {
        crate::common::scenarios_by_server!(stock, crate::Server::Stock, $($both),+);
        crate::common::scenarios_by_server!(ours, crate::Server::Ours, $($both),+, $($ours),+);
    };
    ($module:ident, $server:expr, $($name:ident),+) => {
        mod $module {
            $(
                #[test]
                fn $name() {
                    if crate::common::can_run(stringify!($name)) {
                        crate::$name($server);
                    }
                }
            )+
        }
    };
}
pub(crate) use scenarios_by_server;

/// One test for each scenario of each module.
macro_rules! scenarios_by_module {
    ($($module:ident: $($name:ident),+;)+) => {
        $(mod $module {
            $(
                #[test]
                fn $name() {
                    if crate::common::can_run(stringify!($name)) {
                        crate::$module::$name();
                    }
                }
            )+
        })+
    };
}
pub(crate) use scenarios_by_module;
