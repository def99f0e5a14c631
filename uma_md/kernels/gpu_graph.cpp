// SPDX-License-Identifier: MIT

#include "gpu_graph.h"

namespace uma::kernels {
namespace {

constexpr int RELAXED = 2;    // CU_STREAM_CAPTURE_MODE_RELAXED: torch may take memory meanwhile

}    // namespace

GpuGraph::~GpuGraph()
{
  if (executable_) driver_->cuGraphExecDestroy(executable_);
}

void GpuGraph::begin()
{
  driver_->check(driver_->cuStreamBeginCapture_v2(GpuDriver::current_stream(device_), RELAXED),
                 "recording");
}

void GpuGraph::end()
{
  void *graph = nullptr;
  driver_->check(driver_->cuStreamEndCapture(GpuDriver::current_stream(device_), &graph),
                 "recording");
  const int result = driver_->cuGraphInstantiateWithFlags(&executable_, graph, 0);
  driver_->cuGraphDestroy(graph);
  driver_->check(result, "preparing a recording");
}

void GpuGraph::abandon() noexcept
{
  void *graph = nullptr;
  driver_->cuStreamEndCapture(GpuDriver::current_stream(device_), &graph);
  if (graph) driver_->cuGraphDestroy(graph);
}

void GpuGraph::launch() const
{
  driver_->check(driver_->cuGraphLaunch(executable_, GpuDriver::current_stream(device_)),
                 "starting a recording");
}

}    // namespace uma::kernels
