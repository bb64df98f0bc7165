//! `fleet.toml`: which hosts there are, their tags, limits, and the ssh to start. [`parse`] is pure; [`load`] reads the
//! files. It holds no secret, no key and no policy: each host decides by itself.

mod limits;
mod ssh_names;

use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use crate::host_name::HostName;
use crate::selector::{self, Selectable};

pub use limits::Limits;
pub use ssh_names::SshNames;

/// Bytes of the file.
const LARGEST: u64 = 1 << 20;
const HOSTS: usize = 4096;
/// Bytes of a command line in a sentence.
const TYPED: usize = 400;

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    hosts: HostsTable,
    tags: BTreeMap<String, Vec<String>>,
    limits: Limits,
    ssh: SshTable,
    files: FilesTable,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct HostsTable {
    include: Vec<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct SshTable {
    program: Option<PathBuf>,
    config: Option<PathBuf>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct FilesTable {
    directory: Option<PathBuf>,
}

/// The ssh that is started, and its configuration.
#[derive(Clone, Debug)]
pub struct Ssh {
    pub program: PathBuf,
    /// Passed as `-F`. `None`: ssh reads its usual files.
    pub config: Option<PathBuf>,
}

impl Ssh {
    /// Returns how a person types it, before its options.
    pub fn typed(&self) -> String {
        let mut words = vec![self.program.as_os_str().as_encoded_bytes()];
        if let Some(config) = &self.config {
            words.extend([b"-F", config.as_os_str().as_encoded_bytes()]);
        }
        remit_common::text::command_line(&words, TYPED)
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Host {
    pub name: HostName,
    pub tags: Vec<String>,
}

impl Selectable for Host {
    fn name(&self) -> &str {
        self.name.as_str()
    }

    fn has_tag(&self, tag: &str) -> bool {
        self.tags.iter().any(|one| one == tag)
    }

    fn tags(&self) -> &[String] {
        &self.tags
    }
}

/// All that the configuration says.
#[derive(Debug)]
pub struct Fleet {
    /// How a person types this program with this configuration.
    pub typed: String,
    pub hosts: Vec<Host>,
    pub limits: Limits,
    pub ssh: Ssh,
    /// Where models may send files from and fetch files to. `None`: nowhere.
    pub files: Option<PathBuf>,
}

/// A sentence about what is wrong, and the file.
#[derive(Debug, PartialEq, Eq)]
pub struct ConfigError(pub String);

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Directories of the user that the configuration is in.
#[derive(Clone, Debug)]
pub struct UserPaths {
    pub home: PathBuf,
    /// `XDG_CONFIG_HOME`, or its default.
    pub config: PathBuf,
}

impl UserPaths {
    /// Returns the directories, or `None` if `HOME` is not set.
    pub fn from_env() -> Option<Self> {
        let absolute = |name: &str| {
            let path = PathBuf::from(std::env::var_os(name)?);
            path.is_absolute().then_some(path)
        };
        let home = absolute("HOME")?;
        let config = absolute("XDG_CONFIG_HOME").unwrap_or_else(|| home.join(".config"));
        Some(Self { home, config })
    }

    pub fn file(&self) -> PathBuf {
        self.config.join("remit/fleet.toml")
    }
}

/// Reads the configuration and the names in ssh's.
pub fn load(paths: &UserPaths, file: &Path) -> Result<Fleet, ConfigError> {
    let text = read(file)?;
    let config = parse(&text).map_err(|why| wrong(file, &why))?;
    let expanded = |path: &PathBuf| match path.strip_prefix("~") {
        Ok(rest) => paths.home.join(rest),
        Err(_) => path.clone(),
    };
    let ssh = Ssh {
        program: config.ssh.program.as_ref().map_or("ssh".into(), expanded),
        config: config.ssh.config.as_ref().map(expanded),
    };
    let own = paths.home.join(".ssh/config");
    let names = SshNames::read(&paths.home, ssh.config.as_deref().unwrap_or(&own));
    let hosts = hosts(&config, &names).map_err(|why| wrong(file, &why))?;
    Ok(Fleet {
        typed: typed(paths, file),
        hosts,
        limits: config.limits,
        ssh,
        files: config.files.directory.as_ref().map(expanded),
    })
}

fn typed(paths: &UserPaths, file: &Path) -> String {
    let mut words: Vec<&[u8]> = vec![b"remit-fleet"];
    if file != paths.file() {
        words.extend([b"--config", file.as_os_str().as_encoded_bytes()]);
    }
    remit_common::text::command_line(&words, TYPED)
}

fn read(file: &Path) -> Result<String, ConfigError> {
    let shown = file.display();
    let about = |why: &dyn fmt::Display| ConfigError(format!("cannot read '{shown}': {why}"));
    let size = match fs::metadata(file) {
        Ok(metadata) => metadata.len(),
        Err(error) if error.kind() == ErrorKind::NotFound => {
            return Err(ConfigError(format!(
                "no hosts: '{shown}' is not there; write in it '[hosts]' and 'include = [\"HOST\"]', \
                 with names of ~/.ssh/config"
            )));
        }
        Err(error) => return Err(about(&error)),
    };
    if size > LARGEST {
        return Err(about(&format!("it has more than {LARGEST} bytes")));
    }
    fs::read_to_string(file).map_err(|error| about(&error))
}

fn wrong(file: &Path, why: &str) -> ConfigError {
    ConfigError(format!("'{}': {why}", file.display()))
}

pub fn parse(text: &str) -> Result<Config, String> {
    let config: Config = toml::from_str(text).map_err(|error| {
        let before = error.span().and_then(|span| text.get(..span.start));
        let line = before.map(|before| before.matches('\n').count() + 1);
        match line {
            Some(line) => format!("line {line}: {}", error.message()),
            None => error.message().to_owned(),
        }
    })?;
    config.limits.check()?;
    for (name, path) in [
        ("[ssh] program", &config.ssh.program),
        ("[ssh] config", &config.ssh.config),
        ("[files] directory", &config.files.directory),
    ] {
        if path
            .as_ref()
            .is_some_and(|path| !path.is_absolute() && !path.starts_with("~"))
        {
            return Err(format!(
                "{name}: give an absolute path, or one that begins with '~/'"
            ));
        }
    }
    Ok(config)
}

/// Returns the hosts in the order of `include`, each once.
fn hosts(config: &Config, names: &SshNames) -> Result<Vec<Host>, String> {
    let include = &config.hosts.include;
    if include.is_empty() {
        return Err("[hosts] include names no host; as 'include = [\"web*\", \"db1\"]'".to_owned());
    }
    let mut found: Vec<HostName> = Vec::new();
    for word in include.iter().filter(|word| !word.starts_with('!')) {
        if remit_openssh::is_literal(word) {
            found.push(word.parse().map_err(|why| format!("'{word}': {why}"))?);
            continue;
        }
        if let Some(why) = &names.unread {
            return Err(format!(
                "include: '{word}' may match a 'Host' that is not known: '{}': {why}; name the hosts, without '*' and '?'",
                names.file.display()
            ));
        }
        let before = found.len();
        let fitting = names.all.iter();
        found.extend(
            fitting
                .filter(|name| remit_openssh::matches(word, name.as_str()))
                .cloned(),
        );
        if found.len() == before {
            return Err(format!(
                "include: '{word}' matches no 'Host' of '{}', and hosts are not guessed",
                names.file.display()
            ));
        }
    }
    for word in include.iter().filter_map(|word| word.strip_prefix('!')) {
        let before = found.len();
        found.retain(|name| !remit_openssh::matches(word, name.as_str()));
        if found.len() == before {
            return Err(format!("include: '!{word}' excludes no host"));
        }
    }
    let mut hosts: Vec<Host> = Vec::new();
    for name in found {
        if !hosts.iter().any(|host| host.name == name) {
            let tags = Vec::new();
            hosts.push(Host { name, tags });
        }
    }
    match hosts.len() {
        0 => return Err("include: every host is excluded".to_owned()),
        1..=HOSTS => {}
        more => return Err(format!("{more} hosts, at most {HOSTS}")),
    }
    tag(&mut hosts, &config.tags)?;
    Ok(hosts)
}

fn tag(hosts: &mut [Host], tags: &BTreeMap<String, Vec<String>>) -> Result<(), String> {
    for (tag, words) in tags {
        let is_plain = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
        if tag.is_empty() || tag.len() > 64 || !tag.chars().all(is_plain) {
            let tag = remit_common::text::line(tag.as_bytes(), 64);
            return Err(format!(
                "tag '{tag}': letters, digits, '.', '_', '-', at most 64"
            ));
        }
        if let Some(nested) = words.iter().find(|word| word.contains("tag:")) {
            return Err(format!("tag '{tag}': '{nested}' names a tag; name hosts"));
        }
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        let chosen =
            selector::select(hosts, &words).map_err(|why| format!("tag '{tag}': {why}"))?;
        for at in chosen {
            if let Some(host) = hosts.get_mut(at) {
                host.tags.push(tag.clone());
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(all: &[&str]) -> SshNames {
        SshNames {
            file: "/home/ann/.ssh/config".into(),
            all: all.iter().map(|name| name.parse().unwrap()).collect(),
            unread: None,
        }
    }

    fn shown(text: &str) -> Result<String, String> {
        let config = parse(text)?;
        let hosts = hosts(&config, &names(&["bastion", "web1", "web2", "db1"]))?;
        let shown = hosts.iter().map(|host| match host.tags.is_empty() {
            true => host.name.to_string(),
            false => format!("{}:{}", host.name, host.tags.join("+")),
        });
        Ok(shown.collect::<Vec<_>>().join(" "))
    }

    #[test]
    fn another_file_is_typed_again() {
        let paths = UserPaths {
            home: "/h".into(),
            config: "/h/.config".into(),
        };
        for (file, expect) in [
            ("/h/.config/remit/fleet.toml", "remit-fleet"),
            ("a.toml", "remit-fleet --config a.toml"),
            ("/h/x y", "remit-fleet --config '/h/x y'"),
        ] {
            assert_eq!(typed(&paths, Path::new(file)), expect);
        }
    }

    #[test]
    fn hosts_are_names_of_ssh_or_literal() {
        for (text, expect) in [
            ("[hosts]\ninclude=['db1']", "db1"),
            (
                "[hosts]\ninclude=['other.example.org']",
                "other.example.org",
            ),
            ("[hosts]\ninclude=['web*','db1','web1']", "web1 web2 db1"),
            ("[hosts]\ninclude=['*','!bastion']", "web1 web2 db1"),
            (
                "[hosts]\ninclude=['*']\n[tags]\nprod=['web*','db1','!web2']\nedge=['bastion','web1']",
                "bastion:edge web1:edge+prod web2 db1:prod",
            ),
        ] {
            assert_eq!(shown(text).as_deref(), Ok(expect), "{text}");
        }
    }

    /// A host that is left out in silence would not be locked.
    #[test]
    fn pattern_needs_all_names() {
        let names = SshNames {
            unread: Some("it includes more than 4096 files".to_owned()),
            ..names(&["web1", "web2"])
        };
        let chosen = |text: &str| hosts(&parse(text).unwrap(), &names);
        let expect = "include: 'web*' may match a 'Host' that is not known: '/home/ann/.ssh/config': it includes more than 4096 \
            files; name the hosts, without '*' and '?'";
        let refused = chosen("[hosts]\ninclude=['web1','web*']");
        assert_eq!(refused, Err(expect.to_owned()));
        let named = chosen("[hosts]\ninclude=['web1','web2','!web2*']");
        assert_eq!(named.unwrap().len(), 1);
    }

    #[test]
    fn wrong_configuration_is_refused_with_a_sentence() {
        for (text, expect) in [
            ("", "[hosts] include names no host"),
            ("[hosts]\ninclude=[]", "[hosts] include names no host"),
            (
                "[hosts]\nincldue=['a']",
                "line 2: unknown field `incldue`, expected `include`",
            ),
            ("[host]\n", "line 1: unknown field `host`"),
            ("[hosts]\ninclude='a'", "line 2: invalid type: string"),
            ("[hosts]\ninclude=['a'", "line 2: "),
            (
                "[hosts]\ninclude=['-oProxyCommand=x']",
                "'-oProxyCommand=x': the name of a host",
            ),
            (
                "[hosts]\ninclude=['ann@web1']",
                "'ann@web1': the name of a host",
            ),
            (
                "[hosts]\ninclude=['mail*']",
                "include: 'mail*' matches no 'Host'",
            ),
            (
                "[hosts]\ninclude=['web1','!web2']",
                "include: '!web2' excludes no host",
            ),
            (
                "[hosts]\ninclude=['web1','!web1']",
                "include: every host is excluded",
            ),
            (
                "[hosts]\ninclude=['web1']\n[tags]\nx=['web2']",
                "tag 'x': no host is named 'web2'",
            ),
            (
                "[hosts]\ninclude=['web1']\n[tags]\nx=['tag:y']",
                "tag 'x': 'tag:y' names a tag",
            ),
            (
                "[hosts]\ninclude=['web1']\n[tags]\n'a b'=['web1']",
                "tag 'a b': letters",
            ),
            (
                "[limits]\nparallel=0",
                "[limits] parallel: 0 is not in 1..=64",
            ),
            (
                "[limits]\nmasters=65",
                "[limits] masters: 65 is not in 0..=64",
            ),
            (
                "[limits]\nconnect_s=-1",
                "line 2: invalid value: integer `-1`",
            ),
            (
                "[ssh]\nprogram='ssh'",
                "[ssh] program: give an absolute path",
            ),
            (
                "[ssh]\nconfig='.ssh/fleet'",
                "[ssh] config: give an absolute path, or one that begins with '~/'",
            ),
            (
                "[files]\ndirectory='files'",
                "[files] directory: give an absolute path",
            ),
            ("[ssh]\noptions=['-v']", "line 2: unknown field `options`"),
        ] {
            let error = shown(text).unwrap_err();
            assert!(error.starts_with(expect), "{text}: {error}");
        }
    }

    #[test]
    fn missing_file_says_what_to_write() {
        let paths = UserPaths {
            home: "/nonexistent".into(),
            config: "/nonexistent/.config".into(),
        };
        let error = load(&paths, &paths.file()).unwrap_err().0;
        assert!(
            error.contains("'/nonexistent/.config/remit/fleet.toml' is not there"),
            "{error}"
        );
        assert!(error.contains("include = [\"HOST\"]"), "{error}");
    }
}
