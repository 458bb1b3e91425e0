// One service: its deployment as it goes, what was decided and why, and the verbs.

import { call, get, mayWrite, refresh, serviceAt, state, told } from "./api.js";
import { chartsOf } from "./charts.js";
import { ask, field, notice } from "./dialogs.js";
import { attribute, h, Keyed, shown, text } from "./dom.js";
import { Meter, StageBar, Status, Tracks, waits } from "./services.js";
import * as words from "./words.js";

const MOST = 1500;
// Seconds that are shown where no deployment is.
const REST = 300;
// So long after its end a deployment is still what one wants to see.
const FRESH = 15 * 60 * 1000;

export function servicePage(name) {
  const at = serviceAt(name);
  const service = () => state.services.find((each) => each.name === name);
  const pill = new Status();
  const what = h("p", { class: "what" });
  const period = h(
    "select",
    { "aria-label": "what the charts show", onchange: () => { course.chosen = period.value; readCourse(); } },
    [["last", "the last deployment"], ["", "the last five minutes"]].map(([value, label]) => h("option", { value }, label)),
  );
  const actions = h("div", { class: "actions", role: "group", "aria-label": "Deployment" });
  const bar = new StageBar();
  const wait = h("p", { class: "muted wait" });
  const decision = h("div", { class: "decision", hidden: true });
  const tracks = new Tracks(COLUMNS, "Both tracks");
  const guards = h("table", { class: "guards" });
  const guardsBox = scroll("Guards", guards);
  const standings = guardsTable(guards);
  const bound = { value: 100 };
  const charts = chartsOf(() => bound.value);
  const chartsTitle = h("h2", {}, "Now");
  const timeline = h("ol", { class: "timeline" });
  const events = new Keyed(timeline, eventRow);
  const timelineTitle = h("h2", {}, "Timeline");
  const history = h("tbody", {});
  const past = new Keyed(history, historyRow);
  const columns = ["version", "status", "started", "ended", "what happened"].map((head) => h("th", { scope: "col" }, head));
  const historyBox = scroll("History", h("table", { class: "history" }, h("thead", {}, h("tr", {}, columns)), history));
  const noHistory = h("p", { class: "empty" }, "Nothing was deployed yet.");
  const missing = h("p", { class: "empty", hidden: true }, `There is no service ${name}.`);
  const course = { of: undefined, samples: [], busy: false };
  const ended = { list: [], key: undefined };

  // What the charts show: a deployment while it runs and for a while after its end.
  function wanted() {
    if (service()?.deployment) return "last";
    if (course.chosen === undefined) {
      const end = ended.list[0]?.completedAt;
      return end && Date.now() - Date.parse(end) > FRESH ? "" : "last";
    }
    return course.chosen;
  }

  // The deployment that is shown: the one that runs, else the last one.
  const shownDeployment = () => service()?.deployment ?? ended.list[0];

  const buttons = verbs(at, service, () => ended.list, readHistory);
  actions.append(...buttons.elements);

  function update() {
    const now = service();
    shown(missing, !now);
    shown(whole, Boolean(now));
    if (!now) return;
    const running = now.deployment;
    const deployment = shownDeployment();
    pill.update(running?.status);
    text(what, words.whoHasWhat(now));
    buttons.update(running);
    shown(bar.element, Boolean(deployment));
    if (deployment) bar.update(deployment, now.live.stage);
    text(wait, waits(running, now.live.stage));
    shown(wait, wait.textContent !== "");
    tracks.update({ ...now, deployment });
    standings.update(deployment?.evidence);
    shown(guardsBox, Boolean(deployment?.evidence?.length));
    bound.value = deployment?.evidence?.[0]?.bound ?? 100;
    tellDecision(decision, deployment);
    text(timelineTitle, running || !deployment ? "Timeline" : `Timeline of ${deployment.version}, which ended ${words.time(deployment.completedAt)}`);
    events.update([...(deployment?.events ?? [])].reverse().map((event, index, list) => ({ ...event, key: list.length - index })), (event) => event.key);
    const key = `${running?.id} ${now.last?.id}`;
    if (ended.key !== key && ended.asked !== key) readHistory(key);
  }

  async function readHistory(key = ended.key) {
    ended.asked = key;
    try {
      ended.list = (await get(`${at}/deployments`)).deployments;
      ended.key = key;
    } catch {
      // The next second asks again.
      return;
    } finally {
      ended.asked = undefined;
    }
    past.update(ended.list, (deployment) => deployment.id);
    shown(noHistory, ended.list.length === 0);
    shown(historyBox, ended.list.length > 0);
    update();
  }

  // What is new since the last look; a course that is another one is read as a whole.
  async function readCourse() {
    if (course.busy || !service()) return;
    course.busy = true;
    try {
      if (course.samples.length > MOST) course.samples = [];
      const last = course.samples.at(-1)?.at;
      const path = `${at}/samples?${wanted() ? "deployment=last" : ""}`;
      let found = await get(last ? `${path}&after=${last}` : path);
      if (found.deployment !== course.of) {
        if (last) found = await get(path);
        Object.assign(course, { of: found.deployment, samples: [] });
      }
      course.samples.push(...found.samples);
      const from = (course.samples.at(-1)?.at ?? 0) - REST;
      if (!found.deployment) course.samples = course.samples.filter((sample) => sample.at > from);
      const running = service()?.deployment;
      shown(period, !running && ended.list.length > 0);
      period.value = wanted();
      text(chartsTitle, found.deployment ? (running ? "The deployment so far" : `How ${shownDeployment()?.version} went`) : "The last five minutes");
      charts.forEach((chart) => chart.update(course.samples));
      shown(charts.at(-1).element, Boolean(found.deployment));
    } catch {
      // The next second asks again; a lost connection is said above.
    } finally {
      course.busy = false;
    }
  }

  const whole = h(
    "div",
    {},
    h("div", { class: "bar" }, h("h1", {}, name), pill.element, actions),
    what,
    bar.element,
    wait,
    decision,
    h("section", { class: "numbers", "aria-label": "Numbers" }, scroll("Both tracks", tracks.element), guardsBox),
    h("section", { "aria-label": "Charts" }, h("div", { class: "bar" }, chartsTitle, period), h("div", { class: "charts" }, charts.map((chart) => chart.element))),
    h("section", {}, timelineTitle, timeline),
    h(
      "section",
      {},
      h("h2", {}, "History"),
      historyBox,
      noHistory,
    ),
  );

  const tick = () => readCourse();
  told.addEventListener("services", update);
  told.addEventListener("tick", tick);
  update();
  readCourse();

  return {
    title: name,
    element: h("div", { class: "service" }, h("p", { class: "back" }, h("a", { href: "#/services" }, "All services")), missing, whole),
    leave: () => {
      told.removeEventListener("services", update);
      told.removeEventListener("tick", tick);
      charts.forEach((chart) => chart.destroy());
    },
  };
}

// On a narrow screen a table moves by itself; by keys as well.
const scroll = (label, table) => h("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": label }, table);

const total = (field) => (_, track, service) => {
  const metrics = service.deployment?.metrics;
  return metrics ? words.count(metrics[`${track === "canary" ? "canary" : "baseline"}${field}`]) : "–";
};

const COLUMNS = [
  ["requests/s", (live) => words.rate(live.requestsPerSecond)],
  ["errors now", (live) => words.percent(live.errorRate)],
  ["requests", total("Requests")],
  ["errors", total("Errors")],
  ["p50", (live) => words.millis(live.p50)],
  ["p95", (live) => words.millis(live.p95)],
  ["p99", (live) => words.millis(live.p99)],
];

function guardsTable(table) {
  const body = h("tbody", {});
  table.append(
    h("caption", { class: "hidden" }, "Guards"),
    h("thead", {}, h("tr", {}, ["guard", "sign", "evidence", "bound", "users"].map((head, index) => h("th", { scope: "col", class: index > 1 ? "number" : null }, head)))),
    body,
  );
  const rows = new Keyed(body, () => {
    const cells = [h("th", { scope: "row" }), h("td", {}), h("td", { class: "number" }), h("td", { class: "number" }), h("td", { class: "number" })];
    const sign = h("span", { class: "sign" });
    cells[1].append(sign);
    return {
      element: h("tr", {}, cells),
      update: (standing) => {
        text(cells[0], standing.enforces ? standing.guard : `${standing.guard} (observes)`);
        text(sign, standing.sign);
        attribute(sign, "class", `sign ${standing.sign.replace(" ", "-")}`);
        text(cells[2], words.evidence(standing.evidence));
        text(cells[3], words.evidence(standing.bound));
        text(cells[4], `${words.count(standing.canaryUsers)} : ${words.count(standing.stableUsers)}`);
        attribute(cells[4], "title", "users with a finding on the canary : on stable");
      },
    };
  });
  return { update: (standings) => rows.update(standings ?? [], (standing) => standing.guard) };
}

function tellDecision(box, deployment) {
  const sentence = deployment && (words.reason(deployment) ?? null);
  shown(box, sentence !== null && sentence !== undefined);
  const key = sentence ? `${deployment.id}/${deployment.status}/${sentence}` : "";
  if (box.dataset.key === key || !sentence) return;
  box.dataset.key = key;
  const found = deployment.decision;
  // What somebody decided is no failure.
  const failed = Boolean(found) && ["rolled_back", "failed", "paused"].includes(deployment.status);
  attribute(box, "class", failed ? "decision" : "decision calm");
  const routes = (found?.routes ?? []).map((route) => h("li", {}, h("code", {}, route.route), ` ${route.what}: ${words.count(route.errors)}`));
  const ids = found?.requestIds ?? [];
  box.replaceChildren(
    h("h2", {}, headline(deployment, found)),
    h("p", {}, sentence),
    routes.length ? h("div", {}, h("h3", {}, "Where it failed"), h("ul", {}, routes)) : "",
    ids.length ? h("details", {}, h("summary", {}, "Requests to look up in your logs"), h("ul", { class: "ids" }, ids.map((id) => h("li", {}, h("code", {}, id))))) : "",
  );
}

function headline(deployment, found) {
  const what = deployment.aa ? "The A/A test" : deployment.version;
  if (deployment.status === "paused") return "Paused by a guard";
  if (deployment.status === "completed") return `A guard fired, and ${what} was promoted all the same`;
  if (deployment.status === "in_progress") return "A guard fired, and somebody resumed it";
  return found ? `${what} was rolled back` : `${what} was ended by hand`;
}

function eventRow() {
  const [when, who, said] = [h("time", {}), h("span", { class: "muted" }), h("p", {})];
  const element = h("li", {}, h("div", {}, when, " ", who), said);
  return {
    element,
    update: (event) => {
      attribute(when, "datetime", event.at);
      text(when, words.time(event.at));
      text(who, event.by === "serin" ? "by itself" : `by ${event.by}`);
      text(said, event.text);
      attribute(element, "class", event.kind);
    },
  };
}

function historyRow() {
  const pill = new Status();
  const cells = [h("th", { scope: "row" }), h("td", {}, pill.element), h("td", {}), h("td", {}), h("td", { class: "reason" })];
  return {
    element: h("tr", {}, cells),
    update: (deployment) => {
      pill.update(deployment.status, !deployment.decision);
      text(cells[0], deployment.version);
      text(cells[2], words.time(deployment.startedAt));
      text(cells[3], words.time(deployment.completedAt));
      text(cells[4], words.reason(deployment) ?? deployment.events.at(-1)?.text ?? "");
    },
  };
}

// The buttons of a service. What hurts asks first.
function verbs(at, service, history, readHistory) {
  const done = () => {
    refresh();
    readHistory();
  };
  const act = (verb, body = {}, match) => call("POST", `${at}/deployment/${verb}`, body, { match }).then(done);
  // What somebody was shown is what is changed, or nothing is.
  const tag = (deployment) => `"${deployment.id}.${deployment.revision}"`;
  const now = (verb) => async () => {
    try {
      await act(verb, {}, verb === "advance" ? tag(running()) : undefined);
    } catch (error) {
      notice("This was refused", error.message);
    }
  };
  const because = () => h("input", { name: "reason", maxlength: "500", autocomplete: "off" });
  const running = () => service().deployment;
  const rollback = () => {
    const reason = because();
    const asked = running();
    return ask({
      title: asked.aa ? "End the A/A test?" : `Roll back ${asked.version}?`,
      body: asked.aa
        ? "Nothing changes for users: the test is over."
        : `Everybody goes back to ${service().stable.version ?? service().stable.pool} with the next request. This cannot be undone: the version has to be deployed anew.`,
      fields: [field("Reason", reason, "It stands in the history.")],
      confirm: asked.aa ? "End it" : "Roll back",
      danger: true,
      act: () => {
        if (running()?.id !== asked.id) throw new Error(`${asked.version} has ended meanwhile: nothing was done`);
        return act("rollback", reason.value.trim() ? { reason: reason.value.trim() } : {});
      },
    });
  };
  const promote = () => {
    const asked = tag(running());
    return ask({
      title: running().aa ? "Complete the A/A test now?" : `Send everybody to ${running().version} now?`,
      body: "The stages that are left are skipped. A guard that has fired stays in force.",
      confirm: "Promote",
      danger: true,
      act: () => act("promote", {}, asked),
    });
  };
  const undo = () => {
    const asked = tag(history()[0]);
    return ask({
      title: "Undo the last deployment?",
      body: `Everybody goes from ${service().stable.version ?? "this version"} back to the version before, at once.`,
      confirm: "Undo",
      danger: true,
      act: () => act("undo", {}, asked),
    });
  };
  const retry = () => {
    const asked = tag(history()[0]);
    return ask({
      title: `Deploy ${history()[0].version} again?`,
      body: "It begins with the first stage, under the same terms.",
      confirm: "Retry",
      act: () => act("retry", {}, asked),
    });
  };

  const table = [
    ["Start a deployment…", "primary", () => start(at, service, done), (d) => !d],
    ["Retry…", "quiet", retry, (d) => !d && history()[0]?.status === "rolled_back"],
    ["Undo…", "quiet", undo, (d) => !d && history()[0]?.status === "completed" && !history()[0].aa],
    ["Advance", "primary", now("advance"), (d) => d && d.status !== "paused"],
    ["Pause", "quiet", now("pause"), (d) => d?.status === "in_progress"],
    ["Resume", "primary", now("resume"), (d) => d?.status === "paused"],
    ["Promote…", "quiet", promote, (d) => d],
    ["Roll back…", "danger", rollback, (d) => d],
  ];
  const elements = table.map(([label, kind, onclick]) => h("button", { type: "button", class: kind, onclick, hidden: true }, label));
  return {
    elements,
    update: (deployment) => {
      const focused = document.activeElement;
      table.forEach(([, , , fits], index) => shown(elements[index], mayWrite() && Boolean(fits(deployment))));
      // Who has just pressed a button that is gone goes on beside it.
      if (elements.includes(focused) && focused.hidden) elements.find((element) => !element.hidden)?.focus();
    },
  };
}

const STRATEGIES = [
  ["canary", "canary: the configured stages"],
  ["rolling", "rolling: in equal steps"],
  ["blue-green", "blue-green: nobody, until you advance it"],
  ["instant", "instant: everybody at once"],
];

function start(at, service, done) {
  const version = h("input", { name: "version", required: true, maxlength: "128", pattern: "[!-~]{1,128}", autocomplete: "off", spellcheck: "false" });
  const strategy = h("select", { name: "strategy" }, STRATEGIES.map(([value, label]) => h("option", { value }, label)));
  const pools = service().pools.filter((pool) => pool !== service().stable.pool);
  const pool = pools.length > 1 ? h("select", { name: "pool" }, h("option", { value: "" }, "the configured one"), pools.map((value) => h("option", { value }, value))) : null;
  return ask({
    title: `Start a deployment of ${service().name}`,
    fields: [
      field("Version", version, "As it is told to apps, metrics and the history: v2.1.0"),
      field("Strategy", strategy),
      pool ? field("Pool", pool, "Where the new version runs") : null,
    ],
    confirm: "Start",
    act: () => {
      const body = { version: version.value.trim() };
      if (strategy.value !== "canary") body.strategy = strategy.value;
      if (pool?.value) body.pool = pool.value;
      return call("POST", `${at}/deployments`, body).then(done);
    },
  });
}
