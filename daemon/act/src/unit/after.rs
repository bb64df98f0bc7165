//! Compares units with the change of files that comes before the command: what the service manager says is of the
//! machine before it. An entry can define a unit, change it by a drop-in or a link, or change what starts with it.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::{OsStr, OsString};
use std::fs;
use std::io::Read;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Component, Path, PathBuf};

use remit_common::changed::{self, Becomes};

use super::install;
use super::manager::Known;
use super::section::Install;
use crate::args::Fault;

/// Links that are followed for one path, as the kernel does.
const LINKS: usize = 40;
/// Directories of a unit's dependencies.
const DEPENDENCIES: [&str; 3] = ["wants", "requires", "upholds"];

/// The paths that the change creates, changes or removes. A directory by itself, a mode and an owner change no unit.
#[derive(Debug, Default)]
pub struct Changed(BTreeMap<PathBuf, Becomes>);

/// Which file defines a unit after the change.
#[derive(Debug, PartialEq, Eq)]
pub enum Definition {
    Made(PathBuf),
    /// The change leaves it as it is.
    There(PathBuf),
    Missing,
}

impl Changed {
    /// Reads what remitd gives on standard input. Nothing changes if the command follows no change of files.
    pub fn before(follows: bool) -> Result<Self, Fault> {
        if !follows {
            return Ok(Self::default());
        }
        let failed = |why: &str| Fault::Failed(format!("the paths of the change: {why}"));
        let mut bytes = Vec::new();
        let read = std::io::stdin()
            .take(changed::BYTES)
            .read_to_end(&mut bytes);
        read.map_err(|error| failed(&error.to_string()))?;
        let all = changed::decode(&bytes).ok_or_else(|| failed("they are damaged"))?;
        let all = all
            .into_iter()
            .map(|one| (PathBuf::from(OsString::from_vec(one.path)), one.becomes));
        Ok(Self::new(all))
    }

    fn new(all: impl IntoIterator<Item = (PathBuf, Becomes)>) -> Self {
        let counts = |becomes: &Becomes| !matches!(becomes, Becomes::Directory | Becomes::Same);
        Self(
            all.into_iter()
                .filter(|(_, becomes)| counts(becomes))
                .collect(),
        )
    }

    /// Returns the paths that can change what this unit is: its files, those of its drop-ins, and links on the way to them.
    pub fn of(&self, unit: &Known, search: &[String]) -> BTreeSet<&Path> {
        let names: BTreeSet<&str> = unit
            .names
            .iter()
            .map(String::as_str)
            .chain([unit.id.as_str()])
            .collect();
        let files = names.iter().flat_map(|name| names_of_files(name));
        let own: BTreeSet<String> = files
            .chain(names.iter().flat_map(|name| names_of_directories(name)))
            .collect();
        let is_own = |path: &&PathBuf| {
            let first = relative(path, search).and_then(|rest| {
                rest.components()
                    .next()
                    .map(|part| part.as_os_str().to_owned())
            });
            first.is_some_and(|first| first.to_str().is_some_and(|first| own.contains(first)))
        };
        let read = [&unit.fragment, &unit.source]
            .into_iter()
            .chain(&unit.drop_ins)
            .filter(|path| !path.is_empty());
        let passed: BTreeSet<PathBuf> = read.flat_map(|path| passed(Path::new(path))).collect();
        self.0
            .keys()
            .filter(|path| is_own(path) || passed.contains(*path))
            .map(PathBuf::as_path)
            .collect()
    }

    /// Returns all paths that the service manager can read: units, links between them, its settings, its generators.
    pub fn of_manager(&self, search: &[String]) -> BTreeSet<&Path> {
        let ways: BTreeSet<PathBuf> = search
            .iter()
            .flat_map(|dir| passed(Path::new(dir)))
            .collect();
        let is_read = |path: &&PathBuf| {
            relative(path, search).is_some()
                || path
                    .parent()
                    .is_some_and(|dir| dir.components().any(|part| part.as_os_str() == "systemd"))
                || ways.iter().any(|way| way.starts_with(path))
        };
        self.0
            .keys()
            .filter(is_read)
            .map(PathBuf::as_path)
            .collect()
    }

    /// Returns the file that defines a unit after the change: the first in the order of the service manager. Refuses a link
    /// of the change, because what it leads to is not in the plan.
    pub fn definition(&self, name: &str, search: &[String]) -> Result<Definition, Fault> {
        for file in names_of_files(name) {
            for dir in search {
                let ways = passed(Path::new(dir));
                ways.iter()
                    .try_for_each(|way| self.refuse_link(name, way))?;
                let path = real(Path::new(dir)).join(&file);
                match self.0.get(&path) {
                    Some(Becomes::File(_)) => return Ok(Definition::Made(path)),
                    Some(Becomes::Gone) => {}
                    Some(_) => self.refuse_link(name, &path)?,
                    None if fs::symlink_metadata(&path).is_ok() => {
                        return Ok(Definition::There(path));
                    }
                    None => {}
                }
            }
        }
        Ok(Definition::Missing)
    }

    /// Refuses a link of the change at this path or above it.
    fn refuse_link(&self, name: &str, path: &Path) -> Result<(), Fault> {
        let is_link = |path: &&Path| matches!(self.0.get(*path), Some(Becomes::Link));
        match path.ancestors().find(is_link) {
            None => Ok(()),
            Some(link) => Err(Fault::Refused(format!(
                "the change makes {} a symbolic link, and '{name}' is read by it: what the command does cannot be shown; ask for \
                 it by itself after the change",
                quoted(link)
            ))),
        }
    }

    /// Returns the drop-ins of a unit after the change, of the machine and of the change.
    pub fn drop_ins(&self, name: &str, search: &[String]) -> BTreeSet<PathBuf> {
        let mut all = BTreeSet::new();
        for dir in search {
            for own in names_of_directories(name)
                .iter()
                .filter(|own| own.ends_with(".d"))
            {
                let own = real(&Path::new(dir).join(own));
                let there = fs::read_dir(&own).into_iter().flatten().flatten();
                let there = there.map(|entry| own.join(entry.file_name()));
                let made = self
                    .0
                    .keys()
                    .filter(|path| path.parent() == Some(&own))
                    .cloned();
                let is_there = |path: &PathBuf| !matches!(self.0.get(path), Some(Becomes::Gone));
                let is_drop_in = |path: &PathBuf| path.extension() == Some(OsStr::new("conf"));
                all.extend(there.chain(made).filter(is_there).filter(is_drop_in));
            }
        }
        all
    }

    /// Returns true if the change makes or changes this file.
    pub fn makes(&self, path: &Path) -> bool {
        self.0.contains_key(path)
    }

    /// Returns the links of `enable` and `disable` by the files that a unit has after the change. Refuses what cannot be
    /// known before it.
    pub fn install(&self, name: &str, file: &Path, search: &[String]) -> Result<Install, Fault> {
        let mut all = Install::default();
        let drop_ins = self.drop_ins(name, search);
        for path in [file.to_owned()].iter().chain(&drop_ins) {
            let add = self.text(path).and_then(|text| all.add(&text, name));
            add.map_err(|why| Fault::Refused(format!("{}: {why}", quoted(path))))?;
        }
        match all.also.is_empty() {
            true => Ok(all),
            false => Err(Fault::Refused(format!(
                "the change makes '{name}' enable other units with it (Also=), which cannot be looked at before: enable it by itself after \
                 the change"
            ))),
        }
    }

    fn text(&self, path: &Path) -> Result<String, String> {
        match self.0.get(path) {
            Some(Becomes::File(Some(bytes))) => {
                String::from_utf8(bytes.clone()).map_err(|_| "it is no text".to_owned())
            }
            None if passed(path).iter().all(|path| !self.makes(path)) => {
                install::read(path).map_err(|error| format!("it cannot be read: {error}"))
            }
            _ => Err("the change makes it, and what it says cannot be known before: enable the unit by itself after the change".to_owned()),
        }
    }
}

pub fn quoted(path: &Path) -> String {
    let path = remit_common::escape::in_quotes(path.as_os_str().as_bytes(), usize::MAX);
    format!("'{path}'")
}

/// Returns the part of a path that is beneath a directory of units, by its name or by where that leads.
fn relative<'a>(path: &'a Path, search: &[String]) -> Option<&'a Path> {
    let beneath = |dir: &Path| {
        path.strip_prefix(dir)
            .ok()
            .filter(|rest| *rest != Path::new(""))
    };
    search
        .iter()
        .map(Path::new)
        .find_map(|dir| beneath(dir).or_else(|| beneath(&real(dir))))
}

/// Follows links as far as there is something.
fn real(path: &Path) -> PathBuf {
    passed(path).pop().unwrap_or_else(|| path.to_owned())
}

/// Returns each link that is passed on the way to a path, and at the end where it leads.
fn passed(path: &Path) -> Vec<PathBuf> {
    let parts = |path: &Path| -> Vec<OsString> {
        let parts = path.components().filter(|part| *part != Component::RootDir);
        parts
            .rev()
            .map(|part| part.as_os_str().to_owned())
            .collect()
    };
    let (mut at, mut left, mut links) = (PathBuf::from("/"), parts(path), Vec::new());
    while let Some(part) = left.pop() {
        if part == ".." {
            at.pop();
            continue;
        }
        at.push(&part);
        let Ok(target) = fs::read_link(&at) else {
            continue;
        };
        if links.len() == LINKS {
            break;
        }
        links.push(at.clone());
        match target.is_absolute() {
            true => at = PathBuf::from("/"),
            false => _ = at.pop(),
        }
        left.extend(parts(&target).into_iter().filter(|part| part != "."));
    }
    links.push(at);
    links
}

/// Splits `a-b@c.service` into `a-b`, `c` and `service`.
fn split(name: &str) -> (&str, Option<&str>, &str) {
    let (stem, kind) = name.rsplit_once('.').unwrap_or((name, ""));
    match stem.split_once('@') {
        Some((prefix, instance)) => (prefix, Some(instance), kind),
        None => (stem, None, kind),
    }
}

/// Returns the names of files that can define a unit: its own, then that of its template.
fn names_of_files(name: &str) -> Vec<String> {
    let (prefix, instance, kind) = split(name);
    let template = instance.filter(|instance| !instance.is_empty());
    let template = template.map(|_| format!("{prefix}@.{kind}"));
    [name.to_owned()].into_iter().chain(template).collect()
}

/// Returns the names of directories that add to a unit (systemd.unit(5)): of drop-ins for its kind, for units whose names begin alike,
/// for its template and for itself, and of its dependencies.
fn names_of_directories(name: &str) -> Vec<String> {
    let (prefix, instance, kind) = split(name);
    let mut prefixes = vec![prefix];
    let mut rest = prefix;
    while let Some(dash) = rest.strip_suffix('-').unwrap_or(rest).rfind('-') {
        rest = rest.get(..=dash).unwrap_or_default();
        prefixes.push(rest);
    }
    let mut all = vec![format!("{kind}.d")];
    for prefix in prefixes {
        match instance {
            Some(instance) => all.extend([
                format!("{prefix}@{instance}.{kind}.d"),
                format!("{prefix}@.{kind}.d"),
            ]),
            None => all.push(format!("{prefix}.{kind}.d")),
        }
    }
    let files = names_of_files(name);
    all.extend(
        files
            .iter()
            .flat_map(|name| DEPENDENCIES.map(|of| format!("{name}.{of}"))),
    );
    all
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    /// Directories of units in the order of the service manager, `control` before `etc` before `lib`.
    struct Scene(PathBuf);

    impl Scene {
        fn new(test: &str, files: &[&str]) -> Self {
            let dir = std::env::temp_dir().join(format!("remit-act-{test}-{}", std::process::id()));
            let _ = fs::remove_dir_all(&dir);
            for dir_of in ["etc", "lib", "opt"] {
                fs::create_dir_all(dir.join(dir_of)).unwrap();
            }
            for file in files {
                fs::create_dir_all(dir.join(file).parent().unwrap()).unwrap();
                fs::write(dir.join(file), "[Unit]\n").unwrap();
            }
            Self(dir)
        }

        fn search(&self) -> Vec<String> {
            ["control", "etc", "lib"]
                .map(|dir| self.0.join(dir).to_str().unwrap().to_owned())
                .into()
        }

        fn changed(&self, all: &[(&str, Becomes)]) -> Changed {
            Changed::new(
                all.iter()
                    .map(|(path, becomes)| (self.0.join(path), becomes.clone())),
            )
        }

        fn short(&self, path: &Path) -> String {
            path.strip_prefix(&self.0)
                .unwrap()
                .to_str()
                .unwrap()
                .to_owned()
        }

        fn known(&self, name: &str, fragment: &str) -> Known {
            Known {
                id: name.to_owned(),
                names: vec![name.to_owned()],
                fragment: self.0.join(fragment).to_str().unwrap().to_owned(),
                ..Known::default()
            }
        }
    }

    impl Drop for Scene {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    const FILE: Becomes = Becomes::File(None);

    fn text(text: &str) -> Becomes {
        Becomes::File(Some(text.as_bytes().to_vec()))
    }

    #[test]
    fn each_entry_that_can_change_a_unit_is_one_of_its() {
        let scene = Scene::new("own", &["lib/a-b@.service", "opt/notes.txt", "opt/1/c.txt"]);
        symlink("1", scene.0.join("opt/current")).unwrap();
        symlink(
            scene.0.join("opt/notes.txt"),
            scene.0.join("etc/linked.service"),
        )
        .unwrap();
        symlink("../opt/current/c.txt", scene.0.join("etc/far.service")).unwrap();
        symlink("lib", scene.0.join("other")).unwrap();
        let search = scene.search();
        for (path, becomes, name, fragment, is_own) in [
            (
                "etc/a-b@1.service",
                FILE,
                "a-b@1.service",
                "lib/a-b@.service",
                true,
            ),
            (
                "control/a-b@.service",
                FILE,
                "a-b@1.service",
                "lib/a-b@.service",
                true,
            ),
            (
                "etc/a-b@.service",
                Becomes::Link,
                "a-b@1.service",
                "lib/a-b@.service",
                true,
            ),
            (
                "etc/a-b@1.service.d/x.conf",
                FILE,
                "a-b@1.service",
                "lib/a-b@.service",
                true,
            ),
            (
                "lib/a-b@.service.d/x.conf",
                Becomes::Gone,
                "a-b@1.service",
                "lib/a-b@.service",
                true,
            ),
            (
                "lib/a-@.service.d/x.conf",
                FILE,
                "a-b@1.service",
                "lib/a-b@.service",
                true,
            ),
            (
                "lib/service.d/x.conf",
                FILE,
                "a-b@1.service",
                "lib/a-b@.service",
                true,
            ),
            (
                "lib/a-b@1.service.wants/x.service",
                Becomes::Link,
                "a-b@1.service",
                "lib/a-b@.service",
                true,
            ),
            (
                "opt/notes.txt",
                FILE,
                "linked.service",
                "etc/linked.service",
                true,
            ),
            (
                "opt/current",
                Becomes::Link,
                "far.service",
                "etc/far.service",
                true,
            ),
            ("opt/1/c.txt", FILE, "far.service", "etc/far.service", true),
            // No unit, or another one.
            (
                "etc/a-b@2.service",
                FILE,
                "a-b@1.service",
                "lib/a-b@.service",
                false,
            ),
            (
                "etc/a.service.d/x.conf",
                FILE,
                "a-b@1.service",
                "lib/a-b@.service",
                false,
            ),
            (
                "etc/timer.d/x.conf",
                FILE,
                "a-b@1.service",
                "lib/a-b@.service",
                false,
            ),
            (
                "opt/a-b@1.service",
                FILE,
                "a-b@1.service",
                "lib/a-b@.service",
                false,
            ),
            (
                "etc/a-b@1.service",
                Becomes::Same,
                "a-b@1.service",
                "lib/a-b@.service",
                false,
            ),
            (
                "etc/a-b@1.service.d",
                Becomes::Directory,
                "a-b@1.service",
                "lib/a-b@.service",
                false,
            ),
        ] {
            let changed = scene.changed(&[(path, becomes)]);
            let found = changed.of(&scene.known(name, fragment), &search);
            assert_eq!(!found.is_empty(), is_own, "{path}");
        }
        let generated = Known {
            source: scene.0.join("opt/notes.txt").to_str().unwrap().to_owned(),
            ..scene.known("a.service", "run/a.service")
        };
        let changed = scene.changed(&[("opt/notes.txt", FILE)]);
        assert_eq!(changed.of(&generated, &search).len(), 1);
    }

    #[test]
    fn each_entry_that_the_service_manager_reads_is_named() {
        let scene = Scene::new("manager", &[]);
        symlink("lib", scene.0.join("control")).unwrap();
        let search = scene.search();
        for (path, becomes, is_read) in [
            ("etc/other.service", FILE, true),
            ("etc/multi-user.target.wants/a.service", Becomes::Link, true),
            ("control", Becomes::Link, true),
            ("lib", Becomes::Gone, true),
            ("x/systemd/system-generators/x", FILE, true),
            ("opt/a.service", FILE, false),
            ("etc", Becomes::Directory, false),
        ] {
            let found = !scene
                .changed(&[(path, becomes)])
                .of_manager(&search)
                .is_empty();
            assert_eq!(found, is_read, "{path}");
        }
    }

    #[test]
    fn file_that_defines_a_unit_is_the_first_of_the_manager() {
        let files = ["etc/a.service", "lib/b.service", "lib/t@1.service"];
        let scene = Scene::new("first", &files);
        let search = scene.search();
        for (entries, name, expect) in [
            (
                &[("lib/n.service", FILE)][..],
                "n.service",
                Some("made lib/n.service"),
            ),
            (
                &[("lib/n.service", FILE), ("etc/n.service", FILE)],
                "n.service",
                Some("made etc/n.service"),
            ),
            (
                &[("control/n.service", FILE), ("etc/n.service", FILE)],
                "n.service",
                Some("made control/n.service"),
            ),
            // The machine's own file is before it.
            (
                &[("lib/a.service", FILE)],
                "a.service",
                Some("there etc/a.service"),
            ),
            (
                &[("etc/t@.service", FILE)],
                "t@1.service",
                Some("there lib/t@1.service"),
            ),
            (
                &[("etc/t@.service", FILE)],
                "t@2.service",
                Some("made etc/t@.service"),
            ),
            (
                &[("etc/a.service", Becomes::Gone), ("lib/a.service", FILE)],
                "a.service",
                Some("made lib/a.service"),
            ),
            (
                &[("etc/a.service", Becomes::Gone)],
                "a.service",
                Some("missing"),
            ),
            (&[("opt/n.service", FILE)], "n.service", Some("missing")),
            (
                &[("etc/n.service", Becomes::Link), ("lib/n.service", FILE)],
                "n.service",
                None,
            ),
            (&[("control", Becomes::Link)], "b.service", None),
        ] {
            let found = scene.changed(entries).definition(name, &search).ok();
            let found = found.map(|found| match found {
                Definition::Made(path) => format!("made {}", scene.short(&path)),
                Definition::There(path) => format!("there {}", scene.short(&path)),
                Definition::Missing => "missing".to_owned(),
            });
            assert_eq!(found.as_deref(), expect, "{name}: {entries:?}");
        }
    }

    #[test]
    fn drop_ins_are_those_of_the_machine_and_of_the_change() {
        let scene = Scene::new(
            "drop",
            &[
                "lib/a-.service.d/1.conf",
                "etc/a-b.service.d/2.conf",
                "etc/a-b.service.d/no.txt",
            ],
        );
        let changed = scene.changed(&[
            ("control/a-b.service.d/3.conf", FILE),
            ("etc/a-b.service.d/2.conf", Becomes::Gone),
            ("etc/service.d/4.conf", Becomes::Link),
            ("etc/a-b.service.wants/5.conf", Becomes::Link),
        ]);
        let found = changed.drop_ins("a-b.service", &scene.search());
        let found: Vec<String> = found.iter().map(|path| scene.short(path)).collect();
        assert_eq!(
            found,
            [
                "control/a-b.service.d/3.conf",
                "etc/service.d/4.conf",
                "lib/a-.service.d/1.conf"
            ]
        );
    }

    #[test]
    fn install_section_is_that_after_the_change_or_is_refused() {
        let scene = Scene::new("after", &["lib/b.service.d/1.conf"]);
        let search = scene.search();
        let alias = "[Install]\nAlias=cron.service\nWantedBy=multi-user.target\n";
        for (entries, expect) in [
            (
                &[(
                    "etc/b.service",
                    text("[Install]\nWantedBy=multi-user.target\n"),
                )][..],
                Ok(&[][..]),
            ),
            (&[("etc/b.service", text(alias))], Ok(&["cron.service"])),
            (
                &[
                    ("etc/b.service", text("")),
                    ("etc/b.service.d/2.conf", text(alias)),
                ],
                Ok(&["cron.service"]),
            ),
            (
                &[("etc/b.service", text("[Install]\nAlso=x.timer\n"))],
                Err("Also="),
            ),
            (&[("etc/b.service", FILE)], Err("cannot be known before")),
            (
                &[
                    ("etc/b.service", text("")),
                    ("lib/b.service.d/1.conf", Becomes::Link),
                ],
                Err("cannot be known before"),
            ),
            (
                &[("etc/b.service", text("[Install]\nAlias='a.service'\n"))],
                Err("plain name"),
            ),
        ] {
            let changed = scene.changed(entries);
            let found = changed.install("b.service", &scene.0.join("etc/b.service"), &search);
            match (found, expect) {
                (Ok(found), Ok(expect)) => assert_eq!(found.alias, expect, "{entries:?}"),
                (Err(Fault::Refused(why)), Err(expect)) => assert!(why.contains(expect), "{why}"),
                (found, _) => panic!("{entries:?}: {found:?}"),
            }
        }
    }

    #[test]
    fn directories_of_a_unit_are_those_of_systemd() {
        let drop_ins = |name| -> Vec<String> {
            names_of_directories(name)
                .into_iter()
                .filter(|name| name.ends_with(".d"))
                .collect()
        };
        assert_eq!(drop_ins("a.service"), ["service.d", "a.service.d"]);
        assert_eq!(
            drop_ins("a--b-c.timer"),
            [
                "timer.d",
                "a--b-c.timer.d",
                "a--b-.timer.d",
                "a--.timer.d",
                "a-.timer.d"
            ]
        );
        assert_eq!(
            drop_ins("a-b@i-j.service"),
            [
                "service.d",
                "a-b@i-j.service.d",
                "a-b@.service.d",
                "a-@i-j.service.d",
                "a-@.service.d"
            ]
        );
    }
}
