//! Variables that the service manager gives to all units, systemd-system.conf(5).

use super::parse::{settings, words};
use crate::facts::{Source, When};
use crate::look::Look;
use crate::path::FilePath;
use crate::sources::variables::libraries;

const DIRECTORIES: [&str; 4] = [
    "/etc/systemd/system.conf.d",
    "/run/systemd/system.conf.d",
    "/usr/local/lib/systemd/system.conf.d",
    "/usr/lib/systemd/system.conf.d",
];

pub fn look(look: &mut Look<'_>) {
    let mut files = vec![FilePath::fixed("/etc/systemd/system.conf")];
    for directory in DIRECTORIES.map(FilePath::fixed) {
        let names = look.machine.list(&directory).into_iter();
        let names = names.filter(|name| name.ends_with(b".conf"));
        files.extend(names.filter_map(|name| directory.join(name)));
    }
    for file in files {
        let content = look.machine.read(&file).unwrap_or_default();
        let found = settings(&content).into_iter();
        let is_variables =
            |key: &[u8]| matches!(key, b"DefaultEnvironment" | b"ManagerEnvironment");
        for setting in found.filter(|one| is_variables(&one.key)) {
            let shown = [setting.key.as_slice(), b"=", &setting.value].concat();
            let source = Source::line(&file, setting.line, &shown);
            for word in words(&setting.value) {
                libraries(look, 0, &word, &When::ByItself, &source);
                if word.starts_with(b"PATH=") {
                    let why = format!(
                        "the search path of its line {} is not followed",
                        setting.line
                    );
                    look.machine.unknown(&file, why);
                }
            }
        }
    }
}
