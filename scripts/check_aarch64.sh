#!/bin/sh
# `make check-aarch64`: csrc/kernels for 64-bit ARM, compiled with Debian's cross compiler and run by QEMU; its results must be near those
# of this machine. Needs the Debian packages g++-aarch64-linux-gnu and qemu-user-static.
set -eu
cd "$(dirname "$0")/.."
for program in aarch64-linux-gnu-g++ qemu-aarch64-static; do
	command -v $program >/dev/null || {
		echo "error: \`$program\` is not on the PATH" >&2
		echo "hint: install the Debian packages g++-aarch64-linux-gnu and qemu-user-static" >&2
		exit 1
	}
done
out=target/aarch64
mkdir -p "$out"
common="-std=c++17 -Wall -Wextra -Werror -Wno-psabi -Wno-maybe-uninitialized -fno-math-errno -fno-trapping-math"
avx512="-mavx512f -mavx512bw -mavx512vl -mavx512dq -mfma"

level() {
	compiler=$1
	name=$2
	shift 2
	$compiler $common "-DLEVEL=$(echo "$name" | tr '[:lower:]' '[:upper:]')" "-DTABLE=kernels_$name" "$@" \
		-c csrc/kernels/level.cpp -o "$out/$name.o"
}

# This machine's. Only the default level runs; the others are there to be linked.
level "${CXX:-g++}" default -O1
level "${CXX:-g++}" avx2 -O1 -mavx2 -mfma
level "${CXX:-g++}" avx512 -O1 $avx512
level "${CXX:-g++}" avx512bf16 -O1 $avx512 -mavx512bf16
"${CXX:-g++}" $common -O1 tests/sanitize/kernels.cpp "$out"/*.o -o "$out/kernels-host"
"$out/kernels-host" write "$out/results"
rm "$out"/*.o
level aarch64-linux-gnu-g++ default -O3
aarch64-linux-gnu-g++ $common -O1 -static tests/sanitize/kernels.cpp "$out/default.o" -o "$out/kernels-aarch64"
qemu-aarch64-static "$out/kernels-aarch64" read "$out/results"
rm "$out/results"
