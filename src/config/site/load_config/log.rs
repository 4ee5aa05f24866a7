//! Where lines go, and what stands in front of them.

use crate::options::Options;
use crate::plan::LogPlan;
use mapkeep_config_text::Settings;
use mapkeep_log::{Destination, Facility};
use std::path::Path;

/// Where lines go before the configuration has been read: master(8) names its log service in the environment if main.cf
/// has one.
pub fn early_destination(options: Option<&Options>) -> Destination {
    if options.is_some_and(|options| options.stderr) {
        return Destination::Stderr;
    }
    match std::env::var_os("POSTLOG_SERVICE") {
        Some(path) if !path.is_empty() => Destination::Postlog(path.into()),
        _ => Destination::Syslog("/dev/log".into()),
    }
}

/// The host name in lines for the log service, without domain: that of master(8), which knows main.cf's `myhostname`.
pub fn log_host() -> String {
    let name =
        std::env::var_os("POSTLOG_HOSTNAME").or_else(|| nix::unistd::gethostname().ok()).unwrap_or_default();
    name.to_string_lossy().split('.').next().unwrap_or_default().to_owned()
}

/// Where lines go after that, and their prefix.
pub(super) fn log_plan(options: &Options, settings: &Settings, readable: bool, host: &str) -> LogPlan {
    let destination = if options.stderr || !readable {
        early_destination(Some(options))
    } else if settings.maillog_file.is_some() {
        let queue = Path::new(&settings.queue_directory);
        Destination::Postlog(queue.join("public").join(&settings.postlog_service_name))
    } else {
        Destination::Syslog("/dev/log".into())
    };
    LogPlan {
        destination,
        facility: Facility::named(&settings.syslog_facility).unwrap_or(Facility::MAIL),
        // The name of the stock program, because log analysers look for it.
        ident: format!("{}/proxymap", settings.syslog_name),
        service: match settings.syslog_name.as_str() {
            "postfix" => options.service.clone(),
            instance => format!("{instance}/{}", options.service),
        },
        host: host.to_owned(),
        verbose: options.verbose > 0,
    }
}
