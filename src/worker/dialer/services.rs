//! The port of a service that is named, as services(5) has it.
//!
//! A connector has to know the port before it takes on its lock, which names it; the C library would tell it only together
//! with addresses. So this reads the file itself, as `services: files` in nsswitch.conf(5) has the C library do.

use std::io;

/// The file.
const FILE: &str = "/etc/services";

/// The port that a configuration names, by its number or by that of a TCP service.
///
/// # Errors
/// In words: it is neither.
pub(crate) fn port(text: &[u8]) -> Result<u16, String> {
    let shown = || crate::reason::shown(text);
    if !text.is_empty() && text.iter().all(u8::is_ascii_digit) {
        let number =
            std::str::from_utf8(text).ok().and_then(|text| text.parse().ok()).filter(|port| *port > 0);
        return number.ok_or_else(|| format!("port {}: a port is a number from 1 to 65535", shown()));
    }
    let services = read().map_err(|error| format!("port {}: {FILE}: {error}", shown()))?;
    find(&services, text).ok_or_else(|| format!("port {}: {FILE} has no TCP service of this name", shown()))
}

#[allow(clippy::disallowed_methods, reason = "before the narrower lock, and the dialer's has the calls")]
fn read() -> io::Result<Vec<u8>> {
    std::fs::read(FILE)
}

/// The port of a TCP service, by its name or another name of it.
fn find(services: &[u8], name: &[u8]) -> Option<u16> {
    services.split(|byte| *byte == b'\n').find_map(|line| {
        let line = line.split(|byte| *byte == b'#').next()?;
        let mut words = line.split(u8::is_ascii_whitespace).filter(|word| !word.is_empty());
        let (first, place) = (words.next()?, words.next()?);
        let port = place.strip_suffix(b"/tcp")?;
        let is_it = first == name || words.any(|other| other == name);
        std::str::from_utf8(port).ok().filter(|_| is_it)?.parse().ok()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const SERVICES: &[u8] =
        b"# comment\nmysql\t3306/udp\nmysql\t\t3306/tcp # MySQL\nldap 389/tcp\tldaps-not other\n\
        broken\nhigh 70000/tcp\nlast 7/tcp";

    #[test]
    fn find_takes_tcp_names_and_other_names() {
        for (name, port) in [
            ("mysql", Some(3306)),
            ("ldap", Some(389)),
            ("other", Some(389)),
            ("last", Some(7)),
            ("MySQL", None),
            ("broken", None),
            ("high", None),
            ("3306/tcp", None),
            ("", None),
        ] {
            assert_eq!(find(SERVICES, name.as_bytes()), port, "{name}");
        }
    }

    #[test]
    fn port_numbers_have_a_range_and_names_a_file() {
        assert_eq!(port(b"25"), Ok(25));
        assert_eq!(port(b"65535"), Ok(65535));
        for wrong in ["0", "65536", "99999999999999999999"] {
            assert!(port(wrong.as_bytes()).unwrap_err().contains("from 1 to 65535"), "{wrong}");
        }
        for wrong in ["", "+25", "-1", "25 ", "no-such-service", "a\0b\u{1b}"] {
            let reason = port(wrong.as_bytes()).unwrap_err();
            assert!(reason.contains("/etc/services") && !reason.contains('\u{1b}'), "{reason}");
        }
    }
}
