//! The command line: the generic options of Postfix daemons under master(8), and `serve` for standalone use.
//!
//! Source of the facts: master(5), and how master(8) builds the argument vector (option letters
//! `cdDi:lm:n:o:s:St:uvVz`; parsing stops at the first word that is no option).

use crate::error::SiteError;
use mapkeep_proto::version_text;

/// Who started us.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// master(8): status channel at descriptor 5, listening sockets from 6 on.
    Master,
    /// Anything else: the service creates its sockets.
    Standalone,
}

/// The command line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// Who started us.
    pub mode: Mode,
    /// `-n`, or the base name of argument 0.
    pub service: String,
    /// `-i`: overrides max_idle, in seconds.
    pub max_idle: Option<u64>,
    /// `-m`: overrides max_use.
    pub max_use: Option<u32>,
    /// `-s`: number of listening sockets.
    pub sockets: u16,
    /// `-o name=value`, in order.
    pub overrides: Vec<(String, String)>,
    /// `-c`: paths of tables are inside the queue directory.
    pub chroot: bool,
    /// `-v`, counted.
    pub verbose: u8,
    /// `-V`, and `--stderr` standalone: log to standard error.
    pub stderr: bool,
    /// Standalone: the configuration directory, and the sockets to serve; without any, those of the service manager, or
    /// the one that clients use by default.
    pub config_directory: Option<String>,
    /// Standalone: the paths of the sockets to serve.
    pub listen: Vec<String>,
}

/// What `--help` prints.
pub const USAGE: &str = "\
usage: mapkeepd [-n proxymap|proxywrite] -t unix [OPTION]...
       mapkeepd serve [-n proxymap|proxywrite] [-c CONFIG_DIR] [--socket PATH]...
                      [-o NAME=VALUE]... [-v] [--stderr]
       mapkeepd --version

The first form is how master(8) starts it, with the options that all its daemons take (-i -m -n -o -s -v and others).
serve  listens on a socket of its own, in the foreground; mapkeepd(8) has the details
exit status: 0 ended normally, 1 failed (standard error and the log say why), 64 wrong usage";

/// The output for a user who runs the program by hand for help or the version.
pub fn wanted_text(words: &[String]) -> Option<Result<String, SiteError>> {
    let help = |word: &String| word == "--help" || word == "-h";
    match words {
        // After "serve", wherever it stands; master(8) may give any word as a value.
        [first, rest @ ..] if first == "serve" && rest.iter().any(help) => Some(Ok(USAGE.to_owned())),
        [first, rest @ ..] if help(first) || first == "--version" => Some(match rest {
            [] if first == "--version" => Ok(version_text("mapkeepd")),
            [] => Ok(USAGE.to_owned()),
            [extra, ..] => Err(SiteError::Positional(extra.clone())),
        }),
        _ => None,
    }
}

impl Options {
    fn new(mode: Mode, program: &str) -> Options {
        let service = program.rsplit('/').next().unwrap_or(program).to_owned();
        Options {
            mode,
            service,
            max_idle: None,
            max_use: None,
            sockets: 1,
            overrides: Vec::new(),
            chroot: false,
            verbose: 0,
            stderr: false,
            config_directory: None,
            listen: Vec::new(),
        }
    }

    /// Reads the words that follow the program's name `program` (argument 0).
    pub fn read(program: &str, words: &[String]) -> Result<Options, SiteError> {
        match words.split_first() {
            Some((first, rest)) if first == "serve" => Options::standalone(program, rest),
            _ => Options::under_master(program, words),
        }
    }

    fn under_master(program: &str, words: &[String]) -> Result<Options, SiteError> {
        let mut options = Options::new(Mode::Master, program);
        let mut transport = false;
        let mut words = words.iter();
        while let Some(word) = words.next() {
            let Some(letters) = word.strip_prefix('-').filter(|letters| !letters.is_empty()) else {
                return Err(SiteError::Positional(word.clone()));
            };
            if word.starts_with("--") {
                return Err(SiteError::Unknown(word.clone()));
            }
            let mut rest = letters;
            while let Some(letter) = rest.chars().next() {
                rest = rest.get(letter.len_utf8()..).unwrap_or_default();
                if !"imnost".contains(letter) {
                    options.switch(letter)?;
                    continue;
                }
                // A value is the rest of the word, or the next word.
                let value = match std::mem::take(&mut rest) {
                    "" => words.next().ok_or_else(|| SiteError::NoValue(format!("-{letter}")))?.clone(),
                    value => value.to_owned(),
                };
                transport |= letter == 't';
                options.set(letter, value)?;
            }
        }
        if !transport {
            return Err(SiteError::NoTransport);
        }
        options.role_known()
    }

    fn switch(&mut self, letter: char) -> Result<(), SiteError> {
        match letter {
            'c' => self.chroot = true,
            'v' => self.verbose = self.verbose.saturating_add(1),
            'V' => self.stderr = true,
            'S' => return Err(SiteError::SingleRequest),
            // No terminal check, no debugger, and privileges are always dropped; the process limit does not apply,
            // because one process tree serves any number of clients.
            'd' | 'D' | 'u' | 'l' | 'z' => {}
            _ => return Err(SiteError::Unknown(format!("-{letter}"))),
        }
        Ok(())
    }

    fn set(&mut self, letter: char, value: String) -> Result<(), SiteError> {
        let bad = |value: String| SiteError::BadValue(format!("-{letter}"), value);
        match letter {
            'i' => self.max_idle = Some(value.parse().map_err(|_| bad(value))?),
            'm' => self.max_use = Some(value.parse().map_err(|_| bad(value))?),
            's' => {
                self.sockets =
                    value.parse().ok().filter(|count| (1..=64).contains(count)).ok_or_else(|| bad(value))?;
            }
            'n' => self.service = value,
            'o' => {
                let Some((name, text)) = value.split_once('=') else { return Err(bad(value)) };
                self.overrides.push((name.trim().to_owned(), text.trim().to_owned()));
            }
            't' if matches!(value.as_str(), "unix" | "inet" | "pass") => {}
            _ => return Err(bad(value)),
        }
        Ok(())
    }

    fn standalone(program: &str, words: &[String]) -> Result<Options, SiteError> {
        let mut options = Options::new(Mode::Standalone, program);
        options.service = "proxymap".to_owned();
        let mut words = words.iter();
        while let Some(word) = words.next() {
            let mut value = || words.next().cloned().ok_or_else(|| SiteError::NoValue(word.clone()));
            match word.as_str() {
                "-c" | "--config" => options.config_directory = Some(value()?),
                "--socket" => options.listen.push(value()?),
                "-n" => options.service = value()?,
                "-o" => {
                    let value = value()?;
                    options.set('o', value)?;
                }
                "-v" => options.switch('v')?,
                "--stderr" => options.stderr = true,
                other if other.starts_with('-') => return Err(SiteError::Unknown(other.to_owned())),
                other => return Err(SiteError::Positional(other.to_owned())),
            }
        }
        options.role_known()
    }

    /// The service name decides the role, as in stock.
    fn role_known(self) -> Result<Options, SiteError> {
        match self.service.as_str() {
            "proxymap" | "proxywrite" => Ok(self),
            // If master.cf starts it under our own name, it is the reading service.
            "mapkeepd" => Ok(Options { service: "proxymap".to_owned(), ..self }),
            other => Err(SiteError::NotAService(other.to_owned())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(line: &str) -> Result<Options, SiteError> {
        let mut words = line.split(' ').map(String::from);
        let program = words.next().unwrap();
        Options::read(&program, &words.collect::<Vec<_>>())
    }

    #[test]
    fn options_as_master_writes_them() {
        let options = read("../../x/mapkeepd -z -n proxymap -t unix -u -o syslog_name=a=b -s 2 -vv").unwrap();
        assert_eq!(options.service, "proxymap");
        assert_eq!(options.overrides, [("syslog_name".to_owned(), "a=b".to_owned())]);
        assert_eq!((options.sockets, options.verbose), (2, 2));
        assert_eq!(read("proxywrite -l -t unix -u").unwrap().service, "proxywrite");
        assert_eq!(read("proxymap -tunix -m5 -i7").unwrap().max_use, Some(5));
        assert_eq!(read("mapkeepd -t unix").unwrap().service, "proxymap");
    }

    #[test]
    fn odd_command_lines_are_named() {
        assert_eq!(read("proxymap -u"), Err(SiteError::NoTransport));
        assert_eq!(read("proxymap -t unix -Q"), Err(SiteError::Unknown("-Q".into())));
        assert_eq!(read("proxymap -t unix x -o a=b"), Err(SiteError::Positional("x".into())));
        assert_eq!(read("proxymap -t"), Err(SiteError::NoValue("-t".into())));
        assert_eq!(read("proxymap -t unix -s 0"), Err(SiteError::BadValue("-s".into(), "0".into())));
        assert_eq!(read("mapkeepd serve --socket"), Err(SiteError::NoValue("--socket".into())));
        assert_eq!(read("mapkeepd serve --sockets x"), Err(SiteError::Unknown("--sockets".into())));
        assert_eq!(read("mapkeepd serve -v extra"), Err(SiteError::Positional("extra".into())));
        assert_eq!(read("proxymap -t unix -n other"), Err(SiteError::NotAService("other".into())));
    }

    #[test]
    fn help_and_version_are_asked_for_by_a_person() {
        let wanted = |line: &str| wanted_text(&line.split(' ').map(String::from).collect::<Vec<_>>());
        assert!(matches!(wanted("--help"), Some(Ok(text)) if text.starts_with("usage: mapkeepd")));
        assert!(matches!(wanted("serve -c --help"), Some(Ok(_))));
        assert_eq!(wanted("--version"), Some(Ok(version_text("mapkeepd"))));
        assert_eq!(wanted("--version x"), Some(Err(SiteError::Positional("x".into()))));
        assert_eq!(wanted("-t unix -o --help"), None, "master(8) gives what main.cf says");
        assert_eq!(wanted("serve"), None);
    }

    #[test]
    fn serve_may_name_a_socket() {
        assert!(read("mapkeepd serve").unwrap().listen.is_empty());
        let options = read("mapkeepd serve -c /etc/postfix --socket /run/x --stderr").unwrap();
        assert_eq!(options.mode, Mode::Standalone);
        assert_eq!(options.listen, ["/run/x"]);
        assert!(options.stderr);
    }
}
