// A list of any length with selection, of which only what is in sight is in the page. Rows are as high as `--row` says.

import { div, el, icon, say, shown } from './dom.js';

/** Rows kept above and below of what is seen. */
const MARGIN = 8;

export class List {
  /**
   * `row(item)` gives `{name, sign, body, controls}`; `keyOf(item)` a key; `open(item)` is Enter; `isSelectable(item)`;
   * `changed(selected)` is told the selected items; `end()` when the end comes into sight.
   */
  constructor(label, options) {
    Object.assign(this, { isSelectable: () => true, changed() {}, end() {}, more() {} }, options);
    this.items = [];
    this.selected = new Set();
    this.rows = new Map();
    this.active = null;
    this.space = el('div', { role: 'rowgroup', class: 'space' });
    this.node = el('div', { role: 'grid', class: 'list', 'aria-label': label, 'aria-multiselectable': 'true', hidden: true, onkeydown: (event) => this.key(event) }, this.space);
    const draw = () => this.later();
    addEventListener('scroll', draw, { passive: true });
    addEventListener('resize', () => { this.height = 0; draw(); });
  }

  /** Shows these, keeping what is selected and where one is. */
  set(items) {
    this.items = items;
    this.at = new Map(items.map((item, at) => [this.keyOf(item), at]));
    let isLess = false;
    for (const key of this.selected) if (!this.at.has(key)) isLess = this.selected.delete(key);
    if (!this.at.has(this.active)) this.active = items.length ? this.keyOf(items[0]) : null;
    this.node.hidden = items.length === 0;
    this.node.setAttribute('aria-rowcount', items.length);
    this.later();
    if (isLess) this.tell();
  }

  /** Items changed in place. */
  refresh() { this.isStale = true; this.later(); }

  later() {
    this.frame ??= requestAnimationFrame(() => { this.frame = null; this.draw(); });
  }

  draw() {
    if (this.node.hidden || this.node.closest('[hidden]')) return;
    this.height ||= parseFloat(getComputedStyle(this.node).getPropertyValue('--row')) || 60;
    const { height, items } = this;
    this.space.style.height = `${items.length * height}px`;
    const top = this.space.getBoundingClientRect().top;
    const first = Math.max(0, Math.floor(-top / height) - MARGIN);
    const last = Math.min(items.length - 1, Math.ceil((innerHeight - top) / height) + MARGIN);
    const wanted = new Map();
    for (let at = first; at <= last; at++) wanted.set(this.keyOf(items[at]), at);
    // The row that has the focus stays, wherever it is.
    if (this.active !== null) wanted.set(this.active, this.at.get(this.active));
    for (const [key, row] of this.rows) {
      if (!wanted.has(key)) { row.remove(); this.rows.delete(key); }
    }
    for (const [key, at] of wanted) {
      let row = this.rows.get(key);
      if (!row || this.isStale || row.item !== items[at]) {
        const next = this.make(items[at]);
        const hasFocus = row?.contains(document.activeElement) && [...row.querySelectorAll('*')].indexOf(document.activeElement);
        if (row) row.replaceWith(next); else this.space.append(next);
        if (typeof hasFocus === 'number') (next.querySelectorAll('*')[hasFocus] ?? next).focus({ preventScroll: true });
        row = next;
        this.rows.set(key, row);
      }
      row.style.transform = `translateY(${at * height}px)`;
      row.setAttribute('aria-rowindex', at + 1);
      this.mark(key, row);
    }
    this.isStale = false;
    // Read in order, whatever the order in which rows came into sight.
    const order = [...wanted].sort((one, other) => one[1] - other[1]).map(([key]) => this.rows.get(key));
    order.forEach((row, at) => {
      if (this.space.children[at] !== row) {
        if (this.space.moveBefore) this.space.moveBefore(row, this.space.children[at] ?? null);
        else if (!row.contains(document.activeElement)) this.space.insertBefore(row, this.space.children[at] ?? null);
      }
    });
    if (items.length && last >= items.length - 1 - MARGIN) this.end();
  }

  make(item) {
    const key = this.keyOf(item);
    const { name, sign, body, controls } = this.row(item);
    const can = this.isSelectable(item);
    const box = el('input', { type: 'checkbox', 'aria-label': `Select ${shown(name)}`, disabled: !can, onclick: (event) => { this.toggle(key, event.shiftKey); } });
    const row = el('div', { role: 'row', class: 'item', onclick: (event) => this.click(event, key), ondblclick: (event) => { if (!event.target.closest('button, a, input')) this.open(item); }, onfocusin: () => this.enter(key) },
      el('div', { role: 'gridcell', class: 'pick' }, box), el('div', { role: 'gridcell', class: 'what' }, icon(sign), div('body', body)),
      el('div', { role: 'gridcell', class: 'controls' }, controls));
    return Object.assign(row, { item, box });
  }

  mark(key, row) {
    const isActive = key === this.active;
    row.tabIndex = isActive ? 0 : -1;
    row.setAttribute('aria-selected', this.selected.has(key));
    row.box.checked = this.selected.has(key);
    for (const control of row.querySelectorAll('button, a, input')) control.tabIndex = isActive ? 0 : -1;
  }

  marks() { for (const [key, row] of this.rows) this.mark(key, row); }

  enter(key) {
    if (this.active === key) return;
    this.active = key;
    this.marks();
  }

  click(event, key) {
    if (event.target.closest('button, a, input') || getSelection().toString()) return;
    this.enter(key);
    this.rows.get(key)?.focus({ preventScroll: true });
    if (event.shiftKey || event.ctrlKey || event.metaKey) this.toggle(key, event.shiftKey);
  }

  toggle(key, isRange) {
    const at = this.at.get(key);
    const from = isRange ? this.at.get(this.anchor) ?? at : at;
    const isOn = isRange || !this.selected.has(key);
    for (let place = Math.min(at, from); place <= Math.max(at, from); place++) {
      if (!this.isSelectable(this.items[place])) continue;
      const one = this.keyOf(this.items[place]);
      if (isOn) this.selected.add(one); else this.selected.delete(one);
    }
    this.anchor = key;
    this.marks();
    this.tell();
  }

  select(items) {
    this.selected = new Set(items.map(this.keyOf));
    this.marks();
    this.tell();
  }

  everything() { this.select(this.selected.size ? [] : this.items.filter(this.isSelectable)); }

  tell() {
    const chosen = this.items.filter((item) => this.selected.has(this.keyOf(item)));
    this.changed(chosen);
    say(`${chosen.length} selected`);
  }

  /** Goes to the row of that place. */
  focus(at) {
    const item = this.items[Math.min(Math.max(at, 0), this.items.length - 1)];
    if (!item) return;
    this.active = this.keyOf(item);
    this.draw();
    const row = this.rows.get(this.active);
    row.scrollIntoView({ block: 'nearest' });
    row.focus({ preventScroll: true });
    this.draw();
  }

  key(event) {
    const at = this.at?.get(this.active) ?? 0;
    const page = Math.max(1, Math.floor(innerHeight / this.height) - 4);
    const to = { ArrowDown: at + 1, ArrowUp: at - 1, PageDown: at + page, PageUp: at - page, Home: 0, End: this.items.length - 1 }[event.key];
    const onRow = event.target.matches('[role=row]');
    if (to !== undefined) {
      const before = this.active;
      this.focus(to);
      if (event.shiftKey && this.active !== before) { this.anchor ??= before; this.toggle(this.active, true); }
    } else if (event.key === ' ' && onRow) this.toggle(this.active, event.shiftKey);
    else if (event.key === 'a' && (event.ctrlKey || event.metaKey)) this.select(this.items.filter(this.isSelectable));
    else if (event.key === 'Enter' && onRow) this.open(this.items[at]);
    else if (event.key === 'ArrowRight' && onRow) this.more(this.items[at]);
    else if (event.key === 'Escape' && this.selected.size) this.select([]);
    else return;
    event.preventDefault();
    event.stopPropagation();
  }
}
