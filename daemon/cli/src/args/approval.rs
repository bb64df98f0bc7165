//! Arguments of `remit pending`, `show`, `approve`, `deny`, `grant` and `revoke`.

use std::path::PathBuf;

use clap::{ArgGroup, Args, ValueHint};
use remit_common::hex::unhex;
use remit_common::id_prefix::IdPrefix;
use remit_common::{caps, span};
use remit_words::reason::reason;

#[derive(Debug, Args)]
pub struct PendingArgs {
    /// Print each new request, and how each was decided, until Ctrl-C
    #[arg(long)]
    pub watch: bool,

    /// It came with a key of 'remit enroll-approver': this machine signs nothing.
    #[arg(skip)]
    pub is_afar: bool,
}

#[derive(Debug, Args)]
pub struct ShowArgs {
    /// The request's id, or how it begins: 4 digits or more
    #[arg(value_name = "ID")]
    pub id: IdPrefix,

    /// Show everything: what is cut without this, and environment, sandbox, limits, rule, client
    #[arg(long)]
    pub all: bool,

    /// Print only the text that an approver signs
    #[arg(long, conflicts_with = "all")]
    pub sign_text: bool,

    /// Print the request as data, for 'remit approve --on'
    #[arg(long, conflicts_with_all = ["all", "sign_text"])]
    pub bytes: bool,

    /// It came with a key of 'remit enroll-approver', which opens no other verb.
    #[arg(skip)]
    pub is_afar: bool,
}

#[derive(Debug, Args)]
pub struct ApproveArgs {
    /// The request's id, or how it begins: 4 digits or more
    #[arg(value_name = "ID")]
    pub id: IdPrefix,

    /// All 64 digits of the digest to approve, instead of a question
    #[arg(long, value_name = "HEX", value_parser = digest)]
    pub digest: Option<[u8; 32]>,

    /// Return at once, without waiting for the end of the job
    #[arg(long)]
    pub no_wait: bool,

    /// Sign it with a key of yours, by ssh-keygen
    #[arg(long)]
    pub signed: bool,

    /// The key to sign with; without it a security key or another key in ~/.ssh
    #[arg(long, value_name = "FILE", requires = "signed", value_hint = ValueHint::FilePath)]
    pub key: Option<PathBuf>,

    /// A signature of what 'remit show ID --sign-text' prints; - reads it from standard input
    #[arg(long, value_name = "FILE", conflicts_with = "signed", requires = "digest",
          value_hint = ValueHint::FilePath)]
    pub signature: Option<PathBuf>,

    /// Approve a request of this host, over ssh: what is shown and signed is computed here
    #[arg(long, value_name = "HOST", conflicts_with_all = ["digest", "signature"], value_hint = ValueHint::Hostname,
          value_parser = host)]
    pub on: Option<String>,

    /// It came with a key of 'remit enroll-approver': this machine signs nothing.
    #[arg(skip)]
    pub is_afar: bool,
}

/// As ssh takes it. A word that begins with a hyphen would be an option of ssh.
fn host(text: &str) -> Result<String, &'static str> {
    let is_plain = |c: char| c.is_ascii_graphic() && !"'\"\\`$".contains(c);
    match !text.is_empty() && !text.starts_with('-') && text.chars().all(is_plain) {
        true => Ok(text.to_owned()),
        false => Err("not a host of ssh: expected HOST, USER@HOST or ssh://USER@HOST:PORT"),
    }
}

#[derive(Debug, Args)]
pub struct DenyArgs {
    /// The request's id, or how it begins: 4 digits or more
    #[arg(value_name = "ID")]
    pub id: IdPrefix,

    /// The reason, which the requester reads
    #[arg(short, long, value_name = "WHY", allow_hyphen_values = true, value_parser = reason)]
    pub message: String,
}

#[derive(Debug, Args)]
pub struct ConfirmArgs {
    /// The commit's id, or how it begins: 4 digits or more; without it the only one that waits
    #[arg(value_name = "ID")]
    pub id: Option<IdPrefix>,
}

/// A whole SHA-256; spaces, colons and hyphens between its digits do not count.
fn digest(text: &str) -> Result<[u8; 32], &'static str> {
    const WRONG: &str = "not a digest: expected all 64 hex digits";
    let digits = text.replace([' ', ':', '-'], "").to_ascii_lowercase();
    unhex(digits).ok_or(WRONG)
}

#[derive(Debug, Args)]
pub struct GrantArgs {
    /// The grantee: USER, %GROUP, #UID or %#GID
    #[arg(value_name = "WHO")]
    pub grantee: String,

    /// A command's name, or a pattern of names such as 'service.*'
    #[arg(value_name = "WHAT")]
    pub what: String,

    /// Only runs with exactly this argument; may be given again
    #[arg(value_name = "ARG=VALUE", value_parser = argument)]
    pub args: Vec<(String, String)>,

    /// For how long: 90s, 30m, 2h, 1d, 1w
    #[arg(long = "for", value_name = "TIME", value_parser = seconds)]
    pub for_s: u32,

    /// Maximum number of runs
    #[arg(long, value_name = "N",
          value_parser = clap::value_parser!(u32).range(1..=i64::from(caps::GRANT_USES)))]
    pub uses: Option<u32>,

    /// Of plan.commit: only plans that change nothing but these files, or what lies beneath them
    #[arg(long, value_name = "PATH", num_args = 1.., value_hint = ValueHint::AnyPath)]
    pub paths: Vec<String>,

    /// Give it also if it opens a way to root, or to another account
    #[arg(long)]
    pub accept_paths: bool,

    /// Keep the grant after a reboot
    #[arg(long)]
    pub across_reboot: bool,
}

#[derive(Debug, Args)]
#[command(group(ArgGroup::new("which").required(true).args(["id", "all"])))]
pub struct RevokeArgs {
    /// The grant's number, as 'remit grants' shows it
    #[arg(value_name = "ID")]
    pub id: Option<u64>,

    /// End all grants
    #[arg(long)]
    pub all: bool,
}

fn argument(text: &str) -> Result<(String, String), &'static str> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.to_owned(), value.to_owned())),
        Some(_) | None => Err("it is not ARG=VALUE"),
    }
}

fn seconds(text: &str) -> Result<u32, String> {
    let seconds = span::seconds(text).map_err(|error| error.to_string())?;
    u32::try_from(seconds)
        .ok()
        .filter(|seconds| (1..=caps::GRANT_S).contains(seconds))
        .ok_or_else(|| format!("a grant lasts from 1s to {}d", caps::GRANT_S / 86_400))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_digest_is_whole_or_none() {
        let text = "0123456789abcdef".repeat(4);
        let bytes = digest(&text).unwrap();
        assert_eq!((bytes[0], bytes[1], bytes[31]), (0x01, 0x23, 0xef));
        let grouped = "01234567 89ABCDEF ".repeat(4);
        assert_eq!(digest(&grouped), Ok(bytes));
        for wrong in [
            "",
            "01234567",
            &text[1..],
            &format!("{text}0"),
            &text.replace('f', "g"),
        ] {
            assert!(digest(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_time_has_a_unit_and_an_end() {
        for (text, expect) in [
            ("1s", 1),
            ("90s", 90),
            ("30min", 1800),
            ("30m", 1800),
            ("2h", 7200),
            ("1d", 86_400),
            ("1w", 604_800),
            ("30d", caps::GRANT_S),
            ("1h30m", 5400),
        ] {
            assert_eq!(seconds(text), Ok(expect), "{text}");
        }
        for wrong in [
            "",
            "30",
            "min",
            "0s",
            "-1h",
            "1.5h",
            "1 h",
            "31d",
            "2592001s",
            "99999999999999999999h",
            "18446744073709551615w",
        ] {
            assert!(seconds(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn argument_is_split_at_first_equals_sign() {
        let pair = |name: &str, value: &str| Ok((name.to_owned(), value.to_owned()));
        assert_eq!(argument("unit=a=b"), pair("unit", "a=b"));
        assert_eq!(argument("unit="), pair("unit", ""));
        assert!(argument("=a").is_err() && argument("unit").is_err());
    }
}
