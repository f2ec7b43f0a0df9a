// A live map: zones as rings of peers, and queries as they travel between those that this peer sees.

import { bdi, complain, div, el, keyed, li, many, p, put, shown, span, svg } from './dom.js';
import { get, on, path, single } from './api.js';

export const about = { id: 'map', title: 'Map', sign: 'map' };

/** Beyond so many peers only the zones are drawn. */
const MOST_PEERS = 400;
const MOST_PULSES = 60;
const FLIGHT_MS = 900;
const LOG = 12;
const isStill = matchMedia('(prefers-reduced-motion: reduce)');

let network = null;
const places = new Map();
const log = [];
let pulses = 0;

const lines = svg('g', { class: 'lines' });
const rings = svg('g');
const nodes = svg('g');
const flights = svg('g', { 'aria-hidden': 'true' });
const drawing = svg('svg', { class: 'map', viewBox: '0 0 900 560', role: 'group', 'aria-label': 'Map of the network' }, rings, lines, flights, nodes);
const told = p('coverage');
const queries = el('ol', { class: 'log', 'aria-label': 'Searches seen last' });
const none = p('muted', 'Searches that pass through your peer appear here as they travel.');
const legend = p('legend', span('key me', 'you'), span('key', 'peer'), span('key gateway', 'passes searches to other zones'), span('key query', 'a search on its way'), span('key hits', 'an answer'));
export const section = el('section', null, told, div('map-frame', drawing), legend, el('h2', null, 'Searches passing through'), none, queries);

function draw() {
  if (!network || section.hidden) return;
  const zones = network.zones.filter((zone) => zone.peers.length);
  const count = zones.reduce((sum, zone) => sum + zone.peers.length, 0);
  put(told, `${many(zones.length, 'zone')}, ${many(count, 'peer')}. Lines lead to those that your peer asks first.`);
  places.clear();
  const isNarrow = section.clientWidth < 560;
  const width = isNarrow ? 420 : 900;
  const columns = Math.max(1, Math.min(zones.length, Math.round(Math.sqrt(zones.length * (isNarrow ? 0.8 : 1.6)))));
  const rows = Math.max(1, Math.ceil(zones.length / columns));
  const height = Math.min(width / columns, 480) * rows;
  drawing.setAttribute('viewBox', `0 0 ${width} ${height}`);
  const cell = [width / columns, height / rows];
  const radius = Math.min(...cell) * 0.5 - 26;
  const areAll = count <= MOST_PEERS;
  const circles = [];
  const dots = [];
  zones.forEach((zone, at) => {
    const line = Math.floor(at / columns);
    const inLine = Math.min(columns, zones.length - line * columns);
    const x = width / 2 + (at % columns - (inLine - 1) / 2) * cell[0];
    const y = cell[1] * (line + 0.5) + 4;
    const isMine = zone.peers.some((peer) => peer.peer_id === network.me.peer_id);
    circles.push(svg('g', { 'data-drop': zone.zone && `zone:${zone.zone}` }, svg('circle', { cx: x, cy: y, r: radius + 12, class: isMine ? 'zone mine' : 'zone' }), svg('text', { x, y: y + 5, class: 'zone-name' }, radius > 50 ? `Zone ${zone.zone}` : zone.zone)));
    const members = [...zone.peers].sort((a, b) => a.name.localeCompare(b.name));
    members.forEach((peer, place) => {
      const turn = (place / members.length) * 2 * Math.PI - Math.PI / 2;
      const spot = { x: x + radius * 0.82 * Math.cos(turn) * (members.length > 1), y: y + radius * 0.82 * Math.sin(turn) * (members.length > 1) - (members.length > 1 ? 0 : 24) };
      places.set(peer.peer_id, areAll ? spot : { x, y });
      if (!areAll) return;
      const isMe = peer.peer_id === network.me.peer_id;
      const words = `${shown(peer.name)}, zone ${zone.zone}${isMe ? ', this is you' : ''}${peer.is_gateway ? ', passes searches to other zones' : ''}`;
      const step = members.length > 24 ? 5 : 8;
      const name = shown(peer.name);
      dots.push(svg('a', { href: `#/peers/${path(peer.name)}`, 'aria-label': words, 'data-drop': peer.name, class: `node${isMe ? ' me' : ''}${peer.is_gateway ? ' gateway' : ''}`, 'data-id': peer.peer_id }, svg('title', null, words),
        svg('circle', { cx: spot.x, cy: spot.y, r: step + 6, class: 'halo' }), svg('circle', { cx: spot.x, cy: spot.y, r: step, class: 'dot' }),
        radius > 70 && members.length <= 16 && svg('text', { x: spot.x, y: spot.y + (spot.y < y - 4 ? -15 : 24), class: 'peer-name' }, name.length > 12 ? `${name.slice(0, 11)}…` : name)));
    });
  });
  rings.replaceChildren(...circles);
  nodes.replaceChildren(...dots);
  const me = places.get(network.me.peer_id);
  const ids = new Map(zones.flatMap((zone) => zone.peers.map((peer) => [peer.name, peer.peer_id])));
  lines.replaceChildren(...(network.neighbors ?? []).map((one) => places.get(one.peer_id ?? ids.get(one) ?? one)).filter(Boolean).map((there) => me && svg('line', { x1: me.x, y1: me.y, x2: there.x, y2: there.y })).filter(Boolean));
}

/** One dot from a place to another; without motion, the places light up. */
function fly(from, to, kind) {
  const [a, b] = [places.get(from), places.get(to)];
  if (!a || !b || from === to || pulses >= MOST_PULSES || document.hidden) return;
  pulses += 1;
  const dot = svg('circle', { r: 5, class: `pulse ${kind}`, cx: b.x, cy: b.y });
  flights.append(dot);
  const frames = isStill.matches ? [{ opacity: 1 }, { opacity: 0 }] : [{ transform: `translate(${a.x - b.x}px, ${a.y - b.y}px)` }, { transform: 'none', offset: 0.8 }, { transform: 'none', opacity: 0 }];
  dot.animate(frames, { duration: FLIGHT_MS, easing: 'ease-in-out' }).onfinish = () => { dot.remove(); pulses -= 1; };
}

on('query', (activity) => {
  const me = network?.me.peer_id;
  const isAnswer = activity.kind === 'answered';
  if (!section.hidden && me) {
    if (isAnswer) fly(me, activity.from, 'hits');
    else {
      fly(activity.from, me, 'query');
      setTimeout(() => { for (const peer of activity.asked ?? []) fly(me, peer, 'query'); }, activity.from ? FLIGHT_MS * 0.6 : 0);
    }
  }
  const known = log.find((one) => one.query === activity.query);
  if (known) Object.assign(known, { hits: Math.max(known.hits, activity.hits), isAnswered: known.isAnswered || isAnswer, asked: activity.asked?.length || known.asked });
  else log.unshift({ query: activity.query, text: activity.text, hits: activity.hits, isMine: !activity.from || activity.hops === 0, isAnswered: isAnswer, asked: activity.asked?.length ?? 0 });
  log.length = Math.min(log.length, LOG);
  if (!section.hidden) drawLog();
});

function drawLog() {
  none.hidden = log.length > 0;
  keyed(queries, log, (one) => one.query, () => li(), (node, one) => put(node, el('strong', { class: 'wrap' }, bdi(one.text)), ' ', span('muted', one.isMine ? 'yours' : 'somebody else’s', one.asked ? `, passed on to ${many(one.asked, 'peer')}` : '', one.isAnswered ? `, ${many(one.hits, 'file')} found${one.isMine ? '' : ' here'}` : '')));
}

let isStale = false;
const load = single(async () => {
  isStale = false;
  network = await get('network');
  draw();
});
export function reload() {
  isStale = true;
  if (!section.hidden) load().catch(complain);
}
export function show() {
  draw();
  if (isStale) reload();
  drawLog();
}
on('network', reload);
let waits = 0;
addEventListener('resize', () => { clearTimeout(waits); waits = setTimeout(draw, 150); });
