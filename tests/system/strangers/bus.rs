//! A job leaves what blocks where remit-bus reads and closes, and where the kernel acts for it. Jobs of others have the
//! bus as before.

use std::fs;
use std::path::PathBuf;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use remit_common::names::JobId;
use remit_tests::blocking::Fuse;
use remit_tests::caller::{Caller, argv, at_once, stdout};
use remit_tests::daemon::{Daemon, Options, user_a, user_b};
use remit_tests::process::seen;

use crate::bus::{TestBus, asks};

const BUS: &str = "/run/dbus/system_bus_socket";
const ACCOUNTS: &str = "/run/systemd/userdb/io.systemd.DynamicUser";

/// Sends an end of a pipe whose lock a thread holds as long as the job lives, closes its own, and perhaps the connection:
/// once a file exists, when remit-bus is stopped. Otherwise its own close could be the last one.
const SEND: &str = "
import os, socket, sys, threading, time
address, closes, stopped = sys.argv[1], sys.argv[2] == 'close', sys.argv[3]
s = socket.socket(socket.AF_UNIX)
s.connect(address)
r, w = os.pipe()
silent = socket.socketpair()
lock = lambda: os.splice(silent[0].fileno(), w, 4096)
thread = threading.Thread(target=lock, daemon=True)
thread.start()
state = lambda: open(f'/proc/self/task/{thread.native_id}/stat').read().rsplit(') ')[1][0]
seen = 0
while seen < 20:
    seen = seen + 1 if state() == 'S' else 0
    time.sleep(.01)
print('locked', flush=True)
while not os.path.exists(stopped):
    time.sleep(.01)
try:
    socket.send_fds(s, [b'x'], [r])
    os.close(r)
    said = 'sent'
except PermissionError:
    # Its own close would block.
    said = 'refused'
if closes:
    s.close()
print(said, flush=True)
time.sleep(3600)
";

/// Connects a file whose close blocks: the kernel closes it for remit-bus's answer.
const CONNECT: &str = "
import ctypes, os, struct, sys
libc = ctypes.CDLL(None, use_errno=True)
file = os.open(sys.argv[1], os.O_RDONLY)
address = struct.pack('H', 1) + sys.argv[2].encode()
print('connects', flush=True)
libc.connect(file, address, len(address))
print('connected', flush=True)
";

/// A directory that jobs see.
struct Visible(PathBuf);

impl Visible {
    fn new() -> Self {
        let dir = PathBuf::from(format!("/srv/remit-bus-{}", std::process::id()));
        fs::create_dir_all(&dir).expect("it is root's");
        Self(dir)
    }
}

impl Drop for Visible {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn begin(caller: &mut Caller, text: &str, words: &[&str], profile: Option<&str>) -> JobId {
    let words = [&["python3", "-c", text], words].concat();
    let mut run = at_once(argv(&words));
    run.profile = profile.map(Into::into);
    caller.run(run).expect("it is granted").job
}

fn says(caller: &mut Caller, job: JobId, words: &[&str]) -> String {
    seen("the job says it", || {
        let report = caller.job(job, 0).expect("it is ours");
        let said = stdout(&report);
        assert!(report.ending.is_none(), "{report:?}");
        let word = words.iter().find(|word| said.contains(**word))?;
        Some((*word).to_owned())
    })
}

fn others_have_the_bus(daemon: &Daemon) {
    let mut other = Caller::new(daemon, &user_b());
    for _ in 0..3 {
        let report = asks(&mut other, "org.freedesktop.DBus.GetId", &[]);
        let exit = report.ending.as_ref().and_then(|ending| ending.exit);
        assert_eq!(exit, Some(0), "{report:?}");
    }
}

fn descriptors_that_hang(without: Option<&'static str>) {
    let _bus = TestBus::start();
    let daemon = Daemon::start(Options {
        without,
        ..Options::default()
    });
    let mut caller = Caller::new(&daemon, &user_a());
    let dir = Visible::new();
    let mut jobs = Vec::new();
    for address in [BUS, ACCOUNTS] {
        for then in ["read", "close"] {
            let file = dir.0.join(format!("stopped-{}", jobs.len()));
            let words = [address, then, &file.display().to_string()];
            let job = begin(&mut caller, SEND, &words, None);
            says(&mut caller, job, &["locked"]);
            let bus = Pid::from_raw(daemon.bus().expect("it runs"));
            kill(bus, Signal::SIGSTOP).expect("it runs");
            fs::write(&file, "").expect("it is ours");
            let said = says(&mut caller, job, &["sent", "refused"]);
            kill(bus, Signal::SIGCONT).expect("it runs");
            match without {
                Some(_) => assert_eq!(said, "sent"),
                None if said == "sent" => {
                    remit_tests::test_dir::missing("SO_PASSRIGHTS (Linux 6.16)");
                }
                None => {}
            }
            others_have_the_bus(&daemon);
            jobs.push(job);
        }
    }
    // Each of them is over before its descriptor's close.
    for job in jobs {
        let stopped = caller.stop(job).expect("it is ours");
        assert!(stopped.ending.expect("it has ended").kill_verified);
    }
    others_have_the_bus(&daemon);
    daemon.is_well();
    daemon.stop();
}

#[test]
fn w01_hanging_descriptor_of_a_job_delays_no_other_job() {
    descriptors_that_hang(Some("passrights"));
}

#[test]
fn w01_passrights_off_refuses_descriptors_of_jobs() {
    descriptors_that_hang(None);
}

/// The kernel holds the lock of the listener: those with the same confinement cannot connect, and all others can.
#[test]
fn w01_job_that_delays_its_own_connection_delays_no_other_profile() {
    let _bus = TestBus::start();
    let dir = Visible::new();
    let fuse = Fuse::that_hangs_on_close(&dir.0, user_a().uid, "x\n");
    let usual = Options::default();
    let policy = format!(
        "{}\n[profile.slow]\nbase = \"read\"\nlimits = {{ open_files = 500 }}\n\n[[grant]]\nname = \"slow\"\nto = [\"#64001\"]\nallow = [\"run\"]\n\
         run_profile = \"slow\"\napproval = \"none\"\n",
        usual.policy
    );
    let daemon = Daemon::start(Options { policy, ..usual });
    let mut caller = Caller::new(&daemon, &user_a());
    let file = fuse.file().display().to_string();
    others_have_the_bus(&daemon);
    let job = begin(&mut caller, CONNECT, &[&file, BUS], Some("slow"));
    says(&mut caller, job, &["connects"]);
    fuse.until_it_hangs();
    others_have_the_bus(&daemon);
    let asleep = begin(&mut caller, CONNECT, &["/dev/null", BUS], Some("slow"));
    says(&mut caller, asleep, &["connects"]);
    others_have_the_bus(&daemon);
    drop(fuse);
    for job in [job, asleep] {
        let report = caller.end_of(job);
        assert_eq!(stdout(&report), "connects\nconnected\n", "{report:?}");
    }
    daemon.is_well();
    daemon.stop();
}
