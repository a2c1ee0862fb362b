"""The chart repositories that the cluster reaches: a folder for each host, served under the host's name."""

import http.server
import ssl
import sys
from functools import partial
from pathlib import Path

from tests.e2e.cluster.places import NODE


class Handler(http.server.SimpleHTTPRequestHandler):
    """Serves the files below the folder of the host that is asked."""

    def translate_path(self, path: str) -> str:
        """Return the file that a request's path means."""
        host = self.headers["Host"].partition(":")[0]
        return super().translate_path(f"/{host}{path}")


def main(folder: Path, certificate: Path, key: Path) -> None:
    """Serve `folder` by HTTPS, until killed."""
    server = http.server.ThreadingHTTPServer((NODE, 443), partial(Handler, directory=str(folder)))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    server.serve_forever()


if __name__ == "__main__":
    main(*(Path(argument) for argument in sys.argv[1:4]))
