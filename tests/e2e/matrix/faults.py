# SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
"""Ways for a registry to misbehave: acts for misbehave.Registry.on()."""
import email.utils
import time

import misbehave


# --- answers that are wrong from the start ------------------------------------------

def status(number, code="UNKNOWN", message="made up by the test", **headers):
    """An error of the registry; header names have _ for -."""
    def act(x):
        x.error(number, code, message, {k.replace("_", "-"): v for k, v in headers.items()})
        return True
    return act


def early_status(number):
    """The same, said before the request's body was read, and the connection closed."""
    def act(x):
        body = misbehave.error_body("UNKNOWN", "made up by the test")
        x.head(number, [("Content-Length", str(len(body))), ("Connection", "close")])
        x.send(body)
        x.hang_up()
    return act


def status_after(number, count):
    """Reads that much of the body first."""
    def act(x):
        x.read_some(count)
        early_status(number)(x)
    return act


def busy(number=429, seconds=None, date=None):
    """Retry-After in seconds, or as a date so many seconds from the answer."""
    def act(x):
        after = email.utils.formatdate(time.time() + date, usegmt=True) if date else str(seconds)
        return status(number, "TOOMANYREQUESTS", "slow down", Retry_After=after)(x)
    return act


def raw(data):
    """These bytes for an answer, then the end of the connection."""
    def act(x):
        x.drain()
        x.connection.sendall(data)
        x.hang_up()
    return act


def redirect(target, number=307):
    """target: a URL, or a function of the exchange that makes one."""
    def act(x):
        x.reply(number, b"", {"Location": target(x) if callable(target) else target})
        return True
    return act


def page(body, kind="text/html", number=200):
    """Another answer altogether."""
    def act(x):
        x.reply(number, body, {"Content-Type": kind})
        return True
    return act


def endless_headers(size):
    def act(x):
        x.drain()
        x.connection.sendall(b"HTTP/1.1 200 OK\r\n")
        line = b"X-Filler: " + b"a" * 8000 + b"\r\n"
        for _ in range(size // len(line)):
            x.connection.sendall(line)
        x.connection.sendall(b"Content-Length: 0\r\n\r\n")
        return True
    return act


# --- right answers that are bent -------------------------------------------------------

def bend(headers=None, **members):
    """members: status, body (a function of bytes), chunked (size of pieces), ignore_range."""
    def act(x):
        x.bent = {"headers": headers or {}, **members}
    return act


def flip(at=0):
    """One bit of the body is wrong."""
    def change(body):
        body = bytearray(body)
        body[at] ^= 1
        return bytes(body)
    return bend(body=change)


def cut(count, how="close"):
    """The headers are right, then come `count` bytes and the end: "close", "reset" or "stall"."""
    def send(x, body):
        x.send(body[:count])
        if how == "stall":
            x.stay_silent()
        if how == "reset":
            x.wait_until_taken()
            x.reset()
        x.hang_up()
    return bend(send=send)


def slow(piece, pause):
    """The body in small pieces with pauses between."""
    def send(x, body):
        for at in range(0, len(body), piece):
            x.send(body[at:at + piece])
            if x.server.ended.wait(pause):
                return
    return bend(send=send)


# --- the connection ----------------------------------------------------------------------

def late(seconds):
    """A right answer, later."""
    def act(x):
        x.server.ended.wait(seconds)
    return act


def silence(x):
    x.stay_silent()


def silence_after(count):
    """Reads so much of the body, then nothing."""
    def act(x):
        x.read_some(count)
        x.stay_silent()
    return act


def reset(x):
    """RST in place of an answer, the request read."""
    x.drain()
    x.reset()


def reset_after(count):
    """RST while the request's body comes. What was read of an upload counts where `keep`."""
    def act(x):
        x.read_some(count)
        x.reset()
    return act


def keep_then_reset(count):
    """As a registry that stores what it got of a PATCH or PUT before the connection broke."""
    def act(x):
        session = x.server.sessions[x.request_seen.path.rpartition("/")[2]]
        for piece in x.body_pieces():
            session.data += piece[:count - x.request_seen.received + len(piece)]
            if x.request_seen.received >= count:
                break
        x.reset()
    return act


def close(x):
    """The end in place of an answer, the request read."""
    x.drain()
    x.hang_up()


def reset_in_headers(x):
    x.drain()
    x.connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Type: application/oct")
    x.wait_until_taken()
    x.reset()


def lose_session(x):
    """The upload is forgotten before this request is answered."""
    x.server.sessions.clear()
