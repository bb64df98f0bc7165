//! `remit show` shows a request. `remit approve` approves exactly the run that was shown, `remit deny` denies it, with
//! a reason for the requester. The digest is computed here, from the bytes that the page is made of. Typing it only
//! helps the approver. Security rests on the peer's identity from the kernel and on the digest; the daemon checks both.

use std::io::{self, IsTerminal};
use std::os::unix::ffi::OsStrExt;

use remit_common::admin::{AdminRequest, AnyJob};
use remit_common::hex::hex;
use remit_common::id_prefix::IdPrefix;
use remit_common::names::JobId;
use remit_common::outcome::FollowUp;
use remit_common::refusal::{Code, Refusal};
use remit_common::signed::Signed;
use remit_common::text;
use remit_page::{ShownRequest, Verified};
use remit_wire::client::ClientError;
use remit_wire::edits::COMMIT;
use serde_json::json;

use super::{approve_on, jobs, pending, signing};
use crate::args::{ApproveArgs, DenyArgs, ShowArgs};
use crate::client::admin_socket;
use crate::error::{Exit, Failure};
use crate::render::job_end;
use crate::render::output::{self, Context, Form, Terminal};
use crate::render::request::{self, Detail};
use crate::render::request_json;
use crate::render::units;

pub const TRIES: usize = 3;
/// Bytes of a command line to type: longer than one with as many commands as can follow, or with a path.
const LINE: usize = 8 << 10;

pub fn approve(context: &Context, args: ApproveArgs) -> Result<Exit, Failure> {
    if let Some(host) = &args.on {
        return approve_on::approve(context, &args, host);
    }
    let Decided {
        job,
        digest,
        undo,
        signature,
    } = decide(context, &args)?;
    let (done, missing) = admin_socket::approve(context, job, digest, signature)
        .map_err(|failure| signed_afar(failure, job, args.is_afar))?;
    if context.form == Form::Text {
        // Without a reader there is nothing to wait for.
        output::part(&format!("{done}\n"))?;
    }
    let end = match args.no_wait || missing > 0 {
        true => None,
        false => end(context, job),
    };
    // A commit that changed nothing has no undo, and one without an end may not have any.
    let undo = undo.filter(|_| end.as_ref().is_some_and(|end| end.exit == Some(0)));
    match (context.form, &end) {
        (Form::Json, end) => {
            let mut answer = json!({
                "done": done,
                "job_id": job.to_string(),
                "digest": hex(&digest),
                "missing": missing,
                "end": end.as_ref().map(jobs::any),
            });
            if let (Some(undo), Some(answer)) = (undo, answer.as_object_mut()) {
                answer.insert("undo".to_owned(), json!(undo));
            }
            output::json(&answer)?;
        }
        (Form::Text, Some(end)) => {
            output::text(&format!("{}\n", job_end::sentence(end)))?;
            if let Some(unconfirmed) = &end.unconfirmed {
                output::text(&format!("{}\n", text::line(unconfirmed.as_bytes(), 1000)))?;
            }
            for one in &end.then {
                output::text(&format!("{}\n", job_end::follow_up(one)))?;
            }
            if let Some(undo) = undo {
                // Before a confirmation remitd itself has them follow.
                let then = match end.unconfirmed {
                    Some(_) => &[],
                    None => &end.then[..],
                };
                output::text(&format!("undo: {}\n", undo_line(&undo, then)))?;
            }
        }
        (Form::Text, None) => {}
    }
    Ok(Exit::OK)
}

/// What a person has decided to approve, and their signature of it.
struct Decided {
    job: JobId,
    digest: [u8; 32],
    undo: Option<String>,
    signature: Option<String>,
}

fn decide(context: &Context, args: &ApproveArgs) -> Result<Decided, Failure> {
    let signature = args.signature.as_deref().map(signing::read).transpose()?;
    if let (Some(digest), Some(job), false) = (args.digest, args.id.whole(), args.signed) {
        return Ok(Decided {
            job,
            digest,
            undo: None,
            signature,
        });
    }
    let verified = admin_socket::verified(context, args.id.clone())?;
    check_whole(&verified)?;
    let shown = remit_page::shown(&verified);
    let job = shown.pending.job;
    let asked = shown.pending.signed;
    if args.digest.is_none() || args.signed {
        check_yours(&shown)?;
    }
    if let (Some(asked), false, None) = (asked, args.signed, &signature) {
        return Err(unsigned(job, asked, args.is_afar));
    }
    let key = match args.signed {
        true => Some(signing::key(
            args.key.as_deref(),
            asked,
            Some(signing::afar(&units::name(job))),
        )?),
        false => None,
    };
    match args.digest {
        None => {
            let statement = args.signed.then(|| verified.statement());
            confirm(&shown, statement.as_deref(), args)?;
        }
        Some(digest) if args.signed && digest != verified.digest() => {
            let text = "nothing was signed: this is not the digest of what would run";
            let refusal = Refusal::new(Code::InvalidArgs, text);
            return Err(Failure::Machine(refusal.next("run remit show again")));
        }
        // The daemon compares it.
        Some(_) => {}
    }
    let signature = match key {
        Some(key) => Some(signing::sign(&verified.statement(), &key)?),
        None => signature,
    };
    Ok(Decided {
        job,
        digest: args.digest.unwrap_or_else(|| verified.digest()),
        undo: undo_id(shown),
        signature,
    })
}

/// Fails if the daemon has sent no content of copied files, or no plan: an approval needs a page that was read whole.
pub fn check_whole(verified: &Verified) -> Result<(), Failure> {
    if !verified.is_withheld() {
        return Ok(());
    }
    let text = "nothing was approved: the daemon sends plans, and the content of copied files, only to approvers of this";
    let refusal = Refusal::new(Code::DeniedRule, text);
    Err(Failure::Machine(
        refusal.next("ask one of its approvers: remit show names them"),
    ))
}

/// Fails before a question or a signature that is for nothing: the daemon would refuse the approval.
pub fn check_yours(shown: &ShownRequest) -> Result<(), Failure> {
    if shown.pending.yours {
        return Ok(());
    }
    let by: Vec<String> = shown
        .pending
        .by
        .iter()
        .map(|name| text::line(name.as_bytes(), 200))
        .collect();
    let text = format!(
        "nothing was approved: you cannot approve this; it needs approval by {}",
        by.join(", ")
    );
    let refusal = Refusal::new(Code::DeniedRule, text);
    Err(Failure::Machine(refusal.next(
        "ask one of them; the requester cannot approve it, and an approver only once",
    )))
}

/// `is_afar`: the approver's own computer signs it.
fn unsigned(job: JobId, asked: Signed, is_afar: bool) -> Failure {
    let text = format!("nothing was approved: its rule asks for {}", asked.asked());
    let line = match is_afar {
        true => signing::afar(&units::name(job)),
        false => format!("remit approve {} --signed", units::name(job)),
    };
    Failure::Machine(Refusal::new(Code::NeedsApproval, text).lift(line))
}

/// The daemon's refusal names the command that signs here, and a key of 'remit enroll-approver' opens none.
fn signed_afar(failure: Failure, job: JobId, is_afar: bool) -> Failure {
    match failure {
        Failure::Client(ClientError::Refused(refusal))
            if is_afar && refusal.code == Code::NeedsApproval =>
        {
            refusal.lift(signing::afar(&units::name(job))).into()
        }
        other => other,
    }
}

fn undo_id(shown: ShownRequest) -> Option<String> {
    let is_commit = shown.pending.command.split(' ').next() == Some(COMMIT);
    shown.plan.filter(|_| is_commit).map(|plan| plan.commit_id)
}

fn end(context: &Context, job: JobId) -> Option<AnyJob> {
    if context.form == Form::Text {
        output::note("waiting for its end; Ctrl-C leaves, the job continues");
    }
    match admin_socket::any_job(context, job.to_string(), true) {
        Ok(job) => Some(job),
        Err(Failure::Client(error)) => {
            output::note(&format!("the daemon does not say how it ended: {error}"));
            output::note(&format!("to see it: remit show {}", units::name(job)));
            None
        }
        Err(_) => None,
    }
}

/// Chooses among pending requests, as `show` does; of other jobs, the daemon's refusal says what became of them. Does not
/// ask for the request itself: the daemon would record that it was shown.
fn job(context: &Context, id: IdPrefix) -> Result<JobId, Failure> {
    if let Some(job) = id.whole() {
        return Ok(job);
    }
    let list = pending::list(context, None)?;
    if list.omitted == 0
        && let Some(found) = id.choose(list.requests, |request| request.job)?
    {
        return Ok(found.job);
    }
    let job = admin_socket::any_job(context, id.clone(), false)?.job;
    match id.begins(job) {
        true => Ok(job),
        false => Err(Failure::off_protocol()),
    }
}

/// Shows the request and what will be signed, and asks on the same terminal, so the person who answers has seen it.
pub fn confirm(
    shown: &ShownRequest,
    signs: Option<&str>,
    args: &ApproveArgs,
) -> Result<(), Failure> {
    let (pending, host) = (&shown.pending, args.on.as_deref());
    let id = units::name(pending.job);
    let Some(mut terminal) = Terminal::open() else {
        let (why, lift) = match host {
            Some(_) => (
                "--on shows the request and asks there".to_owned(),
                "run the same line at a terminal".to_owned(),
            ),
            None => (
                format!("'remit show {id}' shows what you approve"),
                with_digest(args, pending.job, &pending.digest),
            ),
        };
        let text = format!("there is no terminal to ask at; {why}");
        return Err(Failure::Machine(
            Refusal::new(Code::NeedsApproval, text).lift(lift),
        ));
    };
    let over_there = host.map_or(String::new(), |host| format!("ssh {host} "));
    let mut page = request::page(shown, Detail::Short);
    let names = std::iter::once("you sign").chain(std::iter::repeat(""));
    for (name, line) in names.zip(signs.into_iter().flat_map(str::lines)) {
        page.value(name, line);
    }
    terminal.show_page(&page)?;
    let wanted = hex(&pending.digest);
    let (digits, _) = wanted.split_at_checked(8).unwrap_or((&wanted, ""));
    let question = "\nTo approve exactly this, type the first 8 digits of the digest: ";
    for left in (0..TRIES).rev() {
        let Some(typed) = terminal.ask(question)? else {
            return Err(Failure::NotApproved("nothing was typed"));
        };
        if is_beginning(&typed, &wanted) {
            return Ok(());
        }
        if left > 0 {
            terminal.show(&format!(
                "That is not the digest. Type {digits}… to approve, Ctrl-C to leave (it stays pending).\n\
                 To deny it: {over_there}remit deny {id} -m WHY\n"
            ))?;
        }
    }
    Err(Failure::NotApproved("what was typed is not the digest"))
}

/// Returns the line that approves it without a question, and with the same options.
fn with_digest(args: &ApproveArgs, job: JobId, digest: &[u8]) -> String {
    let (job, digest) = (job.to_string(), hex(digest));
    let mut words: Vec<&[u8]> = ["remit", "approve", &job].map(str::as_bytes).to_vec();
    words.extend(args.signed.then_some(&b"--signed"[..]));
    if let Some(key) = &args.key {
        words.extend([b"--key", key.as_os_str().as_bytes()]);
    }
    words.extend([b"--digest", digest.as_bytes()]);
    words.extend(args.no_wait.then_some(&b"--no-wait"[..]));
    text::command_line(&words, LINE)
}

/// Returns true if at least 8 digits were typed and the digest starts with them. Spaces are ignored.
pub fn is_beginning(typed: &str, digest: &str) -> bool {
    let digits: String = typed.split_whitespace().collect();
    digits.len() >= 8 && digest.starts_with(&digits.to_ascii_lowercase())
}

pub fn deny(context: &Context, args: DenyArgs) -> Result<Exit, Failure> {
    let job = job(context, args.id)?;
    let why = args.message;
    admin_socket::tell_done(context, AdminRequest::Deny { job, why })?;
    Ok(Exit::OK)
}

pub fn show(context: &Context, args: ShowArgs) -> Result<Exit, Failure> {
    if args.sign_text {
        // Not escaped: each byte is signed, and it has none that could harm.
        output::text(&admin_socket::verified(context, args.id)?.statement())?;
        return Ok(Exit::OK);
    }
    if args.bytes {
        // They are the requester's, as they were sent.
        if io::stdout().is_terminal() {
            let text = "'--bytes' is data for 'remit approve --on', and no terminal shows it";
            let refusal = Refusal::new(Code::InvalidArgs, text.to_owned());
            return Err(Failure::Input(refusal.next("remit show ID --all")));
        }
        let (_, answer) = admin_socket::answer(context, args.id)?;
        output::bytes(&[approve_on::title().as_bytes(), &answer].concat())?;
        return Ok(Exit::OK);
    }
    let shown = match admin_socket::verified(context, args.id.clone()) {
        Ok(verified) if args.all => remit_page::whole(&verified),
        Ok(verified) => remit_page::shown(&verified),
        Err(Failure::Client(ClientError::Refused(refusal))) if refusal.code == Code::NotFound => {
            return over(context, args.id, args.is_afar, refusal);
        }
        Err(error) => return Err(error),
    };
    match context.form {
        Form::Json => output::json(&request_json::shown(&shown))?,
        Form::Text => {
            let detail = match args.all {
                true => Detail::All,
                false => Detail::Short,
            };
            output::page(&request::page(&shown, detail))?;
        }
    }
    Ok(Exit::OK)
}

/// Returns what undoes a commit. The commands that have run after it run after its undo only if that names them.
fn undo_line(id: &str, then: &[FollowUp]) -> String {
    let then = then.iter().filter(|one| one.has_run());
    let then = then.flat_map(|one| ["--then", &one.command]);
    let line = ["remit", "undo", id, "-m", "WHY"].into_iter().chain(then);
    text::command_line(&line.collect::<Vec<_>>(), LINE)
}

fn over(context: &Context, id: IdPrefix, is_afar: bool, refusal: Refusal) -> Result<Exit, Failure> {
    let job = match admin_socket::any_job(context, id, false) {
        Ok(job) => job,
        Err(Failure::Client(ClientError::Refused(ambiguous)))
            if ambiguous.code == Code::InvalidArgs =>
        {
            return Err(ambiguous.into());
        }
        // The id is unknown, or the daemon is too old for this request. The first error is right in both cases.
        Err(_) => return Err(refusal.into()),
    };
    match context.form {
        Form::Json => output::json(&jobs::any(&job))?,
        Form::Text => output::page(&match is_afar {
            true => job_end::page(&job),
            false => job_end::page_with_story(&job),
        })?,
    }
    Ok(Exit::OK)
}

#[cfg(test)]
mod tests {
    use remit_common::outcome::State;

    use super::super::enroll::host;
    use super::*;
    use crate::args::{Verb, tests::typed};

    #[test]
    fn line_of_an_undo_has_the_commands_that_have_run() {
        let act = |command: &str, job, state| FollowUp {
            command: command.to_owned(),
            job,
            state,
            exit: None,
            cause: String::new(),
        };
        let job = Some(JobId([1; 16]));
        let then = [
            act("sshd.reload", job, State::Exited),
            act("site.say word=it's;x", job, State::Signalled),
            act("site.last", None, State::NotStarted),
        ];
        let line = |then: &[FollowUp]| undo_line("ab", then);
        assert_eq!(line(&[]), "remit undo ab -m WHY");
        assert_eq!(
            line(&then),
            r"remit undo ab -m WHY --then sshd.reload --then 'site.say word=it'\''s;x'"
        );
    }

    #[test]
    fn line_with_the_digest_has_the_same_options() {
        let job = JobId([0xab; 16]);
        let digest = [1; 32];
        let head = format!("remit approve {job}");
        let with = format!("--digest {}", hex(&digest));
        for (options, expect) in [
            ("", format!("{head} {with}")),
            ("--no-wait", format!("{head} {with} --no-wait")),
            ("--signed", format!("{head} --signed {with}")),
            (
                "--signed --key '/home/ann/a key' --no-wait",
                format!("{head} --signed --key '/home/ann/a key' {with} --no-wait"),
            ),
        ] {
            let line = format!("remit approve abab {options}");
            let Verb::Approve(args) = typed(line.trim_end()) else {
                panic!("{line}");
            };
            assert_eq!(with_digest(&args, job, &digest), expect);
        }
    }

    #[test]
    fn signature_is_made_where_the_key_is() {
        for (is_afar, expect) in [
            (false, "remit approve abab-abab --signed".to_owned()),
            (
                true,
                format!(
                    "on your own computer: remit approve --on {} abab-abab",
                    host()
                ),
            ),
        ] {
            let failure = unsigned(JobId([0xab; 16]), Signed::Touch, is_afar);
            let Failure::Machine(refusal) = failure else {
                panic!("{failure:?}");
            };
            assert_eq!(refusal.lift, Some(expect));
        }
    }

    #[test]
    fn eight_digits_are_enough_and_seven_are_not() {
        let digest = "0123456789abcdef".repeat(4);
        for typed in ["01234567", " 0123 4567\r", "0123456789AB", &digest] {
            assert!(is_beginning(typed, &digest), "{typed}");
        }
        for typed in [
            "",
            "yes",
            "0123456",
            "12345678",
            "012345678a",
            &format!("{digest}0"),
        ] {
            assert!(!is_beginning(typed, &digest), "{typed}");
        }
    }
}
