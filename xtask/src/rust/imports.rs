use syn::{ItemUse, UseTree};

use super::attributes::is_test_only;

/// One name that `use` brings into a module, or all of another module.
#[derive(Debug, PartialEq, Eq)]
pub struct Import {
    pub path: Vec<String>,
    /// The name in this module; `None` for `*`.
    pub name: Option<String>,
    /// True if the import has a visibility of its own: a re-export.
    pub is_public: bool,
}

pub fn import(item: &ItemUse, imports: &mut Vec<Import>) {
    if item.leading_colon.is_none() && !is_test_only(&item.attrs) {
        let is_public = !matches!(item.vis, syn::Visibility::Inherited);
        import_tree(&item.tree, &mut Vec::new(), is_public, imports);
    }
}

fn import_tree(
    tree: &UseTree,
    before: &mut Vec<String>,
    is_public: bool,
    imports: &mut Vec<Import>,
) {
    let mut add = |last: Option<String>, name: Option<String>| {
        let mut path = before.clone();
        // `use a::{self}` names `a` itself.
        path.extend(last.filter(|last| last != "self" || before.is_empty()));
        let name = name.map(|name| {
            if name == "self" {
                path.last().cloned().unwrap_or(name)
            } else {
                name
            }
        });
        imports.push(Import {
            path,
            name,
            is_public,
        });
    };
    match tree {
        UseTree::Name(leaf) => add(Some(leaf.ident.to_string()), Some(leaf.ident.to_string())),
        UseTree::Rename(leaf) => add(Some(leaf.ident.to_string()), Some(leaf.rename.to_string())),
        UseTree::Glob(_) => add(None, None),
        UseTree::Path(path) => {
            before.push(path.ident.to_string());
            import_tree(&path.tree, before, is_public, imports);
            before.pop();
        }
        UseTree::Group(group) => {
            for tree in &group.items {
                import_tree(tree, before, is_public, imports);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn imports(text: &str) -> Vec<String> {
        let mut imports = Vec::new();
        import(&syn::parse_str(text).expect("an import"), &mut imports);
        let text = |one: &Import| {
            format!(
                "{}={}",
                one.path.join("::"),
                one.name.as_deref().unwrap_or("*")
            )
        };
        imports.iter().map(text).collect()
    }

    #[test]
    fn groups_renames_and_globs_are_read() {
        let found = imports("use a::{self, b as c, d::*};");
        assert_eq!(found, ["a=a", "a::b=c", "a::d=*"]);
        assert_eq!(imports("use self::e;"), ["self::e=e"]);
    }

    #[test]
    fn imports_of_tests_and_other_crates_by_colons_are_left_out() {
        assert!(imports("#[cfg(test)] use a::b;").is_empty());
        assert!(imports("use ::a::b;").is_empty());
    }
}
