# SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
"""A registry in memory (OCI distribution-spec 1.1) that can be told to misbehave.

It is strict where the specification is: a manifest whose blobs are missing, an upload whose
digest is wrong or whose Content-Range does not go on where it stopped, are refused.
Registry.on() sets a fault; faults.py has those there are.
"""
import base64
import contextlib
import hashlib
import json
import re
import threading
import time
import urllib.parse

import httpserver

NAME = r"[a-z0-9]+(?:[._/-]+[a-z0-9]+)*"
MANIFEST = re.compile(rf"/v2/({NAME})/manifests/(.+)")
BLOB = re.compile(rf"/v2/({NAME})/blobs/([a-z0-9]+:[0-9a-f]+)")
UPLOAD = re.compile(rf"/v2/({NAME})/blobs/uploads/(.*)")
TAGS = re.compile(rf"/v2/({NAME})/tags/list")
REFERRERS = re.compile(rf"/v2/({NAME})/referrers/(.+)")
INDEX = "application/vnd.oci.image.index.v1+json"


def sha256(data):
    return "sha256:" + hashlib.sha256(data).hexdigest()


def error_body(code, message, detail=None):
    return json.dumps({"errors": [{"code": code, "message": message, "detail": detail}]}).encode()


class Fault:
    """What happens instead of an answer, or to it: act(exchange) may send all of an answer and
    raise Gone, or return True for "answered", or change `exchange.bent` and return None."""

    def __init__(self, methods, path, act, times, skip):
        self.methods, self.path, self.act = methods.split(), re.compile(path), act
        self.times, self.skip, self.hits = times, skip, 0

    def wants(self, request):
        if request.method not in self.methods or not self.path.search(request.target):
            return False
        if self.skip:
            self.skip -= 1
            return False
        return self.hits < self.times


class Session:
    """An upload: what came so far."""

    def __init__(self, repository):
        self.repository, self.data, self.patches = repository, bytearray(), []


class Registry(httpserver.Server):
    """auth: None, ("basic", {user: password}) or a tokens.Issuer.

    location says how uploads are addressed: "absolute", "relative", "query" (a state of long
    query, relative) or another Registry, which then shares the sessions and keeps the blobs for us.
    chunk_min: OCI-Chunk-Min-Length; referrers: whether that API is there; blob_host: a Registry
    that blobs' GETs are redirected to (signed, for `signed_for` seconds)."""

    def __init__(self, auth=None, location="relative", chunk_min=None, referrers=True, blob_host=None,
                 signed_for=60, mounts=True, **kw):
        self.auth, self.location, self.chunk_min, self.referrers = auth, location, chunk_min, referrers
        self.blob_host, self.signed_for, self.mounts = blob_host, signed_for, mounts
        self.ahead = 0  # seconds that its clock was put forward
        self.blobs, self.manifests, self.tags, self.members, self.sessions = {}, {}, {}, {}, {}
        self.public = None  # who may ask without Authorization although there is `auth`: a pattern of targets
        self.faults, self.counter = [], 0
        super().__init__(RegistryExchange, **kw)

    # --- for tests ------------------------------------------------------------------

    def on(self, methods, path, act, times=1, skip=0):
        """The fault acts on the next `times` requests with one of the methods (words) whose
        target matches, after `skip` of them."""
        fault = Fault(methods, path, act, times, skip)
        with self.lock:
            self.faults.append(fault)
        return fault

    def reference(self, name):
        return f"docker://{self.host}/{name}"

    def put_layout(self, layout, repository, tag):
        """Stores the first image of an OCI layout, with all that hangs on it; its digest."""
        with open(f"{layout}/index.json", "rb") as text:
            top = json.load(text)["manifests"][0]
        self._put_from(layout, repository, top)
        self.tags[(repository, tag)] = top["digest"]
        return top["digest"]

    def _put_from(self, layout, repository, descriptor):
        with open(f"{layout}/blobs/" + descriptor["digest"].replace(":", "/"), "rb") as data:
            data = data.read()
        document = json.loads(data)
        self.manifests[(repository, descriptor["digest"])] = (descriptor["mediaType"], data)
        for inner in document.get("manifests", []):
            self._put_from(layout, repository, inner)
        for blob in [document["config"], *document["layers"]] if "config" in document else []:
            with open(f"{layout}/blobs/" + blob["digest"].replace(":", "/"), "rb") as content:
                self.put_blob(repository, content.read())

    def put_blob(self, repository, data):
        digest = sha256(data)
        self.blobs[digest] = data
        self.members.setdefault(repository, set()).add(digest)
        return digest

    def manifest(self, repository, reference):
        """(media type, bytes) or None."""
        return self.manifests.get((repository, self.tags.get((repository, reference), reference)))

    def sent_blobs(self):
        """Bytes of blobs that came in."""
        return sum(r.received for r in self.seen("PATCH PUT POST", "/blobs/uploads/"))

    def secrets_on_wire(self, *secrets):
        """Requests that hold one of the texts anywhere in target or headers."""
        def holds(request):
            text = request.target + str(request.headers)
            for scheme, _, code in re.findall(r"(?i)(basic)(\s+)([A-Za-z0-9+/=]+)", text):
                with contextlib.suppress(ValueError):
                    text += base64.b64decode(code).decode("latin-1")
            return any(s in text for s in secrets)
        return [r for r in self.requests if holds(r)]


class RegistryExchange(httpserver.Exchange):

    def answer(self):
        self.bent = {}
        with self.server.lock:
            fault = next((f for f in self.server.faults if f.wants(self.request_seen)), None)
            if fault:
                fault.hits += 1
        if fault and fault.act(self):
            return
        if self.server.auth and not self.allowed():
            return
        self.route()

    def route(self):
        path, method = self.request_seen.path, self.command
        if path in ("/v2/", "/v2"):
            return self.reply(200, b"{}", {"Content-Type": "application/json"})
        for pattern, what in ((UPLOAD, self.upload), (MANIFEST, self.manifest), (BLOB, self.blob),
                              (TAGS, self.list_tags), (REFERRERS, self.list_referrers)):
            found = pattern.fullmatch(path)
            if found:
                return what(method, *found.groups())
        return self.error(404, "NOT_FOUND", "no such page")

    # --- answers that faults may bend ---------------------------------------------------

    def error(self, status, code, message, headers=(), detail=None):
        self.reply(status, error_body(code, message, detail), {"Content-Type": "application/json", **dict(headers)})

    def reply(self, status, body=b"", headers=(), length=None):
        bent = self.bent
        headers = {**dict(headers), **bent.get("headers", {})}
        status = bent.get("status", status)
        if "body" in bent and status < 300:
            body = bent["body"](body)
        self.drain()
        if bent.get("chunked"):
            length_header = [("Transfer-Encoding", "chunked")]
        else:
            length_header = [("Content-Length", str(len(body) if length is None else length))]
        if "Content-Length" in headers:
            length_header = []
        self.head(status, [*length_header, *headers.items()])
        if self.command == "HEAD":
            return
        if "send" in bent:
            bent["send"](self, body)
        elif bent.get("chunked"):
            self.send_chunked(body, bent["chunked"])
        else:
            self.send(body)

    def send_chunked(self, body, size):
        for at in range(0, len(body), size):
            piece = body[at:at + size]
            self.wfile.write(b"%x;name=value\r\n" % len(piece))
            self.send(piece)
            self.wfile.write(b"\r\n")
        self.wfile.write(b"0\r\nX-Trailer: yes\r\n\r\n")

    # --- who may --------------------------------------------------------------------------

    def allowed(self):
        auth, seen = self.server.auth, self.request_seen
        given = self.headers.get("Authorization", "")
        scheme, _, value = given.partition(" ")
        if self.server.public and re.search(self.server.public, seen.target):
            return True
        if isinstance(auth, tuple):
            if scheme.lower() == "basic":
                user, _, password = base64.b64decode(value).decode().partition(":")
                if auth[1].get(user) == password:
                    return True
            self.error(401, "UNAUTHORIZED", "who are you", {"WWW-Authenticate": 'Basic realm="test registry"'})
            return False
        needs = self.needs()
        why = auth.refusal(value if scheme.lower() == "bearer" else None, needs)
        if why is None:
            return True
        scope = " ".join(f"repository:{name}:{','.join(sorted(actions))}" for name, actions in needs.items())
        challenge = f'Bearer realm="{auth.realm}",service="{auth.service}"'
        challenge += f',scope="{scope}"' if scope else ""
        challenge += f',error="{why}"' if why else ""
        self.error(401, "UNAUTHORIZED", "authentication required", {"WWW-Authenticate": challenge})
        return False

    def needs(self):
        found = re.match(rf"/v2/({NAME})/(?:blobs|manifests|tags|referrers)/", self.request_seen.path)
        if not found:
            return {}
        actions = {"pull"} if self.command in ("GET", "HEAD") else {"pull", "push"}
        needs = {found[1]: actions}
        if "from" in self.request_seen.query and "mount" in self.request_seen.query:
            # Without the right to read there, a registry goes on as if nothing had been asked.
            pass
        return needs

    # --- manifests ------------------------------------------------------------------------

    def manifest(self, method, name, reference):
        if method == "PUT":
            return self.put_manifest(name, reference)
        found = self.server.manifest(name, reference)
        if not found:
            return self.error(404, "MANIFEST_UNKNOWN", "manifest unknown", detail={"name": reference})
        kind, data = found
        return self.reply(200, data, {"Content-Type": kind, "Docker-Content-Digest": sha256(data)})

    def put_manifest(self, name, reference):
        data, server = self.body(), self.server
        digest, kind = sha256(data), self.headers.get("Content-Type", "")
        if ":" in reference and reference != digest:
            return self.error(400, "DIGEST_INVALID", "provided digest did not match uploaded content")
        try:
            document = json.loads(data)
        except ValueError:
            return self.error(400, "MANIFEST_INVALID", "no JSON")
        if document.get("mediaType") not in (None, kind):
            return self.error(400, "MANIFEST_INVALID", "Content-Type and mediaType differ")
        blobs = [document["config"], *document["layers"]] if "config" in document else []
        for one in blobs:
            if one["digest"] not in server.members.get(name, ()):
                return self.error(404, "MANIFEST_BLOB_UNKNOWN", "blob unknown to registry", detail=one["digest"])
            if len(server.blobs[one["digest"]]) != one["size"]:
                return self.error(400, "SIZE_INVALID", "a blob's size differs", detail=one["digest"])
        for one in document.get("manifests", []) if "config" not in document else []:
            if (name, one["digest"]) not in server.manifests and "attestation" not in str(one):
                return self.error(404, "MANIFEST_UNKNOWN", "an index names an unknown manifest", detail=one["digest"])
        with server.lock:
            server.manifests[(name, digest)] = (kind, data)
            if ":" not in reference:
                server.tags[(name, reference)] = digest
        headers = {"Location": f"/v2/{name}/manifests/{digest}", "Docker-Content-Digest": digest}
        if server.referrers and document.get("subject"):
            headers["OCI-Subject"] = document["subject"]["digest"]
        return self.reply(201, b"", headers)

    def list_tags(self, _, name):
        tags = sorted(t for n, t in self.server.tags if n == name)
        return self.reply(200, json.dumps({"name": name, "tags": tags}).encode(), {"Content-Type": "application/json"})

    def list_referrers(self, _, name, digest):
        if not self.server.referrers:
            return self.error(404, "NOT_FOUND", "no such page")
        found = []
        for (owner, own), (kind, data) in self.server.manifests.items():
            document = json.loads(data)
            if owner == name and (document.get("subject") or {}).get("digest") == digest:
                found.append({"mediaType": kind, "digest": own, "size": len(data),
                              "artifactType": document.get("artifactType") or document.get("config", {}).get("mediaType")})
        body = json.dumps({"schemaVersion": 2, "mediaType": INDEX, "manifests": found}).encode()
        return self.reply(200, body, {"Content-Type": INDEX})

    # --- blobs ----------------------------------------------------------------------------

    def blob(self, method, name, digest):
        server, query = self.server, self.request_seen.query
        if "until" in query and float(query["until"]) < time.time() + server.ahead:
            return self.reply(403, b"<Error><Code>AccessDenied</Code><Message>Request has expired</Message></Error>",
                              {"Content-Type": "application/xml"})
        if method not in ("GET", "HEAD"):
            return self.error(405, "UNSUPPORTED", "not here")
        if digest not in server.members.get(name, ()):
            return self.error(404, "BLOB_UNKNOWN", "blob unknown to registry", detail=digest)
        if server.blob_host and method == "GET":
            other = server.blob_host
            other.blobs[digest] = server.blobs[digest]
            other.members.setdefault(name, set()).add(digest)
            until = time.time() + other.ahead + server.signed_for
            target = f"{other.url}/v2/{name}/blobs/{digest}?until={until:.2f}&signature=5ecre7"
            return self.reply(307, b"", {"Location": target})
        return self.ranged(server.blobs[digest], digest)

    def ranged(self, data, digest):
        headers = {"Content-Type": "application/octet-stream", "Docker-Content-Digest": digest, "Accept-Ranges": "bytes"}
        wanted = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", ""))
        if not wanted or self.bent.get("ignore_range"):
            return self.reply(200, data, headers)
        first, last = int(wanted[1]), min(int(wanted[2] or len(data) - 1), len(data) - 1)
        if first >= len(data) or last < first:
            return self.error(416, "RANGE_INVALID", "nothing there", {"Content-Range": f"bytes */{len(data)}"})
        headers["Content-Range"] = f"bytes {first}-{last}/{len(data)}"
        return self.reply(206, data[first:last + 1], headers)

    # --- uploads ----------------------------------------------------------------------------

    def upload(self, method, name, key):
        if method == "POST" and not key:
            return self.begin_upload(name)
        session = self.server.sessions.get(key)
        if not session or session.repository != name:
            return self.error(404, "BLOB_UPLOAD_UNKNOWN", "blob upload unknown to registry")
        if self.server.location == "query" and self.request_seen.query.get("_state") != f"{key}+/={len(session.data)}":
            return self.error(400, "BLOB_UPLOAD_INVALID", "the state is not the last one")
        if method == "PATCH":
            return self.patch(name, key, session)
        if method == "PUT":
            return self.put_upload(name, key, session)
        if method == "GET":
            return self.reply(204, b"", self.progress(name, key, session))
        if method == "DELETE":
            del self.server.sessions[key]
            return self.reply(204)
        return self.error(405, "UNSUPPORTED", "not here")

    def begin_upload(self, name):
        server, query = self.server, self.request_seen.query
        mounted, origin = query.get("mount"), query.get("from")
        if mounted and server.mounts and any(mounted in m for n, m in server.members.items() if origin in (n, None)):
            server.members.setdefault(name, set()).add(mounted)
            return self.reply(201, b"", {"Location": f"/v2/{name}/blobs/{mounted}", "Docker-Content-Digest": mounted})
        if "digest" in query:
            return self.store(name, query["digest"], self.body())
        with server.lock:
            server.counter += 1
            key = f"session-{server.counter}"
            server.sessions[key] = Session(name)
        headers = self.progress(name, key, server.sessions[key])
        if server.chunk_min:
            headers["OCI-Chunk-Min-Length"] = str(server.chunk_min)
        return self.reply(202, b"", headers)

    def progress(self, name, key, session):
        path, location = f"/v2/{name}/blobs/uploads/{key}", self.server.location
        if location == "absolute":
            path = self.server.url + path
        elif location == "query":
            path += "?_state=" + urllib.parse.quote(f"{key}+/={len(session.data)}", safe="")
        elif isinstance(location, Registry):
            location.sessions, location.members, location.blobs = self.server.sessions, self.server.members, self.server.blobs
            path = location.url + path
        return {"Location": path, "Range": f"0-{max(0, len(session.data) - 1)}", "Docker-Upload-UUID": key}

    def append(self, session):
        """Takes the body as it comes, so that what came before a broken connection counts."""
        for piece in self.body_pieces():
            session.data += piece

    def patch(self, name, key, session):
        said = self.headers.get("Content-Range")
        begin = len(session.data)
        if said is not None:
            found = re.fullmatch(r"(\d+)-(\d+)", said)
            if not found:
                return self.error(400, "BLOB_UPLOAD_INVALID", f"Content-Range is {said}")
            if int(found[1]) != begin:
                return self.error(416, "BLOB_UPLOAD_INVALID", "out of order", self.progress(name, key, session))
        self.append(session)
        if said is not None and int(found[2]) + 1 != len(session.data):
            return self.error(400, "SIZE_INVALID", "Content-Range and Content-Length differ")
        session.patches.append((begin, len(session.data) - begin, said))
        return self.reply(202, b"", self.progress(name, key, session))

    def put_upload(self, name, key, session):
        if "digest" not in self.request_seen.query:
            return self.error(400, "DIGEST_INVALID", "no digest given")
        self.append(session)
        sizes = [size for _, size, _ in session.patches]
        if self.server.chunk_min and any(size < self.server.chunk_min for size in sizes[:-1]):
            return self.error(400, "SIZE_INVALID", "a chunk is too small")
        self.server.sessions.pop(key, None)
        return self.store(name, self.request_seen.query["digest"], bytes(session.data))

    def store(self, name, digest, data):
        if sha256(data) != digest:
            return self.error(400, "DIGEST_INVALID", "provided digest did not match uploaded content")
        self.server.put_blob(name, data)
        return self.reply(201, b"", {"Location": f"/v2/{name}/blobs/{digest}", "Docker-Content-Digest": digest})
