#!/usr/bin/env bash
# One job by curl: journey.sh URL KEY IMAGE AUDIO. Prints JSON.
set -euo pipefail
url=$1 auth="Authorization: Bearer $2"
refusal=$(curl -sH "$auth" -F "image=@$3" "$url/generate" | grep -oP '"code":"\K\w+')
job=$(curl -sfH "$auth" -F "image=@$3" -F "audio=@$4" -F seed=7 -F priority=high "$url/generate" | grep -oP '"job_id":"\K[^"]+')
curl -sfNH "$auth" "$url/events/$job" >/dev/null # Ends with the job.
link=$(curl -sfH "$auth" "$url/result/$job" | grep -oP '"url":"\K[^"]+')
video=$(curl -sf -o /dev/null -w '"type":"%{content_type}","bytes":%{size_download}' "$link")
echo "{\"jobId\":\"$job\",\"refusal\":\"$refusal\",$video}"
