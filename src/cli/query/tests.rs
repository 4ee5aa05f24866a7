//! The command line, the output and the exit status, against the small server of the client's tests.

use super::*;
use crate::client::tests::{HELLO, Server};

fn arguments(words: &[&str]) -> Vec<OsString> {
    words.iter().map(OsString::from).collect()
}

/// Runs the command: exit status, standard output, standard error.
fn run_with(words: &[&str], input: &str) -> (Exit, String, String) {
    let (mut stdout, mut stderr) = (Vec::new(), Vec::new());
    let exit = match ask(&arguments(words), &mut input.as_bytes(), &mut stdout, &mut stderr) {
        Ok(exit) => exit,
        Err(error) => {
            stderr.extend_from_slice(error.message("mapkeep query").as_bytes());
            error.exit
        }
    };
    (exit, String::from_utf8(stdout).unwrap(), String::from_utf8(stderr).unwrap())
}

const OPEN: (&str, &str) = ("request|open|table|hash:/m|flags|0||", "status|0|flags|28||");

fn lookup(key: &str) -> String {
    format!("request|lookup|table|hash:/m|flags|524353|key|{key}||")
}

/// Asks a server that sends `replies` for the keys a, b, c and so on.
fn ask_for(test: &str, replies: &[&str], words: &[&str], input: &str) -> (Exit, String, String) {
    let requests: Vec<String> = ["a", "b", "c"].iter().map(|key| lookup(key)).collect();
    let mut exchanges = vec![OPEN];
    exchanges.extend(requests.iter().map(String::as_str).zip(replies.iter().copied()));
    let server = Server::start(test, HELLO, &exchanges);
    let socket = server.path.to_str().unwrap().to_owned();
    let all = [&["--socket", &socket, "hash:/m"], words].concat();
    let result = run_with(&all, input);
    assert_eq!(server.exchanges(), replies.len() + 1);
    result
}

#[test]
fn one_key_prints_the_value_alone() {
    let (exit, stdout, stderr) = ask_for("query-one", &["status|0|value|x y||"], &["a"], "");
    assert_eq!((exit, stdout.as_str(), stderr.as_str()), (Exit::Success, "x y\n", ""));
}

#[test]
fn several_keys_print_key_and_value_and_the_worst_decides() {
    let replies = ["status|0|value|x||", "status|1|value|||", "status|0|value|z||"];
    let (exit, stdout, stderr) = ask_for("query-several", &replies, &["a", "b", "c"], "");
    assert_eq!((exit, stdout.as_str(), stderr.as_str()), (Exit::Failure, "a\tx\nc\tz\n", ""));
}

#[test]
fn keys_from_standard_input_are_one_a_line() {
    let replies = ["status|0|value|x||", "status|0|value|y||"];
    let (exit, stdout, _) = ask_for("query-stdin", &replies, &["-"], "a\nb\n");
    assert_eq!((exit, stdout.as_str()), (Exit::Success, "a\tx\nb\ty\n"));
}

#[test]
fn statuses_become_the_documented_exit_statuses() {
    for (status, exit, code) in [
        (1, Exit::Failure, 1),
        (2, Exit::Temporary, 75),
        (4, Exit::Denied, 77),
        (5, Exit::Config, 78),
        (3, Exit::Unavailable, 69),
    ] {
        let reply = format!("status|{status}|value|||");
        let (got, stdout, stderr) = ask_for(&format!("query-status-{status}"), &[&reply], &["a"], "");
        assert_eq!((got, got as u8, stdout.as_str()), (exit, code, ""));
        assert_eq!(stderr.is_empty(), status == 1, "{stderr}");
    }
}

#[test]
fn worse_temporary_beats_not_found_and_denied_beats_temporary() {
    let replies = ["status|2|value|||", "status|1|value|||"];
    assert_eq!(ask_for("query-worst", &replies, &["a", "b"], "").0, Exit::Temporary);
    assert_eq!(Exit::Temporary.worse(Exit::Denied), Exit::Denied);
    assert_eq!(Exit::Denied.worse(Exit::Success), Exit::Denied);
}

#[test]
fn unapproved_table_names_the_setting() {
    let exchanges = [("request|open|table|hash:/m|flags|0||", "status|4|flags|0||")];
    let server = Server::start("query-denied", HELLO, &exchanges);
    let (exit, stdout, stderr) = run_with(&["--socket", server.path.to_str().unwrap(), "hash:/m", "a"], "");
    assert_eq!((exit, stdout.as_str()), (Exit::Denied, ""));
    assert!(stderr.contains("list proxy:hash:/m in proxy_read_maps"), "{stderr}");
}

#[test]
fn without_a_service_the_error_has_a_remedy() {
    let (exit, _, stderr) = run_with(&["--socket", "/nonexistent/private/proxymap", "hash:/m", "a"], "");
    assert_eq!(exit, Exit::Unavailable);
    assert!(stderr.contains("/nonexistent/private/proxymap: cannot connect"), "{stderr}");
    assert!(stderr.contains("Is Postfix running"), "{stderr}");
}

#[test]
fn wrong_usage_is_64_and_one_line() {
    for words in [
        &[][..],
        &["hash:/m"],
        &["hash", "a"],
        &["-c"],
        &["--socket", "/s"],
        &["-x", "/s", "hash:/m", "a"],
        &["-c", "/d", "--socket", "/s", "hash:/m", "a"],
    ] {
        let (exit, _, stderr) = run_with(words, "");
        assert_eq!(exit, Exit::Usage, "{words:?}");
        assert!(stderr.ends_with("(see mapkeep query --help)"), "{words:?}: {stderr}");
        assert_eq!(stderr.lines().count(), 1, "{stderr}");
    }
}

#[test]
fn command_line_is_read_as_meant() {
    let read = |words: &[&str]| understand(&arguments(words)).unwrap();
    let question = read(&["hash:/m", "-", "b"]);
    assert_eq!(question.address, Address::Config(None));
    assert_eq!(question.keys, Some(vec![b"-".to_vec(), b"b".to_vec()]));
    assert_eq!(read(&["hash:/m", "-"]).keys, None);
    assert_eq!(read(&["-c", "/etc/p", "t:x", "k"]).address, Address::Config(Some("/etc/p".into())));
    assert_eq!(read(&["--", "-odd:x", "k"]).table, b"-odd:x");
    assert_eq!(read(&["t:x", "--", "-k"]).keys, Some(vec![b"-k".to_vec()]));
    assert_eq!(read(&["t:x", "--", "-"]).keys, Some(vec![b"-".to_vec()]), "a key, not standard input");
    assert_eq!(read(&["t:x", "-c", "--", "-"]).keys, None, "the value of -c, not the end of options");
    assert_eq!(read(&["--socket=/s", "t:x", "k"]).address, Address::Socket("/s".into()));
    assert_eq!(read(&["t:x", "k", "-c", "/d"]).address, Address::Config(Some("/d".into())));
}

#[test]
fn socket_is_where_the_configuration_has_it_for_clients() {
    let directory = std::env::temp_dir().join(format!("mapkeep-query-{}", std::process::id()));
    std::fs::create_dir(&directory).unwrap();
    let write = |name: &str, text: &str| std::fs::write(directory.join(name), text).unwrap();
    let socket = || configured_socket(Some(directory.clone()));
    write("main.cf", "queue_directory = $base/queue\nbase = /srv\n");
    assert_eq!(socket(), Ok("/srv/queue/private/proxymap".into()));
    write("main.cf", "queue_directory = /q\nproxymap_service_name = mapkeep\n");
    // Neither what only the service is given counts, nor a file that clients do not read.
    write("master.cf", "proxymap unix - - n - - proxymap -o queue_directory=/other\n");
    std::fs::create_dir(directory.join("mapkeep.cf")).unwrap();
    assert_eq!(socket(), Ok("/q/private/mapkeep".into()));
    std::fs::remove_file(directory.join("main.cf")).unwrap();
    let error = socket().unwrap_err();
    let told = format!("mapkeep query: {}/main.cf: No such file", directory.display());
    let text = error.message("mapkeep query");
    assert!(text.starts_with(&told) && text.contains("--socket PATH"), "{text}");
    assert_eq!(error.exit, Exit::Config);
    std::fs::remove_dir_all(&directory).unwrap();
}
