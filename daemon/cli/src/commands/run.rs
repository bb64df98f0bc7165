//! `remit run` and `change` run a command and pass on its output. `remit try` lets root use a profile without a grant.

use std::ffi::OsString;
use std::io;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

use nix::unistd::geteuid;
use remit_common::refusal::{Code, Refusal};
use remit_common::{caps, text};
use remit_wire::client::ClientError;
use remit_wire::edits::COPY_PROFILE;
use remit_wire::outcome::{Ending, Enforced, JobReport, State};
use remit_wire::result::JobResult;
use remit_wire::{Bytes, Purpose, Run, What};

use super::input::{self, bounded, conflict, file_of, usage};
use super::plan_output;
use crate::args::{self, CallArgs, ChangeArgs, CopyArgs, RunArgs, TryArgs, Variable};
use crate::client::ctrl_c::Interrupt;
use crate::client::follow::Streams;
use crate::client::user_socket::Daemon;
use crate::error::{Exit, Failure};
use crate::render::job_end;
use crate::render::output::{self, Context, Form};

/// Milliseconds to wait for the end in the first request. A short command needs only one exchange. The id of a longer
/// one is known early, so Ctrl-C can stop it. A lost connection then does not lose the job.
const FIRST_WAIT_MS: u32 = 100;

pub fn run(context: &Context, args: RunArgs) -> Result<Exit, Failure> {
    let no_wait = args.call.no_wait;
    let run = request(args)?;
    let report = match no_wait {
        true => start_detached(context, run)?,
        false => run_attached(context, run)?,
    };
    Ok(Exit::of_job(&report))
}

/// Starts the job without waiting, and prints its id. A job that has already ended is shown as usual.
pub fn start_detached(context: &Context, mut run: Run) -> Result<JobReport, Failure> {
    run.wait_ms = Some(FIRST_WAIT_MS);
    let mut daemon = Daemon::connect(&context.runtime)?;
    let report = daemon.run(run)?;
    if report.ending.is_some() {
        return finish(context, &mut daemon, Streams::both(0, 0), report, false);
    }
    job_end::tell_approval(&report);
    match context.form {
        Form::Json => output::json(&JobResult::from(&report))?,
        Form::Text => output::text(&format!("job {} {}\n", report.job, report.state.as_str()))?,
    }
    Ok(report)
}

/// Requests the job, and prints who may approve it. From now on Ctrl-C stops it.
fn begin(daemon: &mut Daemon, interrupt: &Interrupt, mut run: Run) -> Result<JobReport, Failure> {
    run.wait_ms = Some(FIRST_WAIT_MS);
    let report = daemon.run(run)?;
    match report.state {
        State::AwaitingApproval => interrupt.awaits(report.job),
        _ => interrupt.started(report.job),
    }
    job_end::tell_approval(&report);
    Ok(report)
}

pub fn ended(daemon: &mut Daemon, interrupt: &Interrupt, run: Run) -> Result<JobReport, Failure> {
    let report = begin(daemon, interrupt, run)?;
    let job = report.job;
    daemon.ended(report).map_err(|failure| failure.leaves(job))
}

/// Runs a job whose output is not the answer: all of it goes to standard error.
pub fn streamed(
    daemon: &mut Daemon,
    interrupt: &Interrupt,
    run: Run,
) -> Result<JobReport, Failure> {
    let report = begin(daemon, interrupt, run)?;
    let job = report.job;
    let mut streams = Streams::to_stderr();
    let ended = match report.ending.is_some() {
        true => Ok(report),
        false => streams.follow(daemon, report),
    };
    let report = ended.map_err(|failure| failure.leaves(job))?;
    streams.rest(daemon, &report)?;
    job_end::notes(&report);
    Ok(report)
}

pub fn run_attached(context: &Context, run: Run) -> Result<JobReport, Failure> {
    let mut daemon = Daemon::connect(&context.runtime)?;
    let interrupt = Interrupt::watch(context.runtime.socket())?;
    let report = begin(&mut daemon, &interrupt, run)?;
    let job = report.job;
    let mut streams = Streams::both(0, 0);
    let ended = match (report.ending.is_some(), context.form) {
        (true, _) => Ok(report),
        (false, Form::Json) => daemon.ended(report),
        (false, Form::Text) => streams.follow(&mut daemon, report),
    };
    let report = ended.map_err(|failure| failure.leaves(job))?;
    let pressed = interrupt.ended();
    finish(context, &mut daemon, streams, report, pressed)
}

/// Shows the rest of an ended job. If Ctrl-C was `pressed`, always prints how it ended.
fn finish(
    context: &Context,
    daemon: &mut Daemon,
    streams: Streams,
    report: JobReport,
    pressed: bool,
) -> Result<JobReport, Failure> {
    let written = match context.form {
        Form::Json => output::json(&JobResult::from(&report)),
        Form::Text => streams.rest(daemon, &report),
    };
    match pressed {
        true => job_end::stopped(&report),
        false => job_end::notes(&report),
    }
    match written {
        // A reader that stops early, such as `head`, is not a failure of the command.
        Ok(()) | Err(Failure::Gone) => Ok(report),
        Err(failure) => Err(failure),
    }
}

fn request(args: RunArgs) -> Result<Run, Failure> {
    check_stdin(args.script_file.as_deref(), &args.call)?;
    if args.name.is_none() && !args.call.secret.is_empty() {
        return Err(usage(
            "'--secret' gives an argument of a command: it needs '--name'",
        ));
    }
    let what = match (
        script(args.script, args.script_file, args.interpreter)?,
        args.name,
    ) {
        (Some(script), _) => script,
        (None, Some(name)) => input::named_command(name, &args.argv, &args.call)?,
        (None, None) => What::Argv(args::bytes(&args.argv)),
    };
    Ok(Run {
        cwd: directory(args.cwd),
        env: variables(args.env),
        profile: args.profile,
        ..new_run(what, args.call, Purpose::Use)?
    })
}

/// Returns the request for a program or script on a copy of the machine.
pub fn on_copy(args: CopyArgs) -> Result<Run, Failure> {
    let what = script(args.script, args.script_file, args.interpreter)?;
    let what = what.unwrap_or_else(|| What::Argv(args::bytes(&args.argv)));
    Ok(Run {
        cwd: directory(args.cwd),
        env: variables(args.env),
        profile: Some(args.profile.unwrap_or_else(|| COPY_PROFILE.to_owned())),
        max_runtime_s: args.timeout,
        ..plan_output::call(what, Purpose::Use, None)
    })
}

fn script(
    text: Option<OsString>,
    file: Option<PathBuf>,
    interpreter: Option<OsString>,
) -> Result<Option<What>, Failure> {
    let text = match (text, file) {
        (Some(text), _) => text.into_vec().into(),
        (None, Some(file)) if file == Path::new("-") => {
            bounded(&mut io::stdin(), "standard input", caps::SCRIPT)?
        }
        (None, Some(file)) => file_of("script", &file, caps::SCRIPT)?,
        (None, None) => return Ok(None),
    };
    let interpreter = interpreter.map(|name| name.into_vec().into());
    Ok(Some(What::Script { text, interpreter }))
}

fn directory(dir: Option<PathBuf>) -> Option<Bytes> {
    dir.map(|dir| dir.into_os_string().into_vec().into())
}

fn variables(all: Vec<Variable>) -> Vec<(Bytes, Bytes)> {
    let all = all.into_iter();
    all.map(|variable| (variable.name.into(), variable.value.into()))
        .collect()
}

fn new_run(what: What, call: CallArgs, purpose: Purpose) -> Result<Run, Failure> {
    let stdin = match call.stdin {
        true => Some(bounded(&mut io::stdin(), "standard input", caps::STDIN)?),
        false => None,
    };
    Ok(Run {
        traceparent: input::claimed_trace(),
        behalf: input::claimed_behalf(),
        stdin,
        max_runtime_s: call.timeout,
        request_id: call.request_id,
        ..Run::new(what, purpose)
    })
}

/// Runs the command and passes on its output. The exit status is the command's.
pub fn change(context: &Context, args: ChangeArgs) -> Result<Exit, Failure> {
    let (no_wait, asked) = (args.call.no_wait, args.then.len());
    let run = change_request(context, args)?;
    let report = match no_wait {
        true => start_detached(context, run)?,
        false => run_attached(context, run)?,
    };
    Ok(exit(&report, asked))
}

/// Returns the status of a job that `asked` commands should have followed. A restart of the daemon can lose them.
pub fn exit(report: &JobReport, asked: usize) -> Exit {
    let has_ended_well = report.ending.as_ref().is_some_and(Ending::has_succeeded);
    if has_ended_well && report.then.len() < asked {
        output::note("the daemon does not say how the commands ended that follow: remit jobs");
        return Exit::REFUSED;
    }
    Exit::of_job(report)
}

fn change_request(context: &Context, args: ChangeArgs) -> Result<Run, Failure> {
    let ChangeArgs {
        name,
        script: text,
        script_file,
        interpreter,
        profile,
        cwd,
        env,
        plan: plan_id,
        then,
        reason,
        call,
        words,
        argv,
    } = args;
    if let Some(id) = plan_id {
        return Ok(Run {
            max_runtime_s: call.timeout,
            request_id: call.request_id,
            ..plan_output::commit(context, &id, then, reason)?
        });
    }
    check_stdin(script_file.as_deref(), &call)?;
    let is_named = name.is_some() || !words.is_empty();
    let one_off = match script(text, script_file, interpreter)? {
        Some(script) => Some(script),
        None => (!argv.is_empty() && !is_named).then(|| What::Argv(args::bytes(&argv))),
    };
    // After a command, `--` only ends the options.
    let mut words = words.into_iter().chain(argv);
    let what = match (one_off, name) {
        (Some(_), _) if !call.secret.is_empty() => {
            return Err(usage("'--secret' gives an argument of a named command"));
        }
        (Some(what), _) => what,
        (None, name) => {
            let name = match name {
                Some(name) => name,
                None => match words.next() {
                    Some(word) => named_by(word.as_encoded_bytes())?,
                    None => {
                        return Err(usage(
                            "it names no command, and no program after '--'; 'remit access' lists the commands",
                        ));
                    }
                },
            };
            let words: Vec<_> = words.collect();
            input::named_command(name, &words, &call)?
        }
    };
    Ok(Run {
        cwd: directory(cwd),
        env: variables(env),
        profile,
        ..new_run(what, call, Purpose::Change { reason })?
    })
}

fn check_stdin(script_file: Option<&Path>, call: &CallArgs) -> Result<(), Failure> {
    match script_file == Some(Path::new("-")) && call.stdin {
        true => Err(conflict(
            "the script ('--script-file -')",
            "its input ('--stdin')",
        )),
        false => Ok(()),
    }
}

fn named_by(word: &[u8]) -> Result<String, Failure> {
    match std::str::from_utf8(word) {
        Ok(name) if !name.contains('=') => Ok(name.to_owned()),
        Ok(pair) => Err(usage(&format!(
            "'{}' is an argument: the command's name comes first",
            text::line(pair.as_bytes(), 64)
        ))),
        Err(_) => {
            let why = "the name of the command is not UTF-8";
            Err(Failure::Input(Refusal::new(Code::InvalidArgs, why)))
        }
    }
}

/// Runs the command, then prints what was enforced. The exit status is the command's.
pub fn attempt(context: &Context, args: TryArgs) -> Result<Exit, Failure> {
    let report = run_attached(context, try_request(args)).map_err(|failure| match failure {
        // Membership in the group would not help: only root may try.
        Failure::Client(ClientError::NotAllowed { .. }) if !geteuid().is_root() => {
            Failure::NotRoot("try")
        }
        Failure::Client(ClientError::Refused(refusal))
            if refusal.code == Code::DeniedRule && !geteuid().is_root() =>
        {
            Failure::NotRoot("try")
        }
        other => other,
    })?;
    if context.form == Form::Text
        && let Some(enforced) = &report.enforced
    {
        enforced_lines(enforced)
            .iter()
            .for_each(|line| output::note(line));
    }
    Ok(Exit::of_job(&report))
}

fn try_request(args: TryArgs) -> Run {
    let what = match args.script {
        Some(text) => What::Script {
            text: text.into_vec().into(),
            interpreter: None,
        },
        None => What::Argv(args::bytes(&args.argv)),
    };
    Run {
        cwd: args.cwd.map(|dir| dir.into_os_string().into_vec().into()),
        profile: args.profile,
        max_runtime_s: args.timeout,
        ..Run::new(what, Purpose::Try)
    }
}

fn enforced_lines(enforced: &Enforced) -> Vec<String> {
    let landlock = match enforced.landlock {
        0 => "landlock: none".to_owned(),
        version => format!("landlock: version {version}"),
    };
    let mut lines = vec![
        format!("profile: {}", enforced.profile),
        format!("uid: {}", enforced.uid),
        landlock,
    ];
    lines.push(format!("layers: {}", enforced.layers.join(", ")));
    lines.extend(
        enforced
            .limits
            .iter()
            .map(|limit| format!("limit: {limit}")),
    );
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_layer_and_limit_is_shown() {
        let enforced = Enforced {
            profile: "read".into(),
            uid: 7,
            layers: vec!["identity".into(), "seccomp".into()],
            landlock: 0,
            limits: vec!["runtime 300 s".into()],
        };
        let expect =
            "profile: read|uid: 7|landlock: none|layers: identity, seccomp|limit: runtime 300 s";
        assert_eq!(enforced_lines(&enforced).join("|"), expect);
    }
}
