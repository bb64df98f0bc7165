//! What a refusal names instead exists in the shipped policy and takes these arguments; its grants are right.
#![allow(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test may fail, and this one reads the shipped policy"
)]

mod common;

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use common::{accounts, lines, source};
use remit_common::builtin::{Builtin, COMMANDS};
use remit_common::wire::Effect;
use remit_policy::{Ask, Base, CallerIds, Ids, Policy, Verdict};
use remit_policy_compile::load;
use remit_programs::{Alternative, PLACEHOLDER, all_shipped, shipped};

fn policy(grants: &str) -> Policy {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../packaging/policy.d");
    let mut sources: Vec<_> = fs::read_dir(dir)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .map(|path| source(&path.display().to_string(), fs::read(&path).unwrap()))
        .collect();
    sources.push(source("zz-site.toml", grants));
    sources.sort_by(|one, other| one.name.cmp(&other.name));
    let mut machine = accounts();
    for (name, id) in [("remit-look", 903), ("alice", 64021)] {
        machine.users.insert(name.into(), Ids { uid: id, gid: id });
    }
    for (name, gid) in [("remit-admin", 950), ("adm", 4)] {
        machine.groups.insert(name.into(), gid);
    }
    match load(&sources, &machine) {
        Ok((policy, _)) => policy,
        Err(found) => panic!("{}", lines(&found)),
    }
}

fn pairs(alternative: &Alternative) -> Vec<(String, String)> {
    let of_unit = |value: String| value.replace(PLACEHOLDER, "nginx.service");
    let pairs = alternative.pairs();
    pairs.map(|(name, value)| (name, of_unit(value))).collect()
}

fn found(typed: &str) -> Option<Alternative> {
    let mut words = typed.split(' ');
    let program = words.next()?;
    remit_programs::found(program, &words.collect::<Vec<_>>())?.alternative
}

/// Programs that cannot work in a sandbox, and the command that does.
const TYPED: [(&str, &str); 137] = [
    ("systemctl status nginx", "service.status"),
    ("systemctl is-active nginx", "service.status"),
    ("systemctl --failed", "service.failed"),
    ("systemctl list-units", "service.list"),
    ("systemctl list-timers --all", "units.timers"),
    ("systemctl list-sockets", "units.sockets"),
    ("systemctl list-unit-files", "units.files"),
    ("systemctl list-jobs", "units.jobs"),
    ("systemctl list-dependencies nginx", "units.dependencies"),
    (
        "systemctl list-dependencies --reverse nginx",
        "units.needed_by",
    ),
    ("systemctl cat nginx", "units.properties"),
    ("systemctl show nginx", "units.properties"),
    ("systemctl restart nginx", "service.restart"),
    ("systemctl start nginx", "service.start"),
    ("systemctl stop nginx", "service.stop"),
    ("systemctl reload nginx", "service.reload"),
    ("systemctl enable nginx", "service.enable"),
    ("systemctl disable nginx", "service.disable"),
    ("systemctl daemon-reload", "service.daemon_reload"),
    ("systemctl reboot", "system.reboot"),
    ("service nginx status", "service.status"),
    ("service --status-all", "service.list"),
    ("loginctl list-sessions", "users.sessions"),
    ("timedatectl", "time.status"),
    ("hostnamectl", "host.identity"),
    ("localectl", "host.locale"),
    ("networkctl list", "network.interfaces"),
    ("resolvectl status", "network.dns"),
    ("systemd-analyze blame", "units.boot_times"),
    ("docker ps -a", "containers.list"),
    ("podman images", "containers.images"),
    ("docker logs --tail 9 web-1", "containers.logs"),
    ("docker inspect web-1", "containers.inspect"),
    ("docker stats web-1", "containers.stats"),
    ("docker volume ls", "containers.volumes"),
    ("docker network ls", "containers.networks"),
    ("docker system df", "containers.usage"),
    ("docker info", "containers.engine"),
    ("docker restart web-1", "container.restart"),
    ("psql -c x", "postgres.activity"),
    ("redis-cli info", "redis.info"),
    ("fail2ban-client status", "fail2ban.status"),
    ("mailq", "mail.queue"),
    ("chronyc tracking", "chrony.tracking"),
    ("dig example.com", "name.lookup"),
    ("getent hosts example.com", "name.lookup"),
    ("ping -c 1 127.0.0.1", "network.route_to"),
    ("traceroute example.com", "network.routes"),
    ("tcpdump -c 1", "network.connections"),
    ("ifconfig", "network.interfaces"),
    ("iptables -L", "firewall.iptables"),
    ("ip6tables -L", "firewall.ip6tables"),
    ("nft list ruleset", "firewall.rules"),
    ("ufw status", "firewall.rules"),
    ("conntrack -L", "network.conntrack"),
    ("lsof +L1", "disks.deleted"),
    ("lsof", "openfiles.unit"),
    ("lsof /var/log/syslog", "openfiles.file"),
    ("lsof -p 1", "openfiles.process"),
    ("lsof -i :80", "network.port"),
    ("fuser 80/tcp", "network.port"),
    ("iotop -bn1", "io.units"),
    ("strace -p 12", "processes.show"),
    ("coredumpctl info", "logs.crashes"),
    ("apt upgrade nginx", "package.upgrade"),
    ("passwd -l deploy", "user.lock"),
    ("lastb", "users.failed_logins"),
    ("crontab -l", "schedule.cron"),
    ("apt-get update", "packages.updates"),
    ("apt-get install -y nginx curl", "package.install"),
    ("apt-get remove nginx", "package.remove"),
    ("dpkg --audit", "packages.list"),
    ("reboot", "system.reboot"),
    ("dmesg", "host.kernel_log"),
    ("sysctl -w vm.swappiness=1", "host.sysctl"),
    ("journalctl -fu nginx", "logs"),
    ("smartctl -a /dev/sda", "smart.health"),
    ("mdadm --detail /dev/md0", "disks.raid"),
    ("logrotate -d /etc/logrotate.conf", "logrotate.test"),
    ("invoke-rc.d nginx restart", "service.restart"),
    ("systemd-resolve --status", "network.dns"),
    ("pg_isready", "postgres.activity"),
    ("mysql -e x", "mariadb.activity"),
    ("mysqladmin status", "mariadb.activity"),
    ("mariadb -e x", "mariadb.activity"),
    ("postqueue -p", "mail.queue"),
    ("ntpq -p", "time.sync_log"),
    ("rpcinfo", "service.list"),
    ("host example.com", "name.lookup"),
    ("nslookup example.com", "name.lookup"),
    ("openssl s_client -connect localhost:443", "probe.tls"),
    ("tracepath 10.0.0.1", "network.route_to"),
    ("mtr -r 10.0.0.1", "network.route_to"),
    ("tshark -c 1", "network.connections"),
    ("nmap localhost", "network.listening"),
    ("ip route add default via 10.0.0.1", "network.routes"),
    ("ip link set eth0 down", "network.interfaces"),
    ("ethtool eth0", "network.interfaces"),
    ("iptables-save", "firewall.iptables"),
    ("netstat -ltnp", "network.listening"),
    ("pmap -x 1", "processes.show"),
    ("lslocks", "disks.locks"),
    ("pidstat -d 1 1", "io.units"),
    ("gdb -p 1", "processes.show"),
    ("perf top -p 1", "processes.show"),
    ("useradd bob", "users.list"),
    ("groupadd ops", "users.groups"),
    ("usermod -L deploy", "user.lock"),
    ("dnf install -y nginx", "package.install"),
    ("dnf install ImageMagick mod_ssl", "package.install"),
    ("yum update httpd", "package.upgrade"),
    ("dnf makecache", "packages.updates"),
    ("rpm -V bash", "packages.changed"),
    ("shutdown -c", "system.reboot_cancel"),
    ("hwclock -w", "time.status"),
    ("hostname x", "host.identity"),
    ("modprobe x", "host.modules"),
    ("mount /dev/sda1 /mnt", "disks.mounts"),
    ("findmnt", "disks.mounts"),
    ("df -h", "disks.usage"),
    ("df -i", "disks.inodes"),
    ("nvme smart-log /dev/nvme0n1", "smart.health"),
    ("repquota -a", "quotas.report"),
    ("fdisk -l", "disks.devices"),
    ("lvs", "disks.devices"),
    ("curl -sI http://localhost:8080/health", "probe.http"),
    ("wget -qO- https://127.0.0.1/", "probe.http"),
    ("nc -z localhost 25", "probe.tcp"),
    ("sshd -t", "sshd.test"),
    ("visudo -c", "sudoers.test"),
    ("apachectl configtest", "apache.test"),
    ("postfix check", "postfix.settings"),
    ("systemd-analyze verify nginx.service", "units.verify"),
    ("chronyc sources", "chrony.sources"),
    ("fail2ban-client status sshd", "fail2ban.status"),
    ("haproxy -c -f x", "haproxy.test"),
    ("nginx -t", "logs"),
];

#[test]
fn programs_that_cannot_work_have_a_command_that_does() {
    let policy = policy("");
    let mut programs: Vec<&str> = TYPED
        .iter()
        .filter_map(|(typed, _)| typed.split(' ').next())
        .collect();
    programs.sort_unstable();
    programs.dedup();
    for (typed, expect) in TYPED {
        let alternative = found(typed).unwrap_or_else(|| panic!("{typed}"));
        assert_eq!(alternative.command, expect, "{typed}");
        let args = pairs(&alternative);
        let refusal = match policy.command(expect) {
            Some(command) => command.bind(&args, false).err(),
            None => Builtin::parse(expect, &args).err(),
        };
        assert_eq!(refusal, None, "{typed}");
    }
    assert!(programs.len() >= 60, "{programs:?}");
}

#[test]
fn shipped_commands_are_those_of_the_package() {
    let policy = policy("");
    let of_policy = policy.commands().map(|command| {
        let is_unconfined = command.profile.base == Base::Host;
        let changes = command.effect == Effect::Change;
        let needs_args = command.params.iter().any(|param| param.required());
        (command.name.clone(), (changes, is_unconfined, needs_args))
    });
    let built_in = COMMANDS.iter().map(|command| {
        (
            command.name.to_owned(),
            (false, false, command.name == "service.status"),
        )
    });
    let expect: BTreeMap<String, (bool, bool, bool)> = of_policy.chain(built_in).collect();
    let listed: BTreeMap<String, (bool, bool, bool)> = all_shipped()
        .map(|command| {
            let kind = (command.changes, command.is_unconfined, command.needs_args);
            (command.name(), kind)
        })
        .collect();
    assert_eq!(listed, expect);
}

#[test]
fn shown_grants_are_narrow() {
    let alice = CallerIds {
        uid: 64021,
        gids: &[64021],
    };
    let other = CallerIds {
        uid: 64003,
        gids: &[100],
    };
    for (typed, value) in [
        ("nft list ruleset", ""),
        ("lsof -p 12", ""),
        ("smartctl -a /dev/sda", "/dev/sdb"),
        ("systemctl restart nginx", "ssh.service"),
        ("apt-get install nginx", "curl"),
        ("dig example.com", "example.org"),
        ("reboot", ""),
    ] {
        let alternative = found(typed).unwrap();
        let (name, args) = (alternative.command, pairs(&alternative));
        let shipped = shipped(name).unwrap();
        let policy = policy(&shipped.grant("alice", &args).unwrap());
        let effect = match shipped.changes {
            true => Effect::Change,
            false => Effect::Read,
        };
        let verdict =
            |caller, name, args| policy.decide(caller, &Ask::Command { name, effect, args });
        match verdict(alice, name, &args) {
            Verdict::Ask(_) => assert!(shipped.changes, "{name}"),
            Verdict::Allow(_) => assert!(!shipped.changes, "{name}"),
            Verdict::Deny(denial) => panic!("{name}: {denial:?}"),
        }
        assert!(matches!(verdict(other, name, &args), Verdict::Deny(_)));
        let denied = "firewall.ip6tables";
        assert!(matches!(verdict(alice, denied, &[]), Verdict::Deny(_)));
        if !value.is_empty() {
            let args = [(args[0].0.clone(), value.to_owned())];
            assert!(
                matches!(verdict(alice, name, &args), Verdict::Deny(_)),
                "{name}"
            );
        }
    }
}
