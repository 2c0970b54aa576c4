# syntax=docker/dockerfile:1
# Two images: `api`, without torch, and `worker`, with it.
ARG PYTHON_VERSION=3.11

FROM python:${PYTHON_VERSION}-slim AS build
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1
# An index beside the default one, such as PyTorch's for CPU builds; nothing by default.
ARG PIP_EXTRA_INDEX_URL=
# 1 on a host without internet whose wheels/ folder holds everything.
ARG PIP_NO_INDEX=
RUN python -m venv /opt/annealer
ENV PATH=/opt/annealer/bin:$PATH
WORKDIR /source
COPY pyproject.toml constraints.txt ./
# Wheels from the wheels/ folder are preferred. Dependencies come first: they change less often than the code.
RUN --mount=type=bind,source=wheels,target=/wheels <<INSTALL
set -eu
python - <<LIST > /requirements.txt
import tomllib
project = tomllib.load(open("pyproject.toml", "rb"))["project"]
print("setuptools>=77", *project["dependencies"], sep="\n")
LIST
pip install --find-links /wheels --constraint constraints.txt --requirement /requirements.txt
INSTALL

FROM build AS build-api
COPY . .
RUN --mount=type=bind,source=wheels,target=/wheels \
    pip install --find-links /wheels --constraint constraints.txt --no-deps --no-build-isolation .

FROM build AS build-worker
RUN --mount=type=bind,source=wheels,target=/wheels \
    pip install --find-links /wheels --constraint constraints.txt torch
COPY . .
RUN --mount=type=bind,source=wheels,target=/wheels \
    pip install --find-links /wheels --constraint constraints.txt --no-deps --no-build-isolation .

FROM python:${PYTHON_VERSION}-slim AS base
RUN useradd --uid 10001 --user-group --create-home --shell /usr/sbin/nologin annealer
ENV PATH=/opt/annealer/bin:$PATH PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1
WORKDIR /home/annealer
USER annealer

FROM base AS api
COPY --from=build-api /opt/annealer /opt/annealer
EXPOSE 8400
CMD ["uvicorn", "--factory", "app.main:create", "--host", "0.0.0.0", "--port", "8400", "--timeout-graceful-shutdown", "5"]

FROM base AS worker
COPY --from=build-worker /opt/annealer /opt/annealer
CMD ["python", "-m", "worker"]
