//! Answers of a daemon for tests, from a small policy.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::CString;

use remit_approval::{
    ActContext, AnswerHead, ApprovalRequest, BoundArgument, BoundFile, BoundLimits, BoundPass,
    BoundPath, Context, FileBinding, Loose, Unbound,
};
use remit_common::admin::{AuditHead, PendingView};
use remit_common::names::JobId;
use remit_common::wire::Effect;
use remit_policy::{
    ArgvElement, Ask, CallerIds, Ids, MachineTable, PathIs, Policy, Profile, Source, Terms, Verdict,
};
use sha2::{Digest, Sha256};

use crate::verified::Verified;

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

pub struct Scene(Policy);

pub struct Asked {
    pub request: ApprovalRequest,
    pub context: Context,
    pub contents: Vec<Vec<u8>>,
    pub is_withheld: bool,
}

impl Scene {
    pub fn new() -> Self {
        let root = ("root".to_owned(), Ids { uid: 0, gid: 0 });
        let machine = MachineTable {
            users: [root].into(),
            ..MachineTable::default()
        };
        let source = Source {
            name: "t.toml".into(),
            text: POLICY.into(),
        };
        let (policy, _) = remit_policy_compile::load(&[source], &machine).unwrap();
        Self(policy)
    }

    pub fn program(&self, argv: &[&[u8]]) -> Verified {
        self.asks_for(argv).verified()
    }

    pub fn asks_for(&self, argv: &[&[u8]]) -> Asked {
        let ask = Ask::Run {
            profile: None,
            argv0: argv[0],
            env_names: &[],
        };
        let mut asked = self.asked(&ask, &[]);
        asked.request.argv = argv.iter().map(|arg| CString::new(*arg).unwrap()).collect();
        asked
    }

    /// A command whose arguments are files in a copy, one for each content.
    pub fn asks_with_copies(&self, contents: &[&[u8]]) -> Asked {
        let argv = [
            &[&b"cat"[..]],
            vec![&b"/srv/a"[..]; contents.len()].as_slice(),
        ]
        .concat();
        let mut asked = self.asks_for(&argv);
        for (at, content) in (1..).zip(contents) {
            asked.request.slots.push(BoundArgument::Path(BoundPath {
                index: at,
                before: Vec::new(),
                under: c"/srv".into(),
                beneath: c"a".into(),
                is: PathIs::File,
                pass: BoundPass::Copy,
            }));
            asked.request.files.push(BoundFile {
                held: FileBinding::Copied,
                size: content.len() as u64,
                sha256: Sha256::digest(content).into(),
                ..file(&format!("argument {at}"), "/srv/a", "/srv/a")
            });
            asked.contents.push(content.to_vec());
        }
        asked
    }

    pub fn script(&self, script: &[u8], stdin: &[u8]) -> Verified {
        let ask = Ask::Run {
            profile: None,
            argv0: b"bash",
            env_names: &[b"TZ"],
        };
        let mut asked = self.asked(&ask, &[(b"TZ".to_vec(), b"UTC".to_vec())]);
        asked.request.argv = vec![c"bash".into(), c"/proc/self/fd/3".into()];
        asked.request.script = Some(Sha256::digest(script).into());
        asked.request.stdin = Some(Sha256::digest(stdin).into());
        asked.contents = vec![script.to_vec(), stdin.to_vec()];
        asked.verified()
    }

    pub fn undo(&self) -> Verified {
        let id = b"0123456789abcdef0123456789abcdef";
        self.file_change("plan.undo", &[b"undo", b"/var/lib/remit/commits", id])
            .verified()
    }

    fn file_change(&self, name: &str, words: &[&[u8]]) -> Asked {
        let program: &[u8] = b"/usr/libexec/remit/remit-commit";
        let mut asked = self.asks_for(&[&[program], words].concat());
        asked.context.pending.command = name.into();
        asked.context.profile = Profile::host();
        asked.context.loose = BTreeSet::from([Loose::Argument(2, Unbound::Directory)]);
        asked.request.profile = "host".into();
        asked.request.command = Some(name.into());
        asked.request.effect = Effect::Change;
        asked.request.reason = Some("it is due".into());
        asked
    }

    /// A commit of this plan, as the shipped policy has it.
    pub fn commit(&self, plan: &[u8]) -> Verified {
        self.asks_to_commit(plan, Vec::new()).verified()
    }

    pub fn asks_to_commit(&self, plan: &[u8], acts: Vec<ActContext>) -> Asked {
        let words: [&[u8]; 2] = [b"commit", b"/var/lib/remit/commits"];
        let follow = acts
            .iter()
            .flat_map(|act| [&b"--then"[..], act.text.as_bytes()]);
        let words: Vec<&[u8]> = words.into_iter().chain(follow).collect();
        let mut asked = self.file_change("plan.commit", &words);
        asked.context.acts = acts;
        asked.request.stdin = Some(Sha256::digest(plan).into());
        asked.contents = vec![plan.to_vec()];
        asked
    }

    pub fn backup(&self, what: &str, reason: &str) -> Verified {
        let args = [("key", "hunter2"), ("what", what)];
        self.named("backup.run", &args, reason)
    }

    pub fn change(&self, name: &str, args: &[(&str, &str)]) -> Verified {
        self.named(name, args, "it is due")
    }

    fn named(&self, name: &str, args: &[(&str, &str)], reason: &str) -> Verified {
        let owned = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
        let args: Vec<_> = args.iter().map(owned).collect();
        let ask = Ask::Command {
            name,
            effect: Effect::Change,
            args: &args,
        };
        let mut asked = self.asked(&ask, &[]);
        let terms = self.terms(&ask);
        let command = terms.command().unwrap();
        let invocation = command.bind(&args, false).unwrap();
        asked.context.pending.command = name.into();
        let request = &mut asked.request;
        request.command = Some(name.into());
        request.effect = Effect::Change;
        request.cwd = CString::new(command.cwd.as_str()).unwrap();
        request.reason = Some(reason.into());
        request.secret_stdin = invocation.stdin.map(|_| [9; 32]);
        for (index, element) in invocation.argv.into_iter().enumerate() {
            let text = match element {
                ArgvElement::Text(text) => text,
                ArgvElement::Secret { before, .. } => {
                    let text = [&before[..], b"***"].concat();
                    let keyed = [9; 32];
                    request.slots.push(BoundArgument::Secret {
                        index,
                        before,
                        keyed,
                    });
                    text
                }
                ArgvElement::Path {
                    before,
                    under,
                    beneath,
                    is,
                    ..
                } => {
                    let text = format!("{under}/{beneath}").into_bytes();
                    request.slots.push(BoundArgument::Path(BoundPath {
                        index,
                        before,
                        under: CString::new(under).unwrap(),
                        beneath: CString::new(beneath).unwrap(),
                        is,
                        pass: BoundPass::Path,
                    }));
                    text
                }
            };
            request.argv.push(CString::new(text).unwrap());
        }
        asked.verified()
    }

    fn terms(&self, ask: &Ask<'_>) -> Terms {
        let caller_ids = CallerIds {
            uid: 64_001,
            gids: &[],
        };
        let Verdict::Ask(pending) = self.0.decide(caller_ids, ask) else {
            panic!("it needs an approval");
        };
        pending.terms().clone()
    }

    fn asked(&self, ask: &Ask<'_>, env: &[(Vec<u8>, Vec<u8>)]) -> Asked {
        let terms = self.terms(ask);
        let command = terms.command();
        let profile = terms.profile().as_ref().clone();
        Asked {
            request: ApprovalRequest {
                machine_id: "00112233445566778899aabbccddeeff".into(),
                job: JobId([7; 16]),
                requester_uid: 64_001,
                requester_name: "agent".into(),
                command: None,
                effect: Effect::Read,
                path: vec![c"/usr/bin".into()],
                argv: Vec::new(),
                slots: Vec::new(),
                files: Vec::new(),
                does: Vec::new(),
                opens: Vec::new(),
                opens_unknown: Vec::new(),
                script: None,
                stdin: None,
                secret_stdin: None,
                cwd: c"/".into(),
                env: remit_policy::environment(&terms, env).unwrap(),
                profile: profile.name.clone(),
                policy: "0123abcd".into(),
                rule: "ops (t.toml:34)".into(),
                limits: BoundLimits::default(),
                runtime_s: 300,
                reason: None,
                expires_ms: 1_700_000_000_000,
            },
            context: Context {
                pending: PendingView {
                    job: JobId([7; 16]),
                    user: "agent".into(),
                    uid: 64_001,
                    command: "it".into(),
                    reason: String::new(),
                    by: vec!["#64002".into()],
                    approved_by: Vec::new(),
                    missing: 1,
                    signed: None,
                    yours: true,
                    asked_ms: 1,
                    left_ms: 2,
                    digest: [0; 32],
                    set: None,
                    behalf: None,
                },
                loginuid: Some(64_001),
                peer: "pid 77".into(),
                client: "test".into(),
                summary: command.map_or(String::new(), |command| command.summary.clone()),
                profile,
                runtime_source: "limits.runtime_s of remit.toml".into(),
                usual_runtime_s: None,
                is_own_program: false,
                loose: BTreeSet::new(),
                today: BTreeMap::new(),
                required: Vec::new(),
                checks: Vec::new(),
                head: AuditHead {
                    seq: 3,
                    hash: [9; 32],
                },
                host_jobs: Vec::new(),
                acts: Vec::new(),
            },
            contents: Vec::new(),
            is_withheld: false,
        }
    }
}

impl Asked {
    pub fn answer(mut self) -> Vec<u8> {
        let bytes = remit_approval::encode(&self.request);
        self.context.pending.digest = Sha256::digest(&bytes).into();
        self.lies(&bytes)
    }

    /// Returns the answer with these signed bytes, and the listed digest as it is.
    pub fn lies(self, bytes: &[u8]) -> Vec<u8> {
        let lengths = self.contents.iter().map(|content| content.len() as u64);
        let head = AnswerHead {
            context: self.context,
            request: bytes.len() as u64,
            contents: lengths.collect(),
            is_withheld: self.is_withheld,
        };
        [head.encode(), bytes.to_vec(), self.contents.concat()].concat()
    }

    pub fn verified(mut self) -> Verified {
        let own = [
            c"/usr/libexec/remit/remit-act",
            c"/usr/libexec/remit/remit-commit",
        ];
        let program = self.request.argv.first();
        self.context.is_own_program = program.is_some_and(|arg| own.contains(&arg.as_c_str()));
        Verified::from_answer(&self.answer()).unwrap()
    }
}

pub fn file(what: &str, name: &str, real: &str) -> BoundFile {
    BoundFile {
        what: what.into(),
        held: FileBinding::Checked,
        name: CString::new(name).unwrap(),
        real: CString::new(real).unwrap(),
        dev: 1,
        ino: 2,
        ctime_ns: -3,
        size: 4,
        sha256: [5; 32],
    }
}
