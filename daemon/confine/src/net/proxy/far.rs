//! The network beyond the proxy: names, addresses that may be connected to, and how often.

use super::super::netlink::{RouteRefusal, Routes};
use super::lookups::Lookups;
use remit_core::token_bucket::TokenBucket;
use remit_proxy::address;
use std::{io, net::SocketAddr, time::Instant};

pub(super) const NEW_A_SECOND: u32 = 5;
/// Connections that begin at once.
const BURST: u32 = 20;

/// What all connections share.
pub(in crate::net) struct FarNetwork {
    pub(super) lookups: Lookups,
    routes: Routes,
    rate: TokenBucket,
}

impl FarNetwork {
    /// In the host's network, without any right: all that it reads, everybody may read.
    pub(in crate::net) fn new(routes: Routes) -> Self {
        FarNetwork {
            lookups: Lookups::new(text("/etc/hosts"), text("/etc/resolv.conf")),
            routes,
            rate: TokenBucket::per_second(NEW_A_SECOND, BURST, Instant::now()),
        }
    }

    /// Returns why nothing may connect to `to`, which is canonical. The kernel knows which addresses are this machine's own.
    pub(super) fn refused(&mut self, to: SocketAddr) -> Option<String> {
        let ip = to.ip();
        if let Some(why) = address::refused(ip) {
            return Some(format!("{ip} is {why}"));
        }
        Some(match self.routes.refused(to)? {
            RouteRefusal::Own => format!("{ip} is an address of this machine"),
            RouteRefusal::NotOneHost => format!("{ip} is not the address of one host"),
            RouteRefusal::LeadsBack => format!("{ip} leads back to this machine"),
            RouteRefusal::Unknown(error) => format!("{ip}: {}", words(&error)),
        })
    }

    /// Errors: until when no further connection may begin.
    pub(super) fn may_connect(&mut self, now: Instant) -> Result<(), Instant> {
        self.rate.take(1, now).map_err(|wait| now + wait)
    }
}

/// Returns the text of a file of names, empty if there is none. Errors: why nobody knows what it has; another name server
/// or address than that of the file would then be asked.
fn text(path: &str) -> Result<String, String> {
    match std::fs::read(path) {
        Ok(bytes) => Ok(String::from_utf8_lossy(&bytes).into_owned()),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(String::new()),
        Err(e) => Err(format!("cannot read {path}: {}", words(&e))),
    }
}

/// Returns an error without its number, for the reason of a response.
pub(super) fn words(error: &io::Error) -> String {
    match error.raw_os_error() {
        Some(errno) => nix::Error::from_raw(errno).desc().to_lowercase(),
        None => error.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn file_of_names_is_read_as_bytes_absent_or_an_error() {
        let directory = std::env::temp_dir().join(format!("remit-names-{}", std::process::id()));
        std::fs::create_dir_all(&directory).unwrap();
        let at = |name: &str| directory.join(name).to_string_lossy().into_owned();
        std::fs::write(at("latin"), b"# M\xfcnchen\n192.0.2.1 deb\n").unwrap();
        let read = [at("latin"), at("none"), at(".")].map(|path| text(&path));
        std::fs::remove_dir_all(&directory).unwrap();
        let [latin, none, failed] = read;
        assert_eq!(latin.unwrap(), "# M\u{fffd}nchen\n192.0.2.1 deb\n");
        assert_eq!(none.unwrap(), "");
        let expect = format!("cannot read {}: is a directory", at("."));
        assert_eq!(failed.unwrap_err(), expect);
    }
}
