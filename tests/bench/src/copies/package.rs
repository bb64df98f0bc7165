//! One package: `dpkg -i` bare in a root like the machine's, and planned on a copy, committed and undone, in turns.

use std::fs;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use remit_common::names::JobId;
use remit_plan::Bundle;
use remit_wire::edits;
use remit_wire::outcome::{OutputPart, Stream};
use remit_wire::{JobQuery, PageQuery, PartQuery, Purpose, Reply, Request};
use serde::Serialize;

use super::side::{Cost, Costs, ElapsedAndCpu, Side, request};
use crate::machine::Machine;
use crate::section::{Section, ms, ratio};
use crate::series::Shuffle;
use crate::stage::APPROVER;
use crate::usage;
use crate::{Args, Failure};

const ROUNDS: usize = 12;
/// Files of the package, and bytes of each.
const FILES: usize = 40;
const BYTES: usize = 25_000;
/// Its directory on the machine.
pub const FILES_AT: &str = "/opt/remit-bench";
const NAME: &str = "remit-bench";
const DEB: &str = "/srv/package.deb";
/// What this computer's packages have left for later is not the package's.
pub const INSTALL: [&str; 4] = ["dpkg", "--no-triggers", "-i", DEB];
/// More than a tick of the clock of a file system.
const SETTLED: Duration = Duration::from_millis(40);

#[derive(Clone, Debug, Serialize)]
pub struct Package {
    pub bare: Cost,
    /// Without fsync(2).
    pub unsynced: Cost,
    pub copy: Cost,
    pub extraction: Cost,
    pub plan: Cost,
    pub commit: Cost,
    pub undo: Cost,
    /// Paths of the plan.
    pub entries: usize,
    /// Peak memory of the job and of its extraction.
    pub peaks: [u64; 2],
}

impl Package {
    /// Returns an inner error for what this computer lacks.
    pub(super) fn take(args: &Args, side: &mut Side) -> Result<Result<Self, String>, Failure> {
        if Command::new("dpkg-deb").arg("--version").output().is_err() {
            return Ok(Err("a package: dpkg-deb is not installed".to_owned()));
        }
        let twin = Machine::new(args.stage.join("twin"))?;
        let deb = args.stage.join("package.deb");
        make(&args.stage.join("package"), &deb)?;
        for machine in [&twin, &*side.machine] {
            fs::copy(&deb, machine.at(DEB.trim_start_matches('/')))?;
        }
        let mut all = [(); 7].map(|()| Costs::default());
        let [bare, unsynced, copy, extraction, plan, commit, undo] = &mut all;
        let (mut entries, mut peaks) = (0, [0; 2]);
        let mut shuffle = Shuffle::default();
        // The first one warms up.
        for round in 0..=ROUNDS {
            let mut ways = [0, 1, 2];
            ways.sort_by_cached_key(|_| shuffle.next());
            for way in ways {
                let take = |costs: &mut Costs, cost| {
                    if round > 0 {
                        costs.push(cost);
                    }
                };
                match way {
                    0 => take(bare, install(&twin, args, &[])?),
                    1 => take(unsynced, install(&twin, args, &["--force-unsafe-io"])?),
                    _ => {
                        std::thread::sleep(SETTLED);
                        let planned = side.plan(&INSTALL)?;
                        let bundle = side.bundle(planned.plan)?;
                        let (committed, undone) = side.commit(&bundle)?;
                        entries = bundle.plan().entries().len();
                        for (peak, one) in peaks.iter_mut().zip(planned.peaks) {
                            *peak = one.max(*peak);
                        }
                        take(copy, planned.copy);
                        take(extraction, planned.extraction);
                        take(plan, planned.both());
                        take(commit, committed);
                        take(undo, undone);
                    }
                }
            }
        }
        let [bare, unsynced, copy, extraction, plan, commit, undo] = all.map(|costs| costs.cost());
        Ok(Ok(Self {
            bare,
            unsynced,
            copy,
            extraction,
            plan,
            commit,
            undo,
            entries,
            peaks,
        }))
    }

    pub fn section(&self) -> Section {
        let columns = [
            "by",
            "p10 ms",
            "p50 ms",
            "p95 ms",
            "× bare p50",
            "CPU ms",
            "× bare CPU",
        ];
        let title = format!("One package of {FILES} files, {} KB", FILES * BYTES / 1000);
        let mut section = Section::new(title, &columns);
        for (name, cost) in [
            ("dpkg -i, bare", self.bare),
            (
                "dpkg --force-unsafe-io -i, bare: without fsync",
                self.unsynced,
            ),
            ("dpkg -i on a copy", self.copy),
            ("its extraction", self.extraction),
            ("plan: both; nothing changes", self.plan),
            (
                "commit: 'remit approve', until it is on the disk",
                self.commit,
            ),
            ("undo: remit-commit alone, without the daemon", self.undo),
        ] {
            let Cost { time, cpu } = cost;
            section.row(
                name,
                [
                    ms(time.p10),
                    ms(time.p50),
                    ms(time.p95),
                    ratio(time.p50 / self.bare.time.p50),
                    ms(cpu),
                    ratio(cpu / self.bare.cpu),
                ],
            );
        }
        section.note(format!(
            "{ROUNDS} rounds, in turns; the plan has {} paths. Bare is in a root of its own with the same lists of packages. dpkg syncs each \
             file; the commit syncs once for each file system.",
            self.entries
        ));
        section
    }
}

/// Builds a package without scripts.
fn make(dir: &Path, deb: &Path) -> Result<(), Failure> {
    let files = dir.join(FILES_AT.trim_start_matches('/'));
    fs::create_dir_all(dir.join("DEBIAN"))?;
    fs::create_dir_all(&files)?;
    let control = format!(
        "Package: {NAME}\nVersion: 1\nArchitecture: all\nMaintainer: nobody <nobody@invalid>\nDescription: measured\n"
    );
    fs::write(dir.join("DEBIAN/control"), control)?;
    for at in 0..FILES {
        let text = format!("line {at} of a file of a package\n");
        let text = text.repeat(BYTES / text.len());
        fs::write(files.join(at.to_string()), text)?;
    }
    let built = Command::new("dpkg-deb")
        .args(["--root-owner-group", "-b"])
        .args([dir, deb])
        .stdout(Stdio::null())
        .status()?;
    built
        .success()
        .then_some(())
        .ok_or_else(|| "dpkg-deb has made no package".into())
}

/// Installs it as root does, and removes it again without measuring that.
fn install(twin: &Machine, args: &Args, more: &[&str]) -> Result<ElapsedAndCpu, Failure> {
    let [dpkg, words @ ..] = INSTALL;
    twin.inside(&args.stage, 0, || {
        let mut command = Command::new(dpkg);
        command.args(more).args(words).stdout(Stdio::null());
        let timed = spent(command)?;
        let mut command = Command::new(dpkg);
        command
            .args(["--no-triggers", "-P", NAME])
            .stdout(Stdio::null());
        spent(command)?;
        Ok(timed)
    })
}

/// Runs a command to its end. Returns its elapsed and processor time.
fn spent(mut command: Command) -> Result<ElapsedAndCpu, Failure> {
    let before = usage::cpu_of_own_children()?;
    let start = Instant::now();
    let status = command.stdin(Stdio::null()).status()?;
    let took = start.elapsed();
    let cpu = usage::cpu_of_own_children()?.saturating_sub(before);
    if !status.success() {
        return Err(format!("{command:?}: {status}").into());
    }
    Ok((took, cpu))
}

impl Side {
    fn bundle(&mut self, job: JobId) -> Result<Bundle, Failure> {
        let mut bytes = Vec::new();
        loop {
            let page = PageQuery {
                stream: Stream::Stdout,
                offset: bytes.len() as u64,
                limit: u32::try_from(remit_common::caps::PAGE)?,
                tail: false,
                whole_characters: false,
            };
            let query = JobQuery {
                job,
                wait_ms: 0,
                part: Some(PartQuery::Page(page)),
            };
            let reply = self.client.call(Request::Job(query), drop)?;
            let Reply::Job { part, .. } = reply else {
                return Err("a job is no job".into());
            };
            let Some(OutputPart::Page(page)) = part else {
                return Err("it has no output".into());
            };
            bytes.extend_from_slice(&page.bytes);
            if page.eof || page.bytes.is_empty() || bytes.len() as u64 >= page.total {
                return Ok(Bundle::decode(bytes).map_err(|error| error.to_string())?);
            }
        }
    }

    /// Commits the plan, undoes it, and checks both. An undo by the daemon always asks a person.
    fn commit(&mut self, bundle: &Bundle) -> Result<(ElapsedAndCpu, ElapsedAndCpu), Failure> {
        let is_there = |side: &Self, wanted| {
            let path = side.machine.at(FILES_AT.trim_start_matches('/'));
            (path.join("0").exists() == wanted)
                .then_some(())
                .ok_or("the package's files are not as they must be")
        };
        is_there(self, false)?;
        let purpose = Purpose::Change {
            reason: "measured".to_owned(),
        };
        let bytes = bundle.as_bytes().to_vec();
        let mut asked = request(edits::COMMIT, Vec::new(), Some(bytes), purpose);
        if let Request::Run(run) = &mut asked {
            run.wait_ms = Some(0);
        }
        let reply = self.client.call(asked, drop)?;
        let Reply::Job { report, .. } = reply else {
            return Err("a commit is no job".into());
        };
        let approval = report.approval.ok_or("a commit needs an approval")?;
        let mut approve = self.stage.program("remit");
        approve.uid(APPROVER);
        approve.arg("--runtime").arg(self.stage.runtime().dir());
        approve.args(["approve", &report.job.to_string(), "--digest"]);
        approve
            .arg(&approval.digest)
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        let members = self.stage.members()?;
        let before = members.cpu()?;
        let (took, _) = spent(approve)?;
        let committed = (took, members.cpu()?.since(before).all());
        is_there(self, true)?;
        let own = self.stage.dir().to_owned();
        let id = bundle.plan().commit_id();
        let undone = self.machine.inside(&own, 0, || {
            let mut command = Command::new(own.join("bin/remit-commit"));
            command.arg("undo").arg(own.join("state/commits")).arg(id);
            command.stdout(Stdio::null());
            spent(command)
        })?;
        is_there(self, false)?;
        Ok((committed, undone))
    }
}
