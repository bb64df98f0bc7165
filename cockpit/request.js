/* A request in full, as `remit show --json` has it: the rows of a <dl>. Every value that others chose is in a box. */

import { classed, element, facts, said } from "./dom.js";
import { count, grouped, left } from "./text.js";

/* Marks a line of `risks` that says what the change does. */
const DOES = "does: ";

const note = text => element("small", text);
const risk = text => classed("risk", element("strong", said(text, "")));

export function approvals(request) {
    const by = request.approved_by ?? [];
    if (by.length === 0 && (request.missing ?? 1) === 1)
        return null;
    const who = by.length ? `approved by ${by.join(", ")}` : "approved by nobody yet";
    return said(`${who}; ${count(request.missing, "approval")} missing`, "");
}

export const signature = request =>
    request.signed ? `each approval needs a signature: ${request.signed}` : null;

/* A signature is made by a key of the person, which no browser has. */
export const isApprovable = request => request.yours && !request.signed;

/* Ends the risks about parts that are cut and that `remit show --all` has whole. */
const READ = "; to read it: remit show --all";

export const isCut = request => risksOf(request).some(line => line.endsWith(READ));

const risksOf = request => request.risks.filter(line => !line.startsWith(DOES));

function file(one) {
    return ["file", said(one.what), said(one.path), said(`${one.size} bytes, sha256 ${one.sha256}`, "words")];
}

const lines = (name, boxes) => classed(name, element("div", ...boxes));

function diffLine(line) {
    const kinds = { "+": "said line added", "-": "said line removed", "@": "said line hunk" };
    return said(line, kinds[line[0]] ?? "said line");
}

function planRows(plan) {
    const rows = [];
    if (plan.names)
        rows.push(["changes", said(plan.names, "words"), ...(plan.packages ?? []).map(line => said(line, "words"))]);
    rows.push(...plan.entries.map(entry => ["change",
        said(entry.path), said(entry.what, "words"),
        ...(entry.diff.length ? [lines("diff", entry.diff.map(diffLine))] : [])]));
    if (plan.left_out)
        rows.push(["not shown", risk(plan.left_out)]);
    if (plan.undone)
        rows.push(["undone", said(plan.undone, "words")]);
    rows.push(...plan.checked.map(check => ["checked", said(check)]));
    return rows;
}

/* How a change opens a path: `risks` begins with a sentence for each of `opens`. */
function way(opened) {
    const steps = (opened?.steps ?? []).map((step, at) => said(`${at + 1}. ${step}`, "words"));
    return [...steps, ...(opened?.closed_by ?? []).map(change => said(`closed by: ${change}`, "words"))];
}

export function requestFacts(request) {
    const does = request.risks.filter(line => line.startsWith(DOES)).map(line => line.slice(DOES.length));
    const risks = risksOf(request);
    const rows = [
        ["who", said(`${request.user} (uid ${request.uid})`)],
        ["reason", request.reason ? said(request.reason) : note("no reason was given"), note("the requester's words")],
        ["command", said(request.command)],
    ];
    if (request.undoes)
        rows.push(["undoes", said(request.undoes, "words")]);
    if (request.behalf)
        rows.splice(1, 0, ["for", said(request.behalf), note("words of the requester that nobody has verified")]);
    if (request.summary)
        rows.push(["purpose", said(request.summary, "words")]);
    rows.push(["program", ...request.argv.map(word => said(word)),
        request.more_argv ? risk(`and ${count(request.more_argv, "argument")} more that are not shown`) : null]);
    if (request.script.length)
        rows.push([request.script[0].startsWith("[…") ? "copies" : "script", lines("diff script", request.script.map(line => said(line, "said line")))]);
    if (request.plan)
        rows.push(...planRows(request.plan));
    else if (request.stdin)
        rows.push(["input", said(request.stdin)]);
    rows.push(...request.then.map(line => ["then", said(line)]));
    rows.push(...does.map(line => ["does", said(line)]));
    rows.push(...(risks.length ? risks.map((line, at) => ["RISK", risk(line), ...way(request.opens?.[at])]) : [["risk", note("none that remit knows of")]]));
    if (request.set)
        rows.push(["set", said(request.set), note("requests on many hosts, as the requester says")]);
    rows.push(["by", said(request.by.join(", "), "words"), approvals(request), signature(request)]);
    const until = element("span", left(request.left_ms, 0));
    until.id = "left";
    rows.push(["until", until]);
    rows.push(["digest", classed("said digest", element("bdi", grouped(request.digest)))]);
    rows.push(...request.files.map(file));
    rows.push(["directory", said(request.cwd)]);
    if (request.env.length)
        rows.push(["variables", ...request.env.map(variable => said(variable))]);
    rows.push(["sandbox", ...request.profile.map(line => said(line, "words"))]);
    rows.push(["limits", said(request.limits.join("; "), "words")]);
    rows.push(["rule", said(request.rule, "words"), said(request.policy, "words")]);
    rows.push(["login", said(request.login, "words")]);
    rows.push(["client", said(request.client), note("a name that the client gives itself")]);
    return facts(rows.map(row => row.filter(one => one !== null)));
}
