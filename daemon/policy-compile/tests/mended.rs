//! Findings of a review of the policy language, one test each, with the number of the finding.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test may fail"
)]

mod common;

use common::{accounts, lines, policy, source, verdict};
use remit_common::wire::Effect;
use remit_plan::PlanPath;
use remit_policy::{Ask, CallerIds, Consent, Pending, Policy, Verdict};
use remit_policy_compile::{explain, load};

fn command(name: &str, effect: &str, more: &str) -> String {
    format!(
        "[[command]]\nname = '{name}'\nsummary = 'x'\nargv = ['/bin/x'{}]\neffect = '{effect}'\n\
         profile = 'strict'\n{more}\n",
        if more.contains("args.unit") {
            ", '{unit}'"
        } else {
            ""
        }
    )
}

fn errors(text: &str) -> String {
    match load(&[source("a.toml", text)], &accounts()) {
        Ok((_, warnings)) => panic!("it loads: {}", lines(&warnings)),
        Err(found) => lines(&found),
    }
}

fn pending(policy: &Policy, name: &str, args: &[(&str, &str)]) -> Pending {
    match verdict(policy, name, Effect::Change, args) {
        Verdict::Ask(pending) => pending,
        other => panic!("{other:?}"),
    }
}

#[test]
fn c16_a_pattern_allows_no_command_that_changes() {
    let commands = [
        command("users.list", "read", ""),
        command("users.add", "change", ""),
        command("users.lock", "change", ""),
    ]
    .concat();
    let grant = |rest: &str| format!("{commands}[[grant]]\nto = ['%remit']\nallow = {rest}\n");
    let (by_pattern, warnings) = policy(&grant("['users.*']"));
    let allows = |policy: &Policy, name: &str, effect| {
        matches!(verdict(policy, name, effect, &[]), Verdict::Allow(_))
    };
    assert!(allows(&by_pattern, "users.list", Effect::Read));
    for name in ["users.add", "users.lock"] {
        let Verdict::Deny(denial) = verdict(&by_pattern, name, Effect::Change, &[]) else {
            panic!("{name} is granted by a pattern");
        };
        assert!(denial.what.contains("no command"), "{denial:?}");
    }
    let warned = lines(&warnings);
    assert!(
        warned
            .contains("'users.*' does not allow users.add, users.lock: a pattern allows no change")
            && warned.contains("effect = \"change\" in this [[grant]]"),
        "{warned}"
    );
    let caller = CallerIds {
        uid: 64001,
        gids: &[900],
    };
    let access = by_pattern.access(caller);
    let names: Vec<&str> = access.commands.iter().map(|one| one.named.name()).collect();
    assert_eq!(names, ["users.list"]);
    assert_eq!(access.grants[0].allow, ["users.*"]);

    for (rest, add, warns) in [
        ("['users.*', 'users.add']", true, true),
        ("['users.add']", true, false),
        ("['users.*']\neffect = 'change'", true, false),
        ("['*']\neffect = 'change'", true, false),
        ("['*']", false, true),
        ("['users.*']\neffect = 'read'", false, false),
    ] {
        let (policy, warnings) = policy(&grant(rest));
        assert_eq!(allows(&policy, "users.add", Effect::Change), add, "{rest}");
        assert!(allows(&policy, "users.list", Effect::Read) || rest == "['users.add']");
        assert_eq!(!warnings.is_empty(), warns, "{rest}: {}", lines(&warnings));
        assert_eq!(
            remit_policy_compile::diff(&policy, &policy),
            Vec::<String>::new()
        );
    }
    let contradiction = errors(&grant("['users.add']\neffect = 'read'"));
    assert!(
        contradiction
            .contains("'users.add' changes the host, and this rule says effect = \"read\""),
        "{contradiction}"
    );
    let denied = grant("['users.add']") + "[[deny]]\nto = ['%remit']\ndeny = ['users.*']\n";
    assert!(!allows(&policy(&denied).0, "users.add", Effect::Change));
}

/// A pattern of a rule with an approval does not include changes. Another one without approval must not be left alone.
#[test]
fn c16_an_older_file_never_gives_more() {
    let text = command("site.deploy", "change", "")
        + "[[grant]]\nto = ['%remit']\nallow = ['site.*']\napproval = { by = ['%ops'] }\n\
           [[grant]]\nname = 'at-once'\nto = ['%remit']\nallow = ['site.deploy']\n";
    let found = errors(&text);
    assert!(
        found.contains("'site.*' does not ask for an approval of site.deploy")
            && found.contains("rule at-once (a.toml:")
            && found.contains("effect = \"change\" in this [[grant]]"),
        "{found}"
    );
    let said = text.replace("['site.*']\n", "['site.*']\neffect = 'change'\n");
    let (policy, warnings) = policy(&said);
    assert!(warnings.is_empty(), "{}", lines(&warnings));
    pending(&policy, "site.deploy", &[]);
}

#[test]
fn c04_all_asking_rules_must_be_met() {
    let rules = |one: &str, other: &str| {
        command("site.deploy", "change", "")
            + &format!(
                "[[grant]]\nname = 'one'\nto = ['%remit']\nallow = ['site.deploy', 'run']\n\
                 approval = {{ by = [{one}], expires = '30min' }}\n\
                 [[grant]]\nname = 'other'\nto = ['deploy']\nallow = ['site.deploy', 'run']\n\
                 approval = {{ by = [{other}], expires = '5min' }}\n"
            )
    };
    let (policy, _) = policy(&rules("'%#70', 'mallory'", "'%#71', 'mallory'"));
    let run = Ask::Run {
        profile: None,
        argv0: b"df",
        env_names: &[],
    };
    let caller = CallerIds {
        uid: 64001,
        gids: &[900],
    };
    let Verdict::Ask(run) = policy.decide(caller, &run) else {
        panic!("it needs an approval");
    };
    for pending in [pending(&policy, "site.deploy", &[]), run] {
        assert_eq!(pending.approval().expires_s(), 300);
        let outcome = pending.approval().to_string();
        assert!(
            outcome.contains("by (%#71, mallory) and (%#70, mallory) (one person who is in each)"),
            "{outcome}"
        );
        for (uid, gids, may) in [
            (7, &[70][..], false),
            (7, &[71], false),
            (7, &[70, 71], true),
            (64003, &[], true),
            (0, &[0], false),
        ] {
            let consent = Consent {
                by: CallerIds { uid, gids },
                name: "ann",
                requester: 64001,
                proof: None,
            };
            assert_eq!(pending.may_approve(&consent).is_ok(), may, "{uid} {gids:?}");
            assert_eq!(pending.clone().approved(&[consent]).is_ok(), may);
            assert_eq!(pending.clone().granted(&consent, 1, None).is_ok(), may);
        }
    }
    let access = policy.access(caller);
    let shown = access
        .commands
        .iter()
        .find(|one| one.named.name() == "site.deploy");
    let shown = shown.unwrap().approval.as_ref().unwrap().to_string();
    assert!(shown.contains(") and ("), "{shown}");
    let ask = Ask::Command {
        name: "site.deploy",
        effect: Effect::Change,
        args: &[],
    };
    let explained = explain(&policy, caller, &ask);
    assert!(explained.why.contains(") and ("), "{}", explained.why);
    let one = explained
        .considered
        .iter()
        .find(|(id, _)| id.name.as_deref() == Some("one"));
    assert!(one.unwrap().1.contains("which holds too"), "{one:?}");
}

#[test]
fn c04_scoped_rule_adds_its_approvers() {
    let text = command("unit.act", "change", "args.unit = { type = 'unit' }")
        + "[[grant]]\nto = ['%remit']\nallow = ['unit.act']\napproval = { by = ['%#70'], expires = '5min' }\n\
           [[grant]]\nto = ['%remit']\nallow = ['unit.act']\nargs = { unit = ['db*'] }\n\
           approval = { by = ['%#71'], expires = '1h' }\n";
    let (policy, _) = policy(&text);
    let lists = |unit: &str| {
        pending(&policy, "unit.act", &[("unit", unit)])
            .approval()
            .asked_of()
    };
    assert_eq!(lists("nginx.service"), ["%#70"]);
    assert_eq!(lists("db.service"), ["%#70", "and %#71"]);
    let caller = CallerIds {
        uid: 64001,
        gids: &[900],
    };
    let args = [("unit".to_owned(), "db.service".to_owned())];
    let access = policy.access(caller);
    let usable = access
        .commands
        .iter()
        .find(|one| one.is_about(&args))
        .unwrap();
    let of_db = verdict(
        &policy,
        "unit.act",
        Effect::Change,
        &[("unit", "db.service")],
    );
    assert_eq!(usable.verdict_of(&args), of_db);
}

#[test]
fn verdicts_are_of_values_that_rules_distinguish() {
    let rules = "[[command]]\nname = 'unit.act'\nsummary = 'x'\nargv = ['/bin/x', '{how}', '{unit}']\neffect = 'change'\n\
                 profile = 'strict'\nargs.unit = { type = 'unit' }\n\
                 args.how = { type = 'enum', values = ['try', 'force', 'wait'] }\n\
                 [[grant]]\nto = ['%remit']\nallow = ['unit.act']\n\
                 args = { unit = ['db*'], how = ['try', 'force'] }\napproval = 'none'\n\
                 [[deny]]\nto = ['%remit']\ndeny = ['unit.act']\nargs = { unit = ['db*'], how = ['force'] }\n";
    let asks = "[[grant]]\nto = ['%remit']\nallow = ['unit.act']\nargs = { how = ['try'] }\n\
                approval = { by = ['%#70'], expires = '5min' }\n";
    let found = |rules: &str, unit: &str| {
        let (policy, _) = policy(rules);
        let caller = CallerIds {
            uid: 64001,
            gids: &[900],
        };
        let args = [("unit".to_owned(), unit.to_owned())];
        let access = policy.access(caller);
        let verdicts = access.commands.iter();
        let verdicts = verdicts.flat_map(|one| one.verdicts_with(&args));
        verdicts
            .map(|verdict| matches!(verdict, Verdict::Allow(_)))
            .collect::<Vec<_>>()
    };
    assert_eq!(found(rules, "db.service"), [true], "only with 'try'");
    assert!(found(rules, "web.service").is_empty(), "another unit");
    // 'force' is the only value of the pattern, and it is denied.
    let of_pattern = rules.replace("how = ['try', 'force'] }", "how = ['f*'] }");
    assert!(found(&of_pattern, "db.service").is_empty());
    // A star matches some text that is not denied.
    let text = rules.replace(
        "{ type = 'enum', values = ['try', 'force', 'wait'] }",
        "{ type = 'string', pattern = '[a-z-]+' }",
    );
    let some = text.replace("how = ['try', 'force'] }", "how = ['force*'] }");
    assert!(found(&some, "db.service").contains(&true));
    // The only value that is granted and not denied needs an approval.
    let asked = found(&format!("{rules}{asks}"), "db.service");
    assert!(!asked.is_empty() && !asked.contains(&true), "{asked:?}");
}

#[test]
fn c03_template_instance_is_taken_if_type_allows() {
    let rules = |kind: &str, globs: &str| {
        command("unit.act", "change", &format!("args.unit = {{ {kind} }}"))
            + &format!(
                "[[grant]]\nto = ['%remit']\nallow = ['unit.act']\nargs = {{ unit = [{globs}] }}\n"
            )
    };
    let instance = "pods-kube@var-lib-remit-spool-0.out.service";
    let outcome = |kind: &str, globs: &str, unit: &str| {
        let (policy, _) = policy(&rules(kind, globs));
        match verdict(&policy, "unit.act", Effect::Change, &[("unit", unit)]) {
            Verdict::Deny(denial) => denial.what,
            Verdict::Allow(grant) => {
                let args = [("unit".to_owned(), unit.to_owned())];
                let bound = grant.command().unwrap().bind(&args, false);
                bound.map_or_else(|refusal| refusal.message, |_| "allowed".to_owned())
            }
            Verdict::Ask(_) => panic!("nobody is asked"),
        }
    };
    let (plain, open) = ("type = 'unit'", "type = 'unit', instances = true");
    // A star matches no '@', whatever the argument takes.
    for kind in [plain, open] {
        assert_eq!(outcome(kind, "'pods*'", "pods.service"), "allowed");
        assert!(outcome(kind, "'pods*'", instance).contains("granted only with"));
        assert!(outcome(kind, "'*'", instance).contains("granted only with"));
    }
    assert!(outcome(plain, "'pods*@*'", instance).contains("is an instance of a template"));
    assert_eq!(outcome(open, "'pods*@*'", instance), "allowed");
    // In a denial a star matches an '@'.
    let denied = rules(open, "'pods*@*'")
        + "[[deny]]\nto = ['%remit']\ndeny = ['unit.act']\nargs = { unit = ['pods*'] }\n";
    let (denied, _) = policy(&denied);
    let Verdict::Deny(denial) = verdict(&denied, "unit.act", Effect::Change, &[("unit", instance)])
    else {
        panic!("the denial is passed by");
    };
    assert!(denial.what.contains("is denied by"), "{denial:?}");
    // An instance in a rule of an older file loads, with a warning that has the line to write.
    let (_, warnings) = policy(&rules(
        plain,
        "'postgresql@15-main.service', 'nginx.service'",
    ));
    let warned = lines(&warnings);
    assert!(
        warned.contains("never 'postgresql@15-main.service': it takes no instance of a template")
            && warned.contains("instances = true"),
        "{warned}"
    );
}

#[test]
fn c03_the_changes_of_the_package_take_no_instance() {
    let text = include_str!("../../../packaging/policy.d/50-changes.toml");
    let (policy, _) = policy(text);
    let args = [("unit".to_owned(), "podman-kube@x.service".to_owned())];
    let verbs = ["start", "stop", "restart", "reload", "enable", "disable"];
    for verb in verbs.map(|verb| format!("service.{verb}")) {
        let refusal = policy
            .command(&verb)
            .unwrap()
            .bind(&args, false)
            .unwrap_err();
        assert!(
            refusal.message.contains("instance of a template"),
            "{}",
            refusal.message
        );
    }
}

#[test]
fn c12_ties_go_by_the_name_of_the_file() {
    let rule =
        |name: &str| format!("[[grant]]\nname = '{name}'\nto = ['%remit']\nallow = ['run']\n");
    let late = source("/etc/remit/policy.d/90-x.toml", rule("late"));
    let early = source("/usr/lib/remit/policy.d/10-a.toml", rule("early"));
    let (policy, _) = load(&[late, early], &accounts()).unwrap();
    let run = Ask::Run {
        profile: None,
        argv0: b"df",
        env_names: &[],
    };
    let caller = CallerIds {
        uid: 64001,
        gids: &[900],
    };
    let Verdict::Allow(grant) = policy.decide(caller, &run) else {
        panic!("refused");
    };
    assert_eq!(grant.basis().rule().unwrap().name.as_deref(), Some("early"));
}

#[test]
fn c12_a_string_for_a_list_is_one_mistake() {
    let found = errors("[[grant]]\nto = ['%remit']\nallow = ['run']\napproval = { by = '%ops' }\n");
    assert_eq!(found.matches("error:").count(), 1, "{found}");
    assert!(found.contains("'by' must be a list of strings"), "{found}");
    let no_approver =
        errors("[[grant]]\nto = ['%remit']\nallow = ['run']\napproval = { by = [] }\n");
    assert!(
        no_approver.contains("nobody could ever approve this"),
        "{no_approver}"
    );
}

#[test]
fn n05_people_have_a_role_in_the_shipped_policy() {
    let mut machine = accounts();
    machine.groups.insert("remit-admin".into(), 950);
    let text = include_str!("../../../packaging/policy.d/10-default.toml");
    let (policy, _) = load(&[source("10-default.toml", text)], &machine).unwrap();
    let run = |profile| Ask::Run {
        profile,
        argv0: b"df",
        env_names: &[],
    };
    for (uid, gids, may) in [
        (0, &[0][..], true),
        (64003, &[100, 950], true),
        (64003, &[100, 900], true),
        (64003, &[100], false),
    ] {
        let caller = CallerIds { uid, gids };
        let verdict = policy.decide(caller, &run(None));
        assert_eq!(matches!(verdict, Verdict::Allow(_)), may, "{uid} {gids:?}");
        assert!(matches!(
            policy.decide(caller, &run(Some("host"))),
            Verdict::Deny(_)
        ));
    }
}

#[test]
fn n05_advice_fits_the_caller() {
    let (none, _) = policy("");
    let run = Ask::Run {
        profile: None,
        argv0: b"df",
        env_names: &[],
    };
    let next = |uid| match none.decide(CallerIds { uid, gids: &[] }, &run) {
        Verdict::Deny(denial) => (denial.next, denial.lift.unwrap()),
        other => panic!("{other:?}"),
    };
    let (root, lift) = next(0);
    assert!(
        root.contains("remit try -- COMMAND") && !root.contains("administrator"),
        "{root}"
    );
    assert!(!lift.contains("group"), "{lift}");
    assert!(next(64001).0.contains("ask an administrator"));
}

/// A path's directory decides, not a list of files. Each of these once loaded without a warning.
#[test]
fn c09_path_to_root_is_refused_unless_stated() {
    let profile = |rest: &str| format!("[profile.p]\nbase = 'strict'\n{rest}\n");
    let said = "leads_to_root = true";
    let root = "user = 'root'\n";
    let writes = [
        "/etc/update-motd.d",
        "/etc/rc.local",
        "/etc/network",
        "/etc/NetworkManager",
        "/etc/kernel",
        "/etc/letsencrypt",
        "/etc/doas.conf",
        "/etc/gshadow",
        "/etc/fstab",
        "/etc/bash.bashrc",
        "/etc/anacrontab",
        "/etc/cron.yearly",
        "/etc/logrotate.conf",
        "/etc/rsyslog.d",
        "/etc/audit",
        "/etc/docker",
        "/etc/containers",
        "/etc/yum.repos.d",
        "/etc/dnf",
        "/etc/pki",
        "/etc/needrestart",
        "/etc/dhcp",
        "/etc/ppp",
        "/etc/grub.d",
        "/etc/initramfs-tools",
        "/etc/nginx",
        "/etc/apache2",
        "/etc/php",
        "/var/lib/dpkg",
        "/var/lib/systemd",
        "/var/lib/docker",
        "/var/lib/cloud",
        "/var/cache/apt",
        "/var/spool/at",
        "/usr/src",
        "/home/alice/.ssh",
        "/srv/git/.ssh",
    ];
    let sockets = [
        "/run/snapd.socket",
        "/run/lxd.socket",
        "/var/snap/lxd/common/lxd/unix.socket",
        "/var/lib/incus/unix.socket",
        "/run/k3s/containerd/containerd.sock",
        "/run/buildkit",
        "/run/supervisor.sock",
        "/run/user/0",
        "/tmp/tmux-0",
        "/run/screen",
    ];
    let cases = writes.map(|path| format!("write = ['{path}']"));
    let cases = cases
        .into_iter()
        .chain(sockets.map(|path| format!("sockets = ['{path}']")));
    let cases = cases.chain([
        // The server identifies a job that runs as root by its uid.
        format!("{root}sockets = ['/run/mysqld/mysqld.sock']"),
        // A path that may be missing.
        "write = ['-/etc/cron.yearly']".to_owned(),
        "sockets = ['-/run/snapd.socket']".to_owned(),
    ]);
    for case in cases {
        let found = errors(&profile(&case));
        assert_eq!(found.matches("error:").count(), 1, "{found}");
        assert!(
            found.contains("can lead to all of root, past this sandbox: "),
            "{found}"
        );
        assert!(
            found.contains("write in this profile: leads_to_root = true"),
            "{found}"
        );
        let (_, warnings) = policy(&profile(&format!("{case}\n{said}")));
        assert!(warnings.is_empty(), "{case}: {}", lines(&warnings));
    }
    for harmless in [
        "write = ['/srv/site', '/var/www/html', '/data/x', '/var/log/app', '/var/backups/x']",
        "sockets = ['/run/postgresql/.s.PGSQL.5432', '/srv/app/app.sock']",
        "sockets = ['/run/mysqld/mysqld.sock']\nuser = 'deploy'",
    ] {
        let (_, warnings) = policy(&profile(harmless));
        assert!(warnings.is_empty(), "{harmless}: {}", lines(&warnings));
    }
}

#[test]
fn c10_string_begins_with_letter_or_digit() {
    let text = |kind: &str| {
        command("a.b", "read", "").replace("argv = ['/bin/x']", "argv = ['/bin/x', '{x}']")
            + &format!("args.x = {{ {kind} }}\n")
    };
    let refused = |kind: &str, value: &str| {
        let (policy, _) = policy(&text(kind));
        let args = [("x".to_owned(), value.to_owned())];
        let bound = policy.command("a.b").unwrap().bind(&args, false);
        bound.err().map(|refusal| refusal.message)
    };
    for value in [
        "@/etc/shadow",
        "+so/srv/x",
        "/srv/x.deb",
        "./x",
        "..",
        ":x",
        "-x",
    ] {
        let why = refused("type = 'string'", value).unwrap_or_else(|| panic!("{value}"));
        assert!(
            value == "-x" || why.contains("unless its definition has a 'pattern'"),
            "{why}"
        );
    }
    for value in [
        "a",
        "_a",
        "9",
        "user@host:/x",
        "a+b",
        "HEAD~1".trim_end_matches("~1"),
    ] {
        assert_eq!(refused("type = 'string'", value), None, "{value}");
    }
    // Still possible if a pattern says so, or an option is meant.
    assert_eq!(
        refused("type = 'string', pattern = '[A-Za-z0-9._:@/+-]+'", "/srv/x"),
        None
    );
    assert_eq!(refused("type = 'string', dash = true", "-x"), None);
    assert!(refused("type = 'string', dash = true", "@x").is_some());
}

/// '@' means a file and '+' a command if a pattern lets a value begin with them.
#[test]
fn c10_risky_first_signs_are_warned_of() {
    let text = |program: &str, kind: &str| {
        command("a.b", "change", "").replace(
            "argv = ['/bin/x']",
            &format!("argv = ['/usr/bin/{program}', '--data={{x}}']"),
        ) + &format!("args.x = {{ {kind} }}\n")
    };
    let warned = |program: &str, kind: &str| {
        let (_, warnings) = policy(&text(program, kind));
        lines(&warnings).contains("a value can begin with")
    };
    let free = "type = 'string', pattern = '.+'";
    assert!(warned("curl", free) && warned("less", free));
    assert!(!warned("curl", "type = 'string'") && !warned("grep", free));
    let verbs = command("a.b", "change", "").replace(
        "argv = ['/bin/x']",
        "argv = ['/usr/bin/systemctl', '{x}', 'a.service']",
    );
    let (_, warnings) =
        policy(&(verbs.clone() + "args.x = { type = 'enum', values = ['start', 'stop'] }\n"));
    assert!(warnings.is_empty(), "{}", lines(&warnings));
    assert!(errors(&(verbs + "args.x = { type = 'string' }\n")).contains("chooses what"));
}

#[test]
fn approval_applies_beside_unconfined_with_a_warning() {
    let text = command("users.add", "change", "")
        + "[[grant]]\nto = ['%remit']\nallow = ['users.add']\napproval = { by = ['%ops'] }\nunconfined = true\n";
    let (policy, warnings) = policy(&text);
    pending(&policy, "users.add", &[]);
    let warned = lines(&warnings);
    assert!(
        warned.contains("'unconfined' has no effect beside 'approval': the approval applies")
            && warned.contains("delete unconfined = true"),
        "{warned}"
    );
}

#[test]
fn seeing_more_without_an_approval_has_a_warning() {
    let warned = |profile: &str, base: &str, rest: &str| {
        let text = format!(
            "[profile.etc]\nbase = '{base}'\n{profile}\n\
             [[grant]]\nto = ['%remit']\nallow = ['run']\nrun_profile = 'etc'\n{rest}\n"
        );
        let (_, warnings) = policy(&text);
        lines(&warnings)
    };
    let by_root = "user = 'root'\nread = ['/etc', '/root']";
    for (profile, base, sees) in [
        (by_root, "strict", "root"),
        ("capabilities = ['CAP_DAC_READ_SEARCH']", "read", "root"),
        ("groups = ['ops']", "read", "a group of it"),
    ] {
        let found = warned(profile, base, "");
        let expect = format!("without an approval, and see there what {sees} sees");
        assert!(found.contains(&expect), "{profile}: {found}");
        let found = warned(profile, base, "approval = { by = ['%ops'] }");
        assert!(!found.contains("see there"), "{profile}: {found}");
    }
    let found = warned("read = ['/etc']", "strict", "");
    assert!(!found.contains("see there"), "{found}");
}

/// Attack: spellings that programs take for one package or one user.
#[test]
fn denial_by_name_holds_in_every_spelling() {
    let text = "[[command]]\nname = 'site.own'\nsummary = 'x'\nargv = ['/bin/x', '{user}', '{package}']\n\
                effect = 'read'\nprofile = 'strict'\nargs.user = { type = 'user', default = 'a' }\n\
                args.package = { type = 'package', default = 'a' }\n\
                [[grant]]\nto = ['%remit']\nallow = ['site.own']\n\
                [[deny]]\nto = ['%remit']\ndeny = ['site.own']\nargs = { user = ['root'] }\n\
                [[deny]]\nto = ['%remit']\ndeny = ['site.own']\nargs = { package = ['openssl'] }\n";
    let (policy, _) = policy(text);
    for (name, value, is_denied) in [
        ("user", "root", true),
        ("user", "root.root", true),
        ("user", "rooted", false),
        ("package", "openssl-3.2.2-6.el9_5.x86_64", true),
        ("package", "openssl-v3.2-6.el9_5.x86_64", true),
        ("package", "openssl-libs", false),
    ] {
        let found = verdict(&policy, "site.own", Effect::Read, &[(name, value)]);
        assert_eq!(matches!(found, Verdict::Deny(_)), is_denied, "{value}");
    }
}

/// A test of a denial that passes whatever the rules are proves nothing.
#[test]
fn test_of_a_denial_is_about_the_rules() {
    let commands = [
        command("site.look", "read", "args.unit = { type = 'unit' }"),
        command("site.change", "change", "args.unit = { type = 'unit' }"),
    ]
    .concat();
    for (what, words) in [
        ("run site.look unit=a.service", None),
        ("change site.change unit=a.service", None),
        // Its type refuses it.
        ("run site.look unit=../x", None),
        ("run service.status unit=a.service", None),
        (
            "change site.look unit=a.service",
            Some("'run' asks for site.look"),
        ),
        (
            "run site.change unit=a.service",
            Some("'change' asks for site.change"),
        ),
        (
            "run site.look nuit=a.service",
            Some("has no argument 'nuit'"),
        ),
        ("run site.look", Some("needs the argument 'unit'")),
        ("run service.status", Some("unit")),
    ] {
        let text =
            format!("{commands}[[test]]\nwho = 'deploy'\nwhat = '{what}'\nverdict = 'deny'\n");
        let loaded = load(&[source("a.toml", &text)], &accounts());
        match (loaded, words) {
            (Ok(_), None) => {}
            (Err(found), Some(words)) => {
                let found = lines(&found);
                let is_it = found.contains("this is denied whatever the rules are");
                assert!(is_it && found.contains(words), "{what}: {found}");
            }
            (Ok(_), Some(_)) => panic!("{what} passes"),
            (Err(found), None) => panic!("{what}: {}", lines(&found)),
        }
    }
}

/// A denial that no call can meet looks like one that holds.
#[test]
fn denial_that_denies_nothing_is_refused() {
    let command = "[[command]]\nname = 'site.put'\nsummary = 'x'\nargv = ['/bin/x', '{e}', '{b}', '{p}']\n\
                   effect = 'read'\nprofile = 'strict'\nargs.e = { type = 'enum', values = ['prod', 'test'] }\n\
                   args.b = { type = 'bool', flag = '-b' }\nargs.p = { type = 'path', under = '/srv', is = 'file', pass = 'descriptor' }\n";
    for (rule, words) in [
        ("to = []\ndeny = ['site.put']", Some("'to' is empty")),
        ("to = ['deploy']\ndeny = []", Some("'deny' is empty")),
        (
            "to = ['deploy']\ndeny = ['site.put']\nargs = { e = ['Prod*'] }",
            Some("'e' is never 'Prod*': it is one of: prod, test"),
        ),
        (
            "to = ['deploy']\ndeny = ['site.put']\nargs = { b = ['y*'] }",
            Some("'b' is never 'y*': it is true or false"),
        ),
        (
            "to = ['deploy']\ndeny = ['site.put']\nargs = { p = ['srv/secret/*'] }",
            Some("'p' is never 'srv/secret/*': it is beneath /srv"),
        ),
        (
            "to = ['deploy']\ndeny = ['site.put']\nargs = { p = ['/srvx*'] }",
            Some("'p' is never '/srvx*': it is beneath /srv"),
        ),
        (
            "to = ['deploy']\ndeny = ['site.put']\nargs = { e = ['pr*'], b = ['t*'], p = ['/srv/secret/*', '*secret*', '/*', '/s*'] }",
            None,
        ),
    ] {
        let text = format!("{command}[[deny]]\n{rule}\n");
        let loaded = load(&[source("a.toml", &text)], &accounts());
        match (loaded, words) {
            (Ok(_), None) => {}
            (Err(found), Some(words)) => {
                let found = lines(&found);
                assert!(found.contains(words), "{rule}: {found}");
            }
            (Ok(_), Some(_)) => panic!("{rule} loads"),
            (Err(found), None) => panic!("{rule}: {}", lines(&found)),
        }
    }
}

/// Two rules on one line have one id; each is another rule to the checks.
#[test]
fn rules_on_one_line_are_two() {
    let commands = command("users.add", "change", "");
    let one = "{ to = ['%remit'], allow = ['users.*'], approval = { by = ['%ops'] } }";
    let other = "{ to = ['%remit'], allow = ['users.add'], approval = 'none' }";
    let found = errors(&format!("grant = [{one}, {other}]\n{commands}"));
    assert!(
        found.contains("does not ask for an approval of users.add"),
        "{found}"
    );
    let grants = |to: &str| {
        let ask = format!("{{ to = [{to}], allow = ['run'], approval = {{ by = ['%ops'] }} }}");
        let free = "{ to = ['%remit'], allow = ['run'] }";
        policy(&format!("grant = [{ask}, {free}]\n")).0
    };
    let (both, fewer) = (grants("'%remit', '%ops'"), grants("'%ops'"));
    assert!(both.is_within(&both));
    assert!(!fewer.is_within(&both));
    assert!(!fewer.takes_only_away(&both));
}

const PLANS: &str = include_str!("../../../packaging/policy.d/60-plans.toml");

#[test]
fn rule_about_looks_names_no_change() {
    let grant = |name: &str, effect: &str| {
        format!(
            "{PLANS}\n[[grant]]\nto = ['%remit']\nallow = ['{name}']\neffect = '{effect}'\n\
             approval = {{ by = ['%ops'] }}\n"
        )
    };
    for name in ["plan.commit", "plan.undo", "plan.recover", "change"] {
        let found = errors(&grant(name, "read"));
        let expect = format!("'{name}' changes the host, and this rule says effect = \"read\"");
        assert!(found.contains(&expect), "{found}");
        policy(&grant(name, "change"));
    }
    policy(&grant("plan.make", "read"));
    // A pattern leaves them out.
    let (_, warnings) = policy(&grant("plan.c*", "read"));
    let found = lines(&warnings);
    assert!(found.contains("'plan.c*' allows nothing here"), "{found}");
}

/// No pattern includes commits and looks with a right of root's. A rule that asks and has a pattern for them says so.
#[test]
fn approval_that_no_pattern_asks_for_is_reported() {
    let free = "[[grant]]\nname = 'free'\nto = ['%remit']\n";
    let commits = format!("{free}allow = ['plan.commit']\npaths = ['/srv/www']\n");
    let looks = format!("{free}allow = ['plan.private']\n");
    let asked = commits.replace("paths", "approval = { by = ['#8'] }\npaths");
    let nothing = String::new();
    let lapses = |name: &str| format!("'plan.*' does not ask for an approval of {name}, which ");
    let (error, warning) = (Some(true), Some(false));
    for (effect, other, name, expect) in [
        ("", &commits, "plan.commit", warning),
        ("", &looks, "plan.private", error),
        ("effect = 'change'", &commits, "plan.commit", warning),
        ("effect = 'change'", &looks, "plan.private", warning),
        // It is asked for all the same.
        ("", &asked, "plan.commit", None),
        ("effect = 'change'", &asked, "plan.commit", None),
        ("effect = 'change'", &nothing, "plan.commit", None),
        ("effect = 'read'", &commits, "plan.commit", None),
        ("effect = 'read'", &looks, "plan.private", None),
    ] {
        let asks = format!(
            "{PLANS}\n[[grant]]\nto = ['%remit']\nallow = ['plan.*']\n{effect}\napproval = {{ by = ['%ops'] }}\n"
        );
        let (is_error, found) = match load(&[source("a.toml", asks + other)], &accounts()) {
            Ok((_, warnings)) => (false, lines(&warnings)),
            Err(found) => (true, lines(&found)),
        };
        let found_it = found.contains(&lapses(name)).then_some(is_error);
        assert_eq!(found_it, expect, "{effect} {other}: {found}");
        assert!(expect.is_some() || !is_error, "{effect} {other}: {found}");
        let is_missed = found.contains("'plan.*' does not allow plan.commit");
        assert!(
            !is_missed || name != "plan.commit",
            "{effect} {other}: {found}"
        );
    }
    // What the help says: the name with paths opens no other path, and is not warned of.
    let named = format!(
        "{PLANS}\n[[grant]]\nto = ['%remit']\nallow = ['plan.*', 'plan.commit']\npaths = ['/srv']\n\
         approval = {{ by = ['%ops'] }}\n{commits}"
    );
    let found = lines(&policy(&named).1);
    assert!(!found.contains(&lapses("plan.commit")), "{found}");
    let asks = format!("{PLANS}\n[[grant]]\nto = ['%remit']\nallow = ['plan.*']\n");
    let found = lines(&policy(&asks).1);
    let expect = "'plan.*' does not allow plan.commit, plan.recover, plan.undo: a pattern allows no commit or undo";
    assert!(found.contains(expect), "{found}");
}

/// Returns the ticks of processor time of this thread. proc(5), `/proc/pid/stat`
#[allow(clippy::disallowed_methods, reason = "a test may read files")]
fn ticks() -> u64 {
    let stat = std::fs::read_to_string("/proc/thread-self/stat").unwrap();
    let fields: Vec<&str> = stat.rsplit_once(')').unwrap().1.split(' ').collect();
    fields[12].parse::<u64>().unwrap() + fields[13].parse::<u64>().unwrap()
}

/// Which rules allow a command is found once, not for each rule that leaves it out.
#[test]
fn many_patterns_of_many_changes_load_soon() {
    let commands: String = (0..400)
        .map(|at| command(&format!("z.c{at}"), "change", ""))
        .collect();
    let asks = "[[grant]]\nto = ['%remit']\nallow = ['z.*']\napproval = { by = ['%ops'] }\n";
    let text = commands + &asks.repeat(400);
    let before = ticks();
    let (_, warnings) = policy(&text);
    let spent = ticks() - before;
    assert!(!warnings.is_empty());
    assert!(spent < 1500, "{spent} ticks of 10 ms");
}

#[test]
fn explanation_says_which_confirmations_hold() {
    let commit = |name: &str, path: &str, rest: &str| {
        format!(
            "[[grant]]\nname = '{name}'\nto = ['%remit']\nallow = ['plan.commit']\npaths = ['{path}']\n{rest}\n"
        )
    };
    let asks = "approval = { by = ['%ops'] }\nconfirm = '5min'";
    let (policy, _) = policy(
        &(PLANS.to_owned()
            + &commit("free", "/srv/app", "confirm = '1min'")
            + &commit("conf", "/srv/app/other", "confirm = '30s'")
            + &commit("asks", "/srv/app/asks", asks)),
    );
    let caller = CallerIds {
        uid: 64001,
        gids: &[900],
    };
    let among = |path: &str| format!("some of the paths are among its own (paths: {path}); ");
    let decides = |how: &str| format!("decides: allows 'plan.commit'; its 'confirm' (1min) {how}");
    let conf = "its 'confirm' (30s) holds";
    let mut ids = policy.grants.iter().map(|rule| &rule.id);
    let free = ids.find(|id| id.name.as_deref() == Some("free")).unwrap();
    let (other, asked) = (among("/srv/app/other"), among("/srv/app/asks"));
    for (paths, why, rule, expect) in [
        (&["/srv/app/y"][..], "1min", "free", decides("holds")),
        (
            &["/srv/app/y", "/srv/app/other/x"],
            "30s",
            "free",
            decides("is longer"),
        ),
        (
            &["/srv/app/y", "/srv/app/other/x"],
            "30s",
            "conf",
            format!("{other}{conf}"),
        ),
        (
            &["/srv/app/other/x"],
            "30s",
            "conf",
            format!("allows 'plan.commit'; but rule {free} is stricter or comes before it; {conf}"),
        ),
        (
            &["/srv/app/y", "/srv/app/asks/x"],
            "1min",
            "asks",
            format!(
                "decides: {asked}it needs approval by %ops, asked for at most 10 min; its 'confirm' (5min) is longer"
            ),
        ),
        (
            &["/srv/app/y"],
            "1min",
            "conf",
            "allows 'plan.commit' only with paths: /srv/app/other".to_owned(),
        ),
    ] {
        let paths: Vec<PlanPath> = paths
            .iter()
            .map(|path| PlanPath::new(*path).unwrap())
            .collect();
        let ask = Ask::Paths {
            name: "plan.commit",
            args: &[],
            paths: &paths,
        };
        let found = explain(&policy, caller, &ask);
        let confirmed = format!("; it has to be confirmed within {why}, otherwise it is undone");
        assert!(found.why.ends_with(&confirmed), "{}", found.why);
        let mut considered = found.considered.iter();
        let (id, found) = considered
            .find(|(id, _)| id.name.as_deref() == Some(rule))
            .unwrap();
        assert_eq!(*found, expect, "{id} {paths:?}");
    }
}

#[test]
fn explanation_names_no_arguments_that_a_command_has_not() {
    let args = "args = { unit = ['nginx.service'] }\n";
    let text = command("a.plain", "read", "")
        + &command("a.unit", "read", "args.unit = { type = 'unit' }")
        + &format!("[[grant]]\nto = ['%remit']\nallow = ['a.*']\n{args}")
        + &format!("[[deny]]\nto = ['%remit']\ndeny = ['a.*']\n{args}")
        + "[[grant]]\nto = ['%remit']\nallow = ['a.plain']\n";
    let (policy, _) = policy(&text);
    let caller = CallerIds {
        uid: 64001,
        gids: &[900],
    };
    let ask = Ask::Command {
        name: "a.plain",
        effect: Effect::Read,
        args: &[],
    };
    let found = explain(&policy, caller, &ask);
    let found: Vec<&str> = found.considered.iter().map(|(_, why)| &**why).collect();
    let none = "'a.plain', which has no such arguments: unit: nginx.service";
    assert_eq!(
        found,
        [
            &format!("does not deny {none}"),
            &format!("does not allow {none}"),
            "decides: allows 'a.plain'",
        ]
    );
}
