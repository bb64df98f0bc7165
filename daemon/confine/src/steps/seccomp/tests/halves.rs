//! Both halves together answer as the whole filter, number by number; and what a child with one or both can do here.

use std::os::fd::AsFd;
use std::time::Duration;

use nix::sys::socket::{
    AddressFamily, SockFlag, SockType, getsockopt, setsockopt, socket, sockopt,
};

use super::*;
use crate::steps::seccomp::halves::{self as split, halves_for};
use crate::sys;

const CLASSES: usize = (1 << 6) + 1;

fn classes() -> impl Iterator<Item = Class> {
    (0..CLASSES).map(|bits| {
        let bit = |n: usize| bits & (1 << n) != 0;
        Class {
            locks: bit(0),
            internet: bit(1),
            unix: bit(2),
            ipc: bit(3),
            no_set_id: bit(4),
            // These change calls that no other one changes.
            own_network: bit(3),
            changes_root: bit(3),
            bus: bit(3) && !bit(1) && !bit(2),
            shared_uid: bit(5),
            one_session: bit(5),
            inspects: bit(6), // It keeps none of the others.
        }
    })
}

fn named(arch: Arch) -> Vec<u32> {
    let rows = split::SETUP.iter().flat_map(|(_, rows)| *rows);
    rows.filter_map(|row| arch.number(row)).collect()
}

fn values() -> Vec<u64> {
    let mut values: Vec<u64> = (0..=64)
        .chain((0..64).map(|bit| 1 << bit))
        .chain([1 << 32 | 4, u64::from(u32::MAX), u64::MAX])
        .collect();
    let instead = table::INSTEAD.iter().map(|instead| &instead.group);
    for group in table::GROUPS.iter().chain(instead) {
        if let Rule::Checked(checks) = group.rule {
            for check in checks {
                values.extend(check.values().iter().flat_map(|value| {
                    let value = u64::from(*value);
                    [value, value.wrapping_add(1), value | 1 << 32]
                }));
            }
        }
    }
    values.sort_unstable();
    values.dedup();
    values
}

/// Arguments: none, each value in each position, and pairs in two positions (a pointer and a check beside it).
fn patterns(values: &[u64], pairs: bool) -> Vec<[u64; 6]> {
    let mut all = vec![[0; 6]];
    for at in 0..6 {
        for value in values {
            let mut args = [0; 6];
            args[at] = *value;
            all.push(args);
            let mut args = [1; 6];
            args[at] = *value;
            all.push(args);
        }
    }
    if pairs {
        for (first, second) in [(0, 1), (0, 2), (1, 2), (1, 3), (2, 3)] {
            for one in values {
                for other in values {
                    let mut args = [0; 6];
                    args[first] = *one;
                    args[second] = *other;
                    all.push(args);
                }
            }
        }
    }
    all
}

#[test]
fn both_halves_are_the_whole() {
    let values = values();
    let (some, few, many) = (
        patterns(&[0, 1, u64::MAX], false),
        patterns(&values, false),
        patterns(&values, true),
    );
    for arch in [Arch::X86_64, Arch::Aarch64] {
        let setup = named(arch);
        let buffers = arch.number(&("setsockopt", 54, 208)).unwrap();
        let of_copies = [("fanotify_init", 300, 262), ("fanotify_mark", 301, 263)];
        let of_copies = of_copies.map(|row| arch.number(&row).unwrap());
        for class in classes() {
            let plain = class == Class::default();
            let whole = compile_for(arch, EnabledLayers::ALL, class);
            let Halves { first, closing } = halves_for(arch, EnabledLayers::ALL, class);
            let (table, _) = rules(arch, EnabledLayers::ALL, class);
            let checked = |number| {
                let rule = table.iter().find(|(known, _)| *known == number);
                matches!(rule, Some((_, Rule::Checked(_))))
            };
            let far = [0x4000_0000, 0x4000_0001, u32::MAX - 1, u32::MAX];
            for number in (0..600).chain(far) {
                let of_copy = class.changes_root && of_copies.contains(&number);
                let of_relay = class.own_network && number == buffers;
                let is_setup = setup.contains(&number) || of_copy || of_relay;
                let all = match checked(number) {
                    true if plain && is_setup => &many,
                    true => &few,
                    false => &some,
                };
                for args in all {
                    let ask = |program| run(program, arch.audit(), number, *args);
                    let (want, one, other) = (ask(&whole), ask(&first), ask(&closing));
                    // What only such a job is refused, its worker needs.
                    let is_later = is_setup || (class.inspects && one == ALLOW);
                    let expected = match is_later {
                        true => (ALLOW, want),
                        false => (want, ALLOW),
                    };
                    assert_eq!((one, other), expected, "{number} {args:x?} of {class:?}");
                }
            }
        }
        let Halves { first, closing } = halves_for(arch, EnabledLayers::ALL, Class::default());
        for half in [&first, &closing] {
            for number in (0..600).chain([u32::MAX]) {
                let foreign = [0, 0x4000_0003, 0x4000_0028, u32::MAX]
                    .into_iter()
                    .chain([Arch::X86_64, Arch::Aarch64].map(Arch::audit));
                for foreign in foreign.filter(|foreign| *foreign != arch.audit()) {
                    assert_eq!(run(half, foreign, number, [0; 6]), KILL, "{foreign:x}");
                }
            }
        }
        let length = closing.instructions().len();
        assert!(length <= 60, "{length}");
    }
}

/// A row is one of the table, under the same numbers, or one that no rule has; and each is needed.
#[test]
fn what_is_left_open_is_known_and_closed() {
    for arch in [Arch::X86_64, Arch::Aarch64] {
        let closing = halves_for(arch, EnabledLayers::ALL, Class::default()).closing;
        let strictest = Class {
            no_set_id: true,
            one_session: true,
            ..Class::default()
        };
        let strictest = halves_for(arch, EnabledLayers::ALL, strictest).closing;
        for (why, rows) in split::SETUP {
            assert!(!why.is_empty());
            for row in *rows {
                let all = table::GROUPS.iter().flat_map(|group| group.rows);
                let same: Vec<_> = all.filter(|known| known.0 == row.0).collect();
                assert!(same.iter().all(|known| *known == row), "{row:?}");
                assert_eq!(same.is_empty(), row.0 == "clone3", "{row:?}");
                let number = arch.number(row).unwrap();
                let closed = |program: &Program| {
                    let all = patterns(&values(), false);
                    let answer = |args| run(program, arch.audit(), number, args);
                    all.into_iter().any(|args| answer(args) != ALLOW)
                };
                assert!(closed(&closing) || closed(&strictest), "{row:?}");
            }
        }
    }
}

#[cfg(feature = "mutate")]
#[test]
fn disabled_layer_is_absent_from_both_halves() {
    let arch = Arch::here().unwrap();
    for layer in crate::Layer::ALL {
        let layers = EnabledLayers::without(layer);
        let whole = compile_for(arch, layers, Class::default());
        let Halves { first, closing } = halves_for(arch, layers, Class::default());
        for number in (0..600).chain([u32::MAX]) {
            for args in patterns(&[0, 1, 2, 4, 8, 22, 0x7e02_0000], false) {
                let ask = |program| run(program, arch.audit(), number, args);
                let (want, one, other) = (ask(&whole), ask(&first), ask(&closing));
                assert!(one == ALLOW || other == ALLOW, "{number}");
                let got = if one == ALLOW { other } else { one };
                assert_eq!(got, want, "{number} {args:x?} without {layer:?}");
            }
        }
    }
}

fn mounts() -> std::io::Result<()> {
    sys::own_mounts()?;
    sys::set_whole_tree(0, sys::Propagation::Private)?;
    sys::mount_tmpfs(c"/tmp", c"size=64k")
}

fn behind_first(class: Class, child: impl FnOnce(&Halves) -> i32) -> Option<i32> {
    let both = halves(EnabledLayers::ALL, class).unwrap();
    let call = crate::spec::kernel::fork_call().unwrap();
    let parent = || {
        if sys::install_filter(both.first.instructions()).is_err() {
            return 101;
        }
        let Ok((pid, _pidfd)) = sys::fork(call, None, || child(&both)) else {
            return 102;
        };
        let ended = sys::wait(pid, 0).ok().flatten();
        ended.and_then(|(status, _)| status.code()).unwrap_or(103)
    };
    let (pid, _pidfd) = sys::fork(call, None, parent).unwrap();
    sys::wait(pid, 0).unwrap().unwrap().0.code()
}

#[test]
fn a_child_mounts_until_it_has_closed() {
    let status = behind_first(Class::default(), |both| {
        if mounts().is_err() {
            return 1;
        }
        if sys::no_new_privs().is_err() || sys::install_filter(both.closing.instructions()).is_err()
        {
            return 2;
        }
        let refused = |tried: std::io::Result<()>, errno| {
            tried.is_err_and(|e| e.raw_os_error() == Some(errno))
        };
        let ruleset = sys::landlock_ruleset(&sys::Handled {
            fs: 1,
            ..sys::Handled::default()
        });
        let first = refused(sys::own_mounts(), libc::EPERM)
            && refused(sys::mount_tmpfs(c"/tmp", c"size=64k"), libc::EPERM)
            && refused(
                sys::set_whole_tree(0, sys::Propagation::Private),
                libc::EPERM,
            )
            && refused(sys::new_session_keyring(), libc::EPERM)
            && refused(ruleset.map(drop), libc::ENOSYS);
        match first {
            true => 0,
            false => 3,
        }
    });
    assert_eq!(status, Some(0));
}

/// Returns the receive buffer of a new socket for which 32 KiB were asked; the kernel doubles that.
fn bounded_buffer() -> Option<usize> {
    let none = SockFlag::empty();
    let own = socket(AddressFamily::Inet, SockType::Stream, none, None).ok()?;
    setsockopt(&own, sockopt::RcvBuf, &(32 << 10)).ok()?;
    getsockopt(&own, sockopt::RcvBuf).ok()
}

/// The relay is forked in between.
#[test]
fn a_child_bounds_its_buffers_until_it_has_closed() {
    let class = Class {
        internet: true,
        own_network: true,
        ..Class::default()
    };
    let status = behind_first(class, |both| {
        if bounded_buffer() != Some(64 << 10) {
            return 1;
        }
        if sys::no_new_privs().is_err() || sys::install_filter(both.closing.instructions()).is_err()
        {
            return 2;
        }
        match bounded_buffer() {
            Some(size) if size != 64 << 10 => 0,
            _ => 3,
        }
    });
    assert_eq!(status, Some(0));
}

#[test]
fn kernel_answers_of_both_halves_match_table() {
    let arch = Arch::here().unwrap();
    let calls = refusals(arch);
    let status = behind_first(Class::default(), |both| {
        let stripped = remit_sys::rights::drop_all_rights(1_879_099_999, 1_879_099_999, &[]);
        let ready = stripped.and_then(|()| sys::no_new_privs());
        let closed = ready.and_then(|()| sys::install_filter(both.closing.instructions()));
        if closed.is_err() {
            return 104;
        }
        answers(&calls)
    });
    assert_eq!(status, Some(0));
}

const ROUNDS: usize = 400;

/// Measures the CPU time that installing a filter costs a process.
/// `REMIT_BENCH=1 cargo test --release -p remit-confine cost_of_a_filter -- --nocapture`
#[test]
fn cost_of_a_filter() {
    if std::env::var_os("REMIT_BENCH").is_none() {
        return;
    }
    let class = Class::default();
    let whole = compile(EnabledLayers::ALL, class).unwrap();
    let both = halves(EnabledLayers::ALL, class).unwrap();
    let least = bpf::assemble(Arch::here().unwrap().audit(), &[], Rule::Allow, |_| true);
    let rows: [(&str, Option<&Program>, &Program); 5] = [
        ("one that allows all", None, &least),
        ("the whole", None, &whole),
        ("first", None, &both.first),
        ("closing, alone", None, &both.closing),
        ("closing, over first", Some(&both.first), &both.closing),
    ];
    let mut times = rows.map(|_| Vec::new());
    for _ in 0..ROUNDS {
        for ((_, before, program), times) in rows.iter().zip(&mut times) {
            times.push(installing(*before, program));
        }
    }
    for ((name, _, program), mut times) in rows.into_iter().zip(times) {
        times.sort_unstable();
        let (median, lowest) = (times[ROUNDS / 2], times[ROUNDS / 10]);
        let length = program.instructions().len();
        println!("{name:24} {length:3} instructions {median:9.1?} (lowest tenth {lowest:.1?})");
    }
}

fn installing(before: Option<&Program>, program: &Program) -> Duration {
    let (read, write) = nix::unistd::pipe().unwrap();
    let child = || {
        let ready = before.map_or(Ok(()), |p| sys::install_filter(p.instructions()));
        if ready.and_then(|()| sys::no_new_privs()).is_err() {
            return 1;
        }
        let start = now();
        if sys::install_filter(program.instructions()).is_err() {
            return 2;
        }
        let end = now();
        let _ = sys::write(write.as_fd(), &(end - start).to_ne_bytes());
        0
    };
    let call = crate::spec::kernel::fork_call().unwrap();
    let (pid, _pidfd) = sys::fork(call, None, child).unwrap();
    let mut spent = [0; 8];
    assert_eq!(sys::read(read.as_fd(), &mut spent).unwrap(), 8);
    sys::wait(pid, 0).unwrap();
    Duration::from_nanos(u64::from_ne_bytes(spent))
}

#[allow(unsafe_code)]
fn now() -> i64 {
    // SAFETY: all fields are integers, for which zero is valid.
    let mut time: libc::timespec = unsafe { std::mem::zeroed() };
    // SAFETY: a clock that every kernel has, and a valid pointer.
    unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &raw mut time) };
    time.tv_sec * 1_000_000_000 + time.tv_nsec
}
