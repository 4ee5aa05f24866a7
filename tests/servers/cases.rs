//! Replies of servers, by key, and what stock proxymap 3.7.11 makes of each.

use std::sync::LazyLock;

/// The type of a table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Table {
    Socketmap,
    Tcp,
}

/// What a server does when it is asked for a key.
pub enum Act {
    /// Sends this, as one reply of its protocol.
    Reply(Vec<u8>),
    /// Sends these bytes, and closes the connection.
    Raw(Vec<u8>),
    /// Closes the connection the first time, the third and so on; then sends this, as a reply.
    Once(Vec<u8>),
}

/// One key.
pub struct Case {
    pub key: String,
    pub act: Act,
    /// The value, or the status without one. A value that is not UTF-8 is CONFIG where UTF-8 was asked for.
    pub stock: Result<Vec<u8>, u8>,
    /// The same of stock since April 2026, and of ours, where that is another.
    pub since_2026: Option<Result<Vec<u8>, u8>>,
    once: bool,
    lost_before: bool,
    unread: bool,
}

impl Case {
    /// Whether it is asked with one set of flags only: stock tries it ten times, a second apart, or ours lets a second pass
    /// before it connects again.
    pub fn takes_time(&self) -> bool {
        self.once
    }

    /// Whether the case before it has the server close the connection twice. Then ours answers RETRY, without asking, until it
    /// connects again.
    pub fn follows_a_loss(&self) -> bool {
        self.lost_before
    }

    /// Whether it leaves something unread in stock, which may take it for the reply to the next question.
    pub fn leaves_unread(&self) -> bool {
        self.unread
    }
}

const NOKEY: u8 = 1;
const RETRY: u8 = 2;
const CONFIG: u8 = 5;

fn case(key: impl Into<String>, act: Act, stock: Result<&[u8], u8>) -> Case {
    Case {
        key: key.into(),
        act,
        stock: stock.map(<[u8]>::to_vec),
        since_2026: None,
        once: false,
        lost_before: false,
        unread: false,
    }
}

fn text(text: &str) -> Vec<u8> {
    text.as_bytes().to_vec()
}

/// What becomes of connections that the server closes before the answer, or in the middle of it.
fn losses(begun: &str, half: &str, value: &[u8]) -> Vec<Case> {
    let mut all = Vec::new();
    for (key, bytes) in [("eof", ""), ("eof-begun", begun), ("eof-in-value", half)] {
        all.push(Case { once: true, ..case(key, Act::Raw(text(bytes)), Err(RETRY)) });
        let after = case(format!("after-{key}"), Act::Reply(value.to_vec()), Ok(b"value"));
        all.push(Case { once: true, lost_before: true, ..after });
    }
    all.push(Case { once: true, ..case("eof-once", Act::Once(value.to_vec()), Ok(b"value")) });
    all
}

static SOCKETMAP: LazyLock<Vec<Case>> = LazyLock::new(|| {
    let mut all = vec![
        case("ok", Act::Reply(text("OK value")), Ok(b"value")),
        case("ok-empty", Act::Reply(text("OK ")), Ok(b"")),
        Case { since_2026: Some(Ok(Vec::new())), ..case("ok-bare", Act::Reply(text("OK")), Err(NOKEY)) },
        case("ok-spaces", Act::Reply(text("OK  two  words ")), Ok(b" two  words ")),
        case("ok-nul", Act::Reply(text("OK a\0b")), Ok(b"a")),
        case("ok-utf8", Act::Reply(text("OK caf\u{e9}")), Ok("caf\u{e9}".as_bytes())),
        case("ok-not-utf8", Act::Reply(b"OK \xff".to_vec()), Ok(b"\xff")),
        case("ok-cr", Act::Reply(text("OK v\r\n")), Ok(b"v\r\n")),
        case("notfound", Act::Reply(text("NOTFOUND ")), Err(NOKEY)),
        case("notfound-bare", Act::Reply(text("NOTFOUND")), Err(NOKEY)),
        case("notfound-text", Act::Reply(text("NOTFOUND no such user")), Err(NOKEY)),
        case("temp", Act::Reply(text("TEMP later")), Err(RETRY)),
        case("temp-bare", Act::Reply(text("TEMP")), Err(RETRY)),
        case("timeout", Act::Reply(text("TIMEOUT slow")), Err(RETRY)),
        case("perm", Act::Reply(text("PERM never")), Err(CONFIG)),
        case("perm-bare", Act::Reply(text("PERM")), Err(CONFIG)),
        case("word-lower", Act::Reply(text("ok value")), Err(RETRY)),
        case("word-unknown", Act::Reply(text("WHAT value")), Err(RETRY)),
        case("word-glued", Act::Reply(text("OKvalue")), Err(RETRY)),
        case("word-tab", Act::Reply(text("OK\tvalue")), Err(RETRY)),
        case("word-none", Act::Reply(text(" value")), Err(RETRY)),
        case("empty", Act::Reply(Vec::new()), Err(RETRY)),
        case("raw-no-number", Act::Raw(text("garbage")), Err(RETRY)),
        case("raw-negative", Act::Raw(text("-8:OK value,")), Err(RETRY)),
        case("raw-huge", Act::Raw(text("99999999999999999999:OK")), Err(RETRY)),
        case("raw-no-colon", Act::Raw(text("8;OK value,")), Err(RETRY)),
        case("raw-no-comma", Act::Raw(text("8:OK value;")), Err(RETRY)),
        case("raw-closes", Act::Raw(text("8:OK value,")), Ok(b"value")),
    ];
    let longest = vec![b'v'; 100_000 - 3];
    all.push(case("longest", Act::Reply([b"OK ", longest.as_slice()].concat()), Ok(&longest)));
    all.extend(losses("8", "8:OK va", &text("OK value")));
    let too_long = case("too-long", Act::Reply([b"OK v", longest.as_slice()].concat()), Err(RETRY));
    let more = case("more", Act::Raw(text("8:OK value,8:OK other,")), Ok(b"value"));
    all.extend([too_long, more].map(|case| Case { unread: true, ..case }));
    all
});

static TCP: LazyLock<Vec<Case>> = LazyLock::new(|| {
    let mut all = vec![
        case("ok", Act::Reply(text("200 value")), Ok(b"value")),
        case("ok-empty", Act::Reply(text("200 ")), Ok(b"")),
        case("ok-quoted", Act::Reply(text("200 a%20b%2Fc%2f%25")), Ok(b"a b/c/%")),
        case("ok-nul", Act::Reply(text("200 a%00b")), Ok(b"a")),
        case("ok-utf8", Act::Reply(text("200 caf%C3%A9")), Ok("caf\u{e9}".as_bytes())),
        case("ok-not-utf8", Act::Reply(text("200 %ff")), Ok(b"\xff")),
        case("ok-cr", Act::Reply(text("200 v\r")), Ok(b"v\r")),
        case("ok-other-code", Act::Reply(text("299 value")), Ok(b"value")),
        case("ok-tab", Act::Reply(text("200\tvalue")), Ok(b"value")),
        case("notfound", Act::Reply(text("500 no such user")), Err(NOKEY)),
        case("notfound-empty", Act::Reply(text("500 ")), Err(NOKEY)),
        case("notfound-other-code", Act::Reply(text("550 x")), Err(NOKEY)),
        case("temp", Act::Reply(text("400 later")), Err(RETRY)),
        case("after-temp", Act::Reply(text("200 value")), Ok(b"value")),
        case("bad-code", Act::Reply(text("300 x")), Err(RETRY)),
        case("bad-quoting", Act::Reply(text("200 %zz")), Err(RETRY)),
        case("bad-quoting-not-found", Act::Reply(text("500 100% no")), Err(RETRY)),
        case("bad-no-text", Act::Reply(text("200")), Err(RETRY)),
        case("bad-letters", Act::Reply(text("garbage")), Err(RETRY)),
        case("bad-four-digits", Act::Reply(text("2000 x")), Err(RETRY)),
        case("bad-empty", Act::Reply(Vec::new()), Err(RETRY)),
        case("raw-more", Act::Raw(text("200 value\n200 other\n")), Ok(b"value")),
    ];
    let longest = vec![b'v'; 4096 - 4 - 1];
    all.push(case("longest", Act::Reply([b"200 ", longest.as_slice()].concat()), Ok(&longest)));
    let too_long = Act::Reply(vec![b'2'; 5000]);
    all.extend(losses("2", "200 val", &text("200 value")));
    all.push(Case { once: true, ..case("too-long", too_long, Err(RETRY)) });
    all
});

/// The cases of a table's server.
pub fn of(table: Table) -> &'static [Case] {
    match table {
        Table::Socketmap => &SOCKETMAP,
        Table::Tcp => &TCP,
    }
}

/// Keys that are no case: the server says how each has reached it.
pub fn keys() -> Vec<Vec<u8>> {
    let texts = [
        "",
        "a",
        "A",
        " ",
        "%",
        "%41",
        "MixedCase@Example.ORG",
        "two  words",
        "tab\tline\nreturn\r",
        "\u{1}\u{7f}",
        "a:b,c;d=e",
        "map a",
        "get a",
        "m\u{fc}ller",
        "M\u{fc}ller@EXAMPLE.org",
        "\u{4f60}\u{597d}",
    ];
    let mut keys: Vec<Vec<u8>> = texts.iter().map(|text| text.as_bytes().to_vec()).collect();
    keys.extend([b"\xff".to_vec(), b"A\xc3".to_vec(), vec![b'k'; 1000]]);
    keys
}
