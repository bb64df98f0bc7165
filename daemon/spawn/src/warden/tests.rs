use std::io::Write;

use super::*;

/// A process that lives until it is killed, and the other end of its socket.
fn process() -> (Process, OwnedFd) {
    let argv = [c"/bin/sleep".to_owned(), c"1000".to_owned()];
    let (pid, pidfd) = sys::bare_child(&argv, &[]).unwrap();
    let (own_end, its) = socket::pair(1).unwrap();
    let process = Process {
        pid,
        pidfd,
        socket: own_end,
        closing: Closing::here(),
        kernel: Kernel::default(),
        over: RefCell::default(),
        late: RefCell::default(),
        lost: RefCell::default(),
    };
    (process, its)
}

fn said(answer: std::result::Result<Answer, crate::Failure>) -> Reply {
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
    let late = std::thread::spawn(move || {
        std::thread::sleep(Duration::from_millis(1200));
        let _ = socket::send(its.as_fd(), &said(Ok(Answer::Done)), &[]);
    });
    // The process is killed after a second, and its socket stays open a little longer.
    process.done(&Request::EndWorkers, &[]).unwrap();
    assert!(process.over.borrow().is_some());
    assert!(is_killed(&process));
    late.join().unwrap();
}

#[test]
fn long_message_arrives_whole() {
    let (one, other) = socket::pair(1).unwrap();
    for length in [0, 1, socket::MESSAGE, 3 << 20] {
        let sent = vec![7u8; length];
        socket::send(one.as_fd(), &sent, &[one.as_fd()]).unwrap();
        let (got, fds) = socket::receive::<Vec<u8>>(other.as_fd()).unwrap().unwrap();
        assert!(got == sent && fds.len() == 1, "{length}");
    }
}
