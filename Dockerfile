# The suite and its workflow on a CPU: docker build -t scwm . (docs/clusters.md)
FROM python:3.11-slim

# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install --yes --no-install-recommends git make \
    && rm -rf /var/lib/apt/lists/*

WORKDIR /scwm
COPY . .
# The versions of constraints.txt, whose torch has a build without CUDA at this index.
RUN pip install --no-cache-dir --constraint constraints.txt \
        --extra-index-url https://download.pytorch.org/whl/cpu \
        '.[workflow,faiss-cpu]'

WORKDIR /work
CMD ["scwm", "--help"]
