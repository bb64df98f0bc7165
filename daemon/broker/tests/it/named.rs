//! Named commands: the broker's part of the checks, and the warden's part.

use std::fs::File;
use std::process::Stdio;
use std::time::Duration;

use remit_common::caps;
use remit_common::refusal::{Code, Refusal};
use remit_link::{SpecWhat, ToBroker, ToWarden};
use remit_wire::service::ServiceFacts;
use remit_wire::{Access, Purpose, Request, Run, What};

use crate::stage::{Broker, Dir, run};

fn named(name: &str, args: &[(&str, &str)]) -> Run {
    let owned = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
    let mut request = run(&[]);
    request.wait_ms = Some(0);
    request.what = What::Named {
        name: name.into(),
        args: args.iter().map(owned).collect(),
    };
    request
}

fn change(name: &str, args: &[(&str, &str)], reason: &str) -> Run {
    let mut request = named(name, args);
    request.purpose = Purpose::Change {
        reason: reason.into(),
    };
    request
}

#[test]
fn builtin_command_carries_manager_facts() {
    let dir = Dir::new();
    let mut broker = Broker::fresh(&dir);
    let mut client = broker.client(1000);
    client.call(Request::Run(named("service.status", &[("unit", "a")])));
    let (ToWarden::Run { spec, .. }, mut fds) = broker.hear_with_fds() else {
        panic!()
    };
    let expect = SpecWhat::Named {
        name: "service.status".into(),
        args: vec![("unit".into(), "a".into())],
    };
    assert_eq!((&spec.what, spec.stdin, fds.len()), (&expect, true, 1));
    let json = remit_link::memfd::read(fds.remove(0), caps::STDIN).unwrap();
    let facts: ServiceFacts = serde_json::from_slice(&json).unwrap();
    assert!(facts.time > 0);
    client.call(Request::Run(named("logs", &[])));
    let (ToWarden::Run { spec, .. }, fds) = broker.hear_with_fds() else {
        panic!()
    };
    assert!(!spec.stdin && fds.is_empty());
    let wrong = Request::Run(named("logs", &[("unit", "-x")]));
    assert_eq!(client.ask(wrong).unwrap_err().code, Code::InvalidArgs);
}

#[test]
fn other_name_is_forwarded_with_all_fields() {
    let dir = Dir::new();
    let mut broker = Broker::fresh(&dir);
    let mut client = broker.client(1000);
    let args = [("site", "b"), ("quiet", "true"), ("site", "a")];
    let mut request = change("site.write", &args, "new site");
    request.stdin = Some(b"input".to_vec().into());
    request.env = vec![(b"TZ".to_vec().into(), b"UTC".to_vec().into())];
    client.call(Request::Run(request.clone()));
    let (ToWarden::Run { spec, session, .. }, mut fds) = broker.hear_with_fds() else {
        panic!()
    };
    let What::Named { name, args } = request.what else {
        panic!()
    };
    assert_eq!(session, client.session);
    assert_eq!(spec.what, SpecWhat::Named { name, args });
    assert_eq!((spec.purpose, spec.env), (request.purpose, request.env));
    assert_eq!((spec.stdin, fds.len()), (true, 1));
    let stdin = remit_link::memfd::read(fds.remove(0), caps::STDIN).unwrap();
    assert_eq!(stdin, b"input");
    client.call(Request::Run(named("nginx.test", &[])));
    let (ToWarden::Run { spec, .. }, fds) = broker.hear_with_fds() else {
        panic!()
    };
    assert!(!spec.stdin && fds.is_empty());
    assert_eq!(spec.purpose, Purpose::Use);
}

#[test]
fn change_without_reason_is_refused() {
    let dir = Dir::new();
    let mut broker = Broker::fresh(&dir);
    let mut client = broker.client(1000);
    let mut reboot = run(&["reboot"]);
    let reason = " ".into();
    reboot.purpose = Purpose::Change { reason };
    let long = "x".repeat(caps::REASON + 1);
    for (request, code) in [
        (reboot, Code::InvalidArgs),
        (change("a.b", &[], ""), Code::InvalidArgs),
        (change("a.b", &[], &long), Code::TooLarge),
    ] {
        let refusal = client.ask(Request::Run(request)).unwrap_err();
        assert_eq!(refusal.code, code);
        assert!(matches!(broker.hear(), ToWarden::Refused { .. }));
    }
    assert!(broker.hears_nothing(Duration::from_millis(50)));
}

#[test]
fn warden_answer_about_command_is_unchanged() {
    let dir = Dir::new();
    let mut broker = Broker::fresh(&dir);
    let mut client = broker.client(1000);
    for refusal in [
        Refusal::no_such_command("nginx.reload"),
        Refusal::new(Code::DeniedRule, "denied").by("10-web.toml:3"),
        Refusal::new(Code::NeedsApproval, "needs approval by %sre").next("tell the user"),
    ] {
        let call = client.call(Request::Run(change("nginx.reload", &[], "why")));
        let ToWarden::Run { ticket, .. } = broker.hear_request() else {
            panic!()
        };
        let answer = Err(refusal.clone());
        broker.tell(&ToBroker::Answer { ticket, answer }, &[]);
        assert_eq!(client.reply(call).0, Err(refusal.with_next()));
    }
}

#[test]
fn refusal_of_shipped_command_has_rule_that_grants_it() {
    let dir = Dir::new();
    let mut broker = Broker::fresh(&dir);
    let mut client = broker.client(1000);
    let question = Access {
        argv: None,
        profile: None,
        name: Some("firewall.rules".into()),
        query: None,
    };
    let run = Request::Run(named("firewall.rules", &[]));
    for request in [run, Request::Access(question)] {
        let call = client.call(request);
        let (ToWarden::Run { ticket, .. } | ToWarden::Access { ticket, .. }) =
            broker.hear_request()
        else {
            panic!()
        };
        let answer = Err(Refusal::no_such_command("firewall.rules"));
        broker.tell(&ToBroker::Answer { ticket, answer }, &[]);
        let lift = client.reply(call).0.unwrap_err().lift.unwrap();
        assert!(lift.contains("allow = [\"firewall.rules\"]"), "{lift}");
    }
}

#[test]
fn secret_values_are_not_logged_or_audited() {
    const SECRET: &str = "correct-horse-battery";
    let dir = Dir::new();
    let path = dir.spool.with_extension("log");
    let log = File::create(&path).unwrap();
    let mut broker = Broker::start_with(&dir, "", Stdio::from(log));
    assert_eq!(broker.hear(), ToWarden::Ready);
    broker.tell(&ToBroker::Adopted, &[]);
    let mut client = broker.client(1000);
    let long = SECRET.repeat(caps::NAMED_VALUE / SECRET.len() + 1);
    let mut inside = change("db.password", &[("password", SECRET)], "why");
    inside.cwd = Some(b"/".to_vec().into());
    for request in [
        change("db.password", &[("password", &long)], "why"),
        change("db.password", &[("password", SECRET)], ""),
        inside,
    ] {
        let returned = client.ask(Request::Run(request)).unwrap_err();
        let recorded = broker.hear();
        assert!(matches!(recorded, ToWarden::Refused { .. }));
        assert!(!format!("{returned:?} {recorded:?}").contains(SECRET));
    }
    let request = change("db.password", &[("password", SECRET)], "why");
    let call = client.call(Request::Run(request));
    let ToWarden::Run { ticket, .. } = broker.hear_request() else {
        panic!()
    };
    let job = remit_common::names::JobId([1; 16]);
    let answer = Ok(remit_link::Answer::Stopping(job));
    broker.tell(&ToBroker::Answer { ticket, answer }, &[]);
    let refusal = client.reply(call).0.unwrap_err();
    assert_eq!(refusal.code, Code::DaemonUnavailable);
    drop(client);
    broker.kill();
    let log = std::fs::read_to_string(&path).unwrap();
    assert!(log.contains("does not fit the request"), "{log}");
    assert!(!log.contains(SECRET), "{log}");
}
