//! Compiles the text of an administrator's policy, compares, explains and prints policies, and parses `remit.toml`.
//! Pure: the same inputs make the same policy on any machine. It must not open files or use the user database, the
//! clock, the network or the environment; `clippy.toml` refuses such calls. The root process does not contain it.
#![forbid(unsafe_code)]

mod diff;
mod explain;
mod load;
mod print;
mod settings;

pub use diff::diff;
pub use explain::{Explanation, explain, explain_under};
pub use load::load;
pub use print::print;
pub use settings::settings;

#[cfg(test)]
mod tests {
    use remit_policy::{Ask, CallerIds, Ids, MachineTable, Source, Verdict};

    use super::load;

    #[test]
    fn example_of_a_policy_gives_its_verdicts() {
        let text = r##"
[[grant]]
name = "operators-look"        # else file and line name it
to = ["%ops", "deploy", "#64001", "%#64001"]  # users, %groups, #uid, %#gid
allow = ["run"]                # any command or script
run_profile = "read"           # of run; the default
env = ["TZ", "LANG"]           # variables that a caller may set
approval = "none"              # the default

[[command]]                    # reached by its name alone, with arguments of these types
name = "nginx.test"
summary = "Check an nginx configuration file"
argv = ["/usr/sbin/nginx", "-t", "-c", "{config}"]
effect = "read"
profile = "nginx"
args.config = { type = "path", under = "/etc/nginx", default = "/etc/nginx/nginx.conf" }
rejects = [{ config = "/etc/shadow" }, { config = "-p" }]

[profile.nginx]                # its sandbox
base = "strict"
read = ["/etc/nginx"]

[[grant]]
to = ["%ops"]
allow = ["nginx.*"]

[[test]]                       # a load that gives another verdict is refused
who = "%ops"
what = "run nginx.test config=/etc/nginx/nginx.conf"
verdict = "allow"

[[deny]]                       # wins over every grant
to = ["#64002"]
deny = ["run"]
"##;
        let machine = MachineTable {
            users: [(
                "deploy".into(),
                Ids {
                    uid: 1001,
                    gid: 1001,
                },
            )]
            .into(),
            groups: [("ops".into(), 900)].into(),
            ..MachineTable::default()
        };
        let source = Source {
            name: "20-ops.toml".into(),
            text: text.into(),
        };
        let (policy, warnings) = load(&[source], &machine).unwrap();
        assert!(warnings.is_empty());

        let ask = Ask::Run {
            profile: None,
            argv0: b"df",
            env_names: &[b"TZ"],
        };
        let may = |uid, gids| {
            matches!(
                policy.decide(CallerIds { uid, gids }, &ask),
                Verdict::Allow(_)
            )
        };
        assert!(may(1001, &[100]) && may(64005, &[100, 900]));
        assert!(!may(64002, &[900]) && !may(0, &[0]));

        let nginx = policy.command("nginx.test").unwrap();
        let escape = [("config".to_owned(), "/etc/nginx/../shadow".to_owned())];
        assert!(nginx.bind(&escape, false).is_err() && nginx.bind(&[], false).is_ok());
    }
}
