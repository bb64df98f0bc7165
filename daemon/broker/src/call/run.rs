//! `run`: check, seal, ask the warden, wait.

use std::os::fd::OwnedFd;

use remit_common::caps;
use remit_common::refusal::{Code, Refusal};
use remit_common::traceparent;
use remit_common::wire::{Reply, Run, What};
use remit_link::{Answer, Spec, SpecWhat, ToWarden, memfd};

use super::{Call, Refused, wrong_answer};
use crate::check;
use crate::notes;
use crate::warden::Granted;

impl Call {
    /// Starts a job, or finds the one that this request id started, and waits a while for its end.
    pub async fn run(&self, mut run: Run) -> Result<Reply, Refused> {
        if let Some(command) = check::run(&run)? {
            run.stdin = self.facts(&command).await?;
        }
        run.traceparent = traceparent::checked(run.traceparent);
        let wait_ms = run.wait_ms;
        let about = notes::of_run(&run);
        let (session, client) = (self.client.session, self.client.name.clone());
        let message = |ticket| {
            let (spec, fds) = specified(run, client)?;
            let spec = Box::new(spec);
            Ok((
                ToWarden::Run {
                    session,
                    ticket,
                    spec,
                },
                fds,
            ))
        };
        let job = match self.ask(about, message).await? {
            Granted::Started(job) => job,
            Granted::Answer(Answer::Known(id)) => self.broker.jobs.of(&self.client.owner, id)?,
            Granted::Answer(Answer::Access(_) | Answer::Stopping(_) | Answer::History(_)) => {
                return Err(wrong_answer());
            }
        };
        let wait_ms = match wait_ms {
            Some(wait_ms) => wait_ms,
            // A person may take their time; who asked has to tell them.
            None if job.approval().is_some() => 0,
            None => caps::WAIT_MS_DEFAULT,
        };
        self.wait(&job, wait_ms).await;
        self.ready(&job).await;
        let report = self.report(&job);
        Ok(Reply::Job { report, part: None })
    }
}

/// The run as the warden gets it: script and stdin sealed, in this order.
fn specified(run: Run, client: String) -> Result<(Spec, Vec<OwnedFd>), Refusal> {
    let mut fds = Vec::new();
    let what = match run.what {
        What::Argv(argv) => SpecWhat::Argv(argv),
        What::Script { text, interpreter } => {
            fds.push(sealed(c"remit-script", &text)?);
            SpecWhat::Script { interpreter }
        }
        What::Named { name, args } => SpecWhat::Named { name, args },
    };
    if let Some(stdin) = &run.stdin {
        fds.push(sealed(c"remit-stdin", stdin)?);
    }
    let spec = Spec {
        what,
        cwd: run.cwd,
        env: run.env,
        stdin: run.stdin.is_some(),
        profile: run.profile,
        max_runtime_s: run.max_runtime_s,
        request_id: run.request_id,
        client,
        purpose: run.purpose,
        traceparent: run.traceparent,
    };
    Ok((spec, fds))
}

fn sealed(name: &std::ffi::CStr, bytes: &[u8]) -> Result<OwnedFd, Refusal> {
    memfd::seal(name, bytes).map_err(|error| {
        tracing::error!(%error, "cannot make a memory file");
        Refusal::new(
            Code::Busy,
            format!("cannot hold the script or stdin in memory: {error}"),
        )
        .next("try again later")
    })
}
