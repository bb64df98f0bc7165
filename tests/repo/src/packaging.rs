//! Both package tables have the same content, and name everything that is to be shipped.
//!
//! tests/machine tests the packages on a machine.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use serde_json::Value;

use super::repo;

/// Sources in the table are relative to this directory.
const CRATE: &str = "daemon/cli";

const DEB_ALONE: &[&str] = &[
    "/usr/share/doc/remit/changelog.Debian.gz",
    "/usr/share/doc/remit/changelog.gz",
    "/usr/share/lintian/overrides/remit",
    "/usr/share/zsh/vendor-completions/_remit",
];

const RPM_ALONE: &[&str] = &[
    "/usr/lib/systemd/system-preset/50-remit.preset",
    "/usr/share/doc/remit/CHANGELOG.md",
    "/usr/share/licenses/remit/LICENSE-APACHE",
    "/usr/share/licenses/remit/LICENSE-MIT",
    "/usr/share/zsh/site-functions/_remit",
];

/// In both with different sources: of the .deb, of the .rpm.
const DIFFERENT: &[(&str, &str, &str)] = &[(
    "/usr/lib/remit/policy.d/24-packages.toml",
    "../../packaging/policy.d/24-packages.toml",
    "../../packaging/rpm/24-packages.toml",
)];

#[derive(Clone, Debug, PartialEq, Eq)]
struct Row {
    source: String,
    mode: String,
    /// `config` of the .rpm, for configuration files.
    config: Option<String>,
}

/// `[package.metadata.FORMAT]` of package `remit`.
fn metadata(format: &str) -> Value {
    let all = repo::cargo(&["metadata", "--no-deps", "--format-version", "1"]);
    let all: Value = serde_json::from_str(&all).expect("cargo prints JSON");
    all["packages"]
        .as_array()
        .expect("there are packages")
        .iter()
        .find(|package| package["name"] == "remit")
        .map(|package| package["metadata"][format].clone())
        .expect("there is a package 'remit'")
}

fn table(format: &str) -> BTreeMap<String, Row> {
    let text = |value: &Value| value.as_str().map(str::to_owned);
    let metadata = metadata(format);
    let assets = metadata["assets"].as_array().expect("a table of assets");
    let table: BTreeMap<String, Row> = assets
        .iter()
        .map(|asset| {
            let row = Row {
                source: text(&asset["source"]).expect("a source"),
                mode: text(&asset["mode"]).expect("a mode"),
                config: text(&asset["config"]),
            };
            (text(&asset["dest"]).expect("a destination"), row)
        })
        .collect();
    assert_eq!(table.len(), assets.len(), "{format}: a destination twice");
    table
}

fn both() -> (BTreeMap<String, Row>, BTreeMap<String, Row>) {
    (table("deb"), table("rpm"))
}

#[test]
fn both_tables_say_the_same() {
    let (mut deb, mut rpm) = both();
    for (table, alone) in [(&mut deb, DEB_ALONE), (&mut rpm, RPM_ALONE)] {
        for dest in alone {
            assert!(table.remove(*dest).is_some(), "'{dest}' is gone");
        }
        table.values_mut().for_each(|row| row.config = None);
    }
    for (dest, of_deb, of_rpm) in DIFFERENT {
        for (table, source) in [(&mut deb, of_deb), (&mut rpm, of_rpm)] {
            let row = table.get_mut(*dest).expect("both have it");
            assert_eq!(row.source, *source, "{dest}");
            row.source.clear();
        }
    }
    assert_eq!(deb, rpm);
}

/// The .rpm has other paths of these programs: packaging/build replaces each as the policy writes it.
#[test]
fn programs_of_sbin_are_in_the_policy() {
    assert!(read("packaging/build").contains("<packaging/rpm/sbin"));
    let sources = table("rpm").into_values().map(|row| row.source);
    let policy: String = sources
        .filter_map(|source| source.strip_prefix("../../").map(str::to_owned))
        .filter(|source| source.starts_with("packaging/policy.d/"))
        .map(|source| read(&source))
        .collect();
    let programs = read("packaging/rpm/sbin");
    assert!(programs.lines().count() > 0);
    for program in programs.lines() {
        let replaced = policy.matches(&format!("\"-/usr/bin/{program}\"")).count();
        let all = policy.matches(&format!("bin/{program}\"")).count();
        assert!(replaced > 0 && replaced == all, "{program}");
    }
}

#[test]
fn every_packaged_source_exists_or_is_built() {
    let (deb, rpm) = both();
    for row in deb.values().chain(rpm.values()) {
        let Row { source, .. } = row;
        if let Some(binary) = source.strip_prefix("target/release/") {
            let built = super::binaries::shipped().any(|name| name == binary);
            assert!(built, "{source}");
        } else if !source.starts_with("../../target/package/input/") {
            let path = repo::root().join(CRATE).join(source);
            assert!(path.is_file(), "'{source}' is not there");
        }
    }
}

#[test]
fn programs_may_be_executed_and_nothing_else() {
    let (deb, rpm) = both();
    for (dest, row) in deb.into_iter().chain(rpm) {
        let program = ["/usr/bin/", "/usr/libexec/"]
            .iter()
            .any(|dir| dest.starts_with(dir));
        let mode = match dest.as_str() {
            // The kernel makes no process that may not read its program traceable by its own uid, from the exec on.
            "/usr/libexec/remit/remit-compiler" | "/usr/libexec/remit/remit-verify" => "711",
            _ if program => "755",
            _ => "644",
        };
        assert_eq!(row.mode, mode, "{dest}");
    }
}

#[test]
fn settings_are_conffiles() {
    let (deb, rpm) = both();
    let metadata = metadata("deb");
    let conffiles: BTreeSet<&str> = metadata["conf-files"]
        .as_array()
        .expect("a list")
        .iter()
        .filter_map(Value::as_str)
        .collect();
    let settings: BTreeSet<&str> = deb
        .keys()
        .map(String::as_str)
        .filter(|dest| dest.starts_with("/etc/"))
        .collect();
    assert_eq!(conffiles, settings);
    for (dest, row) in &rpm {
        // The policy's own words: who deletes it gets no other one by an upgrade.
        let expect = match dest.strip_prefix("/etc/remit/") {
            Some("policy.d/10-default.toml") => Some("noreplace,missingok"),
            Some(_) => Some("noreplace"),
            None => None,
        };
        assert_eq!(row.config.as_deref(), expect, "{dest}");
    }
}

fn names(dir: &str) -> Vec<PathBuf> {
    let found: Vec<PathBuf> = repo::files()
        .into_iter()
        .filter(|file| file.parent() == Some(Path::new(dir)))
        .filter_map(|file| file.file_name().map(PathBuf::from))
        .collect();
    assert!(!found.is_empty(), "'{dir}' is empty");
    found
}

#[test]
fn units_pages_and_binaries_are_shipped() {
    let (deb, rpm) = both();
    let rows = deb.into_values().chain(rpm.into_values());
    let sources: BTreeSet<String> = rows.map(|row| row.source).collect();
    for unit in names("systemd") {
        let source = format!("../../systemd/{}", unit.display());
        assert!(sources.contains(&source), "'{source}' is not shipped");
    }
    for page in names("packaging/man") {
        // Its program is for the user's computer, and in no package of a host.
        if page == Path::new("remit-fleet.1") {
            continue;
        }
        let source = format!("../../target/package/input/{}.gz", page.display());
        assert!(sources.contains(&source), "'{source}' is not shipped");
    }
    for binary in super::binaries::shipped() {
        let source = format!("target/release/{binary}");
        assert!(sources.contains(&source), "'{source}' is not shipped");
    }
}

#[test]
fn n02_programs_of_the_package_are_listed_once() {
    let shipped: BTreeSet<String> = super::binaries::shipped().map(str::to_owned).collect();
    let (deb, rpm) = both();
    for table in [deb, rpm] {
        let sources = table.into_values().map(|row| row.source);
        let programs =
            sources.filter_map(|row| Some(row.strip_prefix("target/release/")?.to_owned()));
        assert_eq!(programs.collect::<BTreeSet<_>>(), shipped);
    }
    for script in [
        "Makefile",
        "packaging/build",
        "tests/demo/run",
        "tests/machine/install",
    ] {
        let text = read(script);
        assert!(text.contains("packaging/programs"), "{script}");
        assert!(
            !text.contains("remit-look"),
            "{script} has a list of its own"
        );
    }
}

#[test]
fn pages_lie_in_their_section() {
    for dest in table("deb").keys() {
        if let Some(page) = dest.strip_prefix("/usr/share/man/man") {
            let name = page.trim_end_matches(".gz");
            assert_eq!(page.get(..1), name.get(name.len() - 1..), "{dest}");
        }
    }
}

fn read(path: &str) -> String {
    std::fs::read_to_string(repo::root().join(path)).expect("the file is text")
}

fn is_id(text: &str) -> bool {
    text.len() == 32 && text.chars().all(|c| c.is_ascii_hexdigit())
}

/// Entries of the journal that are no audit records.
const NIGHTLY: &str = "daemon/cli/src/commands/prove/journal.rs";

#[test]
fn every_record_has_an_entry_in_the_catalog() {
    let records = read("daemon/trail/src/lib.rs");
    let others = read(NIGHTLY);
    let ids =
        |text| -> BTreeSet<&str> { str::split(text, '"').filter(|text| is_id(text)).collect() };
    let (records, others) = (ids(&records), ids(&others));
    assert!(records.is_disjoint(&others) && !others.is_empty());
    let code: BTreeSet<&str> = records.union(&others).copied().collect();
    let catalog = read("systemd/remit.catalog");
    let entries: Vec<&str> = catalog
        .lines()
        .filter_map(|line| line.strip_prefix("-- "))
        .collect();
    assert!(entries.iter().all(|id| is_id(id)), "{entries:?}");
    assert_eq!(entries.iter().copied().collect::<BTreeSet<_>>(), code);
    assert_eq!(entries.len(), code.len(), "an entry twice");
}

#[test]
fn catalog_names_existing_fields_and_pages() {
    let catalog = read("systemd/remit.catalog");
    let source: String = repo::texts(&["rs"])
        .into_iter()
        .filter(|(file, _)| file.starts_with("daemon/warden/src"))
        .map(|(_, text)| text)
        .collect();
    let nightly = read(NIGHTLY);
    let body = catalog.split_once("\n\n").map_or("", |(_, body)| body);
    for field in body.split('@').skip(1).step_by(2) {
        let (name, source) = match field.strip_prefix("REMIT_PROVE_") {
            Some(name) => (Some(name), &nightly),
            None => (field.strip_prefix("REMIT_"), &source),
        };
        assert!(
            name.is_some_and(|name| source.contains(&format!("\"{name}\""))),
            "no record has '{field}'"
        );
    }
    let pages: Vec<String> = names("packaging/man")
        .into_iter()
        .map(|page| page.display().to_string())
        .collect();
    for page in catalog.split("man:").skip(1) {
        let page = page.split(')').next().unwrap_or_default().replace('(', ".");
        assert!(pages.contains(&page), "no man page '{page}'");
    }
}

fn settings(unit: &str) -> Vec<(&str, &str)> {
    let lines = unit.lines().filter(|line| !line.starts_with(['#', '[']));
    lines.filter_map(|line| line.split_once('=')).collect()
}

#[test]
fn units_start_what_is_shipped() {
    let shipped = table("deb");
    for (unit, expect) in [("remitd", 2), ("remit-prove", 1)] {
        let unit = read(&format!("systemd/{unit}.service"));
        let lines = settings(&unit).into_iter();
        let started = lines.filter(|(name, _)| name.starts_with("Exec"));
        let started: Vec<&str> = started.map(|(_, value)| value).collect();
        assert_eq!(started.len(), expect, "{started:?}");
        for line in started {
            let program = line.split(' ').next().unwrap_or_default();
            assert!(shipped.contains_key(program), "{line}");
        }
    }
}

/// The look writes one file, where `remit doctor` looks for it; and it must see the machine as it is.
#[test]
fn nightly_unit_writes_its_file_and_hides_nothing() {
    let unit = read("systemd/remit-prove.service");
    let settings = settings(&unit);
    let value = |name: &str| {
        let mut found = settings.iter().filter(|(one, _)| *one == name);
        found.next().map(|(_, value)| *value)
    };
    let code = read("daemon/cli/src/commands/prove/looks.rs");
    let file = code
        .split("NIGHTLY: &str = \"")
        .nth(1)
        .and_then(|rest| rest.split('"').next())
        .expect("its name");
    let state = value("StateDirectory").expect("a directory");
    let name = file.strip_prefix(&format!("/var/lib/{state}/"));
    assert!(name.is_some_and(|name| !name.contains('/')), "{file}");
    let command = value("ExecStart").expect("a command");
    assert!(
        command.contains(&format!(" --compare {file} ")),
        "{command}"
    );
    assert!(read("systemd/remit.catalog").contains("remit prove --compare @REMIT_PROVE_FILE@"));
    for (name, expect) in [
        ("ProtectSystem", Some("strict")),
        ("ProtectHome", Some("read-only")),
        ("PrivateNetwork", Some("yes")),
        ("NoNewPrivileges", Some("yes")),
        ("ReadWritePaths", None),
    ] {
        assert_eq!(value(name), expect, "{name}");
    }
    let hiding = unit.lines().filter_map(|line| line.strip_prefix("#   "));
    let hiding: Vec<&str> = hiding.flat_map(str::split_whitespace).collect();
    assert!(hiding.len() > 5, "{hiding:?}");
    for name in hiding
        .into_iter()
        .chain(["PrivateUsers", "RestrictSUIDSGID"])
    {
        assert_eq!(
            value(name),
            None,
            "{name}= keeps the look from a part of the machine"
        );
    }
}

/// Indented comments in the unit list what it does not set. A wrong list is worse than none.
#[test]
fn unit_omits_documented_settings() {
    let unit = read("systemd/remitd.service");
    let listed: BTreeSet<&str> = unit
        .lines()
        .filter_map(|line| line.strip_prefix("#   "))
        .flat_map(str::split_whitespace)
        .filter(|word| word.starts_with(char::is_uppercase))
        .collect();
    assert!(listed.len() > 20, "{listed:?}");
    for (name, _) in settings(&unit) {
        assert!(!listed.contains(name), "'{name}' is set");
    }
}

#[test]
fn maintainer_scripts_know_every_unit() {
    let units: Vec<String> = names("systemd")
        .into_iter()
        .map(|unit| unit.display().to_string())
        .filter(|unit| {
            [".service", ".socket", ".timer"]
                .iter()
                .any(|kind| unit.ends_with(kind))
        })
        .collect();
    assert_eq!(units.len(), 5);
    for script in [
        "deb/postinst",
        "deb/prerm",
        "deb/postrm",
        "rpm/post",
        "rpm/posttrans",
        "rpm/preun",
    ] {
        let text = read(&format!("packaging/{script}"));
        for unit in &units {
            // A unit that nothing enables is only stopped.
            let is_enabled = read(&format!("systemd/{unit}")).contains("[Install]");
            let stops = script.contains("pre");
            assert!(
                text.contains(unit) == (is_enabled || stops),
                "packaging/{script}: '{unit}'"
            );
        }
    }
}

/// A question to a stopped daemon starts it: its sockets listen.
#[test]
fn removal_asks_only_a_daemon_that_runs() {
    for script in ["deb/prerm", "rpm/preun"] {
        let text = read(&format!("packaging/{script}"));
        let asked = "if systemctl is-active --quiet remitd.service; then\n    case $(timeout 10 remit --json status";
        assert!(text.contains(asked), "packaging/{script}");
        assert_eq!(
            text.matches("remit --json").count(),
            1,
            "packaging/{script}"
        );
    }
}

/// A file of policy that no package has is a command that no machine has.
#[test]
fn every_policy_and_example_is_packaged() {
    let deb: Vec<String> = table("deb").into_values().map(|row| row.source).collect();
    for dir in ["packaging/policy.d", "packaging/examples"] {
        let mut seen = 0;
        for file in std::fs::read_dir(repo::root().join(dir)).expect("it is there") {
            let name = file.expect("it can be read").file_name();
            let source = format!("../../{dir}/{}", name.to_string_lossy());
            assert!(deb.contains(&source), "no package has '{source}'");
            seen += 1;
        }
        assert!(seen >= 5, "only {seen} files were seen in {dir}");
    }
}

/// The page of Cockpit shows texts of strangers to approvers. It must not parse HTML, run a text, load anything from
/// elsewhere, or ask for administrative access.
#[test]
fn cockpit_page_makes_nothing_of_a_text() {
    let banned = [
        "innerHTML",
        "outerHTML",
        "insertAdjacentHTML",
        "document.write",
        "DOMParser",
        "createContextualFragment",
        "setHTML",
        "srcdoc",
        "eval(",
        "new Function",
        "javascript:",
        "http:",
        "https:",
        "<script>",
        "<style",
        " style=",
        " onclick=",
        "superuser",
        "pty:",
    ];
    let texts = repo::texts(&["js", "html", "css", "json"]).into_iter();
    let page: Vec<_> = texts
        .filter(|(file, _)| file.starts_with("cockpit"))
        .collect();
    assert!(page.len() >= 9, "{page:?}");
    for (file, text) in &page {
        for word in banned {
            assert!(!text.contains(word), "{}: '{word}'", file.display());
        }
    }
    let text = |name: &str| {
        let found = page.iter().find(|(file, _)| file.ends_with(name));
        &found.expect("it is a file of the page").1
    };
    let manifest: Value = serde_json::from_str(text("manifest.json")).expect("it is JSON");
    let policy = manifest["content-security-policy"]
        .as_str()
        .expect("a policy");
    for rule in [
        "default-src 'none'",
        "script-src 'self'",
        "require-trusted-types-for 'script'",
        "trusted-types 'none'",
    ] {
        assert!(policy.split("; ").any(|found| found == rule), "{rule}");
    }
    let bounds = std::fs::read_to_string(repo::root().join("common/src/caps.rs")).expect("a file");
    let most = text("text.js")
        .split("REASON_BYTES = ")
        .nth(1)
        .and_then(|rest| rest.split(';').next())
        .expect("a bound");
    assert!(
        bounds.contains(&format!("pub const WHY: usize = {most};")),
        "{most}"
    );
}
