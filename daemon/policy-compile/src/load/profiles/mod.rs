//! Reads the tables `[profile.NAME]`: each becomes a [`Profile`], checked against its base.

mod listed;
mod root;

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use remit_common::caps;
use remit_policy::model::capabilities;
use remit_policy::model::machine::Machine;
use remit_policy::model::profile::{Base, Eyes, Inspect, Network, Profile, User};
use remit_policy::quoted;

use crate::load::accounts::{Resolved, job_group, job_user};
use crate::load::destination::{self, destination};
use crate::load::limits::{limits, space};
use crate::load::parameters::choice;
use crate::load::reader::{Fields, Need, Report, Value, WithSpan, mistyped, string};
use crate::load::text::{is_name, summary, variables};
use listed::Lists;

const OF_BASE: [(&str, &[Base]); 15] = [
    ("user", &[Base::Strict, Base::Host]),
    ("capabilities", &[Base::Read, Base::Strict]),
    ("read", &[Base::Strict]),
    ("write", &[Base::Read, Base::Strict]),
    ("exec", &[Base::Strict]),
    ("scratch", &[Base::Strict]),
    ("devices", &[Base::Read, Base::Strict]),
    ("sockets", &[Base::Strict]),
    ("write_and_exec", &[Base::Strict]),
    ("leads_to_root", &[Base::Read, Base::Strict]),
    ("network", &[Base::Read, Base::Strict, Base::Plan]),
    ("groups", &[Base::Read, Base::Strict, Base::Host]),
    ("inspect", &[Base::Read]),
    ("space", &[Base::Plan]),
    ("eyes", &[Base::Plan]),
];

const BASES: [(&str, Base); 5] = [
    ("read", Base::Read),
    ("strict", Base::Strict),
    ("host", Base::Host),
    ("plan", Base::Plan),
    ("extract", Base::Extract),
];

/// Reads one profile. After an error it is not the one that was meant, but its name is taken.
pub(crate) fn profile(
    name: &WithSpan<&str>,
    mut fields: Fields<'_>,
    machine: &dyn Machine,
    resolved: &mut Resolved,
    report: &mut Report<'_>,
) -> Profile {
    if !is_name(name.value) {
        let message = format!("{} cannot name a profile", quoted(name.value));
        let help = "1 to 64 of a-z 0-9 . _ -, the first a letter";
        report.error_with_help(name.span.clone(), message, help);
    }
    let base = choice("base", fields.required("base", report), &BASES, report);
    for (key, bases) in OF_BASE {
        if let (Some(base), Some(span)) = (base, fields.span_of(key))
            && !bases.contains(&base)
        {
            let bases: Vec<&str> = bases.iter().map(|base| base.name()).collect();
            let message = format!("a profile of base {} has no '{key}'", base.name());
            report.error_with_help(span, message, &format!("it is for: {}", bases.join(" ")));
        }
    }
    let base = base.unwrap_or(Base::Strict);
    let summary = summary(fields.string("summary", report), report);
    let user = fields.string("user", report);
    let user = user.and_then(|user| job_user(&user, machine, resolved, report));
    let groups = fields.strings("groups", Need::Optional, report);
    let groups = groups
        .iter()
        .filter_map(|group| job_group(group, machine, resolved, report));
    let mut groups: Vec<u32> = groups.collect();
    groups.sort_unstable();
    groups.dedup();
    if let (Some(User::Fixed { name, uid, .. }), false) = (&user, groups.is_empty())
        && *uid != 0
        && let Some(span) = fields.span_of("groups")
    {
        // ptrace(2) requires only the same uid and primary gid, and no more capabilities.
        let message = format!(
            "any process of {} on this machine can take over these jobs, and has their groups then",
            quoted(name)
        );
        let help = "leave 'user' out: then each job has a uid of its own";
        report.warning(span, message, Some(help));
    }
    let network = network(base, &mut fields, machine, resolved, report);
    let capabilities = capabilities(base, &network, &mut fields, report);
    let is_root = matches!(user, Some(User::Fixed { uid: 0, .. }));
    let lists = Lists::read(&mut fields, &machine.protected(), is_root, report);
    let inspect = inspect(&mut fields, report);
    let profile = Profile {
        name: name.value.to_owned(),
        summary: match summary.is_empty() {
            true => format!("defined by the administrator, of base {}", base.name()),
            false => summary,
        },
        base,
        user: user.unwrap_or_else(|| match base {
            Base::Host => Profile::host().user,
            Base::Read | Base::Strict | Base::Plan | Base::Extract => User::Own,
        }),
        groups,
        capabilities,
        read: lists.read,
        write: lists.write,
        exec: lists.exec,
        scratch: lists.scratch,
        write_and_exec: lists.write_and_exec,
        devices: lists.devices,
        sockets: lists.sockets,
        leads_to_root: lists.leads_to_root,
        network,
        space: space(&mut fields, report),
        eyes: eyes(base, &mut fields, report),
        inspect,
        env: variables(&mut fields, report),
        limits: limits(&mut fields, report),
    };
    warn_of_hosts(&profile, fields.span_of("network"), report);
    fields.finish(report);
    profile
}

/// Warns of a name that jobs do not find: a listed `/etc` has the machine's `/etc/hosts`, not the job's own.
fn warn_of_hosts(profile: &Profile, span: Option<Range<usize>>, report: &mut Report<'_>) {
    let (Network::Connect(destinations), Some(span)) = (&profile.network, span) else {
        return;
    };
    let lists = [&profile.read, &profile.write, &profile.exec];
    let mut listed = lists.into_iter().flatten();
    let listed = listed.find(|one| ["/etc", "/etc/hosts"].contains(&one.path.as_str()));
    // A name without an address has a warning of its own. The machine's file has a name whose address root chose.
    let missing = destinations.iter().find(|one| {
        !one.addresses.is_empty() && one.addresses.iter().all(|address| !address.may_be_own)
    });
    if let (Some(listed), Some(missing)) = (listed, missing) {
        let message = format!(
            "jobs do not find {}: {} shows them the machine's /etc/hosts, which does not have it",
            quoted(&missing.host),
            quoted(&listed.path)
        );
        let help = "list the directories of /etc that jobs need, write an address, or add the name to the machine's \
                    /etc/hosts";
        report.warning(span, message, Some(help));
    }
}

/// Reads whose eyes its jobs have. Root's are a grant to learn what is in every file, so they are never without a warning.
fn eyes(base: Base, fields: &mut Fields<'_>, report: &mut Report<'_>) -> Eyes {
    let span = fields.span_of("eyes");
    let named = fields.string("eyes", report);
    let eyes = choice("eyes", named, &Eyes::ALL, report).unwrap_or_default();
    if let (Base::Plan, Eyes::Root, Some(span)) = (base, eyes, span) {
        let reached = match fields.span_of("network") {
            Some(_) => ", and send it to each name of 'network'",
            None => "",
        };
        let message = format!(
            "who may run in this profile can learn what is in every file of this machine, private keys too{reached}"
        );
        let help = "grant it to few, with an approval; or leave 'eyes' out: then jobs read what an operator's account can";
        report.warning(span, message, Some(help));
    }
    eyes
}

/// Reads what its commands inspect. Such a profile adds nothing else, so the sandbox is the one that was tested.
fn inspect(fields: &mut Fields<'_>, report: &mut Report<'_>) -> Option<Inspect> {
    const OTHERS: [&str; 7] = [
        "env",
        "groups",
        "capabilities",
        "write",
        "devices",
        "network",
        "leads_to_root",
    ];
    let named = fields.string("inspect", report)?;
    for key in OTHERS {
        if let Some(span) = fields.span_of(key) {
            let message = format!("a profile that inspects has no '{key}'");
            let help = "delete it, or delete 'inspect' and define another profile for it";
            report.error_with_help(span, message, help);
        }
    }
    choice("inspect", Some(named), &Inspect::ALL, report)
}

fn capabilities(
    base: Base,
    network: &Network,
    fields: &mut Fields<'_>,
    report: &mut Report<'_>,
) -> u64 {
    let mut bits = 0;
    for name in fields.strings("capabilities", Need::Optional, report) {
        match capabilities::bit(name.value, base, network) {
            Ok(bit) => bits |= bit,
            Err(why) => {
                let help = "write a name of capabilities(7) that the base allows, as \"CAP_DAC_READ_SEARCH\", or delete it";
                report.error_with_help(name.span, format!("{}: {why}", quoted(name.value)), help);
            }
        }
    }
    bits
}

fn network(
    base: Base,
    fields: &mut Fields<'_>,
    machine: &dyn Machine,
    resolved: &mut Resolved,
    report: &mut Report<'_>,
) -> Network {
    let otherwise = match base {
        Base::Host => Network::Host,
        Base::Read | Base::Strict | Base::Plan | Base::Extract => Network::None,
    };
    let Some(value) = fields.get("network") else {
        return otherwise;
    };
    if base == Base::Plan {
        return names(value, report);
    }
    let found = if let Some(list) = value.get_ref().as_array() {
        connect(value, list, machine, resolved, report)
    } else if let Some(word) = string(value) {
        let words = [
            ("none", NetworkWord::None),
            ("loopback", NetworkWord::Loopback),
            ("this-host", NetworkWord::ThisHost),
            ("host", NetworkWord::Host),
        ];
        match choice("network", Some(word), &words, report) {
            None => return otherwise,
            Some(NetworkWord::None) => Network::None,
            Some(NetworkWord::Loopback) => Network::Loopback,
            Some(NetworkWord::ThisHost) => Network::ThisHost,
            Some(NetworkWord::Host) => Network::Host,
        }
    } else {
        let expected = "\"none\", \"loopback\", \"this-host\", \"host\" or a list of destinations";
        mistyped("network", expected, value, report);
        return otherwise;
    };
    let own = matches!(
        found,
        Network::Loopback | Network::ThisHost | Network::Connect(_)
    );
    if base == Base::Read && own {
        let message = "a profile of base read lives in the host's network: 'none' or 'host'".into();
        report.error_with_help(
            value.span(),
            message,
            "base strict has a network of its own",
        );
    }
    found
}

/// A copy reaches names alone: its network is never the host's, and has its own loopback interface anyway.
fn names(value: &Value<'_>, report: &mut Report<'_>) -> Network {
    let list = value.get_ref().as_array();
    let list = list.filter(|list| (1..=caps::PROFILE_NAMES).contains(&list.len()));
    let Some(list) = list else {
        let most = caps::PROFILE_NAMES;
        let message = format!("'network' of base plan is a list of 1 to {most} names with a port");
        let help = "delete it for no network, or list names: network = [\"deb.debian.org:80\"]";
        report.error_with_help(value.span(), message, help);
        return Network::None;
    };
    let mut found = BTreeSet::new();
    for item in list {
        let Some(text) = string(item) else {
            mistyped("network", "a list of strings", item, report);
            continue;
        };
        if let Some(one) = destination::name(&text, report)
            && !found.insert(one)
        {
            let message = format!("{} is listed twice", quoted(text.value));
            report.error_with_help(text.span, message, "delete one of them");
        }
    }
    Network::Names(found.into_iter().collect())
}

#[derive(Clone, Copy)]
enum NetworkWord {
    None,
    Loopback,
    ThisHost,
    Host,
}

fn connect(
    value: &Value<'_>,
    list: &[Value<'_>],
    machine: &dyn Machine,
    resolved: &mut Resolved,
    report: &mut Report<'_>,
) -> Network {
    if list.is_empty() || list.len() > caps::PROFILE_DESTINATIONS {
        let message = format!(
            "a list of destinations has 1 to {} of them, here are {}",
            caps::PROFILE_DESTINATIONS,
            list.len()
        );
        let help = "write network = \"none\" for no destination, or list them: network = [\"api.example.com:443\"]";
        report.error_with_help(value.span(), message, help);
        return Network::None;
    }
    let mut found = BTreeMap::new();
    for item in list {
        let Some(text) = string(item) else {
            mistyped("network", "a list of strings", item, report);
            continue;
        };
        if let Some(one) = destination(&text, machine, resolved, report)
            && found.insert((one.host.clone(), one.port), one).is_some()
        {
            let message = format!("{} is listed twice", quoted(text.value));
            report.error_with_help(text.span, message, "delete one of them");
        }
    }
    Network::Connect(found.into_values().collect())
}
