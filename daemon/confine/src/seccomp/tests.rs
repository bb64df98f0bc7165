//! The compiled programs, run number by number by an interpreter of the few instructions used:
//! so the table of the other architecture is tested too. The kernel's own answers are tested
//! in `tests/seccomp.rs`.

use super::*;
use std::collections::BTreeMap;

const ALLOW: u32 = libc::SECCOMP_RET_ALLOW;
const KILL: u32 = libc::SECCOMP_RET_KILL_PROCESS;

fn errno(e: i32) -> u32 {
    libc::SECCOMP_RET_ERRNO | e as u32
}

fn run(program: &Program, arch: u32, number: u32, args: [u64; 6]) -> u32 {
    let code = program.instructions();
    let (mut pc, mut acc) = (0usize, 0u32);
    loop {
        let i = code[pc];
        pc += 1;
        match i.code {
            bpf::LOAD if i.k == bpf::NUMBER => acc = number,
            bpf::LOAD if i.k == bpf::ARCH => acc = arch,
            bpf::LOAD => {
                assert_eq!((i.k - bpf::ARGS) % 8, 0, "only low words are read");
                acc = args[((i.k - bpf::ARGS) / 8) as usize] as u32;
            }
            bpf::AND => acc &= i.k,
            bpf::JEQ => pc += usize::from(if acc == i.k { i.jt } else { i.jf }),
            bpf::JGE => pc += usize::from(if acc >= i.k { i.jt } else { i.jf }),
            bpf::JA => pc += i.k as usize,
            bpf::RET => return i.k,
            other => panic!("instruction {other:#x} at {pc}"),
        }
    }
}

fn rules(arch: Arch) -> BTreeMap<u32, (&'static str, Rule)> {
    let mut all = BTreeMap::new();
    for group in table::GROUPS {
        assert!(!group.why.is_empty());
        for row in group.rows {
            if let Some(n) = arch.number(row) {
                let before = all.insert(n, (row.0, group.rule));
                assert!(before.is_none(), "{} and {before:?} share {n}", row.0);
            }
        }
    }
    all
}

#[test]
fn every_number_has_its_verdict_on_both_architectures() {
    for arch in [Arch::X86_64, Arch::Aarch64] {
        let program = compile_for(arch, Walls::ALL);
        let rules = rules(arch);
        assert!(program.instructions().len() < 1024);
        let far = [
            0x4000_0000,
            0x4000_0001,
            0x4000_0000 | 41,
            u32::MAX,
            u32::MAX - 1,
        ];
        for n in (0..1200).chain(far) {
            let zeros = run(&program, arch.audit(), n, [0; 6]);
            match rules.get(&n) {
                None => assert_eq!(zeros, errno(libc::ENOSYS), "{n}"),
                Some((name, Rule::Allow)) => assert_eq!(zeros, ALLOW, "{name}"),
                Some((name, Rule::Answer(e))) => assert_eq!(zeros, errno(i32::from(*e)), "{name}"),
                Some((name, Rule::Checked(checks))) => each_check(&program, arch, n, name, checks),
            }
            assert_eq!(run(&program, 0x4000_0003, n, [0; 6]), KILL);
        }
    }
}

/// Arguments that pass all checks are allowed, with any upper half; each value that one check
/// refuses is answered by that check.
fn each_check(program: &Program, arch: Arch, n: u32, name: &str, checks: &[Check]) {
    let mut good = [0u64; 6];
    for check in checks {
        if let Want::OneOf([first, ..]) = check.want {
            good[usize::from(check.arg)] = u64::from(*first);
        }
    }
    let upper = good.map(|a| a | 0xdead_beef_0000_0000);
    for args in [good, upper] {
        assert_eq!(
            run(program, arch.audit(), n, args),
            ALLOW,
            "{name} {args:x?}"
        );
    }
    for check in checks {
        let probes = (0..2048u32)
            .chain((0..32).map(|b| 1 << b))
            .chain((0..32).map(|b| !(1 << b)));
        for v in probes {
            let mut args = upper;
            args[usize::from(check.arg)] = 0xffff_ffff_0000_0000 | u64::from(v);
            let holds = |c: &Check| {
                let v = args[usize::from(c.arg)] as u32 & c.mask;
                match c.want {
                    Want::OneOf(values) => values.contains(&v),
                    Want::NoneOf(values) => !values.contains(&v),
                }
            };
            let want = checks
                .iter()
                .find(|c| !holds(c))
                .map_or(ALLOW, |c| errno(i32::from(c.errno)));
            assert_eq!(
                run(program, arch.audit(), n, args),
                want,
                "{name} arg {} = {v:#x}",
                check.arg
            );
        }
    }
}

#[test]
fn design_examples() {
    let p = compile_for(Arch::X86_64, Walls::ALL);
    let at = |n: libc::c_long, args: [u64; 6]| run(&p, Arch::X86_64.audit(), n as u32, args);
    #[cfg(target_arch = "x86_64")]
    for (n, args, want) in [
        (libc::SYS_clone3, [0; 6], errno(libc::ENOSYS)),
        (libc::SYS_openat2, [0; 6], ALLOW),
        (
            libc::SYS_socket,
            [2, 1, 0, 0, 0, 0],
            errno(libc::EAFNOSUPPORT),
        ),
        (
            libc::SYS_socket,
            [16, 3, 9, 0, 0, 0],
            errno(libc::EAFNOSUPPORT),
        ),
        (libc::SYS_socket, [16, 3, 16, 0, 0, 0], ALLOW),
        (libc::SYS_socketpair, [1, 2, 0, 0, 0, 0], errno(libc::EPERM)),
        (libc::SYS_socketpair, [1, 0x80805, 0, 0, 0, 0], ALLOW),
        (
            libc::SYS_clone,
            [0x1000_0011, 0, 0, 0, 0, 0],
            errno(libc::EPERM),
        ),
        (libc::SYS_clone, [0x8011, 0, 0, 0, 0, 0], errno(libc::EPERM)),
        (libc::SYS_clone, [0x003d_0f00, 0, 0, 0, 0, 0], ALLOW),
        (libc::SYS_flock, [3, 2, 0, 0, 0, 0], errno(0)),
        (libc::SYS_semctl, [0, 0, 16, 1, 0, 0], errno(libc::EPERM)),
        (
            libc::SYS_ioctl,
            [0, 0xffff_ffff_0000_5412, 0, 0, 0, 0],
            errno(libc::EPERM),
        ),
    ] {
        assert_eq!(at(n, args), want, "{n} {args:x?}");
    }
}
