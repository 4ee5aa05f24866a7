//! Where a service of its own listens, as the configuration has it. What is done there is in `socket`.

use crate::accounts::Ids;
use mapkeep_config_text::{MasterCf, Settings, Transport};
use std::path::{Path, PathBuf};

/// What the configuration says of sockets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// Where clients look for the service, unless told otherwise.
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
    pub fn new(service: &str, settings: &Settings, master: &MasterCf, owner: Option<Ids>) -> Place {
        let queue = Path::new(&settings.queue_directory);
        let name = match service {
            "proxywrite" => &settings.proxywrite_service_name,
            _ => &settings.proxymap_service_name,
        };
        let services = master.services.iter().filter(|service| service.transport != Transport::Inet);
        let taken = services.map(|service| {
            let folder = if service.private == Some(false) { "public" } else { "private" };
            let name = String::from_utf8_lossy(&service.name).into_owned();
            (queue.join(folder).join(&name), name, service.line)
        });
        Place {
            usual: queue.join("private").join(name),
            mail_owner: settings.mail_owner.clone(),
            owner,
            taken: taken.collect(),
        }
    }
}
