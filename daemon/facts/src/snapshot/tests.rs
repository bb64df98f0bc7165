use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};

use super::lines::{Difference, differences};
use super::*;
use crate::tests::Scratch;

fn of(scratch: &Scratch) -> Snapshot {
    let answers = UnitAnswers {
        files: Err("no bus".to_owned()),
        states: Err("no bus".to_owned()),
    };
    take(&scratch.sources(), answers)
}

fn reported<'a>(before: &'a Snapshot, after: &'a Snapshot) -> Vec<(&'a str, String)> {
    let sign = |one: &Difference<'_>| match (one.before, one.after) {
        (None, _) => '+',
        (_, None) => '-',
        _ => '~',
    };
    let all = differences(&before.lines, &after.lines).into_iter();
    all.map(|one| {
        let key = one.key.rsplit("/etc/").next().unwrap_or_default();
        (one.section, format!("{}{key}", sign(&one)))
    })
    .collect()
}

fn machine() -> Scratch {
    let scratch = Scratch::new();
    scratch.put(&[
        (
            "etc/passwd",
            b"root:x:0:0:root:/root:/bin/bash\nold:$6$secret:9:9::/:\n",
        ),
        ("etc/group", b"root:x:0:\nadm:x:4:ann,bob\n"),
        ("etc/hosts", b"127.0.0.1 localhost\n"),
        ("etc/shadow", b"root:*:1::::::\n"),
        ("etc/cron.d/job", b"* * * * * root true\n"),
        ("etc/systemd/system/own.service", b"[Service]\n"),
        (
            "var/lib/dpkg/status",
            b"Package: a\nStatus: install ok installed\nArchitecture: all\nVersion: 1\n\n\
              Package: gone\nStatus: deinstall ok config-files\nArchitecture: all\nVersion: 2\n",
        ),
        (
            "proc/1/mountinfo",
            b"21 1 8:1 / / rw - ext4 /dev/sda1 rw\n22 1 0:4 / /proc rw - proc proc rw\n",
        ),
        ("proc/sys/kernel/random/boot_id", b"boot-1\n"),
        ("proc/sys/kernel/osrelease", b"6.1.0\n"),
        ("proc/sys/kernel/sysrq", b"1\n"),
        ("proc/sys/net/ipv4/tcp_mem", b"1\t2\t3\n"),
        ("proc/sys/net/ipv4/conf/veth1/forwarding", b"1\n"),
        ("proc/sys/fs/file-nr", b"1 2 3\n"),
        ("proc/sys/kernel/perf_event_max_sample_rate", b"100000\n"),
        ("proc/sys/kernel/hung_task_detect_count", b"0\n"),
        ("proc/sys/net/core/netdev_rss_key", b"00:00:00\n"),
        ("proc/sys/kernel/spl/kmem/slab_kvmem_alloc", b"1\n"),
    ]);
    scratch
}

#[test]
fn each_change_is_reported_once_and_nothing_else() {
    let scratch = machine();
    let path = |name: &str| scratch.path().join(name);
    symlink("/srv/a.service", path("etc/systemd/system/linked.service")).unwrap();
    let before = of(&scratch);
    assert_eq!(reported(&before, &of(&scratch)), [], "nothing changed");
    scratch.put(&[
        (
            "etc/passwd",
            b"root:x:0:0:root:/root:/bin/sh\nnew:x:5:5::/home/new:/bin/sh\n",
        ),
        ("etc/passwd-", b"backup\n"),
        ("etc/group", b"root:x:0:\nadm:x:4:ann\n"),
        ("etc/hosts", b"127.0.0.1 localhosT\n"),
        ("etc/.hosts.swp", b"x"),
        ("etc/cron.d/new", b"x"),
        ("proc/sys/kernel/sysrq", b"0\n"),
        ("proc/sys/fs/file-nr", b"9 9 9\n"),
        ("proc/sys/kernel/perf_event_max_sample_rate", b"63000\n"),
        ("proc/sys/kernel/hung_task_detect_count", b"3\n"),
        ("proc/sys/net/core/netdev_rss_key", b"1c:52:9e\n"),
        ("proc/sys/kernel/spl/kmem/slab_kvmem_alloc", b"2\n"),
        ("proc/sys/net/ipv4/conf/veth1/forwarding", b"0\n"),
        ("proc/1/mountinfo", b"21 1 8:1 / / ro - ext4 /dev/sda1 rw\n"),
        (
            "var/lib/dpkg/status",
            b"Package: a\nStatus: install ok half-configured\nArchitecture: all\nVersion: 1\n",
        ),
    ]);
    fs::remove_file(path("etc/cron.d/job")).unwrap();
    fs::set_permissions(
        path("etc/systemd/system/own.service"),
        fs::Permissions::from_mode(0o600),
    )
    .unwrap();
    fs::create_dir(path("etc/systemd/system/multi-user.target.wants")).unwrap();
    symlink(
        "/x",
        path("etc/systemd/system/multi-user.target.wants/own.service"),
    )
    .unwrap();
    symlink("/x", path("etc/systemd/system/own.service.d")).unwrap();
    let upheld = path("etc/systemd/system/own.service.upholds");
    fs::create_dir(&upheld).unwrap();
    symlink("/x", upheld.join("x.service")).unwrap();
    symlink("/dev/null", path("etc/systemd/system/masked.service")).unwrap();
    symlink("/dev/null", path("etc/systemd/system/masked.conf")).unwrap();
    fs::remove_file(path("etc/systemd/system/linked.service")).unwrap();
    symlink("/srv/b.service", path("etc/systemd/system/linked.service")).unwrap();
    symlink("hosts", path("etc/link")).unwrap();
    let after = of(&scratch);
    let expect = [
        ("accounts", "+new"),
        ("accounts", "-old"),
        ("accounts", "~root"),
        ("files", "-cron.d/job"),
        ("files", "+cron.d/new"),
        ("files", "~hosts"),
        ("files", "+link"),
        ("files", "~systemd/system/linked.service"),
        ("files", "+systemd/system/masked.conf"),
        ("files", "~systemd/system/own.service"),
        ("files", "+systemd/system/own.service.d"),
        ("groups", "~adm"),
        ("mounts", "~/"),
        ("packages", "~a:all"),
        ("packages", "-gone:all"),
        ("sysctl", "~kernel/sysrq"),
    ];
    let found = reported(&before, &after);
    let found: Vec<_> = found
        .iter()
        .map(|(section, key)| (*section, key.as_str()))
        .collect();
    assert_eq!(found, expect);
    assert!(!before.lines.contains("secret"), "{}", before.lines);
}

#[test]
fn mount_below_etc_that_may_never_answer_is_not_entered() {
    let scratch = machine();
    scratch.put(&[("etc/pve/file", b"x"), ("etc/local/file", b"x")]);
    let mounted = |pve: &str| {
        let etc = scratch.path().join("etc");
        let etc = etc.display();
        let table = format!(
            "1 0 0:8 / {etc}/local rw - autofs a rw\n2 1 8:1 / {etc}/local rw - ext4 a rw\n\
             3 0 0:9 / {etc}/pve rw - {pve}\n"
        );
        scratch.put(&[("proc/1/mountinfo", table.as_bytes())]);
        let snapshot = of(&scratch);
        let lines = snapshot.lines.lines().map(str::to_owned);
        lines
            .filter(|line| line.starts_with("files\t"))
            .filter_map(|line| Some(line.split_once("/etc/")?.1.to_owned()))
            .filter(|line| line.starts_with("pve") || line.starts_with("local"))
            .collect::<Vec<_>>()
    };
    for pve in ["fuse a rw", "nfs4 a:/x rw", "autofs a rw"] {
        let found = mounted(pve);
        let [local, file, pve] = found.as_slice() else {
            panic!("{found:?}")
        };
        assert!(local.starts_with("local\tdirectory") && file.starts_with("local/file\tfile"));
        assert!(pve.starts_with("pve\tnot asked: "), "{pve}");
    }
    assert_eq!(mounted("ext4 b rw").len(), 4);
}

#[test]
fn file_system_that_stops_writing_is_a_change() {
    let scratch = machine();
    let before = of(&scratch);
    for options in ["ro", "rw,emergency_ro"] {
        let mount = format!("21 1 8:1 / / rw - ext4 /dev/sda1 {options}\n");
        scratch.put(&[("proc/1/mountinfo", mount.as_bytes())]);
        let expect = [(MOUNTS, "~/".to_owned())];
        assert_eq!(reported(&before, &of(&scratch)), expect, "{options}");
    }
}

#[test]
fn change_behind_what_is_shown_is_reported() {
    let scratch = machine();
    let long = "long".repeat(60);
    let key = format!("etc/{0}/{0}/{0}/{0}/{0}/", long);
    let put = |last: &str| {
        let members: Vec<String> = (0..60).map(|number| format!("member{number}")).collect();
        let group = format!("sudo:x:27:{}{last}\n", members.join(","));
        let account = format!("ann:x:5:5:{long}{long}:/home/ann:/bin/sh{last}\n");
        let mount = format!("21 1 8:1 / / rw - ext4 /dev/{long}{long}{last} rw\n");
        let old = scratch.path().join("etc/link");
        let _ = fs::remove_file(&old);
        symlink(format!("/{long}/{long}{last}"), &old).unwrap();
        scratch.put(&[
            ("etc/group", group.as_bytes()),
            ("etc/passwd", account.as_bytes()),
            ("proc/1/mountinfo", mount.as_bytes()),
            (
                "proc/sys/kernel/core_pattern",
                format!("{long}{long}{last}").as_bytes(),
            ),
        ]);
    };
    put("");
    scratch.put(&[(&format!("{key}one"), b"x")]);
    let before = of(&scratch);
    put(",eve");
    scratch.put(&[(&format!("{key}two"), b"x")]);
    let after = of(&scratch);
    let found = differences(&before.lines, &after.lines);
    let sections: Vec<&str> = found.iter().map(|one| one.section).collect();
    assert_eq!(
        sections,
        [ACCOUNTS, FILES, FILES, GROUPS, MOUNTS, SYSCTL],
        "{found:?}"
    );
    for one in found {
        let values = [Some(one.key), one.before, one.after];
        for value in values.into_iter().flatten() {
            assert!(value.len() <= 1024 + 30, "{one:?}");
        }
    }
}

#[test]
fn incomplete_sections_say_why() {
    let scratch = machine();
    let facts = |snapshot: &Snapshot| -> Vec<String> {
        let mut facts: Vec<_> = snapshot.gaps.iter().map(|gap| gap.fact.clone()).collect();
        facts.sort_unstable();
        facts
    };
    let found = facts(&of(&scratch));
    assert!(found.contains(&UNITS.to_owned()) && found.contains(&UNIT_FILES.to_owned()));
    assert!(!found.contains(&FILES.to_owned()) && !found.contains(&ACCOUNTS.to_owned()));
    let many = scratch.path().join("etc/many");
    fs::create_dir(&many).unwrap();
    for number in 0..20_100 {
        fs::write(many.join(number.to_string()), "").unwrap();
    }
    fs::remove_file(scratch.path().join("etc/passwd")).unwrap();
    let found = facts(&of(&scratch));
    assert!(found.contains(&FILES.to_owned()) && found.contains(&ACCOUNTS.to_owned()));
}

#[test]
fn unit_files_are_left_out_by_their_state_alone() {
    let mut lines = SnapshotLines::default();
    let files = [
        ("run-agent.service", "enabled"),
        ("user@.service", "static"),
        ("run-u12.service", "transient"),
        ("session-3.scope", "transient"),
        ("-.mount", "generated"),
    ];
    let files = files.map(|(name, state)| crate::bus::ListedUnitFile {
        name: name.to_owned(),
        state: state.to_owned(),
    });
    lines.section(UNIT_FILES, |section| {
        units::files(Ok(files.into()), section)
    });
    let expect = "unit_files\trun-agent.service\tenabled\nunit_files\tuser@.service\tstatic\n";
    assert_eq!(lines.finish().lines, expect);
}

#[test]
fn hostile_names_stay_in_their_line() {
    let scratch = machine();
    let before = of(&scratch);
    scratch.put(&[("etc/a\nfiles\tb\tx", b"x"), ("etc/\x1b[2J", b"x")]);
    let after = of(&scratch);
    let found = differences(&before.lines, &after.lines);
    assert_eq!(found.len(), 2, "{found:?}");
    assert!(
        found
            .iter()
            .all(|one| one.section == FILES && !one.key.contains(['\n', '\x1b']))
    );
}

/// An unprivileged process has no hash of what it may not read.
#[tokio::test]
async fn snapshot_of_this_machine_is_bounded() {
    let at = Sources::host();
    let taken = take(&at, ask_units(&at).await);
    assert!(taken.lines.len() < LINES, "{} bytes", taken.lines.len());
    assert!(taken.lines.lines().count() > 100);
    assert!(taken.lines.lines().is_sorted());
    for section in [SYSTEM, ACCOUNTS, GROUPS, FILES, MOUNTS, SYSCTL] {
        assert!(
            taken.lines.contains(&format!("{section}\t")),
            "{section}: {:?}",
            taken.gaps
        );
    }
}

#[test]
fn packages_of_rpm_are_not_known_also_with_dpkg_installed() {
    let scratch = machine();
    scratch.put(&[
        ("var/lib/dpkg/status", b""),
        ("usr/lib/sysimage/rpm/rpmdb.sqlite", b"x"),
    ]);
    let snapshot = of(&scratch);
    let mut gaps = snapshot.gaps.iter();
    let gap = gaps.find(|gap| gap.fact == "packages");
    assert!(
        gap.is_some_and(|gap| gap.why.contains("rpm -qa")),
        "{gap:?}"
    );
}
