#!/usr/bin/env python3
"""Runs the commands of README.md and docs/guide.md, so that the pages stay true.

Every fenced block of shell says what becomes of it:

    ```sh run       each command runs once and must exit 0. One that ends in `# -> TEXT` asks something: it is repeated
                    until its output contains TEXT as a word of its own, for at most 15 s
    ```sh daemon    the same, but the last command keeps running; the next block starts when it serves
    ```sh check     each command stands in scripts/check.sh, or is that script: CI runs it anyway

`/tmp/qfzz` becomes a fresh directory, and a port that is taken becomes a free one; nothing else is changed.
"""

import os
import pathlib
import re
import shlex
import signal
import socket
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent
# The pages, in the order in which they are run: the first one builds the program that the others call.
PAGES = ("README.md", "docs/guide.md")
# Seconds: for an answer, for a daemon to serve, for a daemon to stop, for any other command (a build among them).
ANSWER_LIMIT, START_LIMIT, STOP_LIMIT, COMMAND_LIMIT = 15, 20, 10, 1_200
POLL = 0.1
PORT = re.compile(r"(?<=/tcp/)\d+|(?<=127\.0\.0\.1:)\d+")


class Failed(Exception):
    """Which command failed, and how."""


def blocks(text):
    """The shell blocks of a page as (mark, commands); a block without a known mark is an error."""
    found = []
    for info, body in re.findall(r"^```((?:sh|bash|shell|console)\b[^\n]*)\n(.*?)^```$", text, flags=re.MULTILINE | re.DOTALL):
        mark = info.removeprefix("sh ").strip()
        if mark not in ("run", "daemon", "check"):
            raise Failed(f"a block is marked `{info}`: say run, daemon or check")
        commands = body.replace("\\\n", " ").splitlines()
        found.append((mark, [command for command in commands if command.strip()]))
    return found


def split_expectation(command):
    """A command and the text that its output must contain, or None."""
    command, _, expected = command.partition("# -> ")
    return command.strip(), expected.strip() or None


def contains(output, expected):
    """Whether `expected` stands in the output as a word: 0.5 doesn't stand in 0.54, nor 8 in 18."""
    return re.search(rf"(?<![\w.]){re.escape(expected)}(?!\.?\w)", output) is not None


def taken(port):
    """Whether somebody listens on this port of loopback."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", int(port)))
        except OSError:
            return True
        return False


def free_port():
    """A port of loopback that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return str(probe.getsockname()[1])


class Walk:
    """The shell in which the commands run: what was exported, and which daemons are up."""

    def __init__(self, folder):
        self.folder = folder
        self.exports = []
        self.daemons = []
        self.ports = {}
        self.environment = {name: value for name, value in os.environ.items() if not name.startswith("QFZZ_")}

    def adapt(self, command):
        """The command with its directory and, where they are taken, its ports replaced."""
        return PORT.sub(lambda match: self.port(match.group()), command.replace("/tmp/qfzz", str(self.folder)))

    def port(self, written):
        """The port that stands for a written one during this walk."""
        if written not in self.ports:
            self.ports[written] = free_port() if taken(written) else written
            if self.ports[written] != written:
                print(f"readme: port {written} is taken, {self.ports[written]} instead", flush=True)
        return self.ports[written]

    def shell(self, command):
        """The arguments that run a command after all that was exported."""
        return ["bash", "-euo", "pipefail", "-c", "\n".join([*self.exports, command])]

    def once(self, command):
        """Runs a command to its end; returns the exit code and all that it printed."""
        done = subprocess.run(
            self.shell(command),
            cwd=ROOT,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=COMMAND_LIMIT,
        )
        return done.returncode, done.stdout

    def run(self, written):
        """Runs one line of the page."""
        print(f"$ {written}", flush=True)
        command, expected = split_expectation(self.adapt(written))
        if command.startswith("export "):
            # The page's working directory is the repository; later commands have it too.
            self.exports.append(command)
            return
        deadline = time.monotonic() + ANSWER_LIMIT
        while True:
            code, output = self.once(command)
            if expected is None or contains(output, expected) or time.monotonic() > deadline:
                break
            time.sleep(POLL)
        print(output, end="", flush=True)
        if code != 0:
            raise Failed(f"`{written}` exits {code}")
        if expected is not None and not contains(output, expected):
            raise Failed(f"`{written}` never says {expected}")

    def start(self, written):
        """Starts the daemon of one line and waits until it serves."""
        print(f"$ {written} &", flush=True)
        command = self.adapt(written)
        log = self.folder / f"daemon-{len(self.daemons)}.log"
        with log.open("wb") as output:
            daemon = subprocess.Popen(
                self.shell(f"exec {command}"),
                cwd=ROOT,
                env=self.environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
            )
        self.daemons.append(daemon)
        words = shlex.split(command)
        status = shlex.join([*words[: words.index("run")], "status"])
        deadline = time.monotonic() + START_LIMIT
        # One that still looks for its federation answers too, and says that as a problem.
        while (answer := self.once(status))[0] != 0 or "PROBLEM" in answer[1]:
            if daemon.poll() is not None or time.monotonic() > deadline:
                raise Failed(f"`{written}` does not serve:\n{log.read_text(errors='replace')[-3000:]}")
            time.sleep(POLL)

    def stop(self):
        """Stops every daemon; one that has to be killed is a failure."""
        for daemon in self.daemons:
            daemon.terminate()
        stubborn = 0
        for daemon in self.daemons:
            try:
                daemon.wait(STOP_LIMIT)
            except subprocess.TimeoutExpired:
                daemon.kill()
                daemon.wait()
                stubborn += 1
        if stubborn:
            raise Failed(f"{stubborn} daemons had to be killed after {STOP_LIMIT} s")


def walk(found, checks):
    """Runs all blocks of a page; `checks` is the text of the script that CI runs."""
    with tempfile.TemporaryDirectory(prefix="qfzz-readme.") as folder:
        shell = Walk(pathlib.Path(folder))
        try:
            for mark, commands in found:
                if mark == "check":
                    for command in commands:
                        if command not in checks and command != "./scripts/check.sh":
                            raise Failed(f"scripts/check.sh does not run `{command}`")
                    continue
                for command in commands[:-1] if mark == "daemon" else commands:
                    shell.run(command)
                if mark == "daemon":
                    shell.start(commands[-1])
        finally:
            shell.stop()


def main():
    def on_terminate(*_):
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        sys.exit(143)

    signal.signal(signal.SIGTERM, on_terminate)
    try:
        for page in PAGES:
            found = blocks((ROOT / page).read_text(encoding="utf-8"))
            walk(found, (ROOT / "scripts/check.sh").read_text(encoding="utf-8"))
            print(f"readme: {sum(len(commands) for _, commands in found)} commands of {page} hold")
    except (Failed, subprocess.TimeoutExpired) as failure:
        print(f"readme: {page}: {failure}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
