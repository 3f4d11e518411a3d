"""The server answers its own page and refuses all other requests."""

import http.client
import json
import socket
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from cpm_fast.labeling.table import LabelTable
from support.labeling import SKELETON, Inside, draw_pictures, make_beetles


@pytest.fixture(scope="module")
def beetles(tmp_path_factory):
    return make_beetles(tmp_path_factory.mktemp("served") / "beetles")


@pytest.fixture(scope="module")
def served(beetles):
    with Inside(beetles) as served:
        yield served


def ask(
    served: Inside, path: str, method: str = "GET", body: bytes | str | None = None, headers: dict | None = None
) -> tuple[int, bytes, dict[str, str]]:
    connection = http.client.HTTPConnection("127.0.0.1", served.port, timeout=20)
    given = {"content-type": "application/json"} if body is not None else {}
    connection.request(method, path, body, {**given, **(headers or {})})
    answer = connection.getresponse()
    result = answer.status, answer.read(), {name.lower(): value for name, value in answer.getheaders()}
    connection.close()
    return result


def api(served: Inside, path: str) -> str:
    return f"/{served.token}/api/{path}"


def change(**values: object) -> str:
    return json.dumps({"base": "", "subjects": [], "state": None, **values})


def test_serves_the_page_and_the_folder(served):
    status, page, headers = ask(served, f"/{served.token}/")
    assert (
        status == 200
        and b"<title>cpm-fast label" in page
        and "default-src 'none'" in headers["content-security-policy"]
    )
    status, content, _ = ask(served, api(served, "folder"))
    assert status == 200 and len(json.loads(content)["pictures"]) == 6
    status, picture, headers = ask(served, api(served, "pictures/0/image"))
    assert status == 200 and picture.startswith(b"\x89PNG") and headers["content-type"] == "image/png"
    status, thumb, _ = ask(served, api(served, "pictures/0/thumb"))
    assert status == 200 and thumb.startswith(b"\xff\xd8")


def test_the_page_fetches_nothing_from_outside():
    from cpm_fast.labeling.server import page_files

    files = page_files()
    assert {"index.html", "style.css", "main.js", "view.js"} <= set(files)
    for name, content in files.items():
        without_namespaces = content.replace(b'xmlns="http://www.w3.org/2000/svg"', b"")
        assert b"://" not in without_namespaces and b"innerHTML" not in content, name


@pytest.mark.parametrize("token", ["", "x", "wrong", "wrong/", "../", "%2e%2e/", "%C3%A9", "%ff"])
def test_refuses_a_wrong_token(served, token):
    for path in ("api/folder", "", "api/pictures/0/image", "main.js"):
        status, body, _ = ask(served, f"/{token}/{path}")
        assert status in (400, 403) and b"run-" not in body


@pytest.mark.parametrize(
    "headers",
    [
        {"Host": "evil.example"},
        {"Host": "127.0.0.1"},
        {"Host": "127.0.0.1:1"},
        {"Origin": "http://evil.example"},
        {"Origin": "null"},
        {"Origin": "https://127.0.0.1"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
        {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Dest": "image"},
    ],
)
def test_refuses_other_origins(served, headers):
    status, body, _ = ask(served, api(served, "folder"), headers=headers)
    assert status == 403 and b"refused" in body
    status, _, _ = ask(served, api(served, "pictures/0"), "PUT", change(), headers)
    assert status == 403


def test_answers_its_own_origin(served):
    own = {"Origin": f"http://127.0.0.1:{served.port}", "Sec-Fetch-Site": "same-origin"}
    assert ask(served, api(served, "folder"), headers=own)[0] == 200
    link = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Dest": "document"}
    assert ask(served, f"/{served.token}/", headers=link)[0] == 200


def test_two_host_headers_are_refused(served):
    with socket.create_connection(("127.0.0.1", served.port)) as raw:
        host = f"Host: 127.0.0.1:{served.port}\r\n"
        raw.sendall(f"GET {api(served, 'folder')} HTTP/1.1\r\n{host}Host: evil\r\nConnection: close\r\n\r\n".encode())
        assert raw.recv(64).split()[1] in (b"400", b"403")


@pytest.mark.parametrize(
    "path",
    [
        "../labels.csv",
        "../../etc/passwd",
        "..%2f..%2fetc%2fpasswd",
        "%2e%2e/%2e%2e/etc/passwd",
        "....//etc/passwd",
        "skeleton.toml",
        "labels.csv",
        "api/pictures/../../skeleton.toml",
        "api/pictures/..%2f0/image",
        "api/pictures/-1/image",
        "api/pictures/6/image",
        "api/pictures/1e3/image",
        "api/pictures/0x1/image",
        "api/pictures/99999999999999999999999999/image",
        "api/pictures/run-000000.png/image",
        "main.js%00",
        "api/pictures//etc/passwd/image",
        "%5c..%5cskeleton.toml",
        "__init__.py",
    ],
)
def test_never_leaves_the_folder(served, path):
    status, body, _ = ask(served, f"/{served.token}/{path}")
    assert status in (400, 403, 404, 405), (status, body[:80])
    assert b"root:" not in body and b"names" not in body


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ("", 400),
        ("{", 400),
        ("[]", 400),
        ("null", 400),
        ("[" * 200_000, 400),
        ('{"base": 1, "subjects": []}', 400),
        (change(subjects=[{"points": [None]}]), 400),
        (change(subjects=[{"points": [[1, 2, 2]] * 9}]), 400),
        ('{"base": "", "subjects": [{"points": [[NaN, 1, 2], null, null, null]}], "state": null}', 400),
        (change(subjects=[{"points": [None] * 4}], state="empty"), 400),
        (change(subjects=[{"points": [None] * 4, "row": 0}] * 2, state="labeled"), 400),
        (change(subjects=[{"points": [None] * 4}] * 300, state="labeled"), 400),
        (change(subjects=[{"points": [None] * 4}], state="<b>"), 400),
        (b"\xff\xfe", 400),
        ("x" * (1 << 21), 413),
        (change(base="0" * 16), 409),
    ],
)
def test_refuses_bad_bodies(served, beetles, body, status):
    answer, text, _ = ask(served, api(served, "pictures/0"), "PUT", body)
    assert answer == status and b"Traceback" not in text
    assert not (beetles / "labels.csv").exists()


def test_refuses_forms_and_other_methods(served):
    form = {"content-type": "application/x-www-form-urlencoded"}
    assert ask(served, api(served, "pictures/0"), "PUT", "a=1", form)[0] == 415
    assert ask(served, api(served, "pictures/0"), "PUT", change(), {"content-type": "text/plain"})[0] == 415
    assert ask(served, api(served, "pictures/0"), "DELETE")[0] == 405
    assert ask(served, api(served, "pictures/0/predict"), "POST", "{}")[0] == 400


def test_huge_bodies_are_not_read(served):
    """The server answers long before an announced gigabyte has come."""
    with socket.create_connection(("127.0.0.1", served.port), timeout=20) as raw:
        head = f"PUT {api(served, 'pictures/0')} HTTP/1.1\r\nHost: 127.0.0.1:{served.port}\r\n"
        raw.sendall((head + "content-type: application/json\r\ncontent-length: 1000000000\r\n\r\n").encode())
        try:
            for _ in range(64):
                raw.sendall(b" " * 65536)
        except OSError:
            pass
        assert raw.recv(64).split()[1] == b"413"
    assert ask(served, api(served, "folder"))[0] == 200


def test_listens_on_this_machine_only(served):
    """The kernel's table of listening sockets names 127.0.0.1 for the port, and no other address."""
    try:
        rows = [line.split() for line in Path("/proc/net/tcp").read_text(encoding="ascii").splitlines()[1:]]
    except OSError:
        pytest.skip("no /proc/net/tcp here")
    listening = {row[1].split(":")[0] for row in rows if row[1].endswith(f":{served.port:04X}") and row[3] == "0A"}
    assert listening == {"0100007F"}


def test_a_second_server_is_refused_and_ctrl_c_is_fine(serve, tmp_path):
    folder = make_beetles(tmp_path / "beetles")
    first = serve(folder)
    command = [sys.executable, "-m", "cpm_fast", "label", str(folder), "--port", "0"]
    second = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert second.returncode == 1 and "another cpm-fast label serves this folder" in second.stderr
    assert first.stop() == 0


def test_pages_that_save_at_once_lose_nothing(tmp_path):
    """Each writer adds a subject to the picture that all share, beginning anew after a conflict, and labels its own."""
    writers, rounds = 6, 5

    def point(x: float) -> list[list[float] | None]:
        return [[x, 10, 2], None, None, None]

    def add(served: Inside, picture: int, x: float) -> int:
        """Add a subject to a picture; return the number of conflicts on the way."""
        for conflicts in range(200):
            status, content, _ = ask(served, api(served, f"pictures/{picture}"))
            there = json.loads(content)
            assert status == 200
            subjects = [*there["subjects"], {"points": point(x), "box": None, "row": None}]
            body = change(base=there["revision"], subjects=subjects, state="labeled")
            status, content, _ = ask(served, api(served, f"pictures/{picture}"), "PUT", body)
            if status == 200:
                return conflicts
            assert status == 409, content
        raise AssertionError("never saved")

    def write(served: Inside, writer: int) -> None:
        for turn in range(rounds):
            conflicts.append(add(served, 0, 10 * writer + turn))
            add(served, 1 + writer, turn)

    def read(path: Path) -> None:
        """Read the table as another program: its lines are whole at any instant."""
        while not ended.is_set():
            if path.exists():
                LabelTable(path, SKELETON)

    draw_pictures(tmp_path, 1 + writers)
    conflicts: list[int] = []
    ended = threading.Event()
    with Inside(tmp_path) as served, ThreadPoolExecutor(writers + 1) as pool:
        reader = pool.submit(read, tmp_path / "labels.csv")
        try:
            for done in [pool.submit(write, served, writer) for writer in range(writers)]:
                done.result()
        finally:
            ended.set()
        reader.result()
    table = LabelTable(tmp_path / "labels.csv", SKELETON)
    found = [[subject.points[0][0] for subject in table.subjects(f"run-{n:06d}.png")] for n in range(1 + writers)]
    assert sorted(found[0]) == sorted(10 * writer + turn for writer in range(writers) for turn in range(rounds))
    assert found[1:] == [list(range(rounds))] * writers
    assert sum(conflicts) > 0
    assert [path.name for path in tmp_path.glob(".*tmp")] == []
