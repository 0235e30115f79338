#!/bin/bash
# A Vulkan device without a GPU: Mesa's lavapipe, which computes on the processor. For tests of the `wgpu` feature.
#
#     eval "$(scripts/software_vulkan.sh)"
#     GCPO_TEST_DEVICE=wgpu cargo test --features wgpu --test golden
#
# Prints the variables to set. Where Mesa's driver is missing and this is root on a Debian or an Ubuntu, it is installed;
# elsewhere the script says what to install and fails. Tuning the kernels takes a minute and a half at first, half of that
# with CUBECL_AUTOTUNE_LEVEL=minimal. The `vulkan` feature (SPIR-V) crashes in this driver: take `wgpu`.
set -euo pipefail

# The first driver manifest of lavapipe; fails where there is none.
manifest() {
  local dir file
  for dir in /usr/share/vulkan/icd.d /usr/local/share/vulkan/icd.d /etc/vulkan/icd.d; do
    for file in "$dir"/lvp_icd*.json; do
      [ -e "$file" ] && { echo "$file"; return; }
    done
  done
  return 1
}

loader() { ldconfig -p 2>/dev/null | grep 'libvulkan\.so\.1' >/dev/null; }

if ! { manifest >/dev/null && loader; } && [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
  { apt-get update -qq && apt-get install -y -qq mesa-vulkan-drivers libvulkan1; } >&2 ||
    echo "software_vulkan.sh: apt-get could not install mesa-vulkan-drivers and libvulkan1" >&2
fi
if ! driver="$(manifest)"; then
  echo "software_vulkan.sh: no Mesa lavapipe here: install mesa-vulkan-drivers (Debian, Ubuntu), mesa-vulkan-drivers" \
    "(Fedora) or vulkan-swrast (Arch)" >&2
  exit 1
fi
if ! loader; then
  echo "software_vulkan.sh: no Vulkan loader here: install libvulkan1 (Debian, Ubuntu), vulkan-loader (Fedora) or" \
    "vulkan-icd-loader (Arch)" >&2
  exit 1
fi
# The driver wants a directory of its own user's.
dir="${XDG_RUNTIME_DIR:-}"
if [ ! -w "$dir" ]; then
  dir="$(mktemp -d)"
  chmod 700 "$dir"
fi
echo "export XDG_RUNTIME_DIR='$dir' VK_DRIVER_FILES='$driver'"
