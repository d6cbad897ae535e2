"""One job by a Python HTTP client: journey.py requests|httpx URL KEY IMAGE AUDIO. Prints JSON."""

import importlib
import json
import sys
import time
from pathlib import Path

library, url, key, image, audio = sys.argv[1:]
http = importlib.import_module(library)
headers = {"Authorization": f"Bearer {key}"}


def get(path: str) -> dict:
    """Return the data of an answer."""
    return http.get(url + path, headers=headers, timeout=30).json()["data"]


with Path(image).open("rb") as portrait:
    refused = http.post(f"{url}/generate", headers=headers, files={"image": portrait}, timeout=30)
with Path(image).open("rb") as portrait, Path(audio).open("rb") as voice:
    submitted = http.post(
        f"{url}/generate",
        headers=headers,
        files={"image": portrait, "audio": voice},
        data={"seed": "7", "priority": "high"},
        timeout=30,
    )
job_id = submitted.json()["data"]["job_id"]
while get(f"/status/{job_id}")["status"] in ("pending", "processing"):
    time.sleep(0.1)
video = http.get(get(f"/result/{job_id}")["url"], timeout=30)
seen = {
    "jobId": job_id,
    "refusal": refused.json()["error"]["code"],
    "type": video.headers["content-type"],
    "bytes": len(video.content),
}
json.dump(seen, sys.stdout)
