//! How a service is started, as far as it changes what the configuration says.

use crate::remark::{Remark, Subject, note};
use mapkeep_config_text::{MasterCf, Parameters, Service, ServiceEntry};

/// Where options of the service come from.
#[derive(Clone, Copy, Debug)]
pub enum Start<'a> {
    /// With the options that the service was given.
    Options {
        /// `-o name=value`, in order.
        overrides: &'a [(String, String)],
        /// Whether its files are inside the queue directory.
        chroot: bool,
    },
    /// As master(8) would start it: what its entry in master.cf says.
    Entry,
}

impl Start<'_> {
    /// Applies its overrides. Returns whether the service's files are inside the queue directory.
    pub(super) fn apply(
        self,
        parameters: &mut Parameters,
        service: Service,
        master: &MasterCf,
        remarks: &mut Vec<Remark>,
    ) -> bool {
        match self {
            Start::Options { overrides, chroot } => {
                for (name, value) in overrides {
                    if let Err(error) = parameters.set_override(name.as_bytes(), value.as_bytes()) {
                        remarks.push(Remark::error(Subject::General, format!("option -o {name}: {error}")));
                    }
                }
                chroot
            }
            Start::Entry => master.unix_service(service.name().as_bytes()).is_some_and(|entry| {
                // master(8) does not interpret the options that it passes on.
                let chroot = is_chrooted(entry, parameters);
                note(remarks, &parameters.apply(entry));
                chroot
            }),
        }
    }
}

/// The chroot field of a service; what `-` means changed with compatibility level 1 (master(5)).
fn is_chrooted(entry: &ServiceEntry, parameters: &Parameters) -> bool {
    entry.chroot.unwrap_or_else(|| {
        let level = parameters.expand_text(b"${{$compatibility_level} <level {1} ? {yes} : {no}}");
        level.is_ok_and(|answer| answer == b"yes")
    })
}
