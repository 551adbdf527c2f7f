#!/bin/sh
# `make sanitize`: csrc/kernels under AddressSanitizer and UndefinedBehaviorSanitizer, one object a level as build.rs makes them, and the
# messages of csrc/errors.cpp where there is no memory.
set -eu
cd "$(dirname "$0")/.."
out=target/sanitize
mkdir -p "$out"
avx512="-mavx512f -mavx512bw -mavx512vl -mavx512dq -mfma -mprefer-vector-width=512"
common="-std=c++17 -O1 -g1 -Wall -Wextra -Werror -Wno-psabi -Wno-maybe-uninitialized -fsanitize=address,undefined -fno-sanitize-recover=all"

level() {
	name=$1
	upper=$2
	shift 2
	"${CXX:-g++}" $common -fno-math-errno -fno-trapping-math "-DLEVEL=$upper" "-DTABLE=kernels_$name" "$@" \
		-c csrc/kernels/level.cpp -o "$out/$name.o"
}

level default DEFAULT
level avx2 AVX2 -mavx2 -mfma
level avx512 AVX512 $avx512
level avx512bf16 AVX512BF16 $avx512 -mavx512bf16
"${CXX:-g++}" $common tests/sanitize/kernels.cpp "$out"/*.o -o "$out/kernels"
"${CXX:-g++}" $common csrc/errors.cpp tests/sanitize/messages.cpp -o "$out/messages"
ASAN_OPTIONS=allocator_may_return_null=1:max_allocation_size_mb=1 "$out/messages"
"$out/kernels"
