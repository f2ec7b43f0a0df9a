// Asks the peer to fetch files; they arrive without this page.

import { act, bdi, button, bytes, complain, day, dialog, div, el, icon, many, p, span, toast } from './dom.js';
import { path, post, url } from './api.js';

/** Asked for at once: the browser has six connections to the peer, and two of them are streams. */
const AT_ONCE = 3;

/** The notice's way to the transfers. */
export const seeTransfers = () => el('a', { href: '#/transfers' }, 'Show');

/** What names a file to the peer: its content, or where it is while it has no hash yet. */
const ask = ({ hash, holders: [first] = [] }) => (hash ? { hash } : { peer: first.peer_id, path: first.path });

/** Starts a download of each of these files. */
export async function download(files) {
  const left = files.map(ask);
  let started = 0;
  let problem = null;
  await Promise.all(Array.from({ length: AT_ONCE }, async () => {
    for (let ask = left.shift(); ask; ask = left.shift()) {
      try {
        await post('downloads', ask);
        started += 1;
      } catch (error) {
        problem = error;
        if (error.isLocked || !error.status) left.length = 0;
      }
    }
  }));
  if (started) toast(`${many(started, 'download')} started.`, { action: seeTransfers() });
  if (problem) complain(problem);
}

/** All that is known of a file, and who has it. */
export function aboutFile(file) {
  const [first] = file.holders;
  const link = url(file.hash ? `files/${path(file.hash, file.name)}` : `${path('peers', first.peer_id, 'files')}/${path(...first.path.split('/'))}`);
  const close = (event) => event.target.closest('dialog').close();
  dialog('About this file', [
    p('wrap', el('strong', null, bdi(file.name))),
    el('dl', { class: 'facts' }, [['Size', bytes(file.size_bytes)], ['Changed', day(file.modified_time)]].map(([name, value]) => value && [el('dt', null, name), el('dd', null, value)])),
    el('h3', null, 'Who has it'),
    el('ul', { class: 'plain-list' }, file.holders.map((holder) => el('li', { class: 'wrap' }, el('a', { href: `#/peers/${path(holder.peer)}`, onclick: close }, bdi(holder.peer)),
      span('muted', holder.hops === 0 && ', this is you', holder.zone && `, zone ${holder.zone}`, holder.queue_place > 0 && `, ${holder.queue_place - 1} waiting before you`, el('br'), bdi(holder.path))))),
    el('details', null, el('summary', null, 'Fingerprint of the content'), p('hash', file.hash ?? 'It has not been read yet.')),
    p('note', 'Your peer downloads into its own folder, also when this page is closed.'),
    div('row end', el('a', { href: link, download: '', class: 'button' }, icon('file'), 'Save by the browser'),
      button('Download', 'download', act(async (event) => { close(event); await download([file]); }), { class: 'primary go' })),
  ]);
}
