#!/usr/bin/env bash
# Looks for inputs on which the library does what it must not, with libFuzzer. tests/fuzz/README.md says more.
#
#   tests/fuzz/run.sh load [SECONDS]     bytes as files; tests/fuzz/corpus
#   tests/fuzz/run.sh calls [SECONDS]    sequences of calls; tests/fuzz/corpus_calls
#
# SECONDS: default 60. Needs clang with its libFuzzer (CLANG, default clang). Starts from the corpus. New inputs go to
# build/fuzz/corpus_X; what fails goes to tests/fuzz/crashes_X, where tests/c/run.sh finds and replays it with
# any compiler. `MINIMIZE=1` puts the fewest files of the same coverage back into the corpus afterwards.
set -euo pipefail
cd "$(dirname "$0")/../.."

clang=${CLANG:-clang} out=build/fuzz
case ${1-} in
    load) kept=corpus crashes=crashes limits="-max_len=8192 -dict=tests/fuzz/words.dict" ;;
    calls) kept=corpus_calls crashes=crashes_calls limits="-max_len=600 -len_control=0" ;;
    *) sed -n '2,10s/^# \{0,1\}//p' "$0" >&2; exit 2 ;;
esac
new=$out/$kept kept=tests/fuzz/$kept crashes=tests/fuzz/$crashes
mkdir -p "$new" "$kept" "$crashes"
flags() { sed -n "s/^$1  *//p" csrc/cflags.txt; }
[[ $(uname -m) == x86_64 ]] && machine=-DFA_X86 foreign='isa_[cn]*' || machine='' foreign='isa_v?'

objects=()
for source in $(find csrc -name '*.c' ! -name "$foreign.c") tests/fuzz/fuzz_$1.c; do
    object=$out/$(basename "$source" .c).o
    objects+=("$object")
    [[ $object -nt $source && -z $(find csrc tests/fuzz tests/c/bytes.h -newer "$object" -name '*.[ch]' -print -quit) ]] && continue
    instrumented="fuzzer-no-link,address,undefined"
    # without coverage and undefined behaviour, which cost minutes here: tests/c/run.sh --sanitize has the latter
    [[ $source == */isa_* ]] && instrumented=address
    # shellcheck disable=SC2046
    $clang $(flags common) $(flags "$(basename "$source" .c)") $machine -DFUZZING -DFASTFA_NO_BLAS -O1 -g \
        -fno-omit-frame-pointer -fsanitize=$instrumented -fno-sanitize-recover=all -Icsrc -Icsrc/kernels \
        -c "$source" -o "$object"
done
fuzzer=$out/fuzz_$1
$clang -fsanitize=fuzzer,address,undefined "${objects[@]}" -lm -lpthread -ldl -o "$fuzzer"

# shellcheck disable=SC2086
"$fuzzer" -max_total_time="${2:-60}" $limits -timeout=20 -rss_limit_mb=2048 -malloc_limit_mb=300 \
    -artifact_prefix="$crashes/" -print_final_stats=1 "$new" "$kept"
if [[ ${MINIMIZE-} == 1 ]]; then
    least=$out/least
    rm -rf $least
    mkdir $least
    # shellcheck disable=SC2086
    "$fuzzer" -set_cover_merge=1 -use_counters=0 $limits $least "$kept" "$new"
    rm -f "$kept"/*
    cp $least/* "$kept"/
fi
