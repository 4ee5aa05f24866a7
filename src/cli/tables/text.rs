//! The list for people: one paragraph for each table, at most [`WIDTH`] columns wide.
//!
//! A single word that is longer (a path, or a command to paste) stays whole. May: print.

use std::io::{self, Write};

use mapkeep_config_site::remark::{Remark, Subject};
use mapkeep_config_text::{Origin, Provenance};

use super::verdict::{FileFacts, State, Verdict};
use super::{Listing, Report};

/// Columns.
const WIDTH: usize = 100;
/// Columns for the table's name, so that the states stand below each other.
const NAME_WIDTH: usize = 84;
/// Columns before the text of a paragraph.
const INDENT: usize = 13;

/// Prints the whole report.
pub(super) fn print(report: &Report, out: &mut dyn Write) -> io::Result<()> {
    listing(&report.main, out)?;
    if let Some(write) = report.write.as_ref().filter(|write| !write.verdicts.is_empty()) {
        writeln!(out)?;
        listing(write, out)?;
    }
    complaints(&report.remarks(), out)?;
    sum(report, out)
}

/// The head and the tables of one service.
fn listing(listing: &Listing, out: &mut dyn Write) -> io::Result<()> {
    let site = &listing.site;
    let count = listing.verdicts.len();
    let tables = if count == 1 { "table" } else { "tables" };
    let mut head = format!(
        "{count} {tables} approved for {} by {} in {}",
        site.service.name(),
        site.service.list_parameter(),
        site.directory.display()
    );
    match site.version {
        Some(version) => head.push_str(&format!(", Postfix {version}.")),
        None => head.push_str(", defaults built in because postconf -d gave none."),
    }
    if let Some(queue) = &site.inside {
        head.push_str(&format!(" The service is chrooted: files are below {}.", queue.display()));
    }
    paragraph(out, "", 0, &head)?;
    for obstacle in &listing.obstacles {
        paragraph(out, "The service cannot start: ", INDENT, &printable(obstacle.as_bytes()))?;
    }
    for verdict in &listing.verdicts {
        writeln!(out)?;
        table(verdict, out)?;
    }
    Ok(())
}

fn complaints(remarks: &[&Remark], out: &mut dyn Write) -> io::Result<()> {
    if !remarks.is_empty() {
        writeln!(out, "\nComplaints about the configuration:")?;
        for remark in remarks {
            paragraph(out, "  ", 4, &remark_line(remark))?;
        }
    }
    Ok(())
}

/// The last lines: what uncertainty there is, then one line about both services.
fn sum(report: &Report, out: &mut dyn Write) -> io::Result<()> {
    writeln!(out)?;
    if !report.is_certain() {
        let text = "Because of these errors a table that is not listed above gives a temporary error instead of \
                    being denied.";
        paragraph(out, "", 0, text)?;
    }
    let count = |listing: &Listing| {
        let why = if listing.obstacles.is_empty() { "" } else { " (it cannot start)" };
        let (served, all) = (listing.served(), listing.verdicts.len());
        format!("{served} of {all} for {}{why}", listing.site.service.name())
    };
    let both: Vec<String> = std::iter::once(&report.main).chain(&report.write).map(count).collect();
    paragraph(out, "", 0, &format!("Can be served: {}. No content was read.", both.join(", ")))
}

fn table(verdict: &Verdict, out: &mut dyn Write) -> io::Result<()> {
    let name = printable(&verdict.table.name);
    writeln!(out, "{:<NAME_WIDTH$} {}", shortened(&name, NAME_WIDTH), verdict.state().word())?;
    for place in &verdict.table.provenance {
        item(out, "named by", &named_by(place))?;
    }
    match (&verdict.writing, &verdict.path) {
        (Some(writing), _) => {
            item(out, "written", &format!("by {}", writing.user.as_deref().unwrap_or("nobody")))?;
            for (path, facts) in &writing.files {
                item(out, "file", &written_file(path, facts.as_ref()))?;
            }
        }
        (None, Some(path)) => item(out, "file", &file(verdict, path))?,
        (None, None) => {}
    }
    for server in &verdict.servers {
        item(out, "asked at", &format!("{server}, by a gateway"))?;
    }
    if let Some(note) = &verdict.note {
        item(out, "note", note)?;
    }
    let Some(trouble) = &verdict.trouble else { return Ok(()) };
    match &trouble.component {
        Some(component) => item(out, "why", &format!("{} {}", printable(component), trouble.problem))?,
        None => item(out, "why", &trouble.problem)?,
    }
    if let Some(rule) = trouble.rule {
        item(out, "rule", &format!("{}: {}", rule.name(), rule.sentence()))?;
    }
    match &trouble.remedy {
        Some(remedy) => item(out, "remedy", remedy),
        None => Ok(()),
    }
}

fn file(verdict: &Verdict, path: &[u8]) -> String {
    let path = printable(path);
    match &verdict.facts {
        Some(facts) => format!("{path} {}", shown(facts)),
        None if verdict.state() == State::Missing => path,
        None => format!("{path} (owner and mode are not visible)"),
    }
}

/// A file of a table that is written; a missing one is created when the service needs it.
fn written_file(path: &[u8], facts: Option<&FileFacts>) -> String {
    let path = printable(path);
    facts.map_or_else(|| format!("{path} (not there)"), |facts| format!("{path} {}", shown(facts)))
}

fn shown(facts: &FileFacts) -> String {
    let owner = facts.owner.clone().unwrap_or_else(|| format!("uid {}", facts.uid));
    format!("(owner {owner}, mode {:04o}, {} bytes)", facts.mode, facts.size)
}

fn named_by(place: &Provenance) -> String {
    let mut text = printable(&place.consumer);
    if place.parameter != place.consumer {
        text.push_str(&format!(" through {}", printable(&place.parameter)));
    }
    match place.origin {
        Origin::Default | Origin::BuiltIn => text.push_str(", by default"),
        origin => text.push_str(&format!(", {origin}")),
    }
    if let Some(list) = &place.list_file {
        text.push_str(&format!(", in the file {}", printable(list)));
    }
    text
}

fn remark_line(remark: &Remark) -> String {
    let Remark { subject, severity, text } = remark;
    match subject {
        Subject::General => format!("{severity}: {text}"),
        Subject::File(file) => format!("{file}: {severity}: {text}"),
        Subject::Entry(..) => remark.to_string(),
    }
}

fn item(out: &mut dyn Write, label: &str, text: &str) -> io::Result<()> {
    paragraph(out, &format!("    {label:<8} "), INDENT, text)
}

/// Prints `text` after `lead`, folded at blanks, further lines `indent` columns in.
fn paragraph(out: &mut dyn Write, lead: &str, indent: usize, text: &str) -> io::Result<()> {
    let mut line = lead.to_owned();
    let mut empty = true;
    for word in text.split(' ').filter(|word| !word.is_empty()) {
        let length = line.chars().count().saturating_add(word.chars().count());
        if !empty && length.saturating_add(1) > WIDTH {
            writeln!(out, "{line}")?;
            line = " ".repeat(indent);
        } else if !empty {
            line.push(' ');
        }
        line.push_str(word);
        empty = false;
    }
    writeln!(out, "{line}")
}

/// Bytes for a terminal: control characters and invalid UTF-8 are made harmless.
fn printable(bytes: &[u8]) -> String {
    let mut text = String::new();
    for letter in String::from_utf8_lossy(bytes).chars() {
        if letter.is_control() { text.extend(letter.escape_default()) } else { text.push(letter) }
    }
    text
}

/// `text`, cut with `...` if it has more than `most` characters.
fn shortened(text: &str, most: usize) -> String {
    if text.chars().count() <= most {
        return text.to_owned();
    }
    let mut cut: String = text.chars().take(most.saturating_sub(3)).collect();
    cut.push_str("...");
    cut
}
