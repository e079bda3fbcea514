// Pictures of answers: bars for classes, lines for values.

import { el, svg, withWidth } from "./elements.js";
import { rank, short } from "./values.js";

const MOST_BARS = 12;
const MOST_LINES = 8;
const MOST_POINTS = 40;
const HEIGHT = 180;
const EDGE = { left: 46, right: 12, top: 12, bottom: 22 };

/** A bar for each class, as a table; the longest ones where there are many. */
export function bars(names, values, { signed = false } = {}) {
  const sorted = values.map((value, at) => ({ name: names[at] ?? `class ${at}`, value })).sort((a, b) => b.value - a.value);
  const shown = values.length > MOST_BARS ? sorted.slice(0, MOST_BARS) : sorted.sort((a, b) => names.indexOf(a.name) - names.indexOf(b.name));
  const most = signed ? Math.max(...values.map(Math.abs), 1e-12) : 1;
  const best = Math.max(...values);
  const rows = shown.map(({ name, value }) => {
    const bar = el("span", { class: "bar" });
    bar.style.setProperty("--share", String(Math.min(1, Math.abs(value) / most) || 0));
    return el("tr", { class: value === best && !signed ? "best" : null },
      el("th", { scope: "row", title: name }, name), el("td", { class: `track${value < 0 ? " minus" : ""}` }, bar),
      el("td", { class: "number" }, signed ? short(value) : percent(value)));
  });
  const rest = values.length - shown.length;
  return el("div", { class: "bars" }, el("table", {}, el("tbody", {}, ...rows)), rest ? el("p", { class: "hint" }, `and ${rest} classes below`) : null);
}

function percent(value) {
  return Number.isFinite(value) ? `${(100 * value).toFixed(value > 0.9995 || value < 0.0995 ? 2 : 1)} %` : short(value);
}

/** Lines of numbers that follow one another, and their names; `before`: what they go on from. */
export function lines(series, names, words, before = []) {
  const root = svg("svg", { class: "plot", height: HEIGHT, role: "img", "aria-label": words });
  const shown = series.slice(0, MOST_LINES);
  withWidth(root, (width) => drawn(root, width, shown, before));
  const legend = shown.length > 1 || before.length ? shown.map((_, at) => el("li", { class: `s${at}` }, el("span", {}, names[at] ?? (shown.length > 1 ? String(at) : "answer")))) : [];
  if (before.length) legend.unshift(el("li", { class: "before" }, el("span", {}, "what was drawn")));
  const rest = series.length - shown.length;
  return el("div", { class: "lines" }, root, legend.length ? el("ul", { class: "legend" }, ...legend) : null,
    rest ? el("p", { class: "hint" }, `and ${rest} more in the numbers below`) : null);
}

function drawn(root, width, series, before) {
  const known = [...series.flat(), ...before].filter(Number.isFinite);
  const ticks = scale(Math.min(...known, Infinity), Math.max(...known, -Infinity));
  const [low, high] = [ticks[0], ticks.at(-1)];
  const steps = before.length + Math.max(...series.map((line) => line.length));
  const x = (step) => EDGE.left + (steps === 1 ? 0.5 : step / (steps - 1)) * (width - EDGE.left - EDGE.right);
  const y = (value) => HEIGHT - EDGE.bottom - ((value - low) / (high - low)) * (HEIGHT - EDGE.top - EDGE.bottom);
  root.setAttribute("viewBox", `0 0 ${width} ${HEIGHT}`);
  const parts = ticks.flatMap((tick) => [
    svg("path", { class: tick === 0 ? "zero" : "grid", d: `M${EDGE.left} ${y(tick).toFixed(1)}H${width - EDGE.right}` }),
    svg("text", { class: "tick", x: EDGE.left - 6, y: (y(tick) + 4).toFixed(1), "text-anchor": "end" }, short(tick)),
  ]);
  parts.push(svg("text", { class: "tick", x: x(0), y: HEIGHT - 6 }, "1"));
  if (steps > 1) parts.push(svg("text", { class: "tick", x: x(steps - 1), y: HEIGHT - 6, "text-anchor": "end" }, String(steps)));
  if (before.length) parts.push(svg("path", { class: "curve before", d: path(before, x, y, 0) }));
  series.forEach((line, at) => {
    const joined = before.length ? [before.at(-1), ...line] : line;
    const first = before.length ? before.length - 1 : 0;
    parts.push(svg("path", { class: `curve chosen s${at}`, d: path(joined, x, y, first) }));
    if (steps <= MOST_POINTS) line.forEach((value, step) => Number.isFinite(value) && parts.push(svg("circle", { class: `point s${at}`, r: 3, cx: x(before.length + step).toFixed(1), cy: y(value).toFixed(1) })));
  });
  root.replaceChildren(...parts);
}

/** A line through the numbers; what is none leaves a gap. */
function path(values, x, y, first) {
  let pen = "M";
  return values.map((value, step) => {
    const part = Number.isFinite(value) ? `${pen}${x(first + step).toFixed(1)} ${y(value).toFixed(1)}` : "";
    pen = part ? "L" : "M";
    return part;
  }).join("");
}

/** Round numbers around what is shown. */
export function scale(low, high) {
  if (!(low <= high)) [low, high] = [0, 1];
  if (low === high) [low, high] = low === 0 ? [-1, 1] : [low - Math.abs(low) / 2, high + Math.abs(high) / 2];
  const rough = (high - low) / 4;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 2.5, 5, 10].map((times) => times * power).find((size) => size >= rough);
  const from = Math.floor(low / step + 1e-9);
  const to = Math.ceil(high / step - 1e-9);
  return Array.from({ length: to - from + 1 }, (_, at) => Number(((from + at) * step).toPrecision(12)));
}

/** The picture that suits one row of an output. */
export function picture(output, row, before) {
  const flat = Array.isArray(row) ? row : [row];
  const numeric = (value) => typeof value === "number";
  if (rank(row) <= 1 && flat.some((value) => typeof value === "string")) return el("p", { class: "big" }, flat.join(", "));
  if (rank(row) <= 1 && flat.every(numeric)) {
    if (output.labels?.length === flat.length || (output.activation === "softmax" && flat.length > 1)) return bars(output.labels ?? [], flat);
    if (flat.length === 1) return single(output, flat[0]);
    if (before || flat.length > MOST_BARS) return lines([flat], [], summary(output.name, flat), before);
    return output.activation === "sigmoid" ? bars([], flat) : lines([flat], [], summary(output.name, flat));
  }
  if (rank(row) === 2 && row.flat().every(numeric)) {
    return lines(...classified(output, row), summary(output.name, row.flat()));
  }
  return null;
}

/** A line for each unit, and its name; of many classes those first that are ever probable. */
function classified(output, row) {
  const names = output.labels ?? (output.activation === "softmax" ? row[0].map((_, unit) => `class ${unit}`) : null);
  const units = row[0].map((_, unit) => ({ line: row.map((step) => step[unit]), name: names?.[unit] ?? String(unit) }));
  if (names && units.length > MOST_LINES) units.sort((one, other) => Math.max(...other.line) - Math.max(...one.line));
  return [units.map(({ line }) => line), units.map(({ name }) => name)];
}

function single(output, value) {
  const big = el("p", { class: "big" }, short(value));
  return output.activation === "sigmoid" ? el("div", {}, big, bars([output.name], [value])) : big;
}

function summary(name, values) {
  const known = values.filter(Number.isFinite);
  return `${name}: ${values.length} values from ${short(Math.min(...known))} to ${short(Math.max(...known))}`;
}
