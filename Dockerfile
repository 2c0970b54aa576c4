# Two images: `api`, without torch, and `worker`, with it. What they share is built once.
ARG PYTHON_VERSION=3.11

FROM python:${PYTHON_VERSION}-slim AS libraries
# An index beside the default one, such as PyTorch's for builds without CUDA.
ARG PIP_EXTRA_INDEX_URL=
# 1 on a host without internet whose wheels/ folder holds everything.
ARG PIP_NO_INDEX=
# The environment has no pip of its own: the image's installs into it. Wheels of the wheels/ folder are preferred.
ENV PIP_PYTHON=/opt/annealer/bin/python PIP_FIND_LINKS=/wheels PIP_DISABLE_PIP_VERSION_CHECK=1
RUN python -m venv --without-pip /opt/annealer
WORKDIR /source
COPY pyproject.toml constraints.txt ./
# Everything but the code, which changes more often.
RUN --mount=type=bind,source=wheels,target=/wheels --mount=type=cache,target=/root/.cache/pip <<INSTALL
set -eu
python -c 'import tomllib; print(*tomllib.load(open("pyproject.toml", "rb"))["project"]["dependencies"], sep="\n")' \
    > /tmp/requirements.txt
pip install --constraint constraints.txt --requirement /tmp/requirements.txt
INSTALL

FROM libraries AS libraries-with-torch
RUN --mount=type=bind,source=wheels,target=/wheels --mount=type=cache,target=/root/.cache/pip \
    pip install --constraint constraints.txt torch

FROM libraries AS code
COPY README.md LICENSE ./
COPY trainer trainer
COPY app app
# The templates of the dashboard: app/web/examples leads there.
COPY examples examples
COPY worker worker
COPY migrations migrations
RUN --mount=type=bind,source=wheels,target=/wheels --mount=type=cache,target=/root/.cache/pip \
    pip wheel --no-deps --wheel-dir /dist .

FROM python:${PYTHON_VERSION}-slim AS base
RUN useradd --uid 10001 --user-group --create-home --shell /usr/sbin/nologin annealer
ENV PATH=/opt/annealer/bin:$PATH PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1
WORKDIR /home/annealer

FROM base AS api
COPY --from=libraries /opt/annealer /opt/annealer
RUN --mount=type=bind,from=code,source=/dist,target=/dist \
    pip --python /opt/annealer/bin/python install --no-cache-dir --no-deps --no-index /dist/*.whl
USER annealer
EXPOSE 8400
CMD ["python", "-m", "app", "--host=0.0.0.0"]

FROM base AS worker
COPY --from=libraries-with-torch /opt/annealer /opt/annealer
# A volume that is mounted here takes over whose it is.
RUN install --directory --owner annealer --group annealer --mode 700 /scratch
RUN --mount=type=bind,from=code,source=/dist,target=/dist \
    pip --python /opt/annealer/bin/python install --no-cache-dir --no-deps --no-index /dist/*.whl
USER annealer
CMD ["python", "-m", "worker"]
