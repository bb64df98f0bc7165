//! What a verb on a unit really does: the units that start and stop with it. What takes the machine out of its work, or
//! stops a unit that is protected, is refused. It asks the service manager, and changes nothing.
//!
//! Names say little: root's own unit files decide what a name stands for.

use std::collections::VecDeque;

use remit_common::service::{is_disruptive, is_protected};
use remit_common::text;

use super::manager::{Known, Manager, WORD};
use crate::Fault;
use crate::args::UnitVerb;

/// Units looked at in one direction. If there are more, the verb is refused.
const OTHERS: usize = 256;

/// The units beside the one that was asked for.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Effects {
    /// Those that it starts, at once or later.
    pub starts: Vec<Known>,
    /// Those that stop with it.
    pub stops: Vec<String>,
}

/// Finds what a verb does, or why it is refused.
pub async fn of(manager: &impl Manager, verb: UnitVerb, unit: &Known) -> Result<Effects, Fault> {
    let starts = matches!(verb, UnitVerb::Start | UnitVerb::Restart | UnitVerb::Enable);
    let stops = matches!(verb, UnitVerb::Stop | UnitVerb::Restart);
    let judging = Judging { manager, unit };
    let mut to_start: Vec<String> = Vec::new();
    let mut to_stop: Vec<String> = Vec::new();
    if starts || stops {
        judging.causes_no_action(unit)?;
        to_start.extend_from_slice(&unit.started_by_end);
    }
    if starts {
        to_start.extend_from_slice(&unit.started_by_start);
        to_stop.extend_from_slice(&unit.stopped_by_start);
    }
    if stops {
        judging.is_no_plumbing(unit)?;
        to_stop.extend_from_slice(&unit.stopped_by_stop);
    }
    let starts = judging.started(to_start).await?;
    for one in &starts {
        to_stop.extend_from_slice(&one.stopped_by_start);
    }
    let stops = judging.stopped(to_stop).await?;
    Ok(Effects { starts, stops })
}

struct Judging<'a, M> {
    manager: &'a M,
    unit: &'a Known,
}

impl<M: Manager> Judging<'_, M> {
    /// Those that start, and those that they start. One that runs already starts nothing.
    async fn started(&self, first: Vec<String>) -> Result<Vec<Known>, Fault> {
        let mut queue = Queue::new(first, &self.unit.id);
        let mut found = Vec::new();
        while let Some(name) = queue.next() {
            if queue.seen.len() > OTHERS {
                return Err(self.refused(&format!("more than {OTHERS} others start")));
            }
            let known = self.manager.unit(&name).await?;
            let runs = matches!(known.active.as_str(), "active" | "reloading");
            if known.load != "loaded" || runs {
                continue;
            }
            let all = known.names.iter().chain([&name, &known.id]);
            if let Some(name) = all.into_iter().find(|name| is_disruptive(name)) {
                let what = format!(
                    "'{}' starts, which ends the machine's normal work",
                    line(name)
                );
                return Err(self.refused(&what));
            }
            self.causes_no_action(&known)?;
            queue.add(&known.started_by_start);
            queue.add(&known.started_by_end);
            found.push(known);
        }
        Ok(found)
    }

    /// Those that stop, and those that stop with them.
    async fn stopped(&self, first: Vec<String>) -> Result<Vec<String>, Fault> {
        let mut queue = Queue::new(first, &self.unit.id);
        let mut found = Vec::new();
        while let Some(name) = queue.next() {
            if queue.seen.len() > OTHERS {
                return Err(self.refused(&format!("more than {OTHERS} others stop")));
            }
            let known = self.manager.unit(&name).await?;
            if !known.is_up() {
                continue;
            }
            for name in known.names.iter().chain([&name, &known.id]) {
                if let Some(why) = is_protected(name) {
                    let what = format!("'{}' stops, which is protected: {why}", line(name));
                    return Err(self.refused(&what));
                }
            }
            self.is_no_plumbing(&known)?;
            self.causes_no_action(&known)?;
            queue.add(&known.stopped_by_stop);
            found.push(known.id);
        }
        Ok(found)
    }

    /// No unit whose end or failure reboots the machine, or ends its normal work otherwise.
    fn causes_no_action(&self, known: &Known) -> Result<(), Fault> {
        match known.actions.as_slice() {
            [] => Ok(()),
            all => Err(self.refused(&format!(
                "'{}' acts on the whole machine: {}",
                line(&known.id),
                all.join(" ")
            ))),
        }
    }

    /// No unit of the early boot whose stop undoes what the machine runs on (`blk-availability.service` unmounts).
    fn is_no_plumbing(&self, known: &Known) -> Result<(), Fault> {
        let is_early = known.undoes && !known.has_default_dependencies;
        match is_early && known.is_up() {
            false => Ok(()),
            true => Err(self.refused(&format!(
                "'{}' stops, which undoes a part of the boot: it has ExecStop=, RemainAfterExit=yes and \
                 DefaultDependencies=no",
                line(&known.id)
            ))),
        }
    }

    fn refused(&self, what: &str) -> Fault {
        Fault::Refused(format!(
            "with '{}' {what}; somebody with a shell can do it by systemctl",
            line(&self.unit.id)
        ))
    }
}

/// Names to be looked at, each once, and never the unit itself.
struct Queue {
    seen: Vec<String>,
    left: VecDeque<String>,
}

impl Queue {
    fn new(first: Vec<String>, but: &str) -> Self {
        let mut queue = Self {
            seen: vec![but.to_owned()],
            left: VecDeque::new(),
        };
        queue.add(&first);
        queue
    }

    fn add(&mut self, names: &[String]) {
        for name in names {
            if !self.seen.contains(name) {
                self.seen.push(name.clone());
                self.left.push_back(name.clone());
            }
        }
    }

    fn next(&mut self) -> Option<String> {
        self.left.pop_front()
    }
}

fn line(name: &str) -> String {
    text::line(name.as_bytes(), WORD)
}

#[cfg(test)]
mod tests;
