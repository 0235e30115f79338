# gcpo in a container.
#
#     docker build -t gcpo .                                    the processor
#     docker build -t gcpo:cuda --build-arg BACKEND=cuda .      NVIDIA GPUs, by the driver of the machine
#
#     docker run --rm -v "$PWD:/work" gcpo train run.toml
#     docker run --rm --gpus all -v "$PWD:/work" gcpo:cuda train run.toml --device cuda
ARG BACKEND=cpu

FROM rust:1.95-bookworm AS source
WORKDIR /src
COPY . .

FROM source AS build-cpu
RUN cargo build --release --locked --features parquet

# burn fetches its own LLVM while it is built; no CUDA toolkit is needed.
FROM source AS build-cuda
RUN cargo build --release --locked --features cuda,parquet

# hadolint ignore=DL3006
FROM build-${BACKEND} AS build

FROM debian:bookworm-slim
# Python is for rewards, wandb and Trackio; `/bin/sh` and a certificate store are for what these do.
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install -y --no-install-recommends ca-certificates libstdc++6 python3 python3-pip python3-venv \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --create-home --uid 1000 gcpo
COPY --from=build /src/target/release/gcpo /usr/local/bin/gcpo
# What the NVIDIA container toolkit is to let in: the driver's library, and `nvidia-smi`.
ENV NVIDIA_VISIBLE_DEVICES=all NVIDIA_DRIVER_CAPABILITIES=compute,utility
USER 1000
WORKDIR /work
ENTRYPOINT ["gcpo"]
