/* Lists of the page: requests that wait, jobs that run, the state of the daemon, last events. */

import { button, classed, element, facts, said } from "./dom.js";
import { approvals, signature } from "./request.js";
import { duration, left, shortId, time } from "./text.js";

const small = text => element("small", text);

/* `leftMs` of a request counts from the moment when the list came. */
export function waitingRow(request, { age, isShown, onShow }) {
    const row = button("", () => onShow(request.job_id));
    row.dataset.key = request.job_id;
    row.setAttribute("aria-current", String(isShown));
    row.replaceChildren(
        element("strong", shortId(request.job_id)), " ", said(request.user, "said user"),
        said(request.command), request.reason ? said(request.reason, "said reason") : small("no reason was given"),
        request.behalf ? said(`unverified: for ${request.behalf}`, "said reason") : "",
        small([left(request.left_ms, age), request.yours ? "" : "you cannot approve it"]
            .filter(Boolean).join(", ")));
    for (const line of [approvals(request), signature(request)])
        if (line)
            row.append(classed("approvals", element("small", line)));
    return element("li", row);
}

/* `isAsked`: the button was used once, and the next time it stops the job. */
export function runningRow(job, { isAsked, onStop }) {
    const label = isAsked ? "Really stop" : "Stop";
    const stop = classed("stop", button(label, () => onStop(job)));
    stop.dataset.key = job.job_id;
    stop.setAttribute("aria-label", `${label} job ${shortId(job.job_id)}`);
    const words = job.state === "running" ? `running for ${duration(job.runtime_ms)}` : job.state.replace("_", " ");
    return element("li", stop, element("strong", shortId(job.job_id)), " ", said(job.user, "said user"),
        said(job.command), small(words));
}

export function historyRow(entry) {
    const verdict = entry.verdict && entry.verdict !== "allow" ? ` ${entry.verdict}` : "";
    const id = entry.job_id ? ` ${shortId(entry.job_id)}` : "";
    const row = element("li", small(`${time(entry.at_ms)} ${entry.kind}${verdict}${id} `), said(entry.user ?? "", "said user"));
    if (entry.command)
        row.append(said(entry.command));
    if (entry.cause)
        row.append(said(entry.cause, "said reason"));
    return row;
}

const warned = text => classed("risk", element("strong", said(text, "")));

export function stateFacts(status) {
    const by = status.locked_by ? ` by ${status.locked_by} at ${time(status.locked_ms)}` : "";
    const rows = [
        ["locked", status.locked === null ? "no" : warned(`yes${by}: ${status.locked}; nothing runs`)],
        ["audit log", said(status.audit, "words"),
            status.audit_error ? warned(`it takes no records, so nothing runs: ${status.audit_error}`) : "it takes records"],
        ["policy", said(`${status.policy}, ${status.rules} rules`, "words"),
            status.policy_error ? warned(`the newest files are not in force: ${status.policy_error}`) : null],
        ["jobs", `${status.jobs} of ${status.max_jobs} run, ${status.queued} wait for a slot`],
    ];
    rows.push(...status.refused.map(line => ["sandbox", warned(line)]));
    rows.push(...status.paused.map(line => ["paused", warned(line)]));
    rows.push(...status.unconfirmed.map(one => ["to confirm", warned(`${one.what}: ${one.command}`)]));
    rows.push(["release", said(`remit ${status.release}, Linux ${status.kernel}`, "words")]);
    return facts(rows.map(row => row.filter(one => one !== null)));
}
