// Cases of cockpit/text.js, whose functions decide what can be typed and what is shown. Answers how many there were.
let cases = 0;
const equal = (what, found, expected) => {
    cases += 1;
    if (JSON.stringify(found) !== JSON.stringify(expected))
        throw new Error(`${what}: ${JSON.stringify(found)}, expected ${JSON.stringify(expected)}`);
};

// --- the digits of a digest
const digest = "0123456789abcdef".repeat(4);
for (const typed of ["01234567", " 0123 4567\r", "0123456789AB", digest, text.grouped(digest)])
    equal(`digits '${typed}'`, text.isBeginning(typed, digest), true);
for (const typed of ["", "yes", "0123456", "12345678", "012345678a", `${digest}0`, "        ", ".{8}...."])
    equal(`digits '${typed}'`, text.isBeginning(typed, digest), false);
equal("grouped", text.grouped(digest).split(" ").map(one => one.length), Array(8).fill(8));

// --- a reason
for (const reason of ["", "no", " no\n", "é".repeat(500), "w".repeat(1000), "-", "-no", "-é", "--m later", "a b", "\u{1f600}".repeat(250)])
    equal(`reason '${reason}'`, text.reasonProblem(reason), "");
for (const reason of ["é".repeat(501), "w".repeat(1001), "\u{1f600}".repeat(251), "a\nb", "a\0b", "\u007fb", "\u0085b", "a\ud800", "-m", " --kill\n", "--"])
    equal(`reason '${reason}'`, text.reasonProblem(reason) !== "", true);

// --- characters
const joined = value => text.pieces(value).map(one => one.odd ? `[${one.text}]` : one.text).join("|");
equal("plain", joined("a <b> & é ß 漢\n"), "a <b> & é ß 漢\n");
equal("nothing", text.pieces(""), []);
for (const odd of ["\u0000", "\u001b", "\t", "\u007f", "\u0085", "\u00a0", "\u00ad", "\u0301", "\u061c", "\u115f", "\u200b", "\u200f",
    "\u2028", "\u202e", "\u2066", "\u2800", "\u3000", "\u3164", "\ufe0f", "\ufeff", "\uffa0", "\ud800", "\u{e0001}", "\u{f0000}"])
    equal(`odd ${escape(odd)}`, joined(`a${odd}b`), `a|[\\u{${odd.codePointAt(0).toString(16)}}]|b`);
equal("two", joined("\u202e\u202e"), "[\\u{202e}]|[\\u{202e}]");

// --- numbers
equal("id", text.shortId("7f3a91c2d0"), "7f3a-91c2");
equal("times", [-1, 0, 59999, 60000, 3599999, 3600000, 172799000, 172800000].map(text.duration),
    ["0 s", "0 s", "59 s", "1 min", "59 min", "1 h 0 min", "47 h 59 min", "2 days"]);
equal("left", [[60000, 0], [60000, 1], [60000, 70000]].map(([ms, age]) => text.left(ms, age)), ["1 min left", "59 s left", "0 s left"]);
equal("time", text.time(951782399000), "2000-02-28 23:59:59Z");
equal("count", [text.count(1, "change waits", "changes wait"), text.count(0, "request")], ["1 change waits", "0 requests"]);

// --- what a verification found
const answer = { verdict: "the audit log is whole", records: 3, end: 3, findings: [], more_findings: 0, notes: [], more_notes: 0 };
const [one, two] = ["record 4 is missing", "record 7 is there twice"].map(found => ({ text: found }));
for (const [what, fields, expected] of [
    ["whole", {}, "The audit log is whole. 3 records. The end was compared with record 3."],
    ["no end", { end: null, end_unknown: "the daemon does not run" },
        "The audit log is whole. 3 records. The end was not compared: the daemon does not run."],
    ["nothing", { verdict: "there are no records", records: 0, end: null, end_unknown: "x" }, "There are no records. 0 records. The end was not compared: x."],
    ["a beginning", { verdict: "the audit log is whole from record 26 on; 25 earlier ones are not here", notes: [{ text: "it begins" }], more_notes: 2 },
        "The audit log is whole from record 26 on; 25 earlier ones are not here. 3 records. The end was compared with record 3. "
        + "Note: it begins. 2 notes more."],
    ["findings", { verdict: "the audit log is not whole: record 4 is missing", findings: [one, two], more_findings: 1 },
        "The audit log is not whole: record 4 is missing. Record 7 is there twice. 1 finding more. 3 records. The end was compared with record 3."],
])
    equal(what, text.verifiedSentences({ ...answer, ...fields }), expected);
return cases;
