//! Groups the Rust files by package, marks those for tests, and counts over all files of a package.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use crate::graph::{PackageModules, circles, without_ancestors};
use crate::repository::{Package, is_test_path, owner};
use crate::rust::RustFile;
use crate::type_names::{ImplSpread, TypeNames};

#[derive(Clone, Debug, Default, Serialize)]
pub struct LineCounts {
    /// Lines that are neither blank, nor only comment, nor test.
    pub code: usize,
    pub comments: usize,
    pub test_code: usize,
    pub tests: usize,
}

#[derive(Debug, Serialize)]
pub struct PackageCircles {
    pub circles: Vec<Vec<String>>,
    /// Number of circles that are left if no file needs the modules above it.
    pub besides_parents: usize,
}

#[derive(Debug)]
pub struct ClassifiedFiles<'a> {
    modules: Vec<(&'a Package, PackageModules<'a>)>,
    files: Vec<(&'a RustFile, &'a Package)>,
    tests: BTreeSet<&'a str>,
}

impl<'a> ClassifiedFiles<'a> {
    pub fn new(packages: &'a [Package], files: &'a [RustFile]) -> Self {
        let modules: Vec<_> = packages
            .iter()
            .map(|package| (package, PackageModules::new(package, files)))
            .collect();
        let mut tests: BTreeSet<&str> = modules
            .iter()
            .flat_map(|(_, modules)| modules.test_files())
            .collect();
        let by_path = files
            .iter()
            .filter(|file| file.is_test || is_test_path(&file.path));
        tests.extend(by_path.map(|file| file.path.as_str()));
        let owned = files
            .iter()
            .filter_map(|file| Some((file, owner(packages, &file.path)?)));
        Self {
            modules,
            files: owned.collect(),
            tests,
        }
    }

    fn is_test(&self, file: &RustFile) -> bool {
        self.tests.contains(file.path.as_str())
    }

    pub fn product(&self) -> impl Iterator<Item = (&'a RustFile, &'a str)> {
        self.files
            .iter()
            .filter(|(file, _)| !self.is_test(file))
            .map(|(file, package)| (*file, package.name.as_str()))
    }

    pub fn lines(&self) -> BTreeMap<String, LineCounts> {
        let mut lines: BTreeMap<String, LineCounts> = BTreeMap::new();
        for (file, package) in &self.files {
            let counts = lines.entry(package.name.clone()).or_default();
            let (code, test_code) = if self.is_test(file) {
                (0, file.code + file.test_code)
            } else {
                (file.code, file.test_code)
            };
            counts.code += code;
            counts.test_code += test_code;
            counts.comments += file.comments;
            counts.tests += file.tests;
        }
        lines
    }

    pub fn types(&self) -> (TypeNames, ImplSpread) {
        let (mut names, mut spread) = (TypeNames::default(), ImplSpread::default());
        for (file, package) in self.product() {
            names.add(package, file);
            spread.add(package, file);
        }
        (names, spread)
    }

    pub fn circles(&self) -> BTreeMap<String, PackageCircles> {
        let mut found = BTreeMap::new();
        for (package, modules) in &self.modules {
            let mut graph = modules.graph();
            graph.retain(|file, _| !self.tests.contains(file.as_str()));
            let besides = without_ancestors(&graph, &modules.ancestors());
            let all = circles(&graph);
            if !all.is_empty() {
                let besides_parents = circles(&besides).len();
                found.insert(
                    package.name.clone(),
                    PackageCircles {
                        circles: all,
                        besides_parents,
                    },
                );
            }
        }
        found
    }
}

pub fn total<'a>(parts: impl Iterator<Item = &'a LineCounts>) -> LineCounts {
    parts.fold(LineCounts::default(), |sum, part| LineCounts {
        code: sum.code + part.code,
        comments: sum.comments + part.comments,
        test_code: sum.test_code + part.test_code,
        tests: sum.tests + part.tests,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::graph::tests::parsed;

    fn package() -> Package {
        Package {
            name: "p".into(),
            dir: "p".into(),
            crate_roots: vec!["p/src/lib.rs".into(), "p/tests/t.rs".into()],
        }
    }

    #[test]
    fn files_of_tests_have_no_code() {
        let files = parsed(&[
            ("p/src/lib.rs", "mod a;\n#[cfg(test)]\nmod b;"),
            ("p/src/a.rs", "// c\nstruct A;\n"),
            ("p/src/b.rs", "struct B;\n#[test]\nfn t() {}"),
            ("p/tests/t.rs", "struct T;"),
        ]);
        let packages = [package()];
        let classified = ClassifiedFiles::new(&packages, &files);
        let lines = classified.lines().remove("p").expect("the package");
        assert_eq!((lines.code, lines.test_code), (2, 6));
        assert_eq!((lines.comments, lines.tests), (1, 1));
        assert_eq!(classified.product().count(), 2);
    }
}
