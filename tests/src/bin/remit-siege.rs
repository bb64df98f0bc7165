//! The sandbox's attacks, from inside jobs of the daemon that is installed on this machine.
//!
//! `remit-siege USER`, as root: each attack is first performed as the very uid that the job will have, or as
//! root, without a sandbox; then as a job of USER, who is granted `run` in profile `read`. Prints a line for
//! each, and exits with 0 only when all were held and all that must work does.
//!
//! `remit-siege USER own` and `remit-siege USER root` do the same in profiles `siege-own` and `siege-root`: of
//! base `strict`, the second as user root; both list `bin` and `ground` beneath /var/lib/remit-siege in `exec`,
//! `listed` in `read` and `scratch` in `scratch`, and have group adm and network `loopback`.
//!
//! Unlike `sandbox.rs` it starts no daemon and changes no setting.

// A siege stops at the first surprise.
#![allow(clippy::expect_used, clippy::panic)]

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use nix::unistd::{Gid, User, getgrouplist};
use remit_common::client::Client;
use remit_common::names::Runtime;
use remit_common::outcome::JobReport;
use remit_common::wire::{Bytes, Reply, Request, Run, What};
use remit_tests::attack::allowed::{self, Check};
use remit_tests::attack::strict::{self, Who};
use remit_tests::attack::{self, Attack, Control, Expect};
use remit_tests::caller;
use remit_tests::control::{Outcome, Seen, perform};
use remit_tests::place::{Place, built, unique_uids};
use remit_tests::process::{Identity, processes};
use remit_tests::scene::{Ground, LISTED, SCRATCH, arrange};

/// Group adm, which may read logs.
const ADM: u32 = 4;
/// Where profiles of base `strict` look.
const YARD: &str = "/var/lib/remit-siege";
/// Another user's job may take the uid that a scene was made for.
const ATTEMPTS: usize = 5;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let (user, fortress) = match words.as_slice() {
        [user] => (user, Fortress::Read),
        [user, "own"] => (user, Fortress::Strict(Who::Own)),
        [user, "root"] => (user, Fortress::Strict(Who::Root)),
        _ => {
            eprintln!("usage: remit-siege USER [own | root]");
            return ExitCode::from(64);
        }
    };
    let mut siege = Siege::begin(user, fortress);
    let checks: Vec<&Check> = match fortress {
        Fortress::Read => {
            attack::all().for_each(|attack| siege.attack(attack));
            allowed::ALL.iter().chain(allowed::WALLS).collect()
        }
        Fortress::Strict(who) => {
            strict::attacks(who).for_each(|attack| siege.attack(attack));
            strict::checks().collect()
        }
    };
    checks.into_iter().for_each(|check| siege.check(check));
    siege.end()
}

/// What is under siege.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Fortress {
    Read,
    Strict(Who),
}

impl Fortress {
    fn profile(self) -> Option<String> {
        let name = match self {
            Self::Read => return None,
            Self::Strict(Who::Own) => "siege-own",
            Self::Strict(Who::Root) => "siege-root",
        };
        Some(name.into())
    }

    fn expects(self, attack: &Attack, landlock: u32) -> Expect {
        match self {
            Self::Read if landlock > 0 => attack.expect,
            Self::Read => attack.without_landlock,
            Self::Strict(who) => strict::expected(attack, who, landlock),
        }
    }

    /// Whose the processes are that an attack knows by their pid: `None` for the job's own uid.
    fn stranger(self) -> Option<Identity> {
        match self {
            Self::Read => Some(Identity::new(0, &[])),
            Self::Strict(_) => None,
        }
    }

    /// The uid of the job after one of this uid.
    fn next(self, uid: u32) -> u32 {
        match self {
            Self::Strict(Who::Root) => 0,
            Self::Read | Self::Strict(Who::Own) => uid + 1,
        }
    }
}

struct Siege {
    client: Client,
    fortress: Fortress,
    ground: Ground,
    /// Of the next job.
    next: Identity,
    /// Performs attacks without a sandbox where the job is root: with all of root's rights some would harm.
    nobody: Identity,
    /// Version of Landlock's interface that jobs have; 0 without.
    landlock: u32,
    /// In a container even root may not do everything.
    container: bool,
    held: usize,
    uncontrolled: usize,
    wrong: Vec<String>,
    /// Goes with everything that scenes left.
    _place: Place,
}

impl Siege {
    fn begin(user: &str, fortress: Fortress) -> Self {
        let runtime = Runtime::new(PathBuf::from("/run/remit"));
        let place = match fortress {
            Fortress::Read => Place::new(),
            Fortress::Strict(_) => Place::at(Path::new(YARD)),
        };
        for name in [LISTED, SCRATCH] {
            let _ = place.directory(name);
        }
        let program = place.program(&built().join("remit-attack"));
        let dir = place.directory("ground");
        let mut client = connect(user, &runtime.socket());
        let report = run(&mut client, fortress, vec!["true".into()]);
        let enforced = report.enforced.expect("the job ran");
        println!(
            "{user} lays siege to uid {} behind {}",
            enforced.uid,
            enforced.walls.join(" ")
        );
        Self {
            client,
            fortress,
            next: Identity::new(fortress.next(enforced.uid), &[ADM]),
            nobody: Identity::new(unique_uids(1), &[ADM]),
            ground: Ground {
                dir,
                job: Identity::new(0, &[]),
                stranger: fortress.stranger(),
                program,
                daemon: daemon(),
                socket: runtime.socket(),
                trail: PathBuf::from("/var/lib/remit/warden/audit-head"),
            },
            landlock: enforced.landlock,
            container: Path::new("/run/systemd/container").exists(),
            held: 0,
            uncontrolled: 0,
            wrong: Vec::new(),
            _place: place,
        }
    }

    /// Arranges a scene for the uid of the next job, and performs in it.
    fn perform(&mut self, id: &str) -> Seen {
        for _ in 0..ATTEMPTS {
            self.ground.job = self.next.clone();
            let scene = arrange(id, &self.ground);
            let report = run(&mut self.client, self.fortress, scene.argv(id));
            let uid = report.enforced.as_ref().map_or(0, |enforced| enforced.uid);
            self.next = Identity::new(self.fortress.next(uid), &[ADM]);
            if uid != self.ground.job.uid {
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
        panic!("other jobs take the uids that scenes are made for");
    }

    fn attack(&mut self, attack: &Attack) {
        let control = self.control(attack);
        let seen = self.perform(attack.id);
        let expected = self.fortress.expects(attack, self.landlock);
        let held = match &control {
            // What this kernel does not have answers as it likes.
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
        self.row(held, attack.id, &outside, &inside, attack.wall);
    }

    /// Without a sandbox: done, or a reason why not that says nothing against the attack.
    fn control(&mut self, attack: &Attack) -> Result<Possible, String> {
        if let Control::Impossible(_) = attack.control {
            return Ok(Possible::Never);
        }
        self.ground.job = match self.fortress {
            Fortress::Strict(Who::Root) => self.nobody.clone(),
            Fortress::Read | Fortress::Strict(Who::Own) => self.next.clone(),
        };
        // Without the sandbox the attacker has the uid of its victims: that uid is the wall.
        self.ground.stranger = None;
        let seen = perform(attack, &self.ground);
        self.ground.stranger = self.fortress.stranger();
        match &seen.outcome {
            Outcome::Done(_) if attack.control == Control::Root => Ok(Possible::Done),
            _ if seen.meets(Expect::Done) => Ok(Possible::Done),
            Outcome::Refused(errno) if attack.optional && attack::ABSENT.contains(errno) => {
                Ok(Possible::Absent)
            }
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

    fn row(&mut self, held: bool, id: &str, outside: &str, inside: &str, wall: &str) {
        let mark = if held { "held" } else { "LOST" };
        let line = format!("{mark}  {id:22} {outside:16} {inside:14} {wall}");
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

/// Whether an attack can be done on this machine by somebody without a sandbox.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Possible {
    Done,
    /// Not on this kernel.
    Absent,
    /// Not by the root of a container.
    Container,
    /// Nowhere.
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

/// A connection as this user, with all groups.
fn connect(user: &str, socket: &Path) -> Client {
    let user = User::from_name(user)
        .expect("the user database answers")
        .expect("the user exists");
    let name = std::ffi::CString::new(user.name).expect("a name");
    let groups = getgrouplist(&name, user.gid).expect("the user database answers");
    let who = Identity {
        uid: user.uid.as_raw(),
        gid: user.gid.as_raw(),
        groups: groups.into_iter().map(Gid::as_raw).collect(),
    };
    let socket = socket.to_owned();
    // A thread of its own: it stays what it has become.
    let connect = move || {
        who.adopt().expect("a siege is laid by root");
        Client::connect(&socket, "remit-siege")
    };
    std::thread::spawn(connect)
        .join()
        .expect("connecting does not panic")
        .expect("the daemon lets the user in")
}

fn run(client: &mut Client, fortress: Fortress, argv: Vec<String>) -> JobReport {
    let words = argv
        .into_iter()
        .map(|word| Bytes::from(word.into_bytes()))
        .collect();
    let run = Run {
        profile: fortress.profile(),
        ..caller::run(What::Argv(words))
    };
    match client.call(Request::Run(run), |_| {}) {
        Ok(Reply::Job { report, .. }) => *report,
        other => panic!("{other:?}"),
    }
}

/// The installed daemon's pid.
fn daemon() -> u32 {
    let found = processes()
        .into_iter()
        .find(|process| process.name == "remitd" && process.nspid.len() == 1);
    u32::try_from(found.expect("remitd runs").pid).expect("pids are positive")
}
