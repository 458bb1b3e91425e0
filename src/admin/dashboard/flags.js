// Flags: who has what, and changes of it.

import { call, flagAt, get, mayWrite, readFlags, state, told } from "./api.js";
import { ask, field, notice } from "./dialogs.js";
import { attribute, h, Keyed, shown, text } from "./dom.js";
import * as words from "./words.js";

const fail = (error) => notice("This was refused", error.message);

async function change(flag, fields, options) {
  await call("PATCH", flagAt(flag.name), fields, options);
  await readFlags();
}

const running = (flag) => flag.ramp && ["in_progress", "paused"].includes(flag.ramp.progress?.status);

function tags(flag) {
  const found = [];
  if (flag.rules.length) found.push(flag.rules.length === 1 ? "1 rule" : `${flag.rules.length} rules`);
  const variants = Object.keys(flag.variants ?? {}).length;
  if (variants) found.push(`${variants} variants`);
  if (flag.schedule) found.push("schedule");
  if (flag.prerequisites?.length) found.push("prerequisites");
  if (flag.client) found.push("client");
  if (running(flag)) found.push(flag.ramp.progress.status === "paused" ? "ramp, paused" : "ramp");
  return found;
}

function row() {
  let flag;
  const toggle = h("button", { type: "button", class: "switch", role: "switch" });
  const state_ = h("span", { class: "state" });
  const name = h("button", { type: "button", class: "link" });
  const plain = h("b", {});
  const about = h("p", { class: "muted" });
  const labels = h("span", { class: "labels" });
  const warning = h("p", { class: "warning" });
  const slider = h("input", { type: "range", min: "0", max: "100", step: "1" });
  const number = h("output", {});
  const element = h(
    "tr",
    {},
    h("td", { class: "toggle" }, toggle, state_),
    h("th", { scope: "row" }, name, plain, " ", labels, about, warning),
    h("td", { class: "rollout" }, slider, number),
  );
  let sliding = false;
  let changing = false;
  toggle.addEventListener("click", () => change(flag, { enabled: !flag.enabled }).catch(fail));
  name.addEventListener("click", () => edit(flag.name));
  slider.addEventListener("input", () => {
    sliding = true;
    text(number, `${slider.value} %`);
  });
  // Dragged there and back there is no change.
  for (const end of ["pointerup", "pointercancel", "keyup", "blur"]) {
    slider.addEventListener(end, () =>
      setTimeout(() => {
        if (changing) return;
        sliding = false;
        update(flag);
      }),
    );
  }
  slider.addEventListener("change", () => {
    changing = true;
    change(flag, { rolloutPercentage: Number(slider.value) })
      .catch(fail)
      .finally(() => {
        [changing, sliding] = [false, false];
        update(flag);
      });
  });
  const update = (next) => {
    flag = state.flags.find((each) => each.name === next.name) ?? next;
    const writes = mayWrite();
    attribute(toggle, "aria-checked", String(flag.enabled));
    attribute(toggle, "aria-label", `${flag.name} enabled`);
    shown(toggle, writes);
    text(state_, flag.enabled ? "on" : "off");
    text(name, flag.name);
    shown(name, writes);
    text(plain, writes ? "" : flag.name);
    text(about, flag.description ?? "");
    shown(about, Boolean(flag.description));
    const own = tags(flag);
    if (labels.dataset.of !== own.join()) {
      labels.dataset.of = own.join();
      labels.replaceChildren(...own.map((tag) => h("span", { class: "tag" }, tag)));
    }
    const said = state.lint.get(flag.name) ?? [];
    text(warning, said.join("; "));
    shown(warning, said.length > 0);
    attribute(slider, "aria-label", `rollout of ${flag.name} in percent`);
    shown(slider, writes);
    slider.disabled = Boolean(running(flag));
    if (!sliding) {
      if (slider.value !== String(Math.round(flag.rolloutPercentage))) slider.value = flag.rolloutPercentage;
      text(number, words.share(flag.rolloutPercentage));
    }
    attribute(element, "class", flag.enabled ? "enabled" : "disabled");
  };
  return { element, update };
}

export function flagsPage() {
  const search = h("input", { type: "search", placeholder: "Find a flag", "aria-label": "Find a flag", oninput: () => update() });
  const sum = h("p", { class: "muted" });
  const create = h("button", { type: "button", class: "primary", onclick: () => edit(null) }, "New flag…");
  const body = h("tbody", {});
  const rows = new Keyed(body, row);
  const table = h(
    "table",
    { class: "flags" },
    h("caption", { class: "hidden" }, "Flags"),
    h("thead", {}, h("tr", {}, ["enabled", "flag", "rollout"].map((head) => h("th", { scope: "col" }, head)))),
    body,
  );
  const empty = h("p", { class: "empty" });
  const update = () => {
    const wanted = search.value.trim().toLowerCase();
    const found = state.flags.filter((flag) => `${flag.name} ${flag.description ?? ""}`.toLowerCase().includes(wanted));
    rows.update(found, (flag) => flag.name);
    shown(create, mayWrite());
    shown(table, found.length > 0);
    shown(empty, found.length === 0);
    text(empty, state.flags.length === 0 ? "There are no flags yet." : "No flag has this in its name or description.");
    text(sum, `${words.count(state.flags.length)} ${state.flags.length === 1 ? "flag" : "flags"}, ${words.count(state.flags.filter((flag) => flag.enabled).length)} enabled`);
  };
  told.addEventListener("flags", update);
  update();
  return {
    title: "Flags",
    element: h("div", {}, h("div", { class: "bar" }, h("h1", {}, "Flags"), sum, search, create), table, empty),
    leave: () => told.removeEventListener("flags", update),
  };
}

// ---------------------------------------------------------------- editor

const LISTS = { user: "user ids", group: "groups", environment: "environments" };
const KINDS = {
  percentage: "0 to 100",
  user: "ids, separated by commas",
  group: "groups, separated by commas",
  environment: "environments, separated by commas",
  track: "canary or stable",
  attribute: '{"plan": {"in": ["gold"]}}',
  schedule: '{"from": "2027-01-01T00:00:00Z"}',
  all: '[{"type": "group", "value": "beta"}, …]',
  any: '[{"type": "group", "value": "beta"}, …]',
  none: '[{"type": "group", "value": "beta"}, …]',
};

function json(label, value, allowed) {
  try {
    return JSON.parse(value);
  } catch (error) {
    throw new Error(`${label}: ${error.message}; expected ${allowed}`);
  }
}

function valueOf(kind, written) {
  const value = written.trim();
  if (kind === "percentage") {
    const number = Number(value);
    if (value === "" || Number.isNaN(number)) throw new Error(`a percentage is a number from 0 to 100, found \`${value}\``);
    return number;
  }
  if (kind === "track") return value;
  if (LISTS[kind]) {
    const list = value.startsWith("[") ? json("the rule's value", value, '["an id", "another one"]') : value.split(",").map((part) => part.trim()).filter(Boolean);
    if (list.length === 0) throw new Error(`a rule about ${LISTS[kind]} names one at least`);
    return list.length === 1 ? list[0] : list;
  }
  return json(`the rule's value`, value, KINDS[kind]);
}

function writtenOf(rule) {
  if (LISTS[rule.type]) {
    const list = [rule.value].flat();
    // What commas and blanks would take apart is written as it is.
    return list.some((part) => part !== part.trim() || /[,[]/.test(part)) ? JSON.stringify(list) : list.join(", ");
  }
  return typeof rule.value === "object" ? JSON.stringify(rule.value) : String(rule.value);
}

// Rows of type and value; what a rule has beyond that goes through untouched.
function rulesEditor(rules, variants) {
  const list = h("ol", { class: "rules" });
  const more = h("button", { type: "button", class: "quiet", onclick: () => add({ type: "user", value: "" }, true) }, "Add a rule");
  const add = (rule, open) => {
    const type = h("select", { "aria-label": "type of rule" }, Object.keys(KINDS).map((kind) => h("option", { value: kind, selected: kind === rule.type }, kind)));
    const value = h("input", { value: writtenOf(rule), "aria-label": "value of rule", autocomplete: "off", spellcheck: "false", placeholder: KINDS[rule.type] });
    const variant = h("input", { value: rule.variant ?? "", "aria-label": "variant of rule", placeholder: "variant", class: "short", autocomplete: "off", list: "variants-of-flag" });
    shown(variant, variants || Boolean(rule.variant));
    type.addEventListener("change", () => (value.placeholder = KINDS[type.value]));
    const element = h(
      "li",
      {},
      type,
      value,
      variant,
      h("button", { type: "button", class: "quiet", "aria-label": "move rule up", onclick: (event) => { element.previousElementSibling?.before(element); event.currentTarget.focus(); } }, "↑"),
      h("button", { type: "button", class: "quiet", "aria-label": "remove rule", onclick: () => { (element.nextElementSibling?.querySelector("select") ?? more).focus(); element.remove(); } }, "✕"),
    );
    element.read = () => {
      const { type: _type, value: _value, variant: _variant, ...rest } = rule;
      const asItWas = type.value === rule.type && value.value === writtenOf(rule) && rule.value !== "";
      const read = { ...rest, type: type.value, value: asItWas ? rule.value : valueOf(type.value, value.value) };
      if (variant.value.trim()) read.variant = variant.value.trim();
      return read;
    };
    list.append(element);
    if (open) type.focus();
  };
  rules.forEach((rule) => add(rule, false));
  return {
    element: h("fieldset", {}, h("legend", {}, "Rules"), h("p", { class: "muted" }, "The first rule that matches turns the flag on; without one the rollout decides."), list, more),
    read: () => [...list.children].map((element) => element.read()),
  };
}

async function edit(name) {
  let flag = { name: "", enabled: true, rolloutPercentage: 0, rules: [] };
  let match;
  if (name) {
    try {
      ({ value: flag, tag: match } = await call("GET", flagAt(name)));
    } catch (error) {
      return fail(error);
    }
  }
  const inputs = {
    name: h("input", { name: "name", required: true, maxlength: "128", autocomplete: "off", spellcheck: "false" }),
    description: h("input", { name: "description", value: flag.description ?? "", autocomplete: "off" }),
    enabled: h("input", { type: "checkbox", name: "enabled", checked: flag.enabled }),
    rollout: h("input", { type: "number", name: "rolloutPercentage", min: "0", max: "100", step: "0.01", value: String(flag.rolloutPercentage), disabled: Boolean(running(flag)) }),
    variants: h("textarea", { name: "variants", rows: "4", spellcheck: "false" }),
    fallback: h("input", { name: "defaultVariant", value: flag.defaultVariant ?? "", autocomplete: "off" }),
  };
  inputs.variants.value = flag.variants ? JSON.stringify(flag.variants, null, 2) : "";
  const rules = rulesEditor(flag.rules, Boolean(flag.variants));
  // A ramp that begins or ends moves the rollout from then on, or leaves it alone.
  const taken = async () => {
    ({ value: flag, tag: match } = await call("GET", flagAt(name)));
    inputs.rollout.disabled = Boolean(running(flag));
    inputs.rollout.value = String(flag.rolloutPercentage);
    return flag;
  };
  const read = () => {
    const fields = { enabled: inputs.enabled.checked, rules: rules.read() };
    if (inputs.description.value !== (flag.description ?? "")) fields.description = inputs.description.value;
    if (!inputs.rollout.disabled) {
      if (inputs.rollout.value.trim() === "") throw new Error("the rollout is a percentage from 0 to 100");
      fields.rolloutPercentage = Number(inputs.rollout.value);
    }
    const variants = inputs.variants.value.trim();
    if (variants || flag.variants) fields.variants = variants ? json("variants", variants, '{"red": {"value": "#f00", "weight": 1}}') : {};
    const fallback = inputs.fallback.value.trim();
    if (fallback || flag.defaultVariant) fields.defaultVariant = fallback || null;
    return fields;
  };
  const save = async () => {
    if (name) return change(flag, read(), { match });
    const wanted = inputs.name.value.trim();
    if (state.flags.some((each) => each.name === wanted)) throw new Error(`there is a flag \`${wanted}\` already`);
    await call("PUT", flagAt(wanted), read());
    await readFlags();
  };
  return ask({
    title: name ? `Flag ${name}` : "New flag",
    wide: true,
    fields: [
      name ? null : field("Name", inputs.name, "The app reads it as the header x-feature-…"),
      field("Description", inputs.description),
      h("p", { class: "check" }, h("label", {}, inputs.enabled, "enabled")),
      field("Rollout in percent", inputs.rollout, running(flag) ? "Its ramp moves it." : "Of all users, always the same ones."),
      rules.element,
      h(
        "details",
        { open: Boolean(flag.variants) },
        h("summary", {}, "Variants"),
        field("Variants", inputs.variants, 'Values by name, as JSON: {"red": {"value": "#f00", "weight": 1}}'),
        field("Default variant", inputs.fallback, "What somebody gets who has the flag off"),
      ),
      name ? await rampPart(flag, taken) : null,
      name ? h("p", {}, h("button", { type: "button", class: "quiet bad", onclick: (event) => remove(flag, match, event.target.closest("dialog")) }, "Delete this flag…")) : null,
    ],
    confirm: "Save",
    act: save,
  });
}

function remove(flag, match, editor) {
  return ask({
    title: `Delete ${flag.name}?`,
    body: "The app gets no header for it any more, and its own default holds.",
    confirm: "Delete",
    danger: true,
    act: async () => {
      await call("DELETE", flagAt(flag.name), undefined, { match });
      await readFlags();
      editor.close();
    },
  });
}

// A ramp: how far it is, and its verbs.
async function rampPart(flag, taken) {
  const at = `${flagAt(flag.name)}/ramp`;
  const ramp = flag.ramp ? await get(at).catch(() => null) : null;
  const said = h("p", { role: "status" }, ramp ? `Stage ${ramp.stage + 1}, ${words.share(ramp.rolloutPercentage)}: ${ramp.text ?? words.status(ramp.status)}` : "Raises the rollout by itself, and sets it back at the error that proves that the flag does harm.");
  const act = (what) => async () => {
    try {
      await what();
      await readFlags();
      const next = await rampPart(await taken(), taken);
      element.replaceWith(next);
      next.querySelector("button").focus();
    } catch (error) {
      text(said, error.message);
    }
  };
  const verb = (label, name) => h("button", { type: "button", class: "quiet", onclick: act(() => call("POST", `${at}/${name}`, {})) }, label);
  const verbs = running(flag)
    ? [verb("Advance", "advance"), flag.ramp.progress.status === "paused" ? verb("Resume", "resume") : verb("Pause", "pause"), verb("Set back", "rollback")]
    : [h("button", { type: "button", class: "quiet", onclick: act(() => call("PATCH", flagAt(flag.name), { ramp: {} })) }, "Start a ramp")];
  const element = h("fieldset", {}, h("legend", {}, "Guarded ramp"), said, h("div", { class: "buttons left" }, verbs));
  return element;
}
