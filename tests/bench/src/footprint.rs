//! Memory of the daemon's processes: idle, after many jobs, with many alive.

use serde::Serialize;

use crate::section::{Section, mib};
use crate::stage::{Setting, Stage};
use crate::usage::{Daemon, Memory};
use crate::{Args, Failure, growth, load};

const JOBS: usize = 5000;
const IN_FLIGHT: usize = 8;

#[derive(Clone, Debug, Default, Serialize)]
pub struct Footprint {
    pub looks: Vec<Look>,
    /// Growth of warden and broker from the second to the third measurement: 0.02 is two percent.
    pub growth: f64,
}

#[derive(Clone, Debug, Serialize)]
pub struct Look {
    pub when: String,
    pub ended: usize,
    pub alive: usize,
    pub daemon: Daemon,
    /// At first a shim that has run nothing, later the last shim after its share of the jobs.
    pub shim: Memory,
}

impl Footprint {
    pub fn take(args: &Args) -> Result<Self, Failure> {
        let setting = Setting {
            name: "memory",
            toml: growth::jobs(7),
            ..Setting::default()
        };
        let mut stage = Stage::with(args, &setting)?;
        let shim = load::idle_shim(&mut stage)?;
        let mut looks = vec![Look {
            when: "idle".into(),
            ended: 0,
            alive: 0,
            daemon: stage.memory()?,
            shim,
        }];
        let (mut ended, mut shim) = (0, shim);
        for _ in 0..2 {
            let load = load::through_shim(&mut stage, IN_FLIGHT, JOBS)?;
            ended += load.calls;
            shim = load.shim;
            looks.push(Look {
                when: format!("after {ended} jobs"),
                ended,
                alive: 0,
                daemon: stage.memory()?,
                shim,
            });
        }
        growth::sleepers(&mut stage, growth::ALIVE)?;
        looks.push(Look {
            when: format!("and {} jobs alive", growth::ALIVE),
            ended,
            alive: growth::ALIVE,
            daemon: stage.memory()?,
            shim,
        });
        Ok(Self {
            growth: grown(&looks),
            looks,
        })
    }

    pub fn sections(&self) -> Vec<Section> {
        let names = [
            "warden", "broker", "both", "watchdog", "spawner", "zygote", "mcp-shim",
        ];
        let columns: Vec<&str> = std::iter::once("RSS (PSS), MiB").chain(names).collect();
        let mut section = Section::new("memory", &columns);
        for look in &self.looks {
            let Daemon {
                warden,
                broker,
                watchdog,
                spawner,
                zygote,
            } = look.daemon;
            let both = look.daemon.warden_and_broker();
            let cells = [warden, broker, both, watchdog, spawner, zygote, look.shim].map(cell);
            section.row(look.when.as_str(), cells);
        }
        section.note(format!(
            "From the second look to the third, warden and broker have grown by {:.1} %.",
            self.growth * 100.0
        ));
        section.note(format!("Jobs through mcp-shim, {IN_FLIGHT} in flight, a new user and shim every few hundred; they sleep as those of 20 users."));
        vec![section]
    }
}

fn grown(looks: &[Look]) -> f64 {
    let rss = |at: usize| {
        looks
            .get(at)
            .map(|look| look.daemon.warden_and_broker().rss as f64)
    };
    match (rss(1), rss(2)) {
        (Some(before), Some(after)) if before > 0.0 => after / before - 1.0,
        _ => f64::NAN,
    }
}

fn cell(memory: Memory) -> String {
    if memory == Memory::default() {
        return "-".into();
    }
    format!("{} ({})", mib(memory.rss), mib(memory.pss))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn growth_is_of_both_between_the_loads() {
        let look = |rss| Look {
            when: String::new(),
            ended: 0,
            alive: 0,
            daemon: Daemon {
                warden: Memory { rss, pss: 0 },
                broker: Memory { rss, pss: 0 },
                ..Daemon::default()
            },
            shim: Memory::default(),
        };
        let all = [look(50), look(100), look(102), look(900)];
        assert!((grown(&all) - 0.02).abs() < 1e-9);
        assert!(grown(&all[..2]).is_nan());
    }
}
