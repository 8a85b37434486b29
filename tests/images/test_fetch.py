"""URLs against a real server on this machine, which is why private addresses are allowed in most tests."""

import http.server
import ipaddress
import socket
import threading
import time

import numpy as np
import pytest

from ggt_hub.errors import ImageError
from ggt_hub.images import fetch, read_image
from tests.images.odd_files import RGB, png_of

PNG = png_of(RGB)


class Handler(http.server.BaseHTTPRequestHandler):
    """One path for each way in which a server can behave."""

    def do_GET(self):
        self.server.paths.append(self.path)
        getattr(self, "answer_" + self.path.strip("/").partition("?")[0].partition("%")[0])()

    def log_message(self, *args):
        pass

    def send(self, body, status=200, length=None, **headers):
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("Content-Length", str(len(body) if length is None else length))
        self.end_headers()
        self.wfile.write(body)

    def answer_good(self):
        self.send(PNG, Content_Type="image/png")

    def answer_mislabelled(self):
        self.send(PNG, Content_Type="text/html")

    def answer_page(self):
        self.send(b"<!DOCTYPE html><html>not here</html>", Content_Type="image/png")

    def answer_chunked(self):
        self.protocol_version = "HTTP/1.1"
        self.send_response(200)
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        for part in (PNG[:50], PNG[50:], b""):
            self.wfile.write(f"{len(part):x}\r\n".encode() + part + b"\r\n")

    def answer_redirect(self):
        self.send(b"", status=302, Location="http://169.254.169.254/latest")

    def answer_missing(self):
        self.send(b"no", status=404)

    def answer_empty(self):
        self.send(b"")

    def answer_announced_too_large(self):
        self.send(b"", length=10**12)

    def answer_silently_too_large(self):
        self.send_response(200)
        self.end_headers()
        for _ in range(200):
            self.wfile.write(bytes(1 << 16))

    def answer_broken(self):
        self.send(PNG[:50], length=len(PNG))

    def answer_slow_body(self):
        self.send_response(200)
        self.send_header("Content-Length", "1000")
        self.end_headers()
        self.drip()

    def answer_slow_headers(self):
        self.wfile.write(b"HTTP/1.0 200 OK\r\nX-Slow: ")
        self.drip()

    def drip(self):
        for _ in range(100):
            self.wfile.write(b"x")
            self.wfile.flush()
            time.sleep(0.05)

    def answer_nothing(self):
        time.sleep(3)


@pytest.fixture(scope="module")
def server():
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.handle_error = lambda *args: None  # clients that hang up are the point
    server.paths = []
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


@pytest.fixture
def url(server):
    return f"http://127.0.0.1:{server.server_port}"


@pytest.mark.parametrize(
    "path", ["good", "mislabelled", "chunked", "good?a=1&b=%20", "good%20x", "good?ü=ö x"]
)
def test_picture_is_fetched_whatever_the_server_calls_it(url, path):
    picture = read_image(f"{url}/{path}", allow_private_addresses=True)
    np.testing.assert_array_equal(picture.pixels, RGB)
    assert picture.name == f"{url}/{path}"


@pytest.mark.parametrize(
    ("path", "reason"),
    [
        ("redirect", "redirects to 'http://169.254.169.254/latest'"),
        ("missing", "answers 404"),
        ("empty", "it is empty"),
        ("page", "a web page"),
        ("announced_too_large", "larger than 1.0 MB"),
        ("silently_too_large", "larger than 1.0 MB"),
        ("broken", "broke after 50 of"),
    ],
)
def test_bad_answer_is_one_error_with_the_address_and_the_reason(url, path, reason):
    with pytest.raises(ImageError) as caught:
        read_image(f"{url}/{path}", allow_private_addresses=True, max_bytes=1_000_000)
    assert reason in str(caught.value)
    assert f"{url}/{path}" in str(caught.value)


@pytest.mark.parametrize("path", ["slow_body", "slow_headers", "nothing"])
def test_time_limit_holds_for_the_whole_download(url, path):
    started = time.monotonic()
    with pytest.raises(ImageError, match=r"not complete after 0\.4 s"):
        read_image(f"{url}/{path}", allow_private_addresses=True, timeout=0.4)
    assert time.monotonic() - started < 2  # dripping would take 5 s, nothing 3 s


def test_private_address_is_refused_before_any_request(server, url):
    server.paths.clear()
    port = server.server_port
    for host in ("127.0.0.1", "localhost", "2130706433", "[::ffff:127.0.0.1]", "[::1]", "0.0.0.0"):
        with pytest.raises(ImageError, match="is not a public address"):
            read_image(f"http://{host}:{port}/good")
    assert server.paths == []


def test_connection_goes_to_the_address_that_was_checked(server, url, monkeypatch):
    """A name that answers differently the second time (DNS rebinding) is asked only once."""
    asked = []
    real = socket.getaddrinfo

    def resolve(host, port, *args, **kwargs):
        asked.append(host)
        address = "127.0.0.1" if asked.count(host) == 1 else "127.0.0.2"
        return real(address, port, *args, **kwargs)

    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    read_image(f"http://rebinding.example:{server.server_port}/good", allow_private_addresses=True)
    assert asked.count("rebinding.example") == 1


def test_name_with_one_private_address_is_refused(monkeypatch):
    def resolve(host, port, *args, **kwargs):
        return [(2, 1, 6, "", (address, port)) for address in ("93.184.216.34", "10.0.0.1")]

    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    with pytest.raises(ImageError, match=r"10\.0\.0\.1 is not a public address"):
        read_image("http://mixed.example/x.png")


@pytest.mark.parametrize(
    ("address", "public"),
    [
        ("93.184.216.34", True),
        ("2606:2800:220:1::1", True),
        ("10.1.2.3", False),
        ("172.16.0.1", False),
        ("192.168.1.1", False),
        ("127.9.9.9", False),
        ("169.254.169.254", False),
        ("100.64.0.1", False),
        ("0.0.0.0", False),
        ("224.0.0.1", False),
        ("255.255.255.255", False),
        ("240.0.0.1", False),
        ("::1", False),
        ("::", False),
        ("fe80::1", False),
        ("fc00::1", False),
        ("fec0::1", False),
        ("ff02::1", False),
        ("::ffff:10.0.0.1", False),
        ("::ffff:93.184.216.34", True),
        ("::10.0.0.1", False),
        ("64:ff9b::10.0.0.1", False),
        ("64:ff9b::93.184.216.34", True),
        ("2002:0a00:0001::", False),
    ],
)
def test_public_addresses(address, public):
    assert fetch.is_public(ipaddress.ip_address(address)) is public


@pytest.mark.parametrize(
    "url",
    [
        "ftp://example.org/x.png",
        "file:///etc/passwd",
        "gopher://example.org",
        "http://",
        "http:///x.png",
        "http://[::1/x.png",
        "http://example.org:99999/",
        "http://example.org:0/",
    ],
)
def test_other_addresses_are_refused(url):
    with pytest.raises(ImageError, match="cannot fetch"):
        read_image(url)


def test_password_in_an_address_is_refused_and_not_repeated():
    with pytest.raises(ImageError, match="user name") as caught:
        read_image("http://me:secret@example.org/x.png")
    assert "secret" not in str(caught.value)


def test_unreachable_server_is_an_error():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with pytest.raises(ImageError, match="Connection refused"):
        read_image(f"http://127.0.0.1:{port}/x.png", allow_private_addresses=True)


def test_https_speaks_tls(url):
    """Against a server that does not, so the handshake must fail; certificates are the standard library's work."""
    with pytest.raises(ImageError, match=r"(?i)ssl|tls"):
        read_image(url.replace("http:", "https:") + "/good", allow_private_addresses=True, timeout=5)
