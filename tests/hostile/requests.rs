//! What a client can write into a request.

use crate::common::master::Site;
use crate::common::wire::{Received, Wire};
use crate::common::{PATIENCE, poll};
use crate::{FINE, Innocent, inventory, is_as_before, lookup, settled};
use std::fs;

/// Sends a lookup with arbitrary bytes as the table name, and returns how the wait for the reply ended.
fn ask_raw(wire: &mut Wire, table: &[u8]) -> Received {
    let request = [b"request\0lookup\0table\0", table, b"\0flags\x0064\0key\0k\0\0"].concat();
    match wire.send(&request) {
        Ok(()) => wire.receive(PATIENCE),
        Err(_) => Received::Closed,
    }
}

pub fn odd_table_names_open_nothing() {
    let site = Site::new();
    let table = site.table("texthash", "t", "k v\n");
    let aliases = site.path("tables/t").display().to_string();
    site.approve(&[FINE, &table], "");
    let master = site.start();
    let mut innocent = Innocent::new(&master);
    assert_eq!(innocent.wire.ask(&lookup(&table, "k")), "status|0|value|v||");
    innocent.is_served(&master);
    let before = settled(&master, 1);

    let up = format!("texthash:{}/../tables/t", site.path("tables").display());
    let long = [b"texthash:".as_slice(), &b"a".repeat(65_000)].concat();
    let prefixes = [b"proxy:".repeat(5000), b"static:no".to_vec()].concat();
    let denied: Vec<Vec<u8>> = vec![
        up.into(),
        format!("texthash:/{aliases}").into(),
        format!("texthash:{aliases}/").into(),
        format!("texthash:{aliases}\n").into(),
        format!(" texthash:{aliases}").into(),
        format!("TEXTHASH:{aliases}").into(),
        format!("hash:{aliases}").into(),
        b"texthash:../../etc/passwd".to_vec(),
        b"texthash:/etc/passwd".to_vec(),
        b"texthash:/proc/self/mem".to_vec(),
        b"hash:/x\r\nNov 21 00:00:00 host postfix/proxymap[1]: forged".to_vec(),
        b"hash:\xff\xfe\x80".to_vec(),
        b"static:fine\n".to_vec(),
        b"static:".to_vec(),
        b":".to_vec(),
        b"pipemap:{static:fine, texthash:/etc/passwd}".to_vec(),
        b"unionmap:{proxy:static:fine, pipemap:{unionmap:{hash:/etc/shadow}}}".to_vec(),
        b"proxy:unix:passwd.byname".to_vec(),
        b"unix:shadow.byname".to_vec(),
        b"proxy:proxy:hash:/etc/shadow".to_vec(),
        prefixes,
        long,
    ];
    for name in &denied {
        let reply = ask_raw(&mut innocent.wire, name);
        assert_eq!(
            reply,
            Received::Reply("status|4|value|||".to_string()),
            "{}",
            name[..name.len().min(80)].escape_ascii()
        );
    }
    // Without a type it is no name of a table.
    for name in [&b""[..], b"nothing", b"/etc/passwd", &b"a".repeat(60_000)] {
        let reply = ask_raw(&mut innocent.wire, name);
        assert_eq!(reply, Received::Reply("status|3|value|||".to_string()));
    }
    // A NUL ends the value, so that names and values change places and the end of the list is not where it was: the
    // request stays unfinished, and its connection alone is closed.
    assert_eq!(ask_raw(&mut master.wire(), b"texthash:/etc\0passwd"), Received::Closed);
    // Any number of prefixes is the same table.
    let again = ask_raw(&mut innocent.wire, b"proxy:proxy:proxy:static:fine");
    assert_eq!(again, Received::Reply("status|0|value|fine||".to_string()));
    // Over the limit of a name, the connection ends, and no other.
    let mut other = master.wire();
    assert_eq!(ask_raw(&mut other, &b"a:".repeat(40_000)), Received::Closed);
    drop(other);
    innocent.is_served(&master);
    is_as_before(&master, &before);
}

pub fn flags_are_hints_and_nothing_else() {
    let site = Site::new();
    // A value that is the name of a file: with FILE, stock returns the file's contents, which no client gets from us.
    const FILE: u32 = 1 << 21;
    let secret = site.path("tables/secret");
    fs::write(&secret, "content\n").unwrap();
    let value = secret.display().to_string();
    let table = site.table("texthash", "t", &format!("k {value}\n"));
    site.approve(&[FINE, &table], "");
    let master = site.start();
    let mut innocent = Innocent::new(&master);
    innocent.is_served(&master);
    let before = settled(&master, 1);

    let bits: Vec<u32> = (0..32).map(|bit| 1 << bit).collect();
    let mut sets = vec![0, u32::MAX, 0x1_0040, 65_600];
    sets.extend(&bits);
    sets.extend(bits.iter().flat_map(|a| bits.iter().map(move |b| a | b)));
    sets.sort_unstable();
    sets.dedup();
    let mut asked = 0;
    for flags in &sets {
        let mut ask = |request: String| {
            asked += 1;
            innocent.wire.ask(&request)
        };
        let old = ask(format!("request|lookup|table|{table}|flags|{flags}|key|k||"));
        let wanted = match flags & FILE {
            0 => format!("status|0|value|{value}||"),
            _ => "status|2|value|||".to_owned(),
        };
        assert_eq!(old, wanted, "flags {flags}");
        assert!(ask(format!("request|open|table|{table}|flags|{flags}||")).starts_with("status|0|flags|"));
        assert!(
            ask(format!("request|open|table|{table}|instance_flags|{flags}||"))
                .starts_with("status|0|flags|")
        );
        for (instance, later) in [(*flags, 0), (0, *flags), (*flags, *flags)] {
            let new =
                ask(format!("request|lookup|table|{table}|instance_flags|{instance}|flags|{later}|key|k||"));
            let (status, end) = match (instance | later) & FILE {
                0 => ("status|0|flags|", format!("|value|{value}||")),
                _ => ("status|2|flags|", "|value|||".to_owned()),
            };
            let fits = new.starts_with(status) && new.ends_with(&end);
            assert!(fits, "instance flags {instance}, flags {later}: {new}");
        }
    }
    for text in ["-1", "4294967296", "0x10", "+1", " 1", "1 ", "99999999999999999999"] {
        let reply = innocent.wire.ask(&format!("request|lookup|table|{table}|flags|{text}|key|k||"));
        assert!(reply.starts_with("status|3|"), "{text:?}: {reply}");
    }
    eprintln!("flags: {asked} requests");
    innocent.is_served(&master);
    is_as_before(&master, &before);
}

pub fn text_of_clients_stays_in_its_log_line() {
    let site = Site::new();
    site.approve(&[FINE], "");
    let master = site.start();
    let mut innocent = Innocent::new(&master);
    innocent.is_served(&master);
    let evil = "\x1b[2J\r\nNov 21 00:00:00 mx postfix/proxymap[1]: canary-forged\x07\u{85}\u{2028}%s%n";
    let canary = "canary-key";
    let raw = |text: String| text.replace('|', "\0").into_bytes();
    let requests = [
        format!("request|lookup|table|hash:/{evil}|flags|64|key|{canary}||"),
        format!("request|lookup|table|{FINE}|flags|{evil}|key|{canary}||"),
        format!("request|{evil}|table|{FINE}|flags|0||"),
        format!("request|delete|table|x:{evil}|flags|0|key|{canary}||"),
        format!("request|lookup|table|{FINE}|flags|64|{evil}|{canary}||"),
        format!("request|lookup|table|{FINE}|flags|64|key|{canary}{evil}|more|{canary}||"),
        format!("{evil}|{canary}||"),
    ];
    for request in requests {
        // Some of these are answered, some end the connection.
        let mut wire = master.wire();
        let _ = wire.send(&raw(request));
        assert_ne!(wire.receive(PATIENCE), Received::Silence);
    }
    innocent.is_served(&master);
    poll(PATIENCE, || (site.log().len() > 5).then_some(())).expect("the service says what it was asked");
    // The last line of all marks the end of what these requests caused.
    assert_eq!(innocent.wire.ask(&lookup("hash:/the/end", "k")), "status|4|value|||");
    site.wait_for_log(0, &["hash:/the/end"]);
    let ours: Vec<u32> = inventory(&master).iter().map(|(pid, _)| *pid).collect();
    for line in site.log() {
        assert!(!line.text.contains(char::is_control), "{:?}", line.text);
        assert!(line.text.is_ascii() && line.text.len() < 500, "{:?}", line.text);
        assert!(!line.text.contains(canary), "a key is in the log: {:?}", line.text);
        assert!(!line.text.starts_with("canary-forged") && ours.contains(&line.pid), "{line:?}");
    }
}
