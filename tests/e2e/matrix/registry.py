# SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
"""The real docker-registry on loopback, and nginx in front of it; certificates for both.

Each server is a child that ends with this process, however that ends: it runs below a shell
that waits for the end of a pipe.
"""
import contextlib
import functools
import hashlib
import http.client
import os
import re
import shutil
import socket
import ssl
import subprocess
import time
import urllib.parse

import httpserver
import tap
import tokens

KEEPER = 'exec 2>/dev/null; log=$1; shift; "$@" </dev/null >>"$log" 2>&1 & child=$!; echo $child; cat >/dev/null; kill $child; kill -CONT $child; wait $child'
DATA = re.compile(r"/v2/.+/blobs/(sha256):(([0-9a-f]{2})[0-9a-f]{62})")


def have(*programs):
    """Skip where one of them is not installed. Daemons are not always in the PATH."""
    for name in programs:
        if not program(name):
            raise tap.Skip(f"{name} is not installed")


def program(name):
    return shutil.which(name) or shutil.which(name, path="/usr/sbin:/sbin:/usr/local/sbin")


def free_port(host="127.0.0.1"):
    with socket.socket() as probe:
        probe.bind((host, 0))
        return probe.getsockname()[1]


_closed = []


def closed_port(host="127.0.0.1"):
    """A port where nobody listens, nor will: it is bound as long as we live."""
    _closed.append(socket.socket())
    _closed[-1].bind((host, 0))
    return _closed[-1].getsockname()[1]


def sockets(column, port, state):
    """Inodes of this machine's TCP sockets (IPv4) in that state, whose local (1) or remote (2) port it is."""
    with open("/proc/net/tcp", encoding="ascii") as table:
        lines = [line.split() for line in table][1:]
    return {f"socket:[{one[9]}]" for one in lines if one[3] == state and int(one[column].rpartition(":")[2], 16) == port}


def has_one_of(pid, wanted):
    with contextlib.suppress(OSError):
        for fd in os.listdir(f"/proc/{pid}/fd"):
            with contextlib.suppress(OSError):
                if os.readlink(f"/proc/{pid}/fd/{fd}") in wanted:
                    return True
    return False


def wait_for_connection(port, process):
    """Until the process has a connection to that port, or has ended."""
    while process.poll() is None and not has_one_of(process.pid, sockets(2, port, "01")):
        time.sleep(0.02)


class Process:
    """A server process; it listens at `port` when it is up."""

    def __init__(self, args, log, port):
        self.log, self.port = log, port
        self.keeper = subprocess.Popen(["sh", "-c", KEEPER, "keeper", log, *args], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        self.pid = int(self.keeper.stdout.readline())
        end = time.monotonic() + 120
        # A connection would not tell: whoever took the port meanwhile may answer.
        while not has_one_of(self.pid, sockets(1, port, "0A")):
            gone = not os.path.exists(f"/proc/{self.pid}")
            if gone or time.monotonic() > end:
                self.close()
                with open(log, encoding="utf-8", errors="replace") as text:
                    raise RuntimeError(f"{args[0]} does not start: {text.read()[-2000:]}")
            time.sleep(0.02)

    def cpu(self):
        """Processor seconds of the process so far."""
        with open(f"/proc/{self.pid}/stat", encoding="ascii") as stat:
            fields = stat.read().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def close(self):
        self.keeper.stdin.close()
        self.keeper.wait()
        self.keeper.stdout.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


def start(make):
    """make(port) starts the process; another one may have taken the port meanwhile: try again."""
    for attempt in range(5):
        try:
            make(free_port())
            return
        except RuntimeError as why:
            if "in use" not in str(why) or attempt == 4:
                raise


class Real(Process):
    """Debian's docker-registry. issuer: a tokens.Issuer with a key, whose tokens it asks for."""

    def __init__(self, at, issuer=None):
        self.at, self.issuer, self.root = at, issuer, f"{at}/storage"
        os.makedirs(self.root, exist_ok=True)
        start(self._start)

    def _start(self, port):
        self.host = f"127.0.0.1:{port}"
        self.url = "http://" + self.host
        path = f"{self.at}/registry.yml"
        with open(path, "w", encoding="utf-8") as out:
            out.write(f"""
version: 0.1
log: {{level: warn, accesslog: {{disabled: true}}}}
storage: {{filesystem: {{rootdirectory: {self.root}}}, delete: {{enabled: true}}}}
http: {{addr: "{self.host}", secret: of-the-test, relativeurls: true}}
""")
            if self.issuer:
                out.write(f"""
auth: {{token: {{realm: "{self.issuer.realm}", service: {self.issuer.service}, issuer: test-issuer,
    rootcertbundle: {self.issuer.key}.crt}}}}
""")
        super().__init__([program("docker-registry"), "serve", path], f"{self.at}/registry.log", port)

    def reference(self, name):
        return f"docker://{self.host}/{name}"

    def has_blob(self, repository, digest):
        return os.path.exists(f"{self.root}/docker/registry/v2/repositories/{repository}/_layers/" + digest.replace(":", "/"))

    def tags(self, repository):
        with contextlib.suppress(FileNotFoundError):
            return sorted(os.listdir(f"{self.root}/docker/registry/v2/repositories/{repository}/_manifests/tags"))
        return []


# --- certificates -----------------------------------------------------------------------

def openssl(*args):
    done = subprocess.run(["openssl", *args], capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"openssl {args[0]}: {done.stderr}")


class Authority:
    """A certificate authority of one test: DIR/ca.crt, a server's key and certificate for
    loopback's names, a client's, and an RSA key for tokens."""

    def __init__(self, at):
        self.at = at
        self.ca, self.key, self.cert = f"{at}/ca.crt", f"{at}/server.key", f"{at}/server.crt"
        openssl("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2",
                "-subj", "/CN=test authority", "-keyout", f"{at}/ca.key", "-out", self.ca)
        self.sign("server", "subjectAltName=DNS:localhost,IP:127.0.0.1,IP:127.0.0.2")
        self.sign("client", "extendedKeyUsage=clientAuth")

    def sign(self, name, extension):
        path = f"{self.at}/{name}"
        openssl("req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-subj", f"/CN=test {name}",
                "-keyout", path + ".key", "-out", path + ".csr")
        with open(path + ".ext", "w", encoding="ascii") as out:
            out.write(extension + "\n")
        openssl("x509", "-req", "-days", "2", "-in", path + ".csr", "-CA", self.ca, "-CAkey", f"{self.at}/ca.key",
                "-CAcreateserial", "-extfile", path + ".ext", "-out", path + ".crt")

    @functools.cached_property
    def token_key(self):
        path = f"{self.at}/token"
        openssl("req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=test tokens",
                "-keyout", path, "-out", path + ".crt")
        return path

    def context(self):
        made = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        made.load_cert_chain(self.cert, self.key)
        return made

    def cert_dir(self, at, client=False):
        """A directory as --cert-dir takes it."""
        os.makedirs(at, exist_ok=True)
        shutil.copy(self.ca, at)
        if client:
            shutil.copy(f"{self.at}/client.crt", f"{at}/client.cert")
            shutil.copy(f"{self.at}/client.key", f"{at}/client.key")
        return at


# --- nginx ------------------------------------------------------------------------------

class Front(Process):
    """nginx before a registry. It counts: see lines().

    authority: TLS; client: a client's certificate is asked for; users: Basic; signed_for: blobs
    are redirected to another host (127.0.0.2), by addresses that are good for so many seconds;
    cache: blobs are kept by ranges; http2: offered; rate: bytes a second for each answer ("1m")."""

    def __init__(self, at, registry, authority=None, client=False, users=None, signed_for=None, cache=False, http2=False, rate=None):
        self.at, self.registry = at, registry
        self.access = f"{at}/access.log"
        self.marks = 0
        for name in ("body", "proxy", "cache", "fastcgi", "uwsgi", "scgi"):
            os.makedirs(f"{at}/{name}", exist_ok=True)
        self.options = {"authority": authority, "client": client, "users": users, "signed_for": signed_for, "cache": cache, "http2": http2, "rate": rate}
        start(self._start)

    def _start(self, port):
        o = self.options
        self.signer = Signer(o["signed_for"]) if o["signed_for"] else None
        path = f"{self.at}/nginx.conf"
        with open(path, "w", encoding="utf-8") as out:
            out.write(self._conf(port))
        self.host = f"127.0.0.1:{port}"
        self.url = ("https://" if o["authority"] else "http://") + self.host
        super().__init__([program("nginx"), "-p", self.at, "-c", path, "-e", f"{self.at}/error.log", "-g", "daemon off;"],
                         f"{self.at}/error.log", port)

    def _conf(self, port):
        o, at = self.options, self.at
        tls, realm = "", ""
        if o["authority"]:
            tls = f"ssl_certificate {o['authority'].cert}; ssl_certificate_key {o['authority'].key};"
            if o["client"]:
                tls += f" ssl_verify_client on; ssl_client_certificate {o['authority'].ca};"
        if o["users"]:
            realm = f'auth_basic "test registry"; auth_basic_user_file {at}/users;'
            with open(f"{at}/users", "w", encoding="utf-8") as out:
                out.writelines(f"{user}:{{PLAIN}}{password}\n" for user, password in o["users"].items())
        listen = f"127.0.0.1:{port}" + (" ssl" if o["authority"] else "") + (" http2" if o["http2"] else "")
        return f"""
{'user root root;' if os.geteuid() == 0 else ''}
worker_processes 1;
pid {at}/nginx.pid;
events {{ worker_connections 512; }}
http {{
    log_format plain '$request_method\t$request_uri\t$status\t$request_length\t$body_bytes_sent\t$http_range\t$server_protocol\t$upstream_cache_status';
    access_log {at}/access.log plain;
    client_body_temp_path {at}/body; proxy_temp_path {at}/proxy; fastcgi_temp_path {at}/fastcgi;
    uwsgi_temp_path {at}/uwsgi; scgi_temp_path {at}/scgi;
    proxy_cache_path {at}/cache keys_zone=ranges:1m;
    client_max_body_size 0;
    server {{
        listen {listen};
        {tls}
        {realm}
        proxy_http_version 1.1;
        proxy_set_header Host $http_host;
        proxy_set_header X-Forwarded-Proto $scheme;
        proxy_request_buffering off;
        {f"limit_rate {o['rate']};" if o["rate"] else ""}
        location /mark/ {{ auth_basic off; return 204; }}
        location / {{ proxy_pass {self.registry.url}; }}
        {self._blobs()}
    }}
    {self._data()}
}}
"""

    def _blobs(self):
        head = r"location ~ ^/v2/.+/blobs/sha256:[0-9a-f]+$"
        if self.signer:
            return f"{head} {{ if ($request_method = GET) {{ proxy_pass {self.signer.url}; }} }}"
        if self.options["cache"]:
            return f"""{head} {{
                slice 256k; proxy_cache ranges; proxy_cache_key $uri$slice_range; proxy_cache_valid 200 206 1h;
                proxy_set_header Range $slice_range; proxy_pass {self.registry.url}; }}"""
        return ""

    def _data(self):
        """Another host, which gives blobs to those who have a signed address."""
        if not self.signer:
            return ""
        port = free_port("127.0.0.2")
        self.signer.target = f"http://127.0.0.2:{port}"
        return rf"""server {{
        listen 127.0.0.2:{port};
        access_log {self.at}/data.log plain;
        location / {{
            if ($http_authorization) {{ return 400 "Authorization came to the data host"; }}
            secure_link $arg_sig,$arg_until;
            secure_link_md5 "$secure_link_expires$uri of-the-test";
            if ($secure_link = "") {{ return 403 "no right signature"; }}
            if ($secure_link = "0") {{ return 403 "expired"; }}
            root {self.registry.root}/docker/registry/v2/blobs;
        }}
    }}"""

    def reference(self, name):
        return f"docker://{self.host}/{name}"

    def lines(self):
        """Requests so far: (method, target, status, bytes in, bytes out, Range, protocol, cache status)."""
        self.marks += 1
        mark = f"/mark/{self.marks}"
        self._get(mark)
        for _ in range(6000):
            with open(self.access, encoding="utf-8") as text:
                found = [line.rstrip("\n").split("\t") for line in text]
            if found and found[-1][1] == mark:
                break
            time.sleep(0.01)
        return [Line(*one) for one in found if not one[1].startswith("/mark/")]

    def _get(self, path):
        authority = self.options["authority"]
        if authority:
            context = ssl.create_default_context(cafile=authority.ca)
            if self.options["client"]:
                context.load_cert_chain(f"{authority.at}/client.crt", f"{authority.at}/client.key")
            link = http.client.HTTPSConnection(self.host, context=context)
        else:
            link = http.client.HTTPConnection(self.host)
        with contextlib.closing(link):
            link.request("GET", path)
            link.getresponse().read()

    def forget(self):
        """lines() begins anew."""
        self.lines()
        os.truncate(self.access, 0)

    def close(self):
        super().close()
        if self.signer:
            self.signer.close()


class Line:
    """A line of the access log."""

    def __init__(self, method, target, status, received, sent, wanted, protocol, cached):
        self.method, self.target, self.status = method, target, int(status)
        self.received, self.sent, self.range = int(received), int(sent), wanted
        self.protocol, self.cached = protocol, cached

    def __repr__(self):
        return f"{self.method} {self.target} {self.status} in {self.received} out {self.sent} {self.range}"


class Signer(httpserver.Server):
    """Answers a blob's address with a signed one, at the data host."""

    def __init__(self, seconds):
        self.seconds, self.target = seconds, None
        super().__init__(SignerExchange)


class SignerExchange(httpserver.Exchange):

    def answer(self):
        found = DATA.fullmatch(self.request_seen.path)
        if not found:
            return self.reply(404)
        path = f"/{found[1]}/{found[3]}/{found[2]}/data"
        until = int(time.time() + self.server.seconds)
        digest = hashlib.md5(f"{until}{path} of-the-test".encode()).digest()
        query = urllib.parse.urlencode({"sig": tokens.b64(digest), "until": until})
        return self.reply(307, b"", {"Location": f"{self.server.target}{path}?{query}"})



# --- around the program ------------------------------------------------------------------

PROXIES = ("http_proxy", "https_proxy", "all_proxy", "no_proxy")


def own_environment():
    """No proxy, no credentials, no home of whoever runs the tests."""
    for name in PROXIES:
        os.environ.pop(name, None)
        os.environ.pop(name.upper(), None)
    for name in ("REGISTRY_AUTH_FILE", "DOCKER_CONFIG", "SSL_CERT_FILE", "SSL_CERT_DIR", "CURL_CA_BUNDLE"):
        os.environ.pop(name, None)
    os.environ["HOME"] = tap.fresh("home")
    os.environ["XDG_RUNTIME_DIR"] = tap.fresh("run")
    for name in ("XDG_CONFIG_HOME", "XDG_DATA_HOME", "XDG_CACHE_HOME"):
        os.environ.pop(name, None)
