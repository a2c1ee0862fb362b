"""The console's page: nothing from another origin, whatever is in front of the API."""

import re
from pathlib import Path

import api
from tests.api.conftest import BUCKET, Platform


def test_a_browser_gets_the_console_where_clients_of_the_guidance_post(platform: Platform) -> None:
    page = platform.api.get("/")
    assert (page.status_code, page.headers["content-type"]) == (200, "text/html; charset=utf-8")
    assert "<title>Darkroom</title>" in page.text
    assert platform.api.request("HEAD", "/").status_code == 200
    for path in re.findall(r'(?:src|href)="(console/[^"]+)"', page.text):
        assert platform.api.get(f"/{path}").status_code == 200


def test_the_page_may_load_nothing_but_itself_and_pictures(platform: Platform) -> None:
    policy = dict(part.split(" ", 1) for part in platform.api.get("/").headers["content-security-policy"].split("; "))
    pictures = f"https://{BUCKET}.s3.amazonaws.com"
    assert policy == {
        "default-src": "'none'",
        "script-src": "'self'",
        "style-src": "'self'",
        "connect-src": f"'self' {pictures}",
        "img-src": f"'self' data: {pictures}",
        "media-src": pictures,
        "base-uri": "'self'",
        "form-action": "'none'",
        "frame-ancestors": "'none'",
    }
    link = platform.aws.s3.generate_presigned_url("get_object", Params={"Bucket": BUCKET, "Key": "a.png"})
    assert link.startswith(pictures + "/"), "the pictures' links are of the origin that the policy allows"


def test_nothing_in_the_page_is_from_another_origin_or_inline() -> None:
    files = {path.name: path.read_text() for path in (Path(api.__file__).parent / "console").iterdir()}
    assert {Path(name).suffix for name in files} == {".html", ".js", ".css", ".svg"}
    namespace = "http://www.w3.org/2000/svg"
    assert not [name for name, text in files.items() if re.search(r"https?://|//\w", text.replace(namespace, ""))]
    assert not [
        name for name, text in files.items() if re.search(r"innerHTML|insertAdjacentHTML|document\.write", text)
    ]
    assert not re.search(r'<style|<script(?! src)|\son\w+="|\sstyle="', files["index.html"])


def test_a_browser_asks_whether_the_modules_that_it_has_are_the_newest(platform: Platform) -> None:
    answer = platform.api.get("/console/form.js")
    assert answer.headers["cache-control"] == "no-cache"
    again = platform.api.get("/console/form.js", headers={"If-None-Match": answer.headers["etag"]})
    assert (again.status_code, again.headers["cache-control"]) == (304, "no-cache")


def test_other_files_are_not_served(platform: Platform) -> None:
    for path in ("/console/../settings.py", "/console/%2e%2e/settings.py", "/console/"):
        assert platform.api.get(path).status_code == 404
