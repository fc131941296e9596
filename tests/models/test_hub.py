"""`hf upload FOLDER`, as users type it, to a hub of ours on loopback: all files of a model arrive, with a card that the hub reads."""

import base64
import json
import os
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import yaml

from apo_bench.models.card import OWN_LICENSE, Card
from apo_bench.models.language_model import save_model

NAME = "me/dpo-adversarial"
MUST_SAY = {"license", "library_name", "pipeline_tag", "tags"}


class _Hub(BaseHTTPRequestHandler):
    """What `hf upload` asks, answered as the hub does; files come with the commit, none by LFS."""

    received: dict[str, bytes]

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        endpoint, what = f"http://{self.headers['Host']}", self.path.partition("?")[0]
        if what == "/api/validate-yaml":
            head = yaml.safe_load(json.loads(body)["content"].split("---\n")[1])
            missing = sorted(MUST_SAY - set(head))
            self._answer({"errors": [{"message": f"no {name}"} for name in missing], "warnings": []}, 400 if missing else 200)
        elif what == "/api/repos/create":
            self._answer({"url": f"{endpoint}/{NAME}", "id": NAME, "name": NAME})
        elif what == f"/api/models/{NAME}/preupload/main":
            files = [{"path": file["path"], "uploadMode": "regular", "shouldIgnore": False} for file in json.loads(body)["files"]]
            self._answer({"files": files})
        elif what == f"/api/models/{NAME}/commit/main":
            parts = [json.loads(line) for line in body.splitlines()]
            self.received |= {part["value"]["path"]: base64.b64decode(part["value"]["content"]) for part in parts if part["key"] == "file"}
            self._answer({"success": True, "commitUrl": f"{endpoint}/{NAME}/commit/{'0' * 40}", "commitOid": "0" * 40, "hookOutput": ""})
        else:
            self._answer({"error": f"not asked before: {self.path}"}, 404)

    def _answer(self, value: dict[str, object], status: int = 200) -> None:
        content = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_: object) -> None:
        """Nothing is said."""


@pytest.fixture
def hub():
    """Its address, and what it has received: the bytes of each file."""
    received: dict[str, bytes] = {}
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Hub", (_Hub,), {"received": received}))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}", received
    server.shutdown()
    server.server_close()


def upload(folder: Path, address: str, home: Path) -> subprocess.CompletedProcess[str]:
    """Types the command of docs/mlflow.md."""
    environment = os.environ | {"HF_ENDPOINT": address, "HF_TOKEN": "hf_any", "HF_HOME": str(home), "HF_HUB_OFFLINE": "0"}
    command = [Path(sys.executable).with_name("hf"), "upload", NAME, folder]
    return subprocess.run(command, capture_output=True, text=True, check=False, env=environment)


def test_a_model_folder_is_uploaded_as_it_is(hub, tmp_path, model, tokenizer):
    address, received = hub
    folder = tmp_path / "policy"
    save_model(model, tokenizer, folder, Card("DPO, seed 0", "policy", "Trained by dpo.", "embedded", facts=OWN_LICENSE))
    done = upload(folder, address, tmp_path / "home")
    assert done.returncode == 0, done.stdout + done.stderr
    assert received == {file.name: file.read_bytes() for file in folder.iterdir()}
    assert {"README.md", "config.json", "generation_config.json", "model.safetensors", "tokenizer.json"} <= set(received)


def test_the_hub_of_these_tests_refuses_a_card_without_a_licence(hub, tmp_path):
    address, received = hub
    (tmp_path / "policy").mkdir()
    (tmp_path / "policy/README.md").write_text("---\ntags: [a]\n---\n# A\n")
    assert upload(tmp_path / "policy", address, tmp_path / "home").returncode != 0 and not received
