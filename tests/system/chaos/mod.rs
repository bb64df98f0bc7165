//! Kills broker, warden, spawner, workers and shims at random moments under load. No job is lost, none runs twice, and
//! no process is left. `make chaos` does it often.

use std::sync::Arc;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use remit_common::caps;
use remit_tests::caller::Door;
use remit_tests::daemon::{Daemon, Options, user_a, user_b};
use remit_tests::holdings::{Holdings, no_uid_is_lost};
use remit_tests::process::{Process, descendants, ends_within};
use remit_tests::random::Random;

pub mod client;
pub mod coordinator;
mod pairs;

pub fn moment(us: u32) {
    std::thread::sleep(Duration::from_micros(us.into()));
}

use self::client::{Answered, Insistent, is_open};
use self::coordinator::{Alarm, ChaosCoordinator, ParsedAuditLog, Shims};

/// Kills of each process.
const KILLS: u32 = 6;
/// A broker that dies more often than this within a second is restarted only after a second.
const BROKERS_IN_A_ROW: u32 = 3;
/// At least so many ended jobs of a user are remembered. After a restart they are ordered by start, not by end,
/// so the last ends may belong to old jobs.
const REMEMBERED: usize = caps::ENDED_PER_UID - 64;
const CLIENTS: usize = 2;
/// Few job slots, so that some jobs wait, and uids for those that wait.
const SLOTS: usize = 5;
const WAITING: usize = 40;
/// Maximum answers before a kill, and maximum microseconds after them.
const ANSWERS: u32 = 7;
const MOMENT: u32 = 900;
/// Maximum time until an interrupted start is killed; about as long as a start takes.
const START_MS: u32 = 60;

struct Load {
    coordinator: Arc<ChaosCoordinator>,
    clients: Vec<std::thread::JoinHandle<Vec<Answered>>>,
    shims: Vec<std::thread::JoinHandle<(Vec<Answered>, u32)>>,
}

impl Load {
    fn start(daemon: &Daemon, random: &mut Random) -> Self {
        let coordinator = Arc::new(ChaosCoordinator::default());
        coordinator.lives();
        let (mut clients, mut shims) = (Vec::new(), Vec::new());
        for (letter, user) in [("a", user_a()), ("b", user_b())] {
            for number in 0..CLIENTS {
                let door = Door::new(daemon, &user);
                let client = Insistent::new(door, Arc::clone(&coordinator), random.branch());
                let name = format!("{letter}{number}");
                clients.push(std::thread::spawn(move || client.work(&name)));
            }
            let (all, row) = (Shims::new(daemon, &user), random.branch());
            let (shared, name) = (Arc::clone(&coordinator), format!("{letter}s"));
            shims.push(std::thread::spawn(move || all.work(&shared, row, &name)));
        }
        Self {
            coordinator,
            clients,
            shims,
        }
    }

    fn end(self) -> Vec<Answered> {
        self.coordinator.over();
        let threads = self.clients.len() + self.shims.len();
        self.coordinator.until_finished(threads);
        let mut answered = Vec::new();
        for shims in self.shims {
            let (more, killed) = shims.join().expect("a client of shims is done");
            println!("{killed} shims were killed");
            answered.extend(more);
        }
        for client in self.clients {
            answered.extend(client.join().expect("a client is done"));
        }
        answered
    }
}

/// Returns how often, unless the environment says another number.
fn times(variable: &str, usual: u32) -> u32 {
    match std::env::var(variable) {
        Ok(text) => text.parse().expect("how often is a number"),
        Err(_) => usual,
    }
}

/// Returns a root process of the daemon, not one of a job or of a self-test.
fn part(daemon: &Daemon, name: &str) -> Option<i32> {
    let warden = daemon.pid();
    let is_it = |one: &&Process| one.parent == warden && one.name == name && one.state != 'Z';
    let below = descendants(warden);
    let mut found = below.iter().filter(is_it).filter(|one| !one.is_of_jobs());
    found.next().map(|one| one.pid)
}

fn worker(daemon: &Daemon) -> Option<i32> {
    part(daemon, "remit-zygote")
}

fn kill_worker(worker: i32) {
    let _ = kill(Pid::from_raw(worker), Signal::SIGKILL);
    assert!(ends_within(worker, 20_000), "the worker is not gone");
}

/// The warden ends all jobs and itself.
fn kill_spawner(daemon: &Daemon, coordinator: &ChaosCoordinator) {
    let spawner = part(daemon, "remit-spawner").expect("a warden has a spawner");
    coordinator.dies();
    kill(Pid::from_raw(spawner), Signal::SIGKILL).expect("it lives");
    let ended = ends_within(daemon.pid(), 60_000);
    assert!(ended, "the warden outlives the spawner");
}

fn kill_broker(daemon: &Daemon, coordinator: &ChaosCoordinator) {
    let broker = loop {
        match daemon.broker() {
            Some(broker) => break broker,
            None => coordinator.until_answered_or_idle(1),
        }
    };
    let _ = kill(Pid::from_raw(broker), Signal::SIGKILL);
    assert!(ends_within(broker, 20_000), "the broker is not gone");
}

fn kill_warden(daemon: &Daemon, coordinator: &ChaosCoordinator) {
    coordinator.dies();
    daemon.signal(Signal::SIGKILL);
    assert!(ends_within(daemon.pid(), 20_000), "the warden is not gone");
}

fn start_again(
    daemon: &mut Daemon,
    coordinator: &ChaosCoordinator,
    random: &mut Random,
    killed: &mut Killed,
) {
    // Half of the time, the next one starts while jobs of this one are still dying.
    if random.once_in(2) {
        for process in daemon.job_processes() {
            let gone = ends_within(process.pid, 20_000);
            assert!(gone, "outlives the warden: {process:?}");
        }
    }
    let kills_start = random.once_in(6);
    if kills_start {
        daemon.restart_and_kill(Duration::from_millis(random.below(START_MS).into()));
    }
    let refused = daemon.restart_insistently();
    coordinator.lives();
    killed.wardens += u32::from(kills_start);
    killed.starting += u32::from(kills_start);
    killed.refused += refused;
}

#[derive(Clone, Copy, Debug)]
enum Victim {
    Broker,
    Worker(i32),
    Spawner,
    Warden,
}

#[derive(Debug, Default)]
struct Killed {
    brokers: u32,
    workers: u32,
    spawners: u32,
    wardens: u32,
    starting: u32,
    /// Starts that found the lock of a dead warden still held.
    refused: u32,
}

fn kill_them_all(
    daemon: &mut Daemon,
    coordinator: &ChaosCoordinator,
    random: &mut Random,
) -> Killed {
    let kills = times("REMIT_CHAOS_KILLS", KILLS);
    let (mut killed, mut in_a_row) = (Killed::default(), 0);
    loop {
        coordinator.until_answered_or_idle(random.below(ANSWERS));
        moment(random.below(MOMENT));
        let mut victims = Vec::new();
        if killed.brokers < kills && in_a_row < BROKERS_IN_A_ROW {
            victims.push(Victim::Broker);
        }
        if killed.workers < kills {
            victims.extend(worker(daemon).map(Victim::Worker));
        }
        if killed.spawners < kills {
            victims.push(Victim::Spawner);
        }
        if killed.wardens < kills {
            victims.push(Victim::Warden);
        }
        let at = random.below(u32::try_from(victims.len().max(1)).expect("they are four"));
        match victims.get(at as usize) {
            Some(Victim::Broker) => {
                kill_broker(daemon, coordinator);
                killed.brokers += 1;
                in_a_row += 1;
                continue;
            }
            Some(Victim::Worker(worker)) => {
                kill_worker(*worker);
                killed.workers += 1;
                continue;
            }
            Some(Victim::Spawner) => {
                kill_spawner(daemon, coordinator);
                killed.spawners += 1;
            }
            // After a loss there is no worker for a while, unless a new warden starts one.
            None if killed.workers == kills && killed.brokers == kills => return killed,
            Some(Victim::Warden) | None => {
                kill_warden(daemon, coordinator);
                killed.wardens += 1;
            }
        }
        in_a_row = 0;
        start_again(daemon, coordinator, random, &mut killed);
    }
}

fn check_known_jobs(answered: &[Answered], audit_log: &ParsedAuditLog) {
    let coordinator = Arc::new(ChaosCoordinator::default());
    coordinator.lives();
    let (mut known, mut forgotten) = (0, 0);
    for user in [user_a(), user_b()] {
        let mut of_one = answered
            .iter()
            .filter(|one| one.door.is_of(&user))
            .peekable();
        let Some(first) = of_one.peek() else { continue };
        let mut client =
            Insistent::new(first.door.clone(), Arc::clone(&coordinator), Random::new(1));
        for Answered { task, job, .. } in of_one {
            let since = audit_log.ended_since(&job.to_string());
            let since = since
                .unwrap_or_else(|| panic!("{task:?} was answered with {job}, which has no end"));
            match client.look(*job) {
                Ok(report) => {
                    client
                        .check(task, &report)
                        .unwrap_or_else(|why| panic!("{why}"));
                    known += 1;
                }
                Err(why) => {
                    assert!(since >= REMEMBERED, "{since} ended after {job}: {why}");
                    forgotten += 1;
                }
            }
        }
    }
    println!("{known} jobs are remembered, {forgotten} older ones are not");
}

fn stop_the_rest(answered: &[Answered]) {
    let coordinator = Arc::new(ChaosCoordinator::default());
    coordinator.lives();
    for Answered { door, task, job } in answered.iter().filter(|one| !one.task.ends()) {
        let mut client = Insistent::new(door.clone(), Arc::clone(&coordinator), Random::new(1));
        if client.look(*job).is_ok_and(|report| is_open(report.state)) {
            client.stop(*job);
            let report = client.look(*job).expect("it has just ended");
            client
                .check(task, &report)
                .unwrap_or_else(|why| panic!("{why}"));
        }
    }
}

#[test]
fn random_kills_lose_and_repeat_no_job() {
    let start = Instant::now();
    let mut random = Random::seeded_by("REMIT_CHAOS_SEED");
    let mut daemon = Daemon::start(Options {
        jobs: SLOTS,
        jobs_of_one: Some(SLOTS - 2),
        waiting: WAITING,
        ..Options::default()
    });
    let before = Holdings::at_rest(&daemon);
    let load = Load::start(&daemon, &mut random);
    let coordinator = Arc::clone(&load.coordinator);
    let _alarm = Alarm(&coordinator);
    let killed = kill_them_all(&mut daemon, &load.coordinator, &mut random);
    println!("{killed:?}");
    let answered = load.end();
    let (answers, took) = (coordinator.answers(), start.elapsed());
    println!("{} requests, {answers} answers, {took:?}", answered.len());

    stop_the_rest(&answered);
    daemon.is_well();
    let audit_log = ParsedAuditLog::read(&daemon.audit()).unwrap_or_else(|why| panic!("{why}"));
    println!("{audit_log}");
    let gaps = audit_log.check().unwrap_or_else(|why| panic!("{why}"));
    println!("{gaps:?}");
    // Each gap needs the death of a warden at that very moment.
    assert!(
        gaps.unrecorded + gaps.again <= killed.wardens,
        "{gaps:?}: {killed:?}"
    );
    check_known_jobs(&answered, &audit_log);

    // Leftovers that were busy at the last start are removed at the next.
    daemon.restart_cleanly();
    check_known_jobs(&answered, &audit_log);
    no_uid_is_lost(&daemon);
    before.are_again_of(&daemon);
    daemon.stop();
}
