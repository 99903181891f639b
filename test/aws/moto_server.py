"""moto on loopback, one request at a time.

Real S3, DynamoDB and Step Functions decide a conditional write atomically. moto's request threads do not, so that they
take turns here: what interleaves is the callers' requests, as with the services.

Prints its port, and ends when its input ends: with the test that started it.
"""

import sys
import threading

from moto.server import DomainDispatcherApplication, create_backend_app
from werkzeug.serving import WSGIRequestHandler, make_server


class Quiet(WSGIRequestHandler):
    """No access log."""

    def log(self, *_args: object) -> None:
        pass


application = DomainDispatcherApplication(create_backend_app)
turn = threading.Lock()


def in_turn(environ, start_response):
    """WSGI: the application, to one caller at a time."""
    with turn:
        return list(application(environ, start_response))


server = make_server("127.0.0.1", 0, in_turn, threaded=True, request_handler=Quiet)
threading.Thread(target=server.serve_forever, daemon=True).start()
print(server.port, flush=True)
sys.stdin.read()
