// One version of a model: its inputs as forms, what it answers, its layers.

import { Curve } from "./curve.js";
import { copy, el, field, fresh, say } from "./elements.js";
import { Latency } from "./latency.js";
import { picture } from "./pictures.js";
import { hasToken, path, picture as pictureOf, post, whole } from "./service.js";
import { Live, drawable } from "./stream.js";
import { Unreadable, duration, linesOf, outputsOf, quoted, rowsOf, shapeText, short, toJSON } from "./values.js";

const MOST_FEATURES = 64; // of more there is no pad
const MOST_NUMBERS = 20000; // characters of an answer that are shown
const TEXT_EXAMPLE = "what a lovely film";

/** What is entered for one input: drawn, or typed. */
class Entry {
  constructor(input, changed) {
    this.input = input;
    this.changed = changed;
    const typed = this.typed();
    const canDraw = input.kind === "sequence" && input.shape.length === 3 && input.shape[2] <= MOST_FEATURES;
    this.curve = canDraw ? new Curve(input, changed) : null;
    this.drawn = canDraw;
    const words = [el("code", {}, input.name), el("span", { class: "shape" }, shapeText(input.shape)), el("span", { class: "shape" }, input.dtype)];
    if (input.kind === "ids" && input.vocabulary !== null) words.push(el("span", { class: "shape" }, `ids below ${input.vocabulary}`));
    this.element = el("fieldset", { class: "input" }, el("legend", {}, ...words), canDraw ? this.modes(typed) : null, this.curve?.element, typed);
    typed.hidden = canDraw;
  }

  modes(typed) {
    const name = fresh("mode");
    const choose = (drawn) => {
      if (!drawn && this.drawn) this.text.value = linesOf([this.curve.row()], this.input);
      this.drawn = drawn;
      this.curve.element.hidden = !drawn;
      typed.hidden = drawn;
      this.changed(true);
    };
    const mode = (words, drawn) => {
      const id = fresh("mode");
      return el("span", {}, el("input", { type: "radio", name, id, checked: drawn, onchange: () => choose(drawn) }), el("label", { for: id }, words));
    };
    return el("div", { class: "switch", role: "radiogroup", "aria-label": `How to enter ${this.input.name}` }, mode("Draw", true), mode("Type", false));
  }

  typed() {
    const { input } = this;
    const hint = fresh("hint");
    this.text = el("textarea", { id: fresh("values"), rows: input.kind === "texts" ? 3 : 6, spellcheck: "false", "aria-describedby": hint, oninput: () => this.changed(false), onchange: () => this.changed(true) });
    this.text.value = this.example();
    return el("div", { class: "typed" }, el("label", { for: this.text.id }, input.kind === "texts" ? "Texts" : "Numbers"), this.text, el("p", { class: "hint", id: hint }, this.how()));
  }

  how() {
    const { kind, shape } = this.input;
    if (kind === "texts") return "A text a line.";
    if (kind === "ids") return `A line is a row of whole numbers${this.input.shape[1] ? `, ${this.input.shape[1]} of them` : ""}. Or JSON: [[…], …]`;
    if (shape.length === 3) return `A line is a timestep${shape[2] > 1 ? ` of ${shape[2]} numbers` : ""}; an empty line begins another row. Or JSON: [[[…]]]`;
    return shape.length > 3 ? "JSON: a list of rows, or one row" : "A line is a row. Or JSON: [[…], …]";
  }

  example() {
    const { kind, shape, vocabulary } = this.input;
    if (kind === "texts") return TEXT_EXAMPLE;
    const sizes = shape.slice(1).map((size) => size ?? 8);
    const number = () => (kind === "ids" ? Math.floor(Math.random() * Math.min(vocabulary ?? 10, 1000)) : Math.round(200 * Math.random() - 100) / 100);
    const filled = ([size, ...rest]) => (size === undefined ? number() : Array.from({ length: size }, () => filled(rest)));
    const rows = [filled(sizes)];
    return sizes.length > 2 ? toJSON(rows) : linesOf(rows, this.input);
  }

  /** Throws Unreadable. */
  rows() {
    return this.drawn ? [this.curve.row()] : rowsOf(this.text.value, this.input);
  }

  fault(message) {
    this.text.setAttribute("aria-invalid", message ? "true" : "false");
  }
}

export class ModelView {
  /** `model`: what the service says of it; `version`: the number of the one that was asked for, or null for whichever is served. */
  constructor(model, version) {
    this.model = model;
    this.version = version;
    this.latency = new Latency();
    this.entries = model.inputs.map((input) => new Entry(input, (complete) => this.changed(complete)));
    this.live = model.streams && drawable(model.inputs) ? new Live(model, version) : null;
    const column = (...cards) => el("div", { class: "column" }, ...cards);
    this.element = el("article", { class: "model" }, this.about(), el("div", { class: "columns first-row" }, this.trying(), this.answers()),
      el("div", { class: "columns" }, column(this.streaming(), this.asCurl()), column(this.layers(), this.interface())));
    this.changed(false); // what the form begins with is answered too
  }

  /** Nobody looks at it any more. */
  leave() {
    this.live?.stop();
  }

  card(title, ...children) {
    const id = fresh("title");
    return el("section", { class: "card", "aria-labelledby": id }, el("h3", { id }, title), ...children);
  }

  about() {
    const { model } = this;
    const facts = [`version ${model.version}`, model.generation, `${model.parameters.toLocaleString("en")} parameters`];
    const around = [...model.before.map((line) => ["before", line]), ...model.after.map((line) => ["after", line])];
    return el("header", { class: "about" }, el("h2", { tabindex: -1 }, model.name), this.versions = el("span", {}),
      el("p", { class: "facts" }, ...facts.map((fact) => el("span", {}, fact))),
      around.length ? el("dl", { class: "around" }, ...around.flatMap(([when, line]) => [el("dt", {}, when), el("dd", {}, line)])) : null);
  }

  // -- to try it ------------------------------------------------------------------------------------------------------

  trying() {
    this.problem = el("p", { class: "error", role: "alert" });
    this.auto = el("input", { type: "checkbox", id: fresh("auto"), checked: true });
    return this.card("Try it", el("form", { onsubmit: (event) => (event.preventDefault(), this.predict(true)) },
      ...this.entries.map((entry) => entry.element),
      el("div", { class: "row" }, el("button", { class: "first", type: "submit" }, "Predict"),
        el("span", { class: "check" }, this.auto, el("label", { for: this.auto.id }, "answer at every change"))),
      this.problem));
  }

  asCurl() {
    this.command = el("code", {});
    const copied = el("span", { class: "hint", role: "status" });
    const copies = el("button", { type: "button", onclick: async () => (copied.textContent = await copy(this.command)) }, "Copy");
    return this.card("The same with curl", el("div", { class: "row" }, copies, copied), el("pre", { class: "low", tabindex: 0, role: "group", "aria-label": "curl command" }, this.command));
  }

  answers() {
    this.shown = el("div", { class: "answers" }, el("p", { class: "empty" }, "Press Predict, or change something."));
    this.numbers = el("pre", { tabindex: 0, role: "group", "aria-label": "Answer as JSON" });
    this.details = el("details", {}, el("summary", {}, "Numbers"), this.numbers);
    return this.card("Answer", this.shown, this.details, this.latency.element);
  }

  streaming() {
    if (this.live) return this.card("Live", this.live.element);
    const why = this.model.streams ? "Its inputs are more than this page can draw; a program can stream it." : this.model.why;
    return this.card("Live", el("p", { class: "hint" }, "This model cannot be streamed from here."), el("p", { class: "why" }, why));
  }

  changed(complete) {
    this.curl();
    if (this.auto.checked) this.predict(false);
    else if (complete) this.problem.textContent = "";
  }

  /** What is sent; throws Unreadable. */
  body() {
    const rows = this.entries.map((entry) => {
      try {
        const found = entry.rows();
        entry.fault("");
        return found;
      } catch (error) {
        entry.fault(error.message);
        throw error instanceof Unreadable ? new Unreadable(`${entry.input.name}: ${error.message}`) : error;
      }
    });
    if (rows.length === 1) return toJSON({ instances: rows[0] });
    return toJSON({ inputs: Object.fromEntries(this.entries.map((entry, at) => [entry.input.name, rows[at]])) });
  }

  curl() {
    let body;
    try {
      body = this.body();
    } catch {
      body = "…";
    }
    const token = hasToken() ? '-H "Authorization: Bearer $TOKEN" ' : "";
    this.command.textContent = `curl ${token}-d ${quoted(body)} ${quoted(whole(path(this.model.name, this.version, ":predict")))}`;
  }

  /** Asks; while an answer is on its way, what changes meanwhile is asked once after it. */
  async predict(said) {
    if (this.asking) return void (this.again = { said: said || this.again?.said });
    this.asking = true;
    try {
      const body = this.body();
      const { ms, answer } = await post(path(this.model.name, this.version, ":predict"), body);
      this.latency.add(ms);
      this.show(outputsOf(answer, this.model.outputs));
      this.problem.textContent = "";
      if (said) say(`Answered in ${duration(ms)}. ${this.spoken}`);
    } catch (error) {
      this.problem.textContent = error.message;
    }
    this.asking = false;
    if (this.again) {
      const { said: wanted } = this.again;
      this.again = null;
      this.predict(wanted);
    }
  }

  // -- what it answers ------------------------------------------------------------------------------------------------

  show(outputs) {
    this.last = outputs;
    const rows = Math.max(...Object.values(outputs).map((batch) => (Array.isArray(batch) ? batch.length : 1)));
    this.row = Math.min(this.row ?? 0, rows - 1);
    const parts = Object.entries(outputs).map(([name, batch]) => this.output(name, Array.isArray(batch) ? batch : [batch], rows));
    this.shown.replaceChildren(rows > 1 ? this.chooser(rows) : "", ...parts);
    const text = toJSON(Object.keys(outputs).length === 1 ? Object.values(outputs)[0] : outputs);
    this.numbers.textContent = text.length > MOST_NUMBERS ? `${text.slice(0, MOST_NUMBERS)} …` : text;
    const first = Object.entries(outputs).map(([name, batch]) => `${name}: ${[batch[this.row]].flat(Infinity).slice(0, 6).map(short).join(", ")}`);
    this.spoken = first.join("; ");
  }

  chooser(rows) {
    const input = el("input", { type: "number", min: 1, max: rows, value: this.row + 1, class: "narrow", onchange: () => {
      if (!input.checkValidity()) return;
      this.row = input.valueAsNumber - 1;
      this.show(this.last);
    } });
    return el("div", { class: "row" }, field(`Row of ${rows}`, input));
  }

  output(name, batch) {
    const output = this.model.outputs.find((one) => one.name === name) ?? { name };
    const drawn = picture(output, batch[this.row], this.goesOn());
    return el("section", { class: "output" }, el("h4", {}, el("code", {}, name), output.shape ? el("span", { class: "shape" }, shapeText(output.shape)) : null),
      drawn ?? el("p", { class: "hint" }, "See the numbers below."));
  }

  /** What the answer goes on from: the last of the curve, where both are one series. */
  goesOn() {
    if (!this.model.continues || !this.entries[0].drawn) return undefined;
    return this.entries[0].curve.row().map(([value]) => value);
  }

  // -- what it is -----------------------------------------------------------------------------------------------------

  layers() {
    const { model } = this;
    const place = el("div", { class: "picture", tabindex: 0, role: "group", "aria-label": "Picture of the layers" }, el("p", { class: "hint" }, "Drawing …"));
    pictureOf(`page/models/${encodeURIComponent(model.name)}/versions/${model.version}/layers.svg`).then(
      (url) => place.replaceChildren(el("img", { src: url, alt: `Layers of ${model.name}, drawn; the table below lists them` })),
      (error) => place.replaceChildren(el("p", { class: "error" }, error.message)));
    const rows = model.layers.map((layer) => el("tr", {}, el("th", { scope: "row" }, layer.name), el("td", {}, layer.class), el("td", {}, shapeText(layer.shape)),
      el("td", { class: "number" }, layer.parameters.toLocaleString("en")), el("td", {}, layer.runs)));
    const head = ["layer", "class", "output", "parameters", "runs"].map((word) => el("th", { scope: "col" }, word));
    return this.card("Layers", place, el("details", {}, el("summary", {}, `As a table (${model.layers.length})`),
      el("div", { class: "scroll", tabindex: 0, role: "group", "aria-label": "Table of layers" }, el("table", { class: "list" }, el("thead", {}, el("tr", {}, ...head)), el("tbody", {}, ...rows)))));
  }

  interface() {
    const list = (tensors) => el("ul", { class: "tensors" }, ...tensors.map((tensor) => el("li", {}, el("code", {}, tensor.name),
      el("span", { class: "shape" }, shapeText(tensor.shape)), el("span", { class: "shape" }, tensor.dtype),
      tensor.labels ? el("span", { class: "shape" }, tensor.labels.slice(0, 8).join(", ") + (tensor.labels.length > 8 ? ", …" : "")) : null)));
    return this.card("Inputs and outputs", el("h4", {}, "In"), list(this.model.inputs), el("h4", {}, "Out"), list(this.model.outputs));
  }
}
