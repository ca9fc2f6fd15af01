#!/usr/bin/env python3
"""Sending, measured beside Postfix in one run, in a network namespace that `sending.sh` makes.

A queue is filled while nothing may leave, then the server is started anew with sending on and the clock runs until all mail
for living destinations is with the sink. Destinations are domains of a DNS of our own, each with an MX; dead ones lie in a
network where everything vanishes. The server and all its processes have core 0, the sinks and the generator core 1.

  left/s        messages that reached the sink by the time from the start until the last one did
  CPU           user and system seconds for 1,000 of them, of all processes of the server
  memory        highest resident set of the server above that of an idle one, all its processes together
  with dead     the rate of the living destinations with a fifth of all dead, by the rate without
  letter        seconds from the 250 of a single letter to the sink, submitted while a mailing is served
"""

import argparse
import glob
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time

import servers
import text

DNS, SINK, LETTERS, DEAD = "192.0.2.53", "198.18.0.1", "198.18.0.2", "198.51.100.{}"
OUTSIDE_CORE = "1"
MESSAGE_KIB = 4
DRAIN_SECONDS_MAX = 1800
USER = "user0"


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--securanet", required=True, help="the binary to measure")
    parser.add_argument("--load", required=True, help="the generator")
    parser.add_argument("--messages", type=int, default=100_000, help="messages in our queue (Postfix gets a tenth)")
    parser.add_argument("--mailing", type=int, default=50_000, help="recipients that the single letter comes amid")
    parser.add_argument("--destinations", type=int, default=1000, help="domains; a fifth of them are dead in the second round")
    parser.add_argument("--only", choices=["securanet", "rival"], help="measure one of them")
    parser.add_argument("--directory", help="where the servers write (default: a temporary one)")
    return parser.parse_args()


def run(*words):
    subprocess.run(words, check=True, capture_output=True)


class World:
    """Addresses, names and sinks."""

    def __init__(self, folder, destinations):
        self.folder, self.destinations, self.children = folder, destinations, []
        run("ip", "link", "set", "lo", "up")
        run("ip", "addr", "add", f"{DNS}/32", "dev", "lo")
        run("ip", "route", "add", "local", "198.18.0.0/16", "dev", "lo")
        run("ip", "addr", "add", "203.0.113.1/32", "dev", "lo")
        run("ip", "link", "add", "void", "type", "veth", "peer", "name", "nobody")
        run("ip", "link", "set", "void", "arp", "off", "up")
        run("ip", "link", "set", "nobody", "up")
        run("ip", "route", "add", "198.51.100.0/24", "dev", "void", "src", "203.0.113.1")
        os.makedirs(f"{folder}/dns/zones")
        os.chmod(folder, 0o711)
        soa = "$TTL 3600\n@ SOA ns.world. root.world. 1 60 60 600 60\n@ NS ns.world.\n"
        zones = {"world": f"ns A {DNS}\n", "root": f"world NS ns.world.\nns.world A {DNS}\nbench NS ns.world.\n",
                 "bench": self.names()}
        for name, records in zones.items():
            with open(f"{folder}/dns/zones/{name}.zone", "w") as out:
                out.write(soa + records)
        self.spawn([f"{servers.RIVALS}/knot", f"{folder}/dns", DNS], "dns.log")
        rivals = subprocess.run([f"{servers.RIVALS}/unpack"], check=True, capture_output=True, text=True).stdout.strip()
        libraries = ":".join([f"{rivals}/usr/lib/postfix", *glob.glob(f"{rivals}/usr/lib/*-linux-gnu*")])
        sink = ["env", f"LD_LIBRARY_PATH={libraries}", "stdbuf", "-o0", f"{rivals}/usr/sbin/smtp-sink", "-u", "nobody"]
        # One message a file, in a folder that it may write.
        self.letters = f"{folder}/letters"
        os.makedirs(self.letters)
        shutil.chown(self.letters, "nobody")
        self.spawn([*sink, "-c", f"{SINK}:25", "1000"], "sink.log")
        self.spawn([*sink, "-d", f"{self.letters}/%s.", f"{LETTERS}:25", "1000"], "letters.log")
        time.sleep(2)

    def names(self):
        """`dN` always live, and `mN` of which the last fifth is dead; `letter` has a sink of its own."""
        records = [f"mx A {SINK}", f"letter MX 10 mx.letter\nmx.letter A {LETTERS}"]
        living = self.destinations * 4 // 5
        for number in range(self.destinations):
            records.append(f"d{number} MX 10 mx")
            if number < living:
                records.append(f"m{number} MX 10 mx")
            else:
                records.append(f"m{number} MX 10 mx.m{number}\nmx.m{number} A {DEAD.format(1 + number % 250)}")
        return "\n".join(records) + "\n"

    def spawn(self, words, log):
        with open(f"{self.folder}/{log}", "wb") as out:
            self.children.append(subprocess.Popen(["taskset", "-c", OUTSIDE_CORE, *words], stdin=subprocess.DEVNULL, stdout=out, stderr=out))

    def room(self):
        """A folder for a server; its processes give up root's rights and still have to come through."""
        folder = tempfile.mkdtemp(dir=self.folder)
        os.chmod(folder, 0o711)
        return folder

    def received(self):
        """Messages that the sink has counted; it writes `sess=1 quit=1 mesg=1` after each."""
        with open(f"{self.folder}/sink.log", "rb") as log:
            log.seek(max(0, os.path.getsize(log.name) - 256))
            counted = re.findall(rb"mesg=(\d+)(?=[^\d])", log.read())
        return int(counted[-1]) if counted else 0

    def stop(self):
        for child in self.children:
            child.send_signal(signal.SIGTERM)
            child.wait()


def resident_octets(processes):
    total = 0
    for process in processes:
        try:
            with open(f"/proc/{process}/status") as status:
                total += next(int(line.split()[1]) for line in status if line.startswith("VmRSS")) * 1024
        except (OSError, StopIteration):
            pass
    return total


class Sender(servers.Securanet):
    """Ours, with submission and the world's DNS."""

    name = "SecuraNET"

    def __init__(self, folder, binary):
        super().__init__(folder, binary)
        self.submission = servers.free_ports(1)[0]

    def configure(self, sending):
        config = f"{self.folder}/node.toml"
        lines = [f'hostname = "mail.{servers.DOMAIN}"', 'data_directory = "data"', "[admin]", f'address = "127.0.0.1:{self.admin}"',
                 "[delivery]", f"enabled = {str(sending).lower()}", "[delivery.dns]", f'servers = ["{DNS}:53"]',
                 "[[listener]]", 'name = "submission"', 'protocol = "submission"', f'address = "127.0.0.1:{self.submission}"',
                 'tls = "none"', 'trusted_networks = ["127.0.0.1/32"]', "connections_per_address_max = 2000"]
        with open(config, "w") as out:
            out.write("\n".join(lines) + "\n")
        return config

    def begin(self, sending):
        config = self.configure(sending)
        fresh = not os.path.exists(f"{self.folder}/data")
        # Only what sends the queue is wrapped (a profiler, say).
        wrapper = self.wrapper if sending and not fresh else []
        self.spawn([*wrapper, self.binary, "run", "--config", config], f"{self.folder}/log")
        servers.await_port(self.submission, self.name)
        if fresh:
            self.cli(config, ["domain", "add", servers.DOMAIN])
            self.cli(config, ["account", "add", f"{USER}@{servers.DOMAIN}"], self.password + "\n")
            for limit in ("messages", "recipients"):
                self.cli(config, ["policy", "set", f"submission.{limit}_per_hour", "0"])

    def feed(self):
        return ["--login", f"{USER}@{servers.DOMAIN}:{self.password}", f"127.0.0.1:{self.submission}"]

    def let_go(self):
        self.begin(True)


class Postfix(servers.Server):
    """Debian's Postfix as a relay for us, with its default concurrencies."""

    name = "Postfix"

    def __init__(self, folder):
        super().__init__(folder)
        self.port = servers.free_ports(1)[0]

    def begin(self, sending):
        lines = ["default_process_limit = 250", "in_flow_delay = 0", "smtpd_client_connection_count_limit = 0",
                 "smtp_host_lookup = dns", "inet_interfaces = 127.0.0.1", "smtp_bind_address = 0.0.0.0"]
        if not sending:
            lines.append("defer_transports = smtp")
        # The namespace has a resolver of its own.
        with open(f"{self.folder}/resolv.conf", "w") as out:
            out.write(f"nameserver {DNS}\n")
        run("mount", "--bind", f"{self.folder}/resolv.conf", "/etc/resolv.conf")
        self.spawn([f"{servers.RIVALS}/postfix", f"{self.folder}/postfix", str(self.port), "\n".join(lines)], f"{self.folder}/log")
        servers.await_port(self.port, self.name)

    def feed(self):
        return [f"127.0.0.1:{self.port}"]

    def let_go(self):
        self.begin(True)
        # What was deferred is due now.
        run(f"{self.folder}/postfix/sendmail", "-q")


def fill(server, world, options, count, recipients):
    words = [options.load, *server.feed(), "20", str(count), str(MESSAGE_KIB * 1024), world.corpus, recipients, "0"]
    done = subprocess.run(["taskset", "-c", OUTSIDE_CORE, *words], capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{server.name}: the generator failed: {done.stderr}")
    seen = json.loads(done.stdout)
    if seen["refused"]:
        raise RuntimeError(f"{server.name} refused {seen['refused']}: {seen['refusal']}")


def drain(server, world, expected):
    """Lets the queue go and waits until so many have reached the sink: seconds, CPU seconds, highest memory."""
    server.stop()
    before = world.received()
    began, highest = time.monotonic(), 0
    server.let_go()
    while world.received() - before < expected:
        highest = max(highest, resident_octets(servers.descendants([child.pid for child in server.children])))
        if time.monotonic() - began > DRAIN_SECONDS_MAX:
            raise RuntimeError(f"{server.name}: {world.received() - before:,} of {expected:,} after {DRAIN_SECONDS_MAX} s")
        time.sleep(0.05)
    return time.monotonic() - began, server.cpu_seconds(), highest


def idle_octets(server):
    server.begin(True)
    time.sleep(3)
    octets = resident_octets(servers.descendants([child.pid for child in server.children]))
    server.stop()
    return octets


def measure(make, world, options, count):
    rows = {}
    for kind, living in (("d", count), ("m", count * 4 // 5)):
        server = make(world.room())
        try:
            idle = idle_octets(server)
            server.begin(False)
            fill(server, world, options, count, f"user@{kind}{{}}.bench:{options.destinations}")
            seconds, cpu, highest = drain(server, world, living)
        finally:
            server.stop()
        rows[kind] = {"server": server.name, "dead": "0 %" if kind == "d" else "20 %", "messages": living, "rate": living / seconds,
                      "cpu": cpu * 1000 / living, "memory": (highest - idle) / (1 << 20)}
        print(json.dumps(rows[kind]), file=sys.stderr, flush=True)
    return rows


def letter(make, world, options):
    """Seconds that a single letter takes amid a mailing."""
    server = make(world.room())
    try:
        server.begin(False)
        fill(server, world, options, options.mailing, f"user@d{{}}.bench:{options.destinations}")
        server.stop()
        before = world.received()
        server.let_go()
        while world.received() == before:
            time.sleep(0.05)
        fill(server, world, options, 1, "you@letter.bench:1")
        began = time.monotonic()
        while not os.listdir(world.letters):
            time.sleep(0.02)
        took, left = time.monotonic() - began, world.received() - before
        if left >= options.mailing:
            raise RuntimeError("the mailing was over before the letter: nothing was measured")
        return took
    finally:
        server.stop()


def main():
    options = arguments()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("terminated"))
    run("mount", "--make-rprivate", "/")
    base = tempfile.mkdtemp(prefix="securanet-sending-", dir=options.directory)
    world = World(base, options.destinations)
    try:
        octets = max(options.messages, options.mailing) * MESSAGE_KIB * 1024 + (1 << 20)
        world.corpus = text.prepare(f"{base}/text", octets, may_repeat=True)
        makers = {"securanet": (lambda folder: Sender(f"{folder}/server", options.securanet), options.messages),
                  "rival": (lambda folder: Postfix(f"{folder}/server"), options.messages // 10)}
        if options.only:
            makers = {options.only: makers[options.only]}
        measured = {name: measure(make, world, options, count) for name, (make, count) in makers.items()}
        print(f"{MESSAGE_KIB} KiB messages to {options.destinations:,} destinations. All servers: one core of their own, the same sink, DNS and disk,\n"
              "fsync as shipped (before each 250), no TLS at the sink. Postfix has its default concurrencies and a tenth of the\n"
              "messages; its memory counts pages that its processes share once for each.")
        print(f"{'server':12} {'dead':>5} {'messages':>9} {'left/s':>8} {'CPU s/1000':>11} {'memory MiB':>11} {'with dead':>10}")
        for rows in measured.values():
            for row in rows.values():
                share = f"{row['rate'] / rows['d']['rate']:.2f}" if row is rows["m"] else ""
                print(f"{row['server']:12} {row['dead']:>5} {row['messages']:>9,} {row['rate']:>8.0f} {row['cpu']:>11.2f} "
                      f"{row['memory']:>11.0f} {share:>10}")
        if "securanet" in makers:
            print(f"a letter amid {options.mailing:,}: {letter(makers['securanet'][0], world, options):.2f} s")
    finally:
        world.stop()
        shutil.rmtree(base, ignore_errors=True)


if __name__ == "__main__":
    main()
