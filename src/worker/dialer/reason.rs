//! Why a connection cannot be had, and what to do about it: for the log.

use nix::errno::Errno;
use nix::sys::signal::Signal;
use nix::sys::wait::WaitStatus;
use std::fmt::Write;

/// Text of a configuration, fit for a log line.
pub(crate) fn shown(text: &[u8]) -> String {
    String::from_utf8_lossy(text)
        .chars()
        .map(|letter| if letter.is_control() { '?' } else { letter })
        .collect()
}

/// Why an attempt failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Why {
    /// The kernel said so.
    Error(Errno),
    /// Nothing happened for so many milliseconds.
    Silence(u128),
}

impl Why {
    /// In words; the kernel's own, or how long it was waited for.
    fn words(self) -> String {
        match self {
            Why::Error(error) => error.desc().to_owned(),
            Why::Silence(milliseconds) => format!("no answer within {milliseconds} ms"),
        }
    }
}

/// About TCP: what became of each address, and what to look at, by the last of them.
pub(crate) fn of_addresses(failures: &[(std::net::SocketAddr, Why)]) -> String {
    let mut text = String::new();
    for (number, (address, why)) in failures.iter().enumerate() {
        let separator = if number == 0 { "" } else { "; " };
        // Writing to a `String` cannot fail.
        let _ = write!(text, "{separator}{} port {}: {}", address.ip(), address.port(), why.words());
    }
    let remedy = match failures.last().map(|(_, why)| why) {
        Some(Why::Error(Errno::ECONNREFUSED)) => " -- is the server running, and does it listen there?",
        Some(Why::Error(Errno::ENETUNREACH | Errno::EHOSTUNREACH)) => {
            " -- is the network up, and is there a route?"
        }
        Some(Why::Error(Errno::EACCES | Errno::EPERM)) => {
            " -- look at the firewall and the routes of this machine"
        }
        Some(Why::Silence(_) | Why::Error(Errno::ETIMEDOUT)) => {
            " -- is the server overloaded, or a firewall in between?"
        }
        _ => "",
    };
    text + remedy
}

/// About a socket with a path. `account` is whom the server sees.
pub(crate) fn of_path(path: &[u8], why: Why, account: &str) -> String {
    let remedy = match why {
        Why::Error(Errno::ENOENT | Errno::ECONNREFUSED) => " -- is the server running?".to_owned(),
        Why::Error(Errno::EACCES | Errno::EPERM) => format!(
            " -- user {account} may not connect to it: look at the mode of the socket and of each directory above it"
        ),
        Why::Error(Errno::EPROTOTYPE) => " -- it is no stream socket".to_owned(),
        Why::Silence(_) => " -- the server accepts nobody: is it overloaded?".to_owned(),
        Why::Error(_) => String::new(),
    };
    format!("{}: {}{remedy}", shown(path), why.words())
}

/// About a name that the name service does not resolve; `error` is the C library's word for it.
pub(crate) fn of_name(name: &str, error: &std::io::Error) -> String {
    let text = error.to_string();
    let short = text.rsplit_once(": ").map_or(text.as_str(), |(_, short)| short);
    format!("host {}: {short} -- see hosts(5) and resolv.conf(5)", shown(name.as_bytes()))
}

/// About a name all of whose addresses are of a protocol that is not used.
pub(crate) fn of_protocols(name: &str) -> String {
    format!(
        "host {}: no address of a protocol that inet_protocols in main.cf names -- correct either, then restart the service",
        shown(name.as_bytes())
    )
}

/// About a connector that has ended without an answer; nothing for one that has answered. `stopped`: its time of so many
/// milliseconds was over.
pub(crate) fn of_death(status: WaitStatus, stopped: bool, milliseconds: u32) -> Option<String> {
    Some(match status {
        WaitStatus::Exited(_, 0) => return None,
        WaitStatus::Signaled(_, Signal::SIGKILL, _) if stopped => format!(
            "no answer within {milliseconds} ms, most of them spent on the name -- do the name servers answer (resolv.conf(5))?"
        ),
        WaitStatus::Signaled(_, Signal::SIGSYS, _) => {
            "the connector made a system call that it may not make -- if a module \
            of the name service did (`hosts:` in nsswitch.conf(5)), name the server by its address"
                .to_owned()
        }
        WaitStatus::Signaled(_, signal, _) => format!("the connector was ended by {}", signal.as_str()),
        WaitStatus::Exited(_, status) => format!("the connector ended with status {status}"),
        _ => "the connector ended".to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use nix::unistd::Pid;

    #[test]
    fn deaths_have_their_reason() {
        let pid = Pid::from_raw(1);
        let killed =
            |signal, stopped| of_death(WaitStatus::Signaled(pid, signal, false), stopped, 700).unwrap();
        assert_eq!(of_death(WaitStatus::Exited(pid, 0), true, 700), None);
        assert!(killed(Signal::SIGKILL, true).starts_with("no answer within 700 ms"));
        assert_eq!(killed(Signal::SIGKILL, false), "the connector was ended by SIGKILL");
        assert!(killed(Signal::SIGSYS, false).contains("nsswitch.conf"));
        assert_eq!(
            of_death(WaitStatus::Exited(pid, 1), false, 1).unwrap(),
            "the connector ended with status 1"
        );
    }

    #[test]
    fn each_address_is_named_and_the_last_gives_the_remedy() {
        let [one, other] = ["[::1]:25", "127.0.0.1:25"].map(|text| text.parse().unwrap());
        let text =
            of_addresses(&[(one, Why::Error(Errno::ENETUNREACH)), (other, Why::Error(Errno::ECONNREFUSED))]);
        assert_eq!(
            text,
            "::1 port 25: Network is unreachable; 127.0.0.1 port 25: Connection refused \
             -- is the server running, and does it listen there?"
        );
        assert!(
            of_addresses(&[(one, Why::Silence(500))]).starts_with("::1 port 25: no answer within 500 ms -- ")
        );
    }

    #[test]
    fn path_and_account_are_named() {
        let text = of_path(b"/run/x\x1b", Why::Error(Errno::EACCES), "postfix");
        assert!(text.starts_with("/run/x?: Permission denied -- user postfix may not"), "{text}");
    }
}
