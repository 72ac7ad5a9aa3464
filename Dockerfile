# Stage one installs the locked dependencies by hash, with the extras postgres, s3 and speed; stage two contains only them and the bot.
FROM python:3.13-slim AS build
WORKDIR /app
RUN python -m venv /venv
COPY requirements.lock ./
RUN /venv/bin/pip install --no-cache-dir --require-hashes -r requirements.lock

FROM python:3.13-slim
RUN useradd --uid 10001 --create-home darkroom \
    && install --directory --mode 0700 --owner darkroom --group darkroom /app/data
WORKDIR /app
COPY --from=build /venv /venv
COPY bot ./bot
ENV PATH=/venv/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    DARKROOM_WEB__HOST=0.0.0.0
USER 10001
VOLUME /app/data
EXPOSE 8080
HEALTHCHECK --interval=30s --timeout=10s --start-period=30s \
    CMD ["python", "-c", "import urllib.request as u; u.build_opener(u.ProxyHandler({})).open('http://127.0.0.1:8080/healthz', timeout=8)"]
STOPSIGNAL SIGTERM
ENTRYPOINT ["python", "-m", "bot"]
CMD ["run"]
