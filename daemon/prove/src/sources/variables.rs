//! Variables that make code of their values: for the loader, for shells and for interpreters. ld.so(8), bash(1), python3(1),
//! perlrun(1), node(1).

use super::execution::Execution;
use crate::facts::{Source, When};
use crate::look::Look;
use crate::path::FilePath;
use crate::rule::RuleId;

/// Each value has paths of files or directories with code.
const CODE: [&str; 40] = [
    "AWKLIBPATH",
    "AWKPATH",
    "BASH_ENV",
    "CLASSPATH",
    "ENV",
    "GCONV_PATH",
    "GEM_HOME",
    "GEM_PATH",
    "GIT_CONFIG_GLOBAL",
    "GIT_CONFIG_SYSTEM",
    "GIT_DIR",
    "GIT_EXEC_PATH",
    "GIT_SSH",
    "GIT_SSH_COMMAND",
    "JAVA_TOOL_OPTIONS",
    "JDK_JAVA_OPTIONS",
    "LD_AUDIT",
    "LD_LIBRARY_PATH",
    "LD_PRELOAD",
    "LESSOPEN",
    "LUA_CPATH",
    "LUA_PATH",
    "MAKEFILES",
    "NODE_OPTIONS",
    "NODE_PATH",
    "OPENSSL_CONF",
    "OPENSSL_ENGINES",
    "OPENSSL_MODULES",
    "PERL5LIB",
    "PERL5OPT",
    "PERLLIB",
    "PHPRC",
    "PHP_INI_SCAN_DIR",
    "PYTHONHOME",
    "PYTHONPATH",
    "PYTHONSTARTUP",
    "RUBYLIB",
    "RUBYOPT",
    "ZDOTDIR",
    "_JAVA_OPTIONS",
];

/// Returns true for each variable that makes code of its value.
pub fn is_code(name: &str) -> bool {
    CODE.contains(&name)
}

pub fn code_names() -> impl Iterator<Item = &'static [u8]> {
    CODE.iter().map(|name| name.as_bytes())
}

/// Notes the variable in `NAME=value` for an execution.
pub fn apply(look: &mut Look<'_>, by: &mut Execution, variable: &[u8]) {
    if let Some(path) = search_path(look, &by.source.file, variable, &by.path) {
        by.path = path;
    }
    libraries(look, by.uid, variable, &by.when, &by.source);
}

/// Returns the search path that `PATH=value` makes of another one, which counts where the value first has it.
pub fn search_path(
    look: &Look<'_>,
    file: &FilePath,
    variable: &[u8],
    before: &[FilePath],
) -> Option<Vec<FilePath>> {
    let value = variable.strip_prefix(b"PATH=")?;
    let is_before = |part: &[u8]| matches!(part, b"$PATH" | b"${PATH}");
    let mut before = Some(before);
    let parts = value.split(|byte| *byte == b':').flat_map(|part| {
        let known = before.take_if(|_| is_before(part)).unwrap_or_default();
        known.iter().map(FilePath::as_bytes).chain([part])
    });
    Some(look.search_path(file, parts))
}

/// Notes what is code in the value of `NAME=value`.
pub fn libraries(look: &mut Look<'_>, uid: u32, variable: &[u8], when: &When, source: &Source) {
    let Some(at) = variable.iter().position(|byte| *byte == b'=') else {
        return;
    };
    let (name, value) = variable.split_at(at);
    let name = name.strip_suffix(b"+").unwrap_or(name);
    if std::str::from_utf8(name).is_ok_and(is_code) {
        for path in code(value) {
            look.obeys(uid, path, RuleId::LibraryPath, when, source);
        }
    }
}

/// Returns the paths of a value, also behind an option, as `-r/x`.
fn code(value: &[u8]) -> impl Iterator<Item = FilePath> {
    let is_between = |byte: &u8| byte.is_ascii_whitespace() || b":;,=|'\"".contains(byte);
    let parts = value.split(is_between);
    parts.filter_map(|part| {
        let begin = part.iter().position(|byte| *byte == b'/')?;
        let path = part.get(begin..)?;
        let is_option = begin == 0 || part.starts_with(b"-");
        match path.iter().position(|byte| b"?*".contains(byte)) {
            _ if !is_option => None,
            // Of `/x/?.lua` it is the directory.
            Some(pattern) => {
                let end = path
                    .get(..pattern)?
                    .iter()
                    .rposition(|byte| *byte == b'/')?;
                FilePath::new(path.get(..end)?)
            }
            None => FilePath::new(path),
        }
    })
}
