//! Finds type names with more than one declaration, types whose inherent `impl` blocks are spread over many files, and old
//! names of files, types and functions that are still in use.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use crate::repository::Repository;
use crate::rust::RustFile;
use crate::rust::facts::ModuleFacts;
use crate::words::table::WordTable;

/// For each name the packages that declare it, with the locations of the declarations.
#[derive(Debug, Default)]
pub struct TypeNames(BTreeMap<String, BTreeMap<String, Vec<String>>>);

impl TypeNames {
    pub fn add(&mut self, package: &str, file: &RustFile) {
        self.add_module(package, &file.path, &file.module);
    }

    fn add_module(&mut self, package: &str, path: &str, module: &ModuleFacts) {
        for (name, line) in &module.types {
            let by_package = self.0.entry(name.clone()).or_default();
            let locations = by_package.entry(package.to_owned()).or_default();
            locations.push(format!("{path}:{line}"));
        }
        for inline in &module.inline {
            self.add_module(package, path, inline);
        }
    }

    /// Returns names declared more than once in one package: `package::Name` and the locations.
    pub fn repeated(&self) -> BTreeMap<String, Vec<String>> {
        let mut found = BTreeMap::new();
        for (name, by_package) in &self.0 {
            for (package, locations) in by_package {
                if locations.len() > 1 {
                    found.insert(format!("{package}::{name}"), locations.clone());
                }
            }
        }
        found
    }

    pub fn shared(&self) -> BTreeMap<String, Vec<String>> {
        let names = self.0.iter().filter(|(_, by_package)| by_package.len() > 1);
        names
            .map(|(name, by_package)| (name.clone(), by_package.keys().cloned().collect()))
            .collect()
    }
}

/// A type in more files than this is reported.
pub const LIMIT: usize = 3;

#[derive(Debug, Default)]
pub struct ImplSpread(BTreeMap<String, BTreeSet<String>>);

impl ImplSpread {
    pub fn add(&mut self, package: &str, file: &RustFile) {
        self.add_module(package, &file.path, &file.module);
    }

    fn add_module(&mut self, package: &str, path: &str, module: &ModuleFacts) {
        for name in &module.inherent_impls {
            let files = self.0.entry(format!("{package}::{name}")).or_default();
            files.insert(path.to_owned());
        }
        for inline in &module.inline {
            self.add_module(package, path, inline);
        }
    }

    pub fn wide(&self) -> BTreeMap<String, usize> {
        let types = self.0.iter().filter(|(_, files)| files.len() > LIMIT);
        types
            .map(|(name, files)| (name.clone(), files.len()))
            .collect()
    }
}

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
    use super::super::graph::tests::parsed;
    use super::*;

    fn names(files: &[(&str, &str, &str)]) -> TypeNames {
        let mut names = TypeNames::default();
        for (package, path, text) in files {
            for file in parsed(&[(path, text)]) {
                names.add(package, &file);
            }
        }
        names
    }

    #[test]
    fn name_twice_in_a_package_is_found() {
        let names = names(&[
            ("p", "a.rs", "struct Told; mod b { enum Told {} }"),
            (
                "p",
                "c.rs",
                "type One = u8; union Two { a: u8 } trait Three {}",
            ),
        ]);
        let repeated = names.repeated();
        assert_eq!(repeated.keys().collect::<Vec<_>>(), ["p::Told"]);
        assert!(names.shared().is_empty());
    }

    #[test]
    fn name_in_two_packages_is_shared() {
        let names = names(&[
            ("p", "a.rs", "struct A;"),
            ("q", "b.rs", "trait A {} struct B;"),
        ]);
        assert_eq!(
            names.shared().into_values().collect::<Vec<_>>(),
            [["p", "q"]]
        );
        assert!(names.repeated().is_empty());
    }

    #[test]
    fn tests_functions_and_associated_types_do_not_count() {
        let names = names(&[(
            "p",
            "a.rs",
            "struct A; fn f() { struct A; } trait T { type A; }\n#[cfg(test)]\nmod tests { struct A; }\n#[cfg(test)]\nstruct A;",
        )]);
        assert!(names.repeated().is_empty());
    }

    fn wide(files: usize, text: &str) -> usize {
        let mut spread = ImplSpread::default();
        for number in 0..files {
            for file in parsed(&[(&format!("{number}.rs"), text)]) {
                spread.add("p", &file);
            }
        }
        spread.wide().len()
    }

    #[test]
    fn spread_over_the_limit_is_found() {
        assert_eq!(wide(4, "impl<'a> super::A<'a> { fn f() {} }"), 1);
    }

    #[test]
    fn traits_tests_and_few_files_do_not_count() {
        assert_eq!(wide(3, "impl A {}"), 0);
        assert_eq!(wide(4, "impl B for A {}\n#[cfg(test)]\nimpl A {}"), 0);
        assert_eq!(wide(1, "impl A {} impl A {} impl A {} impl A {}"), 0);
    }

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
