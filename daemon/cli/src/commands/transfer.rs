//! `remit put` sends files for plans, `remit get` fetches one: here, or through ssh on another host, whose `mcp-shim` then
//! talks to the daemon. So both work with a key that starts nothing else.

use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, Read, Seek, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::time::Duration;
use std::{iter, thread};

use remit_common::names::Runtime;
use remit_common::refusal::{Code, Refusal};
use remit_common::{RELEASE, caps, text};
use remit_edit::{Action, Edit};
use remit_plan::{FILE_BYTES, Plan, Upload};
use remit_wire::client::Client;
use remit_wire::request_id;
use remit_wire::transfer::{self, TransferError};
use remit_words::path_word::path_word;
use serde_json::json;

use super::input::usage;
use crate::args::{GetArgs, PutArgs};
use crate::error::{Exit, Failure};
use crate::render::output::{self, Context, Form};

/// Lines of the other side that are shown, and bytes of one that is read.
const LINES: usize = 20;
const LINE: u64 = 4096;
/// Longest time between two lines after the end of ssh.
const LAST_LINES: Duration = Duration::from_secs(2);

pub fn put(context: &Context, args: &PutArgs) -> Result<Exit, Failure> {
    let (host, files) = match args.files.split_last() {
        Some((last, files)) => match host_of(last.as_os_str()) {
            Some((host, [])) => (Some(host), files),
            _ => (None, args.files.as_slice()),
        },
        None => (None, args.files.as_slice()),
    };
    if files.is_empty() {
        return Err(usage("name a file to send"));
    }
    let with_path = |file: &&PathBuf| host_of(file.as_os_str()).is_some() && !file.exists();
    if let Some(file) = files.iter().find(with_path) {
        let file = file.display();
        let why = format!(
            "'{file}': a host has no path here, as in 'HOST:', and is last; a plan says where a file goes"
        );
        return Err(usage(&why));
    }
    let (mut sent, mut all) = (Vec::new(), Vec::new());
    for path in files {
        all.push((path, opened(path)?));
    }
    for (path, mut file) in all {
        let upload = name(path, &mut file)?;
        match host {
            None => send(&context.runtime, upload, &mut file)?,
            Some(host) => {
                let option = format!("--put {upload}");
                through_ssh(host, &option, file.into(), &mut io::sink(), Some(upload))?;
            }
        }
        match context.form {
            Form::Text => print(upload, path)?,
            Form::Json => {
                let name = shown(path);
                sent.push(json!({ "file": name, "upload": upload.to_string() }));
            }
        }
    }
    if context.form == Form::Json {
        output::json(&json!({ "uploads": sent }))?;
    }
    Ok(Exit::OK)
}

pub fn get(context: &Context, args: &GetArgs) -> Result<Exit, Failure> {
    let here = std::path::absolute(&args.from).unwrap_or_else(|_| PathBuf::from(&args.from));
    let (host, path) = match host_of(&args.from) {
        Some((_, path)) if !path.starts_with(b"/") => {
            return Err(usage(
                "give an absolute path of the other host, as HOST:/var/log/syslog",
            ));
        }
        Some((host, path)) => (Some(host), path),
        None => (None, here.as_os_str().as_bytes()),
    };
    let fetch = |to: &mut dyn Write| fetched(&context.runtime, host, path, to);
    if args.to.as_deref() == Some(Path::new("-")) {
        fetch(&mut io::stdout().lock())?;
        return Ok(Exit::OK);
    }
    let to = target(args.to.as_deref(), path)?;
    let part = beside(&to)?;
    let mut file = part_file(&part)?;
    let kept = fetch(&mut file).and_then(|upload| {
        fs::rename(&part, &to).map_err(|error| unusable("write", &to, &error))?;
        Ok(upload)
    });
    let upload = match kept {
        Ok(upload) => upload,
        Err(failure) => {
            // The error that follows says what matters.
            let _ = fs::remove_file(&part);
            return Err(failure);
        }
    };
    match context.form {
        Form::Text => print(upload, &to)?,
        Form::Json => output::json(&json!({
            "file": shown(&to),
            "upload": upload.to_string(),
        }))?,
    }
    Ok(Exit::OK)
}

fn print(upload: Upload, path: &Path) -> Result<(), Failure> {
    let name = shown(path);
    output::text(&format!("{upload}  {name}\n"))
}

fn shown(path: &Path) -> String {
    text::line(path.as_os_str().as_bytes(), caps::PATH)
}

/// A new file, or one of no other kind than a file: a link or a device is not replaced.
fn target(to: Option<&Path>, from: &[u8]) -> Result<PathBuf, Failure> {
    let base = Path::new(OsStr::from_bytes(from)).file_name();
    let base = base.ok_or_else(|| usage("name a file to fetch, as HOST:/var/log/syslog"))?;
    let to = match to {
        None => PathBuf::from(base),
        Some(to) if to.is_dir() => to.join(base),
        Some(to) => to.to_path_buf(),
    };
    match to.symlink_metadata() {
        Ok(found) if !found.is_file() => {
            let text = format!("'{}' is no regular file and is not replaced", to.display());
            let refusal = Refusal::new(Code::InvalidArgs, text);
            Err(Failure::Input(
                refusal.next("name another, or '-' for standard output"),
            ))
        }
        _ => Ok(to),
    }
}

pub fn name(path: &Path, file: &mut File) -> Result<Upload, Failure> {
    let upload = transfer::copy(file, &mut io::sink());
    let upload = upload.map_err(|error| unusable("read", path, &error))?;
    file.rewind()
        .map_err(|error| unusable("read", path, &error))?;
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

/// Opens a file that a plan can have, before its bytes are read.
pub fn opened(path: &Path) -> Result<File, Failure> {
    let failed = |error: io::Error| unusable("read", path, &error);
    // Opening a FIFO would block for ever.
    let found = path.metadata().map_err(failed)?;
    let (code, why) = match (found.is_file(), found.len()) {
        (false, _) => (Code::InvalidArgs, "is no regular file".to_owned()),
        (true, 0..=FILE_BYTES) => return File::open(path).map_err(failed),
        (true, _) => (
            Code::TooLarge,
            format!("has more than {FILE_BYTES} bytes, the most that a plan takes"),
        ),
    };
    let text = format!("'{}' {why}", path.display());
    Err(Failure::Input(Refusal::new(code, text)))
}

pub fn send(runtime: &Runtime, upload: Upload, file: &mut impl Read) -> Result<(), Failure> {
    let mut client = connected(runtime)?;
    transfer::put(&mut client, upload, file).map_err(failed)
}

/// Fails if an upload that the edits name is not there.
pub fn check_edits(runtime: &Runtime, edits: &[Edit]) -> Result<(), Failure> {
    let named = edits.iter().filter_map(|edit| match edit.action {
        Action::Upload(upload) => Some(upload),
        _ => None,
    });
    check(runtime, named, transfer::check_whole)
}

pub fn check_plan(runtime: &Runtime, plan: &Plan) -> Result<(), Failure> {
    let is_there = |upload, received| transfer::check_of_plan(plan, upload, received);
    check(runtime, plan.uploads().into_iter(), is_there)
}

fn check(
    runtime: &Runtime,
    uploads: impl Iterator<Item = Upload>,
    is_there: impl Fn(Upload, u64) -> Result<(), Refusal>,
) -> Result<(), Failure> {
    let mut uploads = uploads.peekable();
    if uploads.peek().is_none() {
        return Ok(());
    }
    let mut client = connected(runtime)?;
    for upload in uploads {
        let received = transfer::received(&mut client, upload).map_err(failed)?;
        is_there(upload, received)?;
    }
    Ok(())
}

fn connected(runtime: &Runtime) -> Result<Client, Failure> {
    Ok(Client::connect(
        &runtime.socket(),
        &format!("remit {RELEASE}"),
    )?)
}

fn fetched(
    runtime: &Runtime,
    host: Option<&OsStr>,
    path: &[u8],
    mut to: &mut dyn Write,
) -> Result<Upload, Failure> {
    let Some(host) = host else {
        let mut client = connected(runtime)?;
        return transfer::get(&mut client, path, &mut to, output::note).map_err(failed);
    };
    let option = format!("--get {}", path_word(path));
    through_ssh(host, &option, Stdio::null(), to, None)
}

/// Splits `HOST:PATH` as scp(1) does: a colon after a slash is a part of a path, and an address may be in brackets.
fn host_of(word: &OsStr) -> Option<(&OsStr, &[u8])> {
    let bytes = word.as_bytes();
    let (host, path) = match bytes.strip_prefix(b"[") {
        Some(rest) => {
            let at = rest.windows(2).position(|two| two == b"]:")?;
            (rest.get(..at)?, rest.get(at + 2..)?)
        }
        None => {
            let at = bytes.iter().position(|byte| matches!(byte, b':' | b'/'))?;
            let (host, rest) = bytes.split_at_checked(at)?;
            (host, rest.strip_prefix(b":")?)
        }
    };
    (!host.is_empty()).then(|| (OsStr::from_bytes(host), path))
}

/// Runs `mcp-shim` on the host and copies what it prints. Fails without its receipt: the line on its standard error that
/// names `expected`, or all that was copied. Something else than this release may have answered.
fn through_ssh(
    host: &OsStr,
    option: &str,
    input: Stdio,
    mut to: &mut dyn Write,
    expected: Option<Upload>,
) -> Result<Upload, Failure> {
    if host.as_bytes().starts_with(b"-") {
        return Err(usage("the name of a host does not begin with '-'"));
    }
    let no_ssh = |error: io::Error| {
        let text = format!("cannot run ssh: {error}");
        Failure::Input(Refusal::new(Code::NotStarted, text).next("install the client of OpenSSH"))
    };
    let mut ssh = Command::new("ssh");
    ssh.args(crate::client::ssh::CONFINED)
        .arg("--")
        .arg(host)
        .arg(format!("mcp-shim {option}"));
    ssh.stdin(input)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut child = ssh.spawn().map_err(no_ssh)?;
    // The command holds the input open, too.
    drop(ssh);
    let (receipts, received) = mpsc::channel();
    if let Some(from) = child.stderr.take() {
        thread::spawn(move || read_stderr(from, &receipts));
    }
    let copied = match child.stdout.take() {
        Some(mut from) => transfer::copy(&mut from, &mut to),
        None => Err(TransferError::Failed("ssh has no output".to_owned())),
    };
    if copied.is_err() {
        // It waits for a reader otherwise.
        let _ = child.kill();
    }
    let status = child.wait().map_err(no_ssh)?;
    // A master connection of ssh can hold its standard error open.
    let next = || received.recv_timeout(LAST_LINES).ok();
    let received = iter::from_fn(next).last();
    let upload = copied.map_err(failed)?;
    let upload = expected.unwrap_or(upload);
    let is_received = received == Some(upload);
    let why = match status.code() {
        Some(0) if is_received => return Ok(upload),
        Some(0) => format!("no receipt came: mcp-shim of remit {RELEASE} has to answer there"),
        Some(status) => format!("ssh ended with status {status}"),
        None => "ssh was killed".to_owned(),
    };
    Err(Failure::Input(Refusal::new(
        Code::NotStarted,
        why + "; not all of the file came",
    )))
}

/// Shows the lines of ssh's standard error as they come, as far as people read them, and those of mcp-shim behind many of
/// a banner. Sends each receipt.
fn read_stderr(from: impl Read, receipts: &mpsc::Sender<Upload>) {
    let mut from = BufReader::new(from);
    let (mut others, mut own) = (0, 0);
    let mut line = Vec::new();
    while matches!(
        from.by_ref().take(LINE).read_until(b'\n', &mut line),
        Ok(1..)
    ) {
        let text = text::line(line.trim_ascii_end(), 1024);
        let shown = match text.starts_with("mcp-shim: ") {
            true => &mut own,
            false => &mut others,
        };
        match text.parse() {
            // The one who waits for it may have left.
            Ok(upload) => drop(receipts.send(upload)),
            Err(_) if *shown < LINES => {
                output::note(&text);
                *shown += 1;
            }
            Err(_) => {}
        }
        line.clear();
    }
}

fn failed(error: TransferError) -> Failure {
    match error {
        TransferError::Client(error) => Failure::Client(error),
        TransferError::Write(error) => error.into(),
        TransferError::Read(_) | TransferError::Failed(_) => {
            Failure::Input(Refusal::new(Code::NotFound, error.to_string()))
        }
    }
}

fn unusable(verb: &str, path: &Path, error: &dyn std::fmt::Display) -> Failure {
    let text = format!("cannot {verb} '{}': {error}", path.display());
    Failure::Input(Refusal::new(Code::InvalidArgs, text))
}

/// A name of its own, so that two of these programs do not meet.
fn beside(to: &Path) -> Result<PathBuf, Failure> {
    let mut part = OsString::from(".");
    part.push(
        to.file_name()
            .ok_or_else(|| usage("the file to write has no name"))?,
    );
    part.push(format!(".{}.part", request_id::fresh()?));
    Ok(to.with_file_name(part))
}

fn part_file(part: &Path) -> Result<File, Failure> {
    let options = fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(part);
    options.map_err(|error| unusable("write", part, &error))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_file_that_a_plan_can_have_is_opened() {
        let dir = std::env::temp_dir().join("remit-transfer-XXXXXX");
        let dir = nix::unistd::mkdtemp(&dir).unwrap();
        for (name, size) in [("largest", FILE_BYTES), ("large", FILE_BYTES + 1)] {
            let file = File::create(dir.join(name)).unwrap();
            file.set_len(size).unwrap();
        }
        nix::unistd::mkfifo(&dir.join("fifo"), nix::sys::stat::Mode::S_IRWXU).unwrap();
        let opened = ["largest", "large", ".", "fifo", "missing"].map(|name| {
            let error = opened(&dir.join(name)).err()?;
            let Failure::Input(refusal) = error else {
                panic!("{error:?}");
            };
            Some(refusal.message)
        });
        fs::remove_dir_all(&dir).unwrap();
        let expect = [
            "has more than 268435456",
            "no regular",
            "no regular",
            "No such",
        ];
        assert_eq!(opened[0], None);
        for (error, expect) in opened[1..].iter().zip(expect) {
            assert!(
                error.as_ref().is_some_and(|error| error.contains(expect)),
                "{opened:?}"
            );
        }
    }

    #[test]
    fn a_host_is_before_the_first_colon_without_a_slash() {
        for (word, expect) in [
            ("web1:/etc/hosts", Some(("web1", "/etc/hosts"))),
            ("a@web1:", Some(("a@web1", ""))),
            ("web1:a:b", Some(("web1", "a:b"))),
            ("/srv/a:b", None),
            ("./a:b", None),
            (":x", None),
            ("[fe80::1]:/x", Some(("fe80::1", "/x"))),
            ("[fe80::1]", None),
            ("x", None),
        ] {
            let found = host_of(OsStr::new(word));
            let expect = expect.map(|(host, path)| (OsStr::new(host), path.as_bytes()));
            assert_eq!(found, expect, "{word}");
        }
    }
}
