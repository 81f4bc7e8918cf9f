FROM python:3.13-slim

WORKDIR /build
COPY setup.py pyproject.toml README.md LICENSE ./
COPY tap_klaviyo ./tap_klaviyo
RUN pip install --no-cache-dir --disable-pip-version-check --root-user-action=ignore ".[sandbox]" \
    && useradd --system --uid 10001 --no-create-home --shell /usr/sbin/nologin tap \
    && cd / \
    && rm -r /build

ENV PYTHONDONTWRITEBYTECODE=1
WORKDIR /data
USER 10001
ENTRYPOINT ["tap-klaviyo"]
