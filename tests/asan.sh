#!/bin/sh
# Runs tests under AddressSanitizer: `tests/asan.sh [arguments of cargo test]`, by default the conformance suite, the
# random programs and the collector's tests. Accesses beyond an allocation and after it has been freed end the test;
# stacks, caches and whatever else comes from the system's allocator are seen exactly, cells of the heap by their blocks.
#
# The standard library is the ordinary one, so this works with the stable toolchain.
set -eu
cd "$(dirname "$0")/.."
if [ $# -eq 0 ]; then
    set -- --test conformance --test random_programs --test collector
fi
target=$(rustc -vV | sed -n 's/^host: //p')
# Deep recursion needs larger frames; what lives until the process ends is not a leak of a VM.
export RUST_MIN_STACK=67108864
export ASAN_OPTIONS="detect_leaks=0${ASAN_OPTIONS:+:$ASAN_OPTIONS}"
export RUSTC_BOOTSTRAP=1
export RUSTFLAGS="-Zsanitizer=address ${RUSTFLAGS:-}"
exec cargo test --target "$target" "$@"
