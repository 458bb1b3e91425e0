// Charts over a deployment: one look for all, drawn by uPlot.

import { h, text } from "./dom.js";
import * as words from "./words.js";

const HEIGHT = 180;
const color = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
const clock = (at) => words.time(at * 1000);

const all = new Set();
// The colours are asked for anew with each drawing.
export const redraw = () => all.forEach((chart) => chart.plot?.redraw(false, true));

const NAMES = { p50: "p50", p95: "p95", p99: "p99" };

const finely = new Intl.DateTimeFormat("en-GB", { minute: "2-digit", second: "2-digit", fractionalSecondDigits: 2 });
// A bad canary may be over in a few milliseconds.
const times = (splits) => splits.map((at) => (splits.at(-1) - splits[0] < 5 ? finely.format(at * 1000) : clock(at)));
// Of a logarithmic axis the powers of ten.
const powers = (_, splits) => splits.map((value) => (Number.isInteger(Math.log10(value)) ? value : null));

const axis = (format) => ({
  stroke: () => color("--muted"),
  grid: { stroke: () => color("--line"), width: 1 },
  ticks: { stroke: () => color("--line"), width: 1 },
  font: "12px system-ui, sans-serif",
  ...(format ? { values: (_, splits) => splits.map((value) => (value === null ? "" : format(value))) } : {}),
});

// `lines`: [{ label, color, dash, read(sample) }]. `log` with `bound()`: a logarithmic axis with a line.
export class Chart {
  constructor({ title, note, lines, format, log = false, bound = null }) {
    this.lines = bound ? [...lines, { label: "bound", color: "--bad", dash: [6, 4], bound: true }] : lines;
    this.format = format;
    this.log = log;
    this.bound = bound;
    this.place = h("div", { class: "plot", "aria-hidden": "true" });
    this.values = this.lines.map(() => h("b", {}, "–"));
    const legend = this.lines.map((line, index) =>
      h("li", { class: "legend" }, h("i", { class: `swatch ${line.color.slice(2)} ${line.dash ? (line.dash[0] === 1 ? "dotted" : "dashed") : "line"}` }), `${line.label} `, this.values[index]),
    );
    this.element = h(
      "figure",
      { class: "chart" },
      h("figcaption", {}, h("h3", {}, title), note ? h("small", {}, note) : null, h("ul", { class: "legends" }, legend)),
      this.place,
    );
    this.data = null;
    this.size = new ResizeObserver(() => this.resize());
    this.size.observe(this.place);
    all.add(this);
  }

  // Whoever takes it from the page says so.
  destroy() {
    this.size.disconnect();
    this.plot?.destroy();
    all.delete(this);
  }

  update(samples) {
    this.samples = samples;
    const rows = this.lines.map((line) =>
      samples.map((sample) => {
        const value = line.bound ? this.bound() : line.read(sample);
        return value === undefined || value === null ? null : this.log ? Math.min(Math.max(value, 0.1), 1e9) : value;
      }),
    );
    this.data = [samples.map((sample) => sample.at), ...rows];
    if (this.plot) this.plot.setData(this.data);
    else this.draw();
    this.tell(null);
  }

  // Its values at the cursor, else the newest.
  tell(index) {
    this.lines.forEach((line, at) => {
      const row = this.data[at + 1];
      let place = index;
      if (place === null) for (place = row.length - 1; place > 0 && row[place] === null; place -= 1);
      const read = line.bound ? this.bound() : this.samples[place] && line.read(this.samples[place]);
      text(this.values[at], read === undefined || read === null ? "–" : this.format(read));
    });
  }

  resize() {
    const width = this.place.clientWidth;
    if (this.plot && width > 0) this.plot.setSize({ width, height: HEIGHT });
    else if (this.data) this.draw();
  }

  draw() {
    const width = this.place.clientWidth;
    if (width === 0) return;
    this.plot = new uPlot(
      {
        width,
        height: HEIGHT,
        legend: { show: false },
        cursor: { drag: { x: false, y: false }, points: { size: 7 }, y: false },
        scales: { x: { time: true }, y: this.log ? { distr: 3, range: (_, low, high) => this.decades(low, high) } : { range: (_, low, high) => [0, high > 0 ? high * 1.1 : 1] } },
        axes: [
          { ...axis(), values: (_, splits) => times(splits), size: 30, space: 90 },
          { ...axis(this.format), size: 70, space: 30, ...(this.log ? { filter: powers, grid: { ...axis().grid, filter: powers }, ticks: { show: false } } : {}) },
        ],
        series: [
          {},
          ...this.lines.map((line) => ({
            label: line.label,
            stroke: () => color(line.color),
            width: line.bound ? 1.5 : 2,
            dash: line.dash,
            spanGaps: true,
            points: line.bound ? { show: false } : { size: 5 },
          })),
        ],
        hooks: {
          setCursor: [(plot) => this.data && this.tell(plot.cursor.idx ?? null)],
          draw: [(plot) => this.stages(plot)],
        },
      },
      this.data,
      this.place,
    );
  }

  decades(low, high) {
    const top = Math.max(high ?? 1, this.bound?.() ?? 1) * 2;
    return [Math.min(0.1, low ?? 0.1), 10 ** Math.ceil(Math.log10(top))];
  }

  // Where the share has changed.
  stages(plot) {
    const { ctx, bbox } = plot;
    ctx.save();
    ctx.strokeStyle = color("--muted");
    ctx.fillStyle = color("--muted");
    ctx.font = `${11 * devicePixelRatio}px system-ui, sans-serif`;
    ctx.setLineDash([2, 4]);
    this.samples.forEach((sample, index) => {
      if (index === 0 || sample.share === this.samples[index - 1].share) return;
      const x = plot.valToPos(sample.at, "x", true);
      ctx.beginPath();
      ctx.moveTo(x, bbox.top);
      ctx.lineTo(x, bbox.top + bbox.height);
      ctx.stroke();
      const atTheEdge = x > bbox.left + bbox.width - 60 * devicePixelRatio;
      ctx.textAlign = atTheEdge ? "right" : "left";
      ctx.fillText(words.share(sample.share), x + (atTheEdge ? -4 : 4) * devicePixelRatio, bbox.top + 11 * devicePixelRatio);
    });
    ctx.restore();
  }
}

const errorRate = (track) => (track.requests > 0 ? track.errors / track.requests : null);

export function chartsOf(bounds) {
  const both = (read) => [
    { label: "stable", color: "--stable", read: (sample) => read(sample.stable, sample) },
    { label: "canary", color: "--canary", read: (sample) => read(sample.canary, sample) },
  ];
  const quantile = (name, dash) => [
    { label: `stable ${NAMES[name]}`, color: "--stable", dash, read: (sample) => sample.stable[name] },
    { label: `canary ${NAMES[name]}`, color: "--canary", dash, read: (sample) => sample.canary[name] },
  ];
  return [
    new Chart({ title: "Error rate", lines: both(errorRate), format: words.percent }),
    new Chart({
      title: "Latency",
      lines: [...quantile("p50", [1, 4]), ...quantile("p95"), ...quantile("p99", [7, 3])],
      format: words.millis,
    }),
    new Chart({ title: "Requests", lines: both((track, sample) => (sample.seconds > 0.01 ? track.requests / sample.seconds : null)), format: words.rate }),
    new Chart({
      title: "Evidence against the canary",
      note: "what reaches the bound is proven",
      lines: [
        { label: "errors", color: "--canary", read: (sample) => sample.evidence.errors },
        { label: "latency", color: "--stable", dash: [1, 4], read: (sample) => sample.evidence.latency },
        { label: "limit", color: "--good", dash: [7, 3], read: (sample) => sample.evidence.limit },
      ],
      format: words.evidence,
      log: true,
      bound: bounds,
    }),
  ];
}
