//! Help of the whole command line: verbs by role, and an example for each.

use clap::Command;

/// Verbs by the role that uses them, in the order of `remit.1`.
const GROUPS: [(&str, &[&str]); 5] = [
    (
        "Running commands",
        &[
            "run", "change", "plan", "undo", "put", "get", "try", "access", "host", "jobs", "job",
            "stop", "history",
        ],
    ),
    (
        "Approving changes (administrators)",
        &[
            "top", "pending", "show", "approve", "deny", "confirm", "grant", "grants", "revoke",
        ],
    ),
    ("Diagnosing", &["status", "metrics", "doctor", "prove"]),
    (
        "Administering",
        &[
            "lock",
            "unlock",
            "resume",
            "policy",
            "audit",
            "enroll",
            "enroll-approver",
            "unenroll",
            "approver-shell",
        ],
    ),
    ("Setting up", &["client-config", "completions", "help"]),
];

const EXAMPLES: [(&[&str], &str); 49] = [
    (&["run"], "remit run -- df -h"),
    (
        &["change"],
        "remit change service.restart unit=nginx.service --reason 'new certificate'",
    ),
    (
        &["plan"],
        "remit plan --replace /etc/hosts 10.0.0.7 10.0.0.8",
    ),
    (&["plan", "show"], "remit plan show 9744-7f9f /etc/hosts"),
    (&["plan", "drop"], "remit plan drop 9744-7f9f"),
    (
        &["undo"],
        "remit undo 0123456789abcdef0123456789abcdef -m 'the site is down'",
    ),
    (&["put"], "remit put app.tar web1.example.org:"),
    (
        &["get"],
        "remit get web1.example.org:/var/log/nginx/error.log",
    ),
    (&["try"], "remit try --profile strict -- cat /etc/hostname"),
    (&["access"], "remit access --query disk"),
    (&["host"], "remit host memory disks"),
    (&["jobs"], "remit jobs --running"),
    (&["job"], "remit job 97447f9f --follow"),
    (&["stop"], "remit stop 97447f9f"),
    (&["history"], "remit history --since -2h --kind refused"),
    (&["top"], "remit top"),
    (&["pending"], "remit pending --watch"),
    (&["show"], "remit show 9744-7f9f"),
    (&["approve"], "remit approve 9744-7f9f"),
    (&["deny"], "remit deny 9744-7f9f -m 'not during the day'"),
    (&["confirm"], "remit confirm 0123456789ab"),
    (
        &["grant"],
        "remit grant agent service.reload unit=nginx.service --for 2h --uses 3",
    ),
    (&["grants"], "remit grants"),
    (&["revoke"], "remit revoke 1"),
    (&["status"], "remit status"),
    (
        &["metrics"],
        "sudo remit metrics -o /var/lib/prometheus/node-exporter/remit.prom",
    ),
    (&["doctor"], "sudo remit doctor"),
    (&["prove"], "sudo remit prove agent"),
    (&["lock"], "remit lock -m 'an incident is examined' --kill"),
    (&["unlock"], "remit unlock"),
    (&["resume"], "remit resume agent"),
    (&["policy"], "remit policy check"),
    (&["policy", "check"], "remit policy check"),
    (&["policy", "test"], "remit policy test"),
    (
        &["policy", "explain"],
        "remit policy explain agent change service.restart unit=nginx.service",
    ),
    (
        &["policy", "diff"],
        "remit policy diff /etc/remit ./new-configuration",
    ),
    (
        &["policy", "replay"],
        "remit policy replay --since 30d --config ./new-configuration",
    ),
    (&["policy", "reload"], "remit policy reload"),
    (&["audit"], "remit audit show --user agent --since today"),
    (&["audit", "verify"], "remit audit verify"),
    (
        &["audit", "show"],
        "remit audit show --user agent --verdict denied --since today",
    ),
    (&["audit", "export"], "remit audit export --since yesterday"),
    (
        &["audit", "report"],
        "remit audit report --since 2026-11-01 -o report.html",
    ),
    (&["enroll"], "sudo remit enroll agent key.pub --expires 90d"),
    (
        &["enroll-approver"],
        "sudo remit enroll-approver ann phone.pub --expires 90d",
    ),
    (&["unenroll"], "sudo remit unenroll agent"),
    (&["approver-shell"], "remit approver-shell"),
    (
        &["client-config"],
        "remit client-config claude-code agent@web1",
    ),
    (&["completions"], "remit completions bash"),
];

const WIDTH: usize = 100;

/// Returns the definition of all verbs with groups and examples.
pub fn grouped(verbs: Command) -> Command {
    let command = verbs.max_term_width(WIDTH);
    let template = template(&command);
    let command = by_administrators(command.help_template(template));
    EXAMPLES.iter().fold(command, |command, (path, example)| {
        with_example(command, path, example)
    })
}

/// Says in each verb's own help what the title of its group says.
fn by_administrators(command: Command) -> Command {
    let groups = GROUPS
        .iter()
        .filter(|(title, _)| title.contains("(administrators)"));
    let verbs = groups.flat_map(|(_, verbs)| *verbs);
    verbs.fold(command, |command, verb| {
        command.mut_subcommand(*verb, |verb| {
            let about = verb
                .get_about()
                .map(ToString::to_string)
                .unwrap_or_default();
            verb.about(format!("{about} (administrators)"))
        })
    })
}

fn with_example(command: Command, path: &[&str], example: &str) -> Command {
    match path.split_first() {
        Some((verb, rest)) => {
            command.mut_subcommand(*verb, |command| with_example(command, rest, example))
        }
        None => command.after_help(format!("Example:\n  {example}")),
    }
}

/// Returns clap's own layout with the verbs in groups.
fn template(command: &Command) -> String {
    let about = |verb: &str| match command.find_subcommand(verb) {
        Some(verb) => verb
            .get_about()
            .map(ToString::to_string)
            .unwrap_or_default(),
        // clap adds this one.
        None => "Show the help of a verb".to_owned(),
    };
    let groups: Vec<String> = GROUPS
        .iter()
        .map(|(title, verbs)| {
            let verbs = verbs.iter();
            let lines = verbs.map(|verb| format!("  {verb:<15} {}\n", about(verb)));
            format!("{title}:\n{}", lines.collect::<String>())
        })
        .collect();
    format!(
        "{{before-help}}{{about-with-newline}}\n{{usage-heading}} {{usage}}\n\n{}\nOptions:\n{{options}}{{after-help}}",
        groups.join("\n")
    )
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;
    use crate::args::Cli;

    fn verbs(command: &Command) -> Vec<&str> {
        command.get_subcommands().map(Command::get_name).collect()
    }

    #[test]
    fn each_verb_is_in_one_group() {
        let command = Cli::command();
        let all = verbs(&command);
        let groups = GROUPS.iter().flat_map(|(_, verbs)| *verbs).copied();
        let groups: Vec<&str> = groups.filter(|verb| *verb != "help").collect();
        assert_eq!(groups, all);
    }

    #[test]
    fn each_verb_has_an_example_that_is_right() {
        let command = Cli::command();
        for verb in command.get_subcommands() {
            let below = verb.get_subcommands().map(Command::get_name);
            let paths = below.map(|below| vec![verb.get_name(), below]);
            for path in paths.chain([vec![verb.get_name()]]) {
                let found = EXAMPLES.iter().find(|(of, _)| **of == path[..]);
                let (_, example) = found.unwrap_or_else(|| panic!("{path:?} has no example"));
                // No example has spaces inside more than one pair of quotes.
                let mut words: Vec<&str> = Vec::new();
                for (index, part) in example.split('\'').enumerate() {
                    match index % 2 {
                        0 => words.extend(part.split_whitespace()),
                        _ => words.push(part),
                    }
                }
                let words = words.into_iter().skip_while(|word| *word == "sudo");
                let words: Vec<&str> = words.collect();
                assert!(words[1..].starts_with(&path[..1]), "{example}");
                let parsed = command.clone().try_get_matches_from(&words);
                assert!(parsed.is_ok(), "{example}: {parsed:?}");
            }
        }
    }

    #[test]
    fn help_fits_80_columns_and_begins_with_a_verb() {
        let mut command = grouped(Cli::command()).term_width(80);
        command.build();
        assert_narrow(&mut command);
        for verb in command.get_subcommands_mut() {
            let about = verb.get_about().unwrap().to_string();
            assert!(about.starts_with(char::is_uppercase), "{about}");
            assert_narrow(verb);
            verb.get_subcommands_mut().for_each(assert_narrow);
        }
    }

    fn assert_narrow(command: &mut Command) {
        let help = command.render_long_help().to_string();
        for line in help.lines() {
            assert!(line.chars().count() <= 80, "{line}");
        }
        assert!(!help.contains("--runtime"), "{help}");
    }
}
