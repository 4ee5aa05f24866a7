//! The configuration of one service, as the service itself reads it (`mapkeep_config_site`), for all commands.
//!
//! May: read the configuration; run `postconf -d`.

use mapkeep_config_site::configuration::{Configuration, Request, Start};
use mapkeep_config_site::defaults::installed_defaults;
use mapkeep_config_site::files::Unreadable;
use mapkeep_config_text::{FileName, Service};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

/// A configuration directory, and what the installed Postfix has as defaults.
pub(crate) struct Source {
    directory: PathBuf,
    defaults: Option<Vec<u8>>,
}

impl Source {
    /// The error says why `directory` cannot be made absolute.
    pub(crate) fn new(directory: &Path) -> Result<Source, String> {
        // The service would be given an absolute name, and `$config_directory` is one.
        let directory =
            std::path::absolute(directory).map_err(|error| format!("{}: {error}", directory.display()))?;
        let defaults = installed_defaults(&directory);
        Ok(Source { directory, defaults })
    }

    /// The configuration of a service that master(8) starts for root. The error says which file cannot be read, and
    /// what to do: a service tolerates it, but here the answer would be wrong.
    pub(crate) fn read(&self, service: Service) -> Result<Configuration, String> {
        let configuration = self.request(service, Start::Entry);
        match configuration.unreadable.first() {
            Some(unreadable) => Err(with_remedy(unreadable)),
            None => Ok(configuration),
        }
    }

    /// The settings of main.cf for clients of a service. The error says why main.cf cannot be read.
    pub(crate) fn read_as_client(&self, service: Service) -> Result<Configuration, String> {
        // What master.cf overrides for the service, its clients do not see.
        let configuration = self.request(service, Start::Options { overrides: &[], chroot: false });
        match configuration.unreadable.iter().find(|one| one.file == FileName::MainCf) {
            Some(unreadable) => Err(unreadable.to_string()),
            None => Ok(configuration),
        }
    }

    fn request(&self, service: Service, start: Start<'_>) -> Configuration {
        Configuration::read(Request {
            directory: &self.directory,
            service,
            start,
            defaults: self.defaults.as_deref(),
            for_root: true,
        })
    }
}

fn with_remedy(unreadable: &Unreadable) -> String {
    let remedy = match unreadable.error.kind() {
        ErrorKind::NotFound => "; name the configuration directory with -c DIR",
        ErrorKind::PermissionDenied => "; try again as root",
        _ => "",
    };
    format!("{unreadable}{remedy}")
}
