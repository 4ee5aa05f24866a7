//! The list of tables: members that are added to the approved tables, and remarks on single tables.

use crate::notices::{Notice, Notices};
use crate::remark::{Remark, Subject};
use mapkeep_broker_trust::{People, anchor_at, write_directories};
use mapkeep_name::{Kind, remedy_unknown, remote, why_unknown};
use mapkeep_proto::Listed;
use mapkeep_sandbox::Located;
use std::path::Path;
use std::rc::Rc;

/// The approved tables, then the members of composite ones that are not approved themselves.
pub(super) fn with_members(
    approved: impl Iterator<Item = Vec<u8>>,
    remarks: &mut Vec<Remark>,
) -> Vec<Listed> {
    let mut list: Vec<Listed> =
        approved.map(|name| Listed { name, approved: true, incomplete: false }).collect();
    for index in 0..list.len() {
        let Some(table) = list.get(index) else { continue };
        match mapkeep_name::leaves(&table.name) {
            Ok(members) => {
                for name in members {
                    if !list.iter().any(|known| known.name == name) {
                        list.push(Listed { name, approved: false, incomplete: false });
                    }
                }
            }
            Err(error) => {
                let text = format!("table {}: bad table name: {error}", String::from_utf8_lossy(&table.name));
                remarks.push(Remark::error(Subject::General, text));
            }
        }
    }
    list
}

/// A warning for a table of a type that is not served, so that the administrator knows before the first lookup.
pub(super) fn not_served(name: &[u8]) -> Option<Remark> {
    let (why, remedy) = match Kind::of(name) {
        Kind::Unknown => (why_unknown(name), remedy_unknown(name)),
        Kind::Environ => (
            "environ: tables cannot be served: workers have an empty environment",
            "stay with stock's proxymap for now",
        ),
        _ => (remote(name).err()?.0, "correct the name where it is written"),
    };
    let name = String::from_utf8_lossy(name);
    let text = format!("table {name}: {why}: every lookup fails with a temporary error -- {remedy}");
    Some(Remark::warning(Subject::General, text))
}

/// Marks the tables whose file is incomplete, and adds a remark for each table that is only partly served.
pub(super) fn notice_all(names: &mut [Listed], notices: &Notices) -> Vec<Remark> {
    let mut remarks = Vec::new();
    for table in names {
        table.incomplete = notices.is_incomplete(&table.name);
        if let Some(Notice { problem, remedy, .. }) = notices.of(&table.name) {
            let name = String::from_utf8_lossy(&table.name);
            let text = format!("table {name}: {problem} -- {remedy}");
            remarks.push(Remark::warning(Subject::General, text));
        }
    }
    remarks
}

/// The existing directories of tables that can be changed: nothing else can be written.
pub(super) fn directories_of(
    names: &[Listed],
    inside: &Path,
    people: Rc<People>,
    writer: u32,
) -> Vec<Located> {
    match anchor_at(inside) {
        Ok(anchor) => write_directories(approved_names(names), inside, &anchor.among(people), writer),
        // The broker will meet the same error, and log it.
        Err(_) => Vec::new(),
    }
}

fn approved_names(names: &[Listed]) -> impl Iterator<Item = &[u8]> {
    names.iter().filter(|table| table.approved).map(|table| table.name.as_slice())
}
