//! Names that stock's postmap(1) 3.7.11 was asked with, each with what it made of it.

use super::*;

fn parsed(name: &str) -> Result<Remote, &'static str> {
    remote(name.as_bytes()).map(Option::unwrap).map_err(|error| error.0)
}

fn socketmap(endpoint: Endpoint, map: &str) -> Result<Remote, &'static str> {
    Ok(Remote { endpoint, map: Some(map.as_bytes().to_vec()) })
}

fn tcp(host: &str, port: &str) -> Endpoint {
    Endpoint::Tcp { host: host.as_bytes().to_vec(), port: port.as_bytes().to_vec() }
}

fn unix(path: &str) -> Endpoint {
    Endpoint::Unix(path.as_bytes().to_vec())
}

#[test]
fn names_of_socketmap_that_stock_connects_for() {
    let longest = format!("/{}", "a".repeat(106));
    for (name, endpoint, map) in [
        ("inet:127.0.0.1:1:m", tcp("127.0.0.1", "1"), "m"),
        ("inet:127.0.0.1:1:", tcp("127.0.0.1", "1"), ""),
        ("inet:[::1]:1:m", tcp("::1", "1"), "m"),
        ("inet:[127.0.0.1]:1:m", tcp("127.0.0.1", "1"), "m"),
        ("inet:[name]:1:m", tcp("name", "1"), "m"),
        ("inet:::1:1:m", tcp("::1", "1"), "m"),
        ("inet:[IPv6:::1]:1:m", tcp("::1", "1"), "m"),
        ("inet:[ipv6:::1]:1:m", tcp("::1", "1"), "m"),
        ("inet:127.0.0.1:smtp:m", tcp("127.0.0.1", "smtp"), "m"),
        ("inet:127.0.0.1:70000:m", tcp("127.0.0.1", "70000"), "m"),
        ("inet:a_b.Example-1:1:m", tcp("a_b.Example-1", "1"), "m"),
        ("inet::1:m", tcp("localhost", "1"), "m"),
        ("inet:1:m", tcp("localhost", "1"), "m"),
        ("inet:h:m", tcp("localhost", "h"), "m"),
        ("unix:/run/x:m", unix("/run/x"), "m"),
        ("unix:private/x:m", unix("private/x"), "m"),
        ("unix:/a:b:m", unix("/a:b"), "m"),
        ("local:/x:m", unix("/x"), "m"),
        (&format!("unix:{longest}:m"), unix(&longest), "m"),
    ] {
        assert_eq!(parsed(&format!("socketmap:{name}")), socketmap(endpoint, map), "{name}");
    }
}

#[test]
fn names_of_socketmap_that_stock_dies_of_or_cannot_open() {
    let too_long = format!("unix:/{}:m", "a".repeat(107));
    for (name, why) in [
        ("", SERVER_AND_MAP.0),
        ("x", SERVER_AND_MAP.0),
        ("a:b", SERVER_AND_MAP.0),
        ("inet:m", SERVER_AND_MAP.0),
        ("inet::m", SERVER_AND_MAP.0),
        ("unix::m", SERVER_AND_MAP.0),
        ("local:m", SERVER_AND_MAP.0),
        (":m", SERVER_AND_MAP.0),
        (":x:m", "the server's transport is none of inet, unix and local"),
        ("INET:127.0.0.1:1:m", "the server's transport is none of inet, unix and local"),
        ("tcp:127.0.0.1:1:m", "the server's transport is none of inet, unix and local"),
        ("inet:[::1:1:m", "a closing bracket is missing"),
        ("inet:[::1]x:1:m", "something other than a port follows the bracket"),
        ("inet:[IPv6:1.2.3.4]:1:m", "the server's IPv6 address is malformed"),
        ("inet:[::1]:m", "the server's port is missing"),
        ("inet:[::1]::m", "the server's port is missing"),
        ("inet:127.0.0.1::m", "the server's port is missing"),
        ("inet:127.0.0.1:1x:m", "the server's port begins with a digit and is no number"),
        ("inet:a..b:1:m", "the server is neither a host name nor an address"),
        ("inet:127.0.0.1 :1:m", "the server is neither a host name nor an address"),
        (&too_long, "the path of the socket is longer than 107 bytes"),
    ] {
        assert_eq!(parsed(&format!("socketmap:{name}")), Err(why), "{name}");
    }
}

#[test]
fn names_of_tcp() {
    for (name, endpoint) in [
        ("127.0.0.1:1", tcp("127.0.0.1", "1")),
        ("127.0.0.01:1", tcp("127.0.0.01", "1")),
        ("0.0.0.0:1", tcp("0.0.0.0", "1")),
        ("x", tcp("localhost", "x")),
        ("[::1]:smtp", tcp("::1", "smtp")),
    ] {
        assert_eq!(parsed(&format!("tcp:{name}")), Ok(Remote { endpoint, map: None }), "{name}");
    }
    for name in [
        "",
        "127.0.0.1",
        "127.0.0.1:1x",
        "[::1",
        "127.0.0.1:",
        "[]:1",
        "-a:1",
        "a-:1",
        "0.1.2.3:1",
        "127.1:1",
    ] {
        assert!(parsed(&format!("tcp:{name}")).is_err(), "{name}");
    }
}

#[test]
fn names_have_limits_that_messages_keep() {
    let host = [&"a".repeat(63); 4].map(String::as_str).join(".");
    assert_eq!(host.len(), 255);
    assert!(parsed(&format!("tcp:{host}:{}", "p".repeat(255))).is_ok());
    assert!(parsed(&format!("tcp:{host}:{}", "p".repeat(256))).is_err());
    assert!(parsed(&format!("tcp:{host}.a:1")).is_err());
    assert!(parsed(&format!("tcp:{}:1", "a".repeat(64))).is_err());
}

/// Stock takes a name of letters beyond ASCII to the name service, in its IDNA form.
#[test]
fn host_name_beyond_ascii_is_refused() {
    assert_eq!(parsed("tcp:bücher.example:1"), Err("the server is neither a host name nor an address"));
    assert!(parsed("tcp:xn--bcher-kva.example:1").is_ok());
}

#[test]
fn other_tables_have_no_server_of_their_own() {
    assert_eq!(remote(b"hash:/x"), Ok(None));
    assert_eq!(remote(b"unionmap:{tcp:a:1}"), Ok(None));
    for kind in Kind::ALL {
        assert_eq!(kind.is_remote(), matches!(kind, Kind::Socketmap | Kind::Tcp), "{kind:?}");
    }
}

#[test]
fn servers_are_listed_once_each_in_the_order_of_their_first_names() {
    let names = [
        "tcp:b:1",
        "hash:/x",
        "socketmap:inet:b:1:m",
        "socketmap:inet:b:1:other",
        "tcp:[b]:1",
        "socketmap:odd",
        "tcp:2",
    ];
    let found = servers(names.map(str::as_bytes));
    let shown: Vec<String> = found.iter().map(|(kind, endpoint)| format!("{kind:?} {endpoint}")).collect();
    assert_eq!(shown, ["Tcp inet:b:1", "Socketmap inet:b:1", "Tcp inet:localhost:2"]);
}

#[test]
fn endpoints_are_shown_as_they_are_written() {
    for text in ["unix:/run/x", "inet:localhost:9998", "inet:[::1]:9998", "inet:[h]:a:b"] {
        let table = parsed(&format!("socketmap:{text}:m")).unwrap();
        assert_eq!(table.endpoint.to_string(), text);
    }
}
