#!/usr/bin/env bash
# Runs what needs a GPU on a machine without one: kernels by g++, the driver and cuBLAS by tests/emulator.
#
#     scripts/cuda_emulated.sh [COMMAND]
#
# Without COMMAND these are the tests of the kernels and of the models that use them. It may be for instance
# `cargo run --release --features cuda -- bench experiments/quickstart.toml --device cuda`.
# It says whether results are right, and nothing about speed. With EMULATED_GPU=idle nothing is computed: a profile
# then shows what the host does. With EMULATED_GPU=backwards the threads of a block take turns the other way round.
set -euo pipefail
cd "$(dirname "$0")/.."

for tool in cargo cc g++; do
    command -v "$tool" >/dev/null || { echo "error: $tool is needed, and not on the PATH" >&2 && exit 1; }
done

# What build scripts look for in place of the toolkit.
emulator=$PWD/target/emulator
mkdir -p "$emulator"/{bin,include,lib64,kernels}
touch "$emulator/include/cuda.h"
cp tests/emulator/half.h "$emulator/include/cuda_fp16.h"
cp tests/emulator/nvcc "$emulator/bin/nvcc"
printf '#!/bin/sh\nprintf "compute_cap\\n9.0\\n"\n' >"$emulator/bin/nvidia-smi"
chmod +x "$emulator"/bin/*

# Every function that cudarc declares: those of gpu.cpp, and for the others the answer "not supported".
manifest=$(cargo metadata --locked --format-version 1 --features cuda --filter-platform x86_64-unknown-linux-gnu |
    sed -E 's/.*"manifest_path":"([^"]*cudarc-[^"]*)\/Cargo.toml".*/\1/')
cat "$manifest"/src/{driver,cublas,nvrtc}/sys.rs | grep -oE 'pub fn (cu|nvrtc)[A-Za-z0-9_]+' | sort -u |
    awk '{ print "__attribute__((weak)) int " $3 "(void) { return 801; }" }' >"$emulator/others.new"
cmp -s "$emulator/others.new" "$emulator/others.c" || mv "$emulator/others.new" "$emulator/others.c"
library=$emulator/lib64/libcuda.so.1
if [ "$(find scripts/cuda_emulated.sh tests/emulator "$emulator/others.c" -newer "$library" 2>&1)" ]; then
    rm -rf "$emulator"/kernels/*
    cc -c -fPIC -w -o "$emulator/others.o" "$emulator/others.c"
    # Where g++ defines _FORTIFY_SOURCE by default, its checks reject a jump to another stack.
    g++ -std=c++17 -O2 -Wall -U_FORTIFY_SOURCE -fPIC -shared -Wl,-soname,libcuda.so.1 -o "$library.new" \
        "$PWD/tests/emulator/gpu.cpp" "$emulator/others.o" -ldl
    mv "$library.new" "$library"
    ln -sf libcuda.so.1 "$emulator/lib64/libcuda.so"
    for name in cublas cublasLt nvrtc; do
        echo "INPUT($library)" >"$emulator/lib64/lib$name.so"
    done
fi

# A capability that no GPU has: dfdx is built anew between this and a real toolkit.
export CUDA_COMPUTE_CAP=900
export CUDA_PATH=$emulator PATH=$emulator/bin:$PATH EMULATED_GPU_CACHE=$emulator/kernels
export LD_LIBRARY_PATH=$emulator/lib64${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}
# Emulation takes most of the time, so attnlab itself is compiled without optimisation, which is quicker.
[ $# -gt 0 ] || set -- cargo test --locked --features cuda --config 'profile.dev.package.attnlab-library.opt-level=0' --lib cuda
exec "$@"
