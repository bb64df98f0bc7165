//! Arguments of `remit grant` and `revoke`.

use clap::{ArgGroup, Args};
use remit_common::{caps, span};

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
