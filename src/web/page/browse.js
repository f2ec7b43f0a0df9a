// Peers and what they share: the list of them by zone, and one folder at a time.

import { act, arrows, bdi, button, bytes, card, chosen, chosenBar, complain, day, div, el, field, keyed, kind, li, many, put, shown, span } from './dom.js';
import { all, get, on, path, single, tell } from './api.js';
import { aboutFile, download } from './download.js';
import { List } from './list.js';

export const about = { id: 'peers', title: 'Peers', sign: 'peers' };

/** Peers shown at once; a word finds the others. */
const MOST = 300;
const PAGE = 500;
let peers = [];
let me = '';
let place = null;

const word = el('input', { type: 'search', placeholder: 'Name of a peer', 'aria-label': 'Find a peer', autocomplete: 'off', oninput: () => drawPeers() });
const told = el('p', { class: 'coverage', role: 'status' });
const zones = el('div');
const peersPart = div('', div('row', field(word)), told, zones);
const crumbs = el('nav', { 'aria-label': 'Folder', class: 'crumbs' });
const folderTold = el('p', { class: 'coverage', role: 'status' });
const empty = el('p', { class: 'empty', hidden: true });
const bar = chosenBar();
const list = new List('Folder', {
  keyOf: (entry) => entry.key,
  isSelectable: (entry) => entry.parts.length > 1,
  row, end: next,
  changed: (entries) => chosen(bar, list, entries, counted(entries), () => fetchAll(entries)),
  more: (entry) => { if (!entry.isFolder) aboutFile(entry); },
  open: (entry) => (entry.isFolder ? go(entry.parts) : act(() => download([entry]))()),
});
const every = button('Select all', 'check', () => list.everything(), { hidden: true });
const whole = button('Download this folder', 'download', act(() => download([{ holders: [here(place.parts)] }])), { hidden: true });
const send = button('Send files', 'upload', () => tell('add', { to: place.peer }));
const folderPart = el('div', { hidden: true }, crumbs, div('row tools', every, whole, send), folderTold, empty, list.node, bar);

export const section = el('section', null, peersPart, folderPart);

const counted = (entries) => {
  const folders = entries.filter((entry) => entry.isFolder).length;
  return [folders && many(folders, 'folder'), entries.length > folders && many(entries.length - folders, 'file')].filter(Boolean).join(', ');
};
const address = (peer, parts) => `#/peers/${path(peer, ...parts)}`;
const here = (parts) => ({ peer: place.peer, peer_id: place.peer, path: parts.join('/') });
const go = (parts) => { location.hash = address(place.peer, parts); };

export function show([peer, ...parts]) {
  peersPart.hidden = Boolean(peer);
  folderPart.hidden = !peer;
  if (!peer) { place = null; drawPeers(); renew(); return; }
  if (place?.peer === peer && place.parts.join('/') === parts.join('/')) { list.later(); again(); return; }
  place = { peer, parts: parts.filter(Boolean), entries: [], token: null, isBusy: false };
  folderPart.dataset.drop = peer;
  list.active = null;
  list.select([]);
  list.set([]);
  empty.hidden = true;
  put(crumbs, el('ol', null, li(el('a', { href: '#/peers' }, 'Peers')), [[], ...place.parts.map((_, at) => place.parts.slice(0, at + 1))].map((to) => li(el('a', { href: address(peer, to), 'aria-current': to.length === place.parts.length ? 'page' : null }, bdi(to.at(-1) ?? peer))))));
  whole.hidden = place.parts.length === 0;
  send.hidden = peer === me;
  put(folderTold, 'Asking…');
  next();
}

const again = () => { if (place) place.isFailed = false; next(); };
async function next() {
  const mine = place;
  if (!mine || mine.isBusy || mine.isFailed || mine.token === undefined) return;
  mine.isBusy = true;
  try {
    const page = await get(`${path('peers', mine.peer)}/folder`, { path: mine.parts.join('/'), page_size: PAGE, page_token: mine.token });
    if (mine !== place) return;
    for (const folder of page.folders) {
      const name = folder.name ?? folder;
      const parts = [...mine.parts, name];
      mine.entries.push({ key: `d ${name}`, name, isFolder: true, parts, holders: [here(parts)] });
    }
    for (const file of page.files) {
      const parts = file.path.split('/');
      mine.entries.push({ ...file, key: `f ${file.path}`, parts, holders: [here(parts)] });
    }
    mine.token = page.next_page_token ?? undefined;
    list.set(mine.entries);
    empty.hidden = mine.entries.length > 0;
    put(empty, mine.parts.length ? 'There is nothing in this folder.' : 'Nothing is shared here yet.');
    every.hidden = !mine.entries.some(list.isSelectable);
    put(folderTold, mine.entries.length ? `${counted(mine.entries)}${mine.token ? ' so far' : ''}` : '');
  } catch (error) {
    mine.isFailed = true;
    if (mine === place) put(folderTold, error.message, ' ', error.hint, ' ', button('Try again', 'retry', again));
  } finally { mine.isBusy = false; }
}

function row(entry) {
  const one = entry.isFolder ? `folder ${shown(entry.name)}` : shown(entry.name);
  return {
    name: one, sign: entry.isFolder ? 'folder' : kind(entry.name),
    body: [div('name', entry.isFolder ? el('a', { href: address(place.peer, entry.parts), class: 'clip' }, bdi(entry.name)) : bdi(entry.name, { class: 'clip', title: entry.name })),
      div('meta', entry.isFolder ? 'Folder' : [bytes(entry.size_bytes), entry.modified_time && ` · ${day(entry.modified_time)}`])],
    controls: [!entry.isFolder && button('', 'more', () => aboutFile(entry), { label: `About ${one}`, class: 'plain' }),
      list.isSelectable(entry) && button('', 'download', act(() => download([entry])), { label: `Download ${one}` })],
  };
}

async function fetchAll(entries) {
  await download(entries);
  list.select([]);
}

function drawPeers() {
  const wanted = word.value.trim().toLowerCase();
  const found = peers.filter((peer) => peer.name.toLowerCase().includes(wanted));
  const byZone = Map.groupBy(found.slice(0, MOST), (peer) => peer.zone ?? 0);
  put(told, peers.length === 1 ? 'Nobody else is here yet. Others appear by themselves as soon as they enter the same network.' : `${many(found.length, 'peer')}${found.length > MOST ? `, of which ${MOST} are shown` : ''}${wanted && !found.length ? ': nobody has such a name.' : ''}${peers.isStale ? '. The registry cannot be asked: this is what was known last.' : ''}`);
  keyed(zones, [...byZone].sort(([a], [b]) => a - b), ([zone]) => zone, ([zone]) => {
    const cards = el('ul', { class: 'cards grid', 'aria-label': zone ? `Zone ${zone}` : 'In no zone' });
    arrows(cards);
    const everyone = button('Send to all of them', 'upload', () => tell('add', { to: `zone:${zone}` }), { class: 'plain' });
    return Object.assign(el('section', null, div('row', el('h2', null, zone ? `Zone ${zone}` : 'In no zone'), span('fill'), everyone), cards), { cards, everyone });
  }, (node, [zone, members]) => {
    node.everyone.hidden = !zone || members.every(({ name }) => name === me);
    keyed(node.cards, members, (peer) => peer.peer_id, (peer) => el('li', { 'data-drop': peer.name }), (node, peer) => {
      const isMe = peer.name === me;
      if (isMe) delete node.dataset.drop;
      const state = `${peer.shared_files} ${isMe}`;
      if (node.state === state) return;
      node.state = state;
      put(node, card('peers', el('a', { href: address(peer.name, []) }, bdi(peer.name)), [isMe && 'this is you · ', many(peer.shared_files, 'file')], null,
        !isMe && button('', 'upload', () => tell('add', { to: peer.name }), { label: `Send files to ${shown(peer.name)}`, class: 'plain' })));
    });
  });
}

// Many are asked for only when somebody looks at them, or wants to send to one.
let changes = 0;
let known = 0;
let isAsked = false;
const load = single(async () => {
  const at = changes;
  if (known === at || (peers.length >= MOST && (section.hidden || place) && !isAsked)) return;
  peers = await all('peers');
  known = at;
  tell('peers', peers);
  if (!place) drawPeers();
});
const renew = () => load().catch(complain);
export function reload() {
  changes += 1;
  again();
  renew();
}
on('network', reload);
on('want-peers', async (give) => { isAsked = true; await renew(); isAsked = false; give(); });
on('status', ({ name }) => { if (me !== name) { me = name; send.hidden = place?.peer === me; drawPeers(); } });
