# The suite as an image, for cells that run as tasks of ECS (docs/cells.md). It holds no secret: the task gets its keys.
FROM python:3.11.14-slim-bookworm

# git and ssh read the repositories, and ssh-keygen signs the verdict. Debian keeps no older version to name here.
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install --yes --no-install-recommends git openssh-client \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --uid 10001 --home-dir /tmp/verify --no-create-home --shell /usr/sbin/nologin verify

# The image is read only for the run, but for this folder.
VOLUME ["/tmp"]
ENV HOME=/tmp/verify PATH=/suite/.venv/bin:$PATH PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1

# Only what .dockerignore lets through: what a verdict's digest covers, and what installs it.
WORKDIR /suite
COPY . .
RUN PIP_NO_CACHE_DIR=1 python scripts/set_up.py requirements/product.txt

USER 10001
CMD ["python", "-m", "gli.cells.task"]
