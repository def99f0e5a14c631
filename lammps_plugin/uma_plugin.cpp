// SPDX-License-Identifier: GPL-2.0-only
// What LAMMPS loads when it starts. It makes 'pair_style uma' known and leaves libtorch alone:
// the pair style itself (uma_pair.so) is opened when an input asks for it.

#include "agreement.h"
#include "node.h"

#include "error.h"
#include "fmt/format.h"
#include "input.h"
#include "lammps.h"
#include "library.h"
#include "pointers.h"
#include "universe.h"

#include <dlfcn.h>
#include <filesystem>
#include <link.h>
#include <stdexcept>
#include <string>
#include <torch/headeronly/version.h>

using namespace LAMMPS_NS;

// LAMMPS's interface to plugins, as its manual describes it ("Writing plugins").
extern "C" {
struct StylePlugin {
  const char *version, *style, *name, *info, *author;
  void *(*creator)(void *);
  void *handle;
};
using Registrar = void (*)(StylePlugin *, void *);

__attribute__((visibility("default"))) void lammpsplugin_init(void *lmp, void *handle,
                                                              void *registrar);
}

namespace {

constexpr const char *REBUILD = "build it again for what is installed ('uma-md plugin build')";

const char *mpi_family()
{
#if defined(OMPI_MAJOR_VERSION)
  return "Open MPI";
#else
  return "MPICH or compatible";
#endif
}

bool same_mpi()
{
  char text[MPI_MAX_LIBRARY_VERSION_STRING];
  int length = 0;
  MPI_Get_library_version(text, &length);
  const bool found_open_mpi = std::string(text).find("Open MPI") != std::string::npos;
  return found_open_mpi == (std::string(mpi_family()) == "Open MPI");
}

// Asked through LAMMPS's C functions, which stay the same between versions.
std::string lammps_mismatch(void *lmp)
{
  const int version = lammps_version(lmp);
  if (version != UMA_LAMMPS_VERSION) {
    return fmt::format("The uma plugin must run in LAMMPS version {}, for which it was built, but "
                       "this is version {}; {}",
                       UMA_LAMMPS_VERSION, version, REBUILD);
  }
  const auto bits = [](size_t bytes) { return 8 * int(bytes); };
  const int tag = lammps_extract_setting(lmp, "tagint");
  const int image = lammps_extract_setting(lmp, "imageint");
  if (tag != int(sizeof(tagint)) || image != int(sizeof(imageint))) {
    return fmt::format("The uma plugin must run in a LAMMPS with {}-bit atom IDs, for which it was "
                       "built, but this one has {}-bit IDs; {}",
                       bits(sizeof(tagint)), bits(tag), REBUILD);
  }
  if (!same_mpi()) {
    return fmt::format("The uma plugin must run with {}, for which it was built, but this LAMMPS "
                       "uses another MPI library; {}",
                       mpi_family(), REBUILD);
  }
  return "";
}

std::string last_dl_error()
{
  const char *text = dlerror();
  return text ? text : "unknown reason";
}

void *open_library(const char *name, const std::string &advice = REBUILD)
{
  void *library = dlopen(name, RTLD_NOW | RTLD_LOCAL);
  if (library) return library;
  throw std::runtime_error(fmt::format("pair_style uma must find {} of the build for torch {}, but "
                                       "it cannot be loaded ({}); {}",
                                       name, TORCH_VERSION, last_dl_error(), advice));
}

// Folder of a library that is open; empty where that is not known.
std::filesystem::path folder_of(void *library)
{
  link_map *record = nullptr;
  if (dlinfo(library, RTLD_DI_LINKMAP, &record) != 0 || !record) return {};
  std::error_code failure;
  return std::filesystem::weakly_canonical(record->l_name, failure).parent_path();
}

// What to do about another torch: where it is not the one built for, building again does not help.
std::string advice(const std::filesystem::path &folder)
{
  std::error_code failure;
  const auto expected = std::filesystem::weakly_canonical(UMA_TORCH_FOLDER, failure);
  if (folder.empty() || folder == expected) return REBUILD;
  return fmt::format("that in {} is loaded before the one in {}: take the first folder out of "
                     "LD_LIBRARY_PATH and LD_PRELOAD, or {}",
                     folder.string(), expected.string(), REBUILD);
}

// Looked at before the pair style is opened, which would miss functions of another version.
void check_torch()
{
  using Version = uint64_t (*)();
  void *c10 = open_library("libc10.so");    // ours, before libtorch looks in LD_LIBRARY_PATH
  void *torch = open_library("libtorch_cpu.so", advice(folder_of(c10)));
  const auto version = reinterpret_cast<Version>(dlsym(torch, "aoti_torch_abi_version"));
  const uint64_t found = version ? version() : 0;
  if (found == TORCH_ABI_VERSION) return;
  const std::string name =
      version ? fmt::format("torch {}.{}.{}", found >> 56, found >> 48 & 255, found >> 40 & 255)
              : "one of another version";
  throw std::runtime_error(fmt::format("pair_style uma must run with torch {}, for which it was "
                                       "built, but found {}; {}",
                                       TORCH_VERSION, name, advice(folder_of(torch))));
}

// Where MPI keeps, beside the communicator of all partitions, what 'survey_partitions' found. This
// library stays open for good (see CMakeLists.txt), and with it this number.
int node_key()
{
  static int key = MPI_KEYVAL_INVALID;
  const auto drop = [](MPI_Comm, int, void *node, void *) {
    delete static_cast<uma::Node *>(node);
    return MPI_SUCCESS;
  };
  if (key == MPI_KEYVAL_INVALID) MPI_Comm_create_keyval(MPI_COMM_NULL_COPY_FN, drop, &key, nullptr);
  return key;
}

const uma::Node *known_node(const LAMMPS *lammps)
{
  void *node = nullptr;
  int found = 0;
  MPI_Comm_get_attr(lammps->universe->uworld, node_key(), &node, &found);
  return found ? static_cast<uma::Node *>(node) : nullptr;
}

// Partitions share nodes, and not all of them may come to use the pair style, or at the same time.
// All of them are here together only when LAMMPS starts, before its first command.
void survey_partitions(const LAMMPS *lammps)
{
  if (lammps->universe->nworlds == 1 || lammps->input->narg > 0 || known_node(lammps)) return;
  const MPI_Comm all = lammps->universe->uworld;
  MPI_Comm_set_attr(all, node_key(), new uma::Node(uma::survey(all)));
}

extern "C" void *create_pair(void *handle)
{
  using Creator = void *(*)(void *, const uma::Node *);
  Creator create = nullptr;
  uma::all_or_none(static_cast<LAMMPS *>(handle), [&] {
    check_torch();
    create = reinterpret_cast<Creator>(dlsym(open_library("uma_pair.so"), "uma_create_pair"));
    if (!create) throw std::runtime_error("uma_pair.so is damaged: " + last_dl_error());
  });
  return create(handle, known_node(static_cast<LAMMPS *>(handle)));
}

}    // namespace

void lammpsplugin_init(void *lmp, void *handle, void *registrar)
{
  auto *lammps = static_cast<LAMMPS *>(lmp);
  const std::string mismatch = lammps_mismatch(lmp);
  if (!mismatch.empty()) {
    lammps->error->warning(FLERR, mismatch);
    return;
  }
  survey_partitions(lammps);
  StylePlugin plugin{lammps->version, "pair",      "uma", "UMA interatomic potentials",
                     "uma-md",        create_pair, handle};
  reinterpret_cast<Registrar>(registrar)(&plugin, lmp);
}
