//! Why nothing of a job ran, in words. Pure.

use std::io;

use remit_common::text;
use remit_confine::{Step, Why};

use crate::plan::Plan;

/// Of a path, on its line.
const PATH: usize = 256;

/// A step on the way to the exec that failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Failure {
    /// Which.
    pub step: Step,
    /// Its errno, 0 without one.
    pub errno: i32,
    /// The kind.
    pub why: Why,
    /// Which path of the profile, or which element of the argv.
    pub at: Option<u16>,
}

/// 127 and 126 mean what they mean to env(1).
pub const fn status(failure: &Failure) -> Option<i32> {
    match failure.why {
        Why::NotFound => Some(127),
        Why::NotExecutable
        | Why::IsDirectory
        | Why::NotRegular
        | Why::BadInterpreter
        | Why::PermissionDenied
        | Why::Unreadable => Some(126),
        Why::Errno | Why::WrongKind | Why::Untrusted | Why::Changed | Why::Unmet | Why::Died => {
            None
        }
    }
}

/// What failed, about which object.
pub fn cause(plan: &Plan, failure: &Failure) -> String {
    let Failure {
        step,
        errno,
        why,
        at,
    } = *failure;
    let error = io::Error::from_raw_os_error(errno);
    let argument = || {
        let element = plan.bound.argv.get(usize::from(at.unwrap_or(u16::MAX)));
        text::line(element.map_or(&[][..], |element| element.as_bytes()), PATH)
    };
    let measured = |at| {
        let file = plan.approved.as_ref()?.files.get(usize::from(at))?;
        Some(text::line(file.path.to_bytes(), PATH))
    };
    let listed = || {
        let path = at.and_then(|at| plan.bound.compiled.sandbox().path(at))?;
        Some(text::line(path.as_os_str().as_encoded_bytes(), PATH))
    };
    match (step, why) {
        (Step::Arguments, Why::Errno) if at.is_some() => {
            let way = match errno {
                libc::ELOOP => "; a symbolic link is on the way",
                _ => "",
            };
            format!("'{}' cannot be opened by the job: {error}{way}", argument())
        }
        (Step::Arguments, Why::WrongKind) => {
            let is = "it is not of the kind that the command takes (a file, a directory)";
            format!("'{}' cannot be used: {is}", argument())
        }
        (Step::Arguments, Why::Untrusted) => {
            let can = "others than root and the job's own user can change the way to it";
            format!("'{}' cannot be used as a path: {can}", argument())
        }
        (Step::Root | Step::Mounts, Why::Errno | Why::WrongKind) => match listed() {
            Some(path) => {
                let profile = plan.bound.compiled.name();
                let why = match why {
                    Why::WrongKind => "it is not of the kind that is listed".to_owned(),
                    _ => error.to_string(),
                };
                format!("'{path}', which profile '{profile}' lists, cannot be shown: {why}")
            }
            None => failed(step, &error),
        },
        (Step::Cwd, Why::Errno) => {
            let cwd = text::line(plan.bound.cwd.as_bytes(), PATH);
            format!("the working directory '{cwd}' cannot be entered: {error}")
        }
        (Step::Exec, why) if at.is_some() => {
            let path = at.and_then(measured).unwrap_or_default();
            approved(&path, why, &error)
        }
        (_, Why::Errno) => failed(step, &error),
        (_, Why::WrongKind | Why::Unmet) => {
            format!(
                "step '{}' of the sandbox did not hold; nothing ran",
                step.name()
            )
        }
        (_, Why::Died) => format!(
            "the child died in step '{}' of the sandbox; nothing ran",
            step.name()
        ),
        (_, why) => program(plan, why),
    }
}

/// Why a file that was measured for an approval is in the way.
fn approved(path: &str, why: Why, error: &io::Error) -> String {
    match (why, error.raw_os_error()) {
        (Why::Changed, None | Some(0)) => {
            format!("'{path}' is not what was approved: its content has changed; nothing ran")
        }
        (Why::Changed, _) => format!("'{path}' is not what was approved: {error}; nothing ran"),
        (Why::Untrusted, _) => {
            let can = "others than root can change it, or the way to it";
            format!("'{path}' need not stay what was approved: {can}; nothing ran")
        }
        (Why::Unreadable, _) => {
            let needs = "the job's uid must be able to read it";
            format!("'{path}' cannot be compared with what was approved: {needs}; nothing ran")
        }
        (_, _) => {
            format!("'{path}' cannot be compared with what was approved: {error}; nothing ran")
        }
    }
}

fn failed(step: Step, error: &io::Error) -> String {
    format!(
        "step '{}' of the sandbox failed: {error}; nothing ran",
        step.name()
    )
}

/// Why the program itself could not be executed.
fn program(plan: &Plan, why: Why) -> String {
    let program = plan.bound.argv.first().map_or(String::new(), |program| {
        text::line(program.as_bytes(), PATH)
    });
    match why {
        Why::NotFound if program.contains('/') => format!("'{program}' does not exist"),
        Why::NotFound => format!("there is no program '{program}' on the PATH of jobs"),
        Why::NotExecutable => format!("'{program}' is not an executable file"),
        Why::IsDirectory => format!("'{program}' is a directory"),
        Why::NotRegular => format!("'{program}' is not a regular file"),
        Why::BadInterpreter => {
            format!("the interpreter named in the first line of '{program}' is missing")
        }
        Why::PermissionDenied => {
            format!("'{program}' may not be executed by the job's uid")
        }
        Why::Untrusted => {
            let can = "others than root can change it, the way to it, or what interprets it";
            format!("'{program}' is not executed: {can}")
        }
        Why::Errno | Why::WrongKind | Why::Changed | Why::Unreadable | Why::Unmet | Why::Died => {
            format!("'{program}' cannot be executed")
        }
    }
}
