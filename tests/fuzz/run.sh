#!/usr/bin/env bash
# Looks for bytes on which the loader of networks does what it must not, with libFuzzer.
#
#   tests/fuzz/run.sh [SECONDS]     default 60; needs clang with its libFuzzer (CLANG, default clang)
#
# Starts from tests/fuzz/corpus. New inputs go to build/fuzz/corpus; what fails goes to tests/fuzz/crashes, where
# tests/c/run.sh finds and replays it with any compiler. `MINIMIZE=1` puts the fewest files of the same coverage
# back into tests/fuzz/corpus afterwards.
set -euo pipefail
cd "$(dirname "$0")/../.."

clang=${CLANG:-clang}
out=build/fuzz
mkdir -p $out/corpus tests/fuzz/crashes
flags() { sed -n "s/^$1  *//p" csrc/cflags.txt; }
[[ $(uname -m) == x86_64 ]] && machine=-DFA_X86 foreign=isa_c || machine='' foreign='isa_v?'

objects=()
for source in $(find csrc -name '*.c' ! -name "$foreign.c") tests/fuzz/fuzz_load.c; do
    object=$out/$(basename "$source" .c).o
    objects+=("$object")
    [[ $object -nt $source && -z $(find csrc -newer "$object" -name '*.[ch]' -print -quit) ]] && continue
    # shellcheck disable=SC2046
    $clang $(flags common) $(flags "$(basename "$source" .c)") $machine -DFUZZING -DFASTFA_NO_BLAS -O1 -g \
        -fno-omit-frame-pointer -fsanitize=fuzzer-no-link,address,undefined \
        -fno-sanitize-recover=undefined -Icsrc -Icsrc/kernels -c "$source" -o "$object"
done
$clang -fsanitize=fuzzer,address,undefined "${objects[@]}" -lm -lpthread -ldl -o $out/fuzz_load

$out/fuzz_load -max_total_time="${1:-60}" -max_len=8192 -timeout=10 -rss_limit_mb=2048 -malloc_limit_mb=256 \
    -dict=tests/fuzz/words.dict -artifact_prefix=tests/fuzz/crashes/ -print_final_stats=1 \
    $out/corpus tests/fuzz/corpus
if [[ ${MINIMIZE-} == 1 ]]; then
    rm -rf $out/least
    mkdir $out/least
    $out/fuzz_load -merge=1 -max_len=8192 $out/least tests/fuzz/corpus $out/corpus
    rm -f tests/fuzz/corpus/*
    cp $out/least/* tests/fuzz/corpus/
fi
