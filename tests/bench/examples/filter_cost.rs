//! Measures the cost for a child of installing a system call filter made by seccompiler. It has two stacked programs,
//! as large as the sandbox's own table: an allow-list of all numbers, and a list of refused numbers and arguments. The
//! reference is a bare fork, exec and wait of `/bin/true`. The sandbox therefore compiles its own:
//! docs/adr/sandbox.md.

use std::collections::BTreeMap;
use std::io;
use std::os::unix::process::CommandExt;
use std::process::Command;
use std::time::{Duration, Instant};

use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter,
    SeccompRule, TargetArch, apply_filter,
};

type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;
const ROUNDS: usize = 400;
const KNOWN: i64 = 463;
const CLONE3: i64 = 435;

fn main() -> Result<()> {
    let stacked = [allowed()?, refused()?];
    let (mut bare, mut filtered) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        bare.push(run(&[])?);
        filtered.push(run(&stacked)?);
    }
    let (bare, filtered) = (median(bare), median(filtered));
    println!(
        "instructions        {} + {}",
        stacked[0].len(),
        stacked[1].len()
    );
    println!("fork+exec+wait      {bare:?} (median of {ROUNDS})");
    println!("with both installed {filtered:?}");
    println!(
        "ratio               {:.2}",
        filtered.as_secs_f64() / bare.as_secs_f64()
    );
    Ok(())
}

fn compiled(
    rules: BTreeMap<i64, Vec<SeccompRule>>,
    otherwise: SeccompAction,
    matched: SeccompAction,
) -> Result<BpfProgram> {
    let arch = TargetArch::try_from(std::env::consts::ARCH)?;
    Ok(SeccompFilter::new(rules, otherwise, matched, arch)?.try_into()?)
}

fn allowed() -> Result<BpfProgram> {
    let rules = (0..KNOWN)
        .filter(|number| *number != CLONE3)
        .map(|number| (number, Vec::new()));
    compiled(
        rules.collect(),
        SeccompAction::Errno(38),
        SeccompAction::Allow,
    )
}

/// Sixty numbers that `true` does not use, and five numbers with eight argument checks each.
fn refused() -> Result<BpfProgram> {
    let mut rules: BTreeMap<i64, Vec<SeccompRule>> = (235..295)
        .filter(|number| *number != 257 && *number != 262)
        .map(|n| (n, Vec::new()))
        .collect();
    for number in [16, 41, 53, 56, 72] {
        let checks = (16..24).map(|bit| {
            let value = 1 << bit;
            let op = SeccompCmpOp::MaskedEq(value);
            let check = SeccompCondition::new(2, SeccompCmpArgLen::Dword, op, value)?;
            Ok(SeccompRule::new(vec![check])?)
        });
        rules.insert(number, checks.collect::<Result<_>>()?);
    }
    compiled(rules, SeccompAction::Allow, SeccompAction::Errno(1))
}

/// Measures from the fork to the end of `/bin/true` under `filters`.
fn run(filters: &[BpfProgram]) -> Result<Duration> {
    let filters = filters.to_vec();
    let mut command = Command::new("/bin/true");
    let install = move || {
        let each = filters.iter().try_for_each(|filter| apply_filter(filter));
        each.map_err(|_| io::ErrorKind::Other.into())
    };
    // SAFETY: this process has one thread, so the child may call any function before exec.
    #[allow(unsafe_code)]
    unsafe {
        command.pre_exec(install);
    }
    let start = Instant::now();
    let status = command.status()?;
    let time = start.elapsed();
    if status.success() {
        Ok(time)
    } else {
        Err("true failed behind the filters".into())
    }
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort_unstable();
    times.get(times.len() / 2).copied().unwrap_or_default()
}
