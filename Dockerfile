# Two images, both without root:
#
#   docker build --target actor -t graspfleet-actor .        # actors and evaluators; no torch
#   docker build --target learner -t graspfleet-learner .    # the learner and TensorBoard
#
# BASE_IMAGE: any Debian with Python 3.11. TORCH_INDEX: a package index to look for torch in besides pip's own,
# such as PyTorch's for a CPU-only wheel (or one CUDA version); left empty, it is the wheel that pip finds.
# Packages come first and code last, so a changed line of code rebuilds in seconds.
ARG BASE_IMAGE=python:3.11-slim

FROM ${BASE_IMAGE} AS runtime
# The folders belong to the user, so that new volumes mounted there do too.
RUN useradd --uid 10001 --no-create-home --shell /usr/sbin/nologin graspfleet \
 && install -d -o graspfleet -g graspfleet /runs /keys /actor-keys
# The root filesystem may be read-only: whatever wants to write finds /tmp.
ENV PATH=/opt/graspfleet/bin:$PATH PYTHONPATH=/app PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 \
    HOME=/tmp MPLCONFIGDIR=/tmp/matplotlib GRASPFLEET_HEARTBEAT=/tmp/heartbeat

FROM runtime AS actor-packages
WORKDIR /src
COPY pyproject.toml constraints.txt ./
# Without its code, in empty folders, the project is a command and the packages that it needs.
RUN python3 -c "import os, tomllib; \
      [os.makedirs(name.removeprefix('graspfleet.').replace('.', '/'), exist_ok=True) for name in \
       tomllib.load(open('pyproject.toml', 'rb'))['tool']['setuptools']['packages']]" \
 && touch README.md LICENSE \
 && python3 -m venv /opt/graspfleet \
 && pip install --no-cache-dir -c constraints.txt .

FROM actor-packages AS learner-packages
ARG TORCH_INDEX=
RUN pip install --no-cache-dir -c constraints.txt ${TORCH_INDEX:+--extra-index-url "$TORCH_INDEX"} '.[learner]'

FROM runtime AS actor
COPY --from=actor-packages /opt/graspfleet /opt/graspfleet
USER 10001:10001
WORKDIR /runs
# The loop touches the file once a second, also while it waits for its learner.
HEALTHCHECK --interval=30s --timeout=5s --start-period=60s CMD test -n "$(find $GRASPFLEET_HEARTBEAT -mmin -1)"
ENTRYPOINT ["graspfleet"]
CMD ["actor"]
COPY graspfleet /app/graspfleet
COPY common /app/graspfleet/common
COPY actor /app/graspfleet/actor

FROM runtime AS learner
COPY --from=learner-packages /opt/graspfleet /opt/graspfleet
USER 10001:10001
WORKDIR /runs
EXPOSE 5555 5556 5557
# A run's directory says where its learner listens and with which keys.
HEALTHCHECK --interval=30s --timeout=20s --start-period=60s CMD graspfleet status /runs/train
ENTRYPOINT ["graspfleet"]
CMD ["learner", "--run-dir", "/runs/train", "--auto-resume"]
COPY graspfleet /app/graspfleet
COPY common /app/graspfleet/common
COPY actor /app/graspfleet/actor
COPY learner /app/graspfleet/learner
