"""The helper process of the node's quantum source: runs Q# and answers in lines of JSON.

The first line that it reads holds the Q# source and the target; it answers {"ready": {"package", "version"}},
{"missing": TEXT} or {"failed": TEXT}. After that each {"id", "count", "bits"} is answered by {"id", "raw": HEX}, `count`
numbers of `bits` bits (a multiple of 8) one after the other, highest bit first. It ends when its standard input does.
"""

import importlib.metadata
import json
import os
import queue
import signal
import sys
import threading

SIMULATOR = "simulator"
# Of an error's text, at most.
WHY_CHARACTERS = 300
# What names an Azure Quantum workspace where there is no connection string.
WORKSPACE = ("AZURE_QUANTUM_SUBSCRIPTION_ID", "AZURE_QUANTUM_WORKSPACE_RG", "AZURE_QUANTUM_WORKSPACE_NAME")
# Qubits of one shot on hardware: the smallest machines have more.
QUBITS = 8
# Of Linux's prctl: which signal comes when the parent ends.
PR_SET_PDEATHSIG = 1
# Seconds that a job may wait and run; the daemon waits a little longer.
JOB_SECONDS = 25 * 60


class Missing(Exception):
    """Something that has to be installed or set."""


def read_lines(lines):
    """Hands on what is asked; ends the process with whoever asks, whatever it is doing."""
    for line in sys.stdin.buffer:
        lines.put(line)
    os._exit(0)


def end_with_parent():
    """Lets the system end the process with whoever started it: a package that hangs may keep `read_lines` from running."""
    if sys.platform != "linux":
        return
    try:
        import ctypes
    except ImportError:
        return  # A Python without libffi; then `read_lines` alone does it.
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def load():
    """The Q# interpreter, of `qdk` or of its predecessor, and which package it is of."""
    # A daemon doesn't report to anybody.
    os.environ["QDK_PYTHON_TELEMETRY"] = os.environ["QSHARP_PYTHON_TELEMETRY"] = "none"
    for package in ("qdk", "qsharp"):
        try:
            if package == "qdk":
                from qdk import qsharp
            else:
                import qsharp
            return qsharp, {"package": package, "version": importlib.metadata.version(package)}
        except ModuleNotFoundError as error:
            if (error.name or "").partition(".")[0] != package:
                raise
    raise Missing(f"{sys.executable} has neither the package `qdk` nor `qsharp`: install it with `qfzz quantum setup`")


def simulator(qsharp, source):
    """Draws numbers from the package's simulator."""
    qsharp.init()
    qsharp.eval(source)

    def draw(count, bits):
        numbers = qsharp.eval(f"GenerateRandomInts({int(count)}, {int(bits)})")
        return b"".join(number.to_bytes(bits // 8, "big") for number in numbers)

    return draw


def bits_of(shot):
    """The measured bits of a shot, however the target writes them."""
    if isinstance(shot, (list, tuple)):
        return "".join(bits_of(part) for part in shot)
    text = str(shot).strip().removeprefix("Result.")
    bits = {"Zero": "0", "One": "1"}.get(text, "".join(text.strip("[]()").replace(",", "").split()))
    if bits.strip("01"):
        raise ValueError(f"a shot is not of bits: {text[:40]}")
    return bits


def azure(qsharp, source, name):
    """Draws numbers from a target of Azure Quantum: one job each time, of which each shot gives a byte."""
    try:
        from azure.quantum import Workspace
    except ImportError as error:
        raise Missing(f"the target `{name}` needs the package `azure-quantum`: install it with `qfzz quantum setup`") from error
    unset = [variable for variable in WORKSPACE if not os.environ.get(variable)]
    if unset and not os.environ.get("AZURE_QUANTUM_CONNECTION_STRING"):
        raise Missing(f"the target `{name}` needs a workspace: set AZURE_QUANTUM_CONNECTION_STRING, or {', '.join(unset)}")
    target = Workspace().get_targets(name)
    if target is None:
        raise Missing(f"the workspace has no target `{name}`")
    qsharp.init(target_profile=qsharp.TargetProfile.Base)
    qsharp.eval(source)
    program = qsharp.compile(f"GenerateRandomBits({QUBITS})")

    def draw(count, bits):
        job = target.submit(program, "qfzz-random", shots=count * bits // QUBITS)
        measured = "".join(bits_of(shot) for shot in job.get_results_shots(timeout_secs=JOB_SECONDS))
        return bytes(int(measured[at : at + 8], 2) for at in range(0, len(measured), 8))

    return draw


def main():
    # What a library prints must not look like an answer.
    answers = os.fdopen(os.dup(1), "w", encoding="ascii")
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)

    def answer(**fields):
        answers.write(json.dumps(fields) + "\n")
        answers.flush()

    end_with_parent()
    lines = queue.SimpleQueue()
    threading.Thread(target=read_lines, args=(lines,), daemon=True).start()
    try:
        order = json.loads(lines.get())
        qsharp, package = load()
        is_local = order["target"] == SIMULATOR
        draw = simulator(qsharp, order["source"]) if is_local else azure(qsharp, order["source"], order["target"])
        answer(ready=package)
        while True:
            wanted = json.loads(lines.get())
            answer(id=wanted["id"], raw=draw(wanted["count"], wanted["bits"]).hex())
    except Missing as error:
        answer(missing=str(error)[:WHY_CHARACTERS])
    except Exception as error:
        answer(failed=f"{type(error).__name__}: {error}"[:WHY_CHARACTERS])


main()
