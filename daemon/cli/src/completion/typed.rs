//! The words before the one that is completed.

use std::ffi::OsString;
use std::path::PathBuf;

use remit_common::names::Runtime;

/// Options of `run` and `change` that take a value.
const WITH_VALUE: [&str; 12] = [
    "--runtime",
    "--name",
    "--reason",
    "-m",
    "--secret",
    "--timeout",
    "--request-id",
    "--env",
    "--cwd",
    "--profile",
    "--script",
    "--interpreter",
];

/// A command line without its last word.
#[derive(Debug)]
pub struct Typed(Vec<String>);

impl Typed {
    /// Reads this process's arguments, as shells' scripts pass them: `remit -- remit WORD...`.
    pub fn of_process() -> Self {
        // Only zsh and bash say which word is completed; for fish it is the last.
        let index = std::env::var("_CLAP_COMPLETE_INDEX").ok();
        let index = index.and_then(|index| index.parse().ok());
        Self::of(std::env::args_os(), index)
    }

    fn of(args: impl Iterator<Item = OsString>, index: Option<usize>) -> Self {
        let words = args.skip_while(|word| word != "--").skip(1);
        let mut words: Vec<String> = words
            .map(|word| word.to_string_lossy().into_owned())
            .collect();
        let index = index.unwrap_or(words.len().saturating_sub(1));
        words.truncate(index);
        Self(words)
    }

    pub fn runtime(&self) -> Runtime {
        let dir = self.value("--runtime");
        Runtime::new(dir.map_or_else(|| PathBuf::from(Runtime::DEFAULT), PathBuf::from))
    }

    /// Returns the named command, if there is one already.
    pub fn named(&self) -> Option<&str> {
        if let Some(name) = self.value("--name") {
            return Some(name);
        }
        let mut words = self.plain();
        words.find(|word| *word == "change")?;
        words.next()
    }

    /// Returns true if the next word is a program, and no argument of one.
    pub fn is_program_next(&self) -> bool {
        self.plain().count() == 2
    }

    /// Returns the words that are neither options nor their values.
    fn plain(&self) -> impl Iterator<Item = &str> {
        let before = std::iter::once("").chain(self.0.iter().map(String::as_str));
        let words = self.0.iter().map(String::as_str).zip(before);
        words
            .filter(|(word, before)| !word.starts_with('-') && !WITH_VALUE.contains(before))
            .map(|(word, _)| word)
    }

    fn value(&self, option: &str) -> Option<&str> {
        let mut words = self.0.iter();
        while let Some(word) = words.next() {
            if word == option {
                return words.next().map(String::as_str);
            }
            let value = word.strip_prefix(option);
            if let Some(value) = value.and_then(|value| value.strip_prefix('=')) {
                return Some(value);
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn typed(line: &str) -> Typed {
        let words = format!("/usr/bin/remit -- {line}");
        let words: Vec<OsString> = words.split(' ').map(OsString::from).collect();
        Typed::of(words.into_iter(), None)
    }

    #[test]
    fn command_and_directory_are_found() {
        for (line, named) in [
            ("remit change ser", None),
            ("remit change service.restart un", Some("service.restart")),
            (
                "remit change -m change service.restart un",
                Some("service.restart"),
            ),
            (
                "remit --runtime /r change --reason why web.x ",
                Some("web.x"),
            ),
            ("remit run --name logs ", Some("logs")),
            ("remit run --name=logs ", Some("logs")),
            ("remit run d", None),
            ("remit run --name", None),
            ("remit", None),
        ] {
            assert_eq!(typed(line).named(), named, "{line}");
        }
        assert_eq!(
            typed("remit --runtime /r ").runtime().dir().to_str(),
            Some("/r")
        );
        assert_eq!(
            typed("remit --runtime=/r ").runtime().dir().to_str(),
            Some("/r")
        );
        assert!(typed("remit run ").is_program_next());
        assert!(typed("remit run --timeout 3 d").is_program_next());
        assert!(!typed("remit run df ").is_program_next());
    }

    #[test]
    fn words_after_the_cursor_do_not_count() {
        let words = ["remit", "--", "remit", "change", "x", "y"].map(OsString::from);
        let typed = Typed::of(words.into_iter(), Some(2));
        assert_eq!(typed.0, ["remit", "change"]);
    }
}
