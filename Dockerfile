# One image for both daemons: `docker run IMAGE registry`, `docker run IMAGE peer`.
# It uses nothing that only BuildKit knows, so that deploy/image-check can build it with an old engine.

FROM rust:1.95-slim-bookworm AS chef
RUN cargo install --locked cargo-chef@0.1.78
WORKDIR /src

# What the dependencies are, and nothing else of the source: the next stage is rebuilt only when this changes.
FROM chef AS plan
COPY . .
RUN cargo chef prepare --recipe-path recipe.json --bin floodplain

FROM chef AS build
COPY --from=plan /src/recipe.json recipe.json
RUN cargo chef cook --locked --release --recipe-path recipe.json --bin floodplain
COPY . .
# The folders of the runtime image are made here, because there is no shell to make them there.
RUN cargo build --locked --release --bin floodplain \
 && install -D -m 0755 target/release/floodplain /out/bin/floodplain \
 && install -d -m 0700 /out/data /out/data/state /out/data/inbox /out/data/downloads /out/data/replicas \
 && install -d -m 0700 /out/invite \
 && install -d -m 0755 /out/share

# glibc, libgcc and CA certificates; no shell, no package manager.
FROM gcr.io/distroless/cc-debian12:nonroot
LABEL org.opencontainers.image.title="floodplain" \
      org.opencontainers.image.description="Share and find files over your own network, with no central file server" \
      org.opencontainers.image.licenses="MIT OR Apache-2.0"
COPY --from=build /out/bin/floodplain /usr/local/bin/floodplain
COPY --from=build --chown=65532:65532 /out/data /data
COPY --from=build --chown=65532:65532 /out/share /share
# Where compose has the registry write an invite for the peers.
COPY --from=build --chown=65532:65532 /out/invite /invite
# The downloads share is made beside the inbox. Neither lies in the data folder, of which nothing is ever offered.
ENV FLOODPLAIN_DATA=/data/state \
    FLOODPLAIN_REGISTRY_LISTEN=0.0.0.0:7000 \
    FLOODPLAIN_LISTEN=0.0.0.0:7001 \
    FLOODPLAIN_SHARES=/share \
    FLOODPLAIN_INBOX=/data/inbox
USER 65532:65532
WORKDIR /data
VOLUME ["/data"]
# Registry, peer.
EXPOSE 7000 7001
HEALTHCHECK --interval=5s --timeout=5s --start-period=15s --retries=3 \
  CMD ["/usr/local/bin/floodplain", "health"]
ENTRYPOINT ["/usr/local/bin/floodplain"]
