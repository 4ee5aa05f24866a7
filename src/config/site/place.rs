//! Where a service of its own listens, as the configuration has it. What is done there is in `socket`.

use crate::accounts::Ids;
use mapkeep_config_text::{MasterCf, Service, Settings, Transport};
use std::path::{Path, PathBuf};

/// The configuration of sockets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// Where clients look for the service by default.
    pub usual: PathBuf,
    /// The name of mail_owner.
    pub mail_owner: String,
    /// mail_owner's ids, if there is such a user.
    pub owner: Option<Ids>,
    /// Sockets of master(8): path, name, and line in master.cf.
    pub taken: Vec<(PathBuf, String, u32)>,
}

impl Place {
    /// For the service `service`; `owner` are the ids of mail_owner.
    pub fn new(service: Service, settings: &Settings, master: &MasterCf, owner: Option<Ids>) -> Place {
        let queue = Path::new(&settings.queue_directory);
        let services = master.services.iter().filter(|service| service.transport != Transport::Inet);
        let taken = services.map(|service| {
            let folder = if service.private == Some(false) { "public" } else { "private" };
            let name = String::from_utf8_lossy(&service.name).into_owned();
            (queue.join(folder).join(&name), name, service.line)
        });
        Place {
            usual: usual(service, settings),
            mail_owner: settings.mail_owner.clone(),
            owner,
            taken: taken.collect(),
        }
    }
}

/// The socket where clients look for the service.
#[must_use]
pub fn usual(service: Service, settings: &Settings) -> PathBuf {
    let name = match service {
        Service::Read => &settings.proxymap_service_name,
        Service::Write => &settings.proxywrite_service_name,
    };
    Path::new(&settings.queue_directory).join("private").join(name)
}
