//! `remit put` sends files for plans, `remit get` fetches one: here, or through ssh on another host, whose `mcp-shim` then
//! talks to the daemon. So both work with a key that starts nothing else.

use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::io::{self, Seek, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use remit_common::RELEASE;
use remit_common::names::Runtime;
use remit_common::refusal::{Code, Refusal};
use remit_plan::{Action, Edit, Plan, Upload};
use remit_wire::client::Client;
use remit_wire::transfer::{self, TransferError};
use serde_json::json;

use super::input::usage;
use crate::args::{GetArgs, PutArgs};
use crate::error::{Exit, Failure};
use crate::render::output::{self, Context, Form};

pub fn put(context: &Context, args: &PutArgs) -> Result<Exit, Failure> {
    let (host, files) = match args.files.split_last() {
        Some((last, files))
            if host_of(last.as_os_str()).is_some_and(|(_, path)| path.is_empty()) =>
        {
            (host_of(last.as_os_str()), files)
        }
        _ => (None, args.files.as_slice()),
    };
    if files.is_empty() {
        return Err(usage("name a file to send"));
    }
    let mut sent = Vec::new();
    for path in files {
        let mut file = opened(path)?;
        let upload = name(path, &mut file)?;
        match host {
            None => send(&context.runtime, upload, &mut file)?,
            Some((host, _)) => through_ssh(host, &format!("--put {upload}"))?
                .stdin(file)
                .status()
                .map_err(|error| no_ssh(&error))
                .and_then(|status| ended(status.code()))?,
        }
        let name = path.to_string_lossy();
        match context.form {
            Form::Text => writeln!(io::stdout(), "{upload}  {name}")?,
            Form::Json => sent.push(json!({ "file": name, "upload": upload.to_string() })),
        }
    }
    if context.form == Form::Json {
        output::json(&json!({ "uploads": sent }))?;
    }
    Ok(Exit::OK)
}

pub fn get(context: &Context, args: &GetArgs) -> Result<Exit, Failure> {
    let (host, path) = match host_of(&args.from) {
        Some((host, path)) => (Some(host), path),
        None => (None, args.from.as_bytes()),
    };
    let base = Path::new(OsStr::from_bytes(path)).file_name();
    let to = match (&args.to, base) {
        (Some(to), _) => to.clone(),
        (None, Some(name)) => PathBuf::from(name),
        (None, None) => return Err(usage("name a file to fetch, as HOST:/var/log/syslog")),
    };
    if to == Path::new("-") {
        fetch(&context.runtime, host, path, &mut io::stdout().lock())?;
        return Ok(Exit::OK);
    }
    let part = beside(&to)?;
    let fetched = part_file(&part).and_then(|mut file| {
        fetch(&context.runtime, host, path, &mut file)?;
        file.rewind().map_err(|error| unwritable(&part, &error))?;
        let upload = name(&part, &mut file)?;
        fs::rename(&part, &to).map_err(|error| unwritable(&to, &error))?;
        Ok(upload)
    });
    let upload = match fetched {
        Ok(upload) => upload,
        Err(failure) => {
            // The error that follows says what matters.
            let _ = fs::remove_file(&part);
            return Err(failure);
        }
    };
    match context.form {
        Form::Text => writeln!(io::stdout(), "{upload}  {}", to.display())?,
        Form::Json => output::json(&json!({
            "file": to.to_string_lossy(),
            "upload": upload.to_string(),
        }))?,
    }
    Ok(Exit::OK)
}

/// Names the bytes of a file that `plan` writes, and has it sent later.
pub fn name(path: &Path, file: &mut File) -> Result<Upload, Failure> {
    let upload = transfer::copy(file, &mut io::sink()).map_err(|error| about(path, &error))?;
    file.rewind().map_err(|error| about(path, &error))?;
    match upload.size {
        0 => Err(Failure::Input(Refusal::new(
            Code::InvalidArgs,
            format!(
                "'{}' is empty: a plan writes that without an upload",
                path.display()
            ),
        ))),
        _ => Ok(upload),
    }
}

pub fn opened(path: &Path) -> Result<File, Failure> {
    File::open(path).map_err(|error| about(path, &error))
}

pub fn send(runtime: &Runtime, upload: Upload, file: &mut File) -> Result<(), Failure> {
    let mut client = connected(runtime)?;
    transfer::put(&mut client, upload, file).map_err(failed)
}

/// Fails if an upload that the edits name is not there.
pub fn check_edits(runtime: &Runtime, edits: &[Edit]) -> Result<(), Failure> {
    let named = edits.iter().filter_map(|edit| match edit.action {
        Action::Upload(upload) => Some(upload),
        _ => None,
    });
    check(runtime, named)
}

pub fn check_plan(runtime: &Runtime, plan: &Plan) -> Result<(), Failure> {
    let entries = plan.entries().iter();
    check(runtime, entries.filter_map(|entry| entry.change.upload()))
}

fn check(runtime: &Runtime, uploads: impl Iterator<Item = Upload>) -> Result<(), Failure> {
    let mut uploads = uploads.peekable();
    if uploads.peek().is_none() {
        return Ok(());
    }
    let mut client = connected(runtime)?;
    for upload in uploads {
        let received = transfer::received(&mut client, upload).map_err(failed)?;
        transfer::check_whole(upload, received)?;
    }
    Ok(())
}

fn connected(runtime: &Runtime) -> Result<Client, Failure> {
    Ok(Client::connect(
        &runtime.socket(),
        &format!("remit {RELEASE}"),
    )?)
}

fn fetch(
    runtime: &Runtime,
    host: Option<&OsStr>,
    path: &[u8],
    to: &mut impl Write,
) -> Result<(), Failure> {
    let Some(host) = host else {
        return transfer::get(&mut connected(runtime)?, path, to).map_err(failed);
    };
    let word = transfer::path_word(path);
    let mut ssh = through_ssh(host, &format!("--get {word}"))?;
    let mut child = ssh
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .map_err(|error| no_ssh(&error))?;
    let copied = child
        .stdout
        .take()
        .map(|mut from| transfer::copy(&mut from, to));
    let status = child.wait().map_err(|error| no_ssh(&error))?;
    copied.transpose().map_err(failed)?;
    ended(status.code())
}

/// Splits `HOST:PATH` as scp(1) does: a colon after a slash is a part of a path.
fn host_of(word: &OsStr) -> Option<(&OsStr, &[u8])> {
    let bytes = word.as_bytes();
    let at = bytes.iter().position(|byte| matches!(byte, b':' | b'/'))?;
    let (host, rest) = bytes.split_at_checked(at)?;
    let path = rest.strip_prefix(b":")?;
    (!host.is_empty()).then(|| (OsStr::from_bytes(host), path))
}

fn through_ssh(host: &OsStr, option: &str) -> Result<Command, Failure> {
    if host.as_bytes().starts_with(b"-") {
        return Err(usage("the name of a host does not begin with '-'"));
    }
    let mut ssh = Command::new("ssh");
    ssh.arg("-T")
        .arg("--")
        .arg(host)
        .arg(format!("mcp-shim {option}"));
    Ok(ssh)
}

fn no_ssh(error: &io::Error) -> Failure {
    let text = format!("cannot start ssh: {error}");
    Failure::Input(Refusal::new(Code::NotStarted, text).next("install the client of OpenSSH"))
}

/// What failed on the other side is already on standard error.
fn ended(status: Option<i32>) -> Result<(), Failure> {
    match status {
        Some(0) => Ok(()),
        status => {
            let status = status.map_or("a signal".to_owned(), |status| format!("status {status}"));
            let text = format!("ssh ended with {status}; nothing is kept");
            Err(Failure::Input(Refusal::new(Code::NotStarted, text)))
        }
    }
}

fn failed(error: TransferError) -> Failure {
    match error {
        TransferError::Client(error) => Failure::Client(error),
        TransferError::Write(error) => error.into(),
        TransferError::Read(_) | TransferError::Job(_) => {
            Failure::Input(Refusal::new(Code::NotFound, error.to_string()))
        }
    }
}

fn about(path: &Path, error: &dyn std::fmt::Display) -> Failure {
    let text = format!("cannot read '{}': {error}", path.display());
    Failure::Input(Refusal::new(Code::InvalidArgs, text))
}

fn unwritable(path: &Path, error: &io::Error) -> Failure {
    let text = format!("cannot write '{}': {error}", path.display());
    Failure::Input(Refusal::new(Code::InvalidArgs, text))
}

fn beside(to: &Path) -> Result<PathBuf, Failure> {
    let name = to
        .file_name()
        .ok_or_else(|| usage("the file to write has no name"))?;
    let mut part = OsString::from(".");
    part.push(name);
    part.push(".part");
    Ok(to.with_file_name(part))
}

fn part_file(part: &Path) -> Result<File, Failure> {
    let options = fs::OpenOptions::new()
        .read(true)
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(part);
    options.map_err(|error| unwritable(part, &error))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_is_before_the_first_colon_without_a_slash() {
        for (word, expect) in [
            ("web1:/etc/hosts", Some(("web1", "/etc/hosts"))),
            ("a@web1:", Some(("a@web1", ""))),
            ("web1:a:b", Some(("web1", "a:b"))),
            ("/srv/a:b", None),
            ("./a:b", None),
            (":x", None),
            ("x", None),
        ] {
            let found = host_of(OsStr::new(word));
            let expect = expect.map(|(host, path)| (OsStr::new(host), path.as_bytes()));
            assert_eq!(found, expect, "{word}");
        }
    }
}
