//! A request that waits for approval, as JSON.

use remit_common::admin::PendingView;
use remit_common::hex::hex;
use remit_common::signed::Signed;
use remit_page::{PlanView, ShownRequest};
use serde_json::{Value, json};

pub fn pending(pending: &PendingView) -> Value {
    json!({
        "job_id": pending.job.to_string(),
        "user": pending.user,
        "uid": pending.uid,
        "command": pending.command,
        "reason": pending.reason,
        "by": pending.by,
        "approved_by": pending.approved_by,
        "missing": pending.missing,
        "signed": pending.signed.map(Signed::as_str),
        "yours": pending.yours,
        "asked_ms": pending.asked_ms,
        "left_ms": pending.left_ms,
        "digest": hex(&pending.digest),
        "set": pending.set.map(|set| set.to_string()),
        "behalf": pending.behalf,
    })
}

pub fn shown(request: &ShownRequest) -> Value {
    let ShownRequest {
        pending,
        login,
        client,
        reason,
        summary,
        argv,
        more_argv,
        files,
        cwd,
        env,
        script,
        stdin,
        plan,
        undoes,
        then,
        profile,
        limits,
        opens,
        risks,
        rule,
        policy,
    } = request;
    let plan = plan.as_ref().map(|plan| {
        let PlanView {
            commit_id,
            content_sha256,
            names,
            // Of a page that shortens the names.
            paths: _,
            packages,
            undone,
            checked,
            entries,
            left_out,
        } = plan;
        let entries: Vec<Value> = entries
            .iter()
            .map(|entry| json!({ "path": entry.path, "what": entry.what, "diff": entry.diff }))
            .collect();
        json!({
            "commit_id": commit_id,
            "content_sha256": content_sha256,
            "names": names,
            "packages": packages,
            "undone": undone,
            "checked": checked,
            "entries": entries,
            "left_out": left_out,
        })
    });
    let opens: Vec<Value> = opens
        .iter()
        .map(|one| json!({ "what": one.what, "steps": one.steps, "closed_by": one.closed_by }))
        .collect();
    let files: Vec<Value> = files
        .iter()
        .map(|one| json!({ "what": one.what, "path": one.path, "size": one.size, "sha256": hex(&one.sha256) }))
        .collect();
    let mut value = self::pending(pending);
    let more = json!({
        "login": login,
        "client": client,
        "reason": reason,
        "summary": summary,
        "argv": argv,
        "more_argv": more_argv,
        "files": files,
        "cwd": cwd,
        "env": env,
        "script": script,
        "stdin": stdin,
        "plan": plan,
        "undoes": undoes,
        "then": then,
        "profile": profile,
        "limits": limits,
        "opens": opens,
        "risks": risks,
        "rule": rule,
        "policy": policy,
    });
    if let (Value::Object(value), Value::Object(more)) = (&mut value, more) {
        value.extend(more);
    }
    value
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::render::request::tests::nasty;

    #[test]
    fn plan_says_what_it_does_to_packages() {
        let mut request = nasty("9 paths, by dpkg's lists it removes y 1-1");
        if let Some(plan) = &mut request.plan {
            plan.packages = vec!["removes: y 1-1".to_owned()];
        }
        let plan = &shown(&request)["plan"];
        assert_eq!(plan["names"], "9 paths, by dpkg's lists it removes y 1-1");
        assert_eq!(plan["packages"], json!(["removes: y 1-1"]));
        assert!(plan["content_sha256"].is_string());
    }
}
