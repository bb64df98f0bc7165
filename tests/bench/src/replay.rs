//! Measures `remit policy replay` on an audit log of 10,000 decisions, with the policy of [`crate::decide`]: as a
//! process, with the load of the policy and the check of the chain. Needs neither a stage nor root.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use remit_trail::{Event, hash, hex};
use serde::Serialize;
use serde_json::Value;

use crate::section::Section;
use crate::series::{Series, Summary};
use crate::{Failure, decide};

const DECISIONS: u64 = 10_000;
const TIMES: usize = 5;
/// The value of an argument that the policy refuses, in this many decisions.
const REFUSED: &str = "10";
const CHANGED: u64 = 3;

#[derive(Debug, Serialize)]
pub struct Replay {
    pub decisions: u64,
    pub log_bytes: u64,
    /// Microseconds.
    pub time: Summary,
    /// The same with candidates of rules.
    pub from_denials: Summary,
}

/// A directory that is gone afterwards.
struct Scratch(PathBuf);

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

pub fn take() -> Result<Replay, Failure> {
    let name = format!("remit-bench-replay-{}", std::process::id());
    let scratch = Scratch(std::env::temp_dir().join(name));
    let (config, log) = (scratch.0.join("policy.d"), scratch.0.join("audit.jsonl"));
    fs::create_dir_all(&config)?;
    fs::write(config.join("10-bench.toml"), decide::text_by_number()?)?;
    let text = text()?;
    fs::write(&log, &text)?;
    let said: Value = serde_json::from_slice(&replay(&scratch.0, &log, &["--json"])?)?;
    let is = |name: &str, count: u64| said.get(name).and_then(Value::as_u64) == Some(count);
    if !is("decisions", DECISIONS) || !is("changed", CHANGED) || !is("untold", 0) {
        return Err(format!("it found something else: {said:#}").into());
    }
    Ok(Replay {
        decisions: DECISIONS,
        log_bytes: text.len() as u64,
        time: timed(&scratch.0, &log, &[])?,
        from_denials: timed(&scratch.0, &log, &["--from-denials"])?,
    })
}

fn timed(config: &Path, log: &Path, args: &[&str]) -> Result<Summary, Failure> {
    let mut series = Series::default();
    for _ in 0..TIMES {
        let start = Instant::now();
        replay(config, log, args)?;
        series.push(start.elapsed());
    }
    Ok(series.summary())
}

fn replay(config: &Path, log: &Path, args: &[&str]) -> Result<Vec<u8>, Failure> {
    let remit = std::env::current_exe()?.with_file_name("remit");
    let output = Command::new(remit)
        .args([
            "policy",
            "replay",
            "--any-owner",
            "--vendor",
            "/nonexistent",
        ])
        .arg("--config")
        .arg(config)
        .arg("--file")
        .arg(log)
        .args(args)
        .output()?;
    match output.status.code() {
        Some(0 | 1) => Ok(output.stdout),
        _ => Err(format!(
            "remit policy replay: {}",
            String::from_utf8_lossy(&output.stderr)
        )
        .into()),
    }
}

/// Returns an audit log of programs and commands that ran or were refused, a third each, chained as the daemon's.
fn text() -> Result<String, Failure> {
    let mut prev = [0; 32];
    let mut text = String::new();
    for seq in 1..=DECISIONS {
        let fields = record(seq, &hex(&prev));
        prev = hash(
            fields
                .iter()
                .map(|(name, value)| (name.as_str(), value.as_str())),
        );
        let all = fields
            .into_iter()
            .chain([("REMIT_HASH".to_owned(), hex(&prev))]);
        let all = all.map(|(name, value)| (name, Value::from(value)));
        let object = Value::Object(all.collect());
        writeln!(text, "{object}")?;
    }
    Ok(text)
}

fn record(seq: u64, prev: &str) -> Vec<(String, String)> {
    let number = match seq <= CHANGED * 3 && seq % 3 == 1 {
        true => REFUSED.to_owned(),
        false => (seq % 10).to_string(),
    };
    let event = match seq % 3 {
        2 => Event::Refusal,
        _ => Event::Intent,
    };
    let named = [
        ("COMMAND", "svc20.do9".to_owned()),
        ("ARGS", format!("n={number}")),
        ("ARGV", format!("/usr/bin/printf x {number}")),
        ("PROFILE", "strict".to_owned()),
        ("VERDICT", "allow".to_owned()),
    ];
    let denied = [
        ("ARGV", format!("grep -c {seq} /var/log/syslog")),
        ("PROFILE", "strict".to_owned()),
        ("VERDICT", "denied_rule".to_owned()),
    ];
    let ran = [
        ("ARGV", format!("grep -c {seq} /var/log/syslog")),
        ("PROFILE", "read".to_owned()),
        ("VERDICT", "allow".to_owned()),
    ];
    let (minute, hour) = (seq / 60 % 60, seq / 3600 % 24);
    let common = [
        ("EVENT", event.name().to_owned()),
        ("SEQ", seq.to_string()),
        ("PREV", prev.to_owned()),
        ("BOOT", "ab".repeat(16)),
        (
            "TIME",
            format!("2026-11-20T{hour:02}:{minute:02}:{:02}.042Z", seq % 60),
        ),
        ("UID", "1000".to_owned()),
        ("USER", "agent".to_owned()),
        ("PEER", "pid 4711".to_owned()),
        ("SESSION", "1".to_owned()),
        ("CLIENT", "bench".to_owned()),
        ("EFFECT", "read".to_owned()),
        ("RULE", "/etc/remit/policy.d/10-bench.toml:7".to_owned()),
        ("POLICY", "00".repeat(32)),
        ("CWD", "/".to_owned()),
        (
            "GIDS",
            decide::gids()
                .map(|gid| gid.to_string())
                .collect::<Vec<_>>()
                .join(" "),
        ),
    ];
    let own = match seq % 3 {
        1 => named.to_vec(),
        2 => denied.to_vec(),
        _ => ran.to_vec(),
    };
    let own = common.into_iter().chain(own);
    let own = own.map(|(name, value)| (format!("REMIT_{name}"), value));
    let journal = [
        (
            "MESSAGE",
            format!("agent runs in read [{seq:08x}]: something"),
        ),
        ("MESSAGE_ID", event.message_id().to_owned()),
        ("PRIORITY", "6".to_owned()),
    ];
    journal
        .into_iter()
        .map(|(name, value)| (name.to_owned(), value))
        .chain(own)
        .collect()
}

pub fn section(replay: &Replay) -> Section {
    let title = format!("remit policy replay, {} decisions", replay.decisions);
    let mut section = Section::new("Replay", &[&title, "p50 ms", "p95 ms"]);
    let row = |time: &Summary| [time.p50, time.p95].map(|micros| format!("{:.0}", micros / 1e3));
    section.row("verdicts that change", row(&replay.time));
    section.row(
        "candidates of rules (--from-denials)",
        row(&replay.from_denials),
    );
    section.note(format!(
        "A process: loads 2,000 rules and 500 commands, reads and verifies {} MiB of records, decides each. {TIMES} runs.",
        crate::section::mib(replay.log_bytes)
    ));
    section
}
