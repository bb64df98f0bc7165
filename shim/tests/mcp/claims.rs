//! Whom an agent says it acts for: of the call, or else of the session. The daemon gets it as one bounded line.

use remit_wire::Request;
use serde_json::{Value, json};

use crate::daemon::{Daemon, answer, ended};
use crate::pipe::Shim;

fn behalf(daemon: &Daemon) -> Option<String> {
    match daemon.next_call().1 {
        Request::Run(run) => run.behalf.map(|behalf| behalf.to_string()),
        other => panic!("{other:?}"),
    }
}

fn sent(shim: &mut Shim, claim: Option<Value>) -> Value {
    let mut params = json!({"name": "run", "arguments": {"argv": ["true"]}, "_meta": {}});
    if let Some(claim) = claim {
        params["_meta"]["remit/behalf"] = claim;
    }
    shim.request(1, "tools/call", params);
    shim.next()["result"].clone()
}

#[test]
fn a_call_has_its_own_words_or_those_of_the_session() {
    let daemon = Daemon::start(|_| answer(ended(b"")));
    for (of_session, words) in [("", None), (" \n", None), ("ann\x1b", Some("ann\\x1b"))] {
        let mut shim = Shim::with_env(&daemon.socket(), "REMIT_BEHALF", of_session);
        shim.initialize("2025-11-25");
        assert_eq!(sent(&mut shim, None)["isError"], false);
        assert_eq!(behalf(&daemon).as_deref(), words);
        sent(&mut shim, Some(json!("bob\nx")));
        assert_eq!(behalf(&daemon).as_deref(), Some("bob\\nx"));
        sent(&mut shim, Some(json!("")));
        assert_eq!(behalf(&daemon).as_deref(), words);
        sent(&mut shim, Some(json!("x".repeat(100_000))));
        assert!(behalf(&daemon).unwrap().len() < 140);
        for wrong in [json!(7), json!(["ann"]), json!(null)] {
            let result = sent(&mut shim, Some(wrong));
            assert_eq!(result["structuredContent"]["error"]["code"], "invalid_args");
        }
        assert!(daemon.untouched());
    }
}
