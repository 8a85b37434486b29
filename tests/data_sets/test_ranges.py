"""Ranges of files on the local Hub: exact bytes whatever happens to the connection, and the token kept at home."""

import ssl
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
import trustme

from ggt_hub.data.storage import ranges
from ggt_hub.data.storage.ranges import HubSource, SourceFile, open_source
from ggt_hub.errors import DatasetError, HubError

DATA = bytes(range(256)) * 2000


@pytest.fixture
def source(hub, tmp_path, monkeypatch):
    monkeypatch.setattr(ranges, "PAUSES", (0.0, 0.001, 0.001, 0.001, 0.001))
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "a b.zip").write_bytes(DATA)
    (tmp_path / "folder" / "small.txt").write_bytes(b"0123456789")
    commit = hub.add("dataset", "org/data", tmp_path)
    return HubSource(f"hf://datasets/org/data@{commit}/folder/a b.zip")


def test_ranges_are_exact_and_the_address_is_asked_for_once(source, hub):
    assert source.size == len(DATA)
    for start, stop in ((0, 1), (1000, 70_000), (len(DATA) - 5, len(DATA))):
        assert source.read(start, stop) == DATA[start:stop]
    assert [request.method for request in hub.requests if request.host == "hub"].count("HEAD") == 1


def test_small_files_come_from_the_hub_itself(source, hub):
    small = HubSource(source.uri.replace("a b.zip", "small.txt"))
    assert small.read(2, 5) == b"234"


def test_a_cut_connection_is_taken_up_where_it_broke(source, hub):
    hub.break_next("Signature", drop_after=60_000, times=3)
    assert source.read(100, 400_100) == DATA[100:400_100]
    starts = [int(r.range[6:].partition("-")[0]) for r in hub.asked("Signature")]
    assert starts == [100, 60_100, 120_100, 180_100]


def test_an_expired_link_is_renewed(source, hub):
    hub.expire_links()
    assert source.read(0, 10) == DATA[:10]
    assert [r.status for r in hub.asked("Signature")] == [403, 206]


@pytest.mark.parametrize("status", [429, 500, 503])
def test_busy_servers_are_asked_again(source, hub, status):
    hub.break_next("Signature", status=status, times=3)
    assert source.read(5, 9) == DATA[5:9]
    hub.break_next("Signature", status=status, times=1000)
    with pytest.raises(HubError, match=rf"bytes 5 to 9 .*\(status {status}\): try again later"):
        source.read(5, 9)


def test_a_window_is_one_request_and_windows_share_a_connection(source, hub):
    source.read(0, 1)
    connections = hub.connections
    for start in range(0, 400_000, 100_000):
        with source.window(start, start + 90_000) as window:
            assert window.read(start, start + 10) == DATA[start : start + 10]
            assert window.read(start + 20, start + 89_000) == DATA[start + 20 : start + 89_000]
    assert len(hub.asked("Signature")) == 1 + 4
    assert hub.connections == connections


def test_a_window_can_be_left_on_either_side(source, hub):
    with source.window(1000, 2000) as window:
        for start, stop in ((1500, 1600), (1200, 1300), (1900, 2500), (300_000, 300_100)):
            assert window.read(start, stop) == DATA[start:stop]
    with pytest.raises(DatasetError, match="ends before byte 512001"):
        source.read(0, len(DATA) + 1)


def test_a_server_without_ranges_is_refused_with_the_way_out(source, hub):
    hub.break_next("Signature", whole=True, times=2)
    assert source.read(0, 10) == DATA[:10]
    with pytest.raises(DatasetError, match=r"127\.0\.0\.1:\d+ does not serve ranges: .*data_dir="):
        source.read(1, 10)


def test_slow_answers_are_waited_for(source, hub):
    hub.break_next("Signature", delay=0.3)
    assert source.read(0, 4) == DATA[:4]


def test_the_token_goes_to_the_hub_alone(source, hub, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "hf_member")
    at_store = source._headers(source._address)
    assert "authorization" not in at_store
    assert source._headers(source._page)["authorization"] == "Bearer hf_member"


class Secure(BaseHTTPRequestHandler):
    """Serves ranges of `DATA`."""

    protocol_version = "HTTP/1.1"

    def do_GET(self):
        start, stop = map(int, self.headers["Range"].removeprefix("bytes=").split("-"))
        self.send_response(206)
        self.send_header("Content-Length", str(stop + 1 - start))
        self.end_headers()
        self.wfile.write(DATA[start : stop + 1])

    def log_message(self, *_):
        pass


def test_the_authorities_of_the_system_are_trusted_and_no_others(source, tmp_path, monkeypatch):
    authority = trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost").configure_cert(context)
    with ThreadingHTTPServer(("127.0.0.1", 0), Secure) as server:
        server.socket = context.wrap_socket(server.socket, server_side=True)
        threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        source._address = f"https://localhost:{server.server_port}/a.zip"
        with pytest.raises(HubError, match="CERTIFICATE_VERIFY_FAILED"):
            source.read(0, 10)
        authority.cert_pem.write_to_path(str(tmp_path / "authority.pem"))
        monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "authority.pem"))
        ranges._session.cache_clear()
        assert source.read(7, 300_000) == DATA[7:300_000]
        server.shutdown()
    ranges._session.cache_clear()


def test_missing_files_and_truncated_copies_are_named(source, hub, tmp_path):
    with pytest.raises(HubError, match=r"org/data"):
        open_source(source.uri.replace("a b", "absent"))
    with pytest.raises(DatasetError, match=r"absent\.zip cannot be opened"):
        open_source(str(tmp_path / "absent.zip"))
    (tmp_path / "short").write_bytes(b"123")
    with pytest.raises(DatasetError, match="truncated"):
        open_source(str(tmp_path / "short")).read(0, 10)


def test_a_source_is_a_file(tmp_path):
    (tmp_path / "x").write_bytes(DATA)
    file = SourceFile(open_source(str(tmp_path / "x")))
    file.seek(-10, 2)
    assert (file.tell(), file.read()) == (len(DATA) - 10, DATA[-10:])
    file.seek(7)
    assert file.read(5) == DATA[7:12]
    assert file.read(0) == b""


def test_a_replaced_file_is_read_anew(tmp_path):
    path = tmp_path / "x"
    path.write_bytes(b"before")
    assert open_source(str(path)).read(0, 6) == b"before"
    (tmp_path / "y").write_bytes(b"after!")
    (tmp_path / "y").replace(path)
    assert open_source(str(path)).read(0, 6) == b"after!"
