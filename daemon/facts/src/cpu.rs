//! Processors: model, count, use since boot (proc_stat(5), proc_cpuinfo(5)).

use std::ops::ControlFlow;

use remit_common::host::{Cpu, CpuUsage, Hundredths};

use crate::read::{self, Gaps, Why};
use crate::sources::Sources;

pub(crate) fn gather(at: &Sources, gaps: &mut Gaps) -> Option<Cpu> {
    let path = at.proc.join("stat");
    let mut usage = None;
    let mut count = 0;
    let read = read::lines(&path, 4 << 20, |line| {
        match line.strip_prefix("cpu") {
            Some(rest) if rest.starts_with(' ') => usage = parse(rest),
            Some(_) => count += 1,
            // The processor lines come first. The interrupt lines after them may take megabytes.
            None => return ControlFlow::Break(()),
        }
        ControlFlow::Continue(())
    });
    gaps.known("cpu", read)?;
    let Some(usage) = usage.filter(|_| count > 0) else {
        gaps.note("cpu", format!("'{}' has an unknown format", path.display()));
        return None;
    };
    Some(Cpu {
        model: gaps.known("cpu.model", model(at)),
        count,
        usage,
    })
}

/// Ticks: user nice system idle iowait irq softirq steal guest guest_nice. User and nice include guest time.
fn parse(line: &str) -> Option<CpuUsage> {
    let mut ticks = [0_u64; 8];
    let mut words = line.split_ascii_whitespace();
    for (index, tick) in ticks.iter_mut().enumerate() {
        match words.next() {
            Some(word) => *tick = word.parse().ok()?,
            // Old kernels have fewer fields. A line without idle is malformed.
            None if index > 3 => break,
            None => return None,
        }
    }
    let [user, nice, system, idle, iowait, irq, softirq, steal] = ticks.map(u128::from);
    let all: u128 = ticks.map(u128::from).iter().sum();
    let percent = |part: u128| {
        let share = (part * 10_000).checked_div(all).unwrap_or(0);
        Hundredths(u32::try_from(share).unwrap_or(10_000))
    };
    Some(CpuUsage {
        user: percent(user + nice),
        system: percent(system + irq + softirq),
        iowait: percent(iowait),
        steal: percent(steal),
        idle: percent(idle),
    })
}

fn model(at: &Sources) -> Result<String, Why> {
    let path = at.proc.join("cpuinfo");
    let mut model = None;
    read::lines(&path, 4 << 20, |line| {
        let Some((key, value)) = line.split_once(':') else {
            return ControlFlow::Continue(());
        };
        match key.trim_end() {
            "model name" | "Model" | "cpu model" | "machine" => {
                model = Some(read::shown(value.trim()));
                ControlFlow::Break(())
            }
            _ => ControlFlow::Continue(()),
        }
    })?;
    model.ok_or_else(|| format!("'{}' names no model", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn ticks_become_percent() {
        let usage = parse(" 40 10 20 20 5 2 1 2 7 7").unwrap();
        assert_eq!(usage.user, Hundredths(5000));
        assert_eq!(usage.system, Hundredths(2300));
        assert_eq!(
            (usage.iowait, usage.steal, usage.idle),
            (Hundredths(500), Hundredths(200), Hundredths(2000))
        );
        assert_eq!(
            parse(" 1 1 1 1").map(|usage| usage.idle),
            Some(Hundredths(2500))
        );
        assert_eq!(
            parse(" 0 0 0 0").map(|usage| usage.idle),
            Some(Hundredths(0))
        );
        assert_eq!(parse(" 1 1 1"), None);
        assert_eq!(parse(" 1 1 x 1"), None);
    }

    proptest! {
        #[test]
        fn huge_and_odd_ticks_never_panic(ticks in proptest::collection::vec(any::<u64>(), 0..12), odd in ".{0,40}") {
            let line: Vec<String> = ticks.iter().map(u64::to_string).collect();
            let _ = (parse(&line.join(" ")), parse(&odd));
        }
    }
}
