//! Describes the effects of a verb on a unit for the approver: files, commands and their user, and units that start,
//! stop, restart or reload with it. The lines depend only on these facts; they contain no times and no pids.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::Duration;

use remit_common::builtin::UnitName;
use remit_common::text;

use super::after::{self, Changed, Definition};
use super::effects::{self, Act};
use super::executed::{Executed, executes};
use super::install;
use super::link::StartedBy;
use super::manager::{CONFIG, Known, Manager, is_as_shown, named, search_path};
use super::section::Install;
use crate::args::{Fault, UnitVerb};
use crate::bus::Bus;

/// Shorter than the timeout of the caller.
pub const PATIENCE: Duration = Duration::from_secs(8);
/// Bytes of one line, and of all. This is less than the daemon reads. More is refused, because an approver could not see all of it.
const LINE: usize = 8 << 10;
const LINES: usize = 48 << 10;
/// Of paths of the change: the plan has those that are not named.
const PATHS: usize = 4 << 10;

/// Prints the lines of a verb. What they say is of the machine before `changed`, and the first ones say so.
pub async fn print(verb: UnitVerb, name: &UnitName, changed: &Changed) -> Result<(), Fault> {
    let bus = Bus::system_for(PATIENCE).await?;
    let search = search_path(&bus).await?;
    let mut unit = bus.unit(name.as_str()).await?;
    let definition = changed.definition(name.as_str(), &search)?;
    let lines = match (unit.load.as_str(), &definition) {
        ("not-found", Definition::Made(file)) => {
            unit.fragment = file.to_string_lossy().into_owned();
            made(&bus, verb, name, &unit, file, changed, &search).await?
        }
        _ => lines(&bus, verb, name.as_str(), changed, &search).await?,
    };
    for line in shown(name.as_str(), &lines)? {
        println!("{line}");
    }
    Ok(())
}

/// Returns the lines as they are printed, each whole.
fn shown(name: &str, lines: &[String]) -> Result<Vec<String>, Fault> {
    let lines = lines
        .iter()
        .map(|line| text::line(line.as_bytes(), usize::MAX));
    let lines: Vec<String> = lines.collect();
    let all: usize = lines.iter().map(|line| line.len() + 1).sum();
    let refused = |what: &str, most: usize| {
        Err(Fault::Refused(format!(
            "{what} '{name}' does is more than {most} bytes: more than anybody can look at"
        )))
    };
    match lines.iter().any(|line| line.len() > LINE) {
        true => refused("a line of what", LINE),
        false if all > LINES => refused("what", LINES),
        false => Ok(lines),
    }
}

pub async fn print_reload(changed: &Changed) -> Result<(), Fault> {
    let bus = Bus::system_for(PATIENCE).await?;
    let mut lines = vec![
        "the service manager reads the files of all units again, and runs its generators"
            .to_owned(),
    ];
    lines.extend(paths_line(
        "it reads what the change before makes, changes or removes",
        &changed.of_manager(&search_path(&bus).await?),
    ));
    let stale = super::reload::changed(&bus).await?;
    lines.extend(list("units whose files have changed before", &stale)?);
    for line in shown("daemon-reload", &lines)? {
        println!("{line}");
    }
    Ok(())
}

/// Describes a unit that only the change makes: the service manager cannot say anything of it yet.
async fn made(
    bus: &Bus,
    verb: UnitVerb,
    name: &UnitName,
    unit: &Known,
    file: &Path,
    changed: &Changed,
    search: &[String],
) -> Result<Vec<String>, Fault> {
    let made = after::quoted(file);
    let mut lines = vec![format!(
        "unit '{name}' is not there yet: {made}, which the change makes, says what it runs"
    )];
    if let Some((_, instance)) = name
        .stem()
        .split_once('@')
        .filter(|(_, text)| !text.is_empty())
    {
        lines.push(format!("its program gets the text after the @: {instance}"));
    }
    let drop_ins = changed.drop_ins(name.as_str(), search)?;
    let of = |is_made: bool| -> BTreeSet<&Path> {
        drop_ins
            .iter()
            .map(PathBuf::as_path)
            .filter(move |path| changed.makes(path) == is_made)
            .collect()
    };
    lines.extend(paths_line(
        "files of the change that add to it or override it",
        &of(true),
    ));
    if let paths @ [_, ..] = &of(false).into_iter().map(after::quoted).collect::<Vec<_>>()[..] {
        let paths = paths.join(" ");
        lines.push(format!(
            "files of the machine that add to it or override it: {paths}"
        ));
    }
    let own: BTreeSet<&Path> = drop_ins
        .iter()
        .map(PathBuf::as_path)
        .chain([file])
        .collect();
    let others = &changed.of_manager(search) - &own;
    lines.extend(paths_line(
        "the change also makes, changes or removes what the service manager reads",
        &others,
    ));
    if matches!(verb, UnitVerb::Enable | UnitVerb::Disable) {
        let links = changed.install(name.as_str(), file, search)?;
        install::refuse_links(bus, verb, name.as_str(), unit, &links).await?;
        lines.extend(link_lines(&links)?);
        if verb == UnitVerb::Disable {
            let links = removed(name.as_str(), &links, changed, search)?;
            lines.extend(removed_line(&links)?);
        }
    }
    lines.push(format!(
        "which units start, stop, restart or reload with '{name}' is not known before the change; after it the command is refused if a \
         protected unit would stop, restart or reload"
    ));
    Ok(lines)
}

/// Says first what the change makes of these units: the other lines are of the machine before it.
fn before<'a>(
    units: impl Iterator<Item = &'a Known>,
    changed: &Changed,
    search: &[String],
) -> Vec<String> {
    let (mut lines, mut named) = (Vec::new(), BTreeSet::new());
    for unit in units {
        let own = changed.of(unit, search);
        let what = format!(
            "what is said here of {} is of the machine before the change, which makes, changes or removes",
            unit.id
        );
        lines.extend(paths_line(&what, &own).filter(|line| !lines.contains(line)));
        named.extend(own);
    }
    let others = &changed.of_manager(search) - &named;
    let what = "which units change with it may be others after the change, which also makes, changes or removes";
    lines.extend(paths_line(what, &others));
    lines
}

/// Lists paths of the change in [`PATHS`] bytes. More are counted: the plan has them all.
fn paths_line(what: &str, paths: &BTreeSet<&Path>) -> Option<String> {
    let (mut line, mut more) = (format!("{what}:"), 0_usize);
    for path in paths {
        let path = after::quoted(path);
        match more == 0 && line.len() + path.len() < PATHS {
            true => line.push_str(&format!(" {path}")),
            false => more += 1,
        }
    }
    if more > 0 {
        line.push_str(&format!(" and {more} more"));
    }
    (!paths.is_empty()).then_some(line)
}

fn link_lines(links: &Install) -> Result<Vec<String>, Fault> {
    let lines = [
        list("with it, the same is done to", &links.also)?,
        list("other names that it gets or loses", &links.alias)?,
        list("units that need it from then on", &links.required_by)?,
        list("units that start it", &links.wanted_by)?,
        list("units that keep it up", &links.upheld_by)?,
        Some("the service manager reads the files of all units again".to_owned()),
    ];
    Ok(lines.into_iter().flatten().collect())
}

/// Returns the links that `disable` removes. Refuses what [`Changed::removed_links`] does.
pub fn removed(
    unit: &str,
    links: &Install,
    changed: &Changed,
    search: &[String],
) -> Result<Vec<PathBuf>, Fault> {
    let also = links.also.iter().map(String::as_str);
    let units: Vec<&str> = also.chain([unit]).collect();
    changed.removed_links(&units, Path::new(CONFIG), search)
}

fn removed_line(links: &[PathBuf]) -> Result<Option<String>, Fault> {
    let all: Vec<String> = links.iter().map(|link| after::quoted(link)).collect();
    list("links that it removes", &all)
}

/// Returns the units that these links of one unit are of: `a.target` for `a.target.wants/b.service`.
fn units_of(unit: &str, links: &[PathBuf]) -> Vec<String> {
    let own = links.iter().filter(|link| link.ends_with(unit));
    let dirs = own.filter_map(|link| link.parent()?.file_stem());
    dirs.map(|name| name.to_string_lossy().into_owned())
        .collect()
}

/// Returns the links of `enable` and `disable` as they are after the change.
async fn links(
    manager: &impl Manager,
    verb: UnitVerb,
    unit: &Known,
    changed: &Changed,
    search: &[String],
) -> Result<Install, Fault> {
    if changed.of(unit, search).is_empty() {
        let links = install::linked(manager, verb, unit, search).await?;
        for name in &links.also {
            let other = manager.unit(name).await?;
            if !changed.of(&other, search).is_empty() {
                return Err(Fault::Refused(format!(
                    "with '{}' the same is done to '{}', which the change changes: do it by itself after the change",
                    unit.id, other.id
                )));
            }
        }
        return Ok(links);
    }
    let links = match changed.definition(&unit.id, search)? {
        Definition::Made(file) | Definition::There(file) => {
            changed.install(&unit.id, &file, search)?
        }
        Definition::Missing => {
            return Err(Fault::Refused(format!(
                "the change removes the file of '{}': do it by itself before the change",
                unit.id
            )));
        }
    };
    install::refuse_links(manager, verb, &unit.id, unit, &links).await?;
    Ok(links)
}

async fn lines(
    bus: &Bus,
    verb: UnitVerb,
    name: &str,
    changed: &Changed,
    search: &[String],
) -> Result<Vec<String>, Fault> {
    let unit = named(bus, name).await?;
    let links = match verb {
        UnitVerb::Enable | UnitVerb::Disable => {
            Some(links(bus, verb, &unit, changed, search).await?)
        }
        _ => None,
    };
    let also = links.as_ref().filter(|_| verb == UnitVerb::Enable);
    let also = also.map_or(&[][..], |links| &links.also);
    let effects = effects::compute(bus, verb, &unit, also).await?;
    let units = effects.all().iter().map(|(known, _)| known);
    let mut units = [&unit].into_iter().chain(units);
    let mut lines = before(units.clone(), changed, search);
    // The job cannot list all directories of units.
    units.try_for_each(|unit| is_as_shown(unit, search))?;
    let first = lines.len();
    lines.push(files(&unit));
    lines.extend(stale(&unit));
    if let Some(links) = &links {
        lines.extend(link_lines(links)?);
        if verb == UnitVerb::Disable {
            let links = removed(&unit.id, links, changed, search)?;
            lines.extend(removed_line(&links)?);
            let started = StartedBy::read(bus, &unit.id).await?;
            lines.extend(started.line(&units_of(&unit.id, &links)));
        }
    }
    if effects.units() > 0 {
        lines.push(format!("units that change with it: {}", effects.units()));
    }
    for (act, what) in [
        (Act::Start, "may start with it, or when it ends"),
        (Act::Stop, "stops with it"),
        (Act::Restart, "restarts with it"),
        (Act::Reload, "reloads with it"),
    ] {
        lines.extend(list(what, &effects.names(act))?);
    }
    let mut executed = Vec::new();
    if let Some(act) = Act::from_verb(verb) {
        executed.push(executes(bus, &unit, act).await?);
    }
    let mut others = Vec::new();
    for (known, act) in effects.all() {
        let one = executes(bus, known, *act).await?;
        if one.all().next().is_some() {
            others.extend([files(known)].into_iter().chain(stale(known)));
            executed.push(one);
        }
    }
    lines.extend(in_order(&executed, others));
    let programs: Vec<String> = executed.iter().flat_map(Executed::all).cloned().collect();
    let what = "what the lines below name is of the machine before the change, which makes, changes or removes";
    if let Some(line) = paths_line(what, &changed.named(&programs)) {
        lines.insert(first, line);
    }
    Ok(lines)
}

/// Returns the commands of root, those of others, the files of the other units, and the settings, each line once: a page without
/// room for all has the first.
fn in_order(executed: &[Executed], files: Vec<String>) -> Vec<String> {
    let of = |part: fn(&Executed) -> &Vec<String>| executed.iter().flat_map(part).cloned();
    let all = of(|one| &one.of_root)
        .chain(of(|one| &one.of_others))
        .chain(files)
        .chain(of(|one| &one.settings));
    // A unit can both start and stop.
    let mut seen = BTreeSet::new();
    all.filter(|line| seen.insert(line.clone())).collect()
}

fn stale(unit: &Known) -> Option<String> {
    unit.is_stale.then(|| {
        format!(
            "the files of {} were changed after the service manager read them: it acts by what it has read",
            unit.id
        )
    })
}

fn files(unit: &Known) -> String {
    let paths = [&unit.fragment].into_iter().chain(&unit.drop_ins);
    let paths = paths.filter(|path| !path.is_empty());
    let paths: Vec<String> = paths
        .map(|path| text::command_line(&[path], usize::MAX))
        .collect();
    let paths = paths.join(" and ");
    match unit.fragment.is_empty() {
        true if paths.is_empty() => format!("{} has no file", unit.id),
        true => format!("{} has no file but {paths}", unit.id),
        false => format!("{} is defined in {paths}", unit.id),
    }
}

fn list(what: &str, names: &[String]) -> Result<Option<String>, Fault> {
    let mut names = names.to_vec();
    names.sort();
    names.dedup();
    match names.join(" ") {
        all if all.is_empty() => Ok(None),
        all if all.len() > LINE => Err(Fault::Refused(format!(
            "{what}: more units than anybody can look at"
        ))),
        all => Ok(Some(format!("{what}: {all}"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bus::run;
    use remit_common::changed::{Becomes, ChangedPath};

    #[test]
    fn line_is_whole_or_refused() {
        let lines = |of: usize, count: usize| shown("a.service", &vec!["x".repeat(of); count]);
        assert_eq!(lines(LINE, 5).unwrap(), vec!["x".repeat(LINE); 5]);
        for (of, count) in [(LINE + 1, 1), (LINE, 6)] {
            assert!(lines(of, count).is_err());
        }
        // Escapes count.
        assert!(shown("a.service", &["\x1b".repeat(LINE / 2)]).is_err());
        assert_eq!(shown("a.service", &["a\nb".to_owned()]).unwrap(), ["a\\nb"]);
    }

    #[test]
    fn commands_of_root_come_first_and_settings_last() {
        let of = |name: &str| {
            let one = |what: &str| vec![format!("{what} of {name}")];
            Executed {
                of_root: one("root"),
                of_others: one("bob"),
                settings: one("settings"),
            }
        };
        assert_eq!(
            in_order(&[of("a"), of("b"), of("a")], vec!["files of b".to_owned()]),
            [
                "root of a",
                "root of b",
                "bob of a",
                "bob of b",
                "files of b",
                "settings of a",
                "settings of b"
            ]
        );
    }

    #[test]
    fn links_of_a_page_have_those_of_all_keys() {
        let mut links = Install::default();
        let text = "[Install]\nAlias=b.service\nRequiredBy=c.service\nWantedBy=d.target\nUpheldBy=e.service\n";
        links.add(text, "a.service").unwrap();
        assert_eq!(
            link_lines(&links).unwrap(),
            [
                "other names that it gets or loses: b.service",
                "units that need it from then on: c.service",
                "units that start it: d.target",
                "units that keep it up: e.service",
                "the service manager reads the files of all units again",
            ]
        );
    }

    #[test]
    fn paths_of_a_unit_have_quotes() {
        let unit = |fragment: &str, drop_ins: &[&str]| Known {
            id: "a.service".to_owned(),
            fragment: fragment.to_owned(),
            drop_ins: drop_ins.iter().map(ToString::to_string).collect(),
            ..Known::default()
        };
        for (fragment, drop_ins, expect) in [
            ("/etc/a.service", &[][..], "is defined in /etc/a.service"),
            (
                "/etc/a.service",
                &["/etc/a.service.d/x and y.conf", "/z.conf"],
                "is defined in /etc/a.service and '/etc/a.service.d/x and y.conf' and /z.conf",
            ),
            ("", &[], "has no file"),
            ("", &["/z.conf"], "has no file but /z.conf"),
        ] {
            let expect = format!("a.service {expect}");
            assert_eq!(files(&unit(fragment, drop_ins)), expect);
        }
        let many = vec!["/etc/a.service.d/a-name-of-a-drop-in.conf"; 400];
        assert!(shown("a.service", &[files(&unit("", &many))]).is_err());
    }

    struct Nothing;

    impl Manager for Nothing {
        async fn unit(&self, name: &str) -> Result<Known, Fault> {
            Ok(Known {
                id: name.to_owned(),
                load: "not-found".to_owned(),
                ..Known::default()
            })
        }
    }

    #[test]
    fn names_that_a_change_adds_are_judged_as_those_that_are_there() {
        for (id, alias, why) in [
            ("bluetooth.service", "dbus-org.bluez.service", None),
            ("a.service", "other.service", None),
            (
                "a.service",
                "dbus-org.freedesktop.login1.service",
                Some("protected"),
            ),
            ("a.service", "ssh.service", Some("protected")),
        ] {
            let path = format!("/nonexistent/units/{id}");
            let text = format!("[Install]\nAlias={alias}\n");
            let changed = Changed::new([ChangedPath {
                path: path.clone().into_bytes(),
                becomes: Becomes::File(Some(text.into_bytes())),
                is_for_generators: false,
            }]);
            let unit = Known {
                id: id.to_owned(),
                fragment: path,
                ..Known::default()
            };
            let search = ["/nonexistent/units".to_owned()];
            for verb in [UnitVerb::Enable, UnitVerb::Disable] {
                let mut found = None;
                run(async {
                    found = Some(links(&Nothing, verb, &unit, &changed, &search).await);
                    Ok(())
                })
                .unwrap();
                match (found.unwrap(), why) {
                    (Ok(links), None) => assert_eq!(links.alias, [alias]),
                    (Err(Fault::Refused(said)), Some(why)) => assert!(said.contains(why), "{said}"),
                    other => panic!("{verb:?} {id}: {other:?}"),
                }
            }
        }
    }

    #[test]
    fn units_are_known_by_their_directories_of_links() {
        let links = [
            "/etc/systemd/system/multi-user.target.wants/a.service",
            "/etc/systemd/system/b.service.requires/a.service",
            // Of a unit that is disabled with it.
            "/etc/systemd/system/c.target.wants/a.socket",
        ];
        let links = links.map(PathBuf::from);
        let units = units_of("a.service", &links);
        assert_eq!(units, ["multi-user.target", "b.service"]);
    }
}
