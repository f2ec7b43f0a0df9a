// The folders that this peer offers, and how far their scan is.

import { act, bdi, button, bytes, card, cards, complain, div, el, icon, keyed, li, many, p, put, say, shown, span, sure, toast } from './dom.js';
import { get, on, path, post, remove, single, tell } from './api.js';

export const about = { id: 'shares', title: 'Shares', sign: 'shares' };

const list = cards('Shared folders');
const bar = el('progress', { 'aria-label': 'Scan of the shares' });
const told = p('coverage');
const folder = el('input', { name: 'folder', required: true, autocomplete: 'off', spellcheck: 'false', placeholder: '/home/me/Pictures', maxlength: 4096, 'aria-describedby': 'folder-hint' });
const rescan = button('Read again', 'retry', act(async () => { await post('shares/rescan'); say('The shares were read again'); await reload(); }));
const add = act(async () => {
  await post('shares', { folder: folder.value.trim() });
  folder.value = '';
  toast('The folder is shared now.');
  await reload();
});
export const section = el('section', { 'data-drop': 'share:' },
  p('muted', 'Everyone in your network can find and fetch what is in these folders.'), div('row tools', told, span('fill'), rescan), bar, list,
  el('form', { class: 'card', onsubmit: (event) => { event.preventDefault(); add(event); } }, el('label', null, 'Share a folder of this machine', folder), el('p', { class: 'note', id: 'folder-hint' }, 'Its whole place, as the address bar of your file manager shows it. Nothing is moved or copied.'), div('row', el('button', { type: 'submit', class: 'primary' }, 'Share it'))),
  div('card drop', icon('upload'), p('', 'Or drop files here: copies of them go into your first shared folder.'), button('Choose files', null, () => tell('add', { to: 'share:' }))));

on('status', (now) => {
  const isBusy = now.is_scanning || now.hashed_files < now.files;
  bar.hidden = !isBusy;
  if (now.files && !now.is_scanning) { bar.max = now.files; bar.value = now.hashed_files; } else bar.removeAttribute('value');
  put(told, isBusy ? `Reading the shares: ${many(now.files, 'file')} found, ${Number(now.hashed_files).toLocaleString()} read.` : `${many(now.files, 'file')}, ${bytes(now.size_bytes)}, all can be found.`);
});

/** What a folder is for that nobody chose to share. */
const KINDS = { downloads: 'what you downloaded', replicas: 'what you keep for others', inbox: 'what was sent to you' };

export const reload = single(async () => {
  const { items } = await get('shares');
  keyed(list, items, (share) => share.name, () => li(), (node, share) => {
    const state = JSON.stringify(share);
    if (node.state === state) return;
    node.state = state;
    put(node, card('folder', bdi(share.name), [KINDS[share.kind] && `${KINDS[share.kind]} · `, `${many(share.files, 'file')} · ${bytes(share.size_bytes)} · `, bdi(share.folder)], share.problem && p('note bad', bdi(share.problem)),
      share.is_removable && button('Stop sharing', null, act(async () => {
        if (!(await sure('Stop sharing this folder?', ['“', bdi(share.name), '” cannot be found any more. Its files stay where they are.'], 'Stop sharing'))) return;
        await remove(path('shares', share.name));
        say('Not shared any more');
        await reload();
      }), { label: `Stop sharing ${shown(share.name)}` })));
  });
});
on('shares', () => reload().catch(complain));
