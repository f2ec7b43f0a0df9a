// Speaks with the peer: requests, uploads and the one stream of events. What comes is told on `bus`; problems carry what to do.

export const bus = new EventTarget();
export const tell = (type, detail) => bus.dispatchEvent(new CustomEvent(type, { detail }));
export const on = (type, listener) => bus.addEventListener(type, (event) => listener(event.detail));

/** A note of the peer as a person writes it; nothing when it is for those at a terminal. */
export const sentence = (text) => text && !/`floodplain |FLOODPLAIN_/.test(text) && `${text[0].toUpperCase()}${text.slice(1)}`.replace(/ \(os error \d+\)/, '').replace(/[^.!?…]$/, '$&.');

/** What to do, in the words of this page. */
const HINTS = {
  list_peers: 'See who is here under Peers.', browse_peer: 'Look into their folders under Peers.', see_status: 'Your name at the top leads to how your peer stands.', look_for_fault: 'Your peer goes on trying.',
  retry_transfer: 'Retry it.', add_share: 'Share a folder first, under Shares.', rename_saved_search: 'Choose another name, or remove the search that has it.', remove_saved_search: 'Remove a saved search first.', get_content: 'The network keeps it already: search for it.',
};
export const hintOf = (one) => HINTS[one?.hint_code] ?? sentence(one?.hint);

/** What the peer said no with. */
export class Problem extends Error {
  constructor(status, body) {
    super(sentence(body?.detail) || sentence(body?.title) || (status ? `Your peer answered ${status}.` : 'Your peer does not answer.'));
    this.status = status;
    this.code = body?.code;
    this.hint = hintOf(body) || (status ? '' : 'Is it still running on this machine?');
    this.isLocked = status === 401;
  }
}

const ROOT = '/api/v1/';
export const url = (path, query) => {
  const text = new URLSearchParams(Object.entries(query ?? {}).filter(([, value]) => value !== undefined && value !== null && value !== '')).toString();
  return ROOT + path + (text && `?${text}`);
};
/** Parts of a path, each of which may hold anything. */
export const path = (...parts) => parts.map((part) => encodeURIComponent(part)).join('/');

/** Names one request, so that a repeated one does nothing twice. */
const key = () => [...crypto.getRandomValues(new Uint8Array(16))].map((byte) => byte.toString(16).padStart(2, '0')).join('');

async function request(method, where, { query, body, signal, headers = {} } = {}) {
  if (body !== undefined) headers['Content-Type'] = 'application/json';
  if (method === 'POST') headers['Idempotency-Key'] = key();
  let answer;
  try {
    answer = await fetch(url(where, query), { method, headers, signal, body: body === undefined ? undefined : JSON.stringify(body) });
  } catch (error) {
    if (error.name === 'AbortError') throw error;
    throw new Problem(0);
  }
  if (!answer.ok) throw locked(new Problem(answer.status, await answer.json().catch(() => null)));
  return answer;
}
let isLocked = false;
const locked = (problem) => { if (problem.isLocked) { isLocked = true; tell('locked'); } return problem; };
const json = async (answer) => (answer.status === 204 ? null : answer.json().catch(() => null));

export const get = async (where, query, signal) => json(await request('GET', where, { query, signal }));
export const post = async (where, body = {}, query) => json(await request('POST', where, { query, body }));
export const remove = async (where) => json(await request('DELETE', where));
/** A file's first bytes: it may be larger than others say. Of an empty one no range can be given. */
export async function read(where, most) {
  try {
    return await (await request('GET', where, { headers: { Range: `bytes=0-${most - 1}` } })).arrayBuffer();
  } catch (error) {
    if (error.status === 416) return new ArrayBuffer();
    throw error;
  }
}
/** Does `work` once at a time; who asks meanwhile gets the next turn. So the last answer is never an older one. */
export function single(work) {
  let last = Promise.resolve();
  let next = null;
  return () => (next ??= last = last.catch(() => {}).then(() => { next = null; return work(); }));
}

/** Every page of a list, at most `limit` items. */
export async function all(where, query = {}, limit = 10000) {
  const items = [];
  let token;
  do {
    const page = await get(where, { ...query, page_size: 1000, page_token: token });
    items.push(...page.items);
    items.isStale = page.is_stale;
    token = page.next_page_token;
  } while (token && items.length < limit);
  return items;
}

/** Sends a file; `progress(done, whole)` tells how far it is. `fetch` cannot tell that. */
export function upload(method, where, query, file, progress, signal) {
  return new Promise((resolve, reject) => {
    const request = new XMLHttpRequest();
    request.open(method, url(where, query));
    request.responseType = 'json';
    if (method === 'POST') request.setRequestHeader('Idempotency-Key', key());
    request.setRequestHeader('Content-Type', 'application/octet-stream');
    request.upload.onprogress = (event) => progress(event.loaded, event.total);
    request.onload = () => (request.status < 300 ? resolve(request.response) : reject(locked(Object.assign(new Problem(request.status, request.response), { wait: Number(request.getResponseHeader('Retry-After')) }))));
    request.onerror = () => reject(new Problem(0));
    request.onabort = () => reject(new DOMException('cancelled', 'AbortError'));
    signal.addEventListener('abort', () => request.abort());
    request.send(file);
  });
}

/** Follows a search: tells each hit, and once how it ended: `end(coverage, problem)`. Gives what stops listening. */
export function follow(id, hit, end) {
  const stream = new EventSource(url(`${path('searches', id)}/events`));
  const done = (...how) => { stream.close(); end(...how); };
  stream.addEventListener('hit', (event) => hit(JSON.parse(event.data)));
  stream.addEventListener('done', (event) => done(JSON.parse(event.data)));
  stream.addEventListener('problem', (event) => done(null, new Problem(1, JSON.parse(event.data))));
  // A break is mended by the browser, which goes on behind the last hit; a refusal is not.
  stream.onerror = () => { if (stream.readyState === EventSource.CLOSED) done(null, new Problem(1, { detail: 'The search was lost.', hint: 'Search again.' })); };
  return () => stream.close();
}

const TYPES = ['status', 'transfer', 'transfer_gone', 'inbox', 'shares', 'network', 'new_hit', 'query'];
/** A window that nobody looks at gives its stream to another after this long. */
const HIDDEN_MS = 30000;
const RETRY_MS = 2000;
const me = key();
// A browser opens six connections to one place. Of all its windows, the one that holds the lock reads the stream and tells the others.
const others = navigator.locks && self.BroadcastChannel ? new BroadcastChannel('events') : null;
let source = null;
let timer = 0;
/** How to stop waiting for the lock, and how to give it back; nothing while this window does not listen. */
let wish = null;
let giveBack = null;

/** The last event that was told here: a stream that is opened again goes on behind it, also after a reload. */
let last = '';
try {
  last = sessionStorage.last ?? '';
  addEventListener('pagehide', () => { sessionStorage.last = last; });
} catch { /* from the next one on then */ }
const pass = (type, detail, id = last) => { last = id; tell(type, detail); others?.postMessage({ type, detail, id }); };

/** Opens the stream of events. */
function stream() {
  clearTimeout(timer);
  source?.close();
  source = new EventSource(url('events', { last_event_id: last }));
  const opened = source;
  opened.onopen = () => pass('open');
  opened.onerror = () => {
    pass('lost');
    // A refused stream is over for the browser, which then says nothing of why: ask, and try again.
    const again = () => get('status').then(stream, (problem) => { if (!problem.isLocked && opened === source) timer = setTimeout(again, RETRY_MS); });
    if (opened.readyState === EventSource.CLOSED && opened === source) timer = setTimeout(again, RETRY_MS);
  };
  for (const type of TYPES) opened.addEventListener(type, (event) => pass(type, JSON.parse(event.data), event.lastEventId));
  opened.addEventListener('reset', (event) => pass('open', null, event.lastEventId));
}

/** Has all events told, by this window's stream or another's: `open` each time that they come again, `lost` when they do not. */
export function listen() {
  if (!others) { stream(); return; }
  if (wish) return;
  wish = new AbortController();
  navigator.locks.request('events', { signal: wish.signal }, () => new Promise((done) => { giveBack = done; stream(); })).catch(() => {});
  others.postMessage({ type: 'hello', from: me });
}

function hush() {
  clearTimeout(timer);
  source?.close();
  source = null;
  wish?.abort();
  giveBack?.();
  wish = giveBack = null;
}

others?.addEventListener('message', ({ data: { type, detail, id, from, to } }) => {
  if (type === 'hello') { if (source?.readyState === EventSource.OPEN) others.postMessage({ type: 'open', to: from, id: last }); }
  else if (wish && (!to || to === me)) { last = id; tell(type, detail); }
});
on('locked', hush);

let hiding = 0;
document.addEventListener('visibilitychange', () => {
  clearTimeout(hiding);
  if (document.hidden) hiding = setTimeout(hush, HIDDEN_MS);
  else if (!source && !isLocked) listen();
});
