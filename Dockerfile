FROM rust:1.95-bookworm AS build
WORKDIR /src
COPY Cargo.toml Cargo.lock ./
COPY src src
COPY migrations migrations
COPY openapi.yaml openapi.yaml
# The manifest names two tests and an example, which have to exist; the binary needs none of them.
RUN mkdir -p tests/it tests/faults bench && echo 'fn main() {}' | tee tests/it/main.rs tests/faults/main.rs > bench/generate.rs \
 && cargo build --release --locked --bin pgsluice

FROM debian:bookworm-slim
RUN apt-get update \
 && apt-get install -y --no-install-recommends ca-certificates curl \
 && rm -rf /var/lib/apt/lists/* \
 && useradd --system --uid 10001 --no-create-home pgsluice
COPY --from=build /src/target/release/pgsluice /usr/local/bin/pgsluice
USER 10001:10001
# Inside of a container loopback is not reachable from outside, so the service has to listen on all addresses, and asks for a key
# (`pgsluice keys create`). Where the port is published to loopback only (-p 127.0.0.1:8080:8080), or something in front of it keeps
# strangers away, PGSLUICE_ALLOW_UNAUTHENTICATED=true does without.
ENV PGSLUICE_LISTEN=0.0.0.0:8080 PGSLUICE_LOG_FORMAT=json
# Parquet bodies are kept in /tmp while they are loaded: mount something there (or name it in PGSLUICE_SPOOL_DIR) if they are large, or if
# the container's own file system is read-only.
EXPOSE 8080
# Over HTTP, or HTTPS where there is a certificate. With PGSLUICE_TLS_CLIENT_CA it has no certificate to show: give the container a check of
# your own (--health-cmd).
HEALTHCHECK --interval=10s --timeout=3s --start-period=10s \
    CMD curl -fsS "http://127.0.0.1:8080/readyz" || { [ -n "$PGSLUICE_TLS_CERT" ] && curl -fsSk "https://127.0.0.1:8080/readyz"; }
STOPSIGNAL SIGTERM
ENTRYPOINT ["pgsluice"]
CMD ["serve"]
