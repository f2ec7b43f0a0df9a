"""A peer's gateway and a registry behind Debian's nginx, with the files of deploy/nginx: REST, events, files, gRPC, mutual TLS."""

from __future__ import annotations

import datetime
import http.client
import json
import os
import shutil
import socket
import ssl
import subprocess
import tempfile
import unittest
from pathlib import Path

import grpc
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from daemons import Daemon, until
from floodplain.v1 import control_pb2, control_pb2_grpc

HOST = "files.example.org"
NGINX = Path(__file__).resolve().parents[2] / "deploy" / "nginx"
STREAM_MODULE = Path("/usr/lib/nginx/modules/ngx_stream_module.so")
BIG = os.urandom(1 << 20) * 24


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def certify(folder: Path) -> None:
    """A certificate of its own for the proxy."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, HOST)])
    now = datetime.datetime.now(datetime.timezone.utc)
    builder = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
    builder = builder.serial_number(x509.random_serial_number()).not_valid_before(now - datetime.timedelta(hours=1))
    builder = builder.not_valid_after(now + datetime.timedelta(days=1))
    builder = builder.add_extension(x509.SubjectAlternativeName([x509.DNSName(HOST)]), critical=False)
    pem = serialization.Encoding.PEM
    (folder / "proxy.pem").write_bytes(builder.sign(key, hashes.SHA256()).public_bytes(pem))
    (folder / "proxy.key").write_bytes(
        key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )


def replaced(text: str, *pairs: tuple[str, str]) -> str:
    """The shipped file with this machine's ports and paths; each thing that is replaced has to be there."""
    for old, new in pairs:
        if old not in text:
            raise AssertionError(f"deploy/nginx has no {old!r} any more")
        text = text.replace(old, new)
    return text


class BehindNginx(unittest.TestCase):
    @classmethod
    def setUpClass(cls) -> None:
        cls.scratch = tempfile.TemporaryDirectory()
        cls.addClassCleanup(cls.scratch.cleanup)
        root = Path(cls.scratch.name)
        cls.https, cls.passed = free_port(), free_port()
        # What members dial is nginx; it hands their TLS on to the registry as it is.
        registry_port = free_port()
        cls.registry = Daemon(
            root / "registry",
            ["registry"],
            REGISTRY_LISTEN=f"127.0.0.1:{registry_port}",
            REGISTRY_ADVERTISE=f"127.0.0.1:{cls.passed}",
        )
        cls.addClassCleanup(cls.registry.end)
        certify(root)
        cls.gateway_port = free_port()
        gateway = replaced(
            (NGINX / "gateway.conf").read_text(),
            ("listen 443 ssl", f"listen 127.0.0.1:{cls.https} ssl"),
            ("127.0.0.1:7080", f"127.0.0.1:{cls.gateway_port}"),
            ("/etc/ssl/floodplain.pem", str(root / "proxy.pem")),
            ("/etc/ssl/floodplain.key", str(root / "proxy.key")),
        )
        passthrough = replaced(
            (NGINX / "passthrough.conf").read_text(),
            ("listen 7000", f"listen 127.0.0.1:{cls.passed}"),
            ("127.0.0.1:17000", f"127.0.0.1:{registry_port}"),
        )
        temporary = "".join(
            f"{kind}_temp_path {root}/nginx-{kind};\n" for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
        )
        (root / "nginx.conf").write_text(
            f"load_module {STREAM_MODULE};\npid {root}/nginx.pid;\nerror_log {root}/nginx.log;\n"
            + ("user root;\n" if os.geteuid() == 0 else "")
            + f"events {{}}\nhttp {{\naccess_log off;\n{temporary}{gateway}}}\n{passthrough}"
        )
        cls.nginx = subprocess.Popen(
            [shutil.which("nginx", path=f"{os.environ['PATH']}:/usr/sbin"), "-c", root / "nginx.conf", "-g", "daemon off;"],
            stderr=subprocess.DEVNULL,
        )
        cls.addClassCleanup(cls.nginx.wait, 20)
        cls.addClassCleanup(cls.nginx.terminate)

        def listens() -> bool:
            with socket.socket() as probe:
                return probe.connect_ex(("127.0.0.1", cls.passed)) == 0

        until(listens, "nginx listens")
        cls.peers = {}
        for name in ("ana", "ben"):
            share = root / name / "share"
            share.mkdir(parents=True)
            (share / f"flood map {name}.txt").write_text(f"the map of {name}")
            if name == "ben":
                (share / "aerial survey.tif").write_bytes(BIG)
            gateway = {"HTTP_LISTEN": f"127.0.0.1:{cls.gateway_port}", "HTTP_HOSTS": HOST} if name == "ana" else {}
            cls.peers[name] = Daemon(
                root / name,
                ["peer", "--headless"],
                NAME=name,
                INVITE=cls.registry.cli("invite")[-1]["invite"],
                LISTEN="127.0.0.1:0",
                SHARES=str(share),
                INBOX=str(root / name / "inbox"),
                **gateway,
            )
            cls.addClassCleanup(cls.peers[name].end)
        cls.token = cls.peers["ana"].gateway("token")
        cls.authority = (root / "proxy.pem").read_bytes()
        until(
            lambda: len([p for p in cls.peers["ana"].cli("peers") if p["type"] == "peer"]) == 2,
            "both joined through nginx",
        )

    def request(self, method: str, path: str, body=None, **headers: str) -> http.client.HTTPResponse:
        context = ssl.create_default_context(cadata=self.authority.decode())
        connection = http.client.HTTPSConnection(HOST, self.https, timeout=30, context=context)
        # The name leads to the proxy on this machine; the certificate is checked by the name.
        connection._create_connection = lambda _address, *rest: socket.create_connection(("127.0.0.1", self.https), *rest)
        headers = {"Authorization": f"Bearer {self.token}"} | headers
        connection.request(method, path, body, headers)
        self.addCleanup(connection.close)
        return connection.getresponse()

    def test_both_peers_are_members_through_the_proxy(self) -> None:
        status = json.load(self.request("GET", "/api/v1/status"))
        self.assertEqual(status["registry"], f"127.0.0.1:{self.passed}")

    def test_the_page_and_the_api_answer_under_the_public_name(self) -> None:
        page = self.request("GET", "/")
        self.assertEqual(page.status, 200)
        self.assertIn("text/html", page.headers["Content-Type"])
        origin = f"https://{HOST}:{self.https}"
        self.assertEqual(self.request("GET", "/api/v1/peers", Origin=origin).status, 200)
        self.assertEqual(self.request("GET", "/api/v1/peers", Origin="https://elsewhere.example").status, 403)
        self.assertEqual(self.request("GET", "/api/v1/peers", Authorization="Bearer wrong").status, 401)

    def test_hits_come_as_events_before_the_end(self) -> None:
        asked = json.dumps({"query": "flood map", "zones": "mine"})
        made = self.request("POST", "/api/v1/searches", asked, **{"Content-Type": "application/json"})
        self.assertEqual(made.status, 201)
        events = self.request("GET", f"{made.headers['Location']}/events")
        self.assertIn("text/event-stream", events.headers["Content-Type"])
        kinds = []
        while not kinds or kinds[-1] not in ("done", "problem"):
            line = events.readline().decode().strip()
            if line.startswith("event:"):
                kinds.append(line.split(":", 1)[1].strip())
        self.assertGreaterEqual(kinds.count("hit"), 2)
        self.assertEqual(kinds[-1], "done")

    def test_an_idle_stream_of_events_is_open_at_once(self) -> None:
        """Nothing is held back until a buffer is full: the answer's head comes before any event must."""
        events = self.request("GET", "/api/v1/events")
        self.assertEqual(events.status, 200)

    def test_a_file_of_another_peer_comes_whole_and_in_parts(self) -> None:
        hit = until(
            lambda: next((h for h in self.peers["ana"].cli("search", "aerial survey") if h.get("hash")), None), "a hashed hit"
        )
        whole = self.request("GET", f"/api/v1/files/{hit['hash']}")
        self.assertEqual(whole.status, 200)
        self.assertEqual(whole.read(), BIG)
        part = self.request("GET", f"/api/v1/files/{hit['hash']}", Range="bytes=1048570-1048579")
        self.assertEqual((part.status, part.read()), (206, BIG[1048570:1048580]))

    def test_a_file_is_shared_by_put(self) -> None:
        shared = self.request("PUT", "/api/v1/files/behind%20the%20proxy.bin", BIG)
        self.assertEqual(shared.status, 201, shared.read())
        found = until(
            lambda: next((h for h in self.peers["ben"].cli("search", "behind proxy") if h["type"] == "hit"), None),
            "ben finds what ana's browser put",
        )
        self.assertEqual(found["size_bytes"], len(BIG))

    def channel(self) -> grpc.Channel:
        return grpc.secure_channel(
            f"127.0.0.1:{self.https}",
            grpc.ssl_channel_credentials(self.authority),
            # The name is what the certificate says; with the port it is what the gateway is addressed by.
            options=[("grpc.ssl_target_name_override", HOST), ("grpc.default_authority", f"{HOST}:{self.https}")],
        )

    def test_grpc_streams_a_search(self) -> None:
        ask = control_pb2.StartSearchRequest(text="flood map", scope=control_pb2.SCOPE_MINE)
        bearer = [("authorization", f"Bearer {self.token}")]
        with self.channel() as channel:
            stub = control_pb2_grpc.ControlServiceStub(channel)
            answers = list(stub.StartSearch(ask, timeout=20, metadata=bearer))
            with self.assertRaises(grpc.RpcError) as refused:
                stub.GetStatus(control_pb2.GetStatusRequest(), timeout=20)
        paths = {answer.hit.file.path for answer in answers if answer.WhichOneof("message") == "hit"}
        self.assertEqual(paths, {"share/flood map ana.txt", "share/flood map ben.txt"})
        self.assertEqual(answers[-1].done.answered, 2)
        self.assertEqual(refused.exception.code(), grpc.StatusCode.UNAUTHENTICATED)


if __name__ == "__main__":
    unittest.main(verbosity=2)
