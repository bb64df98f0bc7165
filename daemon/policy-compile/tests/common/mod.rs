use remit_common::wire::Effect;
use remit_policy::{
    Ask, CallerIds, Diagnostic, Ids, MachineTable, Policy, Program, Source, Verdict,
};
use remit_policy_compile::load;

pub fn accounts() -> MachineTable {
    let table = |entries: &[(&str, u32)]| -> std::collections::BTreeMap<String, u32> {
        entries
            .iter()
            .map(|(name, id)| ((*name).to_owned(), *id))
            .collect()
    };
    let users = table(&[
        ("root", 0),
        ("deploy", 64001),
        ("mallory", 64003),
        ("64001", 64010),
        ("../../x", 64011),
        ("a b%c", 64012),
        ("nobody", 65534),
        ("far", 4_294_967_294),
    ]);
    MachineTable {
        users: users
            .into_iter()
            .map(|(name, id): (String, u32)| (name, Ids { uid: id, gid: id }))
            .collect(),
        groups: table(&[
            ("root", 0),
            ("remit", 900),
            ("ops", 901),
            ("deploy", 902),
            ("nogroup", 65534),
        ]),
        members: [("deploy".to_owned(), vec![64001, 901])].into(),
        listed: std::collections::BTreeMap::new(),
        last_uids: [("removed".to_owned(), 1999)].into(),
        last_gids: [("disbanded".to_owned(), 2999)].into(),
        hosts: [("api.example.com".to_owned(), vec![[192, 0, 2, 7].into()])].into(),
        programs: [
            ("/usr/bin/absent".to_owned(), Program::Missing),
            (
                "/opt/mine".to_owned(),
                Program::Distrusted("it is writable by group 'users'".to_owned()),
            ),
        ]
        .into(),
        protected: vec!["/etc/remit".to_owned(), "/var/lib/remit".to_owned()],
    }
}

pub fn source(name: &str, text: impl AsRef<[u8]>) -> Source {
    Source {
        name: name.to_owned(),
        text: text.as_ref().to_vec(),
    }
}

#[allow(dead_code, reason = "not every test file needs it")]
pub fn policy(text: &str) -> (Policy, Vec<Diagnostic>) {
    match load(&[source("a.toml", text)], &accounts()) {
        Ok(loaded) => loaded,
        Err(found) => panic!("{}", lines(&found)),
    }
}

#[allow(dead_code, reason = "not every test file needs it")]
pub fn lines(found: &[Diagnostic]) -> String {
    found.iter().map(|one| format!("{one}\n")).collect()
}

#[allow(dead_code, reason = "not every test file needs it")]
pub const COMMANDS: &str = r#"
[[command]]
name = "nginx.test"
summary = "Check the configuration"
argv = ["/usr/sbin/nginx", "-t"]
effect = "read"
profile = "strict"

[[command]]
name = "nginx.reload"
summary = "Take over the configuration"
argv = ["/usr/sbin/nginx", "-s", "reload"]
effect = "change"
profile = "nginx"

[profile.nginx]
base = "strict"
user = "root"
write = ["/run/nginx"]
"#;

#[allow(dead_code, reason = "not every test file needs it")]
pub fn with_commands(rules: &str) -> Policy {
    match load(
        &[source("0.toml", COMMANDS), source("a.toml", rules)],
        &accounts(),
    ) {
        Ok((policy, _)) => policy,
        Err(found) => panic!("{}", lines(&found)),
    }
}

/// Returns the verdict on a call by uid 64001, a member of group remit.
#[allow(dead_code, reason = "not every test file needs it")]
pub fn verdict(policy: &Policy, name: &str, effect: Effect, args: &[(&str, &str)]) -> Verdict {
    let args: Vec<_> = args
        .iter()
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
        .collect();
    let caller = CallerIds {
        uid: 64001,
        gids: &[900],
    };
    policy.decide(
        caller,
        &Ask::Command {
            name,
            effect,
            args: &args,
        },
    )
}
