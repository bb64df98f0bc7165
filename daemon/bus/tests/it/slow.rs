//! A job decides when its own task runs, and so how long the kernel needs to give it a descriptor.

use std::os::fd::FromRawFd;
use std::os::unix::net::UnixStream;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::channel;
use std::thread;
use std::time::{Duration, Instant};

use crate::client::Client;
use crate::fake::FakeBus;
use crate::stage::{LENGTH, PATIENCE, Proxy, connect, connect_at};

/// Threads that keep one processor from a thread of the policy SCHED_IDLE: it runs every few seconds.
const BUSY: usize = 24;
/// Others need a tenth of a second, and four seconds or more if they are answered one after another.
const LONGEST: Duration = Duration::from_secs(3);

/// Of a thread, 0 for the calling one, to the first processor that this test may use.
fn pin(thread: i32) {
    static FIRST: OnceLock<usize> = OnceLock::new();
    let first = *FIRST.get_or_init(|| {
        let mut all: libc::cpu_set_t = unsafe { std::mem::zeroed() };
        let got = unsafe { libc::sched_getaffinity(0, size_of_val(&all), &raw mut all) };
        assert_eq!(got, 0, "{}", std::io::Error::last_os_error());
        (0..)
            .find(|cpu| unsafe { libc::CPU_ISSET(*cpu, &all) })
            .unwrap()
    });
    let mut one: libc::cpu_set_t = unsafe { std::mem::zeroed() };
    unsafe { libc::CPU_SET(first, &mut one) };
    let pinned = unsafe { libc::sched_setaffinity(thread, size_of_val(&one), &raw const one) };
    assert_eq!(pinned, 0, "{}", std::io::Error::last_os_error());
}

fn idle(thread: i32) {
    let none = libc::sched_param { sched_priority: 0 };
    let set = unsafe { libc::sched_setscheduler(thread, libc::SCHED_IDLE, &raw const none) };
    assert_eq!(set, 0, "{}", std::io::Error::last_os_error());
}

#[test]
fn task_without_processor_delays_no_other_at_its_listener() {
    let bus = FakeBus::start();
    let proxy = Proxy::start(&bus.path);
    let (is_over, connected) = (AtomicBool::new(false), AtomicUsize::new(0));
    let begin = Instant::now();
    let goes_on = || !is_over.load(Ordering::Relaxed) && begin.elapsed() < PATIENCE;
    proxy.job(|| {
        let (says, said) = channel();
        thread::scope(|scope| {
            for _ in 0..BUSY {
                scope.spawn(|| {
                    pin(0);
                    while goes_on() {
                        std::hint::spin_loop();
                    }
                });
            }
            scope.spawn(|| {
                says.send(nix::unistd::gettid().as_raw()).unwrap();
                // A job opens as many at once, and more.
                while goes_on() && connected.load(Ordering::Relaxed) < 300 {
                    drop(connect());
                    connected.fetch_add(1, Ordering::Relaxed);
                }
            });
            let slow = said.recv().unwrap();
            while connected.load(Ordering::Relaxed) < 10 {
                thread::yield_now();
            }
            // Nearly always it is in the call.
            idle(slow);
            pin(slow);
            thread::sleep(Duration::from_millis(300));
            let longest = (0..20).map(|_| {
                let start = Instant::now();
                drop(Client::new());
                start.elapsed()
            });
            let longest = longest.max().unwrap();
            is_over.store(true, Ordering::Relaxed);
            assert!(longest < LONGEST, "{longest:?}");
        });
    });
}

/// The kernel would make a larger table for it, and the task sleep with the listener's lock.
#[test]
fn socket_with_a_number_that_no_small_table_has_is_refused() {
    let bus = FakeBus::start();
    let proxy = Proxy::start(&bus.path);
    proxy.job(|| {
        for (number, is_refused) in [(63, false), (64, true), (900, true)] {
            let socket = unsafe { libc::socket(libc::AF_UNIX, libc::SOCK_STREAM, 0) };
            assert_eq!(unsafe { libc::dup2(socket, number) }, number);
            let connected = connect_at(unsafe { UnixStream::from_raw_fd(number) }, LENGTH);
            let error = connected.err().and_then(|error| error.raw_os_error());
            assert_eq!(error, is_refused.then_some(libc::ECONNREFUSED), "{number}");
            unsafe { libc::close(socket) };
        }
    });
}
