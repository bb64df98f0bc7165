//! Arguments of `remit history`.

use clap::Args;
use remit_common::builtin::Time;
use remit_common::wire::Kind;

/// How many entries are shown unless somebody says otherwise, and at most.
const LIMIT: u32 = 20;
const MOST: i64 = 10_000;

#[derive(Debug, Args)]
pub struct HistoryArgs {
    /// Of all users; the default for administrators
    #[arg(long, conflicts_with_all = ["user", "mine"])]
    pub all: bool,

    /// Only your own, also if you are an administrator
    #[arg(long, conflicts_with = "user")]
    pub mine: bool,

    /// Only of this user (administrators)
    #[arg(long, value_name = "USER")]
    pub user: Option<String>,

    /// From this time on: -2h, today, 2026-11-20, '2026-11-20 10:00' (UTC)
    #[arg(long, value_name = "TIME", allow_hyphen_values = true, value_parser = super::time::time)]
    pub since: Option<Time>,

    /// Only this: asked, decided, started, ended or refused
    #[arg(long, value_name = "KIND", value_parser = kind_parser())]
    pub kind: Option<Kind>,

    /// Show at most this many
    #[arg(long, value_name = "N", default_value_t = LIMIT, value_parser = clap::value_parser!(u32).range(1..=MOST))]
    pub limit: u32,

    /// Only entries before this number: the next page
    #[arg(long, value_name = "SEQ")]
    pub before: Option<u64>,
}

/// A kind by its name; the names can be completed.
fn kind_parser() -> impl clap::builder::TypedValueParser<Value = Kind> {
    use clap::builder::{PossibleValuesParser, TypedValueParser};
    let names = Kind::ALL.map(Kind::as_str);
    PossibleValuesParser::new(names).try_map(|name| {
        let found = Kind::ALL.into_iter().find(|kind| kind.as_str() == name);
        found.ok_or("no such kind")
    })
}
