"""Where inputs may come from, and what a hostile URL gets."""

import gzip
import ipaddress
import socket
import threading
import time
from collections.abc import Iterator
from functools import cache
from typing import Any
from unittest.mock import Mock

import boto3
import pytest
from hypothesis import given
from hypothesis import strategies as st
from moto import mock_aws

from agent import inputs
from agent.errors import PermanentError, TransientError
from agent.inputs import Inputs, Limits
from contract.addresses import is_public, shown
from tests.agent.conftest import Site
from tests.agent.fuzz import fuzzed


@cache
def s3() -> Any:
    return boto3.client("s3", region_name="us-east-1", aws_access_key_id="test", aws_secret_access_key="test")


@cache
def unlimited() -> Inputs:
    return fetcher()


def fetcher(**limits: Any) -> Inputs:
    return Inputs(s3(), Limits(**limits))


@pytest.fixture
def buckets() -> Iterator[None]:
    """A bucket of ours and one of theirs, each with a picture."""
    with mock_aws():
        for name in ("ours", "theirs"):
            s3().create_bucket(Bucket=name)
            s3().put_object(Bucket=name, Key="a.png", Body=b"picture")
        yield


@pytest.fixture
def this_site_is_public(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let 127.0.0.1, and only that, pass for an address on the Internet."""
    monkeypatch.setattr(inputs, "is_public", lambda address: str(address) == "127.0.0.1" or is_public(address))


@pytest.mark.parametrize(
    ("address", "reason"),
    [
        ("127.0.0.1", "loopback"),
        ("127.255.255.254", "all of 127/8 is loopback"),
        ("0.0.0.0", "unspecified"),
        ("10.1.2.3", "private"),
        ("172.16.0.1", "private"),
        ("192.168.1.1", "private"),
        ("100.64.0.1", "carrier NAT, where clusters have pods"),
        ("169.254.169.254", "instance metadata"),
        ("169.254.170.23", "EKS Pod Identity"),
        ("192.0.2.1", "documentation"),
        ("224.0.0.1", "multicast"),
        ("240.0.0.1", "reserved"),
        ("255.255.255.255", "broadcast"),
        ("::", "unspecified"),
        ("::1", "loopback"),
        ("fe80::1", "link-local"),
        ("fec0::1", "site-local"),
        ("fd00:ec2::254", "instance metadata"),
        ("ff02::1", "multicast"),
        ("::ffff:127.0.0.1", "IPv4 in IPv6"),
        ("::ffff:169.254.169.254", "IPv4 in IPv6"),
        ("64:ff9b::a9fe:a9fe", "metadata through NAT64"),
        ("64:ff9b:1::a9fe:a9fe", "NAT64 of the site's own"),
        ("::127.0.0.1", "IPv4 in IPv6, as it once was"),
        ("fe80::1%eth0", "link-local, with its scope"),
        ("2606:4700::1111%eth0", "a scope makes any address local"),
        ("2002:a9fe:a9fe::1", "metadata through 6to4"),
        ("2620::5efe:a9fe:a9fe", "metadata through ISATAP"),
        ("2620::200:5efe:808:808", "ISATAP, which stays within a site whatever it says"),
        ("3fff::1", "documentation"),
        ("3fff:fff:ffff::1", "documentation"),
        ("5f00::1", "segment routing"),
        ("2001:0:4136:e378:8000:63bf:5601:5601", "metadata through Teredo"),
    ],
)
def test_addresses_that_are_not_on_the_internet(address: str, reason: str) -> None:
    assert not is_public(ipaddress.ip_address(address)), reason


@pytest.mark.parametrize("address", ["1.1.1.1", "52.95.110.1", "2606:4700::1111", "::ffff:1.1.1.1", "64:ff9b::101:101"])
def test_addresses_on_the_internet(address: str) -> None:
    assert is_public(ipaddress.ip_address(address))


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1/a",
        "http://2130706433/a",
        "http://0x7f000001/a",
        "http://0177.0.0.1/a",
        "http://127.1/a",
        "http://[::1]/a",
        "http://[::ffff:7f00:1]/a",
        "http://[::ffff:169.254.169.254]/latest/meta-data",
        "http://169.254.169.254/latest/meta-data",
        "http://0/a",
        "http://localhost/a",
        "https://127.0.0.1:8443/a",
        "http://user@127.0.0.1/a",
        "http://u:p@1.1.1.1/a",
        "http://1.1.1.1\\@127.0.0.1/a",
        "http://127.0.0.1\t/a",
        "http://①②⑦.⓪.⓪.①/a",
        "http://127。0。0。1/a",
        "http://[fe80::1%25lo]/a",
        "http://[::1%lo]/a",
        "http://[64:ff9b::7f00:1]/a",
        "http://[2002:7f00:1::]/a",
        "http://0x7f.0.0.1/a",
        "http://017700000001/a",
        "http://169.254.43518/a",
        "file:///etc/passwd",
        "ftp://example.com/a",
        "gopher://example.com/a",
        "FILE:///etc/passwd",
        "dict://127.0.0.1:11211/a",
        "ldap://127.0.0.1/a",
        "jar:http://127.0.0.1!/a",
        "data:text/plain,a",
        "//127.0.0.1/a",
        "http:127.0.0.1/a",
        "javascript:alert(1)",
        "\0http://127.0.0.1/a",
        "",
        "http:///a",
        "http://[bad/a",
        "http://a:99999/a",
        "s3://theirs/a.png",
        "s3://ours",
        "s3:///a.png",
        "s3://OURS/a.png",
        "s3://ours.evil/a.png",
        "s3://arn:aws:s3:us-east-1:1:accesspoint/ours/a.png",
        "s3://ours/jobs/j/job.json",
        "s3://ours/index/1~j",
        "s3://ours/outbox/j~1",
        "s3://ours//jobs/j/job.json",
        "s3://ours/uploads/../jobs/j/job.json",
        "s3://ours/./jobs/j/job.json",
        "s3://ours/../theirs/a.png",
    ],
)
def test_url_that_points_inside_is_refused_for_good(url: str) -> None:
    with pytest.raises(PermanentError) as caught:
        fetcher(buckets=frozenset({"ours"}), own_bucket="ours").fetch([url])
    assert caught.value.code == "input-not-allowed"


@pytest.mark.parametrize("address", ["10.0.0.1", "169.254.169.254", "::1"])
def test_name_of_a_private_address_is_refused(monkeypatch: pytest.MonkeyPatch, address: str) -> None:
    def resolve(host: str, port: int, **_: Any) -> list[Any]:
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port))]

    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    with pytest.raises(PermanentError, match=r"'rebind\.example' has no public address"):
        fetcher().fetch(["http://rebind.example/a"])


def test_name_is_looked_up_once_and_the_checked_address_is_what_is_connected_to(
    monkeypatch: pytest.MonkeyPatch, site: Site, this_site_is_public: None
) -> None:
    site.page("/a", b"here")
    port = int(site.url.rpartition(":")[2])
    answers = ["127.0.0.1", "169.254.169.254"]  # public when checked, private when used
    real = socket.getaddrinfo

    def resolve(host: Any, port: Any, *rest: Any, **more: Any) -> Any:
        return real(answers.pop(0) if host == "rebind.example" else host, port, *rest, **more)

    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    url = f"http://rebind.example:{port}/a"
    assert fetcher().fetch([url]) == {url: b"here"}
    assert answers == ["169.254.169.254"]


@pytest.mark.parametrize(
    "target",
    ["http://169.254.169.254/latest", "http://[::1]/", "file:///etc/passwd", "//10.0.0.1/", "s3://theirs/a.png"],
)
def test_redirect_to_where_it_would_not_go_itself_is_refused(
    site: Site, this_site_is_public: None, target: str
) -> None:
    with pytest.raises(PermanentError) as caught:
        fetcher().fetch([site.page("/a", status=302, Location=target)])
    assert caught.value.code == "input-not-allowed"


def test_redirects_are_followed_three_times(site: Site) -> None:
    site.page("/3", b"there")
    for number in (2, 1, 0):
        url = site.page(f"/{number}", status=307, Location=f"/{number + 1}")
    assert fetcher(allow_private=True).fetch([url]) == {url: b"there"}
    with pytest.raises(PermanentError, match="more than 3 redirects"):
        fetcher(allow_private=True).fetch([site.page("/x", status=301, Location="/0")])


@pytest.mark.parametrize(
    ("host", "allowed"),
    [
        ("good.example", True),
        ("a.wild.example", True),
        ("wild.example", False),
        ("evil-good.example", False),
        ("good.example.evil", False),
    ],
)
def test_hosts_that_are_not_listed_are_refused(monkeypatch: pytest.MonkeyPatch, host: str, allowed: bool) -> None:
    def unknown(*_: Any, **__: Any) -> Any:
        raise socket.gaierror(socket.EAI_NONAME, "unknown")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    with pytest.raises(PermanentError) as caught:
        fetcher(hosts=frozenset({"good.example", "*.wild.example"})).fetch([f"http://{host}/a"])
    # What is allowed gets as far as the look-up.
    assert caught.value.code == ("input-unavailable" if allowed else "input-not-allowed")


@pytest.mark.parametrize(("status", "kind"), [(404, PermanentError), (403, PermanentError), (503, TransientError)])
def test_answer_of_a_host_says_whether_to_come_again(site: Site, status: int, kind: type[Exception]) -> None:
    with pytest.raises(kind, match=f"HTTP {status}"):
        fetcher(allow_private=True).fetch([site.page("/a", status=status)])


def test_bytes_of_all_inputs_together_are_limited(site: Site) -> None:
    urls = [site.page(f"/{number}", b"x" * 40) for number in range(3)]
    assert len(fetcher(allow_private=True, max_bytes=120).fetch(urls)) == 3
    with pytest.raises(PermanentError, match="more than 119 bytes") as caught:
        fetcher(allow_private=True, max_bytes=119).fetch(urls)
    assert caught.value.code == "input-too-large"


def raw_server(answer: bytes, drip: bytes = b"") -> tuple[str, threading.Event]:
    """Serve one connection: send `answer`, then `drip` again and again until told to end or cut off."""
    listener = socket.create_server(("127.0.0.1", 0))
    ended = threading.Event()

    def serve() -> None:
        with listener, listener.accept()[0] as connection:
            connection.recv(65536)
            try:
                connection.sendall(answer)
                while drip and not ended.wait(0.05):
                    connection.sendall(drip)
            except OSError:
                ended.set()

    threading.Thread(target=serve, daemon=True).start()
    return f"http://127.0.0.1:{listener.getsockname()[1]}/a", ended


def test_endless_body_without_a_length_is_cut_at_the_limit() -> None:
    url, ended = raw_server(b"HTTP/1.1 200 OK\r\n\r\n", drip=b"x" * 10_000)
    with pytest.raises(PermanentError, match="more than 50000 bytes"):
        fetcher(allow_private=True, max_bytes=50_000).fetch([url])
    assert ended.wait(20), "the connection was closed"


@pytest.mark.parametrize(
    ("answer", "drip", "scheme"),
    [
        (b"HTTP/1.1 200 OK\r\nContent-Length: 99999\r\n\r\n", b"x", "http"),
        (b"HTTP/1.1 200 OK\r\nX: ", b"x", "http"),
        (b"", b"H", "http"),
        (b"\x16\x03\x03\x3f\xff", b"\2", "https"),
    ],
    ids=["body", "headers", "status", "TLS handshake"],
)
def test_sender_that_drips_is_cut_off_in_time(answer: bytes, drip: bytes, scheme: str) -> None:
    url, ended = raw_server(answer, drip)
    with pytest.raises(TransientError, match=r"no answer within 0\.5 s"):
        fetcher(allow_private=True, timeout_s=0.5).fetch([url.replace("http", scheme)])
    assert ended.wait(20), "the connection was closed"


def test_s3_that_drips_is_cut_off_in_time() -> None:
    url, ended = raw_server(b"HTTP/1.1 200 OK\r\nContent-Length: 9999999\r\n\r\n", b"x" * inputs._CHUNK_BYTES)
    slow = boto3.client(
        "s3", region_name="us-east-1", aws_access_key_id="t", aws_secret_access_key="t", endpoint_url=url[:-2]
    )
    with pytest.raises(TransientError, match=r"s3://ours/a\.png: no answer within 0\.5 s"):
        Inputs(slow, Limits(buckets=frozenset({"ours"}), timeout_s=0.5)).fetch(["s3://ours/a.png"])
    assert ended.wait(20), "the connection was closed"


def test_name_that_is_looked_up_for_ever_is_left_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    found = threading.Event()
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: found.wait(60) and [])
    with pytest.raises(TransientError, match=r"no answer within 0\.1 s"):
        fetcher(timeout_s=0.1).fetch(["http://slow.example/a"])
    assert not found.is_set()
    found.set()


def test_addresses_of_a_host_share_its_time_and_only_the_first_are_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [1000.0]
    tried: list[tuple[str, float]] = []

    def resolve(*_: Any, **__: Any) -> list[Any]:
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (f"1.1.1.{number}", 80)) for number in range(40)]

    def connect(address: tuple[str, int], timeout_s: float) -> Any:
        tried.append((address[0], timeout_s))
        now[0] += timeout_s
        raise TimeoutError

    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    monkeypatch.setattr(socket, "create_connection", connect)
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    for timeout_s, shares in [(60, [5, 5, 5, 5]), (12, [5, 5, 2])]:
        tried.clear()
        with pytest.raises(TransientError):
            fetcher(timeout_s=timeout_s).fetch(["http://many.example/a"])
        assert tried == [(f"1.1.1.{number}", share) for number, share in enumerate(shares)]


def test_half_a_body_is_no_input() -> None:
    url, _ = raw_server(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf")
    with pytest.raises(TransientError, match="IncompleteRead"):
        fetcher(allow_private=True).fetch([url])


def test_chunked_body_is_read_whole() -> None:
    url, _ = raw_server(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n")
    assert fetcher(allow_private=True).fetch([url]) == {url: b"abcde"}


def test_body_that_is_compressed_unasked_is_no_input(site: Site) -> None:
    bomb = gzip.compress(b"\0" * 10_000_000)
    site.pages["/a"] = 200, bomb, {"Content-Encoding": "gzip"}
    url = f"{site.url}/a"
    with pytest.raises(PermanentError, match="compresses what it sends"):
        fetcher(allow_private=True, max_bytes=100_000).fetch([url])


def test_announced_size_is_refused_before_anything_is_read() -> None:
    url, _ = raw_server(b"HTTP/1.1 200 OK\r\nContent-Length: 999999999999\r\n\r\n")
    with pytest.raises(PermanentError, match="more than 67108864 bytes"):
        fetcher(allow_private=True).fetch([url])


def test_more_than_was_announced_is_not_read() -> None:
    url, _ = raw_server(b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabcdef")
    assert fetcher(allow_private=True).fetch([url]) == {url: b"abc"}


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 1000 + b"\r\n",
        b"HTTP/1.1 200 OK\r\nX: " + b"y" * 100_000 + b"\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"SSH-2.0-OpenSSH_9.9\r\n",
        b"\0" * 100,
        b"",
    ],
    ids=["many headers", "a long header", "a broken chunk", "another protocol", "no text", "nothing"],
)
def test_answer_that_is_no_http_may_be_one_the_next_time(answer: bytes) -> None:
    url, _ = raw_server(answer)
    with pytest.raises(TransientError):
        fetcher(allow_private=True).fetch([url])


def test_url_cannot_smuggle_headers(site: Site) -> None:
    url = f"{site.url}/a HTTP/1.1\r\nX-Evil: 1\r\n\r\n"
    with pytest.raises(PermanentError, match="HTTP 404"):
        fetcher(allow_private=True).fetch([url])
    assert site.visits == ["/a%20HTTP/1.1X-Evil:%201"]


def test_host_that_is_listed_must_be_public_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(PermanentError, match="has no public address"):
        fetcher(hosts=frozenset({"localhost"})).fetch(["http://localhost/a"])


def test_redirect_to_a_host_that_is_not_listed_is_refused(site: Site) -> None:
    url = site.page("/a", status=302, Location="http://other.example/b")
    with pytest.raises(PermanentError, match=r"may not read from host 'other\.example'"):
        fetcher(allow_private=True, hosts=frozenset({"127.0.0.1"})).fetch([url])


@fuzzed
@given(
    url=st.text(max_size=30)
    | st.tuples(st.sampled_from(["http://", "https://", "s3://", "//"]), st.text()).map("".join)
)
def test_any_text_in_the_place_of_a_url_is_fetched_or_is_an_error_of_the_job(url: str) -> None:
    unknown = socket.gaierror(socket.EAI_NONAME, "unknown")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(socket, "getaddrinfo", Mock(side_effect=unknown))
        with pytest.raises(PermanentError) as caught:
            unlimited().fetch([url])
    assert caught.value.code in {"input-not-allowed", "input-unavailable"}


def test_url_that_is_named_twice_is_fetched_once(site: Site) -> None:
    url = site.page("/a", b"x")
    assert fetcher(allow_private=True).fetch([url, url]) == {url: b"x"}
    assert site.visits == ["/a"]


def test_spaces_in_a_url_are_encoded(site: Site) -> None:
    site.page("/a%20b.png?c=%20d", b"x")
    url = f"{site.url}/a b.png?c= d"
    assert fetcher(allow_private=True).fetch([url]) == {url: b"x"}


def test_records_of_jobs_are_reserved_in_the_output_bucket_alone(buckets: None) -> None:
    for key in ("uploads/u/a.png", "out/j/j-0000-1.png", "jobsite/a.png", "out/jobs/a.png"):
        s3().put_object(Bucket="ours", Key=key, Body=b"1")
        assert fetcher(buckets=frozenset({"ours"}), own_bucket="ours").fetch([f"s3://ours/{key}"])
    s3().put_object(Bucket="theirs", Key="jobs/a.png", Body=b"2")
    both = fetcher(buckets=frozenset({"ours", "theirs"}), own_bucket="ours")
    assert both.fetch(["s3://theirs/jobs/a.png"]) == {"s3://theirs/jobs/a.png": b"2"}


def test_s3_is_read_from_listed_buckets_only(buckets: None) -> None:
    ours = fetcher(buckets=frozenset({"ours"}))
    assert ours.fetch(["s3://ours/a.png"]) == {"s3://ours/a.png": b"picture"}
    with pytest.raises(PermanentError, match="NoSuchKey"):
        ours.fetch(["s3://ours/b.png"])
    with pytest.raises(PermanentError, match="more than 3 bytes"):
        fetcher(buckets=frozenset({"ours"}), max_bytes=3).fetch(["s3://ours/a.png"])


def test_what_is_told_of_a_url_holds_no_secrets() -> None:
    assert shown("https://u:p@host.example/a/b.png?X-Amz-Signature=abc#d") == "https://host.example/a/b.png"


def test_nothing_is_left_running_after_a_fetch(site: Site) -> None:
    before = threading.active_count()
    fetcher(allow_private=True).fetch([site.page("/a", b"x")])
    deadline = time.monotonic() + 20
    while threading.active_count() > before and time.monotonic() < deadline:
        time.sleep(0.02)
    assert threading.active_count() <= before
