//! The rooms of the house: what each may import, what each program links, and that no two files import each other.
//!
//! Read from `cargo metadata`, offline and from the locked versions, and compared with the tables in docs/ARCHITECTURE.md.
#![cfg(test)]

#[path = "rooms/circles.rs"]
mod circles;

use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::Command;

const ROOT: &str = env!("CARGO_MANIFEST_DIR");
/// The platform that is built for, as in deny.toml.
const TARGET: &str = "x86_64-unknown-linux-gnu";

/// A package, and what it uses outside of tests and build scripts.
struct Package {
    name: String,
    /// The folder below src, for a room of ours.
    room: Option<String>,
    uses: Vec<String>,
}

/// All packages by their ids.
fn packages() -> BTreeMap<String, Package> {
    let words = ["metadata", "--format-version=1", "--locked", "--offline", "--filter-platform", TARGET];
    let out = Command::new(env!("CARGO")).args(words).current_dir(ROOT).output().expect("cargo");
    assert!(out.status.success(), "cargo metadata: {}", String::from_utf8_lossy(&out.stderr));
    let metadata: Value = serde_json::from_slice(&out.stdout).expect("its output");
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let mut packages = BTreeMap::new();
    let mut macros = BTreeSet::new();
    for package in metadata["packages"].as_array().unwrap() {
        let folder = text(&package["manifest_path"]);
        let room = Path::new(&folder).parent().unwrap().strip_prefix(Path::new(ROOT).join("src")).ok();
        let room = room.map(|room| room.display().to_string());
        let mut kinds = package["targets"].as_array().unwrap().iter().map(|target| text(&target["kind"][0]));
        if kinds.any(|kind| kind == "proc-macro") {
            macros.insert(text(&package["id"]));
        }
        packages
            .insert(text(&package["id"]), Package { name: text(&package["name"]), room, uses: Vec::new() });
    }
    for node in metadata["resolve"]["nodes"].as_array().unwrap() {
        let package = packages.get_mut(&text(&node["id"])).expect("a package for each node");
        for used in node["deps"].as_array().unwrap() {
            // Neither for tests nor for build scripts; and what the compiler runs is not linked.
            let linked = used["dep_kinds"].as_array().unwrap().iter().any(|kind| kind["kind"].is_null());
            if linked && !macros.contains(&text(&used["pkg"])) {
                package.uses.push(text(&used["pkg"]));
            }
        }
    }
    packages
}

/// Rooms by name, each with all rooms that it reaches.
fn reached(packages: &BTreeMap<String, Package>) -> BTreeMap<String, BTreeSet<String>> {
    let rooms = packages.iter().filter_map(|(id, package)| Some((package.room.clone()?, id)));
    rooms.map(|(room, id)| (room, rooms_of(packages, closure(packages, id)))).collect()
}

/// Everything that is linked with a package, itself included.
fn closure<'p>(packages: &'p BTreeMap<String, Package>, id: &'p str) -> BTreeSet<&'p str> {
    let mut found = BTreeSet::new();
    let mut open = vec![id];
    while let Some(id) = open.pop() {
        if found.insert(id) {
            open.extend(packages[id].uses.iter().map(String::as_str));
        }
    }
    found
}

fn rooms_of(packages: &BTreeMap<String, Package>, ids: BTreeSet<&str>) -> BTreeSet<String> {
    ids.into_iter().filter_map(|id| packages[id].room.clone()).collect()
}

/// The rows of the table in docs/ARCHITECTURE.md whose first column has this head: the cells of each.
fn table(head: &str) -> Vec<Vec<String>> {
    let text = std::fs::read_to_string(Path::new(ROOT).join("docs/ARCHITECTURE.md")).unwrap();
    let rows = text.lines().skip_while(|line| !line.starts_with(&format!("| {head} |")));
    let rows = rows.take_while(|line| line.starts_with('|')).skip(2);
    let cells = |line: &str| line.trim_matches('|').split('|').map(|cell| cell.trim().to_owned()).collect();
    let rows: Vec<Vec<String>> = rows.map(cells).collect();
    assert!(!rows.is_empty(), "docs/ARCHITECTURE.md: no table of {head}s");
    rows
}

fn words(cell: &str) -> BTreeSet<String> {
    cell.split_whitespace().map(str::to_owned).collect()
}

#[test]
fn each_room_is_named_as_its_folder() {
    for package in packages().values() {
        if let Some(room) = &package.room {
            let expected = format!("mapkeep-{}", room.trim_start_matches("base/").replace('/', "-"));
            assert_eq!(package.name, expected, "src/{room}");
        }
    }
}

#[test]
fn no_room_reaches_what_it_must_not() {
    let reached = reached(&packages());
    // What begins so must not reach what begins so, by however many steps.
    let forbidden = [
        ("broker/", "table/"),
        ("broker/", "worker/"),
        ("broker/supervisor", "broker/reading"),
        ("broker/supervisor", "broker/writing"),
        ("broker/reading", "broker/supervisor"),
        ("broker/reading", "broker/writing"),
        ("broker/writing", "broker/supervisor"),
        ("broker/writing", "broker/reading"),
        ("worker/", "broker/"),
        ("worker/", "config/"),
        ("worker/session", "base/sandbox"),
        ("worker/session", "base/process"),
        ("worker/session", "base/sys"),
        ("worker/session", "table/"),
        ("worker/gateway", "table/"),
        ("worker/lookup", "worker/writer"),
        ("worker/lookup", "worker/logger"),
        ("worker/lookup", "table/store"),
        ("worker/writer", "worker/lookup"),
        ("worker/writer", "worker/logger"),
        ("worker/writer", "table/lookup"),
        ("worker/logger", "worker/lookup"),
        ("worker/logger", "worker/writer"),
        ("worker/logger", "worker/session"),
        ("worker/logger", "table/"),
        ("table/", "base/sandbox"),
        ("table/", "worker/"),
        ("base/", "table/"),
        ("base/", "worker/"),
        ("base/", "broker/"),
        ("base/", "config/"),
        ("config/", "worker/"),
        ("config/", "table/"),
    ];
    for (room, reached) in &reached {
        for (from, to) in forbidden {
            let wrong: Vec<_> =
                reached.iter().filter(|other| *other != room && other.starts_with(to)).collect();
            assert!(!room.starts_with(from) || wrong.is_empty(), "src/{room} reaches {wrong:?}");
        }
    }
}

#[test]
fn each_crate_imports_what_the_architecture_allows() {
    let packages = packages();
    let documented: BTreeMap<String, BTreeSet<String>> =
        table("room").into_iter().map(|row| (row[0].clone(), words(&row[2]))).collect();
    let short = |room: &str| room.trim_start_matches("base/").to_owned();
    let found: BTreeMap<String, BTreeSet<String>> = packages
        .values()
        .filter_map(|package| {
            let used = package.uses.iter().filter_map(|id| packages[id].room.as_deref()).map(short);
            Some((package.room.clone()?, used.collect()))
        })
        .collect();
    for (room, imports) in &found {
        assert_eq!(documented.get(room), Some(imports), "src/{room} in docs/ARCHITECTURE.md, table of rooms");
    }
    assert_eq!(documented.len(), found.len(), "a room in docs/ARCHITECTURE.md that is not there");
}

/// A program is linked with the crates that its file names, and with what these use. (That others are dependencies of the
/// same package links nothing: the compiler takes a crate in when a path names it.)
#[test]
fn each_program_links_what_the_architecture_allows() {
    let packages = packages();
    let rows = table("program's file");
    let mut programs = BTreeSet::new();
    for file in std::fs::read_dir(Path::new(ROOT).join("src/bin")).unwrap() {
        let path = file.unwrap().path();
        let text = std::fs::read_to_string(&path).unwrap();
        let named: BTreeSet<String> = text
            .split(|letter: char| !letter.is_ascii_alphanumeric() && letter != '_')
            .filter(|word| word.starts_with("mapkeep_"))
            .map(|word| word.replace('_', "-"))
            .collect();
        let ids = packages.iter().filter(|(_, package)| named.contains(&package.name));
        let linked: BTreeSet<&str> = ids.flat_map(|(id, _)| closure(&packages, id)).collect();
        let foreign: BTreeSet<String> = linked
            .iter()
            .filter(|id| packages[**id].room.is_none())
            .map(|id| packages[*id].name.clone())
            .collect();
        let rooms: BTreeSet<String> = rooms_of(&packages, linked)
            .into_iter()
            .map(|room| room.trim_start_matches("base/").to_owned())
            .collect();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        let row = rows.iter().find(|row| row[0] == name).unwrap_or_else(|| panic!("{name} is in no table"));
        assert_eq!(words(&row[1]), rooms, "rooms of {name} in docs/ARCHITECTURE.md, table of programs");
        assert_eq!(words(&row[2]), foreign, "foreign crates of {name}, likewise");
        programs.insert(name);
    }
    assert_eq!(rows.len(), programs.len(), "a program in docs/ARCHITECTURE.md that is not there");
}

#[test]
fn files_import_in_one_direction() {
    for package in packages().values() {
        if let Some(room) = &package.room {
            let circle = circles::find(&Path::new(ROOT).join("src").join(room));
            assert!(circle.is_none(), "src/{room}: these import each other: {circle:?}");
        }
    }
}
