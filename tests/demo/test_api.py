"""The endpoints as `gradio_client` meets them, and what a visitor may not do."""

import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import numpy as np
import pytest
from gradio_client import Client, handle_file
from gradio_client.exceptions import AppError
from PIL import Image

from ggt_hub import metrics
from ggt_hub.degradations import degrade
from ggt_hub.images import read_image, write_image
from ggt_hub.pipelines import RestorerPipeline
from ggt_hub.samples import load_samples
from tests.photographs import photograph


@pytest.fixture(scope="module")
def client(url: str, tmp_path_factory: pytest.TempPathFactory) -> Client:
    return Client(url, download_files=tmp_path_factory.mktemp("downloads"), verbose=False)


@pytest.fixture(scope="module")
def pipe() -> RestorerPipeline:
    return RestorerPipeline.from_pretrained("compact")


def pixels(path: str | Path) -> np.ndarray:
    return np.asarray(read_image(Path(path)))


def test_the_four_endpoints_are_named_and_described(url: str) -> None:
    endpoints = httpx.get(f"{url}gradio_api/info").json()["named_endpoints"]
    assert set(endpoints) == {"/restore", "/degrade", "/compare", "/pair"}
    assert [p["parameter_name"] for p in endpoints["/restore"]["parameters"]] == [
        "photo", "task", "model", "upscale", "seed", "strength", "quality",
    ]  # fmt: skip
    assert "Restore a photograph" in endpoints["/restore"]["description"]
    assert all(endpoint["description"] for endpoint in endpoints.values())


def test_restore_gives_the_bytes_of_the_pipeline(client: Client, pipe: RestorerPipeline, noisy: Path) -> None:
    (before, after), file, note = client.predict(photo=handle_file(noisy), strength=0.7, api_name="/restore")
    expected = np.asarray(pipe(noisy, strength=0.7).images[0])
    assert np.array_equal(pixels(file), expected)
    assert np.array_equal(pixels(after), expected)
    assert np.array_equal(pixels(before), pixels(noisy))
    assert Path(file).suffix == ".png"
    assert "160 x 128 pixels" in note
    assert "noise sigma" in note


def test_restore_keeps_sixteen_bits(client: Client, pipe: RestorerPipeline, tmp_path: Path) -> None:
    deep = write_image(photograph(64).astype(np.uint16) * 257 + 3, tmp_path / "deep.tif")
    _, file, _ = client.predict(photo=handle_file(deep), api_name="/restore")
    expected = read_image(deep).with_rgb(pipe(deep, output_type="np").images[0])
    assert pixels(file).dtype == np.uint16
    assert np.array_equal(pixels(file), np.asarray(expected))


def test_restore_enlarges_and_shows_both_at_one_size(client: Client, noisy: Path) -> None:
    (before, after), file, _ = client.predict(photo=handle_file(noisy), upscale=2, api_name="/restore")
    assert Image.open(before).size == Image.open(after).size == Image.open(file).size == (320, 256)


def test_degrade_gives_the_record_of_its_picture(client: Client, noisy: Path) -> None:
    file, record = client.predict(
        photo=handle_file(noisy), damage="noise", severity=0.4, seed=7, api_name="/degrade"
    )
    expected, expected_record = degrade(noisy, "noise", severity=0.4, seed=7)
    assert np.array_equal(pixels(file), np.asarray(expected))
    assert json.loads(record) == expected_record


def test_compare_scores_each_setting_against_the_clean_picture(
    client: Client, pipe: RestorerPipeline, noisy: Path, tmp_path: Path
) -> None:
    clean = write_image(photograph(160)[:128], tmp_path / "clean.png")
    gallery, table = client.predict(
        photo=handle_file(noisy),
        clean=handle_file(clean),
        tasks=["automatic", "noise"],
        strengths=[1.0],
        api_name="/compare",
    )
    captions = ["before", "compact, automatic, strength 1", "compact, noise, strength 1"]
    assert [entry["caption"] for entry in gallery] == captions
    assert [row[0] for row in table["data"]] == captions
    pictures = [pixels(noisy), *(np.asarray(pipe(noisy, task=t).images[0]) for t in (None, "noise"))]
    psnr = metrics.compute(["psnr"], pictures, [pixels(clean)] * 3)["psnr"]
    assert [row[1] for row in table["data"]] == [round(float(score), 2) for score in psnr]


def test_pair_browses_and_filters(client: Client) -> None:
    (lq, gt), note, position = client.predict(source="samples", task="compression", api_name="/pair")
    sample = next(sample for sample in load_samples() if sample.task == "compression")
    assert np.array_equal(pixels(lq), np.asarray(sample.image))
    assert np.array_equal(pixels(gt), np.asarray(sample.clean))
    assert note.startswith("**1 of 2** · `china` · compression")
    _, note, position = client.predict(source="samples", position=8, api_name="/pair")
    assert position == 2, "six pairs: the eighth is the second again"


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("notes.png", b"no picture at all", "notes.png"),
        ("cut.png", None, "cut.png"),
        ("large.png", "large", "0.4 megapixels, the limit is 0.3."),
    ],
)
def test_what_cannot_be_read_is_named_with_its_reason(
    client: Client, noisy: Path, tmp_path: Path, name: str, content: bytes | str | None, message: str
) -> None:
    path = tmp_path / name
    if content == "large":
        Image.new("RGB", (700, 600)).save(path)
    else:
        path.write_bytes(content or noisy.read_bytes()[:2000])
    with pytest.raises(AppError, match=message) as raised:
        client.predict(photo=handle_file(path), api_name="/restore")
    assert "gradio" not in str(raised.value), "the message tells a path of the server"
    assert "max_pixels" not in str(raised.value)


@pytest.mark.parametrize(
    ("endpoint", "arguments", "message"),
    [
        ("/restore", {"photo": None}, "there is no picture yet"),
        (
            "/restore",
            {"upscale": 4},
            "the result would have 0.3 megapixels, the limit is 0.31: enlarge it less",
        ),
        ("/restore", {"model": "org/other"}, "org/other"),
        ("/restore", {"task": "snow"}, "snow"),
        ("/compare", {"tasks": []}, "asks for 0 results"),
        ("/compare", {"tasks": ["noise", "blur"], "strengths": [0.25, 0.5, 0.75, 1.0]}, "asks for 8 results"),
        ("/pair", {"source": "/etc"}, "/etc"),
        ("/pair", {"source": "samples", "task": "rain"}, "samples has no pairs of the task 'rain'"),
    ],
)
def test_what_cannot_be_done_is_said(
    client: Client, noisy: Path, endpoint: str, arguments: dict, message: str
) -> None:
    given = {} if endpoint == "/pair" else {"photo": handle_file(noisy)}
    with pytest.raises(AppError, match=message):
        client.predict(**{**given, **arguments}, api_name=endpoint)


def test_a_file_over_the_limit_is_refused(url: str) -> None:
    answer = httpx.post(f"{url}gradio_api/upload", files={"files": ("big.png", b"0" * 1_100_000)})
    assert answer.status_code == 413
    assert "maximum allowed size" in answer.text


def test_a_restoration_over_the_time_limit_is_given_up(serve, noisy: Path) -> None:
    with serve(time_limit=0.0) as address, pytest.raises(AppError, match="longer than 0 seconds"):
        Client(address, verbose=False).predict(photo=handle_file(noisy), api_name="/restore")


@pytest.mark.parametrize("endpoint", ["/restore", "/degrade", "/compare"])
def test_no_address_is_fetched_in_place_of_a_picture(client: Client, endpoint: str) -> None:
    with pytest.raises(AppError, match="Addresses are not fetched"):
        client.predict(photo=handle_file("https://example.com/x.png"), api_name=endpoint)


def test_no_address_is_fetched_in_place_of_a_word(url: str) -> None:
    file = {"path": "https://example.com/x.png", "meta": {"_type": "gradio.FileData"}}
    event = httpx.post(f"{url}gradio_api/call/pair", json={"data": [file, "any", 1]}).json()["event_id"]
    answer = httpx.get(f"{url}gradio_api/call/pair/{event}").text
    assert "Addresses are not fetched" in answer


@pytest.mark.parametrize(
    "path",
    [
        "file=https://example.com/x.png",
        "file=http%3A//example.com/x.png",
        "proxy=https://example.com/x.png",
        "deep_link?session_hash=1",
        "file=/etc/hostname",
        f"file={Path(__file__)}",
        f"file={Path.cwd() / 'pyproject.toml'}",
        "file=../../../etc/hostname",
    ],
)
def test_other_files_and_addresses_are_closed(url: str, path: str) -> None:
    assert httpx.get(f"{url}gradio_api/{path}").status_code in (403, 404)


def test_a_file_of_the_server_is_no_picture(client: Client, url: str) -> None:
    file = {"path": "/etc/hostname", "meta": {"_type": "gradio.FileData"}}
    data = [file, "noise", 0.5, 0]
    event = httpx.post(f"{url}gradio_api/call/degrade", json={"data": data}).json()["event_id"]
    answer = httpx.get(f"{url}gradio_api/call/degrade/{event}").text
    assert "event: error" in answer
    assert "event: complete" not in answer


def test_visitors_wait_for_each_other_and_get_their_own(url: str, pipe: RestorerPipeline, tmp_path) -> None:
    files = [write_image(photograph(96)[:, :: 1 - 2 * n], tmp_path / f"{n}.png") for n in range(2)]

    def restored(path: Path) -> np.ndarray:
        client = Client(url, verbose=False, download_files=tmp_path / path.stem)
        return pixels(client.predict(photo=handle_file(path), api_name="/restore")[1])

    with ThreadPoolExecutor(2) as pool:
        results = list(pool.map(restored, files))
    for path, result in zip(files, results, strict=True):
        assert np.array_equal(result, np.asarray(pipe(path).images[0]))


def test_a_full_queue_says_so(serve, noisy: Path) -> None:
    with serve(queue_size=0) as address, pytest.raises(Exception, match=r"(?i)queue is full"):
        Client(address, verbose=False).predict(photo=handle_file(noisy), api_name="/restore")


def call(url: str, endpoint: str, data: list) -> str:
    event = httpx.post(f"{url}gradio_api/call/{endpoint}", json={"data": data}).json()["event_id"]
    return httpx.get(f"{url}gradio_api/call/{endpoint}/{event}", timeout=60).text


def sent(url: str, path: Path) -> dict:
    (stored,) = httpx.post(f"{url}gradio_api/upload", files={"files": (path.name, path.read_bytes())}).json()
    return {"path": stored, "meta": {"_type": "gradio.FileData"}}


def test_null_and_missing_values_are_those_of_the_page(client: Client, url: str, noisy: Path) -> None:
    _, file, _ = client.predict(photo=handle_file(noisy), api_name="/restore")
    for data in ([None] * 5, []):
        answer = call(url, "restore", [sent(url, noisy), *data])
        assert "event: complete" in answer
        stored = json.loads(answer.partition("data: ")[2].splitlines()[0])[1]
        assert np.array_equal(pixels(fetched(stored["url"], noisy.parent)), pixels(file))
    for endpoint in ("degrade", "compare"):
        assert "event: complete" in call(url, endpoint, [sent(url, noisy)])
    assert "event: complete" in call(url, "pair", [])


def fetched(address: str, folder: Path) -> Path:
    path = folder / "fetched.png"
    path.write_bytes(httpx.get(address).content)
    return path


@pytest.mark.parametrize(
    ("position", "value", "message"),
    [
        (0, "photo.jpg", "Photograph: give a file that was uploaded"),
        (1, {"a": 1}, "is not in the list of choices"),
        (5, "much", "Strength: give a number, not 'much'"),
        (5, 7, "maximum value 1"),
        (3, 9, "is not in the list of choices"),
        (4, True, "Seed: give a number, not 'True'"),
        (4, -1, "minimum value 0"),
    ],
)
def test_values_of_another_kind_are_refused_in_words(
    url: str, noisy: Path, position: int, value: object, message: str
) -> None:
    data = [sent(url, noisy), None, None, None, None, None]
    data[position] = value
    answer = call(url, "restore", data)
    assert "event: error" in answer
    assert message in answer.replace("\\", "")


@pytest.mark.parametrize(
    "host", ["evil.example", "localhost.evil.example", "127.0.0.1.evil.example:7860", ""]
)
def test_calls_under_a_foreign_name_are_refused(url: str, host: str) -> None:
    answer = httpx.get(url, headers={"Host": host})
    assert answer.status_code == 400
    assert "not called by that name" in answer.text


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST:7860", "127.0.0.1", "[::1]:7860", "192.168.1.5"])
def test_calls_under_its_own_names_and_addresses_are_answered(url: str, host: str) -> None:
    assert httpx.get(f"{url}gradio_api/info", headers={"Host": host}).status_code == 200


def test_a_name_that_was_added_is_answered(serve) -> None:
    with serve(hosts=("photos.example",)) as address:
        for host, expected in (("photos.example", 200), ("other.example", 400)):
            assert httpx.get(f"{address}gradio_api/info", headers={"Host": host}).status_code == expected


def test_a_visitor_sends_so_many_files_and_no_more(serve) -> None:
    with serve(max_uploads=3) as address:

        def send(count: int) -> int:
            files = [("files", (f"{n}.png", b"0" * 100)) for n in range(count)]
            return httpx.post(f"{address}gradio_api/upload", files=files).status_code

        assert [send(2), send(1), send(1), send(1)] == [200, 200, 429, 429]
    with serve(max_uploads=3) as address:
        answer = httpx.post(
            f"{address}gradio_api/upload", files=[("files", (f"{n}.png", b"0")) for n in range(9)]
        )
        assert answer.status_code == 429
        assert "at most 3 files within 10 minutes: come back later" in answer.text
