"""SEARCH against a reference: 120 varied messages, each key, and what Python's email package makes of them."""

import datetime
import email
import email.header
import email.utils
import base64
import os
import quopri
import random
import re
import socket

HOST, PORT = 'localhost', int(os.environ['IMAP'])
USER, PASSWORD = os.environ['USER'], os.environ['PASSWORD']
COUNT = 120

# Words of several scripts, each with charsets that can say it.
WORDS = [
    ('simple needle', ['us-ascii', 'utf-8', 'iso-8859-1']),
    ('Grüße aus Köln', ['utf-8', 'iso-8859-1', 'iso-8859-15', 'windows-1252']),
    ('naïve café', ['utf-8', 'iso-8859-1', 'macintosh']),
    ('Preis 5 €', ['utf-8', 'iso-8859-15', 'windows-1252']),
    ('Привет мир', ['utf-8', 'windows-1251', 'koi8-r', 'iso-8859-5']),
    ('日本語のテスト', ['utf-8', 'shift_jis', 'euc-jp', 'iso-2022-jp']),
    ('中文信息', ['utf-8', 'gb2312', 'gb18030', 'big5']),
    ('한국어 메일', ['utf-8', 'euc-kr']),
    ('Žluťoučký kůň', ['utf-8', 'iso-8859-2', 'windows-1250']),
    ('Ελληνικά νέα', ['utf-8', 'iso-8859-7', 'windows-1253']),
    ('שלום עולם', ['utf-8', 'windows-1255']),
]
PYTHON_NAME = {'macintosh': 'mac_roman'}
random.seed(20260101)


def encode(text, charset):
    return text.encode(PYTHON_NAME.get(charset, charset))


def encoded_word(text, charset):
    """RFC 2047, by hand: B or Q, sometimes split in the middle of the text and folded."""
    def one(piece):
        raw = encode(piece, charset)
        if random.random() < 0.5:
            return '=?%s?B?%s?=' % (charset, base64.b64encode(raw).decode())
        safe = ''.join(chr(b) if chr(b).isalnum() and b < 128 else '_' if b == 32 else '=%02X' % b for b in raw)
        return '=?%s?Q?%s?=' % (charset.upper(), safe)
    if charset == 'us-ascii':
        return text
    if random.random() < 0.4:
        middle = len(text) // 2
        return one(text[:middle]) + '\r\n ' + one(text[middle:])
    return one(text)


def part(text, charset, subtype='plain'):
    raw = encode(text, charset)
    kind = random.choice(['base64', 'quoted-printable', '8bit' if charset != 'us-ascii' else '7bit'])
    if charset == 'iso-2022-jp':
        kind = random.choice(['7bit', 'base64'])
    body = {
        'base64': lambda: base64.encodebytes(raw).replace(b'\n', b'\r\n'),
        'quoted-printable': lambda: quopri.encodestring(raw).replace(b'\r\n', b'\n').replace(b'\n', b'\r\n'),
    }.get(kind, lambda: raw)()
    head = 'Content-Type: text/%s; charset="%s"\r\nContent-Transfer-Encoding: %s\r\n' % (subtype, charset, kind)
    return head.encode(), body + b'\r\n'


class Message:
    def __init__(self, number):
        pick = lambda: random.choice(WORDS)
        self.fields = {}
        def field(name, words, address=None):
            text, charsets = words
            value = encoded_word(text, random.choice(charsets))
            if address:
                value = '%s <%s>' % (value if value.isascii() and '=?' in value else '"%s"' % value, address)
            self.fields[name] = value
        field('From', pick(), 'sender%d@Example.org' % (number % 7))
        field('To', pick(), 'ann@test.example')
        if number % 3 == 0:
            field('Cc', pick(), 'copy%d@example.net' % (number % 5))
        if number % 5 == 0:
            field('Bcc', pick(), 'blind@example.net')
        field('Subject', pick())
        if number % 4 == 0:
            field('X-Note', pick())
        if number % 11 == 0:
            self.fields['X-Empty'] = ''
        zone = random.choice(['-0800', '+0000', '+0530', '+1200'])
        sent = datetime.datetime(2024, 1 + number % 12, 1 + number % 28, random.choice([0, 1, 12, 23]), 30)
        self.sent = sent.date()
        self.fields['Date'] = email.utils.format_datetime(sent)[:-5] + zone
        if number % 17 == 0:
            self.fields['Date'] = sent.strftime('%d %b %Y %H:%M') + ' (no zone)'
        self.fields['Message-ID'] = '<search-%d@example.org>' % number
        self.words = []
        self.raw = self.build(number, pick)
        self.flags = {flag for flag in ('\\Seen', '\\Answered', '\\Flagged', '\\Deleted', '\\Draft', '$Work', 'Blue')
                      if random.random() < 0.3}
        self.internal = datetime.datetime(2023, 1 + number % 12, 1 + (number * 5) % 28, 12, tzinfo=datetime.timezone.utc)

    def text(self, pick):
        text, charsets = pick()
        self.words.append(text)
        charset = random.choice(charsets)
        filler = 'lorem ipsum %s\r\n' % ('dolor ' * random.randrange(60))
        return filler + 'x ' + text + ' y\r\n', charset

    def build(self, number, pick):
        head = ''.join('%s: %s\r\n' % item for item in self.fields.items()).encode() + b'MIME-Version: 1.0\r\n'
        shape = number % 6
        if shape in (0, 1):
            more, body = part(*self.text(pick))
            return head + more + b'\r\n' + body
        if shape == 2:
            text, charset = self.text(pick)
            more, body = part('<html><body><b>%s</b></body></html>\r\n' % text, charset, 'html')
            return head + more + b'\r\n' + body
        boundary = b'=_b%d' % number
        parts = [part(*self.text(pick)) for _ in range(2)]
        if shape == 4:
            inner = Message.__new__(Message)
            inner.words = self.words
            more, body = part(*self.text(pick))
            parts.append((b'Content-Type: message/rfc822\r\n', b'From: in@example.org\r\nSubject: innermost\r\n' + more + b'\r\n' + body))
        if shape == 5:
            data = base64.encodebytes(bytes(random.randrange(256) for _ in range(900))).replace(b'\n', b'\r\n')
            parts.append((b'Content-Type: application/octet-stream; name="f.bin"\r\nContent-Transfer-Encoding: base64\r\n', data))
        kind = b'mixed' if shape > 3 else b'alternative'
        out = head + b'Content-Type: multipart/' + kind + b'; boundary="' + boundary + b'"\r\n\r\npreamble\r\n'
        for more, body in parts:
            out += b'--' + boundary + b'\r\n' + more + b'\r\n' + body + b'\r\n'
        return out + b'--' + boundary + b'--\r\n'

    def header(self, name):
        """The decoded values of a field, as Python reads them; None: not there."""
        value = self.fields.get(name)
        if value is None:
            return None
        pieces = email.header.decode_header(value.replace('\r\n', ''))
        return ''.join(p if isinstance(p, str) else p.decode(PYTHON_NAME.get(c or '', c or 'ascii')) for p, c in pieces)


class Imap:
    def __init__(self):
        self.socket = socket.create_connection((HOST, PORT), 40)
        self.file = self.socket.makefile('rb')
        self.file.readline()
        self.tag = 0
        self.say(b'LOGIN "%s" "%s"' % (USER.encode(), PASSWORD.encode()))

    def say(self, command, ok=True):
        self.tag += 1
        tag = b's%d' % self.tag
        self.socket.sendall(tag + b' ' + command + b'\r\n')
        lines = []
        while True:
            line = self.file.readline()
            assert line, 'closed after %r' % command[:200]
            if line.startswith(tag + b' '):
                assert not ok or line.startswith(tag + b' OK'), (command[:200], line)
                return lines + [line] if not ok else lines
            lines.append(line)

    def append(self, message):
        flags = ' '.join(sorted(message.flags)).encode()
        date = message.internal.strftime('%d-%b-%Y %H:%M:%S +0000').encode()
        self.say(b'APPEND INBOX (%s) "%s" {%d+}\r\n%s' % (flags, date, len(message.raw), message.raw))

    def search(self, keys, charset=b'UTF-8'):
        prefix = b'CHARSET %s ' % charset if charset else b''
        lines = self.say(b'UID SEARCH ' + prefix + keys)
        line = next(line for line in lines if line.startswith(b'* SEARCH'))
        return {int(word) for word in line.split()[2:] if word.isdigit()}


def string(text, charset='utf-8'):
    raw = text.encode(charset)
    return b'{%d+}\r\n%s' % (len(raw), raw)


imap = Imap()
messages = {}
for number in range(1, COUNT + 1):
    messages[number] = Message(number)
    imap.append(messages[number])
imap.say(b'SELECT INBOX')
everything = set(messages)
checks = 0
failures = []


def check(keys, predicate, charset=b'UTF-8'):
    global checks
    expected = {uid for uid, message in messages.items() if predicate(message)}
    got = imap.search(keys, charset)
    if got != expected:
        uid = min(got ^ expected)
        failures.append('%s: missing %s, too much %s; UID %d is %r' % (
            keys.decode(errors='replace'), sorted(expected - got), sorted(got - expected), uid, messages[uid].raw[:1200]))
    checks += 1
    return expected


def holds(value, needle):
    return value is not None and needle.casefold() in value.casefold()


needles = []
for text, _ in WORDS:
    needles += [text, text.upper(), text[1:4], text.split(' ')[-1]]
for needle in needles:
    for name in ('From', 'To', 'Cc', 'Bcc', 'Subject'):
        check(name.upper().encode() + b' ' + string(needle), lambda m: holds(m.header(name), needle))
    check(b'HEADER X-Note ' + string(needle), lambda m: holds(m.header('X-Note'), needle))
    in_body = lambda m: any(holds(word, needle) for word in m.words)
    check(b'BODY ' + string(needle), in_body)
    in_header = lambda m: any(holds(m.header(name), needle) for name in m.fields)
    check(b'TEXT ' + string(needle), lambda m: in_body(m) or in_header(m))

check(b'FROM sender3@example', lambda m: 'sender3@' in m.fields['From'])
check(b'HEADER Message-ID search-7@', lambda m: 'search-7@' in m.fields['Message-ID'])
check(b'HEADER X-Note ""', lambda m: 'X-Note' in m.fields)
check(b'HEADER x-empty ""', lambda m: 'X-Empty' in m.fields)
check(b'BODY innermost', lambda m: b'Subject: innermost' in m.raw)
check(b'SUBJECT "no such words here"', lambda m: False)
check(b'BODY "lorem ipsum"', lambda m: True)
# RFC 9051 6.4.4: a charset of the question that is not known is refused by that code, with those that are.
refused = imap.say(b'SEARCH CHARSET X-UNKNOWN SUBJECT x', ok=False)[-1]
assert b' NO [BADCHARSET (' in refused and b'UTF-8' in refused, refused

for key, flag in (('ANSWERED', '\\Answered'), ('DELETED', '\\Deleted'), ('DRAFT', '\\Draft'), ('FLAGGED', '\\Flagged'), ('SEEN', '\\Seen')):
    check(key.encode(), lambda m: flag in m.flags, None)
    check(b'UN' + key.encode(), lambda m: flag not in m.flags, None)
for flag in ('$Work', 'Blue', '$work'):
    there = lambda m: flag.lower() in {f.lower() for f in m.flags}
    check(b'KEYWORD ' + flag.encode(), there, None)
    check(b'UNKEYWORD ' + flag.encode(), lambda m: not there(m), None)
check(b'KEYWORD never-seen', lambda m: False, None)
check(b'RECENT', lambda m: True, None)
check(b'NEW', lambda m: '\\Seen' not in m.flags, None)
check(b'OLD', lambda m: False, None)
check(b'ALL', lambda m: True, None)

for month in (1, 3, 7, 12):
    for day in (1, 14, 28):
        name = datetime.date(2023, month, day).strftime('%-d-%b-%Y').encode()
        at = datetime.date(2023, month, day)
        check(b'BEFORE ' + name, lambda m: m.internal.date() < at, None)
        check(b'ON "%s"' % name, lambda m: m.internal.date() == at, None)
        check(b'SINCE ' + name, lambda m: m.internal.date() >= at, None)
        name = name.replace(b'2023', b'2024')
        at = datetime.date(2024, month, day)
        check(b'SENTBEFORE ' + name, lambda m: m.sent < at, None)
        check(b'SENTON ' + name, lambda m: m.sent == at, None)
        check(b'SENTSINCE ' + name, lambda m: m.sent >= at, None)
for size in (0, 700, len(messages[5].raw), 1500, 4294967295):
    check(b'LARGER %d' % size, lambda m: len(m.raw) > size, None)
    check(b'SMALLER %d' % size, lambda m: len(m.raw) < size, None)
for seconds in (3600, 86400 * 365 * 2, 86400 * 365 * 50):
    border = datetime.datetime.now(datetime.timezone.utc) - datetime.timedelta(seconds=seconds)
    check(b'OLDER %d' % seconds, lambda m: m.internal <= border, None)
    check(b'YOUNGER %d' % seconds, lambda m: m.internal > border, None)
today = datetime.datetime.now(datetime.timezone.utc).date()
check(b'SAVEDSINCE ' + (today - datetime.timedelta(days=1)).strftime('%-d-%b-%Y').encode(), lambda m: True, None)
check(b'SAVEDBEFORE ' + (today - datetime.timedelta(days=1)).strftime('%-d-%b-%Y').encode(), lambda m: False, None)
numbers = {id(m): n for n, m in messages.items()}
check(b'UID 3:9,50', lambda m: numbers[id(m)] in {3, 4, 5, 6, 7, 8, 9, 50}, None)
check(b'3:9,*', lambda m: numbers[id(m)] in {3, 4, 5, 6, 7, 8, 9, COUNT}, None)
check(b'NOT UID 1:100', lambda m: numbers[id(m)] > 100, None)

# Compositions: random trees of keys whose meaning is known.
ATOMS = [
    (b'SEEN', lambda m: '\\Seen' in m.flags),
    (b'KEYWORD Blue', lambda m: 'Blue' in m.flags),
    (b'LARGER 900', lambda m: len(m.raw) > 900),
    (b'SENTSINCE 1-Jun-2024', lambda m: m.sent >= datetime.date(2024, 6, 1)),
    (b'BODY needle', lambda m: any('needle' in w for w in m.words)),
    (b'SUBJECT ' + string('мир'), lambda m: holds(m.header('Subject'), 'мир')),
    (b'UID 20:90', lambda m: 20 <= numbers[id(m)] <= 90),
]


def tree(depth):
    if depth == 0 or random.random() < 0.2:
        return random.choice(ATOMS)
    (a, f), (b, g) = tree(depth - 1), tree(depth - 1)
    return random.choice([
        (b'OR %s %s' % (a, b), lambda m: f(m) or g(m)),
        (b'(%s %s)' % (a, b), lambda m: f(m) and g(m)),
        (b'NOT %s' % a, lambda m: not f(m)),
    ])


for _ in range(60):
    check(*tree(4))

# RFC 4731, RFC 5182: what is returned, and what is remembered.
seen = sorted(uid for uid, m in messages.items() if '\\Seen' in m.flags)
line = imap.say(b'UID SEARCH RETURN (MIN MAX COUNT ALL) SEEN')[0].decode()
assert re.search(r'MIN %d\b' % seen[0], line) and re.search(r'MAX %d\b' % seen[-1], line), line
assert re.search(r'COUNT %d\b' % len(seen), line) and ' UID ' in line, line
listed = set()
for piece in re.search(r' ALL (\S+)', line).group(1).strip(')').split(','):
    first, _, last = piece.partition(':')
    listed |= set(range(int(first), int(last or first) + 1))
assert listed == set(seen), line
imap.say(b'UID SEARCH RETURN (SAVE) SEEN')
check(b'UID $ FLAGGED', lambda m: {'\\Seen', '\\Flagged'} <= m.flags, None)
rows = imap.say(b'UID FETCH $ (FLAGS)')
assert len([row for row in rows if b' FETCH ' in row]) == len(seen), len(rows)
line = imap.say(b'UID SEARCH RETURN (COUNT) SUBJECT "no such words here"')[0]
assert b'COUNT 0' in line, line
line = imap.say(b'UID SEARCH RETURN (ALL) SUBJECT "no such words here"')[0]
assert line.startswith(b'* ESEARCH') and b'ALL' not in line, line
refused = imap.say(b'SEARCH', ok=False)[-1]
assert b' BAD ' in refused, refused
if failures:
    raise SystemExit('%d of %d questions were answered wrongly:\n%s' % (len(failures), checks, '\n'.join(failures[:10])))
print(checks, 'questions')
