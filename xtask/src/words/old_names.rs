//! Finds old names of files, types and functions that are still in use.

use std::collections::BTreeMap;

use serde::Serialize;

use super::table::WordTable;
use crate::repository::Repository;
use crate::rust::RustFile;

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct OldName {
    /// A path, with the line for types and functions.
    pub location: String,
    pub old: String,
    pub new: String,
}

pub fn files(repository: &Repository, table: &WordTable) -> Vec<OldName> {
    let files = repository.files();
    let exists = |path: &str| {
        let folder = format!("{path}/");
        files
            .iter()
            .any(|file| file == path || file.starts_with(&folder))
    };
    let old = table.files.iter().filter(|(old, _)| exists(old));
    old.map(|(old, new)| OldName {
        location: old.clone(),
        old: old.clone(),
        new: new.clone(),
    })
    .collect()
}

/// Returns declarations of types with an old name. A file comes with the name of its package.
pub fn types<'a>(
    files: impl Iterator<Item = (&'a RustFile, &'a str)>,
    table: &WordTable,
) -> Vec<OldName> {
    files
        .flat_map(|(file, package)| declared(&file.path, package, &file.module.types, &table.types))
        .collect()
}

pub fn functions<'a>(
    files: impl Iterator<Item = (&'a RustFile, &'a str)>,
    table: &WordTable,
) -> Vec<OldName> {
    files
        .flat_map(|(file, package)| {
            declared(&file.path, package, &file.functions, &table.functions)
        })
        .collect()
}

fn declared(
    path: &str,
    package: &str,
    names: &[(String, usize)],
    table: &BTreeMap<String, String>,
) -> Vec<OldName> {
    let found = names.iter().filter_map(|(name, line)| {
        let in_package = table.get(&format!("{package}::{name}"));
        Some(OldName {
            location: format!("{path}:{line}"),
            old: name.clone(),
            new: in_package.or_else(|| table.get(name))?.clone(),
        })
    });
    found.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_count_in_all_packages_or_in_one() {
        let pairs = [("Told", "Outcome"), ("p::Room", "Slot")];
        let table = pairs
            .map(|(old, new)| (old.to_owned(), new.to_owned()))
            .into();
        let names = [
            ("Told".to_owned(), 3),
            ("Toldest".to_owned(), 4),
            ("Room".to_owned(), 5),
        ];
        let new = |package| -> Vec<String> {
            let found = declared("a.rs", package, &names, &table);
            found
                .into_iter()
                .map(|one| format!("{} {}", one.location, one.new))
                .collect()
        };
        assert_eq!(new("p"), ["a.rs:3 Outcome", "a.rs:5 Slot"]);
        assert_eq!(new("q"), ["a.rs:3 Outcome"]);
    }
}
