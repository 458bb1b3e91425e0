// Questions: a dialog of the browser's own keeps the focus inside and gives it back.

import { h, text } from "./dom.js";

// Asks, and does; what is refused is said in the dialog, and nothing typed is lost.
// `fields` are elements; `act` gets the form's data.
export function ask({ title, body, fields = [], confirm = "OK", danger = false, wide = false, act }) {
  return new Promise((done) => {
    const problem = h("p", { class: "problem", role: "alert", hidden: true });
    const yes = h("button", { class: danger ? "danger" : "primary", value: "yes" }, confirm);
    const no = h("button", { type: "button", onclick: () => dialog.close() }, "Cancel");
    const id = `dialog-${(ask.next = (ask.next ?? 0) + 1)}`;
    const heading = h("h2", { id }, title);
    const form = h(
      "form",
      { method: "dialog", novalidate: false },
      heading,
      body ? (typeof body === "string" ? h("p", {}, body) : body) : null,
      fields,
      problem,
      h("div", { class: "buttons" }, no, yes),
    );
    const dialog = h("dialog", { "aria-labelledby": id, class: wide ? "wide" : null }, form);
    form.addEventListener("submit", async (event) => {
      event.preventDefault();
      yes.disabled = true;
      try {
        const value = await act(form);
        done(value ?? true);
        dialog.close();
      } catch (error) {
        text(problem, error.message);
        problem.hidden = false;
        const named = error.field && form.elements.namedItem(error.field);
        if (named?.focus) named.focus();
      } finally {
        yes.disabled = false;
      }
    });
    dialog.addEventListener("close", () => {
      dialog.remove();
      done(null);
    });
    document.body.append(dialog);
    dialog.showModal();
    // Where it hurts, Enter alone does nothing.
    if (danger) no.focus();
  });
}

// Says something that has only to be read.
export function notice(title, body) {
  const close = h("button", { class: "primary" }, "Close");
  const dialog = h("dialog", { "aria-labelledby": "notice-title" }, h("form", { method: "dialog" }, h("h2", { id: "notice-title" }, title), h("p", {}, body), h("div", { class: "buttons" }, close)));
  dialog.addEventListener("close", () => dialog.remove());
  document.body.append(dialog);
  dialog.showModal();
}

export function field(label, input, hint) {
  const id = `field-${(field.next = (field.next ?? 0) + 1)}`;
  input.id = id;
  const note = hint ? h("small", { id: `${id}-hint` }, hint) : null;
  if (hint) input.setAttribute("aria-describedby", `${id}-hint`);
  return h("p", { class: "field" }, h("label", { for: id }, label), input, note);
}
