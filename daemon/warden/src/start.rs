//! Start-up, in one visible order. Nothing is served before all of it is done.

use std::collections::VecDeque;
use std::fs::File;
use std::io::Write;
use std::time::Instant;

use remit_common::names::Runtime;

use crate::accounts::{self, UserNames};
use crate::admin::Admins;
use crate::ahead::AllAhead;
use crate::approval::{self, Approvals};
use crate::args::Args;
use crate::arrivals::Arrivals;
use crate::audit::{Audit, Event, Record};
use crate::broker::Broker;
use crate::clock::Timers;
use crate::config;
use crate::error::Fatal;
use crate::flood::Floods;
use crate::grants::Grants;
use crate::history::Questions;
use crate::jobs::Jobs;
use crate::ledger::Ledger;
use crate::leftover::Leftovers;
use crate::listen::Listeners;
use crate::lock::State;
use crate::lookups::LookUps;
use crate::normal;
use crate::notification;
use crate::notify::Notify;
use crate::policy_load;
use crate::reactor::{Interest, Reactor, Token};
use crate::recent::Refusals;
use crate::sessions::Sessions;
use crate::uids::JobUids;
use crate::waiting::Queue;
use crate::walls::Walls;
use crate::warden::{Gate, Warden};

/// Starts the daemon and serves until it is stopped.
///
/// # Errors
/// Whatever keeps it from starting; nothing is left behind.
pub fn start(args: Args) -> Result<(), Fatal> {
    if args.check {
        return check(&args);
    }
    if !nix::unistd::geteuid().is_root() {
        return Err(Fatal::Unavailable("remitd must be started by root".into()));
    }
    let signals = normal::normalise()?;
    let mut config = config::load(&args.config)?;
    config.limits.machine = config::machine_memory();
    config.limits.watches = config::machine_watches();
    normal::enough_descriptors(config.jobs.max, config.jobs.queue)?;
    let ids = accounts::user("accounts.broker", &config.accounts.broker)?;
    let clients = accounts::group("accounts.socket_group", &config.accounts.socket_group)?;
    let admins = accounts::group("accounts.admin_group", &config.accounts.admin_group)?;
    accounts::check_range(config.jobs.uid_first, config.jobs.uid_count)?;
    let policy = policy_load::load_now(&args)?;
    policy.warnings.iter().for_each(|line| say!("{line}"));
    let state = State::take(&args.state, ids)?;
    let ledger = Ledger::open_file(state.dir()).map_err(Fatal::call("cannot open the ledger"))?;
    let grants = Grants::open(state.dir())?;
    let broker = Broker::find(ids, state.spool(), config.output.clone())?;
    let walls = Walls::raise(&config)?;
    if let Some(why) = walls.refused() {
        say_error!("every run will be refused in {why}");
    }
    if let Some(why) = walls.kernel_audit().why_not() {
        say!("the kernel's audit is not heard, so what is refused to jobs is guessed: {why}");
    }
    let sandboxes = walls.sandboxes(&policy.policy);
    walls.warm(&sandboxes);
    for (name, why) in sandboxes.refused() {
        say_error!("every run will be refused in {name}: {why}");
    }
    let audit = Audit::open(&config.audit, state.dir())?;
    let runtime = Runtime::new(&args.runtime);
    let listeners = Listeners::open(&runtime, clients, admins, broker.sink())?;
    let reactor = Reactor::new().map_err(Fatal::call("epoll_create"))?;
    let gate = match state
        .locked()
        .map_err(Fatal::call("cannot tell whether remit is locked"))?
    {
        Some(locked) => Gate::Locked(locked),
        None => Gate::Open,
    };
    let random = File::open("/dev/urandom").map_err(Fatal::call("cannot open '/dev/urandom'"))?;
    let mut warden = Warden {
        uids: JobUids::new(config.jobs.uid_first, config.jobs.uid_count),
        args,
        config,
        state,
        names: UserNames::read(),
        reactor,
        timers: Timers::default(),
        signals,
        listeners,
        admins: Admins::new(admins),
        sessions: Sessions::default(),
        jobs: Jobs::default(),
        queue: Queue::default(),
        ledger,
        approvals: Approvals::open(&random).map_err(Fatal::call("no random bytes"))?,
        people: notification::how_often(),
        asks: approval::how_often(),
        grants,
        lookups: LookUps::default(),
        arrivals: Arrivals::default(),
        audit,
        questions: Questions::default(),
        policy,
        policy_error: None,
        loading: None,
        reloaded_for: None,
        needs_restart: Vec::new(),
        walls,
        sandboxes,
        trial: None,
        broker,
        gate,
        parked: VecDeque::new(),
        accepting: false,
        announced: false,
        stopped_by: None,
        shutdown: None,
        leaving: false,
        refusals: Floods::default(),
        told: Floods::default(),
        recent: Refusals::default(),
        since: Instant::now(),
        notify: Notify::from_env(),
        random,
        ahead: AllAhead::default(),
        leftovers: Leftovers::default(),
    };
    warden.take_over()?;
    warden.record_start()?;
    warden.take_over_grants()?;
    warden.watch()?;
    warden.start_broker()?;
    warden.turn()?;
    warden.tell_all_left_out();
    let message = match &warden.stopped_by {
        Some(signal) => format!("remitd stops, by {signal}"),
        None => "remitd stops".to_owned(),
    };
    let record = Record::new(Event::Stop, message).maybe("CAUSE", warden.stopped_by.as_ref());
    warden.audit.note(record);
    warden.audit.stop();
    warden.ledger.sync();
    if let Err(error) = warden.grants.keep() {
        say!("what is left of the grants for a time is not saved: {error}");
    }
    warden.dismiss();
    Ok(())
}

/// `--check`: everything that can be told without touching the machine.
fn check(args: &Args) -> Result<(), Fatal> {
    config::load(&args.config)?;
    let policy = policy_load::load_now(args)?;
    let right = format!(
        "configuration and policy are right; policy {}",
        policy.digest
    );
    let lines = [policy.warnings, vec![right]].concat().join("\n");
    // A reader that has gone wants no more.
    let _ = writeln!(std::io::stdout(), "{lines}");
    Ok(())
}

impl Warden {
    fn record_start(&mut self) -> Result<(), Fatal> {
        let (landlock, _) = self.walls.landlock();
        let (controllers, _) = self.walls.controllers();
        let mut message = format!(
            "remitd {} starts on Linux {} with policy {}, landlock {landlock}",
            remit_common::RELEASE,
            self.walls.release(),
            policy_load::short(&self.policy.digest),
        );
        if let Some(why) = self.walls.refused() {
            message += &format!(", and runs nothing in {why}");
        }
        let mut record = Record::new(Event::Start, message);
        if self.walls.refused().is_some() {
            record = record.grave();
        }
        let record = record
            .field("RELEASE", remit_common::RELEASE)
            .field("POLICY", &self.policy.digest)
            .number("LANDLOCK", landlock)
            .field("SINK", self.audit.sink())
            .field("CONTROLLERS", controllers.join(" "))
            .maybe("REFUSED", self.walls.refused());
        self.audit
            .write_at_start(record)
            .map_err(|why| Fatal::Unavailable(why.to_string()))
    }

    fn watch(&mut self) -> Result<(), Fatal> {
        let reactor = &self.reactor;
        reactor
            .add(&self.signals, Token::Signals, Interest::Read)
            .and_then(|()| reactor.add(&self.listeners.admins, Token::Admins, Interest::Read))
            .map_err(Fatal::call("epoll_ctl"))?;
        self.watch_keeper()
    }
}
