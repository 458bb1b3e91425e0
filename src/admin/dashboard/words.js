// Numbers and times for people.

const whole = new Intl.NumberFormat("en-US");
// Shares are hundredths of a percent.
const short = new Intl.NumberFormat("en-US", { maximumFractionDigits: 2 });

export const count = (value) => (value === undefined || value === null ? "–" : whole.format(value));

export const percent = (rate) => {
  if (rate === undefined || rate === null) return "–";
  const value = rate * 100;
  return `${value === 0 ? "0" : value < 0.01 ? "<0.01" : value < 10 ? value.toFixed(2) : value.toFixed(1)} %`;
};

export const share = (value) => `${short.format(value ?? 0)} %`;

export const millis = (value) => {
  if (value === undefined || value === null) return "–";
  if (value >= 10000) return `${(value / 1000).toFixed(1)} s`;
  return value < 10 ? `${value.toFixed(1)} ms` : `${whole.format(Math.round(value))} ms`;
};

export const rate = (value) => (value === undefined ? "–" : `${value < 10 ? value.toFixed(1) : whole.format(Math.round(value))}/s`);

export const evidence = (value) => {
  if (value === undefined || value === null) return "–";
  if (value > 1e12) return "more than 10¹²";
  return value < 10 ? value.toFixed(1) : whole.format(Math.round(value));
};

export const span = (seconds) => {
  if (seconds === undefined || seconds === null) return "–";
  const all = Math.max(0, Math.round(seconds));
  if (all < 60) return `${all} s`;
  if (all < 3600) return `${Math.floor(all / 60)} min ${String(all % 60).padStart(2, "0")} s`;
  if (all < 86400) return `${Math.floor(all / 3600)} h ${String(Math.floor((all % 3600) / 60)).padStart(2, "0")} min`;
  return `${Math.floor(all / 86400)} d ${Math.floor((all % 86400) / 3600)} h`;
};

const clock = new Intl.DateTimeFormat("en-GB", { hour: "2-digit", minute: "2-digit", second: "2-digit" });
const day = new Intl.DateTimeFormat("en-GB", { day: "numeric", month: "short", hour: "2-digit", minute: "2-digit", second: "2-digit" });

export const time = (at) => {
  if (!at) return "–";
  const then = new Date(at);
  return (then.toDateString() === new Date().toDateString() ? clock : day).format(then);
};

const STATUS = {
  pending: "pending",
  in_progress: "in progress",
  paused: "paused",
  completed: "completed",
  rolled_back: "rolled back",
  failed: "failed",
};

export const status = (value) => STATUS[value] ?? value;

// What stable is: its version where anybody said, and its pool.
export const stable = ({ version, pool }) => (version ? `${version} on ${pool}` : pool);

// Who is on which version, in a sentence.
export function whoHasWhat({ deployment: running, stable: now }) {
  if (!running) return `${stable(now)} for everybody`;
  const what = `${running.aa ? "A/A test of " : ""}${running.version} on ${running.pool}`;
  return `${what} for ${share(running.currentPercentage)} of users; stable is ${stable(now)}`;
}

// The verdict's sentence, else why somebody rolled it back.
export const reason = (deployment) => deployment?.decision?.text ?? deployment?.rollbackReason ?? null;
