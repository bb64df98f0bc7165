//! What programs write that unpack archives, fetch files and mount file systems.

use super::sudo_writes::{Change, Decider, WriteTarget, WritingProgram};
use crate::split_words::SplitWords;

/// Files of an archive: beneath a directory, and tar(1) and cpio(1) as root give them owners and set-id bits as well.
pub(super) fn archive(writer: &WritingProgram<'_>) -> Vec<Change> {
    let Some(Unpacked {
        archive,
        directory,
        keeps_rights,
    }) = unpacked(writer)
    else {
        return Vec::new();
    };
    let source = match archive.as_deref() {
        None | Some("-") if !writer.has_input => return Vec::new(),
        None | Some("-") => None,
        Some(file) => writer.source(file),
    };
    let own = (WriteTarget::Account(writer.runas), source.clone());
    let beneath = match (directory, writer.directory) {
        (Some(directory), _) => writer.target(&directory),
        (None, Some(directory)) => Some(WriteTarget::File(directory.clone())),
        // The caller's own directory may be any.
        (None, None) => return vec![own],
    };
    let own = Some(own).filter(|_| keeps_rights && writer.runas == 0);
    let beneath = beneath.map(|beneath| (beneath, source));
    beneath.into_iter().chain(own).collect()
}

struct Unpacked {
    /// `None`: its standard input.
    archive: Option<String>,
    directory: Option<String>,
    keeps_rights: bool,
}

/// Returns `None` if nothing is unpacked.
fn unpacked(writer: &WritingProgram<'_>) -> Option<Unpacked> {
    let owned = |word: Option<&str>| word.map(str::to_owned);
    let words = writer.words;
    match writer.name {
        "tar" | "bsdtar" => {
            let words = with_hyphens(words);
            let words: Vec<&str> = words.iter().map(String::as_str).collect();
            let values = [
                "-f",
                "--file",
                "-C",
                "--directory",
                "-T",
                "--files-from",
                "-X",
                "--exclude-from",
            ];
            let split = SplitWords::from_words(&words, &values);
            split.has(&["-x", "--extract", "--get"]).then(|| Unpacked {
                archive: owned(split.value(&["-f", "--file"])),
                directory: owned(split.value(&["-C", "--directory"])),
                keeps_rights: true,
            })
        }
        "cpio" => {
            let values = [
                "-F",
                "--file",
                "-I",
                "-D",
                "--directory",
                "-E",
                "-H",
                "--format",
            ];
            let split = SplitWords::from_words(words, &values);
            let is_unpacked = split.has(&["-i", "--extract"]) && !split.has(&["-t", "--list"]);
            is_unpacked.then(|| Unpacked {
                archive: owned(split.value(&["-F", "--file", "-I"])),
                directory: owned(split.value(&["-D", "--directory"])),
                keeps_rights: true,
            })
        }
        "unzip" => {
            let split = SplitWords::from_words(words, &["-d", "-x", "-P"]);
            let looks = split.has(&["-l", "-t", "-v", "-Z", "-p", "-z", "-c"]);
            let archive = split.operands.first().copied();
            archive.filter(|_| !looks).map(|archive| Unpacked {
                archive: Some(archive.to_owned()),
                directory: owned(split.value(&["-d"])),
                keeps_rights: split.has(&["-K"]),
            })
        }
        _ => {
            let mut operands = words.iter().filter(|word| !word.starts_with('-'));
            let verb = operands.next()?;
            let directory = words.iter().find_map(|word| word.strip_prefix("-o"));
            ["x", "e"].contains(verb).then(|| Unpacked {
                archive: operands.next().map(|word| (*word).to_owned()),
                directory: owned(directory),
                keeps_rights: false,
            })
        }
    }
}

/// tar(1) takes letters without a hyphen as the first word. Their values follow in the order of the letters.
fn with_hyphens(words: &[&str]) -> Vec<String> {
    let (first, rest) = match words.split_first() {
        Some((first, rest)) if !first.starts_with('-') => (*first, rest),
        _ => ("", words),
    };
    let mut rest = rest.iter().copied();
    let mut found = Vec::new();
    for letter in first.chars() {
        found.push(format!("-{letter}"));
        if "fCTXbgIFKLNV".contains(letter) {
            found.extend(rest.next().map(str::to_owned));
        }
    }
    found.extend(rest.map(str::to_owned));
    found
}

/// Files of a download. An address of another machine is decided there.
pub(super) fn download(writer: &WritingProgram<'_>) -> Vec<Change> {
    const OUTPUTS: [&str; 6] = [
        "-o",
        "--output",
        "--output-dir",
        "-O",
        "--output-document",
        "--directory-prefix",
    ];
    const OTHERS: [&str; 27] = [
        "-H",
        "--header",
        "-A",
        "--user-agent",
        "-e",
        "--referer",
        "-u",
        "--user",
        "-x",
        "--proxy",
        "-b",
        "--cookie",
        "-d",
        "--data",
        "-F",
        "--form",
        "-X",
        "--request",
        "-m",
        "--max-time",
        "--connect-timeout",
        "--retry",
        "--cacert",
        "-E",
        "--cert",
        "-T",
        "-U",
    ];
    let is_curl = writer.name == "curl";
    // Of curl it has no value: the name is that of the address.
    let outputs = OUTPUTS
        .iter()
        .copied()
        .filter(|one| !is_curl || *one != "-O");
    let outputs = outputs.filter(|one| is_curl || *one != "-o");
    let mut outputs: Vec<&str> = outputs.collect();
    outputs.extend((!is_curl).then_some("-P"));
    let values = [&outputs[..], &OTHERS, &["--url"]].concat();
    let split = SplitWords::from_words(writer.words, &values);
    let addresses = split
        .operands
        .iter()
        .copied()
        .chain(split.values(&["--url"]));
    let sources = addresses.filter_map(|address| match address.strip_prefix("file://") {
        Some(file) => {
            let at = file.find('/').unwrap_or_default();
            Some(writer.source(file.get(at..).unwrap_or_default()))
        }
        None => writer.chosen.contains_key(address).then_some(None),
    });
    let sources: Vec<Decider> = sources.collect();
    let targets = split
        .values(&outputs)
        .filter_map(|file| writer.target(file));
    let each = targets.flat_map(|target| {
        let pair = move |source: &Decider| (target.clone(), source.clone());
        sources.iter().map(pair).collect::<Vec<_>>()
    });
    each.collect()
}

/// What is mounted: its programs have set-id bits and its devices work, unless an option says other.
pub(super) fn mounts(writer: &WritingProgram<'_>) -> Vec<Change> {
    let values = [
        "-o",
        "--options",
        "-t",
        "--types",
        "-O",
        "--test-opts",
        "-N",
        "--namespace",
        "--source",
        "--target",
    ];
    let split = SplitWords::from_words(writer.words, &values);
    let options: Vec<&str> = split
        .values(&["-o", "--options"])
        .flat_map(|options| options.split(','))
        .collect();
    let mut named = split
        .values(&["--source"])
        .chain(split.operands.iter().copied())
        .chain(split.values(&["--target"]));
    // One word alone is a line of fstab(5), which is root's.
    let (Some(what), Some(at)) = (named.next(), named.next()) else {
        return Vec::new();
    };
    let is_local = what.starts_with('/') && !what.starts_with("//");
    let is_relative = options.contains(&"loop") && !what.contains(':');
    if !is_local && !is_relative && !writer.chosen.contains_key(what) {
        return Vec::new();
    }
    let source = writer.source(what);
    let has = |option: &str| options.contains(&option);
    let binds = ["-B", "--bind", "-R", "--rbind", "-M", "--move"];
    let is_bound = has("bind") || has("rbind") || split.has(&binds);
    let is_closed = is_bound || has("nosuid") && has("nodev");
    let own = (!is_closed).then(|| (WriteTarget::Account(0), source.clone()));
    let at = writer.target(at).map(|at| (at, source));
    own.into_iter().chain(at).collect()
}
