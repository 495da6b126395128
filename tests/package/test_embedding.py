"""The C library in the installed package: what is there, what it exports, how to link with it."""

import ctypes
import json
import re
import shlex
import shutil
import sys
from pathlib import Path

import pytest
from compiling import CC, PROGRAMS, STRICT, USABLE, need, run, words

import fastfa

HEADER = Path(fastfa.get_include(), "fastfa.h")
LIB = Path(fastfa.get_library_dir())
ARCHIVE = LIB / "libfastfa.a"
MAJOR_MINOR = ".".join(fastfa.__version__.split(".")[:2])
SHARED = LIB / f"libfastfa.so.{MAJOR_MINOR}"
PUBLIC = set(re.findall(r"^FA_API [^(]*?(\w+)\(", HEADER.read_text(), re.M))
INLINE = set(re.findall(r"^static inline \w+ (\w+)\(", HEADER.read_text(), re.M))


def names(*options):
    listing = run(need("nm"), "--defined-only", *options)
    return {line.split()[-1] for line in listing.splitlines() if len(line.split()) == 3}


def test_shared_library_exports_what_the_header_declares():
    assert "fa_net_create" in PUBLIC
    assert "fa_dense" in INLINE
    assert names("-D", SHARED) == PUBLIC | INLINE


def test_library_cannot_print_or_end_the_process():
    listing = run(need("nm"), "-D", "--undefined-only", SHARED)
    wanted = {line.split()[-1].split("@")[0] for line in listing.splitlines()}
    assert {"pthread_rwlock_rdlock", "memcpy"} <= wanted
    never = {"stdout", "stderr", "printf", "vprintf", "puts", "putchar", "perror"}
    assert not wanted & (never | {"__printf_chk", "exit", "_exit", "abort", "__assert_fail"})


def test_archive_brings_no_names_but_ours_into_a_program():
    assert names("-g", ARCHIVE) >= PUBLIC
    assert {name for name in names("-g", ARCHIVE) if not name.startswith("fa_")} == set()


def test_shared_library_is_small_and_has_a_versioned_name():
    # convolutions, compressed rows and five optimizers took half a megabyte of kernels for each
    # instruction set and type
    assert SHARED.stat().st_size <= 2_250_000
    assert f"[{SHARED.name}]" in run(need("readelf"), "-d", SHARED)


def test_shared_library_is_this_version_and_finds_the_vendored_blas():
    library = ctypes.CDLL(str(SHARED))
    library.fa_build_info.restype = ctypes.c_char_p
    info = json.loads(library.fa_build_info().decode())
    assert info == fastfa.build_info()


def _fields(name):
    """The fields of a struct of the header as ctypes has them: enums are ints, pointers void *."""
    text = re.sub(r"/\*.*?\*/", "", HEADER.read_text(), flags=re.S)
    body = re.search(rf"^typedef struct {name} \{{(.*?)^\}} {name};", text, re.M | re.S)[1]
    kinds = {
        "size_t": ctypes.c_size_t, "ptrdiff_t": ctypes.c_ssize_t, "double": ctypes.c_double,
        "int": ctypes.c_int, "int64_t": ctypes.c_int64, "uint64_t": ctypes.c_uint64,
        "fa_dtype": ctypes.c_int,
    }  # fmt: skip
    for line in filter(None, map(str.strip, body.split(";"))):
        if pointer := re.search(r"\(\*(\w+)\)", line):
            yield pointer[1], ctypes.c_void_p
            continue
        kind, rest = re.fullmatch(r"(?:const )?(\w+) (.*)", line, re.S).groups()
        for word in map(str.strip, rest.split(",")):
            if word.startswith("*"):
                yield word[1:], ctypes.c_char_p if kind == "char" else ctypes.c_void_p
            else:
                yield word, _struct(kind) if kind == "fa_init" else kinds[kind]


def _struct(name):
    return type(name, (ctypes.Structure,), {"_fields_": list(_fields(name))})


def _train_through_ctypes(make):
    """Loss before and after training a network that `make` describes, with no C compiled."""
    library = ctypes.CDLL(str(SHARED))
    library.fa_last_error.restype = ctypes.c_char_p
    desc, kept = make(library)
    net = ctypes.c_void_p()
    assert library.fa_net_create(ctypes.byref(net), ctypes.byref(desc)) == 0, (
        library.fa_last_error()
    )
    n = 64
    x = (ctypes.c_float * (4 * n))(*((i * i % 17 - 8) / 8 for i in range(4 * n)))
    labels = (ctypes.c_int64 * n)(*(int(x[4 * i] > 0) for i in range(n)))
    samples = _struct("fa_samples")()
    samples.struct_size = ctypes.sizeof(samples)
    samples.x, samples.ldx, samples.n = ctypes.addressof(x), 4, n
    samples.labels = ctypes.addressof(labels)
    loss, losses = ctypes.c_double(), []
    for _ in range(300):
        arguments = ctypes.byref(loss), net, ctypes.byref(samples)
        assert library.fa_train_batch(*arguments) == 0, library.fa_last_error()
        losses.append(loss.value)
    library.fa_net_free(net)
    del kept
    return losses


def _by_initialisers(library):
    made = {}
    for name in ("layer_desc", "rule_desc", "net_desc"):
        made[name] = _struct(f"fa_{name}")
    library.fa_dense.restype, library.fa_rule_of.restype = made["layer_desc"], made["rule_desc"]
    library.fa_net_defaults.restype = made["net_desc"]
    library.fa_dense.argtypes = [ctypes.c_int64, ctypes.c_char_p]
    layers = (made["layer_desc"] * 2)(library.fa_dense(16, b"tanh"), library.fa_dense(2, b"linear"))
    rule, desc = library.fa_rule_of(b"dfa"), library.fa_net_defaults()
    return _describe(desc, layers, rule)


def _by_zeros(library):
    layers = (_struct("fa_layer_desc") * 2)()
    for layer, units, activation in zip(layers, (16, 2), (b"tanh", b"linear"), strict=True):
        layer.struct_size, layer.type = ctypes.sizeof(layer), b"dense"
        layer.units, layer.activation = units, activation
    rule, desc = _struct("fa_rule_desc")(), _struct("fa_net_desc")()
    rule.struct_size, rule.name = ctypes.sizeof(rule), b"dfa"
    desc.struct_size, desc.loss = ctypes.sizeof(desc), b"softmax_cross_entropy"
    return _describe(desc, layers, rule)


def _describe(desc, layers, rule):
    desc.n_in, desc.n_layers = 4, 2
    desc.layers, desc.rule = ctypes.addressof(layers), ctypes.addressof(rule)
    return desc, (layers, rule)


def test_training_through_ctypes():
    """From a language without C headers: by the initialisers, and by structs of zeros alone."""
    losses = _train_through_ctypes(_by_initialisers)
    assert losses[-1] < losses[0] / 2
    assert _train_through_ctypes(_by_zeros) == losses


@pytest.fixture(scope="module")
def from_archive(tmp_path_factory):
    program = tmp_path_factory.mktemp("archive") / "bits"
    run(*CC, PROGRAMS / "bits.c", *words("--cflags", "--libs", "--static"), "-o", program)
    return re.findall("hash .*", run(program))


@pytest.mark.parametrize("static", ["", "--static"])
@pytest.mark.parametrize("name", ["plain", "a space", "two  spaces\tand [a-z] 'quotes' \u00e9"])
def test_documented_line_wherever_the_package_lies(name, static, tmp_path, from_archive):
    """`cc program.c $(python -m fastfa --cflags --libs)`: a shell looks at no quotes there."""
    package = tmp_path / name / "fastfa"
    ignore = shutil.ignore_patterns("_vendor", "__pycache__")
    shutil.copytree(Path(fastfa.__file__).parent, package, ignore=ignore)
    shutil.copy(PROGRAMS / "bits.c", tmp_path)
    flags = f"{shlex.quote(sys.executable)} -m fastfa --cflags --libs {static}"
    for line in (f"cc bits.c $({flags}) -o bits", f'eval "cc bits.c $({flags}) -o bits"'):
        run("sh", "-c", f"cd '{tmp_path}' && {line}", PYTHONPATH=str(package.parent))
        assert re.findall("hash .*", run(tmp_path / "bits")) == from_archive
        (tmp_path / "bits").unlink()


def test_static_program_trains_on_a_small_stack(tmp_path):
    libraries = words("--cflags", "--libs", "--static")
    run(*CC, *STRICT, "-static", PROGRAMS / "small_stack.c", *libraries, "-o", tmp_path / "program")
    for isa in USABLE:
        little, plenty = run(tmp_path / "program", FASTFA_CPU=isa, FASTFA_GEMM="own").split()
        assert little == plenty


@pytest.mark.parametrize("how", ["python -m fastfa", "pkgconf"])
def test_program_linked_with_the_shared_library(how, tmp_path, from_archive):
    ask = [sys.executable, "-m", "pkgconf", "fastfa"] if how == "pkgconf" else words
    options = ["--cflags", "--libs"]
    flags = shlex.split(run(*ask, *options)) if how == "pkgconf" else words(*options)
    run(*CC, PROGRAMS / "bits.c", *flags, "-o", tmp_path / "bits")
    assert re.findall("hash .*", run(tmp_path / "bits")) == from_archive
    assert len(from_archive) > 20
    assert SHARED.name in run(need("readelf"), "-d", tmp_path / "bits")


def test_pkgconf_names_what_the_archive_needs():
    flags = run(sys.executable, "-m", "pkgconf", "--static", "--libs", "fastfa").split()
    assert {"-lfastfa", "-lm", "-lpthread", "-ldl"} <= set(flags)
    version = run(sys.executable, "-m", "pkgconf", "--modversion", "fastfa")
    assert version.strip() == fastfa.__version__


@pytest.mark.slow
def test_cmake_targets(tmp_path, from_archive):
    cmake = need("cmake")
    (tmp_path / "CMakeLists.txt").write_text(
        "cmake_minimum_required(VERSION 3.16)\n"
        "project(embed C)\n"
        "find_package(fastfa CONFIG REQUIRED)\n"
        + "".join(
            f"add_executable({kind} {PROGRAMS / 'bits.c'})\n"
            f"target_link_libraries({kind} PRIVATE fastfa::{kind})\n"
            for kind in ("fastfa", "static")
        )
    )
    run(cmake, "-S", tmp_path, "-B", tmp_path / "prefix", f"-DCMAKE_PREFIX_PATH={LIB.parent}")
    run(cmake, "-S", tmp_path, "-B", tmp_path / "build", f"-Dfastfa_DIR={LIB}/cmake/fastfa")
    run(cmake, "--build", tmp_path / "build")
    for kind in ("fastfa", "static"):
        assert re.findall("hash .*", run(tmp_path / "build" / kind)) == from_archive


@pytest.mark.parametrize("language", ["c99", "c11", "c++11", "c++17"])
def test_header_is_clean(language, tmp_path):
    compiler = [need("g++")] if "++" in language else CC
    source = tmp_path / f"use.{'cc' if '++' in language else 'c'}"
    source.write_text(
        '#include "fastfa.h"\n#include "fastfa.h"\n'
        "int main(void) { return fa_net_defaults().n_threads + (fa_version() == 0); }\n"
    )
    flags = (*STRICT, "-Wshadow", "-Wconversion", f"-std={language}")
    run(*compiler, *flags, source, *words("--cflags", "--libs"), "-o", tmp_path / "use")
    run(tmp_path / "use")
