//! Computes the units that a verb starts, stops, restarts and reloads. Refuses verbs that end the machine's normal work
//! or stop a protected unit. Changes nothing. Names are not enough, because root's unit files decide what a name does,
//! and the manager computes no transaction without running it. So the rules of systemd.unit(5) are followed here, from
//! one (unit, act) pair to the next. An effect that depends on later events counts.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use remit_common::service::is_disruptive;
use remit_common::text;

use super::bus_names::is_protected_as;
use super::manager::{Known, Manager, WORD};
use crate::args::{Fault, UnitVerb};

/// Maximum number of (unit, act) pairs that are looked at. It bounds the time and the memory of a request.
const PAIRS: usize = 1024;
/// Maximum number of other units that change. With more the verb is refused: an approver could not judge them.
const OTHERS: usize = 256;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Act {
    Start,
    Stop,
    /// Stops and starts, which restarts the units that depend on it.
    Restart,
    Reload,
    /// Stops if it has `StopWhenUnneeded=yes`.
    Release,
    /// Starts now, or at a later event: also if it is active now.
    Later,
    /// Starts what it triggers if it is active.
    Trigger,
}

impl Act {
    /// Returns what a verb does to its unit. An enabled unit starts at the next boot.
    pub const fn from_verb(verb: UnitVerb) -> Option<Self> {
        match verb {
            UnitVerb::Start | UnitVerb::Enable => Some(Self::Start),
            UnitVerb::Stop => Some(Self::Stop),
            UnitVerb::Restart => Some(Self::Restart),
            UnitVerb::Reload => Some(Self::Reload),
            UnitVerb::Disable => None,
        }
    }

    fn verb(self) -> &'static str {
        match self {
            Self::Start | Self::Later | Self::Trigger => "starts",
            Self::Stop | Self::Release => "stops",
            Self::Restart => "restarts",
            Self::Reload => "reloads",
        }
    }

    /// Returns true for what the service manager does by a job.
    pub fn is_of_jobs(self) -> bool {
        !matches!(self, Self::Release | Self::Later | Self::Trigger)
    }
}

/// The other units with the act on each, sorted by name.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Effects(Vec<(Known, Act)>);

impl Effects {
    pub fn names(&self, act: Act) -> Vec<String> {
        let all = self.0.iter().filter(|(_, one)| *one == act);
        all.map(|(known, _)| known.id.clone()).collect()
    }

    pub fn all(&self) -> &[(Known, Act)] {
        &self.0
    }

    /// Returns the units that this act starts, restarts or reloads by its own transaction, and not at a later event.
    pub fn now<'a>(&'a self, unit: &'a Known, act: Act) -> Vec<(&'a Known, Act)> {
        let mut all: Vec<(&Known, Act)> = Vec::new();
        let mut queue = VecDeque::from([(unit, act)]);
        while let Some((known, act)) = queue.pop_front() {
            let starts = (Act::Start, &known.started_by_start);
            let lists = match act {
                Act::Start => vec![starts],
                Act::Restart => vec![(Act::Restart, &known.restarted_by_restart), starts],
                Act::Reload => vec![(Act::Reload, &known.reloaded_by_reload)],
                Act::Stop | Act::Release | Act::Later | Act::Trigger => Vec::new(),
            };
            for (known, found) in &self.0 {
                // A unit that restarts has no start of its own.
                let is_in = |(act, names): &(Act, &Vec<String>)| {
                    (found == act || (*found == Act::Restart && *act == Act::Start))
                        && names.iter().any(|name| known.is_named(name))
                };
                let pair = (known, *found);
                if lists.iter().any(is_in) && !all.contains(&pair) {
                    all.push(pair);
                    queue.push_back(pair);
                }
            }
        }
        all
    }

    pub fn units(&self) -> usize {
        let all: BTreeSet<&str> = self.0.iter().map(|(known, _)| known.id.as_str()).collect();
        all.len()
    }
}

/// `also`: the units that are enabled with it (`Also=`). They start at the next boot.
pub async fn compute(
    manager: &impl Manager,
    verb: UnitVerb,
    unit: &Known,
    also: &[String],
) -> Result<Effects, Fault> {
    let Some(act) = Act::from_verb(verb) else {
        return Ok(Effects::default());
    };
    let mut closure = Closure::new(manager, unit);
    closure.happens(unit, act)?;
    closure.add(Act::Later, also);
    while let Some((name, act)) = closure.queue.pop_front() {
        closure.follow(&name, act).await?;
    }
    closure.effects(act)
}

struct Closure<'a, M> {
    manager: &'a M,
    unit: &'a Known,
    /// Key: each name that was looked up, and the first name of the unit.
    known: BTreeMap<String, Known>,
    queue: VecDeque<(String, Act)>,
    seen: BTreeSet<(String, Act)>,
    /// Pairs that happen. Key: the first name of the unit.
    found: BTreeSet<(String, Act)>,
    /// Pairs without effect in the present state: the start of an active unit, the stop of an inactive one.
    waiting: BTreeSet<(String, Act)>,
}

impl<'a, M: Manager> Closure<'a, M> {
    fn new(manager: &'a M, unit: &'a Known) -> Self {
        Self {
            manager,
            unit,
            known: BTreeMap::from([(unit.id.clone(), unit.clone())]),
            queue: VecDeque::new(),
            seen: BTreeSet::new(),
            found: BTreeSet::new(),
            waiting: BTreeSet::new(),
        }
    }

    fn effects(mut self, asked: Act) -> Result<Effects, Fault> {
        // The requested act itself is not an effect. A restart includes the stop and the start.
        self.found.remove(&(self.unit.id.clone(), asked));
        let is_whole = |(id, act): &&(String, Act)| {
            let is_part = matches!(act, Act::Start | Act::Stop);
            let restarts = self.found_one(id, &[Act::Restart])
                || (asked == Act::Restart && *id == self.unit.id);
            !(is_part && restarts)
        };
        let pairs = self.found.iter().filter(is_whole);
        let pairs = pairs.filter_map(|(id, act)| Some((self.known.get(id)?.clone(), *act)));
        let effects = Effects(pairs.collect());
        match effects.units() > OTHERS {
            false => Ok(effects),
            true => Err(self.refused(&format!("more than {OTHERS} others change"))),
        }
    }

    async fn follow(&mut self, name: &str, act: Act) -> Result<(), Fault> {
        let known = match self.known.get(name) {
            Some(known) => known.clone(),
            None => {
                let known = self.manager.unit(name).await?;
                self.known.insert(name.to_owned(), known.clone());
                self.known.insert(known.id.clone(), known.clone());
                known
            }
        };
        let is_up = known.is_up() || self.found_one(&known.id, &[Act::Start]);
        let is_later = act == Act::Later;
        let act = if is_later { Act::Start } else { act };
        let happens = match act {
            Act::Start if is_later => known.load == "loaded",
            Act::Start => {
                // A start of an active unit has no effect, unless the unit stops before.
                let runs = matches!(known.active.as_str(), "active" | "reloading");
                known.load == "loaded"
                    && (!runs || self.found_one(&known.id, &[Act::Stop, Act::Restart]))
            }
            Act::Stop | Act::Restart | Act::Reload => is_up,
            Act::Release => {
                if known.stops_unneeded && known.is_up() {
                    self.add(Act::Stop, &[known.id]);
                }
                return Ok(());
            }
            Act::Later | Act::Trigger => {
                if is_up {
                    self.add(Act::Later, &known.started_later);
                }
                return Ok(());
            }
        };
        if !happens {
            self.waiting.insert((known.id, act));
            return Ok(());
        }
        self.may_happen(&known, name, act)?;
        self.happens(&known, act)
    }

    fn found_one(&self, id: &str, acts: &[Act]) -> bool {
        let is_found = |act: &Act| self.found.contains(&(id.to_owned(), *act));
        acts.iter().any(is_found)
    }

    fn happens(&mut self, known: &Known, act: Act) -> Result<(), Fault> {
        if !self.found.insert((known.id.clone(), act)) {
            return Ok(());
        }
        if act != Act::Reload {
            self.causes_no_action(known)?;
        }
        if matches!(act, Act::Stop | Act::Restart) {
            self.is_no_plumbing(known)?;
        }
        match act {
            Act::Start => self.starts(known),
            Act::Stop => self.stops(known),
            Act::Restart => {
                self.add(Act::Restart, &known.restarted_by_restart);
                self.add(Act::Release, &known.kept_up);
                self.starts(known);
            }
            Act::Reload => self.add(Act::Reload, &known.reloaded_by_reload),
            Act::Release | Act::Later | Act::Trigger => {}
        }
        // The state of the unit has changed: pairs without effect before can have one now.
        let (mine, left) = std::mem::take(&mut self.waiting)
            .into_iter()
            .partition(|(id, _)| *id == known.id);
        self.waiting = left;
        self.queue.extend::<BTreeSet<_>>(mine);
        match self.seen.len() > PAIRS {
            false => Ok(()),
            true => Err(self.refused(&format!("more than {PAIRS} effects on others are possible"))),
        }
    }

    fn starts(&mut self, known: &Known) {
        self.add(Act::Start, &known.started_by_start);
        self.add(Act::Stop, &known.stopped_by_start);
        self.add(Act::Stop, &known.stopped_by_end);
        self.add(Act::Later, &known.started_later);
        self.add(Act::Later, &known.started_by_end);
    }

    fn stops(&mut self, known: &Known) {
        self.add(Act::Stop, &known.stopped_by_stop);
        if !known.upheld_by.is_empty() {
            self.add(Act::Start, std::slice::from_ref(&known.id));
        }
        self.add(Act::Trigger, &known.triggered_by);
        self.add(Act::Later, &known.started_by_end);
        self.add(Act::Release, &known.kept_up);
    }

    fn add(&mut self, act: Act, names: &[String]) {
        for name in names {
            let pair = (name.clone(), act);
            if self.seen.insert(pair.clone()) {
                self.queue.push_back(pair);
            }
        }
    }

    /// Refuses acts that must not happen to a unit that was not requested.
    fn may_happen(&self, known: &Known, name: &str, act: Act) -> Result<(), Fault> {
        let names = known.names.iter().map(String::as_str);
        let mut names = names.chain([name, &known.id]);
        let starts = matches!(act, Act::Start | Act::Restart);
        if let Some(name) = names.clone().find(|name| starts && is_disruptive(name)) {
            let what = format!(
                "'{}' {}, which ends the machine's normal work",
                line(name),
                act.verb()
            );
            return Err(self.refused(&what));
        }
        // A start stops nothing. Many services pull in 'network-online.target' with the units that it wants.
        let why = names.find_map(|name| Some((name, is_protected_as(name, &known.id)?)));
        match why.filter(|_| act != Act::Start && known.id != self.unit.id) {
            None => Ok(()),
            Some((name, why)) => Err(self.refused(&format!(
                "'{}' {}, which is protected: {why}",
                line(name),
                act.verb()
            ))),
        }
    }

    /// Refuses a unit whose end or failure reboots the machine, or ends its normal work in another way.
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

    /// Refuses to stop an early-boot unit whose stop undoes system setup (`blk-availability.service` unmounts).
    fn is_no_plumbing(&self, known: &Known) -> Result<(), Fault> {
        let is_early = known.undoes && !known.has_default_dependencies;
        match is_early && known.is_up() {
            false => Ok(()),
            true => Err(self.refused(&format!(
                "the stop of '{}' undoes a part of the boot: it has ExecStop=, RemainAfterExit=yes and \
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

fn line(name: &str) -> String {
    text::line(name.as_bytes(), WORD)
}

#[cfg(test)]
mod tests;
