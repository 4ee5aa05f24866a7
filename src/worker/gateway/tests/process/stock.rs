//! Replies of servers, as Postfix's own client takes them and as our engines do.

use mapkeep_proto::{Asks, Manner, Protocol};
use mapkeep_worker_gateway::engine::{Answer, Garbage, Reply, Template, engine};
use std::io::{Read, Write};
use std::net::TcpListener;
use std::os::unix::net::UnixListener;
use std::process::{Command, Output};

const KEY: &str = "a b%@\u{e4}.org";
const MANNER: Manner =
    Manner { with_nul: false, bare: true, substitution: false, utf8: true, file_content: false };

/// What became of a lookup.
#[derive(Debug, PartialEq, Eq)]
enum Outcome {
    Found(Vec<u8>),
    Absent,
    Failed,
}

/// Replies of socketmap servers, but for `OK` alone, which is absent in releases of Postfix before April 2026.
const SOCKETMAP: [&[u8]; 26] = [
    b"4:OK v,",
    b"6:OK  v ,",
    b"6:OK a\0b,",
    b"8:NOTFOUND,",
    b"10:NOTFOUND x,",
    b"10:NOTFOUND\0x,",
    b"0:,",
    b":,",
    b"0005:OK ab,",
    b"4:OK v,junk",
    b"4:OK v;",
    b"15:PERM  bad thing,",
    b"4:PERM,",
    b"6:TEMP x,",
    b"9:TIMEOUT t,",
    b"4:ok v,",
    b"3:OKv,",
    b"100001:OK vv",
    b"99999999999999999999:",
    b"x",
    b"4:OK \xff,",
    b" 4:OK v,",
    b"-4:OK v,",
    b"4:OK\tv,",
    b"5:OK \xc3\xa4,",
    b"5:OK v\r,",
];

/// Replies of tcp servers.
const TCP: [&[u8]; 24] = [
    b"200 v\n",
    b"200\n",
    b"200 v\r\n",
    b"200 a%00b\n",
    b"200 a%4\n",
    b"200 a%zz\n",
    b"200 a%2f%2F\n",
    b"500 100% no\n",
    b"500 x\n",
    b"500\n",
    b"5000 x\n",
    b"400 x\n",
    b"300 x\n",
    b"2x0 x\n",
    b"200\tv\n",
    b"200  v\n",
    b"200 \xff\n",
    b"200 a\0b\n",
    b"200 v\nextra",
    b"\n",
    b"299 v\n",
    b"200\x0bv\n",
    b"200 %C3%A4\n",
    b"500\r\n",
];

pub fn replies_are_taken_alike() {
    if Command::new("postmap").arg("-V").output().is_err() {
        assert!(std::env::var_os("CI").is_none(), "Postfix must be installed for this test");
        return println!("*** Postfix is not installed: not compared with what it takes replies for ***");
    }
    let folder = std::env::temp_dir().join(format!("mapkeep-gateway-stock-{}", std::process::id()));
    std::fs::create_dir(&folder).unwrap();
    for (file, text) in [("main.cf", "compatibility_level = 3.6\n"), ("master.cf", "")] {
        std::fs::write(folder.join(file), text).unwrap();
    }
    let postmap = &|name: String| -> Outcome {
        let asked = Command::new("postmap").arg("-c").arg(&folder).args(["-q", KEY]).arg(name).output();
        outcome_of(&asked.unwrap())
    };
    // All at the same time, since a Postfix program sleeps for a second before it dies of an error.
    std::thread::scope(|scope| {
        for (number, reply) in SOCKETMAP.into_iter().enumerate() {
            let path = folder.join(number.to_string());
            scope.spawn(move || {
                let server = UnixListener::bind(&path).unwrap();
                let name = format!("socketmap:unix:{}:map", path.display());
                let (asked, stock) = lookup(|| server.accept().unwrap().0, b',', reply, || postmap(name));
                let protocol = Protocol::Socketmap { max_reply: 100_000, max_query: 10_000 };
                compare(&protocol, &Asks::Socketmap { map: b"map".to_vec() }, reply, &asked, &stock);
            });
        }
        for reply in TCP {
            scope.spawn(move || {
                let server = TcpListener::bind("127.0.0.1:0").unwrap();
                let name = format!("tcp:{}", server.local_addr().unwrap());
                let (asked, stock) = lookup(|| server.accept().unwrap().0, b'\n', reply, || postmap(name));
                compare(&Protocol::Tcp, &Asks::Tcp, reply, &asked, &stock);
            });
        }
    });
    std::fs::remove_dir_all(&folder).unwrap();
}

/// The question of one lookup, and what became of it.
fn lookup<S: Read + Write>(
    accept: impl FnOnce() -> S + Send,
    end: u8,
    reply: &[u8],
    client: impl FnOnce() -> Outcome,
) -> (Vec<u8>, Outcome) {
    std::thread::scope(|scope| {
        let server = scope.spawn(|| serve(accept(), end, reply));
        let outcome = client();
        (server.join().unwrap(), outcome)
    })
}

/// Reads a question, which ends so, answers it, and waits for the end. Gives the question.
fn serve(mut stream: impl Read + Write, end: u8, reply: &[u8]) -> Vec<u8> {
    let (mut asked, mut byte) = (Vec::new(), [0]);
    while asked.last() != Some(&end) && stream.read(&mut byte).unwrap() > 0 {
        asked.push(byte[0]);
    }
    stream.write_all(reply).unwrap();
    let _ = stream.read_to_end(&mut Vec::new());
    asked
}

/// What `postmap -q` says: the value and status 0, or status 1, with a fatal line for what is not merely absent.
fn outcome_of(output: &Output) -> Outcome {
    let complaint = String::from_utf8_lossy(&output.stderr).into_owned();
    match output.status.code() {
        Some(0) => Outcome::Found(output.stdout.strip_suffix(b"\n").expect("a line").to_vec()),
        Some(1) if complaint.is_empty() => Outcome::Absent,
        Some(1) if complaint.contains("query error") => Outcome::Failed,
        other => panic!("{other:?} {complaint}"),
    }
}

/// The same from an engine: the question, and what becomes of it.
fn compare(protocol: &Protocol, asks: &Asks, reply: &[u8], asked: &[u8], stock: &Outcome) {
    let (mut engine, template) = (engine(protocol), Template::new(protocol, asks).unwrap());
    let mut question = Vec::new();
    engine.ask(&template, KEY.as_bytes(), &mut question);
    assert_eq!(question.escape_ascii().to_string(), asked.escape_ascii().to_string());
    let ours = match engine.receive(&mut &reply[..], &mut Vec::new()) {
        Ok(Some(Answer { reply, .. })) => match reply.checked(MANNER) {
            Reply::Found(value) => Outcome::Found(value),
            Reply::Absent => Outcome::Absent,
            Reply::Failed(..) => Outcome::Failed,
        },
        Err(Garbage(_)) => Outcome::Failed,
        Ok(None) => panic!("{}: half a reply", reply.escape_ascii()),
    };
    assert_eq!(&ours, stock, "{}", reply.escape_ascii());
}
