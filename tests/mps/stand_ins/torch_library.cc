// SPDX-License-Identifier: Apache-2.0
//
// What the MPS backend asks of the loaded libtorch, in a build without one (ThreadSanitizer).
#include <streamgate/executor/internal/torch_library.h>

namespace streamgate::executor {

std::string loaded_torch_version() { return "stand-in"; }
std::string cpu_model() { return "stand-in"; }
std::string operating_system() { return "stand-in"; }

}  // namespace streamgate::executor
