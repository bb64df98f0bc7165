//! `remit approve --on HOST`: approves a request of another host from here. The host sends the request as data; this
//! computer makes the page and the digest of it, asks, and signs. The host gets back the digest and the signature alone,
//! so it cannot show one request and have another one signed.

use std::io::{self, BufRead, BufReader, IsTerminal, Read, Write};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::thread::{self, JoinHandle};

use remit_common::admin::ADMIN_PROTOCOL;
use remit_common::caps;
use remit_common::hex::hex;
use remit_common::id_prefix::IdPrefix;
use remit_common::refusal::{Code, Refusal};
use remit_page::{Unverified, Verified};

use super::approve::{check_whole, check_yours, confirm};
use super::signing;
use crate::args::ApproveArgs;
use crate::client::ssh;
use crate::error::{Exit, Failure};
use crate::render::output::{Context, Form, Sink};

const SSH: &str = "ssh";
/// A master connection is neither made nor used: with it, another program of this user could approve without the key.
const NO_MASTER: [&str; 4] = ["-o", "ControlMaster=no", "-o", "ControlPath=none"];
/// Bytes that a login may print before the request.
const GREETING: usize = 64 << 10;
/// First line of a request as data. The daemon and this program must have the same protocol, as on one host.
const TITLE: &str = "remit request";
/// Bytes of a line of standard error that are looked at as one.
const LINE: u64 = 4096;
/// Instead of ssh's advice on a host with another key than the known one: a man in the middle has one, too.
const KEPT_KEY: &[u8] = b"  do not remove it: find out with a person why the key is another one\n";

/// Returns the line before the request's bytes.
pub fn title() -> String {
    format!("{TITLE} {ADMIN_PROTOCOL}\n")
}

pub fn approve(context: &Context, args: &ApproveArgs, host: &str) -> Result<Exit, Failure> {
    let verified = fetch(host, &args.id)?.from_afar();
    check_whole(&verified)?;
    let shown = remit_page::shown(&verified);
    check_yours(&shown)?;
    let is_signed = args.signed || shown.pending.signed.is_some();
    let key = match is_signed {
        true => Some(signing::key(
            args.key.as_deref(),
            shown.pending.signed,
            None,
        )?),
        false => None,
    };
    let statement = is_signed.then(|| verified.statement());
    confirm(&shown, statement.as_deref(), args)?;
    let to_sign = statement.as_ref().zip(key);
    let sign = |(text, key): (&String, PathBuf)| signing::sign(text, &key);
    let signature = to_sign.map(sign).transpose()?;
    let mut words = vec![
        "remit".to_owned(),
        "approve".to_owned(),
        verified.job().to_string(),
        "--digest".to_owned(),
        hex(&verified.digest()),
    ];
    let mut more = |word: &str, is_wanted: bool| words.extend(is_wanted.then(|| word.to_owned()));
    more("--signature", signature.is_some());
    more("-", signature.is_some());
    more("--no-wait", args.no_wait);
    more("--json", context.form == Form::Json);
    let (mut child, errors) = start(host, &words)?;
    if let (Some(mut input), Some(signature)) = (child.stdin.take(), signature) {
        // If ssh has ended, its status says so.
        let _ = input.write_all(signature.as_bytes());
    }
    if let Some(mut output) = child.stdout.take() {
        match relay(&mut output, io::stdout()) {
            // The host's exit status is still to come.
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => {
                io::copy(&mut output, &mut io::sink())?;
            }
            relayed => relayed?,
        }
    }
    let status = child.wait()?;
    let _ = errors.join();
    Ok(Exit::of_ssh(status.code()))
}

/// Copies what the host writes. A terminal gets it as text: the host is not believed.
fn relay(mut from: impl Read, to: impl Write + IsTerminal) -> io::Result<()> {
    let mut sink = Sink::new(to);
    let mut bytes = [0; 4096];
    loop {
        match from.read(&mut bytes)? {
            0 => return sink.finish(),
            length => sink.write(bytes.get(..length).unwrap_or_default())?,
        }
        sink.flush()?;
    }
}

/// Copies what ssh and the host write on standard error, but no advice to remove a known key.
fn relay_errors(from: impl Read, to: impl Write + IsTerminal) -> io::Result<()> {
    let mut sink = Sink::new(to);
    let mut from = BufReader::new(from);
    loop {
        let mut line = Vec::new();
        from.by_ref().take(LINE).read_until(b'\n', &mut line)?;
        if line.is_empty() {
            return sink.finish();
        }
        sink.write(without_removal(&line))?;
        sink.flush()?;
    }
}

/// Returns the line, or what is shown instead.
fn without_removal(line: &[u8]) -> &[u8] {
    let words = line.trim_ascii();
    let begins = |begin: &[u8]| words.starts_with(begin);
    match () {
        () if words == b"remove with:" => KEPT_KEY,
        () if begins(b"ssh-keygen -f ") || begins(b"Add correct host key in ") => b"",
        () => line,
    }
}

/// Gets the request, and checks that it is whole and the one that was asked for.
fn fetch(host: &str, id: &IdPrefix) -> Result<Verified, Failure> {
    let id_text = id.to_string();
    let words = ["remit", "show", &id_text, "--bytes"].map(str::to_owned);
    let (mut child, errors) = start(host, &words)?;
    let mut bytes = Vec::new();
    if let Some(output) = child.stdout.take() {
        let most = u64::try_from(caps::SHOWN).unwrap_or(u64::MAX);
        output
            .take(most.saturating_add(GREETING as u64))
            .read_to_end(&mut bytes)?;
    }
    let status = child.wait()?;
    // All that it says comes before the page.
    let _ = errors.join();
    let refusal = |code, why: String| {
        let text = format!("nothing was approved: '{SSH} {host}' {why}");
        Refusal::new(code, text)
    };
    if !status.success() {
        let refusal = refusal(Code::NotStarted, format!("failed ({status})"));
        return Err(Failure::Ssh(Exit::of_ssh(status.code()), refusal));
    }
    let failed = |code, why| Failure::Machine(refusal(code, why));
    let answer = behind_title(&bytes).ok_or_else(|| {
        let why = "sent no request as this release of remit reads it; compare the releases: remit --version";
        failed(Code::InvalidArgs, why.to_owned())
    })?;
    let verified =
        Verified::from_answer(answer).and_then(|verified| match id.begins(verified.job()) {
            true => Ok(verified),
            false => Err(Unverified::OtherJob(verified.job())),
        });
    verified.map_err(|why| {
        failed(
            Code::InvalidArgs,
            format!("sent what does not fit together: {why}"),
        )
    })
}

/// Returns what follows the title. A login may print lines before it; what follows is checked by its digest and its lengths.
fn behind_title(bytes: &[u8]) -> Option<&[u8]> {
    let title = title();
    let title = title.as_bytes();
    let at = bytes
        .windows(title.len())
        .take(GREETING)
        .position(|part| part == title)?;
    bytes.get(at.saturating_add(title.len())..)
}

fn start(host: &str, words: &[String]) -> Result<(Child, JoinHandle<io::Result<()>>), Failure> {
    let started = Command::new(SSH)
        // No shell: sshd or a forced command splits this line, and no word has a blank or a quote.
        .args(ssh::CONFINED)
        .args(NO_MASTER)
        .args(["--", host])
        .args(words)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn();
    let mut child = started.map_err(|error| {
        let text = format!("nothing was approved: cannot run '{SSH}': {error}");
        Failure::Machine(Refusal::new(Code::NotStarted, text).next("install OpenSSH's client"))
    })?;
    let errors = child.stderr.take();
    let relayed =
        thread::spawn(move || errors.map_or(Ok(()), |from| relay_errors(from, io::stderr())));
    Ok((child, relayed))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn request_is_found_behind_the_words_of_a_login() {
        let title = title();
        for (before, after, found) in [
            ("", "x", true),
            ("Welcome to web1\n", "", true),
            ("Welcome", "x", true),
        ] {
            let all = format!("{before}{title}{after}");
            assert_eq!(
                behind_title(all.as_bytes()).is_some_and(|rest| rest == after.as_bytes()),
                found
            );
        }
        let long = format!("{}{title}", "x".repeat(GREETING));
        assert_eq!(behind_title(long.as_bytes()), None);
        assert_eq!(behind_title(b"remit request"), None);
    }

    /// As OpenSSH 9.2 prints it.
    #[test]
    fn known_key_is_never_said_to_be_removed() {
        let said = b"@    WARNING: REMOTE HOST IDENTIFICATION HAS CHANGED!     @\r\n\
            Add correct host key in /home/ann/.ssh/known_hosts to get rid of this message.\r\n\
            Offending ED25519 key in /home/ann/.ssh/known_hosts:1\r\n  remove with:\r\n  \
            ssh-keygen -f \"/home/ann/.ssh/known_hosts\" -R \"web1\"\r\n\
            Host key verification failed.\r\nremit: ssh-keygen -f is a word of a host\n";
        let lines = said.split_inclusive(|byte| *byte == b'\n');
        let shown: Vec<u8> = lines.flat_map(without_removal).copied().collect();
        let expect = "@    WARNING: REMOTE HOST IDENTIFICATION HAS CHANGED!     @\r\n\
            Offending ED25519 key in /home/ann/.ssh/known_hosts:1\r\n  \
            do not remove it: find out with a person why the key is another one\n\
            Host key verification failed.\r\nremit: ssh-keygen -f is a word of a host\n";
        assert_eq!(String::from_utf8(shown).unwrap(), expect);
    }
}
