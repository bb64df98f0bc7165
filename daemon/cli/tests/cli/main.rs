//! Tests the built command line against a fake daemon.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "helpers of tests may fail"
)]

mod admin {
    use std::sync::mpsc::Receiver;

    use remit_common::admin::{
        AdminReply, AdminRequest, RecentRefusal, Reloaded, Status, Totals, UnconfirmedView,
    };
    use remit_common::names::JobId;
    use remit_common::refusal::{Code, Refusal};

    use crate::fake::{Directory, Fake, Said, remit};

    pub fn status() -> Status {
        Status {
            release: "9.9".into(),
            kernel: "6.1.0".into(),
            uptime_ms: 14_520_000,
            policy: "sha256:ab".into(),
            policy_texts: "cd".into(),
            rules: 3,
            policy_error: Some("'/etc/remit/policy.d/x.toml':1:1: unknown key\n  1 | x".into()),
            policy_warnings: vec!["'/etc/remit/policy.d/y': it is not read".into()],
            shadow: Some(
                "0123456789ab: other verdicts on 2 of 9 requests since it was loaded".into(),
            ),
            needs_restart: vec!["jobs.max".into(), "audit.sink".into()],
            locked: Some("incident 7".into()),
            locked_by: Some("root".into()),
            locked_ms: Some(951_782_399_500),
            floor: vec!["every change needs approval by %ops".into()],
            paused: vec![
                "agent (changes): changes that failed in a row: 3; remit resume agent".into(),
            ],
            unconfirmed: vec![UnconfirmedView {
                commit_id: "0123456789abcdef".repeat(2),
                job: JobId([1; 16]),
                what: "commit 0123456789ab of agent is undone at 12:00".into(),
                command: "remit confirm 0123456789ab".into(),
                has_failed: true,
            }],
            jobs: 2,
            max_jobs: 64,
            queued: 5,
            stuck: 1,
            sessions: 3,
            limits: vec!["runtime 300 s".into(), "tasks 256 (cgroup)".into()],
            audit: "journald".into(),
            audit_error: Some("nobody listens".into()),
            landlock: 0,
            cgroup: Some("/sys/fs/cgroup/remit".into()),
            controllers: vec!["memory".into(), "pids".into()],
            broker_restarts: 1,
            refused: vec!["read: nosuid does not hold".into()],
            missing: vec!["landlock".into()],
            refusals: vec![RecentRefusal {
                at_ms: 951_782_399_500,
                user: Some("alice".into()),
                code: Code::DeniedRule,
                message: "no rule allows\x1b it".into(),
            }],
            pending: 2,
            grants: 1,
            totals: Totals {
                started: 7,
                asked: 5,
                approved: 2,
                denied: 1,
                refused: vec![(Code::Locked, 3)],
                records: 40,
                ..Totals::default()
            },
        }
    }

    #[test]
    fn status_is_one_screen() {
        let (fake, heard) = Fake::admin(AdminReply::Status(Box::new(status())));
        let said = fake.output(&["status"]);
        assert_eq!(said.status, Some(0), "{said:?}");
        assert_eq!(heard.recv().unwrap(), AdminRequest::Status);
        let lines: Vec<String> = said
            .text()
            .lines()
            .map(|line| line.split_whitespace().collect::<Vec<_>>().join(" "))
            .collect();
        assert_eq!(
            lines,
            [
                "remitd 9.9 on Linux 6.1.0",
                "health locked, so nothing runs; the audit log fails, so nothing runs; nothing runs in profile \
                 'read'; the policy files have errors; the old policy is in force; \
                 a commit that nobody confirmed is not undone",
                "up for 4 h 2 min",
                "policy sha256:ab",
                "rules 3",
                "not live '/etc/remit/policy.d/x.toml':1:1: unknown key",
                "1 | x",
                "warning '/etc/remit/policy.d/y': it is not read",
                "shadow 0123456789ab: other verdicts on 2 of 9 requests since it was loaded",
                "changed jobs.max, audit.sink: systemctl restart remitd",
                "locked by root at 2000-02-28 23:59:59 UTC: incident 7",
                "floor every change needs approval by %ops",
                "paused agent (changes): changes that failed in a row: 3; remit resume agent",
                "confirm commit 0123456789ab of agent is undone at 12:00: remit confirm 0123456789ab",
                "refused read: nosuid does not hold",
                "jobs 2 of 64",
                "queued 5",
                "pending 2 waiting for approval: remit pending",
                "grants 1 temporary: remit grants",
                "stuck 1 ended, but the kernel cannot end a process; each occupies a slot",
                "sessions 3",
                "limits runtime 300 s",
                "tasks 256 (cgroup)",
                "audit journald: nobody listens",
                "landlock none in this kernel",
                "cgroup /sys/fs/cgroup/remit",
                "controllers memory pids",
                "broker restarts: 1",
                "missing landlock",
                "refusal 2000-02-28 23:59:59 UTC alice: no rule allows\\x1b it (denied_rule)",
            ]
        );
        let json = fake.output(&["status", "--json"]).json();
        crate::man::check_keys(&["status"], &json);
        assert_eq!(json["locked"], "incident 7");
        assert_eq!(json["broker_restarts"], 1);
    }

    const UP: &str = "# HELP remit_up Whether remitd answers.\n# TYPE remit_up gauge\nremit_up 1\n";
    const DOWN: &str =
        "# HELP remit_up Whether remitd answers.\n# TYPE remit_up gauge\nremit_up 0\n";

    fn fake_with_status() -> (Fake, Receiver<AdminRequest>) {
        Fake::admin(AdminReply::Status(Box::new(status())))
    }

    #[test]
    fn metrics_are_those_of_the_status() {
        let (fake, _heard) = fake_with_status();
        let said = fake.output(&["metrics"]);
        assert_eq!((said.status, said.stderr.as_str()), (Some(0), ""));
        assert!(said.text().starts_with(UP), "{said:?}");
        let samples: Vec<&str> = said
            .text()
            .lines()
            .filter(|line| !line.starts_with('#'))
            .collect();
        for sample in [
            "remit_build_info{version=\"9.9\"} 1",
            "remit_policy_info{digest=\"sha256:ab\"} 1",
            "remit_uptime_seconds 14520",
            "remit_locked 1",
            "remit_audit_error 1",
            "remit_policy_error 1",
            "remit_policy_warnings 1",
            "remit_settings_not_in_force 2",
            "remit_profiles_refused 1",
            "remit_jobs_running 2",
            "remit_jobs_limit 64",
            "remit_jobs_queued 5",
            "remit_jobs_stuck 1",
            "remit_approvals_pending 2",
            "remit_temporary_grants 1",
            "remit_sessions 3",
            "remit_users_paused 1",
            "remit_commits_unconfirmed 0",
            "remit_commits_not_undone 1",
            "remit_broker_restarts_total 1",
            "remit_jobs_started_total 7",
            "remit_approvals_asked_total 5",
            "remit_approval_decisions_total{decision=\"approved\"} 2",
            "remit_approval_decisions_total{decision=\"denied\"} 1",
            "remit_approval_decisions_total{decision=\"expired\"} 0",
            "remit_refusals_total{code=\"locked\"} 3",
            "remit_refusals_total{code=\"busy\"} 0",
            "remit_audit_records_total 40",
            "remit_audit_records_lost_total 0",
        ] {
            assert!(samples.contains(&sample), "no '{sample}' in {samples:#?}");
        }
        let page = concat!(env!("CARGO_MANIFEST_DIR"), "/../../packaging/man/remit.1");
        let page = std::fs::read_to_string(page).unwrap();
        let names = said.text().lines().filter_map(|line| {
            let name = line.strip_prefix("# TYPE ")?.split(' ').next();
            Some(name.unwrap().to_owned())
        });
        for name in names {
            let line = format!("\n.B {name}\n");
            let with_label = format!("\n.BR {name} {{");
            let is_there = page.contains(&line) || page.contains(&with_label);
            assert!(is_there, "{name} is not in remit.1");
        }
        let json = fake.output(&["metrics", "--json"]).json();
        let first = &json["metrics"][0];
        assert_eq!(
            (&first["name"], &first["type"]),
            (&"remit_up".into(), &"gauge".into())
        );
        assert_eq!(first["samples"][0]["value"], 1.0);
    }

    #[test]
    fn metrics_replace_their_own_file_and_say_that_the_daemon_is_down() {
        let ((fake, _heard), dir) = (fake_with_status(), Directory::new());
        let path = dir.path().join("remit.prom");
        let output = ["metrics", "-o", path.to_str().unwrap()];
        let read = || std::fs::read_to_string(&path).unwrap();
        let said = fake.output(&output);
        assert_eq!((said.status, said.text()), (Some(0), ""), "{said:?}");
        assert_eq!(read(), fake.output(&["metrics"]).text());
        drop(fake);

        let down = Said::from(remit(dir.path(), &output).output().unwrap());
        assert_eq!((down.status, down.text()), (Some(0), ""), "{down:?}");
        assert!(down.stderr.contains("remitd is not running"), "{down:?}");
        assert_eq!(read(), DOWN);

        let (fake, _heard) = Fake::admin(AdminReply::Refused(Refusal::new(Code::Locked, "no")));
        assert_eq!(fake.output(&output).status, Some(125));
        assert_eq!(read(), DOWN, "a refusal tells nothing about the daemon");
        std::fs::write(&path, "mine\n").unwrap();
        let (fake, _heard) = fake_with_status();
        let refused = fake.output(&output);
        assert_eq!(refused.status, Some(125), "{refused:?}");
        assert!(
            refused
                .stderr
                .contains("was not written by 'remit metrics'"),
            "{refused:?}"
        );
        assert_eq!(read(), "mine\n");
        let names = std::fs::read_dir(dir.path()).unwrap().count();
        assert_eq!(names, 1, "nothing else is left");
    }

    #[test]
    fn each_verb_asks_for_its_own() {
        let (fake, heard) = Fake::admin(AdminReply::Done("it is done".into()));
        let lock = |kill| AdminRequest::Lock {
            why: "incident 7".into(),
            kill,
        };
        for (args, request) in [
            (&["lock", "-m", "incident 7"][..], lock(false)),
            (&["lock", "--message", "incident 7", "--kill"], lock(true)),
            (&["unlock"], AdminRequest::Unlock),
            (
                &["resume", "agent"],
                AdminRequest::Resume {
                    user: "agent".into(),
                },
            ),
            (&["confirm"], AdminRequest::Confirm { id: None }),
            (
                &["confirm", "0123-ABCD"],
                AdminRequest::Confirm {
                    id: Some("0123abcd".into()),
                },
            ),
        ] {
            let said = fake.output(args);
            assert_eq!(
                (said.status, said.text()),
                (Some(0), "it is done\n"),
                "{args:?}"
            );
            assert_eq!(heard.recv().unwrap(), request);
        }
        let json = fake.output(&["--json", "unlock"]).json();
        assert_eq!(json, serde_json::json!({ "done": "it is done" }));
    }

    fn reloaded(changes: &[&str], more_changes: u32) -> Reloaded {
        Reloaded {
            policy: "ab12".into(),
            rules: 7,
            commands: 2,
            changes: changes.iter().map(|line| (*line).to_owned()).collect(),
            more_changes,
            warnings: vec!["/p/20.toml:3:7: warning: there is no user 'x'\n  3 | to".into()],
            notes: vec!["jobs.max counts after a restart".into()],
        }
    }

    #[test]
    fn a_reload_tells_what_it_changed() {
        let reply = reloaded(&["%ops gains run", "ann loses nginx.\x1b*"], 3);
        let (fake, heard) = Fake::admin(AdminReply::Reloaded(reply));
        let said = fake.output(&["policy", "reload"]);
        assert_eq!(heard.recv().unwrap(), AdminRequest::Reload);
        let expect = "\
    policy ab12 is in force
  rules        7
  commands     2
what it means now and did not before:
  %ops gains run
  ann loses nginx.\\x1b*
  … and 3 more
/p/20.toml:3:7: warning: there is no user 'x'
  3 | to
note: jobs.max counts after a restart
";
        assert_eq!((said.status, said.text()), (Some(0), expect));
        let json = fake.output(&["--json", "policy", "reload"]).json();
        assert_eq!(json["changes"][0], "%ops gains run");
        assert_eq!(
            (&json["rules"], &json["more_changes"]),
            (&7.into(), &3.into())
        );

        let (fake, _heard) = Fake::admin(AdminReply::Reloaded(reloaded(&[], 0)));
        let said = fake.output(&["policy", "reload", "--quiet"]);
        assert_eq!((said.status, said.text()), (Some(0), ""));
        let said = fake.output(&["policy", "reload"]);
        assert!(
            said.text()
                .contains("\nnothing that it means has changed\n"),
            "{said:?}"
        );
    }

    #[test]
    fn refusal_or_wrong_answer_fails() {
        let refusal = Refusal::new(Code::InvalidArgs, "policy has an error");
        let (fake, _heard) = Fake::admin(AdminReply::Refused(refusal));
        let said = fake.output(&["policy", "reload"]);
        assert_eq!(said.status, Some(125));
        assert_eq!(said.stderr, "remit: policy has an error (invalid_args)\n");

        let (fake, _heard) = Fake::admin(AdminReply::Done("x".into()));
        for args in [
            &["status"][..],
            &["pending"],
            &["show", "7f3a"],
            &["grants"],
            &["grant", "root", "x", "--for", "1h"],
        ] {
            assert_eq!(fake.output(args).status, Some(69), "{args:?}");
        }
    }
}
mod approvals;
mod audit;
mod chained;
mod collector;
mod completion;
mod fake;
mod follow;
mod interrupt;
mod jobs;
mod machine;
mod man;
mod plan;
mod policy;
mod protocol;
mod prove;
mod replay;
mod run;
mod search {
    use remit_wire::outcome::{Line, Matches, OutputPart, Stream};
    use remit_wire::{Bytes, GrepQuery, PartQuery, Reply, Request};

    use crate::fake::{Answer, Fake, exited, job, reply};

    /// Lines that the fake daemon searches for one answer.
    const AT_ONCE: usize = 4;

    /// Searches lines of four bytes, `l00`, `l01` …; lines with an even number match.
    fn search(lines: usize, query: &GrepQuery) -> Matches {
        let first = (query.offset as usize).div_ceil(4);
        let mut found = Vec::new();
        let (mut matching, mut next) = (0, first);
        while next < lines && next < first + AT_ONCE && matching < query.limit {
            let matches = next % 2 == 1;
            matching += u32::from(matches);
            if matches || query.context > 0 {
                found.push(Line {
                    number: next as u64 + 1,
                    offset: next as u64 * 4,
                    matches,
                    text: Bytes::from(format!("l{next:02}").into_bytes()),
                    omitted: 0,
                });
            }
            next += 1;
        }
        Matches {
            stream: query.stream,
            lines: found,
            matching,
            offset: first as u64 * 4,
            next: next as u64 * 4,
            total: lines as u64 * 4,
            eof: next == lines,
        }
    }

    fn fake(lines: usize) -> Fake {
        Fake::new(move |request| match request {
            Request::Job(query) => match &query.part {
                Some(PartQuery::Grep(query)) => Answer::Reply(Reply::Job {
                    report: Box::new(exited(0, b"", b"")),
                    part: Some(OutputPart::Matches(search(lines, query))),
                }),
                _ => reply(exited(0, b"", b"")),
            },
            _ => Answer::HangUp,
        })
    }

    fn queries(fake: &Fake) -> Vec<GrepQuery> {
        let grep = |request| match request {
            Request::Job(query) => match query.part {
                Some(PartQuery::Grep(query)) => Some(query),
                _ => None,
            },
            _ => None,
        };
        fake.all_heard().into_iter().filter_map(grep).collect()
    }

    #[test]
    fn match_numbers_hold_across_pages() {
        let fake = fake(10);
        let said = fake.output(&["job", &job(), "--grep", "-x"]);
        assert_eq!((said.status, said.stderr.as_str()), (Some(0), ""));
        assert_eq!(said.text(), "2:l01\n4:l03\n6:l05\n8:l07\n10:l09\n");
        let asked = queries(&fake);
        let expect = GrepQuery {
            stream: Stream::Stdout,
            pattern: "-x".into(),
            offset: 0,
            limit: 1000,
            context: 0,
        };
        assert_eq!(asked[0], expect);
        assert_eq!(
            asked.iter().map(|query| query.offset).collect::<Vec<_>>(),
            [0, 16, 32]
        );
    }

    #[test]
    fn a_limit_counts_lines_that_match() {
        let fake = fake(10);
        let said = fake.output(&[
            "job",
            &job(),
            "--grep",
            "x",
            "--limit",
            "3",
            "--stderr",
            "--offset",
            "5",
        ]);
        assert_eq!(said.text(), "4:l03\n6:l05\n8:l07\n");
        let asked = queries(&fake);
        assert_eq!(
            asked.iter().map(|query| query.limit).collect::<Vec<_>>(),
            [3, 1]
        );
        assert_eq!((asked[0].stream, asked[0].offset), (Stream::Stderr, 5));
    }

    #[test]
    fn context_lines_are_requested_and_marked() {
        let fake = fake(2);
        let said = fake.output(&["job", &job(), "--grep", "x", "--context", "1"]);
        assert_eq!(said.text(), "1-l00\n2:l01\n");
        assert_eq!(queries(&fake)[0].context, 1);
    }

    #[test]
    fn nothing_found_is_status_1() {
        for args in [&["--grep", "x"][..], &["--json", "--grep", "x"]] {
            let id = job();
            let said = fake(1).output(&[&["job", &id], args].concat());
            assert_eq!(
                (said.status, said.stderr.as_str()),
                (Some(1), ""),
                "{said:?}"
            );
        }
        assert_eq!(
            fake(1)
                .output(&["job", &job(), "--grep", "x", "--wait"])
                .status,
            Some(1)
        );
    }

    #[test]
    fn json_joins_the_pages() {
        let json = fake(10)
            .output(&["job", &job(), "--json", "--grep", "x", "--limit", "4"])
            .json();
        assert_eq!(
            json["lines"],
            serde_json::json!(["2:l01", "4:l03", "6:l05", "8:l07"])
        );
        assert_eq!((&json["matching"], &json["next"]), (&4.into(), &32.into()));
        assert_eq!((&json["total"], &json["eof"]), (&40.into(), &false.into()));
        assert_eq!(json["stream"], "stdout");
    }

    #[test]
    fn search_of_lost_output_is_inconclusive() {
        let fake = Fake::new(|request| match request {
            Request::Job(query) => match &query.part {
                Some(PartQuery::Grep(query)) => Answer::Reply(Reply::Job {
                    report: Box::new(exited(0, b"", b"")),
                    part: Some(OutputPart::Matches(Matches {
                        total: 100,
                        ..search(2, query)
                    })),
                }),
                _ => reply(exited(0, b"", b"")),
            },
            _ => Answer::HangUp,
        });
        let said = fake.output(&["job", &job(), "--grep", "x"]);
        assert_eq!((said.status, said.text()), (Some(0), "2:l01\n"));
        assert_eq!(
            said.stderr,
            "remit: the last 92 bytes are not kept, and were not searched\n"
        );
    }
}
mod terminal;
mod top;
mod verbs;
mod waiting;
