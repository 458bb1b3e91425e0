// Elements without a framework: made once, then only their texts change, so that nobody loses
// the focus, a selection or a screen reader's place. Texts are set as texts, never as HTML.

export function h(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (name in element && typeof value !== "string") element[name] = value;
    else element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...children.flat().filter((child) => child !== null && child !== undefined && child !== false));
  return element;
}

// Writes only what is new: screen readers read every write.
export function text(element, value) {
  if (element.textContent !== value) element.textContent = value;
}

export function attribute(element, name, value) {
  if (value === null || value === undefined || value === false) {
    if (element.hasAttribute(name)) element.removeAttribute(name);
  } else if (element.getAttribute(name) !== String(value)) element.setAttribute(name, String(value));
}

export function shown(element, yes) {
  if (element.hidden === yes) element.hidden = !yes;
}

// Holds the children of a list to what there is, by key; what stays keeps its element.
export class Keyed {
  constructor(parent, make) {
    this.parent = parent;
    this.make = make;
    this.rows = new Map();
  }

  update(items, key) {
    const before = this.rows;
    this.rows = new Map();
    for (const item of items) {
      const name = key(item);
      const row = before.get(name) ?? this.make(item);
      before.delete(name);
      row.update(item);
      this.rows.set(name, row);
    }
    for (const row of before.values()) row.element.remove();
    let place = this.parent.firstElementChild;
    for (const row of this.rows.values()) {
      if (row.element === place) place = place.nextElementSibling;
      else this.parent.insertBefore(row.element, place);
    }
  }
}
