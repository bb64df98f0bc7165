//! Finds why a typed command fails or misleads in a sandbox, and remit's command that answers it (`alternatives.txt`).

use std::collections::HashMap;
use std::sync::LazyLock;

use crate::Topic;
use crate::typed::{KINDS, Kind, TypedCommand};

const TABLE: &str = include_str!("alternatives.txt");

/// WordPattern of an argument that the typed words do not have.
pub const PLACEHOLDER: &str = "NAME";

/// Values that a list of the package's policy takes.
const LISTED: usize = 16;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    pub topic: Topic,
    pub alternative: Option<Alternative>,
}

/// A command of remit with arguments, which are safe to show: each value was checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Alternative {
    pub command: &'static str,
    pub args: Vec<Argument>,
}

impl Alternative {
    /// Returns each argument as name and value; a list has one for each of its values.
    pub fn pairs(&self) -> impl Iterator<Item = (String, String)> {
        self.args.iter().flat_map(|arg| {
            let values = arg.values.iter();
            values.map(|value| (arg.name.to_owned(), value.clone()))
        })
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Argument {
    pub name: &'static str,
    pub values: Vec<String>,
    pub is_list: bool,
}

/// Returns the first row that fits; `None` if the command works, or nothing is known of it.
pub fn found<A: AsRef<str>>(program: &str, args: &[A]) -> Option<Found> {
    let rows = ROWS.get(program)?;
    let args: Vec<&str> = args.iter().map(AsRef::as_ref).collect();
    if args.iter().any(|arg| ["--version", "--help"].contains(arg)) {
        return None;
    }
    let typed = TypedCommand::new(program, args);
    let (row, values) = rows
        .iter()
        .find_map(|row| Some((row, row.values(&typed)?)))?;
    Some(Found {
        topic: row.topic?,
        alternative: row.answer.as_ref().map(|answer| answer.with(&values)),
    })
}

#[derive(Debug)]
struct TableRow {
    patterns: Vec<Pattern>,
    topic: Option<Topic>,
    answer: Option<Template>,
}

#[derive(Debug)]
enum Pattern {
    Option(&'static str, Option<WordPattern>),
    Contains(&'static str),
    End,
    Word(WordPattern),
    Rest(Kind),
}

#[derive(Debug)]
enum WordPattern {
    OneOf(Vec<&'static str>),
    Of(Kind),
}

#[derive(Debug)]
struct Template {
    command: &'static str,
    args: Vec<(&'static str, &'static str)>,
}

type Values = Vec<(Kind, Vec<String>)>;

impl Template {
    fn with(&self, values: &Values) -> Alternative {
        let argument = |(name, text): &(&'static str, &'static str)| {
            let list = text
                .strip_prefix('[')
                .and_then(|text| text.strip_suffix(']'));
            let text = list.unwrap_or(text);
            let of = kind(text).and_then(|kind| values.iter().find(|(of, _)| *of == kind));
            Argument {
                name,
                values: of.map_or_else(|| vec![text.to_owned()], |(_, values)| values.clone()),
                is_list: list.is_some(),
            }
        };
        Alternative {
            command: self.command,
            args: self.args.iter().map(argument).collect(),
        }
    }
}

static ROWS: LazyLock<HashMap<&str, Vec<TableRow>>> = LazyLock::new(|| {
    let mut rows: HashMap<&str, Vec<TableRow>> = HashMap::new();
    for line in lines() {
        for program in programs(line) {
            rows.entry(program).or_default().extend(row(line));
        }
    }
    rows
});

fn lines() -> impl Iterator<Item = &'static str> {
    TABLE
        .lines()
        .filter(|line| !line.is_empty() && !line.starts_with('#'))
}

fn programs(line: &str) -> impl Iterator<Item = &str> {
    let first = line.split_ascii_whitespace().next().unwrap_or_default();
    first.split(',')
}

fn row(line: &'static str) -> Option<TableRow> {
    let mut cells = line.split(" | ");
    let patterns = cells.next()?.split_ascii_whitespace().skip(1);
    let patterns: Option<Vec<Pattern>> = patterns.map(pattern).collect();
    let topic = match cells.next()? {
        "works" => None,
        topic => Some(Topic::named(topic)?),
    };
    let answer = match cells.next() {
        None => None,
        Some(answer) => {
            let mut words = answer.split_ascii_whitespace();
            let command = words.next()?;
            let args: Option<_> = words.map(|word| word.split_once('=')).collect();
            Some(Template {
                command,
                args: args?,
            })
        }
    };
    Some(TableRow {
        patterns: patterns?,
        topic,
        answer,
    })
}

fn pattern(text: &'static str) -> Option<Pattern> {
    Some(match text.as_bytes() {
        b"." => Pattern::End,
        [b'~', ..] => Pattern::Contains(text.get(1..)?),
        [b'-', ..] => match text.split_once('=') {
            Some((option, expect)) => Pattern::Option(option, Some(value(expect)?)),
            None => Pattern::Option(text, None),
        },
        [b'[', inner @ .., b']'] => Pattern::Rest(kind(std::str::from_utf8(inner).ok()?)?),
        _ => Pattern::Word(value(text)?),
    })
}

fn value(text: &'static str) -> Option<WordPattern> {
    match text.starts_with('<') {
        true => kind(text).map(WordPattern::Of),
        false => Some(WordPattern::OneOf(text.split(',').collect())),
    }
}

fn kind(text: &str) -> Option<Kind> {
    let name = text.strip_prefix('<')?.strip_suffix('>')?;
    KINDS
        .iter()
        .find(|(known, _)| *known == name)
        .map(|(_, kind)| *kind)
}

impl TableRow {
    fn values(&self, typed: &TypedCommand<'_>) -> Option<Values> {
        let mut values = Values::new();
        let mut words = typed.words.as_slice();
        for pattern in &self.patterns {
            match pattern {
                Pattern::Option(option, expect) => {
                    let word = typed.option(option)?;
                    if let Some(expect) = expect {
                        values.extend(expect.read(Some(word))?);
                    }
                }
                Pattern::Contains(text) => {
                    typed.args.iter().find(|arg| arg.contains(text))?;
                }
                Pattern::End => words.is_empty().then_some(())?,
                Pattern::Word(WordPattern::Of(kind)) if kind.is_anywhere() => {
                    let value = words.iter().rev().find_map(|word| kind.read(word))?;
                    values.push((*kind, vec![value]));
                }
                Pattern::Word(expect) => {
                    values.extend(expect.read(words.first().copied())?);
                    words = words.get(1..).unwrap_or_default();
                }
                Pattern::Rest(kind) => {
                    let read: Option<Vec<String>> =
                        words.iter().map(|word| kind.read(word)).collect();
                    // A part of them would be another request than the typed one.
                    let read = read.filter(|read| (1..=LISTED).contains(&read.len()));
                    let read = read.unwrap_or_else(|| vec![PLACEHOLDER.to_owned()]);
                    values.push((*kind, read));
                }
            }
        }
        Some(values)
    }
}

impl WordPattern {
    fn read(&self, word: Option<&str>) -> Option<Option<(Kind, Vec<String>)>> {
        match self {
            Self::OneOf(some) => some.contains(&word?).then_some(None),
            Self::Of(Kind::Unit) => {
                let unit = word.and_then(|word| Kind::Unit.read(word));
                let unit = unit.unwrap_or_else(|| PLACEHOLDER.to_owned());
                Some(Some((Kind::Unit, vec![unit])))
            }
            Self::Of(kind) => Some(Some((*kind, vec![kind.read(word?)?]))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(line: &str) -> String {
        let mut words = line.split(' ');
        let program = words.next().unwrap();
        let args: Vec<&str> = words.collect();
        let Some(found) = found(program, &args) else {
            return "-".to_owned();
        };
        let mut shown = format!("{:?}", found.topic);
        if let Some(alternative) = found.alternative {
            shown += &format!(" {}", alternative.command);
            for arg in alternative.args {
                let list = if arg.is_list { "[]" } else { "" };
                shown += &format!(" {}{list}={}", arg.name, arg.values.join(","));
            }
        }
        shown
    }

    #[test]
    fn all_rows_are_understood_and_all_topics_used() {
        let mut used = Vec::new();
        for line in lines() {
            let row = row(line).unwrap_or_else(|| panic!("{line}"));
            used.extend(row.topic);
            if let Some(answer) = &row.answer {
                assert!(crate::shipped(answer.command).is_some(), "{line}");
                for (_, text) in &answer.args {
                    let text = text.trim_matches(['[', ']']);
                    assert!(!text.starts_with('<') || kind(text).is_some(), "{line}");
                }
            }
        }
        for topic in Topic::ALL {
            assert!(used.contains(topic), "{topic:?}");
        }
        for (name, kind) in KINDS {
            assert!(TABLE.contains(&format!("<{name}>")), "{kind:?}");
        }
    }

    #[test]
    fn arguments_come_from_the_typed_words() {
        for (typed, expect) in [
            (
                "systemctl status nginx",
                "Units service.status unit=nginx.service",
            ),
            (
                "systemctl -n 20 status a.timer",
                "Units service.status unit=a.timer",
            ),
            ("systemctl list-timers --all", "Units units.timers"),
            ("systemctl --failed", "Units service.failed"),
            ("systemctl", "Units service.list"),
            ("systemctl --root=/ is-enabled ssh", "-"),
            (
                "systemctl cat ssh",
                "Units units.properties unit=ssh.service",
            ),
            (
                "systemctl restart x;id",
                "UnitChange service.restart unit=NAME",
            ),
            ("systemctl stop", "UnitChange service.stop unit=NAME"),
            (
                "systemctl daemon-reload",
                "UnitChange service.daemon_reload",
            ),
            (
                "systemctl mask nginx",
                "UnitChange service.status unit=nginx.service",
            ),
            (
                "service nginx status",
                "Units service.status unit=nginx.service",
            ),
            ("service x y", "-"),
            ("crontab -l", "Crontab schedule.cron"),
            ("podman ps -a", "Containers containers.list"),
            (
                "docker logs --tail 50 web",
                "Containers containers.logs name=web",
            ),
            (
                "docker logs web --tail 50",
                "Containers containers.logs name=web",
            ),
            (
                "docker logs --since 10m web -f",
                "Containers containers.logs name=web",
            ),
            (
                "docker logs -n 50 --until 5m web",
                "Containers containers.logs name=web",
            ),
            (
                "docker inspect web --format json",
                "Containers containers.inspect name=web",
            ),
            (
                "docker top web aux",
                "Containers containers.inspect name=web",
            ),
            (
                "docker port web 80",
                "Containers containers.inspect name=web",
            ),
            ("docker stop web -t 5", "Containers container.stop name=web"),
            ("docker kill web", "Containers container.stop name=web"),
            (
                "docker kill -s TERM web",
                "Containers container.stop name=web",
            ),
            (
                "podman kill --signal=9 web",
                "Containers container.stop name=web",
            ),
            ("docker kill web -s HUP", "Containers"),
            ("docker kill --signal USR1 web", "Containers"),
            ("docker kill -sHUP web", "Containers"),
            ("systemctl --user restart foo", "Services"),
            (
                "apt upgrade nginx",
                "Packages package.upgrade packages[]=nginx",
            ),
            ("apt autoremove", "Packages"),
            ("apt full-upgrade", "Packages"),
            ("passwd -S root", "Accounts"),
            ("passwd --status root", "Accounts"),
            ("chage -l root", "Accounts"),
            ("chage --list root", "Accounts"),
            ("usermod -L deploy", "Accounts user.lock user=deploy"),
            ("journalctl -upostfix -n 5", "-"),
            ("journalctl -u postfix -n5f", "-"),
            (
                "journalctl -fupostfix",
                "Follow logs unit=postfix.service since=-5min",
            ),
            ("ps -C mysqld", "-"),
            ("ps -Clslapd", "-"),
            ("ps -fC mysqld", "-"),
            ("ps --user mysql", "-"),
            ("ps --sort vsize", "-"),
            ("ps -ely", "HiddenColumns"),
            ("ps axe", "HiddenColumns"),
            ("lsof -cnginx", "Descriptors openfiles.unit unit=NAME"),
            (
                "lsof -F /var/log/syslog",
                "Descriptors openfiles.file path=/var/log/syslog",
            ),
            ("mysql -uhans", "Services mariadb.activity"),
            ("mysql -uhans -hdb1", "Network"),
            ("mysql -hlocalhost -uhans", "Network mariadb.activity"),
            ("redis-cli -p6380", "Network redis.info port=6380"),
            ("rpm -qi bash", "-"),
            ("rpm --query --info bash", "-"),
            (
                "rpm -ivh nginx",
                "Packages package.install packages[]=nginx",
            ),
            ("docker stats --format json", "Containers containers.list"),
            ("docker --version", "-"),
            ("lsof +L1", "Descriptors disks.deleted"),
            (
                "lsof -n /var/log/syslog",
                "Descriptors openfiles.file path=/var/log/syslog",
            ),
            ("fuser -v /srv", "Descriptors openfiles.file path=/srv"),
            ("lsof /a/../b", "Descriptors openfiles.unit unit=NAME"),
            ("lsof", "Descriptors openfiles.unit unit=NAME"),
            ("lsof -nP -i :80", "Descriptors network.port port=80"),
            ("lsof -i4", "Descriptors network.listening"),
            ("lsof -nP -i 6", "Descriptors network.listening"),
            ("lsof -i:443", "Descriptors network.port port=443"),
            ("lsof -p 12", "Descriptors openfiles.process pid=12"),
            ("fuser 80/tcp", "Descriptors network.port port=80"),
            (
                "dig +short example.com",
                "Network name.lookup name=example.com",
            ),
            (
                "ping -c 1 127.0.0.1",
                "Packets network.route_to address=127.0.0.1",
            ),
            (
                "curl -sI http://localhost:8080/health",
                "Network probe.http scheme=http port=8080 path=/health",
            ),
            (
                "curl -k https://127.0.0.1",
                "Network probe.http scheme=https port=443 path=/",
            ),
            ("curl https://localhost.example.org/", "Network"),
            ("curl localhost/a;id", "Network"),
            ("nc -z localhost 25", "Network probe.tcp port=25"),
            (
                "openssl s_client -connect localhost:443 -showcerts",
                "Network probe.tls port=443",
            ),
            (
                "openssl s_client -connect a.example:443",
                "Network probe.tls",
            ),
            ("psql -l", "Services postgres.sizes"),
            ("mysql -h 127.0.0.1 -u x", "Network mariadb.activity"),
            ("redis-cli -p 6380 info", "Network redis.info port=6380"),
            (
                "fail2ban-client status sshd",
                "Services fail2ban.status jail=sshd",
            ),
            ("fail2ban-client status", "Services fail2ban.status"),
            ("chronyc sources", "Services chrony.sources"),
            (
                "systemd-analyze verify nginx.service",
                "ConfigTest units.verify unit=nginx.service",
            ),
            ("visudo -c", "ConfigTest sudoers.test"),
            (
                "logrotate -d /etc/logrotate.conf",
                "ConfigTest logrotate.test",
            ),
            ("rsync -a /etc/nginx/ /srv/", "-"),
            ("rsync -a a host:b", "Network"),
            (
                "apt-get -t x install -y nginx a.deb",
                "Packages package.install packages[]=NAME",
            ),
            (
                "apt-get -t x install -y nginx curl",
                "Packages package.install packages[]=nginx,curl",
            ),
            (
                "apt-get -o A=b install -yo Dpkg::Use-Pty=0 nginx",
                "Packages package.install packages[]=nginx",
            ),
            (
                "dnf --enablerepo epel install htop",
                "Packages package.install packages[]=htop",
            ),
            (
                "apt install a b c d e f g h i j k l m n o p",
                "Packages package.install packages[]=a,b,c,d,e,f,g,h,i,j,k,l,m,n,o,p",
            ),
            (
                "apt install a b c d e f g h i j k l m n o p q",
                "Packages package.install packages[]=NAME",
            ),
            (
                "dnf install httpd mod_ssl",
                "Packages package.install packages[]=httpd,mod_ssl",
            ),
            (
                "dnf install ImageMagick php-fpm",
                "Packages package.install packages[]=ImageMagick,php-fpm",
            ),
            (
                "dnf upgrade NetworkManager",
                "Packages package.upgrade packages[]=NetworkManager",
            ),
            (
                "apt install g++ nginx-",
                "Packages package.install packages[]=NAME",
            ),
            (
                "apt install nginx curl+",
                "Packages package.install packages[]=NAME",
            ),
            (
                "yum update httpd",
                "Packages package.upgrade packages[]=httpd",
            ),
            ("dnf update", "Packages package.upgrade packages[]=NAME"),
            ("zypper up vim", "Packages package.upgrade packages[]=vim"),
            ("dnf makecache", "PackageLists packages.updates"),
            ("zypper ref", "PackageLists packages.updates"),
            ("apt update", "PackageLists packages.updates"),
            (
                "sysctl -w vm.swappiness=1",
                "Sysctl host.sysctl name=vm.swappiness",
            ),
            (
                "smartctl -a /dev/nvme0n1",
                "Disks smart.health disk=/dev/nvme0",
            ),
            ("smartctl -a /dev/sda1", "Disks smart.health disk=/dev/sda"),
            ("smartctl -a /dev/sdab", "Disks disks.devices"),
            ("smartctl -a /dev/sda/x", "Disks disks.devices"),
            (
                "smartctl -a /dev/nvme0",
                "Disks smart.health disk=/dev/nvme0",
            ),
            (
                "smartctl -a /dev/nvme1n1p2",
                "Disks smart.health disk=/dev/nvme1",
            ),
            ("smartctl -a /dev/nvme10n1", "Disks disks.devices"),
            ("smartctl -a /dev/nvme0n1/x", "Disks disks.devices"),
            ("smartctl -a /dev/vda", "Disks disks.devices"),
            (
                "journalctl -fu nginx",
                "Follow logs unit=nginx.service since=-5min",
            ),
            ("journalctl -u nginx -n 5", "-"),
            ("git -c a=b -C /x pull", "Network"),
            ("flock /tmp/x true", "-"),
            ("kill -0 12", "Signal processes.show pid=12"),
            ("nerdctl ps", "Containers"),
            ("crictl logs web", "Containers"),
            ("ctr images ls", "Containers"),
            ("df -h /srv", "MountTable disks.usage"),
            ("df -hi", "MountTable disks.inodes"),
            ("df --inodes /", "MountTable disks.inodes"),
            ("findmnt /", "MountTable disks.mounts"),
            ("findmnt -N 1 /", "-"),
            ("findmnt --task=1", "-"),
        ] {
            assert_eq!(shown(typed), expect, "{typed}");
        }
    }

    #[test]
    fn only_checked_words_are_taken() {
        for odd in [
            "a b",
            "*",
            "x\u{202e}",
            "'",
            "$(id)",
            "{",
            "\"",
            "[a]",
            "../x",
            "-x",
            "",
        ] {
            for (_, kind) in KINDS {
                let plain = matches!(kind, Kind::Word | Kind::Long);
                assert!(plain || kind.read(odd).is_none(), "{kind:?} {odd}");
            }
        }
    }
}
