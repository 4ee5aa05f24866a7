//! The list for programs: one JSON document (RFC 8259), whose keys mapkeep(1) documents.
//!
//! Every key is there every time, `null` where there is nothing to say; tables that are written have two more. Bytes that are not UTF-8 become U+FFFD.
//! May: print. Called by `tables`.

use std::io::{self, Write};
use std::path::Path;

use mapkeep_config_text::{FileName, Origin, Provenance, Severity};

use super::site::{Remark, Site};
use super::verdict::{FileFacts, Verdict};
use super::{Listing, Report};

/// Prints the whole report, one table on a line.
pub(super) fn print(report: &Report, out: &mut dyn Write) -> io::Result<()> {
    let site = &report.main.site;
    let head = object(&[
        ("service", string(site.service_name())),
        ("list", string(site.service.list_parameter())),
        ("config_directory", path(&site.directory)),
        ("postfix", site.version.map_or_else(null, |version| string(&version.to_string()))),
        ("chroot", site.inside.as_deref().map_or_else(null, path)),
        ("certain", report.is_certain().to_string()),
        ("contents_looked_at", false.to_string()),
        ("served", report.main.served().to_string()),
        ("obstacles", obstacles(&report.main)),
        ("write_served", report.write.as_ref().map_or_else(null, |write| write.served().to_string())),
        ("write_obstacles", report.write.as_ref().map_or_else(null, obstacles)),
        ("tables", tables(&report.main)),
        ("write_tables", report.write.as_ref().map_or_else(null, tables)),
        ("complaints", lines(report.remarks().into_iter().map(|remark| complaint(site, remark)))),
    ]);
    writeln!(out, "{head}")
}

fn tables(listing: &Listing) -> String {
    lines(listing.verdicts.iter().map(|verdict| table(&listing.site, verdict)))
}

/// Why the service cannot start.
fn obstacles(listing: &Listing) -> String {
    list(listing.obstacles.iter().map(|obstacle| string(obstacle)))
}

fn table(site: &Site, verdict: &Verdict) -> String {
    let (facts, trouble) = (verdict.facts.as_ref(), verdict.trouble.as_ref());
    let rule = trouble.and_then(|trouble| trouble.rule);
    let mut members = vec![
        ("table", bytes(&verdict.table.name)),
        ("state", string(verdict.state().word())),
        ("named_by", list(verdict.table.provenance.iter().map(|place| named_by(site, place)))),
        ("file", verdict.path.as_deref().map_or_else(null, bytes)),
        ("owner", facts.and_then(|facts| facts.owner.as_deref()).map_or_else(null, string)),
        ("uid", facts.map_or_else(null, |facts| facts.uid.to_string())),
        ("mode", facts.map_or_else(null, |facts| string(&format!("{:04o}", facts.mode)))),
        ("size", facts.map_or_else(null, |facts| facts.size.to_string())),
        ("component", trouble.and_then(|trouble| trouble.component.as_deref()).map_or_else(null, bytes)),
        ("rule", rule.map_or_else(null, |rule| string(rule.name()))),
        ("rule_text", rule.map_or_else(null, |rule| string(rule.sentence()))),
        ("note", verdict.note.as_deref().map_or_else(null, string)),
        ("problem", trouble.map_or_else(null, |trouble| string(&trouble.problem))),
        ("remedy", trouble.and_then(|trouble| trouble.remedy.as_deref()).map_or_else(null, string)),
    ];
    if let Some(writing) = &verdict.writing {
        members.push(("written_by", writing.user.as_deref().map_or_else(null, string)));
        members.push(("files", list(writing.files.iter().map(|(path, facts)| file(path, facts.as_ref())))));
    }
    object(&members)
}

/// One file of a table that is written.
fn file(path: &[u8], facts: Option<&FileFacts>) -> String {
    object(&[
        ("file", bytes(path)),
        ("owner", facts.and_then(|facts| facts.owner.as_deref()).map_or_else(null, string)),
        ("uid", facts.map_or_else(null, |facts| facts.uid.to_string())),
        ("mode", facts.map_or_else(null, |facts| string(&format!("{:04o}", facts.mode)))),
        ("size", facts.map_or_else(null, |facts| facts.size.to_string())),
    ])
}

fn named_by(site: &Site, place: &Provenance) -> String {
    let (file, line) = match place.origin {
        Origin::Default | Origin::BuiltIn | Origin::Unset | Origin::Fixed => (FileName::Defaults, 0),
        written => written.place(),
    };
    object(&[
        ("consumer", bytes(&place.consumer)),
        ("parameter", bytes(&place.parameter)),
        ("file", file_name(site, file)),
        ("line", number(line)),
        ("list_file", place.list_file.as_deref().map_or_else(null, bytes)),
    ])
}

fn complaint(site: &Site, remark: &Remark) -> String {
    let severity = match remark.severity {
        Severity::Error => "error",
        Severity::Warning => "warning",
    };
    object(&[
        ("file", remark.file.map_or_else(null, |file| file_name(site, file))),
        ("line", number(remark.line)),
        ("severity", string(severity)),
        ("text", string(&remark.text)),
    ])
}

/// The whole path of a configuration file; `null` for defaults.
fn file_name(site: &Site, file: FileName) -> String {
    match file {
        FileName::Defaults => null(),
        file => path(&site.directory.join(file.to_string())),
    }
}

/// Lines count from 1: 0 stands for none.
fn number(line: u32) -> String {
    if line == 0 { null() } else { line.to_string() }
}

fn null() -> String {
    "null".to_owned()
}

fn path(path: &Path) -> String {
    bytes(path.as_os_str().as_encoded_bytes())
}

fn bytes(bytes: &[u8]) -> String {
    string(&String::from_utf8_lossy(bytes))
}

/// A string with what RFC 8259, section 7, says must be escaped; control characters beyond those, too, since the
/// document may be shown on a terminal.
fn string(text: &str) -> String {
    let mut out = String::from("\"");
    for letter in text.chars() {
        match letter {
            '"' | '\\' => {
                out.push('\\');
                out.push(letter);
            }
            // Every control character is below U+00A0, so four digits do.
            control if control.is_control() => out.push_str(&format!("\\u{:04x}", u32::from(control))),
            other => out.push(other),
        }
    }
    out.push('"');
    out
}

fn object(members: &[(&str, String)]) -> String {
    let members: Vec<String> =
        members.iter().map(|(key, value)| format!("{}: {value}", string(key))).collect();
    format!("{{{}}}", members.join(", "))
}

fn list(items: impl Iterator<Item = String>) -> String {
    format!("[{}]", items.collect::<Vec<_>>().join(", "))
}

/// A list with each item on a line of its own.
fn lines(items: impl Iterator<Item = String>) -> String {
    let items: Vec<String> = items.collect();
    if items.is_empty() { "[]".to_owned() } else { format!("[\n  {}\n]", items.join(",\n  ")) }
}
