// How this peer stands, in words, and leaving and joining.

import { act, bdi, button, bytes, div, duration, el, put, say, span, sure } from './dom.js';
import { get, on, post, tell } from './api.js';

export const about = { id: 'status', title: 'My peer' };

const facts = el('dl', { class: 'facts card' });
const leave = button('Leave the network', null, act(async () => {
  const isIn = leave.dataset.to === 'leave';
  if (isIn && !(await sure('Leave the network?', 'Others cannot find your files and you cannot search, until you join again. The peer keeps running.', 'Leave'))) return;
  await post('connection', { connected: !isIn });
  say(isIn ? 'Left the network' : 'Joined the network');
  tell('status', await get('status'));
}));
export const section = el('section', null, facts, div('row', leave, el('a', { href: '/docs', class: 'button plain' }, 'The interface for programs')));

on('status', (now) => {
  const isIn = now.connection !== 'disconnected';
  leave.dataset.to = isIn ? 'leave' : 'join';
  put(leave, isIn ? 'Leave the network' : 'Join the network');
  const list = [['Name', bdi(now.name)], ['Registry', [bdi(now.registry), ` (${now.connection})`]], ['Zone', now.zone ? `${now.zone}, with ${now.zone_peers} peers` : 'none'], ['Address', now.address], ['Neighbors', bdi((now.neighbors ?? []).join(', ') || 'none')],
    ['Files', `${Number(now.files).toLocaleString()} (${bytes(now.size_bytes)})`], ['Searches', Number(now.searches).toLocaleString()], ['Queries answered', Number(now.queries_answered).toLocaleString()], ['Sent, received', `${bytes(now.bytes_up)}, ${bytes(now.bytes_down)}`],
    ['Running for', duration(now.uptime_seconds ?? now.uptime_s ?? 0)], ['Version', now.version], ['Id', span('hash', now.peer_id)]];
  put(facts, list.map(([name, value]) => [el('dt', null, name), el('dd', null, value)]));
});
export const show = async () => tell('status', await get('status'));
