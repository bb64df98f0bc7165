//! Measures what many hosts cost the user's computer: `remit-fleet run` over the real ssh, to a real sshd whose every login
//! starts a program that replays a daemon's answers. So the hosts cost next to nothing, and what they cost is not counted.
//! Beside it `ansible -m command`, where that is installed, on the same sshd.

mod cost;
mod stage;

use std::path::Path;
use std::process::Command;

use serde::Serialize;

use crate::fleet::cost::{Cost, Group};
use crate::fleet::stage::{Fleet, Login};
use crate::section::{Section, mib, ratio};
use crate::{Args, Failure};

const FEW: usize = 10;
const MANY: usize = 1000;
/// Hosts that ansible is asked for, too.
const BOTH: usize = 20;
/// Runs of few hosts, so that both ends of a comparison have as many logins.
const REPEATS: usize = 10;

#[derive(Clone, Debug, Serialize)]
pub struct Runs {
    runs: Vec<Measured>,
    /// Why there is nothing to compare with.
    pub left_out: Vec<String>,
}

#[derive(Clone, Debug, Serialize)]
struct Measured {
    key: &'static str,
    hosts: usize,
    parallel: usize,
    cost: Cost,
}

pub fn take(args: &Args) -> Result<Runs, Failure> {
    let mut taken = Runs {
        runs: Vec::new(),
        left_out: Vec::new(),
    };
    let fleet = match Fleet::set(&args.stage.join("fleet")) {
        Ok(fleet) => fleet,
        Err(why) => {
            taken.left_out.push(why);
            return Ok(taken);
        }
    };
    let mut add = |key, hosts, parallel, repeats, login| -> Result<(), Failure> {
        let group = Group::new()?;
        let mut cost = Cost::default();
        for _ in 0..repeats {
            let command = fleet.command(hosts, parallel, login)?;
            cost = cost.and(group.run(command)?);
        }
        taken.runs.push(Measured {
            key,
            hosts,
            parallel,
            cost: cost.of_one(repeats),
        });
        Ok(())
    };
    add("cold", FEW, 16, REPEATS, Login::Cold)?;
    add("cold", BOTH, 16, REPEATS / 2, Login::Cold)?;
    add("cold", MANY, 16, 1, Login::Cold)?;
    add("cold", MANY, 64, 1, Login::Cold)?;
    // The first run makes the masters, and is not counted.
    for (hosts, repeats) in [(FEW, REPEATS), (BOTH, REPEATS / 2), (64, REPEATS / 2)] {
        Group::new()?.run(fleet.command(hosts, 16, Login::Masters)?)?;
        add("masters", hosts, 16, repeats, Login::Masters)?;
        fleet.end_masters();
    }
    match ansible() {
        Some(program) => {
            let group = Group::new()?;
            let mut cost = Cost::default();
            for _ in 0..REPEATS / 2 {
                cost = cost.and(group.run(fleet.ansible(program, BOTH)?)?);
            }
            taken.runs.push(Measured {
                key: "ansible",
                hosts: BOTH,
                parallel: 16,
                cost: cost.of_one(REPEATS / 2),
            });
        }
        None => taken
            .left_out
            .push("ansible is not installed: 'pip install ansible-core' beside this".into()),
    }
    Ok(taken)
}

fn ansible() -> Option<&'static Path> {
    let program = Path::new("ansible");
    let is_there = Command::new(program).arg("--version").output();
    is_there
        .is_ok_and(|it| it.status.success())
        .then_some(program)
}

impl Runs {
    fn cpu_per_host(&self, key: &str, hosts: usize) -> f64 {
        let run = self
            .runs
            .iter()
            .find(|run| (run.key, run.hosts) == (key, hosts));
        run.map_or(f64::NAN, Measured::cpu_per_host)
    }
}

impl Measured {
    fn cpu_per_host(&self) -> f64 {
        self.cost.cpu_ms / self.hosts as f64
    }
}

pub fn section(runs: &Runs) -> Section {
    let mut section = Section::new(
        "many hosts: 'df -h' on each, cost on the user's computer",
        &[
            "by",
            "hosts",
            "at a time",
            "CPU ms a host",
            "elapsed s",
            "remit-fleet MiB",
            "with its ssh, PSS MiB",
        ],
    );
    for run in &runs.runs {
        let by = match run.key {
            "cold" => "remit-fleet, each a login",
            "masters" => "remit-fleet, over masters",
            other => other,
        };
        section.row(
            by,
            [
                run.hosts.to_string(),
                run.parallel.to_string(),
                format!("{:.1}", run.cpu_per_host()),
                format!("{:.1}", run.cost.elapsed_ms / 1e3),
                mib(run.cost.peak),
                mib(run.cost.pss),
            ],
        );
    }
    let growth = runs.cpu_per_host("cold", MANY) / runs.cpu_per_host("cold", FEW);
    section.note(format!(
        "CPU a host, {MANY} hosts over {FEW}: {}. ansible over remit-fleet, {BOTH} hosts: {} cold, {} over masters.",
        ratio(growth),
        ratio(runs.cpu_per_host("ansible", BOTH) / runs.cpu_per_host("cold", BOTH)),
        ratio(runs.cpu_per_host("ansible", BOTH) / runs.cpu_per_host("masters", BOTH)),
    ));
    for why in &runs.left_out {
        section.note(format!("Left out: {why}."));
    }
    section
}
