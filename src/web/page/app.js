// Puts the views together: the way from the address to a view, colours, keys, and how the peer is reached. Views never import each other.

import { $, act, bdi, button, complain, dialog, el, icon, li, p, put, span, themes } from './dom.js';
import { get, listen, on, tell } from './api.js';
import * as browse from './browse.js';
import * as drop from './drop.js';
import * as inbox from './inbox.js';
import * as map from './map.js';
import * as messages from './messages.js';
import * as search from './search.js';
import * as shares from './shares.js';
import * as status from './status.js';
import * as transfers from './transfers.js';

const VIEWS = [search, transfers, browse, inbox, shares, messages, map, status];
const links = new Map();
let current = null;
let isLocked = false;

for (const view of VIEWS) {
  const { id, title } = view.about;
  view.section.id = `view-${id}`;
  view.section.hidden = true;
  view.section.setAttribute('aria-labelledby', `title-${id}`);
  view.section.prepend(el('h1', { id: `title-${id}`, tabindex: '-1' }, title));
  $('main').append(view.section);
  if (!view.about.sign) continue;
  const badge = el('span', { class: 'badge', hidden: true });
  const link = el('a', { href: `#/${id}` }, icon(view.about.sign), span('', title), badge);
  links.set(id, link);
  $('views').append(li(link));
}

/** A number beside a view's name; the words are for those who hear it. */
on('badge', ({ id, count, words }) => {
  const badge = links.get(id).lastChild;
  badge.hidden = !count;
  put(badge, count > 99 ? '99+' : count, span('quiet', ` ${words}`));
});

function route(isFirst) {
  const [id, ...parts] = location.hash.replace(/^#\//, '').split('?')[0].split('/').map((part) => {
    try { return decodeURIComponent(part); } catch { return part; }
  });
  const query = new URLSearchParams(location.hash.split('?')[1] ?? '');
  const view = VIEWS.find((one) => one.about.id === id) ?? search;
  const isOther = view !== current;
  if (isOther) {
    current?.leave?.();
    if (current) current.section.hidden = true;
    current = view;
    view.section.hidden = false;
    document.title = `${view.about.title} · Floodplain`;
    for (const [name, link] of links) {
      if (name === view.about.id) link.setAttribute('aria-current', 'page'); else link.removeAttribute('aria-current');
    }
    scrollTo(0, 0);
  }
  if (!isLocked) view.show?.(parts, query, isFirst);
  if (isOther && !isFirst) $(`title-${view.about.id}`).focus({ preventScroll: true });
}
addEventListener('hashchange', () => route(false));

// What everyone wants to know first, and again after the stream was away.
on('open', async () => {
  $('reconnecting').hidden = true;
  try {
    tell('status', await get('status'));
    for (const view of VIEWS) view.reload?.();
  } catch (error) { complain(error); }
});
on('lost', () => {
  $('reconnecting').hidden = false;
  put($('reconnecting'), 'Reconnecting to your peer. What you see is from before.');
  put($('connection'), 'Reconnecting');
  $('connection').dataset.state = 'reconnecting';
});
on('status', (now) => {
  const words = { connected: 'Connected', reconnecting: 'Looking for the network', disconnected: 'Left the network' };
  put($('connection'), bdi(now.name), span('', ' · ', words[now.connection] ?? now.connection));
  $('connection').title = 'About your peer';
  $('connection').dataset.state = now.connection;
});
on('locked', () => {
  if (isLocked) return;
  isLocked = true;
  document.body.classList.add('is-locked');
  $('main').replaceChildren(el('div', { class: 'locked', role: 'alert' }, el('h1', null, 'This page is not open yet'),
    p('', 'Only you may use your peer. On the machine where it runs, open this page by'), el('pre', { tabindex: '0' }, 'floodplain web --open'),
    p('', 'or follow the link that ', el('code', null, 'floodplain web'), ' prints. The link works once, for ten minutes; after that this browser is remembered.'),
    p('muted', 'Did somebody else set it up? Ask them for that link.'),
    button('Try again', 'retry', () => location.reload(), { class: 'primary' })));
});

themes($('theme'));

const KEYS = [['/', 'Go to the search box'], ['Enter', 'Search; in a list: download, or open a folder'], ['↑ ↓', 'Move in a list'], ['Space', 'Select; with Shift: all between'], ['Ctrl A', 'Select all of a list'],
  ['→', 'Who has it'], ['Esc', 'Close, or clear the selection'], ['1 to 7', 'Go to a view'], ['?', 'This help']];
const help = () => dialog('Keys', el('dl', { class: 'facts' }, KEYS.map(([name, words]) => [el('dt', null, el('kbd', null, name)), el('dd', null, words)])));
$('help').addEventListener('click', help);
addEventListener('keydown', (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || document.querySelector('dialog[open]') || isLocked) return;
  if (event.target.matches('input:not([type=checkbox]), textarea, select')) return;
  if (event.key === '/') search.focus();
  else if (event.key === '?') help();
  else if (/^[1-7]$/.test(event.key)) location.hash = `#/${VIEWS[event.key - 1].about.id}`;
  else return;
  event.preventDefault();
});

drop.start();
addEventListener('unhandledrejection', (event) => { event.preventDefault(); complain(event.reason); });
// A page without leave opens no stream: a refused one says nothing of why.
act(async () => {
  try { await get('status'); } catch (error) { if (error.isLocked) return; }
  listen();
})();
route(true);
