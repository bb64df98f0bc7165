//! Tests from a spec to the bound call, with small policies.

use remit_common::caps;
use remit_common::refusal::Code;
use remit_common::wire::Purpose;
use remit_link::{Spec, SpecWhat, memfd};
use remit_policy::{CallerIds, MachineTable, Policy, Verdict};

use super::fixture::{Scene, named, spec};
use super::*;
use crate::audit::{Event, Record};

const POLICY: &str = r##"
[[command]]
name = "backup.run"
summary = "Back something up"
argv = ["/usr/bin/true", "--key={key}", "{what}", "-f", "{file}"]
effect = "change"
profile = "strict"
cwd = "/usr"
stdin = "{key}"
limits = { runtime = "30s", tasks = 7 }
args.key = { type = "secret" }
args.what = { type = "string" }
args.file = { type = "path", under = "/etc/backup", default = "/etc/backup/all" }

[[command]]
name = "text.count"
summary = "Count words"
argv = ["/usr/bin/wc", "-w"]
effect = "read"
profile = "read"
stdin = "caller"

[[grant]]
to = ["#64001"]
allow = ["*"]
effect = "change"
env = ["TZ"]
"##;

const AGENT: CallerIds<'_> = CallerIds {
    uid: 64_001,
    gids: &[],
};

fn scene() -> Scene {
    Scene::of(POLICY, &MachineTable::default())
}

impl Scene {
    fn bind(&self, call: &Call) -> Result<BoundCall, Refusal> {
        let names = call.env_names();
        let grant = match self.policy.decide(AGENT, &call.ask(&names)) {
            Verdict::Allow(grant) => grant,
            Verdict::Deny(denial) => return Err(denial.into()),
            Verdict::Ask(pending) => return Err(pending.into()),
        };
        BoundCall::new(call, grant.terms(), &self.setting("d"))
    }
}

fn change(reason: &str) -> Purpose {
    let reason = reason.into();
    Purpose::Change { reason }
}

fn backup() -> Spec {
    let args = [("key", "hunter2"), ("what", "a-b")];
    spec(named("backup.run", &args), change("it is due\n"))
}

fn code<T>(result: Result<T, Refusal>) -> (Code, String) {
    let refusal = result.err().expect("a refusal");
    (refusal.code, refusal.object.unwrap_or_default())
}

fn fields(asked: &RequestSummary) -> Vec<(&'static str, String)> {
    asked.whole(Record::new(Event::Refusal, "x")).fields
}

#[test]
fn a_command_is_bound_to_its_definition() {
    let scene = scene();
    let call = Call::new(backup(), Vec::new()).unwrap();
    let bound = scene.bind(&call).unwrap();
    let argv: Vec<_> = bound.argv.iter().map(|arg| arg.to_str().unwrap()).collect();
    let want = ["/usr/bin/true", "--key=***", "a-b", "-f", "/etc/backup/all"];
    assert_eq!(argv, want);
    assert_eq!(bound.slots.len(), 2);
    assert!(
        matches!(&bound.slots[0], ArgumentSlot { index: 1, before, what: SlotWhat::Secret(value) }
            if before == b"--key=" && value == b"hunter2")
    );
    assert!(
        matches!(&bound.slots[1].what, SlotWhat::Path { under, beneath, pass: Passed::Text, .. }
            if under.as_c_str() == c"/etc/backup" && beneath.as_c_str() == c"all")
    );
    assert_eq!(bound.secret_stdin.as_deref(), Some(&b"hunter2"[..]));
    assert_eq!(bound.cwd.as_c_str(), c"/usr");
    assert_eq!((bound.runtime.seconds, bound.limits.nproc), (30, 7));
    assert_eq!(bound.compiled.name(), "strict");
}

#[test]
fn records_have_reason_and_no_secret() {
    let scene = scene();
    let call = Call::new(backup(), Vec::new()).unwrap();
    let command = scene.policy.command("backup.run").map(AsRef::as_ref);
    let bound = scene.bind(&call).unwrap();
    let known = RequestSummary::new(&call, command);
    let unknown = RequestSummary::new(&call, None);
    let shown = |asked: &RequestSummary| {
        let all = fields(asked);
        assert!(
            all.iter().all(|(_, value)| !value.contains("hunter2")),
            "{all:?}"
        );
        let field = |name| all.iter().find(|(n, _)| *n == name).map(|(_, v)| v.clone());
        assert_eq!(field("REASON").as_deref(), Some("it is due\\n"));
        assert_eq!(field("EFFECT").as_deref(), Some("change"));
        assert_eq!(field("COMMAND").as_deref(), Some("backup.run"));
        let args = field("ARGS").unwrap();
        assert!(args.contains("what="), "{args}");
        (field("ARGV").unwrap(), field("PROFILE"))
    };
    assert_eq!(
        shown(&known),
        ("backup.run 'key=***' what=a-b".into(), None)
    );
    assert_eq!(
        shown(&unknown),
        ("backup.run 'key=***' 'what=***'".into(), None)
    );
    let argv = "/usr/bin/true '--key=***' a-b -f /etc/backup/all";
    assert_eq!(shown(&bound.asked), (argv.into(), Some("strict".into())));
    assert!(!bound.asked.command().contains("hunter2"));
}

/// The requester reads the record in their history, and maybe in the journal.
#[test]
fn ungranted_command_is_recorded_as_unknown() {
    let unit = "\n[[command]]\nname = \"site.reload\"\nsummary = \"x\"\nargv = [\"/usr/bin/true\", \"{unit}\"]\n\
                effect = \"change\"\nprofile = \"strict\"\nargs.unit = { type = \"unit\" }\n";
    let present = Scene::of(&(POLICY.to_owned() + unit), &MachineTable::default()).policy;
    let absent = Scene::of("", &MachineTable::default()).policy;
    let ids = |uid| CallerIds { uid, gids: &[] };
    for (name, args) in [
        ("backup.run", [("what", "a-b")]),
        ("site.reload", [("unit", "nginx")]),
    ] {
        let recorded = |policy: &Policy, uid| {
            let spec = spec(named(name, &args), change("it is due"));
            let mut call = Call::new(spec, Vec::new()).unwrap();
            call.complete(policy, ids(uid));
            let command = policy.granted_command(ids(uid), name);
            fields(&RequestSummary::new(&call, command.map(AsRef::as_ref)))
        };
        let unknown = recorded(&absent, 64_002);
        assert_eq!(recorded(&present, 64_002), unknown, "{name}");
        assert_ne!(recorded(&present, 64_001), unknown, "{name}");
    }
}

#[test]
fn option_unfit_for_named_command_is_refused() {
    let new = |change: &dyn Fn(&mut Spec)| {
        let mut spec = backup();
        change(&mut spec);
        Call::new(spec, Vec::new())
    };
    let check = |change: &dyn Fn(&mut Spec), want: Code, object: &str| {
        assert_eq!(code(new(change)), (want, object.to_owned()));
    };
    check(
        &|s| s.cwd = Some(b"/".to_vec().into()),
        Code::InvalidArgs,
        "cwd",
    );
    check(
        &|s| s.env.push((b"TZ".to_vec().into(), Vec::new().into())),
        Code::InvalidArgs,
        "env",
    );
    check(
        &|s| s.profile = Some("read".into()),
        Code::InvalidArgs,
        "profile",
    );
    check(&|s| s.purpose = change(" \n"), Code::InvalidArgs, "reason");
    let most = "x".repeat(caps::REASON);
    assert!(new(&|s| s.purpose = change(&most)).is_ok());
    let over = "x".repeat(caps::REASON + 1);
    check(&|s| s.purpose = change(&over), Code::TooLarge, "reason");
    let one_off = |s: &mut Spec| {
        s.what = SpecWhat::Argv(vec![b"true".to_vec().into()]);
        s.cwd = Some(b"/srv".to_vec().into());
        s.profile = Some("strict".into());
    };
    let call = new(&one_off).unwrap();
    let profile = Some("strict");
    assert!(
        matches!(call.ask(&[]), remit_policy::Ask::Change { profile: asked, .. } if asked == profile)
    );
    let unreasoned = |s: &mut Spec| {
        one_off(s);
        s.purpose = change("");
    };
    check(&unreasoned, Code::InvalidArgs, "reason");
    let long = "n".repeat(caps::NAME + 1);
    check(&|s| s.what = named(&long, &[]), Code::TooLarge, "name");
    let value = "v".repeat(caps::NAMED_VALUE + 1);
    check(
        &|s| s.what = named("a.b", &[("k", &value)]),
        Code::TooLarge,
        "k",
    );
    let many = vec![("k", "v"); caps::NAMED_ARGS + 1];
    check(&|s| s.what = named("a.b", &many), Code::TooLarge, "args");
}

#[test]
fn unknown_argument_is_refused_after_grant() {
    let scene = scene();
    let bind = |spec, fds| scene.bind(&Call::new(spec, fds).unwrap());
    let stdin = || vec![memfd::seal(c"stdin", b"a b").unwrap()];
    let with_stdin = |spec| Spec {
        stdin: true,
        ..spec
    };
    let count = || spec(named("text.count", &[]), Purpose::Use);
    assert!(bind(with_stdin(count()), stdin()).is_ok());
    assert_eq!(
        bind(count(), Vec::new()).unwrap().runtime.seconds,
        scene.limits.job.runtime_s
    );
    let refused = code(bind(with_stdin(backup()), stdin()));
    assert_eq!(refused, (Code::InvalidArgs, "stdin".into()));
    let late = Spec {
        max_runtime_s: Some(31),
        ..backup()
    };
    assert_eq!(
        code(bind(late, Vec::new())),
        (Code::InvalidArgs, "max_runtime_s".into())
    );
    // A changing command does not run with `Purpose::Use`, and a reading one not with `Purpose::Change`.
    let look = Spec {
        purpose: Purpose::Use,
        ..backup()
    };
    assert_eq!(code(bind(look, Vec::new())).0, Code::InvalidArgs);
    let touch = spec(named("text.count", &[]), change("x"));
    assert_eq!(code(bind(touch, Vec::new())).0, Code::InvalidArgs);
    // An unknown name is refused before its arguments are checked.
    let unknown = spec(named("no.such", &[("a", "b")]), Purpose::Use);
    assert_eq!(
        code(bind(unknown, Vec::new())),
        (Code::NotFound, "no.such".into())
    );
}

#[test]
fn recovery_gets_the_words_of_the_daemon_alone() {
    const PLANS: &str = r##"
[[command]]
name = "plan.recover"
summary = "recovers"
argv = ["/usr/libexec/remit/remit-commit", "recover", "/var/lib/remit/commits"]
effect = "change"
profile = "host"
"##;
    let scene = Scene::of(PLANS, &MachineTable::default());
    let grant = scene.policy.recovery("/var/lib/remit/commits").unwrap();
    let own = Call::own("plan.recover".to_owned(), Vec::new(), change("x"), None);
    let own = own.unwrap();
    let line = |bound: &BoundCall| {
        let argv = bound.argv.iter().map(|arg| arg.to_str().unwrap());
        argv.collect::<Vec<_>>().join(" ")
    };
    let program = "/usr/libexec/remit/remit-commit recover /var/lib/remit/commits";
    let bound = BoundCall::new(&own, grant.terms(), &scene.setting("d")).unwrap();
    assert_eq!(line(&bound), program);
    let id = "0a".repeat(16);
    let words = ["--forget", "--keep", id.as_str()].map(str::to_owned);
    let call = own.with_words(words.to_vec());
    let bound = BoundCall::new(&call, grant.terms(), &scene.setting("d")).unwrap();
    let expect = format!("{program} --forget --keep {id}");
    assert_eq!(line(&bound), expect);
    assert_eq!(bound.literal, [true, true, true, false, false, false]);
    assert!(fields(&bound.asked).contains(&("ARGV", expect)));
}

#[test]
fn only_the_daemon_says_what_a_call_follows() {
    let scene = scene();
    let command = std::sync::Arc::clone(scene.policy.command("text.count").unwrap());
    let act = Act {
        command,
        args: Vec::new(),
    };
    let commit = JobId([7; 16]);
    let own = Call::following(&act, Purpose::Use, Some(commit)).unwrap();
    let (client, follows) = ("remitd, after job 07070707", commit.to_string());
    let claimed = Spec {
        client: client.into(),
        ..spec(named("text.count", &[]), Purpose::Use)
    };
    let claimed = Call::new(claimed, Vec::new()).unwrap();
    for (call, expect) in [(own, Some(follows.as_str())), (claimed, None)] {
        let fields = fields(&RequestSummary::new(&call, None));
        let value = |name: &str| {
            let found = fields.iter().find(|(other, _)| *other == name);
            found.map(|(_, value)| value.as_str())
        };
        assert_eq!((value("CLIENT"), value("FOLLOWS")), (Some(client), expect));
    }
}

/// A caller without a rule about the command is refused before that.
#[test]
fn plan_is_not_decoded_with_the_arguments() {
    let text = "[[command]]\nname = \"site.commit\"\nsummary = \"x\"\neffect = \"change\"\nprofile = \"host\"\n\
                argv = [\"/usr/libexec/remit/remit-commit\", \"commit\", \"/var/lib/remit/commits\"]\n\
                stdin = \"plan\"\n";
    let policy = Scene::of(text, &MachineTable::default()).policy;
    let purpose = Purpose::Change {
        reason: "a test".into(),
    };
    let spec = Spec {
        stdin: true,
        ..spec(named("site.commit", &[]), purpose)
    };
    let stdin = vec![memfd::seal(c"stdin", b"no plan").unwrap()];
    let mut call = Call::new(spec, stdin).unwrap();
    call.complete(&policy, AGENT);
    assert!(call.file_change().is_none());
    call.decode_plan(&policy);
    assert!(matches!(call.file_change(), Some(Err(_))));
}

#[test]
fn broker_learns_which_job_may_change_the_host() {
    let scene = Scene::new();
    let may_change = |draft: Draft| draft.meta(0, Instant::now()).may_change;
    assert!(may_change(scene.change("disk.wipe", &[("disk", "a")])));
    assert!(!may_change(scene.program(&[b"ls"])));
}
