# `just` lists these; each is one command that can be typed as well.

default:
    @just --list

# Train the quickstart; options follow: `just run --set seed=1`
run *ARGS:
    cargo run -- {{ARGS}}

# All tests
test *ARGS:
    cargo test --workspace {{ARGS}}

# Format, and what clippy has to say
lint:
    cargo fmt --all --check
    cargo clippy --workspace --all-targets -- -D warnings

# The API's documentation, as strict as CI
docs:
    RUSTDOCFLAGS="-D warnings" cargo doc --workspace --no-deps

# Everything that CI does
ci:
    .ci/run

# Do two builds give the same results, to the byte?
same OLD NEW:
    scripts/same.sh {{OLD}} {{NEW}}

# Accept what the commands print now as the snapshots
snapshots:
    INSTA_UPDATE=always cargo test --test snapshots

# Speed on this machine: `just bench --shape small --work decode`
bench *ARGS="--shape tiny --work step":
    cargo run --quiet -- bench {{ARGS}}

# The measures of the code: rooms, arrows, circles, long functions, lines
measures:
    cargo test --test tidy measures -- --nocapture

# The goldens on a Vulkan device that the processor simulates
vulkan:
    #!/bin/bash
    set -euo pipefail
    variables="$(scripts/software_vulkan.sh)"
    eval "$variables"
    export CUBECL_AUTOTUNE_LEVEL=minimal
    GCPO_TEST_DEVICE=wgpu cargo test --workspace --features wgpu --test golden --test objective_golden

# The checks and the table of a GPU, from a build with its feature: `just gpu-check cuda`
gpu-check FEATURE="cuda":
    cargo build --features {{FEATURE}}
    strip -o target/gcpo-gpu target/debug/gcpo
    xz -T0 -f target/gcpo-gpu
    scripts/gpu_check.sh target/gcpo-gpu.xz {{FEATURE}}
