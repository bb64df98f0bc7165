/* The `remit` command as the person who is logged in: never with administrative access, never by a shell or a terminal.
   One call at a time and one watcher: the daemon takes few connections of one person. A call that takes minutes goes beside them. */

const OPTIONS = { err: "message", environ: ["LC_ALL=C.UTF-8"] };
/* A call that hangs must not keep the page from the next one. The audit log of a year takes minutes. */
const LIMIT_MS = 60000;
const AUDIT_MS = 600000;

/* A refusal of the daemon, or a failure to reach it. `code` is that of the refusal, or of Cockpit, or empty. */
export class Failure extends Error {
    constructor(message, code = "", status = null) {
        super(message);
        this.code = code;
        this.status = status;
    }

    /* The person may not do that at all: not in the group, or no longer. */
    get isForbidden() {
        return this.code === "denied_rule" || this.status === 77;
    }
}

export class Remit {
    #cockpit;
    #last = Promise.resolve();
    #watcher = null;

    constructor(cockpit) {
        this.#cockpit = cockpit;
    }

    /* Runs `remit --json WORDS` after all calls before it. Resolves with its object, rejects with a Failure. */
    ask(...words) {
        const next = this.#last.then(() => this.#call(words));
        this.#last = next.catch(() => {});
        return next;
    }

    /* The same at once: nobody waits with a decision for the end of this. */
    askAside(...words) {
        return this.#call(words);
    }

    #call(words) {
        return new Promise((resolve, reject) => {
            const call = this.#cockpit.spawn(["remit", "--json", ...words], OPTIONS);
            const limit = setTimeout(() => call.close("timeout"), words[0] === "audit" ? AUDIT_MS : LIMIT_MS);
            call.always(() => clearTimeout(limit));
            call.then(out => {
                const told = parse(out);
                if (told)
                    resolve(told);
                else
                    reject(new Failure("remit printed no JSON: it is another release than this page"));
            }, (ex, out) => settle(ex, out, resolve, reject));
        });
    }

    /* Calls onList with the whole list of requests, now and at each change, and onEnd with a Failure at the end.
       Does nothing while another watcher runs. */
    watch(onList, onEnd) {
        if (this.#watcher)
            return;
        const watcher = this.#cockpit.spawn(["remit", "--json", "pending", "--watch"], OPTIONS);
        this.#watcher = watcher;
        let rest = "";
        let refused = "";
        watcher.stream(data => {
            const lines = (rest + data).split("\n");
            rest = lines.pop();
            for (const line of lines) {
                const parsed = parse(line);
                if (parsed?.requests)
                    onList(parsed);
                else
                    refused = line;
            }
        });
        const over = ex => {
            if (this.#watcher !== watcher)
                return;
            this.#watcher = null;
            settle(ex ?? {}, refused, () => onEnd(new Failure("the watch has ended")), onEnd);
        };
        watcher.then(() => over(), over);
    }

    /* Ends the watcher, without onEnd. */
    unwatch() {
        const watcher = this.#watcher;
        this.#watcher = null;
        watcher?.close("cancelled");
    }
}

function parse(text) {
    try {
        return JSON.parse(text);
    } catch {
        return null;
    }
}

/* A refusal is told as `error` on standard output. A verb that answers with a status other than 0 has its answer there. */
function settle(ex, out, resolve, reject) {
    const told = parse(out ?? "");
    const error = told?.error;
    if (error) {
        const by = error.by ? ` (${error.by})` : "";
        const next = error.next ? `; ${error.next}` : "";
        const lift = error.lift ? `; to go on: ${error.lift}` : "";
        reject(new Failure(error.message + by + next + lift, error.code, ex.exit_status));
    } else if (ex.problem === "not-found") {
        reject(new Failure("remit is not installed on this machine", ex.problem));
    } else if (ex.problem === "timeout") {
        reject(new Failure("remit has not answered in time; if it was done, it is among the last events", ex.problem));
    } else if (told && ex.exit_status === 1) {
        resolve(told);
    } else {
        reject(new Failure(ex.message || ex.problem || "remit ended without an answer", ex.problem, ex.exit_status));
    }
}
