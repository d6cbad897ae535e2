"""One job by the client that openapi-python-client generated as the module `generated`.

generated_journey.py URL KEY IMAGE AUDIO. Prints JSON.
"""

import json
import sys
import time
from pathlib import Path

import httpx
from generated import AuthenticatedClient
from generated.api.default import generate, get_result, get_status
from generated.models import GenerateBody
from generated.types import File

url, key, image, audio = sys.argv[1:]
with (
    AuthenticatedClient(base_url=url, token=key, timeout=httpx.Timeout(30)) as client,
    Path(image).open("rb") as portrait,
    Path(audio).open("rb") as voice,
):
    files = {
        "image": File(portrait, file_name="face.png"),
        "audio": File(voice, file_name="voice.wav"),
    }
    submitted = generate.sync(client=client, body=GenerateBody(**files, seed=7))
    job_id = submitted.data.job_id
    refused = generate.sync(client=client, body=GenerateBody(**files, seed=-1))
    while get_status.sync(job_id, client=client).data.status in ("pending", "processing"):
        time.sleep(0.1)
    result = get_result.sync(job_id, client=client).data
video = httpx.get(result.url, timeout=30)
seen = {
    "jobId": str(job_id),
    "refusal": refused.error.code,
    "type": video.headers["content-type"],
    "bytes": len(video.content),
}
json.dump(seen, sys.stdout)
