//! Many hosts: choice, groups, bounds.

use std::fs;

use remit_common::admin::AdminRequest;
use serde_json::{Value, json};

use crate::client::Client;
use crate::stage::{RELEASE, Stage, canned, daemon, ran};

/// ssh says the address and not the name.
#[test]
fn hosts_that_are_down_have_one_reason() {
    let stage = Stage::new(&["web1", "web2"]);
    let hosts = [("web1", "192.0.2.1"), ("web2", "192.0.2.2")];
    let config = hosts.map(|(host, address)| format!("Host {host}\n  HostName {address}\n"));
    fs::write(stage.ssh_config(), config.concat()).unwrap();
    for (host, address) in hosts {
        let said = format!("ssh: connect to host {address} port 22: No route to host");
        stage.set_host(host, &format!("echo '{said}' >&2; exit 255\n"));
    }
    let answer = stage.client().tool("access", json!({"on": "*"}));
    let data = &answer["structuredContent"];
    let expect = json!([{
        "hosts": ["web1", "web2"],
        "why": "ssh: connect to host HOST port 22: No route to host (ssh ended with status 255)",
    }]);
    assert_eq!(data["unreachable"], expect, "{data}");
}

#[test]
fn same_answers_are_one_group_and_others_are_named() {
    let daemon = daemon();
    let stage = Stage::new(&["web1", "web2", "web3", "web4", "db1"]);
    for host in ["web1", "web2", "db1"] {
        stage.set_real(host, &daemon);
    }
    stage.set_host("web3", &canned("remit", RELEASE, &ran("other\n")));
    stage.set_host(
        "web4",
        "echo 'ssh: connect to host web4: Connection refused' >&2; exit 255\n",
    );
    let mut client = stage.client();
    let data = client.data("run", json!({"on": "*", "argv": ["echo", "same"]}));
    assert_eq!(data["hosts_asked"], 5, "{data}");
    let group = |number: usize| &data["groups"][number];
    assert_eq!(group(0)["hosts"], json!(["web1", "web2", "db1"]), "{data}");
    assert_eq!(
        (&group(0)["stdout"], &group(0)["exit"]),
        (&json!("same\n"), &json!(0))
    );
    assert_eq!(group(1)["hosts"], json!(["web3"]));
    let unreachable = &data["unreachable"][0];
    assert_eq!(unreachable["hosts"], json!(["web4"]));
    let why = unreachable["why"].as_str().unwrap();
    assert!(
        why.contains("connect to host HOST: Connection refused (ssh ended with status 255)"),
        "{why}"
    );
    // These are three names of one machine. All hosts get the same request id, so it runs there once.
    assert_eq!(daemon.records("intent").len(), 1);
}

#[test]
fn locked_host_refuses_for_itself() {
    let (open, locked) = (daemon(), daemon());
    let stage = Stage::new(&["web1", "web2"]);
    stage.set_real("web1", &open);
    stage.set_real("web2", &locked);
    let lock = AdminRequest::Lock {
        why: "for now".into(),
        kill: false,
    };
    locked.administer(lock).unwrap();
    let data = stage
        .client()
        .data("run", json!({"on": "*", "argv": ["echo", "a"]}));
    assert_eq!(data["groups"][0]["hosts"], json!(["web1"]), "{data}");
    assert_eq!(data["groups"][0]["stdout"], "a\n");
    let refused = &data["groups"][1];
    assert_eq!(
        (&refused["hosts"], &refused["is_error"]),
        (&json!(["web2"]), &json!(true))
    );
    assert_eq!(refused["error"]["code"], "locked", "{data}");
}

#[test]
fn the_same_past_is_one_group() {
    let daemons = [daemon(), daemon(), daemon()];
    let stage = Stage::new(&["web1", "web2", "web3"]);
    for (host, daemon) in ["web1", "web2", "web3"].iter().zip(&daemons) {
        stage.set_real(host, daemon);
    }
    let mut client = stage.client();
    for on in ["web3", "web1 web2 web3"] {
        let data = client.data("run", json!({"on": on, "argv": ["echo", "same"]}));
        assert_eq!(data.get("unreachable"), None, "{data}");
    }
    for tool in ["job", "history"] {
        let data = client.data(tool, json!({"on": "*"}));
        let groups = data["groups"].as_array().unwrap();
        let hosts: Vec<&Value> = groups.iter().map(|group| &group["hosts"]).collect();
        let expect = [&json!(["web1", "web2"]), &json!(["web3"])];
        assert_eq!(hosts, expect, "{data}");
        assert!(groups[0]["ids"].is_string() && groups[1].get("ids").is_none());
        assert!(groups[0]["data"].is_object(), "{data}");
        let text = groups[0]["data"].to_string();
        assert!(
            text.contains("job_id") && text.contains("echo same"),
            "{text}"
        );
    }
}

#[test]
fn words_of_on_choose_hosts() {
    let stage = Stage::new(&["web1", "web2", "db1"]);
    stage.set_fleet("[hosts]\ninclude = [\"*\"]\n[tags]\nprod = [\"web1\", \"db1\"]\n");
    for host in ["web1", "web2", "db1"] {
        stage.set_host(host, &canned("remit", RELEASE, &ran(host)));
    }
    let mut client = stage.client();
    for (on, expect) in [
        (json!("tag:prod"), json!(["web1", "db1"])),
        (json!("web* !tag:prod"), json!(["web2"])),
        (json!(["web2", "db1"]), json!(["web2", "db1"])),
    ] {
        let data = client.data("run", json!({"on": on, "argv": ["x"]}));
        let mut hosts: Vec<Value> = match data["groups"].as_array() {
            Some(groups) => groups
                .iter()
                .flat_map(|group| group["hosts"].as_array().unwrap().clone())
                .collect(),
            None => vec![data["on"].clone()],
        };
        hosts.sort_by_key(|host| host != "web1" && host != "web2");
        assert_eq!(Value::Array(hosts), expect, "{data}");
    }
    for (arguments, expect) in [
        (
            json!({"argv": ["x"]}),
            "'on' is required, because there are 3 hosts",
        ),
        (json!({"on": "", "argv": ["x"]}), "no host is named"),
        (
            json!({"on": "mail", "argv": ["x"]}),
            "no host is named 'mail'; there are web1",
        ),
        (json!({"on": 7, "argv": ["x"]}), "'on' is a text"),
        (
            json!({"on": "-oProxyCommand=touch${IFS}x", "argv": ["x"]}),
            "no host is named '-oProxyCommand",
        ),
    ] {
        let why = client.refusal("run", arguments);
        assert!(why.starts_with(expect), "{why}");
    }
    let before = stage.logins().len();
    for (tool, arguments) in [
        ("change", json!({"on": "web*", "undo": "ab", "reason": "x"})),
        ("plan", json!({"on": "web*", "job_id": "ab"})),
        ("job", json!({"on": "web*", "job_id": "ab"})),
        ("job_stop", json!({"on": "web*", "job_id": "ab"})),
    ] {
        let why = client.refusal(tool, arguments);
        assert!(
            why.contains("one host") && why.contains("'on' names 2: web1, web2"),
            "{tool}: {why}"
        );
    }
    assert_eq!(stage.logins().len(), before, "nothing was asked");
}

#[test]
fn hosts_are_asked_a_few_at_a_time() {
    let names: Vec<String> = (0..24).map(|number| format!("h{number}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let mut stage = Stage::new(&names);
    stage.set_limits("parallel = 4\nmasters = 5\nconnect_s = 20");
    stage.set_fleet("[hosts]\ninclude = [\"*\"]\n");
    for name in &names {
        let note = |mark| {
            format!("case $line in *tools/call*) echo {mark} >>\"$dir/hosts/.open\" ;; esac\n")
        };
        let answers = canned("remit", RELEASE, &ran("x"));
        let answers = answers.replacen("case $line", &format!("{}case $line", note("+")), 1);
        let answers = answers.replacen("printf", &format!("sleep 0.1\n{}printf", note("-")), 1);
        stage.set_host(name, &answers);
    }
    let data = stage
        .client()
        .data("run", json!({"on": "*", "argv": ["x"]}));
    assert_eq!(
        data["groups"][0]["hosts"].as_array().unwrap().len(),
        24,
        "{data}"
    );
    let text = fs::read_to_string(stage.path().join("hosts/.open")).unwrap();
    let (mut open, mut most, mut calls) = (0, 0, 0);
    for line in text.lines() {
        match line {
            "+" => (open, calls) = (open + 1, calls + 1),
            _ => open -= 1,
        }
        most = most.max(open);
    }
    assert_eq!(calls, 24);
    assert!(most <= 4, "{most} at a time: {text}");
    // More hosts than masters are kept: nobody becomes one.
    assert!(
        stage
            .logins()
            .iter()
            .all(|login| login.contains("ControlMaster=no"))
    );
}

#[test]
fn answer_of_many_hosts_has_a_budget() {
    let names: Vec<String> = (0..30).map(|number| format!("h{number}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let stage = Stage::new(&names);
    for name in &names {
        let long = format!("{name} says this\n").repeat(1500);
        stage.set_host(name, &canned("remit", RELEASE, &ran(&long)));
    }
    let result = stage
        .client()
        .tool("run", json!({"on": "*", "argv": ["x"]}));
    let data = result["structuredContent"].to_string();
    assert!(data.len() <= 24 << 10, "{} bytes", data.len());
    assert!(data.len() > 12 << 10, "{} bytes", data.len());
    assert_eq!(result["content"][0]["text"], data);
    assert!(
        data.contains("bytes left out") && data.contains("\"hosts_asked\":30"),
        "{data}"
    );
}

#[test]
fn numbers_make_no_difference_if_asked() {
    let stage = Stage::new(&["web1", "web2"]);
    for (host, line) in [
        ("web1", "/dev/vda1 252G 71%\n"),
        ("web2", "/dev/vda1   9G  5%\n"),
    ] {
        stage.set_host(host, &canned("remit", RELEASE, &ran(line)));
    }
    let mut client = stage.client();
    let groups = |client: &mut Client, arguments| {
        let data = client.data("run", arguments);
        data["groups"].as_array().unwrap().clone()
    };
    let exact = json!({"on": "*", "argv": ["x"]});
    assert_eq!(groups(&mut client, exact).len(), 2);
    let folded = json!({"on": "*", "argv": ["x"], "fold": "numbers"});
    let folded = groups(&mut client, folded);
    assert_eq!(
        (folded.len(), &folded[0]["stdout"]),
        (1, &json!("/dev/vda1 252G 71%\n"))
    );
    assert!(folded[0]["numbers"].is_string(), "{folded:?}");
    let (status, out, _) = stage.run(&["run", "--on", "*", "--fold-numbers", "--", "x"]);
    let expect = "== 2 of 2: web1 web2: exit 0\n  /dev/vda1 252G 71%\n-- numbers of the first host, others differ\n";
    assert_eq!((status, &*out), (Some(0), expect));
}

#[test]
fn call_without_news_is_reported() {
    let hosts = ["web1", "web2"];
    let stage = Stage::new(&hosts);
    // No call is answered.
    let silent =
        canned("remit", RELEASE, &ran("x")).replace("*'\"method\":\"tools/call\"'*", "never");
    for host in hosts {
        stage.set_host(host, &silent);
    }
    let calls = [
        ("run", json!({"on": "web1", "argv": ["x"]})),
        ("run", json!({"on": "*", "argv": ["x"]})),
        ("plan", json!({"on": "*", "argv": ["x"]})),
        ("change", json!({"on": "*", "name": "a.b", "reason": "why"})),
    ];
    let clients = calls.map(|(tool, arguments)| {
        let mut client = stage.client();
        client.start_request(
            "tools/call",
            json!({"name": tool, "arguments": arguments, "_meta": {"progressToken": "t"}}),
        );
        (tool, client)
    });
    for (tool, mut client) in clients {
        let mut last = 0.0;
        for _ in 0..2 {
            let note = client.receive();
            let message = note["params"]["message"].as_str().unwrap_or_default();
            assert!(message.starts_with("running for "), "{tool}: {note}");
            let progress = note["params"]["progress"].as_f64().unwrap();
            assert!(progress > last && progress < 1.0, "{tool}: {note}");
            last = progress;
        }
    }
}

#[test]
fn progress_counts_hosts() {
    let stage = Stage::new(&["web1", "web2", "web3"]);
    for host in ["web1", "web2", "web3"] {
        stage.set_host(host, &canned("remit", RELEASE, &ran("x")));
    }
    let mut client = stage.client();
    let id = client.start_request(
        "tools/call",
        json!({"name": "run", "arguments": {"on": "*", "argv": ["x"]}, "_meta": {"progressToken": "t"}}),
    );
    let mut last = 0.0;
    loop {
        let message = client.receive();
        if message["id"] == id {
            break;
        }
        let params = &message["params"];
        assert_eq!(
            (&params["progressToken"], &params["total"]),
            (&json!("t"), &json!(3.0)),
            "{message}"
        );
        let progress = params["progress"].as_f64().unwrap();
        assert!(progress > last, "{message}");
        last = progress;
    }
}
