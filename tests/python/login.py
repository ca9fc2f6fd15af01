"""Logging in by every mechanism that needs no more than Python's ssl module; a SCRAM client by RFC 5802."""

import base64
import hashlib
import hmac
import os
import socket
import ssl
import sys

USER, PASSWORD, CA = os.environ['USER'], os.environ['PASSWORD'], os.environ['CA']


class Session:
    """IMAP, POP3 or nothing but lines; `tls`: implicit TLS."""

    def __init__(self, listener, tls):
        raw = socket.create_connection(('localhost', int(os.environ[listener])), 40)
        if tls:
            raw = ssl.create_default_context(cafile=CA).wrap_socket(raw, server_hostname='localhost')
        self.pop3 = 'POP3' in listener
        self.socket, self.file = raw, raw.makefile('rb')
        self.greeting = self.line()

    def line(self):
        return self.file.readline().decode().rstrip()

    def send(self, text):
        self.socket.sendall(text.encode() + b'\r\n')

    def sasl(self, mechanism, steps, initial):
        """Runs an exchange; `steps` yields responses to challenges. Gives the final line."""
        steps = iter(steps)
        command = ('AUTH %s' if self.pop3 else 'a AUTHENTICATE %s') % mechanism
        if initial:
            command += ' ' + base64.b64encode(steps.send(None)).decode()
        self.send(command)
        started = initial
        while True:
            line = self.line()
            if not line.startswith('+ ') and line != '+':
                return line
            challenge = base64.b64decode(line[2:])
            answer = steps.send(challenge if started else None)
            started = True
            self.send(base64.b64encode(answer).decode())

    def starttls(self):
        self.send('STLS' if self.pop3 else 's STARTTLS')
        line = self.line()
        assert 'OK' in line, line
        self.socket = ssl.create_default_context(cafile=CA).wrap_socket(self.socket, server_hostname='localhost')
        self.file = self.socket.makefile('rb')





def plain(user, password, authorize=''):
    yield ('%s\0%s\0%s' % (authorize, user, password)).encode()



def login(user, password):
    yield user.encode()
    yield password.encode()



def scram(user, password, flag='n', iterations=None):
    name = user.replace('=', '=3D').replace(',', '=2C')
    nonce = base64.b64encode(os.urandom(18)).decode()
    bare = 'n=%s,r=%s' % (name, nonce)
    first = (yield (flag + ',,' + bare).encode()).decode()
    fields = dict(part.split('=', 1) for part in first.split(','))
    assert fields['r'].startswith(nonce) and len(fields['r']) > len(nonce) + 10, first
    assert int(fields['i']) >= 15000, 'too few iterations: ' + first
    if iterations is not None:
        iterations.append((fields['s'], fields['i']))
    salted = hashlib.pbkdf2_hmac('sha256', password.encode(), base64.b64decode(fields['s']), int(fields['i']))
    mac = lambda key, text: hmac.new(key, text.encode(), 'sha256').digest()
    key = mac(salted, 'Client Key')
    without = 'c=%s,r=%s' % (base64.b64encode((flag + ',,').encode()).decode(), fields['r'])
    message = ','.join((bare, first, without))
    proof = bytes(a ^ b for a, b in zip(key, mac(hashlib.sha256(key).digest(), message)))
    last = yield (without + ',p=' + base64.b64encode(proof).decode()).encode()
    expected = 'v=' + base64.b64encode(mac(mac(salted, 'Server Key'), message)).decode()
    assert last.decode() == expected, 'the server does not know the password: %r' % last
    yield b''


def outcome(listener, tls, mechanism, steps, initial=True):
    return Session(listener, tls).sasl(mechanism, steps, initial)


def everything():
    for listener, tls in (('IMAPS', True), ('IMAP', False), ('POP3S', True), ('POP3', False)):
        good = lambda line: line.startswith('+OK') or line.startswith('a OK')
        for initial in (True, False):
            for mechanism, steps in (('PLAIN', plain), ('LOGIN', login), ('SCRAM-SHA-256', scram)):
                line = outcome(listener, tls, mechanism, steps(USER, PASSWORD), initial)
                assert good(line), (listener, mechanism, initial, line)
    print('mechanisms fine')


def wrong():
    """The same answer for a wrong password and for nobody, and the same salt for nobody each time."""
    answers = set()
    for user in (USER, 'nobody@test.example', 'nobody@elsewhere.example'):
        for mechanism, steps in (('PLAIN', plain), ('SCRAM-SHA-256', scram)):
            line = outcome('IMAPS', True, mechanism, steps(user, 'not the password'))
            assert line.startswith('a NO [AUTHENTICATIONFAILED]'), (user, mechanism, line)
            answers.add(line)
    assert len(answers) == 1, answers
    salts = []
    for _ in range(2):
        outcome('IMAPS', True, 'SCRAM-SHA-256', scram('nobody@test.example', 'x', 'n', salts))
    assert salts[0] == salts[1], salts
    line = outcome('POP3S', True, 'PLAIN', plain(USER, 'not the password'))
    assert line.startswith('-ERR [AUTH]'), line
    print('refusals fine')


def forms():
    """What no client should send, and what protects against a downgrade."""
    session = Session('IMAPS', True)
    if 'AUTH=SCRAM-SHA-256-PLUS' in session.greeting:
        line = outcome('IMAPS', True, 'SCRAM-SHA-256', scram(USER, PASSWORD, 'y'))
        assert not line.startswith('a OK'), 'RFC 5802 6: a client that was cheated of -PLUS: ' + line
    line = outcome('IMAPS', True, 'PLAIN', plain(USER, PASSWORD, 'bob@test.example'))
    assert line.startswith('a NO'), 'acting as another: ' + line
    line = outcome('IMAPS', True, 'PLAIN', plain(USER, PASSWORD, USER))
    assert line.startswith('a OK'), 'acting as oneself: ' + line
    session = Session('IMAPS', True)
    session.send('a AUTHENTICATE PLAIN')
    assert session.line().startswith('+')
    session.send('*')
    assert session.line().startswith('a BAD'), 'RFC 9051 6.2.2: cancelled'
    session.send('a AUTHENTICATE PLAIN %%%')
    assert not session.line().startswith('a OK')
    session.send('a AUTHENTICATE X-UNKNOWN')
    assert session.line().startswith('a NO')
    session.send('a NOOP')
    assert session.line().startswith('a OK'), 'the session lives on'
    print('forms fine')


def privacy():
    """A listener that trusts nobody: no password before TLS (RFC 9051 6.2.3, RFC 2595)."""
    session = Session('FAR_IMAP', False)
    assert 'LOGINDISABLED' in session.greeting and 'AUTH=' not in session.greeting, session.greeting
    session.send('a LOGIN %s "%s"' % (USER, PASSWORD))
    line = session.line()
    assert line.startswith('a NO [PRIVACYREQUIRED]'), line
    session.send('a AUTHENTICATE PLAIN ' + base64.b64encode(b'\0x\0y').decode())
    line = session.line()
    assert line.startswith('a NO'), line
    session.starttls()
    session.send('c CAPABILITY')
    line = session.line()
    assert 'LOGINDISABLED' not in line and 'AUTH=PLAIN' in line and 'STARTTLS' not in line, line
    assert session.line().startswith('c OK')
    line = session.sasl('SCRAM-SHA-256', scram(USER, PASSWORD), True)
    assert line.startswith('a OK'), line
    pop3 = Session('FAR_POP3', False)
    pop3.send('USER ' + USER)
    line = pop3.line()
    assert line.startswith('-ERR'), line
    pop3.starttls()
    line = pop3.sasl('PLAIN', plain(USER, PASSWORD), True)
    assert line.startswith('+OK'), line
    # What was sent in clear before TLS is no command behind it (RFC 9051 6.2.1, CVE-2011-0411).
    for pipelined in ('s STARTTLS\r\nevil CAPABILITY\r\n',):
        session = Session('FAR_IMAP', False)
        session.socket.sendall(pipelined.encode())
        line = session.line()
        if line.startswith('s OK'):
            try:
                session.socket = ssl.create_default_context(cafile=CA).wrap_socket(session.socket, server_hostname='localhost')
                session.socket.settimeout(1)
                assert b'evil' not in session.socket.recv(1000), 'a command injected before TLS was answered'
            except (ssl.SSLError, OSError):
                pass
    print('privacy fine')


globals()[sys.argv[1]]()
