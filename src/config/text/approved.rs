//! The approved list: which tables clients may ask for, and which parameter named each.
//!
//! Pure, except that the caller's closure reads files of table names (3.12).
//!
//! The set of names is exactly what tokenising the fully expanded proxy_read_maps or proxy_write_maps gives, as
//! in stock; it decides alone. Provenance comes from a second walk, parameter by parameter (`walk`), and never
//! adds a name. Only where the list cannot be expanded at all, and stock would die, does the walk stand in for
//! it, with a complaint. Where the two disagree (braces that open in one parameter and close in another), every
//! table is also attributed to the list itself, so that nobody trusts a provenance that may lack a consumer.
//! Source: proxymap(8) 3.7.11 and 3.12-20260821; `tests/against_proxymap.rs` asks the installed one.

mod files;
mod names;
mod walk;

use std::collections::BTreeMap;

use crate::complaint::{Complaint, ComplaintKind, complain};
use crate::error::ConfigError;
use crate::parameters::{Origin, Parameters};
use crate::tokens::{LIST, Tokens};
use crate::version::PostfixVersion;
pub use files::tables_of_file_content;
use names::{ListFiles, NameReader, Source};
use walk::Walk;

/// Which list decides: proxy_read_maps for the proxymap service, proxy_write_maps for proxywrite.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Service {
    /// proxymap.
    Read,
    /// proxywrite.
    Write,
}

impl Service {
    /// The service's name in master.cf, and the one that clients have in their configuration by default.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Service::Read => "proxymap",
            Service::Write => "proxywrite",
        }
    }

    /// The parameter that lists the service's tables.
    #[must_use]
    pub fn list_parameter(self) -> &'static str {
        match self {
            Service::Read => "proxy_read_maps",
            Service::Write => "proxy_write_maps",
        }
    }
}

/// One place that named a table.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Provenance {
    /// The parameter that the service's list refers to: it says what daemons use the table for. The list
    /// itself where it names the table directly, and smtpd_restriction_classes for tables of a class.
    pub consumer: Vec<u8>,
    /// The parameter whose own text names the table: the consumer, or one that it refers to.
    pub parameter: Vec<u8>,
    /// Where that text stands.
    pub origin: Origin,
    /// The file of table names, when the text names the table through one (3.12).
    pub list_file: Option<Vec<u8>>,
}

/// A table that clients may ask for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ApprovedTable {
    /// `type:rest` without any `proxy:`. Clients' names are compared with it byte by byte.
    pub name: Vec<u8>,
    /// Who named it: at least one entry, none twice.
    pub provenance: Vec<Provenance>,
}

/// The tables that `service` serves, each once, in order of appearance, with complaints about text that could
/// not be used. `read` gives the content of a file of table names, `None` when it cannot be read; it is called
/// for versions that know such files only, once for each path.
pub fn approved(
    params: &Parameters,
    service: Service,
    version: PostfixVersion,
    read: &mut dyn FnMut(&[u8]) -> Option<Vec<u8>>,
) -> (Vec<ApprovedTable>, Vec<Complaint>) {
    let mut complaints = Vec::new();
    let mut files = ListFiles::new(read);
    let list = service.list_parameter().as_bytes();

    // Roots are expanded as a whole: the list, then each restriction class.
    let mut roots = vec![(list.to_vec(), list.to_vec())];
    if service == Service::Read && version.searches_restriction_classes() {
        let consumer = b"smtpd_restriction_classes";
        match params.expand("smtpd_restriction_classes") {
            Ok(classes) => {
                roots.extend(Tokens::new(&classes, LIST).map(|class| (consumer.to_vec(), class.to_vec())));
            }
            Err(error) => complain_at(&mut complaints, params, consumer, error),
        }
    }

    let mut walk = Walk::new(params, version);
    let mut found = Found::default();
    for (consumer, root) in roots {
        let source = Source::of(params, &consumer, &root);
        match walk.expand(&root) {
            Ok(text) => {
                let mut reader = NameReader::new(version, &mut files, &mut complaints);
                reader.list(&text, &source, &mut |name, source| found.add(name, source, true));
                walk.root(&consumer, &root, &mut files, None, &mut |name, source| {
                    found.add(name, source, false);
                });
            }
            Err(error) => {
                complain_at(&mut complaints, params, &root, error);
                walk.root(&consumer, &root, &mut files, Some(&mut complaints), &mut |name, source| {
                    found.add(name, source, true);
                    found.add(name, source, false);
                });
            }
        }
    }
    (found.into_tables(walk.is_complete()), complaints)
}

fn complain_at(complaints: &mut Vec<Complaint>, params: &Parameters, name: &[u8], error: ConfigError) {
    let (file, line) = params.origin(error.parameter.as_deref().unwrap_or(name)).place();
    let kind = ComplaintKind::BadList(error);
    if !complaints.iter().any(|old: &Complaint| (old.file, old.line, &old.kind) == (file, line, &kind)) {
        complain(complaints, file, line, kind);
    }
}

/// Names found so far. Those of the whole text decide; those of the walk only say where a name comes from.
#[derive(Default)]
struct Found {
    order: Vec<Vec<u8>>,
    /// For each name: was it in a whole text, who holds it there, and what the walk says.
    names: BTreeMap<Vec<u8>, FoundName>,
}

#[derive(Default)]
struct FoundName {
    decided: Option<Provenance>,
    walked: Vec<Provenance>,
}

impl Found {
    fn add(&mut self, name: &[u8], source: &Source, decides: bool) {
        let entry = self.names.entry(name.to_vec()).or_default();
        let provenance = source.provenance();
        if decides {
            if entry.decided.is_none() {
                entry.decided = Some(provenance);
                self.order.push(name.to_vec());
            }
        } else if !entry.walked.contains(&provenance) {
            entry.walked.push(provenance);
        }
    }

    fn into_tables(mut self, walk_is_complete: bool) -> Vec<ApprovedTable> {
        let agree = |found: &FoundName| found.decided.is_some() != found.walked.is_empty();
        let trusted = walk_is_complete && self.names.values().all(agree);
        let mut tables = Vec::with_capacity(self.order.len());
        for name in self.order {
            let Some(found) = self.names.remove(&name) else { continue };
            let mut provenance = found.walked;
            if !trusted {
                provenance.extend(found.decided.filter(|decided| !provenance.contains(decided)));
            }
            tables.push(ApprovedTable { name, provenance });
        }
        tables
    }
}

#[cfg(test)]
mod tests;
