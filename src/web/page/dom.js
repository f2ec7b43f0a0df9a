// Builds the page out of values: texts of others only ever become text nodes, and what could deceive a reader is shown escaped.

// Control characters, those that turn the direction of text, and those that take no ink: as the terminal's `Printable` has them.
const DECEIVING = /[\p{Cc}\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180e\u200b-\u200f\u2028-\u202e\u2060-\u206f\u3164\ufeff\uffa0\ufff9-\ufffb\u{e0000}-\u{e007f}]/gu;
const escape = (c) => `\\u{${c.codePointAt(0).toString(16)}}`;

/** Any text as it may be seen. */
export const shown = (text) => String(text).replace(DECEIVING, escape);
/** The same for texts of many lines. */
export const shownLines = (text) => String(text).replace(/\r\n/g, '\n').replace(DECEIVING, (c) => (c === '\n' || c === '\t' ? c : escape(c)));

const SVG = 'http://www.w3.org/2000/svg';
const PROPERTIES = new Set(['checked', 'disabled', 'hidden', 'indeterminate', 'max', 'selected', 'tabIndex', 'value', 'download', 'multiple', 'required']);

function fill(node, attributes, children) {
  for (const [key, value] of Object.entries(attributes ?? {})) {
    if (value === undefined || value === null || value === false) continue;
    if (key.startsWith('on')) node.addEventListener(key.slice(2), value);
    else if (PROPERTIES.has(key) && key in node) node[key] = value;
    else node.setAttribute(key, value === true ? '' : shown(value));
  }
  node.append(...texts(children));
  return node;
}

const texts = (children) => children.flat(9).filter((child) => child !== null && child !== undefined && child !== false)
  .map((child) => (child instanceof Node ? child : document.createTextNode(shown(child))));

/** An element with attributes, listeners (`onclick`) and children; strings become escaped text. */
export const el = (tag, attributes, ...children) => fill(document.createElement(tag), attributes, children);
const short = (tag) => (names, ...children) => el(tag, names ? { class: names } : null, ...children);
/** The commonest elements, by their class. */
export const [div, span, p] = ['div', 'span', 'p'].map(short);
export const li = (...children) => el('li', null, ...children);
/** The same in SVG. */
export const svg = (tag, attributes, ...children) => fill(document.createElementNS(SVG, tag), attributes, children);
/** A text of others, kept from turning the text around it. */
export const bdi = (text, attributes) => el('bdi', attributes, text);
/** Puts other children in place, only when the text differs, so that live regions are not read twice. */
export function put(node, ...children) {
  const next = texts(children);
  if (next.every((child) => child.nodeType === 3) && node.childElementCount === 0 && node.textContent === next.map((child) => child.data).join('')) return;
  node.replaceChildren(...next);
}
export const $ = (id) => document.getElementById(id);

const ICONS = {
  search: 'M10.5 17a6.5 6.5 0 1 0 0-13 6.5 6.5 0 0 0 0 13zM20 20l-4.9-4.9',
  transfers: 'M8 4v15m0 0-4-4m4 4 4-4M16 20V5m0 0-4 4m4-4 4 4',
  peers: 'M9 11a3.5 3.5 0 1 0 0-7 3.5 3.5 0 0 0 0 7zM2.5 20c.5-4 3-6 6.5-6s6 2 6.5 6M16 4.500a3.5 3.5 0 0 1 0 6.200M18 14.500c2 .7 3.2 2.5 3.5 5.5',
  inbox: 'M4 13l3-8h10l3 8v6H4zM4 13h5c0 2 1 3 3 3s3-1 3-3h5',
  shares: 'M3 6h6l2 3h10v10H3zM12 12v5m0-5-2 2m2-2 2 2',
  messages: 'M4 5h16v11H10l-4 4v-4H4zM8 9h8M8 12h5',
  map: 'M6 8.500a2.5 2.5 0 1 0 0-5 2.5 2.5 0 0 0 0 5zM18 11a2.5 2.5 0 1 0 0-5 2.5 2.5 0 0 0 0 5zM9 20a2.5 2.5 0 1 0 0-5 2.5 2.5 0 0 0 0 5zM8.4 6.500l7.2 1.500M6.5 8.500l2 6.500M16.5 10.5 11 16',
  download: 'M12 4v11m0 0-4.5-4.500M12 15l4.5-4.500M5 20h14',
  upload: 'M12 15V4m0 0L7.5 8.500M12 4l4.5 4.500M5 20h14',
  folder: 'M3 6h6l2 3h10v10H3z', file: 'M6 3h8l4 4v14H6zM14 3v4h4',
  audio: 'M9 18a2.5 2.5 0 1 1-5 0 2.5 2.5 0 0 1 5 0zm0 0V5l8-2v4l-8 2',
  video: 'M3 6h12v12H3zM15 10.500l6-3v9l-6-3', image: 'M4 5h16v14H4zM4 16l5-5 4 4 3-3 4 4M15.5 9.500h.01',
  document: 'M6 3h8l4 4v14H6zM14 3v4h4M9 12h6M9 16h6', archive: 'M4 8h16v12H4zM3 4h18v4H3zM10 12h4', code: 'M9 8l-5 4 5 4M15 8l5 4-5 4',
  program: 'M4 5h16v14H4zM7.5 9.500l3 2.5-3 2.500M13 15h4',
  pause: 'M8 5v14M16 5v14', resume: 'M8 5l11 7-11 7z', retry: 'M19 12a7 7 0 1 1-2-5l2 2m0-5v5h-5', cancel: 'M6 6l12 12M18 6 6 18',
  check: 'M5 12.500l4.5 4.500L19 7', more: 'M12 21a9 9 0 1 0 0-18 9 9 0 0 0 0 18zM12 11v5M12 8h.01', sun: 'M12 16a4 4 0 1 0 0-8 4 4 0 0 0 0 8zM12 3v2M12 19v2M3 12h2M19 12h2M5.6 5.6 7 7M17 17l1.4 1.400M5.6 18.4 7 17M17 7l1.4-1.4',
  moon: 'M20 14.500A8.5 8.5 0 0 1 9.5 4a8.5 8.5 0 1 0 10.5 10.500z', auto: 'M12 4a8 8 0 1 0 0 16zM12 4a8 8 0 0 1 0 16', bell: 'M6 17V11a6 6 0 0 1 12 0v6l1.5 1.500h-15zM10 21h4',
};
/** A drawn sign that says nothing to a screen reader. */
export const icon = (name) => svg('svg', { viewBox: '0 0 24 24', class: 'icon', 'aria-hidden': 'true' }, svg('path', { d: ICONS[name] ?? ICONS.file }));
/** A button with a sign and words; `label` alone makes the words heard only. */
export const button = (words, sign, onclick, more = {}) => {
  const { label, ...rest } = more;
  return el('button', { type: 'button', onclick, 'aria-label': label, title: words ? null : label, ...rest, class: `${rest.class ?? ''}${words ? '' : ' sign'}` || null }, sign && icon(sign), words);
};

/** A choice among `[value, words]`. */
export const select = (label, values, attributes) => el('select', { 'aria-label': label, ...attributes }, values.map(([value, words]) => el('option', { value }, words ?? value)));
/** A search box with its sign. */
export const field = (input) => div('field', icon('search'), input);
/** A list of cards, with keys. */
export function cards(label) {
  const list = el('ul', { class: 'cards', 'aria-label': label });
  arrows(list);
  return list;
}
/** What a card of a list holds: a sign, a name, a line below it, more below, and controls. */
export const card = (sign, name, meta, more, controls) => [icon(sign), div('body', div('name wrap', name), div('meta', meta), more), controls && div('controls', controls)];
/** Fills the bar that tells how much of a list is selected, and what can be done with it. */
export function chosen(bar, list, items, words, start) {
  bar.hidden = items.length === 0;
  if (items.length) put(bar, el('strong', null, words), span('fill'), button('Clear', null, () => list.select([])), button('Download', 'download', act(start), { class: 'primary' }));
}
export const chosenBar = () => el('div', { class: 'chosen', role: 'region', 'aria-label': 'Selection', hidden: true });

const KINDS = {
  audio: 'aac aiff flac m4a mid mp3 oga ogg opus wav wma', video: '3gp avi flv m4v mkv mov mp4 mpeg mpg ogv webm wmv',
  image: 'avif bmp gif heic ico jpeg jpg png psd raw svg tif tiff webp xcf', document: 'csv doc docx epub htm html md mobi odp ods odt pdf ppt pptx ps rtf tex txt xls xlsx',
  archive: '7z bz2 dmg gz iso rar tar tgz xz zip zst', program: 'apk appimage deb exe flatpak jar msi rpm snap',
  code: 'c cpp cs css dart go h java js json kt lua php pl py r rb rs sh sql swift toml ts xml yaml yml',
};
const kindOf = new Map(Object.entries(KINDS).flatMap(([kind, list]) => list.split(' ').map((extension) => [extension, kind])));
/** The sign of a file of that name. */
export const kind = (name) => kindOf.get(/\.([a-z0-9]+)$/i.exec(name)?.[1].toLowerCase()) ?? 'file';

/** 1234567 is `1.2 MB`; powers of 1000, as file managers have them. */
export function bytes(count) {
  let value = Number(count) || 0;
  if (value < 1000) return `${value} B`;
  for (const unit of ['kB', 'MB', 'GB', 'TB', 'PB', 'EB']) {
    value /= 1000;
    if (value < 999.5) return `${value < 9.95 ? value.toFixed(1) : Math.round(value)} ${unit}`;
  }
  return 'very large';
}
export function duration(seconds) {
  const s = Math.round(seconds);
  if (s < 60) return `${s} s`;
  if (s < 3600) return `${Math.floor(s / 60)} min ${s % 60} s`;
  if (s < 172800) return `${Math.floor(s / 3600)} h ${Math.floor((s % 3600) / 60)} min`;
  return `${Math.floor(s / 86400)} days`;
}
export const day = (time) => (time ? new Date(time).toLocaleDateString(undefined, { year: 'numeric', month: 'short', day: 'numeric' }) : '');
/** `1 file`, `2 files`. */
export const many = (count, word, words = `${word}s`) => `${Number(count).toLocaleString()} ${count === 1 ? word : words}`;

/** Tells a screen reader, without moving anything. */
export function say(text) { put($('said'), text); }

/** A short notice; errors stay longer and are read at once. */
export function toast(text, { isError = false, hint, action } = {}) {
  const node = el('div', { class: isError ? 'toast bad' : 'toast' }, p('', text, hint && span('muted', ' ', hint)), action,
    button('', 'cancel', () => node.remove(), { label: 'Dismiss', class: 'plain' }));
  const all = $('toasts');
  all.append(node);
  while (all.childElementCount > 3) all.firstElementChild.remove();
  put($(isError ? 'alert' : 'said'), text, hint ? ` ${hint}` : '');
  const leave = () => (node.matches(':hover, :focus-within') ? setTimeout(leave, 4000) : node.remove());
  setTimeout(leave, isError ? 15000 : 5000);
}
/** Says what went wrong and what to do. */
export const complain = (error, what) => { if (!error.isLocked && error.name !== 'AbortError') toast(what ? `${what}: ${error.message}` : error.message, { isError: true, hint: error.hint }); };
/** A listener that complains instead of failing unseen, and is off while it runs. */
export const act = (work) => async (event) => {
  const target = event?.currentTarget;
  if (target?.ariaBusy === 'true') return;
  if (target) target.ariaBusy = 'true';
  try { await work(event); } catch (error) { complain(error); } finally { if (target) target.ariaBusy = null; }
};

/** A modal window; resolves with the value of the button that closed it, or undefined after Esc. It stays until `work` went well. */
export function dialog(title, body, choices = [], work = null) {
  return new Promise((resolve) => {
    const heading = `d${Date.now()}`;
    const problem = el('p', { class: 'note bad', role: 'alert' });
    const submit = act(async ({ submitter }) => {
      try { await work?.(); node.close(submitter?.value ?? ''); } catch (error) { put(problem, error.message, ' ', error.hint); }
    });
    const node = el('dialog', { 'aria-labelledby': heading },
      el('form', { method: 'dialog', onsubmit: (event) => { event.preventDefault(); submit(event); } },
        div('head', el('h2', { id: heading }, title), span('fill'), button('', 'cancel', () => node.close(), { label: 'Close', class: 'plain' })),
        body, problem, choices.length > 0 && div('row end',
          // Enter is the choice that does something: what does not is no submit button.
          choices.map(([words, value, style]) => (value ? el('button', { type: 'submit', value, class: style }, words) : button(words, null, () => node.close()))))));
    node.addEventListener('close', () => { node.remove(); resolve(node.returnValue || undefined); });
    node.addEventListener('click', (event) => { if (event.target === node) node.close(); });
    document.body.append(node);
    node.showModal();
    // What is asked comes first, not the way out.
    ['input:checked', 'input', '.go', '.end button'].map((one) => node.querySelector(one)).find(Boolean)?.focus();
  });
}
export const sure = async (title, text, words) => (await dialog(title, p('', text), [['Keep as it is', ''], [words, 'yes', 'danger']])) === 'yes';

/** Makes the children of `node` those of `items`, keeping the elements (and the focus in them) of items that stay. */
export function keyed(node, items, keyOf, make, update) {
  node.known ??= new Map();
  const next = new Map();
  items.forEach((item, at) => {
    const key = keyOf(item);
    const child = node.known.get(key) ?? make(item);
    update?.(child, item);
    next.set(key, child);
    if (node.children[at] !== child) {
      if (child.isConnected && node.moveBefore) node.moveBefore(child, node.children[at] ?? null);
      else node.insertBefore(child, node.children[at] ?? null);
    }
  });
  for (const [key, child] of node.known) if (!next.has(key)) child.remove();
  node.known = next;
}

/** Up and down go to the same control of the next item of a list. */
export function arrows(list, itemSelector = 'li') {
  list.addEventListener('keydown', (event) => {
    const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    const item = event.target.closest(itemSelector);
    if (!step || !item || event.target.matches('input:not([type=checkbox]), select, textarea')) return;
    const items = [...list.querySelectorAll(itemSelector)];
    const controls = (node) => [...node.querySelectorAll('a[href], button:not([disabled]):not([hidden])')];
    const place = controls(item).indexOf(event.target);
    for (let at = items.indexOf(item) + step; items[at]; at += step) {
      const there = controls(items[at]);
      if (there.length === 0) continue;
      event.preventDefault();
      there[Math.min(Math.max(place, 0), there.length - 1)].focus();
      return;
    }
  });
}

const THEMES = { auto: ['auto', 'as the system'], light: ['sun', 'light'], dark: ['moon', 'dark'] };
/** Makes a button that goes through the colour sets; the choice is remembered. */
export function themes(control) {
  const root = document.documentElement.dataset;
  const names = Object.keys(THEMES);
  const show = (name) => {
    const words = `Colours: ${THEMES[name][1]}`;
    Object.assign(control, { ariaLabel: words, title: words });
    put(control, icon(THEMES[name][0]));
    return words;
  };
  show(root.theme ?? 'auto');
  control.addEventListener('click', () => {
    const next = names[(names.indexOf(root.theme ?? 'auto') + 1) % names.length];
    if (next === 'auto') delete root.theme; else root.theme = next;
    try { localStorage.setItem('theme', next); } catch { /* only for this time then */ }
    say(show(next));
  });
}
