# The worker, in two targets: `preview` renders without a GPU, `gpu` with the video model.
#
#   docker build -f deploy/docker/sidecar.Dockerfile --target preview -t avatar-sidecar:preview .
#   docker build -f deploy/docker/sidecar.Dockerfile --target gpu -t avatar-sidecar:gpu .
#
# Only instructions that the classic builder and BuildKit share. The classic one builds every stage before its
# target, so `gpu`, which takes minutes, comes last.

ARG PYTHON_IMAGE=python:3.11-slim-bookworm

# The environment has no pip of its own: the builder's installs into it.
FROM ${PYTHON_IMAGE} AS builder
RUN python -m venv --without-pip /opt/venv

FROM builder AS preview-packages
COPY inference-sidecar/requirements-preview.lock /build/
RUN python -m pip --python /opt/venv/bin/python install --no-cache-dir --no-compile --no-deps --require-hashes \
      --only-binary :all: -r /build/requirements-preview.lock

FROM ${PYTHON_IMAGE} AS runtime
RUN apt-get update \
 && apt-get install -y --no-install-recommends tini \
 && rm -rf /var/lib/apt/lists/* /var/cache/apt /var/log/* \
 && python -c "import pathlib, shutil, pip; shutil.rmtree(pathlib.Path(pip.__file__).parent)" \
 && rm -f /usr/local/bin/pip* /usr/bin/pip* \
 && install -d -o 10001 -g 10001 -m 0700 /spool
WORKDIR /app
COPY LICENSE ./
ENV PATH=/opt/venv/bin:$PATH \
    PYTHONPATH=/app/src \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    SPOOL_DIR=/spool
STOPSIGNAL SIGTERM

FROM runtime AS preview
COPY --from=preview-packages /opt/venv /opt/venv
COPY inference-sidecar/src src
ENV ENGINE=preview
USER 10001:10001
ENTRYPOINT ["tini", "-s", "--"]
CMD ["python", "-m", "inference_sidecar"]
ARG REVISION=unknown
ARG VERSION=0.1.0
LABEL org.opencontainers.image.title="avatar-sidecar" \
      org.opencontainers.image.description="Renders talking-avatar videos, one job at a time" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.revision="${REVISION}" \
      org.opencontainers.image.version="${VERSION}"

# torch brings the CUDA libraries that it was built with, so no CUDA base image is needed: it would bring
# them a second time. The driver is the machine's.
FROM builder AS gpu-packages
COPY inference-sidecar/requirements-gpu.lock deploy/docker/ffmpeg.lock /build/
RUN python -m pip --python /opt/venv/bin/python install --no-cache-dir --no-compile --no-deps --require-hashes \
      --only-binary :all: -r /build/requirements-gpu.lock -r /build/ffmpeg.lock
# RunPod's worker loop, for `python -m inference_sidecar.runpod_worker`.
COPY inference-sidecar/requirements-runpod.lock /build/
RUN python -m pip --python /opt/venv/bin/python install --no-cache-dir --no-compile --no-deps --require-hashes \
      --only-binary :all: -r /build/requirements-runpod.lock

FROM runtime AS gpu
# Triton compiles its launchers with the machine's C compiler when a kernel first runs.
RUN apt-get update \
 && apt-get install -y --no-install-recommends gcc libc6-dev python3-dev \
 && rm -rf /var/lib/apt/lists/* /var/cache/apt /var/log/* \
 && install -d -o 10001 -g 10001 -m 0700 /cache /weights
COPY --from=gpu-packages /opt/venv /opt/venv
COPY inference-sidecar/src src
ENV ENGINE=infinitetalk \
    TRITON_CACHE_DIR=/cache/triton \
    TORCHINDUCTOR_CACHE_DIR=/cache/inductor \
    HF_HUB_OFFLINE=1
USER 10001:10001
# -g: a signal reaches the worker and whatever started it at once.
ENTRYPOINT ["tini", "-s", "-g", "--"]
CMD ["python", "-m", "inference_sidecar"]
ARG REVISION=unknown
ARG VERSION=0.1.0
LABEL org.opencontainers.image.title="avatar-sidecar" \
      org.opencontainers.image.description="Renders talking-avatar videos, one job at a time" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.revision="${REVISION}" \
      org.opencontainers.image.version="${VERSION}"
