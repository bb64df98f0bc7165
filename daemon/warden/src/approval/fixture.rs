//! Drafts for tests, from specs and a small policy.

use std::os::fd::OwnedFd;
use std::time::Duration;

use remit_approval::FileBinding;
use remit_common::names::JobId;
use remit_common::wire::Purpose;
use remit_edit::{Action, Edit};
use remit_link::{Spec, SpecWhat, memfd};
use remit_plan::{Bundle, PlanPath};
use remit_policy::{CallerIds, Grant, Ids, MachineTable, Pending, Verdict};
use remit_spawn::Measured;

use crate::approval::approver::consent;
use crate::approval::file_hash::{AsFound, FileFound};
use crate::approval::table::{Approval, Request};
use crate::identity::peer::Subject;
use crate::job::allocation::JobUids;
use crate::request::fixture::named;
pub use crate::request::fixture::{Scene, spec};
use crate::request::{BoundCall, Call, Draft, NewJob, Plan, Requester};

const POLICY: &str = r##"
[[command]]
name = "backup.run"
summary = "Back something up"
argv = ["/usr/bin/true", "--key={key}", "{what}", "-f", "{file}"]
effect = "change"
profile = "strict"
cwd = "/usr"
stdin = "{key}"
env = { MODE = "full" }
args.key = { type = "secret" }
args.what = { type = "string", pattern = "(?s).*", dash = true, max = 4096 }
args.file = { type = "path", under = "/etc/backup", default = "/etc/backup/all" }

[[command]]
name = "disk.wipe"
summary = "Wipe a disk"
argv = ["/usr/bin/dd", "--of={disk}"]
effect = "change"
profile = "host"
args.disk = { type = "enum", values = ["a", "b"] }

[[command]]
name = "service.act"
summary = "Act on a unit"
argv = ["/usr/libexec/remit/remit-act", "unit", "{verb}", "{unit}"]
effect = "change"
profile = "bus"
args.verb = { type = "string" }
args.unit = { type = "string" }

[[command]]
name = "service.call"
summary = "Call a service"
argv = ["/usr/bin/true", "{verb}"]
effect = "change"
profile = "bus"
args.verb = { type = "string" }

[profile.bus]
base = "strict"
user = "root"
capabilities = ["CAP_DAC_READ_SEARCH"]
write = ["/srv/www"]
sockets = ["/run/dbus/system_bus_socket"]
leads_to_root = true
network = ["192.0.2.1:443"]

[[grant]]
name = "ops"
to = ["#64001"]
allow = ["*"]
effect = "change"
env = ["TZ", "NOTE", "NOTE1", "NOTE2"]
approval = { by = ["#64002"] }
"##;

/// An undo of files, and a command that can follow one.
const UNDOES: &str = r##"
[[command]]
name = "plan.undo"
summary = "undoes"
argv = ["/usr/libexec/remit/remit-commit", "undo", "/var/lib/remit/commits", "{id}", ["--then", "{then}"]]
effect = "change"
profile = "host"
args.id = { type = "string" }
args.then = { type = "string", pattern = "[!-~ ]+", max = 512, repeat = 4, optional = true }

[[command]]
name = "plan.commit"
summary = "commits"
argv = ["/usr/libexec/remit/remit-commit", "commit", "/var/lib/remit/commits"]
effect = "change"
profile = "host"
stdin = "plan"

[[command]]
name = "site.reload"
summary = "reloads"
argv = ["/usr/bin/true", "{unit}"]
effect = "change"
profile = "host"
args.unit = { type = "enum", values = ["a", "b"] }

[[grant]]
to = ["#64001"]
allow = ["plan.undo"]
acts = ["site.reload"]
approval = { by = ["#64002"] }
"##;

impl Scene {
    pub fn undoes() -> Self {
        Self::of(UNDOES, &MachineTable::default())
    }

    /// An undo of this commit that carries these commands, as another user has approved it. Of [`Scene::undoes`].
    pub fn undo(&self, id: &str, then: &[&str]) -> Plan {
        let then = then.iter().map(|text| ("then", *text));
        let args: Vec<_> = [("id", id)].into_iter().chain(then).collect();
        let mut plan = self.approved("plan.undo", &args);
        plan.job = JobId([3; 16]);
        plan
    }

    pub fn new() -> Self {
        let root = ("root".to_owned(), Ids { uid: 0, gid: 0 });
        let machine = MachineTable {
            users: [root].into(),
            ..MachineTable::default()
        };
        Self::of(POLICY, &machine)
    }

    pub fn draft(&self, spec: Spec, fds: Vec<OwnedFd>) -> Draft {
        self.asks(spec, fds).0
    }

    pub fn asks(&self, spec: Spec, fds: Vec<OwnedFd>) -> (Draft, Pending) {
        let mut call = Call::new(spec, fds).unwrap();
        call.decode_plan(&self.policy);
        let names = call.env_names();
        let caller_ids = CallerIds {
            uid: 64_001,
            gids: &[],
        };
        let Verdict::Ask(pending) = self.policy.decide(caller_ids, &call.ask(&names)) else {
            panic!("it needs an approval");
        };
        let bound = BoundCall::new(&call, pending.terms(), &self.setting("0123abcd")).unwrap();
        let requester = Requester {
            subject: Subject::fake(64_001, "agent", Some(64_001)),
            session: 1,
            ticket: 2,
        };
        (Draft::new(call, bound, requester, new_job()), pending)
    }

    /// A request that nobody has decided, of which these bytes are signed.
    pub fn request(&self, spec: Spec, encoded: Vec<u8>) -> Request {
        let (draft, pending) = self.asks(spec, Vec::new());
        Request {
            encoded,
            asked_ms: 0,
            expires_ms: 0,
            deadline: Duration::ZERO,
            ..Request::new(Box::new(draft), pending, AsFound::default())
        }
    }

    /// A request that still needs an approval, after one of this person.
    pub fn approved_before(&self, by: Subject) -> Request {
        let reason = "it is due".into();
        let disk = named("disk.wipe", &[("disk", "a")]);
        let mut request = self.request(spec(disk, Purpose::Change { reason }), Vec::new());
        request.approvals.push(Approval {
            by,
            signature: None,
        });
        request
    }

    pub fn plan(&self) -> Plan {
        self.approved("disk.wipe", &[("disk", "a")])
    }

    /// A command that another user has approved.
    pub fn approved(&self, name: &str, args: &[(&str, &str)]) -> Plan {
        let reason = "it is due".into();
        let spec = spec(named(name, args), Purpose::Change { reason });
        let (draft, pending) = self.asks(spec, Vec::new());
        let by = Subject::fake(64_002, "ann", Some(64_002));
        let consent = consent(&by, &draft.requester.subject);
        let grant = pending.approved(&[consent]).unwrap();
        draft.granted(grant, None)
    }

    /// A notification that remitd starts by this command.
    pub fn notification(&self, name: &str) -> Plan {
        let reason = "to notify people".into();
        let input = memfd::seal(c"notification", b"{}").unwrap();
        let purpose = Purpose::Change { reason };
        let call = Call::own(name.to_owned(), Vec::new(), purpose, Some(input)).unwrap();
        self.own(call, self.policy.notification(name).unwrap())
    }

    /// What remitd starts by itself.
    pub fn own(&self, call: Call, grant: Grant) -> Plan {
        let bound = BoundCall::new(&call, grant.terms(), &self.setting("0123abcd")).unwrap();
        Draft::new(call, bound, Requester::daemon(), new_job()).granted(grant, None)
    }

    pub fn program(&self, argv: &[&[u8]]) -> Draft {
        let argv = argv.iter().map(|arg| arg.to_vec().into()).collect();
        self.draft(spec(SpecWhat::Argv(argv), Purpose::Use), Vec::new())
    }

    pub fn backup(&self, what: &str, reason: &str) -> Draft {
        let args = [("key", "hunter2"), ("what", what)];
        let reason = reason.into();
        let spec = spec(named("backup.run", &args), Purpose::Change { reason });
        self.draft(spec, Vec::new())
    }

    pub fn change(&self, name: &str, args: &[(&str, &str)]) -> Draft {
        let reason = "it is due".into();
        self.draft(
            spec(named(name, args), Purpose::Change { reason }),
            Vec::new(),
        )
    }

    pub fn script(&self, script: &[u8], stdin: &[u8]) -> Draft {
        let interpreter = Some(b"bash".to_vec().into());
        let spec = Spec {
            stdin: true,
            env: vec![(b"TZ".to_vec().into(), b"UTC".to_vec().into())],
            ..spec(SpecWhat::Script { interpreter }, Purpose::Use)
        };
        let seal = |name, bytes| memfd::seal(name, bytes).unwrap();
        self.draft(spec, vec![seal(c"script", script), seal(c"stdin", stdin)])
    }
}

fn new_job() -> NewJob {
    NewJob {
        job: JobId([7; 16]),
        number: 3,
        uid: JobUids::new(70_000, 10).take().unwrap(),
        ready: None,
    }
}

/// Returns a plan that makes a file of one byte.
pub fn plan_of_a_file(path: &str) -> Bundle {
    let edit = Edit {
        path: PlanPath::new(path).unwrap(),
        action: Action::Write(b"x".to_vec()),
        mode: None,
        uid: None,
        gid: None,
        base_sha256: None,
        create_only: false,
    };
    remit_edit::bundle(vec![edit.apply(None).unwrap().unwrap()]).unwrap()
}

pub fn file(what: &str, name: &str, real: &str) -> FileFound {
    FileFound {
        what: what.into(),
        held: FileBinding::Checked,
        measured: Measured {
            path: std::ffi::CString::new(name).unwrap(),
            dev: 1,
            ino: 2,
            ctime_ns: -3,
            size: 4,
            sha256: [5; 32],
        },
        real: std::ffi::CString::new(real).unwrap(),
    }
}
