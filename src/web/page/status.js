// How this peer stands, in words, and leaving and joining.

import { act, bdi, button, bytes, div, duration, el, many, put, say, span, sure } from './dom.js';
import { get, on, post, tell } from './api.js';

export const about = { id: 'status', title: 'My peer' };

const facts = el('dl', { class: 'facts card' });
const technical = el('dl', { class: 'facts' });
const leave = button('Leave the network', null, act(async () => {
  const isIn = leave.dataset.to === 'leave';
  if (isIn && !(await sure('Leave the network?', 'Others cannot find your files and you cannot search, until you join again. The peer keeps running.', 'Leave'))) return;
  await post('connection', { connected: !isIn });
  say(isIn ? 'Left the network' : 'Joined the network');
  tell('status', await get('status'));
}));
export const section = el('section', null, facts, div('row', leave), el('details', { class: 'card' }, el('summary', null, 'For experts'), technical, el('a', { href: '/docs' }, 'The interface for programs')));

const fill = (node, list) => put(node, list.map(([name, value]) => [el('dt', null, name), el('dd', null, value)]));

on('status', (now) => {
  const isIn = now.connection !== 'disconnected';
  leave.dataset.to = isIn ? 'leave' : 'join';
  put(leave, isIn ? 'Leave the network' : 'Join the network');
  fill(facts, [['Name', bdi(now.name)], ['Zone', now.zone ? `${now.zone}, with ${many(now.zone_peers, 'peer')}` : 'none'], ['You share', `${many(now.files, 'file')}, ${bytes(now.size_bytes)}`],
    ['Sent', bytes(now.bytes_up)], ['Received', bytes(now.bytes_down)], ['Running for', duration(now.uptime_seconds ?? 0)]]);
  fill(technical, [['Registry', bdi(now.registry)], ['Address', now.address], ['Neighbors', bdi((now.neighbors ?? []).join(', ') || 'none')], ['Searches', Number(now.searches).toLocaleString()], ['Queries answered', Number(now.queries_answered).toLocaleString()], ['Version', now.version], ['Peer id', span('hash', now.peer_id)]]);
});
export const show = async () => tell('status', await get('status'));
