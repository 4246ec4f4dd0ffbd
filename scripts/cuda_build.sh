#!/usr/bin/env bash
# Builds attnlab for CUDA on a machine with neither a GPU nor the CUDA toolkit, such as a cluster's login node.
#
#     scripts/cuda_build.sh [--compute-capability 9.0] [--wheels FOLDER] [--libraries] [--tests] [OUT]
#
# The compiler comes from PyPI (105 MB, pinned); stub libraries to link against are generated here from the names
# that cudarc declares. OUT (target/cuda-dist) is what must travel to the machine with the GPU: `OUT/run ARGUMENTS`
# there is attnlab. That machine has the driver, and cuBLAS and NVRTC of CUDA 13: from the toolkit, or from PyPI as
# PyTorch brings them.
#
# --compute-capability  of the GPU, or of an older one: 8.0 for an A100, 9.0 for an H100 or H200
# --wheels              a folder with the wheels, so that nothing is fetched
# --libraries           fetches cuBLAS and NVRTC too (510 MB), puts them into OUT/lib, and checks what is linked
# --tests               puts the tests into OUT too: `OUT/run --tests cuda` runs those that need a GPU; with --libraries
#                       NVRTC compiles every kernel here, as it will there
set -euo pipefail

fail() {
    echo "error: $1" >&2
    exit "${2:-1}"
}
usage() {
    sed -n '4s/^# *//p' "$0" >&2
    exit 2
}

capability=9.0 wheels='' libraries=no tests=no out=''
while [ $# -gt 0 ]; do
    case $1 in
    --compute-capability)
        capability=${2:-}
        [[ $capability =~ ^[0-9]+\.[0-9]$ ]] ||
            fail "--compute-capability is \"$capability\", not a number such as 9.0; NVIDIA lists that of each GPU" 2
        shift
        ;;
    --wheels)
        [ -d "${2:-}" ] || fail "--wheels is \"${2:-}\", which is not a folder" 2
        wheels=$(realpath "$2")
        shift
        ;;
    --libraries) libraries=yes ;;
    --tests) tests=yes ;;
    -*) usage ;;
    *)
        [ -z "$out" ] || usage
        out=$(realpath -m "$1")
        ;;
    esac
    shift
done
cd "$(dirname "$0")/.."

work=$PWD/target/cuda-build
cuda=$work/cuda
out=${out:-$PWD/target/cuda-dist}
# It is made anew: never in place of what something else has made.
[ -f "$out/run" ] || [ -z "$(ls -A "$out" 2>/dev/null)" ] ||
    fail "$out is not from an earlier build; name a folder that is new or empty" 2
[ "$(uname -sm)" = "Linux x86_64" ] || fail "this builds only on and for Linux on x86_64"
for tool in cargo cc python3; do
    command -v "$tool" >/dev/null || fail "$tool is needed, and not on the PATH"
done
python3 -m pip --version >/dev/null 2>&1 || fail "python3 has no pip, which fetches the compiler"

# 1. The compiler. PTX of CUDA 13.0 is what a driver 580 or newer takes.
packages=(
    nvidia-cuda-nvcc==13.0.88 nvidia-nvvm==13.0.88 nvidia-cuda-crt==13.0.88
    nvidia-cuda-runtime==13.0.96 nvidia-cuda-cccl==13.0.85
)
[ "$libraries" = no ] || packages+=(nvidia-cublas==13.0.2.14 nvidia-cuda-nvrtc==13.0.88)
if [ "$(cat "$work/packages" 2>/dev/null)" != "${packages[*]}" ]; then
    echo "== the compiler: ${packages[*]}"
    platforms=()
    for platform in manylinux2014 manylinux2010 manylinux_2_12 manylinux_2_17 manylinux_2_27; do
        platforms+=(--platform "${platform}_x86_64")
    done
    mkdir -p "$work/wheels"
    python3 -m pip download --quiet --disable-pip-version-check --no-deps --only-binary=:all: \
        --python-version 3.12 --implementation cp "${platforms[@]}" \
        ${wheels:+--no-index --find-links "$wheels"} --dest "$work/wheels" "${packages[@]}" ||
        fail "pip cannot download the compiler from ${wheels:-PyPI}"
    rm -rf "$work/packages" "$work/unpacked" "$cuda"
    for package in "${packages[@]}"; do
        IFS='=' read -r name _ version <<<"$package"
        python3 -m zipfile -e "$work/wheels/${name//-/_}-$version"-*.whl "$work/unpacked"
    done
    mv "$work/unpacked/nvidia/cu13" "$cuda"
    rm -rf "$work/unpacked"
    chmod -R u+rwX "$cuda"
    chmod +x "$cuda"/bin/* "$cuda"/nvvm/bin/* # a wheel's files come out without that
    echo "${packages[*]}" >"$work/packages"
fi
known=$("$cuda/bin/nvcc" --list-gpu-code | sed -nE 's/^sm_([0-9]+)([0-9])$/\1.\2/p' | xargs)
[[ " $known " = *" $capability "* ]] ||
    fail "--compute-capability is $capability; the compiler knows $known" 2

# 2. dfdx's build script asks this program for the GPU, and cargo runs it again when the variable changes.
mkdir -p "$work/shim"
printf '#!/bin/sh\nprintf "compute_cap\\n%s\\n"\n' "$capability" >"$work/shim/nvidia-smi"
chmod +x "$work/shim/nvidia-smi"
export CUDA_COMPUTE_CAP=${capability/./}

# 3. Stub libraries to link against, with every function that cudarc declares. They are shipped too, so that the
#    program starts where the real ones are missing; there calls fail, those of the driver with "no device".
manifest=$(cargo metadata --locked --format-version 1 --features cuda --filter-platform x86_64-unknown-linux-gnu |
    python3 -c '
import json, sys
print(next(p["manifest_path"] for p in json.load(sys.stdin)["packages"] if p["name"] == "cudarc"))')
declared=${manifest%/Cargo.toml}/src
links=$cuda/lib64/stubs
rm -rf "$work/stubs" "$links"
mkdir -p "$work/stubs" "$links"
stub() { # module of cudarc, name to link by, name to load by, what its functions return
    local source=$work/$1.c options=("-Wl,-soname,$3")
    grep -oE 'pub fn (cu|nvrtc)[A-Za-z0-9_]+' "$declared/$1/sys.rs" | sort -u |
        awk -v code="$4" '$3 != "cuGetErrorString" { print "int " $3 "(void) { return " code "; }" }' >"$source"
    if [ "$1" = driver ]; then
        # cudarc asks for it when it shows an error, and takes an answer for granted.
        echo 'int cuGetErrorString(int code, const char **text) { *text = "no CUDA driver, or no CUDA libraries"; return 0; }' >>"$source"
    else # the real ones give all their functions this version
        echo "$3 { global: *; };" >"$work/$1.map"
        options+=("-Wl,--version-script=$work/$1.map")
    fi
    cc -shared -fPIC -w -o "$work/stubs/$3" "$source" "${options[@]}"
    ln -s "$work/stubs/$3" "$links/$2"
}
stub driver libcuda.so libcuda.so.1 100 # CUDA_ERROR_NO_DEVICE
stub cublas libcublas.so libcublas.so.13 1
stub cublaslt libcublasLt.so libcublasLt.so.13 1
stub nvrtc libnvrtc.so libnvrtc.so.13 1

# 4. The program, in a target folder of its own.
export CUDA_PATH=$cuda PATH="$work/shim:$cuda/bin:$PATH" CARGO_TARGET_DIR=$work/target
messages=$work/messages.json
build() {
    cargo "$@" --locked --release --features cuda --message-format=json-render-diagnostics >>"$messages"
}
built() { # attnlab, tests: the program; dfdx: where its build script has put the sources, a line each
    python3 - "$messages" "$1" <<'END'
import json, sys

found = set()
for message in map(json.loads, open(sys.argv[1])):
    if message["reason"] == "build-script-executed" and "#dfdx@" in message["package_id"]:
        found.add(("dfdx", message["out_dir"]))
    elif message.get("executable"):
        name = "tests" if message["profile"]["test"] else message["target"]["name"]
        found.add((name, message["executable"]))
print("\n".join(path for name, path in sorted(found) if name == sys.argv[2]))
END
}
echo "== attnlab for compute capability $capability"
rm -f "$messages"
build build --bin attnlab
# The machine with the GPU has no cargo.
LD_LIBRARY_PATH=$work/stubs "$(built attnlab)" compile experiments
[ "$tests" = no ] || build test --lib --no-run

# 5. What must travel: the program, what it can do without, and the sources that dfdx compiles at run time, with
#    where they must be then: where they were when dfdx was built.
rm -rf "$out"
mkdir -p "$out/include" "$out/dfdx"
strip -o "$out/attnlab" "$(built attnlab)"
[ "$tests" = no ] || strip -o "$out/tests" "$(built tests)"
cp -r "$work/stubs" "$out/"
cp "$cuda"/include/cuda_fp16.h "$cuda"/include/cuda_fp16.hpp "$out/include/"
echo "include $cuda/include" >"$out/places"
while read -r sources; do
    cp "$sources"/*.cuh "$out/dfdx/"
    echo "dfdx $sources" >>"$out/places"
done < <(built dfdx)
if [ "$libraries" = yes ]; then
    mkdir "$out/lib"
    cp "$cuda"/lib/lib{cublas,cublasLt,nvrtc}.so.13 "$cuda"/lib/libnvrtc-builtins.so.* "$out/lib/"
fi
cat >"$out/run" <<'RUN'
#!/usr/bin/env bash
# attnlab on a machine with a GPU: run [ARGUMENTS]; its tests, if they were built: run --tests [ARGUMENTS]
set -euo pipefail
here=$(dirname "$(readlink -f "$0")")
program=attnlab
[ "${1:-}" != --tests ] || {
    program=tests
    shift
}

# Where the libraries may be, beside where the system looks by itself.
IFS=: read -ra folders <<<"${LD_LIBRARY_PATH:-}"
folders+=("$here/lib")
while read -r packages; do
    folders+=("$packages/nvidia/cu13/lib")
done < <(python3 -c 'import site, sysconfig
print(sysconfig.get_paths()["purelib"], site.getusersitepackages(), sep="\n")' 2>/dev/null)
folders+=(/usr/local/cuda*/lib64 /usr/local/nvidia/lib64)
system=$({ ldconfig -p || /sbin/ldconfig -p; } 2>/dev/null || true)

search=${LD_LIBRARY_PATH:-} missing=()
for library in libcuda.so.1 libcublas.so.13 libnvrtc.so.13; do
    for folder in "${folders[@]}"; do
        if [ -e "$folder/$library" ]; then
            search+=${search:+:}$folder
            continue 2
        fi
    done
    [[ $system = *"$library "* ]] || missing+=("$library")
done

if [ ${#missing[@]} = 0 ]; then
    while read -r folder place; do
        [ -e "$place" ] || { mkdir -p "$(dirname "$place")" && cp -r "$here/$folder" "$place"; } 2>/dev/null ||
            echo "warning: $place cannot be made; attention without kernels of its own will fail" >&2
    done <"$here/places"
else # the program starts and runs on the CPU
    search=$here/stubs${search:+:$search}
    [ "${missing[0]}" = libcuda.so.1 ] ||
        echo "warning: no GPU without ${missing[*]}: install CUDA 13, or pip install nvidia-cublas nvidia-cuda-nvrtc" >&2
fi
export LD_LIBRARY_PATH=$search
exec "$here/$program" "$@"
RUN
chmod +x "$out/run"

# 6. Everything that is called must be there.
if [ "$libraries" = yes ]; then
    for program in "$out/attnlab" "$out/tests"; do
        [ -e "$program" ] || continue
        unresolved=$(LD_LIBRARY_PATH=$out/lib:$out/stubs ldd -r "$program" 2>&1 | grep -E 'not found|undefined' || true)
        [ -z "$unresolved" ] || fail "$program does not load: $unresolved"
    done
    echo "== ldd -r: nothing is missing in the real libraries"
fi
if [ "$libraries$tests" = yesyes ]; then
    LD_LIBRARY_PATH=$out/lib:$out/stubs "$out/tests" --ignored nvrtc_compiles | tee /dev/stderr | grep -q ' 1 passed' ||
        fail "NVRTC does not compile every kernel for compute capability $capability"
    echo "== NVRTC compiles every kernel for compute capability $capability"
fi
echo "== $(du -sh "$out" | cut -f1) in $out; where the GPU is: run ARGUMENTS"
