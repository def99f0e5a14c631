// SPDX-License-Identifier: GPL-2.0-only

#include "pair_uma.h"

#include "advice.h"
#include "agreement.h"
#include "atom_rows.h"
#include "committee.h"
#include "left_out_pairs.h"
#include "mpi_errors.h"
#include "node.h"
#include "node_ranks.h"
#include "options.h"

#include "atom.h"
#include "comm.h"
#include "domain.h"
#include "error.h"
#include "fix.h"
#include "fmt/format.h"
#include "force.h"
#include "memory.h"
#include "modify.h"
#include "neigh_list.h"
#include "neighbor.h"
#include "universe.h"
#include "update.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>
#include <limits>
#include <optional>
#include <set>
#include <stdexcept>
#include <string>
#include <vector>

using namespace LAMMPS_NS;

namespace {

// The numbers of 'compute pair uma': where each part of them begins, and how many it has.
constexpr int MERGES = 0;              // times that experts were merged, and seconds that it took
constexpr int LOAD = 2;                // see 'report_load'
constexpr int COMMITTEE = 10;          // deviations of force, energy and virial
constexpr int MEMBERS_COMPARED = 4;    // these, where there is a committee
constexpr int MOST_NUMBERS = COMMITTEE + MEMBERS_COMPARED;

// The group whose atoms alone become ghosts, which LAMMPS tells its own classes only; 0 for all.
struct GhostGroup : Comm {
  static int of(const Comm &comm) { return comm.*(&GhostGroup::bordergroup); }
};

bool all_finite(const double *numbers, int64_t count)
{
  return std::all_of(numbers, numbers + count, [](double number) { return std::isfinite(number); });
}

}    // namespace

struct PairUMA::State {
  std::optional<uma::Node> node;    // over all partitions
  uma::Options options;
  std::unique_ptr<uma::Committee> potential;    // of one model, or more
  uma::AtomRows rows;
  uma::Result result;
  double energy_unit = 1.0;    // of LAMMPS, per eV
  std::array<double, MOST_NUMBERS> extra{};
  bigint planned = -1;      // step of the neighbor lists that edges are planned for
  int planned_atoms = 0;    // that these lists are of, ghosts included
  bool announced = false;
  bool advised = false;            // of this run
  std::set<std::string> warned;    // rules of advice that were said
  std::vector<char> asked;    // type pairs that LAMMPS gives to this style, ntypes + 1 to a row
};

PairUMA::PairUMA(LAMMPS *lmp, const uma::Node *node) : Pair(lmp), state(std::make_unique<State>())
{
  if (node) state->node = *node;
  single_enable = 0;
  restartinfo = 0;
  one_coeff = 1;
  manybody_flag = 1;
  no_virial_fdotr_compute = 1;
  centroidstressflag = CENTROID_AVAIL;
  unit_convert_flag = utils::METAL2REAL;
  comm_forward = 2;
  nextra = COMMITTEE;
  pvector = state->extra.data();
}

PairUMA::~PairUMA()
{
  if (!allocated) return;
  memory->destroy(setflag);
  memory->destroy(cutsq);
}

void PairUMA::allocate()
{
  const int n = atom->ntypes + 1;
  if (!allocated) {
    memory->create(setflag, n, n, "pair:setflag");
    memory->create(cutsq, n, n, "pair:cutsq");
  }
  allocated = 1;
  std::fill_n(&setflag[0][0], n * n, 0);
}

// Without pair_coeff after it LAMMPS refuses to run, since no coefficients are set.
void PairUMA::settings(int narg, char **arg)
{
  uma::all_or_none(
      lmp, [&] { state->options = uma::parse_options(std::vector<std::string>(arg, arg + narg)); });
  state->potential.reset();
  const auto others = state->options.committee.size();
  comm_reverse = 3 * int(others);
  nextra = others > 0 ? COMMITTEE + MEMBERS_COMPARED : COMMITTEE;
  if (allocated) allocate();
}

void PairUMA::coeff(int narg, char **arg)
{
  if (narg < 3 || strcmp(arg[0], "*") != 0 || strcmp(arg[1], "*") != 0) {
    error->all(FLERR, "pair_coeff must be '* * FILE' and one element or NULL per atom type for "
                      "pair style uma, found other arguments; correct them");
  }
  if (narg - 3 != atom->ntypes) {
    error->all(FLERR,
               "pair_coeff must name one element or NULL per atom type, {} in all, found "
               "{}; add or remove names",
               atom->ntypes, narg - 3);
  }
  allocate();
  load(arg[2]);
  map_types(arg + 3);
}

void PairUMA::load(const std::string &file)
{
  std::vector<std::string> files = {file};
  for (const auto &other : state->options.committee) files.push_back(other);
  for (auto &name : files) {
    const std::string found = utils::get_potential_file_path(name);
    if (!found.empty()) name = found;
  }
  state->potential.reset();
  state->announced = false;
  state->warned.clear();
  if (!state->node) {
    state->node = uma::repeated(uma::survey(world), universe->nworlds, universe->iworld);
  }
  uma::Placement placement;
  uma::all_or_none(lmp, [&] { placement = uma::place(*state->node, state->options.device); });
  uma::all_or_none(lmp, [&] {
    const uma::Threads threads(placement.threads, comm->nthreads);
    const auto node = std::make_shared<uma::NodeRanks>(world);
    state->potential = std::make_unique<uma::Committee>(files, state->options, placement, node);
  });
  state->potential->connect(world);
}

void PairUMA::map_types(char **names)
{
  std::vector<int> numbers(atom->ntypes + 1, 0);
  uma::all_or_none(lmp, [&] {
    for (int type = 1; type <= atom->ntypes; type++) {
      const std::string name = names[type - 1];
      if (name != "NULL") numbers[type] = state->potential->atomic_number(name);
    }
  });
  for (int i = 1; i <= atom->ntypes; i++) {
    for (int j = i; j <= atom->ntypes; j++) setflag[i][j] = numbers[i] > 0 && numbers[j] > 0;
  }
  state->rows.set_types(std::move(numbers));
}

void PairUMA::init_style()
{
  const std::string units = update->unit_style;
  if (units != "metal" && units != "real") {
    error->all(FLERR,
               "pair_style uma: units must be metal or real, found '{}'; change the 'units' "
               "command and the input with it",
               units);
  }
  if (!force->newton_pair) {
    error->all(FLERR, "pair_style uma: newton must be on for pairs, but it is off; remove 'newton "
                      "off' from the input");
  }
  if (utils::strmatch(update->integrate_style, "^respa")) {
    error->all(FLERR, "pair_style uma: run_style must be verlet, found respa; the model's forces "
                      "have no fast and slow part, remove 'run_style respa'");
  }
  state->energy_unit =
      units == "real" ? utils::get_conversion_factor(utils::ENERGY, utils::METAL2REAL) : 1.0;
  if (neighbor->includegroup) {
    error->all(FLERR, "pair_style uma: all atoms must have neighbors, but 'neigh_modify include' "
                      "leaves some out; remove it");
  }
  if (GhostGroup::of(*comm) != 0) {
    error->all(FLERR, "pair_style uma: atoms of all groups must be neighbors across ranks, but "
                      "'comm_modify group' leaves some out; use 'comm_modify group all'");
  }
  neighbor->add_request(this, NeighConst::REQ_FULL);
  state->planned = -1;
  state->advised = false;
  if (state->potential && state->potential->file()) state->potential->file()->begin_run();
  state->asked.assign((atom->ntypes + 1) * (atom->ntypes + 1), 0);
}

double PairUMA::init_one(int i, int j)
{
  if (setflag[i][j] == 0) error->all(FLERR, "All pair coeffs are not set");
  state->asked[i * (atom->ntypes + 1) + j] = 1;
  return state->potential->metadata().cutoff;
}

void PairUMA::compute(int eflag, int vflag)
{
  ev_init(eflag, vflag);
  const uma::Threads threads(state->potential->threads(), comm->nthreads);
  uma::or_abort(lmp, [this] {
    if (neighbor->ago == 0 || neighbor->lastcall != state->planned) plan_edges();
    const int num_atoms = atom->nlocal + atom->nghost;
    check_lists(num_atoms);
    const double *positions = num_atoms > 0 ? atom->x[0] : nullptr;
    state->result = state->potential->evaluate(positions, num_atoms, vflag_atom || cvflag_atom);
    // Atoms at the same position on one rank give NaN on others: the cause comes first.
    uma::all_or_none(lmp, {[this] {
                             check_positions();
                             state->potential->check_graph(state->result);
                           },
                           [this] { state->potential->check_values(state->result); }});
    if (!state->announced) announce();
    if (!state->advised) advise();
    add_results();
    compare_members();
  });
}

// Who owns the ghosts, what the whole system is made of, which pairs may become edges.
void PairUMA::plan_edges()
{
  if (state->planned < 0) {
    uma::LeftOutPairs(lmp).check_types(setflag, state->asked);
    uma::LeftOutPairs(lmp).check_fixes_that_bond(state->rows);
  }
  state->rows.number(*atom, comm->me, uma::LeftOutPairs(lmp).absent_groups());
  comm->forward_comm(this);
  count_atoms();
  state->potential->set_candidates(state->rows.candidates(*atom, *list, comm->me),
                                   state->rows.owners());
  state->planned = neighbor->lastcall;
  state->planned_atoms = atom->nlocal + atom->nghost;
}

// A command between two runs may take ghosts away, and 'run ... pre no' does not bring them back.
void PairUMA::check_lists(int num_atoms) const
{
  if (num_atoms == state->planned_atoms) return;
  throw std::runtime_error(
      fmt::format("pair_style uma: the neighbor lists must be of the atoms and ghosts at hand, {} "
                  "on this rank, but are of {}; a command since the last run has changed these, so "
                  "leave out 'pre no'",
                  num_atoms, state->planned_atoms));
}

int PairUMA::pack_forward_comm(int n, int *list, double *buf, int /*pbc_flag*/, int * /*pbc*/)
{
  return state->rows.pack(n, list, buf);
}

void PairUMA::unpack_forward_comm(int n, int first, double *buf)
{
  state->rows.unpack(n, first, buf);
}

void PairUMA::count_atoms()
{
  auto counts = state->rows.count(*atom, state->potential->metadata().elements.size() + 1);
  uma::or_end(
      MPI_Allreduce(MPI_IN_PLACE, counts.data(), int(counts.size()), MPI_INT64_T, MPI_SUM, world));
  // Merging is collective, so ranks agree before it; it comes where the composition changes alone.
  uma::all_or_none(lmp, [&] { uma::LeftOutPairs(lmp).check_bonds(state->rows); });
  if (state->potential->has_composition(counts)) return;
  uma::all_or_none(lmp, [&] { state->potential->set_composition(counts); });
}

// An atom at NaN has no neighbors, so that results alone do not show it.
void PairUMA::check_positions()
{
  const double *box = domain->h;    // lengths along x, y and z, then tilts
  const bool finite = all_finite(box, 6) && all_finite(domain->boxlo, 3) &&
                      (atom->nlocal + atom->nghost == 0 ||
                       all_finite(atom->x[0], int64_t(3) * (atom->nlocal + atom->nghost)));
  if (!finite) {
    throw std::runtime_error("pair_style uma: positions and box must be finite, but found NaN or "
                             "infinity; check for overlapping atoms, the time step and the "
                             "barostat");
  }
  if (std::any_of(box, box + 3, [](double length) { return length <= 0.0; })) {
    throw std::runtime_error("pair_style uma: the box must have a volume, but found none; check "
                             "the time step and the barostat");
  }
}

void PairUMA::announce()
{
  const std::string text = state->potential->description(world);
  if (comm->me == 0) utils::logmesg(lmp, text);
  state->announced = true;
}

// Once for each run, since its settings may be others, and each warning once for each model.
void PairUMA::advise()
{
  uma::Situation situation = state->potential->situation();
  for (int axis = 0; axis < 3; axis++) situation.periodic[axis] = domain->periodicity[axis] != 0;
  situation.dispersion = force->pair_match("^dispersion/d3", 0) != nullptr;
  add_timestep(situation);
  state->advised = true;
  if (comm->me != 0) return;
  for (const auto &advice : uma::advise(situation)) {
    if (state->warned.insert(advice.rule).second) error->warning(FLERR, advice.text);
  }
}

// Collective. Constraints such as those of fix shake take the fastest motions away.
void PairUMA::add_timestep(uma::Situation &situation) const
{
  struct {
    double mass;
    int number;
  } lightest{std::numeric_limits<double>::infinity(), 0};
  for (int i = 0; i < atom->nlocal; i++) {
    const int number = state->rows.atomic_number(atom->type[i]);
    const double mass = atom->rmass ? atom->rmass[i] : atom->mass[atom->type[i]];
    if (number > 0 && mass < lightest.mass) lightest = {mass, number};
  }
  uma::or_end(MPI_Allreduce(MPI_IN_PLACE, &lightest, 1, MPI_DOUBLE_INT, MPI_MINLOC, world));
  if (lightest.number == 0 || update->whichflag != 1 || update->nsteps == 0) return;
  bool moves = false, constrained = false;
  for (const Fix *fix : modify->get_fix_list()) {
    moves = moves || fix->time_integrate;
    constrained = constrained || utils::strmatch(fix->style, "^shake") ||
                  utils::strmatch(fix->style, "^rattle") || utils::strmatch(fix->style, "^rigid");
  }
  if (!moves || constrained) return;
  const double ps = strcmp(update->unit_style, "real") == 0 ? 1e-3 : 1.0;
  situation.timestep = 1000.0 * ps * update->dt;
  situation.lightest = lightest.mass;
  situation.lightest_symbol = state->potential->metadata().elements[lightest.number - 1];
}

// Adds energy, forces and virials, those of ghosts too: LAMMPS returns them to their owners.
void PairUMA::add_results()
{
  const auto &result = state->result;
  const double unit = state->energy_unit;
  const int num_atoms = atom->nlocal + atom->nghost;
  const auto forces = result.forces.accessor<double, 2>();
  for (int k = 0; k < num_atoms; k++) {
    for (int axis = 0; axis < 3; axis++) atom->f[k][axis] += unit * forces[k][axis];
  }
  if (eflag_global) eng_vdwl += unit * result.energy;
  if (eflag_atom) {
    const auto energies = result.energies.accessor<double, 1>();
    for (int i = 0; i < atom->nlocal; i++) {
      if (state->rows.row(i) >= 0) eatom[i] += unit * energies[state->rows.row(i)];
    }
  }
  add_virials();
  // LAMMPS adds them up over ranks, which merge side by side.
  if (comm->me == 0) {
    const auto merges = state->potential->merges();
    state->extra[MERGES] = double(merges.count);
    state->extra[MERGES + 1] = merges.seconds;
  }
  if (eflag_global && !modify->get_compute_by_style("^pair$").empty()) report_load();
}

// Edges, least, mean and most of the ranks; seconds in exchange, messages and the rest, means of
// the ranks; messages and bytes that all send. LAMMPS adds the numbers up over ranks.
void PairUMA::report_load()
{
  const auto load = state->potential->load();
  const double edges = double(load.edges), share = 1.0 / comm->nprocs;
  double extremes[2] = {-edges, edges};
  uma::or_end(MPI_Allreduce(MPI_IN_PLACE, extremes, 2, MPI_DOUBLE, MPI_MAX, world));
  const bool is_first = comm->me == 0;
  const std::array<double, 8> report = {
      is_first ? -extremes[0] : 0.0, edges * share,
      is_first ? extremes[1] : 0.0,  load.exchange * share,
      load.messages * share,         (load.step - load.exchange - load.messages) * share,
      double(load.messages_sent),    double(load.bytes_sent)};
  std::copy(report.begin(), report.end(), state->extra.begin() + LOAD);
}

void PairUMA::add_virials()
{
  const auto &result = state->result;
  const double unit = state->energy_unit;
  if (vflag_global) {
    const auto &w = result.virial;
    const double symmetric[6] = {
        w[0], w[4], w[8], 0.5 * (w[1] + w[3]), 0.5 * (w[2] + w[6]), 0.5 * (w[5] + w[7])};
    for (int k = 0; k < 6; k++) virial[k] += unit * symmetric[k];
  }
  if (!vflag_atom && !cvflag_atom) return;
  // LAMMPS's order of the nine components: xx yy zz xy xz yz yx zx zy
  constexpr int ROW[9] = {0, 1, 2, 0, 0, 1, 1, 2, 2};
  constexpr int COLUMN[9] = {0, 1, 2, 1, 2, 2, 0, 0, 1};
  const auto w = result.atom_virials.accessor<double, 3>();
  for (int k = 0; k < atom->nlocal + atom->nghost; k++) {
    for (int c = 0; vflag_atom && c < 6; c++) {
      vatom[k][c] += 0.5 * unit * (w[k][ROW[c]][COLUMN[c]] + w[k][COLUMN[c]][ROW[c]]);
    }
    for (int c = 0; cvflag_atom && c < 9; c++) cvatom[k][c] += unit * w[k][ROW[c]][COLUMN[c]];
  }
}

// How far the members of a committee are from each other, on every rank's own atoms.
void PairUMA::compare_members()
{
  uma::Deviations *deviations = state->potential->deviations();
  if (!deviations) return;
  comm->reverse_comm(this);
  std::vector<char> is_seen(atom->nlocal);
  for (int i = 0; i < atom->nlocal; i++) is_seen[i] = state->rows.row(i) >= 0;
  deviations->compare(world, is_seen, state->energy_unit);
  const auto &found = deviations->summary();
  if (comm->me == 0) {
    double *numbers = &state->extra[COMMITTEE];
    numbers[0] = found.largest_force;
    numbers[1] = found.mean_force;
    numbers[2] = found.energy;
    numbers[3] = found.largest_virial;
  }
  uma::DeviationFile *file = state->potential->file();
  if (!file || !file->is_due(update->ntimestep)) return;
  uma::all_or_none(lmp, [&] {
    if (comm->me == 0) file->write(update->ntimestep, deviations->columns());
  });
}

// Forces of a committee's members on ghosts go to their owners in one message for all members.
int PairUMA::pack_reverse_comm(int n, int first, double *buf)
{
  return state->potential->deviations()->pack(n, first, buf);
}

void PairUMA::unpack_reverse_comm(int n, int *list, double *buf)
{
  state->potential->deviations()->unpack(n, list, buf);
}

// For 'fix pair': the deviation of the force on each owned atom.
void *PairUMA::extract_peratom(const char *name, int &columns)
{
  columns = 0;
  if (strcmp(name, "force_deviation") != 0) return nullptr;
  if (state->options.committee.empty()) {
    error->all(FLERR, "pair_style uma: force_deviation must be that of a committee, found one "
                      "model; add 'committee' and the files of other members");
  }
  return state->potential ? state->potential->deviations()->forces().data() : nullptr;
}

double PairUMA::memory_usage()
{
  const double bytes = Pair::memory_usage() + state->rows.memory_usage();
  return state->potential ? bytes + state->potential->memory_usage() : bytes;
}

// What the plugin's entry looks up.
extern "C" __attribute__((visibility("default"))) void *uma_create_pair(void *lmp,
                                                                        const uma::Node *node)
{
  return static_cast<Pair *>(new PairUMA(static_cast<LAMMPS *>(lmp), node));
}
