//! A typed command: its words, its options, and the kinds of values that can be taken from them.

use crate::program::Class;

pub struct TypedCommand<'a> {
    pub args: Vec<&'a str>,
    /// The arguments without options and their values.
    pub words: Vec<&'a str>,
    /// Short options after which the rest of an argument is a value.
    valued: &'static str,
}

/// Short options with a value, of programs whose rows have options or a list.
const VALUED: [(&[&str], &str); 9] = [
    (&["apt", "apt-get", "aptitude"], "cot"),
    (&["dnf", "yum"], "cdex"),
    (&["zypper"], "cr"),
    (&["journalctl"], "DFIMSTUbcginoptu"),
    (&["ps"], "CGOUgnopqstu"),
    (&["lsof"], "Dcdpu"),
    (&["psql", "pg_isready"], "FLPRTUcdfhopv"),
    (
        &["mysql", "mysqladmin", "mariadb", "mariadb-admin"],
        "DPSehpu",
    ),
    (&["redis-cli", "valkey-cli"], "adhinprstu"),
];

/// Long ones of them, whose value can be the next argument and look like a word.
const LONG_VALUED: [(&[&str], &[&str]); 3] = [
    (
        &["apt", "apt-get", "aptitude"],
        &["--config-file", "--option", "--target-release"],
    ),
    (
        &["dnf", "yum", "zypper"],
        &[
            "--config",
            "--disablerepo",
            "--enablerepo",
            "--exclude",
            "--installroot",
            "--releasever",
            "--repo",
            "--repoid",
            "--setopt",
        ],
    ),
    (
        &["ps"],
        &[
            "--Group",
            "--User",
            "--cols",
            "--columns",
            "--format",
            "--group",
            "--lines",
            "--pid",
            "--ppid",
            "--quick-pid",
            "--rows",
            "--sid",
            "--sort",
            "--tty",
            "--user",
            "--width",
        ],
    ),
];

impl<'a> TypedCommand<'a> {
    pub fn new(program: &str, args: Vec<&'a str>) -> Self {
        let valued = VALUED.iter().find(|(names, _)| names.contains(&program));
        let valued = valued.map_or("", |(_, valued)| *valued);
        Self {
            words: words(program, &args, valued),
            args,
            valued,
        }
    }
}

/// Returns the short options of one argument, and the value that follows the last of them in it.
fn short<'a>(arg: &'a str, valued: &str) -> Option<(&'a str, &'a str)> {
    let cluster = arg
        .strip_prefix('-')
        .filter(|rest| !rest.starts_with('-'))?;
    let end = cluster.find(|letter| valued.contains(letter));
    cluster.split_at_checked(end.map_or(cluster.len(), |end| end + 1))
}

fn words<'a>(program: &str, args: &[&'a str], valued: &str) -> Vec<&'a str> {
    let class = crate::known(program).map(|program| &program.class);
    let (mut with_value, verbs) = match class {
        Some(Class::Tool(tool)) if tool.verb => ([tool.with_value, tool.code].concat(), &[][..]),
        Some(Class::Tool(tool)) => (tool.with_value.to_vec(), &[][..]),
        Some(Class::ContainerRunner(runner)) => (Vec::new(), runner.verb_with_value),
        _ => (Vec::new(), &[][..]),
    };
    let long = LONG_VALUED
        .iter()
        .find(|(names, _)| names.contains(&program));
    with_value.extend(long.into_iter().flat_map(|(_, long)| *long));
    let mut words = Vec::new();
    let mut rest = args.iter();
    while let Some(arg) = rest.next() {
        let next_is_value = |(options, value): (&str, &str)| {
            value.is_empty() && options.ends_with(|last| valued.contains(last))
        };
        if with_value.contains(arg) || short(arg, valued).is_some_and(next_is_value) {
            rest.next();
        } else if !arg.starts_with('-') {
            if words.is_empty() {
                let verb = verbs.iter().find(|(verb, _)| verb == arg);
                with_value.extend(verb.into_iter().flat_map(|(_, options)| *options));
            }
            words.push(*arg);
        }
    }
    words
}

impl TypedCommand<'_> {
    pub fn option(&self, option: &str) -> Option<&str> {
        let is_long = option.len() > 2;
        let mut args = self.args.iter();
        while let Some(arg) = args.next() {
            let next = args.as_slice().first().copied().unwrap_or_default();
            let value = match is_long {
                true => arg
                    .strip_prefix(option)
                    .filter(|rest| rest.is_empty() || rest.starts_with('='))
                    .map(|rest| rest.trim_start_matches('=')),
                false => short(arg, self.valued)
                    .filter(|(options, _)| options.bytes().all(|byte| byte.is_ascii_alphanumeric()))
                    .and_then(|(options, _)| options.split_once(option.trim_start_matches('-')))
                    .and_then(|(before, _)| arg.get(before.len() + option.len()..))
                    .or_else(|| arg.strip_prefix(option)),
            };
            if let Some(value) = value {
                return Some(if value.is_empty() { next } else { value });
            }
        }
        None
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Word,
    /// A unit with its suffix; a placeholder if no such word was typed.
    Unit,
    /// The next word: what follows it can be a port, or options of ps(1).
    Container,
    Host,
    Address,
    Port,
    Pid,
    User,
    Package,
    Key,
    Disk,
    Path,
    /// Of a URL of this host itself, as `http://localhost:8080/health`.
    OwnScheme,
    /// Its port, or that of `localhost:443`.
    OwnPort,
    OwnPath,
    Private,
    /// Options of ps(1) without a dash, for the long format or the environment.
    Long,
}

pub const KINDS: [(&str, Kind); 17] = [
    ("word", Kind::Word),
    ("unit", Kind::Unit),
    ("container", Kind::Container),
    ("host", Kind::Host),
    ("address", Kind::Address),
    ("port", Kind::Port),
    ("pid", Kind::Pid),
    ("user", Kind::User),
    ("package", Kind::Package),
    ("key", Kind::Key),
    ("disk", Kind::Disk),
    ("path", Kind::Path),
    ("own-scheme", Kind::OwnScheme),
    ("own-port", Kind::OwnPort),
    ("own-path", Kind::OwnPath),
    ("private", Kind::Private),
    ("long", Kind::Long),
];

impl Kind {
    /// Returns true if the last word of this form is meant, because values of options can come before it.
    pub fn is_anywhere(self) -> bool {
        !matches!(
            self,
            Self::Word | Self::Unit | Self::Container | Self::Private | Self::Long
        )
    }

    pub fn read(self, word: &str) -> Option<String> {
        let all = |signs: &[u8], word: &str| {
            let is = |byte: u8| byte.is_ascii_alphanumeric() || signs.contains(&byte);
            word.bytes().all(is) && word.starts_with(|c: char| c.is_ascii_alphanumeric())
        };
        let number = |word: &str, most: u32| {
            let number: u32 = word.parse().ok()?;
            (1..=most).contains(&number).then(|| number.to_string())
        };
        let fits = match self {
            Self::Word => true,
            Self::Unit => return unit(word).filter(|_| all(b"-_.@:\\", word)),
            Self::Container => all(b"-_.", word) && word.len() <= 128,
            Self::Host => {
                all(b"-.", word)
                    && !word.ends_with(['.', '-'])
                    && (word.contains('.') || word == "localhost")
            }
            Self::Address => return word.parse().ok().map(|at: std::net::IpAddr| at.to_string()),
            Self::Port => {
                let word = word.trim_start_matches(':');
                let word = word.split('/').next().unwrap_or_default();
                return number(word, 65_535);
            }
            Self::Pid => return number(word, 4_194_304),
            Self::User => all(b"-_", word) && word.len() <= 32,
            Self::Package => {
                // apt takes a last '-' or '+' for an order; a name ends with two.
                let is_order = word.ends_with('-') || word.ends_with('+') && !word.ends_with("++");
                let is_file = word.ends_with(".deb") || word.ends_with(".rpm");
                all(b"+-._:", word) && !is_file && !is_order
            }
            Self::Key => {
                let key = word.split('=').next().unwrap_or_default();
                let is_key = all(b"._-/", key) && key.contains(['.', '/']);
                return is_key.then(|| key.to_owned());
            }
            Self::Disk => return disk(word),
            Self::Path => {
                let parts = word.strip_prefix('/').unwrap_or_default();
                let is_part = |part: &str| all(b"-_.+@", part);
                word.len() <= 256 && parts.split('/').all(is_part)
            }
            Self::OwnScheme => return own(word).map(|url| url.scheme.to_owned()),
            Self::OwnPort => return own(word).map(|url| url.port.to_string()),
            Self::OwnPath => return own(word).map(|url| url.path.to_owned()),
            Self::Private => {
                let private = ["/tmp/", "/var/tmp/", "/dev/shm/"];
                private.iter().any(|dir| word.starts_with(dir)) && !word.contains("..")
            }
            Self::Long => {
                word.bytes().all(|byte| byte.is_ascii_lowercase()) && word.contains(['e', 'l'])
            }
        };
        fits.then(|| word.to_owned())
    }
}

fn unit(word: &str) -> Option<String> {
    const SUFFIXES: [&str; 11] = [
        "service",
        "socket",
        "timer",
        "target",
        "mount",
        "automount",
        "path",
        "slice",
        "scope",
        "device",
        "swap",
    ];
    let suffix = word.rsplit_once('.').map(|(_, suffix)| suffix);
    let unit = match suffix.is_some_and(|suffix| SUFFIXES.contains(&suffix)) {
        true => word.to_owned(),
        false => format!("{word}.service"),
    };
    (unit.len() < 256).then_some(unit)
}

struct OwnUrl<'a> {
    scheme: &'static str,
    port: u16,
    path: &'a str,
}

/// Reads a URL, with or without its scheme, if it is of this host's loopback.
fn own(word: &str) -> Option<OwnUrl<'_>> {
    let (scheme, rest) = match word.split_once("://") {
        Some(("https", rest)) => ("https", rest),
        Some(("http", rest)) => ("http", rest),
        Some(_) => return None,
        None => ("http", word),
    };
    let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    let (host, port) = match authority.rsplit_once(':') {
        Some((host, port)) => (host, port.parse().ok().filter(|port| *port != 0)?),
        None if scheme == "https" => (authority, 443),
        None => (authority, 80),
    };
    let is_own = host == "localhost" || host == "127.0.0.1";
    // Without what a shell or a reader of the answer could take for more.
    let is_plain = path
        .bytes()
        .all(|byte| byte.is_ascii_alphanumeric() || b"/-_.".contains(&byte));
    (is_own && is_plain && path.len() < 256).then_some(OwnUrl {
        scheme,
        port,
        path: if path.is_empty() { "/" } else { path },
    })
}

/// Returns the whole disk, as `/dev/sda` of `/dev/sda1` and `/dev/nvme0` of `/dev/nvme0n1`. `/dev/sdab` is another disk than `/dev/sda`.
fn disk(word: &str) -> Option<String> {
    let name = word.strip_prefix("/dev/")?;
    let length = match name.as_bytes() {
        [b's', b'd', b'a'..=b'h', rest @ ..] if rest.iter().all(u8::is_ascii_digit) => 3,
        [b'n', b'v', b'm', b'e', b'0'..=b'7', rest @ ..]
            if matches!(rest, [] | [b'n', ..]) && rest.iter().all(u8::is_ascii_alphanumeric) =>
        {
            5
        }
        _ => return None,
    };
    Some(format!("/dev/{}", name.get(..length)?))
}
