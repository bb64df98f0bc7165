use std::ffi::CString;
use std::io::Write;

use remit_spawn::{Description, Failure, Fork, Report};

use super::*;

fn child(argv: &[CString]) -> (i32, OwnedFd) {
    let (args, env) = (sys::Pointers::new(argv), sys::Pointers::new(&[]));
    let child = || {
        sys::execve(&argv[0], &args, &env);
        127
    };
    sys::fork(sys::ForkCall::Clone3, None, child).unwrap()
}

/// A process that lives until it is killed, and the other end of its socket.
fn process() -> (Process, OwnedFd) {
    let argv = [c"/bin/sleep".to_owned(), c"1000".to_owned()];
    let (pid, pidfd) = child(&argv);
    let (own_end, its) = socket::pair(1).unwrap();
    let process = Process {
        pid,
        pidfd,
        socket: own_end,
        closing: Closing::by(drop),
        kernel: Kernel::default(),
        patience: Duration::from_secs(1),
        over: RefCell::default(),
        late: RefCell::default(),
        lost: RefCell::default(),
        workers: WorkerSockets::default(),
    };
    (process, its)
}

fn said(answer: std::result::Result<Answer, Failure>) -> Reply {
    Reply {
        gone: Vec::new(),
        lost: None,
        answer,
    }
}

fn is_killed(process: &Process) -> bool {
    wait(process.pidfd.as_fd(), Duration::from_secs(5));
    !sys::pidfd_alive(process.pidfd.as_fd()).unwrap()
}

#[test]
fn nonsense_ends_the_spawner() {
    let lies: [&dyn Fn(&OwnedFd); 6] = [
        &|its| socket::send_bytes(its.as_fd(), &[0; 100], &[]).unwrap(),
        &|its| socket::send_bytes(its.as_fd(), &[0xff], &[]).unwrap(),
        &|its| socket::send_bytes(its.as_fd(), &[], &[]).unwrap(),
        // Another answer, and the right one with a descriptor too many.
        &|its| socket::send(its.as_fd(), &said(Ok(Answer::Testing)), &[]).unwrap(),
        &|its| socket::send(its.as_fd(), &said(Ok(Answer::Done)), &[its.as_fd()]).unwrap(),
        &|its| {
            let mut file = std::fs::File::from(its.try_clone().unwrap());
            file.write_all(b"no message").unwrap();
        },
    ];
    for lie in lies {
        let (process, its) = process();
        lie(&its);
        assert!(process.done(&Request::EndWorkers, &[]).is_err());
        assert!(is_killed(&process), "it lives");
        // It is never asked again.
        socket::send(its.as_fd(), &said(Ok(Answer::Done)), &[]).unwrap();
        let again = process.done(&Request::EndWorkers, &[]).unwrap_err();
        assert!(again.to_string().contains("has ended"), "{again}");
    }
}

#[test]
fn silence_ends_the_spawner() {
    let (process, _its) = process();
    assert!(process.done(&Request::EndWorkers, &[]).is_err());
    assert!(is_killed(&process));
    let (process, its) = self::process();
    drop(its);
    assert!(process.done(&Request::EndWorkers, &[]).is_err());
    assert!(is_killed(&process));
}

#[test]
fn refusal_does_not_end_the_spawner() {
    let (process, its) = process();
    let refusal = Error::refused("cannot do it", "because");
    socket::send(its.as_fd(), &said(Err(refusal.into())), &[]).unwrap();
    let error = process.done(&Request::EndWorkers, &[]).unwrap_err();
    assert_eq!(error.to_string(), "cannot do it: because");
    socket::send(its.as_fd(), &said(Ok(Answer::Done)), &[]).unwrap();
    process.done(&Request::EndWorkers, &[]).unwrap();
    assert!(process.over.borrow().is_none());
}

#[test]
fn answer_just_before_the_end_counts() {
    let (process, its) = process();
    socket::send(its.as_fd(), &said(Ok(Answer::Done)), &[]).unwrap();
    let slow = io::ErrorKind::WouldBlock.into();
    let (reply, _) = process.last_word(slow).unwrap().unwrap();
    assert!(matches!(reply.answer, Ok(Answer::Done)));
    assert!(process.over.borrow().is_some());
    assert!(is_killed(&process));
}

/// What the spawner is just forking is a copy of it, with its descriptors.
#[test]
fn death_is_heard_while_others_hold_its_socket() {
    let (mut process, its) = process();
    process.patience = Duration::from_secs(3600);
    sys::pidfd_send_signal(&process.pidfd, libc::SIGKILL).unwrap();
    assert!(process.done(&Request::EndWorkers, &[]).is_err());
    assert_eq!(process.over.borrow().as_deref(), Some(ENDED));
    drop(its);
}

#[test]
fn silence_is_reported_with_its_time() {
    let (process, _its) = process();
    let error = process.done(&Request::EndWorkers, &[]).unwrap_err();
    assert!(
        error.to_string().ends_with("no answer within 1 s"),
        "{error}"
    );
}

/// Nothing answers these, so a spawner that does not read them is noticed by its full queue, and waited for once.
#[test]
fn full_queue_ends_the_spawner() {
    let (process, _its) = process();
    let process = Rc::new(process);
    let forget = || {
        drop(Sandbox {
            id: 1,
            description: Description::default(),
            spawner: Some(Rc::clone(&process)),
        });
    };
    let full = (0..100_000).find(|_| {
        forget();
        process.over.borrow().is_some()
    });
    assert!(full.is_some(), "a queue without an end");
    assert!(is_killed(&process));
    (0..1000).for_each(|_| forget());
}

/// Has the spawner hand out a worker. Returns the worker's end.
fn worker(its: &OwnedFd) -> OwnedFd {
    let (one, other) = socket::pair(1).unwrap();
    let answer = said(Ok(Answer::Worker));
    socket::send(its.as_fd(), &answer, &[one.as_fd()]).unwrap();
    other
}

fn was_asked_for_worker(its: &OwnedFd) -> bool {
    let (request, fds) = socket::receive::<Request>(its.as_fd()).unwrap().unwrap();
    matches!(request, Request::Worker { sandbox: 0 }) && fds.is_empty()
}

/// The question has no answer. What there is of the child is heard on its own socket.
#[test]
fn preforked_child_is_asked_for_without_answer() {
    let (process, its) = process();
    let spawner = Spawner(Rc::new(process));
    let sandbox = Sandbox::only(Description::default());
    let worker = worker(&its);
    let prepare = || {
        let child = spawner.prepare(&sandbox, its.as_fd(), (7, 7)).unwrap();
        let (fork, mut fds) = socket::receive::<Fork>(worker.as_fd()).unwrap().unwrap();
        assert_eq!((fork.size, fork.own, fds.len()), (None, (7, 7), 2));
        (child, fds.remove(0))
    };
    let ((one, socket), (other, of_other)) = (prepare(), prepare());
    Report::Failed(libc::EAGAIN)
        .say(of_other.as_fd(), None)
        .unwrap();
    drop(of_other);
    assert!(other.has_ended() && !one.has_ended());
    Report::Failed(libc::EAGAIN)
        .say(socket.as_fd(), None)
        .unwrap();
    drop((one, other));
    assert!(spawner.why_over().is_none() && was_asked_for_worker(&its));
    let mut more = [readable(its.as_fd())];
    assert_eq!(
        poll(&mut more, PollTimeout::ZERO),
        Ok(0),
        "it was asked more"
    );
}

#[test]
fn ended_worker_is_replaced_by_its_successor_or_by_none() {
    let (process, its) = process();
    let spawner = Spawner(Rc::new(process));
    let sandbox = Sandbox::only(Description::default());
    let prepare = || spawner.prepare(&sandbox, its.as_fd(), (7, 7));
    for _ in 0..2 {
        let worker = worker(&its);
        let child = prepare().unwrap();
        let (fork, fds) = socket::receive::<Fork>(worker.as_fd()).unwrap().unwrap();
        assert_eq!((fork.size, fds.len()), (None, 2));
        let failed = Report::Failed(libc::EAGAIN);
        failed.say(fds[0].as_fd(), None).unwrap();
        drop(child);
        assert!(was_asked_for_worker(&its));
    }
    let none = Error::refused("cannot fork a job", "there is no worker");
    socket::send(its.as_fd(), &said(Err(none.into())), &[]).unwrap();
    assert!(prepare().is_none() && was_asked_for_worker(&its));
    assert!(spawner.why_over().is_none());
}

#[test]
fn only_own_children_are_waited_for_again() {
    let (process, _its) = process();
    // A child that lives, one that another part of the daemon has reaped, and a process of somebody else.
    let argv = [c"/bin/true".to_owned()];
    let (reaped, _) = child(&argv);
    sys::wait(reaped, 0).unwrap();
    let stranger = sys::parent().cast_signed();
    process.reap(vec![process.pid, reaped, stranger]);
    assert_eq!(*process.late.borrow(), [process.pid]);
}
