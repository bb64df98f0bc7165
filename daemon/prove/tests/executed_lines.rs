//! Lines of units, crontabs, sudoers and policies by which a script runs as root. Each is read on a machine on which the
//! agent's group can write the script, and on one on which only root can. Needs root.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

mod common;

use common::Laid;
use common::laid::goals;
use remit_prove::text::text as shown;

const UNIT: &str = "/etc/systemd/system/x.service";
const DISABLED: (&str, &str) = (
    UNIT,
    "[Service]\nExecStart=/srv/app/run.sh\n[Install]\nWantedBy=multi-user.target\n",
);

/// A machine with these files, on which the agent's group can write `/srv/app` if `is_open`.
fn laid(files: &[(&str, &str)], policy: &str, is_open: bool) -> Laid {
    let (group, mode) = if is_open {
        ("deploy", "2775")
    } else {
        ("root", "755")
    };
    let names = [
        "bash",
        "cat",
        "env",
        "flock",
        "java",
        "make",
        "nice",
        "node",
        "python3",
        "run-parts",
        "sh",
        "sudo",
        "systemctl",
        "timeout",
    ];
    let programs = names.map(|name| format!("'/usr/bin/{name}'")).join(", ");
    let file = |path: &str, group: &str, mode: &str, text: &str| {
        format!("[[file]]\npath = '{path}'\ngroup = '{group}'\nmode = '{mode}'\n{text}\n")
    };
    let with = |text: &str| format!("text = '''\n{text}'''\n");
    let mut toml = format!(
        "about = ''\nagent = 'agent'\nprograms = ['/usr/sbin/cron', {programs}]\n\
         user = [{{ name = 'agent', uid = 5001, groups = ['deploy'], home = '/srv/app' }}, {{ name = 'web', uid = 5002 }}]\n\
         group = [{{ name = 'deploy', gid = 6001 }}, {{ name = 'docker', gid = 6002 }}, {{ name = 'ops', gid = 6003 }}]\npolicy = \"\"\"\n{policy}\"\"\"\n"
    );
    toml += &file("/srv/app", group, mode, "");
    for (name, mode) in [
        ("run.sh", "755"),
        ("run.py", "644"),
        ("server.js", "644"),
        ("noexec.sh", "644"),
    ] {
        let path = format!("/srv/app/{name}");
        toml += &file(&path, group, mode, &with("#!/bin/sh\n"));
    }
    for (path, text) in files {
        let mode = if text.starts_with("#!") { "755" } else { "644" };
        toml += &file(path, "root", mode, &with(text));
    }
    Laid::out("a line", &toml)
}

/// Returns whether the agent reaches root, and the answer.
fn answer(files: &[(&str, &str)], policy: &str, is_open: bool) -> (bool, String) {
    let report = laid(files, policy, is_open).report();
    let reaches = goals(&report.subjects[0]).contains(&"root");
    (reaches, shown(&report, true))
}

/// Compares each row with what is found, and with the machine on which only root writes the script.
fn check<'r>(rows: impl IntoIterator<Item = (&'r str, Vec<(&'r str, String)>, String, bool)>) {
    let mut wrong = Vec::new();
    for (row, files, policy, expect) in rows {
        let files: Vec<(&str, &str)> = files
            .iter()
            .map(|(path, text)| (*path, text.as_str()))
            .collect();
        let (found, shown) = answer(&files, &policy, true);
        if found != expect {
            wrong.push(format!("{row}: {found}\n{shown}"));
        }
        let (found, shown) = answer(&files, &policy, false);
        if found {
            wrong.push(format!("{row}, of root alone:\n{shown}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
}

fn sudoers(command: &str) -> (&'static str, String) {
    let line = format!("agent ALL = (root) NOPASSWD: {command}\n");
    ("/etc/sudoers", line)
}

/// A command of the policy without a sandbox, granted without an approval.
fn granted(argv: &str, args: &str) -> String {
    format!(
        "[[command]]\nname = 'x.do'\nsummary = 'X'\nargv = [{argv}]\neffect = 'change'\nprofile = 'bare'\n{args}\n\
         [profile.bare]\nbase = 'host'\nuser = 'root'\n\
         [[grant]]\nname = 'x'\nto = ['agent']\nallow = ['x.do']\napproval = 'none'\nunconfined = true\n"
    )
}

#[test]
fn verb_that_starts_leads_to_the_program_of_its_unit() {
    let policies = [
        (
            "'/usr/libexec/remit/remit-act', 'unit', 'enable', 'x.service'",
            "",
            true,
        ),
        (
            "'/usr/libexec/remit/remit-act', 'unit', 'disable', 'x.service'",
            "",
            false,
        ),
        (
            "'/usr/bin/systemctl', 'enable', '--now', '{unit}'",
            "unit",
            true,
        ),
        (
            "'/usr/bin/systemctl', 'try-reload-or-restart', '{unit}'",
            "unit",
            true,
        ),
        (
            "'/usr/bin/systemctl', '-q', 'start', 'nginx.service', 'x.service'",
            "",
            true,
        ),
        (
            "'/usr/bin/systemctl', '{verb}', '{unit}'",
            "start restart",
            true,
        ),
        (
            "'/usr/bin/systemctl', '{verb}', '{unit}'",
            "status show",
            false,
        ),
        (
            "'/usr/bin/systemctl', '-n', '20', 'status', '{unit}'",
            "unit",
            false,
        ),
        ("'/usr/bin/systemctl', 'disable', '{unit}'", "unit", false),
        (
            "'/usr/bin/systemctl', 'restart', '{unit}'",
            "list nginx.service x",
            true,
        ),
        (
            "'/usr/bin/systemctl', 'restart', '{unit}'",
            "list nginx.service [xy]*",
            true,
        ),
        (
            "'/usr/bin/systemctl', 'disable', '{unit}'",
            "list nginx.service x",
            false,
        ),
        (
            "'/usr/bin/systemctl', '--job-mode={unit}', 'restart', 'nginx'",
            "list x",
            false,
        ),
        ("'/usr/bin/systemctl', 'restart', '{unit}'", "flag", true),
        ("'/usr/bin/systemctl', 'restart', 'x*'", "", true),
        (
            "'/usr/bin/systemctl', 'disable', '--now', '{unit}'",
            "unit",
            true,
        ),
    ];
    let disabled = || (DISABLED.0, DISABLED.1.to_owned());
    let of_policy = policies.map(|(argv, args, expect)| {
        let unit = "args.unit = { type = 'unit', summary = 'X' }\n";
        let list = |name: &str, values: &str| {
            let values = values.split(' ').collect::<Vec<_>>().join("', '");
            format!("args.{name} = {{ type = 'enum', values = ['{values}'], summary = 'X' }}\n")
        };
        let args = match (args, args.strip_prefix("list ")) {
            ("", _) => String::new(),
            ("unit", _) => unit.to_owned(),
            ("flag", _) => {
                "args.unit = { type = 'bool', flag = 'x.service', summary = 'X' }\n".to_owned()
            }
            (_, Some(units)) => list("unit", units),
            (verbs, None) => list("verb", verbs) + unit,
        };
        (argv, vec![disabled()], granted(argv, &args), expect)
    });
    let lines = [
        ("/usr/bin/systemctl enable x.service", true),
        ("/usr/bin/systemctl enable --now x.service", true),
        ("/usr/bin/systemctl try-reload-or-restart x", true),
        ("/usr/bin/systemctl -q restart x.service", true),
        ("/usr/bin/systemctl restart nginx.service x.service", true),
        ("/usr/bin/systemctl restart [wx].service", true),
        ("/usr/bin/systemctl -n 20 status x.service", false),
        ("/usr/bin/systemctl mask x.service", false),
        ("/usr/bin/systemctl restart nginx.service", false),
    ];
    let of_sudo =
        lines.map(|(line, expect)| (line, vec![disabled(), sudoers(line)], String::new(), expect));
    check(of_policy.into_iter().chain(of_sudo));
}

#[test]
fn start_of_an_instance_leads_to_the_program_of_its_template() {
    let template = || {
        let text = "[Service]\nExecStart=/srv/app/run.sh %i\n".to_owned();
        ("/etc/systemd/system/x@.service", text)
    };
    let line = "/usr/bin/systemctl restart x@a.service";
    let argv = "'/usr/bin/systemctl', 'restart', 'x@a.service'";
    check([
        (line, vec![template(), sudoers(line)], String::new(), true),
        (argv, vec![template()], granted(argv, ""), true),
    ]);
}

#[test]
fn unit_that_root_starts_leads_to_its_program() {
    let disabled = || (DISABLED.0, DISABLED.1.to_owned());
    let other = |text: &str| {
        let wanted = "/etc/systemd/system/multi-user.target.wants/y.service";
        let unit = format!("[Service]\n{text}\n");
        vec![
            ("/etc/systemd/system/y.service", unit),
            (wanted, String::new()),
        ]
    };
    let udev = |text: &str| {
        let rule = ("/etc/udev/rules.d/9.rules", format!("{text}\n"));
        vec![("/usr/bin/udevadm", String::new()), rule]
    };
    let rows = [
        ("a verb", crontab("systemctl restart x.service"), true),
        ("a name", crontab("systemctl start --no-block x"), true),
        ("service", crontab("service x start"), true),
        ("a script", script("systemctl --now enable x"), true),
        (
            "a unit",
            other("ExecStartPost=/usr/bin/systemctl start x"),
            true,
        ),
        (
            "sudo of a script",
            {
                let start = "#!/bin/sh\nsystemctl start x\n".to_owned();
                vec![("/opt/start", start), sudoers("/opt/start")]
            },
            true,
        ),
        (
            "a device",
            udev("ACTION==\"add\", ENV{SYSTEMD_WANTS}+=\"x.service\""),
            true,
        ),
        (
            "a match of a device",
            udev("ENV{SYSTEMD_WANTS}==\"x.service\", ENV{ID_X}=\"1\""),
            false,
        ),
        ("another verb", crontab("systemctl status x.service"), false),
        ("a stop", crontab("systemctl stop x"), false),
        ("a signal", crontab("systemctl kill -s HUP x"), false),
        ("a reload", crontab("service x reload"), false),
        (
            "a reload or a start",
            crontab("systemctl reload-or-restart x"),
            true,
        ),
        ("another unit", crontab("systemctl start z.service"), false),
        (
            "another account",
            crontab("su web -c 'systemctl start x.service'"),
            false,
        ),
        (
            "another manager",
            crontab("systemctl --user start x.service"),
            false,
        ),
        (
            "a unit of another account",
            other("User=web\nExecStart=/usr/bin/systemctl start x"),
            false,
        ),
        ("another variable", udev("ENV{ID_X}=\"x.service\""), false),
    ];
    check(rows.map(|(row, mut files, expect)| {
        files.push(disabled());
        (row, files, String::new(), expect)
    }));
    for (line, expect) in [("systemctl start $X", true), ("systemctl status $X", false)] {
        let shown = answer(
            &[("/etc/cron.d/x", &format!("5 5 * * * root {line}\n"))],
            "",
            false,
        )
        .1;
        let is_named = shown.contains("runs by '$X' is not followed");
        assert_eq!(is_named, expect, "{line}: {shown}");
    }
}

#[test]
fn instance_that_something_names_leads_to_its_program() {
    let template = || {
        let text = "[Service]\nExecStart=/srv/%i/run.sh\n".to_owned();
        ("/etc/systemd/system/job@.service", text)
    };
    let unit = |name: &str, text: &str| -> Vec<(&'static str, String)> {
        let (file, wanted) = match name {
            "y.timer" => (
                "/etc/systemd/system/y.timer",
                "/etc/systemd/system/timers.target.wants/y.timer",
            ),
            _ => (
                "/etc/systemd/system/y.service",
                "/etc/systemd/system/multi-user.target.wants/y.service",
            ),
        };
        vec![(file, text.to_owned()), (wanted, String::new())]
    };
    let restart = |name: &str| format!("'/usr/bin/systemctl', 'restart', '{name}'");
    let rows = [
        (
            "a unit",
            unit(
                "y.service",
                "[Unit]\nWants=job@app.service\n[Service]\nExecStart=/usr/bin/true\n",
            ),
            String::new(),
            true,
        ),
        (
            "a timer",
            unit(
                "y.timer",
                "[Timer]\nOnCalendar=daily\nUnit=job@app.service\n",
            ),
            String::new(),
            true,
        ),
        (
            "sudo",
            vec![sudoers("/usr/bin/systemctl start job@app")],
            String::new(),
            true,
        ),
        (
            "a command",
            vec![],
            granted(&restart("job@app.service"), ""),
            true,
        ),
        (
            "cron",
            crontab("systemctl start job@app"),
            String::new(),
            true,
        ),
        (
            "an instance that names one",
            [
                crontab("systemctl start one@app"),
                vec![(
                    "/etc/systemd/system/one@.service",
                    "[Unit]\nRequires=job@%i.service\n[Service]\nExecStart=/usr/bin/true\n"
                        .to_owned(),
                )],
            ]
            .concat(),
            String::new(),
            true,
        ),
        (
            "another timer",
            unit(
                "y.timer",
                "[Timer]\nOnCalendar=daily\nUnit=job@opt.service\n",
            ),
            String::new(),
            false,
        ),
        (
            "another of sudo",
            vec![sudoers("/usr/bin/systemctl start job@opt")],
            String::new(),
            false,
        ),
        (
            "another of a command",
            vec![],
            granted(&restart("job@opt.service"), ""),
            false,
        ),
        (
            "sudo that looks",
            vec![sudoers("/usr/bin/systemctl status job@app")],
            String::new(),
            false,
        ),
        ("nothing", vec![], String::new(), false),
    ];
    check(rows.map(|(row, mut files, policy, expect)| {
        files.push(template());
        (row, files, policy, expect)
    }));
}

fn unit(service: &str) -> Vec<(&'static str, String)> {
    vec![
        (UNIT, format!("[Service]\n{service}\n")),
        (
            "/etc/systemd/system/multi-user.target.wants/x.service",
            String::new(),
        ),
    ]
}

fn crontab(line: &str) -> Vec<(&'static str, String)> {
    vec![("/etc/cron.d/x", format!("* * * * * root {line}\n"))]
}

#[test]
fn program_of_a_wrapper_or_an_interpreter_is_found_in_units() {
    let lines = [
        "ExecStart=/usr/bin/env python3 /srv/app/run.py",
        "WorkingDirectory=/srv/app\nExecStart=/usr/bin/node server.js",
        "WorkingDirectory=-/srv/app\nExecStart=/usr/bin/python3 -m run",
        "WorkingDirectory=/srv/app\nExecStart=/usr/bin/make",
        "ExecStart=/usr/bin/make -C /srv/app all",
        "ExecStart=/usr/bin/flock -n /run/l /srv/app/run.sh",
        "ExecStart=/usr/bin/timeout 60 /srv/app/run.sh",
        "ExecStart=/usr/bin/nice -n 10 /srv/app/run.sh",
        "ExecStart=/usr/bin/timeout 60 /usr/bin/nice -n 10 python3 -u /srv/app/run.py",
        "ExecStart=/usr/bin/python3 -W ignore /srv/app/run.py",
        "ExecStart=/usr/bin/java -Xmx512m $OPTS -jar /srv/app/run.py",
        "ExecStart=/usr/bin/site --hook=/srv/app/run.sh",
        "ExecStart=/bin/sh -ec 'cd /srv && exec app/run.sh'",
        "ExecStart=/bin/bash -euo pipefail -c 'cd /srv/app && ./run.sh'",
        "ExecStart=/usr/bin/env PYTHONPATH=/srv/app /usr/bin/python3 /opt/x.py",
        "ExecStart=/usr/bin/docker compose -f /srv/app/docker-compose.yml up",
        "WorkingDirectory=/srv/app\nExecStart=/usr/bin/docker compose up",
    ];
    check(lines.map(|line| (line, unit(line), String::new(), true)));
    let others = [
        "ExecStart=/usr/bin/env -u PATH cat /srv/app/run.py",
        "ExecStart=/usr/bin/python3 -W ignore /usr/bin/x /srv/app/run.py",
        "ExecStart=/usr/bin/python3 -c pass /srv/app/run.py",
        "ExecStart=/usr/sbin/runuser -u agent -- /srv/app/run.sh",
        "ExecStart=/usr/bin/su - agent -c 'cd /srv/app && ./run.sh'",
        "ExecStart=/bin/bash -euo pipefail /opt/x -c 'cd /srv/app && ./run.sh'",
        "ExecStart=/usr/bin/env PYTHONPATH=/opt /usr/bin/python3 /opt/x.py /srv/app/run.py",
        "WorkingDirectory=/srv/app\nExecStart=/usr/bin/docker compose -f /opt/x.yml up",
        "WorkingDirectory=/srv/app\nExecStart=/usr/bin/docker ps",
    ];
    check(others.map(|line| (line, unit(line), String::new(), false)));
}

#[test]
fn program_of_a_wrapper_is_found_in_policies() {
    let lines = [
        ("'/usr/bin/env', 'python3', '/srv/app/run.py'", ""),
        ("'/usr/bin/flock', '/run/x', '/srv/app/run.sh'", ""),
        ("'/usr/bin/node', 'server.js'", "cwd = '/srv/app'"),
    ];
    check(lines.map(|(argv, more)| (argv, Vec::new(), granted(argv, more), true)));
}

#[test]
fn variables_of_a_command_and_of_its_profile_are_followed() {
    let python = "'/usr/bin/python3', '/opt/x.py'";
    let of_command = |variables: &str| granted(python, &format!("env = {{ {variables} }}"));
    let of_profile = |variables: &str| {
        let profile = format!("[profile.bare]\nenv = {{ {variables} }}");
        granted(python, "").replace("[profile.bare]", &profile)
    };
    let of_both = |profile: &str, command: &str| {
        let command = format!("env = {{ {command} }}\n[profile.bare]");
        of_profile(profile).replace("[profile.bare]", &command)
    };
    let rows = [
        ("command", of_command("PYTHONPATH = '/srv/app'"), true),
        ("library", of_command("LD_PRELOAD = '/srv/app/x.so'"), true),
        ("shell", of_command("BASH_ENV = '/srv/app/run.sh'"), true),
        ("other", of_command("APP_HOME = '/srv/app'"), false),
        ("of root", of_command("PYTHONPATH = '/opt'"), false),
        ("profile", of_profile("PYTHONPATH = '/srv/app'"), true),
        (
            "replaced",
            of_both("PYTHONPATH = '/srv/app'", "PYTHONPATH = '/opt'"),
            false,
        ),
        (
            "both",
            of_both("LD_PRELOAD = '/opt/x.so'", "PYTHONPATH = '/srv/app'"),
            true,
        ),
    ];
    check(rows.map(|(row, policy, expect)| (row, Vec::new(), policy, expect)));
}

/// The words behind a value are the program's, too.
#[test]
fn words_of_each_call_are_followed_in_policies() {
    const CHECK: &str = "args.check = { type = 'bool', flag = '--check', summary = 'X' }";
    const FORKS: &str = "args.n = { type = 'int', min = 1, max = 9, summary = 'X' }";
    let play = |values: &str| {
        format!("args.play = {{ type = 'enum', values = [{values}], summary = 'X' }}")
    };
    let playbook = "'/usr/bin/ansible-playbook'";
    let rows = [
        ("'{check}', '/srv/app/run.py'", CHECK.to_owned(), true),
        (
            "['--forks', '{n}'], '/srv/app/run.py'",
            FORKS.to_owned(),
            true,
        ),
        ("'--forks={n}', '/srv/app/run.py'", FORKS.to_owned(), true),
        ("'{play}'", play("'/opt/x.yml', '/srv/app/run.py'"), true),
        ("'{play}'", play("'/opt/x.yml', '/opt/y.yml'"), false),
        (
            "'/opt/x.yml', ['--extra', '{play}']",
            play("'/opt/x.yml'"),
            false,
        ),
    ];
    let make = "'/usr/bin/make', '{check}', '-C', '/srv/app', 'all'";
    let rows = rows.map(|(argv, args, expect)| (format!("{playbook}, {argv}"), args, expect));
    let rows = rows
        .into_iter()
        .chain([(make.to_owned(), CHECK.to_owned(), true)]);
    let rows: Vec<_> = rows.collect();
    check(
        rows.iter()
            .map(|(argv, args, expect)| (argv.as_str(), Vec::new(), granted(argv, args), *expect)),
    );
}

/// A script is read once for all calls of a command: 257 times, it would be too many words.
#[test]
fn script_of_many_calls_is_read_once() {
    let script = format!(
        "#!/bin/sh\n{}/srv/app/run.sh\n",
        "echo a b c d e f g\n".repeat(1000)
    );
    let values: Vec<String> = (0..250).map(|at| format!("'v{at}'")).collect();
    let args = format!(
        "args.x = {{ type = 'enum', values = [{}], optional = true, summary = 'X' }}",
        values.join(", ")
    );
    let policy = granted("'/opt/job', '{x}'", &args);
    let machine = laid(&[("/opt/job", &script)], &policy, true);
    let report = machine.report();
    assert!(
        goals(&report.subjects[0]).contains(&"root"),
        "{}",
        shown(&report, true)
    );
    let too_many = |(_, why): &&(String, String)| why.contains("words");
    assert_eq!(report.unknown.iter().find(too_many), None);
}

#[test]
fn calls_that_are_not_looked_at_are_listed() {
    let names: Vec<String> = (0..10).map(|at| format!("f{at}")).collect();
    let words: Vec<String> = names.iter().map(|name| format!("'{{{name}}}'")).collect();
    let flags = names.iter().map(|name| {
        format!("args.{name} = {{ type = 'bool', flag = '--{name}', summary = 'X' }}\n")
    });
    let argv = format!("'/usr/bin/cat', {}", words.join(", "));
    let policy = granted(&argv, &flags.collect::<String>());
    let report = laid(&[], &policy, false).report();
    let sentence = "command x.do has too many combinations of words: not all are looked at";
    let is_it = |(path, why): &(String, String)| path == "/etc/remit/policy.d" && why == sentence;
    assert!(report.unknown.iter().any(is_it), "{}", shown(&report, true));
}

#[test]
fn program_of_a_wrapper_is_found_in_sudoers() {
    let lines = [
        "/usr/bin/env python3 /srv/app/run.py",
        "/usr/bin/timeout 60 /srv/app/run.sh",
        "/usr/bin/java -jar /srv/app/run.py",
    ];
    check(lines.map(|line| (line, vec![sudoers(line)], String::new(), true)));
}

#[test]
fn what_a_crontab_runs_is_found() {
    let lines = [
        ("run-parts /srv/app", true),
        ("cd /srv/app; make", true),
        ("cd /srv && make -C /srv/app", true),
        ("java -jar /srv/app/run.py", true),
        ("D=/srv/app/run.sh; $D", true),
        ("nice -n 5 python3 /srv/app/run.py", true),
        ("sh -c 'cd /srv/app && ./run.sh' >/dev/null 2>&1", true),
        ("awk '{ print }' /srv/app/run.py", false),
        ("su agent -c 'cd /srv/app && ./run.sh'", false),
        ("test -e /srv/app || cat /srv/app/run.py", false),
    ];
    check(lines.map(|(line, expect)| (line, crontab(line), String::new(), expect)));
}

fn check_crontabs<'r>(lines: impl IntoIterator<Item = (&'r str, bool)>) {
    let rows = lines.into_iter();
    check(rows.map(|(line, expect)| (line, crontab(line), String::new(), expect)));
}

#[test]
fn what_a_wrapper_runs_in_a_crontab_is_found() {
    check_crontabs([
        ("flock -n /run/l /srv/app/run.sh -c /etc/app.conf", true),
        ("flock -n /run/l python3 /srv/app/run.py -c x", true),
        ("flock -n /run/l -c 'cd /srv/app && ./run.sh'", true),
        ("flock -n /run/l cat -c /srv/app/run.sh", false),
        ("env PATH=/srv/app:/usr/bin backup", true),
        ("env PATH=/usr/bin:/srv/app cat", false),
        ("env LD_PRELOAD=/srv/app/x.so cat", true),
        ("env LD_PRELOAD=/opt/x.so cat /srv/app/x.so", false),
        ("env -C /srv/app ./run.sh", true),
        ("env --chdir=/srv/app ./run.sh", true),
        ("env -C /opt ./run.sh", false),
        ("chronic python3 /srv/app/run.py", true),
        ("chronic cat /srv/app/run.sh", false),
        ("sudo --user root bash /srv/app/noexec.sh", true),
        ("sudo --user agent bash /srv/app/noexec.sh", false),
        ("su -s /bin/sh -c 'cd /srv/app && ./run.sh'", true),
        ("su -s /bin/sh -c 'cd /srv/app && ./run.sh' agent", false),
        ("setuidgid root bash /srv/app/noexec.sh", true),
        ("setuidgid agent bash /srv/app/noexec.sh", false),
        ("setpriv --reuid=0 bash /srv/app/noexec.sh", true),
        ("sudo -u '#0' bash /srv/app/noexec.sh", true),
        ("sudo -u '#5001' bash /srv/app/noexec.sh", false),
        ("chpst -u :5001:6001 bash /srv/app/noexec.sh", false),
        ("gosu agent:deploy bash /srv/app/noexec.sh", false),
        // A group alone: the account stays root.
        ("gosu :deploy bash /srv/app/noexec.sh", true),
        ("su-exec :agent bash /srv/app/noexec.sh", true),
        ("find /opt -execdir bash /srv/app/noexec.sh \\;", true),
        ("find /opt -name bash /srv/app/noexec.sh", false),
        ("find -L /srv/app -name '*.sh' -exec {} \\;", true),
        ("find /srv/app /opt -exec sh {} \\;", true),
        ("cd /srv/app && find . -exec {} \\;", true),
        ("find /opt -exec {} \\;", false),
        ("find /srv/app -exec cat {} \\;", false),
        ("find /srv/app -exec sh -c 'cat $1' _ {} \\;", false),
        ("start-stop-daemon --start --exec /srv/app/run.sh", true),
        (
            "start-stop-daemon --start --exec /srv/app/run.sh -- -c /etc/app.conf",
            true,
        ),
        (
            "start-stop-daemon --start --chuid agent:deploy --exec /srv/app/run.sh",
            false,
        ),
    ]);
}

#[test]
fn what_is_behind_a_mark_of_the_shell_is_found() {
    check_crontabs([
        ("TOKEN=$(cat /etc/tok) python3 /srv/app/run.py", true),
        ("TOKEN=$(cat /etc/tok) cat /srv/app/run.py", false),
        (
            "echo \"$(date) # start\" >> /var/log/x; cd /srv/app && ./run.sh",
            true,
        ),
        ("echo x # \"$(date)\"; cd /srv/app && ./run.sh", false),
        ("logger \"job $(hostname)#1\"; /srv/app/run.sh", true),
        ("logger job #1; /srv/app/run.sh", false),
        ("eval \"cd /srv/app && ./run.sh\"", true),
        ("echo \"cd /srv/app && ./run.sh\"", false),
        ("trap 'cd /srv/app; ./run.sh' EXIT", true),
        ("trap - EXIT /srv/app/run.sh", false),
        ("bash < /srv/app/noexec.sh", true),
        ("bash /opt/x < /srv/app/noexec.sh", false),
        ("cat /srv/app/noexec.sh | sh", true),
        ("cat /srv/app/noexec.sh | sort", false),
        ("2>/dev/null bash /srv/app/noexec.sh", true),
        ("bash 2>/srv/app/noexec.sh", false),
        ("(cd /srv/app && ./run.sh)", true),
        ("(cd /srv/app); ./run.sh", false),
        ("date >| /srv/app/run.sh", false),
        ("cat /srv/app/noexec.sh |& sh", true),
        ("cat /srv/app/noexec.sh | { sh; }", true),
        ("cat /srv/app/noexec.sh | (sh)", true),
        ("cat /srv/app/noexec.sh | (cd /tmp && sh)", true),
        ("cat /srv/app/noexec.sh | { set -e; sh; }", true),
        ("cat /srv/app/noexec.sh | { cat; }; sh", false),
        ("cat /srv/app/noexec.sh | { cat /opt/x | sh; }", false),
        ("sleep $((3 / 2)); /srv/app/run.sh", true),
    ]);
}

#[test]
fn what_a_value_or_a_directory_names_is_found() {
    check_crontabs([
        ("APP=/srv/app; cd $APP && ./run.sh", true),
        ("APP=/opt; cd $APP && ./run.sh", false),
        ("D=/srv/app; ${D}/run.sh", true),
        ("D=/srv/app; . /etc/default/x; exec $D/run.sh", true),
        ("D=/opt; . /etc/default/x; D=/srv/app; $D/run.sh", true),
        ("D=/srv/app; . /etc/default/x; cat $D/run.sh", false),
        ("cd ~agent && ./run.sh", true),
        ("cd ~ && ./run.sh", false),
        ("~agent/run.sh", true),
        ("~other/run.sh", false),
        ("pushd /srv/app && ./run.sh", true),
        ("pushd /opt && ./run.sh", false),
        ("bash -euo pipefail -c 'cd /srv/app && ./run.sh'", true),
        ("bash -ce 'cd /srv/app && ./run.sh'", true),
        ("cd /srv && make -C app", true),
        ("cd /srv && make -C other", false),
        ("export PATH=$PATH:/srv/app; backup", true),
        ("export PATH=$PATH:/srv/app; cat /etc/x", false),
        ("PATH=/srv/app:$PATH; export PATH=$PATH:/opt; backup", true),
        ("PATH+=:/srv/app; backup", true),
        ("LD_LIBRARY_PATH+=:/srv/app cat /etc/x", true),
    ]);
}

#[test]
fn words_that_are_code_are_found_and_files_are_not() {
    check_crontabs([
        ("perl -I/srv/app/lib /usr/local/bin/x.pl", true),
        (
            "perl -I/usr/lib/x /usr/local/bin/x.pl /srv/app/run.py",
            false,
        ),
        ("node --require=/srv/app/server.js /opt/s.js", true),
        ("java -javaagent:/srv/app/a.jar -jar /opt/x.jar", true),
        ("java -Da=/srv/app/a.jar -jar /opt/x.jar", false),
        ("ansible-playbook -i localhost, /srv/app/site.yml", true),
        ("ansible-playbook --tags /srv/app/x /opt/site.yml", false),
        ("apt-get -y install /srv/app/x.deb", true),
        ("apt-get -y show /srv/app/x.deb", false),
        ("crontab /srv/app/tab", true),
        ("crontab -u agent /srv/app/tab", false),
        ("cd /srv/app && docker compose up -d", true),
        ("cd /srv/app && docker ps -a", false),
        ("docker-compose -f /srv/app/x.yml up", true),
        ("tar -I /srv/app/run.sh -cf /var/b.tgz /etc", true),
        ("tar czf /var/b.tgz /srv/app/run.sh", false),
        ("chmod 755 /srv/app/run.sh", false),
        ("install /srv/app/run.sh /opt/x", false),
        ("test -x /srv/app/run.sh", false),
    ]);
}

#[test]
fn what_runs_as_an_account_that_the_tables_lack_is_listed() {
    for line in [
        "sudo -u ldap /srv/app/run.sh",
        "runuser -u ldap -- /srv/app/run.sh",
        "su - ldap -c /srv/app/run.sh",
        "su -l ldap -c 'cd /srv/app; ./run.sh'",
        "setuidgid ldap bash /srv/app/noexec.sh",
        "start-stop-daemon --start --chuid ldap --exec /srv/app/run.sh",
    ] {
        let (reaches, shown) = answer(
            &[("/etc/cron.d/x", &format!("* * * * * root {line}\n"))],
            "",
            true,
        );
        let sentence =
            "/etc/cron.d/x: what it runs as 'ldap' is not followed: the account is unknown";
        assert!(!reaches && shown.contains(sentence), "{line}\n{shown}");
    }
}

#[test]
fn what_another_machine_runs_is_no_file_of_this_one() {
    let lines = [
        ("ssh backup /srv/app/run.sh", false),
        ("ssh -o BatchMode=yes root@backup /srv/app/run.sh", false),
        ("rsync --rsync-path=/srv/app/run.sh -a /x backup:/y", false),
        ("ansible all -m command -a /srv/app/run.sh", false),
        ("systemd-nspawn -D /var/lib/x /srv/app/run.sh", false),
        ("ssh app@localhost /srv/app/run.sh", true),
        (
            "ssh -o 'ProxyCommand=bash /srv/app/noexec.sh' backup id",
            true,
        ),
        ("ssh -o 'proxycommand bash /srv/app/noexec.sh' backup", true),
        ("ssh -oProxyCommand='bash /srv/app/noexec.sh' backup", true),
        ("ssh -4oProxyCommand='bash /srv/app/noexec.sh' backup", true),
        ("ssh -4 -oProxyCommand=none backup /srv/app/run.sh", false),
        ("ssh -F /srv/app/config backup id", true),
        ("rsync -e /srv/app/run.sh -a /x backup:/y", true),
        ("ansible localhost -m command -a /srv/app/run.sh", true),
        (
            "ansible all -a \"{{ lookup('pipe', '/srv/app/run.sh') }}\"",
            true,
        ),
        ("systemd-inhibit --who=x /srv/app/run.sh", true),
    ];
    check_crontabs(lines);
    for (line, is_local) in lines {
        let files = crontab(line);
        let shown = answer(&[(files[0].0, &files[0].1)], "", true).1;
        let has_note = shown.contains("runs on another machine is not followed");
        let expect = !is_local || line.ends_with("backup id");
        assert_eq!(has_note, expect, "{line}\n{shown}");
    }
}

fn job(text: &str) -> (&'static str, String) {
    ("/usr/local/bin/job", format!("#!/bin/bash\n{text}\n"))
}

/// A machine on which cron runs a script with this text.
fn script(text: &str) -> Vec<(&'static str, String)> {
    [crontab("/usr/local/bin/job"), vec![job(text)]].concat()
}

#[test]
fn what_a_script_runs_is_found() {
    let many = format!("{}/srv/app/run.sh", ": a b c d e f g\n".repeat(1300));
    let rows = [
        ("case \"$1\" in\nstart) . /srv/app/lib.sh ;;\nesac", true),
        ("case \"$1\" in\n*) cd /srv/app && ./run.sh ;;\nesac", true),
        ("case \"$1\" in\n/srv/app/run.sh) cat ;;\nesac", false),
        ("APP=/srv/app\n\"$APP/run.sh\"", true),
        ("APP=/srv/app\ncd \"$APP\"\n./run.sh", true),
        ("APP=/srv/app\necho \"$APP/run.sh\"", false),
        (&many, true),
    ];
    check(rows.map(|(text, expect)| (text, script(text), String::new(), expect)));
    let second = |text: &str| ("/usr/local/bin/two", format!("#!/bin/sh\n{text}\n"));
    let in_text =
        |line: &str, path, text: &str| [crontab(line), vec![(path, text.to_owned())]].concat();
    check([
        (
            "script of a script by its path",
            [
                script("/usr/local/bin/two"),
                vec![second("cd /srv/app; ./run.sh")],
            ]
            .concat(),
            String::new(),
            true,
        ),
        (
            "read by a shell",
            in_text("sh /opt/job.sh", "/opt/job.sh", "/srv/app/run.sh\n"),
            String::new(),
            true,
        ),
        (
            "read by a shell's dot",
            in_text(". /opt/env.sh", "/opt/env.sh", "cd /srv/app; ./run.sh\n"),
            String::new(),
            true,
        ),
        (
            "read by an interpreter",
            in_text(
                "python3 /opt/job.py",
                "/opt/job.py",
                "subprocess.run(['/srv/app/run.sh'])\n",
            ),
            String::new(),
            true,
        ),
        (
            "read by a filter",
            in_text("cat /opt/job.sh", "/opt/job.sh", "/srv/app/run.sh\n"),
            String::new(),
            false,
        ),
    ]);
}

#[test]
fn run_parts_runs_scripts_of_any_directory_by_their_names() {
    let parts = |name: &'static str| {
        let text = "#!/bin/sh\n/srv/app/run.sh\n".to_owned();
        [crontab("run-parts /etc/cron.15min"), vec![(name, text)]].concat()
    };
    let debian = || vec![("/etc/debian_version", "12\n".to_owned())];
    let (plain, dot) = ("/etc/cron.15min/job", "/etc/cron.15min/job.sh");
    check([
        (
            "plain",
            [parts(plain), debian()].concat(),
            String::new(),
            true,
        ),
        ("dot", [parts(dot), debian()].concat(), String::new(), false),
        ("dot, not on Debian", parts(dot), String::new(), true),
    ]);
}

#[test]
fn what_a_variable_runs_is_in_the_answer() {
    let answer = |files: Vec<(&'static str, String)>| {
        let files: Vec<(&str, &str)> = files
            .iter()
            .map(|(path, text)| (*path, text.as_str()))
            .collect();
        answer(&files, "", true).1
    };
    for (line, word) in [
        ("for f in /srv/app/*.sh; do sh \"$f\"; done", "$f"),
        ("/srv/app/*", "/srv/app/*"),
        ("cd /srv/app && $(cat x)", "$(cat …)"),
        ("cd $APP && ./run.sh", "./run.sh"),
        ("D=/srv/app; . /etc/x; $D/run.sh", "$D/run.sh"),
        ("cd $APP && python3 run.py", "run.py"),
        ("nice $X", "$X"),
        ("curl http://x | sh", "$(curl …)"),
        ("bash -c \"$(curl -fsSL http://x)\"", "$(curl …)"),
        ("find /opt -exec {} \\;", "{}"),
        ("ls /opt | xargs -I{} sh /opt/{}", "/opt/{}"),
    ] {
        let shown = answer(crontab(line));
        let sentence = format!("/etc/cron.d/x: what its line 1 runs by '{word}' is not followed");
        assert!(shown.contains(&sentence), "{line}\n{shown}");
    }
    let shown = answer(script(
        "for f in /srv/app/*.sh; do . \"$f\"; done\n$X\n$Y\n",
    ));
    let sentence = "/usr/local/bin/job: what it runs by variables and patterns is not followed\n";
    assert!(shown.contains(sentence), "{shown}");
    for line in [
        "case \"$1\" in a|*.x) cat;; *) cat;; esac",
        "sleep $((RANDOM % 60)); cat $X | sort \"$Y\"",
        "[ \"$(id -u)\" = 0 ] && cat \"$X\"",
        "cat \"`ls /x`\" | python3 /opt/x.py",
    ] {
        let shown = answer(crontab(line));
        assert!(!shown.contains("not looked at:"), "{line}\n{shown}");
    }
}

#[test]
fn variable_that_chooses_code_is_followed() {
    let job = || ("/usr/local/bin/job", "#!/bin/sh\nbackup\n".to_owned());
    let line = "* * * * * root /usr/bin/cat\n";
    let table = |variables: &str| vec![("/etc/cron.d/x", format!("{variables}\n{line}"))];
    let with_job = |service: &str| [unit(service), vec![job()]].concat();
    let environment = |text: &str| vec![("/etc/environment", text.to_owned())];
    let rows = [
        ("preload", table("LD_PRELOAD=/srv/app/x.so"), true),
        (
            "bash",
            table("SHELL=/bin/bash\nBASH_ENV=/srv/app/run.sh"),
            true,
        ),
        (
            "node",
            table("NODE_OPTIONS=\"--require=/srv/app/server.js\""),
            true,
        ),
        ("lua", table("LUA_PATH=/srv/app/?.lua;;"), true),
        (
            "before",
            vec![("/etc/cron.d/x", format!("{line}LD_PRELOAD=/srv/app/x.so\n"))],
            false,
        ),
        ("other", table("MAILTO=/srv/app/x.so"), false),
        ("text", crontab("LD_PRELOAD=/srv/app/x.so cat"), true),
        (
            "export",
            crontab("export PATH=/srv/app:$PATH; backup"),
            true,
        ),
        (
            "path",
            with_job("Environment=PATH=/srv/app:/usr/bin\nExecStart=/usr/local/bin/job"),
            true,
        ),
        (
            "own path",
            with_job("Environment=PATH=/srv/app:/usr/bin\nExecStart=sh"),
            false,
        ),
        (
            "library",
            unit("Environment=RUBYLIB=/srv/app A=b\nExecStart=/usr/bin/cat"),
            true,
        ),
        (
            "pam",
            environment("LD_LIBRARY_PATH=\"/usr/lib/x:/srv/app\"\n"),
            true,
        ),
        (
            "pam path",
            environment("PATH=\"/usr/bin:/srv/app\"\n"),
            true,
        ),
    ];
    check(rows.map(|(row, files, expect)| (row, files, String::new(), expect)));
    let kept = |name: &str| {
        let line = "agent ALL = NOPASSWD: /usr/bin/cat \"\"";
        let text = format!("Defaults env_keep += \"LANG {name}\"\n{line}\n");
        answer(&[("/etc/sudoers", &text)], "", true).0
    };
    assert!(kept("BASH_ENV") && kept("NODE_OPTIONS") && !kept("LC_ALL"));
}

#[test]
fn program_of_sudo_that_writes_is_judged() {
    let names = "chmod chown cp dd install joe kexec ln mv nano passwd chpasswd setcap setfacl usermod visudo \
                 tune2fs update-alternatives unzip patch";
    let any = names
        .split_ascii_whitespace()
        .map(|name| (format!("/usr/sbin/{name}"), true));
    let fixed = [
        ("/usr/bin/tee /etc/cron.d/x", true),
        ("/usr/bin/tee -a /etc/passwd", true),
        ("/usr/bin/tee /var/log/x", false),
        ("/usr/bin/tee /var/log/\\*", false),
        ("/usr/bin/tee /var/log/\\\\*", true),
        ("/usr/bin/timeout 5 /usr/bin/tee /etc/cron.d/x", true),
        ("/usr/bin/dd of=/etc/cron.d/x", true),
        ("/usr/bin/dd if=/srv/mine/x of=/etc/cron.d/x", true),
        ("/usr/bin/dd if=/dev/zero of=/etc/cron.d/x", false),
        ("/usr/bin/cp /srv/mine/x /etc/cron.d/x", true),
        ("/usr/bin/cp x /etc/cron.d/", true),
        ("/usr/bin/cp /dev/stdin /etc/cron.d/x", true),
        ("/usr/bin/cp /usr/share/x /etc/cron.d/x", false),
        ("/usr/bin/cp /etc/cron.d/x /srv/mine/x", false),
        ("/usr/bin/rsync -t /srv/mine/x /etc/cron.d/x", true),
        ("/usr/bin/rsync -g -o -m /srv/mine/x /etc/cron.d/x", true),
        (
            "/usr/bin/rsync --exclude /srv/mine/x /usr/share/x /etc/cron.d/x",
            false,
        ),
        ("/usr/bin/cp -t /etc/cron.d /srv/mine/x", true),
        ("/usr/bin/install -d -o agent /etc/cron.d", true),
        ("/usr/bin/install -d --owner=agent /etc/cron.d", true),
        ("/usr/bin/install -d /etc/cron.d", false),
        (
            "/usr/bin/install -d -o root -g root -m 755 /etc/cron.d",
            false,
        ),
        (
            "/usr/bin/install -o agent /usr/share/x /etc/cron.d/known",
            true,
        ),
        (
            "/usr/bin/install -o root /usr/share/x /etc/cron.d/known",
            false,
        ),
        ("/usr/bin/install -d -oagent /etc/cron.d", true),
        ("/usr/bin/install -dm777 /etc/cron.d", true),
        ("/usr/bin/install -vdo agent /etc/cron.d", true),
        ("/usr/bin/install -d -o agent /etc/cron.d /srv/z", true),
        ("/usr/bin/install -d -o web /etc/cron.d", false),
        (
            "/usr/bin/install -m 640 -g deploy /usr/share/x /etc/cron.d/known",
            false,
        ),
        (
            "/usr/bin/install -g deploy /usr/share/x /etc/cron.d/known",
            false,
        ),
        (
            "/usr/bin/install -m 660 -g deploy /usr/share/x /etc/cron.d/known",
            true,
        ),
        (
            "/usr/bin/install -m 660 -g web /usr/share/x /etc/cron.d/known",
            false,
        ),
        (
            "/usr/bin/install -m 666 -g web /usr/share/x /etc/cron.d/known",
            true,
        ),
        (
            "/usr/bin/install -o ldap /usr/share/x /etc/cron.d/known",
            true,
        ),
        ("/usr/bin/chown agent /etc/cron.d/known", true),
        ("/usr/bin/chown web /etc/cron.d/known", false),
        ("/usr/bin/chgrp deploy /etc/cron.d/known", true),
        ("/usr/bin/chgrp web /etc/cron.d/known", false),
        (
            "/usr/bin/rsync --chown=agent /usr/share/x /etc/cron.d/known",
            true,
        ),
        (
            "/usr/bin/rsync --chown web /usr/share/x /etc/cron.d/known",
            false,
        ),
        (
            "/usr/bin/rsync --chmod=D755\\,F666 /usr/share/x /etc/cron.d/known",
            true,
        ),
        (
            "/usr/bin/rsync --chmod=644 /usr/share/x /etc/cron.d/known",
            false,
        ),
        (
            "/usr/bin/rsync --usermap=root:agent /usr/share/x /etc/cron.d/known",
            true,
        ),
        (
            "/usr/bin/rsync --groupmap=1:deploy /usr/share/x /etc/cron.d/known",
            true,
        ),
        (
            "/usr/bin/rsync -a /srv/mine/x /etc/cron.d/ --log-file /var/log/r.log",
            true,
        ),
        (
            "/usr/bin/rsync -a /srv/mine/x /etc/cron.d/ --bwlimit 100",
            true,
        ),
        (
            "/usr/bin/rsync -a /srv/mine/x /etc/cron.d/ --later 100",
            true,
        ),
        (
            "/usr/bin/rsync -a --delete /etc/cron.d/ /srv/mine/ --backup-dir /etc/cron.d",
            true,
        ),
        ("/usr/bin/cp -rt /etc/cron.d /srv/mine/x", true),
        ("/usr/bin/cp -t/etc/cron.d /srv/mine/x", true),
        ("/usr/bin/cp --target=/etc/cron.d /srv/mine/x", true),
        ("/usr/bin/passwd root", true),
        ("/usr/bin/passwd \"\"", true),
        ("/usr/bin/passwd agent", false),
        ("/usr/bin/passwd -S root", false),
        ("/usr/sbin/visudo \"\"", true),
        ("/usr/sbin/visudo -c", false),
        ("/usr/bin/passwd -e root", false),
        ("/usr/bin/passwd -d web", false),
        ("/usr/sbin/chpasswd -c SHA512", true),
        ("/usr/sbin/newusers /usr/share/users", false),
        ("/usr/sbin/newusers /srv/mine/users", true),
        ("/usr/sbin/usermod -aG docker agent", true),
        (
            "/usr/sbin/usermod --append --groups web\\,docker agent",
            true,
        ),
        ("/usr/sbin/usermod -aG web agent", false),
        // Another account gets nothing that the agent has.
        ("/usr/sbin/usermod -aG docker web", false),
        ("/usr/sbin/usermod -L root", false),
        ("/usr/sbin/usermod -s /usr/sbin/nologin root", false),
        ("/usr/sbin/usermod -s /srv/mine/sh root", true),
        ("/usr/sbin/usermod -s /bin/bash root", false),
        ("/usr/sbin/usermod -o -u 0 agent", true),
        ("/usr/sbin/useradd -m -G docker new", false),
        ("/usr/sbin/useradd -o -u 0 new", true),
        ("/usr/sbin/adduser agent docker", true),
        ("/usr/sbin/adduser new", false),
        ("/usr/sbin/groupadd new", false),
        ("/usr/bin/gpasswd -a agent docker", true),
        ("/usr/bin/gpasswd -d agent docker", false),
        ("/usr/bin/gpasswd docker", true),
        ("/usr/sbin/groupmems -g docker -a agent", true),
        ("/usr/sbin/groupmems -g docker -l", false),
        ("/usr/bin/chsh root", true),
        ("/usr/bin/tar -xf /srv/mine/x.tar -C /", true),
        ("/usr/bin/tar xzfC /srv/mine/x.tar /srv/z", true),
        ("/usr/bin/tar -x", true),
        ("/usr/bin/tar -xf /usr/share/x.tar -C /", false),
        ("/usr/bin/tar -tf /srv/mine/x.tar", false),
        ("/usr/bin/tar cf /srv/mine/x.tar /etc", false),
        ("/usr/bin/cpio -idm", true),
        ("/usr/bin/cpio -it", false),
        ("/usr/bin/unzip -o /srv/mine/x.zip -d /etc/cron.d", true),
        ("/usr/bin/unzip -o /srv/mine/x.zip -d /srv/z", false),
        ("/usr/bin/unzip -o /usr/share/x.zip -d /etc", false),
        // The caller goes to a directory.
        ("/usr/bin/unzip -o /srv/mine/x.zip", true),
        ("/usr/bin/unzip -l /srv/mine/x.zip", false),
        ("/usr/bin/7z x /srv/mine/x.7z -o/etc/cron.d", true),
        ("/usr/bin/7z l /srv/mine/x.7z", false),
        ("/usr/bin/mount -o loop /srv/mine/x.img /etc", true),
        (
            "/usr/bin/mount -o loop\\,nosuid\\,nodev /srv/mine/x.img /srv/z",
            false,
        ),
        (
            "/usr/bin/mount -o nosuid\\,nodev /srv/mine/x.img /etc/cron.d",
            true,
        ),
        ("/usr/bin/mount --bind /srv/mine /etc/cron.d", true),
        ("/usr/bin/mount --bind /srv/mine /srv/z", false),
        ("/usr/bin/mount -t nfs host\\:/x /mnt", false),
        ("/usr/bin/mount /srv/mine", false),
        ("/usr/bin/mount /dev/sdb1 /mnt", false),
        ("/usr/bin/curl -o /etc/cron.d/x file\\:///srv/mine/x", true),
        ("/usr/bin/curl -so /etc/cron.d/x file\\:///srv/mine/x", true),
        (
            "/usr/bin/curl -o /etc/cron.d/x https\\://example.org/x",
            false,
        ),
        ("/usr/bin/curl -o /srv/z file\\:///srv/mine/x", false),
        ("/usr/bin/systemd-tmpfiles --create", false),
        ("/usr/bin/systemd-tmpfiles --create /srv/mine/x.conf", true),
        ("/usr/sbin/ldconfig", true),
        ("/usr/sbin/ldconfig \"\"", false),
        ("/usr/bin/puppet agent --test", false),
        ("/usr/bin/puppet apply /srv/mine/site.pp", true),
        (
            "/usr/bin/update-alternatives --set editor /usr/bin/vim",
            false,
        ),
        ("/usr/bin/chmod 644 /etc/motd", false),
        ("/usr/bin/chmod 644 /srv/mine/*", true),
        ("/usr/bin/less /var/log/syslog", true),
        ("/usr/bin/make install", true),
        ("/usr/bin/make -C /opt/x install", false),
        ("/usr/bin/python3 run.py", true),
        ("/usr/bin/python3 -m pip", true),
        ("/usr/bin/python3 --version", false),
        ("/usr/bin/bash \"\"", true),
        ("/usr/bin/bash -c true", false),
        ("/bin/su - root -c *", true),
        ("/bin/su -s /bin/sh *", true),
        ("/bin/su *", true),
        // Further options are among the words of the star: `-G disk`, `-u root`.
        ("/bin/su - agent -c *", true),
        ("/bin/su agent *", true),
        ("/bin/su agent -- *", false),
        ("/bin/su -s -- agent *", true),
        ("/bin/su - root -c id", false),
        ("/usr/sbin/runuser root -c *", true),
        ("/usr/sbin/runuser git *", true),
        ("/usr/bin/docker compose up -d", true),
        ("/usr/bin/docker compose -f /opt/compose.yml up -d", false),
        ("/usr/bin/systemctl edit nginx.service", true),
        ("/usr/bin/systemctl cat nginx.service", false),
        ("/usr/bin/git pull", true),
        ("/usr/bin/git --no-pager -C site -c a=b status", true),
        ("/usr/bin/git --git-dir=.git fetch", true),
        ("/usr/bin/git -C /opt/site pull", false),
        ("/usr/bin/git --git-dir=/opt/site/.git fetch", false),
        ("/usr/bin/git clone https://example.org/x /opt/x", false),
        ("/usr/bin/git --version", false),
        ("/usr/sbin/runuser agent -- *", false),
        ("/usr/sbin/runuser -u agent -- *", false),
        ("/usr/sbin/runuser -u agent *", true),
        ("/usr/sbin/runuser -u agent python3 run.py", false),
        ("/usr/sbin/runuser -u agent -- python3 *", false),
        ("/usr/sbin/runuser -u root -- python3 *", true),
        ("/usr/sbin/runuser -u root -- /opt/x", false),
    ];
    let fixed = fixed.map(|(line, expect)| (line.to_owned(), expect));
    let mut wrong = Vec::new();
    for (line, expect) in any.chain(fixed) {
        let (path, text) = sudoers(&line);
        let laid = laid(&[(path, &text), ("/etc/cron.d/known", "")], "", false);
        let mine = laid.at("/srv/mine");
        std::fs::create_dir(&mine).unwrap();
        std::os::unix::fs::chown(&mine, Some(5001), None).unwrap();
        let report = laid.report();
        if goals(&report.subjects[0]).contains(&"root") != expect {
            wrong.push(format!("{line}:\n{}", shown(&report, true)));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
}

/// As the same words in sudoers; in a sandbox only beneath what it shows to be written.
#[test]
fn what_a_command_writes_is_judged() {
    const HOST: &str = "base = 'host'";
    const CRON: &str = "base = 'strict'\nwrite = ['/etc/cron.d']\nleads_to_root = true";
    const ETC: &str = "base = 'strict'\nwrite = ['/etc/motd']\nleads_to_root = true";
    const GROUPS: &str =
        "args.group = { type = 'enum', values = ['web', 'docker'], summary = 'X' }";
    const WEAK: &str = "args.group = { type = 'enum', values = ['web', 'ops'], summary = 'X' }";
    const FILE: &str = "args.file = { type = 'path', under = '/srv/mine', summary = 'X' }";
    const WEB: &str = "base = 'strict'\nwrite = ['/srv/web']\nleads_to_root = true";
    const OVER: &str = "base = 'strict'\nwrite = ['/srv/web']\ncapabilities = ['CAP_DAC_OVERRIDE']\nleads_to_root = true";
    const SECRET: &str = "args.s = { type = 'secret', summary = 'X' }";
    const OF_SECRET: &str = "stdin = '{s}'\nargs.s = { type = 'secret', summary = 'X' }";
    const INPUT: &str = "stdin = 'caller'";
    const TARGET: &str = "args.to = { type = 'path', under = '/etc/cron.d', summary = 'X' }";
    const USER: &str = "args.user = { type = 'user', summary = 'X' }";
    const MINE: &str =
        "args.x = { type = 'enum', values = ['/usr/share/x', '/srv/mine/x'], summary = 'X' }";
    const OTHER: &str = "args.x = { type = 'enum', values = ['/usr/share/x'], summary = 'X' }";
    let rows = [
        ("cp /srv/mine/x /etc/cron.d/x", "", HOST, true),
        ("cp /usr/share/x /etc/cron.d/x", "", HOST, false),
        ("cp /srv/mine/x /etc/motd", "", HOST, false),
        ("rsync -a /srv/mine/ /etc/cron.d/", "", HOST, true),
        (
            "timeout 5 /usr/bin/cp /srv/mine/x /etc/cron.d/x",
            "",
            HOST,
            true,
        ),
        ("cp {x} /etc/cron.d/x", MINE, HOST, true),
        ("cp {x} /etc/cron.d/x", OTHER, HOST, false),
        ("cp x /etc/cron.d/x", "cwd = '/srv/mine'", HOST, true),
        ("cp x /etc/cron.d/x", "cwd = '/usr/share'", HOST, false),
        ("dd if=/srv/mine/x of=/etc/cron.d/x", "", HOST, true),
        ("dd if=/usr/share/x of=/etc/cron.d/x", "", HOST, false),
        ("dd if=/srv/mine/x of=/srv/z bs=1", "", HOST, false),
        ("tee /etc/cron.d/x", "", HOST, false),
        ("install -m 644 /srv/mine/x /etc/cron.d/x", "", HOST, true),
        ("install -m 644 /dev/stdin /etc/cron.d/x", "", HOST, false),
        ("chmod 666 /etc/cron.d/known", "", HOST, true),
        ("chmod 644 /etc/cron.d/known", "", HOST, false),
        ("chown {user} /etc/cron.d/known", USER, HOST, true),
        ("passwd root", "", HOST, false),
        ("cp /srv/mine/x /etc/cron.d/x", "", CRON, true),
        ("cp /srv/mine/x /etc/crontab", "", CRON, false),
        ("cp {s} /etc/cron.d/x", SECRET, CRON, true),
        ("cp /srv/mine/x {to}", TARGET, CRON, true),
        ("cp /usr/share/x {to}", TARGET, CRON, false),
        ("cp /usr/share/x /etc/cron.d/x", OF_SECRET, CRON, false),
        ("tee /etc/cron.d/x", OF_SECRET, CRON, true),
        ("tee /etc/cron.d/x", INPUT, CRON, true),
        ("install -m 644 /dev/stdin /etc/cron.d/x", INPUT, CRON, true),
        ("chpasswd", "", HOST, false),
        ("chpasswd", INPUT, CRON, false),
        ("chpasswd", INPUT, ETC, false),
        ("passwd -d agent", "", HOST, false),
        ("passwd -d {user}", USER, HOST, true),
        ("passwd -d -e {user}", USER, HOST, true),
        ("passwd -e {user}", USER, HOST, false),
        ("usermod -aG docker {user}", USER, HOST, true),
        ("usermod -aG web {user}", USER, HOST, false),
        ("usermod -L {user}", USER, HOST, false),
        ("usermod -aG {group} agent", GROUPS, HOST, true),
        ("usermod -aG {group} agent", WEAK, HOST, false),
        ("gpasswd -a {user} docker", USER, HOST, true),
        ("gpasswd -d {user} docker", USER, HOST, false),
        ("tar -xf /srv/mine/x.tar -C /", "", HOST, true),
        ("tar -xf /usr/share/x.tar -C /", "", HOST, false),
        ("tar -tf {x}", MINE, HOST, false),
        ("tar -xf {x} -C /srv/z", MINE, HOST, true),
        ("tar -xf {x} -C /srv/z", OTHER, HOST, false),
        ("tar -xf {file} -C /srv/z", FILE, CRON, false),
        ("tar -xf {file} -C /etc/cron.d", FILE, CRON, true),
        ("unzip -o /srv/mine/x.zip -d /etc", "", HOST, true),
        ("mount -o loop /srv/mine/x.img /etc", "", HOST, true),
        ("mount -o ro,loop,nosuid,nodev {x} /mnt", MINE, HOST, false),
        ("curl -o /etc/cron.d/x file:///srv/mine/x", "", HOST, true),
        // Root without a sandbox, or with such a capability, writes what is another account's.
        ("cp /srv/mine/x /srv/web/run.sh", "", HOST, true),
        ("cp /usr/share/x /srv/web/run.sh", "", HOST, false),
        ("rsync -a /srv/mine/ /srv/web/", "", HOST, true),
        ("chown agent /srv/web/run.sh", "", HOST, true),
        ("tee /srv/web/run.sh", INPUT, WEB, false),
        ("tee /srv/web/run.sh", INPUT, OVER, true),
    ];
    let mut wrong = Vec::new();
    for (words, args, profile, expect) in rows {
        let argv: Vec<String> = words.split(' ').map(|word| format!("'{word}'")).collect();
        let argv = argv.join(", ").replacen('\'', "'/usr/bin/", 1);
        let unconfined = if profile == HOST {
            "unconfined = true"
        } else {
            ""
        };
        let policy = format!(
            "[[command]]\nname = 'x.do'\nsummary = 'X'\nargv = [{argv}]\neffect = 'change'\nprofile = 'p'\n{args}\n\
             [profile.p]\nuser = 'root'\n{profile}\n\
             [[grant]]\nname = 'x'\nto = ['agent']\nallow = ['x.do']\napproval = 'none'\n{unconfined}\n"
        );
        let files = [
            ("/etc/cron.d/known", ""),
            ("/etc/cron.d/web", "* * * * * root /srv/web/run.sh\n"),
            ("/srv/web/run.sh", "#!/bin/sh\n"),
        ];
        let laid = laid(&files, &policy, false);
        let mine = laid.at("/srv/mine");
        std::fs::create_dir(&mine).unwrap();
        std::os::unix::fs::chown(&mine, Some(5001), None).unwrap();
        for of_web in ["/srv/web", "/srv/web/run.sh"] {
            std::os::unix::fs::chown(laid.at(of_web), Some(5002), Some(5002)).unwrap();
        }
        let report = laid.report();
        if goals(&report.subjects[0]).contains(&"root") != expect {
            wrong.push(format!(
                "{words}, {args}, {profile}:\n{}",
                shown(&report, true)
            ));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
}

#[test]
fn aliases_of_two_kinds_with_one_name_are_both_read() {
    let kinds = [
        ("User_Alias", "agent", "web", "X ALL = (root) NOPASSWD: ALL"),
        (
            "Runas_Alias",
            "root",
            "web",
            "agent ALL = (X) NOPASSWD: ALL",
        ),
        (
            "Cmnd_Alias",
            "ALL",
            "/bin/id",
            "agent ALL = (root) NOPASSWD: X",
        ),
        (
            "Host_Alias",
            "ALL",
            "other",
            "agent X = (root) NOPASSWD: ALL",
        ),
    ];
    let mut wrong = Vec::new();
    for (own, strong, weak, rule) in kinds {
        let pairs = kinds.iter().filter(|(other, ..)| *other != own);
        for (other, _, harmless, _) in pairs {
            let both = [
                format!("{own} X = {strong}"),
                format!("{other} X = {harmless}"),
            ];
            let [first, second] = &both;
            for text in [
                format!("{first}\n{second}\n{rule}\n"),
                format!("{second}\n{first}\n{rule}\n"),
                format!("{rule}\n{second}\n{first}\n"),
            ] {
                let (found, _) = answer(&[("/etc/sudoers", &text)], "", false);
                if !found {
                    wrong.push(text);
                }
            }
            if own != "Host_Alias" {
                let text = format!("{own} X = {weak}\n{other} X = {strong}\n{rule}\n");
                let (found, shown) = answer(&[("/etc/sudoers", &text)], "", false);
                if found {
                    wrong.push(format!("{text}{shown}"));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
}

/// Compares what the agent reaches by one file, which root alone can write, and what the answer lists.
fn check_texts<'r>(
    path: &str,
    more: &[(&str, &str)],
    rows: impl IntoIterator<Item = (&'r str, bool, &'r str)>,
) {
    let mut wrong = Vec::new();
    for (text, expect, unknown) in rows {
        let files: Vec<(&str, &str)> = more.iter().copied().chain([(path, text)]).collect();
        let (found, shown) = answer(&files, "", false);
        if found != expect || !shown.contains(unknown) {
            wrong.push(format!("{text}: {found}\n{shown}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
}

#[test]
fn comments_and_names_of_sudoers_are_read_as_sudo_reads_them() {
    let rows = [
        ("# x \\\nagent ALL = NOPASSWD: ALL\n", true, ""),
        (
            "web ALL = ALL # x \\\nagent ALL = NOPASSWD: ALL\n",
            true,
            "",
        ),
        ("agent ALL = \\ \n NOPASSWD: ALL\n", true, ""),
        ("# agent ALL = NOPASSWD: ALL\n", false, ""),
        ("web ALL = NOPASSWD: \\\nALL\n", false, ""),
        ("#5001 \\\nALL = NOPASSWD: ALL\n", true, ""),
        ("\"agent\" ALL = NOPASSWD: ALL\n", true, ""),
        ("\"web\" ALL = NOPASSWD: ALL\n", false, ""),
        ("\"%deploy\" ALL = NOPASSWD: ALL\n", true, ""),
        ("ag\\ent ALL = NOPASSWD: ALL\n", true, ""),
        ("ag\\x65nt ALL = (\"root\") NOPASSWD: ALL\n", true, ""),
        ("w\\x65b ALL = NOPASSWD: ALL\n", false, ""),
        ("ALL, !\"agent\" ALL = NOPASSWD: ALL\n", false, ""),
    ];
    check_texts("/etc/sudoers", &[], rows);
}

#[test]
fn what_polkit_permits_is_found() {
    let rule = |asks: &str, answer: &str| {
        format!("polkit.addRule(function(action, subject) {{ if ({asks}) return {answer}; }});\n")
    };
    let of_agent = |asks: &str| format!("subject.user == 'agent' && {asks}");
    let manage = "action.id == 'org.freedesktop.systemd1.manage-units'";
    let files = "action.id == 'org.freedesktop.systemd1.manage-unit-files'";
    let other = "action.id == 'com.example.site.restart'";
    let one = "action.lookup('unit') == 'x.service'";
    let yes = "polkit.Result.YES";
    let guarded = |asks: &str, then: &str| {
        format!(
            "polkit.addRule(function(action, subject) {{ if ({asks}) {then}\n\
             if (subject.user == 'agent') return {yes}; }});\n"
        )
    };
    let of_unit = |asks: &str| format!("{} || {asks}", manage.replace("==", "!="));
    let rows = [
        (
            rule(&of_agent(&format!("{manage} && {one}")), yes),
            false,
            "",
        ),
        (
            rule(&of_agent(&format!("{manage} && {one} || {files}")), yes),
            true,
            "",
        ),
        (
            rule(
                &of_agent(&format!(
                    "({one} || action.id.indexOf('org.freedesktop.systemd1.') == 0)"
                )),
                yes,
            ),
            true,
            "",
        ),
        (
            rule(
                &of_agent(&format!(
                    "{manage} && action.lookup('unit') == 'a.b.service'"
                )),
                yes,
            ),
            false,
            "",
        ),
        (
            rule(
                &of_agent("action.lookup('unit') == 'a.b.service' || true"),
                yes,
            ),
            false,
            "",
        ),
        (rule(&of_agent(files), "'yes'"), true, ""),
        (rule(&of_agent(files), "'auth_admin'"), false, ""),
        (
            rule(&of_agent(other), yes),
            false,
            "what its line 1 permits by com.example.site.restart is not judged",
        ),
        (rule(&of_agent(&other.replace("==", "!=")), yes), true, ""),
        (rule(&of_agent(&other.replace("==", "!==")), yes), true, ""),
        (
            guarded("action.id != 'com.example.x'", "return no;"),
            false,
            "",
        ),
        (
            guarded(
                "action.id != 'com.example.x' && action.id !== 'com.example.y'",
                "{ return; }",
            ),
            false,
            "",
        ),
        (
            guarded(
                "action.id != 'com.example.x' || subject.local",
                "return no;",
            ),
            false,
            "",
        ),
        (
            guarded(
                "action.id != 'com.example.x'",
                "{ if (a) return no; return 'yes'; }",
            ),
            true,
            "",
        ),
        (
            guarded(
                "action.id != 'com.example.x' && subject.local",
                "return no;",
            ),
            false,
            "which actions its line 1 permits is not judged",
        ),
        (
            guarded("(action.id != 'com.example.x') == false", "return no;"),
            false,
            "which actions its line 1 permits is not judged",
        ),
        (
            guarded("action.id != 'com.example.x'", "{ if (a) return no; }"),
            false,
            "which actions its line 1 permits is not judged",
        ),
        (
            guarded(&of_unit("unit != 'x.service'"), "return no;"),
            false,
            "",
        ),
        (
            guarded(
                &of_unit("['x.service', 'a.service'].indexOf(unit) < 0"),
                "return no;",
            ),
            false,
            "",
        ),
        (
            rule(
                &of_agent(&format!("{manage} && {}", one.replace("==", "!="))),
                yes,
            ),
            true,
            "",
        ),
        (
            rule(
                &of_agent(&format!("{manage} && ['x.service'].indexOf(unit) == -1")),
                yes,
            ),
            true,
            "",
        ),
        (
            rule(
                &of_agent(&format!("{manage} && ['x.service'].indexOf(unit) >= 0")),
                yes,
            ),
            false,
            "",
        ),
        (
            rule(
                &of_agent(&format!("{manage} && !['x.service'].includes(unit)")),
                yes,
            ),
            true,
            "",
        ),
    ];
    let daemon = [("/usr/libexec/polkitd", ""), (DISABLED.0, DISABLED.1)];
    let rows = rows
        .iter()
        .map(|(text, expect, unknown)| (text.as_str(), *expect, *unknown));
    check_texts("/etc/polkit-1/rules.d/x.rules", &daemon, rows);
    let action = |any: &str| {
        let text = format!(
            "<action id='com.example.x'><defaults><allow_any>{any}</allow_any></defaults>\n\
             <annotate key=\"org.freedesktop.policykit.exec.path\">/srv/app/run.sh</annotate></action>\n"
        );
        let daemon = ("/usr/libexec/polkitd", String::new());
        vec![daemon, ("/usr/share/polkit-1/actions/x.policy", text)]
    };
    let rows = [("yes", true), ("auth_admin", false)];
    check(rows.map(|(any, expect)| (any, action(any), String::new(), expect)));
}

#[test]
fn settings_of_sudoers_have_scopes() {
    let cat = "agent ALL = NOPASSWD: /usr/bin/cat \"\"\n";
    let asked = "agent ALL = /usr/bin/env\n";
    let rows = [
        ("Defaults setenv\n", cat, true),
        ("Defaults !setenv\n", cat, false),
        ("Defaults !env_reset\n", cat, true),
        ("Defaults env_reset, !env_editor\n", cat, false),
        ("Defaults env_keep += \"LANG BASH_ENV\"\n", cat, true),
        ("Defaults env_keep -= BASH_ENV\n", cat, false),
        ("Defaults env_keep += \"LC_* PYTHON*\"\n", cat, true),
        ("Defaults env_keep += \"LC_* FOO=*\"\n", cat, false),
        ("Defaults env_keep=\"LD_PRELOAD=/x\"\n", cat, true),
        ("Defaults ! env_reset\n", cat, true),
        ("Defaults !!env_reset\n", cat, false),
        ("Defaults env_delete += BASH_ENV\n", cat, false),
        ("Defaults:agent setenv\n", cat, true),
        ("Defaults:web, %deploy setenv\n", cat, true),
        ("Defaults:web setenv\n", cat, false),
        ("Defaults!/usr/bin/cat setenv\n", cat, true),
        ("Defaults!/usr/bin/ setenv\n", cat, true),
        (
            "Cmnd_Alias X = /usr/bin/cat\nDefaults!X setenv\n",
            cat,
            true,
        ),
        ("Defaults!/usr/bin/env setenv\n", cat, false),
        // By a link of directories they are one file.
        ("Defaults!/bin/cat setenv\n", cat, true),
        ("Defaults>root setenv\n", cat, true),
        ("Defaults !authenticate\n", asked, true),
        ("Defaults ! authenticate\n", asked, true),
        ("Defaults authenticate\n", asked, false),
        ("Defaults:web !authenticate\n", asked, false),
        ("Defaults@host !authenticate\n", asked, true),
    ];
    let rows = rows.map(|(settings, rule, expect)| (format!("{settings}{rule}"), expect));
    let rows = rows
        .iter()
        .map(|(text, expect)| (text.as_str(), *expect, ""));
    check_texts("/etc/sudoers", &[], rows);
}

#[test]
fn pam_without_a_password_is_found() {
    let rows = [
        (
            "auth sufficient pam_rootok.so\nauth required pam_unix.so\n",
            false,
            "",
        ),
        ("auth sufficient pam_permit.so\n", true, ""),
        ("auth \\\nsufficient pam_permit.so\n", true, ""),
        (
            "# auth \\\nauth required pam_unix.so\nauth required pam_permit.so\n",
            false,
            "",
        ),
        (
            "auth [success=done default=ignore] pam_permit.so\n",
            true,
            "",
        ),
        ("auth [success=ok default=bad] pam_permit.so\n", false, ""),
        ("account sufficient pam_permit.so\n", false, ""),
        (
            "auth sufficient pam_succeed_if.so user ingroup deploy\n",
            false,
            "whom pam_succeed_if.so of its line 1 asks for no password is not judged",
        ),
        (
            "auth [success=1 default=ignore] pam_ssh_agent_auth.so\n",
            false,
            "whom pam_ssh_agent_auth.so",
        ),
    ];
    check_texts("/etc/pam.d/su", &[], rows);
    let sudo = [(
        "auth sufficient pam_ssh_agent_auth.so file=/x\n",
        false,
        "whom pam_ssh_agent_auth.so",
    )];
    check_texts("/etc/pam.d/sudo", &[], sudo);
    for (module, hash, expect) in [
        ("nullok", "", true),
        ("nullok", "!", false),
        ("", "", false),
    ] {
        let auth = format!("auth [success=1 default=ignore] pam_unix.so {module}\n");
        let shadow = format!("root:{hash}:1::::::\nagent:!:1::::::\n");
        let files = [("/etc/pam.d/common-auth", &*auth), ("/etc/shadow", &shadow)];
        assert_eq!(answer(&files, "", false).0, expect, "{module} {hash}");
    }
}

#[test]
fn what_start_files_read_and_run_is_found() {
    let rows = [
        ("/root/.bashrc", ". /srv/app/run.sh\n", true),
        (
            "/root/.profile",
            "if true; then\n  /srv/app/run.sh\nfi\n",
            true,
        ),
        (
            "/root/.profile",
            "export PATH=\"/srv/app/bin:$PATH\"\n",
            true,
        ),
        ("/etc/profile", "PATH=/srv/app:/usr/bin\n", true),
        ("/etc/profile.d/x.sh", "source /srv/app/run.sh\n", true),
        (
            "/etc/bash.bashrc",
            "[ -x /srv/app/run.sh ] && echo /srv/app/run.sh\n",
            false,
        ),
        (
            "/root/.bashrc",
            "PATH=\"$HOME/bin:$PATH\"; cd /srv/app\n",
            false,
        ),
        ("/etc/profile.d/x.txt", "/srv/app/run.sh\n", false),
    ];
    check(
        rows.map(|(file, text, expect)| {
            (text, vec![(file, text.to_owned())], String::new(), expect)
        }),
    );
}

#[test]
fn keys_of_units_are_read_as_the_manager_reads_them() {
    let service = |text: &str| {
        vec![
            (UNIT, text.to_owned()),
            (
                "/etc/systemd/system/multi-user.target.wants/x.service",
                String::new(),
            ),
        ]
    };
    let socket = |text: &str| {
        vec![
            ("/etc/systemd/system/x.socket", text.to_owned()),
            (
                "/etc/systemd/system/sockets.target.wants/x.socket",
                String::new(),
            ),
        ]
    };
    let instance = |name: &'static str| {
        vec![
            (
                "/etc/systemd/system/a@.service",
                "[Service]\nExecStart=%f/run.sh\n".to_owned(),
            ),
            (name, String::new()),
        ]
    };
    let manager = |text: &str| vec![("/etc/systemd/system.conf", text.to_owned())];
    let rows = [
        (
            "a user of another section",
            service("[Unit]\nUser=web\n[Service]\nExecStart=/srv/app/run.sh\n"),
            true,
        ),
        (
            "a user",
            service("[Service]\nUser=web\nExecStart=/srv/app/run.sh\n"),
            false,
        ),
        (
            "a program of another section",
            service("[Install]\nExecStart=/srv/app/run.sh\n"),
            false,
        ),
        (
            "a pattern",
            service("[Service]\nEnvironmentFile=-/srv/app/*.sh\nExecStart=/usr/bin/true\n"),
            true,
        ),
        (
            "another pattern",
            service("[Service]\nEnvironmentFile=/opt/*.sh\nExecStart=/usr/bin/true\n"),
            false,
        ),
        (
            "a stop of a socket",
            socket("[Socket]\nListenStream=/run/x\nExecStopPre=/srv/app/run.sh\n"),
            true,
        ),
        (
            "a service of a socket",
            socket("[Service]\nExecStartPre=/srv/app/run.sh\n"),
            false,
        ),
        (
            "a path of an instance",
            instance("/etc/systemd/system/multi-user.target.wants/a@srv-app.service"),
            true,
        ),
        (
            "another path",
            instance("/etc/systemd/system/multi-user.target.wants/a@srv-web.service"),
            false,
        ),
        (
            "variables of the manager",
            manager("[Manager]\nDefaultEnvironment=LD_PRELOAD=/srv/app/x.so\n"),
            true,
        ),
        (
            "other variables",
            manager("[Manager]\nDefaultEnvironment=X=/srv/app/x.so\n"),
            false,
        ),
    ];
    check(rows.map(|(row, files, expect)| (row, files, String::new(), expect)));
    let text = "[Service]\nRootDirectory=/srv/root\nExecStart=/bin/x\n";
    check_texts(
        UNIT,
        &[],
        [(
            text,
            false,
            "what it runs beneath RootDirectory of its line 2 is not followed",
        )],
    );
}

#[test]
fn files_that_are_read_without_being_programs_are_found() {
    let loader = |included: &str| {
        vec![
            ("/etc/ld.so.conf", format!("include {included}\n")),
            ("/etc/site/a.conf", "/srv/app\n".to_owned()),
        ]
    };
    let hook = |directory: &'static str, program: &'static str| {
        vec![
            (program, String::new()),
            (directory, "/srv/app/run.sh\n".to_owned()),
        ]
    };
    let plain = |text: &str| [crontab("/opt/x"), vec![("/opt/x", text.to_owned())]].concat();
    let rows = [
        (
            "a script without its first line",
            plain("/srv/app/run.sh\n"),
            true,
        ),
        ("a text", plain("echo /srv/app/run.sh\n"), false),
        ("an included file", loader("site/*.conf"), true),
        ("another included file", loader("/etc/other/*.conf"), false),
        (
            "an included file of others",
            loader("/srv/app/*.conf"),
            true,
        ),
        (
            "an included file by its name",
            loader("/srv/app/run.py"),
            true,
        ),
        (
            "a hook that is sourced",
            hook("/etc/dhcp/dhclient-exit-hooks.d/x", "/sbin/dhclient"),
            true,
        ),
        (
            "a hook that is not executable",
            hook("/etc/kernel/postinst.d/x", "/usr/bin/dpkg"),
            false,
        ),
    ];
    check(rows.map(|(row, files, expect)| (row, files, String::new(), expect)));
}

#[test]
fn file_that_is_no_program_of_root_is_no_path() {
    let rows = [
        ("sudo -iu agent /srv/app/run.sh", false),
        ("sudo -Hu agent sh -c /srv/app/run.sh", false),
        ("sudo -iu root /srv/app/run.sh", true),
        ("sudo -nH /srv/app/run.sh", true),
        ("systemd-run -p User=agent /srv/app/run.sh", false),
        ("systemd-run --property=User=agent /srv/app/run.sh", false),
        ("systemd-run -p Nice=5 /srv/app/run.sh", true),
        ("docker exec app /srv/app/run.sh", false),
        ("docker run --entrypoint /srv/app/run.sh x", true),
        ("ip netns exec blue /srv/app/run.sh", true),
        (
            "lsof /srv/app/run.sh; fuser -k /srv/app/run.sh; clamscan /srv/app/run.sh",
            false,
        ),
        (
            "jq . /srv/app/run.sh; gpg -c /srv/app/run.sh; unlink /srv/app/run.sh",
            false,
        ),
        (
            "scp /srv/app/run.sh web:; sed -i s/a/b/ /srv/app/run.sh",
            false,
        ),
        ("upload /srv/app/run.sh", true),
    ];
    check_crontabs(rows);
}

#[test]
fn what_root_writes_of_others_is_judged() {
    let table = || ("/etc/cron.d/other", "5 5 * * * web true\n".to_owned());
    let unit = |text: &str| [unit(text), vec![table()]].concat();
    let crontab = |line: &str| [crontab(line), vec![table()]].concat();
    let script = |text: &str| {
        vec![
            table(),
            ("/opt/w", format!("#!/bin/sh\n{text}\n")),
            sudoers("/opt/w"),
        ]
    };
    let rows = [
        (
            "cron",
            crontab("cp /srv/app/run.py /etc/cron.d/other"),
            true,
        ),
        (
            "a directory of cron",
            crontab("cd /srv/app && install -m 644 run.py /etc/cron.d/new"),
            true,
        ),
        (
            "a unit",
            unit("ExecStart=/usr/bin/cp /srv/app/run.py /etc/cron.d/new"),
            true,
        ),
        (
            "an archive",
            crontab("tar -xf /srv/app/noexec.sh -C /opt/x"),
            true,
        ),
        (
            "a pattern",
            crontab("cp /srv/app/*.conf /etc/cron.d/"),
            true,
        ),
        (
            "a script of sudo",
            script("cp /srv/app/run.py /etc/cron.d/new"),
            true,
        ),
        (
            "a copy of root",
            crontab("cp /opt/x /etc/cron.d/new"),
            false,
        ),
        (
            "a copy to nothing",
            crontab("cp /srv/app/run.py /opt/x"),
            false,
        ),
        (
            "a backup",
            crontab("rsync -a /srv/app/ /var/backups/app/; tar -czf /var/backups/a.tgz /srv/app"),
            false,
        ),
        ("an owner", crontab("chown root /etc/cron.d/other"), false),
    ];
    check(rows.map(|(row, files, expect)| (row, files, String::new(), expect)));
    let found = |text: &str| {
        answer(
            &script(text)
                .iter()
                .map(|(path, text)| (*path, text.as_str()))
                .collect::<Vec<_>>(),
            "",
            false,
        )
    };
    assert!(found("tee /etc/cron.d/new").0);
    assert!(found("less \"$1\"").0 && found("vim.tiny /etc/hosts").0);
    assert!(!found("sort </opt/x | less").0 && !found("cat /etc/hosts").0);
    assert!(!found("echo x | tee /etc/cron.d/new").0);
    let (is_reached, shown) = found("cp \"$1\" /etc/cron.d/new");
    assert!(
        !is_reached && shown.contains("what it writes by cp with words of variables is not judged"),
        "{shown}"
    );
    let (is_reached, shown) = answer(
        &[("/etc/cron.d/x", "5 5 * * * root chown agent /etc/cron.d\n")],
        "",
        false,
    );
    assert!(is_reached, "{shown}");
}

/// Of a group that sudo names its members do what sudo lets them.
#[test]
fn program_that_is_not_judged_is_listed_for_sudo_and_commands() {
    let why = |files: &[(&str, &str)], policy: &str| answer(files, policy, false).1;
    for (program, expect) in [
        ("java-x", true),
        ("java", false),
        ("run.sh", false),
        ("fdisk", true),
    ] {
        let path = format!("/usr/bin/{program}");
        let text = if program.ends_with("sh") {
            "#!/bin/sh\n"
        } else {
            "ELF"
        };
        let (file, line) = sudoers(&format!("{path} a"));
        let shown = why(&[(&path, text), (file, &line)], "");
        assert_eq!(
            shown.contains(&format!("{path} is not judged")),
            expect,
            "{shown}"
        );
        let policy = granted(&format!("'{path}', 'a'"), "");
        let shown = why(&[(&path, text)], &policy);
        let expected = format!("what command x.do does as root by {path} is not judged");
        assert_eq!(shown.contains(&expected), expect, "{shown}");
    }
    let ops = ("/etc/sudoers", "%ops ALL = NOPASSWD: ALL\n");
    let policy = granted("'/usr/sbin/usermod', '-aG', 'ops', 'agent'", "");
    assert!(answer(&[ops], &policy, false).0);
    assert!(!answer(&[], &policy, false).0);
}

/// What each of these programs can do by words behind a verb that only looks is in its manual.
#[test]
fn program_of_sudo_that_only_looks_is_no_path() {
    let lines = [
        // Options of docker that choose a host or a file come before the verb.
        ("/usr/bin/docker logs *", false),
        ("/usr/bin/env X=* docker ps a", true),
        ("/usr/bin/timeout * docker logs app", true),
        ("/usr/bin/nice -n * /usr/bin/ip addr show lo", true),
        ("/usr/bin/timeout * /usr/bin/id", true),
        ("/usr/bin/docker logs [a-z]*", false),
        ("/usr/bin/docker ps *", false),
        ("/usr/bin/docker restart *", false),
        ("/usr/bin/docker log*", true),
        ("/usr/bin/docker -H * ps", true),
        ("/usr/bin/docker cp *", true),
        ("/usr/bin/docker container *", true),
        ("/usr/bin/docker ^logs .*$", true),
        // Each verb of podman takes --runtime and --root.
        ("/usr/bin/podman ps *", true),
        // Options of ip come before the object: -batch.
        ("/usr/sbin/ip addr show *", false),
        ("/usr/sbin/ip route show *", false),
        ("/usr/sbin/ip addr *", true),
        ("/usr/sbin/ip netns *", true),
        ("/usr/sbin/ip -b *", true),
        ("/usr/bin/snap list *", false),
        ("/usr/bin/snap run *", true),
        // One argument may be several commands: `virsh 'list ; create x.xml'`.
        ("/usr/bin/virsh list *", true),
        // -R DIR loads libraries of DIR.
        ("/usr/bin/passwd -S *", true),
        // --exec COMMAND.
        ("/usr/sbin/dmsetup ls *", true),
        // --address=unixexec:path=PROGRAM.
        ("/usr/bin/busctl list *", true),
        // --kubeconfig and --config name programs.
        ("/usr/bin/kubectl get *", true),
    ];
    let mut wrong = Vec::new();
    for (line, expect) in lines {
        let (path, text) = sudoers(line);
        let (found, shown) = answer(&[(path, &text)], "", false);
        if found != expect {
            wrong.push(format!("{line}:\n{shown}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
}

/// Each verb of podman takes `--runtime=PROGRAM`.
#[test]
fn docker_of_sudo_that_is_podman_is_a_path() {
    let link = ("/usr/bin/podman", "ELF");
    let script = (
        "/usr/bin/docker",
        "#!/bin/sh\nexec /usr/bin/podman \"$@\"\n",
    );
    let own = ("/usr/bin/docker", "ELF");
    for (what, file, expect) in [
        ("docker", own, false),
        ("a link", link, true),
        ("a script", script, true),
    ] {
        for line in [
            "/usr/bin/docker logs *",
            "/usr/bin/timeout 5 /usr/bin/docker logs *",
            "/usr/bin/nice docker ps *",
        ] {
            let (path, text) = sudoers(line);
            let laid = laid(&[(path, &text), file], "", false);
            if file == link {
                let docker = laid.at("/usr/bin/docker");
                std::os::unix::fs::symlink("podman", docker).unwrap();
            }
            let report = laid.report();
            let found = goals(&report.subjects[0]).contains(&"root");
            assert_eq!(found, expect, "{what}: {line}\n{}", shown(&report, true));
        }
    }
}

/// Each level once: followed twice, forty of them take years.
#[test]
fn texts_of_wrappers_in_each_other_end() {
    let line = format!("* * * * * root {}/srv/app/run.sh\n", "env -S ".repeat(40));
    let machine = laid(&[("/etc/cron.d/x", line.as_str())], "", true);
    let report = machine.report();
    assert!(
        report
            .unknown
            .iter()
            .any(|(_, why)| why.contains("not followed to their end"))
    );
}
