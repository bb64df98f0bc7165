//! Looks for the files of a unit of which the journal shows nothing: a misspelt name looks like a quiet service. Reads names of
//! directories and no file. Never asks the service manager: one that hangs would hold up the journal.

use std::collections::BTreeSet;
use std::fs;
use std::io::{Error, ErrorKind};
use std::path::Path;

use remit_common::builtin::UnitName;
use remit_common::service::UNIT_DIRECTORIES;
use remit_common::text;
use remit_words::spelling::similar;

/// The service manager makes units of other kinds without a file, of what the kernel or a program reports.
const KINDS: [&str; 6] = ["automount", "path", "service", "socket", "target", "timer"];

/// Names in all directories together. A machine with more is not judged.
const NAMES: usize = 20_000;
/// Similar names that are shown.
const SIMILAR: usize = 3;
/// Bytes of a name that is shown.
const SHOWN: usize = 255;

/// Returns a line that says that no file of this unit lies beneath `root`. `None` if there is one, if its kind needs none, and if it
/// is not known because a directory cannot be read.
pub fn missing(root: &Path, unit: &UnitName) -> Option<String> {
    if !KINDS.contains(&unit.kind()) {
        return None;
    }
    let names = names(root, NAMES)?;
    let words = UnitWords::new(unit);
    if names.contains(unit.as_str()) || names.contains(&words.template()) {
        return None;
    }
    let similar = words.similar(&names);
    let what_next = match similar.is_empty() {
        true => ": service.list pattern=PART finds units by a part of their name".to_owned(),
        false => format!("; similar: {}", similar.join(", ")),
    };
    Some(format!(
        "no file of a unit '{unit}' is on this machine{what_next}\n"
    ))
}

/// Returns the names in all directories that exist. `None` if that is none of them, if one cannot be read, or if they are more than `most`.
fn names(root: &Path, most: usize) -> Option<BTreeSet<String>> {
    let is_missing =
        |error: &Error| matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory);
    let mut names = BTreeSet::new();
    let mut count = 0_usize;
    for directory in UNIT_DIRECTORIES {
        let entries = match fs::read_dir(root.join(directory.trim_start_matches('/'))) {
            Ok(entries) => entries,
            Err(error) if is_missing(&error) => continue,
            Err(_) => return None,
        };
        for entry in entries {
            let name = entry.ok()?.file_name();
            count = count.saturating_add(1);
            if count > most {
                return None;
            }
            // No unit has a name that is not text.
            names.extend(name.into_string().ok());
        }
    }
    (!names.is_empty()).then_some(names)
}

/// The parts of a unit's name: of an instance, the template's name is compared and the rest is kept.
#[derive(Debug)]
struct UnitWords<'a> {
    name: &'a str,
    /// What comes after the name in the unit's.
    end: String,
    /// What comes after the name in that of the file.
    file_end: String,
}

impl<'a> UnitWords<'a> {
    fn new(unit: &'a UnitName) -> Self {
        let kind = unit.kind();
        match unit.stem().split_once('@') {
            Some((name, instance)) => Self {
                name,
                end: format!("@{instance}.{kind}"),
                file_end: format!("@.{kind}"),
            },
            None => Self {
                name: unit.stem(),
                end: format!(".{kind}"),
                file_end: format!(".{kind}"),
            },
        }
    }

    fn template(&self) -> String {
        format!("{}{}", self.name, self.file_end)
    }

    fn similar(&self, names: &BTreeSet<String>) -> Vec<String> {
        let known = names
            .iter()
            .filter_map(|name| name.strip_suffix(&self.file_end));
        let similar = similar(self.name, known).into_iter().take(SIMILAR);
        let whole = similar.map(|name| format!("{name}{}", self.end));
        whole
            .map(|name| text::line(name.as_bytes(), SHOWN))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::os::unix::fs::symlink;
    use std::path::PathBuf;

    use super::*;

    /// A root directory that goes with its value.
    struct UnitTree(PathBuf);

    impl UnitTree {
        fn with(files: &[&str]) -> Self {
            let template = std::env::temp_dir().join("remit-look-units-XXXXXX");
            let machine = Self(nix::unistd::mkdtemp(&template).unwrap());
            for file in files {
                let path = machine.0.join(file);
                fs::create_dir_all(path.parent().unwrap()).unwrap();
                File::create(path).unwrap();
            }
            machine
        }

        fn missing(&self, unit: &str) -> Option<String> {
            missing(&self.0, &unit.parse().unwrap())
        }
    }

    impl Drop for UnitTree {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    const PART: &str = ": service.list pattern=PART finds units by a part of their name";

    #[test]
    fn unit_without_a_file_is_named_with_similar_ones() {
        let machine = UnitTree::with(&[
            "etc/systemd/system/site.service",
            "usr/lib/systemd/system/nginx.service",
            "usr/lib/systemd/system/nginx.socket",
            "usr/lib/systemd/system/getty@.service",
            "usr/lib/systemd/system/lone@one.service",
            "run/systemd/transient/run-7.service",
            "run/systemd/generator.late/old.service",
            "usr/lib/systemd/system/web-site\n\u{1b}.service",
        ]);
        let alias = machine.0.join("etc/systemd/system/www.service");
        symlink("/usr/lib/systemd/system/nginx.service", alias).unwrap();
        for (unit, end) in [
            ("nginx", None),
            ("nginx.socket", None),
            ("site", None),
            ("www", None),
            ("run-7", None),
            ("old", None),
            ("getty@tty1", None),
            ("lone@one", None),
            ("ngnix", Some("; similar: nginx.service")),
            ("ngnix.socket", Some("; similar: nginx.socket")),
            ("gety@tty1", Some("; similar: getty@tty1.service")),
            ("getty", Some("; similar: getty@.service")),
            ("web-site", Some("; similar: web-site\\n\\x1b.service")),
            ("ngnix.timer", Some(PART)),
            ("postgres", Some(PART)),
            ("nginx.mount", None),
            ("sda.device", None),
            ("session-3.scope", None),
            ("user.slice", None),
            ("x.swap", None),
        ] {
            let whole: UnitName = unit.parse().unwrap();
            let expect =
                end.map(|end| format!("no file of a unit '{whole}' is on this machine{end}\n"));
            assert_eq!(machine.missing(unit), expect, "{unit}");
        }
    }

    #[test]
    fn machine_that_cannot_be_read_is_not_judged() {
        // No service manager's.
        let machine = UnitTree::with(&["etc/passwd"]);
        assert_eq!(machine.missing("ngnix"), None);
        let machine = UnitTree::with(&["usr/lib/systemd/system/nginx.service"]);
        let transient = machine.0.join("run/systemd/transient");
        fs::create_dir_all(machine.0.join("run/systemd")).unwrap();
        assert!(machine.missing("ngnix").is_some());
        // A link to itself cannot be read, also by root.
        symlink("transient", &transient).unwrap();
        assert_eq!(machine.missing("ngnix"), None);
    }

    #[test]
    fn machine_with_too_many_names_is_not_judged() {
        let machine = UnitTree::with(&[
            "etc/systemd/system/a.service",
            "usr/lib/systemd/system/b.service",
        ]);
        assert_eq!(names(&machine.0, 2).map(|names| names.len()), Some(2));
        assert_eq!(names(&machine.0, 1), None);
    }
}
