//! Explains why nothing of a job ran. Pure.

use std::io;

use remit_common::text;
use remit_common::view::{PRIVATE, STAND_INS};
use remit_policy::{Eyes, PathIs};
use remit_spawn::{Step, StepFailure, Why};

use crate::request::{ArgumentSlot, Plan, SlotWhat};

/// The way out, if no copy can have a change.
const APART: &str = "plan this change apart from the others, or ask for them without this check";
/// Bytes of a path in a sentence.
const PATH: usize = 256;

/// 127 and 126 have the same meaning as in env(1).
pub const fn status(failure: &StepFailure) -> Option<i32> {
    match failure.why {
        Why::NotFound => Some(127),
        Why::NotExecutable
        | Why::IsDirectory
        | Why::NotRegular
        | Why::BadInterpreter
        | Why::PermissionDenied
        | Why::Unreadable => Some(126),
        Why::Errno
        | Why::WrongKind
        | Why::Untrusted
        | Why::Changed
        | Why::Hidden
        | Why::Unmet
        | Why::Died => None,
    }
}

pub fn cause(plan: &Plan, failure: &StepFailure) -> String {
    let StepFailure {
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
                libc::ELOOP => "; its path has a symbolic link",
                _ => "",
            };
            format!("'{}' cannot be opened by the job: {error}{way}", argument())
        }
        (Step::Arguments, Why::WrongKind) => {
            let why = other_kind(&plan.bound.slots, at);
            format!("'{}' cannot be used: {why}", argument())
        }
        (Step::Arguments, Why::Untrusted) => {
            let can = "users other than root and the job's own can change a directory of its path";
            format!("'{}' cannot be used as a path: {can}", argument())
        }
        (Step::Root | Step::Mounts, Why::Errno | Why::WrongKind) if let Some(path) = listed() => {
            let profile = plan.bound.compiled.name();
            let why = match (why, errno) {
                (Why::WrongKind, _) => "it is not of the listed kind".to_owned(),
                (_, libc::ELOOP) => {
                    "its path goes through a symbolic link, which is not followed; list a path without links"
                        .to_owned()
                }
                _ => error.to_string(),
            };
            format!(
                "'{path}', which profile '{profile}' lists, cannot be mounted in the sandbox: {why}"
            )
        }
        (Step::Plan, why) if at.is_some() => {
            unlaid(plan, usize::from(at.unwrap_or(0)), why, &error)
        }
        (Step::Cwd, Why::Errno) => {
            let cwd = text::line(plan.bound.cwd.as_bytes(), PATH);
            format!("the working directory '{cwd}' cannot be entered: {error}")
        }
        (Step::Exec, why) if at.is_some() => {
            let path = at.and_then(measured).unwrap_or_default();
            approved(&path, why, &error)
        }
        // A setuid(2) above RLIMIT_NPROC fails at the exec. execve(2)
        (Step::Exec, Why::Errno) if errno == libc::EAGAIN => {
            let (profile, tasks) = (plan.bound.compiled.name(), plan.bound.limits.nproc);
            format!(
                "its user has more processes than 'tasks' of profile '{profile}' ({tasks}) allows: the kernel counts \
                 all of that uid, those of other containers too; nothing ran"
            )
        }
        // In copies the limit comes before the step that moves them.
        (Step::Descriptors, Why::Errno) if errno == libc::EMFILE => {
            let (profile, files) = (plan.bound.compiled.name(), plan.bound.limits.nofile);
            format!(
                "its paths and secrets need more descriptors than 'open_files' of profile '{profile}' ({files}) allows; \
                 raise it; nothing ran"
            )
        }
        (_, Why::Errno) => format!(
            "step '{}' of the sandbox failed: {error}; nothing ran",
            step.name()
        ),
        (_, Why::WrongKind | Why::Hidden | Why::Unmet) => {
            format!(
                "step '{}' of the sandbox had no effect; nothing ran",
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

/// Returns of which kind the file of an argument is not.
fn other_kind(slots: &[ArgumentSlot], at: Option<u16>) -> &'static str {
    let at = usize::from(at.unwrap_or(u16::MAX));
    let expected = slots.iter().find_map(|slot| match slot.what {
        SlotWhat::Path { is, .. } if slot.index == at => Some(is),
        _ => None,
    });
    match expected {
        Some(PathIs::File) => "it is not a regular file",
        Some(PathIs::Directory) => "it is not a directory",
        Some(PathIs::Either) | None => "it is neither a regular file nor a directory",
    }
}

/// Explains why an entry of the plan could not be laid into the copy of the machine of its check.
fn unlaid(plan: &Plan, at: usize, why: Why, error: &io::Error) -> String {
    let bundle = plan.call().file_change().and_then(Result::ok);
    // The entries are in the order of the commit.
    let entry = bundle.and_then(|bundle| {
        let at = *bundle.plan().operations().get(at)?;
        bundle.plan().entries().get(at)
    });
    let path = entry.map_or(&[][..], |entry| entry.path.as_bytes());
    let is_in = |own: &&str| {
        let rest = path
            .strip_prefix(b"/")
            .and_then(|path| path.strip_prefix(own.as_bytes()));
        rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(b"/"))
    };
    let private = PRIVATE.iter().find(|own| is_in(own));
    let is_stand_in = STAND_INS.iter().any(|own| is_in(&own.path));
    let (path, profile) = (text::line(path, PATH), plan.bound.compiled.name());
    let (why, next) = match (why, error.raw_os_error()) {
        (_, _) if let Some(private) = private => (
            format!("a copy of the machine has a small /{private} of its own, without what the machine has there"),
            APART,
        ),
        (Why::WrongKind, _) if is_stand_in => (
            "a copy of the machine has a program of remit's own there".to_owned(),
            APART,
        ),
        (Why::Hidden, _) if plan.bound.compiled.profile().eyes == Eyes::Root => (
            "copies do not show it, or it cannot be changed there".to_owned(),
            APART,
        ),
        (Why::Hidden, _) => (
            "an operator's account cannot read it or what is above it, or something is mounted there that copies do not show, or \
             it is in a directory of a user that has too many files to be looked through (remit-policy(5))"
                .to_owned(),
            "plan this change apart from the others, or, if an account cannot read it, use a check whose profile has eyes = \"root\"",
        ),
        (Why::WrongKind, _) => (
            "the copy of the machine does not have there what the plan has found".to_owned(),
            "plan again",
        ),
        (Why::Changed, _) => (
            "its upload is not there any more, or has other bytes than the plan says".to_owned(),
            "upload it or plan again",
        ),
        (Why::Errno, Some(libc::ENOSPC)) => (
            "the plan and the files that it changes do not fit into the copy".to_owned(),
            "raise 'space' of the profile, or plan less",
        ),
        (Why::Errno, Some(libc::EROFS)) => (
            "its file system is shown read-only in copies".to_owned(),
            APART,
        ),
        (Why::Errno, Some(libc::ELOOP)) => {
            ("its path has a symbolic link".to_owned(), "plan the path that the link leads to")
        }
        (Why::Errno, Some(libc::ENOENT | libc::ENOTDIR)) => {
            ("a directory above it is not there".to_owned(), "plan again")
        }
        (Why::Errno, Some(libc::ENOTEMPTY)) => {
            ("other names are in this directory".to_owned(), "plan again")
        }
        (_, _) => (error.to_string(), "plan again"),
    };
    format!(
        "the check does not run, because the change of '{path}' cannot be shown in profile '{profile}': {why}; {next}"
    )
}

fn approved(path: &str, why: Why, error: &io::Error) -> String {
    match (why, error.raw_os_error()) {
        (Why::Changed, None | Some(0)) => {
            format!("'{path}' is not what was approved: its content has changed; nothing ran")
        }
        (Why::Changed, _) => format!("'{path}' is not what was approved: {error}; nothing ran"),
        (Why::Untrusted, _) => {
            let can = "users other than root can change it, or a directory of its path";
            format!("'{path}' may change after the approval: {can}; nothing ran")
        }
        (Why::Unreadable, _) => {
            let needs = "the job's uid must be able to read it";
            format!("cannot compare '{path}' with what was approved: {needs}; nothing ran")
        }
        (_, _) => {
            format!("cannot compare '{path}' with what was approved: {error}; nothing ran")
        }
    }
}

fn program(plan: &Plan, why: Why) -> String {
    let program = plan.bound.argv.first().map_or(String::new(), |program| {
        text::line(program.as_bytes(), PATH)
    });
    match why {
        Why::NotFound if program.contains('/') => format!("'{program}' does not exist"),
        Why::NotFound => format!("there is no program '{program}' in the PATH of jobs"),
        Why::NotExecutable => format!("'{program}' is not an executable file"),
        Why::IsDirectory => format!("'{program}' is a directory"),
        Why::NotRegular => format!("'{program}' is not a regular file"),
        Why::BadInterpreter => {
            format!("the interpreter named in the first line of '{program}' is missing")
        }
        Why::PermissionDenied => {
            format!("the job's uid may not execute '{program}'")
        }
        Why::Untrusted => {
            let can =
                "users other than root can change it, a directory of its path, or its interpreter";
            format!("'{program}' is not executed: {can}")
        }
        Why::Errno
        | Why::WrongKind
        | Why::Changed
        | Why::Hidden
        | Why::Unreadable
        | Why::Unmet
        | Why::Died => {
            format!("'{program}' cannot be executed")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::approval::fixture::Scene;
    use crate::request::Passed;

    #[test]
    fn argument_of_another_kind_names_the_expected_one() {
        for (is, expect) in [
            (PathIs::File, "it is not a regular file"),
            (PathIs::Directory, "it is not a directory"),
            (
                PathIs::Either,
                "it is neither a regular file nor a directory",
            ),
        ] {
            let slot = ArgumentSlot {
                index: 3,
                before: Vec::new(),
                what: SlotWhat::Path {
                    under: c"/".into(),
                    beneath: c"etc".into(),
                    is,
                    pass: Passed::Text,
                },
            };
            assert_eq!(other_kind(&[slot], Some(3)), expect);
        }
        let plan = Scene::new().approved("backup.run", &[("key", "hunter2"), ("what", "x")]);
        let failure = StepFailure {
            step: Step::Arguments,
            errno: 0,
            why: Why::WrongKind,
            at: Some(4),
        };
        assert_eq!(
            cause(&plan, &failure),
            "'/etc/backup/all' cannot be used: it is not a regular file"
        );
    }

    #[test]
    fn step_without_a_path_has_its_own_reason() {
        let plan = Scene::new().approved("backup.run", &[("key", "hunter2"), ("what", "x")]);
        for (step, why, errno, says) in [
            (
                Step::Root,
                Why::WrongKind,
                0,
                "step 'root' of the sandbox had no effect; nothing ran",
            ),
            (
                Step::Root,
                Why::Errno,
                libc::ENOMEM,
                "step 'root' of the sandbox failed: Cannot allocate memory (os error 12); nothing ran",
            ),
            (
                Step::Descriptors,
                Why::Errno,
                libc::EMFILE,
                "its paths and secrets need more descriptors than 'open_files' of profile",
            ),
        ] {
            let failure = StepFailure {
                step,
                errno,
                why,
                at: None,
            };
            let cause = cause(&plan, &failure);
            assert!(cause.starts_with(says), "{cause}");
        }
    }
}
