//! `remit-fleet approve` and `deny`: shows what is asked on each host, asks once, and approves one host after another by the
//! digest that this host sent with what was shown. Stops at the first failure.

use std::io;
use std::path::Path;
use std::pin::pin;
use std::sync::Arc;

use remit_common::text;
use serde_json::{Map, Value};

use super::pending::{Waiting, chosen, say_missing, waiting, words};
use super::render::{print, print_folded};
use crate::approvals::page;
use crate::approvals::request::{self, HostRequest, Target, digest_of_all};
use crate::args::{ApproveArgs, DenyArgs};
use crate::columns;
use crate::engine::Engine;
use crate::exit::{Exit, say};
use crate::host_name::HostName;
use crate::link::answer;
use crate::remote::{self, Manner, NotDone};
use crate::signals::stopped;
use crate::terminal::Terminal;

const TRIES: usize = 3;
/// Bytes of a host's words about an end.
const WORDS: usize = 1000;
/// Digits of the digest that are typed.
const TYPED: usize = 8;
const INTERRUPTED: &str = "interrupted before its answer";

pub async fn approve(engine: &Arc<Engine>, args: &ApproveArgs) -> Exit {
    match approved(engine, args).await {
        Ok(()) => Exit::Ok,
        Err(NotApproved(exit, why)) => {
            say(&why);
            exit
        }
    }
}

struct NotApproved(Exit, String);

fn not_approved(why: impl Into<String>) -> NotApproved {
    NotApproved(Exit::Failed, why.into())
}

async fn approved(engine: &Arc<Engine>, args: &ApproveArgs) -> Result<(), NotApproved> {
    let (listed, waiting) = meant(engine, &args.target, args.on.as_deref()).await?;
    say_missing(&waiting);
    let (done, listed): (Vec<_>, Vec<_>) = listed.into_iter().partition(|one| one.is_approved);
    if !done.is_empty() {
        let done = format!(
            "you have approved it on {}; other people have to, too",
            page::names(&done.iter().collect::<Vec<_>>())
        );
        if listed.is_empty() {
            return Err(not_approved(format!("nothing was approved: {done}")));
        }
        say(&done);
    }
    let shown = shown(engine, listed).await.map_err(not_approved)?;
    let others: Vec<&str> = shown
        .iter()
        .filter(|one| !one.is_yours)
        .map(|one| one.host.as_str())
        .collect();
    if !others.is_empty() {
        let others = others.join(" ");
        let why = format!(
            "nothing was approved: on {others} it is not yours to approve; --on names other hosts"
        );
        return Err(not_approved(why));
    }
    let signing: Vec<String> = shown
        .iter()
        .filter_map(HostRequest::signing_command)
        .collect();
    if !signing.is_empty() {
        let config = engine.fleet.ssh.config.as_deref();
        return Err(not_approved(to_sign(&signing, config)));
    }
    let digest = digest_of_all(&shown);
    match &args.digest {
        Some(expected) if *expected == digest => {}
        Some(_) => {
            let why = "nothing was approved: what waits now has another digest; without --digest it is shown";
            return Err(not_approved(why));
        }
        None => confirmed(&shown, &waiting, digest.as_str())?,
    }
    let has_run = carry_out(engine, &shown).await?;
    if has_run && shown.iter().any(|one| one.set.is_some()) {
        say(&format!(
            "a set may ask further hosts now: {} pending",
            engine.fleet.typed
        ));
    }
    let unlisted = unlisted(&args.target, &waiting);
    match unlisted.is_empty() {
        true => Ok(()),
        false => Err(not_approved(format!(
            "what was shown is approved; these did not list all their requests and may have others of the set: {}; \
             '{} pending' asks them again",
            unlisted.join(" "),
            engine.fleet.typed
        ))),
    }
}

/// Says what approves requests that need a signature. `config`: the file for `ssh -F`, which remit does not read.
fn to_sign(commands: &[String], config: Option<&Path>) -> String {
    let commands = commands.join("; ");
    let names = config.map_or_else(String::new, |config| {
        let config = text::line(config.as_os_str().as_encoded_bytes(), WORDS);
        format!("; remit does not read '{config}': add these hosts to ~/.ssh/config first")
    });
    format!("nothing was approved: a signature is needed, of each request alone: {commands}{names}")
}

/// Returns the hosts that may have requests of the set which are not listed.
fn unlisted<'a>(target: &Target, waiting: &'a Waiting) -> Vec<&'a str> {
    let silent = waiting.silent.iter().map(|(host, _)| host.as_str());
    let omitted = waiting.omitted.iter().map(|(host, _)| host.as_str());
    match target {
        Target::Set(_) => silent.chain(omitted).collect(),
        Target::One(..) => Vec::new(),
    }
}

/// Returns what hosts list under this name.
async fn meant(
    engine: &Arc<Engine>,
    target: &Target,
    on: Option<&str>,
) -> Result<(Vec<HostRequest>, Waiting), NotApproved> {
    let mut hosts =
        chosen(engine, on).map_err(|exit| NotApproved(exit, "nothing was done".to_owned()))?;
    if let Target::One(name, _) = target {
        hosts.retain(|host| host.as_str() == name);
        if hosts.is_empty() {
            let mut all = engine.fleet.hosts.iter();
            let why = match all.any(|host| host.name.as_str() == name) {
                true => format!("--on leaves out '{name}', the host of the request"),
                false => format!(
                    "no host is named '{name}'; '{} hosts' lists them",
                    engine.fleet.typed
                ),
            };
            return Err(NotApproved(Exit::Usage, why));
        }
    }
    let mut waiting = waiting(engine, hosts).await;
    let listed = target.choose(std::mem::take(&mut waiting.requests));
    if listed.is_err() {
        say_missing(&waiting);
    }
    listed.map(|listed| (listed, waiting)).map_err(not_approved)
}

/// Asks each host for the page of its request.
async fn shown(engine: &Arc<Engine>, listed: Vec<HostRequest>) -> Result<Vec<HostRequest>, String> {
    let asked = listed.iter().map(|one| {
        let job = one.job.to_string();
        (one.host.clone(), words(&["show", &job, "--json"]))
    });
    let answers = engine.remit(asked, engine.manner()).await;
    let mut all = Vec::new();
    for (one, (host, answer)) in listed.iter().zip(answers) {
        let shown = answer
            .map_err(String::from)
            .and_then(|output| remote::object(&output, "job_id"))
            .and_then(|facts| request::request(&host, facts))
            .and_then(|shown| match (shown.job, shown.set) == (one.job, one.set) {
                true => Ok(shown),
                false => Err("it shows another request than it lists".to_owned()),
            });
        all.push(shown.map_err(|why| format!("nothing was approved: {host}: {why}"))?);
    }
    Ok(all)
}

/// Shows the page and asks on the same terminal, so the person who answers has seen it.
fn confirmed(shown: &[HostRequest], waiting: &Waiting, digest: &str) -> Result<(), NotApproved> {
    let Some(mut terminal) = Terminal::open() else {
        let page = page::page(shown);
        let _ = print(&format!("{page}digest of all {digest}\n"));
        let why = format!(
            "nothing was approved: there is no terminal to ask at; if this is right: --digest {digest}"
        );
        return Err(not_approved(why));
    };
    let failed =
        |error: io::Error| NotApproved(Exit::Output, format!("cannot use the terminal: {error}"));
    let page = page::page(shown);
    terminal.show(&page).map_err(failed)?;
    for (host, why) in &waiting.silent {
        let line = columns::fold(&format!("not asked: {host}: {why}"));
        terminal.show(&line).map_err(failed)?;
    }
    // A host may have sent a long page, and those of others have left the screen. What is approved is at its end.
    let hosts: Vec<&str> = shown.iter().map(|one| one.host.as_str()).collect();
    let kinds = match (hosts.len(), page::alike(shown).len()) {
        (1, _) => "1 host".to_owned(),
        (hosts, 1) => format!("{hosts} hosts, the same on each"),
        (hosts, kinds) => format!("{hosts} hosts, {kinds} different requests"),
    };
    let risks = match page::risks(shown) {
        0 => String::new(),
        1 => ", 1 risk".to_owned(),
        risks => format!(", {risks} risks"),
    };
    let summary = format!(
        "\n{kinds}{risks}, in {} lines above: {}\n",
        page.lines().count(),
        hosts.join(" ")
    );
    terminal.show(&summary).map_err(failed)?;
    let digits = digest.get(..TYPED).unwrap_or(digest);
    let question = format!("To approve exactly this, one host after another, type {digits}: ");
    for _ in 0..TRIES {
        match terminal.ask(&question).map_err(failed)? {
            None => return Err(not_approved("nothing was typed, and nothing was approved")),
            Some(typed) if is_begin(&typed, digest) => return Ok(()),
            Some(_) => {}
        }
    }
    Err(not_approved(
        "that was not the digest, and nothing was approved",
    ))
}

/// Returns true if at least 8 digits were typed and the digest starts with them. Spaces are ignored.
fn is_begin(typed: &str, digest: &str) -> bool {
    let digits: String = typed.split_whitespace().collect();
    digits.len() >= TYPED && digest.starts_with(&digits.to_ascii_lowercase())
}

/// Approves on one host after another. Each gets its own job and digest. Returns false if all need further people.
async fn carry_out(engine: &Arc<Engine>, shown: &[HostRequest]) -> Result<bool, NotApproved> {
    let mut has_run = false;
    let patient = Manner {
        // A change takes the time that it takes.
        limit: None,
        ..engine.manner()
    };
    let mut stopped = pin!(stopped());
    for (at, one) in shown.iter().enumerate() {
        let job = one.job.to_string();
        let words = words(&["approve", &job, "--digest", one.digest.as_str(), "--json"]);
        // A host may let its approver wait for ever.
        say(&format!(
            "{}: waiting for its end; Ctrl-C leaves, its job continues, and the others are not approved",
            one.host
        ));
        let mut answers = tokio::select! {
            biased;
            answers = engine.remit([(one.host.clone(), words)], patient) => answers,
            () = &mut stopped => vec![],
        };
        let ended = match answers.pop() {
            Some((_, answer)) => answer
                .map_err(String::from)
                .and_then(|output| remote::object(&output, "end")),
            None => Err(INTERRUPTED.to_owned()),
        };
        let ended = ended.map(|answer| (missing(&answer), end(&answer)));
        let why = match ended {
            Ok((missing, Ok(words))) => {
                has_run |= missing == 0;
                let _ = print_folded(&format!("{}: approved, {words}\n", one.host));
                continue;
            }
            Ok((_, Err(words))) => format!("approved, and {words}"),
            Err(why) => format!(
                "{why}; whether it was approved: {} {} remit show {job}",
                engine.ssh().typed(),
                one.host
            ),
        };
        let left: Vec<&str> = shown
            .iter()
            .skip(at + 1)
            .map(|one| one.host.as_str())
            .collect();
        let left = match left.is_empty() {
            true => String::new(),
            false => format!("; not approved: {}", left.join(" ")),
        };
        return Err(not_approved(format!("{}: {why}{left}", one.host)));
    }
    Ok(has_run)
}

/// Returns how many people still have to approve it, by the answer to an approval.
fn missing(answer: &Map<String, Value>) -> u64 {
    answer.get("missing").and_then(Value::as_u64).unwrap_or(0)
}

/// Returns how the job ended, as an error unless it ended well. Nothing runs while approvals are missing, so the
/// next host can be approved.
fn end(answer: &Map<String, Value>) -> Result<String, String> {
    let people = match missing(answer) {
        0 => None,
        1 => Some("1 other person has".to_owned()),
        more => Some(format!("{more} other people have")),
    };
    if let Some(people) = people {
        return Ok(format!("and {people} to approve it, too"));
    }
    let Some(Value::Object(end)) = answer.get("end") else {
        return Err("its end is not known".to_owned());
    };
    let word = |key: &str| end.get(key).and_then(Value::as_str);
    let exit = end.get("exit").filter(|exit| !exit.is_null());
    let mut words = match (exit, word("state")) {
        (Some(exit), Some("exited")) => format!("it ended with status {exit}"),
        (Some(exit), Some(state)) => format!("it is {state}, with status {exit}"),
        (None, Some(state)) => format!("it is {state}"),
        (_, None) => "its end is not known".to_owned(),
    };
    let has_exited = word("state") == Some("exited");
    let cause = word("cause").filter(|cause| !has_exited && !cause.is_empty());
    for more in [cause, word("unconfirmed")].into_iter().flatten() {
        words += &format!("; {more}");
    }
    // Otherwise a host could print lines about others.
    let words = text::line(words.as_bytes(), WORDS);
    match answer::is_well(end) {
        true if !answer::all_followed(end) => Err(format!(
            "{words}, but a command that follows did not end well"
        )),
        true => Ok(words),
        false => Err(words),
    }
}

pub async fn deny(engine: &Arc<Engine>, args: &DenyArgs) -> Exit {
    let (listed, waiting) = match meant(engine, &args.target, args.on.as_deref()).await {
        Ok(meant) => meant,
        Err(NotApproved(exit, why)) => {
            say(&why);
            return exit;
        }
    };
    let asked = listed.iter().map(|one| {
        let job = one.job.to_string();
        (
            one.host.clone(),
            words(&["deny", &job, &format!("--message={}", args.message)]),
        )
    });
    say_missing(&waiting);
    match each_done(engine, asked.collect(), engine.manner(), "denied").await {
        Exit::Ok if !unlisted(&args.target, &waiting).is_empty() => Exit::Failed,
        exit => exit,
    }
}

/// Asks each host with its words, and prints what became of it there as its answer comes, or a signal ends the wait.
pub async fn each_done(
    engine: &Arc<Engine>,
    asked: Vec<(HostName, Vec<String>)>,
    manner: Manner,
    word: &str,
) -> Exit {
    let hosts: Vec<HostName> = asked.iter().map(|(host, _)| host.clone()).collect();
    let mut exit = Exit::Ok;
    let end = async {
        stopped().await;
        INTERRUPTED
    };
    let done = |at: usize, answer: Result<_, NotDone>| {
        let host = hosts.get(at).map_or("?", HostName::as_str);
        match answer {
            Ok(_) => {
                let _ = print(&format!("{host}: {word}\n"));
            }
            Err(why) => {
                say(&format!("{host}: {}", why.about(word)));
                exit = Exit::Failed;
            }
        }
    };
    engine.remit_until(asked, manner, end, done).await;
    exit
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn only_a_job_that_ended_well_goes_on_to_the_next_host() {
        for (answer, is_well) in [
            (
                json!({"end": {"state": "exited", "exit": 0, "then": []}}),
                true,
            ),
            (json!({"end": {"state": "exited", "exit": 1}}), false),
            (json!({"end": {"state": "cancelled", "exit": 0}}), false),
            (json!({"end": {"state": "oom_killed", "exit": 0}}), false),
            (json!({"end": {"exit": 0}}), false),
            (json!({"end": {"state": "running", "exit": null}}), false),
            (json!({"end": null}), false),
            (json!({"end": null, "missing": 0}), false),
            (json!({"end": null, "missing": 2}), true),
            (json!({"end": null, "missing": "2"}), false),
            (json!({}), false),
            (json!({"end": {"exit": "0"}}), false),
            (
                json!({"end": {"state": "exited", "exit": 0, "then": [{"state": "exited", "exit": 0}]}}),
                true,
            ),
            (
                json!({"end": {"state": "exited", "exit": 0, "then": [
                    {"state": "exited", "exit": 0}, {"state": "timed_out", "exit": 0}]}}),
                false,
            ),
            (
                json!({"end": {"state": "exited", "exit": 0, "then": [{"state": "exited", "exit": null}]}}),
                false,
            ),
        ] {
            let end = end(answer.as_object().unwrap());
            assert_eq!(end.is_ok(), is_well, "{answer}: {end:?}");
        }
    }

    #[test]
    fn signing_needs_hosts_that_ssh_knows_by_itself() {
        let command = ["remit approve --on web1 0101".to_owned()];
        let why = "nothing was approved: a signature is needed, of each request alone: remit approve --on web1 0101";
        assert_eq!(to_sign(&command, None), why);
        let own = to_sign(&command, Some(Path::new("/h/ssh x")));
        let names = "; remit does not read '/h/ssh x': add these hosts to ~/.ssh/config first";
        assert_eq!(own, format!("{why}{names}"));
    }

    #[test]
    fn words_of_a_host_are_one_line() {
        let forged = "running\nremit-fleet: web2: approved, it ended with status 0";
        for (answer, expect) in [
            (
                json!({"end": {"state": forged}}),
                Err("it is running\\nremit-fleet: web2: approved, it ended with status 0"),
            ),
            (
                json!({"end": {"state": "oom_killed", "exit": 0, "cause": "its memory was used up"}}),
                Err("it is oom_killed, with status 0; its memory was used up"),
            ),
            (
                json!({"end": {"state": "exited", "exit": 0, "unconfirmed": "undone in 2 min\nweb2: x"}}),
                Ok("it ended with status 0; undone in 2 min\\nweb2: x"),
            ),
        ] {
            let end = end(answer.as_object().unwrap());
            let end = end.as_deref().map_err(String::as_str);
            assert_eq!(end, expect);
        }
        let long = json!({"end": {"state": "x".repeat(1 << 20)}});
        assert!(end(long.as_object().unwrap()).unwrap_err().len() <= WORDS + 3);
    }
}
