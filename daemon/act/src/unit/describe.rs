//! Describes the effects of a verb on a unit for the approver: files, commands and their user, and units that start,
//! stop, restart or reload with it. The lines depend only on these facts; they contain no times and no pids.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::Duration;

use remit_common::builtin::UnitName;
use remit_common::text;

use super::after::{self, Changed, Definition};
use super::effects::{self, Act};
use super::executed::{COMMAND, executes};
use super::install;
use super::manager::{Known, Manager, named, search_path};
use super::section::Install;
use crate::args::{Fault, UnitVerb};
use crate::bus::Bus;

/// Shorter than the timeout of the caller.
const PATIENCE: Duration = Duration::from_secs(8);
/// Bytes of all lines. This is less than the daemon reads.
const LINES: usize = 48 << 10;
const NAMES: usize = 4 << 10;

/// Prints the lines of a verb. What they say is of the machine before `changed`, and the first ones say so.
pub async fn print(verb: UnitVerb, name: &UnitName, changed: &Changed) -> Result<(), Fault> {
    let bus = Bus::system_for(PATIENCE).await?;
    let search = search_path(&bus).await?;
    let unit = bus.unit(name.as_str()).await?;
    let definition = changed.definition(name.as_str(), &search)?;
    let lines = match (unit.load.as_str(), &definition) {
        ("not-found", Definition::Made(file)) => made(verb, name, file, changed, &search)?,
        _ => lines(&bus, verb, name.as_str(), changed, &search).await?,
    };
    for line in lines {
        println!("{}", text::line(line.as_bytes(), COMMAND));
    }
    Ok(())
}

pub async fn print_reload(changed: &Changed) -> Result<(), Fault> {
    let bus = Bus::system_for(PATIENCE).await?;
    println!("the service manager reads the files of all units again, and runs its generators");
    let paths = changed.of_manager(&search_path(&bus).await?);
    if let Some(line) = paths_line(
        "it reads what the change before makes, changes or removes",
        &paths,
    ) {
        println!("{line}");
    }
    let stale = super::changed(&bus).await?;
    if let Some(line) = list("units whose files have changed before", &stale)? {
        println!("{line}");
    }
    Ok(())
}

/// Describes a unit that only the change makes: the service manager cannot say anything of it yet.
fn made(
    verb: UnitVerb,
    name: &UnitName,
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
    let of = |is_made: bool| {
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
    lines.extend(paths_line(
        "files of the machine that add to it or override it",
        &of(false),
    ));
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
        install::refuse_links(verb, name.as_str(), &links)?;
        lines.extend(link_lines(&links)?);
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

/// Lists paths in [`NAMES`] bytes. More are counted: the plan has them all.
fn paths_line(what: &str, paths: &BTreeSet<&Path>) -> Option<String> {
    let (mut line, mut more) = (format!("{what}:"), 0_usize);
    for path in paths {
        let path = after::quoted(path);
        match more == 0 && line.len() + path.len() < NAMES {
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
        Some("the service manager reads the files of all units again".to_owned()),
    ];
    Ok(lines.into_iter().flatten().collect())
}

/// Returns the links of `enable` and `disable` as they are after the change.
async fn links(
    bus: &Bus,
    verb: UnitVerb,
    unit: &Known,
    changed: &Changed,
    search: &[String],
) -> Result<Install, Fault> {
    if changed.of(unit, search).is_empty() {
        let links = install::linked(bus, verb, unit, search).await?;
        for name in &links.also {
            let other = bus.unit(name).await?;
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
    install::refuse_links(verb, &unit.id, &links)?;
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
    let effects = effects::compute(bus, verb, &unit).await?;
    let units = effects.all().iter().map(|(known, _)| known);
    let mut lines = before([&unit].into_iter().chain(units), changed, search);
    let (first, mut programs) = (lines.len(), Vec::new());
    lines.push(files(&unit));
    lines.extend(stale(&unit));
    if matches!(verb, UnitVerb::Enable | UnitVerb::Disable) {
        lines.extend(link_lines(
            &links(bus, verb, &unit, changed, search).await?,
        )?);
    }
    let own = match verb {
        UnitVerb::Start | UnitVerb::Enable => Some(Act::Start),
        UnitVerb::Stop => Some(Act::Stop),
        UnitVerb::Restart => Some(Act::Restart),
        UnitVerb::Reload => Some(Act::Reload),
        UnitVerb::Disable => None,
    };
    if let Some(act) = own {
        programs = executes(bus, &unit, act).await?;
        lines.extend(programs.iter().cloned());
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
    for (known, act) in effects.all() {
        let executed = executes(bus, known, *act).await?;
        if executed.is_empty() {
            continue;
        }
        programs.extend(executed.iter().cloned());
        // A unit can both start and stop: its lines are added once.
        for line in [files(known)]
            .into_iter()
            .chain(stale(known))
            .chain(executed)
        {
            if !lines.contains(&line) {
                lines.push(line);
            }
        }
    }
    let what = "what the lines below name is of the machine before the change, which makes, changes or removes";
    if let Some(line) = paths_line(what, &changed.named(&programs)) {
        lines.insert(first, line);
    }
    match lines.iter().map(|line| line.len() + 1).sum::<usize>() > LINES {
        false => Ok(lines),
        true => Err(Fault::Refused(format!(
            "{} units change with '{name}', and what they execute is more than {LINES} bytes: more than anybody can look at",
            effects.units()
        ))),
    }
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
    let mut line = match unit.fragment.as_str() {
        "" => format!("{} has no file", unit.id),
        path => format!("{} is defined in {path}", unit.id),
    };
    for path in &unit.drop_ins {
        line.push_str(" and ");
        line.push_str(path);
    }
    line
}

fn list(what: &str, names: &[String]) -> Result<Option<String>, Fault> {
    let mut names = names.to_vec();
    names.sort();
    names.dedup();
    match names.join(" ") {
        all if all.is_empty() => Ok(None),
        all if all.len() > NAMES => Err(Fault::Refused(format!(
            "{what}: more units than anybody can look at"
        ))),
        all => Ok(Some(format!("{what}: {all}"))),
    }
}
