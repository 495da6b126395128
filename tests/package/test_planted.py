"""What the engine opens: a library beside the shared object that contains it, nothing else.

Each folder in which a careless search would look has a library whose constructor says so.
"""

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from compiling import CC, USABLE, run, words

import fastfa

NAME = "_vendor/libscipy_openblas-fastfa.so"
NEEDS_BLAS = ({"FASTFA_GEMM": "blas"}, {"FASTFA_CPU": "v2"}, {"FASTFA_CPU": "v9"})
USE = """
#include "fastfa.h"
#include <stdio.h>
void use(void)
{
    fa_layer_desc layer = fa_dense(2, "linear");
    fa_net_desc desc = fa_net_defaults();
    fa_net *net = NULL;
    desc.n_in = 2, desc.layers = &layer, desc.n_layers = 1;
    const fa_status status = fa_net_create(&net, &desc);
    printf("status %d\\n%s\\n", (int)status, status ? fa_last_error() : "made");
    puts(fa_build_info());
    fa_net_free(net);
}
"""
MAIN = "void use(void);\nint main(void) { use(); return 0; }\n"
HOST = """
#include <dlfcn.h>
#include <stdio.h>
#include <unistd.h>
int main(int n, char **words) /* opens a file, goes to a folder, uses the engine */
{
    void *plugin = dlopen(words[1], RTLD_NOW);
    if (!plugin) return puts(dlerror()), 1;
    void (*use)(void) = (void (*)(void))dlsym(plugin, "use");
    if (n > 2 && chdir(words[2])) return 2;
    use();
    return 0;
}
"""
PLANTED = """
#include <stdio.h>
__attribute__((constructor)) static void run(void) { puts("PLANTED"); }
"""


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """A folder of programs and plugins, and another that has the planted library everywhere."""
    folder = tmp_path_factory.mktemp("built")
    for name, text in (("use", USE), ("main", MAIN), ("host", HOST), ("planted", PLANTED)):
        (folder / f"{name}.c").write_text(text)
    archive = words("--cflags", "--libs", "--static")
    use = [folder / "use.c", *archive]
    run(*CC, folder / "main.c", *use, "-o", folder / "program")
    run(*CC, "-shared", "-fPIC", *use, "-o", folder / "plugin.so")
    run(*CC, folder / "host.c", "-ldl", "-o", folder / "host")
    run(*CC, "-shared", "-fPIC", folder / "planted.c", "-o", folder / "planted.so")
    return folder


def plant(built, folder):
    """Put the library into what is below the folder and what is above it."""
    for place in (folder / NAME, folder.parent / NAME):
        place.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(built / "planted.so", place)


@pytest.fixture
def evil(built, tmp_path):
    """Where the user stands."""
    folder = tmp_path / "above" / "here"
    folder.mkdir(parents=True)
    plant(built, folder)
    return folder


def opens(folder, command, **environment):
    """Whether the planted library's code runs, as every way of needing a BLAS does."""
    said = [run("env", "-C", folder, *command, **need, **environment) for need in NEEDS_BLAS]
    assert all("status" in one for one in said)
    return "PLANTED" in "".join(said)


def test_program_opens_nothing_where_the_user_stands(built, evil):
    path = f"{built}:{os.environ['PATH']}"
    assert not opens(evil, ["program"], PATH=path)
    assert not opens(evil, ["bash", "-c", f"exec -a x {built}/program"])
    assert not opens(evil, ["bash", "-c", f"exec -a '' {built}/program"])
    assert not opens(evil, ["bash", "-c", f"exec -a ./x {built}/program"])
    assert not opens("/", ["bash", "-c", f"exec -a {evil}/x {built}/program"])
    assert not opens("/", ["bash", "-c", f"exec -a {evil}/../x {built}/program"])
    assert not opens("/", ["bash", "-c", f"exec -a {evil}/fastfa/lib/libfastfa.so {built}/program"])
    shutil.copy(built / "program", evil)
    assert not opens(evil, [evil / "program"])


def test_program_given_to_the_loader(built, evil):
    interpreter = re.search(r"(/\S*ld-\S*)\]", run("readelf", "-l", built / "program"))
    if not interpreter:
        pytest.skip("the program names no loader")
    shutil.copy(built / "program", evil)
    assert not opens(evil, [interpreter[1], "./program"])
    assert not opens(evil, [interpreter[1], evil / "program"])


@pytest.mark.parametrize("kind", ["-static", "-static-pie", "-no-pie", "-pie"])
def test_program_of_another_kind(kind, built, evil, tmp_path):
    command = [*CC, kind, built / "main.c", built / "use.c", "-w"]
    command += [*words("--cflags", "--libs", "--static"), "-o", tmp_path / "program"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"this compiler makes none: {done.stderr.splitlines()[-1]}")
    assert not opens(evil, ["bash", "-c", f"exec -a x {tmp_path}/program"])
    assert not opens(evil, ["bash", "-c", f"exec -a {evil}/x {tmp_path}/program"])


def test_shared_object_of_a_relative_path_opens_nothing(built, evil):
    shutil.copy(built / "plugin.so", evil)
    assert not opens(evil, [built / "host", "./plugin.so"])
    assert not opens(evil, [built / "host", "../here/plugin.so"])
    assert not opens(built, [built / "host", "./plugin.so", evil])
    assert not opens(evil, [built / "host", "plugin.so"], LD_LIBRARY_PATH=":/nowhere")
    assert not opens("/", [built / "host", "plugin.so", evil], LD_LIBRARY_PATH=built)


def needs_blas():
    if "built without BLAS" in fastfa.build_info()["blas"]:
        pytest.skip("built without BLAS")


def test_shared_object_opens_what_lies_beside_it(built, evil, tmp_path):
    """Beside it only: the folder above may be anybody's."""
    needs_blas()
    shutil.copy(built / "plugin.so", evil)
    assert opens("/", [built / "host", evil / "plugin.so"])
    assert opens("/", [built / "host", evil / "../here/plugin.so"])
    (evil / "within").mkdir()
    shutil.copy(built / "plugin.so", evil / "within")
    assert not opens(evil, [built / "host", evil / "within/plugin.so"])
    (tmp_path / "link.so").symlink_to(evil / "within/plugin.so")
    plant(built, tmp_path)
    assert not opens(tmp_path, [built / "host", tmp_path / "link.so"])


def test_library_of_the_package_finds_its_own_however_it_is_found(built, tmp_path):
    if "OpenBLAS" not in fastfa.build_info()["blas"]:
        pytest.skip("built without BLAS")
    library = next(Path(fastfa.get_library_dir()).glob("libfastfa.so.*"))
    (tmp_path / "link.so").symlink_to(library)
    flags = words("--cflags")
    for name in (library, library.parent / "pkgconfig/.." / library.name, tmp_path / "link.so"):
        run(*CC, built / "main.c", built / "use.c", *flags, name, "-o", tmp_path / "program")
        assert "OpenBLAS" in run(tmp_path / "program", LD_LIBRARY_PATH=library.parent)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can make a program of another user's")
def test_privileged_program_reads_no_variable_and_opens_nothing(built, evil, tmp_path):
    """Run by nobody, a program that root owns and that is set-uid."""
    for folder in (tmp_path, *tmp_path.parents[:3]):
        folder.chmod(0o755)
    for name in ("program", "plugin.so", "host"):
        shutil.copy(built / name, evil)
        (evil / name).chmod(0o4755)
    user = {"user": 65534, "group": 65534, "capture_output": True, "text": True}
    if "nosuid" in run("findmnt", "-no", "OPTIONS", "-T", evil):
        pytest.skip("the folder's file system takes no set-uid programs")

    def said(*command, **environment):
        environment = {"PATH": os.environ["PATH"], **environment}
        done = subprocess.run(command, cwd=evil, env=environment, check=False, **user)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    plain = said(evil / "program")
    assert "status 0" in plain
    assert "PLANTED" not in plain
    for name, value in (("FASTFA_CPU", "v9"), ("FASTFA_GEMM", "no"), ("FASTFA_NUM_THREADS", "7")):
        assert said(evil / "program", **{name: value}) == plain
    assert "PLANTED" not in said(evil / "host", evil / "plugin.so")


def test_program_on_an_older_processor_goes_on_without_blas(built):
    needs_blas()
    if "v2" not in USABLE:
        pytest.skip("no x86-64")
    said = run(built / "program", FASTFA_CPU="v2")
    assert "status 0" in said
    assert '"blas": "the engine is a part of the program' in said
    refused = run(built / "program", FASTFA_GEMM="blas")
    assert "status -5" in refused
    assert "FASTFA_GEMM=blas: no BLAS in this build: the engine is a part" in refused
