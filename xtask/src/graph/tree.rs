//! Builds the tree of modules of one crate, over several files.

use std::collections::BTreeMap;

use crate::rust::RustFile;
use crate::rust::facts::ModuleFacts;

#[derive(Debug)]
pub struct ModuleNode<'a> {
    pub file: &'a str,
    pub parent: Option<usize>,
    pub children: BTreeMap<&'a str, usize>,
    pub facts: &'a ModuleFacts,
}

/// All modules of a crate that are not tests; the first is the root.
#[derive(Debug)]
pub struct ModuleTree<'a> {
    pub modules: Vec<ModuleNode<'a>>,
    pub test_files: Vec<&'a str>,
    by_path: BTreeMap<&'a str, &'a RustFile>,
}

impl<'a> ModuleTree<'a> {
    /// Builds the tree of the crate that begins in `root`. Returns `None` if git does not track that file.
    pub fn new(root: &str, files: &'a [RustFile]) -> Option<Self> {
        let by_path: BTreeMap<&str, &RustFile> = files
            .iter()
            .map(|file| (file.path.as_str(), file))
            .collect();
        let mut tree = Self {
            modules: Vec::new(),
            test_files: Vec::new(),
            by_path,
        };
        let file = tree.by_path.get(root).copied()?;
        let dir = parent_dir(root).to_owned();
        tree.add(&file.path, &file.module, &dir, None);
        Some(tree)
    }

    pub fn files(&self) -> impl Iterator<Item = &'a str> {
        self.modules.iter().map(|module| module.file)
    }

    /// Adds a module of `file`. Its modules in files of their own are in `dir`.
    fn add(
        &mut self,
        file: &'a str,
        facts: &'a ModuleFacts,
        dir: &str,
        parent: Option<usize>,
    ) -> usize {
        let index = self.modules.len();
        self.modules.push(ModuleNode {
            file,
            parent,
            children: BTreeMap::new(),
            facts,
        });
        for inline in &facts.inline {
            let child = self.add(file, inline, &format!("{dir}/{}", inline.name), Some(index));
            self.name_child(index, &inline.name, child);
        }
        for declared in &facts.declared {
            let Some(found) = self.file_of(file, dir, &declared.name, declared.path.as_deref())
            else {
                continue;
            };
            let below = dir_of_children(&found.path);
            if declared.is_test || found.is_test {
                self.add_test_files(found, &below);
            } else {
                let child = self.add(&found.path, &found.module, &below, Some(index));
                self.name_child(index, &declared.name, child);
            }
        }
        index
    }

    fn name_child(&mut self, index: usize, name: &'a str, child: usize) {
        if let Some(module) = self.modules.get_mut(index) {
            module.children.insert(name, child);
        }
    }

    fn add_test_files(&mut self, file: &'a RustFile, dir: &str) {
        self.test_files.push(&file.path);
        for declared in &file.module.declared {
            if let Some(found) =
                self.file_of(&file.path, dir, &declared.name, declared.path.as_deref())
            {
                self.add_test_files(found, &dir_of_children(&found.path));
            }
        }
    }

    fn file_of(
        &self,
        file: &str,
        dir: &str,
        name: &str,
        path: Option<&str>,
    ) -> Option<&'a RustFile> {
        let candidates = match path {
            Some(path) => vec![format!("{}/{path}", parent_dir(file))],
            None => vec![format!("{dir}/{name}.rs"), format!("{dir}/{name}/mod.rs")],
        };
        candidates
            .iter()
            .find_map(|path| self.by_path.get(path.as_str()).copied())
    }
}

fn parent_dir(file: &str) -> &str {
    file.rsplit_once('/').map_or("", |(dir, _)| dir)
}

/// Returns the directory of the modules that `file`, which is not a crate root, declares.
fn dir_of_children(file: &str) -> String {
    match file.strip_suffix("/mod.rs") {
        Some(dir) => dir.to_owned(),
        None => file.trim_end_matches(".rs").to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::parsed;
    use super::*;

    #[test]
    fn modules_are_found_in_both_styles() {
        let files = parsed(&[
            ("src/lib.rs", "mod a;\nmod b { mod c; }\n"),
            ("src/a.rs", "mod d;"),
            ("src/a/d/mod.rs", ""),
            ("src/b/c.rs", ""),
            ("src/unused.rs", ""),
        ]);
        let tree = ModuleTree::new("src/lib.rs", &files).expect("a tree");
        let mut found: Vec<_> = tree.files().collect();
        found.sort_unstable();
        assert_eq!(
            found,
            [
                "src/a.rs",
                "src/a/d/mod.rs",
                "src/b/c.rs",
                "src/lib.rs",
                "src/lib.rs"
            ]
        );
    }

    #[test]
    fn test_modules_are_kept_out_with_all_below() {
        let files = parsed(&[
            ("src/main.rs", "#[cfg(test)]\nmod checks;\nmod a;"),
            ("src/checks.rs", "mod more;"),
            ("src/checks/more.rs", ""),
            ("src/a.rs", "#![cfg(test)]"),
        ]);
        let tree = ModuleTree::new("src/main.rs", &files).expect("a tree");
        assert_eq!(tree.files().collect::<Vec<_>>(), ["src/main.rs"]);
        assert_eq!(
            tree.test_files,
            ["src/checks.rs", "src/checks/more.rs", "src/a.rs"]
        );
        assert!(ModuleTree::new("src/lib.rs", &files).is_none());
    }
}
