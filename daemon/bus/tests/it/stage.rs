//! The server with its warden's socket, and threads that are jobs.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use nix::sys::socket::{
    AddressFamily, ControlMessage, MsgFlags, SockFlag, SockType, recv, sendmsg, setsockopt,
    socketpair, sockopt,
};
use nix::sys::time::{TimeVal, TimeValLike};
use remit_bus::{Server, Settings, confine};
use remit_common::bus::{DATAGRAM, Order, Report, VERSION};

/// Far beyond what a busy machine needs: a test that hangs fails.
pub const PATIENCE: Duration = Duration::from_secs(120);
/// The address that jobs connect to, and its length with the NUL. The filter asks about both lengths.
const ADDRESS: &[u8; 28] = b"/run/dbus/system_bus_socket\0";
pub const LENGTH: u32 = 30;
/// That of `/run/systemd/userdb/io.systemd.DynamicUser`.
pub const ACCOUNTS: u32 = 45;

pub struct Dir(pub PathBuf);

impl Dir {
    pub fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("remit-bus-{}-{number}", std::process::id());
        let path = std::env::temp_dir().join(name);
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }
}

impl Drop for Dir {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

pub fn warden_pair() -> (OwnedFd, OwnedFd) {
    let (family, kind) = (AddressFamily::Unix, SockType::SeqPacket);
    let (own, its) = socketpair(family, kind, None, SockFlag::SOCK_CLOEXEC).unwrap();
    let patience = TimeVal::seconds(i64::try_from(PATIENCE.as_secs()).unwrap());
    setsockopt(&own, sockopt::ReceiveTimeout, &patience).unwrap();
    (own, its)
}

pub fn send_bytes(warden: &OwnedFd, bytes: &[u8], fds: &[BorrowedFd<'_>]) {
    let raw: Vec<i32> = fds.iter().map(AsRawFd::as_raw_fd).collect();
    let rights = [ControlMessage::ScmRights(&raw)];
    let control: &[ControlMessage<'_>] = if raw.is_empty() { &[] } else { &rights };
    let slices = [io::IoSlice::new(bytes)];
    sendmsg::<()>(
        warden.as_raw_fd(),
        &slices,
        control,
        MsgFlags::MSG_NOSIGNAL,
        None,
    )
    .unwrap();
}

pub fn begin(calls: &[&str]) -> Order {
    let calls = calls.iter().map(|call| (*call).to_owned()).collect();
    Order::Begin {
        version: VERSION,
        calls,
    }
}

pub struct Proxy {
    pub warden: OwnedFd,
    server: Option<JoinHandle<Result<(), String>>>,
}

impl Proxy {
    pub fn start(bus: &Path) -> Self {
        Self::with(bus, PATIENCE, &[])
    }

    pub fn with(bus: &Path, patience: Duration, calls: &[&str]) -> Self {
        let (warden, its) = warden_pair();
        let settings = Settings {
            bus: bus.to_owned(),
            patience,
            least_uid: 0,
        };
        // Landlock and seccomp restrict the thread alone.
        let server = thread::spawn(move || {
            let bus = settings.bus.clone();
            let server = Server::begin(its, settings)?.ok_or("no order")?;
            confine::restrict(&bus)?;
            server.serve()
        });
        let proxy = Self {
            warden,
            server: Some(server),
        };
        proxy.send(&begin(calls));
        assert_eq!(proxy.report(), Report::Ready);
        proxy
    }

    pub fn send(&self, order: &Order) {
        send_bytes(&self.warden, &order.encode().unwrap(), &[]);
    }

    pub fn add_listener(&self, listener: &OwnedFd) {
        let order = Order::Listener.encode().unwrap();
        send_bytes(&self.warden, &order, &[listener.as_fd()]);
    }

    pub fn report(&self) -> Report {
        let mut buffer = vec![0; DATAGRAM];
        let flags = MsgFlags::empty();
        let length = recv(self.warden.as_raw_fd(), &mut buffer, flags).unwrap();
        Report::decode(&buffer[..length]).unwrap()
    }

    /// Ends the job of this process's uid: calls, refused calls, and the first of them.
    pub fn end(&self) -> (u64, u64, Vec<String>) {
        let own = nix::unistd::geteuid().as_raw();
        self.send(&Order::End { uid: own });
        loop {
            match self.report() {
                Report::Connected { uid } => assert_eq!(uid, own),
                Report::Ended {
                    uid,
                    calls,
                    refused,
                    first,
                } => {
                    assert_eq!(uid, own);
                    return (calls, refused, first);
                }
                Report::Ready => panic!("it is ready twice"),
            }
        }
    }

    /// Runs `act` on a thread whose connects are asked about, also those of its children.
    pub fn job<T: Send>(&self, act: impl FnOnce() -> T + Send) -> T {
        let (to, from) = mpsc::channel();
        let (start, started) = mpsc::channel::<()>();
        thread::scope(|scope| {
            let running = scope.spawn(move || {
                to.send(listen()).unwrap();
                started.recv().unwrap();
                act()
            });
            self.add_listener(&from.recv().unwrap());
            start.send(()).unwrap();
            running.join().unwrap()
        })
    }

    pub fn stop(mut self) -> Result<(), String> {
        let (closed, _) = warden_pair();
        self.warden = closed;
        self.server.take().unwrap().join().unwrap()
    }
}

/// Installs a filter on the calling thread that asks about `connect` with the bus's length or that of the accounts' service. Returns the listener.
pub fn listen() -> OwnedFd {
    let op = |code: u32, jt, jf, k| libc::sock_filter {
        code: code as u16,
        jt,
        jf,
        k,
    };
    let (load, is) = (
        libc::BPF_LD | libc::BPF_W | libc::BPF_ABS,
        libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K,
    );
    let mut filter = [
        op(load, 0, 0, 0),
        op(is, 0, 5, libc::SYS_connect as u32),
        op(load, 0, 0, 32), // The lower half of the third argument.
        op(is, 2, 0, LENGTH),
        op(is, 1, 0, LENGTH - 1),
        op(is, 0, 1, ACCOUNTS),
        op(libc::BPF_RET, 0, 0, libc::SECCOMP_RET_USER_NOTIF),
        op(libc::BPF_RET, 0, 0, libc::SECCOMP_RET_ALLOW),
    ];
    let program = libc::sock_fprog {
        len: 8,
        filter: filter.as_mut_ptr(),
    };
    let (mode, flag) = (
        libc::SECCOMP_SET_MODE_FILTER,
        libc::SECCOMP_FILTER_FLAG_NEW_LISTENER,
    );
    nix::sys::prctl::set_no_new_privs().unwrap();
    let fd = unsafe { libc::syscall(libc::SYS_seccomp, mode, flag, &raw const program) };
    assert!(fd >= 0, "{}", io::Error::last_os_error());
    unsafe { OwnedFd::from_raw_fd(fd as i32) }
}

/// Connects as a job does: the kernel asks the proxy. The stream waits for its bytes no longer than [`PATIENCE`].
pub fn connect() -> io::Result<UnixStream> {
    connect_with(LENGTH)
}

pub fn connect_with(length: u32) -> io::Result<UnixStream> {
    let stream = unsafe { libc::socket(libc::AF_UNIX, libc::SOCK_STREAM | libc::SOCK_CLOEXEC, 0) };
    connect_at(unsafe { UnixStream::from_raw_fd(stream) }, length)
}

pub fn connect_at(stream: UnixStream, length: u32) -> io::Result<UnixStream> {
    let mut address: libc::sockaddr_un = unsafe { std::mem::zeroed() };
    address.sun_family = libc::AF_UNIX as u16;
    for (to, from) in address.sun_path.iter_mut().zip(ADDRESS) {
        *to = *from as libc::c_char;
    }
    let address = (&raw const address).cast();
    match unsafe { libc::connect(stream.as_raw_fd(), address, length) } {
        0 => {
            stream.set_nonblocking(false)?;
            stream.set_read_timeout(Some(PATIENCE))?;
            stream.set_write_timeout(Some(PATIENCE))?;
            Ok(stream)
        }
        _ => Err(io::Error::last_os_error()),
    }
}
