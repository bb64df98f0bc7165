//! Broker, warden and shims are killed at random moments, under load: nothing is lost, nothing runs twice, and
//! nothing is left.

// A test stops at the first surprise; clippy knows that only of functions marked as tests.
#![allow(clippy::expect_used, clippy::indexing_slicing, clippy::panic)]

use std::sync::Arc;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use remit_common::caps;
use remit_tests::daemon::{Daemon, Options, user_a, user_b};
use remit_tests::door::Door;
use remit_tests::holdings::{Holdings, no_uid_is_lost};
use remit_tests::process::ends_within;
use remit_tests::random::Random;

mod chaos {
    pub mod client;
    pub mod pulse;
    pub mod shim;
    pub mod task;
    pub mod trail;

    /// Waits so many microseconds: a moment that nobody chose.
    pub fn moment(us: u32) {
        std::thread::sleep(std::time::Duration::from_micros(us.into()));
    }
}

use chaos::client::{Answered, Insistent, is_open};
use chaos::pulse::{Alarm, Pulse};
use chaos::shim::Shims;
use chaos::trail::Trail;

/// Deaths of broker and warden together.
const KILLS: u32 = 200;
/// A broker that dies more often than this within a second is started again only after one.
const BROKERS_IN_A_ROW: u32 = 3;
/// So many ended jobs of a user are remembered for sure. After a restart they are in the order in which they began,
/// not in which they ended: the youngest ends may be of old jobs.
const REMEMBERED: usize = caps::ENDED_PER_UID - 64;
/// Clients of the socket of each user.
const CLIENTS: usize = 2;
/// Places for jobs, few enough that some jobs wait for one, and uids for those that wait.
const PLACES: usize = 5;
const WAITING: usize = 40;
/// A kill comes after at most so many answers, and after at most so many microseconds more.
const ANSWERS: u32 = 7;
const MOMENT: u32 = 900;
/// A start that is cut short is so within this time, about as long as a start takes.
const START_MS: u32 = 60;

/// Everybody who asks.
struct Load {
    pulse: Arc<Pulse>,
    clients: Vec<std::thread::JoinHandle<Vec<Answered>>>,
    shims: Vec<std::thread::JoinHandle<(Vec<Answered>, u32)>>,
}

impl Load {
    fn start(daemon: &Daemon, random: &mut Random) -> Self {
        let pulse = Arc::new(Pulse::default());
        pulse.lives();
        let (mut clients, mut shims) = (Vec::new(), Vec::new());
        for (letter, who) in [("a", user_a()), ("b", user_b())] {
            for number in 0..CLIENTS {
                let door = Door::new(daemon, &who);
                let client = Insistent::new(door, Arc::clone(&pulse), random.branch());
                let name = format!("{letter}{number}");
                clients.push(std::thread::spawn(move || client.work(&name)));
            }
            let (all, row) = (Shims::new(daemon, &who), random.branch());
            let (shared, name) = (Arc::clone(&pulse), format!("{letter}s"));
            shims.push(std::thread::spawn(move || all.work(&shared, row, &name)));
        }
        Self {
            pulse,
            clients,
            shims,
        }
    }

    /// Lets everybody have the answers that they wait for; all that were answered.
    fn end(self) -> Vec<Answered> {
        self.pulse.over();
        let threads = self.clients.len() + self.shims.len();
        self.pulse.until_finished(threads);
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

/// Kills a broker that takes clients.
fn kill_broker(daemon: &Daemon, pulse: &Pulse) {
    let broker = loop {
        match daemon.broker() {
            Some(broker) => break broker,
            None => pulse.until_answered_or_idle(1),
        }
    };
    let _ = kill(Pid::from_raw(broker), Signal::SIGKILL);
    assert!(ends_within(broker, 10_000), "the broker is not gone");
}

/// Kills the warden, sometimes also the next one while it starts, and starts another.
fn kill_warden(daemon: &mut Daemon, pulse: &Pulse, random: &mut Random, killed: &mut Killed) {
    pulse.dies();
    daemon.signal(Signal::SIGKILL);
    assert!(ends_within(daemon.pid(), 10_000), "the warden is not gone");
    // Half of the time the next one comes while jobs of this one are still dying.
    if random.once_in(2) {
        for process in daemon.job_processes() {
            let gone = ends_within(process.pid, 10_000);
            assert!(gone, "outlives the warden: {process:?}");
        }
    }
    let in_vain = random.once_in(6);
    if in_vain {
        daemon.restart_in_vain(Duration::from_millis(random.below(START_MS).into()));
    }
    let refused = daemon.restart_insistently();
    pulse.lives();
    killed.wardens += 1 + u32::from(in_vain);
    killed.starting += u32::from(in_vain);
    killed.refused += refused;
}

/// How often what was killed.
#[derive(Debug, Default)]
struct Killed {
    brokers: u32,
    wardens: u32,
    /// Of the wardens those that had not got ready.
    starting: u32,
    /// Starts that found the lock of a dead one still held.
    refused: u32,
}

fn kill_them_all(daemon: &mut Daemon, pulse: &Pulse, random: &mut Random) -> Killed {
    let (mut killed, mut in_a_row) = (Killed::default(), 0);
    while killed.brokers + killed.wardens < KILLS {
        pulse.until_answered_or_idle(random.below(ANSWERS));
        chaos::moment(random.below(MOMENT));
        if random.once_in(2) && in_a_row < BROKERS_IN_A_ROW {
            kill_broker(daemon, pulse);
            killed.brokers += 1;
            in_a_row += 1;
        } else {
            kill_warden(daemon, pulse, random, &mut killed);
            in_a_row = 0;
        }
    }
    killed
}

/// What owners are told of their jobs, and what these printed. One may be forgotten that is old enough.
fn all_is_told(answered: &[Answered], trail: &Trail) {
    let pulse = Arc::new(Pulse::default());
    pulse.lives();
    let (mut told, mut forgotten) = (0, 0);
    for who in [user_a(), user_b()] {
        let mut of_one = answered
            .iter()
            .filter(|one| one.door.is_of(&who))
            .peekable();
        let Some(first) = of_one.peek() else { continue };
        let mut client = Insistent::new(first.door.clone(), Arc::clone(&pulse), Random::new(1));
        for Answered { task, job, .. } in of_one {
            let since = trail.ended_since(&job.to_string());
            let since = since
                .unwrap_or_else(|| panic!("{task:?} was answered with {job}, which has no end"));
            match client.look(*job) {
                Ok(report) => {
                    client
                        .check(task, &report)
                        .unwrap_or_else(|why| panic!("{why}"));
                    told += 1;
                }
                Err(why) => {
                    assert!(since >= REMEMBERED, "{since} ended after {job}: {why}");
                    forgotten += 1;
                }
            }
        }
    }
    println!("{told} jobs are remembered, {forgotten} older ones are not");
}

/// Ends those that would not end by themselves.
fn stop_the_rest(answered: &[Answered]) {
    let pulse = Arc::new(Pulse::default());
    pulse.lives();
    for Answered { door, task, job } in answered.iter().filter(|one| !one.task.ends()) {
        let mut client = Insistent::new(door.clone(), Arc::clone(&pulse), Random::new(1));
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
fn two_hundred_kills_lose_nothing_and_run_nothing_twice() {
    let start = Instant::now();
    let mut random = Random::seeded_by("REMIT_CHAOS_SEED");
    let mut daemon = Daemon::start(Options {
        jobs: PLACES,
        jobs_of_one: Some(PLACES - 2),
        waiting: WAITING,
        ..Options::default()
    });
    let before = Holdings::at_rest(&daemon);
    let load = Load::start(&daemon, &mut random);
    let pulse = Arc::clone(&load.pulse);
    let _alarm = Alarm(&pulse);
    let killed = kill_them_all(&mut daemon, &load.pulse, &mut random);
    println!("{killed:?}");
    let answered = load.end();
    let (answers, took) = (pulse.answers(), start.elapsed());
    println!("{} requests, {answers} answers, {took:?}", answered.len());

    stop_the_rest(&answered);
    daemon.is_well();
    let trail = Trail::read(&daemon.audit()).unwrap_or_else(|why| panic!("{why}"));
    println!("{trail}");
    let gaps = trail.check().unwrap_or_else(|why| panic!("{why}"));
    println!("{gaps:?}");
    // Each of these takes the death of a warden in the very moment.
    assert!(
        gaps.unrecorded + gaps.again <= killed.wardens,
        "{gaps:?}: {killed:?}"
    );
    all_is_told(&answered, &trail);

    // What was busy at the last start is swept at the next.
    daemon.restart_cleanly();
    all_is_told(&answered, &trail);
    no_uid_is_lost(&daemon);
    before.are_again_of(&daemon);
    daemon.stop();
}
