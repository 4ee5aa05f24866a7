//! The defaults of the installed Postfix.

use mapkeep_broker_trust::read_file;
use mapkeep_config_text::{FileName, Parameters, parse_main};
use std::path::Path;
use std::process::{Command, Stdio};

/// Where postconf(1) is, unless main.cf says otherwise.
const DEFAULT_COMMANDS: &str = "/usr/sbin";

/// What `postconf -d` prints for the configuration in `directory`; `None` means that built-in lists are used. Must be
/// called before lock-down.
#[must_use]
#[allow(clippy::disallowed_methods, reason = "before the lock")]
pub fn installed_defaults(directory: &Path) -> Option<Vec<u8>> {
    let main = read_file(&directory.join(FileName::MainCf.to_string())).unwrap_or_default();
    let parameters = Parameters::new(parse_main(&main).0);
    let commands = parameters.text("command_directory").unwrap_or_else(|_| DEFAULT_COMMANDS.to_owned());
    let output = Command::new(Path::new(&commands).join("postconf"))
        .arg("-c")
        .arg(directory)
        .arg("-d")
        .env_clear()
        .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
        .current_dir("/")
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .output();
    output.ok().filter(|output| output.status.success()).map(|output| output.stdout)
}
