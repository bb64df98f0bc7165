//! Commands in configuration files of root's programs: logrotate(8), apt.conf(5), dpkg(1), udev(7), interfaces(5),
//! modprobe.d(5), certbot, and those that the kernel starts by itself (sysctl.d(5)).

use super::execution::Execution;
use super::included::Includes;
use crate::facts::{Source, When};
use crate::lines::lines;
use crate::look::Look;
use crate::path::FilePath;
use crate::rule::RuleId;

pub fn look(look: &mut Look<'_>) {
    for kind in KINDS {
        files(look, &kind);
    }
}

/// A kind of configuration: the program that obeys it, and where it lies.
struct Configuration {
    program: &'static str,
    paths: &'static [&'static str],
    suffix: &'static [u8],
    /// The program ignores files that are not root's, or that others can write.
    is_of_root: bool,
    find: Find,
    /// Words by which a line names another file or directory of the kind.
    includes: &'static [&'static [u8]],
}

const KINDS: [Configuration; 8] = [
    Configuration {
        program: "/usr/sbin/logrotate",
        paths: &["/etc/logrotate.conf", "/etc/logrotate.d"],
        suffix: b"",
        is_of_root: true,
        find: logrotate,
        includes: &[b"include"],
    },
    Configuration {
        program: "/usr/bin/apt-get",
        paths: &["/etc/apt/apt.conf", "/etc/apt/apt.conf.d"],
        suffix: b"",
        is_of_root: false,
        find: apt,
        includes: &[],
    },
    Configuration {
        program: "/usr/bin/dpkg",
        paths: &["/etc/dpkg/dpkg.cfg", "/etc/dpkg/dpkg.cfg.d"],
        suffix: b"",
        is_of_root: false,
        find: dpkg,
        includes: &[],
    },
    Configuration {
        program: "/usr/bin/udevadm",
        paths: &[
            "/etc/udev/rules.d",
            "/run/udev/rules.d",
            "/usr/lib/udev/rules.d",
        ],
        suffix: b".rules",
        is_of_root: false,
        find: udev,
        includes: &[],
    },
    Configuration {
        program: "/usr/sbin/ifup",
        paths: &["/etc/network/interfaces", "/etc/network/interfaces.d"],
        suffix: b"",
        is_of_root: false,
        find: interfaces,
        includes: &[b"source", b"source-directory"],
    },
    Configuration {
        program: "/usr/sbin/modprobe",
        paths: &["/etc/modprobe.d", "/run/modprobe.d", "/usr/lib/modprobe.d"],
        suffix: b".conf",
        is_of_root: false,
        find: modprobe,
        includes: &[],
    },
    Configuration {
        program: "/usr/bin/certbot",
        paths: &["/etc/letsencrypt/cli.ini", "/etc/letsencrypt/renewal"],
        suffix: b".conf",
        is_of_root: false,
        find: certbot,
        includes: &[],
    },
    Configuration {
        program: "/usr/lib/systemd/systemd-sysctl",
        paths: &[
            "/etc/sysctl.conf",
            "/etc/sysctl.d",
            "/run/sysctl.d",
            "/usr/lib/sysctl.d",
        ],
        suffix: b".conf",
        is_of_root: false,
        find: sysctl,
        includes: &[],
    },
];

/// Finds commands in one file: the line's number, the line, and the text that is executed.
type Find = fn(&[u8]) -> Vec<(usize, Vec<u8>, Vec<u8>)>;

/// Reads files and directories of files, if the program that obeys them is there.
fn files(look: &mut Look<'_>, kind: &Configuration) {
    if look.machine.entry(&FilePath::fixed(kind.program)).is_none() {
        return;
    }
    let obeys = match kind.is_of_root {
        true => Look::obeys_roots,
        false => Look::obeys,
    };
    let paths = kind
        .paths
        .iter()
        .rev()
        .map(|path| (FilePath::fixed(path), ()));
    let mut left = Includes::new(paths);
    while let Some((path, ())) = left.take(look) {
        if !look.exists(&path) {
            continue;
        }
        let source = Source::whole(&path);
        let rule = RuleId::ConfiguredFile;
        obeys(look, 0, path.clone(), rule, &When::ByItself, &source);
        let names = look.machine.list(&path).into_iter();
        let names = names.filter(|name| name.ends_with(kind.suffix));
        let inside: Vec<FilePath> = names.filter_map(|name| path.join(name)).collect();
        for file in inside.into_iter().chain([path]) {
            if kind.is_of_root && !look.is_private(&file, 0) {
                continue;
            }
            let Some(content) = look.machine.read(&file) else {
                continue;
            };
            let source = Source::whole(&file);
            obeys(look, 0, file.clone(), rule, &When::ByItself, &source);
            let above = file.parent().unwrap_or_else(FilePath::root);
            for word in included(kind, &content) {
                left.add(look, &file, &above, word, &());
            }
            for (number, line, text) in (kind.find)(&content) {
                let source = Source::line(&file, number, &line);
                let mut by = Execution::new(0, RuleId::ConfiguredProgram, When::ByItself, source);
                if kind.program.ends_with("udevadm") {
                    by.path = vec![FilePath::fixed("/usr/lib/udev")];
                }
                look.shell_text(&by, &text);
            }
        }
    }
}

/// Returns the files and directories that lines name behind a word for it.
fn included<'c>(kind: &Configuration, content: &'c [u8]) -> Vec<&'c [u8]> {
    let named = lines(content).flat_map(|(_, line)| {
        let words = line.split(u8::is_ascii_whitespace);
        let mut words = words.filter(|word| !word.is_empty());
        let is_one = words
            .next()
            .is_some_and(|word| kind.includes.contains(&word));
        words.filter(move |_| is_one)
    });
    let is_quote = |byte: u8| matches!(byte, b'"' | b'\'');
    let bare = named.map(|word| match word {
        [first, inner @ .., last] if is_quote(*first) && first == last => inner,
        word => word,
    });
    bare.collect()
}

/// The texts between `postrotate` and its like, and `endscript`, and programs that compress.
fn logrotate(content: &[u8]) -> Vec<(usize, Vec<u8>, Vec<u8>)> {
    const BEGIN: [&[u8]; 5] = [
        b"prerotate",
        b"postrotate",
        b"firstaction",
        b"lastaction",
        b"preremove",
    ];
    let mut found = Vec::new();
    let mut script: Option<(usize, Vec<u8>, Vec<u8>)> = None;
    for (number, line) in lines(content) {
        match (line.trim_ascii(), &mut script) {
            (b"endscript", _) => found.extend(script.take()),
            (begin, None) if BEGIN.contains(&begin) => script = Some(Default::default()),
            (text, None) => {
                let names = [&b"compresscmd"[..], b"uncompresscmd"];
                let rest = names.iter().find_map(|name| text.strip_prefix(*name));
                let rest = rest.filter(|rest| rest.first().is_some_and(u8::is_ascii_whitespace));
                found.extend(rest.map(|rest| (number, line.to_vec(), rest.trim_ascii().to_vec())));
            }
            (text, Some(script)) => {
                if script.2.is_empty() {
                    *script = (number, line.to_vec(), Vec::new());
                }
                script.2.extend_from_slice(text);
                script.2.push(b'\n');
            }
        }
    }
    found.extend(script);
    found
}

/// Quoted texts after a name that ends with `Invoke`, `Options` or `Pre-Install-Pkgs`, until the brace or line ends.
fn apt(content: &[u8]) -> Vec<(usize, Vec<u8>, Vec<u8>)> {
    let mut found = Vec::new();
    let mut is_hook = false;
    for (number, line) in lines(content) {
        if matches!(line.trim_ascii_start(), [b'/', b'/', ..] | [b'#', ..]) {
            continue;
        }
        let lower = line.to_ascii_lowercase();
        let names = [
            &b"invoke"[..],
            b"pre-install-pkgs",
            b"post-invoke-success",
            b"post-invoke-stats",
        ];
        is_hook |= names
            .iter()
            .any(|name| lower.windows(name.len()).any(|part| part == *name));
        if is_hook {
            let quoted = line.split(|byte| *byte == b'"').skip(1).step_by(2);
            found.extend(quoted.map(|text| (number, line.to_vec(), text.to_vec())));
        }
        let is_open = line.contains(&b'{') || !line.contains(&b';');
        is_hook &= is_open && !line.contains(&b'}');
    }
    found
}

fn dpkg(content: &[u8]) -> Vec<(usize, Vec<u8>, Vec<u8>)> {
    let commands = lines(content).filter_map(|(number, line)| {
        let text = line.trim_ascii();
        let names = [&b"pre-invoke"[..], b"post-invoke", b"status-logger"];
        let rest = names.iter().find_map(|name| text.strip_prefix(*name))?;
        let command = rest.trim_ascii_start().strip_prefix(b"=").unwrap_or(rest);
        let is_quote = |byte: &u8| matches!(byte, b'"' | b'\'');
        let command: Vec<u8> = command
            .iter()
            .copied()
            .filter(|byte| !is_quote(byte))
            .collect();
        Some((number, line.to_vec(), command))
    });
    commands.collect()
}

/// Values of `RUN`, `PROGRAM`, `IMPORT{program}` and `SYSTEMD_WANTS`.
fn udev(content: &[u8]) -> Vec<(usize, Vec<u8>, Vec<u8>)> {
    let mut found = Vec::new();
    for (number, line) in lines(content) {
        if line.trim_ascii_start().first() == Some(&b'#') {
            continue;
        }
        let mut parts = line.split(|byte| *byte == b'"');
        while let (Some(key), Some(value)) = (parts.next(), parts.next()) {
            let key = key.rsplit(|byte| *byte == b',').next().unwrap_or_default();
            let key = key.trim_ascii();
            let is_command = [&b"RUN"[..], b"PROGRAM", b"IMPORT{program}"]
                .iter()
                .any(|own| key.starts_with(own));
            if is_command && !key.starts_with(b"RUN{builtin}") {
                found.push((number, line.to_vec(), value.to_vec()));
            }
            // The manager starts these for the device, systemd.device(5).
            let operator = key
                .strip_prefix(b"ENV{SYSTEMD_WANTS}")
                .map(<[u8]>::trim_ascii);
            if matches!(operator, Some(b"=" | b"+=" | b":=")) {
                let text = [b"/usr/bin/systemctl start ", value].concat();
                found.push((number, line.to_vec(), text));
            }
        }
    }
    found
}

/// `up COMMAND` and the like.
fn interfaces(content: &[u8]) -> Vec<(usize, Vec<u8>, Vec<u8>)> {
    const BEFORE: [&[u8]; 6] = [
        b"up",
        b"pre-up",
        b"post-up",
        b"down",
        b"pre-down",
        b"post-down",
    ];
    behind(content, 1, |words| {
        words.first().is_some_and(|word| BEFORE.contains(word))
    })
}

/// `install MODULE COMMAND`, and `remove`.
fn modprobe(content: &[u8]) -> Vec<(usize, Vec<u8>, Vec<u8>)> {
    behind(content, 2, |words| {
        matches!(words.first(), Some(&b"install" | &b"remove"))
    })
}

/// Lines that begin so: each with what follows after so many words.
fn behind(
    content: &[u8],
    count: usize,
    is_one: fn(&[&[u8]]) -> bool,
) -> Vec<(usize, Vec<u8>, Vec<u8>)> {
    let is_space = |byte: &u8| byte.is_ascii_whitespace();
    let commands = lines(content).filter_map(|(number, line)| {
        let mut rest = line.trim_ascii();
        let mut words = Vec::new();
        for _ in 0..count {
            let end = rest.iter().position(is_space)?;
            let (word, after) = rest.split_at(end);
            words.push(word);
            rest = after.trim_ascii_start();
        }
        is_one(&words).then(|| (number, line.to_vec(), rest.to_vec()))
    });
    commands.collect()
}

/// Values of `renew_hook` and the like.
fn certbot(content: &[u8]) -> Vec<(usize, Vec<u8>, Vec<u8>)> {
    assigned(content, |name| {
        let name = name.to_ascii_lowercase();
        let kinds = [&b"pre"[..], b"post", b"renew", b"deploy"];
        let kind = name.strip_suffix(b"hook").and_then(<[u8]>::split_last);
        kind.is_some_and(|(sign, kind)| b"_-".contains(sign) && kinds.contains(&kind))
    })
}

/// Programs that the kernel starts as root: for a core dump, by `|PROGRAM`, and to load a module.
fn sysctl(content: &[u8]) -> Vec<(usize, Vec<u8>, Vec<u8>)> {
    let is_own = |name: &[u8]| {
        let name = name.strip_prefix(b"-").unwrap_or(name);
        let own = [
            &b"core_pattern"[..],
            b"modprobe",
            b"poweroff_cmd",
            b"hotplug",
        ];
        let rest = name.strip_prefix(b"kernel");
        rest.and_then(<[u8]>::split_first)
            .is_some_and(|(sign, rest)| b"./".contains(sign) && own.contains(&rest))
    };
    let found = assigned(content, is_own).into_iter();
    let found = found.filter_map(|(number, line, value)| {
        let program = value.strip_prefix(b"|").unwrap_or(&value);
        let is_path = program.starts_with(b"/");
        let program = program.to_vec();
        is_path.then_some((number, line, program))
    });
    found.collect()
}

/// `NAME = VALUE`.
fn assigned(content: &[u8], is_one: fn(&[u8]) -> bool) -> Vec<(usize, Vec<u8>, Vec<u8>)> {
    let values = lines(content).filter_map(|(number, line)| {
        let at = line.iter().position(|byte| *byte == b'=')?;
        let (name, value) = line.split_at(at);
        let value = value.strip_prefix(b"=").unwrap_or(value).trim_ascii();
        is_one(name.trim_ascii()).then(|| (number, line.to_vec(), value.to_vec()))
    });
    values.collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn texts(find: Find, content: &str) -> Vec<(usize, String)> {
        let found = find(content.as_bytes()).into_iter();
        let found =
            found.map(|(line, _, text)| (line, String::from_utf8_lossy(&text).into_owned()));
        found.collect()
    }

    fn one(line: usize, text: &str) -> (usize, String) {
        (line, text.to_owned())
    }

    #[test]
    fn commands_are_found() {
        let found = texts(
            logrotate,
            "/var/log/x {\n daily\n postrotate\n  /opt/x\n endscript\n}\n/not {}\n",
        );
        assert_eq!(found, [one(4, "/opt/x\n")]);
        let found = texts(
            logrotate,
            "a {\npostrotate\n cd /srv\n ./x\nendscript\nprerotate\n y",
        );
        assert_eq!(found, [one(3, "cd /srv\n./x\n"), one(7, "y\n")]);
        let found = texts(
            logrotate,
            "compresscmd /opt/z -9\ncompress\na { uncompresscmd }\n",
        );
        assert_eq!(found, [one(1, "/opt/z -9")]);
        let found = texts(
            apt,
            "// Invoke \"a\"\nDPkg::Post-Invoke {\"/opt/a\"; \"b\";};\nAPT::X \"no\";\nDPkg::Pre-Invoke {\n\"c\";\n};\nY \"z\";",
        );
        assert_eq!(found, [one(2, "/opt/a"), one(2, "b"), one(5, "c")]);
        let found = texts(dpkg, "log /x\npost-invoke=\"/opt/a b\"\n");
        assert_eq!(found, [one(2, "/opt/a b")]);
        let found = texts(
            udev,
            "# RUN+=\"x\"\nKERNEL==\"sd*\", RUN+=\"/opt/a $k\", PROGRAM=\"b\", RUN{builtin}+=\"kmod\"\n",
        );
        assert_eq!(found, [one(2, "/opt/a $k"), one(2, "b")]);
        let found = texts(udev, "RUN+=\"/bin/sh -c '/opt/a, b'\", ENV{x}=\"RUN\"\n");
        assert_eq!(found, [one(1, "/bin/sh -c '/opt/a, b'")]);
        let found = texts(
            interfaces,
            "iface lo inet loopback\n  post-up /opt/a b\n\tup c || true\nupper d\n",
        );
        assert_eq!(found, [one(2, "/opt/a b"), one(3, "c || true")]);
        let found = texts(
            modprobe,
            "options a b=1\ninstall a /opt/a; true\nremove b\n",
        );
        assert_eq!(found, [one(2, "/opt/a; true")]);
        let found = texts(
            certbot,
            "# pre_hook = no\nrenew_hook = /opt/a\ndeploy-hook=b\nhook = c\n",
        );
        assert_eq!(found, [one(2, "/opt/a"), one(3, "b")]);
        let found = texts(
            sysctl,
            "kernel.core_pattern = |/opt/a %P\nkernel/modprobe=/opt/b\nkernel.core_pattern=core\nkernel.x=/c\n",
        );
        assert_eq!(found, [one(1, "/opt/a %P"), one(2, "/opt/b")]);
    }

    proptest! {
        #[test]
        fn any_bytes_are_read(bytes: Vec<u8>) {
            for find in KINDS.map(|kind| kind.find) {
                let _ = find(&bytes);
            }
        }
    }
}
