// SPDX-License-Identifier: GPL-2.0-only
// What a rank has to do in a step, how long its parts take, and what it sends.

#ifndef UMA_LOAD_H
#define UMA_LOAD_H

#include <chrono>
#include <cstdint>

namespace uma {

// Of the last step. Traffic of uma_md/ranks/traffic.py has the names of what is sent.
struct Load {
  int64_t edges = 0;
  double exchange = 0.0, messages = 0.0, step = 0.0;    // seconds; on a GPU of the host
  int64_t messages_sent = 0, bytes_sent = 0;            // of rows alone
};

// Adds the time that it lives to a number of seconds.
class Stopwatch {
 public:
  explicit Stopwatch(double &seconds) : seconds_(seconds) {}
  ~Stopwatch() { seconds_ += std::chrono::duration<double>(Clock::now() - start_).count(); }
  Stopwatch(const Stopwatch &) = delete;
  Stopwatch &operator=(const Stopwatch &) = delete;

 private:
  using Clock = std::chrono::steady_clock;
  double &seconds_;
  const Clock::time_point start_ = Clock::now();
};

}    // namespace uma

#endif
