#!/usr/bin/env bash
# Builds csrc and C programs on top of it, and runs them.
#
#   tests/c/run.sh                              every tests/c/test_*.c, and the files that fuzzing found,
#                                               with sanitizers, then without
#   tests/c/run.sh --sanitize | --plain         only one of the two (address and undefined behaviour)
#   tests/c/run.sh --tsan                       the tests of threads with the thread sanitizer;
#                                               FASTFA_TEST_QUICK=STEPS makes them shorter
#   tests/c/run.sh --valgrind                   the tests of the library's promises under valgrind, short
#   tests/c/run.sh --coverage                   how much of csrc (but its kernels) all of them run, by gcov and
#                                               gcovr; fails below FASTFA_LINES or FASTFA_BRANCHES per cent
#   tests/c/run.sh --plain bench/micro/kernels.c ...  these programs instead
#   RUNNER=valgrind tests/c/run.sh ...          runs them under another program
#
# A program that runs for more than ten minutes (FASTFA_TEST_SECONDS) is aborted, which is a failure.
# Needs a C compiler (CC, default cc). What it builds is kept under build/ and reused. Plain programs
# find the OpenBLAS of an editable install, where there is one.
set -euo pipefail
cd "$(dirname "$0")/../.."

export CC=${CC:-cc}
case $($CC -dumpmachine) in # isa_c.c is not shipped for the first two, but tested
    x86_64*) export machine='-DFA_X86 -DFA_BF16_KERNELS' foreign='isa_neon.c' ;;
    aarch64*) export machine='' foreign='isa_[vb]*.c' ;;
    *) export machine='' foreign='isa_[!c]*.c' ;;
esac

# One row of csrc/cflags.txt; nothing for a file that has none.
flags() { sed -n "s/^$1  *//p" csrc/cflags.txt; }

# compile SOURCE OBJECT OPTIONS: unless the object is newer than anything it may depend on.
compile() {
    local source=$1 object=$2 options=$3
    local folders=csrc
    [[ $source == csrc/* ]] || folders="csrc tests/c tests/fuzz/*.h $source"
    local changed="find $folders -type f -newer $object -print -quit"
    [[ -e $object && -z $($changed) ]] && return
    # shellcheck disable=SC2046,SC2086  # these are lists of words
    $CC $(flags common) $(flags "$(basename "$source" .c)") $options $machine \
        -Wall -Wextra -Wshadow -Werror -Icsrc -Icsrc/kernels -c "$source" -o "$object"
}
export -f flags compile

# run_all KIND PROGRAM.c...: builds csrc and the programs under build/, runs each program.
run_all() {
    local kind=$1 options link='' own source sources kernel_sources objects program name failed=0
    shift
    # without it gcc leaves out vzeroupper, and what follows a kernel waits for the upper halves of registers
    local -r cleared="-fexpensive-optimizations -Wno-ignored-optimization-argument"
    case $kind in
        plain) options="-O3" ;;
        sanitize) options="-O1 $cleared -g1 -fno-omit-frame-pointer -fsanitize=address,undefined"
                  options+=" -fno-sanitize-recover=undefined" ;;
        tsan) options="-O1 $cleared -g1 -fsanitize=thread" ;;
        coverage) options="-O1 $cleared --coverage -fprofile-update=atomic"
                  link="tests/c/coverage.c -Wl,--wrap=_exit" ;;
    esac
    export out=build/c-$kind-${CC//[ \/]/_} kernels
    export release=$options kernel_options # the programs keep their assertions
    [[ $kind == plain || $kind == coverage ]] && release+=" -DNDEBUG"
    # calls have 32 KiB of stack (tests/c/test_stack.c): no function takes a large part of it
    [[ $kind == plain ]] && release+=" -Wframe-larger-than=9216"
    kernels=$out kernel_options=$release
    if [[ $kind == coverage ]]; then # macros, for each instruction set and type: not counted, and the plain ones do
        kernels=${out/coverage/plain} kernel_options="-O3 -DNDEBUG -Wframe-larger-than=9216"
    fi
    mkdir -p "$out" "$kernels"
    rm -f "$out"/*.gcda
    if [[ $kind == plain && $PWD != *[[:space:]]* ]]; then # a program opens none by itself
        release+=" -DFASTFA_VENDORED=\"$PWD/src/fastfa\""
    fi

    sources=$(find csrc -name '*.c' ! -name "$foreign" ! -path 'csrc/kernels/*' | sort)
    kernel_sources=$(find csrc/kernels -name '*.c' ! -name "$foreign" | sort)
    xargs -P "$(nproc)" -L1 bash -euc 'compile "$0" "${!1}/$(basename "$0" .c).o" "${!2}"' <<<"$(
        for source in $kernel_sources; do echo "$source" kernels kernel_options; done
        for source in $sources; do echo "$source" out release; done)"
    # shellcheck disable=SC2086
    objects="$(basename -s .c $sources | sed "s|.*|$out/&.o|") $(basename -s .c $kernel_sources | sed "s|.*|$kernels/&.o|")"

    for program in "$@"; do
        name=$out/$(basename "$program" .c)
        echo "-- $program ($kind)"
        compile "$program" "$name.o" "$options"
        own=$(sed -n 's|^ \* Link: \(.*\) \*/$|\1|p' "$program") # of its first comment
        # shellcheck disable=SC2086
        $CC $options $link $own "$name.o" $objects -lm -lpthread -ldl -o "$name"
        # shellcheck disable=SC2086
        timeout -k 10 "${FASTFA_TEST_SECONDS:-600}" ${RUNNER-} "$name" || { echo "-- $program ($kind): exit status $?"; failed=1; }
    done
    return $failed
}

# Of what gcc counted while they ran: each file, then the floors. Not blas.c, whose library is not here, nor exports.c,
# which makes symbols of what fastfa.h has inline: the tests of the Python package see to both. A child that writes its
# counts while threads run has counted the way into a function but not yet the way out, and gcov, which subtracts the one
# from the other, may show -1: a warning, no error.
report_coverage() {
    gcovr --root . --object-directory "$out" --filter csrc/ --exclude csrc/linalg/blas.c --exclude csrc/api/exports.c \
        --exclude csrc/fastfa.h --gcov-ignore-parse-errors negative_hits.warn_once_per_file --txt \
        --txt-metric line --txt-metric branch --print-summary --fail-under-line "${FASTFA_LINES:-98}" \
        --fail-under-branch "${FASTFA_BRANCHES:-92}" "$out"
}

# The header for its users: strict C99 and C++11, by every compiler that is here.
check_header() {
    local compiler language
    for compiler in gcc clang g++ clang++; do
        command -v "$compiler" >/dev/null || continue
        case $compiler in *++) language="c++ -std=c++11" ;; *) language="c -std=c99" ;; esac
        echo "-- fastfa.h ($compiler -x $language)"
        # shellcheck disable=SC2086
        "$compiler" -x $language -pedantic -Wall -Wextra -Werror -Icsrc -fsyntax-only \
            tests/c/test_header.c
    done
}

kinds="sanitize plain"
case ${1-} in
    --sanitize | --plain | --tsan | --coverage) kinds=${1#--}; shift ;;
    --valgrind)
        command -v valgrind >/dev/null || { echo "SKIPPED: valgrind is not installed"; exit 0; }
        kinds=plain
        # fair: by default a thread that loops can keep the others from running, for hours
        export RUNNER="valgrind --quiet --fair-sched=yes --error-exitcode=9 --leak-check=full"
        export FASTFA_TEST_QUICK=10
        shift
        (( $# )) || set -- tests/c/test_{library,thread_pool,engine_threads,engine_memory}.c ;;
    -*) sed -n '2,16s/^# \{0,1\}//p' "$0" >&2; exit 2 ;;
esac
if (( ! $# )) && [[ $kinds == tsan ]]; then
    set -- tests/c/test_{thread_pool,engine_threads,engine_bits,step_by_columns,cancelled}.c
fi
if (( ! $# )) && [[ $kinds == coverage ]]; then
    export FASTFA_FUZZ_SECONDS=0 # kept inputs only: the same figures each time
    # shellcheck disable=SC2046  # a list of words; these three run kernels alone
    set -- $(printf '%s\n' tests/c/test_*.c | grep -Ev 'test_(kernels|math|products)\.c') tests/fuzz/fuzz_*.c
fi
if (( ! $# )); then
    check_header
    set -- tests/c/test_*.c tests/fuzz/fuzz_*.c # which try their kept inputs
fi
for kind in $kinds; do run_all "$kind" "$@"; done
if [[ $kinds == coverage ]]; then report_coverage; fi
