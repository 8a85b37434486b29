"""Pictures by http and https: limited in size and time, without redirects, and only from public addresses."""

import contextlib
import http.client
import ipaddress
import socket
import ssl
import threading
import time
from urllib.parse import SplitResult, quote, urlsplit

from ggt_hub.errors import ImageError

_CHUNK = 1 << 16
_NAT64 = ipaddress.ip_network("64:ff9b::/96")
Address = ipaddress.IPv4Address | ipaddress.IPv6Address


def fetch(url: str, *, timeout: float, max_bytes: int, allow_private_addresses: bool) -> bytes:
    """Download one picture.

    The host is resolved once and the connection goes to the very address that was checked, so a name that
    changes its mind between check and use (DNS rebinding) gains nothing. Proxy settings are ignored for the same
    reason.

    Args:
        url: An http or https address without user name.
        timeout: Seconds for the whole download, however slowly it drips.
        max_bytes: The largest body.
        allow_private_addresses: Also connect to loopback, private and link-local addresses.

    Raises:
        ImageError: For anything but a complete answer with status 200.
    """
    deadline = time.monotonic() + timeout
    parts = _checked_parts(url)
    try:
        with _connected(parts, url, deadline, allow_private_addresses) as connection:
            return _answer(connection, parts, url, deadline, max_bytes)
    except ImageError:
        raise
    except (OSError, http.client.HTTPException, ValueError) as error:
        if time.monotonic() >= deadline:
            reason = f"not complete after {timeout:g} s. Raise the time-out"
        else:
            reason = f"{str(error) or type(error).__name__}. Check the address and the network"
        raise ImageError(f"cannot fetch {url!r}: {reason}.") from error


def is_public(address: Address) -> bool:
    """Whether an address belongs to the public internet, looking through IPv6 forms that hold an IPv4 one."""
    if isinstance(address, ipaddress.IPv6Address):
        if address in _NAT64:
            return is_public(ipaddress.IPv4Address(int(address) & 0xFFFFFFFF))
        embedded = address.ipv4_mapped or address.sixtofour or (address.teredo and address.teredo[1])
        if embedded:
            return is_public(embedded)
    special = address.is_multicast or address.is_reserved or getattr(address, "is_site_local", False)
    return address.is_global and not special


def _checked_parts(url: str) -> SplitResult:
    try:
        parts = urlsplit(url)
        port_is_sound = parts.port != 0
    except ValueError as error:
        raise ImageError(f"cannot fetch {url!r}: {error}. Check the address.") from error
    if parts.scheme not in ("http", "https") or not parts.hostname or not port_is_sound:
        raise ImageError(f"cannot fetch {url!r}: only http:// and https:// addresses with a host are read.")
    if "@" in parts.netloc:
        raise ImageError(f"cannot fetch from {parts.hostname!r}: addresses with a user name are not read.")
    return parts


def _connected(parts: SplitResult, url: str, deadline: float, private: bool) -> socket.socket:
    """A connection to the first address of the host that accepts one; every one of them must be allowed."""
    port = parts.port or (443 if parts.scheme == "https" else 80)
    answers = socket.getaddrinfo(parts.hostname, port, type=socket.SOCK_STREAM)
    addresses = [str(answer[4][0]) for answer in answers]
    for address in addresses:
        if not (private or is_public(ipaddress.ip_address(address.partition("%")[0]))):
            raise ImageError(
                f"cannot fetch {url!r}: {address} is not a public address. "
                "Pass allow_private_addresses=True if you mean it."
            )
    failure = OSError("the host has no address")
    for address in addresses:
        try:
            return socket.create_connection((address, port), timeout=max(deadline - time.monotonic(), 0.01))
        except OSError as error:
            failure = error
    raise failure


def _answer(
    connection: socket.socket, parts: SplitResult, url: str, deadline: float, max_bytes: int
) -> bytes:
    """Send the request and collect the body; a watchdog hangs up at the deadline, whatever is going on then."""
    assert parts.hostname is not None  # noqa: S101 - checked by _checked_parts
    if parts.scheme == "https":
        connection = ssl.create_default_context().wrap_socket(
            connection, server_hostname=parts.hostname, do_handshake_on_connect=False
        )
    watchdog = threading.Timer(deadline - time.monotonic(), _hang_up, [connection])
    watchdog.daemon = True
    watchdog.start()
    try:
        if isinstance(connection, ssl.SSLSocket):
            connection.do_handshake()
        client = http.client.HTTPConnection(parts.hostname, parts.port)
        client.sock = connection
        path = quote(
            (parts.path or "/") + (f"?{parts.query}" if parts.query else ""), safe="/?%:=&~+!$,;'@()*[]"
        )
        client.request("GET", path, headers={"Accept": "image/*", "User-Agent": "ggt-hub"})
        with client.getresponse() as response:
            return _body(response, url, deadline, max_bytes)
    finally:
        watchdog.cancel()
        connection.close()


def _hang_up(connection: socket.socket) -> None:
    with contextlib.suppress(OSError):
        connection.shutdown(socket.SHUT_RDWR)


def _body(response: http.client.HTTPResponse, url: str, deadline: float, max_bytes: int) -> bytes:
    if 300 <= response.status < 400:
        place = response.getheader("Location", "elsewhere")
        raise ImageError(
            f"cannot fetch {url!r}: it redirects to {place!r}. Give that address if you trust it."
        )
    if response.status != 200:
        raise ImageError(f"cannot fetch {url!r}: the server answers {response.status} {response.reason}.")
    announced = int(response.getheader("Content-Length") or 0)
    body = bytearray()
    while announced <= max_bytes and len(body) <= max_bytes:
        chunk = response.read1(_CHUNK)
        if not chunk:
            break
        body += chunk
    else:
        limit = f"{max_bytes / 1e6:,.1f} MB"
        raise ImageError(f"cannot fetch {url!r}: it is larger than {limit}. Raise max_bytes if you trust it.")
    if time.monotonic() >= deadline:
        raise TimeoutError
    if len(body) < announced:
        raise OSError(f"the connection broke after {len(body):,} of {announced:,} bytes")
    return bytes(body)
