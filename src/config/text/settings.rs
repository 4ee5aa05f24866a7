//! The settings that the daemon itself uses.
//!
//! Pure. Where stock dies on a bad value, the default stands in and a complaint says file, line and remedy.

use std::time::Duration;

use crate::complaint::{Complaint, ComplaintKind, complain};
use crate::error::{ConfigError, Reason, shown};
use crate::parameters::Parameters;
use crate::tokens::{LIST, Tokens};
use crate::version::PostfixVersion;

/// Facilities that syslog_facility may name.
const FACILITIES: [&str; 18] = [
    "auth", "authpriv", "cron", "daemon", "ftp", "kern", "local0", "local1", "local2", "local3", "local4",
    "local5", "local6", "local7", "lpr", "mail", "news", "user",
];

/// The daemon's settings, each the parameter of its name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Account of the mail system.
    pub mail_owner: String,
    /// Absolute path; working directory of every daemon.
    pub queue_directory: String,
    /// Absolute path of main.cf's directory.
    pub config_directory: String,
    /// Absolute path; where daemons may write.
    pub data_directory: String,
    /// Absolute path of the daemons.
    pub daemon_directory: String,
    /// Absolute path of the commands.
    pub command_directory: String,
    /// Clients served before a process ends; at least 1.
    pub max_use: u32,
    /// Idle time before a process ends; at least 1 s.
    pub max_idle: Duration,
    /// Longest wait for a peer; at least 1 s.
    pub ipc_timeout: Duration,
    /// Longest time without progress; at least 1 s.
    pub daemon_timeout: Duration,
    /// master(8)'s pause after a failed start; at least 1 s.
    pub service_throttle_time: Duration,
    /// Most processes of a service whose master.cf field is `-`; at least 1.
    pub default_process_limit: u32,
    /// Log tag.
    pub syslog_name: String,
    /// Log facility, in lower case.
    pub syslog_facility: String,
    /// Log file of postlogd(8), whose name begins with one of maillog_file_prefixes; `None` logs to syslog.
    pub maillog_file: Option<String>,
    /// postlogd(8)'s socket, below `public/`.
    pub postlog_service_name: String,
    /// International mail is enabled.
    pub smtputf8_enable: bool,
    /// The installed Postfix.
    pub mail_version: PostfixVersion,
    /// The longest reply of a socketmap server in bytes: 100000 where Postfix has no parameter for it (before 3.10).
    pub socketmap_max_reply_size: u32,
    /// The longest query to a socketmap server in bytes: any where Postfix has no parameter for it (before 3.12).
    pub socketmap_max_query_size: u32,
    /// Whether servers are asked over IPv4, and whether over IPv6 (`inet_protocols`); one of them at least.
    pub inet_protocols: (bool, bool),
    /// Socket of the read service, below `private/`.
    pub proxymap_service_name: String,
    /// Socket of the update service, below `private/`.
    pub proxywrite_service_name: String,
}

impl Settings {
    /// Reads the settings. Never fails: see above.
    #[must_use]
    pub fn from(params: &Parameters) -> (Settings, Vec<Complaint>) {
        let mut read = Reader { params, complaints: Vec::new() };
        let smtputf8_enable = read.or_else("smtputf8_enable", false, |p, name| p.boolean(name));
        let settings = Settings {
            mail_owner: read.word("mail_owner", "postfix"),
            queue_directory: read.directory("queue_directory", "/var/spool/postfix"),
            config_directory: read.directory("config_directory", "/etc/postfix"),
            data_directory: read.directory("data_directory", "/var/lib/postfix"),
            daemon_directory: read.directory("daemon_directory", "/usr/lib/postfix/sbin"),
            command_directory: read.directory("command_directory", "/usr/sbin"),
            max_use: read.count("max_use", 100),
            max_idle: read.time("max_idle", 100),
            ipc_timeout: read.time("ipc_timeout", 3600),
            daemon_timeout: read.time("daemon_timeout", 18000),
            service_throttle_time: read.time("service_throttle_time", 60),
            default_process_limit: read.count("default_process_limit", 100),
            syslog_name: read.word("syslog_name", "postfix"),
            syslog_facility: read.or_else("syslog_facility", "mail".to_string(), facility),
            maillog_file: read.or_else("maillog_file", None, maillog_file),
            postlog_service_name: read.socket_name("postlog_service_name", "postlog"),
            smtputf8_enable,
            socketmap_max_reply_size: match params.version().has_socketmap_reply_size() {
                true => read.count("socketmap_max_reply_size", 100_000),
                false => 100_000,
            },
            socketmap_max_query_size: match params.version().has_socketmap_query_size() {
                true => read.count("socketmap_max_query_size", 10_000),
                false => u32::MAX,
            },
            inet_protocols: read.or_else("inet_protocols", (true, true), inet_protocols),
            mail_version: params.version(),
            proxymap_service_name: read.socket_name("proxymap_service_name", "proxymap"),
            proxywrite_service_name: read.socket_name("proxywrite_service_name", "proxywrite"),
        };
        (settings, read.complaints)
    }
}

/// Reads values, keeping complaints.
struct Reader<'p> {
    params: &'p Parameters,
    complaints: Vec<Complaint>,
}

impl Reader<'_> {
    fn or_else<T: std::fmt::Debug>(
        &mut self,
        name: &str,
        default: T,
        read: impl FnOnce(&Parameters, &str) -> Result<T, ConfigError>,
    ) -> T {
        match read(self.params, name) {
            Ok(value) => value,
            Err(error) => {
                let error = error.within(name.as_bytes());
                let at = error.parameter.as_deref().unwrap_or(name.as_bytes());
                let (file, line) = self.params.origin(at).place();
                let used = format!("{name} = {default:?}");
                complain(&mut self.complaints, file, line, ComplaintKind::BadValue { error, used });
                default
            }
        }
    }

    fn text(&mut self, name: &str, default: &str, allowed: &'static str, fits: fn(&str) -> bool) -> String {
        self.or_else(name, default.to_string(), |params, name| checked_text(params, name, allowed, fits))
    }

    fn word(&mut self, name: &str, default: &str) -> String {
        self.text(name, default, "one printable word", is_word)
    }

    fn socket_name(&mut self, name: &str, default: &str) -> String {
        let fits = |text: &str| is_word(text) && !text.split('/').any(|part| part == ".." || part.is_empty());
        self.text(name, default, "a socket name without \"..\"", fits)
    }

    fn directory(&mut self, name: &str, default: &str) -> String {
        self.text(name, default, "an absolute path", is_absolute)
    }

    fn count(&mut self, name: &str, default: u32) -> u32 {
        self.or_else(name, default, |params, name| {
            let number = params.integer(name)?;
            u32::try_from(number).ok().filter(|number| *number > 0).ok_or_else(|| at_least_one(params, name))
        })
    }

    fn time(&mut self, name: &str, default: u64) -> Duration {
        self.or_else(name, Duration::from_secs(default), |params, name| match params.seconds(name, b's')? {
            0 => Err(at_least_one(params, name)),
            seconds => Ok(Duration::from_secs(seconds)),
        })
    }
}

fn at_least_one(params: &Parameters, name: &str) -> ConfigError {
    let raw = params.raw(name).unwrap_or_default().to_vec();
    Reason::NotAllowed(raw, "1 or more").into()
}

fn checked_text(
    params: &Parameters,
    name: &str,
    allowed: &'static str,
    fits: fn(&str) -> bool,
) -> Result<String, ConfigError> {
    let text = params.text(name)?;
    if fits(&text) { Ok(text) } else { Err(Reason::NotAllowed(text.into_bytes(), allowed).into()) }
}

fn is_word(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_graphic())
}

pub(crate) fn is_absolute(text: &str) -> bool {
    text.starts_with('/') && !text.contains(char::is_control) && !text.split('/').any(|part| part == "..")
}

/// Source of the fact: postconf(5).
fn inet_protocols(params: &Parameters, name: &str) -> Result<(bool, bool), ConfigError> {
    let list = params.expand(name)?;
    let mut found = (false, false);
    for word in Tokens::new(&list, LIST) {
        match word.to_ascii_lowercase().as_slice() {
            b"all" => found = (true, true),
            b"ipv4" => found.0 = true,
            b"ipv6" => found.1 = true,
            _ => found = (false, false),
        }
        if found == (false, false) {
            break;
        }
    }
    if found == (false, false) {
        return Err(Reason::NotAllowed(shown(&list).into_bytes(), "all, ipv4, ipv6, or ipv4 and ipv6").into());
    }
    Ok(found)
}

fn facility(params: &Parameters, name: &str) -> Result<String, ConfigError> {
    let text = params.text(name)?.to_ascii_lowercase();
    if FACILITIES.contains(&text.as_str()) {
        Ok(text)
    } else {
        Err(Reason::NotAllowed(text.into_bytes(), "a syslog facility; mail is usual").into())
    }
}

/// Stock refuses a log file whose name begins with none of maillog_file_prefixes, so that a mistake cannot overwrite
/// anything else. They are strings, not directories: `/var` allows `/variable/x`, and `/` everything.
///
/// Source of the fact: postmap(1) of Postfix 3.7.11 with such files and prefixes.
fn maillog_file(params: &Parameters, name: &str) -> Result<Option<String>, ConfigError> {
    let text = params.text(name)?;
    if text.is_empty() {
        return Ok(None);
    }
    let prefixes = params.expand("maillog_file_prefixes")?;
    if Tokens::new(&prefixes, LIST).any(|prefix| text.as_bytes().starts_with(prefix)) {
        Ok(Some(text))
    } else {
        let allowed = "a name that begins with one of maillog_file_prefixes";
        Err(Reason::NotAllowed(shown(text.as_bytes()).into_bytes(), allowed).into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{FileName, parse_main};

    fn settings(main: &str) -> (Settings, Vec<Complaint>) {
        Settings::from(&Parameters::new(parse_main(main.as_bytes()).0))
    }

    #[test]
    fn from_empty_file_gives_documented_defaults_without_complaint() {
        let (found, complaints) = settings("");
        assert_eq!(complaints, vec![]);
        assert_eq!(
            (found.max_use, found.max_idle.as_secs(), found.daemon_timeout.as_secs()),
            (100, 100, 18000)
        );
        assert_eq!((found.syslog_name.as_str(), found.maillog_file), ("postfix", None));
        assert!(!found.smtputf8_enable, "compatibility_level 0");
        assert!(settings("compatibility_level = 3.6\n").0.smtputf8_enable);
    }

    #[test]
    fn from_good_values_are_used() {
        let (found, complaints) = settings(
            "max_use = 7\nmax_idle = 2m\nsyslog_facility = LOCAL3\nmaillog_file = /var/log/x\n\
             multi_instance_name = second\nqueue_directory = $base/q\nbase = /srv\n",
        );
        assert_eq!(complaints, vec![]);
        assert_eq!((found.max_use, found.max_idle.as_secs()), (7, 120));
        assert_eq!((found.syslog_facility.as_str(), found.syslog_name.as_str()), ("local3", "second"));
        assert_eq!(
            (found.maillog_file.as_deref(), found.queue_directory.as_str()),
            (Some("/var/log/x"), "/srv/q")
        );
    }

    #[test]
    fn from_bad_value_uses_default_and_complains_with_line() {
        for (line, name) in [
            ("max_use = 0", "max_use"),
            ("max_use = 5s", "max_use"),
            ("max_idle = 0s", "max_idle"),
            ("ipc_timeout = 5x", "ipc_timeout"),
            ("daemon_timeout =", "daemon_timeout"),
            ("smtputf8_enable = maybe", "smtputf8_enable"),
            ("syslog_facility = male", "syslog_facility"),
            ("queue_directory = spool", "queue_directory"),
            ("queue_directory = /var/../x", "queue_directory"),
            ("maillog_file = /etc/passwd", "maillog_file"),
            ("maillog_file = var/log/x", "maillog_file"),
            ("mail_owner =", "mail_owner"),
            ("syslog_name = ${", "syslog_name"),
            ("proxymap_service_name = ../x", "proxymap_service_name"),
            ("inet_protocols =", "inet_protocols"),
            ("inet_protocols = ipv4, ipv5", "inet_protocols"),
        ] {
            let (found, complaints) = settings(&format!("\n{line}\n"));
            assert_eq!(found, settings("").0, "{line}");
            assert_eq!(complaints.len(), 1, "{line}");
            assert_eq!((complaints[0].file, complaints[0].line), (FileName::MainCf, 2), "{line}");
            assert!(complaints[0].to_string().contains(name), "{}", complaints[0]);
        }
    }

    #[test]
    fn sizes_of_socketmap_count_from_the_version_that_has_them() {
        let sizes = |version: &str, lines: &str| {
            let main = parse_main(lines.as_bytes()).0;
            let defaults = format!("mail_version = {version}\n");
            let found = Settings::from(&Parameters::new(main).with_defaults(defaults.as_bytes())).0;
            (found.socketmap_max_reply_size, found.socketmap_max_query_size)
        };
        let lines = "socketmap_max_reply_size = 7\nsocketmap_max_query_size = 8\n";
        assert_eq!(sizes("3.9.9", lines), (100_000, u32::MAX));
        assert_eq!(sizes("3.10.0", lines), (7, u32::MAX));
        assert_eq!(sizes("3.12.0", lines), (7, 8));
        assert_eq!(sizes("3.12.0", ""), (100_000, 10_000));
        assert_eq!(sizes("3.12.0", "socketmap_max_reply_size = 0\n"), (100_000, 10_000));
    }

    #[test]
    fn inet_protocols_are_a_list() {
        let found = |value: &str| settings(&format!("inet_protocols = {value}\n")).0.inet_protocols;
        assert_eq!(settings("").0.inet_protocols, (true, true));
        assert_eq!((found("ipv4"), found("ipv6")), ((true, false), (false, true)));
        assert_eq!((found("ipv6,ipv4"), found("all")), ((true, true), (true, true)));
    }

    #[test]
    fn maillog_file_prefixes_are_strings() {
        let file = |main: &str| settings(main).0.maillog_file;
        for prefixes in ["/", "/srv/x/", "/srv/x/lo", "/srv/x/log", "/none, /srv"] {
            let main = format!("maillog_file = /srv/x/log\nmaillog_file_prefixes = {prefixes}\n");
            assert_eq!(file(&main).as_deref(), Some("/srv/x/log"), "{prefixes}");
        }
        for prefixes in ["", "/srv/x/log/", "/var", "srv"] {
            let main = format!("maillog_file = /srv/x/log\nmaillog_file_prefixes = {prefixes}\n");
            assert_eq!(file(&main), None, "{prefixes}");
        }
        // That of the default is no directory either.
        assert_eq!(file("maillog_file = /variable/x\n").as_deref(), Some("/variable/x"));
    }

    #[test]
    fn from_bad_inner_parameter_complains_where_it_stands() {
        let (_, complaints) = settings("syslog_name = $tag\ntag = ${x-}\n");
        assert_eq!(complaints[0].line, 2);
    }
}
