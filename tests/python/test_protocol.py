"""A Python peer, made of nothing but the protos and docs/PROTOCOL.md, beside real daemons.

Run by tests/python/run, which generates the stubs. FLOODPLAIN_BIN is the binary under test.
"""

from __future__ import annotations

import tempfile
import unittest
from pathlib import Path

import grpc
from blake3 import blake3
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase

from floodplain.v1 import registry_pb2, registry_pb2_grpc
from daemons import Daemon, until
from links import Closed, Plain
from peer import Peer

BIG = bytes(range(256)) * 4096 * 3 + b"the end"


class Network:
    """The same tests in both kinds of network."""

    security: dict[str, str]

    @classmethod
    def enter(cls, name: str) -> Plain | Closed:
        raise NotImplementedError

    @classmethod
    def settings_of(cls, name: str) -> dict[str, str]:
        """By which a daemon enters."""
        raise NotImplementedError

    @classmethod
    def setUpClass(cls) -> None:
        cls.scratch = tempfile.TemporaryDirectory()
        cls.addClassCleanup(cls.scratch.cleanup)
        root = Path(cls.scratch.name)
        cls.registry = Daemon(root / "registry", ["registry"], REGISTRY_LISTEN="127.0.0.1:0", **cls.security)
        cls.addClassCleanup(cls.registry.end)
        cls.daemons = {}
        for name in ("ana", "ben", "cleo"):
            share = root / name / "share"
            share.mkdir(parents=True)
            (share / f"tide table {name}.txt").write_text(f"tides as {name} saw them")
            if name == "ben":
                (share / "long survey.bin").write_bytes(BIG)
            daemon = Daemon(
                root / name,
                ["peer", "--headless"],
                NAME=name,
                LISTEN="127.0.0.1:0",
                SHARES=str(share),
                INBOX=str(root / name / "inbox"),
                **cls.security,
                **cls.settings_of(name),
            )
            cls.addClassCleanup(daemon.end)
            cls.daemons[name] = daemon
        own = root / "heron-share"
        own.mkdir()
        (own / "heron census.csv").write_text("month,herons\n5,12\n")
        cls.peer = Peer("heron", cls.enter("heron"), own)
        cls.peer.__enter__()
        cls.addClassCleanup(cls.peer.__exit__, None, None, None)
        until(lambda: len(cls.peer.members) == 4, "all four are in the roster")

    def found(self, text: str, count: int):
        hits = until(lambda: len(h := self.peer.search(text)[0]) >= count and h, f"{count} hits for {text!r}")
        self.assertEqual(len(hits), count)
        return hits

    def test_it_joins_and_the_others_see_it(self) -> None:
        names = until(
            lambda: len(rows := [p for p in self.daemons["ana"].cli("peers") if p["type"] == "peer"]) == 4 and rows,
            "ana lists four peers",
        )
        self.assertIn("heron", [p["name"] for p in names])

    def test_one_message_searches_the_whole_zone(self) -> None:
        hits = self.found("tide table", 3)
        self.assertEqual({self.peer.members[holder].name for holder, _ in hits}, {"ana", "ben", "cleo"})
        _, done = self.peer.search("tide table")
        self.assertEqual(len(set(done.answered) | set(done.ruled_out)), 3)
        self.assertEqual(list(done.unreachable), [])

    def test_a_miss_is_a_miss_and_everyone_answered(self) -> None:
        hits, done = self.peer.search("no such thing anywhere")
        self.assertEqual(hits, [])
        self.assertEqual(len(set(done.answered) | set(done.ruled_out)), 3)

    def test_it_downloads_a_file_and_the_bytes_are_right(self) -> None:
        self.found("long survey", 1)
        holder, file = until(
            lambda: next(((p, f) for p, f in self.peer.search("long survey")[0] if f.content_hash), None), "it is hashed"
        )
        self.assertEqual(file.size_bytes, len(BIG))
        self.assertEqual(self.peer.download(holder, file.content_hash), BIG)
        self.assertEqual(self.peer.download(holder, file.content_hash, offset=len(BIG) - 7), b"the end")
        with self.assertRaises(grpc.RpcError) as refused:
            self.peer.download(holder, blake3(b"nobody has this").digest())
        self.assertEqual(refused.exception.code(), grpc.StatusCode.NOT_FOUND)

    def test_the_daemons_find_and_get_its_file(self) -> None:
        cleo = self.daemons["cleo"]
        hit = until(
            lambda: next((line for line in cleo.cli("search", "heron census") if line["type"] == "hit"), None),
            "cleo finds the file of the Python peer",
        )
        self.assertEqual([h["peer"] for h in hit["holders"]], ["heron"])
        out = cleo.folder / "census.csv"
        done = cleo.cli("get", hit["hash"], "-o", str(out))[-1]
        self.assertEqual(done.get("state"), "done", done)
        self.assertEqual(out.read_text(), "month,herons\n5,12\n")

    def test_a_search_of_a_daemon_goes_on_through_it(self) -> None:
        """Whoever has the Python peer first in its claim loses nobody behind it."""
        for daemon in self.daemons.values():
            done = daemon.cli("search", "tide")[-1]
            self.assertEqual((done["type"], done["answered"], done["unreachable"]), ("done", 4, 0))

    def test_what_breaks_the_protocol_is_refused_by_name(self) -> None:
        stub = registry_pb2_grpc.RegistryServiceStub(self.peer.registry)
        with self.assertRaises(grpc.RpcError) as refused:
            stub.Register(registry_pb2.RegisterRequest(), timeout=5)
        self.assertEqual(refused.exception.code(), grpc.StatusCode.INVALID_ARGUMENT)


class PlaintextOnLoopback(Network, unittest.TestCase):
    security = {"INSECURE_LOOPBACK": "true"}

    @classmethod
    def enter(cls, name: str) -> Plain:
        return Plain(cls.registry.address)

    @classmethod
    def settings_of(cls, name: str) -> dict[str, str]:
        return {"REGISTRY": cls.registry.address}

    def test_reflection_lists_the_services_of_both_daemons(self) -> None:
        def services(address: str) -> set[str]:
            with grpc.insecure_channel(address) as channel:
                return set(ProtoReflectionDescriptorDatabase(channel).get_services())

        standard = {
            "grpc.health.v1.Health",
            "grpc.reflection.v1.ServerReflection",
            "grpc.reflection.v1alpha.ServerReflection",
        }
        self.assertEqual(services(self.registry.address), {"floodplain.v1.RegistryService"} | standard)
        self.assertEqual(
            services(self.daemons["ana"].address),
            {"floodplain.v1.PeerService", "floodplain.v1.ReplicaService"} | standard,
        )


class ClosedByKeys(Network, unittest.TestCase):
    security = {}

    @classmethod
    def invite(cls) -> str:
        return cls.registry.cli("invite")[-1]["invite"]

    @classmethod
    def enter(cls, name: str) -> Closed:
        return Closed(cls.invite(), name)

    @classmethod
    def settings_of(cls, name: str) -> dict[str, str]:
        return {"INVITE": cls.invite()}

    def test_an_invite_lets_one_key_in(self) -> None:
        invite = self.invite()
        Closed(invite, "first").close()
        with self.assertRaises(grpc.RpcError) as refused:
            Closed(invite, "second")
        self.assertEqual(refused.exception.code(), grpc.StatusCode.UNAUTHENTICATED)

    def test_without_a_certificate_nobody_joins(self) -> None:
        stranger = Closed.__new__(Closed)
        stranger.__dict__ |= self.peer.network.__dict__ | {"certificate": None}
        with stranger.registry() as channel, self.assertRaises(grpc.RpcError) as refused:
            registry_pb2_grpc.RegistryServiceStub(channel).ListPeers(registry_pb2.ListPeersRequest(), timeout=5)
        self.assertEqual(refused.exception.code(), grpc.StatusCode.UNAUTHENTICATED)


if __name__ == "__main__":
    unittest.main(verbosity=2)
