//! Opens the two listening sockets: binds them, or takes them from the service manager.

use std::fs::{self, File, Metadata};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt, chown, lchown};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::rc::Rc;

use nix::sys::stat::{Mode, umask};
use remit_common::names::Runtime;
use remit_link::{ForeignSocket, foreign};

use crate::service::sink::Sink;
use crate::startup::error::Fatal;
use crate::state_dir::framed_file;
use crate::state_dir::lock;

/// Socket names in `LISTEN_FDNAMES`, and the first inherited descriptor (sd_listen_fds(3)).
const CLIENTS: &str = "remit";
const ADMINS: &str = "remit-admin";
const LISTEN_FDS_START: i32 = 3;

#[derive(Debug)]
pub struct Listeners {
    pub clients: UnixListener,
    pub admins: UnixListener,
    /// Freed to accept and close a connection when no descriptor is left.
    reserve: Option<OwnedFd>,
    sink: Rc<Sink>,
    /// Lock on the directory of sockets bound here: no other daemon replaces them.
    _held: Option<File>,
}

impl Listeners {
    /// Takes the service manager's sockets, or binds them in `runtime`. Fails if others may write it, or one is in use.
    pub fn open(
        runtime: &Runtime,
        clients: u32,
        admins: u32,
        sink: Rc<Sink>,
    ) -> Result<Self, Fatal> {
        let (listeners, held) = match inherited(runtime)? {
            Some(both) => (both, None),
            None => {
                own_dir(runtime.dir())?;
                let held = hold(runtime.dir())?;
                let clients = bind(&runtime.socket(), clients)?;
                (
                    [clients, bind(&runtime.admin_socket(), admins)?],
                    Some(held),
                )
            }
        };
        hand_over(&runtime.socket(), clients);
        hand_over(&runtime.admin_socket(), admins);
        admit(&runtime.socket(), admins);
        let [clients, admins] = listeners;
        for listener in [&clients, &admins] {
            listener
                .set_nonblocking(true)
                .map_err(Fatal::call("cannot prepare a socket"))?;
            // Connections inherit this option, so it also covers descriptors sent before the accept.
            let _ = foreign::refuse_rights(listener);
        }
        Ok(Self {
            clients,
            admins,
            reserve: reserve(),
            sink,
            _held: held,
        })
    }

    pub fn client(&mut self) -> Option<ForeignSocket> {
        accept(&self.clients, &mut self.reserve, &self.sink)
    }

    pub fn admin(&mut self) -> Option<ForeignSocket> {
        accept(&self.admins, &mut self.reserve, &self.sink)
    }
}

/// Gives a socket of the service manager to the group of `remit.toml`: the units name the shipped groups.
fn hand_over(socket: &Path, group: u32) {
    let is_another = |meta: Metadata| meta.gid() != group;
    if !socket.symlink_metadata().is_ok_and(is_another) {
        return;
    }
    if let Err(error) = lchown(socket, None, Some(group)) {
        say!(
            "group #{group} of remit.toml cannot connect to '{}': {error}",
            socket.display()
        );
    }
}

/// Shipped mode of the clients' socket. An administrator may have chosen another mode, which is kept.
const MODE: u32 = 0o660;

/// Adds an ACL for administrators to the clients' socket, whose group is only for clients. Without ACLs all else works.
fn admit(socket: &Path, group: u32) {
    let meta = socket.symlink_metadata();
    let as_shipped = meta.is_ok_and(|meta| meta.mode() & 0o777 == MODE && meta.gid() != group);
    if !as_shipped {
        return;
    }
    if let Err(error) = remit_sys::sys::open_to_group(socket, group) {
        say!(
            "members of the administrators' group cannot connect to '{}' unless they are in its own group: {error}",
            socket.display()
        );
    }
}

fn reserve() -> Option<OwnedFd> {
    File::open("/dev/null").ok().map(OwnedFd::from)
}

/// Accepts a connection. Without a free descriptor, the reserve serves to close it: a full backlog would make the loop spin.
fn accept(
    listener: &UnixListener,
    reserve: &mut Option<OwnedFd>,
    sink: &Rc<Sink>,
) -> Option<ForeignSocket> {
    loop {
        match listener.accept() {
            Ok((stream, _)) => {
                let is_prepared = stream.set_nonblocking(true).is_ok();
                let socket = sink.guard(stream.into());
                if is_prepared {
                    return Some(socket);
                }
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return None,
            Err(error) if matches!(error.raw_os_error(), Some(libc::EMFILE | libc::ENFILE)) => {
                say!("no descriptor is left for another connection");
                drop(reserve.take());
                drop(
                    listener
                        .accept()
                        .map(|(stream, _)| sink.guard(stream.into())),
                );
                *reserve = self::reserve();
                reserve.as_ref()?;
            }
            Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => {}
            Err(error) => {
                say!("cannot accept a connection: {error}");
                return None;
            }
        }
    }
}

fn hold(dir: &Path) -> Result<File, Fatal> {
    let path = dir.join("daemon");
    let cannot = Fatal::call(format!("cannot open '{}'", path.display()));
    let file = framed_file::private_file(&path).map_err(cannot)?;
    lock::hold(&file).map_err(|_| {
        let dir = dir.display();
        Fatal::Unavailable(format!("another remitd has its sockets in '{dir}'"))
    })?;
    Ok(file)
}

fn own_dir(dir: &Path) -> Result<(), Fatal> {
    let cannot = |error| Fatal::call(format!("cannot make '{}'", dir.display()))(error);
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o755)
        .create(dir)
        .map_err(cannot)?;
    let meta = dir.symlink_metadata().map_err(cannot)?;
    let why = if !meta.is_dir() {
        "it is not a directory"
    } else if meta.uid() != 0 {
        "it is not owned by root"
    } else if meta.mode() & 0o022 != 0 {
        "users other than root can write it"
    } else {
        lock::check_way(dir)?;
        // The umask removed access for group and others.
        return fs::set_permissions(dir, fs::Permissions::from_mode(0o755)).map_err(cannot);
    };
    Err(Fatal::Unavailable(format!(
        "cannot use '{}': {why}",
        dir.display()
    )))
}

fn bind(path: &Path, group: u32) -> Result<UnixListener, Fatal> {
    let cannot = |what: &str| Fatal::call(format!("cannot {what} '{}'", path.display()));
    if UnixStream::connect(path).is_ok() {
        return Err(Fatal::Unavailable(format!(
            "cannot bind '{}': another daemon listens there",
            path.display()
        )));
    }
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            return Err(cannot("replace")(error));
        }
        Ok(()) | Err(_) => {}
    }
    // The socket has mode 0 until owner and mode are right, so nobody can connect earlier.
    let old = umask(Mode::from_bits_truncate(0o777));
    let bound = UnixListener::bind(path);
    umask(old);
    let listener = bound.map_err(cannot("bind"))?;
    chown(path, Some(0), Some(group)).map_err(cannot("hand over"))?;
    fs::set_permissions(path, fs::Permissions::from_mode(0o660)).map_err(cannot("open"))?;
    Ok(listener)
}

/// Returns the two sockets of sd_listen_fds(3), each listening at its path. `None`: the daemon binds its own.
fn inherited(runtime: &Runtime) -> Result<Option<[UnixListener; 2]>, Fatal> {
    let own_pid = std::process::id().to_string();
    if std::env::var("LISTEN_PID").ok().as_deref() != Some(own_pid.as_str()) {
        return Ok(None);
    }
    let count = std::env::var("LISTEN_FDS").unwrap_or_default();
    let names = std::env::var("LISTEN_FDNAMES").unwrap_or_default();
    let [client, admin] = activation_fds(&count, &names).map_err(|why| unusable(&why))?;
    Ok(Some([
        handed_over(client, CLIENTS, &runtime.socket())?,
        handed_over(admin, ADMINS, &runtime.admin_socket())?,
    ]))
}

fn activation_fds(count: &str, names: &str) -> Result<[i32; 2], String> {
    let list: Vec<_> = names.split(':').collect();
    let at = |name| {
        let position = list.iter().position(|other| *other == name)?;
        i32::try_from(position).ok()?.checked_add(LISTEN_FDS_START)
    };
    match (count, list.len(), at(CLIENTS), at(ADMINS)) {
        ("2", 2, Some(client), Some(admin)) => Ok([client, admin]),
        _ => Err(format!(
            "expected two, named '{CLIENTS}' and '{ADMINS}', but got '{count}', named '{}'",
            remit_common::text::line(names.as_bytes(), 200)
        )),
    }
}

fn handed_over(fd: i32, name: &str, path: &Path) -> Result<UnixListener, Fatal> {
    let refuse = |why: &str| unusable(&format!("'{name}' {why}"));
    let listener = remit_sys::inherited_listener(fd).map_err(|e| refuse(&e.to_string()))?;
    let listener = UnixListener::from(listener);
    let at = listener.local_addr().map_err(|e| refuse(&e.to_string()))?;
    if at.as_pathname() != Some(path) {
        let there = match at.as_pathname() {
            Some(other) => format!("'{}'", other.display()),
            None => "no path".to_owned(),
        };
        return Err(refuse(&format!(
            "is bound to {there}, and clients look for it at '{}'",
            path.display()
        )));
    }
    Ok(listener)
}

fn unusable(why: &str) -> Fatal {
    Fatal::Unavailable(format!(
        "cannot use the sockets of the service manager: {why}; check remitd.socket and remitd-admin.socket, \
         then: systemctl restart remitd.socket remitd-admin.socket remitd"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn socket_of_another_group_is_handed_over() {
        let dir = nix::unistd::mkdtemp(&std::env::temp_dir().join("remit-listen-XXXXXX")).unwrap();
        let (socket, link) = (dir.join("socket"), dir.join("link"));
        let _listener = UnixListener::bind(&socket).unwrap();
        std::os::unix::fs::symlink("socket", &link).unwrap();
        fs::set_permissions(&socket, fs::Permissions::from_mode(0o600)).unwrap();
        let of = |path: &Path| {
            let meta = path.symlink_metadata().unwrap();
            (meta.uid(), meta.gid(), meta.mode() & 0o777)
        };
        let uid = of(&socket).0;
        hand_over(&socket, 64_777);
        assert_eq!(of(&socket), (uid, 64_777, 0o600));
        // Not what it leads to.
        hand_over(&link, 64_778);
        assert_eq!((of(&socket).1, of(&link).1), (64_777, 64_778));
        fs::remove_dir_all(&dir).unwrap();
    }

    #[test]
    fn sockets_are_distinguished_by_name() {
        for (count, names, want) in [
            ("2", "remit:remit-admin", Some([3, 4])),
            ("2", "remit-admin:remit", Some([4, 3])),
            ("1", "remit", None),
            ("2", "remit", None),
            ("2", "remit:remit", None),
            ("2", "remit:remit-admin:x", None),
            ("3", "remit:remit-admin:x", None),
            ("02", "remit:remit-admin", None),
            ("2", "unknown:unknown", None),
            ("", "", None),
        ] {
            let found = activation_fds(count, names);
            assert_eq!(found.as_ref().ok(), want.as_ref(), "{count} {names}");
            if let Err(why) = found {
                assert!(why.contains(names), "{why}");
            }
        }
    }
}
