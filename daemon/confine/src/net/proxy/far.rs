//! The network beyond the proxy: names, addresses that may be connected to, and how often.

use super::super::netlink::Routes;
use super::lookups::Lookups;
use remit_common::token_bucket::TokenBucket;
use remit_proxy::address;
use std::{io, net::SocketAddr, time::Instant};

pub(super) const NEW_A_SECOND: u32 = 20;

/// What all connections share.
pub(in crate::net) struct FarNetwork {
    pub(super) lookups: Lookups,
    routes: Routes,
    rate: TokenBucket,
}

impl FarNetwork {
    /// In the host's network, without any right: all that it reads, everybody may read.
    pub(in crate::net) fn new(routes: Routes) -> Self {
        let text = |path| std::fs::read_to_string(path).unwrap_or_default();
        FarNetwork {
            lookups: Lookups::new(text("/etc/hosts"), &text("/etc/resolv.conf")),
            routes,
            rate: TokenBucket::per_second(NEW_A_SECOND, NEW_A_SECOND, Instant::now()),
        }
    }

    /// Returns why nothing may connect to `to`, which is canonical. The kernel knows which addresses are this machine's own.
    pub(super) fn refused(&mut self, to: SocketAddr) -> Option<String> {
        let ip = to.ip();
        if let Some(why) = address::refused(ip) {
            return Some(format!("{ip} is {why}"));
        }
        match self.routes.kind_to(to) {
            Ok(libc::RTN_UNICAST) => {}
            Ok(libc::RTN_LOCAL) => return Some(format!("{ip} is an address of this machine")),
            Ok(_) => return Some(format!("{ip} is not the address of one host")),
            Err(e) => return Some(format!("{ip}: {}", words(&e))),
        }
        let translated = SocketAddr::new(address::translated(ip)?, to.port());
        let is_own = matches!(self.routes.kind_to(translated), Ok(libc::RTN_LOCAL));
        is_own.then(|| format!("{ip} leads back to this machine"))
    }

    /// Errors: until when no further connection may begin.
    pub(super) fn may_connect(&mut self, now: Instant) -> Result<(), Instant> {
        self.rate.take(1, now).map_err(|wait| now + wait)
    }
}

/// Returns an error without its number, for the reason of a response.
pub(super) fn words(error: &io::Error) -> String {
    match error.raw_os_error() {
        Some(errno) => nix::Error::from_raw(errno).desc().to_lowercase(),
        None => error.to_string(),
    }
}
