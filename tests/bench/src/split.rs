//! Splits a call through `mcp-shim` into parts, from measurements of the same run. Pure. Each part is the difference
//! of two times of the same rank, and only as exact. The parts add up to the whole.

use serde::Serialize;

/// Times of the same rank in microseconds.
#[derive(Clone, Copy, Debug)]
pub struct Times {
    pub fork: f64,
    /// The sandbox `read` without a daemon.
    pub read: f64,
    pub record: Option<f64>,
    /// The warden with a broker that only measures.
    pub warden: f64,
    /// A request to the broker that does not need the warden.
    pub hop: f64,
    pub daemon: f64,
    pub shim: f64,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Part {
    pub name: &'static str,
    pub p50: f64,
    /// The same of p10: the cost without other load of the machine.
    pub p10: f64,
    /// The times that it is the difference of.
    pub made_of: &'static str,
}

/// Audit records of a look: intent and end.
const RECORDS: f64 = 2.0;

/// Returns the parts from the outermost to the innermost, of medians and of p10.
pub fn split(p50: &Times, p10: &Times) -> Vec<Part> {
    let part = |((name, p50, made_of), (_, p10, _))| Part {
        name,
        p50,
        p10,
        made_of,
    };
    parts(p50).into_iter().zip(parts(p10)).map(part).collect()
}

fn parts(all: &Times) -> Vec<(&'static str, f64, &'static str)> {
    let record = all.record.map(|record| record * RECORDS);
    let warden = all.warden - all.read;
    let mut parts = vec![
        (
            "hops: client to mcp-shim, its JSON, and on to the socket",
            all.shim - all.daemon,
            "mcp-shim − the daemon's socket",
        ),
        (
            "hops: the socket to the broker and back",
            all.hop,
            "a question that the broker answers alone",
        ),
        (
            "drain: the broker's spool, session and report of a job",
            all.daemon - all.warden - all.hop,
            "the daemon's socket − the warden alone − that question",
        ),
        (
            "warden: decide, plan, ledger, link, cgroup, verified end",
            warden - record.unwrap_or_default(),
            match record {
                Some(_) => "the warden alone − the sandbox alone − two records",
                None => "the warden alone − the sandbox alone, records with it",
            },
        ),
    ];
    parts.extend(record.map(|record| {
        (
            "record: intent and end",
            record,
            "twice a look's record, of the table of records",
        )
    }));
    parts.extend([
        (
            "sandbox: the layers of 'read'",
            all.read - all.fork,
            "the sandbox alone − fork + exec",
        ),
        (
            "exec: fork, exec, /bin/true itself, its end",
            all.fork,
            "fork + exec + wait, nothing else",
        ),
    ]);
    parts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_parts_are_the_whole() {
        let mut all = Times {
            fork: 500.0,
            read: 900.0,
            record: Some(12.0),
            warden: 1200.0,
            hop: 60.0,
            daemon: 1350.0,
            shim: 1500.0,
        };
        for record in [Some(12.0), None] {
            all.record = record;
            let parts = split(&all, &all);
            let sum: f64 = parts.iter().map(|part| part.p50).sum();
            assert!((sum - all.shim).abs() < 1e-6, "{sum}");
            assert!(parts.iter().all(|part| part.p10 == part.p50));
        }
    }
}
