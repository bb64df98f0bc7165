//! Whether a request is within its bounds and makes sense. Pure; rights are the warden's.

use std::collections::HashSet;

use remit_common::caps;
use remit_common::refusal::{Code, Refusal};
use remit_common::text;
use remit_common::wire::{Access, Bytes, Run, What};

fn invalid(message: impl Into<String>) -> Refusal {
    Refusal::new(Code::InvalidArgs, message)
}

fn within(what: &str, value: usize, cap: usize) -> Result<(), Refusal> {
    if value <= cap {
        return Ok(());
    }
    Err(Refusal::new(
        Code::TooLarge,
        format!("{what}: {value}, at most {cap} are allowed"),
    )
    .object(what))
}

fn no_nul(what: &str, bytes: &[u8]) -> Result<(), Refusal> {
    if bytes.contains(&0) {
        return Err(invalid(format!("{what} contains a NUL byte")).object(what));
    }
    Ok(())
}

/// Checks everything a run brings.
///
/// # Errors
/// The first bound or rule it breaks.
pub fn run(run: &Run) -> Result<(), Refusal> {
    match &run.what {
        What::Argv(args) => argv(args)?,
        What::Script { text, interpreter } => {
            within("script bytes", text.len(), caps::SCRIPT)?;
            if let Some(interpreter) = interpreter {
                path("interpreter", interpreter)?;
            }
        }
    }
    if let Some(cwd) = &run.cwd {
        path("cwd", cwd)?;
        if !cwd.starts_with(b"/") {
            return Err(invalid("cwd is not an absolute path").object(text::line(cwd, 200)));
        }
    }
    env(&run.env)?;
    if let Some(stdin) = &run.stdin {
        within("stdin bytes", stdin.len(), caps::STDIN)?;
    }
    profile(run.profile.as_deref())?;
    if let Some(seconds) = run.max_runtime_s {
        if seconds == 0 {
            return Err(invalid("max_runtime_s is zero").object("max_runtime_s"));
        }
        let cap = usize::try_from(caps::RUNTIME_S).unwrap_or(usize::MAX);
        within(
            "max_runtime_s",
            usize::try_from(seconds).unwrap_or(usize::MAX),
            cap,
        )?;
    }
    if let Some(id) = &run.request_id {
        within("request_id bytes", id.len(), caps::REQUEST_ID)?;
        if id.is_empty() || !id.chars().all(|c| text::is_plain(c) && !c.is_control()) {
            return Err(
                invalid("request_id is empty or has characters that cannot be shown")
                    .object("request_id"),
            );
        }
    }
    Ok(())
}

/// Checks a question about access.
///
/// # Errors
/// As [`run`].
pub fn access(access: &Access) -> Result<(), Refusal> {
    profile(access.profile.as_deref())?;
    access.argv.as_deref().map_or(Ok(()), argv)
}

/// Checks a signal's number.
///
/// # Errors
/// When the kernel has no such signal.
pub fn signal(signal: Option<i32>) -> Result<(), Refusal> {
    match signal {
        None | Some(1..=64) => Ok(()),
        Some(other) => {
            Err(invalid("there is no signal with this number").object(other.to_string()))
        }
    }
}

/// The kernel counts a final NUL with each element (execve(2)).
fn argv(argv: &[Bytes]) -> Result<(), Refusal> {
    match argv.first() {
        None => return Err(invalid("argv is empty").object("argv")),
        Some(program) if program.is_empty() => {
            return Err(invalid("argv[0] is empty").object("argv[0]"));
        }
        Some(_) => {}
    }
    within("argv elements", argv.len(), caps::ARGV_COUNT)?;
    let mut all = 0;
    for (number, element) in argv.iter().enumerate() {
        no_nul(&format!("argv[{number}]"), element)?;
        within(
            &format!("argv[{number}] bytes"),
            element.len() + 1,
            caps::ARGV_ELEMENT,
        )?;
        all += element.len() + 1;
    }
    within("argv bytes", all, caps::ARGV)
}

fn path(what: &str, path: &[u8]) -> Result<(), Refusal> {
    if path.is_empty() {
        return Err(invalid(format!("{what} is empty")).object(what));
    }
    no_nul(what, path)?;
    within(&format!("{what} bytes"), path.len() + 1, caps::PATH)
}

fn env(env: &[(Bytes, Bytes)]) -> Result<(), Refusal> {
    within("variables", env.len(), caps::ENV_COUNT)?;
    let mut seen = HashSet::new();
    for (name, value) in env {
        let shown = text::line(name, 64);
        if name.is_empty() || name.contains(&b'=') {
            return Err(invalid(format!("'{shown}' is no name of a variable")).object(shown));
        }
        no_nul("env", name)?;
        no_nul(&format!("variable '{shown}'"), value)?;
        within(
            &format!("bytes of variable '{shown}'"),
            name.len() + 1 + value.len() + 1,
            caps::ENV_ELEMENT,
        )?;
        if !seen.insert(name) {
            return Err(invalid(format!("variable '{shown}' is given twice")).object(shown));
        }
    }
    Ok(())
}

fn profile(profile: Option<&str>) -> Result<(), Refusal> {
    let Some(name) = profile else { return Ok(()) };
    within("profile name bytes", name.len(), caps::NAME)?;
    if name.is_empty()
        || !name
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b))
    {
        let shown = text::line(name.as_bytes(), 64);
        return Err(invalid(format!("'{shown}' is no name of a profile")).object(shown));
    }
    Ok(())
}
