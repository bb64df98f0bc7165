//! Sets: one change on many hosts, each of which decides, records and asks for approval by itself. A canary comes first.
//!
//! **Invariant:** a set goes on only while this program lives. Nothing is sent after it has stopped or failed.

mod drive;
mod end;
mod id;
mod order;
mod report;
mod state;

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use remit_common::names::SetId;
use serde_json::{Map, Value};

use crate::engine::Engine;
use crate::host_name::HostName;

pub use id::of as id_of;
pub use order::Order;
pub use report::{planned, report};
pub use state::{Set, SetCall};

/// Hosts of one set. An answer of each is kept.
pub const HOSTS: usize = 64;
/// Sets that are kept. The oldest that are over go, then the oldest that were stopped.
const SETS: usize = 16;

/// The sets of one server, and the plans that many hosts made for it.
#[derive(Clone, Debug, Default)]
pub struct Sets(Arc<Mutex<Known>>);

#[derive(Debug, Default)]
struct Known {
    sets: VecDeque<Arc<Set>>,
    plans: VecDeque<(SetId, BTreeMap<HostName, String>)>,
    has_ended: bool,
}

impl Sets {
    /// Starts the set, or returns it if it is there.
    pub fn start(
        &self,
        engine: &Arc<Engine>,
        id: SetId,
        call: SetCall,
    ) -> Result<Arc<Set>, String> {
        let mut known = self.known();
        if let Some(set) = known.sets.iter().find(|set| set.id == id) {
            return Ok(Arc::clone(set));
        }
        if known.has_ended {
            return Err("the client is gone".to_owned());
        }
        if known.sets.len() >= SETS {
            let oldest = |is_meant: fn(&Arc<Set>) -> bool| known.sets.iter().position(is_meant);
            // A host that says that its job runs for ever would keep a stopped set for ever.
            let oldest = oldest(|set| set.is_over()).or_else(|| oldest(|set| set.is_stopped()));
            let oldest = oldest.ok_or_else(|| {
                format!("{SETS} sets are open; end one with job_stop and its set")
            })?;
            known
                .sets
                .remove(oldest)
                .iter()
                .for_each(|set| set.abandon());
        }
        let set = Arc::new(Set::new(id, call));
        let driver = tokio::spawn(drive::drive(Arc::clone(engine), Arc::clone(&set)));
        set.is_driven_by(driver.abort_handle());
        known.sets.push_back(Arc::clone(&set));
        Ok(set)
    }

    pub fn find(&self, id: SetId) -> Option<Arc<Set>> {
        let known = self.known();
        known.sets.iter().find(|set| set.id == id).map(Arc::clone)
    }

    pub fn keep_plans(&self, id: SetId, plans: BTreeMap<HostName, String>) {
        let mut known = self.known();
        known.plans.retain(|(other, _)| *other != id);
        if known.plans.len() >= SETS {
            known.plans.pop_front();
        }
        known.plans.push_back((id, plans));
    }

    /// Returns the plan of each host, if this is the id of such plans.
    pub fn plans(&self, arguments: &Map<String, Value>) -> Option<BTreeMap<HostName, String>> {
        let id: SetId = arguments.get("plan_id")?.as_str()?.parse().ok()?;
        let known = self.known();
        let found = known.plans.iter().find(|(other, _)| *other == id);
        found.map(|(_, plans)| plans.clone())
    }

    /// Ends all of them at once: hosts keep what they have got, and nothing more is sent.
    pub fn end(&self) {
        let mut known = self.known();
        known.has_ended = true;
        for set in &known.sets {
            set.abandon();
        }
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
