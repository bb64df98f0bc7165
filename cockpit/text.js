/* Text of the page: escapes, sizes, times, what a verification found. Pure: it touches neither the document nor the daemon. */

/* Longest reason for a denial, in bytes of UTF-8. The daemon refuses a longer one. */
export const REASON_BYTES = 1000;
/* Digits of the digest that the approver types, as on a terminal. */
export const DIGITS = 8;

/* Characters that hide, reorder or imitate others: controls, format and private characters, marks above others,
   unusual spaces, separators, unassigned ones, and letters without a shape. */
const ODD = /[\p{C}\p{M}\p{Zl}\p{Zp}]|(?! )\p{Zs}|[\u115f\u1160\u3164\uffa0\u2800]/u;
const CONTROL = /\p{Cc}/u;

/* Splits a text into runs of plain characters and escapes of odd ones: [{ text, odd }]. A newline is plain. */
export function pieces(text) {
    const found = [];
    for (const character of String(text)) {
        const odd = character !== "\n" && ODD.test(character);
        const shown = odd ? `\\u{${character.codePointAt(0).toString(16)}}` : character;
        const last = found.at(-1);
        if (last && !odd && !last.odd)
            last.text += shown;
        else
            found.push({ text: shown, odd });
    }
    return found;
}

export function bytes(text) {
    return new TextEncoder().encode(text).length;
}

/* Says why the daemon would not take this reason as it is; empty if it would. */
export function reasonProblem(text) {
    const reason = text.trim();
    if (CONTROL.test(reason))
        return "Control characters and line breaks are not possible here.";
    if (/\p{Cs}/u.test(reason))
        return "It has half of a character.";
    if (/^(--\S*|-[!-~])$/.test(reason))
        return "The command line reads this as an option.";
    const length = bytes(reason);
    return length > REASON_BYTES ? `It has ${length} bytes; the maximum is ${REASON_BYTES}.` : "";
}

/* True if at least 8 digits were typed and the digest starts with them. Spaces are ignored. */
export function isBeginning(typed, digest) {
    const digits = typed.replace(/\s/g, "").toLowerCase();
    return digits.length >= DIGITS && digest.startsWith(digits);
}

export function grouped(digest) {
    return digest.match(/.{1,8}/g).join(" ");
}

/* The form of an id that `remit` prints and takes: 7f3a-91c2. */
export function shortId(id) {
    return `${id.slice(0, 4)}-${id.slice(4, 8)}`;
}

export function count(number, one, many = `${one}s`) {
    return `${number} ${number === 1 ? one : many}`;
}

export function duration(ms) {
    const seconds = Math.max(0, Math.floor(ms / 1000));
    if (seconds < 60)
        return `${seconds} s`;
    const minutes = Math.floor(seconds / 60);
    if (minutes < 60)
        return `${minutes} min`;
    const hours = Math.floor(minutes / 60);
    return hours < 48 ? `${hours} h ${minutes % 60} min` : `${Math.floor(hours / 24)} days`;
}

/* What is left of a time that was `ms` long `age` milliseconds ago. */
export function left(ms, age) {
    return `${duration(ms - age)} left`;
}

/* Sentences about the answer of `remit audit verify`: its first line, and what else it prints. */
export function verifiedSentences(answer) {
    const [, ...others] = answer.findings.map(one => one.text);
    const notes = answer.notes.map(one => one.text);
    const more = [
        ...others,
        answer.more_findings ? `${count(answer.more_findings, "finding")} more` : "",
        count(answer.records, "record"),
        answer.end === null ? `the end was not compared: ${answer.end_unknown}` : `the end was compared with record ${answer.end}`,
        ...notes.map(note => `note: ${note}`),
        answer.more_notes ? `${count(answer.more_notes, "note")} more` : "",
    ];
    return [answer.verdict, ...more.filter(Boolean)].map(one => `${one[0].toUpperCase()}${one.slice(1)}.`).join(" ");
}

/* As `remit` prints it, in UTC: servers and approvers may be in different zones. */
export function time(ms) {
    return new Date(ms).toISOString().slice(0, 19).replace("T", " ") + "Z";
}
