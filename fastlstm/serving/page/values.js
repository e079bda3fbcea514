// Numbers, texts and JSON: from what is typed to what is sent, and from what is answered to what is shown.

/** A value as JSON; NaN and infinities as TensorFlow Serving writes them. */
export function toJSON(value) {
  if (Array.isArray(value)) return `[${value.map(toJSON).join(", ")}]`;
  if (typeof value === "number" && !Number.isFinite(value)) return String(value);
  if (value !== null && typeof value === "object") {
    return `{${Object.entries(value).map(([key, inner]) => `${JSON.stringify(key)}: ${toJSON(inner)}`).join(", ")}}`;
  }
  return JSON.stringify(value);
}

const BEYOND_JSON = /"(?:[^"\\]|\\.)*"|-?Infinity|NaN/g;
const MARK = "\u0000";

/** JSON, with NaN and infinities in it. */
export function fromJSON(text) {
  const plain = text.replace(BEYOND_JSON, (found) => (found.startsWith('"') ? found : `"\\u0000${found}"`));
  return JSON.parse(plain, (_, value) => (typeof value === "string" && value.startsWith(MARK) ? Number(value.slice(1)) : value));
}

/** A number as people read it: four digits that count. */
export function short(value) {
  if (typeof value !== "number") return String(value);
  if (!Number.isFinite(value)) return String(value).replace("Infinity", "∞");
  const size = Math.abs(value);
  if (size !== 0 && (size >= 1e6 || size < 1e-4)) return value.toExponential(2).replace("e+", "e");
  return String(Number(value.toPrecision(4)));
}

/** A shape as people read it: "rows × 132 × 1". */
export function shapeText(shape) {
  if (!shape) return "?";
  if (Array.isArray(shape[0])) return shape.map(shapeText).join(", ");
  return shape.map((size, axis) => (size === null ? (axis === 0 ? "rows" : "any") : String(size))).join(" × ");
}

/** How deeply lists stand in each other. */
export function rank(value) {
  return Array.isArray(value) ? 1 + (value.length ? rank(value[0]) : 0) : 0;
}

export class Unreadable extends Error {}

/** The rows that a text means to an input; throws Unreadable with the line. */
export function rowsOf(text, input) {
  if (input.kind === "texts") return textsOf(text, input);
  const trimmed = text.trim();
  if (!trimmed) throw new Unreadable("nothing is entered yet");
  return trimmed.startsWith("[") ? rowsOfJSON(trimmed, input) : rowsOfLines(trimmed, input);
}

function textsOf(text, input) {
  const lines = text.replace(/\n+$/, "").split("\n");
  if (lines.length === 1 && !lines[0]) throw new Unreadable("nothing is entered yet");
  const wrapped = input.shape.length - 1;
  return lines.map((line) => Array.from({ length: wrapped }).reduce((inner) => [inner], line));
}

function rowsOfJSON(text, input) {
  let value;
  try {
    value = fromJSON(text);
  } catch (error) {
    throw new Unreadable(`this begins as JSON, but is none: ${error.message}`);
  }
  return rank(value) === input.shape.length - 1 ? [value] : value; // one row alone
}

const SEPARATORS = /[\s,;]+/;

function numbersOf(line, number) {
  return line.split(SEPARATORS).filter(Boolean).map((word) => {
    const value = /^[-+]?(nan|inf(inity)?)$/i.test(word) ? named(word) : Number(word);
    if (Number.isNaN(value) && !/nan/i.test(word)) throw new Unreadable(`line ${number}: expected numbers, found “${word}”`);
    return value;
  });
}

function named(word) {
  if (/nan/i.test(word)) return NaN;
  return word.startsWith("-") ? -Infinity : Infinity;
}

/** A line is a row; of sequences of features a line is a timestep, and an empty line ends a row. */
function rowsOfLines(text, input) {
  const lines = text.split("\n").map((line, at) => numbersOf(line, at + 1));
  const filled = lines.filter((line) => line.length);
  if (input.shape.length === 1) return filled.flat();
  if (input.shape.length === 2) return filled;
  if (input.shape.length > 3) throw new Unreadable(`rows of ${shapeText(input.shape)} are entered as JSON: [[[…]]]`);
  const features = input.shape[2] ?? filled[0].length;
  const blocks = [[]];
  for (const line of lines) {
    if (line.length) blocks[blocks.length - 1].push(...inSteps(line, features));
    else if (blocks[blocks.length - 1].length) blocks.push([]);
  }
  return blocks.filter((block) => block.length);
}

function inSteps(line, features) {
  if (line.length % features) throw new Unreadable(`expected ${features} numbers a line, found ${line.length}`);
  return Array.from({ length: line.length / features }, (_, step) => line.slice(step * features, (step + 1) * features));
}

/** Rows as lines, the other way round. */
export function linesOf(rows, input) {
  if (input.shape.length === 3) return rows.map((row) => row.map((step) => step.map(short).join(" ")).join("\n")).join("\n\n");
  return rows.map((row) => (Array.isArray(row) ? row.map(short).join(" ") : short(row))).join("\n");
}

/** The answer of TensorFlow Serving's protocol: by name of output, a batch. */
export function outputsOf(answer, outputs) {
  const first = outputs[0].name;
  const names = new Set(outputs.map((output) => output.name));
  const byName = (value) => value !== null && typeof value === "object" && !Array.isArray(value) && Object.keys(value).some((key) => names.has(key));
  if (answer.outputs !== undefined) return byName(answer.outputs) ? answer.outputs : { [first]: answer.outputs };
  const rows = answer.predictions;
  if (!Array.isArray(rows) || !rows.length || !byName(rows[0])) return { [first]: rows };
  return Object.fromEntries(Object.keys(rows[0]).map((name) => [name, rows.map((row) => row[name])]));
}

/** A text between quotation marks of a shell. */
export function quoted(text) {
  return `'${text.replaceAll("'", "'\\''")}'`;
}

/** The number below which a share of the numbers lies. */
export function quantile(numbers, share) {
  const sorted = [...numbers].sort((a, b) => a - b);
  return sorted[Math.min(sorted.length - 1, Math.ceil(share * sorted.length) - 1)];
}

/** So many milliseconds, for people. */
export function duration(ms) {
  if (ms === undefined) return "–";
  if (ms < 1) return `${Math.round(ms * 1000)} µs`;
  return ms < 100 ? `${ms.toFixed(1)} ms` : `${Math.round(ms)} ms`;
}
