//! Arguments of `history`. Reads the clock, because `since` counts back from now.

use remit_common::builtin::Time;
use remit_common::calendar::now_ms;
use remit_common::caps;
use remit_common::names::NotAJobId;
use remit_common::refusal::Refusal;
use remit_common::text;
use remit_wire::host::Since;
use remit_wire::whole::whole;
use remit_wire::{HistoryQuery, Kind, Request};
use schemars::JsonSchema;
use serde::Deserialize;

use super::{DaemonCall, QUOTED, filled, invalid};

const DEFAULT: u32 = 20;

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct HistoryArgs {
    /// A time: -1h, today or RFC 3339.
    #[serde(default, deserialize_with = "filled")]
    since: Option<String>,
    /// Only this.
    kind: Option<Kind>,
    /// Default 20.
    #[schemars(range(min = 1, max = 100))]
    #[serde(default, deserialize_with = "whole")]
    limit: Option<u32>,
    /// Go on with next of the answer before.
    #[serde(default, deserialize_with = "whole")]
    before: Option<u64>,
}

pub fn call(args: &HistoryArgs) -> Result<DaemonCall, Refusal> {
    query(args, now_ms()).map(|query| Request::History(query).into())
}

/// Parses `since` of `host`.
pub fn since(text: &str) -> Result<Since, Refusal> {
    if text == "boot" {
        return Ok(Since::Boot);
    }
    match text.parse() {
        Ok(job) => Ok(Since::Job(job)),
        Err(NotAJobId) => time(text, now_ms()).map(Since::Time).map_err(|refusal| {
            refusal
                .next("write it as -2h, yesterday, 2026-11-20T10:00:00Z, boot, or a whole job_id")
        }),
    }
}

fn query(args: &HistoryArgs, now_ms: u64) -> Result<HistoryQuery, Refusal> {
    let since = args.since.as_deref().map(|since| time(since, now_ms));
    Ok(HistoryQuery {
        before: args.before,
        since_ms: since.transpose()?,
        kind: args.kind,
        limit: args.limit.unwrap_or(DEFAULT).min(caps::HISTORY_PAGE),
    })
}

fn time(since: &str, now_ms: u64) -> Result<u64, Refusal> {
    let time: Result<Time, _> = since.parse();
    time.map(|time| time.unix_ms(now_ms)).map_err(|why| {
        invalid(&format!("argument 'since': it {why}"))
            .object(text::line(since.as_bytes(), QUOTED))
            .next("write it as -2h, today, or 2026-11-20T10:00:00Z: without an offset times are in UTC")
    })
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::arguments::tests::try_call;
    use crate::tools::Tool;

    const NOW: u64 = 1_795_163_148_042; // 2026-11-20 08:25:48.042

    #[test]
    fn times_are_texts_and_pages_are_bounded() {
        let check = |arguments: Value, expect: HistoryQuery| {
            let args: HistoryArgs = serde_json::from_value(arguments.clone()).unwrap();
            assert_eq!(query(&args, NOW), Ok(expect), "{arguments}");
        };
        let all = HistoryQuery {
            limit: DEFAULT,
            ..HistoryQuery::default()
        };
        check(json!({}), all.clone());
        check(
            json!({"since": "-1h", "kind": "refused", "limit": 7, "before": 9}),
            HistoryQuery {
                before: Some(9),
                since_ms: Some(NOW - 3_600_000),
                kind: Some(Kind::Refused),
                limit: 7,
            },
        );
        for since in ["2026-11-20T08:25:48.042Z", "2026-11-20 08:25:48.042"] {
            let since_ms = Some(NOW);
            check(
                json!({ "since": since }),
                HistoryQuery {
                    since_ms,
                    ..all.clone()
                },
            );
        }
        let limit = caps::HISTORY_PAGE;
        check(json!({"limit": 4_000_000}), HistoryQuery { limit, ..all });
    }

    #[test]
    fn what_is_no_time_or_kind_is_named() {
        for (arguments, expect) in [
            (json!({"since": "soon"}), "argument 'since': it is no time"),
            (json!({"since": 7}), "argument 'since'"),
            (json!({"kind": "run"}), "argument 'kind': unknown value"),
            (json!({"limit": -1}), "argument 'limit'"),
            (json!({"before": "x"}), "argument 'before'"),
            (json!({"user": "bob"}), "unknown field `user`"),
        ] {
            let error = try_call(Tool::History, arguments.clone()).unwrap_err();
            assert!(error.contains(expect), "{arguments}: {error}");
        }
    }
}
