/* The page: what waits for an approval, and deciding about it. It keeps no state of its own over a reload. */

import { byId, replace, said } from "./dom.js";
import { historyRow, runningRow, stateFacts, waitingRow } from "./lists.js";
import { Remit } from "./remit.js";
import { isApprovable, isCut, requestFacts } from "./request.js";
import { count, isBeginning, left, reasonProblem, shortId, verifiedSentences } from "./text.js";
import { followTheme } from "./theme.js";

/* Poll intervals of what has no watcher: jobs, history, state. */
const IDLE_MS = 10000;
const BUSY_MS = 2000;
const RETRY_MS = 3000;
const EVENTS = "20";
const JOBS = "100";

const remit = new Remit(window.cockpit);
let waiting = { requests: [], omitted: 0 };
let waitingSince = 0;
let shown = null;
let shownSince = 0;
let status = null;
let isDeciding = false;
let isVerifying = false;
let running = [];
/* Jobs that run or wait beyond those. */
let unlisted = 0;
let stopAsked = null;
const look = { timer: null, isOn: false, isDue: false };
/* Why the list or a look failed last: each ends only its own. */
const troubles = { list: "", look: "" };
/* The request that is being opened: an answer that comes after the next click is not shown. */
let opening = null;

function tell(id, text) {
    byId(id).replaceChildren(...text ? [said(text, "")] : []);
    if (byId(id).getAttribute("role") === "alert")
        byId(id).hidden = !text;
}

function trouble(source, text) {
    troubles[source] = text;
    tell("trouble", [...new Set(Object.values(troubles))].filter(Boolean).join("\n"));
}

/* Shows why a look failed. If the person may no longer look, the page keeps nothing of what it showed. */
function fail(source, failure) {
    trouble(source, failure.message);
    if (!failure.isForbidden)
        return;
    clearTimeout(look.timer);
    remit.unwatch();
    close("");
    waiting = { requests: [], omitted: 0 };
    running = [];
    unlisted = 0;
    status = null;
    for (const id of ["waiting", "running", "history", "state"])
        byId(id).replaceChildren();
    byId("nothing").hidden = byId("idle").hidden = byId("omitted").hidden = byId("unlisted").hidden = true;
    byId("verified").replaceChildren();
    allow();
    announce();
}

function drawWaiting() {
    const age = Date.now() - waitingSince;
    replace(byId("waiting"), waiting.requests.map(request =>
        waitingRow(request, { age, isShown: request.job_id === shown?.job_id, onShow })));
    if (shown)
        byId("left").textContent = left(shown.left_ms, Date.now() - shownSince);
    byId("nothing").hidden = waiting.requests.length > 0;
    byId("omitted").hidden = waiting.omitted === 0;
    byId("omitted").textContent = `${count(waiting.omitted, "request")} more, which no list has: decide some of these first`;
}

function onList(list) {
    waiting = list;
    waitingSince = Date.now();
    trouble("list", "");
    drawWaiting();
    followShown();
    refresh();
    announce();
}

/* The request that is shown may have left the list, or have one approval more. A decision about it tells its own end. */
function followShown() {
    if (!shown || isDeciding)
        return;
    const listed = waiting.requests.find(request => request.job_id === shown.job_id);
    if (!listed && waiting.omitted === 0)
        leave(shown.job_id);
    else if (listed && !opening && (listed.missing !== shown.missing || listed.digest !== shown.digest))
        open(listed.job_id);
}

/* The mark in Cockpit's menu, last: it is no part of Cockpit's documented interface, so nothing depends on it. */
function announce() {
    const mine = waiting.requests.filter(request => request.yours).length;
    const title = `${count(mine, "change waits", "changes wait")} for you`;
    window.cockpit.transport?.control?.("notify", { page_status: mine ? { type: "warning", title } : null });
}

/* Says what became of a request that is gone from the list. */
async function leave(job) {
    const text = `Request ${shortId(job)} no longer waits.`;
    if (shown?.job_id === job)
        close(text);
    else
        tell("done", text);
    try {
        const end = await remit.ask("show", job);
        if (!end.digest)
            tell("done", `Request ${shortId(job)} no longer waits: ${end.cause ?? end.state.replace("_", " ")}`);
    } catch {
        // The sentence above is all that is known.
    }
}

function onShow(job) {
    tell("refused", "");
    open(job);
}

async function open(job, ...options) {
    const turn = opening = { job };
    try {
        const request = await remit.ask("show", job, ...options);
        if (turn !== opening)
            return;
        opening = null;
        if (!request.digest)
            return leave(job);
        show(request);
    } catch (failure) {
        if (failure.isForbidden)
            fail("look", failure);
        else if (turn === opening)
            tell("refused", failure.message);
        if (turn === opening)
            opening = null;
    }
}

function show(request) {
    const isSame = shown?.job_id === request.job_id && shown.digest === request.digest;
    shown = request;
    shownSince = Date.now();
    byId("request-title").textContent = `Request ${shortId(request.job_id)}`;
    byId("facts").replaceChildren(...requestFacts(request));
    byId("whole").hidden = !isCut(request);
    byId("approve-form").hidden = !isApprovable(request);
    byId("not-yours").hidden = isApprovable(request);
    byId("not-yours").textContent = request.yours
        ? `Approve it in a terminal, because it needs a signature: remit approve ${shortId(request.job_id)} --signed`
        : `You cannot approve it; those who can: ${request.by.join(", ")}`;
    byId("request").hidden = false;
    if (!isSame) {
        byId("digits").value = byId("why").value = "";
        tell("refused", "");
        byId("request-title").focus();
    }
    allow();
    drawWaiting();
}

function close(text) {
    const hadFocus = byId("request").contains(document.activeElement);
    if (opening?.job === shown?.job_id)
        opening = null;
    shown = null;
    byId("request").hidden = true;
    byId("facts").replaceChildren();
    tell("done", text);
    drawWaiting();
    if (hadFocus)
        byId("waiting").querySelector("button")?.focus();
}

/* Enables the controls that can be used now. */
function allow() {
    const why = byId("why").value;
    const problem = reasonProblem(why);
    tell("why-problem", problem);
    byId("approve").disabled = isDeciding || !shown || !isApprovable(shown) || !isBeginning(byId("digits").value, shown.digest);
    byId("deny").disabled = isDeciding || !shown || problem !== "" || why.trim() === "";
    const lockWhy = byId("lock-why").value;
    byId("lock-form").hidden = status === null || status.locked !== null;
    tell("lock-problem", reasonProblem(lockWhy));
    byId("lock").disabled = isDeciding || lockWhy.trim() === "" || reasonProblem(lockWhy) !== "";
    byId("unlock").hidden = status === null || status.locked === null;
    byId("unlock").disabled = isDeciding;
    byId("verify").disabled = isVerifying;
}

/* One decision at a time; its sentence stays on the page. Returns whether it was taken. */
async function decide(words) {
    if (isDeciding)
        return false;
    let isTaken = false;
    isDeciding = true;
    tell("refused", "");
    allow();
    try {
        const answer = await remit.ask(...words);
        const sentence = answer.done ?? (answer.cause ? `${answer.state}: ${answer.cause}` : answer.state);
        if (shown && words[1] === shown.job_id && !answer.missing)
            close(sentence);
        tell("done", sentence);
        isTaken = true;
    } catch (failure) {
        tell("refused", failure.message);
    }
    isDeciding = false;
    allow();
    followShown();
    refresh();
    return isTaken;
}

function drawRunning() {
    replace(byId("running"), running.map(job =>
        runningRow(job, { isAsked: job.job_id === stopAsked, onStop: stop })));
    byId("idle").hidden = running.length > 0 || unlisted > 0;
    byId("unlisted").hidden = unlisted === 0;
    byId("unlisted").textContent = `${count(unlisted, "job")} more: remit jobs --running`;
}

function stop(job) {
    const isSure = stopAsked === job.job_id;
    stopAsked = isSure ? null : job.job_id;
    drawRunning();
    if (isSure)
        decide(["stop", job.job_id]);
}

async function verify() {
    isVerifying = true;
    allow();
    tell("verified", "reading the audit log …");
    try {
        tell("verified", verifiedSentences(await remit.askAside("audit", "verify")));
    } catch (failure) {
        tell("verified", failure.message);
    }
    isVerifying = false;
    allow();
}

async function lookOnce() {
    const { jobs, omitted } = await remit.ask("jobs", "--running", "--limit", JOBS);
    unlisted = omitted;
    running = jobs.filter(job => job.state !== "awaiting_approval");
    drawRunning();
    const { entries } = await remit.ask("history", "--all", "--limit", EVENTS);
    byId("history").replaceChildren(...entries.map(historyRow));
    status = await remit.ask("status");
    byId("state").replaceChildren(...stateFacts(status));
    trouble("look", "");
    allow();
    drawWaiting();
}

/* Looks at jobs, history and state now, and again after an interval. Calls during a look become one more look. */
async function refresh() {
    clearTimeout(look.timer);
    look.isDue = true;
    if (look.isOn || document.hidden)
        return;
    look.isOn = true;
    try {
        while (look.isDue) {
            look.isDue = false;
            await lookOnce();
        }
        look.timer = setTimeout(refresh, running.length ? BUSY_MS : IDLE_MS);
    } catch (failure) {
        fail("look", failure);
        if (!failure.isForbidden)
            look.timer = setTimeout(refresh, IDLE_MS);
    }
    look.isOn = false;
}

/* One watcher for a visible tab, none for a hidden one. Not started again for somebody who may not look: groups count
   from the next login. */
function watch() {
    if (document.hidden)
        return;
    remit.watch(onList, failure => {
        fail("list", failure);
        if (!failure.isForbidden)
            setTimeout(watch, RETRY_MS);
    });
}

function onSubmit(form, action) {
    byId(form).addEventListener("submit", event => {
        event.preventDefault();
        action();
    });
}

onSubmit("approve-form", () => {
    if (!byId("approve").disabled)
        decide(["approve", shown.job_id, "--digest", shown.digest, "--no-wait"]);
});
onSubmit("deny-form", () => {
    if (!byId("deny").disabled)
        decide(["deny", shown.job_id, `--message=${byId("why").value.trim()}`]);
});
onSubmit("lock-form", async () => {
    if (byId("lock").disabled)
        return;
    const kill = byId("lock-kill").checked ? ["--kill"] : [];
    const isLocked = await decide(["lock", `--message=${byId("lock-why").value.trim()}`, ...kill]);
    if (!isLocked)
        return;
    byId("lock-why").value = "";
    byId("lock-kill").checked = false;
    allow();
});
byId("unlock").addEventListener("click", () => decide(["unlock"]));
byId("verify").addEventListener("click", verify);
byId("whole").addEventListener("click", () => open(shown.job_id, "--all"));
byId("back").addEventListener("click", () => close(""));
for (const id of ["digits", "why", "lock-why"])
    byId(id).addEventListener("input", allow);
addEventListener("visibilitychange", () => {
    if (document.hidden)
        return remit.unwatch();
    watch();
    refresh();
});
followTheme();
watch();
refresh();
