//! master.cf: which program serves which socket, and with which overrides.
//!
//! Pure text. Source: master(5), and master(8) 3.7.11 for arguments: `{ a = b c }` is one argument, options are read as
//! getopt() does with the daemons' option letters and end at the first other argument.

use crate::complaint::{Complaint, ComplaintKind, FileName, complain};
use crate::lines::{LogicalLine, is_space, logical_lines, split_name_value, trim};
use crate::tokens::{BLANK, Tokens, inside_braces};

/// Letters of daemon options that take a value.
const WITH_VALUE: &[u8] = b"imnost";
/// Letters of daemon options that take none.
const WITHOUT_VALUE: &[u8] = b"cdDlSuvVz";

/// The services of a master.cf, in order; of two with the same name and transport the later remains.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MasterCf {
    /// The services.
    pub services: Vec<ServiceEntry>,
}

/// One service. `None` stands for a field `-`, whose default master(5) names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServiceEntry {
    /// Socket name, or host and port.
    pub name: Vec<u8>,
    /// Kind of socket.
    pub transport: Transport,
    /// Reached by mail processes only; default yes.
    pub private: Option<bool>,
    /// Runs as mail_owner; default yes.
    pub unprivileged: Option<bool>,
    /// Runs in the queue directory; default depends on compatibility_level.
    pub chroot: Option<bool>,
    /// Regular wake-up; default none.
    pub wakeup: Option<Wakeup>,
    /// Most processes, 0 for no limit; default `$default_process_limit`.
    pub process_limit: Option<u32>,
    /// Program, relative to daemon_directory.
    pub command: Vec<u8>,
    /// Its arguments as master(8) passes them.
    pub arguments: Vec<Vec<u8>>,
    /// The `-o name=value` options among the arguments, in order.
    pub overrides: Vec<Override>,
    /// First line of the entry, from 1.
    pub line: u32,
}

/// Kind of socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    /// TCP.
    Inet,
    /// UNIX-domain stream.
    Unix,
    /// UNIX-domain datagram.
    UnixDgram,
    /// Named pipe.
    Fifo,
    /// UNIX-domain stream that passes descriptors.
    Pass,
}

/// Regular wake-up of a service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wakeup {
    /// Seconds between two.
    pub seconds: u32,
    /// Only once the service has been used (`?`).
    pub if_used: bool,
}

/// One `-o name=value`. The value is raw: `$name` is expanded when the parameter is used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Override {
    /// Parameter name.
    pub name: Vec<u8>,
    /// Raw value.
    pub value: Vec<u8>,
}

impl MasterCf {
    /// The service `name` on a UNIX-domain socket, as proxymap and proxywrite are.
    #[must_use]
    pub fn unix_service(&self, name: &[u8]) -> Option<&ServiceEntry> {
        self.services.iter().find(|service| service.name == name && service.transport == Transport::Unix)
    }
}

/// Reads master.cf. Never fails: entries that say nothing usable are left out, with a complaint.
#[must_use]
pub fn parse_master(text: &[u8]) -> (MasterCf, Vec<Complaint>) {
    let mut services: Vec<ServiceEntry> = Vec::new();
    let mut complaints = Vec::new();
    // A name may be huge and repeated: remember positions by key instead of searching.
    let mut places = std::collections::BTreeMap::new();
    for logical in logical_lines(text) {
        let line = logical.line;
        let mut faults = Vec::new();
        let service = parse_service(&logical, &mut faults);
        for kind in faults {
            complain(&mut complaints, FileName::MasterCf, line, kind);
        }
        let Some(service) = service else { continue };
        let key = (service.name.clone(), service.transport as u8);
        let place = *places.entry(key).or_insert(services.len());
        match services.get_mut(place) {
            Some(old) => {
                let kind = ComplaintKind::ServiceTwice(service.name.clone(), old.line);
                complain(&mut complaints, FileName::MasterCf, line, kind);
                *old = service;
            }
            None => services.push(service),
        }
    }
    (MasterCf { services }, complaints)
}

fn parse_service(logical: &LogicalLine, faults: &mut Vec<ComplaintKind>) -> Option<ServiceEntry> {
    if logical.text.contains(&0) {
        faults.push(ComplaintKind::NulByte);
        return None;
    }
    if logical.text.first().copied().is_some_and(is_space) {
        faults.push(ComplaintKind::NothingToContinue);
        return None;
    }
    let mut fields = Tokens::new(&logical.text, BLANK);
    let head: Vec<&[u8]> = fields.by_ref().take(8).collect();
    let [name, transport, private, unprivileged, chroot, wakeup, limit, command] = *head else {
        faults.push(ComplaintKind::TooFewFields(head.len()));
        return None;
    };
    let mut bad =
        |field: &'static str, text: &[u8]| faults.push(ComplaintKind::BadField(field, text.to_vec()));
    let Some(transport) = parse_transport(transport) else {
        bad("type", transport);
        return None;
    };
    let mut flag = |field, text: &[u8]| match text {
        b"y" => Some(Some(true)),
        b"n" => Some(Some(false)),
        b"-" => Some(None),
        _ => {
            bad(field, text);
            None
        }
    };
    let private = flag("private", private)?;
    let unprivileged = flag("unprivileged", unprivileged)?;
    let chroot = flag("chroot", chroot)?;
    let Some(wakeup) = or_default(wakeup, parse_wakeup) else {
        bad("wakeup", wakeup);
        return None;
    };
    let Some(process_limit) = or_default(limit, decimal) else {
        bad("maxproc", limit);
        return None;
    };
    let arguments = parse_arguments(fields, faults);
    let overrides = parse_overrides(&arguments, faults);
    Some(ServiceEntry {
        name: name.to_vec(),
        transport,
        private,
        unprivileged,
        chroot,
        wakeup,
        process_limit,
        command: command.to_vec(),
        arguments,
        overrides,
        line: logical.line,
    })
}

fn parse_transport(text: &[u8]) -> Option<Transport> {
    Some(match text {
        b"inet" => Transport::Inet,
        b"unix" => Transport::Unix,
        b"unix-dgram" => Transport::UnixDgram,
        b"fifo" => Transport::Fifo,
        b"pass" => Transport::Pass,
        _ => return None,
    })
}

/// `Some(None)` for `-`, `Some(value)` when `read` understands the text.
fn or_default<T>(text: &[u8], read: fn(&[u8]) -> Option<T>) -> Option<Option<T>> {
    if text == b"-" { Some(None) } else { read(text).map(Some) }
}

fn parse_wakeup(text: &[u8]) -> Option<Wakeup> {
    let (digits, if_used) = match text.strip_suffix(b"?") {
        Some(digits) => (digits, true),
        None => (text, false),
    };
    Some(Wakeup { seconds: decimal(digits)?, if_used })
}

fn decimal(text: &[u8]) -> Option<u32> {
    if text.is_empty() || !text.iter().all(u8::is_ascii_digit) {
        return None;
    }
    std::str::from_utf8(text).ok()?.parse().ok()
}

fn parse_arguments(fields: Tokens<'_>, faults: &mut Vec<ComplaintKind>) -> Vec<Vec<u8>> {
    let mut arguments = Vec::new();
    for field in fields {
        if field.first() != Some(&b'{') {
            arguments.push(field.to_vec());
            continue;
        }
        match inside_braces(field) {
            Ok(inner) => arguments.push(trim(inner).to_vec()),
            Err(error) => faults.push(ComplaintKind::BadBraces(field.to_vec(), error)),
        }
    }
    arguments
}

fn parse_overrides(arguments: &[Vec<u8>], faults: &mut Vec<ComplaintKind>) -> Vec<Override> {
    let mut overrides = Vec::new();
    let mut rest = arguments.iter();
    while let Some(argument) = rest.next() {
        let Some(mut letters) = argument.strip_prefix(b"-").filter(|letters| !letters.is_empty()) else {
            break;
        };
        if letters == b"-" {
            break;
        }
        while let Some((letter, following)) = letters.split_first() {
            letters = following;
            if WITHOUT_VALUE.contains(letter) {
                continue;
            }
            if !WITH_VALUE.contains(letter) {
                // Not a daemon option (pipe(8) and spawn(8) pass commands): nothing after it is ours to read.
                return overrides;
            }
            let value = if following.is_empty() { rest.next().map(Vec::as_slice) } else { Some(following) };
            letters = b"";
            if *letter != b'o' {
                continue;
            }
            let text = value.unwrap_or_default();
            match split_name_value(text) {
                Ok((name, value)) => {
                    overrides.push(Override { name: name.to_vec(), value: value.to_vec() });
                }
                Err(_) => faults.push(ComplaintKind::BadOverride(text.to_vec())),
            }
        }
    }
    overrides
}

#[cfg(test)]
mod tests {
    use super::*;

    fn service(text: &str) -> ServiceEntry {
        let (master, complaints) = parse_master(text.as_bytes());
        assert_eq!(complaints, vec![], "{text}");
        master.services.into_iter().next().unwrap()
    }

    fn overrides(text: &str) -> Vec<(String, String)> {
        let line = format!("s unix - - n - - proxymap {text}");
        let string = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
        service(&line).overrides.iter().map(|o| (string(&o.name), string(&o.value))).collect()
    }

    fn pair(name: &str, value: &str) -> (String, String) {
        (name.into(), value.into())
    }

    #[test]
    fn parse_master_debian_line_gives_fields() {
        let found = service("# c\nflush     unix  n       -       y       1000?   0       flush\n");
        assert_eq!(found.name, b"flush");
        assert_eq!(found.transport, Transport::Unix);
        assert_eq!((found.private, found.unprivileged, found.chroot), (Some(false), None, Some(true)));
        assert_eq!(found.wakeup, Some(Wakeup { seconds: 1000, if_used: true }));
        assert_eq!(found.process_limit, Some(0));
        assert_eq!((found.command.as_slice(), found.line), (&b"flush"[..], 2));
    }

    #[test]
    fn parse_master_folded_braced_arguments_are_one_each() {
        let found = service("p unix - n n - - prog\n  # c\n  a { b = c  d } -o x=y\n");
        assert_eq!(
            found.arguments,
            vec![b"a".to_vec(), b"b = c  d".to_vec(), b"-o".to_vec(), b"x=y".to_vec()]
        );
        assert_eq!(found.overrides, vec![], "options end at the first other argument");
    }

    #[test]
    fn overrides_every_way_to_write_them_is_read() {
        assert_eq!(
            overrides("-o a=b -o { c = d  e } -of=g"),
            [pair("a", "b"), pair("c", "d  e"), pair("f", "g")]
        );
        assert_eq!(overrides("-vo a=$x -m 5 -n -o -o b="), [pair("a", "$x"), pair("b", "")]);
        assert_eq!(overrides("-v -- -o a=b"), []);
        assert_eq!(overrides("-x -o a=b"), []);
    }

    #[test]
    fn parse_master_faults_are_complaints() {
        let text = b" lead unix - - n - - x\nshort unix - -\nt tcp - - n - - x\nf unix q - n - - x\n\
            w unix - - n 5x - x\nm unix - - n - -1 x\nb unix - - n - - x { a\no unix - - n - - x -o bad\n\
            o unix - - n - - y\n";
        let (master, complaints) = parse_master(text);
        let kinds: Vec<_> = complaints.iter().map(|c| (c.line, c.kind.clone())).collect();
        assert_eq!(kinds[0], (1, ComplaintKind::NothingToContinue));
        assert_eq!(kinds[1], (2, ComplaintKind::TooFewFields(4)));
        assert_eq!(kinds[2], (3, ComplaintKind::BadField("type", b"tcp".to_vec())));
        assert_eq!(kinds[3], (4, ComplaintKind::BadField("private", b"q".to_vec())));
        assert_eq!(kinds[4], (5, ComplaintKind::BadField("wakeup", b"5x".to_vec())));
        assert_eq!(kinds[5], (6, ComplaintKind::BadField("maxproc", b"-1".to_vec())));
        assert!(matches!(kinds[6], (7, ComplaintKind::BadBraces(..))));
        assert_eq!(kinds[7], (8, ComplaintKind::BadOverride(b"bad".to_vec())));
        assert_eq!(kinds[8], (9, ComplaintKind::ServiceTwice(b"o".to_vec(), 8)));
        assert_eq!(master.services.len(), 2);
        assert_eq!(master.unix_service(b"o").unwrap().command, b"y");
    }
}
