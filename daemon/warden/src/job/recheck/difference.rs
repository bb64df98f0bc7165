//! Compares what a request would use and do with what it was when an approver was asked. Pure.

use std::collections::{BTreeSet, HashSet};

use remit_approval::{FileBinding, Loose};
use remit_common::text;

use crate::approval::file_hash::FileFound;

const PATH: usize = 256;

/// Skips copied files, because the job gets the copy. Uses sets: an argv can name thousands of files.
pub fn of_files(before: &[FileFound], now: &[FileFound]) -> Option<String> {
    let was: HashSet<&FileFound> = before.iter().collect();
    let is: HashSet<&FileFound> = now.iter().collect();
    let is_used = |file: &&FileFound| file.held != FileBinding::Copied;
    let mut used = before.iter().filter(is_used);
    let changed = used.find(|file| !is.contains(file));
    let new = || now.iter().find(|file| !was.contains(file));
    changed.or_else(new).map(|file| {
        let path = text::line(file.measured.path.as_bytes(), PATH);
        format!("'{path}' has changed ({})", file.what)
    })
}

/// Returns the first name that is new and whose content is not bound.
pub fn of_loose(before: &BTreeSet<Loose>, now: &BTreeSet<Loose>) -> Option<String> {
    now.difference(before).next().map(remit_approval::sentence)
}

pub fn of_effects(before: &[String], now: &[String]) -> Option<String> {
    let was: HashSet<&String> = before.iter().collect();
    let is: HashSet<&String> = now.iter().collect();
    let gone = before.iter().find(|line| !is.contains(line));
    let new = || now.iter().find(|line| !was.contains(line));
    let (line, what) = match gone {
        Some(line) => (line, "is no longer true"),
        None => (new()?, "is new"),
    };
    let line = text::line(line.as_bytes(), PATH);
    Some(format!("its effect has changed: '{line}' {what}"))
}

#[cfg(test)]
mod tests {
    use remit_spawn::Measured;

    use super::*;

    fn file(path: &str, ino: u64) -> FileFound {
        FileFound {
            what: "program".to_owned(),
            held: FileBinding::Checked,
            measured: Measured {
                path: std::ffi::CString::new(path).unwrap(),
                dev: 1,
                ino,
                ctime_ns: 2,
                size: 3,
                sha256: [4; 32],
            },
            real: c"/usr/bin/x".to_owned(),
        }
    }

    #[test]
    fn any_difference_of_files_is_named() {
        let before = [file("/bin/a", 1), file("/bin/b", 2)];
        assert_eq!(of_files(&before, &before), None);
        for (now, path) in [
            (vec![file("/bin/a", 9), file("/bin/b", 2)], "/bin/a"),
            (vec![file("/bin/a", 1)], "/bin/b"),
            (vec![], "/bin/a"),
            (
                vec![file("/bin/a", 1), file("/bin/b", 2), file("/bin/c", 3)],
                "/bin/c",
            ),
        ] {
            let sentence = of_files(&before, &now);
            assert_eq!(sentence, Some(format!("'{path}' has changed (program)")));
        }
    }

    fn processor_s() -> u64 {
        let text = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap();
        let ns: u64 = text.split(' ').next().unwrap().parse().unwrap();
        ns / 1_000_000_000
    }

    /// Comparing each with each would take 25 billion comparisons.
    #[test]
    fn a09_many_files_are_compared_in_linear_time() {
        let all: Vec<FileFound> = (0..160_000).map(|ino| file("/srv/own", ino)).collect();
        let lines: Vec<String> = (0..160_000).map(|line: u32| line.to_string()).collect();
        let begin = processor_s();
        assert_eq!(of_files(&all, &all), None);
        assert_eq!(of_effects(&lines, &lines), None);
        assert!(processor_s() - begin < 20);
    }

    #[test]
    fn any_difference_of_effects_is_named() {
        let lines = |lines: &[&str]| -> Vec<String> {
            lines.iter().map(|line| (*line).to_owned()).collect()
        };
        let before = lines(&["a", "b"]);
        assert_eq!(of_effects(&before, &before), None);
        let gone = of_effects(&before, &lines(&["a", "c"])).unwrap();
        assert!(gone.ends_with("'b' is no longer true"), "{gone}");
        let new = of_effects(&before, &lines(&["a", "b", "c"])).unwrap();
        assert!(new.ends_with("'c' is new"), "{new}");
    }
}
