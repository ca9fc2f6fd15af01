"""COMPRESS=DEFLATE (RFC 4978): a session that goes on compressed, and what must not work twice."""

import os
import random
import socket
import zlib

connection = socket.create_connection(('localhost', int(os.environ['IMAP'])), 40)
inflate, deflate = None, None
pending = b''
wire = {'in': 0, 'plain': 0}


def read_line():
    global pending
    while b'\n' not in pending:
        data = connection.recv(65536)
        assert data, 'closed'
        wire['in'] += len(data)
        pending += inflate.decompress(data) if inflate else data
    line, _, pending = pending.partition(b'\n')
    wire['plain'] += len(line) + 1
    return line.rstrip(b'\r')


def send(data):
    if deflate:
        data = deflate.compress(data) + deflate.flush(zlib.Z_SYNC_FLUSH)
    # In small pieces: a reader must not depend on where packets end.
    for at in range(0, len(data), 700):
        connection.sendall(data[at:at + 700])


def say(tag, command):
    send(tag + b' ' + command + b'\r\n')
    lines = []
    while True:
        line = read_line()
        lines.append(line)
        if line.startswith(tag + b' '):
            return lines


read_line()
assert say(b'a', b'COMPRESS DEFLATE')[-1].startswith((b'a BAD', b'a NO')), 'before login'
login = b'LOGIN %s "%s"' % (os.environ['USER'].encode(), os.environ['PASSWORD'].encode())
assert b' OK' in say(b'b', login)[-1]
assert b' OK' in say(b'c', b'COMPRESS DEFLATE')[-1]
inflate, deflate = zlib.decompressobj(-15), zlib.compressobj(9, zlib.DEFLATED, -15)
assert b'COMPRESS' not in say(b'd', b'CAPABILITY')[0]
assert b'NO [COMPRESSIONACTIVE]' in say(b'e', b'COMPRESS DEFLATE')[-1]
random.seed(7)
for number in range(20):
    text = b'Subject: compressed %d\r\n\r\n' % number + b'the same words again and again\r\n' * 400
    if number % 3 == 0:
        text += bytes(random.choice(b'abcdefghijklmnopqrstuvwxyz0123456789') for _ in range(9000)) + b'\r\n'
    assert b' OK' in say(b'f%d' % number, b'APPEND INBOX {%d+}\r\n%s' % (len(text), text))[-1]
assert b' OK' in say(b'g', b'SELECT INBOX')[-1]
wire.update({'in': 0, 'plain': 0})
lines = say(b'h', b'FETCH 1:* (BODY.PEEK[])')
assert lines[-1].startswith(b'h OK')
assert sum(line == b'the same words again and again' for line in lines) == 20 * 400
assert wire['in'] * 3 < wire['plain'], wire
# A flushed empty block between commands is nothing to answer.
send(b'')
assert b' OK' in say(b'i', b'NOOP')[-1]
assert say(b'j', b'LOGOUT')[-1].startswith(b'j OK')
print('fine', wire)
