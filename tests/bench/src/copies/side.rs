//! A daemon on a machine of the benchmark's own: programs on copies, and plans of what changed there.

use std::path::Path;
use std::rc::Rc;
use std::time::{Duration, Instant};

use remit_common::caps;
use remit_common::inspect::{EXTRACT, EXTRACTED_JOB};
use remit_common::names::JobId;
use remit_wire::client::Client;
use remit_wire::edits::{self, COPY_PROFILE};
use remit_wire::outcome::{Ending, JobReport};
use remit_wire::{Purpose, Reply, Request, Run, What};
use serde::Serialize;

use super::{TOUCH, package};
use crate::growth::jobs;
use crate::machine::Machine;
use crate::series::{Series, Summary};
use crate::stage::{APPROVER, CLIENTS, NAMED_CLIENT, Setting, Stage};
use crate::{Args, Failure, lanes, usage};

/// Wall time and processor time.
pub(super) type ElapsedAndCpu = (Duration, Duration);

#[derive(Clone, Copy, Debug, Serialize)]
pub struct Cost {
    #[serde(flatten)]
    pub time: Summary,
    /// Processor time of the daemon, the sandbox and the job for each, in microseconds.
    pub cpu: f64,
}

#[derive(Clone, Debug, Default)]
pub(super) struct Costs {
    times: Series,
    cpu: Duration,
    count: u32,
}

impl Costs {
    pub(super) fn push(&mut self, (time, cpu): ElapsedAndCpu) {
        self.times.push(time);
        self.cpu += cpu;
        self.count += 1;
    }

    pub(super) fn cost(&self) -> Cost {
        Cost {
            time: self.times.summary(),
            cpu: self.cpu.as_secs_f64() * 1e6 / f64::from(self.count.max(1)),
        }
    }
}

/// A daemon on a machine.
pub(super) struct Side {
    pub(super) title: &'static str,
    pub(super) machine: Rc<Machine>,
    pub(super) stage: Stage,
    pub(super) client: Client,
    pub(super) read: Costs,
    pub(super) copy: Costs,
    pub(super) extraction: Costs,
    pub(super) both: Costs,
}

impl Side {
    pub(super) fn new(
        args: &Args,
        (name, title): (&'static str, &'static str),
        machine: &Rc<Machine>,
        (mounts, number): (usize, u32),
    ) -> Result<Self, Failure> {
        let setting = Setting {
            name,
            toml: jobs(number),
            policy: policy(&args.stage.join(name)),
            mounts,
            machine: Some(Rc::clone(machine)),
            ..Setting::default()
        };
        let mut stage = Stage::with(args, &setting)?;
        // The layers of copies are tested beside the first requests, and the answer waits for that.
        let mut doctor = stage.program("remit");
        doctor.arg("--runtime").arg(stage.runtime().dir());
        doctor.arg("doctor").output()?;
        let client = stage.named_client()?;
        Ok(Self {
            title,
            machine: Rc::clone(machine),
            stage,
            client,
            read: Costs::default(),
            copy: Costs::default(),
            extraction: Costs::default(),
            both: Costs::default(),
        })
    }

    pub(super) fn timed(
        &mut self,
        request: Request,
    ) -> Result<(ElapsedAndCpu, JobReport), Failure> {
        let members = self.stage.members()?;
        let before = members.cpu()?;
        let start = Instant::now();
        let reply = self.client.call(request, drop)?;
        let took = start.elapsed();
        let spent = members.cpu()?.since(before).all();
        match reply {
            Reply::Job { report, .. }
                if report.ending.as_ref().is_some_and(Ending::has_succeeded) =>
            {
                Ok(((took, spent), *report))
            }
            other => Err(format!("it was not done: {other:?}").into()),
        }
    }

    fn run_read(&mut self) -> Result<ElapsedAndCpu, Failure> {
        Ok(self.timed(lanes::run(&["/bin/true"]))?.0)
    }

    pub(super) fn plan(&mut self, argv: &[&str]) -> Result<Planned, Failure> {
        let (copy, ran) = self.timed(on_copy(argv))?;
        let (extraction, made) = self.timed(named(EXTRACTED_JOB, ran.job))?;
        Ok(Planned {
            copy,
            extraction,
            plan: made.job,
            peaks: [ran, made].map(|report| report.ending.map_or(0, |end| end.memory_peak)),
        })
    }

    pub(super) fn turn(&mut self, is_plan: bool, is_counted: bool) -> Result<(), Failure> {
        if !is_plan {
            let cost = self.run_read()?;
            if is_counted {
                self.read.push(cost);
            }
            return Ok(());
        }
        let planned = self.plan(&TOUCH)?;
        if is_counted {
            self.copy.push(planned.copy);
            self.extraction.push(planned.extraction);
            self.both.push(planned.both());
        }
        Ok(())
    }
}

/// Elapsed and processor time of a program on a copy, and of the plan made of it.
pub(super) struct Planned {
    pub(super) copy: ElapsedAndCpu,
    pub(super) extraction: ElapsedAndCpu,
    pub(super) plan: JobId,
    pub(super) peaks: [u64; 2],
}

impl Planned {
    pub(super) fn both(&self) -> ElapsedAndCpu {
        let (copy, extraction) = (self.copy, self.extraction);
        (copy.0 + extraction.0, copy.1 + extraction.1)
    }
}

/// As many as a user's copies that are kept.
const KEPT: usize = 4;

impl Side {
    /// Returns the pages of tmpfs that a copy holds after its job. Others of the computer may take some meanwhile: the least of three.
    pub(super) fn kept(&mut self, argv: &[&str]) -> Result<u64, Failure> {
        let mut least = u64::MAX;
        for _ in 0..3 {
            let before = usage::shared_pages()?;
            let jobs: Vec<JobId> = (0..KEPT)
                .map(|_| Ok(self.timed(on_copy(argv))?.1.job))
                .collect::<Result<_, Failure>>()?;
            let more = usage::shared_pages()?.saturating_sub(before);
            least = least.min(more / KEPT as u64);
            for job in jobs {
                self.timed(named(EXTRACTED_JOB, job))?;
            }
        }
        Ok(least)
    }
}

pub(super) fn on_copy(argv: &[&str]) -> Request {
    match lanes::run(argv) {
        Request::Run(run) => Request::Run(Run {
            profile: Some(COPY_PROFILE.to_owned()),
            ..run
        }),
        other => other,
    }
}

fn named(arg: &str, job: JobId) -> Request {
    let args = vec![(arg.to_owned(), job.to_string())];
    request(edits::EXTRACT, args, None, Purpose::Use)
}

pub(super) fn request(
    name: &str,
    args: Vec<(String, String)>,
    stdin: Option<Vec<u8>>,
    purpose: Purpose,
) -> Request {
    Request::Run(Run {
        stdin: stdin.map(Into::into),
        wait_ms: Some(caps::WAIT_MS),
        ..Run::new(
            What::Named {
                name: name.to_owned(),
                args,
            },
            purpose,
        )
    })
}

/// Commands as the package has them, with the programs and the journal of this daemon.
fn policy(own: &Path) -> String {
    let at = |name: &str| own.join(name).display().to_string();
    let commands = include_str!("../../../../packaging/policy.d/60-plans.toml")
        .replace("/usr/libexec/remit", &at("bin"))
        .replace("/var/lib/remit/commits", &at("state/commits"))
        .replace(&at("bin/remit-extract"), EXTRACT)
        // Only for the installed program; nothing here plans files that it may not read.
        .replace("inspect = \"names\"\n", "");
    let grants = format!(
        "\n[[grant]]\nname = \"copies\"\nto = [\"%#{CLIENTS}\"]\nallow = [\"run\", \"plan.extract\"]\nrun_profile = \"plan\"\n\
         [[grant]]\nname = \"commits\"\nto = [\"#{NAMED_CLIENT}\"]\nallow = [\"plan.commit\"]\n\
         paths = [\"{}\", \"/var/lib/dpkg\"]\napproval = {{ by = [\"#{APPROVER}\"] }}\n",
        package::FILES_AT
    );
    commands + &grants
}

#[cfg(test)]
mod tests {
    use remit_policy::{MachineTable, Source};
    use remit_policy_compile::load;

    use super::*;

    #[test]
    fn its_policy_loads() {
        let text = policy(Path::new("/var/lib/remit-bench.0/copies")).into_bytes();
        let name = "20-bench.toml".into();
        if let Err(found) = load(&[Source { name, text }], &MachineTable::default()) {
            panic!(
                "{:?}",
                found.iter().map(ToString::to_string).collect::<Vec<_>>()
            );
        }
    }
}
