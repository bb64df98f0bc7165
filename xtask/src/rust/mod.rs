//! Parses Rust source files: lines, declared names and references. It does not resolve names.

pub mod attributes;
pub mod facts;
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
