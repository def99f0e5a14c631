// SPDX-License-Identifier: GPL-2.0-only
// pair_style uma: UMA interatomic potentials, on any number of MPI ranks.

#ifndef LMP_PAIR_UMA_H
#define LMP_PAIR_UMA_H

#include "pair.h"

#include <memory>

namespace uma {
struct Node;
struct Situation;
}    // namespace uma

namespace LAMMPS_NS {

class PairUMA : public Pair {
 public:
  // The node that this rank is on, where it is known over all partitions; else nullptr.
  PairUMA(class LAMMPS *, const uma::Node *);
  ~PairUMA() override;

  void settings(int, char **) override;
  void coeff(int, char **) override;
  void init_style() override;
  double init_one(int, int) override;
  void compute(int, int) override;
  int pack_forward_comm(int, int *, double *, int, int *) override;
  void unpack_forward_comm(int, int, double *) override;
  int pack_reverse_comm(int, int, double *) override;
  void unpack_reverse_comm(int, int *, double *) override;
  void *extract_peratom(const char *, int &) override;
  double memory_usage() override;

 private:
  struct State;
  std::unique_ptr<State> state;

  void allocate();
  void load(const std::string &file);
  void map_types(char **names);
  void plan_edges();
  void count_atoms();
  void check_lists(int num_atoms) const;
  void check_positions();
  void announce();
  void advise();
  void add_timestep(uma::Situation &situation) const;
  void add_results();
  void report_load();
  void add_virials();
  void compare_members();
};

}    // namespace LAMMPS_NS

#endif
