//! A change of one line in a file: `plan.make`, `plan.commit` and `plan.undo` through the daemon's socket, in turns with
//! `sed -i` and fsync(2) of another file of the same directory.

use std::fs::{self, DirBuilder, File};
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use remit_common::caps;
use remit_common::inspect::EXTRACT;
use remit_edit::{Action, Replacement};
use remit_plan::{Bundle, PlanPath};
use remit_wire::client::Client;
use remit_wire::outcome::State;
use remit_wire::{Purpose, Reply, Request, Run, What, edits};
use serde::Serialize;

use crate::section::{Section, ms, ratio};
use crate::series::{Series, Shuffle, Summary};
use crate::stage::{CLIENTS, Setting, Stage};
use crate::{Args, Failure};

/// Three calls each, within the burst of one user.
const ROUNDS: usize = 120;
/// More than a tick of the clock of a file system.
const SETTLED: Duration = Duration::from_millis(40);
const OLD: &str = "key50 = value";
const NEW: &str = "key50 = other";

#[derive(Clone, Debug, Serialize)]
pub struct Changes {
    /// `sed -i` and fsync(2).
    pub sed: Summary,
    pub plan: Summary,
    pub commit: Summary,
    pub undo: Summary,
}

pub fn take(args: &Args) -> Result<Changes, Failure> {
    let mut stage = Stage::with(args, &setting(args))?;
    let files = stage.dir().join("files");
    DirBuilder::new().mode(0o755).create(&files)?;
    let text: String = (0..100)
        .map(|line| format!("key{line} = value\n"))
        .collect();
    let [own, seds] = ["own", "sed"].map(|name| files.join(name));
    fs::write(&own, &text)?;
    fs::write(&seds, &text)?;
    let mut client = stage.client()?;
    let mut all = [(); 4].map(|()| Series::default());
    let [sed, plan, commit, undo] = &mut all;
    let mut shuffle = Shuffle::default();
    // The first of them warm up.
    for round in 0..ROUNDS + 3 {
        let mut seds_turn = || {
            let took = edit_by_sed(&seds)?;
            if round > 2 {
                sed.push(took);
            }
            Ok::<_, Failure>(())
        };
        let mut own_turn = || {
            let taken = change(&stage, &mut client, &own, &text)?;
            for (series, took) in [&mut *plan, &mut *commit, &mut *undo]
                .into_iter()
                .zip(taken)
            {
                if round > 2 {
                    series.push(took);
                }
            }
            Ok::<_, Failure>(())
        };
        if shuffle.next() & 1 == 0 {
            seds_turn()?;
            own_turn()?;
        } else {
            own_turn()?;
            seds_turn()?;
        }
    }
    let [sed, plan, commit, undo] = all.map(|series| series.summary());
    Ok(Changes {
        sed,
        plan,
        commit,
        undo,
    })
}

pub fn section(all: &Changes) -> Section {
    let mut section = Section::new(
        "One line in a file of 100 lines",
        &["by", "p10 ms", "p50 ms", "p95 ms", "× sed p50", "× sed p10"],
    );
    for (name, time) in [
        ("sed -i, then fsync of the new file", &all.sed),
        ("plan: read, edited, shown; nothing changes", &all.plan),
        (
            "commit: checked, recorded, on the disk, can be undone",
            &all.commit,
        ),
        ("undo: remit-commit alone, without the daemon", &all.undo),
    ] {
        section.row(
            name,
            [
                ms(time.p10),
                ms(time.p50),
                ms(time.p95),
                ratio(time.p50 / all.sed.p50),
                ratio(time.p10 / all.sed.p10),
            ],
        );
    }
    section.note(format!(
        "{ROUNDS} rounds, in turns on the same file system, through the daemon's socket, by a grant that needs no approval. What sed \
         leaves after a power cut is its new file or, as its directory is not synced, the old one; a commit that was answered stays."
    ));
    section
}

fn setting(args: &Args) -> Setting {
    Setting {
        name: "changes",
        policy: policy(&args.stage.join("changes")),
        ..Setting::default()
    }
}

/// Commands as the package has them, with the programs and the journal of this daemon.
fn policy(own: &Path) -> String {
    let at = |name: &str| own.join(name).display().to_string();
    let commands = include_str!("../../../packaging/policy.d/60-plans.toml")
        .replace("/usr/libexec/remit", &at("bin"))
        .replace("/var/lib/remit/commits", &at("state/commits"))
        .replace(&at("bin/remit-extract"), EXTRACT)
        // Only for the installed program; nothing here plans files that it may not read.
        .replace("inspect = \"names\"\n", "");
    let files = at("files");
    let grants = format!(
        "\n[[grant]]\nname = \"changes\"\nto = [\"%#{CLIENTS}\"]\nallow = [\"plan.make\"]\n\
         [[grant]]\nname = \"commits\"\nto = [\"%#{CLIENTS}\"]\nallow = [\"plan.commit\"]\n\
         paths = [\"{files}\"]\napproval = \"none\"\n"
    );
    commands + &grants
}

fn edit_by_sed(path: &Path) -> Result<Duration, Failure> {
    let text = fs::read_to_string(path)?;
    let (old, new) = if text.contains(OLD) {
        (OLD, NEW)
    } else {
        (NEW, OLD)
    };
    let start = Instant::now();
    let status = Command::new("sed")
        .args(["-i", &format!("s/{old}/{new}/")])
        .arg(path)
        .status()?;
    File::open(path)?.sync_all()?;
    let took = start.elapsed();
    let is_right = status.success() && fs::read_to_string(path)? == text.replace(old, new);
    is_right
        .then_some(took)
        .ok_or_else(|| "sed has not edited it".into())
}

/// Plans, commits and undoes, and returns how long each took.
fn change(
    stage: &Stage,
    client: &mut Client,
    path: &Path,
    text: &str,
) -> Result<[Duration; 3], Failure> {
    let edit = remit_edit::Edit {
        action: Action::Replace(vec![Replacement {
            old: OLD.into(),
            new: NEW.into(),
            count: 1,
        }]),
        ..edits::keep(
            PlanPath::new(path.as_os_str().as_encoded_bytes())
                .map_err(|error| error.to_string())?,
        )
    };
    let is_text = |wanted: &str| -> Result<(), Failure> {
        let now = fs::read_to_string(path)?;
        (now == wanted)
            .then_some(())
            .ok_or_else(|| "the file has other bytes".into())
    };
    let input = edits::encode(vec![edit]);
    // What has changed within a tick of the clock is read again later.
    std::thread::sleep(SETTLED);
    let (planned, bytes) = timed(client, "plan.make", input, Purpose::Use)?;
    is_text(text)?;
    let bundle = Bundle::decode(bytes.clone()).map_err(|error| error.to_string())?;
    let id = bundle.plan().id();
    let purpose = Purpose::Change {
        reason: "measured".to_owned(),
    };
    let (committed, _) = timed(client, "plan.commit", bytes, purpose)?;
    is_text(&text.replace(OLD, NEW))?;
    let undone = undo(stage, &id)?;
    is_text(text)?;
    Ok([planned, committed, undone])
}

/// An undo by the daemon always asks a person.
fn undo(stage: &Stage, id: &str) -> Result<Duration, Failure> {
    let start = Instant::now();
    let output = Command::new(stage.dir().join("bin/remit-commit"))
        .arg("undo")
        .arg(stage.dir().join("state/commits"))
        .arg(id)
        .output()?;
    let took = start.elapsed();
    let is_done = output.status.success();
    is_done
        .then_some(took)
        .ok_or_else(|| format!("not undone: {output:?}").into())
}

/// Returns how long a command took until its end was reported, and its output.
fn timed(
    client: &mut Client,
    name: &str,
    stdin: Vec<u8>,
    purpose: Purpose,
) -> Result<(Duration, Vec<u8>), Failure> {
    let request = Request::Run(Run {
        stdin: Some(stdin.into()),
        wait_ms: Some(caps::WAIT_MS),
        ..Run::new(
            What::Named {
                name: name.to_owned(),
                args: Vec::new(),
            },
            purpose,
        )
    });
    let start = Instant::now();
    let reply = client.call(request, drop)?;
    let took = start.elapsed();
    match reply {
        Reply::Job { report, .. }
            if report.state == State::Exited
                && report.ending.as_ref().and_then(|end| end.exit) == Some(0) =>
        {
            Ok((took, report.stdout.head.into_vec()))
        }
        other => Err(format!("'{name}' was not done: {other:?}").into()),
    }
}

#[cfg(test)]
mod tests {
    use remit_policy::{MachineTable, Source};
    use remit_policy_compile::load;

    use super::*;

    #[test]
    fn its_policy_loads() {
        let text = policy(Path::new("/var/lib/remit-bench.0/changes")).into_bytes();
        let name = "20-bench.toml".into();
        if let Err(found) = load(&[Source { name, text }], &MachineTable::default()) {
            panic!(
                "{:?}",
                found.iter().map(ToString::to_string).collect::<Vec<_>>()
            );
        }
    }
}
