//! Arguments of `job`: a list of jobs, or one job with a page or a search of its output.

use remit_common::caps;
use remit_common::refusal::Refusal;
use remit_wire::outcome::Stream;
use remit_wire::whole::whole;
use remit_wire::{GrepQuery, JobQuery, PageQuery, PartQuery, Request};
use schemars::JsonSchema;
use serde::Deserialize;

use super::{DaemonCall, filled, invalid, job_id, wait};
use crate::truncate::MAX_TEXT;

/// Bytes of a page of output when the caller does not say.
const PAGE_DEFAULT: u32 = 16 << 10;
/// Bytes of the longest page: no answer shows more, and what it cannot show is not asked for.
const PAGE_MAX: u32 = MAX_TEXT as u32;
/// Of the schema: more than a page has is cut to it.
const LIMIT_MAX: u32 = 262_144;
const MATCHES_DEFAULT: u32 = 100;
const JOBS_DEFAULT: usize = 20;

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct JobArgs {
    /// Absent: my jobs, newest first.
    #[serde(default, deserialize_with = "filled")]
    job_id: Option<String>,
    /// Milliseconds to wait. Default 20000; 0 with a page or grep.
    #[schemars(range(min = 0, max = 50000))]
    #[serde(default, deserialize_with = "whole")]
    wait_ms: Option<u32>,
    /// Of this stream. Default stdout.
    stream: Option<Stream>,
    /// From this byte; to go on, next of the answer before.
    #[serde(default, deserialize_with = "whole")]
    offset: Option<u64>,
    /// Bytes, default 16384; with grep lines, 100; without job_id jobs, 20.
    #[schemars(range(min = 1, max = 262144))]
    #[serde(default, deserialize_with = "whole")]
    limit: Option<u32>,
    /// The last bytes instead.
    tail: Option<bool>,
    /// base64: raw bytes. Default text.
    encoding: Option<PageEncoding>,
    /// Lines that match this regex.
    #[serde(default, deserialize_with = "filled")]
    grep: Option<String>,
    /// Lines around each match.
    #[schemars(range(min = 0, max = 10))]
    #[serde(default, deserialize_with = "whole")]
    context: Option<u32>,
    /// Also its sandbox, limits, times, totals.
    detail: Option<bool>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
enum PageEncoding {
    /// As text, the rest escaped.
    Text,
    /// Raw.
    Base64,
}

pub fn call(args: JobArgs) -> Result<DaemonCall, Refusal> {
    check(args.limit)?;
    let Some(id) = &args.job_id else {
        return list(&args);
    };
    let job = job_id(id)?;
    let part = part(&args)?;
    let wait_default = match part {
        Some(_) => 0,
        None => caps::WAIT_MS_DEFAULT,
    };
    let request = Request::Job(JobQuery {
        job,
        wait_ms: wait(args.wait_ms)?.unwrap_or(wait_default),
        part,
    });
    Ok(DaemonCall {
        base64: args.wants_base64(),
        detail: args.detail.unwrap_or(false),
        ..request.into()
    })
}

fn check(limit: Option<u32>) -> Result<(), Refusal> {
    match limit {
        Some(limit) if !(1..=LIMIT_MAX).contains(&limit) => {
            Err(invalid(&format!("argument 'limit': from 1 to {LIMIT_MAX}"))
                .next("ask for less, and go on with offset; or leave it out"))
        }
        Some(_) | None => Ok(()),
    }
}

fn list(args: &JobArgs) -> Result<DaemonCall, Refusal> {
    let alone = args.wait_ms.is_none()
        && args.grep.is_none()
        && args.context.unwrap_or(0) == 0
        && !args.wants_page();
    if !alone {
        return Err(
            invalid("'job_id' is missing").next("call job without arguments to list your jobs")
        );
    }
    // All, to count those that are left out. The daemon sends as many as fit into a frame.
    let all = Request::Jobs { limit: u32::MAX };
    Ok(DaemonCall {
        listed: args.limit.map_or(JOBS_DEFAULT, |limit| {
            usize::try_from(limit).unwrap_or(usize::MAX)
        }),
        ..all.into()
    })
}

fn part(args: &JobArgs) -> Result<Option<PartQuery>, Refusal> {
    if let Some(pattern) = &args.grep {
        return grep(args, pattern.clone()).map(PartQuery::Grep).map(Some);
    }
    if args.context.unwrap_or(0) > 0 {
        return Err(invalid("'context' belongs to 'grep'"));
    }
    let paged = args.wants_page() || args.limit.is_some();
    Ok(paged.then(|| {
        PartQuery::Page(PageQuery {
            stream: args.stream.unwrap_or(Stream::Stdout),
            offset: args.offset.unwrap_or(0),
            limit: args.limit.unwrap_or(PAGE_DEFAULT).min(PAGE_MAX),
            tail: args.tail.unwrap_or(false),
            whole_characters: !args.wants_base64(),
        })
    }))
}

fn grep(args: &JobArgs, pattern: String) -> Result<GrepQuery, Refusal> {
    // Some clients send default values. They mean the same as absent ones.
    if args.tail == Some(true) {
        return Err(invalid("'grep' and 'tail' exclude each other"));
    }
    if args.wants_base64() {
        return Err(invalid("'grep' and 'encoding' base64 exclude each other"));
    }
    let context = args.context.unwrap_or(0);
    if context > caps::GREP_CONTEXT {
        return Err(invalid(&format!(
            "argument 'context': at most {}",
            caps::GREP_CONTEXT
        )));
    }
    Ok(GrepQuery {
        stream: args.stream.unwrap_or(Stream::Stdout),
        pattern,
        offset: args.offset.unwrap_or(0),
        limit: args
            .limit
            .unwrap_or(MATCHES_DEFAULT)
            .min(caps::GREP_MATCHES),
        context,
    })
}

impl JobArgs {
    /// Something was given that only a page has.
    fn wants_page(&self) -> bool {
        self.stream.is_some()
            || self.offset.is_some()
            || self.tail.is_some()
            || self.encoding.is_some()
    }

    fn wants_base64(&self) -> bool {
        self.encoding == Some(PageEncoding::Base64)
    }
}

#[cfg(test)]
mod tests {
    use remit_common::names::JobId;
    use serde_json::{Value, json};

    use super::*;
    use crate::arguments::tests::try_call;
    use crate::tools::Tool;

    const ID: JobId = JobId([0x11; 16]);

    fn asked(wait_ms: u32, part: Option<PartQuery>) -> DaemonCall {
        Request::Job(JobQuery {
            job: ID,
            wait_ms,
            part,
        })
        .into()
    }

    fn with_job(mut arguments: Value) -> Value {
        arguments["job_id"] = json!(ID.to_string());
        arguments
    }

    #[test]
    fn a_job_is_waited_for_paged_or_listed() {
        let page = PageQuery {
            stream: Stream::Stderr,
            offset: 7,
            limit: PAGE_DEFAULT,
            tail: false,
            whole_characters: true,
        };
        let raw = PageQuery {
            stream: Stream::Stdout,
            offset: 0,
            limit: PAGE_MAX,
            tail: true,
            whole_characters: false,
        };
        let base64 = DaemonCall {
            base64: true,
            ..asked(0, Some(PartQuery::Page(raw)))
        };
        let list = |listed| DaemonCall {
            listed,
            ..Request::Jobs { limit: u32::MAX }.into()
        };
        let cases = [
            (json!({}), list(JOBS_DEFAULT)),
            (json!({"limit": 3}), list(3)),
            (with_job(json!({})), asked(caps::WAIT_MS_DEFAULT, None)),
            (
                with_job(json!({"stream": "stderr", "offset": 7})),
                asked(0, Some(PartQuery::Page(page))),
            ),
            (
                with_job(json!({"tail": true, "limit": LIMIT_MAX, "encoding": "base64"})),
                base64,
            ),
        ];
        for (arguments, expect) in cases {
            assert_eq!(try_call(Tool::Job, arguments), Ok(expect));
        }
    }

    #[test]
    fn a_search_has_its_own_limits_and_defaults() {
        let query = GrepQuery {
            stream: Stream::Stdout,
            pattern: "a b".to_owned(),
            offset: 0,
            limit: 100,
            context: 0,
        };
        let all = GrepQuery {
            stream: Stream::Stderr,
            offset: 9,
            limit: caps::GREP_MATCHES,
            context: 10,
            ..query.clone()
        };
        let cases = [
            (json!({}), 0, query.clone()),
            // Explicit default values of a page.
            (json!({"tail": false, "encoding": "text"}), 0, query),
            (
                json!({"stream": "stderr", "offset": 9, "limit": LIMIT_MAX, "context": 10, "wait_ms": 7}),
                7,
                all,
            ),
        ];
        for (mut arguments, wait_ms, expect) in cases {
            arguments["grep"] = json!("a b");
            let expect = asked(wait_ms, Some(PartQuery::Grep(expect)));
            assert_eq!(try_call(Tool::Job, with_job(arguments)), Ok(expect));
        }
    }

    #[test]
    fn what_does_not_go_together_is_named() {
        let cases = [
            (json!({"offset": 3}), "'job_id' is missing"),
            (json!({"wait_ms": 3}), "'job_id' is missing"),
            (json!({"grep": "a"}), "'job_id' is missing"),
            (json!({"context": 1}), "'job_id' is missing"),
            (
                with_job(json!({"grep": "a", "tail": true})),
                "'grep' and 'tail' exclude",
            ),
            (
                with_job(json!({"grep": "a", "encoding": "base64"})),
                "'grep' and 'encoding' base64 exclude",
            ),
            (
                with_job(json!({"context": 1})),
                "'context' belongs to 'grep'",
            ),
            (
                with_job(json!({"grep": "a", "context": 11})),
                "argument 'context': at most 10",
            ),
            (
                with_job(json!({"grep": 1})),
                "argument 'grep': expected a string",
            ),
            (json!({"limit": 0}), "argument 'limit': from 1 to 262144"),
            (
                with_job(json!({"limit": 262_145})),
                "argument 'limit': from 1 to 262144",
            ),
            (
                with_job(json!({"grep": "a", "limit": 0})),
                "argument 'limit': from 1 to 262144",
            ),
        ];
        for (arguments, expect) in cases {
            let error = try_call(Tool::Job, arguments.clone()).unwrap_err();
            assert!(error.contains(expect), "{arguments}: {error}");
        }
    }
}
