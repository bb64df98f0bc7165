//! `remit enroll` gives an agent's key access to remit; `remit unenroll` revokes it, or one of its keys.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{self, Read};
use std::iter;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use nix::unistd::{Gid, Group};
use remit_clients::Destination;
use remit_common::refusal::{Code, Refusal};
use remit_common::text;
use serde_json::{Value, json};

use super::enroll_inspect as inspect;
use super::policy::group_words;
use crate::args::{EnrollArgs, UnenrollArgs};
use crate::client::admin_socket::{self, ConfigAnswer, ConfigFinding, REMITD};
use crate::enrollment::{
    self, AccountWas, Change, End, Enrolled, KEY_FILE, Name, PublicKey, Request, Role, STATE, Undo,
    Undone,
};
use crate::error::{Exit, Failure};
use crate::render::output::{self, Context, Form};
use crate::render::table;

const REMIT_TOML: &str = "/etc/remit/remit.toml";
/// Bytes of an advised line: two paths and a name.
const LINE: usize = 3 * 4096;

pub fn enroll(context: &Context, args: &EnrollArgs) -> Result<Exit, Failure> {
    let group = group(args.group.as_ref(), Role::Agent);
    if args.print {
        let printed = enrollment::printed(Role::Agent, &key(&args.keyfile)?, args.expires.as_ref());
        let notes = print_notes(args.user.as_str(), group, "remit.sock");
        return print(context, printed, &notes);
    }
    let (group, no_access) = group?;
    as_root("enroll")?;
    let key = key(&args.keyfile)?;
    let mut enrolled = enrollment::enroll(&Request {
        role: Role::Agent,
        name: &args.user,
        group: &group,
        key: &key,
        expires: args.expires.as_ref(),
        state: &args.state.state,
        runtime: &context.runtime,
    })
    .map_err(|refused| Failure::Machine(refused.into()))?;
    enrolled.warnings.extend(no_access);
    let (inspects, error) = inspect::decide(args, &group, context.form == Form::Text);
    let refuses = refusals(admin_socket::check_configuration());
    let host = host();
    let client = format!("ssh -T {}@{host} mcp-shim", args.user);
    match context.form {
        Form::Json => {
            let mut own = json!({ "client": client, "inspect": inspects.word() });
            if let (Some(error), Some(own)) = (&error, own.as_object_mut()) {
                own.insert("error".to_owned(), json!(error));
            }
            let (user, group) = (args.user.as_str(), group.as_str());
            output::json(&object(&enrolled, user, group, &refuses, own))?;
        }
        Form::Text => {
            let inspects = table::fact("inspect", inspects.sentence());
            output::text(&(show(args, &group, &enrolled, &client, &host) + &inspects))?;
        }
    }
    warn(&enrolled, &refuses);
    // The answer in JSON is one object.
    Ok(error.map_or(Exit::OK, |error| Failure::Machine(error).report(Form::Text)))
}

/// Returns the group of `--group`, or that of remit.toml, and a warning if its members may not connect.
pub fn group(asked: Option<&Name>, role: Role) -> Result<(Name, Option<String>), Failure> {
    choose_group(asked, role, group_words(Path::new(REMIT_TOML)))
}

fn choose_group(
    asked: Option<&Name>,
    role: Role,
    words: Result<[String; 2], String>,
) -> Result<(Name, Option<String>), Failure> {
    let [clients, admins] = match (words, asked) {
        (Ok(words), _) => words.map(|word| group_name(&word)),
        // The daemon says what is wrong with that file.
        (Err(_), Some(asked)) => return Ok((asked.clone(), None)),
        (Err(why), None) => {
            let text = format!("cannot read the group from '{REMIT_TOML}': {why}");
            let refusal = Refusal::new(Code::InvalidArgs, text);
            return Err(Failure::Machine(refusal.lift("--group NAME")));
        }
    };
    let (setting, own) = match role {
        Role::Agent => ("socket_group", clients),
        Role::Approver => ("admin_group", admins),
    };
    match asked {
        Some(asked) if asked.as_str() == own => Ok((asked.clone(), None)),
        Some(asked) => {
            let text = format!(
                "members of group '{asked}' may not connect: {setting} in '{REMIT_TOML}' is '{own}'"
            );
            Ok((asked.clone(), Some(text)))
        }
        None => own.parse().map(|own| (own, None)).map_err(|error| {
            let text =
                format!("{setting} '{own}' in '{REMIT_TOML}' is no name of a group: {error}");
            Failure::Machine(Refusal::new(Code::InvalidArgs, text).lift("--group NAME"))
        }),
    }
}

/// Returns the name of a group that remit.toml names by `#gid`, if it has one.
fn group_name(word: &str) -> String {
    let gid = word.strip_prefix('#').and_then(|gid| gid.parse().ok());
    let group = gid.and_then(|gid| Group::from_gid(Gid::from_raw(gid)).ok().flatten());
    group.map_or_else(|| word.to_owned(), |group| group.name)
}

/// Prints the line of a key, for people who enroll by hand.
pub fn print(
    context: &Context,
    printed: Result<(String, Option<End>), enrollment::Refused>,
    notes: &[String],
) -> Result<Exit, Failure> {
    let (line, over) = printed.map_err(|refused| Failure::Machine(refused.into()))?;
    match context.form {
        Form::Json => output::json(&json!({ "line": line }))?,
        Form::Text => output::text(&format!("{line}\n"))?,
    }
    if let Some(end) = over {
        output::note(&format!("warning: the end of the key has passed: {end}"));
    }
    notes.iter().for_each(|note| output::note(note));
    Ok(Exit::OK)
}

/// Returns what is left to do with a line that was printed. `remit.toml` is not needed for the line.
pub fn print_notes(
    user: &str,
    group: Result<(Name, Option<String>), Failure>,
    socket: &str,
) -> Vec<String> {
    let (group, warning) = match group {
        Ok((group, no_access)) => (format!("group '{group}'"), no_access),
        Err(failure) => (format!("the group of {socket}"), Some(failure.sentence())),
    };
    let todo = format!(
        "nothing was done: put this line into the authorized_keys of '{user}', and the user into {group}"
    );
    let warning = warning.map(|warning| format!("warning: {warning}"));
    iter::once(todo).chain(warning).collect()
}

/// Returns the name of this machine for a line that users paste, or `HOST`.
pub fn host() -> String {
    let host = fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    match host.trim().parse::<Destination>() {
        Ok(_) => host.trim().to_owned(),
        Err(_) => "HOST".to_owned(),
    }
}

/// Reports what is wrong with the account or the policy, although the key is enrolled.
pub fn warn(enrolled: &Enrolled, refuses: &[String]) {
    for warning in &enrolled.warnings {
        output::note(&format!("warning: {warning}"));
    }
    if !enrolled.warnings.is_empty() {
        output::note("for the fixes, run: remit doctor");
    }
    warn_of(refuses);
}

/// Facts about an enrollment that do not depend on the role.
pub fn facts(enrolled: &Enrolled, account: &str, group: &str) -> String {
    let mut lines = table::fact("account", account);
    lines += &table::fact("group", group);
    if !enrolled.groups.is_empty() {
        lines += &table::fact("also in", &enrolled.groups.join(" "));
    }
    let file = enrolled.file.display();
    lines += &table::fact("key", &format!("{} in {file}", change(enrolled)));
    let expires = enrolled.expires;
    let expires = expires.map_or_else(|| "never".to_owned(), |end| end.to_string());
    lines + &table::fact("expires", &expires)
}

/// Adds to the fields of one role those of both.
pub fn object(
    enrolled: &Enrolled,
    user: &str,
    group: &str,
    refuses: &[String],
    mut own: Value,
) -> Value {
    let account = match enrolled.account {
        AccountWas::Made => "made",
        AccountWas::There => "was there",
    };
    let both = json!({
        "user": user,
        "account": account,
        "group": group,
        "other_groups": enrolled.groups,
        "file": enrolled.file.display().to_string(),
        "key": change(enrolled),
        "expires": enrolled.expires.map(|end| end.json()),
        "warnings": enrolled.warnings,
        "daemon_refuses": refuses,
    });
    if let (Value::Object(own), Value::Object(both)) = (&mut own, both) {
        own.extend(both);
    }
    own
}

fn change(enrolled: &Enrolled) -> &'static str {
    match enrolled.change {
        Change::Added => "added",
        Change::Updated => "updated",
        Change::Unchanged => "unchanged",
    }
}

fn show(args: &EnrollArgs, group: &Name, enrolled: &Enrolled, client: &str, host: &str) -> String {
    let user = &args.user;
    let mut lines = match enrolled.change {
        Change::Unchanged => format!("'{user}' was already enrolled with this key\n"),
        Change::Added | Change::Updated => format!("'{user}' is enrolled\n"),
    };
    let from = match enrolled.account {
        AccountWas::Made => "created by remit: no password, no other privileges",
        AccountWas::There => {
            "existed before: it keeps its rights and files, and its shell reads them before mcp-shim starts"
        }
    };
    lines += &facts(enrolled, from, group.as_str());
    lines += &table::fact("try there", &format!("{client} --check"));
    lines += &table::fact(
        "configure",
        &format!("remit client-config CLIENT {host} --user {user}"),
    );
    lines
}

pub fn key(path: &Path) -> Result<PublicKey, Failure> {
    let shown = match path.as_os_str() == "-" {
        true => "standard input".to_owned(),
        false => format!("'{}'", path.display()),
    };
    let refused = |why: String| {
        let message = format!("cannot take a key from {shown}: {why}");
        Failure::Machine(Refusal::new(Code::InvalidArgs, message).object(shown.clone()))
    };
    let text = bytes(path).map_err(|error| refused(error.to_string()))?;
    PublicKey::parse(&text).map_err(|error| refused(error.to_string()))
}

fn bytes(path: &Path) -> io::Result<Vec<u8>> {
    let input: Box<dyn Read> = match path.as_os_str() == "-" {
        true => Box::new(io::stdin().lock()),
        false => Box::new(File::open(path)?),
    };
    let mut text = Vec::new();
    // One extra byte detects a file that is too large.
    input.take(KEY_FILE as u64 + 1).read_to_end(&mut text)?;
    Ok(text)
}

/// Returns why the daemon would not start: the policy may name an account that is gone. Empty if that is unknown.
pub fn refusals(answer: Result<ConfigAnswer, String>) -> Vec<String> {
    let Ok(ConfigAnswer::Refused { errors, .. }) = answer else {
        return Vec::new();
    };
    let one = |ConfigFinding { what, help }| match help {
        Some(help) => format!("{what}: {help}"),
        None => what,
    };
    errors.into_iter().map(one).collect()
}

fn warn_of(refuses: &[String]) {
    for why in refuses {
        output::note(&format!("remitd would not start again: {why}"));
    }
    if !refuses.is_empty() {
        output::note(&format!(
            "correct that file now; to check it: {REMITD} --check; then: remit policy reload"
        ));
    }
}

/// Only root can make accounts.
pub fn as_root(verb: &'static str) -> Result<(), Failure> {
    match nix::unistd::geteuid().is_root() {
        true => Ok(()),
        false => Err(Failure::NotRoot(verb)),
    }
}

pub fn unenroll(context: &Context, args: &UnenrollArgs) -> Result<Exit, Failure> {
    as_root("unenroll")?;
    let key = args.keyfile.as_deref().map(key).transpose()?;
    let undone = enrollment::unenroll(&Undo {
        name: &args.user,
        key: key.as_ref(),
        state: &args.state.state,
        runtime: &context.runtime,
    })
    .map_err(|refused| Failure::Machine(refused.into()))?;
    let refuses = refusals(admin_socket::check_configuration());
    let kept: Vec<String> = undone
        .kept
        .iter()
        .map(|path| path.display().to_string())
        .collect();
    match context.form {
        Form::Json => output::json(&json!({
            "user": args.user.as_str(),
            "keys_removed": undone.keys,
            "keys_left": undone.keys_left,
            "group_left": undone.group,
            "grants_revoked": undone.grants,
            "account_removed": undone.account,
            "processes_ended": undone.processes,
            "kept": kept,
            "notes": undone.notes,
            "problems": undone.problems,
            "daemon_refuses": refuses,
        }))?,
        Form::Text => {
            output::text(&show_undone(args, &undone, &kept))?;
            undone.notes.iter().for_each(|note| output::note(note));
        }
    }
    warn_of(&refuses);
    if undone.problems.is_empty() {
        return Ok(Exit::OK);
    }
    undone
        .problems
        .iter()
        .for_each(|problem| output::note(problem));
    output::note(&format!(
        "not everything was undone; to do the rest, run again: {}",
        same_line(args)
    ));
    Ok(Exit::REFUSED)
}

/// Without the key's file it would remove the whole account.
fn same_line(args: &UnenrollArgs) -> String {
    let mut words: Vec<&OsStr> = ["remit", "unenroll", args.user.as_str()]
        .map(OsStr::new)
        .to_vec();
    words.extend(args.keyfile.as_deref().map(Path::as_os_str));
    let state = args.state.state.as_os_str();
    if state != STATE {
        words.extend([OsStr::new("--state"), state]);
    }
    let words: Vec<&[u8]> = words.into_iter().map(OsStr::as_bytes).collect();
    text::command_line(&words, LINE)
}

fn show_undone(args: &UnenrollArgs, undone: &Undone, kept: &[String]) -> String {
    let user = &args.user;
    let mut lines = match (&args.keyfile, undone.problems.is_empty()) {
        (Some(_), _) => format!("'{user}' is still enrolled\n"),
        (None, true) => format!("'{user}' is no longer enrolled\n"),
        (None, false) => format!("'{user}' is still enrolled\n"),
    };
    let removed = match undone.keys_left {
        0 => format!("{} removed", undone.keys),
        left => format!("{} removed, {left} left", undone.keys),
    };
    lines += &table::fact("keys", &removed);
    if let Some(group) = &undone.group {
        lines += &table::fact("group", &format!("left {group}"));
    }
    if undone.grants > 0 {
        lines += &table::fact("grants", &format!("{} revoked", undone.grants));
    }
    if undone.account {
        lines += &table::fact("account", "removed");
    }
    if undone.processes > 0 {
        lines += &table::fact("processes", &format!("{} ended", undone.processes));
    }
    for path in kept {
        lines += &table::fact("kept", &format!("{path}: something else is in it"));
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::args::{Verb, tests::typed};

    #[test]
    fn advised_line_removes_what_was_asked_for() {
        for line in [
            "remit unenroll robo",
            "remit unenroll robo '/root/a key.pub'",
            "remit unenroll robo -",
            "remit unenroll robo --state /srv/state",
            "remit unenroll robo key.pub --state '/srv/a b'",
        ] {
            let Verb::Unenroll(args) = typed(line) else {
                panic!("{line}");
            };
            assert_eq!(same_line(&args), line);
        }
    }

    #[test]
    fn object_has_the_fields_of_both_roles_and_its_own() {
        let enrolled = Enrolled {
            account: AccountWas::There,
            groups: vec!["adm".to_owned()],
            file: "/home/ann/.ssh/authorized_keys".into(),
            change: Change::Updated,
            expires: None,
            warnings: vec!["w".to_owned()],
        };
        let refuses = ["r".to_owned()];
        let object = object(
            &enrolled,
            "ann",
            "remit",
            &refuses,
            json!({ "line": "ssh" }),
        );
        let expect = json!({
            "user": "ann",
            "account": "was there",
            "group": "remit",
            "other_groups": ["adm"],
            "file": "/home/ann/.ssh/authorized_keys",
            "key": "updated",
            "expires": null,
            "warnings": ["w"],
            "daemon_refuses": ["r"],
            "line": "ssh",
        });
        assert_eq!(object, expect);
    }

    #[test]
    fn group_is_that_of_the_settings() {
        let words = |clients: &str, admins: &str| Ok([clients.to_owned(), admins.to_owned()]);
        let cases = [
            (
                None,
                words("agents", "ops"),
                Role::Agent,
                Ok(("agents", "")),
            ),
            (
                None,
                words("agents", "ops"),
                Role::Approver,
                Ok(("ops", "")),
            ),
            (None, words("#0", "ops"), Role::Agent, Ok(("root", ""))),
            (
                None,
                words("#4123456789", "ops"),
                Role::Agent,
                Err("no name of a group"),
            ),
            (
                None,
                Err("bad".to_owned()),
                Role::Agent,
                Err("remit.toml': bad"),
            ),
            (Some("x"), Err("bad".to_owned()), Role::Agent, Ok(("x", ""))),
            (
                Some("agents"),
                words("agents", "ops"),
                Role::Agent,
                Ok(("agents", "")),
            ),
            (
                Some("remit"),
                words("agents", "ops"),
                Role::Agent,
                Ok((
                    "remit",
                    "socket_group in '/etc/remit/remit.toml' is 'agents'",
                )),
            ),
            (
                Some("agents"),
                words("agents", "ops"),
                Role::Approver,
                Ok(("agents", "admin_group in '/etc/remit/remit.toml' is 'ops'")),
            ),
        ];
        for (asked, words, role, expect) in cases {
            let asked: Option<Name> = asked.map(|name| name.parse().unwrap());
            match (choose_group(asked.as_ref(), role, words.clone()), expect) {
                (Ok((group, warning)), Ok((name, why))) => {
                    assert_eq!(group.as_str(), name, "{words:?}");
                    assert_eq!(warning.is_some(), !why.is_empty(), "{words:?}");
                    assert!(warning.unwrap_or_default().ends_with(why), "{words:?}");
                }
                (Err(failure), Err(why)) => {
                    let said = failure.sentence();
                    assert!(
                        said.contains(why) && said.contains("--group NAME"),
                        "{said}"
                    );
                }
                (found, _) => panic!("{asked:?} {words:?}: {:?}", found.is_ok()),
            }
        }
    }

    #[test]
    fn a_line_is_printed_without_the_group() {
        let words = Err("bad".to_owned());
        let other = Ok(["agents".to_owned(), "ops".to_owned()]);
        let asked: Name = "remit".parse().unwrap();
        for (asked, words, into, warning) in [
            (
                None,
                words.clone(),
                "the group of remit.sock",
                "remit.toml': bad",
            ),
            (Some(&asked), words, "group 'remit'", ""),
            (None, other.clone(), "group 'agents'", ""),
            (Some(&asked), other, "group 'remit'", "is 'agents'"),
        ] {
            let group = choose_group(asked, Role::Agent, words);
            let notes = print_notes("bot", group, "remit.sock");
            assert!(
                notes[0].ends_with(&format!("the user into {into}")),
                "{notes:?}"
            );
            assert_eq!(
                notes.len(),
                1 + usize::from(!warning.is_empty()),
                "{notes:?}"
            );
            assert!(notes[notes.len() - 1].contains(warning), "{notes:?}");
        }
    }

    #[test]
    fn only_refusals_are_reported() {
        let finding = |what: &str, help: Option<&str>| ConfigFinding {
            what: what.into(),
            help: help.map(Into::into),
        };
        let refused = ConfigAnswer::Refused {
            errors: vec![
                finding("/p:3:7: error: there is no user 'a'", Some("create it")),
                finding("/p:9:1: error: x", None),
            ],
            warnings: vec![finding("/p:1:1: warning: y", None)],
        };
        assert_eq!(
            refusals(Ok(refused)),
            [
                "/p:3:7: error: there is no user 'a': create it",
                "/p:9:1: error: x"
            ]
        );
        let taken = ConfigAnswer::Taken {
            policy: "p".into(),
            texts: "t".into(),
            warnings: vec![finding("/p:1:1: warning: y", None)],
        };
        assert_eq!(refusals(Ok(taken)), [""; 0]);
        assert_eq!(refusals(Err("there is no daemon".into())), [""; 0]);
    }
}
