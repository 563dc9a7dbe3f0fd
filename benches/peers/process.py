"""Processes under load: start and stop, and the kernel's data about their CPU and memory."""

import glob
import os
import resource
import socket
import subprocess
import time

TICK = 1 / os.sysconf("SC_CLK_TCK")


class Failed(Exception):
    """A peer did not do what the benchmark expects; the message says what it did instead."""


class Peer:
    """A process with the port it serves. A new one of the same kind takes its place with `restart`."""

    def __init__(self, name, port, command, tls=False, sources=True, host="127.0.0.1"):
        self.name, self.host, self.port, self.command, self.tls = name, host, port, command, tls
        self.sources = sources  # whether it can refuse some
        self.start()

    def start(self):
        self.process = subprocess.Popen(self.command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        for _ in range(200):
            if self.process.poll() is not None:
                break
            try:
                socket.create_connection((self.host, self.port), 1).close()
                return
            except OSError:
                time.sleep(0.05)
        self.stop()
        raise Failed(f"does not listen: {' '.join(self.command)}")

    def stop(self):
        self.process.terminate()
        try:
            self.process.wait(5)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()

    def restart(self):
        self.stop()
        self.start()

    @property
    def pids(self):
        me = str(self.process.pid)
        try:
            with open(f"/proc/{me}/task/{me}/children") as file:
                return [me, *file.read().split()]
        except FileNotFoundError:
            raise Failed(f"{self.name} has ended") from None


class Meter:
    """CPU of a peer's processes since the meter was made."""

    def __init__(self, peer):
        self.peer = peer
        self.threads, self.ticks = threads(peer), user_ticks(peer)

    def total(self):
        """Returns exact seconds on a processor, without those of threads that have ended since."""
        return sum(now - self.threads.get(path, 0) for path, now in threads(self.peer).items()) / 1e9

    def user(self):
        """Returns the seconds of them in user mode, which the kernel counts in ticks."""
        return (user_ticks(self.peer) - self.ticks) * TICK


def threads(peer):
    used = {}
    for path in (path for pid in peer.pids for path in glob.glob(f"/proc/{pid}/task/*/schedstat")):
        try:
            with open(path) as file:
                used[path] = int(file.read().split()[0])
        except (FileNotFoundError, ProcessLookupError):
            continue  # it ended meanwhile
    return used


def user_ticks(peer):
    total = 0
    for pid in peer.pids:
        with open(f"/proc/{pid}/stat") as file:
            total += int(file.read().rsplit(")", 1)[1].split()[11])
    return total


def settle(peer, longest=3.0):
    """Waits until the peer has finished its work, such as closing the connections that its clients closed."""
    end = time.monotonic() + longest
    while time.monotonic() < end:
        meter = Meter(peer)
        time.sleep(0.05)
        if meter.total() < 0.0005:
            return


def resident(peer, field="VmRSS"):
    """KiB of its processes, as /proc/PID/status has them."""
    total = 0
    for pid in peer.pids:
        with open(f"/proc/{pid}/status") as file:
            total += sum(int(line.split()[1]) for line in file if line.startswith(field + ":"))
    return total


def peak(peer):
    return resident(peer, "VmHWM")


def forget_peak(peer):
    """Resets the peak: see clear_refs in proc(5)."""
    for pid in peer.pids:
        with open(f"/proc/{pid}/clear_refs", "w") as file:
            file.write("5")


def open_files():
    """Raises the number of files of a process to the maximum and returns it; child processes inherit it."""
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return hard
