"""One file of distinct text, from the machine's own documentation, for the bodies of a measurement.

Paragraphs that came before (licences above all) are left out, or compression and dedupe would look better than they are.
Files follow each other in an order shuffled with a fixed seed, so that every part of the text is of all kinds.
"""

import gzip
import hashlib
import os
import random
import sys

SOURCES = ["/usr/share/doc", "/usr/share/man", "/usr/share/perl", "/usr/share/info", "/usr/lib/python3", "/usr/include"]
FILE_OCTETS_MAX = 4 << 20


def candidates():
    for source in SOURCES:
        for folder, _, names in os.walk(source):
            for name in names:
                path = os.path.join(folder, name)
                if not os.path.islink(path):
                    yield path


def paragraphs(path):
    try:
        opener = gzip.open if path.endswith(".gz") else open
        with opener(path, "rb") as file:
            data = file.read(FILE_OCTETS_MAX)
        data.decode()
    except (OSError, EOFError, UnicodeDecodeError, gzip.zlib.error):
        return []
    if b"\0" in data:
        return []
    return data.replace(b"\r", b"").split(b"\n\n")


def prepare(path, octets, may_repeat=False):
    """Writes at least that much text to the path, unless it is there already. Where nothing is deduplicated (messages whose
    parts are all kept in their rows), the text may begin anew when the machine has no more of it."""
    if os.path.exists(path) and os.path.getsize(path) >= octets:
        return path
    files = sorted(candidates())
    random.Random(1).shuffle(files)
    seen, written = set(), 0
    with open(path + ".new", "wb") as out:
        for file in files:
            for paragraph in paragraphs(file):
                digest = hashlib.blake2b(paragraph, digest_size=8).digest()
                if paragraph.strip() and digest not in seen:
                    seen.add(digest)
                    written += out.write(paragraph + b"\n\n")
            if written >= octets:
                break
    if may_repeat and written:
        with open(path + ".new", "rb") as first, open(path + ".new", "ab") as out:
            # An odd stretch, so that bodies of one size are not cut alike.
            while written < octets and (more := first.read(1_000_003)):
                written += out.write(more)
                out.flush()
    if written < octets:
        sys.exit(f"this machine's documentation has {written:,} octets of distinct text, the measurement wants {octets:,}: "
                 "ask for fewer messages, or install packages with documentation")
    os.replace(path + ".new", path)
    return path
