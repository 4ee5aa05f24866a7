//! What documents and comments refer to exists: files of the tree, and the tests that the tables of docs/ name.
#![cfg(test)]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

const ROOT: &str = env!("CARGO_MANIFEST_DIR");
/// A reference begins with one of these.
const FOLDERS: [&str; 6] = ["benches/", "docs/", "fuzz/", "policy/", "src/", "tests/"];
/// Kinds of files that are read whole; of Rust sources, the comments.
const DOCUMENTS: [&str; 7] = ["1", "5", "8", "json", "list", "md", "toml"];

/// Every text file of the tree, by its path below the root.
fn files() -> BTreeMap<PathBuf, String> {
    let mut found = BTreeMap::new();
    let mut folders = vec![PathBuf::from(ROOT)];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).unwrap() {
            let entry = entry.unwrap();
            let name = entry.file_name();
            let path = entry.path();
            if entry.file_type().unwrap().is_dir() {
                if !["target", ".git", "corpus", "artifacts"].iter().any(|other| name == *other) {
                    folders.push(path);
                }
            } else if let Ok(text) = std::fs::read_to_string(&path) {
                found.insert(path.strip_prefix(ROOT).unwrap().to_owned(), text);
            }
        }
    }
    found
}

fn extension(path: &Path) -> &str {
    path.extension().and_then(|kind| kind.to_str()).unwrap_or_default()
}

/// Whether a byte can be part of a path as documents write them: `{a,b}` are alternatives, `*` is any text.
fn of_a_path(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"_./{},*-".contains(&byte)
}

/// The paths of the tree that a line names.
fn references(line: &str) -> Vec<&str> {
    let mut found = Vec::new();
    for folder in FOLDERS {
        for (at, _) in line.match_indices(folder) {
            let before = line.as_bytes()[..at].last();
            if before.is_some_and(|byte| of_a_path(*byte) && *byte != b',' || b"$:".contains(byte)) {
                continue;
            }
            let rest = &line[at..];
            let end = rest.bytes().position(|byte| !of_a_path(byte)).unwrap_or(rest.len());
            let path = rest[..end].trim_end_matches(['.', ',', '-', '/']);
            // An open brace belongs to a placeholder, as in a format string.
            if path.contains('/') && path.matches('{').count() == path.matches('}').count() {
                found.push(path);
            }
        }
    }
    found
}

/// A path for each alternative in braces.
fn alternatives(path: &str) -> Vec<String> {
    let Some((before, rest)) = path.split_once('{') else { return vec![path.to_owned()] };
    let (inside, after) = rest.split_once('}').expect("a closing brace");
    inside.split(',').flat_map(|choice| alternatives(&format!("{before}{choice}{after}"))).collect()
}

/// Whether a file or folder is there: below the root, or below a folder that the naming file is in; a module without `.rs`.
fn exists(path: &str, named_in: &Path) -> bool {
    named_in.ancestors().skip(1).any(|folder| {
        let full = Path::new(ROOT).join(folder).join(path);
        let Some((head, tail)) = path.split_once('*') else {
            return full.exists() || full.with_extension("rs").exists();
        };
        let full = Path::new(ROOT).join(folder).join(head);
        let start = full.file_name().filter(|_| !head.ends_with('/')).unwrap_or_default();
        let beneath = if head.ends_with('/') { full.as_path() } else { full.parent().unwrap() };
        let names = std::fs::read_dir(beneath).into_iter().flatten().flatten();
        let mut names = names.map(|entry| entry.file_name().to_string_lossy().into_owned());
        names.any(|name| name.starts_with(&*start.to_string_lossy()) && name.ends_with(tail))
    })
}

#[test]
fn files_that_documents_and_comments_name_are_there() {
    let mut named = 0;
    let mut missing = String::new();
    for (file, text) in &files() {
        let rust = extension(file) == "rs";
        if !rust && !DOCUMENTS.contains(&extension(file)) || file.starts_with("fuzz/seeds") {
            continue;
        }
        for (number, line) in text.lines().enumerate() {
            if rust && !line.trim_start().starts_with("//") {
                continue;
            }
            for path in references(line).into_iter().flat_map(alternatives) {
                named += 1;
                if !exists(&path, file) {
                    missing += &format!("{}:{}: {path} is not there\n", file.display(), number + 1);
                }
            }
        }
    }
    assert!(named > 300, "only {named} references found");
    assert!(missing.is_empty(), "{missing}correct the reference, or remove it");
}

/// The tests that a part of a table names between backquotes (`*` for any beginning), each with the file that stands before
/// it, if any.
fn named_tests(part: &str) -> Vec<(Option<&str>, &str)> {
    let mut found = Vec::new();
    let mut file = None;
    for (number, piece) in part.split('`').enumerate() {
        if number % 2 == 0 {
            let mut files = references(piece);
            files.retain(|path| path.ends_with(".rs"));
            file = files.into_iter().max_by_key(|path| piece.rfind(path)).or(file);
        } else if piece.contains('_')
            && piece.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b"_*".contains(&b))
        {
            found.push((file, piece));
        }
    }
    found
}

/// Whether one of these sources has a test, a case or a fuzz target of this name.
fn has_test<'a>(sources: impl Iterator<Item = (&'a PathBuf, &'a String)>, name: &str) -> bool {
    let plain = name.trim_start_matches('*');
    let function = if plain == name { format!("fn {plain}(") } else { format!("{plain}(") };
    let case = format!("\"{plain}\"");
    let target = format!("fuzz/targets/{plain}.rs");
    let mut sources = sources;
    sources.any(|(path, text)| text.contains(&function) || text.contains(&case) || path == Path::new(&target))
}

#[test]
fn tests_that_documents_name_are_where_they_say() {
    let files = files();
    let sources = || files.iter().filter(|(path, _)| extension(path) == "rs");
    let mut named = 0;
    let mut missing = String::new();
    for document in ["docs/SECURITY.md", "docs/COMPATIBILITY.md"] {
        let rows = files[Path::new(document)].lines().filter(|line| line.starts_with("| "));
        let cells = rows.filter_map(|row| row.trim_end_matches([' ', '|']).rsplit_once(" | "));
        for (file, name) in cells.flat_map(|(_, cell)| cell.split(';')).flat_map(named_tests) {
            named += 1;
            // It may also be in a module of that file.
            let found = file.map_or_else(
                || has_test(sources(), name),
                |file| {
                    let (file, modules) = (Path::new(file), Path::new(file.trim_end_matches(".rs")));
                    has_test(sources().filter(|(path, _)| path.starts_with(modules) || *path == file), name)
                },
            );
            if !found {
                let place = file.unwrap_or("the tree");
                missing += &format!("{document}: there is no test {name} in {place}\n");
            }
        }
    }
    assert!(named > 150, "only {named} tests found");
    assert!(missing.is_empty(), "{missing}");
}

#[test]
fn references_are_found_as_they_are_written() {
    assert_eq!(references("see src/a/b.rs, docs/x.md."), ["docs/x.md", "src/a/b.rs"]);
    assert_eq!(references("(tests/a/{b,c}.rs)"), ["tests/a/{b,c}.rs"]);
    assert_eq!(references("/usr/src/x and other-docs/y, src/"), [""; 0]);
    assert_eq!(alternatives("src/{a,b}/{c,d}.rs"), ["src/a/c.rs", "src/a/d.rs", "src/b/c.rs", "src/b/d.rs"]);
    let part = "tests/a.rs `x_y`, `not this`, tests/b.rs, src/c.rs `u_v`, `w_x`";
    let (a, c) = (Some("tests/a.rs"), Some("src/c.rs"));
    assert_eq!(named_tests(part), [(a, "x_y"), (c, "u_v"), (c, "w_x")]);
    let here = Path::new("tests/documents.rs");
    assert!(
        exists("tests/documents.rs", here) && exists("tests/docu*", here) && exists("tests/life/*.rs", here)
    );
    assert!(!exists("tests/nothing.rs", here) && !exists("tests/nothing*", here));
}
