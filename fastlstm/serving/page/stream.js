// A stream, live: timesteps go out as they are drawn, over a WebSocket, and each comes back answered.

import { el, field, fresh, say, svg, withWidth } from "./elements.js";
import { Latency } from "./latency.js";
import { scale } from "./pictures.js";
import { path, socket } from "./service.js";
import { fromJSON, short, toJSON } from "./values.js";

const SHOWN = 120; // timesteps
const HEIGHT = 150;
const COLOURS = 8;
const MOST_SLIDERS = 8;
const MOST_FEATURES = 1000;
const MOST_LINES = 32; // of an answer
const MOST_VALUES = 12; // in words
const MOST_UNDERWAY = 8; // timesteps that wait for their answers: slower, then, than was asked for
const RATES = [1, 2, 5, 10, 20, 50];

/** Can the page make timesteps of these inputs? */
export function drawable(inputs) {
  return inputs.every((input) => input.kind === "sequence" || (input.shape.length === 2 && input.kind !== "texts" && input.shape[1] <= MOST_FEATURES));
}

/** Curves that move to the left as timesteps come. */
class Strip {
  constructor(words, attributes = {}) {
    this.root = svg("svg", { class: "plot strip", height: HEIGHT, role: "img", "aria-label": words, ...attributes });
    this.lines = [];
    this.width = 600;
    this.still = matchMedia("(prefers-reduced-motion: reduce)");
    withWidth(this.root, (width) => {
      this.width = width;
      this.draw();
    });
  }

  add(values) {
    values.forEach((value, at) => (this.lines[at] ??= []).push(value));
    this.count = (this.count ?? 0) + 1;
    this.lines.forEach((line) => line.length > SHOWN && line.shift());
    this.draw();
  }

  clear() {
    this.lines = [];
    this.count = 0;
    this.draw();
  }

  /** Of a pad: between what it is drawn; else by what there is. */
  ends() {
    if (this.range) return this.range;
    const known = this.lines.flat().filter(Number.isFinite);
    const ticks = scale(Math.min(...known, Infinity), Math.max(...known, -Infinity));
    return [ticks[0], ticks.at(-1)];
  }

  draw() {
    if (!this.waiting) this.waiting = requestAnimationFrame(() => this.drawNow());
  }

  drawNow() {
    this.waiting = 0;
    const [low, high] = this.ends();
    const y = (value) => HEIGHT - 10 - ((Math.min(high, Math.max(low, value)) - low) / (high - low)) * (HEIGHT - 20);
    const parts = [0, 0.5, 1].map((share) => svg("path", { class: "grid", d: `M0 ${10 + share * (HEIGHT - 20)}H${this.width}` }));
    if (low < 0 && high > 0) parts.push(svg("path", { class: "zero", d: `M0 ${y(0).toFixed(1)}H${this.width}` }));
    this.lines.forEach((line, at) => parts.push(svg("path", { class: `curve chosen s${at % COLOURS}`, d: this.course(line, y) })));
    parts.push(svg("text", { class: "tick", x: 8, y: 22 }, short(high)), svg("text", { class: "tick", x: 8, y: HEIGHT - 14 }, short(low)));
    this.root.setAttribute("viewBox", `0 0 ${this.width} ${HEIGHT}`);
    this.root.replaceChildren(...parts);
  }

  /** New timesteps come in at the right; for those who want no motion the pen goes from left to right, and begins again. */
  course(line, y) {
    const begun = this.count - line.length;
    const place = this.still.matches ? (at) => (begun + at) % SHOWN : (at) => SHOWN - line.length + at;
    let pen = "M";
    return line.map((value, at) => {
      if (!Number.isFinite(value)) return (pen = "M"), "";
      const part = `${place(at) === 0 ? "M" : pen}${(((place(at) + 0.5) / SHOWN) * this.width).toFixed(1)} ${y(value).toFixed(1)}`;
      pen = "L";
      return part;
    }).join("");
  }
}

export class Live {
  constructor(model, version) {
    this.model = model;
    this.version = version;
    this.underway = [];
    this.values = new Map(model.inputs.map((input) => [input.name, this.middle(input)]));
    this.latency = new Latency();
    this.steps = 0;
    this.build();
  }

  middle(input) {
    if (input.kind === "ids") return [0];
    const [low, high] = input.range ?? [-1, 1];
    return Array.from({ length: input.shape.at(-1) }, () => Math.min(high, Math.max(low, 0)));
  }

  build() {
    this.output = new Strip("Answers of the last timesteps");
    this.numbers = el("output", { class: "answer-line" }, "–");
    this.state = el("p", { class: "hint", role: "status" }, "Not connected.");
    this.problem = el("p", { class: "error", role: "alert" });
    this.start = el("button", { class: "first", type: "button", onclick: () => this.toggle() }, "Start");
    const rate = el("select", { onchange: () => this.again() }, ...RATES.map((times) => el("option", { value: times, selected: times === 20 }, `${times} a second`)));
    this.rate = rate;
    this.element = el("div", { class: "live" },
      ...this.model.inputs.map((input) => this.entry(input)),
      el("div", { class: "row" }, this.start,
        el("button", { type: "button", onclick: () => this.one() }, "One timestep"),
        el("button", { type: "button", onclick: () => this.anew() }, "Begin anew"), field("Timesteps", rate)),
      this.problem,
      el("h4", {}, "Answers"), this.output.root, this.numbers, this.state, this.latency.element);
  }

  entry(input) {
    if (input.kind === "ids") {
      const most = input.vocabulary === null ? null : input.vocabulary - 1;
      const id = el("input", { type: "number", min: 0, max: most, step: 1, value: 0, class: "narrow", onchange: () => id.checkValidity() && (this.values.get(input.name)[0] = id.valueAsNumber) });
      return field(`${input.name}: id of the next timestep`, id);
    }
    return this.pad(input);
  }

  /** What goes out: a pad for the pointer, and a slider for each feature. */
  pad(input) {
    const values = this.values.get(input.name);
    const strip = new Strip(`Timesteps of ${input.name} that went out`, {
      onpointerdown: (event) => press(event), onpointermove: (event) => event.buttons && this.held === event.pointerId && move(event),
      onpointerup: () => this.release(), onpointercancel: () => this.release(),
    });
    strip.root.classList.add("pad");
    strip.range = input.range ?? [-1, 1];
    const [low, high] = strip.range;
    let feature = 0;
    const sliders = values.slice(0, MOST_SLIDERS).map((value, at) => this.slider(input, values, at, strip.range, () => (feature = at)));
    const move = (event) => {
      const box = strip.root.getBoundingClientRect();
      const share = 1 - (event.clientY - box.top - 10) / (box.height - 20);
      values[feature] = low + Math.min(1, Math.max(0, share)) * (high - low);
      sliders[feature].show();
    };
    const press = (event) => {
      strip.root.setPointerCapture(event.pointerId);
      this.held = event.pointerId;
      move(event);
      this.again();
    };
    (this.strips ??= new Map()).set(input.name, strip);
    const rest = values.length - sliders.length;
    return el("div", {}, el("h4", {}, input.name), strip.root,
      el("p", { class: "hint" }, "Press and draw: as long as you do, timesteps go out and are answered. Or press Start, and move the sliders."),
      el("div", { class: "sliders" }, ...sliders.map((slider) => slider.element)),
      rest > 0 ? el("p", { class: "hint" }, `The other ${rest} features stay at ${short(values[MOST_SLIDERS])}.`) : null);
  }

  slider(input, values, at, [low, high], chosen) {
    const shown = el("output", {}, short(values[at]));
    const range = el("input", {
      type: "range", min: low, max: high, step: (high - low) / 200, value: values[at], onfocus: chosen,
      oninput: () => ((values[at] = range.valueAsNumber), (shown.textContent = short(values[at]))),
    });
    const name = input.shape.at(-1) === 1 ? input.name : `feature ${at}`;
    const element = el("div", { class: `slider s${at}` }, field(name, range, shown));
    return { element, show: () => ((range.value = values[at]), (shown.textContent = short(values[at]))) };
  }

  // -- the connection -------------------------------------------------------------------------------------------------

  open() {
    if (this.socket && this.socket.readyState <= WebSocket.OPEN) return;
    this.problem.textContent = "";
    this.socket = socket(path(this.model.name, this.version, "/stream"));
    this.socket.onopen = () => this.tell("Connected: a stream of its own, with its own state.");
    this.socket.onmessage = ({ data }) => this.receive(data);
    this.socket.onclose = ({ code, reason }) => this.closed(code, reason);
    this.underway = [];
    this.tell("Connecting …");
  }

  tell(words) {
    this.state.textContent = words;
  }

  closed(code, reason) {
    this.stop();
    this.tell("Not connected.");
    if (code === 1000 || code === 1005 || this.problem.textContent) return; // what was said before it says more
    this.problem.textContent = `The stream has ended: ${reason || "the service has refused it, or is gone"}.`;
  }

  toggle() {
    this.running = !this.running;
    this.start.textContent = this.running ? "Pause" : "Start";
    this.again();
  }

  stop() {
    this.running = false;
    this.held = undefined;
    this.start.textContent = "Start";
    clearInterval(this.timer);
    this.timer = undefined;
  }

  release() {
    this.held = undefined;
    this.again();
  }

  /** Timesteps go out as long as it runs, or somebody draws. */
  again() {
    clearInterval(this.timer);
    this.timer = undefined;
    if (!this.running && this.held === undefined) return;
    this.open();
    this.timer = setInterval(() => this.send(), 1000 / Number(this.rate.value));
  }

  one() {
    this.open();
    if (this.socket.readyState === WebSocket.OPEN) this.send();
    else this.socket.addEventListener("open", () => this.send(), { once: true });
  }

  /** The same connection begins anew; without one, the next does. */
  anew() {
    this.steps = 0;
    for (const strip of [...(this.strips?.values() ?? []), this.output]) strip.clear();
    this.numbers.textContent = "–";
    this.problem.textContent = "";
    if (this.socket?.readyState === WebSocket.OPEN) this.ask({ reset: true });
    say("The stream begins anew.");
  }

  /** Every message has one answer, in order. */
  ask(message) {
    this.underway.push(performance.now());
    this.socket.send(toJSON(message));
  }

  send() {
    if (this.socket.readyState !== WebSocket.OPEN || this.underway.length >= MOST_UNDERWAY) return;
    const steps = this.model.inputs.map((input) => [input.name, this.step(input)]);
    this.ask(steps.length === 1 ? steps[0][1] : { inputs: Object.fromEntries(steps) });
    for (const [name, values] of steps) this.strips?.get(name)?.add([values].flat());
  }

  step(input) {
    const values = this.values.get(input.name);
    return input.kind === "ids" ? values[0] : values.map((value) => Number(value.toPrecision(4)));
  }

  receive(data) {
    const answer = fromJSON(data);
    const begun = this.underway.shift();
    if (answer?.error !== undefined) {
      this.problem.textContent = String(answer.error);
      this.stop();
    } else if (answer?.reset === undefined) {
      this.latency.add(performance.now() - begun);
      this.steps += 1;
      this.show(answer?.outputs ?? answer);
    }
  }

  show(answer) {
    const parts = Array.isArray(answer) ? answer : answer !== null && typeof answer === "object" ? Object.values(answer) : [answer];
    const values = parts.flat(Infinity).map((value) => value ?? NaN);
    this.output.add(values.filter((value) => typeof value === "number").slice(0, MOST_LINES));
    this.numbers.textContent = `timestep ${this.steps}: ${this.words(values)}`;
  }

  /** The most probable classes, or the values. */
  words(values) {
    const [output, ...others] = this.model.outputs.filter((one) => one.labels || one.dtype !== "string");
    const classes = output?.labels ?? (output?.activation === "softmax" ? values.map((_, at) => `class ${at}`) : null);
    if (others.length || classes?.length !== values.length) return values.slice(0, MOST_VALUES).map(short).join("  ") + (values.length > MOST_VALUES ? " …" : "");
    const best = values.map((value, at) => [value, classes[at]]).sort(([one], [other]) => other - one);
    return best.slice(0, 3).map(([value, name]) => `${name} ${(100 * value).toFixed(1)} %`).join(", ");
  }
}
