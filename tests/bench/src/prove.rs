//! Measures the look for ways to root: `remit prove` on this computer's files and on a made machine with 100,000 files, and
//! what it adds to `remit policy reload`.

use std::fs::{self, DirBuilder};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use serde::Serialize;
use serde_json::Value;

use crate::section::{Section, mib, ms};
use crate::series::{Series, Summary};
use crate::stage::{CLIENTS, FIRST_CLIENT, Setting, Stage};
use crate::{Args, Failure};

const TIMES: usize = 7;
const FILES: usize = 100_000;
/// A permission that may lead on, so that the machine is looked at. It does not.
const WRITES: &str = r#"
[[command]]
name = "bench.write"
summary = "Writes its input"
argv = ["/usr/bin/tee", "/srv/bench"]
effect = "change"
stdin = "caller"
profile = "bench"

[profile.bench]
base = "strict"
user = "root"
write = ["/srv"]

"#;
/// Files in one directory of the made machine.
const EACH: usize = 500;

#[derive(Debug, Serialize)]
pub struct Proofs {
    pub looks: Vec<Look>,
    pub reloads: Vec<(String, Summary)>,
}

#[derive(Debug, Serialize)]
pub struct Look {
    pub machine: String,
    /// The process and its helper.
    pub time: Summary,
    pub files: u64,
    pub bytes: u64,
}

pub fn take(args: &Args) -> Result<Proofs, Failure> {
    let made = args.stage.join("machine");
    make(&made)?;
    let own = Path::new("/");
    let looks = vec![
        look("this computer", "daemon", own)?,
        look("100,000 files below /etc and /opt", "agent", &made)?,
    ];
    let off = Some("[policy]\nprove = false\n");
    let reloads = vec![
        (
            "without a look (prove = false)".to_owned(),
            reload(args, "off", off, own)?,
        ),
        ("this computer".to_owned(), reload(args, "own", None, own)?),
        (
            "100,000 files".to_owned(),
            reload(args, "large", None, &made)?,
        ),
    ];
    Ok(Proofs { looks, reloads })
}

/// Half of the files are jobs of cron, or scripts that these run. One account is an agent.
fn make(root: &Path) -> Result<(), Failure> {
    let directory = |path: PathBuf| DirBuilder::new().recursive(true).mode(0o755).create(path);
    for path in ["etc/cron.d", "usr/sbin", "opt"] {
        directory(root.join(path))?;
    }
    let group = format!("root:x:0:\nclients:x:{CLIENTS}:agent\n");
    let user =
        format!("root:x:0:0::/root:/bin/sh\nagent:x:{FIRST_CLIENT}:{FIRST_CLIENT}::/:/bin/sh\n");
    fs::write(root.join("etc/group"), group)?;
    fs::write(root.join("etc/passwd"), user)?;
    fs::write(root.join("usr/sbin/cron"), "\u{7f}ELF")?;
    for number in 0..FILES / 2 {
        let parent = format!("opt/{}", number / EACH);
        let table = format!("etc/site/{}", number / EACH);
        if number % EACH == 0 {
            directory(root.join(&parent))?;
            directory(root.join(&table))?;
        }
        fs::write(
            root.join(&parent).join(format!("run{number}")),
            "#!/bin/sh\ntrue\n",
        )?;
        let job = format!("* * * * * root /{parent}/run{number}\n");
        let table = match number % 10 {
            0 => "etc/cron.d".to_owned(),
            _ => table,
        };
        fs::write(root.join(table).join(format!("job{number}")), job)?;
    }
    Ok(())
}

fn look(name: &str, user: &str, root: &Path) -> Result<Look, Failure> {
    let remit = std::env::current_exe()?.with_file_name("remit");
    let (mut series, mut figures) = (Series::default(), Value::Null);
    for _ in 0..TIMES {
        let start = Instant::now();
        let output = Command::new(&remit)
            .args(["--json", "prove", user, "--root"])
            .arg(root)
            .output()?;
        series.push(start.elapsed());
        let said: Value = serde_json::from_slice(&output.stdout)
            .map_err(|error| format!("{error}: {}", String::from_utf8_lossy(&output.stderr)))?;
        figures = said.get("figures").cloned().unwrap_or_default();
    }
    let figure = |key: &str| figures.get(key).and_then(Value::as_u64);
    let figure = |key: &str| figure(key).ok_or_else(|| format!("its answer has no '{key}'"));
    Ok(Look {
        machine: name.to_owned(),
        time: series.summary(),
        files: figure("files")?,
        bytes: figure("kibibytes")? << 10,
    })
}

/// Loads two policies in turns, each of which permits what the other does not.
fn reload(
    args: &Args,
    name: &'static str,
    toml: Option<&str>,
    machine: &Path,
) -> Result<Summary, Failure> {
    let setting = Setting {
        name,
        toml: toml.unwrap_or_default().to_owned(),
        looked_at: Some(machine.to_owned()),
        ..Setting::default()
    };
    let stage = Stage::with(args, &setting)?;
    let policy = stage.dir().join("config/policy.d/20-bench.toml");
    let mut series = Series::default();
    for turn in 0..TIMES {
        let user = FIRST_CLIENT + u32::try_from(turn % 2)?;
        let grant = format!("[[grant]]\nto = [\"#{user}\"]\nallow = [\"bench.write\"]\n");
        fs::write(&policy, format!("{WRITES}{grant}"))?;
        let start = Instant::now();
        let output = Command::new(stage.dir().join("bin/remit"))
            .arg("--runtime")
            .arg(stage.runtime().dir())
            .args(["policy", "reload"])
            .output()?;
        series.push(start.elapsed());
        if !output.status.success() {
            return Err(String::from_utf8_lossy(&output.stderr).into_owned().into());
        }
    }
    Ok(series.summary())
}

pub fn sections(proofs: &Proofs) -> Vec<Section> {
    let mut looks = Section::new(
        "Ways to root: remit prove",
        &["machine", "files", "p50 ms", "p95 ms", "MiB"],
    );
    for look in &proofs.looks {
        let Look { time, .. } = look;
        looks.row(
            look.machine.as_str(),
            [
                look.files.to_string(),
                ms(time.p50),
                ms(time.p95),
                mib(look.bytes),
            ],
        );
    }
    looks.note(format!(
        "One account is asked about; a process with its helper. {TIMES} runs."
    ));
    let mut reloads = Section::new(
        "Ways to root: remit policy reload",
        &["machine", "p50 ms", "p95 ms"],
    );
    for (name, time) in &proofs.reloads {
        reloads.row(name.as_str(), [ms(time.p50), ms(time.p95)]);
    }
    reloads.note(format!(
        "One look, and what follows from it with the policy before and after. A policy without a permission that leads on is \
         loaded without a look. {TIMES} loads."
    ));
    vec![looks, reloads]
}
