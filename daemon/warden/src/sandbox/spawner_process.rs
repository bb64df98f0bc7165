//! Starts `remit-spawner`, the process that forks jobs.

use std::ffi::CString;
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

use remit_spawn::{SOCKET, Spawner, WARDEN};
use remit_sys::{Closing, Doing, Error, Result, Switch, spawn_root, sys};

use crate::service::program::{self, c_string, environment};
use crate::startup::error::Fatal;

#[derive(Clone, Debug)]
pub struct SpawnerProgram {
    path: PathBuf,
}

impl SpawnerProgram {
    pub fn find() -> std::result::Result<Self, Fatal> {
        let path = program::find("remit-spawner")?;
        Ok(Self { path })
    }

    /// Starts it with its socket and the pidfd of this process, and nothing else. Fails if the kernel cannot confine.
    pub fn start(&self, switch: &Switch, one_session: bool, closing: Closing) -> Result<Spawner> {
        let doing = || "cannot start remit-spawner".to_owned();
        let refused = |error: Fatal| Error::refused(doing(), error.to_string());
        let (own_end, its) = Spawner::socket().doing(doing)?;
        let warden = sys::pidfd_open(std::process::id().cast_signed()).doing(doing)?;
        let program = c_string(self.path.as_os_str().as_bytes()).map_err(refused)?;
        let mut environment = environment().map_err(refused)?;
        environment.extend(switched_off());
        let fds = [(its.as_fd(), SOCKET), (warden.as_fd(), WARDEN)];
        let argv = [program.clone()];
        let process = spawn_root(&program, &argv, &environment, &fds)?;
        drop(its);
        Spawner::new(process, own_end, switch, one_session, closing)
    }
}

#[cfg(not(feature = "mutate"))]
const fn switched_off() -> Option<CString> {
    None
}

/// Under test, names the layer that the spawner leaves out.
#[cfg(feature = "mutate")]
fn switched_off() -> Option<CString> {
    let layer = std::env::var("REMIT_MUTATE").ok()?;
    CString::new(format!("REMIT_MUTATE={layer}")).ok()
}
