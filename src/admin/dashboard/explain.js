// Try an id: where somebody is, which flags are on, and why.

import { get, state } from "./api.js";
import { field } from "./dialogs.js";
import { h, shown, text } from "./dom.js";
import * as words from "./words.js";

const TRACK_REASONS = {
  none: "no deployment splits users",
  share: "by the bucket",
  include: "the deployment includes this user or group",
  exclude: "the deployment excludes this user or group",
};

const REASONS = {
  default: "no rule, and a rollout of 0 %",
  override: "a variable of the environment",
  disabled: "the flag is disabled",
  schedule: "outside of its schedule",
  prerequisite: "another flag that it rests on",
  rule: "a rule",
  percentage: "the rollout",
};

export function explainPage() {
  const user = h("input", { name: "userId", autocomplete: "off", spellcheck: "false" });
  const session = h("input", { name: "sessionId", autocomplete: "off", spellcheck: "false" });
  const group = h("input", { name: "groupId", autocomplete: "off", spellcheck: "false" });
  const service = h("select", { name: "service" }, state.services.map((each) => h("option", { value: each.name }, each.name)));
  const problem = h("p", { class: "problem", role: "alert", hidden: true });
  const result = h("section", { class: "answer", "aria-live": "polite", "aria-label": "Answer" });

  async function submit(event) {
    event.preventDefault();
    shown(problem, false);
    const query = new URLSearchParams({ service: service.value });
    for (const input of [user, session, group]) if (input.value.trim()) query.set(input.name, input.value.trim());
    try {
      const { assignment, flags } = await get(`/api/explain?${query}`);
      result.replaceChildren(...answer(assignment, flags));
    } catch (error) {
      result.replaceChildren();
      text(problem, error.message);
      shown(problem, true);
    }
  }

  return {
    title: "Try an id",
    element: h(
      "div",
      {},
      h("h1", {}, "Try an id"),
      h("p", { class: "muted" }, "Where somebody is now, and which flags are on, each with its reason. Nothing is recorded."),
      h(
        "form",
        { class: "explain", onsubmit: submit },
        field("User id", user),
        field("or session id", session),
        field("Groups", group, "separated by commas"),
        field("Service", service),
        h("button", { class: "primary" }, "Try"),
      ),
      problem,
      result,
    ),
    leave: () => {},
  };
}

function answer(place, flags) {
  const drawn = place.bucket !== undefined && place.bucket !== null;
  const row = (flag) =>
    h(
      "tr",
      { class: flag.enabled ? "enabled" : "disabled" },
      h("td", {}, flag.enabled ? "on" : "off"),
      h("th", { scope: "row" }, flag.flagName),
      h("td", {}, flag.variant ? `${flag.variant} = ${JSON.stringify(flag.value)}` : ""),
      h("td", {}, REASONS[flag.reason] ?? flag.reason, flag.ruleMatched ? ` (${flag.ruleMatched})` : ""),
    );
  return [
    h("h2", {}, h("span", { class: `pill ${place.track}` }, place.track), ` for ${place.identity}`),
    h("p", {}, TRACK_REASONS[place.reason] ?? place.reason, drawn ? `: bucket ${words.count(place.bucket)} of 10,000, the canary has those below ${words.count(Math.round(place.share * 100))} (${words.share(place.share)})` : ""),
    flags.length
      ? h(
          "table",
          { class: "explained" },
          h("caption", { class: "hidden" }, "Flags"),
          h("thead", {}, h("tr", {}, ["", "flag", "variant", "why"].map((head) => h(head ? "th" : "td", head ? { scope: "col" } : {}, head)))),
          h("tbody", {}, flags.map(row)),
        )
      : h("p", { class: "empty" }, "There are no flags."),
  ];
}
