//! The list for programs: one JSON document (RFC 8259), whose keys mapkeep(1) documents.
//!
//! Every key is there every time, `null` where there is nothing to say; tables that are written have two more. Bytes that
//! are not UTF-8 become U+FFFD. May: print.

use std::io::{self, Write};
use std::path::Path;

use mapkeep_broker_trust::Rule;
use mapkeep_config_site::configuration::Configuration;
use mapkeep_config_site::remark::Remark;
use mapkeep_config_text::{FileName, Provenance};
use serde_json::{Value, json};

use super::verdict::{FileFacts, Verdict};
use super::{Listing, Report};

/// Prints the whole report.
pub(super) fn print(report: &Report, out: &mut dyn Write) -> io::Result<()> {
    let (site, write) = (&report.main.site, report.write.as_ref());
    let document = json!({
        "service": site.service.name(),
        "list": site.service.list_parameter(),
        "config_directory": path(&site.directory),
        "postfix": site.version.map(|version| version.to_string()),
        "chroot": site.inside.as_deref().map(path),
        "certain": report.is_certain(),
        "contents_looked_at": false,
        "served": report.main.served(),
        "obstacles": report.main.obstacles,
        "write_served": write.map(Listing::served),
        "write_obstacles": write.map(|write| &write.obstacles),
        "tables": tables(&report.main),
        "write_tables": write.map(tables),
        "complaints": report.remarks().into_iter().map(|remark| complaint(site, remark)).collect::<Value>(),
    });
    writeln!(out, "{}", without_controls(&format!("{document:#}")))
}

/// The same document with those control characters escaped that JSON allows in texts, since it may be shown on a terminal.
fn without_controls(json: &str) -> String {
    let mut out = String::with_capacity(json.len());
    for letter in json.chars() {
        // Every control character is below U+00A0, so four digits do.
        if letter.is_control() && letter != '\n' {
            out.push_str(&format!("\\u{:04x}", u32::from(letter)));
        } else {
            out.push(letter);
        }
    }
    out
}

fn tables(listing: &Listing) -> Value {
    listing.verdicts.iter().map(|verdict| table(&listing.site, verdict)).collect()
}

fn table(site: &Configuration, verdict: &Verdict) -> Value {
    let (facts, trouble) = (verdict.facts.as_ref(), verdict.trouble.as_ref());
    let rule = trouble.and_then(|trouble| trouble.rule);
    let mut object = json!({
        "table": text(&verdict.table.name),
        "state": verdict.state().word(),
        "named_by": verdict.table.provenance.iter().map(|place| named_by(site, place)).collect::<Value>(),
        "file": verdict.path.as_deref().map(text),
        "owner": facts.map(|facts| &facts.owner),
        "uid": facts.map(|facts| facts.uid),
        "mode": facts.map(mode),
        "size": facts.map(|facts| facts.size),
        "servers": verdict.servers,
        "component": trouble.and_then(|trouble| trouble.component.as_deref()).map(text),
        "rule": rule.map(Rule::name),
        "rule_text": rule.map(Rule::sentence),
        "note": verdict.note,
        "problem": trouble.map(|trouble| &trouble.problem),
        "remedy": trouble.map(|trouble| &trouble.remedy),
    });
    if let (Some(writing), Some(keys)) = (&verdict.writing, object.as_object_mut()) {
        let files = writing.files.iter().map(|(path, facts)| file(path, facts.as_ref())).collect();
        keys.extend([("written_by".to_owned(), json!(writing.user)), ("files".to_owned(), files)]);
    }
    object
}

/// One file of a table that is written.
fn file(path: &[u8], facts: Option<&FileFacts>) -> Value {
    json!({
        "file": text(path),
        "owner": facts.map(|facts| &facts.owner),
        "uid": facts.map(|facts| facts.uid),
        "mode": facts.map(mode),
        "size": facts.map(|facts| facts.size),
    })
}

/// Permission bits, in octal.
fn mode(facts: &FileFacts) -> String {
    format!("{:04o}", facts.mode)
}

fn named_by(site: &Configuration, place: &Provenance) -> Value {
    let (file, line) = place.origin.place();
    json!({
        "consumer": text(&place.consumer),
        "parameter": text(&place.parameter),
        "file": file_name(site, file),
        "line": number(line),
        "list_file": place.list_file.as_deref().map(text),
    })
}

fn complaint(site: &Configuration, remark: &Remark) -> Value {
    json!({
        "file": remark.file().and_then(|file| file_name(site, file)),
        "line": remark.line(),
        "severity": remark.severity.to_string(),
        "text": remark.text,
    })
}

/// The whole path of a configuration file; nothing for defaults.
fn file_name(site: &Configuration, file: FileName) -> Option<String> {
    (file != FileName::Defaults).then(|| path(&site.directory.join(file.to_string())))
}

/// Lines count from 1: 0 stands for none.
fn number(line: u32) -> Option<u32> {
    (line != 0).then_some(line)
}

fn path(path: &Path) -> String {
    text(path.as_os_str().as_encoded_bytes())
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}
