"""The servers that are measured: each is started fresh in a folder of its own, on free loopback ports, on core 0.

Each offers: `smtp` (its port), `start`, `settled` (whether everything acknowledged is in the mailboxes, found out without
costing the server anything), `processes`, `count` (messages in the mailboxes, by IMAP), `stop`, and `stored` (octets of the
files that hold mail and what the server needs to find it; an empty server's are taken off by the caller).
"""

import json
import os
import signal
import socket
import subprocess
import time

SERVER_CORE = "0"
RIVALS = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "rivals")
DOMAIN = "bench.example"
START_PATIENCE_SECONDS = 60
STRAGGLERS_PATIENCE_SECONDS = 5
TICKS = os.sysconf("SC_CLK_TCK")


def free_ports(count):
    sockets = [socket.socket() for _ in range(count)]
    for one in sockets:
        one.bind(("127.0.0.1", 0))
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return ports


def await_port(port, what):
    end = time.monotonic() + START_PATIENCE_SECONDS
    while time.monotonic() < end:
        try:
            with socket.create_connection(("127.0.0.1", port), 5) as one:
                if one.recv(1):
                    return
        except OSError:
            time.sleep(0.1)
    raise RuntimeError(f"{what} does not answer on port {port}")


def descendants(roots):
    """These processes and all that came from them and still run: id -> (user and system ticks, own and of dead children)."""
    parents, ticks = {}, {}
    for name in os.listdir("/proc"):
        if name.isdigit():
            try:
                with open(f"/proc/{name}/stat") as file:
                    fields = file.read().rpartition(")")[2].split()
            except OSError:
                continue
            parents[int(name)] = int(fields[1])
            ticks[int(name)] = sum(map(int, fields[11:15]))
    found = set(roots) & set(parents)
    while more := {one for one, parent in parents.items() if parent in found} - found:
        found |= more
    return {one: ticks[one] for one in found}


def is_running(process):
    """Not one that has ended and waits for its parent: in a namespace whose init we are, Postfix's daemons wait for us."""
    try:
        with open(f"/proc/{process}/stat") as file:
            return file.read().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def octets(folders):
    """What the files take on disk (allocated blocks), as du counts."""
    total = 0
    for top in folders:
        for folder, _, names in os.walk(top):
            total += sum(os.lstat(os.path.join(folder, name)).st_blocks * 512 for name in names)
    return total


def imap_count(port, users, password):
    """Messages in the INBOXes, asked by STATUS."""
    total = 0
    for user in users:
        with socket.create_connection(("127.0.0.1", port), 60) as one:
            stream = one.makefile("rwb")
            stream.readline()
            stream.write(f'a LOGIN {user}@{DOMAIN} "{password}"\r\nb STATUS INBOX (MESSAGES)\r\nc LOGOUT\r\n'.encode())
            stream.flush()
            text = stream.read().decode()
            if "MESSAGES" not in text:
                raise RuntimeError(f"IMAP of {user}: {text}")
            total += int(text.split("MESSAGES ")[1].split(")")[0])
    return total


class Server:
    """What both have in common: processes that are ended by their ids."""

    def __init__(self, folder):
        self.folder = folder
        self.children = []
        os.makedirs(folder)
        os.chmod(folder, 0o711)

    def spawn(self, words, log):
        with open(log, "ab") as out:
            child = subprocess.Popen(["taskset", "-c", SERVER_CORE, *words], stdin=subprocess.DEVNULL, stdout=out, stderr=out)
        self.children.append(child)
        return child

    def cpu_seconds(self):
        return sum(descendants([child.pid for child in self.children]).values()) / TICKS

    def stop(self):
        everything = set(descendants([child.pid for child in self.children]))
        for child in self.children:
            child.send_signal(signal.SIGTERM)
        end = time.monotonic() + START_PATIENCE_SECONDS
        for child in self.children:
            try:
                child.wait(max(1, end - time.monotonic()))
            except subprocess.TimeoutExpired:
                child.kill()
                child.wait()
        self.children = []
        # Daemons of Postfix end a moment after their master, and those that wait for a dead host when its timeout is over.
        end = time.monotonic() + STRAGGLERS_PATIENCE_SECONDS
        while (left := [one for one in everything if is_running(one)]) and time.monotonic() < end:
            time.sleep(0.05)
        for one in left:
            os.kill(one, signal.SIGKILL)


class Securanet(Server):
    """Ours, with its defaults."""

    name = "SecuraNET"
    password = "correct horse battery"

    def __init__(self, folder, binary):
        super().__init__(folder)
        self.binary = binary
        self.smtp, self.imap, self.admin = free_ports(3)
        self.wrapper = os.environ.get("BENCH_WRAPPER", "").split()

    def start(self, users):
        config = os.path.join(self.folder, "node.toml")
        text = f'hostname = "mail.{DOMAIN}"\ndata_directory = "data"\n[admin]\naddress = "127.0.0.1:{self.admin}"\n'
        for protocol, port in (("smtp", self.smtp), ("imap", self.imap)):
            text += (f'[[listener]]\nname = "{protocol}"\nprotocol = "{protocol}"\naddress = "127.0.0.1:{port}"\n'
                     'tls = "none"\ntrusted_networks = ["127.0.0.1/32"]\nconnections_per_address_max = 2000\n')
        with open(config, "w") as out:
            out.write(text)
        fresh = not os.path.exists(os.path.join(self.folder, "data"))
        addresses = os.path.join(self.folder, "data", "addresses.json")
        if os.path.exists(addresses):
            os.remove(addresses)
        self.spawn([*self.wrapper, self.binary, "run", "--config", config], os.path.join(self.folder, "log"))
        await_port(self.smtp, self.name)
        end = time.monotonic() + START_PATIENCE_SECONDS
        while not os.path.exists(addresses) and time.monotonic() < end:
            time.sleep(0.05)
        if fresh:
            self.cli(config, ["domain", "add", DOMAIN])
            for user in users:
                self.cli(config, ["account", "add", f"{user}@{DOMAIN}"], self.password + "\n")

    def cli(self, config, words, given=""):
        done = subprocess.run([self.binary, *words, "--config", config], input=given.encode(), capture_output=True)
        if done.returncode:
            raise RuntimeError(f"securanet {words}: {done.stderr.decode()}")

    def settled(self):
        """A 250 for one recipient means that it is in the mailbox."""
        return True

    def count(self, users):
        return imap_count(self.imap, users, self.password)

    def stored(self):
        """Everything under its data directory: WALs, Raft log, tables, blobs, RocksDB's manifests and diaries."""
        return octets([os.path.join(self.folder, "data")])


class PostfixDovecot(Server):
    """Debian's, handing over by LMTP; each message fsynced by both (Postfix always does, Dovecot is told to)."""

    name = "Postfix+Dovecot"
    password = "secret"

    def __init__(self, folder, mailboxes="mdbox"):
        super().__init__(folder)
        self.smtp, self.lmtp, self.imap = free_ports(3)
        self.location = {"mdbox": "mdbox:~/mail", "maildir": "maildir:~/mail"}[mailboxes]

    def start(self, users):
        log = os.path.join(self.folder, "log")
        lines = "\n".join([
            f"virtual_mailbox_domains = {DOMAIN}",
            "virtual_mailbox_maps = static:all",
            f"virtual_transport = lmtp:inet:127.0.0.1:{self.lmtp}",
            # One client with 100 connections: room for them, and no waiting on purpose.
            "default_process_limit = 250",
            "smtpd_client_connection_count_limit = 0",
            "in_flow_delay = 0",
        ])
        self.spawn([f"{RIVALS}/dovecot", f"{self.folder}/dovecot", str(self.lmtp), str(self.imap), self.location], log)
        self.spawn([f"{RIVALS}/postfix", f"{self.folder}/postfix", str(self.smtp), lines], log)
        await_port(self.smtp, "Postfix")
        await_port(self.imap, "Dovecot")

    def settled(self):
        """The queue is empty."""
        for queue in ("maildrop", "incoming", "active", "deferred"):
            for _, _, names in os.walk(f"{self.folder}/postfix/spool/{queue}"):
                if names:
                    return False
        return True

    def count(self, users):
        return imap_count(self.imap, users, self.password)

    def stored(self):
        """Dovecot's mail folders with their indexes; Postfix's queue is empty by then."""
        return octets([os.path.join(self.folder, "dovecot", "mail")])
