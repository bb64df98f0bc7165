//! Specs and a small policy for tests.

use std::rc::Rc;

use remit_common::wire::Purpose;
use remit_link::{Spec, SpecWhat};
use remit_plan::Protected;
use remit_policy::{MachineTable, Policy, Source};
use remit_spawn::{Description, Wanted};

use super::PolicyContext;
use crate::config::MachineLimits;
use crate::sandbox::spawner::{Compile, Sandbox};
use crate::sandbox::{Sandboxes, Workshop};

/// Compiles nothing: no job of these tests runs.
#[derive(Debug)]
struct NoSpawner;

impl Compile for NoSpawner {
    fn compile(&self, _: Wanted) -> remit_sys::Result<Sandbox> {
        Ok(Sandbox::only(Description::default()))
    }
}

pub struct Scene {
    pub policy: Policy,
    sandboxes: Sandboxes,
    pub limits: MachineLimits,
    pub protected: Rc<Protected>,
}

impl Scene {
    pub fn of(policy: &str, machine: &MachineTable) -> Self {
        let source = Source {
            name: "t.toml".into(),
            text: policy.into(),
        };
        let (policy, _) = remit_policy_compile::load(&[source], machine).unwrap();
        let limits = MachineLimits::default();
        let workshop = Workshop::new(
            Box::new(NoSpawner),
            Vec::new(),
            limits.clone(),
            false,
            false,
            false,
        );
        Self {
            sandboxes: Sandboxes::of(&policy, Ok(&workshop)),
            policy,
            limits,
            protected: Rc::default(),
        }
    }

    pub fn setting<'a>(&'a self, digest: &'a str) -> PolicyContext<'a> {
        PolicyContext {
            digest,
            sandboxes: &self.sandboxes,
            limits: &self.limits,
            protected: &self.protected,
        }
    }
}

pub fn spec(what: SpecWhat, purpose: Purpose) -> Spec {
    Spec {
        traceparent: None,
        set: None,
        behalf: None,
        what,
        cwd: None,
        env: Vec::new(),
        stdin: false,
        profile: None,
        max_runtime_s: None,
        request_id: None,
        client: "test".into(),
        purpose,
    }
}

pub fn named(name: &str, args: &[(&str, &str)]) -> SpecWhat {
    let owned = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
    SpecWhat::Named {
        name: name.into(),
        args: args.iter().map(owned).collect(),
    }
}
