//! Runs the sandbox's attacks as jobs of the daemon that is installed on this machine. Starts no daemon and changes no
//! setting, unlike `sandbox.rs`. `remit-sandbox-attacks USER`, as root: performs each attack first without a sandbox,
//! as the future uid of the job or as root. Then USER runs it as a job, which needs a grant of `run` in profile `read`.
//! Prints a line for each. The exit status is 0 only if every attack was stopped and everything that must work did.
//! `remit-sandbox-attacks USER own` and `… root` do the same in profiles `attacked-own` and `attacked-root` of base
//! `strict`, the second as user root. Both need `bin` and `fixture` below /var/lib/remit-sandbox-attacks in `exec`,
//! `listed` in `read`, `scratch` in `scratch`, group adm and network `loopback`.

// Stops at the first unexpected error.
#![allow(clippy::expect_used, clippy::panic)]

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use nix::unistd::{Gid, User, getgrouplist};
use remit_common::names::Runtime;
use remit_tests::attack::allowed::{self, Check};
use remit_tests::attack::strict::{self, StrictIdentity};
use remit_tests::attack::{self, Attack, Control, Expect};
use remit_tests::caller;
use remit_tests::control::{Outcome, Seen, perform};
use remit_tests::process::{Identity, processes};
use remit_tests::scene::{AttackFixture, LISTED, SCRATCH, arrange};
use remit_tests::test_dir::{TestDir, built, unique_uids};
use remit_wire::client::Client;
use remit_wire::outcome::JobReport;
use remit_wire::{Bytes, Reply, Request, Run, What};

const ADM: u32 = 4;
/// The directory that profiles of base `strict` list.
const DIRECTORY: &str = "/var/lib/remit-sandbox-attacks";
/// Retries, because the next job may get another uid than the one that a scene was prepared for.
const ATTEMPTS: usize = 20;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let (user, profile) = match words.as_slice() {
        [user] => (user, Profile::Read),
        [user, "own"] => (user, Profile::Strict(StrictIdentity::Own)),
        [user, "root"] => (user, Profile::Strict(StrictIdentity::Root)),
        _ => {
            eprintln!("usage: remit-sandbox-attacks USER [own | root]");
            return ExitCode::from(64);
        }
    };
    let mut attacks = Attacks::new(user, profile);
    let checks: Vec<&Check> = match profile {
        Profile::Read => {
            attack::all().for_each(|attack| attacks.attack(attack));
            allowed::ALL.iter().chain(allowed::LAYERS).collect()
        }
        Profile::Strict(identity) => {
            strict::attacks(identity).for_each(|attack| attacks.attack(attack));
            strict::checks().collect()
        }
    };
    checks.into_iter().for_each(|check| attacks.check(check));
    attacks.end()
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Profile {
    Read,
    Strict(StrictIdentity),
}

impl Profile {
    fn name(self) -> Option<String> {
        let name = match self {
            Self::Read => return None,
            Self::Strict(StrictIdentity::Own) => "attacked-own",
            Self::Strict(StrictIdentity::Root) => "attacked-root",
        };
        Some(name.into())
    }

    fn expects(self, attack: &Attack, landlock: u32) -> Expect {
        match self {
            Self::Read if landlock > 0 => attack.expect,
            Self::Read => attack.without_landlock,
            Self::Strict(identity) => strict::expected(attack, identity, landlock),
        }
    }

    /// Returns the owner of the victims that an attack knows by pid. `None` is the job's own uid.
    fn stranger(self) -> Option<Identity> {
        match self {
            Self::Read => Some(Identity::new(0, &[])),
            Self::Strict(_) => None,
        }
    }

    /// Returns true if jobs have uids of their own.
    fn has_own_uids(self) -> bool {
        self != Self::Strict(StrictIdentity::Root)
    }
}

/// Uids of the jobs until now, oldest first.
#[derive(Debug, Default)]
struct JobUids(Vec<u32>);

impl JobUids {
    /// Predicts the uid of the next job. Uids are allocated in ascending order, for some jobs in advance; on a busy
    /// machine a job may be the first that is ready, and the one before it comes later or never.
    fn next(&self, attempt: usize) -> u32 {
        let newest = self.0.iter().max().copied().unwrap_or_default();
        let skipped = (newest.saturating_sub(3)..newest).find(|uid| self.is_skipped(*uid));
        skipped
            .filter(|_| attempt.is_multiple_of(2))
            .unwrap_or(newest + 1)
    }

    fn is_skipped(&self, uid: u32) -> bool {
        self.0.first().is_some_and(|first| uid > *first) && !self.0.contains(&uid)
    }
}

struct Attacks {
    client: Client,
    profile: Profile,
    fixture: AttackFixture,
    uids: JobUids,
    /// Performs attacks without a sandbox if the job is root: as full root some would damage the machine.
    unprivileged: Identity,
    /// Landlock ABI version in jobs, 0 without.
    landlock: u32,
    /// In a container even root lacks some privileges.
    container: bool,
    held: usize,
    uncontrolled: usize,
    wrong: Vec<String>,
    /// Removed on drop with everything that scenes left.
    _test_dir: TestDir,
}

impl Attacks {
    fn new(user: &str, profile: Profile) -> Self {
        let runtime = Runtime::new(PathBuf::from("/run/remit"));
        let test_dir = match profile {
            Profile::Read => TestDir::new(),
            Profile::Strict(_) => TestDir::at(Path::new(DIRECTORY)),
        };
        for name in [LISTED, SCRATCH] {
            let _ = test_dir.directory(name);
        }
        let program = test_dir.program(&built().join("remit-attack"));
        let dir = test_dir.directory("fixture");
        let mut client = connect(user, &runtime.socket());
        let report = run(&mut client, profile, vec!["true".into()]);
        let enforced = report.enforced.expect("the job ran");
        println!(
            "{user} attacks from uid {} behind {}",
            enforced.uid,
            enforced.layers.join(" ")
        );
        Self {
            client,
            profile,
            uids: JobUids(vec![enforced.uid]),
            unprivileged: Identity::new(unique_uids(1), &[ADM]),
            fixture: AttackFixture {
                dir,
                job: Identity::new(0, &[]),
                stranger: profile.stranger(),
                program,
                daemon: daemon(),
                socket: runtime.socket(),
                audit_log: PathBuf::from("/var/lib/remit/warden/audit-head"),
            },
            landlock: enforced.landlock,
            container: Path::new("/run/systemd/container").exists(),
            held: 0,
            uncontrolled: 0,
            wrong: Vec::new(),
            _test_dir: test_dir,
        }
    }

    /// Arranges a scene for the uid of the next job, and performs the attack in it.
    fn perform(&mut self, id: &str) -> Seen {
        for attempt in 0..ATTEMPTS {
            self.fixture.job = self.next(attempt);
            let scene = arrange(id, &self.fixture);
            let report = run(&mut self.client, self.profile, scene.argv(id));
            let uid = report.enforced.as_ref().map_or(0, |enforced| enforced.uid);
            self.uids.0.push(uid);
            if uid != self.fixture.job.uid {
                continue;
            }
            let signal = report.ending.as_ref().and_then(|ending| ending.signal);
            let outcome = match Outcome::read(&caller::stdout(&report), signal) {
                Outcome::Broken(why) => Outcome::Broken(format!("{why} {report:?}")),
                outcome => outcome,
            };
            return Seen {
                outcome,
                touched: scene.touched(),
            };
        }
        let last = self.uids.0.iter().rev().take(ATTEMPTS + 2);
        panic!(
            "{id}: no scene was made for the job's uid; the last ones, newest first: {:?}",
            last.collect::<Vec<_>>()
        );
    }

    fn next(&self, attempt: usize) -> Identity {
        let uid = match self.profile.has_own_uids() {
            true => self.uids.next(attempt),
            false => 0,
        };
        Identity::new(uid, &[ADM])
    }

    fn attack(&mut self, attack: &Attack) {
        let control = self.control(attack);
        let seen = self.perform(attack.id);
        let expected = self.profile.expects(attack, self.landlock);
        let held = match &control {
            // A kernel without the feature may return any error.
            Ok(Possible::Absent) => !matches!(seen.outcome, Outcome::Done(_) | Outcome::Broken(_)),
            Ok(_) => seen.meets(expected),
            Err(_) => false,
        };
        let outside = match control {
            Ok(possible) => {
                self.uncontrolled += usize::from(possible != Possible::Done);
                possible.word().to_owned()
            }
            Err(outcome) => outcome,
        };
        let inside = seen.outcome.word();
        self.row(held, attack.id, &outside, &inside, attack.layer);
    }

    fn control(&mut self, attack: &Attack) -> Result<Possible, String> {
        if let Control::Impossible(_) = attack.control {
            return Ok(Possible::Never);
        }
        self.fixture.job = match self.profile {
            Profile::Strict(StrictIdentity::Root) => self.unprivileged.clone(),
            Profile::Read | Profile::Strict(StrictIdentity::Own) => self.next(0),
        };
        // The attacker then has its victims' uid, because the separate uid is a sandbox layer.
        self.fixture.stranger = None;
        let seen = perform(attack, &self.fixture);
        self.fixture.stranger = self.profile.stranger();
        match &seen.outcome {
            Outcome::Done(_) if attack.control == Control::Root => Ok(Possible::Done),
            _ if seen.meets(Expect::Done) => Ok(Possible::Done),
            Outcome::Refused(errno) if attack.absent.contains(errno) => Ok(Possible::Absent),
            Outcome::Refused(_) if self.container && attack.control == Control::Root => {
                Ok(Possible::Container)
            }
            outcome => Err(format!("{}, touched {:?}", outcome.word(), seen.touched)),
        }
    }

    fn check(&mut self, check: &Check) {
        let seen = self.perform(check.id);
        let works = matches!(seen.outcome, Outcome::Done(_));
        self.row(works, check.id, "", &seen.outcome.word(), "must work");
    }

    fn row(&mut self, held: bool, id: &str, outside: &str, inside: &str, layer: &str) {
        let mark = if held { "held" } else { "LOST" };
        let line = format!("{mark}  {id:22} {outside:16} {inside:14} {layer}");
        println!("{line}");
        if held {
            self.held += 1;
        } else {
            self.wrong.push(line);
        }
    }

    fn end(self) -> ExitCode {
        println!(
            "{} held, {} of them not possible here without the sandbox either; {} lost",
            self.held,
            self.uncontrolled,
            self.wrong.len()
        );
        for line in &self.wrong {
            eprintln!("{line}");
        }
        ExitCode::from(u8::from(!self.wrong.is_empty()))
    }
}

/// Possibility of an attack on this machine without a sandbox.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Possible {
    Done,
    /// Not on this kernel.
    Absent,
    /// Not as root of a container.
    Container,
    Never,
}

impl Possible {
    fn word(self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::Absent => "not this kernel",
            Self::Container => "not container",
            Self::Never => "never",
        }
    }
}

/// Connects as this user, with all groups.
fn connect(user: &str, socket: &Path) -> Client {
    let user = User::from_name(user)
        .expect("the user database answers")
        .expect("the user exists");
    let name = std::ffi::CString::new(user.name).expect("a name");
    let groups = getgrouplist(&name, user.gid).expect("the user database answers");
    let identity = Identity {
        uid: user.uid.as_raw(),
        gid: user.gid.as_raw(),
        groups: groups.into_iter().map(Gid::as_raw).collect(),
    };
    let socket = socket.to_owned();
    // A separate thread, because it keeps the identity.
    let connect = move || {
        identity.adopt().expect("this runs as root");
        Client::connect(&socket, "remit-sandbox-attacks")
    };
    std::thread::spawn(connect)
        .join()
        .expect("connecting does not panic")
        .expect("the daemon lets the user in")
}

fn run(client: &mut Client, profile: Profile, argv: Vec<String>) -> JobReport {
    let words = argv
        .into_iter()
        .map(|word| Bytes::from(word.into_bytes()))
        .collect();
    let run = Run {
        profile: profile.name(),
        ..caller::run(What::Argv(words))
    };
    match client.call(Request::Run(run), |_| {}) {
        Ok(Reply::Job { report, .. }) => *report,
        other => panic!("{other:?}"),
    }
}

fn daemon() -> u32 {
    let found = processes()
        .into_iter()
        .find(|process| process.name == "remitd" && process.nspid.len() == 1);
    u32::try_from(found.expect("remitd runs").pid).expect("pids are positive")
}
