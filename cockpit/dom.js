/* Elements of the page. Text only becomes text: nothing here or elsewhere parses HTML. */

import { pieces } from "./text.js";

export const byId = id => document.getElementById(id);

export function element(tag, ...content) {
    const made = document.createElement(tag);
    made.append(...content.filter(one => one !== null && one !== undefined));
    return made;
}

export function classed(name, made) {
    made.className = name;
    return made;
}

/* A value that others chose, in a box of its own: in the order of its characters, odd ones as marked escapes. */
export function said(text, name = "said") {
    const box = classed(name, element("bdi"));
    box.dir = "ltr";
    for (const piece of pieces(text))
        box.append(piece.odd ? classed("escape", element("span", piece.text)) : piece.text);
    return box;
}

/* A double click and a key that is held count once: the second would confirm what the first only asks about. */
export function button(label, onClick) {
    const made = element("button", label);
    made.type = "button";
    made.addEventListener("click", event => event.detail > 1 || onClick());
    made.addEventListener("keydown", event => event.repeat && event.preventDefault());
    return made;
}

/* Rows of a <dl>: a name and its values. */
export function facts(rows) {
    return rows.flatMap(([name, ...values]) =>
        [element("dt", name), ...values.map(value => element("dd", value))]);
}

/* Replaces the children of a list. The focus stays on the control of the same `data-key`. While a control is pressed, nothing is
   replaced, because its release would be no click; the next look draws the list. */
export function replace(list, rows) {
    if (list.matches(":active"))
        return;
    const key = list.contains(document.activeElement) ? document.activeElement.dataset.key : undefined;
    list.replaceChildren(...rows);
    if (key)
        list.querySelector(`[data-key="${CSS.escape(key)}"]`)?.focus();
}
