//! Parses Rust source files: lines, declared names and references. It does not resolve names.

pub mod facts {
    //! Collects what one module declares and refers to. Test code is left out, but its lines are kept.

    use std::collections::BTreeSet;
    use std::ops::RangeInclusive;

    use syn::visit::Visit;
    use syn::{File, Item, ItemImpl, ItemMod, Type};

    use super::lines::{is_test_only, lines};
    use super::references::{Import, References, import};

    /// A module of a file: the file itself or an inline `mod name { … }`.
    #[derive(Debug, Default)]
    pub struct ModuleFacts {
        pub name: String,
        pub inline: Vec<ModuleFacts>,
        pub declared: Vec<DeclaredModule>,
        /// Names of items other than modules and imports.
        pub items: BTreeSet<String>,
        /// Structs, enums, unions, traits and type aliases, with their line.
        pub types: Vec<(String, usize)>,
        pub imports: Vec<Import>,
        /// Paths used in code and in private imports.
        pub references: BTreeSet<Vec<String>>,
        pub inherent_impls: BTreeSet<String>,
    }

    /// `mod name;`
    #[derive(Debug)]
    pub struct DeclaredModule {
        pub name: String,
        pub path: Option<String>,
        pub is_test: bool,
    }

    #[derive(Debug, Default)]
    pub struct FileFacts {
        pub module: ModuleFacts,
        pub test_lines: Vec<RangeInclusive<usize>>,
        /// Functions and methods that are not for tests, with their line.
        pub functions: Vec<(String, usize)>,
        pub is_test: bool,
    }

    pub fn read(file: &File) -> FileFacts {
        let mut facts = FileFacts {
            is_test: is_test_only(&file.attrs),
            ..FileFacts::default()
        };
        facts.module = module(String::new(), &file.items, &mut facts);
        facts
    }

    fn module(name: String, items: &[Item], facts: &mut FileFacts) -> ModuleFacts {
        let mut found = ModuleFacts {
            name,
            ..ModuleFacts::default()
        };
        let mut references = References::default();
        for item in items {
            match item {
                Item::Mod(item) => submodule(item, &mut found, facts),
                Item::Use(item) if is_test_only(&item.attrs) => facts.test_lines.push(lines(item)),
                Item::Use(item) => import(item, &mut found.imports),
                Item::Impl(item) => {
                    found.inherent_impls.extend(inherent(item));
                    references.visit_item_impl(item);
                }
                _ => {
                    if let Some((name, line, is_type)) = declared(item)
                        && !is_test_only(attributes(item))
                    {
                        found.items.insert(name.clone());
                        if is_type {
                            found.types.push((name, line));
                        }
                    }
                    references.visit_item(item);
                }
            }
        }
        facts.test_lines.append(&mut references.test_lines);
        facts.functions.append(&mut references.functions);
        found.imports.append(&mut references.imports);
        let private = found.imports.iter().filter(|import| !import.is_public);
        references.paths.extend(
            private
                .filter(|import| import.name.is_some())
                .map(|import| import.path.clone()),
        );
        found.references = references.paths;
        found
    }

    fn submodule(item: &ItemMod, found: &mut ModuleFacts, facts: &mut FileFacts) {
        let is_test = is_test_only(&item.attrs);
        if is_test {
            facts.test_lines.push(lines(item));
        }
        let name = item.ident.to_string();
        match &item.content {
            Some((_, items)) if !is_test => found.inline.push(module(name, items, facts)),
            Some(_) => {}
            None => found.declared.push(DeclaredModule {
                name,
                path: path_attribute(item),
                is_test,
            }),
        }
    }

    fn path_attribute(item: &ItemMod) -> Option<String> {
        let values = item
            .attrs
            .iter()
            .filter_map(|attribute| match &attribute.meta {
                syn::Meta::NameValue(pair) if pair.path.is_ident("path") => Some(&pair.value),
                _ => None,
            });
        values.into_iter().find_map(|value| match value {
            syn::Expr::Lit(syn::ExprLit {
                lit: syn::Lit::Str(text),
                ..
            }) => Some(text.value()),
            _ => None,
        })
    }

    fn inherent(item: &ItemImpl) -> Option<String> {
        if item.trait_.is_some() || is_test_only(&item.attrs) {
            return None;
        }
        match &*item.self_ty {
            Type::Path(path) => Some(path.path.segments.last()?.ident.to_string()),
            _ => None,
        }
    }

    /// Returns the name of an item, its line, and true if it is a type.
    fn declared(item: &Item) -> Option<(String, usize, bool)> {
        let (ident, is_type) = match item {
            Item::Struct(item) => (&item.ident, true),
            Item::Enum(item) => (&item.ident, true),
            Item::Union(item) => (&item.ident, true),
            Item::Trait(item) => (&item.ident, true),
            Item::TraitAlias(item) => (&item.ident, true),
            Item::Type(item) => (&item.ident, true),
            Item::Const(item) => (&item.ident, false),
            Item::Static(item) => (&item.ident, false),
            Item::Fn(item) => (&item.sig.ident, false),
            Item::Macro(item) => (item.ident.as_ref()?, false),
            _ => return None,
        };
        Some((ident.to_string(), ident.span().start().line, is_type))
    }

    fn attributes(item: &Item) -> &[syn::Attribute] {
        match item {
            Item::Struct(item) => &item.attrs,
            Item::Enum(item) => &item.attrs,
            Item::Union(item) => &item.attrs,
            Item::Trait(item) => &item.attrs,
            Item::TraitAlias(item) => &item.attrs,
            Item::Type(item) => &item.attrs,
            Item::Const(item) => &item.attrs,
            Item::Static(item) => &item.attrs,
            Item::Fn(item) => &item.attrs,
            Item::Macro(item) => &item.attrs,
            _ => &[],
        }
    }
}
pub mod lines;
pub mod references;

use proc_macro2::TokenStream;

use crate::repository::{ReportError, Repository, is_test_path};
use crate::words::table::WordTable;
use crate::words::{TextKind, WordHit};
use facts::{FileFacts, ModuleFacts};
use lines::{FileLines, LineKind};

#[derive(Debug)]
pub struct RustFile {
    pub path: String,
    /// Lines with code that are not tests.
    pub code: usize,
    pub test_code: usize,
    pub comments: usize,
    pub tests: usize,
    pub is_test: bool,
    pub module: ModuleFacts,
    pub functions: Vec<(String, usize)>,
    pub hits: Vec<WordHit>,
}

/// Parses `text`, the content of `path`, and looks for the words of `words`. For a test file, by its path, only lines
/// and words are counted.
pub fn parse(path: &str, text: &str, words: &WordTable) -> Result<RustFile, ReportError> {
    // Positions of earlier files are not needed any more. Without this call, each lookup searches all of them.
    proc_macro2::extra::invalidate_current_thread_spans();
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let tokens: TokenStream = text
        .parse()
        .map_err(|error| ReportError::invalid(path, error))?;
    let facts = if is_test_path(path) {
        FileFacts::default()
    } else {
        let syntax: syn::File =
            syn::parse2(tokens.clone()).map_err(|error| ReportError::invalid(path, error))?;
        facts::read(&syntax)
    };
    let mut hits = Vec::new();
    let mut sink = |kind: TextKind, line, text: &str| words.scan(path, kind, line, text, &mut hits);
    let FileLines { kinds, tests } = lines::classify(text, tokens, &mut sink);
    let (code, test_code) = count_code(&kinds, &facts);
    Ok(RustFile {
        path: path.to_owned(),
        code,
        test_code,
        comments: kinds
            .iter()
            .filter(|kind| **kind == LineKind::Comment)
            .count(),
        tests,
        is_test: facts.is_test,
        module: facts.module,
        functions: facts.functions,
        hits,
    })
}

fn count_code(kinds: &[LineKind], facts: &FileFacts) -> (usize, usize) {
    let mut counts = (0, 0);
    for (number, kind) in (1..).zip(kinds) {
        if *kind == LineKind::Code {
            if facts.test_lines.iter().any(|lines| lines.contains(&number)) {
                counts.1 += 1;
            } else {
                counts.0 += 1;
            }
        }
    }
    counts
}

/// Parses all Rust files of the repository, sorted by path, on all processors.
pub fn read_all(repository: &Repository, words: &WordTable) -> Result<Vec<RustFile>, ReportError> {
    let paths: Vec<&str> = repository.with_ending("rs").collect();
    let workers = std::thread::available_parallelism().map_or(1, usize::from);
    let mut files = std::thread::scope(|scope| {
        let handles: Vec<_> = (0..workers)
            .map(|worker| {
                let own = paths.iter().skip(worker).step_by(workers);
                scope.spawn(move || read_some(repository, words, own))
            })
            .collect();
        let mut files = Vec::new();
        for handle in handles {
            match handle.join() {
                Ok(part) => files.append(&mut part?),
                Err(panic) => std::panic::resume_unwind(panic),
            }
        }
        Ok::<_, ReportError>(files)
    })?;
    files.sort_by(|a, b| a.path.cmp(&b.path));
    Ok(files)
}

fn read_some<'a>(
    repository: &Repository,
    words: &WordTable,
    paths: impl Iterator<Item = &'a &'a str>,
) -> Result<Vec<RustFile>, ReportError> {
    let mut files = Vec::new();
    for path in paths {
        let text = repository.text(path)?;
        let text = text.ok_or_else(|| ReportError::invalid(path, "not UTF-8"))?;
        files.push(parse(path, &text, words)?);
    }
    Ok(files)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(text: &str) -> RustFile {
        let words = WordTable::parse("", "word = []").expect("a table");
        parse("a.rs", text, &words).expect("a file")
    }

    #[test]
    fn test_code_is_counted_separately() {
        let text = "//! a\nfn f() {}\n\n#[cfg(test)]\nmod tests {\n    // b\n    #[test]\n    fn g() {}\n}\n";
        let file = file(text);
        assert_eq!((file.code, file.test_code, file.comments), (1, 5, 2));
        assert_eq!(file.tests, 1);
        assert_eq!(file.functions, [("f".to_owned(), 2)]);
    }

    #[test]
    fn file_without_tests_has_no_test_code() {
        let file = file("#[cfg(not(test))]\nmod a {\n    struct B;\n}\n");
        assert_eq!((file.code, file.test_code, file.tests), (4, 0, 0));
        assert!(!file.is_test);
    }

    #[test]
    fn imports_keep_path_and_name() {
        let file = file("pub use a::{self, b as c, d::*};\nuse super::e;\n");
        let imports: Vec<String> = file
            .module
            .imports
            .iter()
            .map(|import| {
                format!(
                    "{}={:?} {}",
                    import.path.join("::"),
                    import.name,
                    import.is_public
                )
            })
            .collect();
        let expected = [
            "a=Some(\"a\") true",
            "a::b=Some(\"c\") true",
            "a::d=None true",
            "super::e=Some(\"e\") false",
        ];
        assert_eq!(imports, expected);
    }

    #[test]
    fn error_names_the_file() {
        let words = WordTable::parse("", "word = []").expect("a table");
        let error = parse("a.rs", "fn (", &words).expect_err("no Rust");
        assert!(error.to_string().contains("'a.rs'"), "{error}");
    }
}
