use remit_wire::host::{
    Boots, Container, Cpu, Disk, List, Load, Memory, Mounts, Os, Packages, Pressure, Units,
    Updates, Users,
};

use crate::render::table::{self, Table};
use crate::render::units;
use crate::render::units::Width;

pub fn os(os: &Os) -> String {
    let mut section = Section::new("os");
    section.fact("name", os.name.as_ref().or(os.id.as_ref()));
    section.fact("hostname", os.hostname.as_ref());
    section.fact("kernel", os.kernel.as_ref());
    section.fact("arch", Some(&os.arch));
    section.fact("init", os.init.as_ref());
    section.fact("virt", os.virt.as_ref());
    section.fact("time zone", os.timezone.as_ref());
    section.0
}

pub fn load(load: &Load) -> String {
    let mut section = Section::new("load");
    let average = format!("{} {} {} (1, 5, 15 min)", load.one, load.five, load.fifteen);
    section.fact("average", Some(average));
    let tasks = format!("{} of {} can run", load.runnable, load.tasks);
    section.fact("tasks", Some(tasks));
    for (name, pressure) in [
        ("cpu stalls", &load.cpu),
        ("mem stalls", &load.memory),
        ("io stalls", &load.io),
    ] {
        section.fact(name, pressure.as_ref().map(stalls));
    }
    section.0
}

fn stalls(pressure: &Pressure) -> String {
    let [ten, sixty, long] = &pressure.some;
    format!("{ten} {sixty} {long} % (10, 60, 300 s)")
}

pub fn cpu(cpu: &Cpu) -> String {
    let mut section = Section::new("cpu");
    section.fact("model", cpu.model.as_ref());
    section.fact("online", Some(cpu.count.to_string()));
    let usage = &cpu.usage;
    let since_boot = format!(
        "user {} system {} iowait {} steal {} idle {} % (since boot)",
        usage.user, usage.system, usage.iowait, usage.steal, usage.idle
    );
    section.fact("use", Some(since_boot));
    section.0
}

pub fn memory(memory: &Memory) -> String {
    let mut section = Section::new("memory");
    section.fact("total", size(Some(memory.total)));
    section.fact("available", size(memory.available));
    section.fact("free", size(memory.free));
    section.fact("cached", size(memory.cached));
    section.fact("shared", size(memory.shared));
    section.fact("reclaimable", size(memory.reclaimable));
    section.fact("dirty", size(memory.dirty));
    section.fact("huge pages", size(memory.huge));
    section.fact("swap", size(memory.swap_total));
    section.fact("swap free", size(memory.swap_free));
    section.fact("oom kills", memory.oom_kills.map(|kills| kills.to_string()));
    section.0
}

pub fn disks(disks: &List<Disk>, width: Width) -> String {
    let mut section = Section::new("disks");
    let mut table = Table::new(["~NAME", ">SIZE", ">?READ", ">?WRITTEN", "STATE", "~MODEL"]);
    for disk in &disks.items {
        let mut state = Vec::new();
        if disk.read_only == Some(true) {
            state.push("read-only".to_owned());
        }
        if let Some(missing) = disk.degraded.filter(|missing| *missing > 0) {
            state.push(format!("{missing} members missing"));
        }
        let count = |bytes| size(bytes).unwrap_or_default();
        table.row([
            &disk.name,
            &units::bytes(disk.size),
            &count(disk.read),
            &count(disk.written),
            &state.join(", "),
            disk.model.as_deref().unwrap_or_default(),
        ]);
        for part in &disk.parts.items {
            let name = format!("  {}", part.name);
            table.row([&name, &units::bytes(part.size), "", "", "", ""]);
        }
    }
    section.lines(&table.render(width));
    section.lines(&table::more(disks.more));
    section.0
}

pub fn mounts(mounts: &Mounts, width: Width) -> String {
    let mut section = Section::new("mounts");
    let mut table = Table::new([
        ">USE", ">SIZE", ">FREE", ">?INODES", "?TYPE", "?", "~TARGET", "~SOURCE",
    ]);
    for mount in &mounts.list.items {
        let (used, all, avail, inodes) = match &mount.space {
            Some(space) => (
                format!("{}%", space.used_percent),
                units::bytes(space.size),
                units::bytes(space.avail),
                inodes(space.inodes, space.inodes_free),
            ),
            None => Default::default(),
        };
        table.row([
            &used,
            &all,
            &avail,
            &inodes,
            &mount.fstype,
            if mount.read_only { "ro" } else { "rw" },
            &mount.target,
            &mount.source,
        ]);
    }
    section.lines(&table.render(width));
    section.lines(&table::more(mounts.list.more));
    let unknown = mounts.list.items.iter().filter_map(|mount| {
        let why = mount.why.as_ref()?;
        Some(format!("{}: {why}", mount.target))
    });
    for why in unknown {
        section.fact("unknown", Some(why));
    }
    section.0
}

/// Returns used inodes in percent; empty if the file system does not count them.
fn inodes(all: u64, free: u64) -> String {
    match all
        .saturating_sub(free)
        .saturating_mul(100)
        .checked_div(all)
    {
        Some(percent) => format!("{percent}%"),
        None => String::new(),
    }
}

pub fn boots(boots: &Boots, width: Width) -> String {
    let mut section = Section::new("boots");
    let uptime = boots
        .uptime
        .map(|s| units::duration(s.saturating_mul(1000)));
    section.fact("up for", uptime);
    section.fact("since", boots.booted.map(units::time));
    if let Some(last) = &boots.last {
        let mut table = Table::new(["BOOT", "SHUTDOWN", "~KERNEL"]);
        for boot in &last.items {
            table.row([
                &units::time(boot.start),
                &boot.end.map(units::time).unwrap_or_default(),
                boot.kernel.as_deref().unwrap_or_default(),
            ]);
        }
        section.lines(&table.render(width));
        section.lines(&table::more(last.more));
    }
    section.0
}

pub fn units(units: &Units, width: Width) -> String {
    let mut section = Section::new("units");
    section.fact("system", units.system.as_ref());
    let counts = units.counts.iter();
    let counts: Vec<String> = counts
        .map(|one| format!("{} {}", one.count, one.state))
        .collect();
    section.fact("loaded", (!counts.is_empty()).then(|| counts.join(", ")));
    section.fact("waiting", units.jobs.map(|jobs| format!("{jobs} jobs")));
    let mut table = Table::new(["~FAILED", "SINCE", "RESULT", ">?STATUS", "~DESCRIPTION"]);
    for unit in &units.failed.items {
        let result = unit.result.as_ref().or(unit.why.as_ref());
        table.row([
            &unit.name,
            &unit.since.map(units::time).unwrap_or_default(),
            result.map(String::as_str).unwrap_or_default(),
            &unit
                .status
                .map(|status| status.to_string())
                .unwrap_or_default(),
            &unit.description,
        ]);
    }
    section.lines(&table.render(width));
    section.lines(&table::more(units.failed.more));
    section.fact("restarting", some(&units.restarting));
    section.0
}

pub fn users(users: &Users, width: Width) -> String {
    let mut section = Section::new("users");
    if let Some(sessions) = &users.sessions {
        let mut table = Table::new(["SESSION", "TERMINAL", "~FROM", "SINCE"]);
        for session in &sessions.items {
            table.row([
                &session.user,
                session.tty.as_deref().unwrap_or_default(),
                session.from.as_deref().unwrap_or_default(),
                &session.since.map(units::time).unwrap_or_default(),
            ]);
        }
        section.lines(&table.render(width));
        section.lines(&table::more(sessions.more));
    }
    if let Some(accounts) = &users.accounts {
        let mut table = Table::new(["ACCOUNT", ">UID", "~HOME", "~SHELL"]);
        for account in &accounts.items {
            let uid = account.uid.to_string();
            table.row([&account.name, &uid, &account.home, &account.shell]);
        }
        section.lines(&table.render(width));
        section.lines(&table::more(accounts.more));
    }
    if let Some(groups) = &users.groups {
        let mut table = Table::new(["GROUP", "~MEMBERS"]);
        for group in &groups.items {
            table.row([&group.name, &some(&group.members).unwrap_or_default()]);
        }
        section.lines(&table.render(width));
        section.lines(&table::more(groups.more));
    }
    section.0
}

pub fn containers(containers: &List<Container>, width: Width) -> String {
    let mut section = Section::new("containers");
    let mut table = Table::new(["ENGINE", "~ID"]);
    for container in &containers.items {
        table.row([&container.engine, &container.id]);
    }
    section.lines(&table.render(width));
    section.lines(&table::more(containers.more));
    section.fact("running", Some(containers.total().to_string()));
    section.0
}

pub fn packages(packages: &Packages) -> String {
    let mut section = Section::new("packages");
    section.fact("database", Some(&packages.kind));
    section.fact(
        "installed",
        packages.installed.map(|count| count.to_string()),
    );
    section.fact("broken", packages.broken.as_ref().and_then(some));
    section.0
}

pub fn updates(updates: &Updates) -> String {
    let mut section = Section::new("updates");
    section.fact("pending", updates.pending.map(|count| count.to_string()));
    let reboot = updates
        .reboot_flag
        .map(|asked| if asked { "asked for" } else { "no" });
    section.fact("reboot", reboot);
    section.fact("reboot for", some(&updates.reboot_for));
    section.fact("kernels", updates.kernels.as_ref().and_then(some));
    section.0
}

fn some(list: &List<String>) -> Option<String> {
    let more = (list.more > 0).then(|| format!("and {} more", list.more));
    let names: Vec<&str> = list.items.iter().chain(&more).map(String::as_str).collect();
    (!names.is_empty()).then(|| names.join(", "))
}

pub struct Section(pub String);

impl Section {
    pub fn new(name: &str) -> Self {
        Self(format!("{name}\n"))
    }

    pub fn fact(&mut self, name: &str, value: Option<impl AsRef<str>>) {
        if let Some(value) = value {
            self.0 += &table::fact(name, value.as_ref());
        }
    }

    pub fn lines(&mut self, lines: &str) {
        self.0 += lines;
    }
}

pub fn size(bytes: Option<u64>) -> Option<String> {
    bytes.map(units::bytes)
}
