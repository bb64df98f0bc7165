//! Commands in configuration files of root's programs: logrotate(8), apt.conf(5), dpkg(1), udev(7).

use super::execution::Execution;
use super::systemd::words;
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
}

const KINDS: [Configuration; 4] = [
    Configuration {
        program: "/usr/sbin/logrotate",
        paths: &["/etc/logrotate.conf", "/etc/logrotate.d"],
        suffix: b"",
        is_of_root: true,
        find: logrotate,
    },
    Configuration {
        program: "/usr/bin/apt-get",
        paths: &["/etc/apt/apt.conf", "/etc/apt/apt.conf.d"],
        suffix: b"",
        is_of_root: false,
        find: apt,
    },
    Configuration {
        program: "/usr/bin/dpkg",
        paths: &["/etc/dpkg/dpkg.cfg", "/etc/dpkg/dpkg.cfg.d"],
        suffix: b"",
        is_of_root: false,
        find: dpkg,
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
    for path in kind.paths.iter().map(|path| FilePath::fixed(path)) {
        if !look.exists(&path) {
            continue;
        }
        obeys(
            look,
            0,
            path.clone(),
            RuleId::ConfiguredFile,
            &When::ByItself,
            &Source::whole(&path),
        );
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
            obeys(
                look,
                0,
                file.clone(),
                RuleId::ConfiguredFile,
                &When::ByItself,
                &Source::whole(&file),
            );
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

/// The texts between `postrotate` and its like, and `endscript`.
fn logrotate(content: &[u8]) -> Vec<(usize, Vec<u8>, Vec<u8>)> {
    const BEGIN: [&[u8]; 5] = [
        b"prerotate",
        b"postrotate",
        b"firstaction",
        b"lastaction",
        b"preremove",
    ];
    let mut found = Vec::new();
    let mut is_script = false;
    for (number, line) in lines(content) {
        match line.trim_ascii() {
            b"endscript" => is_script = false,
            begin if BEGIN.contains(&begin) => is_script = true,
            text if is_script => found.push((number, line.to_vec(), text.to_vec())),
            _ => {}
        }
    }
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

/// Values of `RUN`, `PROGRAM` and `IMPORT{program}`.
fn udev(content: &[u8]) -> Vec<(usize, Vec<u8>, Vec<u8>)> {
    let mut found = Vec::new();
    for (number, line) in lines(content) {
        if line.trim_ascii_start().first() == Some(&b'#') {
            continue;
        }
        for part in line.split(|byte| *byte == b',') {
            let part = part.trim_ascii();
            let is_command = [&b"RUN"[..], b"PROGRAM", b"IMPORT{program}"]
                .iter()
                .any(|key| part.starts_with(key));
            let value = part.split(|byte| *byte == b'"').nth(1);
            if let (true, Some(value), false) =
                (is_command, value, part.starts_with(b"RUN{builtin}"))
            {
                let program = words(value).into_iter().next().unwrap_or_default();
                found.push((number, line.to_vec(), program));
            }
        }
    }
    found
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
        assert_eq!(found, [one(4, "/opt/x")]);
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
        assert_eq!(found, [one(2, "/opt/a"), one(2, "b")]);
    }

    proptest! {
        #[test]
        fn any_bytes_are_read(bytes: Vec<u8>) {
            for find in [logrotate, apt, dpkg, udev] {
                let _ = find(&bytes);
            }
        }
    }
}
