"""How the Python peer talks to others: plainly in a network on loopback, by mutual TLS in a closed one.

gRPC for Python brings BoringSSL, which speaks no Ed25519. So TLS is done by Python's own ssl (OpenSSL), in relays between the
plaintext ports of gRPC and the network: one out for each address that is dialed, one in for the port that is served.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import datetime
import os
import ssl
import tempfile
import threading
from pathlib import Path

import grpc
from blake3 import blake3
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ed25519
from cryptography.x509.oid import NameOID

from floodplain.v1 import common_pb2, enrollment_pb2, enrollment_pb2_grpc

CALL_SECONDS = 5
READ_BYTES = 64 * 1024


def text_of(data: bytes) -> str:
    """Base 32 in lower case without padding, as invites and names in certificates have it."""
    return base64.b32encode(data).decode().lower().rstrip("=")


def bytes_of(text: str) -> bytes:
    return base64.b32decode(text.upper() + "=" * (-len(text) % 8))


class Plain:
    """A network on one machine's loopback, without keys: a peer's id is the hash of a secret that only the registry sees."""

    def __init__(self, registry: str) -> None:
        self.registry_address = registry
        self.credential = os.urandom(32)
        self.id = blake3(self.credential).digest()

    def registry(self) -> grpc.Channel:
        return grpc.insecure_channel(self.registry_address)

    def peer(self, peer: common_pb2.Peer) -> grpc.Channel:
        return grpc.insecure_channel(peer.address)

    def serve(self, port: int) -> str:
        """Where others reach what is served at this port of loopback."""
        return f"127.0.0.1:{port}"

    def close(self) -> None:
        pass


class Closed:
    """A closed network, entered by an invite: the key is made here, and the registry proves the key in the invite first."""

    credential = b""

    def __init__(self, invite: str, name: str) -> None:
        self.registry_address, authority, token = invite.removeprefix("fp1:").split("/")
        self.servers: list[asyncio.Server] = []
        self.loop = asyncio.new_event_loop()
        self.thread = threading.Thread(target=self.loop.run_forever, daemon=True)
        self.thread.start()
        self.scratch = tempfile.TemporaryDirectory()
        self.key = ed25519.Ed25519PrivateKey.generate()
        # Right for a network whose authority was never changed; the answer tells it for sure.
        self.network = text_of(blake3(bytes_of(authority)).digest()[:10])
        self.authorities = [bytes_of(authority)]
        self.certificate: bytes | None = None
        self.enroll(bytes_of(authority), bytes_of(token), name)
        raw = self.key.public_key().public_bytes(serialization.Encoding.Raw, serialization.PublicFormat.Raw)
        self.id = blake3(raw).digest()

    def enroll(self, authority: bytes, token: bytes, name: str) -> None:
        der = self.key.public_key().public_bytes(
            serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
        )
        proof = self.key.sign(b"floodplain enroll v1" + authority + token + der + name.encode())
        request = enrollment_pb2.EnrollRequest(token=token, public_key=der, proof=proof, name=name)
        with self.registry() as channel:
            stub = enrollment_pb2_grpc.EnrollmentServiceStub(channel)
            credentials = stub.Enroll(request, timeout=CALL_SECONDS).credentials
        self.network, self.certificate = text_of(credentials.network_id), credentials.certificate
        self.authorities = [self.raw_key(a) for a in credentials.authorities]

    @staticmethod
    def raw_key(key: bytes) -> bytes:
        """The 32 bytes at the end of an Ed25519 key, whether it comes raw or as DER."""
        return key[-32:]

    def anchor(self, authority: bytes) -> str:
        """A trust anchor is a key and a name. OpenSSL takes it as a certificate, of which it does not check who signed it."""
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, self.network)])
        now = datetime.datetime.now(datetime.timezone.utc)
        builder = x509.CertificateBuilder().subject_name(name).issuer_name(name).serial_number(1)
        builder = builder.public_key(ed25519.Ed25519PublicKey.from_public_bytes(authority))
        builder = builder.not_valid_before(now - datetime.timedelta(days=1))
        builder = builder.not_valid_after(now + datetime.timedelta(days=1))
        builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        made = builder.sign(ed25519.Ed25519PrivateKey.generate(), None)
        return made.public_bytes(serialization.Encoding.PEM).decode()

    def context(self, side: int) -> ssl.SSLContext:
        context = ssl.SSLContext(side)
        context.minimum_version = ssl.TLSVersion.TLSv1_3
        context.verify_mode = ssl.CERT_REQUIRED
        context.set_alpn_protocols(["h2"])
        context.load_verify_locations(cadata="".join(self.anchor(a) for a in self.authorities))
        if self.certificate is not None:
            folder = Path(self.scratch.name)
            certificate = x509.load_der_x509_certificate(self.certificate)
            pem = serialization.Encoding.PEM
            (folder / "certificate").write_bytes(certificate.public_bytes(pem))
            (folder / "key").write_bytes(
                self.key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
            )
            context.load_cert_chain(folder / "certificate", folder / "key")
        return context

    def registry(self) -> grpc.Channel:
        return self.dial(self.registry_address, f"registry.{self.network}.floodplain", None)

    def peer(self, peer: common_pb2.Peer) -> grpc.Channel:
        return self.dial(peer.address, f"{text_of(peer.peer_id)}.peer.{self.network}.floodplain", peer.peer_id)

    def dial(self, address: str, name: str, peer_id: bytes | None) -> grpc.Channel:
        """A channel through a relay that lets nothing pass before the other end has proved the name, and a peer its key."""
        host, port = address.rsplit(":", 1)
        context = self.context(ssl.PROTOCOL_TLS_CLIENT)

        async def relay(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            try:
                there = await asyncio.open_connection(host, int(port), ssl=context, server_hostname=name)
            except (OSError, ssl.SSLError):
                writer.close()
                return
            if peer_id is not None and key_hash(there[1]) != peer_id:
                writer.close()
                there[1].close()
                return
            await both_ways((reader, writer), there)

        return grpc.insecure_channel(f"127.0.0.1:{self.listen(relay, None)}")

    def serve(self, port: int) -> str:
        async def relay(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await both_ways((reader, writer), await asyncio.open_connection("127.0.0.1", port))

        return f"127.0.0.1:{self.listen(relay, self.context(ssl.PROTOCOL_TLS_SERVER))}"

    def listen(self, relay, context: ssl.SSLContext | None) -> int:
        async def until_closed(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            with contextlib.suppress(asyncio.CancelledError):
                await relay(reader, writer)
            writer.close()

        start = asyncio.start_server(until_closed, "127.0.0.1", 0, ssl=context)
        server = asyncio.run_coroutine_threadsafe(start, self.loop).result(CALL_SECONDS)
        self.servers.append(server)
        return server.sockets[0].getsockname()[1]

    def close(self) -> None:
        async def end() -> None:
            for server in self.servers:
                server.close()
            running = asyncio.all_tasks() - {asyncio.current_task()}
            for task in running:
                task.cancel()
            await asyncio.gather(*running, return_exceptions=True)

        asyncio.run_coroutine_threadsafe(end(), self.loop).result(CALL_SECONDS)
        self.loop.call_soon_threadsafe(self.loop.stop)
        self.thread.join()
        self.loop.close()
        self.scratch.cleanup()


def key_hash(writer: asyncio.StreamWriter) -> bytes:
    """The id that the certificate at the other end of a TLS connection gives its key."""
    certificate = x509.load_der_x509_certificate(writer.get_extra_info("ssl_object").getpeercert(True))
    raw = certificate.public_key().public_bytes(serialization.Encoding.Raw, serialization.PublicFormat.Raw)
    return blake3(raw).digest()


async def both_ways(here, there) -> None:
    async def one_way(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while data := await reader.read(READ_BYTES):
                writer.write(data)
                await writer.drain()
        except OSError:
            pass
        finally:
            with contextlib.suppress(OSError, RuntimeError):
                writer.close()

    await asyncio.gather(one_way(here[0], there[1]), one_way(there[0], here[1]))
