//! Links and paths of plans that a stranger sends: the daemon reads them before it decides anything. Bounds are of processor time and of
//! memory of this process, never of a clock.
#![allow(clippy::unwrap_used)]

use std::fs;

use remit_plan::{Bundle, Content, Entry, Metadata, New, Plan, PlanPath, Source, sha256};

fn made(path: &[u8], new: New, mode: u32) -> Entry {
    let meta = Metadata {
        mode,
        uid: 0,
        gid: 0,
    };
    Entry {
        path: PlanPath::new(path).unwrap(),
        change: remit_plan::Change::Create { new, meta },
    }
}

fn content(bytes: &[u8], source: Source) -> Content {
    Content {
        size: bytes.len() as u64,
        sha256: sha256(bytes),
        source,
        capabilities: None,
        mtime: None,
    }
}

/// Returns the bytes of a plan with one upload and with these links, sorted by path.
fn encoded(links: &[(Vec<u8>, String)]) -> Vec<u8> {
    let link = |(path, target): &(Vec<u8>, String)| {
        let target = content(target.as_bytes(), Source::Bundle);
        made(path, New::Link(target), 0o777)
    };
    let upload = made(b"/zz", New::File(content(b"u", Source::Upload)), 0o644);
    let plan = Plan::new(links.iter().map(link).chain([upload]).collect()).unwrap();
    let plan = plan.encode();
    let targets: Vec<u8> = links.iter().flat_map(|(_, to)| to.bytes()).collect();
    let length = (plan.len() as u64).to_le_bytes();
    [&length[..], &plan, &targets].concat()
}

fn used_ns() -> u64 {
    let text = fs::read_to_string("/proc/thread-self/schedstat").unwrap();
    text.split(' ').next().unwrap().parse().unwrap()
}

/// Most memory that this process had, in KiB.
fn peak_kib() -> u64 {
    let text = fs::read_to_string("/proc/self/status").unwrap();
    let line = text.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let number = line.unwrap().trim().strip_suffix(" kB").unwrap();
    number.parse().unwrap()
}

/// A thousand links that decide lead into one chain of links, whose paths are as long and as deep as paths can be.
#[test]
fn links_with_one_way_cost_as_much_as_without() {
    let deep = format!("/d{}", format!("/{}", "n".repeat(60)).repeat(62));
    let cost = |leads: bool| {
        let unit = |n: usize| {
            let to = if leads {
                "/s".to_owned()
            } else {
                format!("/t{n}")
            };
            (
                format!("/etc/systemd/system/a{n:04}.service").into_bytes(),
                to,
            )
        };
        let mut links: Vec<_> = (0..1000).map(unit).collect();
        links.extend((0..37).map(|n| (format!("{deep}/{n:02}").into(), format!("{:02}", n + 1))));
        links.push((b"/s".to_vec(), format!("{deep}/00")));
        links.sort();
        let bytes = encoded(&links);
        let before = used_ns();
        Bundle::decode(bytes).unwrap();
        used_ns() - before
    };
    let (plain, led) = (cost(false), cost(true));
    assert!(led < plain * 4, "{plain} ns, with a way {led} ns");
}

/// Each path has as many names as a path can have, and no other path has one of them.
#[test]
fn many_names_of_links_take_no_memory() {
    // Three bytes each, above `/` and not sorted before a shorter one.
    let byte = |n: usize| u8::try_from(0x30 + n % 200).unwrap();
    let name = |n: usize| [b'/', byte(n / 40_000), byte(n / 200), byte(n)];
    let links: Vec<_> = (0..10_200)
        .map(|n| {
            let names = (0..64).flat_map(|depth| name(n * 64 + depth));
            (names.collect(), "x".to_owned())
        })
        .collect();
    let bytes = encoded(&links);
    let (before, size) = (peak_kib(), bytes.len() as u64 / 1024);
    Bundle::decode(bytes).unwrap();
    let grown = peak_kib() - before;
    assert!(grown < 16 * size, "{grown} KiB for a plan of {size} KiB");
}

/// The same bytes, with as many parts as a path can have and with few.
#[test]
fn deep_paths_cost_as_much_as_others() {
    let cost = |rest: &str| {
        let path = |n: usize| format!("/{n:05}{}", rest.repeat(63)).into_bytes();
        let file = || New::File(content(b"", Source::Bundle));
        let entries = (0..5000).map(|n| made(&path(n), file(), 0o644));
        let bytes = Plan::new(entries.collect()).unwrap().encode();
        let before = used_ns();
        Plan::decode(&bytes).unwrap();
        used_ns() - before
    };
    let (few, many) = (cost("aa"), cost("/a"));
    assert!(many < few * 2, "{few} ns, deep {many} ns");
}
