// A pad on which sequences are drawn: a curve for each feature, by mouse, finger or keys.

import { el, field, fresh, svg, withWidth } from "./elements.js";
import { short } from "./values.js";

const HEIGHT = 200;
const MOST_STEPS = 2000;
const MOST_BUTTONS = 8;
const USUAL_STEPS = 60;
const COLOURS = 8;
const SHAPES = {
  wave: (at, feature, _, features) => 0.5 + Math.round(4000 * Math.sin(2 * Math.PI * (2 * at + feature / features))) / 10000, // zero is 0, not 2e-16
  steps: (at, feature) => ((Math.floor(at * 6) + feature) % 2 ? 0.8 : 0.25),
  noise: (at, feature, before) => Math.min(0.95, Math.max(0.05, (before ?? 0.5) + (Math.random() - 0.5) * 0.16)),
};

export class Curve {
  /** `input`: what the service says of it; `changed` is called after each change, with true when it is complete. */
  constructor(input, changed) {
    this.fixed = input.steps;
    this.features = input.shape[2];
    this.input = input;
    this.changed = changed;
    this.steps = this.fixed ?? USUAL_STEPS;
    [this.low, this.high] = input.range ?? [-1, 1];
    this.curves = Array.from({ length: this.features }, () => new Float64Array(this.steps));
    this.feature = 0;
    this.step = 0;
    this.width = 600;
    this.build();
    this.shape("wave", false);
  }

  build() {
    this.grid = svg("path", { class: "grid" });
    this.zero = svg("path", { class: "zero" });
    this.paths = this.curves.slice(0, 64).map((_, feature) => svg("path", { class: `curve s${feature % COLOURS}` }));
    this.cursor = svg("path", { class: "cursor" });
    this.dot = svg("circle", { class: "dot", r: 5 });
    this.labels = [svg("text", { class: "tick", x: 8, y: 27 }), svg("text", { class: "tick", x: 8, y: HEIGHT - 17 })];
    const hint = fresh("hint");
    this.pad = svg("svg", {
      class: "pad", height: HEIGHT, tabindex: 0, role: "slider", "aria-label": `Curve of ${this.input.name}`, "aria-orientation": "vertical",
      "aria-describedby": hint, onpointerdown: (event) => this.press(event), onpointermove: (event) => this.move(event),
      onpointerup: (event) => this.release(event), onpointercancel: (event) => this.release(event), onkeydown: (event) => this.key(event),
    }, this.grid, this.zero, ...this.paths, this.cursor, this.dot, ...this.labels);
    this.element = el("div", { class: "curve-editor" }, this.chips(), this.pad,
      el("p", { class: "hint", id: hint }, "Draw with mouse or finger. With keys, ← → choose a timestep, ↑ ↓ change it."),
      this.settings());
    withWidth(this.pad, (width) => {
      this.width = width;
      this.draw();
    });
  }

  /** Which feature is drawn: buttons, or a list where there are many. */
  chips() {
    if (this.features === 1) return null;
    if (this.features > MOST_BUTTONS) {
      const options = this.curves.map((_, feature) => el("option", { value: feature }, `feature ${feature}`));
      return field("Draw", el("select", { onchange: (event) => this.choose(Number(event.target.value)) }, ...options));
    }
    const name = fresh("feature");
    return el("fieldset", { class: "chips" }, el("legend", {}, "Draw"), ...this.curves.map((_, feature) => {
      const id = fresh("chip");
      return el("span", { class: `chip s${feature}` },
        el("input", { type: "radio", name, id, checked: feature === 0, onchange: () => this.choose(feature) }), el("label", { for: id }, el("span", {}, `feature ${feature}`)));
    }));
  }

  settings() {
    const number = (value, attributes, change) => el("input", { type: "number", value, onchange: change, ...attributes });
    const low = number(short(this.low), { step: "any" }, () => this.limits(low, high));
    const high = number(short(this.high), { step: "any" }, () => this.limits(low, high));
    const steps = number(this.steps, { min: 1, max: MOST_STEPS, step: 1, class: "narrow" }, () => this.resize(steps));
    return el("div", { class: "row settings" },
      this.fixed === null ? field("Timesteps", steps) : el("span", { class: "fact" }, `${this.fixed} timesteps`),
      field("from", low), field("to", high),
      el("span", { class: "buttons", role: "group", "aria-label": "Begin with" },
        ...["wave", "steps", "noise", "flat"].map((kind) => el("button", { type: "button", onclick: () => this.shape(kind) }, kind))));
  }

  // -- what it holds --------------------------------------------------------------------------------------------------

  /** One row: a list of timesteps of features. */
  row() {
    return Array.from({ length: this.steps }, (_, step) => this.curves.map((curve) => Number(curve[step].toPrecision(4))));
  }

  shape(kind, tell = true) {
    const flat = Math.min(Math.max(0, this.low), this.high);
    this.curves.forEach((curve, feature) => {
      let share;
      for (let step = 0; step < this.steps; step += 1) {
        share = SHAPES[kind]?.(step / this.steps, feature, share, this.features);
        curve[step] = share === undefined ? flat : this.low + share * (this.high - this.low);
      }
    });
    this.draw();
    if (tell) this.changed(true);
  }

  limits(low, high) {
    const [from, to] = [low.valueAsNumber, high.valueAsNumber];
    const fits = Number.isFinite(from) && Number.isFinite(to) && from < to;
    high.setCustomValidity(fits ? "" : "must be more than the lower end");
    if (!fits) return void high.reportValidity();
    const share = (value) => (value - this.low) / (this.high - this.low);
    this.curves.forEach((curve) => curve.forEach((value, step) => (curve[step] = from + share(value) * (to - from))));
    [this.low, this.high] = [from, to];
    this.draw();
    this.changed(true);
  }

  resize(input) {
    const steps = input.valueAsNumber;
    if (!Number.isInteger(steps) || steps < 1 || steps > MOST_STEPS) return void input.reportValidity();
    this.curves = this.curves.map((curve) => Float64Array.from({ length: steps }, (_, step) => curve[Math.floor((step * curve.length) / steps)]));
    this.steps = steps;
    this.step = Math.min(this.step, steps - 1);
    this.draw();
    this.changed(true);
  }

  choose(feature) {
    this.feature = feature;
    this.draw();
  }

  // -- pointers and keys ----------------------------------------------------------------------------------------------

  place(event) {
    const box = this.pad.getBoundingClientRect();
    const step = Math.floor(((event.clientX - box.left) / box.width) * this.steps);
    const share = 1 - (event.clientY - box.top) / box.height;
    return [Math.min(this.steps - 1, Math.max(0, step)), this.low + Math.min(1, Math.max(0, share)) * (this.high - this.low)];
  }

  press(event) {
    this.pad.setPointerCapture(event.pointerId);
    this.drawing = event.pointerId;
    [this.step, this.last] = this.place(event);
    this.set(this.step, this.last);
  }

  move(event) {
    if (this.drawing !== event.pointerId) return;
    for (const part of event.getCoalescedEvents?.() ?? []) this.line(part);
    this.line(event);
  }

  /** From where the pointer was to where it is: it may have crossed several timesteps at once. */
  line(event) {
    const [step, value] = this.place(event);
    const [from, before] = [this.step, this.last];
    const count = Math.abs(step - from);
    for (let at = 1; at <= count; at += 1) {
      this.curves[this.feature][from + Math.sign(step - from) * at] = before + ((value - before) * at) / count;
    }
    [this.step, this.last] = [step, value];
    this.set(step, value);
  }

  release(event) {
    if (this.drawing !== event.pointerId) return;
    this.drawing = undefined;
    this.changed(true);
  }

  key(event) {
    const fine = (this.high - this.low) / 40;
    const moves = { ArrowLeft: -1, ArrowRight: 1, Home: -this.steps, End: this.steps };
    const changes = { ArrowUp: fine, ArrowDown: -fine, PageUp: 5 * fine, PageDown: -5 * fine };
    if (event.ctrlKey || event.metaKey || event.altKey || !(event.key in moves || event.key in changes)) return;
    event.preventDefault();
    if (event.key in moves) {
      this.step = Math.min(this.steps - 1, Math.max(0, this.step + moves[event.key]));
      this.draw();
    } else {
      const value = this.curves[this.feature][this.step] + changes[event.key];
      this.set(this.step, Math.min(this.high, Math.max(this.low, value)));
      this.changed(true);
    }
  }

  set(step, value) {
    this.curves[this.feature][step] = value;
    this.draw();
    this.changed(false);
  }

  // -- how it looks ---------------------------------------------------------------------------------------------------

  x(step) {
    return ((step + 0.5) / this.steps) * this.width;
  }

  y(value) {
    return HEIGHT - 12 - ((value - this.low) / (this.high - this.low)) * (HEIGHT - 24);
  }

  draw() {
    if (!this.waiting) this.waiting = requestAnimationFrame(() => this.drawNow());
  }

  drawNow() {
    this.waiting = 0;
    this.pad.setAttribute("viewBox", `0 0 ${this.width} ${HEIGHT}`);
    const lines = [0, 0.25, 0.5, 0.75, 1].map((share) => `M0 ${(12 + share * (HEIGHT - 24)).toFixed(1)}H${this.width}`);
    this.grid.setAttribute("d", lines.join(""));
    this.zero.setAttribute("d", this.low < 0 && this.high > 0 ? `M0 ${this.y(0).toFixed(1)}H${this.width}` : "");
    this.paths.forEach((path, feature) => {
      const points = Array.from(this.curves[feature], (value, step) => `${this.x(step).toFixed(1)} ${this.y(value).toFixed(1)}`);
      path.setAttribute("d", points.length === 1 ? `M0 ${this.y(this.curves[feature][0])}H${this.width}` : `M${points.join("L")}`);
      path.classList.toggle("chosen", feature === this.feature);
    });
    const value = this.curves[this.feature][this.step];
    this.cursor.setAttribute("d", `M${this.x(this.step).toFixed(1)} 0V${HEIGHT}`);
    this.dot.setAttribute("cx", this.x(this.step).toFixed(1));
    this.dot.setAttribute("cy", this.y(value).toFixed(1));
    this.dot.setAttribute("class", `dot s${this.feature % COLOURS}`);
    [this.high, this.low].forEach((limit, at) => (this.labels[at].textContent = short(limit)));
    const of = this.features > 1 ? `feature ${this.feature}, ` : "";
    for (const [name, number] of [["valuemin", this.low], ["valuemax", this.high], ["valuenow", value]]) this.pad.setAttribute(`aria-${name}`, short(number));
    this.pad.setAttribute("aria-valuetext", `${of}timestep ${this.step + 1} of ${this.steps}: ${short(value)}`);
  }
}
