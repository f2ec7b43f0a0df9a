// Shows a registry and asks again every few seconds. Whatever a peer calls itself stays text.

const EVERY_MS = 5000;
const at = (id) => document.getElementById(id);
const shown = { zones: 100, peers: 100 };
let zone = "";
let limit = 0;

const element = (name, text, className) => {
  const made = document.createElement(name);
  if (text !== undefined) made.textContent = String(text);
  if (className) made.className = className;
  return made;
};

const row = (cells) => {
  const made = document.createElement("tr");
  made.append(...cells);
  return made;
};

const facts = (list, entries) => list.replaceChildren(...entries.map(([name, value, className]) => {
  const pair = document.createElement("div");
  pair.append(element("dt", name), element("dd", value, className));
  return pair;
}));

const span = (seconds) => {
  const units = [["d", 86400], ["h", 3600], ["min", 60], ["s", 1]];
  const first = units.findIndex(([, size]) => seconds >= size);
  if (first < 0) return "0 s";
  const [name, size] = units[first];
  const rest = units[first + 1];
  const left = rest ? Math.floor((seconds % size) / rest[1]) : 0;
  return `${Math.floor(seconds / size)} ${name}${left ? ` ${left} ${rest[0]}` : ""}`;
};

const ask = async (path) => {
  const answer = await fetch(path, { headers: { accept: "application/json" } });
  if (answer.status === 401) throw new Error("this page is not open: run `floodplain web --registry` where the registry runs, and follow its link");
  const body = await answer.json();
  if (!answer.ok) throw new Error(`${body.detail ?? answer.status}. ${body.hint ?? ""}`);
  return body;
};

// Rows up to the number that is wanted, and whether there are more.
const list = async (path, want) => {
  const items = [];
  let token = "";
  while (items.length < want) {
    const size = Math.min(1000, want - items.length);
    const page = await ask(`${path}page_size=${size}${token && `&page_token=${encodeURIComponent(token)}`}`);
    items.push(...page.items);
    token = page.next_page_token;
    if (!token) break;
  }
  return { items, more: Boolean(token) };
};

const showRegistry = (now) => {
  limit = now.capacity.zone_max;
  const layout = now.capacity.layout === "fixed"
    ? `${now.capacity.zones} zones of ${now.capacity.zone_max}`
    : `elastic, ${now.capacity.zone_min} to ${now.capacity.zone_max} a zone`;
  const entries = [
    ["Peers", `${now.peers} of ${now.capacity.peers}`, now.peers >= now.capacity.peers ? "bad" : ""],
    ["Zones", now.zones], ["Layout", layout], ["Sessions", now.sessions], ["Connections", now.connections_open],
    ["Lease", span(now.lease_seconds)], ["Heartbeat", span(now.heartbeat_seconds)],
    ["Epoch", now.epoch], ["Revision", now.revision], ["Listens on", now.address],
    ["Up for", span(now.uptime_seconds)], ["Version", now.version],
  ];
  if (now.closed) {
    entries.push(["Members", now.closed.members], ["Shut out", now.closed.revoked],
      ["Certificate until", now.closed.certificate_until_time ?? "unknown"],
      ["Network", now.closed.network]);
  } else {
    entries.push(["Network", "plaintext, this machine only", "bad"]);
  }
  facts(at("facts"), entries);
  facts(at("counters"), Object.entries(now.counters).map(([name, value]) => [name.replaceAll("_", " "), value]));
};

const showZones = ({ items, more }) => {
  at("zones").replaceChildren(...items.map((zone) => {
    const filled = element("td");
    const bar = document.createElement("progress");
    bar.max = limit || 1;
    bar.value = zone.peers;
    bar.setAttribute("aria-label", `zone ${zone.zone}: ${zone.peers} of ${limit}`);
    filled.append(bar);
    return row([element("td", zone.zone), element("td", zone.peers, "number"), filled,
      element("td", zone.revision, "number"), element("td", zone.gateways.join(", "))]);
  }));
  at("more-zones").hidden = !more;
};

const showPeers = ({ items, more }) => {
  at("peers").replaceChildren(...items.map((peer) => {
    const standing = [peer.is_gateway ? "gateway" : "", peer.has_session ? "session" : "no session"].filter(Boolean).join(", ");
    return row([element("td", peer.name), element("td", peer.zone), element("td", peer.address),
      element("td", span(peer.lease_seconds), "number"), element("td", standing, peer.has_session ? "" : "bad"),
      element("td", peer.shared_files, "number"), element("td", peer.peer_id.slice(0, 16), "id")]);
  }));
  at("more-peers").hidden = !more;
};

const say = (text, isBad) => {
  at("state").textContent = text;
  at("state").className = isBad ? "bad" : "";
};

const refresh = async () => {
  try {
    showRegistry(await ask("/api/v1/registry"));
    showZones(await list("/api/v1/zones?", shown.zones));
    showPeers(await list(`/api/v1/peers?${zone && `zone=${zone}&`}`, shown.peers));
    say("serving", false);
  } catch (problem) {
    say(problem instanceof TypeError ? "the registry does not answer; trying again" : problem.message, true);
  }
};

at("filter").addEventListener("submit", (event) => {
  event.preventDefault();
  zone = at("zone").value.trim();
  shown.peers = 100;
  refresh();
});
for (const name of ["zones", "peers"]) {
  at(`more-${name}`).addEventListener("click", () => {
    shown[name] += 400;
    refresh();
  });
}

const again = async () => {
  if (!document.hidden) await refresh();
  setTimeout(again, EVERY_MS);
};
again();
