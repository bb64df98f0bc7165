//! Starts the daemon, in one visible order. Nothing is served before all of it is done.

pub(crate) mod arguments;
pub mod confinement;
pub(crate) mod error;
pub(crate) mod fault;
pub(crate) mod process_reset;

use std::fs::File;
use std::io::Write;
use std::path::PathBuf;

use remit_common::names::Runtime;
use remit_common::text::by_reason;
use remit_policy::Base;

use crate::admin::Admins;
use crate::approval::Approvals;
use crate::approval::grants::Grants;
use crate::approval::grants::ended::take_over_grants;
use crate::audit::reports::Reports;
use crate::audit::{Audit, Event, Record, Unwritten};
use crate::config::policy_reload::{self, Loaded, Policies};
use crate::config::recorded::RecordedInForce;
use crate::config::shadow::Shadow;
use crate::config::{MachineLimits, Settings};
use crate::event_loop::bus;
use crate::event_loop::epoll::{Interest, Reactor, Token};
use crate::event_loop::lifecycle::Lifecycle;
use crate::event_loop::processes;
use crate::identity::arrivals::Callers;
use crate::identity::listeners::Listeners;
use crate::identity::user_names;
use crate::job::acts::Acts;
use crate::job::breaker::Breakers;
use crate::job::commits::Commits;
use crate::job::confirmation::store::Confirmations;
use crate::job::floor::RequiredCommands;
use crate::job::kept_views::KeptViews;
use crate::job::table::Jobs;
use crate::sandbox::SandboxManager;
use crate::sandbox::checkup::test_plan_if_new;
use crate::sandbox::pool::Sandboxing;
use crate::sandbox::spawner::Watchdog;
use crate::service::broker_process::Broker;
use crate::startup::arguments::Args;
use crate::startup::error::Fatal;
use crate::state::{Warden, job_cx};
use crate::state_dir::ledger::Ledger;
use crate::state_dir::lock::State;
use crate::state_dir::recovery::take_over;

/// Starts the daemon and serves until it is stopped. After an error, nothing is left behind.
pub fn start(args: Args) -> Result<(), Fatal> {
    if args.check {
        return check(&args);
    }
    if !nix::unistd::geteuid().is_root() {
        return Err(Fatal::Unavailable("remitd must be started by root".into()));
    }
    let signals = process_reset::normalise()?;
    let Loaded {
        live: policy,
        settings: config,
    } = policy_reload::load_now(&args)?;
    policy.warnings.iter().for_each(|line| say!("{line}"));
    let limits = MachineLimits::of(config.limits.clone());
    process_reset::enough_descriptors(config.jobs.max, config.jobs.queue)?;
    let ids = user_names::user("accounts.broker", &config.accounts.broker)?;
    let clients = user_names::group("accounts.socket_group", &config.accounts.socket_group)?;
    let admins = user_names::group("accounts.admin_group", &config.accounts.admin_group)?;
    user_names::check_range(config.jobs.uid_first, config.jobs.uid_count)?;
    let state = State::take(&args.state, ids)?;
    if let Err(error) = policy_reload::save_names(state.dir(), &policy.last_known) {
        say_error!("cannot save the users and groups of denials for the next start: {error}");
    }
    let ledger = Ledger::open_file(state.dir()).map_err(Fatal::call("cannot open the ledger"))?;
    let grants = Grants::open(state.dir())?;
    let breakers = Breakers::open(&config.breaker, state.dir()).map_err(Fatal::Unavailable)?;
    let confirmations = Confirmations::open(state.dir()).map_err(Fatal::Unavailable)?;
    let required = RequiredCommands::new(config.floor.require.clone(), &policy.policy);
    let broker = Broker::find(ids, &state, &config)?;
    let sandbox = SandboxManager::set_up(&config, limits.clone(), broker.sink().closing_output())?;
    if let Some(why) = sandbox.refused() {
        say_error!("nothing will run in {why}");
    }
    if let Some(why) = sandbox.kernel_audit().why_not() {
        say!("cannot read the kernel's audit log, so explanations of refusals are guesses: {why}");
    }
    let sandboxes = sandbox.sandboxes(&policy.policy);
    sandbox.warm(&sandboxes);
    for line in by_reason(sandboxes.refused()) {
        say_error!("nothing will run in {line}");
    }
    let audit = Audit::open(&config.audit, state.dir())?;
    let runtime = Runtime::new(&args.runtime);
    let listeners = Listeners::open(&runtime, clients, admins, broker.sink())?;
    let reactor = Reactor::new().map_err(Fatal::call("epoll_create"))?;
    let locked = state
        .locked()
        .map_err(Fatal::call("cannot determine whether remit is locked"))?;
    let commits =
        Commits::open(state.dir()).map_err(Fatal::call("cannot read the directory of commits"))?;
    let random = File::open("/dev/urandom").map_err(Fatal::call("cannot open '/dev/urandom'"))?;
    let mut warden = Warden {
        life: Lifecycle::new(locked),
        reactor,
        signals,
        callers: Callers::new(listeners),
        admins: Admins::new(admins),
        reports: Reports::new(audit, broker, policy.digest.clone(), breakers),
        policies: Policies::new(policy, sandboxes),
        jobs: Jobs::new(required, KeptViews::new(limits.machine())),
        ledger,
        commits,
        confirmations,
        acts: Acts::default(),
        approvals: Approvals::open(&random, grants).map_err(Fatal::call("no random bytes"))?,
        sandbox: Sandboxing::new(sandbox, &config, limits.limits(), random),
        settings: Settings {
            args,
            config,
            limits,
            state,
        },
    };
    // Before the first record, which ends it.
    let went_down = warden.reports.audit.went_down();
    let went_down = warden.settings.state.mark_crash(went_down);
    let went_down = went_down.map_err(Fatal::call("cannot mark that the machine went down"))?;
    take_over(&mut job_cx!(warden), went_down)?;
    record_start(&mut warden, went_down)?;
    warden.settings.state.unmark_crash();
    let policy = &warden.policies.live.policy;
    take_over_grants(&mut job_cx!(warden), &mut warden.approvals.grants, policy)?;
    watch(&warden)?;
    // The watchdog has a uid of its own. Without one nothing runs.
    let other = warden.sandbox.manager.watchdog().map_or(1, Watchdog::pid);
    warden.sandbox.confined = confinement::enter(&written(&warden), other)?;
    warden.start_broker()?;
    if warden.policies.live.policy.uses(Base::Plan) {
        test_plan_if_new(&mut job_cx!(warden));
    }
    warden.run_loop()?;
    warden.reports.tell_all_left_out();
    let message = match (&warden.life.failed, &warden.life.stopped_by) {
        (Some(why), _) => format!("remitd stops: {why}"),
        (None, Some(signal)) => format!("remitd stops, by {signal}"),
        (None, None) => "remitd stops".to_owned(),
    };
    let cause = warden
        .life
        .failed
        .as_ref()
        .or(warden.life.stopped_by.as_ref());
    let record = Record::new(Event::Stop, message).maybe("CAUSE", cause);
    if let Err(why) = warden.reports.audit.write_patiently(record) {
        say_error!("the end of remitd cannot be recorded: {why}");
    }
    // A head that says "stopped" says that the ledger is as new.
    match warden.ledger.sync() {
        Ok(()) => warden.reports.audit.stop(),
        Err(error) => say!("the ledger of jobs may not survive a power cut: {error}"),
    }
    if let Err(error) = warden.approvals.grants.keep() {
        say!("cannot save the temporary grants: {error}");
    }
    warden.dismiss();
    match warden.life.failed.take() {
        Some(why) => Err(Fatal::Unavailable(why)),
        None => Ok(()),
    }
}

/// Runs `--check`: reports everything that can be checked without a change to the machine.
fn check(args: &Args) -> Result<(), Fatal> {
    let policy = policy_reload::load_now(args)?.live;
    let right = format!(
        "configuration and policy are valid; policy {}, texts {}",
        policy.digest,
        policy.policy.texts()
    );
    let lines = [policy.warnings, vec![right]].concat().join("\n");
    // A reader that has gone is not an error.
    let _ = writeln!(std::io::stdout(), "{lines}");
    Ok(())
}

/// Records the start, and what is in force since it that the log did not say before.
fn record_start(warden: &mut Warden, went_down: bool) -> Result<(), Fatal> {
    let (landlock, _) = warden.sandbox.manager.landlock();
    let (controllers, _) = warden.sandbox.manager.controllers();
    let mut message = format!(
        "remitd {} starts on Linux {} with policy {}, landlock {landlock}",
        remit_common::RELEASE,
        warden.sandbox.manager.release(),
        policy_reload::short(&warden.policies.live.digest),
    );
    if let Some(why) = warden.sandbox.manager.refused() {
        message += &format!(", and runs nothing in {why}");
    }
    let in_force = RecordedInForce::new(&warden.policies.live.digest, &warden.settings.config);
    let mut record = Record::new(Event::Start, message);
    if warden.sandbox.manager.refused().is_some() {
        record = record.with_error_priority();
    }
    let record = record
        .field("RELEASE", remit_common::RELEASE)
        .field("POLICY", &warden.policies.live.digest)
        .maybe(
            "SHADOW_POLICY",
            warden.policies.live.shadow.as_ref().map(Shadow::digest),
        )
        .number("LANDLOCK", landlock)
        .field("SINK", warden.reports.audit.sink())
        .field("CONTROLLERS", controllers.join(" "))
        .field("SETTINGS", in_force.settings_digest())
        .maybe("REFUSED", warden.sandbox.manager.refused());
    let audit = &mut warden.reports.audit;
    let is_first_of_machine = audit.newest().seq == 0;
    let unwritten = |why: Unwritten| Fatal::Unavailable(why.to_string());
    audit.write_patiently(record).map_err(unwritten)?;
    let state = warden.settings.state.dir();
    let before = RecordedInForce::read(state).unwrap_or_else(|why| {
        say_error!("what was in force before this start is not known: {why}");
        None
    });
    if let Some(changed) = in_force
        .record(before.as_ref(), went_down)
        .filter(|_| before.is_some() || !is_first_of_machine)
    {
        audit.write_patiently(changed).map_err(unwritten)?;
    }
    if let Err(error) = in_force.save(before.as_ref(), state) {
        say_error!("cannot save what is in force, so the next start records it again: {error}");
    }
    Ok(())
}

/// The directories below which it changes files from here on. Policy and settings are read only.
fn written(warden: &Warden) -> Vec<PathBuf> {
    let cgroup = warden.sandbox.manager.cgroup().map(PathBuf::from);
    let directories = [
        warden.settings.args.state.clone(),
        warden.settings.args.runtime.clone(),
    ];
    directories.into_iter().chain(cgroup).collect()
}

fn watch(warden: &Warden) -> Result<(), Fatal> {
    let reactor = &warden.reactor;
    let admins = &warden.callers.listeners.admins;
    reactor
        .add(&warden.signals, Token::Signals, Interest::Read)
        .and_then(|()| reactor.add(admins, Token::Admins, Interest::Read))
        .map_err(Fatal::call("epoll_ctl"))?;
    let sandbox = &warden.sandbox.manager;
    processes::observe_watchdog(sandbox, reactor)?;
    bus::observe(sandbox.bus(), reactor);
    processes::observe_spawner(sandbox, reactor)
}
