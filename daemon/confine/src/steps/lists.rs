//! The sandbox on one screen: what a process does on its way to being a job, as three lists for each base.
//! Each list is walked whole and in its order, for every job. Only the time differs: a worker walks `setup` once. Its
//! child walks `prepare`, in advance or when the job comes, and `enter` with the job; then it executes the program.
//! Each process appends to the log that it was forked with, so a job's log says what was done, and nothing else.

use std::os::fd::BorrowedFd;

use crate::Step;
use crate::spec::compiled::Base;
use crate::steps::enter::ChildEnv;
use crate::steps::enter::{self, Entering};
use crate::steps::exec::{self, CheckedProgram};
use crate::steps::identity;
use crate::steps::prepare::{self, Preparing};
use crate::steps::report::{Failure, StepLog, StepResult, Taken};
use crate::steps::setup::{self, SettingUp};

type SetupStep = fn(&mut SettingUp<'_>) -> Taken;
type PrepareStep = fn(&mut Preparing<'_>) -> Taken;
type EnterStep = fn(&mut Entering<'_>) -> Taken;

const NOT_STARTED: i32 = 127;

#[derive(Clone, Copy)]
pub(crate) struct Item<F> {
    #[cfg_attr(not(test), expect(dead_code, reason = "a test prints the lists"))]
    name: &'static str,
    step: Step,
    /// With it the step is done; what comes before is a part of it.
    completes: bool,
    take: F,
}

const fn part<F: Copy>(step: Step, name: &'static str, take: F) -> Item<F> {
    Item {
        name,
        step,
        completes: false,
        take,
    }
}

const fn whole<F: Copy>(step: Step, take: F) -> Item<F> {
    rest(step, step.name(), take)
}

/// The last part of a step.
const fn rest<F: Copy>(step: Step, name: &'static str, take: F) -> Item<F> {
    Item {
        name,
        step,
        completes: true,
        take,
    }
}

pub(crate) struct Lists {
    pub(crate) setup: &'static [Item<SetupStep>],
    pub(crate) prepare: &'static [Item<PrepareStep>],
    pub(crate) enter: &'static [Item<EnterStep>],
}

pub(crate) const READ: Lists = Lists {
    setup: &[
        part(Step::Identity, "not dumpable", setup::not_dumpable),
        part(Step::Session, "default signals", setup::signals),
        part(Step::Session, "umask and personality", setup::umask),
        part(Step::Scheduling, "default scheduling", setup::scheduling),
        part(Step::Identity, "bounding set", setup::bounding_set),
        part(Step::Seccomp, "bus", setup::bus),
        part(Step::Seccomp, "first half of the filter", setup::filter),
    ],
    prepare: &[
        whole(Step::Session, prepare::session),
        rest(Step::Scheduling, "first to be killed", prepare::oom_first),
        whole(Step::Cgroup, prepare::cgroup),
        part(Step::Loginuid, "the host's /proc", prepare::host_proc),
        whole(Step::Namespaces, prepare::mount_namespace),
        whole(Step::Mounts, prepare::mounts),
        whole(Step::Keyring, prepare::keyring),
        part(Step::Rlimits, "core limit", prepare::core_limit),
        whole(Step::NoNewPrivs, prepare::no_new_privs),
        whole(Step::Landlock, prepare::landlock),
    ],
    enter: CONFINED,
};

pub(crate) const STRICT: Lists = Lists {
    setup: READ.setup,
    prepare: &[
        whole(Step::Session, prepare::session),
        rest(Step::Scheduling, "first to be killed", prepare::oom_first),
        whole(Step::Cgroup, prepare::cgroup),
        whole(Step::Network, prepare::network),
        part(Step::Namespaces, "new namespaces", prepare::namespaces),
        rest(Step::Namespaces, "monitor and init", prepare::attendants),
        part(Step::Loginuid, "the host's /proc", prepare::host_proc),
        whole(Step::Root, prepare::root),
        whole(Step::Keyring, prepare::keyring),
        part(Step::Rlimits, "core limit", prepare::core_limit),
        part(Step::Namespaces, "they are confined", prepare::attended),
        whole(Step::NoNewPrivs, prepare::no_new_privs),
        whole(Step::Landlock, prepare::landlock),
    ],
    enter: CONFINED,
};

pub(crate) const HOST: Lists = Lists {
    setup: &[
        part(Step::Identity, "not dumpable", setup::not_dumpable),
        part(Step::Session, "default signals", setup::signals),
        part(Step::Session, "umask and personality", setup::umask),
        part(Step::Scheduling, "default scheduling", setup::scheduling),
    ],
    prepare: &[
        whole(Step::Session, prepare::session),
        rest(Step::Scheduling, "killed as others", prepare::oom_usual),
        whole(Step::Cgroup, prepare::cgroup),
        part(Step::Loginuid, "the host's /proc", prepare::host_proc),
        whole(Step::Keyring, prepare::keyring),
    ],
    enter: &[
        whole(Step::Loginuid, enter::loginuid),
        part(Step::Rlimits, "tasks of the user", enter::count_tasks),
        whole(Step::Descriptors, enter::descriptors),
        whole(Step::Rlimits, enter::rlimits),
        whole(Step::Identity, identity::become_host_user),
        whole(Step::Cwd, enter::cwd),
        whole(Step::Arguments, enter::arguments),
    ],
};

/// The last filter refuses to enter namespaces, and the user namespace leaves no right over what comes before it.
pub(crate) const VIEW: Lists = Lists {
    setup: &[
        part(Step::Identity, "not dumpable", setup::not_dumpable),
        part(Step::Session, "default signals", setup::signals),
        part(Step::Session, "umask and personality", setup::umask),
        part(Step::Scheduling, "default scheduling", setup::scheduling),
        part(Step::Seccomp, "first half of the filter", setup::filter),
    ],
    prepare: &[
        whole(Step::Session, prepare::session),
        rest(Step::Scheduling, "first to be killed", prepare::oom_first),
        whole(Step::Cgroup, prepare::cgroup),
        whole(Step::Network, prepare::network),
        part(Step::Namespaces, "user namespace", prepare::users),
        part(Step::Namespaces, "new namespaces", prepare::namespaces),
        rest(Step::Namespaces, "monitor and init", prepare::attendants),
        part(Step::Loginuid, "the host's /proc", prepare::host_proc),
        rest(Step::Root, "view", prepare::view),
        rest(Step::Plan, "the plan of a check", prepare::plan),
        whole(Step::Keyring, prepare::keyring),
        part(Step::Rlimits, "core limit", prepare::core_limit),
        part(Step::Namespaces, "they are confined", prepare::attended),
        whole(Step::NoNewPrivs, prepare::no_new_privs),
        whole(Step::Landlock, prepare::landlock),
    ],
    enter: &[
        whole(Step::Loginuid, enter::loginuid),
        part(Step::Rlimits, "tasks of the user", enter::count_tasks),
        whole(Step::Rlimits, enter::rlimits),
        rest(
            Step::Identity,
            "root of the view",
            identity::become_root_of_view,
        ),
        rest(Step::Seccomp, "rest of the filter", enter::filter),
        whole(Step::Descriptors, enter::descriptors),
        part(Step::Cwd, "home", enter::home),
        whole(Step::Cwd, enter::cwd),
        whole(Step::Arguments, enter::arguments),
    ],
};

pub(crate) const EXTRACT: Lists = Lists {
    setup: VIEW.setup,
    prepare: READ.prepare,
    enter: &[
        whole(Step::Loginuid, enter::loginuid),
        part(Step::Rlimits, "tasks of the user", enter::count_tasks),
        whole(Step::Rlimits, enter::rlimits),
        rest(Step::Identity, "reader of a view", identity::become_reader),
        rest(Step::Seccomp, "rest of the filter", enter::filter),
        whole(Step::Descriptors, enter::descriptors),
        whole(Step::Cwd, enter::cwd),
        whole(Step::Arguments, enter::arguments),
    ],
};

const CONFINED: &[Item<EnterStep>] = &[
    rest(Step::Seccomp, "rest of the filter", enter::filter),
    whole(Step::Loginuid, enter::loginuid),
    part(Step::Rlimits, "tasks of the user", enter::count_tasks),
    whole(Step::Descriptors, enter::descriptors),
    whole(Step::Rlimits, enter::rlimits),
    whole(Step::Identity, identity::become_job),
    part(Step::Cwd, "home", enter::home),
    whole(Step::Cwd, enter::cwd),
    whole(Step::Arguments, enter::arguments),
    part(Step::Arguments, "no capability is left", enter::powerless),
];

impl Base {
    pub(crate) fn lists(&self) -> &'static Lists {
        match self {
            Base::Read(_) => &READ,
            Base::Strict(_) => &STRICT,
            Base::Host => &HOST,
            Base::View(_) => &VIEW,
            Base::Extract(_) => &EXTRACT,
        }
    }
}

/// Walks the list `enter` and checks the approved files, reports all steps since the worker's first, then does `then` with
/// the pipe and the approved program. Returns a status.
pub(crate) fn enter<'a>(
    env: &ChildEnv<'a>,
    prepared: Preparing<'_>,
    mut log: StepLog,
    then: impl FnOnce(BorrowedFd<'_>, Option<CheckedProgram<'a>>) -> i32,
) -> i32 {
    let mut child = Entering {
        env,
        prepared,
        steps: env.steps,
        other_tasks: 0,
    };
    let list = env.sandbox.base.lists().enter;
    let entered = walk(list, &mut log, |take| take(&mut child));
    if !env.measured.is_empty() {
        // The check may take seconds. If the child is killed meanwhile, it is known how far it came.
        log.flush(child.steps);
    }
    let (program, failure) = match entered.and_then(|()| exec::check(env)) {
        Ok(program) => (program, None),
        Err(failure) => (None, Some(failure)),
    };
    // Nothing can be written after an exec. A child that is killed before this report has executed nothing.
    let status = match (log.send(child.steps, failure), failure) {
        (Ok(()), None) => then(child.steps, program),
        _ => NOT_STARTED,
    };
    // The step `descriptors` has closed what it owns.
    std::mem::forget(child);
    status
}

/// Takes every step of a list and notes it. Ends with the first that fails.
pub(crate) fn walk<F: Copy>(
    list: &[Item<F>],
    log: &mut StepLog,
    mut take: impl FnMut(F) -> Taken,
) -> Result<(), Failure> {
    for item in list {
        match take(item.take) {
            Ok(StepResult::Done) if item.completes => log.push(item.step as u8),
            Ok(StepResult::Done | StepResult::Absent) => {}
            Err(fault) => {
                let step = item.step;
                return Err(Failure { step, fault });
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names<F>(list: &[Item<F>]) -> String {
        let names: Vec<&str> = list.iter().map(|item| item.name).collect();
        names.join(", ")
    }

    fn table() -> String {
        let bases = [
            ("read", READ),
            ("strict", STRICT),
            ("plan", VIEW),
            ("extract", EXTRACT),
            ("host", HOST),
        ];
        let row = |(base, lists): (&str, Lists)| {
            let Lists {
                setup,
                prepare,
                enter,
            } = lists;
            [
                ("SETUP", names(setup)),
                ("PREPARE", names(prepare)),
                ("ENTER", names(enter) + ", exec"),
            ]
            .map(|(list, names)| format!("| `{base}` | {list} | {names} |\n"))
            .concat()
        };
        bases.map(row).concat()
    }

    #[test]
    fn document_has_the_lists() {
        let table = table();
        let text = std::fs::read_to_string("../../SECURITY.md").unwrap();
        assert!(text.contains(&table), "SECURITY.md needs:\n{table}");
    }

    #[test]
    fn each_step_is_done_once_and_in_order() {
        for (
            Lists {
                setup,
                prepare,
                enter,
            },
            is_sorted,
        ) in [
            (READ, true),
            (STRICT, true),
            (HOST, true),
            (VIEW, false),
            (EXTRACT, false),
        ] {
            fn done<F>(list: &[Item<F>]) -> impl Iterator<Item = Step> + '_ {
                let done = list.iter().filter(|item| item.completes);
                done.map(|item| item.step)
            }
            let all: Vec<Step> = done(setup)
                .chain(done(prepare))
                .chain(done(enter))
                .collect();
            let mut sorted = all.clone();
            sorted.sort();
            assert!(sorted.is_sorted_by(|one, next| one < next), "{all:?}");
            assert_eq!(all == sorted, is_sorted, "{all:?}");
            let parts = setup.iter().map(|item| item.step);
            assert!(parts.into_iter().all(|step| all.contains(&step)));
        }
    }
}
