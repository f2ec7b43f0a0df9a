// What others want to send here, and the answer to it.

import { act, bdi, button, bytes, card, cards, complain, el, keyed, li, many, p, put, say, shown, span } from './dom.js';
import { get, on, path, post, single, tell } from './api.js';

export const about = { id: 'inbox', title: 'Inbox', sign: 'inbox' };

const POLICIES = { ask: 'You are asked each time.', trusted: 'Those that you trust may send; others are refused.', all: 'Everyone may send without being asked about.', none: 'Nobody may send files here.' };
const list = cards('Offers');
const empty = p('empty', 'No offer waits for you. What somebody sends you is shown here first, and you say yes or no.');
const about_ = p('coverage');
export const section = el('section', null, about_, list, empty);

const answer = (offer, verb) => act(async () => {
  await post(path('inbox', offer.id, verb));
  say({ accept: 'Accepted', decline: 'Declined', trust: 'Accepted, and trusted from now on' }[verb]);
  await reload();
  (list.querySelector('button') ?? section.querySelector('h1')).focus();
});

export const reload = single(async () => {
  const { items, folder, policy } = await get('inbox');
  tell('badge', { id: 'inbox', count: items.length, words: 'offers wait' });
  put(about_, POLICIES[policy] ?? '', policy === 'ask' && ' An offer waits for a minute.', ' Files arrive in ', bdi(folder ?? ''), '.');
  empty.hidden = items.length > 0;
  list.hidden = !items.length;
  keyed(list, items, (offer) => offer.id, (offer) => li(card(offer.files ? 'folder' : 'file', bdi(offer.name),
    ['from ', bdi(offer.sender), !offer.is_confirmed && [' ', span('tag bad', 'sender not proven')], ` · ${bytes(offer.size_bytes)}`, offer.files && ` · ${many(offer.files, 'file')}`], null,
    [button('Accept', 'check', answer(offer, 'accept'), { class: 'primary', label: `Accept ${shown(offer.name)}` }), button('Decline', 'cancel', answer(offer, 'decline'), { label: `Decline ${shown(offer.name)}` }),
      button(`Always from ${offer.sender}`, null, answer(offer, 'trust'), { label: `Always accept from ${shown(offer.sender)}`, class: 'clip' })])));
});
on('inbox', () => reload().catch(complain));
