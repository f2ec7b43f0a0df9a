// Files that are dropped on the page or chosen: where they shall go is asked once, and they go one after the other.

import { $, act, button, bytes, complain, dialog, div, el, many, p, put, select, shown, span, toast } from './dom.js';
import { on, path, sentence, tell, upload } from './api.js';
import { seeTransfers } from './download.js';

let peers = [];
const queue = [];
let running = null;
let me = '';
on('status', ({ peer_id }) => { me = peer_id; });
on('peers', (items) => { peers = items; });

const GOALS = [['share', 'Share with everyone: a copy goes into your first shared folder'], ['peer', 'Send to somebody'], ['zone', 'Send to everyone in a zone'], ['all', 'Send to everyone'], ['put', 'Have the network keep it, also when this machine is off']];

/** A choice that stands on `aim`, also when that is not there any more: the peer says so then, and nobody else gets the files. */
function choice(label, values, aim) {
  if (aim && !values.some(([value]) => value === aim)) values.unshift([aim, aim.replace('zone:', 'Zone ')]);
  const node = select(label, values);
  if (aim) node.value = aim;
  return node;
}

/** Asks where `files` shall go; `to` is what was aimed at: `share:`, a peer's name, `zone:N`, or nothing. A name holds no colon. */
async function ask(files, to) {
  await new Promise((resolve) => { tell('want-peers', resolve); });
  const zones = [...new Set(peers.map((peer) => peer.zone).filter(Boolean))].sort((a, b) => a - b);
  const given = !to || to === 'share:' ? 'share' : to.startsWith('zone:') ? 'zone' : 'peer';
  const others = peers.filter((one) => one.peer_id !== me);
  const aim = others.find((one) => one.name === to || one.peer_id === to)?.peer_id ?? (to === 'all' ? 'peer all' : to);
  const peer = choice('Which peer', others.map((one) => [one.peer_id, one.name]), given === 'peer' && aim);
  const zone = choice('Which zone', zones.map((one) => [`zone:${one}`, `Zone ${one}`]), given === 'zone' && to);
  const replicas = el('input', { type: 'number', min: 1, max: 8, value: 2, 'aria-label': 'Copies' });
  const more = { peer, zone, put: el('label', { class: 'inline' }, 'Copies ', replicas) };
  const goals = el('fieldset', { onchange: () => mark() }, el('legend', null, 'What shall happen with it?'), GOALS.map(([value, words]) => div('goal', el('label', { class: 'inline' }, el('input', { type: 'radio', name: 'goal', value, checked: value === given, disabled: value !== given && ['peer', 'zone', 'all'].includes(value) && !others.length }), ' ', words), more[value])));
  const goal = () => goals.querySelector('input:checked')?.value;
  const mark = () => { for (const [value, node] of Object.entries(more)) node.hidden = value !== goal(); };
  mark();
  const names = files.slice(0, 3).map((file) => file.name).join(', ');
  const answer = await dialog(`${many(files.length, 'file')}, ${bytes(files.reduce((sum, file) => sum + file.size, 0))}`, [p('muted wrap', el('bdi', null, names), files.length > 3 && ` and ${files.length - 3} more`), goals], [['Cancel', ''], ['Go', 'go', 'primary']]);
  if (answer !== 'go') return;
  const target = { share: ['share'], peer: ['send', peer.value], zone: ['send', zone.value], all: ['send', 'all'], put: ['put', replicas.value] }[goal()];
  for (const file of files) queue.push({ file, target });
  draw();
  if (!running) pump();
}

/** Offers that nobody answered yet may hold all room of the peer: then it is tried again, until it is stopped. */
async function give({ file, target: [verb, more] }) {
  const { signal } = running.stop;
  const progress = (done) => { running.done = done; draw(); };
  for (;;) {
    try {
      return await (verb === 'share' ? upload('PUT', `files/${path(file.name)}`, {}, file, progress, signal)
        : upload('POST', `${verb}s`, { [verb === 'send' ? 'to' : 'replicas']: more, name: file.name }, file, progress, signal));
    } catch (error) {
      if (error.status !== 503) throw error;
      Object.assign(running, { done: 0, waits: ' · waits for room' });
      draw();
      await new Promise((resolve) => { setTimeout(resolve, 1000 * (error.wait || 2)); signal.addEventListener('abort', resolve); });
      signal.throwIfAborted();
      running.waits = '';
    }
  }
}

async function pump() {
  let sent = 0;
  const ends = { share: 'shared', send: 'on the way', put: 'handed to the network' };
  let last = 'share';
  while (queue.length) {
    const { file, target } = queue[0];
    [last] = target;
    running = { file, done: 0, stop: new AbortController() };
    draw();
    try {
      const no = (await give(queue[0]))?.refused ?? [];
      if (no.length) toast(`${file.name}: not sent to ${no.slice(0, 3).map((one) => one.to).join(', ')}${no.length > 3 ? ` and ${no.length - 3} more` : ''}.`, { isError: true, hint: sentence(no[0].detail) });
      sent += 1;
    } catch (error) {
      if (error.isLocked) queue.length = 1;
      complain(error, file.name);
    }
    queue.shift();
  }
  running = null;
  draw();
  if (sent) toast(`${many(sent, 'file')} ${ends[last]}.`, { action: last === 'share' ? null : seeTransfers() });
}

const bar = el('progress', { max: 1, 'aria-label': 'Upload' });
const told = el('p');
function draw() {
  const node = $('uploads');
  node.hidden = !running;
  if (!running) { node.replaceChildren(); return; }
  if (!node.firstChild) node.append(told, bar, button('Stop', 'cancel', () => { queue.length = Math.min(queue.length, 1); running?.stop.abort(); }));
  const whole = running.file.size;
  bar.value = whole ? running.done / whole : 1;
  put(told, el('bdi', { class: 'clip' }, running.file.name), span('muted', ` ${bytes(running.done)} of ${bytes(whole)}${queue.length > 1 ? `, ${queue.length - 1} more` : ''}${running.waits ?? ''}`));
}

/** Folders have no bytes of their own: they are shared by their place on this machine. */
function filesOf(transfer) {
  const items = [...transfer.items].filter((item) => item.kind === 'file');
  const folders = items.map((item) => item.webkitGetAsEntry?.()).filter((entry) => entry?.isDirectory);
  if (folders.length) toast('Folders cannot be dropped.', { isError: true, hint: `Share “${shown(folders[0].name)}” by its place under Shares.` });
  const names = new Set(folders.map((entry) => entry.name));
  return [...transfer.files].filter((file) => !names.has(file.name));
}

export function start() {
  let aim = null;
  const mark = (node) => {
    aim?.classList.remove('is-aim');
    aim = node;
    aim?.classList.add('is-aim');
  };
  const isFiles = (event) => event.dataTransfer?.types.includes('Files') && !document.querySelector('dialog[open]') && !document.body.classList.contains('is-locked');
  addEventListener('dragover', (event) => {
    if (!isFiles(event)) return;
    event.preventDefault();
    event.dataTransfer.dropEffect = 'copy';
    const node = event.target.closest?.('[data-drop]') ?? document.body;
    if (node !== aim) mark(node);
  });
  addEventListener('dragleave', (event) => { if (!event.relatedTarget) mark(null); });
  addEventListener('drop', (event) => {
    if (!isFiles(event)) return;
    event.preventDefault();
    const to = event.target.closest?.('[data-drop]')?.dataset.drop;
    mark(null);
    const files = filesOf(event.dataTransfer);
    if (files.length) act(() => ask(files, to))();
  });
  const picker = $('picker');
  let to;
  on('add', (how) => { to = how?.to; picker.value = ''; picker.click(); });
  picker.addEventListener('change', () => { if (picker.files.length) act(() => ask([...picker.files], to))(); });
  $('add-files').addEventListener('click', () => tell('add'));
}
