//! Starts the daemon, in one visible order. Nothing is served before all of it is done.

pub(crate) mod arguments;
mod confinement;
pub(crate) mod error;
pub(crate) mod fault;
pub(crate) mod process_reset;

use std::fs::File;
use std::io::Write;
use std::path::PathBuf;
use std::time::Instant;

use remit_common::names::Runtime;

use crate::admin::Admins;
use crate::admin::history::HistoryQuestions;
use crate::approval::grants::Grants;
use crate::approval::{self, Approvals, notification};
use crate::audit::rate_limit::Floods;
use crate::audit::{Audit, Event, Record};
use crate::config::MachineLimits;
use crate::event_loop::timers::Timers;
use crate::identity::arrivals::Arrivals;
use crate::identity::listeners::Listeners;
use crate::identity::lookups::LookUps;
use crate::identity::user_names::{self, UserNames};
use crate::job::cleanup::Leftovers;
use crate::job::table::Jobs;
use crate::sandbox::pool::PreforkPool;
use crate::service::broker_process::Broker;
use crate::startup::arguments::Args;
use crate::startup::error::Fatal;
use crate::state_dir::ledger::Ledger;
use crate::state_dir::lock::State;

use crate::audit::refusals::Refusals;
use crate::config::policy_reload::{self, Loaded};
use crate::event_loop::epoll::{Interest, Reactor, Token};
use crate::identity::sessions::Sessions;
use crate::job::uid_pool::JobUids;
use crate::sandbox::SandboxManager;
use crate::service::sd_notify::Notify;
use crate::state::{AdmissionState, Warden};

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
    let broker = Broker::find(ids, &state, config.output.clone())?;
    let sandbox = SandboxManager::set_up(&config, limits.clone(), broker.sink().closing_output())?;
    if let Some(why) = sandbox.refused() {
        say_error!("nothing will run in {why}");
    }
    if let Some(why) = sandbox.kernel_audit().why_not() {
        say!("cannot read the kernel's audit log, so explanations of refusals are guesses: {why}");
    }
    let sandboxes = sandbox.sandboxes(&policy.policy);
    sandbox.warm(&sandboxes);
    for (name, why) in sandboxes.refused() {
        say_error!("nothing will run in {name}: {why}");
    }
    let audit = Audit::open(&config.audit, state.dir())?;
    let runtime = Runtime::new(&args.runtime);
    let listeners = Listeners::open(&runtime, clients, admins, broker.sink())?;
    let reactor = Reactor::new().map_err(Fatal::call("epoll_create"))?;
    let gate = match state
        .locked()
        .map_err(Fatal::call("cannot determine whether remit is locked"))?
    {
        Some(locked) => AdmissionState::Locked(locked),
        None => AdmissionState::Open,
    };
    let random = File::open("/dev/urandom").map_err(Fatal::call("cannot open '/dev/urandom'"))?;
    let mut warden = Warden {
        uids: JobUids::new(config.jobs.uid_first, config.jobs.uid_count),
        args,
        config,
        limits,
        state,
        names: UserNames::read(),
        reactor,
        timers: Timers::default(),
        signals,
        listeners,
        admins: Admins::new(admins),
        sessions: Sessions::default(),
        jobs: Jobs::new(),
        ledger,
        approvals: Approvals::open(&random).map_err(Fatal::call("no random bytes"))?,
        people: notification::rate_window(),
        asks: approval::rate_window(),
        grants,
        lookups: LookUps::default(),
        arrivals: Arrivals::default(),
        audit,
        questions: HistoryQuestions::default(),
        policy,
        policy_error: None,
        loading: None,
        reloaded_for: None,
        needs_restart: Vec::new(),
        sandbox,
        sandboxes,
        self_test: None,
        broker,
        gate,
        accepting: false,
        announced: false,
        stopped_by: None,
        shutdown: None,
        leaving: false,
        failed: None,
        refusals: Floods::default(),
        broker_refusals: Floods::default(),
        recent: Refusals::default(),
        since: Instant::now(),
        notify: Notify::from_env(),
        random,
        prefork_pool: PreforkPool::default(),
        leftovers: Leftovers::default(),
        confined: Vec::new(),
    };
    warden.take_over()?;
    warden.record_start()?;
    warden.take_over_grants()?;
    warden.watch()?;
    warden.confined = confinement::enter(&warden.written())?;
    warden.start_broker()?;
    warden.run_loop()?;
    warden.tell_all_left_out();
    let message = match (&warden.failed, &warden.stopped_by) {
        (Some(why), _) => format!("remitd stops: {why}"),
        (None, Some(signal)) => format!("remitd stops, by {signal}"),
        (None, None) => "remitd stops".to_owned(),
    };
    let cause = warden.failed.as_ref().or(warden.stopped_by.as_ref());
    let record = Record::new(Event::Stop, message).maybe("CAUSE", cause);
    warden.audit.note(record);
    warden.audit.stop();
    warden.ledger.sync();
    if let Err(error) = warden.grants.keep() {
        say!("cannot save the temporary grants: {error}");
    }
    warden.dismiss();
    match warden.failed.take() {
        Some(why) => Err(Fatal::Unavailable(why)),
        None => Ok(()),
    }
}

/// Runs `--check`: reports everything that can be checked without a change to the machine.
fn check(args: &Args) -> Result<(), Fatal> {
    let policy = policy_reload::load_now(args)?.live;
    let right = format!(
        "configuration and policy are valid; policy {}",
        policy.digest
    );
    let lines = [policy.warnings, vec![right]].concat().join("\n");
    // A reader that has gone is not an error.
    let _ = writeln!(std::io::stdout(), "{lines}");
    Ok(())
}

impl Warden {
    fn record_start(&mut self) -> Result<(), Fatal> {
        let (landlock, _) = self.sandbox.landlock();
        let (controllers, _) = self.sandbox.controllers();
        let mut message = format!(
            "remitd {} starts on Linux {} with policy {}, landlock {landlock}",
            remit_common::RELEASE,
            self.sandbox.release(),
            policy_reload::short(&self.policy.digest),
        );
        if let Some(why) = self.sandbox.refused() {
            message += &format!(", and runs nothing in {why}");
        }
        let mut record = Record::new(Event::Start, message);
        if self.sandbox.refused().is_some() {
            record = record.with_error_priority();
        }
        let record = record
            .field("RELEASE", remit_common::RELEASE)
            .field("POLICY", &self.policy.digest)
            .number("LANDLOCK", landlock)
            .field("SINK", self.audit.sink())
            .field("CONTROLLERS", controllers.join(" "))
            .maybe("REFUSED", self.sandbox.refused());
        self.audit
            .write_at_start(record)
            .map_err(|why| Fatal::Unavailable(why.to_string()))
    }

    /// The directories below which it changes files from here on. Policy and settings are read only.
    fn written(&self) -> Vec<PathBuf> {
        let cgroup = self.sandbox.cgroup().map(PathBuf::from);
        let directories = [self.args.state.clone(), self.args.runtime.clone()];
        directories.into_iter().chain(cgroup).collect()
    }

    fn watch(&mut self) -> Result<(), Fatal> {
        let reactor = &self.reactor;
        reactor
            .add(&self.signals, Token::Signals, Interest::Read)
            .and_then(|()| reactor.add(&self.listeners.admins, Token::Admins, Interest::Read))
            .map_err(Fatal::call("epoll_ctl"))?;
        self.observe_watchdog()?;
        self.observe_spawner()
    }
}
