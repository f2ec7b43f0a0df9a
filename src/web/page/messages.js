// Short texts that the network keeps: put one under a name, find and read them by their names like files.

import { act, bdi, button, bytes, card, cards, complain, div, el, field, keyed, li, many, p, put, shown, shownLines, sure, toast } from './dom.js';
import { follow, get, on, path, post, read, remove, single } from './api.js';

export const about = { id: 'messages', title: 'Messages', sign: 'messages' };

/** Longer ones are files, to be downloaded. */
const MOST_BYTES = 64 * 1024;
const TEXTS = /\.(txt|md|text)$/i;
/** A message is a file of its title, and found as one. */
const titled = (name) => name.replace(/\.txt$/i, '');
let quit = () => {};
const found = new Map();

const name = el('input', { name: 'name', required: true, maxlength: 200, autocomplete: 'off', placeholder: 'lunch today' });
const text = el('textarea', { name: 'text', required: true, rows: 4, maxlength: 8192, oninput: () => text.setCustomValidity(new TextEncoder().encode(text.value).length > 8192 ? 'A message has at most 8,192 bytes. Put a longer text as a file.' : '') });
const word = el('input', { type: 'search', placeholder: 'Words of a title; nothing shows all', 'aria-label': 'Find messages', autocomplete: 'off', maxlength: 400 });
const told = el('p', { class: 'coverage', role: 'status' });
const list = cards('Messages found');
const own = cards('Kept for you');
const ownPart = el('section', { 'aria-labelledby': 'own-title', hidden: true }, el('h2', { id: 'own-title' }, 'Kept for you by the network'), own);

const write = act(async () => {
  const title = name.value.trim();
  await post('messages', { name: TEXTS.test(title) ? title : `${title}.txt`, text: text.value });
  toast(`The network keeps “${titled(title)}”.`);
  name.value = text.value = '';
});
export const section = el('section', null,
  el('form', { class: 'card', onsubmit: (event) => { event.preventDefault(); write(event); } }, el('h2', null, 'Leave a message'), p('muted', 'Everyone in the network can find and read it, also when this machine is off.'), el('label', null, 'Title', name), el('label', null, 'Text', text), div('row', el('button', { type: 'submit', class: 'primary' }, 'Leave it in the network'))),
  el('h2', null, 'Read messages'), el('form', { role: 'search', 'aria-label': 'Messages', onsubmit: (event) => { event.preventDefault(); act(look)(event); } }, div('row nowrap', field(word), el('button', { type: 'submit' }, 'Find'))),
  told, list, ownPart);

async function look() {
  quit();
  found.clear();
  draw();
  put(told, 'Asking the peers…');
  const query = word.value.trim();
  const { id } = await post('searches', { query: query ? `${query} size:<64K` : 'ext:txt,md size:<64K', zones: 'all' });
  quit = follow(id, (hit) => {
    if (hit.hash && (TEXTS.test(hit.name) || !hit.name.includes('.'))) { found.set(hit.hash, hit); draw(); }
  }, (coverage, problem) => put(told, problem?.message ?? (found.size ? `${many(found.size, 'message')} found.` : 'No message was found.')));
}

function draw() {
  keyed(list, [...found.values()].slice(0, 200), (hit) => hit.hash, (hit) => {
    const words = el('pre', { class: 'message', hidden: true, tabindex: '0', 'aria-label': `Text of ${shown(titled(hit.name))}` });
    const open = button('Read', null, act(async () => {
      if (!words.hidden) { words.hidden = true; open.lastChild.data = 'Read'; open.ariaExpanded = 'false'; return; }
      words.textContent = shownLines(new TextDecoder().decode(await read(`files/${path(hit.hash)}`, MOST_BYTES)));
      words.hidden = false;
      open.lastChild.data = 'Close';
      open.ariaExpanded = 'true';
    }), { label: `Read ${shown(titled(hit.name))}`, 'aria-expanded': 'false' });
    return li(card('messages', bdi(titled(hit.name)), [bytes(hit.size_bytes), ' · ', many(hit.holders.length, 'peer')], words, open));
  });
}

/** What this peer had the network keep. Each look asks the keepers, so that it is only taken where it is seen. */
const reloadOwn = single(async () => {
  if (section.hidden) return;
  const { items } = await get('puts');
  ownPart.hidden = items.length === 0;
  keyed(own, items, (one) => one.hash, () => li(), (node, one) => put(node, card('shares', bdi(titled(one.name)), [one.size_bytes > 0 && `${bytes(one.size_bytes)} · `, one.kept === null ? 'nobody could be asked' : `${one.kept} of ${many(one.replicas, 'copy', 'copies')}`, one.keepers.length > 0 && [', kept by ', bdi(one.keepers.join(', '))]], null,
    button('Take back', null, act(async () => {
      if (!(await sure('Take this back?', ['The network gives up its copies of “', bdi(titled(one.name)), '”.'], 'Take back'))) return;
      await remove(path('puts', one.hash));
      await reloadOwn();
    }), { label: `Take back ${shown(titled(one.name))}` }))));
});
on('transfer', ({ direction, state }) => { if (direction === 'put' && state === 'done') reloadOwn().catch(complain); });
export const reload = reloadOwn;
export const show = () => reloadOwn().catch(complain);
