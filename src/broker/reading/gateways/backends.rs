//! Which servers there are, by the names of tables, and what their gateways are told of them.
//!
//! Tables of one server have one gateway. What it is told lies in sealed memory files, which are made before the lock, so that
//! its replacement is told the same.

use mapkeep_broker_snapshot::{Failure, seal_bytes};
use mapkeep_name::{Endpoint, Kind, Remote, remote};
use mapkeep_proto::{
    Asks, Backend, BackendTable, Backends, Encoded, Host, Listed, MAX_GATEWAYS, Protocol, TableId,
};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::rc::Rc;

/// A sealed memory file.
#[derive(Debug)]
pub(crate) struct Memory {
    pub(crate) descriptor: OwnedFd,
    pub(crate) size: u64,
}

/// A server, and its tables.
#[derive(Debug)]
pub(crate) struct Server {
    /// What the log calls it.
    pub(crate) title: String,
    pub(crate) hosts: Vec<Host>,
    /// Connections that its gateway may have or ask for, at most.
    pub(crate) connections: u16,
    /// How long it has for an answer.
    pub(crate) milliseconds: u32,
    pub(super) backend: Rc<Memory>,
    pub(super) tables: Vec<(TableId, Rc<Memory>)>,
}

impl Server {
    /// Its tables.
    pub(crate) fn ids(&self) -> impl Iterator<Item = TableId> {
        self.tables.iter().map(|(id, _)| *id)
    }

    /// Every memory file of it.
    pub(crate) fn memories(&self) -> impl Iterator<Item = &Memory> {
        std::iter::once(&*self.backend).chain(self.tables.iter().map(|(_, memory)| &**memory))
    }
}

/// The servers of these tables, and what keeps tables from being asked, for the log; none where no gateway can be started,
/// so that nobody waits for one. A relative path of a socket begins at
/// `queue_directory`, an absolute one `inside`, where the root of the tables' paths is. `room`: descriptors that there are for
/// their settings.
///
/// # Errors
/// Memory files cannot be made.
pub(crate) fn servers(
    list: &[Listed],
    settings: &Backends,
    inside: &Path,
    mut room: usize,
) -> Result<(Vec<Server>, Vec<String>), Failure> {
    if !settings.gateways {
        return Ok((Vec::new(), Vec::new()));
    }
    let known = mapkeep_name::servers(list.iter().map(|table| table.name.as_slice()));
    let milliseconds = u32::try_from(settings.query_timeout.as_millis()).unwrap_or(u32::MAX);
    let (mut found, mut problems) = (Vec::new(), Vec::new());
    for (place, (kind, endpoint)) in known.into_iter().enumerate() {
        let (protocol, language) = protocol(kind, settings);
        let title = format!("{language} {endpoint}");
        if place >= usize::try_from(MAX_GATEWAYS).unwrap_or(usize::MAX) {
            problems.push(format!(
                "{title}: tables have more than {MAX_GATEWAYS} servers; lookups in those of this one fail with a temporary \
                 error -- name fewer servers"
            ));
            continue;
        }
        let host = Host::from(seen_from_here(endpoint.clone(), settings, inside));
        if matches!(&host, Host::Unix(path) if path.len() > Host::MAX_PATH) {
            problems.push(format!(
                "{title}: the path of the socket is longer than {} bytes, together with the directory in which it begins; \
                 lookups fail with a temporary error -- move the socket",
                Host::MAX_PATH
            ));
            continue;
        }
        let of_it = (0..).map(TableId).zip(list).filter_map(|(id, table)| {
            let Remote { endpoint: other, map } = remote(&table.name).ok()??;
            let is_of_it = Kind::of(&table.name) == kind && other == endpoint;
            is_of_it.then(|| (id, settings_of(&table.name, map, milliseconds)))
        });
        let of_it: Vec<(TableId, BackendTable)> = of_it.collect();
        let needed = of_it.len().saturating_add(1);
        let Some(left) = room.checked_sub(needed) else {
            problems.push(format!(
                "{title}: the limit of open files leaves no room for the settings of its {} tables; lookups in them fail with a \
                 temporary error -- raise the limit (LimitNOFILE= of the unit, or ulimit -Hn where Postfix is started)",
                of_it.len()
            ));
            continue;
        };
        room = left;
        let tables = of_it.into_iter();
        let tables =
            tables.map(|(id, table)| Ok((id, sealed(&table)?))).collect::<Result<Vec<_>, Failure>>()?;
        let (hosts, connections) = (vec![host], settings.connections);
        let backend = Backend { title: title.clone(), hosts: hosts.clone(), connections, protocol };
        let backend = sealed(&backend)?;
        found.push(Server { title, hosts, connections, milliseconds, backend, tables });
    }
    Ok((found, problems))
}

/// What a server for tables of this type speaks, and what that is called.
fn protocol(kind: Kind, settings: &Backends) -> (Protocol, &'static str) {
    let Backends { max_reply, max_query, .. } = *settings;
    match kind {
        Kind::Socketmap => (Protocol::Socketmap { max_reply, max_query }, "socketmap"),
        _ => (Protocol::Tcp, "tcp"),
    }
}

fn settings_of(name: &[u8], map: Option<Vec<u8>>, milliseconds: u32) -> BackendTable {
    let asks = map.map_or(Asks::Tcp, |map| Asks::Socketmap { map });
    BackendTable { name: name.to_vec(), milliseconds, asks }
}

fn sealed(settings: &impl Encoded) -> Result<Rc<Memory>, Failure> {
    let bytes = settings.encode();
    let size = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
    Ok(Rc::new(Memory { descriptor: seal_bytes(&bytes)?, size }))
}

/// Where a server listens, as the dialer sees it.
fn seen_from_here(endpoint: Endpoint, settings: &Backends, inside: &Path) -> Endpoint {
    let Endpoint::Unix(path) = endpoint else { return endpoint };
    let above = match path.first() {
        Some(b'/') => inside,
        _ => settings.queue_directory.as_path(),
    };
    let mut whole = above.as_os_str().as_bytes().to_vec();
    if path.first() != Some(&b'/') {
        whole.push(b'/');
    }
    whole.extend_from_slice(&path);
    Endpoint::Unix(whole)
}
