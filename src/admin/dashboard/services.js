// All services: who is releasing what, and how it goes.

import { state, told } from "./api.js";
import { attribute, h, Keyed, shown, text } from "./dom.js";
import * as words from "./words.js";

const NEAR = 12;

// A deployment's stages, the one that runs filled as far as it is.
export class StageBar {
  constructor() {
    this.element = h("ol", { class: "stages", "aria-label": "Stages" });
    this.steps = new Keyed(this.element, () => {
      const fill = h("span", { class: "fill" });
      const name = h("span", { class: "name" });
      const element = h("li", {}, fill, name);
      return {
        element,
        update: (step) => {
          text(name, step.name);
          attribute(element, "class", step.state);
          attribute(element, "aria-current", step.state === "current" ? "step" : null);
          const width = `${Math.round(step.part * 100)}%`;
          if (fill.style.width !== width) fill.style.width = width;
        },
      };
    });
  }

  update(deployment, stage) {
    const ended = Boolean(deployment.completedAt);
    const names = deployment.stages.map((each) => words.share(each.percentage));
    const steps = deployment.bake ? [...names, "bake"] : names;
    const current = ended && deployment.status === "completed" ? steps.length : deployment.currentStageIndex;
    const part = stage && stage.seconds > 0 ? Math.min(stage.elapsedSeconds / stage.seconds, 1) : 0;
    const bad = deployment.status === "rolled_back" || deployment.status === "failed";
    // Of many stages those that are near.
    const from = Math.max(0, Math.min(current - 5, steps.length - NEAR));
    const near = steps.map((name, index) => ({
        index,
        name,
        state: index < current ? "done" : index === current ? (bad ? "broken" : "current") : "coming",
        part: index < current ? 1 : index === current ? (bad ? 1 : part) : 0,
      }));
    this.steps.update(near.slice(from, from + NEAR), (step) => step.index);
  }
}

export class Status {
  constructor() {
    this.element = h("span", { class: "pill" });
  }

  // `calm`: no guard has decided that.
  update(value, calm = false) {
    text(this.element, value ? words.status(value) : "no deployment");
    attribute(this.element, "class", `pill ${calm && value === "rolled_back" ? "calm" : (value ?? "none")}`);
  }
}

// What a stage waits for, in a sentence.
export function waits(deployment, stage) {
  if (!deployment || deployment.completedAt) return "";
  if (deployment.status === "paused") return "paused: users keep their track";
  if (!stage) return "waits for somebody to advance it";
  const left = stage.seconds - stage.elapsedSeconds;
  if (deployment.currentStageIndex >= deployment.stages.length) return `watched for ${words.span(left)} more, then it is stable`;
  const missing = stage.minRequests - stage.canaryRequests;
  if (left > 0) {
    const more = missing > 0 ? `, at least ${words.count(missing)} more canary requests` : "";
    return `next stage in ${words.span(left)}${more}`;
  }
  return missing > 0 ? `waits for ${words.count(missing)} more canary requests` : "about to move on";
}

const TRACKS = [
  ["stable", (service) => service.live.stable],
  ["canary", (service) => service.live.canary],
];

// Both tracks in numbers: for cards and, with more columns, for a service's own page.
export class Tracks {
  constructor(columns, caption) {
    this.columns = columns;
    const head = h("tr", {}, h("th", { scope: "col" }, "track"), columns.map(([name]) => h("th", { scope: "col", class: "number" }, name)));
    this.rows = TRACKS.map(([name, read]) => {
      const cells = columns.map(() => h("td", { class: "number" }));
      return { read, name, cells, element: h("tr", {}, h("th", { scope: "row" }, h("i", { class: `swatch ${name}` }), name), cells) };
    });
    this.element = h("table", { class: "tracks" }, h("caption", { class: "hidden" }, caption), h("thead", {}, head), h("tbody", {}, this.rows.map((row) => row.element)));
  }

  update(service) {
    for (const row of this.rows) {
      const live = row.read(service);
      shown(row.element, live !== undefined);
      if (live === undefined) continue;
      this.columns.forEach(([, read], index) => text(row.cells[index], read(live, row.name, service)));
    }
  }
}

// How near the guards are to a verdict, on a logarithmic scale from 1 to the bound.
export class Meter {
  constructor() {
    this.fill = h("span", { class: "fill" });
    this.label = h("span", { class: "label" });
    this.element = h("p", { class: "meter" }, h("span", { class: "scale", "aria-hidden": "true" }, this.fill), this.label);
  }

  update(standings) {
    const part = (standing) => Math.min(Math.max(Math.log(Math.max(standing.evidence, 1)) / Math.log(standing.bound), 0), 1);
    const worst = (standings ?? []).filter((each) => each.enforces).sort((one, other) => part(other) - part(one))[0];
    shown(this.element, worst !== undefined);
    if (!worst) return;
    const width = `${Math.round(part(worst) * 100)}%`;
    if (this.fill.style.width !== width) this.fill.style.width = width;
    attribute(this.element, "class", `meter ${worst.sign.replace(" ", "-")}`);
    text(this.label, `${worst.guard}: ${worst.sign}, evidence ${words.evidence(worst.evidence)} of ${words.evidence(worst.bound)}`);
  }
}

function card() {
  const link = h("a", {});
  const pill = new Status();
  const what = h("p", { class: "what" });
  const bar = new StageBar();
  const wait = h("p", { class: "muted wait" });
  const tracks = new Tracks(
    [
      ["rate", (live) => words.rate(live.requestsPerSecond)],
      ["errors", (live) => words.percent(live.errorRate)],
      ["p95", (live) => words.millis(live.p95)],
    ],
    "Both tracks now",
  );
  const meter = new Meter();
  const ended = h("p", { class: "ended" });
  const element = h("li", { class: "card" }, h("h2", {}, link, pill.element), what, bar.element, wait, tracks.element, meter.element, ended);
  return {
    element,
    update: (service) => {
      const running = service.deployment;
      text(link, service.name);
      attribute(link, "href", `#/services/${encodeURIComponent(service.name)}`);
      pill.update(running?.status);
      text(what, words.whoHasWhat(service));
      shown(bar.element, Boolean(running));
      if (running) bar.update(running, service.live.stage);
      text(wait, waits(running, service.live.stage));
      shown(wait, wait.textContent !== "");
      const last = running ? null : service.last;
      text(ended, last ? `${last.version} ${words.status(last.status)} ${words.time(last.completedAt)}: ${last.text}` : "");
      attribute(ended, "class", `ended ${last?.status ?? ""}`);
      shown(ended, Boolean(last));
      tracks.update(service);
      meter.update(running?.evidence);
    },
  };
}

export function servicesPage() {
  const search = h("input", { type: "search", placeholder: "Find a service", "aria-label": "Find a service", oninput: () => update() });
  const only = h("input", { type: "checkbox", id: "only-running", onchange: () => update() });
  const sum = h("p", { class: "muted" });
  const list = h("ul", { class: "cards" });
  const cards = new Keyed(list, card);
  const empty = h("p", { class: "empty" });
  const update = () => {
    const wanted = search.value.trim().toLowerCase();
    const found = state.services.filter((service) => service.name.toLowerCase().includes(wanted) && (!only.checked || service.deployment));
    cards.update(found, (service) => service.name);
    const running = state.services.filter((service) => service.deployment).length;
    text(sum, `${words.count(state.services.length)} ${state.services.length === 1 ? "service" : "services"}, ${running} with a deployment`);
    shown(empty, found.length === 0);
    text(empty, only.checked && !wanted ? "No deployment is running." : "No service has this name.");
  };
  told.addEventListener("services", update);
  update();
  return {
    title: "Services",
    element: h(
      "div",
      {},
      h("div", { class: "bar" }, h("h1", {}, "Services"), sum, search, h("label", { class: "check", for: "only-running" }, only, "only deployments")),
      list,
      empty,
    ),
    leave: () => told.removeEventListener("services", update),
  };
}
