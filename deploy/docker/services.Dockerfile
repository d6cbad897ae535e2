# Everything in TypeScript: ingest, orchestrator, janitor and `avatar`. The command chooses.
#
#   docker build -f deploy/docker/services.Dockerfile -t avatar-api .
#
# Only instructions that the classic builder and BuildKit share.

ARG NODE_IMAGE=node:24-bookworm-slim
ARG PYTHON_IMAGE=python:3.11-slim-bookworm

FROM ${PYTHON_IMAGE} AS ffmpeg
COPY deploy/docker/ffmpeg.lock /build/
RUN pip install --no-cache-dir --no-deps --require-hashes --only-binary :all: --target /build/wheel -r /build/ffmpeg.lock \
 && install -D -m 0755 /build/wheel/imageio_ffmpeg/binaries/ffmpeg-* /out/ffmpeg

FROM ${NODE_IMAGE} AS packages
WORKDIR /app
# npm wants to see every workspace of the lock file, also those that it installs nothing for.
COPY package.json package-lock.json .npmrc ./
COPY contracts/package.json contracts/
COPY service-kit/package.json service-kit/
COPY backing-services/package.json backing-services/
COPY job-kit/package.json job-kit/
COPY ingest/package.json ingest/
COPY orchestrator/package.json orchestrator/
COPY janitor/package.json janitor/
COPY cli/package.json cli/
COPY deploy/observability/package.json deploy/observability/
COPY tests/package.json tests/
COPY bench/package.json bench/
# The native modules come built: no script of a package has to run.
RUN npm ci --omit=dev --ignore-scripts \
      --workspace @avatar/ingest --workspace @avatar/orchestrator --workspace @avatar/janitor --workspace @avatar/cli \
 && rm -rf node_modules/.cache deploy tests bench package-lock.json .npmrc
# `avatar` looks for Node here, where a checkout has it.
RUN ln -sf /usr/local/bin/node node_modules/.bin/node

FROM ${NODE_IMAGE}
RUN apt-get update \
 && apt-get install -y --no-install-recommends tini \
 && rm -rf /var/lib/apt/lists/* /var/cache/apt /var/log/* /usr/local/lib/node_modules /opt/yarn* \
      /usr/local/bin/npm /usr/local/bin/npx /usr/local/bin/corepack /usr/local/bin/yarn /usr/local/bin/yarnpkg \
 && install -d -o 10001 -g 10001 -m 0700 /spool
COPY --from=ffmpeg /out/ffmpeg /usr/local/bin/ffmpeg
COPY --from=packages /app /app
WORKDIR /app
COPY LICENSE ./
COPY contracts/src contracts/src
COPY service-kit/src service-kit/src
COPY backing-services/src backing-services/src
COPY job-kit/src job-kit/src
COPY ingest/src ingest/src
COPY ingest/page ingest/page
COPY orchestrator/src orchestrator/src
COPY janitor/src janitor/src
COPY cli/src cli/src
COPY cli/bin cli/bin
COPY examples examples
RUN ln -s /app/cli/bin/avatar /usr/local/bin/avatar

# In a container loopback reaches nobody: what listens does so for the container's networks.
ENV NODE_ENV=production \
    FFMPEG_PATH=/usr/local/bin/ffmpeg \
    SPOOL_DIR=/spool \
    HTTP_HOST=0.0.0.0 \
    METRICS_HOST=0.0.0.0
USER 10001:10001
STOPSIGNAL SIGTERM
# -s: under another init it is not the first process, and would write a warning into the log.
ENTRYPOINT ["tini", "-s", "--"]
CMD ["avatar", "--help"]
ARG REVISION=unknown
ARG VERSION=0.1.0
LABEL org.opencontainers.image.title="avatar-api" \
      org.opencontainers.image.description="Talking-avatar videos from a portrait and a voice: the services and the command line" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.revision="${REVISION}" \
      org.opencontainers.image.version="${VERSION}"
ENV RELEASE=${VERSION}
