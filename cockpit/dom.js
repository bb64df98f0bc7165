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

export function button(label, onClick) {
    const made = element("button", label);
    made.type = "button";
    made.addEventListener("click", onClick);
    return made;
}

/* Rows of a <dl>: a name and its values. */
export function facts(rows) {
    return rows.flatMap(([name, ...values]) =>
        [element("dt", name), ...values.map(value => element("dd", value))]);
}

/* Replaces the children of a list. The focus stays on the control of the same `data-key`. */
export function replace(list, rows) {
    const key = list.contains(document.activeElement) ? document.activeElement.dataset.key : undefined;
    list.replaceChildren(...rows);
    if (key)
        list.querySelector(`[data-key="${CSS.escape(key)}"]`)?.focus();
}
