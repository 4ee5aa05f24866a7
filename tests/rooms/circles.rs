//! Circles of imports among the files of a crate.
//!
//! A file may use what the files above it declare (a part of a whole); that is no import here. Tests are left out: they
//! look at everything.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

type Module = Vec<String>;

/// Two files that import each other, in one step or more.
pub fn find(room: &Path) -> Option<(Module, Module)> {
    let mut texts = BTreeMap::new();
    read(room, &mut Vec::new(), &mut texts);
    assert!(texts.contains_key(&Vec::new()), "{} has a lib.rs", room.display());
    let known = Known::of(&texts);
    let imports: BTreeMap<&Module, BTreeSet<Module>> = texts
        .iter()
        .map(|(module, text)| {
            let owners = paths(text).filter_map(|path| known.owner(&known.absolute(module, &path)?, 0));
            (module, owners.filter(|owner| !module.starts_with(owner)).collect())
        })
        .collect();
    texts.keys().find_map(|module| {
        let (mut seen, mut open) = (BTreeSet::new(), vec![module]);
        while let Some(at) = open.pop() {
            for next in &imports[at] {
                if next == module {
                    return Some((module.clone(), at.clone()));
                }
                if seen.insert(next) {
                    open.push(next);
                }
            }
        }
        None
    })
}

/// The text of each file, without tests and comments.
fn read(folder: &Path, at: &mut Module, texts: &mut BTreeMap<Module, String>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_stem().unwrap().to_string_lossy().into_owned();
        let is_test = name.ends_with("tests")
            || ["testing", "testbed", "examples", "races", "mounts"].contains(&&*name);
        if is_test || name == "build" && at.is_empty() || path.join("Cargo.toml").exists() {
            continue;
        }
        at.push(name);
        if path.is_dir() {
            read(&path, at, texts);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let mut module = at.clone();
            if ["lib", "mod"].contains(&module.last().unwrap().as_str()) {
                module.pop();
            }
            let text = std::fs::read_to_string(&path).unwrap();
            let text = text.split("#[cfg(test)]\nmod tests {").next().unwrap();
            let lines = text.lines().map(|line| line.split("//").next().unwrap());
            texts.insert(module, lines.collect::<Vec<_>>().join("\n"));
        }
        at.pop();
    }
}

/// The modules of a crate, and the names that they pass on (`pub use`).
struct Known {
    modules: BTreeSet<Module>,
    passed_on: BTreeMap<(Module, String), Module>,
}

impl Known {
    fn of(texts: &BTreeMap<Module, String>) -> Known {
        let mut known = Known { modules: texts.keys().cloned().collect(), passed_on: BTreeMap::new() };
        for (module, text) in texts {
            for statement in uses(text).filter(|statement| statement.is_public) {
                for path in leaves(&statement.tree) {
                    if let Some(full) = known.absolute(module, &path) {
                        known.passed_on.insert((module.clone(), path.last().unwrap().clone()), full);
                    }
                }
            }
        }
        known
    }

    /// A path as seen from the crate's root; none if it leads out of the crate.
    fn absolute(&self, module: &Module, path: &[String]) -> Option<Module> {
        let above = path.iter().take_while(|word| *word == "super").count();
        let (start, rest) = match path.first()?.as_str() {
            "crate" => (Vec::new(), &path[1..]),
            "self" => (module.clone(), &path[1..]),
            "super" => (module[..module.len().checked_sub(above)?].to_vec(), &path[above..]),
            first => {
                let child = [&module[..], &[first.to_owned()]].concat();
                (self.modules.contains(&child).then(|| module.clone())?, path)
            }
        };
        Some([&start[..], rest].concat())
    }

    /// The file that has what a path leads to.
    fn owner(&self, path: &[String], depth: u32) -> Option<Module> {
        let length = (0..=path.len()).rev().find(|length| self.modules.contains(&path[..*length]))?;
        let module = path[..length].to_vec();
        let name = path.get(length).cloned().unwrap_or_default();
        match self.passed_on.get(&(module.clone(), name)) {
            Some(full) if depth < 8 && full != path => self.owner(full, depth + 1),
            _ => Some(module),
        }
    }
}

struct Use {
    is_public: bool,
    tree: String,
}

/// The `use` statements of a text.
fn uses(text: &str) -> impl Iterator<Item = Use> {
    text.split(';').filter_map(|statement| {
        let line_start = statement.rfind("use ").filter(|at| {
            let before = statement[..*at].lines().last().unwrap_or_default().trim();
            before.is_empty() || before.starts_with("pub")
        })?;
        let before = statement[..line_start].lines().last().unwrap_or_default().trim();
        Some(Use { is_public: before.starts_with("pub"), tree: statement[line_start + 4..].to_owned() })
    })
}

/// The paths of a tree of `use`.
fn leaves(tree: &str) -> Vec<Module> {
    let tree = tree.trim();
    let Some((head, rest)) = tree.split_once('{') else {
        let path = tree.split(" as ").next().unwrap();
        return vec![path.split("::").map(|word| word.trim().to_owned()).collect()];
    };
    let head: Module =
        head.split("::").map(|word| word.trim().to_owned()).filter(|word| !word.is_empty()).collect();
    let inside = rest.rsplit_once('}').map_or(rest, |(inside, _)| inside);
    let (mut parts, mut depth) = (vec![String::new()], 0);
    for letter in inside.chars() {
        match letter {
            '{' => depth += 1,
            '}' => depth -= 1,
            ',' if depth == 0 => {
                parts.push(String::new());
                continue;
            }
            _ => {}
        }
        parts.last_mut().unwrap().push(letter);
    }
    let parts = parts.iter().filter(|part| !part.trim().is_empty()).flat_map(|part| leaves(part));
    parts.map(|leaf| if leaf == ["self"] { head.clone() } else { [head.clone(), leaf].concat() }).collect()
}

/// The paths that a text names: in `use` statements, and elsewhere from `crate`, `super` or a module on.
fn paths(text: &str) -> impl Iterator<Item = Module> {
    let used = uses(text).flat_map(|statement| leaves(&statement.tree));
    let words = text.split(|letter: char| !letter.is_ascii_alphanumeric() && letter != '_' && letter != ':');
    let named = words.filter(|word| word.contains("::")).map(|word| {
        word.split("::")
            .filter(|part| !part.is_empty())
            .map(|part| part.trim_matches(':').to_owned())
            .collect::<Module>()
    });
    used.chain(named.filter(|path| !path.is_empty())).collect::<Vec<_>>().into_iter()
}

#[test]
fn a_circle_is_found() {
    let room = std::env::temp_dir().join(format!("mapkeep-circle-{}", std::process::id()));
    let write = |name: &str, text: &str| std::fs::write(room.join(name), text).unwrap();
    std::fs::create_dir_all(room.join("a")).unwrap();
    write("lib.rs", "mod a;\nmod b;\nmod c;\npub use c::Third;\n");
    write("a.rs", "mod part;\nuse crate::b::{self, Second};\npub struct First;\n");
    write("a/part.rs", "use super::First;\n");
    write("b.rs", "pub struct Second(crate::Third);\n");
    write("c.rs", "pub struct Third;\n");
    assert_eq!(find(&room), None, "a part may use what its whole declares");
    write("c.rs", "use crate::a;\npub struct Third;\n");
    assert!(find(&room).is_some());
    std::fs::remove_dir_all(&room).unwrap();
}
