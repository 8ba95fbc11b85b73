"""A training across two hosts that loses one of them.

    python benchmarks/reliability/hosts.py [--quick]

The hosts are network namespaces of this machine, each with a name of its own, joined by a pair of virtual cables; each runs
``torchrun`` with one process, and they meet at the first one's address. Then one host's processes are killed, or the cable is
cut (nothing is heard any more, no connection is closed), or both at once, as when a host loses its power. What must hold: the
other host ends within a minute, in one line; the run goes on from its newest checkpoint, on two hosts or on one, or by itself
(``--nnodes 1:2 --max-restarts 3``); and in the end the weights are those of a training that lost nothing (bit for bit with as
many processes, within 1e-9 with fewer: float64).

It needs root, Linux and ``ip``; without them it says so and is skipped.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from common import arguments, conclude, make_pictures
from safetensors.torch import load_file

from limner.rundir import RunDir

MINUTE = 60.0
PORT = 29400
ADDRESSES = ("10.77.0.1", "10.77.0.2")
BATCH, IMAGES, ENOUGH = 4, 480, 3
SETTINGS = {
    "network.latent": 6,
    "generator.width": 2,
    "discriminator.width": 2,
    "training.batch_size": BATCH,
    "training.precision": "float64",
    "training.device": "cpu",
    "evaluation.share": 0,
    "snapshots.log_steps": 4,
    "snapshots.every_images": IMAGES,
    "snapshots.checkpoint_minutes": 0.002,
    "snapshots.keep": 2,
}


def missing() -> str:
    """Why it cannot be done here; empty when it can."""
    if sys.platform != "linux" or os.geteuid() != 0:
        return "two hosts on one machine need Linux and root"
    if not shutil.which("ip"):
        return "two hosts on one machine need ip (package iproute2)"
    probe = f"limner-{os.getpid()}-probe"
    if subprocess.run(["ip", "netns", "add", probe], capture_output=True).returncode:
        return "two hosts on one machine need the right to make network namespaces"
    subprocess.run(["ip", "netns", "del", probe], check=False)
    return ""


class Host:
    """A network namespace with a name of its own, and what runs in it."""

    def __init__(self, number: int, tag: str, folder: Path) -> None:
        self.number, self.namespace, self.folder = number, f"limner-{tag}-{number}", folder / f"host-{number}"
        self.interface = f"lim{tag}{number}"
        self.address = ADDRESSES[number]
        self.folder.mkdir()
        self.starts = 0
        self.process: subprocess.Popen[bytes] | None = None

    def start(self, *command: str, nodes: str = "2", restarts: int = 0) -> None:
        """Start torchrun with one process that runs ``limner`` so."""
        self.starts += 1
        launcher = [
            *(
                "--nnodes",
                nodes,
                "--nproc-per-node",
                "1",
                "--max-restarts",
                str(restarts),
                "--local-addr",
                self.address,
            ),
            *("--rdzv-backend", "c10d", "--rdzv-endpoint", f"{ADDRESSES[0]}:{PORT}", "--rdzv-id", "letters"),
            *("--rdzv-conf", f"is_host={int(self.number == 0)},last_call_timeout=4,timeout=120"),
        ]
        words = [sys.executable, "-m", "torch.distributed.run", *launcher, "-m", "limner", *command]
        inside = f'hostname host-{self.number}; exec "$@"'
        with (self.folder / f"said-{self.starts}.txt").open("wb") as said:
            self.process = subprocess.Popen(
                ["ip", "netns", "exec", self.namespace, "unshare", "--uts", "sh", "-c", inside, "sh", *words],
                cwd=self.folder,
                env={
                    **os.environ,
                    **{"GLOO_SOCKET_IFNAME": self.interface, "OMP_NUM_THREADS": "1"},
                    "LIMNER_CACHE": str(self.folder / "cache"),
                },
                stdout=said,
                stderr=said,
            )

    def lines(self) -> list[str]:
        """What Limner has said since the newest start."""
        text = (self.folder / f"said-{self.starts}.txt").read_text(errors="replace")
        return [line for line in text.splitlines() if line.startswith("limner: ")]

    def workers(self) -> list[int]:
        """Process numbers of Limner here."""
        found = []
        for number in self.inside():
            try:
                words = Path(f"/proc/{number}/cmdline").read_bytes().split(b"\0")
            except OSError:
                continue
            if b"torch.distributed.run" not in words and b"limner" in words:
                found.append(number)
        return found

    def inside(self) -> list[int]:
        """Process numbers of all that runs here."""
        told = subprocess.run(["ip", "netns", "pids", self.namespace], capture_output=True, text=True).stdout
        return [int(number) for number in told.split()]

    def kill(self) -> None:
        """End everything here at once."""
        for number in self.inside():
            try:
                os.kill(number, signal.SIGKILL)
            except ProcessLookupError:
                continue
        if self.process is not None:
            self.process.wait()

    def cable(self, state: str) -> None:
        """Pull the cable out of this host (``down``), or put it in (``up``)."""
        _ip("-n", self.namespace, "link", "set", self.interface, state)


def _ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True)


@contextmanager
def two_hosts(tag: str, folder: Path) -> Iterator[tuple[Host, Host]]:
    """Two hosts that reach one another; nothing is left of them afterwards."""
    hosts = (Host(0, tag, folder), Host(1, tag, folder))
    try:
        for host in hosts:
            _ip("netns", "add", host.namespace)
        ends = [word for host in hosts for word in ("name", host.interface, "netns", host.namespace, "peer")][:-1]
        _ip("link", "add", *ends[:4], "type", "veth", *ends[4:])
        for host in hosts:
            _ip("-n", host.namespace, "addr", "add", f"{host.address}/24", "dev", host.interface)
            for interface in ("lo", host.interface):
                _ip("-n", host.namespace, "link", "set", interface, "up")
        yield hosts
    finally:
        for host in hosts:
            host.kill()
            subprocess.run(["ip", "netns", "del", host.namespace], capture_output=True)


def until(done: Callable[[], bool], seconds: float) -> float:
    """Wait; returns the seconds that it took.

    Raises:
        TimeoutError: it took too long.
    """
    began = time.monotonic()
    while not done():
        if time.monotonic() - began > seconds:
            raise TimeoutError(f"not within {seconds:.0f} s")
        time.sleep(0.1)
    return time.monotonic() - began


def train_command(pictures: Path) -> list[str]:
    command = ["train", str(pictures), "--recipe", "quick", "--size", "8", "--images", str(IMAGES), "--name", "letters"]
    for key, value in SETTINGS.items():
        command += ["--set", f"{key}={value}"]
    return command


def weights(run: Path) -> dict[str, Any]:
    """All tensors of a training that has seen everything."""
    images, path = RunDir(run).newest_checkpoint()
    if images != IMAGES:
        raise ValueError(f"{run} has seen {images} images, not {IMAGES}")
    return load_file(path / "training.safetensors")


def difference(one: dict[str, Any], other: dict[str, Any]) -> float:
    """The largest between two trainings."""
    return max(float((one[name].double() - other[name].double()).abs().max()) for name in one)


def alone(folder: Path, run: Path | None, pictures: Path) -> Path:
    """A training, or the rest of one, in a single process; its run directory."""
    command = train_command(pictures) if run is None else ["resume", str(run)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "LIMNER_CACHE": str(folder / "cache")}
    subprocess.run(
        [sys.executable, "-m", "limner", *command], cwd=folder, env=environment, check=True, capture_output=True
    )
    return run or folder / "runs" / "letters"


def begun(hosts: tuple[Host, Host]) -> Path:
    """Wait until the training runs; its run directory."""
    run = hosts[0].folder / "runs" / "letters"

    def runs() -> bool:
        if any(host.process is None or host.process.poll() is not None for host in hosts):
            raise RuntimeError("ended early: " + "; ".join(line for host in hosts for line in host.lines()))
        return (run / "log.jsonl").is_file() and len((run / "log.jsonl").read_text().splitlines()) >= ENOUGH

    until(runs, 3 * MINUTE)
    return run


def lose(how: str, hosts: tuple[Host, Host]) -> dict[str, float]:
    """Take the second host away; in how many seconds Limner has ended on each that is left."""
    if how in ("cut", "gone"):
        hosts[1].cable("down")
    if how in ("killed", "gone"):
        hosts[1].kill()
    left = hosts if how == "cut" else hosts[:1]
    began, seconds = time.monotonic(), {}

    def ended() -> bool:
        for host in left:
            if host.namespace not in seconds and not host.workers():
                seconds[host.namespace] = time.monotonic() - began
        return len(seconds) == len(left)

    until(ended, 2 * MINUTE)
    return {f"host {host.number}": round(seconds[host.namespace], 1) for host in left}


def scenario(how: str, folder: Path, pictures: Path, unbroken: dict[str, Any]) -> dict[str, Any]:
    """One way to lose a host, and to go on; what was measured, with ``problems`` found."""
    folder.mkdir()
    found: dict[str, Any] = {"problems": []}
    problems: list[str] = found["problems"]
    with two_hosts(f"{os.getpid() % 10000}{how[0]}", folder) as hosts:
        elastic = how == "restarted"
        for host in hosts:
            nodes, restarts = ("1:2", 3) if elastic else ("2", 0)
            host.start(*train_command(pictures), nodes=nodes, restarts=restarts)
        run = begun(hosts)
        if (hosts[1].folder / "runs").exists():
            problems.append("the second host has written a run of its own")
        if how == "whole" or elastic:
            if elastic:
                hosts[1].kill()
            assert hosts[0].process is not None
            found["seconds"] = round(until(lambda: hosts[0].process.poll() is not None, 4 * MINUTE), 1)  # type: ignore[union-attr]
            if hosts[0].process.returncode:
                problems.append(f"the first host ended with {hosts[0].process.returncode}: {hosts[0].lines()}")
        else:
            found["ended after"] = lose(how, hosts)
            if max(found["ended after"].values()) > MINUTE:
                problems.append(f"did not end within a minute: {found['ended after']}")
            for host in hosts if how == "cut" else hosts[:1]:
                found[f"host {host.number} said"] = host.lines()
                if len(host.lines()) != 1:
                    problems.append(f"host {host.number} said {len(host.lines())} lines: {host.lines()}")
            hosts[0].kill()  # what torchrun still waits for is its own affair
            if how == "gone":
                alone(folder, run, pictures)
            else:
                hosts[1].kill()
                hosts[1].cable("up")
                for host in hosts:
                    host.start("resume", str(run))
                found["resumed seconds"] = round(until(lambda: not hosts[0].inside(), 4 * MINUTE), 1)
        found["difference"] = difference(unbroken, weights(run))
        if not found["difference"] < 1e-9:
            problems.append(f"weights differ by {found['difference']} from those of one process that lost nothing")
        found["events"] = [line["event"] for line in RunDir(run).records("events.jsonl")]
        shutil.copytree(run, folder / "run")
    return found


def main() -> int:
    options = arguments(__doc__)
    why = missing()
    if why:
        print(f"hosts: skipped, {why}")
        return 0
    failures, found = [], {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        pictures = make_pictures(folder / "pictures")
        (folder / "alone").mkdir()
        unbroken = weights(alone(folder / "alone", None, pictures))
        for how in ("gone",) if options.quick else ("whole", "killed", "cut", "gone", "restarted"):
            try:
                found[how] = scenario(how, folder / how, pictures, unbroken)
            except (OSError, RuntimeError, ValueError, subprocess.CalledProcessError) as error:
                found[how] = {"problems": [f"{type(error).__name__}: {error}"]}
            print(f"{how}: {found[how]}", flush=True)
            failures += [f"{how}: {problem}" for problem in found[how].pop("problems")]
        if not options.quick and not failures:
            # As many processes all along: every bit is that of the training that lost nothing.
            whole = weights(folder / "whole" / "run")
            for how in ("killed", "cut"):
                found[how]["exact"] = difference(whole, weights(folder / how / "run")) == 0.0
                if not found[how]["exact"]:
                    failures.append(f"{how}: two hosts went on, but not bit for bit")
    return conclude("hosts", {"hosts lost": len(found) - ("whole" in found), **found}, failures, options.quick)


if __name__ == "__main__":
    sys.exit(main())
