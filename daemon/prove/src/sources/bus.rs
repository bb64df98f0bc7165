//! Services that the system bus starts when somebody calls them: dbus-daemon(1).

use super::execution::Execution;
use super::systemd::{settings, words};
use crate::facts::{Source, When};
use crate::look::Look;
use crate::machine::Machine;
use crate::path::FilePath;
use crate::rule::RuleId;

const DIRECTORIES: [&str; 3] = [
    "/usr/local/share/dbus-1/system-services",
    "/usr/share/dbus-1/system-services",
    "/lib/dbus-1/system-services",
];

fn files(machine: &Machine) -> Vec<FilePath> {
    let directories = DIRECTORIES.iter().map(|path| FilePath::fixed(path));
    let files = directories.flat_map(|directory| {
        let names = machine.list(&directory).into_iter();
        names.filter_map(move |name| directory.join(name))
    });
    files.collect()
}

/// Units that the bus has started by their names.
pub fn units(machine: &Machine) -> Vec<String> {
    let mut units = Vec::new();
    for file in files(machine) {
        let content = machine.read(&file).unwrap_or_default();
        let found = settings(&content).into_iter();
        let found = found.filter(|setting| setting.key == b"SystemdService");
        units.extend(found.filter_map(|setting| String::from_utf8(setting.value).ok()));
    }
    units
}

pub fn look(look: &mut Look<'_>) {
    for directory in DIRECTORIES.map(FilePath::fixed) {
        if look.exists(&directory) {
            let source = Source::whole(&directory);
            look.obeys(0, directory, RuleId::BusService, &When::ByItself, &source);
        }
    }
    for file in files(look.machine) {
        look.obeys(
            0,
            file.clone(),
            RuleId::BusService,
            &When::ByItself,
            &Source::whole(&file),
        );
        let content = look.machine.read(&file).unwrap_or_default();
        let found = settings(&content);
        let value = |key: &[u8]| found.iter().rev().find(|setting| setting.key == key);
        if value(b"SystemdService").is_some() {
            continue;
        }
        let user = value(b"User").and_then(|setting| std::str::from_utf8(&setting.value).ok());
        let uid = user.and_then(|user| look.facts.accounts.uid(user));
        if let (Some(exec), Some(uid)) = (value(b"Exec"), uid) {
            let source = Source::line(
                &file,
                exec.line,
                &[b"Exec=", exec.value.as_slice()].concat(),
            );
            let by = Execution::new(uid, RuleId::BusService, When::ByItself, source);
            look.executes(&by, &words(&exec.value));
        }
    }
}
