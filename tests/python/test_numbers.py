"""Prometheus itself scrapes a registry and two peers that have traffic, with the files of deploy/prometheus: every series that
docs/OPERATIONS.md names is there and no other, every query of the dashboard and of the alerts is answered, and with data.

Needs Debian's prometheus.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import tempfile
import unittest
import urllib.parse
import urllib.request
from pathlib import Path

from daemons import Daemon, until
from test_nginx import free_port, replaced

ROOT = Path(__file__).resolve().parents[2]
RULES = ROOT / "deploy" / "prometheus"
DASHBOARD = json.loads((ROOT / "deploy" / "grafana.json").read_text())
# Grafana replaces these; its $__rate_interval is four scrapes at least.
VARIABLES = {"$job": ".*", "$instance": ".*", "$__rate_interval": "30s"}
# Units that Grafana knows, of those that this dashboard may use.
UNITS = {"none", "ops", "s", "Bps", "bytes", "percentunit", "dateTimeFromNow", "reqps", "short"}
BIG = os.urandom(1 << 20) * 8


def panels() -> list[dict]:
    rows = DASHBOARD["panels"]
    return rows + [inner for row in rows for inner in row.get("panels", [])]


def queries() -> list[tuple[str, str]]:
    """Of every panel: its title, and what it asks as Grafana would."""
    found = []
    for panel in panels():
        for target in panel.get("targets", []):
            text = target["expr"]
            for name, value in VARIABLES.items():
                text = text.replace(name, value)
            found.append((panel["title"], text))
    return found


def documented() -> dict[str, str]:
    """Name and type of each series in the tables of the handbook."""
    text = (ROOT / "docs" / "OPERATIONS.md").read_text()
    return dict(re.findall(r"^\| `((?:floodplain|process)_\w+)` \| (\w+) \|", text, re.MULTILINE))


class Dashboard(unittest.TestCase):
    """Its shape, without a server."""

    def test_panels_have_their_own_ids_and_places(self) -> None:
        ids = [panel["id"] for panel in panels()]
        self.assertEqual(len(ids), len(set(ids)))
        taken = set()
        for panel in panels():
            at = panel["gridPos"]
            self.assertLessEqual(at["x"] + at["w"], 24, panel["title"])
            for cell in ((x, y) for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])):
                self.assertNotIn(cell, taken, panel["title"])
                taken.add(cell)

    def test_panels_ask_the_data_source_that_was_chosen(self) -> None:
        names = [variable["name"] for variable in DASHBOARD["templating"]["list"]]
        self.assertEqual(names[0], "datasource")
        for panel in panels():
            if panel["type"] == "row":
                continue
            self.assertEqual(panel["datasource"], {"type": "prometheus", "uid": "${datasource}"}, panel["title"])
            self.assertIn(panel["fieldConfig"]["defaults"]["unit"], UNITS, panel["title"])
            refs = [target["refId"] for target in panel["targets"]]
            self.assertEqual(len(refs), len(set(refs)), panel["title"])
            for target in panel["targets"]:
                self.assertIn('job=~"$job"', target["expr"], panel["title"])
                self.assertIn('instance=~"$instance"', target["expr"], panel["title"])


class Rules(unittest.TestCase):
    def test_the_alerts_fire_when_they_should_and_not_before(self) -> None:
        ended = subprocess.run(
            ["promtool", "test", "rules", "alerts_test.yml"], cwd=RULES, capture_output=True, text=True, timeout=60
        )
        self.assertEqual(ended.returncode, 0, ended.stdout + ended.stderr)

    def test_every_alert_has_a_test(self) -> None:
        tests = (RULES / "alerts_test.yml").read_text()
        names = re.findall(r"- alert: (\w+)", (RULES / "alerts.yml").read_text())
        self.assertGreater(len(names), 4)
        for name in names:
            self.assertIn(f"alertname: {name}\n", tests)


class Scraped(unittest.TestCase):
    """A closed network under a real Prometheus that scrapes each second."""

    @classmethod
    def setUpClass(cls) -> None:
        scratch = tempfile.TemporaryDirectory()
        cls.addClassCleanup(scratch.cleanup)
        root = Path(scratch.name)
        registry_http, *peer_http = [f"127.0.0.1:{free_port()}" for _ in range(3)]
        cls.registry = Daemon(
            root / "registry", ["registry"], REGISTRY_LISTEN="127.0.0.1:0", REGISTRY_HTTP_LISTEN=registry_http
        )
        cls.addClassCleanup(cls.registry.end)
        cls.peers = []
        for name, http in zip(("ana", "ben"), peer_http):
            share = root / name / "share"
            share.mkdir(parents=True)
            (share / f"tide table {name}.txt").write_text(f"tides as {name} saw them")
            (share / f"survey {name}.bin").write_bytes(name.encode() + BIG)
            peer = Daemon(
                root / name,
                ["peer", "--headless"],
                NAME=name,
                LISTEN="127.0.0.1:0",
                HTTP_LISTEN=http,
                SHARES=str(share),
                INBOX=str(root / name / "inbox"),
                INVITE=cls.registry.cli("invite")[-1]["invite"],
            )
            cls.addClassCleanup(peer.end)
            cls.peers.append(peer)
        cls.prometheus(root / "prometheus", [registry_http, *peer_http])
        # A rate needs what was before, so each is scraped twice before anything happens.
        until(lambda: cls.asked("count(count_over_time(up[30s]) > 1)") == 3, "three daemons are scraped")
        cls.traffic()

    @classmethod
    def prometheus(cls, folder: Path, targets: list[str]) -> None:
        folder.mkdir()
        shutil.copy(RULES / "alerts.yml", folder)
        config = replaced(
            (RULES / "prometheus.yml").read_text(),
            ("_interval: 15s", "_interval: 1s"),
            ('["127.0.0.1:7070", "127.0.0.1:7080"]', json.dumps(targets)),
        )
        (folder / "prometheus.yml").write_text(config)
        cls.address = f"127.0.0.1:{free_port()}"
        options = ["--config.file=prometheus.yml", "--storage.tsdb.path=data", f"--web.listen-address={cls.address}"]
        log = (folder / "log").open("w")
        cls.addClassCleanup(log.close)
        process = subprocess.Popen(["prometheus", *options], cwd=folder, stdout=log, stderr=log)
        cls.addClassCleanup(process.wait, 20)
        cls.addClassCleanup(process.terminate)

    @classmethod
    def api(cls, path: str, **words: str) -> dict:
        url = f"http://{cls.address}/api/v1/{path}?{urllib.parse.urlencode(words)}"
        with urllib.request.urlopen(url, timeout=10) as answer:
            return json.load(answer)["data"]

    @classmethod
    def asked(cls, expression: str) -> float | None:
        """The one number that an expression gives; None when it gives none yet."""
        try:
            result = cls.api("query", query=expression)["result"]
        except OSError:
            return None
        return float(result[0]["value"][1]) if result else None

    @classmethod
    def traffic(cls) -> None:
        """Both peers search and download, while they are scraped."""
        ana, ben = cls.peers
        for asker, holder in ((ana, "ben"), (ben, "ana")):
            until(
                lambda: [
                    hit for hit in asker.cli("search", f"survey {holder}") if hit["type"] == "hit" and hit["hash"]
                ],
                f"the survey of {holder} is found",
            )
            hits = [hit for hit in asker.cli("search", f"survey {holder}") if hit["type"] == "hit"]
            asker.cli("get", hits[0]["hash"])
        moved = 'sum(floodplain_transferred_bytes_total{direction="down"})'
        until(lambda: (cls.asked(moved) or 0) >= 2 * len(BIG), "the downloads were scraped")
        until(
            lambda: ana.cli("search", "tide") and (cls.asked("sum(rate(floodplain_searches_total[30s]))") or 0) > 0,
            "the searches were scraped",
        )

    def test_a_scrape_is_understood_to_the_last_line(self) -> None:
        for target in self.api("targets")["activeTargets"]:
            self.assertEqual((target["health"], target["lastError"]), ("up", ""), target["scrapeUrl"])

    def test_what_is_documented_is_there_and_nothing_else(self) -> None:
        told = {name: kinds[0]["type"] for name, kinds in self.api("metadata").items()}
        # Prometheus names a counter and an info without what their samples end with.
        told = {name: kind for name, kind in told.items() if name.startswith(("floodplain_", "process_"))}
        ends = {"counter": "_total", "info": "_info"}
        told = {name.removesuffix(ends.get(kind, "")) + ends.get(kind, ""): kind for name, kind in told.items()}
        self.assertEqual(told, documented())
        names = set(self.api("label/__name__/values"))
        for name, kind in documented().items():
            self.assertIn(name + ("_bucket" if kind == "histogram" else ""), names)

    def test_every_query_of_the_dashboard_gives_data(self) -> None:
        for title, expression in queries():
            with self.subTest(panel=title, expression=expression):
                result = self.api("query", query=expression)["result"]
                self.assertTrue(result, "no data")
                self.assertFalse([row for row in result if row["value"][1] in ("NaN", "+Inf", "-Inf")], result)

    def test_what_the_dashboard_shows_is_what_happened(self) -> None:
        shown = {title: expression for title, expression in reversed(queries())}
        self.assertEqual(self.asked(shown["Peers"]), 2)
        self.assertEqual(self.asked(shown["Zones"]), 1)
        self.assertEqual(self.asked(shown["Peers not joined"]), 0)
        self.assertGreater(self.asked(shown["Searches and hits"]), 0)
        self.assertGreater(self.asked(shown["File bytes"]), 0)

    def test_the_variables_of_the_dashboard_have_values(self) -> None:
        for variable in DASHBOARD["templating"]["list"][1:]:
            series, label = re.fullmatch(r"label_values\((.+), (\w+)\)", variable["query"]["query"]).groups()
            values = self.api(f"label/{label}/values", **{"match[]": series.replace("$job", ".*")})
            self.assertEqual(len(values), 1 if label == "job" else 3)

    def test_the_alerts_are_loaded_ask_for_what_is_there_and_are_silent(self) -> None:
        until(
            lambda: all(r["lastEvaluation"][:4] != "0001" for r in self.api("rules")["groups"][0]["rules"]),
            "the rules were evaluated",
        )
        rules = self.api("rules")["groups"][0]["rules"]
        self.assertGreater(len(rules), 4)
        for rule in rules:
            with self.subTest(alert=rule["name"]):
                self.assertEqual((rule["health"], rule["state"]), ("ok", "inactive"))
                for series in set(re.findall(r"\b(?:floodplain_\w+|up)\b(?!\")", rule["query"])):
                    self.assertIsNotNone(self.asked(series), series)


if __name__ == "__main__":
    unittest.main()
