#!/usr/bin/env python3
"""Delivery, measured beside Postfix and Dovecot in one run; `make bench` builds what it needs and calls it.

For each size and number of connections each server starts fresh, takes the same messages from the same generator, and is
asked by IMAP for every one that it acknowledged. The server and all its processes have core 0, the generator core 1.

  delivered/s   acknowledged messages by the time from the first MAIL until all are in the mailboxes
  p50, p99      MAIL to 250, in milliseconds
  CPU           user and system seconds for 1,000 delivered, of all processes of the server, dead children too
  CPU+stop      the same with what was put off: the server's graceful stop, which flushes, purges and compacts (ours only:
                the others put nothing off)
  disk          octets allocated after a graceful stop for an octet of mail, less what an empty server takes
"""

import argparse
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time

import servers
import text

GENERATOR_CORE = "1"
USERS = [f"user{number}" for number in range(20)]
SETTLE_SECONDS_MAX = 300
# KiB and connections: small mail from one, a few and many, larger mail from a few and many. Beside each how many messages
# ours takes and theirs: some seconds' worth of each, for the slower would take too long with as many as the faster.
SHAPES = {(4, 1): (2500, 800), (4, 10): (12000, 1500), (4, 100): (20000, 2500), (50, 10): (4000, 1200), (50, 100): (4000, 1200)}


class NotSettled(RuntimeError):
    """A server has put a message off: Postfix does, for five minutes, when Dovecot is slow to answer once."""


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--securanet", required=True, help="the binary to measure")
    parser.add_argument("--load", required=True, help="the generator")
    parser.add_argument("--scale", type=float, default=1, help="times as many messages (default 1: a few minutes)")
    parser.add_argument("--rounds", type=int, default=1, help="how often everything is measured; the median counts")
    parser.add_argument("--mailboxes", choices=["mdbox", "maildir"], default="mdbox", help="Dovecot's format")
    parser.add_argument("--only", choices=["securanet", "rival"], help="measure one of them")
    parser.add_argument("--shape", action="append", help="KIB:CONNECTIONS instead of all, may be repeated")
    parser.add_argument("--directory", help="where the servers write (default: a temporary one)")
    parser.add_argument("--keep", action="store_true", help="leave the servers' folders there")
    return parser.parse_args()


def messages(server, shape, scale):
    ours, theirs = SHAPES.get(shape, (5000, 1000))
    return int((ours if server == "securanet" else theirs) * scale)


def empty_octets(server):
    try:
        server.start(USERS)
    finally:
        server.stop()
    return server.stored()


def measure(server, kib, connections, count, corpus, load, empty):
    server.start(USERS)
    cpu = server.cpu_seconds()
    words = [load, f"127.0.0.1:{server.smtp}", str(connections), str(count), str(kib * 1024), corpus,
             f"user{{}}@{servers.DOMAIN}:{len(USERS)}", "0"]
    began = time.monotonic()
    done = subprocess.run(["taskset", "-c", GENERATOR_CORE, *words], capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{server.name}: the generator failed: {done.stderr}")
    seen = json.loads(done.stdout)
    acknowledged = time.monotonic()
    while not server.settled():
        if time.monotonic() - began > SETTLE_SECONDS_MAX:
            raise NotSettled(f"{server.name} has not delivered everything after {SETTLE_SECONDS_MAX} s")
        time.sleep(0.02)
    seconds = seen["seconds"] + time.monotonic() - acknowledged
    delivered_cpu = server.cpu_seconds() - cpu
    stop_cpu = 0
    if isinstance(server, servers.Securanet):
        stop_cpu = stop_and_count(server, delivered_cpu + cpu)
        server.start(USERS)
    found = server.count(USERS)
    server.stop()
    if found != seen["acknowledged"] or seen["refused"]:
        raise RuntimeError(f"{server.name}: {seen['acknowledged']} acknowledged, {seen['refused']} refused "
                           f"({seen['refusal']}), {found} in the mailboxes")
    thousands = seen["acknowledged"] / 1000
    return {
        "server": server.name, "kib": kib, "connections": connections, "messages": found,
        "rate": found / seconds, "p50": seen["p50_milliseconds"], "p99": seen["p99_milliseconds"],
        "cpu": delivered_cpu / thousands, "cpu_stop": (delivered_cpu + stop_cpu) / thousands,
        "disk": (server.stored() - empty) / seen["octets"],
    }


def measure_fresh(server, shape):
    try:
        return measure(server, *shape)
    finally:
        server.stop()


def stop_and_count(server, before):
    """The CPU seconds that a graceful stop took."""
    usage = os.times()
    earlier = usage.children_user + usage.children_system
    server.stop()
    usage = os.times()
    return usage.children_user + usage.children_system - earlier - before


def median(rows):
    first = dict(rows[0])
    for key in ("rate", "p50", "p99", "cpu", "cpu_stop", "disk"):
        values = sorted(row[key] for row in rows)
        first[key] = values[len(values) // 2]
    return first


def table(rows):
    head = ["size", "conn.", "server", "messages", "delivered/s", "p50 ms", "p99 ms", "CPU s/1000", "CPU+stop", "disk B/B"]
    lines = [head]
    for row in rows:
        lines.append([f"{row['kib']} KiB", str(row["connections"]), row["server"], f"{row['messages']:,}", f"{row['rate']:.0f}",
                      f"{row['p50']:.2f}", f"{row['p99']:.1f}", f"{row['cpu']:.2f}", f"{row['cpu_stop']:.2f}",
                      f"{row['disk']:.2f}"])
        pair = [one for one in rows if (one["kib"], one["connections"]) == (row["kib"], row["connections"])]
        if len(pair) == 2 and row is pair[1]:
            ours, theirs = pair
            lines.append(["", "", "  ours : theirs", "", f"{ours['rate'] / theirs['rate']:.1f}x",
                          f"{ours['p50'] / theirs['p50']:.2f}x", f"{ours['p99'] / theirs['p99']:.2f}x",
                          f"{ours['cpu'] / theirs['cpu']:.3f}x", f"{ours['cpu_stop'] / theirs['cpu_stop']:.3f}x",
                          f"{ours['disk'] / theirs['disk']:.2f}x"])
    widths = [max(len(line[column]) for line in lines) for column in range(len(head))]
    for line in lines:
        print("  ".join(cell.ljust(width) if column < 3 else cell.rjust(width)
                        for column, (cell, width) in enumerate(zip(line, widths))))


def main():
    options = arguments()
    # Whoever ends the run ends its servers too: this way everything opened is closed.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("terminated"))
    shapes = [tuple(map(int, shape.split(":"))) for shape in options.shape or []] or list(SHAPES)
    makers = {"securanet": lambda folder: servers.Securanet(folder, options.securanet),
              "rival": lambda folder: servers.PostfixDovecot(folder, options.mailboxes)}
    if options.only:
        makers = {options.only: makers[options.only]}
    base = tempfile.mkdtemp(prefix="securanet-bench-", dir=options.directory)
    os.chmod(base, 0o711)
    results = {}
    try:
        needed = max(messages(name, (kib, connections), options.scale) * kib * 1024
                     for name in makers for kib, connections in shapes)
        corpus = text.prepare(os.path.join(base, "text"), needed + (1 << 20))
        empty = {name: empty_octets(make(os.path.join(base, f"empty-{name}")))
                 for name, make in makers.items()}
        for round_number in range(options.rounds):
            for kib, connections in shapes:
                for name, make in makers.items():
                    folder = os.path.join(base, f"{name}-{kib}-{connections}-{round_number}")
                    count = messages(name, (kib, connections), options.scale)
                    shape = (kib, connections, count, corpus, options.load, empty[name])
                    try:
                        row = measure_fresh(make(folder), shape)
                    except NotSettled as late:
                        print(f"{late}; measured once more", file=sys.stderr, flush=True)
                        row = measure_fresh(make(f"{folder}-again"), shape)
                    results.setdefault((kib, connections, name), []).append(row)
                    print(json.dumps(row), file=sys.stderr, flush=True)
                    if not options.keep:
                        shutil.rmtree(folder, ignore_errors=True)
                        shutil.rmtree(f"{folder}-again", ignore_errors=True)
    finally:
        if not options.keep:
            shutil.rmtree(base, ignore_errors=True)
    table([median(rows) for rows in results.values()])


if __name__ == "__main__":
    main()
