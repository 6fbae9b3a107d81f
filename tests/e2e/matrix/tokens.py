# SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
"""A token server as the distribution project describes it (token and OAuth2 endpoints)."""
import base64
import json
import secrets
import subprocess
import time
import urllib.parse

import httpserver


class Issuer(httpserver.Server):
    """Knows users, gives tokens for what `may(user, repository, action)` allows.

    lifetime: how long a token is good. claimed: the expires_in that is told (None: nothing, which
    means 60). field: "token", "access_token" or "both". key: the PEM file of an RSA key with its
    certificate beside it (KEY.crt): then tokens are JWTs that docker-registry takes."""

    def __init__(self, users=None, refresh=None, may=None, lifetime=60, claimed=None, field="token", key=None,
                 service="test-registry", **kw):
        self.users, self.refresh = users or {}, refresh or {}
        self.may = may or (lambda user, repository, action: user is not None or action == "pull")
        self.lifetime, self.claimed, self.field, self.key, self.service = lifetime, claimed, field, key, service
        self.tokens = {}
        self.stalled = None  # a function of the exchange, for a fault
        super().__init__(TokenExchange, **kw)
        self.realm = self.url + "/auth/token"

    def refusal(self, token, needs):
        """None when the token (None: none came) opens all of {repository: actions}, or the error."""
        if token is None:
            return ""
        until, access = self.tokens.get(token, (0, {}))
        if until < time.time():
            return "invalid_token"
        if any(not actions <= access.get(name, set()) for name, actions in needs.items()):
            return "insufficient_scope"
        return None

    def ends_when_used(self):
        """An act for a registry: with the first request that shows a token, all that were given end."""
        left = [1]

        def act(x):
            with self.lock:
                if left and "Authorization" in x.headers:
                    left.clear()
                    self.tokens = {token: (0, access) for token, (_, access) in self.tokens.items()}
        return act

    def issue(self, user, scopes):
        access = {}
        for scope in scopes:
            kind, _, rest = scope.partition(":")
            name, _, actions = rest.rpartition(":")
            if kind == "repository":
                granted = {a for a in actions.split(",") if self.may(user, name, a)}
                access.setdefault(name, set()).update(granted)
        until = time.time() + self.lifetime
        token = self.jwt(user, access, until) if self.key else "tok-" + secrets.token_urlsafe(24)
        with self.lock:
            self.tokens[token] = (until, access)
        return token

    def jwt(self, user, access, until):
        with open(self.key + ".crt", encoding="ascii") as pem:
            der = "".join(line.strip() for line in pem if not line.startswith("-----"))
        # docker-registry takes tokens for a minute after their end; nothing else reads "exp".
        now = time.time()
        claims = {"iss": "test-issuer", "sub": user or "", "aud": self.service, "exp": int(until - 60), "nbf": int(now - 120),
                  "iat": int(now - 120), "jti": secrets.token_hex(8),
                  "access": [{"type": "repository", "name": n, "actions": sorted(a)} for n, a in access.items()]}
        text = ".".join(b64(json.dumps(part).encode()) for part in ({"typ": "JWT", "alg": "RS256", "x5c": [der]}, claims))
        signature = subprocess.run(["openssl", "dgst", "-sha256", "-sign", self.key], input=text.encode(),
                                   capture_output=True, check=True).stdout
        return text + "." + b64(signature)


def b64(data):
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


class TokenExchange(httpserver.Exchange):

    def answer(self):
        if self.server.stalled and self.server.stalled(self):
            return
        if self.request_seen.path != "/auth/token":
            self.reply(404)
        elif self.command == "GET":
            self.by_get()
        elif self.command == "POST":
            self.by_post()
        else:
            self.reply(405)

    def refuse(self, status, code):
        self.reply(status, json.dumps({"error": code, "errors": [{"code": "UNAUTHORIZED", "message": code}]}).encode(),
                   {"Content-Type": "application/json"})

    def by_get(self):
        scheme, _, value = self.headers.get("Authorization", "").partition(" ")
        user = None
        if scheme:
            user, _, password = base64.b64decode(value).decode().partition(":")
            if scheme.lower() != "basic" or self.server.users.get(user) != password:
                return self.refuse(401, "incorrect username or password")
        query = urllib.parse.parse_qs(urllib.parse.urlsplit(self.request_seen.target).query)
        if query.get("service", [""])[0] != self.server.service:
            return self.refuse(400, "no such service")
        return self.give(user, [s for group in query.get("scope", []) for s in group.split()])

    def by_post(self):
        form = urllib.parse.parse_qs(self.body().decode())
        self.form = {k: v[0] for k, v in form.items()}
        self.request_seen.form = self.form
        kind = self.form.get("grant_type")
        user = None
        if kind == "refresh_token":
            user = self.server.refresh.get(self.form.get("refresh_token"))
        elif kind == "password" and self.server.users.get(self.form.get("username")) == self.form.get("password"):
            user = self.form["username"]
        if user is None:
            return self.refuse(401, "invalid_grant")
        if self.form.get("service") != self.server.service or not self.form.get("client_id"):
            return self.refuse(400, "invalid_request")
        return self.give(user, self.form.get("scope", "").split())

    def give(self, user, scopes):
        token, server = self.server.issue(user, scopes), self.server
        told = {}
        if server.field in ("token", "both") and self.command == "GET":
            told["token"] = token
        if server.field in ("access_token", "both") or self.command == "POST":
            told["access_token"] = token
        if server.claimed is not None:
            told["expires_in"] = server.claimed
        self.reply(200, json.dumps(told).encode(), {"Content-Type": "application/json"})
