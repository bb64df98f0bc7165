//! `run`: checks, asks the warden, waits.

use remit_common::caps;
use remit_common::traceparent;
use remit_link::{Answer, Spec, SpecWhat, ToWarden};
use remit_wire::{Bytes, Reply, Run, What};

use super::{Call, CallRefusal, wrong_answer};
use crate::call::validate;
use crate::hints::notes;
use crate::warden_link::Granted;

impl Call {
    pub async fn run(&self, mut run: Run) -> Result<Reply, CallRefusal> {
        if let Some(command) = validate::run(&run)? {
            run.stdin = self.facts(&command).await?;
        }
        run.traceparent = traceparent::checked(run.traceparent);
        let wait_ms = run.wait_ms;
        let about = notes::of_run(&run);
        let (session, client) = (self.client.session, self.client.name.clone());
        let message = |ticket| {
            let (spec, contents) = specified(run, client);
            let spec = Box::new(spec);
            Ok((
                ToWarden::Run {
                    session,
                    ticket,
                    spec,
                },
                contents,
            ))
        };
        let job = match self.ask(about, message).await? {
            Granted::Started(job) => job,
            Granted::Answer(Answer::Known(id)) => self.broker.jobs.of(&self.client.owner, id)?,
            Granted::Answer(Answer::Access(_) | Answer::Stopping(_)) => {
                return Err(wrong_answer());
            }
        };
        let wait_ms = match wait_ms {
            Some(wait_ms) => wait_ms,
            // An approval can take long, and the client must inform its user about it first.
            None if job.approval().is_some() => 0,
            None => caps::WAIT_MS_DEFAULT,
        };
        self.wait(&job, wait_ms).await;
        self.ready(&job).await;
        let report = self.report(&job);
        Ok(Reply::Job { report, part: None })
    }
}

/// Splits a run into its spec and the contents: script and stdin, in this order.
fn specified(run: Run, client: String) -> (Spec, Vec<Vec<u8>>) {
    let mut contents = Vec::new();
    let what = match run.what {
        What::Argv(argv) => SpecWhat::Argv(argv),
        What::Script { text, interpreter } => {
            contents.push(text.into_vec());
            SpecWhat::Script { interpreter }
        }
        What::Named { name, args } => SpecWhat::Named { name, args },
    };
    let stdin = run.stdin.map(Bytes::into_vec);
    let spec = Spec {
        what,
        cwd: run.cwd,
        env: run.env,
        stdin: stdin.is_some(),
        profile: run.profile,
        max_runtime_s: run.max_runtime_s,
        request_id: run.request_id,
        client,
        purpose: run.purpose,
        traceparent: run.traceparent,
    };
    contents.extend(stdin);
    (spec, contents)
}
