//! Copies of the machine: one new file, and a package, on a copy, and the plan of what changed there, beside the same without
//! a copy. Three daemons take turns: on a small machine, on one with more mounts, on one with many files.

mod package;
mod side;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::rc::Rc;

use remit_wire::client::ClientError;
use serde::Serialize;

use crate::copies::package::Package;
use crate::copies::side::{Cost, Side, on_copy};
use crate::machine::Machine;
use crate::section::{Section, mib, ms, ratio};
use crate::series::Shuffle;
use crate::usage::{self, Memory};
use crate::{Args, Failure};

/// A plan has a change.
const TOUCH: [&str; 2] = ["/usr/bin/touch", "/srv/new"];
const ROUNDS: usize = 30;
const MOUNTS: usize = 60;
const FILES: usize = 400_000;
/// Files of one directory, and how many files have one that only root reads.
const FILES_EACH: usize = 400;
const ONE_PRIVATE_OF: usize = 1000;

#[derive(Clone, Debug, Default, Serialize)]
pub struct Copies {
    /// Why this computer can make no copies, or no packages.
    pub lacks: Option<String>,
    pub sizes: Vec<Size>,
    pub package: Option<Package>,
    pub memory: Option<Peaks>,
}

/// One machine.
#[derive(Clone, Debug, Serialize)]
pub struct Size {
    pub title: &'static str,
    /// `/bin/true` in the sandbox `read`.
    pub read: Cost,
    /// `touch` of a new file on a copy.
    pub copy: Cost,
    /// The plan of what that changed.
    pub extraction: Cost,
    pub both: Cost,
}

/// Resident memory of the daemon's processes, and peaks of it and of jobs, in bytes.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub struct Peaks {
    pub warden_before: Memory,
    pub broker_before: Memory,
    pub warden: u64,
    pub broker: u64,
    pub job: u64,
    pub extraction: u64,
    /// Pages of tmpfs that a kept copy holds: of an empty file, and of a package.
    pub kept: [u64; 2],
}

impl Size {
    fn of(side: &Side) -> Self {
        Self {
            title: side.title,
            read: side.read.cost(),
            copy: side.copy.cost(),
            extraction: side.extraction.cost(),
            both: side.both.cost(),
        }
    }
}

pub fn take(args: &Args) -> Result<Copies, Failure> {
    let small = Rc::new(Machine::new(args.stage.join("machine"))?);
    let full = Rc::new(Machine::new(args.stage.join("full"))?);
    fill(&full.at("srv/files"))?;
    let mut sides = [
        Side::new(args, ("copies", "a small machine"), &small, (0, 8))?,
        Side::new(
            args,
            ("copies_mounts", "60 more mounts"),
            &small,
            (MOUNTS, 9),
        )?,
        Side::new(args, ("copies_files", "400,000 more files"), &full, (0, 10))?,
    ];
    let [plain, ..] = &mut sides;
    if let Err(ClientError::Refused(refusal)) = plain.client.call(on_copy(&TOUCH), drop) {
        return Ok(Copies {
            lacks: Some(refusal.to_string()),
            ..Copies::default()
        });
    }
    let mut shuffle = Shuffle::default();
    // The first of them warm up.
    for round in 0..ROUNDS + 2 {
        let mut turns: Vec<(usize, bool)> = (0..sides.len())
            .flat_map(|side| [(side, false), (side, true)])
            .collect();
        turns.sort_by_cached_key(|_| shuffle.next());
        for (at, is_plan) in turns {
            if let Some(side) = sides.get_mut(at) {
                side.turn(is_plan, round > 1)
                    .map_err(|error| format!("{}: {error}", side.title))?;
            }
        }
    }
    let sizes = sides.iter().map(Size::of).collect();
    let [plain, ..] = &mut sides;
    let members = plain.stage.members()?;
    let before = members.memory()?;
    for pid in [members.warden, members.broker] {
        usage::forget_peak(pid)?;
    }
    let (package, lacks) = match Package::take(args, plain)? {
        Ok(package) => (Some(package), None),
        Err(lacks) => (None, Some(lacks)),
    };
    let mut memory = Peaks {
        warden_before: before.warden,
        broker_before: before.broker,
        warden: usage::peak(members.warden)?,
        broker: usage::peak(members.broker)?,
        ..Peaks::default()
    };
    if let Some(package) = &package {
        [memory.job, memory.extraction] = package.peaks;
        memory.kept = [plain.kept(&TOUCH)?, plain.kept(&package::INSTALL)?];
    }
    Ok(Copies {
        lacks,
        sizes,
        package,
        memory: Some(memory),
    })
}

impl Copies {
    pub fn sections(&self) -> Vec<Section> {
        let mut all = Vec::new();
        if !self.sizes.is_empty() {
            all.push(self.of_sizes());
        }
        all.extend(self.package.as_ref().map(Package::section));
        all.extend(self.memory.as_ref().map(of_memory));
        if let Some(lacks) = &self.lacks {
            let mut section = Section::new("Copies of the machine: not measured", &[]);
            section.note(lacks.as_str());
            all.push(section);
        }
        all
    }

    fn of_sizes(&self) -> Section {
        let columns = [
            "a program",
            "p10 ms",
            "p50 ms",
            "p95 ms",
            "× read p50",
            "CPU ms",
            "× read CPU",
        ];
        let mut section = Section::new("Copies of the machine", &columns);
        for size in &self.sizes {
            for (what, cost) in [
                ("true in 'read'", size.read),
                ("touch on a copy", size.copy),
                ("its extraction", size.extraction),
                ("plan: both", size.both),
            ] {
                let Cost { time, cpu } = cost;
                section.row(
                    format!("{}: {what}", size.title),
                    [
                        ms(time.p10),
                        ms(time.p50),
                        ms(time.p95),
                        ratio(time.p50 / size.read.time.p50),
                        ms(cpu),
                        ratio(cpu / size.read.cpu),
                    ],
                );
            }
        }
        let views = self.sizes.iter().map(|size| {
            let view = size.copy.time.p50 - size.read.time.p50;
            format!("{} ms ({})", ms(view), size.title)
        });
        section.note(format!(
            "What the copy itself takes, beyond a job in 'read': {}.",
            views.collect::<Vec<_>>().join(", ")
        ));
        section.note(format!(
            "{ROUNDS} rounds, in turns, through sockets of three daemons, caches warm. The machines have this computer's /usr, a copy of \
             its /etc and of dpkg's lists, and no other file; one of {ONE_PRIVATE_OF} files in /srv can be read by root alone. \
             CPU: of daemon, sandbox and job, in hundredths of a second for each job."
        ));
        section
    }
}

fn of_memory(peaks: &Peaks) -> Section {
    let columns = ["memory, MiB", "before", "peak"];
    let mut section = Section::new("Copies: memory while packages are planned", &columns);
    for (name, before, peak) in [
        ("warden, RSS", Some(peaks.warden_before.rss), peaks.warden),
        ("broker, RSS", Some(peaks.broker_before.rss), peaks.broker),
        ("the largest process of dpkg -i", None, peaks.job),
        ("remit-extract", None, peaks.extraction),
        ("a kept copy, pages of tmpfs: touch", None, peaks.kept[0]),
        (
            "a kept copy, pages of tmpfs: a package",
            None,
            peaks.kept[1],
        ),
    ] {
        section.row(name, [before.map_or("-".to_owned(), mib), mib(peak)]);
    }
    section
}

/// Files of root in directories of root.
fn fill(dir: &Path) -> Result<(), Failure> {
    for at in 0..FILES {
        let dir = dir.join((at / FILES_EACH).to_string());
        if at % FILES_EACH == 0 {
            fs::create_dir_all(&dir)?;
        }
        let file = fs::File::create(dir.join(at.to_string()))?;
        if at % ONE_PRIVATE_OF == 0 {
            file.set_permissions(fs::Permissions::from_mode(0o600))?;
        }
    }
    Ok(())
}
