#!/usr/bin/env python3
"""Five real daemons: feeds each its share of records, mines, and reads back every score over HTTP.

    ratings_daemons.py QFZZ DIR    needs DIR/share-0.jsonl to share-4.jsonl; writes DIR/answers.txt

The answers are about every content that the records name, in the format of `ratings_expected.py`.
The daemons are stopped however this ends.
"""

import concurrent.futures
import decimal
import http.client
import json
import os
import pathlib
import signal
import subprocess
import sys
import time

STATIONS = 5
# Seconds: until a daemon serves, until all agree after the last command, and until one that was asked to stop is gone.
START_LIMIT, AGREE_LIMIT, STOP_LIMIT = 20, 60, 10
POLL = 0.05


class Failed(Exception):
    """What went wrong, in words for whoever reads the log."""


class Station:
    """One daemon with its directory, and one kept-alive connection to its API."""

    def __init__(self, program, root, number):
        self.program = program
        self.number = number
        self.home = root / f"station-{number}"
        self.log = root / f"station-{number}.log"
        self.daemon = None
        self.connection = None
        self.station_id = None

    def command(self, *words):
        """Runs one command of the program on this station's directory; returns what it printed."""
        done = subprocess.run([self.program, "--data-dir", self.home, *words], capture_output=True, text=True)
        if done.returncode != 0:
            raise Failed(f"station {self.number}: `qfzz {' '.join(words)}` exits {done.returncode}: {done.stderr.strip()}")
        return done.stdout

    def start(self, *join):
        """Starts the daemon on ports of the system's choice and waits until it serves."""
        listen = ["--listen", "/ip4/127.0.0.1/tcp/0", "--api-listen", "127.0.0.1:0"]
        environment = {**os.environ, "QFZZ_MINING_ENABLED": "false"}
        with self.log.open("wb") as log:
            self.daemon = subprocess.Popen(
                [self.program, "--data-dir", self.home, "run", *listen, *join], stdout=log, stderr=log, env=environment
            )
        wait_until(START_LIMIT, f"station {self.number} to be ready", self.serves)
        self.station_id = self.get("/v1/status")["station_id"]

    def serves(self):
        """Whether the daemon answers that it is ready."""
        if self.daemon.poll() is not None:
            raise Failed(f"station {self.number} exits {self.daemon.returncode}: {self.log.read_text()[-2000:]}")
        try:
            address = (self.home / "api.addr").read_text(encoding="ascii").strip().removeprefix("http://").rstrip("/")
            self.connection = http.client.HTTPConnection(address, timeout=30)
            self.connection.request("GET", "/readyz")
            answer = self.connection.getresponse()
            answer.read()
            return answer.status == 200
        except (FileNotFoundError, OSError, http.client.HTTPException):
            return False

    def address(self):
        """The TCP address that the daemon listens on, without peer id, as an operator would pass it on."""
        listen = self.get("/v1/status")["listen"]
        return next(address.split("/p2p/")[0] for address in listen if "/tcp/" in address)

    def get(self, path):
        """The JSON answer to one GET; decimals are exact."""
        self.connection.request("GET", path)
        answer = self.connection.getresponse()
        body = answer.read()
        if answer.status != 200:
            raise Failed(f"station {self.number}: GET {path} answers {answer.status}: {body[:300]!r}")
        return json.loads(body, parse_float=decimal.Decimal)

    def feed(self, share):
        """Posts the records of a file; returns how many ids came back."""
        return len(set(self.command("record", "--from", str(share)).split()))

    def stop(self):
        """Asks the daemon to stop, and kills it where it doesn't."""
        if self.daemon is None or self.daemon.poll() is not None:
            return
        self.daemon.terminate()
        try:
            self.daemon.wait(STOP_LIMIT)
        except subprocess.TimeoutExpired:
            self.daemon.kill()
            self.daemon.wait()


def wait_until(seconds, what, condition):
    """Polls `condition` until it holds."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise Failed(f"waited {seconds} s in vain for {what}")
        time.sleep(POLL)


def millionths(score):
    """A score as an integer in millionths; more than six decimals are an error."""
    exact = decimal.Decimal(score) * 1_000_000
    if exact != exact.to_integral_value():
        raise Failed(f"the score {score} has more than six decimals")
    return int(exact)


def answer(get, subject, station_ids):
    """What one station says about one subject, as a line of `ratings_expected.py` without the station.

    `get` fetches a path; `station_ids` gives the order of the opinions.
    """
    pair = f"content_id={subject}&creator_id={subject}"
    content = get(f"/v1/trust/content?{pair}")
    creator = get(f"/v1/trust/creators/{subject}")
    combined = get(f"/v1/trust/global?kind=content&id={subject}&creator_id={subject}&policy=mean")
    voices = {entry["station_id"]: entry for entry in combined["stations"] if entry["evidence"]}
    opinions = []
    for station_id in station_ids:
        voice = voices.pop(station_id, None)
        opinions.append(f"{millionths(voice['score'])}/{voice['evidence']}" if voice else "-")
    if voices:
        raise Failed(f"opinions of stations that took no part: {', '.join(voices)}")
    scores = [content["score"], content["confirmed_score"], creator["score"], combined["score"]]
    fields = [subject, content["verifications"], content["reports"], *map(millionths, scores), *opinions]
    return " ".join(map(str, fields))


def read_all(station, subjects, station_ids):
    """Every answer of one station, as lines."""
    return [f"{station.number} {answer(station.get, subject, station_ids)}" for subject in subjects]


def agreed(stations, total):
    """Whether all have one head, all the records on the chain, and nothing pending."""
    states = [(station.get("/v1/status"), station.get("/v1/chain")) for station in stations]
    heads = {status["head"]["hash"] for status, _ in states}
    done = all(chain["total_records"] == total and status["pending_records"] == 0 for status, chain in states)
    return len(heads) == 1 and done


def federate(stations):
    """Founds a federation at the first station; each other one joins at the one before it."""
    stations[0].command("init", "--name", "ratings-0", "--new-federation", "Ratings", "--difficulty", "1", "--yes")
    stations[0].start()
    for before, station in zip(stations, stations[1:]):
        station.start("--join", before.address())


def mine_until_agreed(stations, total):
    """Has the stations mine in turn until all records are on the chain of each."""
    turns = iter(range(1_000))

    def mined():
        if agreed(stations, total):
            return True
        stations[next(turns) % STATIONS].command("mine")
        return agreed(stations, total)

    wait_until(AGREE_LIMIT, "one head with all records everywhere", mined)


def run(program, root):
    """The whole story; returns the answers of all stations as lines."""
    shares = [root / f"share-{number}.jsonl" for number in range(STATIONS)]
    records = [[json.loads(line) for line in share.read_text(encoding="ascii").splitlines()] for share in shares]
    counts = [len(share) for share in records]
    subjects = sorted({record["content_id"] for share in records for record in share}, key=int)
    stations = [Station(program, root, number) for number in range(STATIONS)]
    started = time.monotonic()

    def tell(what):
        print(f"{time.monotonic() - started:6.1f} s  {what}", file=sys.stderr, flush=True)

    try:
        federate(stations)
        tell(f"{STATIONS} daemons run and are ready")
        with concurrent.futures.ThreadPoolExecutor(STATIONS) as pool:
            acknowledged = list(pool.map(Station.feed, stations, shares))
            if acknowledged != counts:
                raise Failed(f"records acknowledged {acknowledged}, sent {counts}")
            tell(f"{sum(counts)} records acknowledged, by station: {counts}")
            mine_until_agreed(stations, sum(counts))
            chain = stations[0].get("/v1/chain")
            tell(f"all on one chain of {chain['chain_length']} blocks, head {chain_head(chain)}")
            station_ids = [station.station_id for station in stations]
            lines = list(pool.map(read_all, stations, [subjects] * STATIONS, [station_ids] * STATIONS))
        tell(f"{sum(map(len, lines))} answers read")
    finally:
        for station in stations:
            station.stop()
    return [line for of_one in lines for line in of_one]


def chain_head(chain):
    """The hash of the head in the answer of /v1/chain."""
    head = chain["head"]
    return head["hash"] if isinstance(head, dict) else head


def on_terminate(*_):
    """Leaves through the `finally` that stops the daemons; a second signal doesn't cut that short."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    sys.exit(143)


def main():
    if len(sys.argv) != 3:
        print(__doc__, file=sys.stderr)
        return 2
    signal.signal(signal.SIGTERM, on_terminate)
    program, root = str(pathlib.Path(sys.argv[1]).resolve()), pathlib.Path(sys.argv[2])
    try:
        lines = run(program, root)
    except Failed as failure:
        print(f"real-ratings: {failure}", file=sys.stderr)
        return 1
    (root / "answers.txt").write_text("".join(line + "\n" for line in lines), encoding="ascii")
    return 0


if __name__ == "__main__":
    sys.exit(main())
