// Files on their way: where each stands, and what can be done to it. A card keeps its place in the page while its numbers change.

import { act, bdi, button, bytes, cards, div, duration, el, icon, keyed, many, p, put, say, select, shown, span, sure, toast } from './dom.js';
import { all, hintOf, on, path, post, sentence, single, tell } from './api.js';

export const about = { id: 'transfers', title: 'Transfers', sign: 'transfers' };

/** Most cards at once; the rest is a press away. */
const STEP = 200;
const DIRECTIONS = { download: ['download', 'from'], upload: ['upload', 'to'], send: ['upload', 'to'], receive: ['inbox', 'from'], put: ['shares', 'kept by'] };
const WORDS = { waiting: 'Waiting', paused: 'Paused', running: 'Running', verifying: 'Checking', done: 'Done', failed: 'Failed', cancelled: 'Cancelled' };
const PLACE = { running: 0, verifying: 0, waiting: 1, paused: 2, failed: 3, done: 4, cancelled: 4 };
const transfers = new Map();
let room = STEP;
let isDue = false;

const which = select('Which transfers', [['', 'Everything'], ['active', 'Not ended'], ['download', 'Downloads'], ['upload', 'Uploads to others'], ['send', 'Sent'], ['receive', 'Received'], ['put', 'Kept by the network']], { onchange: () => draw() });
const bulk = Object.fromEntries([['pause', 'Pause all'], ['resume', 'Resume all'], ['retry', 'Retry all'], ['cancel', 'Cancel all']].map(([verb, words]) => [verb, button(words, verb, act(() => control(verb)))]));
const list = cards('Transfers');
const empty = el('div', { class: 'empty', hidden: true });
const more = button('Show more', null, () => { room += STEP; draw(); }, { hidden: true });
const sum = p('coverage');

const tools = div('row tools', which, Object.values(bulk));
export const section = el('section', null, tools, sum, list, empty, more);

const CONTROLS = { pause: ['running', 'waiting'], resume: ['paused'], retry: ['failed'], cancel: ['running', 'waiting', 'paused', 'verifying'] };
const can = (verb, transfer) => CONTROLS[verb].includes(transfer.state) && (transfer.direction === 'download' || (verb === 'cancel' && transfer.direction !== 'upload'));

async function control(verb, transfer) {
  if (!transfer && verb === 'cancel' && !(await sure('Cancel all transfers?', 'What has arrived of unfinished downloads is removed.', 'Cancel all'))) return;
  const { changed } = await post(transfer ? path('transfers', transfer.id, verb) : path('transfers', verb));
  say(`${many(changed, 'transfer')} changed`);
  if (!changed) toast(transfer ? 'It had ended already.' : 'There was none to change.');
  await reload();
}

function make(transfer) {
  const parts = {
    sign: span('sign'), name: div('name'), state: span('tag'), meta: div('meta'), note: el('p', { class: 'note', hidden: true }),
    bar: el('progress', { max: 100, 'aria-label': `Progress of ${shown(transfer.name)}` }), verbs: {},
  };
  const label = { pause: 'Pause', resume: 'Resume', retry: 'Retry', cancel: 'Cancel' };
  for (const verb of Object.keys(CONTROLS)) parts.verbs[verb] = button('', verb, act(() => control(verb, transfers.get(transfer.id))), { label: `${label[verb]} ${shown(transfer.name)}` });
  parts.priority = select(`Priority of ${transfer.name}`, [['high'], ['normal'], ['low']], { onchange: act(() => post(path('transfers', transfer.id, 'priority'), { priority: parts.priority.value })) });
  const node = el('li', { 'data-id': transfer.id }, parts.sign, div('body', div('row nowrap', parts.name, parts.state), parts.bar, parts.meta, parts.note), div('controls', parts.priority, Object.values(parts.verbs)));
  return Object.assign(node, { parts });
}

function update(node, transfer) {
  const { parts } = node;
  if (node.shows === transfer) return;
  node.shows = transfer;
  node.dataset.state = transfer.state;
  const [sign, to] = DIRECTIONS[transfer.direction] ?? ['file', 'with'];
  put(parts.sign, icon(sign));
  put(parts.name, bdi(transfer.name, { class: 'clip', title: transfer.path ?? transfer.name }));
  put(parts.state, WORDS[transfer.state] ?? transfer.state);
  parts.state.className = `tag ${{ done: 'good', failed: 'bad' }[transfer.state] ?? ''}`;
  const isMoving = ['running', 'verifying', 'waiting', 'paused'].includes(transfer.state);
  parts.bar.hidden = !isMoving;
  if (transfer.percent === null || transfer.percent === undefined) parts.bar.removeAttribute('value'); else parts.bar.value = transfer.percent;
  const words = [isMoving && transfer.size_bytes ? `${bytes(transfer.done_bytes)} of ${bytes(transfer.size_bytes)}` : bytes(transfer.size_bytes || transfer.done_bytes)];
  if (transfer.state === 'running') {
    words.push(`${bytes(transfer.bytes_per_second)}/s`);
    if (transfer.eta_seconds !== null && transfer.eta_seconds !== undefined) words.push(`${duration(transfer.eta_seconds)} left`);
  }
  if (transfer.queue_position) words.push(`number ${transfer.queue_position} in your queue`);
  put(parts.meta, words.join(' · '), transfer.sources?.length > 0 && [` · ${to} `, bdi(transfer.sources.slice(0, 4).join(', ')), transfer.sources.length > 4 && ` and ${transfer.sources.length - 4} more`], transfer.state === 'done' && transfer.path && [' · ', bdi(transfer.path)]);
  const note = [sentence(transfer.error), hintOf(transfer), sentence(transfer.note)].filter(Boolean).join(' ');
  parts.note.hidden = !note;
  put(parts.note, transfer.direction === 'receive' && transfer.state === 'waiting' ? el('a', { href: '#/inbox' }, 'Answer it in the inbox') : bdi(note));
  parts.priority.hidden = transfer.direction !== 'download' || !['waiting', 'paused', 'running'].includes(transfer.state);
  if (document.activeElement !== parts.priority) parts.priority.value = transfer.priority;
  const hadFocus = node.contains(document.activeElement) && document.activeElement.matches('button');
  for (const [verb, control] of Object.entries(parts.verbs)) control.hidden = !can(verb, transfer);
  // The button that was pressed may be gone: its neighbor takes the focus, so that the keyboard stays where it is.
  if (hadFocus && document.activeElement.hidden) Object.values(parts.verbs).find((control) => !control.hidden)?.focus();
}

function draw() {
  const items = [...transfers.values()].sort((a, b) => PLACE[a.state] - PLACE[b.state] || b.id - a.id);
  const running = items.filter((one) => PLACE[one.state] < 2);
  tell('badge', { id: 'transfers', count: running.length, words: 'on their way' });
  if (section.hidden) return;
  const wanted = items.filter((one) => !which.value || (which.value === 'active' ? PLACE[one.state] < 4 : one.direction === which.value));
  keyed(list, wanted.slice(0, room), (one) => one.id, make, update);
  list.hidden = wanted.length === 0;
  empty.hidden = wanted.length > 0;
  tools.hidden = items.length === 0;
  put(empty, items.length ? 'There is none of that kind.' : [p('', 'Nothing is on its way. What you download, send or receive appears here.'), el('a', { href: '#/search', class: 'button' }, icon('search'), 'Find a file')]);
  more.hidden = wanted.length <= room;
  const speed = (direction) => items.filter((one) => one.state === 'running' && direction.includes(one.direction)).reduce((total, one) => total + one.bytes_per_second, 0);
  sum.hidden = running.length === 0;
  const [down, up] = [speed(['download', 'receive']), speed(['upload', 'send', 'put'])];
  put(sum, running.length ? [many(running.length, 'transfer'), ' on the way', down > 0 && `, ${bytes(down)}/s in`, up > 0 && `, ${bytes(up)}/s out`] : '');
  for (const [verb, control] of Object.entries(bulk)) control.disabled = !items.some((one) => can(verb, one));
}

function later() {
  if (isDue) return;
  isDue = true;
  setTimeout(() => { isDue = false; draw(); }, 100);
}

/** What was told since the list was asked for, which may not know it yet. */
let since = null;
on('transfer_gone', ({ id }) => {
  transfers.delete(id);
  since?.set(id, null);
  later();
});
on('transfer', (transfer) => {
  since?.set(transfer.id, transfer);
  const before = transfers.get(transfer.id);
  transfers.set(transfer.id, transfer);
  if (before && before.state !== transfer.state && transfer.direction !== 'upload') {
    if (transfer.state === 'done') toast(`${transfer.direction === 'download' ? 'Downloaded' : 'Done'}: ${transfer.name}`);
    if (transfer.state === 'failed') toast(`Failed: ${transfer.name}`, { isError: true, hint: sentence(transfer.error ?? transfer.note) });
  }
  later();
});

export const reload = single(async () => {
  const news = since = new Map();
  const items = await all('transfers');
  since = null;
  transfers.clear();
  for (const transfer of items) transfers.set(transfer.id, transfer);
  for (const [id, transfer] of news) if (transfer) transfers.set(id, transfer); else transfers.delete(id);
  draw();
});
export const show = draw;
