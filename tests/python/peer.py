"""A small Floodplain peer in Python, written from docs/PROTOCOL.md and the protos alone.

It joins a network, searches it by one claimed flood, downloads and verifies, and shares one folder, so that the peers of the
network find and get its files too. It is proof that the protocol can be spoken by others, and a place to begin for whoever
wants to; it is no product: it reads files whole, has no summaries (so that everyone asks it), and keeps nothing.
"""

from __future__ import annotations

import os
import queue
import threading
import time
from concurrent import futures
from pathlib import Path

import grpc
from blake3 import blake3

from links import Closed, Plain

from floodplain.v1 import common_pb2, peer_pb2, peer_pb2_grpc, registry_pb2, registry_pb2_grpc

CALL_SECONDS = 5
CHUNK_BYTES = 256 * 1024


def words(text: str) -> list[str]:
    """A path or a query as lower-case words; enough for ASCII names."""
    return "".join(c if c.isalnum() else " " for c in text.lower()).split()


class Shared:
    """The files of one folder, by path as others see it."""

    def __init__(self, folder: Path) -> None:
        self.files: dict[str, tuple[Path, bytes]] = {}
        for path in sorted(p for p in folder.rglob("*") if p.is_file()):
            name = f"{folder.name}/{path.relative_to(folder).as_posix()}"
            self.files[name] = (path, blake3(path.read_bytes()).digest())

    def entry(self, name: str) -> common_pb2.FileEntry:
        path, content_hash = self.files[name]
        entry = common_pb2.FileEntry(content_hash=content_hash, path=name, size_bytes=path.stat().st_size)
        entry.modify_time.FromNanoseconds(path.stat().st_mtime_ns)
        return entry

    def find(self, query: str) -> list[common_pb2.FileEntry]:
        """All words must match, the last one also as a prefix; `hash:` names a content. No other filters."""
        if query.startswith("hash:"):
            return [self.entry(n) for n, (_, h) in self.files.items() if h.hex() == query.removeprefix("hash:")]
        wanted = words(query)
        if not wanted:
            return []
        found = []
        for name in self.files:
            have = words(name)
            if all(w in have for w in wanted[:-1]) and any(h.startswith(wanted[-1]) for h in have):
                found.append(self.entry(name))
        return found

    def by(self, request: peer_pb2.DownloadRequest) -> str | None:
        if request.WhichOneof("file") == "path":
            return request.path if request.path in self.files else None
        return next((n for n, (_, h) in self.files.items() if h == request.content_hash), None)


class Service(peer_pb2_grpc.PeerServiceServicer):
    """What other peers ask of this one."""

    def __init__(self, peer: Peer) -> None:
        self.peer = peer

    def Search(self, request, context):  # noqa: N802
        me = self.peer
        if len(request.query_id) != 16 or not request.text or request.ttl + request.hops > 32:
            context.abort(grpc.StatusCode.INVALID_ARGUMENT, "query_id, text or ttl is not valid")
        found = me.shared.find(request.text)
        if found:
            yield peer_pb2.SearchResponse(
                hits=peer_pb2.Hits(
                    peer_id=me.id, peer_name=me.name, zone_id=me.zone, hops=request.hops, files=found[:256]
                )
            )
        done = peer_pb2.SearchDone(answered=[me.short(me.id)])
        # The part of the zone that this copy gives: everyone between us and `before_id`, in one claim.
        first = me.next_member(me.id) if request.HasField("claim") and request.ttl else None
        if first is not None and me.lies_before(first.peer_id, request.claim.before_id):
            request.ttl, request.hops, request.from_id = request.ttl - 1, request.hops + 1, me.id
            request.deadline.FromNanoseconds(int(request.deadline.ToNanoseconds() * 0.95) - 20_000_000)
            for answer in me.ask(first, request):
                if answer.WhichOneof("message") == "hits":
                    yield answer
                else:
                    done.answered.extend(answer.done.answered)
                    done.unreachable.extend(answer.done.unreachable)
                    done.ruled_out.extend(answer.done.ruled_out)
                    done.duplicates += answer.done.duplicates
                    done.messages += answer.done.messages
            done.messages += 1
        yield peer_pb2.SearchResponse(done=done)

    def Download(self, request, context):  # noqa: N802
        name = self.peer.shared.by(request)
        if name is None:
            context.abort(grpc.StatusCode.NOT_FOUND, "this peer has no such file")
        data = self.peer.shared.files[name][0].read_bytes()
        if request.offset > len(data):
            context.abort(grpc.StatusCode.OUT_OF_RANGE, "the offset lies behind the end")
        end = min(len(data), request.offset + request.length) if request.length else len(data)
        yield peer_pb2.DownloadResponse(file=self.peer.shared.entry(name))
        for at in range(request.offset, end, CHUNK_BYTES):
            yield peer_pb2.DownloadResponse(offset=at, data=data[at : min(at + CHUNK_BYTES, end)])

    def Browse(self, request, context):  # noqa: N802
        folder = request.path.strip("/")
        inside = [n for n in self.peer.shared.files if not folder or n.startswith(folder + "/")]
        rest = [n[len(folder) + 1 if folder else 0 :] for n in inside]
        return peer_pb2.BrowseResponse(
            folders=sorted({r.split("/", 1)[0] for r in rest if "/" in r}),
            files=[self.peer.shared.entry(n) for n, r in zip(inside, rest) if "/" not in r],
        )


class Peer:
    """A member of a network for as long as the `with` block lasts."""

    def __init__(self, name: str, network: Plain | Closed, folder: Path) -> None:
        self.name, self.network, self.shared = name, network, Shared(folder)
        self.id = network.id
        self.members: dict[bytes, common_pb2.Peer] = {}
        self.revision, self.zone = 0, 0
        self.joined = threading.Event()
        self.ended: str | None = None
        self.up: queue.Queue[registry_pb2.SessionRequest | None] = queue.Queue()
        self.channels: dict[tuple[bytes, str], grpc.Channel] = {}

    # Membership

    def __enter__(self) -> Peer:
        self.server = grpc.server(futures.ThreadPoolExecutor(max_workers=16))
        peer_pb2_grpc.add_PeerServiceServicer_to_server(Service(self), self.server)
        port = self.server.add_insecure_port("127.0.0.1:0")
        self.server.start()
        me = common_pb2.Peer(
            peer_id=self.id,
            name=self.name,
            address=self.network.serve(port),
            incarnation=time.time_ns(),
            shared_files=len(self.shared.files),
        )
        self.up.put(
            registry_pb2.SessionRequest(
                register=registry_pb2.RegisterRequest(peer=me, credential=self.network.credential, host_id="python")
            )
        )
        self.registry = self.network.registry()
        stub = registry_pb2_grpc.RegistryServiceStub(self.registry)
        self.session = stub.Session(iter(self.up.get, None))
        threading.Thread(target=self.listen, daemon=True).start()
        if not self.joined.wait(CALL_SECONDS):
            raise RuntimeError(f"could not join: {self.ended or 'the registry does not answer'}")
        return self

    def __exit__(self, *_: object) -> None:
        self.ended = "left"
        self.up.put(registry_pb2.SessionRequest(leave=registry_pb2.UnregisterRequest(lease_id=self.lease)))
        self.up.put(None)
        self.server.stop(grace=1).wait()
        for channel in [self.registry, *self.channels.values()]:
            channel.close()
        self.network.close()

    def listen(self) -> None:
        """Follows the zone's roster for as long as the session lasts."""
        try:
            for answer in self.session:
                kind = answer.WhichOneof("message")
                if kind == "welcome":
                    self.lease = answer.welcome.lease_id
                    self.take(answer.welcome.roster)
                    every = answer.welcome.heartbeat_interval.ToMilliseconds() / 1000
                    threading.Thread(target=self.beat, args=(every,), daemon=True).start()
                    self.joined.set()
                elif kind == "snapshot":
                    self.take(answer.snapshot)
                elif kind == "delta":
                    self.change(answer.delta)
                elif kind == "ack" and answer.ack.revision != self.revision:
                    self.up.put(registry_pb2.SessionRequest(snapshot=registry_pb2.SnapshotRequest()))
        except grpc.RpcError as error:
            self.ended = self.ended or f"{error.code().name}: {error.details()}"

    def beat(self, every_seconds: float) -> None:
        while self.ended is None:
            beat = registry_pb2.HeartbeatRequest(lease_id=self.lease, shared_files=len(self.shared.files))
            self.up.put(registry_pb2.SessionRequest(heartbeat=beat))
            time.sleep(every_seconds)

    def take(self, roster: registry_pb2.RosterSnapshot) -> None:
        self.members = {m.peer_id: m for m in roster.members}
        self.revision, self.zone = roster.revision, roster.zone_id

    def change(self, delta: registry_pb2.RosterDelta) -> None:
        if delta.zone_id != self.zone or delta.from_revision != self.revision:
            self.up.put(registry_pb2.SessionRequest(snapshot=registry_pb2.SnapshotRequest()))
            return
        members = dict(self.members)
        for gone in delta.left:
            members.pop(gone, None)
        members.update({m.peer_id: m for m in delta.joined})
        self.members, self.revision = members, delta.to_revision

    # The ring

    @staticmethod
    def short(peer_id: bytes) -> int:
        return int.from_bytes(peer_id[:8], "big")

    def next_member(self, after: bytes) -> common_pb2.Peer | None:
        """The member behind `after` on the ring of ids, going round."""
        others = sorted(i for i in self.members if i != self.id)
        return self.members[next((i for i in others if i > after), others[0])] if others else None

    def lies_before(self, member: bytes, before: bytes) -> bool:
        """Whether `member` lies behind us and before `before`, going round."""
        turn = lambda i: (i <= self.id, i)  # noqa: E731
        return before == self.id or turn(member) < turn(before)

    # What a person wants

    def channel(self, member: common_pb2.Peer) -> grpc.Channel:
        key = (member.peer_id, member.address)
        if key not in self.channels:
            self.channels[key] = self.network.peer(member)
        return self.channels[key]

    def ask(self, member: common_pb2.Peer, request: peer_pb2.SearchRequest):
        stub = peer_pb2_grpc.PeerServiceStub(self.channel(member))
        return stub.Search(request, timeout=request.deadline.ToMilliseconds() / 1000)

    def search(self, text: str) -> tuple[list[tuple[bytes, common_pb2.FileEntry]], peer_pb2.SearchDone]:
        """All hits as (peer id, file), and the report. One message gives the whole zone to the next member of the ring."""
        request = peer_pb2.SearchRequest(
            query_id=os.urandom(16),
            text=text,
            ttl=16,
            hops=1,
            roster_revision=self.revision,
            claim=peer_pb2.Claim(before_id=self.id),
            origin_id=self.id,
            from_id=self.id,
        )
        request.deadline.FromMilliseconds(CALL_SECONDS * 1000)
        first = self.next_member(self.id)
        if first is None:
            return [], peer_pb2.SearchDone()
        hits = []
        for answer in self.ask(first, request):
            if answer.WhichOneof("message") == "done":
                return hits, answer.done
            hits += [(answer.hits.peer_id, f) for f in answer.hits.files]
        raise RuntimeError("the search was cut: its stream ended without a report")

    def download(self, holder: bytes, content_hash: bytes, offset: int = 0) -> bytes:
        """A whole file, or its rest; a whole one is believed only if its hash is right."""
        stub = peer_pb2_grpc.PeerServiceStub(self.channel(self.members[holder]))
        request = peer_pb2.DownloadRequest(content_hash=content_hash, offset=offset)
        data = bytearray()
        for answer in stub.Download(request, timeout=60):
            if answer.data and answer.offset != offset + len(data):
                raise RuntimeError("the chunks have a gap")
            data += answer.data
        if offset == 0 and blake3(data).digest() != content_hash:
            raise RuntimeError("what arrived is not what was asked for")
        return bytes(data)
