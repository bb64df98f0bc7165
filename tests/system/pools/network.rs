//! Sockets, their buffers and their names.

use remit_tests::control::Outcome;
use remit_tests::daemon::Options;

use super::arena::{Arena, security};

#[test]
fn s03_each_family_has_its_own_protocols() {
    let mut arena = Arena::new(Options::default());
    let profiles = &["read", "walled", "named", "root"];
    arena.is_refused(profiles, &["netlink-xfrm"], libc::EAFNOSUPPORT);
    for id in ["may-list-links", "may-list-tcp", "may-ask-generic"] {
        let seen = arena.tries("walled", &[id]);
        assert!(matches!(seen, Outcome::Done(_)), "{id}: {seen:?}");
    }
    arena.daemon.stop();
}

/// glibc, iproute2 and libnl bind each socket, and no filter can see the address in memory. So a job can take
/// port ids, but only of three protocols.
#[test]
fn s08_netlink_ports_are_limited_to_three_documented_protocols() {
    let mut arena = Arena::new(Options::default());
    for profile in ["read", "walled"] {
        let seen = arena.tries(profile, &["netlink-ports"]);
        assert!(
            matches!(&seen, Outcome::Done(taken) if taken == "0 4 16"),
            "{profile}: {seen:?}"
        );
    }
    let text = security();
    assert!(text.contains("**Port ids of netlink.**"), "the sentence");
    arena.daemon.stop();
}

/// One connection once held four megabytes. Some hundred of them exceeded the machine's first limit.
#[test]
fn s15_connection_in_own_network_holds_little() {
    let mut arena = Arena::new(Options::default());
    let held = arena.number("walled", &["hold-tcp"]);
    assert!((4 << 10..512 << 10).contains(&held), "{held}");
    let seen = arena.tries("walled", &["may-listen-low"]);
    assert!(matches!(seen, Outcome::Done(_)), "{seen:?}");
    arena.daemon.stop();
}
