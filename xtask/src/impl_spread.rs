//! Finds types whose inherent `impl` blocks are spread over many files.

use std::collections::{BTreeMap, BTreeSet};

use crate::rust::RustFile;
use crate::rust::facts::ModuleFacts;

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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::graph::circles::tests::parsed;

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
}
