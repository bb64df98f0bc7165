//! Computes the links of enable and disable: the `[Install]` sections of a unit, and of the units that these name. The
//! service manager follows `Also=` and `Alias=` silently (systemd.unit(5)), so protected units among them are refused here.

use std::fs;
use std::io::{self, Read};
use std::path::Path;

use remit_common::service::{is_disruptive, is_protected};
use remit_common::text;

use super::bus_names::{is_bus_name, is_protected_as};
use super::manager::{CONFIG, Known, Manager, WORD};
use super::section::Install;
use crate::args::{Fault, UnitVerb};

const OTHERS: usize = 256;
const MOST: u64 = 1 << 20;

pub async fn linked(
    manager: &impl Manager,
    verb: UnitVerb,
    unit: &Known,
    search: &[String],
) -> Result<Install, Fault> {
    let mut all = Install::default();
    let mut queue = vec![unit.clone()];
    let mut next = 0;
    while let Some(known) = queue.get(next).cloned() {
        next += 1;
        let one = read_install(&known, search)?;
        refuse_links(manager, verb, &unit.id, &known, &one).await?;
        for name in &one.also {
            if queue.len() > OTHERS {
                let id = line(&unit.id);
                let why = format!("with '{id}' more than {OTHERS} others are enabled");
                return Err(Fault::Refused(why));
            }
            if queue.iter().any(|known| known.id == *name) || all.also.contains(name) {
                continue;
            }
            let other = manager.unit(name).await?;
            for name in other.names.iter().chain([&other.id]) {
                refuse_protected(&unit.id, name, is_protected_as(name, &other.id))?;
            }
            all.also.push(name.clone());
            if other.load == "loaded" {
                queue.push(other);
            }
        }
        all.alias.extend(one.alias);
        all.required_by.extend(one.required_by);
        all.wanted_by.extend(one.wanted_by);
        all.upheld_by.extend(one.upheld_by);
    }
    Ok(all)
}

/// Returns true for a name of the bus that a unit may have: no protected unit has it.
async fn is_free(manager: &impl Manager, name: &str, unit: &str) -> Result<bool, Fault> {
    if is_protected_as(name, unit).is_some() {
        return Ok(false);
    }
    let other = manager.unit(name).await?;
    Ok(other.load == "not-found" || is_protected(&other.id).is_none())
}

/// Refuses links of protected units, and names of `known` that are taken. `unit`: the one that is enabled or disabled.
pub async fn refuse_links(
    manager: &impl Manager,
    verb: UnitVerb,
    unit: &str,
    known: &Known,
    links: &Install,
) -> Result<(), Fault> {
    let is_enable = verb == UnitVerb::Enable;
    for name in &links.alias {
        if !is_bus_name(name) || !is_free(manager, name, &known.id).await? {
            refuse_protected(unit, name, is_protected(name))?;
        }
    }
    let required = links.required_by.iter();
    let required = required.filter(|name| is_enable && !name.ends_with(".target"));
    let mut all = links.also.iter().chain(required);
    all.try_for_each(|name| refuse_protected(unit, name, is_protected(name)))?;
    let mut taken = links.alias.iter().filter(|_| is_enable);
    taken.try_for_each(|name| refuse_taken(Path::new(CONFIG), name, known))
}

fn refuse_protected(unit: &str, name: &str, why: Option<&str>) -> Result<(), Fault> {
    let disruptive = is_disruptive(name).then_some("it ends the machine's normal work");
    match why.or(disruptive) {
        None => Ok(()),
        Some(why) => Err(Fault::Refused(format!(
            "with '{}' the links of '{}' change, which is protected: {why}",
            line(unit),
            line(name)
        ))),
    }
}

fn is_absent(path: &Path) -> bool {
    fs::metadata(path).is_err_and(|error| error.kind() == io::ErrorKind::NotFound)
}

/// Refuses another name of a unit that is taken below `config`: the service manager meets it after it has made other links.
fn refuse_taken(config: &Path, name: &str, unit: &Known) -> Result<(), Fault> {
    let link = config.join(name);
    let fragment = Path::new(&unit.fragment);
    let leads = match fs::read_link(&link) {
        Ok(target) if target.file_name() == fragment.file_name() => return Ok(()),
        // Of a unit that is removed: the service manager replaces it since version 253.
        Ok(_) if is_absent(&link) => return Ok(()),
        Ok(target) => format!("leads to '{}'", line(&target.to_string_lossy())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(_) => "is no link".to_owned(),
    };
    // Its own file, or a link to that by another way.
    let real = fs::canonicalize(fragment).ok();
    if real.is_some() && real == fs::canonicalize(&link).ok() {
        return Ok(());
    }
    Err(Fault::Refused(format!(
        "'{}' gets the name '{}' by Alias=, and '{}' is there already and {leads}: an administrator removes it first",
        line(&unit.id),
        line(name),
        line(&link.to_string_lossy())
    )))
}

/// Reads the `[Install]` sections of a unit's files. The manager's files must be those on disk.
fn read_install(known: &Known, search: &[String]) -> Result<Install, Fault> {
    let id = line(&known.id);
    if known.is_stale {
        return Err(stale(&id));
    }
    if known.fragment.is_empty() {
        return Err(Fault::Refused(format!("unit '{id}' has no file")));
    }
    if is_overshadowed(known, search) {
        return Err(stale(&id));
    }
    let mut all = Install::default();
    for path in [&known.fragment].into_iter().chain(&known.drop_ins) {
        let read = read(path).map_err(|error| {
            let path = line(path);
            Fault::Refused(format!(
                "the file '{path}' of unit '{id}' cannot be read: {error}; the profile of the command must list it"
            ))
        })?;
        all.add(&read, &known.id)
            .map_err(|why| Fault::Refused(format!("'{}': {why}", line(path))))?;
    }
    Ok(all)
}

fn stale(id: &str) -> Fault {
    Fault::Refused(format!(
        "the files of unit '{id}' were changed and not read again yet: the command service.daemon_reload, or systemctl daemon-reload, \
         reads them first"
    ))
}

/// Returns true if a unit file of higher priority exists than the one that the manager has read.
fn is_overshadowed(known: &Known, search: &[String]) -> bool {
    let real = fs::canonicalize(&known.fragment).ok();
    let Some(file) = Path::new(&known.fragment).file_name() else {
        return true;
    };
    for dir in search {
        let path = Path::new(dir).join(file);
        if fs::symlink_metadata(&path).is_ok() {
            return fs::canonicalize(&path).ok() != real;
        }
    }
    false
}

pub fn read(path: impl AsRef<Path>) -> io::Result<String> {
    let file = fs::File::open(path)?;
    if !file.metadata()?.is_file() {
        return Err(io::Error::other("it is not a regular file"));
    }
    let mut text = String::new();
    match file.take(MOST + 1).read_to_string(&mut text)? as u64 {
        length if length > MOST => Err(io::Error::other("it is longer than 1 MiB")),
        _ => Ok(text),
    }
}

fn line(name: &str) -> String {
    text::line(name.as_bytes(), WORD)
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;
    use std::path::PathBuf;

    use super::*;

    /// Unit files in a directory, and a table of units instead of the service manager.
    struct Files {
        dir: PathBuf,
        asked: RefCell<Vec<String>>,
    }

    impl Files {
        fn new(test: &str, files: &[(&str, &str)]) -> Self {
            let dir = std::env::temp_dir().join(format!("remit-act-{test}-{}", std::process::id()));
            let _ = fs::remove_dir_all(&dir);
            fs::create_dir(&dir).unwrap();
            for (name, text) in files {
                fs::write(dir.join(name), text).unwrap();
            }
            Self {
                dir,
                asked: RefCell::default(),
            }
        }

        fn known(&self, name: &str) -> Known {
            let path = self.dir.join(name);
            let is_there = path.exists();
            Known {
                id: name.to_owned(),
                names: vec![name.to_owned()],
                load: if is_there { "loaded" } else { "not-found" }.to_owned(),
                fragment: path.to_str().unwrap().to_owned(),
                ..Known::default()
            }
        }

        fn linked(&self, verb: UnitVerb, known: &Known) -> Result<Install, String> {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .build()
                .unwrap();
            let search = [self.dir.to_str().unwrap().to_owned()];
            match runtime.block_on(linked(self, verb, known, &search)) {
                Ok(install) => Ok(install),
                Err(Fault::Refused(why) | Fault::Failed(why)) => Err(why),
            }
        }
    }

    impl Manager for Files {
        async fn unit(&self, name: &str) -> Result<Known, Fault> {
            self.asked.borrow_mut().push(name.to_owned());
            Ok(self.known(name))
        }
    }

    impl Drop for Files {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.dir);
        }
    }

    #[test]
    fn c08_names_in_install_sections_are_judged() {
        let files = Files::new(
            "install",
            &[
                ("innocent.service", "[Install]\nAlso=ssh.service\n"),
                ("named.service", "[Install]\nAlias = sshd.service\n"),
                ("deep.service", "[Install]\nAlso=innocent.service\n"),
                ("needed.service", "[Install]\nRequiredBy=dbus.service\n"),
                ("shell.service", "[Install]\nAlso=debug-shell.service\n"),
                (
                    "plain.service",
                    "[Install]\nWantedBy=multi-user.target\nAlso=more.timer\n",
                ),
                (
                    "more.timer",
                    "[Install]\nAlso=plain.service more.timer\nAlias=other.timer\n",
                ),
            ],
        );
        for (name, named) in [
            ("innocent.service", "'ssh.service'"),
            ("named.service", "'sshd.service'"),
            ("deep.service", "'ssh.service'"),
            ("shell.service", "'debug-shell.service'"),
        ] {
            for verb in [UnitVerb::Enable, UnitVerb::Disable] {
                let why = files.linked(verb, &files.known(name)).unwrap_err();
                assert!(why.contains(named), "{name}: {why}");
            }
        }
        let needed = files.known("needed.service");
        assert!(files.linked(UnitVerb::Enable, &needed).is_err());
        assert!(files.linked(UnitVerb::Disable, &needed).is_ok());
        let plain = files.linked(UnitVerb::Enable, &files.known("plain.service"));
        let expect = Install {
            also: vec!["more.timer".to_owned()],
            alias: vec!["other.timer".to_owned()],
            wanted_by: vec!["multi-user.target".to_owned()],
            ..Install::default()
        };
        assert_eq!(plain, Ok(expect));
    }

    #[test]
    fn name_of_the_bus_is_free_or_refused() {
        let files = Files::new(
            "bus",
            &[
                (
                    "bluetooth.service",
                    "[Install]\nAlias=dbus-org.bluez.service\n",
                ),
                (
                    "taker.service",
                    "[Install]\nAlias=dbus-org.freedesktop.login1.service\n",
                ),
                ("other.service", "[Install]\nAlias=dbus-org.there.service\n"),
                ("dbus-org.there.service", "[Install]\n"),
                ("with.service", "[Install]\nAlso=bluetooth.service\n"),
                (
                    "without.service",
                    "[Install]\nAlso=dbus-org.bluez.service\n",
                ),
            ],
        );
        for (name, why) in [
            ("bluetooth.service", None),
            ("with.service", None),
            (
                "taker.service",
                Some("'dbus-org.freedesktop.login1.service'"),
            ),
            // A unit of that name is there.
            ("other.service", Some("'dbus-org.there.service'")),
            ("without.service", Some("'dbus-org.bluez.service'")),
        ] {
            for verb in [UnitVerb::Enable, UnitVerb::Disable] {
                let said = files.linked(verb, &files.known(name)).err();
                let is_as_expected = match (&said, why) {
                    (None, None) => true,
                    (Some(said), Some(why)) => said.contains(why),
                    _ => false,
                };
                assert!(is_as_expected, "{verb:?} {name}: {said:?}");
            }
        }
    }

    #[test]
    fn c08_unread_unit_files_are_refused() {
        let files = Files::new(
            "stale",
            &[
                ("a.service", "[Install]\n"),
                ("x.conf", "[Install]\nAlso=ssh.service\n"),
            ],
        );
        let good = files.known("a.service");
        assert!(files.linked(UnitVerb::Enable, &good).is_ok());
        let stale = Known {
            is_stale: true,
            ..good.clone()
        };
        let unread = Known {
            drop_ins: vec!["/nonexistent/x.conf".to_owned()],
            ..good.clone()
        };
        let dropped = Known {
            drop_ins: vec![files.dir.join("x.conf").to_str().unwrap().to_owned()],
            ..good.clone()
        };
        let none = Known {
            fragment: String::new(),
            ..good.clone()
        };
        for (known, why) in [
            (stale, "daemon-reload"),
            (unread, "cannot be read"),
            (dropped, "'ssh.service'"),
            (none, "has no file"),
        ] {
            let said = files.linked(UnitVerb::Disable, &known).unwrap_err();
            assert!(said.contains(why), "{said}");
        }
        // The manager has read a file from a directory of lower priority.
        let below = Files::new("below", &[("a.service", "[Install]\n")]);
        let overshadowed = Known {
            fragment: below.dir.join("a.service").to_str().unwrap().to_owned(),
            ..good
        };
        let said = files.linked(UnitVerb::Enable, &overshadowed).unwrap_err();
        assert!(said.contains("daemon-reload"), "{said}");
    }

    #[test]
    fn name_that_is_taken_is_refused() {
        let files = Files::new(
            "taken",
            &[
                ("a.service", "[Install]\n"),
                ("b.service", "[Install]\n"),
                ("file.service", ""),
            ],
        );
        let symlink = |target: &str, link: &str| {
            std::os::unix::fs::symlink(target, files.dir.join(link)).unwrap();
        };
        symlink("/usr/lib/systemd/system/a.service", "of-a.service");
        symlink("b.service", "of-b.service");
        symlink("of-a2.service", "way.service");
        symlink("a.service", "of-a2.service");
        symlink("/nonexistent/c.service", "gone.service");
        symlink("/dev/null", "masked.service");
        let a = files.known("a.service");
        for (name, why) in [
            ("none.service", None),
            // An Alias= with the name of the unit is no link.
            ("a.service", None),
            ("of-a.service", None),
            ("way.service", None),
            ("of-b.service", Some("leads to 'b.service'")),
            ("file.service", Some("is no link")),
            ("gone.service", None),
            ("masked.service", Some("leads to '/dev/null'")),
        ] {
            let refused = refuse_taken(&files.dir, name, &a);
            match (refused, why) {
                (Ok(()), None) => {}
                (Err(Fault::Refused(said)), Some(why)) => {
                    assert!(said.contains(why) && said.contains(name), "{said}");
                }
                other => panic!("{name}: {other:?}"),
            }
        }
    }

    #[test]
    fn template_that_is_enabled_with_a_unit_is_refused_with_its_file() {
        let files = Files::new(
            "template",
            &[("a.service", "[Install]\nAlso=b.service t@.service\n")],
        );
        let said = files.linked(UnitVerb::Enable, &files.known("a.service"));
        let said = said.unwrap_err();
        let file = files.dir.join("a.service");
        assert!(said.contains(file.to_str().unwrap()), "{said}");
        assert!(said.contains("Also=t@.service"), "{said}");
    }
}
