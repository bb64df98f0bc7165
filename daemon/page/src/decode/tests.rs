//! Reads random requests back, and refuses every other input.

use std::ffi::CString;

use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use remit_approval::encode;

use super::*;

fn c_text() -> impl Strategy<Value = CString> {
    vec(1..=u8::MAX, 0..9).prop_map(|bytes| CString::new(bytes).unwrap())
}

fn slot() -> impl Strategy<Value = BoundArgument> {
    let is = prop_oneof![
        Just(PathIs::File),
        Just(PathIs::Directory),
        Just(PathIs::Either)
    ];
    let pass = prop_oneof![
        Just(BoundPass::Path),
        Just(BoundPass::Descriptor),
        Just(BoundPass::Copy)
    ];
    let path = (
        any::<usize>(),
        any::<Vec<u8>>(),
        c_text(),
        c_text(),
        is,
        pass,
    )
        .prop_map(|(index, before, under, beneath, is, pass)| {
            BoundArgument::Path(BoundPath {
                index,
                before,
                under,
                beneath,
                is,
                pass,
            })
        });
    let secret = (any::<usize>(), any::<Vec<u8>>(), any::<[u8; 32]>());
    let secret = secret.prop_map(|(index, before, keyed)| BoundArgument::Secret {
        index,
        before,
        keyed,
    });
    prop_oneof![path, secret]
}

fn file() -> impl Strategy<Value = BoundFile> {
    let held = prop_oneof![
        Just(FileBinding::Checked),
        Just(FileBinding::Seen),
        Just(FileBinding::Copied)
    ];
    let names = (any::<String>(), held, c_text(), c_text());
    let numbers = (any::<[u64; 3]>(), any::<i128>(), any::<[u8; 32]>());
    (names, numbers).prop_map(
        |((what, held, name, real), ([dev, ino, size], ctime_ns, sha256))| BoundFile {
            what,
            held,
            name,
            real,
            dev,
            ino,
            ctime_ns,
            size,
            sha256,
        },
    )
}

fn limits() -> impl Strategy<Value = BoundLimits> {
    let whole = (
        any::<Option<u64>>(),
        any::<Option<u64>>(),
        any::<Option<u32>>(),
    );
    (any::<[u64; 7]>(), whole).prop_map(|(each, (memory, tasks, cpu_percent))| {
        let [nofile, nproc, data, cpu_s, fsize, tmp_bytes, tmp_inodes] = each;
        BoundLimits {
            nofile,
            nproc,
            data,
            cpu_s,
            fsize,
            tmp_bytes,
            tmp_inodes,
            memory,
            tasks,
            cpu_percent,
        }
    })
}

fn opened() -> impl Strategy<Value = OpenedPath> {
    let lists = (vec(any::<String>(), 0..3), vec(any::<String>(), 0..3));
    (any::<[String; 2]>(), lists).prop_map(|([agent, goal], (steps, closed_by))| OpenedPath {
        agent,
        goal,
        steps,
        closed_by,
    })
}

fn request() -> impl Strategy<Value = ApprovalRequest> {
    let texts = (
        any::<[String; 5]>(),
        option::of(any::<String>()),
        option::of(any::<String>()),
    );
    let lists = (
        vec(c_text(), 0..3),
        vec(c_text(), 0..4),
        vec(slot(), 0..3),
        vec(file(), 0..3),
        vec(any::<String>(), 0..3),
        vec(c_text(), 0..3),
        c_text(),
        vec(opened(), 0..3),
        vec(any::<String>(), 0..3),
    );
    let hashes = any::<[Option<[u8; 32]>; 3]>();
    let numbers = (any::<[u8; 16]>(), any::<[u32; 2]>(), any::<u64>());
    let effect = prop_oneof![Just(Effect::Read), Just(Effect::Change)];
    (texts, lists, hashes, numbers, limits(), effect).prop_map(
        |(texts, lists, [script, stdin, secret_stdin], numbers, limits, effect)| {
            let ([machine_id, requester_name, profile, policy, rule], command, reason) = texts;
            let (path, argv, slots, files, does, env, cwd, opens, opens_unknown) = lists;
            let (job, [requester_uid, runtime_s], expires_ms) = numbers;
            ApprovalRequest {
                machine_id,
                job: JobId(job),
                requester_uid,
                requester_name,
                command,
                effect,
                path,
                argv,
                slots,
                files,
                does,
                opens,
                opens_unknown,
                script,
                stdin,
                secret_stdin,
                cwd,
                env,
                profile,
                policy,
                rule,
                limits,
                runtime_s,
                reason,
                expires_ms,
            }
        },
    )
}

fn plain() -> ApprovalRequest {
    ApprovalRequest {
        machine_id: "0011".into(),
        job: JobId([7; 16]),
        requester_uid: 1001,
        requester_name: "agent".into(),
        command: None,
        effect: Effect::Change,
        path: Vec::new(),
        argv: vec![c"ls".into()],
        slots: Vec::new(),
        files: Vec::new(),
        does: Vec::new(),
        opens: Vec::new(),
        opens_unknown: Vec::new(),
        script: Some([0xab; 32]),
        stdin: None,
        secret_stdin: None,
        cwd: c"/".into(),
        env: Vec::new(),
        profile: "read".into(),
        policy: "0123".into(),
        rule: "ops".into(),
        limits: BoundLimits::default(),
        runtime_s: 300,
        reason: None,
        expires_ms: 17,
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_request_reads_back(request in request()) {
        let bytes = encode(&request);
        prop_assert_eq!(decode(&bytes), Ok(request));
    }

    #[test]
    fn changed_bytes_are_refused_or_another_request(
        request in request(),
        at: prop::sample::Index,
        with in option::of(prop::sample::select(&b"\n 0x1a\xff"[..])),
        removed in 0_usize..3,
    ) {
        let mut bytes = encode(&request);
        let from = at.index(bytes.len());
        let to = bytes.len().min(from + removed);
        bytes.splice(from..to, with);
        if let Ok(read) = decode(&bytes) {
            prop_assert_eq!(encode(&read), bytes);
        }
    }

    #[test]
    fn cut_bytes_are_refused(request in request(), at: prop::sample::Index) {
        let bytes = encode(&request);
        prop_assert!(decode(&bytes[..at.index(bytes.len())]).is_err());
    }
}

#[test]
fn each_error_names_its_part() {
    let good = String::from_utf8(encode(&plain())).unwrap();
    assert!(decode(good.as_bytes()).is_ok());
    let hash = "ab".repeat(32);
    for (from, to, part) in [
        ("digest 3\n", "digest 2\n", "version"),
        ("machine-id 4\n", "machine-id 04\n", "machine-id"),
        ("machine-id 4\n", "machine-id 5\n", "machine-id"),
        ("machine-id 4\n", "machine-ib 4\n", "machine-id"),
        ("\n0011\n", "\n0011 \n", "machine-id"),
        (&"07".repeat(16), &"0A".repeat(16), "job"),
        ("1001", "+101", "requester-uid"),
        ("effect 6\nchange", "effect 6\nchanGe", "effect"),
        ("argv x1\n", "argv x01\n", "argv"),
        ("argv x1\n", "argv x2\n", "arg"),
        ("argv x1\n", "argv x18446744073709551615\n", "arg"),
        ("argv x1\n", "argv x18446744073709551616\n", "argv"),
        ("argv x1\n", "argv 1\n", "argv"),
        ("argv x1\narg 2\nls\n", "argv x0\narg 2\nls\n", "slots"),
        ("arg 2\nls", "arg 2\nl\0", "arg"),
        ("cwd 1\n/", "cwd 1\n\0", "cwd"),
        (&hash, &hash.to_uppercase(), "sha256"),
        ("stdin x0\n", "stdin x2\n", "sha256"),
        ("opens x0\n", "opens x1\n", "agent"),
        ("opens x0\n", "", "opens"),
        ("opens-unknown x0\n", "opens-unknown x1\nwhat 0\n\n", "why"),
        ("300", "030", "runtime-s"),
        ("memory x0\n", "memory x1\nn 2\n-1\n", "n"),
        ("reason x0\n", "reason x2\ntext 0\n\ntext 0\n\n", "reason"),
        ("expires-ms 2\n17\n", "expires-ms 2\n17\n\n", "expires-ms"),
        ("expires-ms 2\n17\n", "expires-ms 2\n17", "expires-ms"),
    ] {
        assert!(good.contains(from), "{from}");
        let changed = good.replacen(from, to, 1);
        let error = decode(changed.as_bytes()).unwrap_err();
        assert_eq!(error.part, part, "{from:?} as {to:?}: {error}");
        assert!(error.to_string().starts_with(&format!("'{part}' ")));
    }
    let at = good.find("agent").unwrap();
    let mut latin = good.into_bytes();
    latin[at] = 0xe4;
    assert_eq!(decode(&latin).unwrap_err().part, "requester-name");
}
