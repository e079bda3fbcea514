// Elements of HTML and SVG, made one by one: what comes from files or answers becomes text, never markup.

const SVG = "http://www.w3.org/2000/svg";

function filled(node, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else if (value === true) node.setAttribute(name, "");
    else if (value !== false && value !== null && value !== undefined) node.setAttribute(name, String(value));
  }
  node.append(...children.filter((child) => child !== null && child !== undefined && child !== false));
  return node;
}

/** An element of HTML; children are nodes or texts. */
export function el(name, attributes = {}, ...children) {
  return filled(document.createElement(name), attributes, children);
}

/** An element of SVG. */
export function svg(name, attributes = {}, ...children) {
  return filled(document.createElementNS(SVG, name), attributes, children);
}

let count = 0;

/** An id that no other element has. */
export function fresh(word) {
  count += 1;
  return `${word}-${count}`;
}

/** A label and its field, in one element. */
export function field(words, input, ...more) {
  input.id ||= fresh("field");
  return el("span", { class: "field" }, el("label", { for: input.id }, words), input, ...more);
}

/** A text, selected and copied where the browser lets us; says what happened. */
export async function copy(node) {
  try {
    await navigator.clipboard.writeText(node.textContent);
    return "Copied.";
  } catch {
    const range = document.createRange();
    range.selectNodeContents(node);
    getSelection().removeAllRanges();
    getSelection().addRange(range);
    return "Selected: press Ctrl+C to copy it.";
  }
}

/** Said to those who listen to the page. */
export function say(text) {
  document.getElementById("said").textContent = text;
}

/** Calls a function with the width of an element, now and whenever it changes. */
export function withWidth(node, function_) {
  let last = 0;
  new ResizeObserver(([entry]) => {
    const width = Math.floor(entry.contentRect.width);
    if (width && width !== last) function_((last = width));
  }).observe(node);
}
