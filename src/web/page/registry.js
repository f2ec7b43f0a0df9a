// Shows a registry and asks again every few seconds; nothing is changed from here. Whatever a peer calls itself becomes text only.

import { $, act, bytes, day, duration, el, many, p, put, span, themes } from './dom.js';

const EVERY_MS = 5000;
/** Sooner, while it does not answer. */
const RETRY_MS = 2000;
const STEP = 100;
const MORE = 400;
const wanted = { zones: STEP, peers: STEP };
/** A revision is the count of starts, and below it the count of changes since. */
const CHANGES_BITS = 32n;
let capacity = null;

class Problem extends Error {
  constructor(status, body) {
    super(body?.detail ?? `The registry answered ${status}.`);
    this.hint = body?.hint;
    this.isLocked = status === 401;
  }
}

async function ask(path) {
  const answer = await fetch(path, { headers: { accept: 'application/json' } });
  const text = await answer.text();
  // Revisions are larger than the numbers of a browser: they are read as texts.
  const body = () => JSON.parse(text.replace(/("revision":)(\d+)/g, '$1"$2"'));
  if (!answer.ok) throw new Problem(answer.status, answer.headers.get('content-type')?.includes('json') ? body() : null);
  return body();
}

/** Rows up to the number that is wanted, and whether there are more. */
async function list(path, query, want) {
  const items = [];
  let token;
  do {
    const page = await ask(`${path}?${new URLSearchParams({ ...query, page_size: Math.min(1000, want - items.length), ...(token && { page_token: token }) })}`);
    items.push(...page.items);
    token = page.next_page_token;
  } while (token && items.length < want);
  return { items, hasMore: Boolean(token) };
}

const bar = (value, max, label) => el('progress', { max: max || 1, value, 'aria-label': label });
const facts = (node, entries) => put(node, entries.map(([name, value]) => [el('dt', null, name), el('dd', null, value)]));
const changes = (revision) => (BigInt(revision) & ((1n << CHANGES_BITS) - 1n)).toLocaleString();
const time = (text) => (text ? `${day(text)}, ${new Date(text).toLocaleTimeString(undefined, { hour: '2-digit', minute: '2-digit' })}` : 'unknown');

function showRegistry(now) {
  capacity = now.capacity;
  const { closed } = now;
  const isFull = now.peers >= capacity.peers;
  const tile = (name, value, note, more) => el('div', null, el('dt', null, name), el('dd', null, value, more), note && el('dd', { class: 'note' }, note));
  const room = capacity.layout === 'fixed' ? `${many(capacity.zones, 'zone')} of ${capacity.zone_max}` : `${capacity.zone_min} to ${capacity.zone_max} peers a zone`;
  put($('facts'),
    tile('Peers', `${Number(now.peers).toLocaleString()} of ${Number(capacity.peers).toLocaleString()}`, isFull ? span('bad', 'The network is full: nobody else can enter.') : null, bar(now.peers, capacity.peers, 'How full the network is')),
    tile('Zones', Number(now.zones).toLocaleString(), `${room}, ${capacity.layout === 'fixed' ? 'all there from the start' : 'opened and closed as needed'}`),
    tile('Open to', closed ? `${many(closed.members, 'member')}` : 'This machine', closed ? `by invite${closed.revoked ? `, ${closed.revoked} shut out` : ''}` : span('bad', 'without keys, to try things out')),
    tile('Running for', duration(now.uptime_seconds), `version ${now.version}`));
  facts($('setup'), [['Peers reach it at', now.address], ['Peers in touch now', `${now.sessions} of ${now.peers}`], ['Connections', `${now.connections_open} open, ${now.connections_refused} refused`],
    ['Heartbeat', `every ${duration(now.heartbeat_seconds)}`], ['Lease', `${duration(now.lease_seconds)}`], ['Epoch', `${now.epoch} (rises with each start)`], ['Revision', `${changes(now.revision)} (changes of any zone in this epoch)`],
    ...(closed ? [['Network', closed.network], ['Its certificate is good until', time(closed.certificate_until_time)], ['Addresses turned away', closed.denied]] : [])]);
  facts($('counters'), Object.entries(now.counters).map(([name, value]) => [`${name[0].toUpperCase()}${name.slice(1).replaceAll('_', ' ')}`, Number(value).toLocaleString()]));
  put($('peers-told'), `Each peer renews its lease every ${duration(now.heartbeat_seconds)}. One that is silent for ${duration(now.lease_seconds)} is taken off the list.`);
  put($('nobody'), p('', closed ? 'No peer is here yet.' : 'No peer is here yet. Peers on this machine may enter without an invite.'), closed && p('', 'Run ', el('code', null, 'floodplain invite'), ' here, and ', el('code', null, 'floodplain join'), ' with what it prints on another machine.'));
}

const row = (...cells) => el('tr', null, cells);
const named = (name, tags, below) => el('th', { scope: 'row' }, el('bdi', null, name), tags && span('tags', tags), below && span('meta', below));

function showZones({ items, hasMore }) {
  const used = items.filter((zone) => zone.peers).length;
  put($('zones-told'), items.length ? `A search stays in its zone unless all are asked. ${hasMore ? `The first ${items.length} zones:` : `${used} of ${items.length} have peers.`}` : 'A zone opens when the first peer comes.');
  $('zones').parentNode.hidden = items.length === 0;
  put($('zones'), items.map((zone) => row(named(`Zone ${zone.zone}`),
    el('td', null, `${zone.peers} of ${capacity.zone_max}`, bar(zone.peers, capacity.zone_max, `Zone ${zone.zone}: ${zone.peers} of ${capacity.zone_max} peers`)),
    el('td', null, zone.gateways.length ? el('bdi', null, zone.gateways.join(', ')) : span('muted', 'none')), el('td', { class: 'number', title: `revision ${zone.revision}` }, changes(zone.revision)))));
  $('more-zones').hidden = !hasMore;
  const values = items.filter((zone) => zone.peers).map((zone) => String(zone.zone));
  const chosen = $('zone').value;
  if (chosen && !values.includes(chosen)) values.push(chosen);
  if ($('zone').dataset.values !== values.join()) {
    put($('zone'), ['', ...values].map((value) => el('option', { value, selected: value === chosen }, value ? `Zone ${value}` : 'All zones')));
    $('zone').dataset.values = values.join();
  }
}

function showPeers({ items, hasMore }) {
  $('peers-table').hidden = items.length === 0;
  $('nobody').hidden = items.length > 0;
  put($('peers'), items.map((peer) => row(
    named(peer.name, [peer.is_gateway && span('tag', 'gateway'), !peer.has_session && span('tag bad', 'out of touch')], [peer.address, span('wide', ' · keeps up to ', bytes(peer.room_bytes), ' for others'), ' · ', span('hash', peer.peer_id.slice(0, 12))]),
    el('td', { class: 'number' }, peer.zone), el('td', { class: 'number' }, Number(peer.shared_files).toLocaleString()), el('td', { class: 'number' }, duration(peer.lease_seconds)))));
  $('more-peers').hidden = !hasMore;
}

function state(words, kind) {
  put($('state'), words);
  $('state').dataset.state = kind;
}

async function refresh() {
  try {
    const zone = $('zone').value;
    const now = await ask('/api/v1/registry');
    const zones = await list('/api/v1/zones', {}, wanted.zones);
    const peers = await list('/api/v1/peers', zone ? { zone } : {}, wanted.peers);
    const ready = await fetch('/readyz');
    showRegistry(now);
    showZones(zones);
    showPeers(peers);
    $('lost').hidden = true;
    if (ready.ok) state('Serving', 'connected'); else state(await ready.text(), 'failed');
    return true;
  } catch (problem) {
    if (problem.isLocked) return locked();
    const isGone = !(problem instanceof Problem);
    state(isGone ? 'Reconnecting' : 'In trouble', isGone ? 'reconnecting' : 'failed');
    $('lost').hidden = false;
    put($('lost'), isGone ? 'The registry does not answer. What you see is from before; it is asked again all the time.' : `${problem.message} ${problem.hint ?? ''}`);
    return false;
  }
}

function locked() {
  state('Not open', 'failed');
  $('lost').hidden = true;
  if (!document.querySelector('.locked')) {
    put($('main'), el('div', { class: 'locked', role: 'alert' }, el('h2', null, 'This page is not open yet'), p('', 'Only who runs the registry may see it. On the machine where it runs, open this page by'), el('pre', { tabindex: '0' }, 'floodplain web --registry --open'),
      p('', 'or follow the link that it prints without ', el('code', null, '--open'), '. The link works once, for ten minutes; after that this browser is remembered.')));
  }
  return null;
}

for (const name of ['zones', 'peers']) $(`more-${name}`).addEventListener('click', act(async () => { wanted[name] += MORE; await refresh(); }));
$('zone').addEventListener('change', () => { wanted.peers = STEP; refresh(); });
themes($('theme'));

let timer = 0;
async function again() {
  clearTimeout(timer);
  const isWell = document.hidden || await refresh();
  if (isWell !== null) timer = setTimeout(again, isWell ? EVERY_MS : RETRY_MS);
}
document.addEventListener('visibilitychange', () => { if (!document.hidden) again(); });
again();
