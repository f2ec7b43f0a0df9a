// Searches: hits as they come, one row a content, and filters that write the query language, so that nothing is hidden in them.

import { act, bdi, button, bytes, card, chosen, chosenBar, day, dialog, div, el, field, icon, keyed, kind, li, many, p, put, say, select, shown, span, toast } from './dom.js';
import { follow, get, on, path, post, remove, tell } from './api.js';
import { aboutFile, download } from './download.js';
import { List } from './list.js';

export const about = { id: 'search', title: 'Search', sign: 'search' };

/** From the best to the worst, as the peer names them. */
const FITS = ['name', 'name_begins', 'in_name', 'in_segment', 'scattered'];
const rank = (hit) => (typeof hit.fit === 'number' ? hit.fit : FITS.indexOf(hit.fit));
const peersOf = (hit) => new Set(hit.holders.map((holder) => holder.peer_id)).size;
const names = new Intl.Collator(undefined, { numeric: true });
const ORDERS = {
  best: ['Best first', (a, b) => rank(a) - rank(b) || peersOf(b) - peersOf(a) || a.number - b.number],
  name: ['Name', (a, b) => names.compare(a.name, b.name)],
  large: ['Largest first', (a, b) => b.size_bytes - a.size_bytes],
  newest: ['Newest first', (a, b) => String(b.modified_time ?? '').localeCompare(String(a.modified_time ?? ''))],
};
const FILTERS = {
  type: ['Type', [['', 'Any type'], ['document', 'Documents'], ['image', 'Pictures'], ['video', 'Films'], ['audio', 'Music'], ['archive', 'Archives'], ['code', 'Code'], ['program', 'Programs']]],
  size: ['Size', [['', 'Any size'], ['<1M', 'Below 1 MB'], ['>1M', 'Over 1 MB'], ['>100M', 'Over 100 MB'], ['>1G', 'Over 1 GB']]],
  newer: ['Changed', [['', 'Any time'], ['1d', 'Last day'], ['7d', 'Last week'], ['30d', 'Last month'], ['365d', 'Last year']]],
  peer: ['Peer', [['', 'Any peer']]],
};

let now = { id: null, state: 'none', hits: new Map(), coverage: null, query: '', zones: 'mine' };
let quit = () => {};
let isDue = false;
let wasAt = 0;
let zonesThere = 0;
let isAlone = false;

const box = el('input', { type: 'search', id: 'query', name: 'query', autocomplete: 'off', spellcheck: 'false', enterkeyhint: 'search', maxlength: 512, placeholder: 'Words of a file name', 'aria-label': 'Search the network', 'aria-keyshortcuts': '/', 'aria-describedby': 'query-hint' });
const zones = select('Zones', [['mine', 'My zone'], ['all', 'All zones']]);
const selects = Object.entries(FILTERS).map(([filter, [label, values]]) => select(label, values, { 'data-filter': filter, onchange: (event) => choose(filter, event.target.value) }));
const order = select('Order', Object.entries(ORDERS).map(([value, [words]]) => [value, words]), { onchange: () => paint() });
const stop = button('Stop', 'cancel', act(() => end()), { hidden: true });
const save = button('Save search', 'bell', act(keep), { hidden: true });
const coverage = el('p', { class: 'coverage', role: 'status' });
const notice = el('div', { class: 'notice', hidden: true });
const every = button('Select all', 'check', () => list.everything());
const tools = el('div', { class: 'row tools', hidden: true }, order, every, save, stop);
const bar = chosenBar();
const saved = el('ul', { class: 'cards' });
const savedPart = el('section', { 'aria-labelledby': 'saved-title', hidden: true }, el('h2', { id: 'saved-title' }, 'Saved searches'), saved);
const fresh = el('ul', { class: 'cards' });
const freshPart = el('section', { 'aria-labelledby': 'fresh-title', hidden: true }, div('row', el('h2', { id: 'fresh-title' }, 'New for you'), span('fill'), button('Clear', null, () => { news.clear(); showNews(); }, { class: 'plain' })), fresh);
const around = p('muted');
const welcome = div('welcome', p('lead', 'What are you looking for?'), p('', 'Type a few words of a file’s name. Everyone nearby is asked at once, and what they have appears as they answer.'), around,
  div('row', el('a', { href: '#/peers', class: 'button' }, icon('peers'), 'See who is here'), el('a', { href: '#/shares', class: 'button' }, icon('folder'), 'Share a folder'), button('Add files', 'upload', () => tell('add'))),
  p('muted', 'Files can also be dropped anywhere on this page: to share them, to send them to somebody, or to have the network keep them.'));

const list = new List('Files found', {
  keyOf: (hit) => hit.number,
  row,
  open: (hit) => act(() => download([hit]))(),
  more: aboutFile,
  changed: showChosen,
});

export const section = el('section', null,
  el('form', { role: 'search', class: 'ask', onsubmit: (event) => { event.preventDefault(); go(); } },
    div('row nowrap', field(box), el('button', { class: 'primary', type: 'submit' }, 'Search')),
    div('row filters', zones, selects),
    el('p', { id: 'query-hint', class: 'quiet' }, 'Words must all match. Quotes make a phrase, a minus leaves out.')),
  coverage, notice, tools, list.node, bar, welcome, freshPart, savedPart);

box.addEventListener('keydown', (event) => {
  if (event.key === 'ArrowDown' && list.items.length) { event.preventDefault(); list.focus(0); }
});
box.addEventListener('input', reflect);
zones.addEventListener('change', () => { if (now.query) go(); });

// ---- the query language -------------------------------------------------------------------------------------------

const terms = (text) => text.match(/-?["“”„][^"“”„]*["“”„]?|\S+/g) ?? [];
const isOf = (filter) => (term) => term.toLowerCase().startsWith(`${filter}:`);

function choose(filter, value) {
  const rest = terms(box.value).filter((term) => !isOf(filter)(term));
  if (value) rest.push(`${filter}:${value}`);
  box.value = rest.join(' ');
  if (now.query || rest.length > (value ? 1 : 0)) go();
}

/** The filters show what is typed. */
function reflect() {
  for (const select of selects) {
    const { filter } = select.dataset;
    const value = terms(box.value).find(isOf(filter))?.slice(filter.length + 1) ?? '';
    if (value && ![...select.options].some((option) => option.value === value)) select.append(el('option', { value }, value));
    select.value = value;
    select.classList.toggle('is-set', value !== '');
  }
}

export function focus() {
  location.hash = now.query ? address(now.query, now.zones) : '#/search';
  requestAnimationFrame(() => { box.focus(); box.select(); });
}

const address = (query, scope) => `#/search?${new URLSearchParams(scope === 'all' ? { q: query, zones: 'all' } : { q: query })}`;

function go() {
  const query = box.value.trim();
  if (!query) { box.focus(); return; }
  const next = address(query, zones.value);
  if (location.hash === next) run(query, zones.value); else location.hash = next;
}

/** The address says what is searched; a reload finds the same search again. */
export function show(parts, query) {
  const text = query.get('q');
  if (!text) { list.later(); return; }
  const scope = query.get('zones') === 'all' ? 'all' : 'mine';
  if (text === now.query && scope === now.zones) { list.later(); return; }
  box.value = text;
  zones.value = scope;
  reflect();
  run(text, scope);
}

// ---- one search ---------------------------------------------------------------------------------------------------

function begin(query, scope) {
  quit();
  if (now.state === 'running' && now.id) remove(path('searches', now.id)).catch(() => {});
  now = { id: null, state: 'running', hits: new Map(), coverage: null, query, zones: scope };
  list.selected.clear();
  showChosen([]);
  list.active = null;
  list.set([]);
  notice.hidden = true;
  welcome.hidden = true;
  performance.mark('asked');
  wasAt = 0;
  paint();
}

async function run(query, scope) {
  begin(query, scope);
  const mine = now;
  try {
    const { id } = await post('searches', { query, zones: scope });
    if (mine !== now) { remove(path('searches', id)).catch(() => {}); return; }
    mine.id = id;
    quit = follow(id, (hit) => {
      mine.hits.set(hit.number, hit);
      later();
    }, (coverage, problem) => {
      Object.assign(mine, { coverage, state: coverage ? 'done' : 'failed' });
      if (problem) fail(problem); else paint();
    });
  } catch (error) { if (mine === now) fail(error); }
}

async function end() {
  quit();
  if (now.state !== 'running') return;
  now.state = 'cancelled';
  paint();
  if (now.id) await remove(path('searches', now.id));
}

function fail(problem) {
  if (problem.isLocked) return;
  now.state = 'failed';
  now.isLost = !problem.status;
  paint();
  notice.hidden = false;
  put(notice, el('p', { role: 'alert' }, problem.message, ' ', span('muted', problem.hint)));
}

/** At most ten times a second, however fast hits come; the first at once. */
function later() {
  if (isDue) return;
  isDue = true;
  const wait = Math.max(0, wasAt + 100 - performance.now());
  setTimeout(() => requestAnimationFrame(() => { isDue = false; wasAt = performance.now(); paint(); }), wait);
}

function paint() {
  const hits = [...now.hits.values()].sort(ORDERS[order.value][1]);
  const isFirst = list.items.length === 0 && hits.length > 0;
  list.set(hits);
  tools.hidden = now.state === 'none';
  order.hidden = every.hidden = hits.length === 0;
  stop.hidden = now.state !== 'running';
  save.hidden = now.state !== 'done';
  section.dataset.state = now.state;
  put(coverage, sentence());
  if (now.state === 'done' && hits.length === 0) miss();
  if (isFirst) requestAnimationFrame(() => requestAnimationFrame(() => performance.measure('first-hit', 'asked')));
}

/** What was found, and how many could be heard: a search of half a network shall not look like one of all. */
function sentence() {
  const count = now.hits.size;
  if (now.state === 'running') return count ? `${many(count, 'file')} so far, still asking…` : 'Asking the peers…';
  if (now.state === 'cancelled') return `Stopped: ${many(count, 'file')} until then.`;
  if (now.state !== 'done') return '';
  const told = now.coverage;
  const parts = [`${count ? many(count, 'file') : 'Nothing'} found.`];
  if (isAlone && told.asked === 1) parts.push('Only your own files were searched: nobody else is here yet.');
  else if (told.asked) parts.push(`${told.answered === told.asked && told.asked > 1 ? `All ${told.asked}` : `${told.answered} of ${told.asked}`} ${told.asked === 1 ? 'peer' : 'peers'} answered${told.unreachable ? `, ${told.unreachable} could not be reached` : ''}.`);
  if (told.zones?.length > 1) parts.push(`Zones: ${told.zones.map((zone) => `${zone.zone ?? 'own'} (${zone.asked ? `${zone.answered} of ${zone.asked}` : 'not heard'})`).join(', ')}.`);
  if (told.are_zones_unknown) parts.push('Which other zones there are could not be learned.');
  if (told.truncated) parts.push('There are more: add a word to see them.');
  return parts.join(' ');
}

function miss() {
  const words = now.coverage.suggestions ?? [];
  notice.hidden = false;
  put(notice, words.length > 0 && p('', 'Did you mean ', words.map((text, at) => [at > 0 && ', ', el('button', { type: 'button', class: 'link', onclick: () => { box.value = text; reflect(); go(); } }, bdi(text))]), '?'),
    p('muted', now.zones === 'mine' && zonesThere > 1 ? 'Other zones were not asked.' : 'Try fewer words, or the beginning of one.', ' ',
      now.zones === 'mine' && zonesThere > 1 && el('button', { type: 'button', class: 'link', onclick: () => { zones.value = 'all'; go(); } }, 'Search all zones')));
}

function row(hit) {
  const count = peersOf(hit);
  const first = hit.holders[0];
  const isHere = hit.have;
  return {
    name: hit.name, sign: kind(hit.name),
    body: [div('name', bdi(hit.name, { class: 'clip', title: hit.path })),
      div('meta', isHere && [span('tag good', 'you have it'), ' '], bytes(hit.size_bytes), ' · ', count === 1 ? [bdi(first.peer), zonesThere > 1 && first.zone && ` (zone ${first.zone})`] : `${count} peers`, first?.queue_place > 0 && count === 1 && ` · ${first.queue_place - 1} waiting before you`, hit.modified_time && ` · ${day(hit.modified_time)}`)],
    controls: [button('', 'more', () => aboutFile(hit), { label: `Who has ${shown(hit.name)}`, class: 'plain' }),
      button('', 'download', act(() => download([hit])), { label: `Download ${shown(hit.name)}` })],
  };
}

// ---- downloads ----------------------------------------------------------------------------------------------------

async function fetchAll(hits) {
  await download(hits);
  list.select([]);
}

function showChosen(hits) {
  chosen(bar, list, hits, `${many(hits.length, 'file')}, ${bytes(hits.reduce((sum, hit) => sum + hit.size_bytes, 0))}`, () => fetchAll(hits));
  every.lastChild.data = hits.length ? 'Select none' : 'Select all';
}

on('transfer', (transfer) => {
  if (transfer.state !== 'done' || !transfer.hash) return;
  for (const hit of now.hits.values()) if (hit.hash === transfer.hash && !hit.have) { now.hits.set(hit.number, { ...hit, have: true }); later(); }
});

// ---- saved searches -----------------------------------------------------------------------------------------------

const news = new Map();
try { for (const [key, hit] of JSON.parse(sessionStorage.news)) news.set(key, hit); } catch { /* none yet */ }

async function keep() {
  const slug = now.query.replace(/[^a-z0-9]+/gi, '-').slice(0, 40).replace(/^-|-$/g, '') || 'search';
  const name = el('input', { name: 'saved', value: slug, maxlength: 63, required: true, pattern: '[A-Za-z0-9]([A-Za-z0-9._\\-]{0,61}[A-Za-z0-9])?', title: 'Letters and digits; between them also . _ and -' });
  const answer = await dialog('Save this search', [p('', 'It is asked again in the background, and new files are told to you.'), el('label', null, 'Name ', name)], [['Not now', ''], ['Save', 'yes', 'primary']],
    () => post('saved-searches', { name: name.value, query: now.query, zones: now.zones }));
  if (answer !== 'yes') return;
  toast('Saved. New files will be told here.');
  await reloadSaved();
}

async function reloadSaved() {
  const { items } = await get('saved-searches');
  savedPart.hidden = items.length === 0;
  keyed(saved, items, (one) => one.name, () => li(), (node, one) => put(node, card('bell', el('a', { href: address(one.query, one.zones) }, bdi(one.name)), [bdi(one.query), one.zones === 'all' && ' · all zones', ` · ${many(one.known_hits, 'file')} known`, one.problem && span('bad', ' · ', bdi(one.problem))], null,
    button('', 'cancel', act(async () => { await remove(path('saved-searches', one.name)); await reloadSaved(); say('Removed'); }), { label: `Forget the saved search ${shown(one.name)}`, class: 'plain' }))));
}
export async function reload() {
  list.refresh();
  showNews();
  if (now.isLost) run(now.query, now.zones);
  await reloadSaved();
}
on('peers', (peers) => {
  zonesThere = new Set(peers.map((peer) => peer.zone)).size;
  isAlone = peers.length < 2;
  zones.hidden = zonesThere < 2 && zones.value === 'mine';
  put(around, isAlone ? 'Nobody else is here yet. Others appear by themselves as soon as they enter the same network.' : `${many(peers.length, 'peer')} are here now, with ${many(peers.reduce((sum, peer) => sum + peer.shared_files, 0), 'shared file')}.`);
  selects.find((one) => one.dataset.filter === 'peer').replaceChildren(el('option', { value: '' }, 'Any peer'), ...peers.slice(0, 500).map(({ name }) => el('option', { value: name }, name)));
  reflect();
});

on('new_hit', (hit) => {
  news.set(`${hit.search} ${hit.hash}`, hit);
  if (news.size > 100) news.delete(news.keys().next().value);
  showNews();
  toast(`New in “${hit.search}”: ${hit.name}`, { action: el('a', { href: '#/search' }, 'Show') });
});
function showNews() {
  try { sessionStorage.news = JSON.stringify([...news]); } catch { /* they last until a reload then */ }
  const items = [...news].reverse();
  freshPart.hidden = items.length === 0;
  tell('badge', { id: 'search', count: items.length, words: 'new files of saved searches' });
  keyed(fresh, items, ([key]) => key, ([key, hit]) => li(card(kind(hit.name), bdi(hit.name), [bytes(hit.size_bytes), ' · ', bdi(hit.search), ' · ', bdi(hit.peers.join(', '))], null,
    button('Download', 'download', act(async () => { await download([{ hash: hit.hash }]); news.delete(key); showNews(); }), { label: `Download ${shown(hit.name)}` }))));
}
