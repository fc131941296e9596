"""A server that speaks chat completions on loopback, and fails as it is told."""

import json
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Server(ThreadingHTTPServer):
    """Speaks chat completions on loopback.

    `script` decides by question and attempt: (status, body), (0, "") for an answer that is cut off under way, None for the usual answer,
    which `text` makes of the request. `num_answered` counts by question the whole answers: what a real server would charge.
    """

    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.requests: list[dict] = []
        self.keys: set[str] = set()
        self.in_flight = self.most_in_flight = 0
        self.delay = lambda question: 0.0
        self.script = lambda question, attempt: None
        self.text = lambda request: f"  Answer to {request['messages'][-1]['content']}\n"
        self.question_of = lambda request: request["messages"][-1]["content"]
        self.num_answered: Counter[str] = Counter()
        self.lock = threading.Lock()

    @property
    def questions(self) -> list[str]:
        return [self.question_of(request) for request in self.requests]


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_POST(self):
        request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        server = self.server
        question = server.question_of(request)
        with server.lock:
            server.requests.append(request)
            server.keys.add(self.headers["Authorization"])
            server.in_flight += 1
            server.most_in_flight = max(server.most_in_flight, server.in_flight)
            attempt = server.questions.count(question)
        time.sleep(server.delay(question))
        status, body = (404, "no such path") if self.path != "/v1/chat/completions" else server.script(question, attempt) or (200, answer())
        if isinstance(body, dict) and "choices" in body and body["choices"][0]["message"]["content"] is None:
            body["choices"][0]["message"]["content"] = server.text(request)
            server.num_answered[question] += 1
        with server.lock:
            server.in_flight -= 1
        data = (body if isinstance(body, str) else json.dumps(body)).encode()
        if status == 0:
            self.send_response(200)
            self.send_header("Content-Length", "1000")
            self.end_headers()
            self.wfile.write(b'{"choices": [')
            self.close_connection = True
            return
        self.send_response(status)
        self.send_header("Content-Type", "text/plain" if isinstance(body, str) and body[:1] != "{" else "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.send_header("retry-after-ms", "1")
        self.end_headers()
        with suppress(OSError):  # the client may have given up
            self.wfile.write(data)

    def log_message(self, *arguments):
        """Keeps the test's output clean."""


def answer(text: str | None = None, finish_reason: str = "stop", usage: tuple[int, int] | None = (10, 20)) -> dict:
    """A chat completion; without a text, the handler writes the usual one."""
    message = {"role": "assistant", "content": text}
    completion = {"id": "1", "object": "chat.completion", "created": 0, "model": "m-0613"}
    completion["choices"] = [{"index": 0, "message": message, "finish_reason": finish_reason}]
    if usage:
        completion["usage"] = {"prompt_tokens": usage[0], "completion_tokens": usage[1], "total_tokens": sum(usage)}
    return completion


def error(message: str) -> dict:
    return {"error": {"message": message, "type": "invalid_request_error", "code": None}}


@contextmanager
def running(server: Server) -> Iterator[Server]:
    """Serves until the block ends."""
    with server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()
