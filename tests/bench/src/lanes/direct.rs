//! Ways that start at a socket of the daemon.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use remit_common::caps;
use remit_wire::client::{Client, ClientError};
use remit_wire::outcome::{Enforced, State};
use remit_wire::{Access, Bytes, Purpose, Reply, Request, Run, What};

use super::Lane;
use crate::Failure;
use crate::stage::Stage;

pub fn enforced(stage: &mut Stage) -> Result<Enforced, Failure> {
    match stage.client()?.call(run(&["/bin/true"]), drop)? {
        Reply::Job { report, .. } => report.enforced.ok_or_else(|| "nothing was enforced".into()),
        other => Err(format!("'/bin/true' did not run: {other:?}").into()),
    }
}

/// Builds a run with the maximum wait.
pub fn run(argv: &[&str]) -> Request {
    let argv = argv.iter().map(|arg| Bytes::from(arg.as_bytes().to_vec()));
    Request::Run(Run {
        wait_ms: Some(caps::WAIT_MS),
        ..Run::new(What::Argv(argv.collect()), Purpose::Use)
    })
}

pub fn true_(stage: &mut Stage) -> Result<Box<dyn Lane>, Failure> {
    direct(stage, run(&["/bin/true"]), |answer| match answer {
        Ok(Reply::Job { report, .. }) => {
            let exit = report.ending.as_ref().and_then(|it| it.exit);
            report.state == State::Exited && exit == Some(0)
        }
        _ => false,
    })
}

/// Asks for the caller's permissions, which the warden answers.
pub fn access(stage: &mut Stage) -> Result<Box<dyn Lane>, Failure> {
    let access = Access {
        argv: None,
        profile: None,
        name: None,
        query: None,
    };
    direct(stage, Request::Access(access), |answer| {
        matches!(answer, Ok(Reply::Access(_)))
    })
}

/// Lists the caller's jobs, which the broker does without the warden.
pub fn broker_only(stage: &mut Stage) -> Result<Box<dyn Lane>, Failure> {
    direct(stage, Request::Jobs { limit: 1 }, |answer| {
        matches!(answer, Ok(Reply::Jobs(_)))
    })
}

/// Runs `/bin/true` by the warden and a broker that only measures (`bin/broker.rs`).
pub fn alone(stage: &mut Stage) -> Result<Box<dyn Lane>, Failure> {
    Ok(Box::new(Alone(stage.connect()?)))
}

type Answer = Result<Reply, ClientError>;

struct Direct {
    client: Client,
    request: Request,
    is_right: fn(&Answer) -> bool,
    answer: Option<Answer>,
}

fn direct(
    stage: &mut Stage,
    request: Request,
    is_right: fn(&Answer) -> bool,
) -> Result<Box<dyn Lane>, Failure> {
    Ok(Box::new(Direct {
        client: stage.client()?,
        request,
        is_right,
        answer: None,
    }))
}

impl Lane for Direct {
    fn go(&mut self) -> Result<(), Failure> {
        self.answer = Some(self.client.call(self.request.clone(), drop));
        Ok(())
    }

    fn check(&mut self) -> Result<(), Failure> {
        match &self.answer {
            Some(answer) if (self.is_right)(answer) => Ok(()),
            other => Err(format!("the daemon did not do it: {other:?}").into()),
        }
    }
}

struct Alone(UnixStream);

impl Lane for Alone {
    fn go(&mut self) -> Result<(), Failure> {
        self.timed().map(drop)
    }

    fn timed(&mut self) -> Result<Duration, Failure> {
        self.0.write_all(b"r")?;
        let mut took = [0; 8];
        self.0.read_exact(&mut took)?;
        Ok(Duration::from_nanos(u64::from_ne_bytes(took)))
    }
}
