//! Every program and every command answers alike: usage on standard output and status 0, or one line on standard error
//! that names the word which is not understood, and status 64. Nothing is started, asked or changed by that.
#![cfg(test)]

use std::process::{Command, Output, Stdio};

const MAPKEEP: &str = env!("CARGO_BIN_EXE_mapkeep");
const MAPKEEPD: &str = env!("CARGO_BIN_EXE_mapkeepd");
const WORKER: &str = env!("CARGO_BIN_EXE_mapkeep-worker");
const WRITER: &str = env!("CARGO_BIN_EXE_mapkeep-writer");
const GATEWAY: &str = env!("CARGO_BIN_EXE_mapkeep-gateway");
const DIALER: &str = env!("CARGO_BIN_EXE_mapkeep-dialer");

/// Each program with the words that name a command of it.
const COMMANDS: [(&str, &[&str]); 12] = [
    (MAPKEEP, &[]),
    (MAPKEEP, &["query"]),
    (MAPKEEP, &["tables"]),
    (MAPKEEP, &["serve"]),
    (MAPKEEP, &["checkpoint"]),
    (MAPKEEP, &["demo"]),
    (MAPKEEPD, &[]),
    (MAPKEEPD, &["serve"]),
    (WORKER, &[]),
    (WRITER, &[]),
    (GATEWAY, &[]),
    (DIALER, &[]),
];

fn run(program: &str, words: &[&str]) -> Output {
    let nowhere = "/nonexistent-configuration";
    Command::new(program)
        .args(words)
        .env("MAIL_CONFIG", nowhere)
        .stdin(Stdio::null())
        .output()
        .unwrap_or_else(|error| panic!("{program}: {error}"))
}

/// Runs it with more words: the status, and what it wrote to standard output and to standard error.
fn said(program: &str, command: &[&str], more: &[&str]) -> (i32, String, String) {
    let output = run(program, &[command, more].concat());
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (output.status.code().expect("no signal"), text(output.stdout), text(output.stderr))
}

#[test]
fn help_is_on_standard_output() {
    for (program, command) in COMMANDS {
        for word in ["--help", "-h"] {
            let (status, out, error) = said(program, command, &[word]);
            assert_eq!((status, error.as_str()), (0, ""), "{program} {command:?} {word}");
            assert!(out.starts_with("usage: mapkeep"), "{out}");
            let name = program.rsplit('/').next().unwrap();
            assert!(out.contains(&[&[name], command].concat().join(" ")), "{out}");
        }
    }
}

#[test]
fn words_that_are_not_understood_are_named_in_one_line() {
    for (program, command) in COMMANDS {
        for word in ["--frob", "-Q", "some-extra-word"] {
            let needed: &[&str] = if command == ["query"] { &["static:x"] } else { &[] };
            if command == ["query"] && !word.starts_with('-') {
                // It is a key there.
                continue;
            }
            let (status, out, error) = said(program, command, &[needed, &[word]].concat());
            assert_eq!((status, out.as_str()), (64, ""), "{program} {command:?} {word}: {error}");
            assert!(error.contains(word) && error.trim_end().lines().count() == 1, "{command:?}: {error:?}");
            assert!(error.starts_with("mapkeep"), "{error}");
        }
    }
    for line in [&["help", "x1"][..], &["--version", "x1"], &["--help", "x1"]] {
        let (status, _, error) = said(MAPKEEP, line, &[]);
        assert_eq!(status, 64, "{line:?}");
        assert!(error.contains("x1"), "{line:?}: {error}");
    }
}

#[test]
fn missing_words_are_named() {
    for (program, line, named) in [
        (MAPKEEP, &[][..], "command"),
        (MAPKEEP, &["query"], "table"),
        (MAPKEEP, &["query", "static:x"], "key"),
        (MAPKEEP, &["query", "--socket"], "--socket"),
        (MAPKEEP, &["tables", "-c"], "-c"),
        (MAPKEEP, &["checkpoint", "-c"], "-c"),
        (MAPKEEP, &["serve", "-n"], "-n"),
        (MAPKEEPD, &["serve", "--socket"], "--socket"),
        (MAPKEEPD, &[], "-t"),
        (WORKER, &[], "no arguments"),
        (WRITER, &[], "no arguments"),
    ] {
        let (status, out, error) = said(program, line, &[]);
        assert_eq!((status, out.as_str()), (64, ""), "{program} {line:?}: {error}");
        assert!(error.contains(named) && error.lines().count() == 1, "{line:?}: {error:?}");
    }
}

/// A title like those that mapkeepd gives, and nothing, or something else, where the launch would be.
#[test]
fn titles_make_no_process_of_ours() {
    for program in [MAPKEEPD, WORKER, WRITER] {
        for shell in ["exec 3<&-", "exec 3</dev/null", "exec 3<>/dev/null"] {
            let script = format!("{shell}; exec -a 'mapkeep: lookup worker (proxymap)' \"$0\" --help");
            let output = Command::new("bash").args(["-c", &script, program]).output().unwrap();
            let error = String::from_utf8(output.stderr).unwrap();
            assert_eq!((output.status.code(), output.stdout.as_slice()), (Some(64), &b""[..]), "{error}");
            assert!(error.contains("only mapkeepd can start this program"), "{error}");
            assert_eq!(error.lines().count(), 1, "{error}");
        }
    }
}

#[test]
fn all_programs_print_the_same_version() {
    for program in [MAPKEEP, MAPKEEPD, WORKER, WRITER] {
        let (status, out, error) = said(program, &[], &["--version"]);
        let name = program.rsplit('/').next().unwrap();
        assert_eq!((status, error.as_str()), (0, ""), "{program}");
        assert!(out.starts_with(&format!("{name} {}", env!("CARGO_PKG_VERSION"))), "{out}");
    }
}

#[test]
fn version_names_the_pcre2_that_is_installed() {
    let installed = Command::new("pkg-config").args(["--modversion", "libpcre2-8"]).output().unwrap();
    let installed = String::from_utf8(installed.stdout).unwrap();
    let expected = format!("mapkeep-worker {} (PCRE2 {} ", env!("CARGO_PKG_VERSION"), installed.trim());
    for program in [WORKER, MAPKEEP] {
        let (_, out, _) = said(program, &[], &["--version"]);
        assert!(out.lines().any(|line| line.starts_with(&expected)), "{program}: {out} {expected}");
    }
}

#[test]
fn key_that_begins_with_a_dash_is_asked_after_two_dashes() {
    let nowhere = "/nonexistent-directory/socket";
    let (status, _, error) = said(MAPKEEP, &["query", "--socket", nowhere, "static:x"], &["--", "--help"]);
    assert_eq!(status, 69, "it goes as far as to the socket: {error}");
    assert!(error.contains(nowhere), "{error}");
}
