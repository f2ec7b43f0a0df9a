// Shows every operation of openapi.json with a form to try it. All texts are set as text, never as markup.

const MAX_SHOWN = 100000;
const MAX_EVENTS_MS = 5000;

const node = (tag, text, ...children) => {
  const made = document.createElement(tag);
  if (text) made.textContent = text;
  made.append(...children);
  return made;
};
const field = (label, name, type = 'input') => {
  const input = node(type);
  input.name = name;
  return [node('label', label, input), input];
};

/** A body to begin with: every property with a value of its type. */
function example(schema, all) {
  if (schema.$ref) return example(all[schema.$ref.split('/').pop()] ?? {}, all);
  if (schema.oneOf) return example(schema.oneOf.find((one) => one.type !== 'null') ?? {}, all);
  const type = [schema.type].flat()[0];
  if (schema.enum) return schema.enum[0];
  if (type === 'object') return Object.fromEntries(Object.keys(schema.properties ?? {}).filter((key) => (schema.required ?? []).includes(key)).map((key) => [key, example(schema.properties[key], all)]));
  return { boolean: true, integer: 1, number: 1, array: [] }[type] ?? '';
}

/** The beginning of an answer, which may be of any size. */
async function begin(answer) {
  const reader = answer.body?.getReader();
  const decoder = new TextDecoder();
  let text = '';
  for (let part = await reader?.read(); part && !part.done && text.length < MAX_SHOWN; part = await reader.read()) text += decoder.decode(part.value, { stream: true });
  reader?.cancel();
  return text.slice(0, MAX_SHOWN);
}

async function show(answer, out) {
  const lines = [`${answer.status} ${answer.statusText}`, ...[...answer.headers].map(([name, value]) => `${name}: ${value}`), ''];
  const kind = answer.headers.get('content-type') ?? '';
  out.textContent = lines.join('\n');
  if (kind.startsWith('application/octet-stream')) {
    answer.body?.cancel();
    out.textContent += `\n${answer.headers.get('content-length') ?? 'unknown'} bytes`;
    return;
  }
  const text = await begin(answer);
  try { out.textContent += `\n${JSON.stringify(JSON.parse(text), null, 2)}`; } catch { out.textContent += `\n${text}`; }
}

async function follow(url, out) {
  out.textContent = '';
  const source = new EventSource(url);
  for (const name of ['hit', 'done', 'problem', 'cancelled', 'status', 'transfer', 'inbox', 'shares', 'network', 'new_hit', 'query', 'reset']) {
    source.addEventListener(name, (event) => { out.textContent = `${out.textContent}${name} ${event.data}\n`.slice(-MAX_SHOWN); });
  }
  setTimeout(() => source.close(), MAX_EVENTS_MS);
}

function operation(method, path, spec, schemas) {
  const form = node('form');
  const inputs = [];
  for (const parameter of spec.parameters ?? []) {
    if (parameter.in === 'header') continue;
    const [label, input] = field(`${parameter.name} (${parameter.in})${parameter.description ? `: ${parameter.description}` : ''}`, parameter.name);
    input.required = parameter.required === true;
    inputs.push([parameter, input]);
    form.append(label);
  }
  const json = spec.requestBody?.content?.['application/json'];
  let body = null;
  if (json) {
    const [label, input] = field('body (JSON)', 'body', 'textarea');
    input.value = JSON.stringify(example(json.schema, schemas), null, 2);
    body = input;
    form.append(label);
  } else if (spec.requestBody) {
    const [label, input] = field('body (a file)', 'file');
    input.type = 'file';
    body = input;
    form.append(label);
  }
  const out = node('pre');
  out.hidden = true;
  form.append(node('button', 'Try it'), out);
  form.addEventListener('submit', async (event) => {
    event.preventDefault();
    let url = path;
    const query = new URLSearchParams();
    for (const [parameter, input] of inputs) {
      if (parameter.in === 'path') {
        const keep = parameter.name === 'path' ? input.value.split('/').map(encodeURIComponent).join('/') : encodeURIComponent(input.value);
        url = url.replace(`{${parameter.name}}`, () => keep);
      } else if (input.value) query.set(parameter.name, input.value);
    }
    if (query.size) url += `?${query}`;
    out.hidden = false;
    out.textContent = 'Waiting.';
    if (path.endsWith('/events')) return follow(url, out);
    const options = { method: method.toUpperCase() };
    if (body) {
      options.body = json ? body.value : body.files[0] ?? new Blob([]);
      options.headers = { 'Content-Type': json ? 'application/json' : 'application/octet-stream' };
    }
    try { await show(await fetch(url, options), out); } catch (error) { out.textContent = `No answer: ${error.message}`; }
    return undefined;
  });
  const answers = node('ul');
  for (const [status, answer] of Object.entries(spec.responses)) answers.append(node('li', `${status} ${answer.description ?? ''}`));
  const summary = node('summary', '', node('b', method.toUpperCase()), node('code', path));
  return node('details', '', summary, node('p', [spec.summary, spec.description].filter(Boolean).join(' ')), form, node('h3', 'Answers'), answers);
}

const main = document.getElementById('operations');
try {
  const api = await (await fetch('/openapi.json')).json();
  const groups = new Map();
  for (const [path, item] of Object.entries(api.paths)) {
    for (const [method, spec] of Object.entries(item)) {
      if (method === 'head') continue;
      const tag = spec.tags?.[0] ?? 'other';
      if (!groups.has(tag)) groups.set(tag, node('section', '', node('h2', tag)));
      groups.get(tag).append(operation(method, path, spec, api.components.schemas));
    }
  }
  main.replaceChildren(...groups.values());
} catch (error) {
  main.replaceChildren(node('p', `The description cannot be read: ${error.message}`));
}
