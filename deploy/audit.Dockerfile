# The audit service: everything this party runs, and nothing of the others.
#   docker build -f deploy/audit.Dockerfile -t wardround-audit .
#   docker run --init --read-only --tmpfs /tmp -v /srv/wardround:/party wardround-audit
# /party is the folder that `wardround enrol` and `wardround found` made: settings, keys, papers.

FROM python:3.11-slim-bookworm AS build
WORKDIR /source
COPY pyproject.toml README.md LICENSE ./
COPY audit audit
COPY deploy deploy
COPY hospital_node hospital_node
COPY protocol protocol
COPY services services
RUN pip wheel --no-cache-dir --no-deps --wheel-dir /wheels .

FROM python:3.11-slim-bookworm
ENV PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1
COPY --from=build /wheels /wheels
RUN pip install --no-cache-dir "$(echo /wheels/wardround-*.whl)[audit]" \
    && cd /usr/local/lib/python3.11/site-packages && rm -r hospital_node services \
    && rm -r /wheels
RUN useradd --system --uid 10001 --home-dir /party --shell /usr/sbin/nologin wardround
USER wardround
WORKDIR /party
VOLUME /party
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=15s --start-period=120s CMD ["python", "-m", "deploy.processes", "/party/state"]
ENTRYPOINT ["wardround", "audit"]
CMD ["up", "--config", "/party/audit.toml"]
