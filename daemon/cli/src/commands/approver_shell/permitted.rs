//! Decides what an approver's key may do. Pure.
//!
//! **Invariant:** each option is permitted by name. The values are taken apart and put together again, so a verb that
//! gains an option does not compile here until somebody has decided about it: it runs as the approver, on the server,
//! for whoever holds the key. An option that reads a file, writes one, or starts a program must be left out.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use clap::error::ErrorKind;
use clap::{CommandFactory, FromArgMatches, Subcommand};
use remit_common::names::Runtime;
use remit_common::refusal::{Code, Refusal};
use remit_common::text;

use super::words::split;
use crate::args::{ApproveArgs, CommandLine, DenyArgs, PendingArgs, ShowArgs};
use crate::error::Failure;
use crate::render::output::Form;

/// What a refusal says can be typed.
pub const TYPED: &str = "pending; show ID; approve ID; deny ID -m WHY";
const SHOWN: usize = 60;
const PROGRAM: [&str; 2] = ["remit", "/usr/bin/remit"];
const HELP: &str = "ID is a request's id, or how it begins: 4 digits or more.";

#[derive(Debug, Subcommand)]
pub enum ApproverVerb {
    /// List requests that wait for approval, oldest first
    Pending(PendingArgs),
    /// Show a pending request in full, or how its job ended
    Show(ShowArgs),
    /// Approve a pending request; exactly what was shown runs, once
    Approve(ApproveArgs),
    /// Refuse a pending request, with a reason
    Deny(DenyArgs),
}

#[derive(Debug)]
pub struct Permitted {
    pub form: Form,
    pub verb: ApproverVerb,
}

/// Reads the line that the client sent, with or without `remit` at its beginning.
pub fn permitted(line: &[u8]) -> Result<Permitted, Failure> {
    let mut words = split(line).map_err(|error| {
        let shown = text::line(line, SHOWN);
        refused(format!("cannot read '{shown}': {error}"))
    })?;
    if words
        .first()
        .is_some_and(|word| PROGRAM.iter().any(|program| word == program))
    {
        words.remove(0);
    }
    let verb = words
        .iter()
        .find(|word| !word.as_encoded_bytes().starts_with(b"-"));
    let verb = text::line(verb.map_or(b"", |verb| verb.as_encoded_bytes()), SHOWN);
    let argv = std::iter::once(OsString::from("remit")).chain(words);
    let mut command = CommandLine::<ApproverVerb>::command()
        .about("Approve changes that wait, by a key of 'remit enroll-approver'")
        .long_about(None)
        .after_help(HELP)
        .after_long_help(HELP);
    let parsed = command
        .try_get_matches_from_mut(argv)
        .and_then(|mut matches| CommandLine::from_arg_matches_mut(&mut matches));
    let line = parsed.map_err(|error| match error.kind() {
        ErrorKind::InvalidSubcommand
        | ErrorKind::MissingSubcommand
        | ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand => {
            refused(format!("this key only approves: '{verb}' is not permitted"))
        }
        _ => Failure::Usage(error.format(&mut command)),
    })?;
    decide(line)
}

fn decide(line: CommandLine<ApproverVerb>) -> Result<Permitted, Failure> {
    let CommandLine {
        runtime,
        json,
        verb,
    } = line;
    // Another daemon's answers would be shown as this one's.
    if runtime != Path::new(Runtime::DEFAULT) {
        return Err(refused(
            "this key only approves: --runtime is not permitted".to_owned(),
        ));
    }
    let verb = match verb {
        ApproverVerb::Pending(PendingArgs { watch, is_afar: _ }) => {
            ApproverVerb::Pending(PendingArgs {
                watch,
                is_afar: true,
            })
        }
        ApproverVerb::Show(ShowArgs {
            id,
            all,
            sign_text,
            bytes,
            is_afar: _,
        }) => ApproverVerb::Show(ShowArgs {
            id,
            all,
            sign_text,
            bytes,
            is_afar: true,
        }),
        ApproverVerb::Approve(ApproveArgs {
            id,
            digest,
            no_wait,
            signed,
            key,
            signature,
            on,
            is_afar: _,
        }) => {
            // They would use the server's files and programs.
            let is_input = |path: &PathBuf| path.as_os_str() == "-";
            if signed || on.is_some() || key.is_some() || !signature.as_ref().is_none_or(is_input) {
                return Err(refused(
                    "this key only approves: sign on your own computer, and send the signature with --signature -"
                        .to_owned(),
                ));
            }
            ApproverVerb::Approve(ApproveArgs {
                id,
                digest,
                no_wait,
                signed: false,
                key: None,
                signature,
                on: None,
                is_afar: true,
            })
        }
        ApproverVerb::Deny(DenyArgs { id, message }) => {
            ApproverVerb::Deny(DenyArgs { id, message })
        }
    };
    let form = match json {
        true => Form::Json,
        false => Form::Text,
    };
    Ok(Permitted { form, verb })
}

pub fn refused(why: String) -> Failure {
    Failure::Machine(Refusal::new(Code::InvalidArgs, why).lift(format!("type one of: {TYPED}")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::args::Cli;

    const ID: &str = "0123456789abcdef0123456789abcdef";

    fn said(line: &str) -> String {
        match permitted(line.as_bytes()) {
            Ok(permitted) => format!("{:?} {:?}", permitted.form, permitted.verb),
            Err(Failure::Machine(refusal)) => {
                assert!(refusal.lift.as_deref().unwrap().contains(TYPED));
                format!("refused: {}", refusal.message)
            }
            Err(Failure::Usage(error)) => format!("usage: {error}"),
            Err(other) => panic!("{other:?}"),
        }
    }

    /// Lines as `remit-fleet` sends them, and as people type them.
    #[test]
    fn four_verbs_are_permitted() {
        let digest = "ab".repeat(32);
        for (line, expect) in [
            (
                "remit pending --json",
                "Json Pending(PendingArgs { watch: false, is_afar: true })",
            ),
            ("/usr/bin/remit --json pending", "Json Pending"),
            (
                "pending --watch",
                "Text Pending(PendingArgs { watch: true, is_afar: true })",
            ),
            (&format!("remit show {ID} --json"), "Json Show"),
            ("show 0123-4567 --all", "all: true"),
            (
                &format!("remit approve {ID} --digest {digest} --json"),
                "digest: Some([171, 171",
            ),
            ("remit approve 0123 --no-wait", "no_wait: true"),
            (
                &format!(r"remit deny {ID} '--message=it'\''s night; wait'"),
                "message: \"it's night; wait\"",
            ),
            ("deny 0123 -m 'not now'", "message: \"not now\""),
        ] {
            let said = said(line);
            assert!(
                said.contains(expect) && !said.starts_with("refused") && !said.starts_with("usage"),
                "{line}: {said}"
            );
        }
    }

    #[test]
    fn every_other_verb_is_refused() {
        let all = Cli::command();
        let mut count = 0;
        for verb in all.get_subcommands().map(clap::Command::get_name) {
            if ["pending", "show", "approve", "deny"].contains(&verb) {
                continue;
            }
            let expect = format!("refused: this key only approves: '{verb}' is not permitted");
            for line in [
                format!("remit {verb} x"),
                format!("--json {verb}"),
                verb.into(),
            ] {
                assert_eq!(said(&line), expect, "{line}");
            }
            count += 1;
        }
        assert!(count > 20, "{count}");
        for line in [
            "id",
            "sh -c id",
            "remit",
            "internal-sftp",
            "/bin/remit pending",
            "remit ''",
        ] {
            assert!(
                said(line).starts_with("refused: this key only approves"),
                "{line}"
            );
        }
        for line in [
            "pending; id",
            "remit show $(id)",
            "pending | sh",
            "show 'x",
            "a\nb",
        ] {
            assert!(said(line).starts_with("refused: cannot read"), "{line}");
        }
    }

    #[test]
    fn options_of_others_are_refused() {
        for line in [
            "pending --watch=x",
            "approve 0123 --signature -",
            "approve 0123 --key /etc/passwd",
            "approve",
            "show 0123 4567",
            "deny 0123",
            "approve 0123 --digest 12",
        ] {
            assert!(
                said(line).starts_with("usage: error"),
                "{line}: {}",
                said(line)
            );
        }
        for line in [
            "approve 0123 --signed",
            "approve 0123 --signed --key /root/.ssh/id",
            "approve 0123 --on other",
            &format!(
                "approve 0123 --digest {} --signature /etc/shadow",
                "ab".repeat(32)
            ),
        ] {
            let expect = "refused: this key only approves: sign on your own computer";
            assert!(said(line).starts_with(expect), "{line}: {}", said(line));
        }
        let digest = "ab".repeat(32);
        let sent = said(&format!(
            "remit approve 0123 --digest {digest} --signature -"
        ));
        assert!(sent.contains("signature: Some(\"-\")"), "{sent}");
        assert!(said("remit show 0123 --bytes").contains("bytes: true"));
        let other = "refused: this key only approves: --runtime is not permitted";
        assert_eq!(said("remit --runtime /tmp pending"), other);
        assert_eq!(said("pending --runtime=/tmp"), other);
    }

    #[test]
    fn help_names_only_what_is_permitted() {
        for line in ["--help", "help", "remit help"] {
            let said = said(line);
            assert!(
                said.contains("approve") && !said.contains("enroll "),
                "{said}"
            );
            assert!(!said.contains("\n  lock"), "{said}");
        }
        assert!(said("approve --help").contains("--digest"));
    }

    /// Each option that exists is known here, also where it is only hidden: a new one must be decided about.
    #[test]
    fn no_option_is_unknown() {
        let command = CommandLine::<ApproverVerb>::command();
        let options: Vec<String> = command
            .get_subcommands()
            .flat_map(|verb| {
                let own = verb.get_arguments().map(|arg| arg.get_id().as_str());
                own.map(|id| format!("{} {id}", verb.get_name()))
                    .collect::<Vec<_>>()
            })
            .collect();
        assert_eq!(
            options,
            [
                "pending watch",
                "show id",
                "show all",
                "show sign_text",
                "show bytes",
                "approve id",
                "approve digest",
                "approve no_wait",
                "approve signed",
                "approve key",
                "approve signature",
                "approve on",
                "deny id",
                "deny message"
            ]
        );
    }
}
